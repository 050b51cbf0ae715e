"""The feed of training: the sampler's rows, cut over ranks and parts, and a state that knows what training has had."""

import threading
from contextlib import closing, nullcontext
from itertools import islice

import numpy as np
import pytest
import torch
from sounds import encoded, noise

from glat.data import Clips, Targets
from glat.data.loading.batches import Loading
from glat.data.loading.samplers import SAMPLERS, build_sampler
from glat.data.recordings.encoded import encoded_from_manifest
from glat.data.recordings.recording import Recording
from glat.ranks import ALONE, Ranks
from glat.training.feed import Feed, SomeClips, load_batch

CPU = torch.device("cpu")
COUNT, RATE = 20, 8_000


@pytest.fixture
def clips():
    """Clip i holds the number i everywhere."""
    return Clips(
        waves=torch.arange(COUNT, dtype=torch.int16)[:, None].expand(-1, 8).contiguous(),
        lengths=np.full(COUNT, 8),
        clip_samples=8,
        targets=Targets.from_dense(torch.nn.functional.one_hot(torch.arange(COUNT) % 3, 3).bool().numpy()),
        names=tuple(map(str, range(COUNT))),
        classes=("a", "b", "c"),
        sample_rate_hz=RATE,
    )


@pytest.fixture
def files(tmp_path):
    """Clip i is a file of its own."""
    recordings = []
    for i in range(COUNT):
        (tmp_path / f"{i}.wav").write_bytes(encoded(noise(0.01, RATE, i), RATE))
        recordings.append(Recording(f"{i}.wav", tmp_path / f"{i}.wav", ("abc"[i % 3],)))
    source, skipped = encoded_from_manifest(recordings, ("a", "b", "c"), sample_rate_hz=RATE, clip_seconds=0.01)
    assert not skipped
    return source


def feed_of(source, sampler="plain", draw=8, accumulate=1, ranks=ALONE, state=None, loading=None):
    drawing = build_sampler(sampler, source.targets, 5)
    if state is not None:
        drawing.restore(state)
    return Feed(source, drawing, loading or Loading("auto", 2), draw, accumulate, CPU, ranks, nullcontext)


def numbers(part):
    return part.wave[:, 0].tolist()


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_ranks_and_parts_together_hear_the_rows_of_the_sampler(clips, sampler, accumulate):
    size = 2
    drawing = build_sampler(sampler, clips.targets, 5)
    feeds = [feed_of(clips, sampler, 8, accumulate, Ranks(rank, size)) for rank in range(size)]
    for step in range(6):
        rows = drawing.draw(8).tolist()
        heard = []
        for feed in feeds:
            parts = list(feed.parts(step))
            assert [len(part.wave) for part in parts] == [8 // size // accumulate] * accumulate
            heard += [number for part in parts for number in numbers(part)]
            for part in parts:
                assert part.targets.argmax(1).tolist() == [number % 3 for number in numbers(part)]
            assert feed.take_heard()[step].tolist() == rows  # of all ranks
        assert heard == rows
    for feed in feeds:
        feed.close()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_feed_that_goes_on_gives_the_rows_of_one_that_was_left_alone(clips, sampler):
    with closing(feed_of(clips, sampler)) as feed:
        whole = [[numbers(part) for part in feed.parts(step)] for step in range(7)]
    for had in range(4):
        with closing(feed_of(clips, sampler)) as feed:
            for step in range(had):
                list(feed.parts(step))
            state = feed.state()
        with closing(feed_of(clips, sampler, state=state)) as feed:
            assert [[numbers(part) for part in feed.parts(step)] for step in range(had, 7)] == whole[had:]


def test_the_state_is_that_of_the_steps_that_training_has_had(clips):
    sampler = build_sampler("plain", clips.targets, 5)
    with closing(feed_of(clips, accumulate=4)) as feed:
        assert feed.state() == sampler.state()
        for step in range(3):
            parts = feed.parts(step)
            list(islice(parts, 3))
            assert feed.state() == sampler.state()  # a step half heard is none
            list(parts)
            sampler.draw(8)
            assert feed.state() == sampler.state()


def loader_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("glat-loader")]


def test_nothing_runs_after_a_feed_is_closed(files):
    before = set(loader_threads())
    with closing(feed_of(files, loading=Loading("soundfile", 3))) as feed:
        list(feed.parts(0))
        assert set(loader_threads()) > before
    load_batch(files, torch.tensor([1, 2]), Loading("soundfile", 3), CPU)
    assert next(iter(SomeClips(files, Loading("soundfile", 3), 5))).shape == (5, 80)
    assert set(loader_threads()) == before


def test_a_file_that_goes_bad_is_reported_once_and_another_heard_in_its_place(files):
    reports = []
    loading = Loading("soundfile", 2, reports.append)
    files.files[3].unlink()
    with closing(feed_of(files, loading=loading)) as feed:
        for step in range(10):
            assert sum(len(part.wave) for part in feed.parts(step)) == 8
    assert [skipped.file for skipped in reports] == ["3.wav"]
    in_its_place, next_one = (load_batch(files, torch.tensor([row]), loading, CPU) for row in (3, 4))
    assert in_its_place.wave.equal(next_one.wave)


@pytest.mark.parametrize(("count", "rows"), [(1, [0]), (5, [0, 4, 8, 12, 16]), (7, [*range(0, 20, 2)])])
def test_some_clips_are_spread_over_all_and_can_be_read_again(clips, count, rows):
    some = SomeClips(clips, Loading(), count)
    for _ in range(2):
        assert [number for wave in some for number in wave[:, 0].tolist()] == rows
    assert [n for wave in SomeClips(clips, Loading(), 100) for n in wave[:, 0].tolist()] == [*range(COUNT)]
