"""Every network, preset and pooling as ONNX, in ONNX Runtime: make test-exports."""

from itertools import cycle
from typing import get_args

import exported
import pytest

from glat.backbones import BACKBONES
from glat.config import PRESETS, ClipPooling, CropPooling, ModelConfig

pytestmark = pytest.mark.exports

# What else a model can be, in turn: of lengths that do not divide each other, so that all pairs come up.
CROP_POOLING, SUPPRESS = cycle(get_args(CropPooling)), cycle(["none", "released", "crop"])
RANK_BY, CROPS = cycle(["clip", "frame_max", "frame_mean", "clip"]), cycle([1, 5])


def cases():
    for backbone in sorted(BACKBONES):
        for preset in PRESETS:
            for clip_pooling in get_args(ClipPooling):
                turn = {"crop_pooling": next(CROP_POOLING), "rank_by": next(RANK_BY), "num_crops": next(CROPS)}
                if preset == "paper":
                    turn["suppress"] = next(SUPPRESS)
                yield pytest.param(
                    preset,
                    {"backbone": backbone, "clip_pooling": clip_pooling} | turn,
                    id="-".join(map(str, (backbone, preset, clip_pooling, *turn.values()))),
                )


@pytest.mark.parametrize(("preset", "settings"), cases())
def test_every_setting_says_in_onnx_runtime_what_it_says_here(preset, settings, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="pip install 'glat[export]' to write and run ONNX")
    model = PRESETS[preset]().model
    own = {name: value for name, value in vars(model).items() if value != getattr(ModelConfig(), name)}
    parity = exported.export(exported.small_model(**(own | settings)), tmp_path / "a.onnx")
    assert max(parity.largest.values()) < 1e-5
