"""Every backbone takes part in the same suite; PANNs' networks also give their recorded outputs.

AT-SCA (reconstruction) and TALNet have files of their own beside it.
"""

import json

import numpy as np
import pytest
import torch

from glat.backbones import BACKBONES, build
from glat.config import ModelConfig, OptimConfig
from glat.data import Batch
from glat.errors import UserError
from glat.model import build_model
from glat.training.step import TrainingStep

PANNS = {
    "cnn10": ("Cnn10", 5_219_279, 512),
    "cnn14": ("Cnn14", 80_753_615, 2048),
    "resnet38": ("ResNet38", 73_783_247, 2048),
    "wavegram_logmel_cnn14": ("Wavegram_Logmel_Cnn14", 81_065_487, 2048),
}
SIXTEEN_HOPS = {10: 62, 5: 31, 3: 18, 1: 6, 30: 187}
THIRTY_TWO_HOPS = {10: 31, 5: 15, 3: 9, 1: 3, 30: 93}
FRAMES = {
    "at_sca": SIXTEEN_HOPS,
    "cnn10": SIXTEEN_HOPS,
    "cnn14": THIRTY_TWO_HOPS,
    "resnet38": THIRTY_TWO_HOPS,
    "talnet": {10: 100, 3: 30, 1: 10, 30: 300},
    "wavegram_logmel_cnn14": THIRTY_TWO_HOPS,
}
FEWEST_SAMPLES = {
    "at_sca": 4_800,
    "cnn10": 4_800,
    "cnn14": 9_920,
    "resnet38": 9_920,
    "talnet": 1_600,
    "wavegram_logmel_cnn14": 10_236,
}


def small(name, num_classes=5):
    torch.manual_seed(0)
    return build(name, num_classes, width=0.1)


def noise(name, seconds=1.0, clips=2):
    samples = int(seconds * BACKBONES[name].sample_rate_hz)
    return 0.1 * torch.randn(clips, samples, generator=torch.Generator().manual_seed(1))


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
    network = small(name, num_classes=7).eval()
    with torch.no_grad():
        features = network.frame_features(noise(name, seconds))
        frames = network.frame_logits(features)
        clips = network.clip_logits(features)
    assert frames.shape == (2, FRAMES[name][seconds], 7)
    assert clips.shape == (2, 7)


@pytest.mark.parametrize("name", sorted(BACKBONES))
@pytest.mark.parametrize("num_classes", [1, 10, 527])
def test_any_number_of_classes_trains(name, num_classes):
    network = small(name, num_classes)
    network(noise(name)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_the_minimal_length_works_and_one_sample_less_is_named(name):
    network = small(name).eval()
    fewest = network.min_samples
    assert fewest == FEWEST_SAMPLES[name]
    with torch.no_grad():
        assert network.frame_features(torch.zeros(1, fewest)).shape[1] == 1
        assert network(torch.zeros(1, fewest)).isfinite().all()
    with pytest.raises(UserError, match=f"at least {fewest} samples.*got {fewest - 1}"):
        network(torch.zeros(1, fewest - 1))


@pytest.mark.parametrize("name", sorted(BACKBONES))
@pytest.mark.parametrize("samples", [32_001, 32_320, 35_196, 35_197])
def test_any_length_above_works(name, samples):
    with torch.no_grad():
        assert small(name).eval()(noise(name, 2.0)[:, :samples]).isfinite().all()


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_a_clip_is_scored_alike_whatever_shares_its_batch(name):
    network, wave = small(name).eval(), noise(name)
    with torch.no_grad():
        torch.testing.assert_close(network(wave)[:1], network(wave[:1]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_dropout_only_where_it_is_asked_for(name):
    network = small(name).eval()
    features = network.frame_features(noise(name)).detach() + 0.1
    for score in (network.frame_logits, network.clip_logits):
        assert torch.equal(score(features), score(features))
        assert not torch.equal(score(features, 0.5), score(features, 0.5))


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_width_scales_the_channels(name):
    def sizes(width):
        with torch.device("meta"):
            network = build(name, 5, width)
        return {key: value.shape for key, value in network.state_dict().items()}

    whole, half = sizes(1.0), sizes(0.5)
    assert whole.keys() == half.keys()
    assert max(s.numel() for s in half.values()) <= 0.26 * max(s.numel() for s in whole.values())


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_the_state_dict_makes_another_network_the_same(name):
    network, wave = small(name), noise(name)
    network.estimate_normalizer(wave)
    network(wave)  # in training: batch norm takes its statistics
    torch.manual_seed(1)
    other = build(name, 5, width=0.1).eval()
    other.load_state_dict(network.state_dict(), strict=True)
    assert torch.equal(other(wave), network.eval()(wave))


def step_of(name, **changes):
    torch.manual_seed(0)
    settings = {"backbone": name, "width": 0.1, "num_crops": 2, "crop_seconds": 0.4} | changes
    model = build_model(ModelConfig(**settings), num_classes=5)
    return model, TrainingStep(model, OptimConfig())


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_the_two_stream_step_compiles_as_one_graph_forward_and_backward(name):
    model, step = step_of(name, dropout_scale=0.0, spec_augment=False)
    wave = noise(name)
    batch = Batch(wave, torch.full((2,), wave.shape[1]), torch.eye(2, 5))
    step.eval()
    eager = step(batch).total
    step.compile(fullgraph=True, backend="aot_eager")
    compiled = step(batch).total
    torch.testing.assert_close(compiled, eager)
    compiled.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", sorted(BACKBONES))
@pytest.mark.parametrize("sound", ["silence", "full-scale square"])
def test_bfloat16_autocast_has_no_nan(name, sound):
    model, step = step_of(name)
    wave = torch.zeros_like(noise(name)) if sound == "silence" else noise(name).sin().sign()
    with torch.autocast("cpu", torch.bfloat16):
        losses = step.train()(Batch(wave, torch.full((2,), wave.shape[1]), torch.eye(2, 5)))
    losses.total.backward()
    assert losses.total.dtype == torch.float32
    assert losses.total.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("pooling", ["own", "attention"])
@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_clip_logits_are_float32_under_autocast(name, pooling):
    network = build(name, 5, width=0.1, clip_pooling=pooling).eval()
    features = network.frame_features(noise(name)).detach()
    with torch.autocast("cpu", torch.bfloat16):
        assert network(noise(name)).dtype == torch.float32
        found = network.clip_logits(features)
    assert torch.equal(found, network.clip_logits(features))


# torch.export lays nn.GRU's list of weights, which is no buffer, aside while it traces.
@pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")
@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_the_network_can_be_exported(name):
    network, wave = small(name).eval(), noise(name)
    exported = torch.export.export(network, (wave,)).module()
    other = noise(name).flip(0, 1)
    torch.testing.assert_close(exported(other), network(other))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("cnn12",), "unknown backbone 'cnn12'.*at_sca, cnn10, cnn14, resnet38, talnet, wavegram_logmel_cnn14"),
        (("cnn10", 0), "num_classes is 0"),
        (("cnn10", 5, 0.0), "width is 0.0"),
        (("cnn10", 5, float("nan")), "width is nan"),
    ],
)
def test_bad_input_is_named(arguments, said):
    with pytest.raises(UserError, match=said):
        build(*arguments)
