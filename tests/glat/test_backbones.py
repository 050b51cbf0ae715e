"""Every backbone: recorded outputs, shapes, minimal length, state dict, width and classes."""

import json

import numpy as np
import pytest
import torch

from glat.backbones import BACKBONES, build
from glat.errors import UserError

PANNS = {"cnn10": ("Cnn10", 5_219_279, 512), "resnet38": ("ResNet38", 73_783_247, 2048)}
FRAMES = {"cnn10": {10: 62, 5: 31, 3: 18, 1: 6, 30: 187}, "resnet38": {10: 31, 5: 15, 3: 9, 1: 3, 30: 93}}


@pytest.fixture(scope="module", params=sorted(PANNS))
def panns(request, golden, rebuild):
    """A backbone with the recorded network's weights, its whole checkpoint, and what it put out."""
    name = request.param
    recorded = json.loads((golden / "weights.json").read_text())[PANNS[name][0]]["parameters"]
    checkpoint = {key: torch.from_numpy(np.asarray(rebuild.rebuild(key, tuple(s)))) for key, s in recorded.items()}
    return name, build(name).eval(), checkpoint, np.load(golden / f"{name}.npz")


def test_loads_a_panns_checkpoint_strictly_and_gives_its_outputs(panns, rebuild):
    name, network, checkpoint, wanted = panns
    frozen = {
        "spectrogram_extractor.stft.conv_real.weight": torch.zeros(513, 1, 1024),
        "spectrogram_extractor.stft.conv_imag.weight": torch.zeros(513, 1, 1024),
        "logmel_extractor.melW": torch.zeros(513, 64),
    }
    network.load_state_dict(checkpoint | frozen, strict=True)
    with torch.no_grad():
        features = network.frame_features(torch.from_numpy(rebuild.bursts(7, 2, 160_000)))
        probs = network.clip_logits(features).sigmoid()
        embedding = network.embedding(features.amax(1) + features.mean(1))
    np.testing.assert_allclose(probs, wanted["clipwise_output"], rtol=0, atol=1e-5)
    scale = np.abs(wanted["embedding"]).max()
    np.testing.assert_allclose(embedding, wanted["embedding"], rtol=1e-4, atol=1e-4 * scale)
    assert features.shape == (2, FRAMES[name][5], PANNS[name][2])


def test_state_dict_has_the_names_and_shapes_of_panns(panns):
    _, network, checkpoint, _ = panns
    frozen = ("spectrogram_extractor.", "logmel_extractor.")
    wanted = {key: tuple(value.shape) for key, value in checkpoint.items() if not key.startswith(frozen)}
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == wanted


@pytest.mark.parametrize("name", sorted(PANNS))
def test_number_of_parameters(name):
    with torch.device("meta"):
        network = build(name)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == PANNS[name][1]


@pytest.mark.parametrize("name", sorted(BACKBONES))
@pytest.mark.parametrize("seconds", [1, 3, 10, 30])
def test_shapes(name, seconds):
    network = build(name, num_classes=7, width=0.1).eval()
    with torch.no_grad():
        features = network.frame_features(torch.randn(2, seconds * network.sample_rate_hz))
        frames = network.frame_logits(features)
        clips = network.clip_logits(features)
    assert frames.shape == (2, FRAMES[name][seconds], 7)
    assert clips.shape == (2, 7)


@pytest.mark.parametrize("name", sorted(BACKBONES))
@pytest.mark.parametrize("num_classes", [1, 10, 527])
def test_any_number_of_classes_trains(name, num_classes):
    network = build(name, num_classes, width=0.1)
    loss = network(0.1 * torch.randn(2, network.sample_rate_hz)).square().mean()
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_the_minimal_length_works_and_one_sample_less_is_named(name):
    network = build(name, 3, width=0.1).eval()
    fewest = network.min_samples
    assert fewest == {"cnn10": 4_800, "resnet38": 9_920}[name]
    with torch.no_grad():
        assert network(torch.zeros(1, fewest)).isfinite().all()
    with pytest.raises(ValueError, match=f"at least {fewest} samples.*got {fewest - 1}"):
        network(torch.zeros(1, fewest - 1))


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_dropout_only_where_it_is_asked_for(name):
    network = build(name, 5, width=0.1).eval()
    features = torch.rand(2, 6, network.fc1.in_features)
    for score in (network.frame_logits, network.clip_logits):
        assert torch.equal(score(features), score(features))
        assert not torch.equal(score(features, 0.5), score(features, 0.5))


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_compiles_as_one_graph_forward_and_backward(name):
    network = build(name, 5, width=0.1)
    wave = 0.1 * torch.randn(2, network.sample_rate_hz)
    torch.compile(network, fullgraph=True, backend="aot_eager")(wave).sum().backward()
    assert network.fc1.weight.grad.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("cnn12",), "unknown backbone 'cnn12'.*cnn10, resnet38"),
        (("cnn10", 0), "num_classes is 0"),
        (("cnn10", 5, 0.0), "width is 0.0"),
        (("cnn10", 5, float("nan")), "width is nan"),
    ],
)
def test_bad_input_is_named(arguments, said):
    with pytest.raises(UserError, match=said):
        build(*arguments)
