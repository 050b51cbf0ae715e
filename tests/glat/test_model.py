"""GlobalLocal: the released program's outputs, the presets, what is trained, and bad input."""

import json
from copy import deepcopy

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from glat.backbones import Adapted, build
from glat.config import ModelConfig, OptimConfig, released
from glat.data import Batch
from glat.errors import UserError
from glat.inference import for_inference
from glat.model import GlobalLocal, build_model, share_convolutions
from glat.runs.folder import WEIGHTS
from glat.runs.weights import load_weights, save_weights
from glat.training.step import TrainingStep

SMALL = ModelConfig(backbone="cnn10", width=0.1, num_crops=3, crop_seconds=1.0)


def small_model(**changes):
    torch.manual_seed(0)
    return build_model(ModelConfig(**(vars(SMALL) | changes)), num_classes=6)


def noise(clips=2, seconds=2.0):
    return 0.1 * torch.randn(clips, int(32_000 * seconds), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("backbone", ["cnn10", "resnet38"])
def test_released_preset_gives_the_released_programs_outputs(backbone, golden, rebuild):
    name = {"cnn10": "Cnn10", "resnet38": "ResNet38"}[backbone]
    shapes = json.loads((golden / "weights.json").read_text())[name]["parameters"]
    config = ModelConfig(**(vars(released().model) | {"backbone": backbone, "width": 1.0}))
    model = build_model(config, 527).eval()
    for stream, seed in ((model.global_, 0), (model.local_, 1)):
        weights = {key: torch.from_numpy(np.asarray(rebuild.rebuild(key, tuple(s), seed))) for key, s in shapes.items()}
        stream.load_state_dict(weights)
    with torch.no_grad():
        scores = model(torch.from_numpy(rebuild.bursts(5, 2, 320_000)))
    wanted = np.load(golden / f"two_stream_released_{backbone}.npz")
    for got, key in (("global_probs", "global_prob"), ("local_probs", "local_prob"), ("fused_probs", "prob")):
        np.testing.assert_allclose(getattr(scores, got), wanted[key], rtol=0, atol=1e-5, err_msg=key)


def test_crops_are_those_of_the_global_streams_own_scores():
    model = small_model().eval()
    wave = noise()
    scores = model(wave)
    assert torch.equal(scores.crops.classes, scores.clip_logits.topk(3).indices)
    for b in range(2):
        for n in range(3):
            k, start = scores.crops.classes[b, n], scores.crops.starts[b, n]
            m = scores.frame_logits[b, :, k].argmax()
            T, S, W = scores.frame_logits.shape[1], wave.shape[1], 32_000
            assert start == min(max(S * m // T - W // 2, 0), S - W)
            assert torch.equal(scores.crops.audio[b, n], wave[b, start : start + W])


def test_fusion_is_half_of_max_plus_mean():
    scores = small_model().eval()(noise())
    g, local = scores.global_probs, scores.local_probs
    torch.testing.assert_close(scores.fused_probs, 0.75 * torch.maximum(g, local) + 0.25 * torch.minimum(g, local))
    p = scores.crop_logits.sigmoid()
    torch.testing.assert_close(local, 0.5 * (p.amax(1) + p.mean(1)))


@pytest.mark.parametrize("pooling", ["max", "average", "linear", "exponential"])
def test_crops_pooled_otherwise_are_scored_trained_and_compiled_so(pooling):
    model = small_model(crop_pooling=pooling).eval()
    batch = Batch(noise(), torch.full((2,), 64_000), torch.eye(2, 6))
    scores = model(batch.wave)
    p = scores.crop_logits.sigmoid()
    weights = {"max": p == p.amax(1, keepdim=True), "average": torch.ones_like(p), "linear": p, "exponential": p.exp()}
    wanted = (p * weights[pooling]).sum(1) / weights[pooling].sum(1)
    torch.testing.assert_close(scores.local_probs, wanted)
    step = TrainingStep(model, OptimConfig())
    losses = step(batch)
    torch.testing.assert_close(losses.local_, torch.nn.functional.binary_cross_entropy(wanted, batch.targets))
    torch.testing.assert_close(losses.total, losses.global_ + losses.local_)
    if pooling == "linear":  # one for all: test_compiled_gradients.py compiles every pooling by itself
        step.compile(fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(step(batch).total, losses.total)


def gradients(model):
    loss = TrainingStep(model.train(), released().optim)
    loss.global_weight = 1.0
    loss(Batch(noise(), torch.full((2,), 64_000), torch.eye(2, 6))).total.backward()
    return {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


def test_both_streams_learn_in_the_paper_preset_and_one_in_the_released():
    streams = {name.split(".")[0] for name in gradients(small_model())}
    assert streams == {"global_", "local_"}
    frozen = small_model(freeze_global=True)
    before = {key: value.clone() for key, value in frozen.global_.state_dict().items()}
    assert {name.split(".")[0] for name in gradients(frozen)} == {"local_"}
    assert all(torch.equal(value, before[key]) for key, value in frozen.global_.state_dict().items()), (
        "statistics moved"
    )


def test_selection_in_training_has_no_dropout_unless_asked():
    features, wave = torch.rand(2, 12, 52), noise()

    def chosen(model):
        return [model.train().select(features, wave, None)[1] for _ in range(2)]

    same, other = chosen(small_model())
    assert torch.equal(same, other)
    noisy, other = chosen(small_model(select_dropout=0.5))
    assert not torch.equal(noisy, other)


def test_frame_classifier_of_the_local_stream():
    model = small_model(frame_classifier="local").eval()
    wave = noise()
    features = model.global_.frame_features(wave)
    torch.testing.assert_close(model(wave).frame_logits, model.local_.frame_logits(features))


@pytest.mark.parametrize("rank_by", ["frame_max", "frame_mean"])
def test_classes_ranked_by_their_frames(rank_by):
    model = small_model(rank_by=rank_by).eval()
    scores = model(noise())
    key = scores.frame_logits.amax(1) if rank_by == "frame_max" else scores.frame_logits.sigmoid().mean(1)
    assert torch.equal(scores.crops.classes, key.topk(3).indices)


@pytest.mark.parametrize("rank_by", ["clip", "frame_max", "frame_mean"])
def test_crops_stay_inside_padded_clips(rank_by):
    model = small_model(rank_by=rank_by).eval()
    crops = model(noise(), torch.tensor([64_000, 40_000])).crops
    assert (crops.starts[1] <= 40_000 - 32_000).all()


def test_int16_waves_are_the_float_waves():
    model = small_model().eval()
    samples = (noise() * 32767).to(torch.int16)
    whole, as_float = model(samples), model(samples.float() * (1.0 / 32767.0))
    torch.testing.assert_close(whole.fused_probs, as_float.fused_probs)
    assert torch.equal(whole.crops.starts, as_float.crops.starts)


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_the_whole_step_compiles_as_one_graph(preset):
    changes = vars(released().model) | vars(SMALL) if preset == "paper" else vars(SMALL) | {
        "suppress": "released", "frame_classifier": "local", "freeze_global": True,
    }  # fmt: skip
    model = build_model(ModelConfig(**changes), 6)
    module = TrainingStep(model.eval(), released().optim)
    batch = Batch(noise(), torch.full((2,), 64_000), torch.eye(2, 6))
    eager = module(batch).total
    module.compile(fullgraph=True, backend="aot_eager")
    compiled = module(batch).total
    torch.testing.assert_close(compiled, eager)
    compiled.backward()
    assert model.local_.fc1.weight.grad.isfinite().all()
    assert not [key for key in model.state_dict() if "_orig_mod" in key]


@pytest.mark.parametrize("weight", [0.0, 0.65, 1.0])
def test_a_fusion_weight_is_that_of_the_local_streams_logit(weight):
    model = small_model(fusion_weight=weight, crop_pooling="max").eval()
    with torch.no_grad():
        scores = model(noise())
    z = (1 - weight) * scores.clip_logits + weight * scores.crop_logits.amax(1)
    torch.testing.assert_close(scores.fused_probs, z.sigmoid(), atol=1e-6, rtol=1e-5)
    sure = scores._replace(clip_logits=torch.full((1, 2), 200.0), local_probs=torch.tensor([[0.0, 1.0]]))
    assert sure.fused_probs.isfinite().all()
    assert sure.fused_probs[0, 0] <= sure.fused_probs[0, 1]


@pytest.mark.parametrize("backbone", ["cnn10", "talnet"])
def test_shared_convolutions_learn_from_both_streams_and_all_else_from_its_own(backbone):
    model = small_model(backbone=backbone, share="convolutions").train()
    own, other = (dict(stream.named_parameters()) for stream in (model.global_, model.local_))
    shared = {name for name, weight in own.items() if other[name] is weight}
    convolutions = {n for n, part in model.global_.named_modules() if isinstance(part, torch.nn.Conv2d)}
    assert {name.rpartition(".")[0] for name in shared} == convolutions
    scores = model(noise())
    scores.crop_logits.square().sum().backward()
    assert all((own[name].grad is not None) == (name in shared) for name in own)
    assert all(weight.grad is not None for weight in other.values())


def test_streams_with_the_same_convolutions_score_the_same_folded_saved_and_copied(tmp_path):
    model = small_model(share="convolutions").train()
    for _ in range(2):
        model(noise())  # norms of clips and of crops then differ
    model.eval()
    with torch.no_grad():
        before = model(noise())
        folded = for_inference(model)(noise())
        save_weights(tmp_path, model)
        loaded = small_model(share="convolutions")
        load_weights(loaded, load_file(tmp_path / WEIGHTS), tmp_path)
        again = loaded.eval()(noise())
    for one, other in ((before, folded), (before, again)):
        torch.testing.assert_close(one.local_probs, other.local_probs, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(one.global_probs, other.global_probs, atol=1e-5, rtol=1e-5)
    copied = deepcopy(model)
    assert copied.local_.conv_block1.conv1 is copied.global_.conv_block1.conv1
    assert sum(p.numel() for p in copied.parameters()) < 0.6 * sum(p.numel() for p in small_model().parameters())


def test_networks_without_convolutions_have_none_to_share():
    facts = {"sample_rate_hz": 8_000, "num_classes": 2, "channels": 3, "min_samples": 40}
    streams = [Adapted(torch.nn.Identity(), torch.nn.Linear(3, 2), **facts) for _ in range(2)]
    with pytest.raises(UserError, match="--share convolutions: Adapted has none; choose nothing or all"):
        share_convolutions(*streams)


@pytest.mark.parametrize(
    "wave",
    [torch.zeros(2, 64_000), torch.sign(torch.sin(torch.arange(128_000.0).reshape(2, -1)))],
    ids=["silence", "full-scale square"],
)
def test_bfloat16_autocast_has_no_nan(wave):
    model = small_model()
    step = TrainingStep(model.train(), released().optim)
    with torch.autocast("cpu", torch.bfloat16):
        losses = step(Batch(wave, torch.full((2,), 64_000), torch.eye(2, 6)))
    losses.total.backward()
    assert losses.total.dtype == torch.float32
    assert losses.total.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_crops": 7}, "num_crops is 7, and there are 6 classes.*--num-crops from 1 to 6"),
        ({"num_crops": 0}, "num_crops is 0"),
        ({"crop_pooling": "attention"}, "crop_pooling is 'attention'; choose one of max_mean, max, average"),
        ({"crop_seconds": 0.1}, "crop_seconds is 0.1, and CNN10 needs at least 0.15 s"),
    ],
)
def test_bad_settings_are_named(changes, said):
    with pytest.raises(UserError, match=said):
        small_model(**changes)


def test_clips_that_do_not_fit_are_named():
    model = small_model()
    with pytest.raises(UserError, match="crop_seconds is 1.0, and a clip has 0.50 s"):
        model.check_clip(16_000)


def test_streams_that_do_not_fit_are_named():
    with pytest.raises(UserError, match="6 and 5 classes"):
        GlobalLocal(build("cnn10", 6, 0.1), build("cnn10", 5, 0.1), SMALL)
