"""TALNet: the recorded outputs of its five poolings, its state dict, its features and their standardisation."""

import json

import numpy as np
import pytest
import torch

from glat.backbones import TALNet, build
from glat.errors import UserError
from glat.frontend import Standardise

POOLINGS = {"max": "max", "average": "ave", "linear": "lin", "exponential": "exp", "attention": "att"}
OWN = {"standardise.mean", "standardise.deviation"}


@pytest.fixture(scope="module", params=sorted(POOLINGS))
def recorded(request, golden, rebuild):
    """A network with the recorded weights, their shapes, and what the original put out."""
    short = POOLINGS[request.param]
    shapes = json.loads((golden / "weights.json").read_text())[f"TALNet_{short}"]["parameters"]
    weights = {key: torch.from_numpy(np.asarray(rebuild.rebuild(key, tuple(s)))) for key, s in shapes.items()}
    network = TALNet(pooling=request.param).eval()
    network.load_state_dict(weights | {key: network.state_dict()[key] for key in OWN}, strict=True)
    return network, shapes, np.load(golden / f"talnet_{short}.npz")


def test_gives_the_recorded_outputs(recorded):
    network, _, wanted = recorded
    x = torch.from_numpy(np.random.default_rng(11).standard_normal((2, 400, 64)).astype(np.float32))
    with torch.no_grad():
        features = network.trunk(x)
        frame_probs = network.frame_logits(features).sigmoid().numpy()
        clip_probs = network.clip_logits(features).sigmoid().numpy()
    assert features.shape == (2, 100, 1024)
    np.testing.assert_allclose(clip_probs, wanted["clip_prob"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(frame_probs[:, :10, :20], wanted["frame_prob_head"], rtol=0, atol=1e-5)
    stats = [frame_probs.mean((1, 2)), frame_probs.max((1, 2))]
    np.testing.assert_allclose(stats, wanted["frame_prob_stats"], rtol=0, atol=1e-5)


def test_state_dict_has_the_recorded_names_and_shapes_and_the_standardisation(recorded):
    network, shapes, _ = recorded
    found = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert found == {key: tuple(s) for key, s in shapes.items()} | dict.fromkeys(OWN, (64,))
    trainable = sum(p.numel() for p in network.parameters())
    assert trainable == (10_520_702 if network.pooling == "attention" else 9_980_527)


def numpy_features(wave):
    """TALNet's features of one clip, as librosa makes them: [H, F] in dB, before standardisation."""
    window = np.zeros(4096)
    window[1536:2560] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    padded = np.pad(wave.astype(np.float64), 2048)
    hops = 1 + len(wave) // 400
    frames = np.stack([padded[400 * h : 400 * h + 4096] for h in range(hops)])
    magnitude = np.abs(np.fft.rfft(frames * window))
    # Slaney's mels: 3 to 200 Hz up to 1 kHz, then 27 to each factor of 6.4.
    mels = np.linspace(0, 15 + 27 * np.log(8) / np.log(6.4), 66)
    hz = np.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))
    bins = np.arange(2049) * 16_000 / 4096
    filters = [np.interp(bins, hz[i : i + 3], [0, 2 / (hz[i + 2] - hz[i]), 0]) for i in range(64)]
    db = 10 * np.log10(np.maximum(magnitude @ np.array(filters).T, 1e-10))
    return np.maximum(db, db.max() - 80)[: hops - 1]


def test_features_are_those_of_librosa(rebuild):
    wave = rebuild.bursts(3, 2, 160_000)
    wave[1, 40_000:] = 0  # a hundred dB below the rest, were it not for top_db
    wave[1] *= 0.01  # each clip has its own loudest bin
    found = TALNet(5, 0.1).log_mel(torch.from_numpy(wave)).numpy()
    assert found.shape == (2, 400, 64)
    for b in range(2):
        np.testing.assert_allclose(found[b], numpy_features(wave[b]), rtol=0, atol=2e-3)
        assert np.ptp(found[b]) <= 80.001
    assert np.ptp(found[1]) > 79.9


@pytest.mark.parametrize("integer", [False, True])
def test_standardisation_is_estimated_and_stored_with_the_weights(integer):
    torch.manual_seed(0)
    waves = 0.1 * torch.randn(40, 16_000)
    given = (waves * 32767).to(torch.int16) if integer else waves
    network = build("talnet", 5, 0.1)
    network.estimate_normalizer(given)
    x = network.standardise(network.log_mel(given.float() / 32767 if integer else given))
    torch.testing.assert_close(x.mean((0, 1)), torch.zeros(64), rtol=0, atol=1e-3)
    torch.testing.assert_close(x.std((0, 1), correction=0), torch.ones(64), rtol=0, atol=1e-3)
    before = {key: network.state_dict()[key].clone() for key in OWN}
    network.train()(waves[:2])
    assert all(torch.equal(network.state_dict()[key], before[key]) for key in OWN), "training must not move it"


def test_a_bin_that_never_changes_is_not_scaled():
    layer = Standardise(3)
    layer.estimate([torch.tensor([[[-100.0, 1.0, 2.0], [-100.0, 3.0, 2.0]]])])
    torch.testing.assert_close(layer.mean, torch.tensor([-100.0, 2.0, 2.0]))
    torch.testing.assert_close(layer.deviation, torch.tensor([1.0, 1.0, 1.0]))


def test_silence_has_a_finite_gradient():
    wave = torch.zeros(1, 3_200, requires_grad=True)
    build("talnet", 5, 0.1)(wave).sum().backward()
    assert wave.grad.isfinite().all()


def test_an_unknown_pooling_is_named():
    with pytest.raises(UserError, match="unknown pooling 'median'; choose one of max, average"):
        TALNet(pooling="median")
