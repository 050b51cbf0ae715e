"""Shift, gain and mixup: what they do to a clip, and that they compile into the training step."""

import pytest
import torch
from scipy import stats

from glat.config import ModelConfig, paper
from glat.data import Batch
from glat.errors import UserError
from glat.model import build_model
from glat.training.augment import Augment, mixup, pair_mixup, random_gain, random_shift
from glat.training.step import TrainingStep

S = 50


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def told_apart(clips, dtype=torch.int16):
    """Clips whose targets say which clip it is, and whose waves and lengths tell it, too."""
    wave = torch.randint(-32767, 32768, (clips, S)).to(torch.int16)
    wave = wave if dtype == torch.int16 else wave / 32767
    return Batch(wave, torch.randperm(clips) + 1, torch.eye(clips))


def check_mixed(before, after):
    """Waves and lengths are of the clips that the targets say, with the targets' shares."""
    assert after.wave.dtype == after.targets.dtype == torch.float32
    torch.testing.assert_close(after.targets.sum(1), torch.ones(len(after.targets)))
    torch.testing.assert_close(after.wave, after.targets @ (before.wave.double() / 32767).float())
    return check_lengths(before, after)


def check_lengths(before, after):
    heard = after.targets > 0
    assert torch.equal(after.lengths, torch.where(heard, before.lengths, 0).amax(1))
    return heard


@pytest.mark.parametrize("clips", [1, 2, 33])
def test_mixup_gives_wave_and_targets_the_same_partner_and_share(clips):
    batch = told_apart(clips)
    after = mixup(batch, 1.0)
    heard = check_mixed(batch, after)
    assert heard.diagonal().all()
    assert set(heard.sum(1).tolist()) <= {1, 2}
    partner = torch.where(
        heard.sum(1) == 1, torch.arange(clips), (heard ^ torch.eye(clips, dtype=bool)).float().argmax(1)
    )
    assert sorted(partner.tolist()) == list(range(clips)), "every clip is one partner"
    shares = after.targets.diagonal()[heard.sum(1) == 2]
    assert len(shares.unique()) == len(shares), "every clip has a share of its own"


def test_pairs_are_neighbours_and_halve_the_batch():
    batch = told_apart(32)
    after = pair_mixup(batch, 1.0)
    assert torch.equal(check_mixed(batch, after), torch.eye(16).bool().repeat_interleave(2, dim=1))
    with pytest.raises(UserError, match="7 clips does not divide into pairs"):
        pair_mixup(told_apart(7), 1.0)


def test_the_first_of_a_pair_has_the_share():
    """PANNs' do_mixup: ``x[0::2] * share[0::2] + x[1::2] * share[1::2]``, the second share 1 less the first."""
    batch = told_apart(6)
    share = pair_mixup(batch, 0.4).targets[[0, 1, 2], [0, 2, 4]]
    torch.manual_seed(0)
    told_apart(6)
    assert torch.equal(share, torch.distributions.Beta(*torch.full((2, 3, 1), 0.4)).sample()[:, 0])


@pytest.mark.parametrize("alpha", [0.4, 1.0, 5.0])  # at 0.1, a tenth rounds to 1
def test_shares_are_beta_distributed(alpha):
    clips = 20_000
    targets = torch.arange(2.0).repeat(clips)[:, None]  # of a pair, the second clip's share
    after = pair_mixup(Batch(torch.zeros(2 * clips, 1), torch.ones(2 * clips), targets), alpha)
    assert stats.kstest(after.targets[:, 0].double().numpy(), stats.beta(alpha, alpha).cdf).pvalue > 0.001


def test_a_tiny_alpha_gives_no_nan():
    after = pair_mixup(told_apart(4096), 1e-3)
    assert after.wave.isfinite().all()


def test_gain_is_uniform_in_db_and_a_clips_own():
    wave = torch.full((20_000, 2), 0.5)
    gain_db = 20 * (random_gain(wave, -9.0, 3.0) / wave).log10()
    assert torch.equal(gain_db[:, 0], gain_db[:, 1])
    assert stats.kstest(gain_db[:, 0].double().numpy(), stats.uniform(-9, 12).cdf).pvalue > 0.001


def test_int16_is_full_scale_at_32767():
    wave = torch.tensor([[32767, -32767, 0]], dtype=torch.int16)
    assert torch.equal(random_gain(wave, 0.0, 0.0), torch.tensor([[1.0, -1.0, 0.0]]))


@pytest.mark.parametrize("dtype", [torch.int16, torch.float32])
def test_a_shift_rolls_a_clip_inside_its_valid_samples(dtype):
    clips, most = 3000, 4
    lengths = torch.randint(0, S + 1, (clips,))
    wave = (torch.arange(1, S + 1).expand(clips, S)).to(dtype)  # rolls of it all differ
    shifted = random_shift(wave, lengths, most)
    assert shifted.dtype == dtype
    seen = set()
    for before, after, length in zip(wave, shifted, lengths.tolist(), strict=True):
        assert torch.equal(after[length:], before[length:])
        rolls = [n for n in range(-most, most + 1) if torch.equal(after[:length], before[:length].roll(n))]
        assert rolls
        seen |= set(rolls) if length > 2 * most else set()
    assert seen == set(range(-most, most + 1))


def test_a_shift_may_pass_the_length_of_the_clip():
    wave = torch.arange(5).repeat(200, 1)
    shifted = random_shift(wave, torch.full((200,), 5), 1000)
    assert {tuple(row) for row in shifted.tolist()} == {tuple(wave[0].roll(n).tolist()) for n in range(5)}


@pytest.mark.parametrize("pairing", ["none", "permuted", "paired"])
def test_all_of_it_compiles_once_and_gives_the_eager_numbers(pairing):
    augment = Augment(1000, mixup=pairing, mixup_alpha=0.4, gain_db=6.0, shift_seconds=0.01).train()
    torch._dynamo.reset()  # the other pairings are no recompilations
    compiled = torch.compile(augment, fullgraph=True, backend="aot_eager")
    batches = [told_apart(8) for _ in range(3)]
    torch.manual_seed(1)
    expected = [augment(batch) for batch in batches]
    torch.manual_seed(1)
    with torch._dynamo.config.patch(error_on_recompile=True):
        seen = [compiled(batch) for batch in batches]
    for a, b in zip(expected, seen, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert not torch.equal(compiled(batches[0]).wave, compiled(batches[0]).wave), "every step has draws of its own"


def test_inductor_compiles_it():
    """Its patterns and its own random numbers, which the other backends do not have."""
    augment = Augment(1000, mixup="permuted", gain_db=6.0, shift_seconds=0.01).train()
    torch._dynamo.reset()
    batch = told_apart(8)
    after = torch.compile(augment, fullgraph=True)(batch)
    heard = check_lengths(batch, after)
    assert set(heard.sum(1).tolist()) <= {1, 2}
    assert heard.any(0).all()
    assert (after.wave.abs().amax(1) > 0).all()


def test_a_whole_training_step_compiles_with_it():
    class Augmented(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.augment = Augment(32_000, mixup="permuted", gain_db=6.0, shift_seconds=0.1)
            self.step = TrainingStep(
                build_model(ModelConfig(width=0.1, num_crops=2, crop_seconds=0.2), 3), paper().optim
            )

        def forward(self, batch):
            return self.step(self.augment(batch))

    module = Augmented().train()
    batch = Batch(torch.randint(-999, 999, (2, 20_000)).short(), torch.full((2,), 20_000), torch.eye(3)[:2])
    losses = torch.compile(module, fullgraph=True, backend="eager")(batch)  # one graph is what is asked here
    assert losses.total.isfinite()


def test_in_evaluation_and_with_nothing_asked_for_a_batch_stays_as_it_is():
    batch = told_apart(4)
    everything = Augment(32_000, mixup="permuted", gain_db=6.0, shift_seconds=1.0)
    for augment in (everything.eval(), Augment(32_000).train()):
        assert all(a is b for a, b in zip(augment(batch), batch, strict=True))


def test_only_what_is_asked_for_happens():
    batch = told_apart(4)
    shifted = Augment(32_000, shift_seconds=1e-3).train()(batch)
    assert shifted.wave.dtype == torch.int16, "a shift alone needs no float"
    assert shifted.targets is batch.targets
    louder = Augment(32_000, gain_db=6.0).train()(batch)
    assert louder.targets is batch.targets
    within = (louder.wave.abs().amax(1) / (batch.wave.float().abs().amax(1) / 32767)).log10().abs() * 20
    assert (within <= 6.001).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mixup": "pairs"}, "no mixup 'pairs'; choose none, permuted or paired"),
        ({"mixup_alpha": 0.0}, "alpha is 0.0; give a number above 0"),
        ({"mixup_alpha": float("nan")}, "alpha is nan"),
        ({"gain_db": -3.0}, "largest gain is -3.0 dB; give 0 for none"),
        ({"shift_seconds": float("inf")}, "largest shift is inf s"),
    ],
)
def test_values_that_cannot_be_meant_are_named(options, message):
    with pytest.raises(UserError, match=message):
        Augment(32_000, **options)
