"""Every network as ONNX, run by ONNX Runtime; and what the file says of itself."""

import json

import exported
import numpy as np
import pytest
import torch

from glat.backbones import BACKBONES
from glat.errors import UserError
from glat.export.graph import OUTPUTS
from glat.export.onnx import OPSET

onnx = pytest.importorskip("onnx", reason="pip install 'glat[export]' to write ONNX")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install 'glat[export]' to run ONNX")
pytest.importorskip("onnxscript", reason="pip install 'glat[export]' to write ONNX")

NAMES = ["Füße 🦶" * 200, "b\nc", "\udcff"]
# Every network in one of the streams, and every setting of the model; make test-exports has them all.
MODELS = {
    "cnn10, the released program": {
        "backbone": "cnn10",
        "suppress": "released",
        "frame_classifier": "local",
        "num_crops": 5,
        "crop_pooling": "average",
    },
    "at_sca and resnet38": {
        "backbone": "at_sca",
        "local_backbone": "resnet38",
        "clip_pooling": "attention",
        "rank_by": "frame_mean",
        "crop_pooling": "exponential",
    },
    "wavegram_logmel_cnn14 and cnn14": {
        "backbone": "wavegram_logmel_cnn14",
        "local_backbone": "cnn14",
        "clip_pooling": "max_mean",
        "rank_by": "frame_max",
        "suppress": "crop",
        "crop_pooling": "max",
        "num_crops": 5,
    },
    "talnet, crops as long as the clip": {
        "backbone": "talnet",
        "crop_seconds": 1.0,
        "crop_pooling": "linear",
        "share": "convolutions",
        "fusion_weight": 0.65,
    },
}


def run(path, wave):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return dict(zip(OUTPUTS, session.run(list(OUTPUTS), {"wave": wave}), strict=True))


@pytest.mark.parametrize("settings", MODELS.values(), ids=MODELS)
def test_every_network_says_in_onnx_runtime_what_it_says_here(settings, tmp_path):
    model = exported.small_model(**settings)
    path = tmp_path / "a.onnx"
    parity = exported.export(model, path)
    assert max(parity.largest.values()) < 1e-5
    assert parity.crops == 4 * model.config.num_crops
    written = onnx.load(path)
    onnx.checker.check_model(written, full_check=True)
    assert {entry.domain for entry in written.opset_import} == {""}
    assert written.opset_import[0].version == OPSET
    for B in (1, 7):
        found = run(path, exported.noise(model, model.global_.sample_rate_hz, clips=B).waves[:B])
        assert found["fused_probs"].shape == (B, 5)
        assert found["crop_starts"].dtype == np.int64


def test_every_network_is_tried():
    tried = {
        settings[name] for settings in MODELS.values() for name in ("backbone", "local_backbone") if name in settings
    }
    assert tried == set(BACKBONES)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A model of a user's own network, the same in both streams, and its file; classes that are hard to write."""
    model = exported.own_model(share="all")
    path = tmp_path_factory.mktemp("own") / "a.onnx"
    exported.export(model, path, classes=NAMES)
    return model, path


def test_own_networks_can_be_exported(own):
    model, path = own
    waves = exported.noise(model, 2_000, seed=9).waves
    found = run(path, waves)
    with torch.no_grad():
        scores = model(torch.from_numpy(waves))
    np.testing.assert_array_equal(found["crop_starts"], scores.crops.starts.numpy())
    np.testing.assert_allclose(found["fused_probs"], scores.fused_probs, rtol=0, atol=1e-6)


def test_the_file_says_what_it_is(own):
    _, path = own
    written = onnx.load(path)
    facts = {entry.key: json.loads(entry.value) for entry in written.metadata_props}
    assert facts["classes"] == NAMES
    assert facts["sample_rate_hz"] == 2_000
    assert (facts["clip_seconds"], facts["clip_samples"]) == (1.0, 2_000)
    assert (facts["crop_seconds"], facts["crop_samples"], facts["num_crops"]) == (0.4, 800, 2)
    assert facts["thresholds"] == [0.3] * 3
    assert facts["outputs"] == OUTPUTS
    shapes = {
        value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*written.graph.input, *written.graph.output)
    }
    assert shapes["wave"] == ["batch", 2_000]
    assert shapes["frame_probs"] == ["batch", facts["frames"], 3]
    assert list(shapes)[1:] == list(OUTPUTS)
    assert b".py" not in path.read_bytes()  # no file of the machine that wrote it


def test_one_clip_of_nan_leaves_the_others_as_they_are(own):
    model, path = own
    waves = exported.noise(model, 2_000).waves
    wanted = run(path, waves)
    for bad in (np.nan, np.inf, -np.inf):
        spoilt = waves.copy()
        spoilt[1, 900:1_000] = bad
        found = run(path, spoilt)
        for name, values in wanted.items():
            np.testing.assert_allclose(found[name][[0, 2]], values[[0, 2]], rtol=0, atol=1e-6)
        assert ((found["crop_classes"] >= 0) & (found["crop_classes"] < 3)).all()
        assert ((found["crop_starts"] >= 0) & (found["crop_starts"] <= 2_000 - 800)).all()


def test_an_operator_without_a_counterpart_is_named(tmp_path):
    model = exported.own_model()

    class Odd(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.matrix_exp(x.mT @ x)[:, :1] + x

    model.global_.features = torch.nn.Sequential(model.global_.features, Odd())
    with pytest.raises(UserError, match=r"no counterpart in ONNX .*export OUT.pt2"):
        exported.export(model, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())
