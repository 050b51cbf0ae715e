"""Which clips a step hears: every sampler's rule, its state, and what several processes and loaders make of it."""

import io
from collections import Counter, deque

import numpy as np
import pytest
import torch

from glat.data import Targets
from glat.data.loading.samplers import SAMPLERS, RowStream, build_sampler
from glat.errors import UserError
from glat.ranks import Ranks


def table(clips=200, classes=11, seed=0):
    """Labels [M, L] bool, the first classes frequent and the last ones rare, none without a clip."""
    dense = np.random.default_rng(seed).random((clips, classes)) < 0.5 / np.arange(1, classes + 1)
    dense[np.arange(classes), np.arange(classes)] = True
    dense[~dense.any(1), 0] = True
    return dense


def sampler_of(name, dense, seed=1234):
    return build_sampler(name, Targets.from_dense(dense), seed)


def draws(sampler, *batch_sizes):
    return [sampler.draw(size).tolist() for size in batch_sizes]


def panns_balanced(dense, seed, count):
    """The rule of PANNs' BalancedTrainSampler, one row after the other."""
    random = np.random.RandomState(seed)
    clips = [np.flatnonzero(dense[:, k]) for k in range(dense.shape[1])]
    for rows in clips:
        random.shuffle(rows)
    queue, pointers, drawn = [], [0] * len(clips), []
    while len(drawn) < count:
        if not queue:
            queue = list(range(len(clips)))
            random.shuffle(queue)
        k = queue.pop(0)
        drawn.append(int(clips[k][pointers[k]]))
        pointers[k] += 1
        if pointers[k] == len(clips[k]):
            pointers[k] = 0
            random.shuffle(clips[k])
    return drawn


@pytest.mark.parametrize(("num_clips", "batch_size"), [(10, 5), (10, 3), (7, 7), (5, 4), (3, 8)])
def test_every_plain_epoch_has_every_clip_once(num_clips, batch_size):
    sampler = sampler_of("plain", np.ones((num_clips, 1), bool), seed=1)
    epochs = torch.cat([sampler.draw(batch_size) for _ in range(3 * num_clips)]).unflatten(0, (-1, num_clips))
    assert (epochs.sort(dim=1).values == torch.arange(num_clips)).all()
    assert len({tuple(epoch.tolist()) for epoch in epochs}) > 1, "every epoch has an order of its own"


def test_plain_rows_are_a_function_of_seed_and_position():
    """Written out, because runs that were recorded are compared with later ones."""
    expected = [torch.randperm(50, generator=torch.Generator().manual_seed(3_000_009 + epoch)) for epoch in range(4)]
    sampler = sampler_of("plain", table(50), seed=3)
    rows = [sampler.draw(size) for size in (4, 1, 60, 35, 100)]
    assert all(part.dtype == torch.int64 for part in rows)
    assert torch.equal(torch.cat(rows), torch.cat(expected))


@pytest.mark.parametrize("classes", [1, 8, 11])
def test_balanced_rows_are_panns_own(classes):
    dense = table(classes=classes)
    sampler = sampler_of("balanced", dense)
    rows = torch.cat([sampler.draw(7) for _ in range(300)])
    assert rows.tolist() == panns_balanced(dense, 1234, 2100)
    assert sampler.empty_classes == ()


def test_classes_without_a_clip_are_named_and_leave_the_others_as_they_are():
    dense = table()
    with_gaps = np.insert(dense, [0, 4, 11], False, axis=1)
    balanced = sampler_of("balanced", with_gaps)
    assert balanced.empty_classes == (0, 5, 13)
    assert draws(balanced, *[32] * 50) == draws(sampler_of("balanced", dense), *[32] * 50)
    for name in ("alternate", "inverse_frequency"):
        assert sampler_of(name, with_gaps).empty_classes == (0, 5, 13)


@pytest.mark.parametrize("name", SAMPLERS)
def test_clips_without_any_label_are_drawn_too(name):
    dense = table(40, 3)
    dense[5:8] = False
    rows = sampler_of(name, dense).draw(2_000)
    assert {5, 6, 7} <= set(rows.tolist())


def test_alternate_begins_balanced_and_goes_on_plain():
    dense = table()
    both = draws(sampler_of("alternate", dense), *[9] * 60)
    assert both[::2] == draws(sampler_of("balanced", dense), *[9] * 30)
    assert both[1::2] == draws(sampler_of("plain", dense), *[9] * 30)


def test_inverse_frequency_draws_clips_by_the_sum_over_their_classes():
    dense = table(30, 5)
    dense[7] = False
    without = ~dense.any(1, keepdims=True)
    weights = np.hstack([dense / dense.sum(0), without / without.sum()]).sum(1)
    count = 60_000
    rows = sampler_of("inverse_frequency", dense).draw(count)
    expected = count * weights / weights.sum()
    seen = np.bincount(rows.numpy(), minlength=30)
    assert seen[7] > 0, "a clip without any label is a negative example"
    labelled = expected > 0
    squares = (seen - expected)[labelled] ** 2 / expected[labelled]
    assert squares.sum() < 55  # chi-square of 28 degrees of freedom: one time in 500


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
def test_the_ends_of_the_unit_interval_are_the_first_and_last_row(uniform, monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda count, **_: torch.full((count,), uniform, dtype=torch.float64))
    for seed in range(50):
        dense = table(40, 7, seed)
        dense[[0, 1, -1]] = False
        row = sampler_of("inverse_frequency", dense).draw(1).item()
        assert row == (0 if uniform == 0 else 39)


@pytest.mark.parametrize("batches", [0, 2, 31])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_saved_state_goes_on_where_it_was_taken(name, batches):
    dense = table(60)
    sampler = sampler_of(name, dense)
    draws(sampler, *[7] * batches)
    state = sampler.state()
    file = io.BytesIO()
    torch.save(state, file)
    expected = draws(sampler, *[7] * 101)  # several epochs, all that a shuffle in place would change
    file.seek(0)
    for taken in (torch.load(file, weights_only=True), state, state):
        other = sampler_of(name, dense, seed=5)
        draws(other, *[5] * 3)
        other.restore(taken)
        assert draws(other, *[7] * 101) == expected


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_draws_from_nobody_elses_generator(name):
    torch.manual_seed(0)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    first = draws(sampler_of(name, table(), seed=3), *[8] * 50)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.random.get_state()[1].tolist() == numpy_before
    assert first == draws(sampler_of(name, table(), seed=3), *[8] * 50)
    assert first != draws(sampler_of(name, table(), seed=4), *[8] * 50)


def test_a_state_shares_the_orders_that_have_not_changed():
    """Copying them for every batch would be 16 MB of AudioSet's labels."""
    sampler = sampler_of("balanced", table())
    first = sampler.state()["orders"]
    sampler.draw(1)
    assert sum(a is not b for a, b in zip(first, sampler.state()["orders"], strict=True)) <= 1


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_state_of_another_sampler_or_of_other_clips_is_refused(name):
    other = "balanced" if name != "balanced" else "plain"
    for state in (sampler_of(other, table()).state(), sampler_of(name, table(199)).state()):
        with pytest.raises(UserError, match=f"checkpoint's sampler is .* and this run's is {name} over 200"):
            sampler_of(name, table()).restore(state)


def test_what_cannot_be_drawn_from_is_named():
    with pytest.raises(UserError, match="no sampler 'weighted'; choose plain, balanced"):
        sampler_of("weighted", table())
    with pytest.raises(UserError, match="no clips"):
        sampler_of("plain", np.zeros((0, 3), bool))
    for name in ("balanced", "alternate", "inverse_frequency"):
        with pytest.raises(UserError, match="none of 4 clips has a label"):
            sampler_of(name, np.zeros((4, 3), bool))
    assert sorted(sampler_of("plain", np.zeros((4, 3), bool)).draw(4).tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("num_clips", [12, 13, 17])
@pytest.mark.parametrize("batch_size", [4, 6, 5])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_processes_share_an_epoch_without_a_clip_twice(num_clips, batch_size, world_size):
    dense = np.ones((num_clips, 1), bool)
    whole = sampler_of("plain", dense)
    samplers = [sampler_of("plain", dense) for _ in range(world_size)]
    heard = Counter()
    for _ in range(num_clips):
        parts = [s.draw(batch_size)[Ranks(rank, world_size).part(batch_size)] for rank, s in enumerate(samplers)]
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        assert torch.cat(parts).tolist() == whole.draw(batch_size).tolist()
        heard.update(torch.cat(parts).tolist())
    assert set(heard.values()) == {batch_size}, "num_clips batches are batch_size epochs"


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_stream_that_is_read_ahead_saves_what_training_has_had(name):
    dense = table(40)
    expected = draws(sampler_of(name, dense), *[6] * 30)
    stream = RowStream(sampler_of(name, dense), 6)
    under_way = deque()
    for batch in range(20):
        while len(under_way) < 3:
            under_way.append(next(stream).tolist())
        resumed = sampler_of(name, dense)
        resumed.restore(stream.state())
        assert draws(resumed, *[6] * 10) == expected[batch : batch + 10]
        assert under_way.popleft() == expected[batch]
        stream.delivered()
