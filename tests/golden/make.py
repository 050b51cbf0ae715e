"""Writes the golden set beside this file: our own numbers on inputs that every machine rebuilds to the bit.

``python tests/golden/make.py`` from the repository's root, where a change of the numbers is meant; say in the commit
why. tests/test_golden.py compares. That the numbers are those of the original programs is shown elsewhere, where their
recorded outputs are at hand.
"""

import json
import math
import os
import sys
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from glat.backbones import BACKBONES
from glat.config import ModelConfig
from glat.data.soundscapes.mix import Mixer, mix, synthesised
from glat.data.soundscapes.portable_math import Draw
from glat.frontend import LogMel, to_float
from glat.inference import for_inference
from glat.kernels import select_crops
from glat.model import GlobalLocal, build_model

HERE = Path(__file__).parent
CLASSES, WIDTH = 6, 0.125
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "released": {"suppress": "released", "frame_classifier": "local", "freeze_global": True},
}
CURVES = ("cnn10", "talnet")
# 20 steps, float32, one thread; a whole run, so that data, order, loss and optimiser are in it.
CURVE_FLAGS = (
    *("--width", "0.125", "--batch-size", "4", "--iterations", "20", "--log-every", "1", "--train-clips", "24"),
    *("--eval-clips", "8", "--clip-seconds", "4", "--crop-seconds", "1", "--num-crops", "3", "--eval-every", "20"),
)


def uniform(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Numbers in [-1, 1), a pure function of a name and a shape."""
    noise = Draw(zlib.crc32(key.encode())).noise(math.prod(shape))
    return torch.from_numpy((noise / 32_768).astype(np.float32)).reshape(shape)


def model(backbone: str, preset: str) -> GlobalLocal:
    """A two-stream model whose weights are rebuilt from their names."""
    config = ModelConfig(backbone=backbone, width=WIDTH, num_crops=3, crop_seconds=1.0, **PRESETS[preset])
    built = build_model(config, CLASSES)
    state = built.state_dict()
    for name, tensor in state.items():
        values = uniform(name, tuple(tensor.shape))
        if name.endswith("running_var"):
            values = 1.0 + 0.3 * values
        elif tensor.ndim > 1:
            last = 0.05 if name.startswith(("global_.fc_audioset", "local_.fc_audioset")) else 1.0  # no saturation
            values = values * (last * math.sqrt(6 / math.prod(tensor.shape[1:])))
        elif name.endswith("weight"):
            residual = 0.2 if ".bn2." in name and ".layer" in name else 1.0  # 16 blocks that each add as much saturate
            values = residual * (1.0 + 0.1 * values)
        else:
            values = 0.1 * values
        if tensor.is_floating_point() and "window" not in name and "melW" not in name and "log_mel" not in name:
            tensor.copy_(values)
    built.load_state_dict(state)
    return built.eval()


def waves() -> torch.Tensor:
    """Two soundscapes [2, S] of 4 s, int16, and the same bytes everywhere."""
    clips = mix(
        synthesised("eval", 0, 32_000), Mixer(), 2, split="eval", sample_rate_hz=32_000, clip_seconds=4.0, workers=1
    )
    return clips.waves


@torch.inference_mode()
def scores(backbone: str, preset: str) -> dict[str, Any]:
    """What a model says of `waves`, each number to 7 digits."""
    found = for_inference(model(backbone, preset))(waves())
    peaks = found.crops.peaks
    return {
        "classes": found.crops.classes.tolist(),
        "starts": found.crops.starts.tolist(),
        "peaks": rounded(peaks),
        **{name: rounded(getattr(found, f"{name}_probs")) for name in ("global", "local", "fused")},
    }


def log_mel() -> Any:
    """Every 25th frame and 8th bin of `waves`, dB."""
    return rounded(LogMel(32_000, f_max_hz=14_000.0)(to_float(waves()))[:, ::25, ::8])


def selections() -> list[dict[str, Any]]:
    """Crops of random scores, for every rule of suppression."""
    cases = []
    for i, suppress in enumerate(("none", "released", "crop")):
        for T in (31, 62, 100):
            rank, frames = uniform(f"rank{i}{T}", (3, 20)), 4 * uniform(f"frames{i}{T}", (3, T, 20))
            lengths = torch.tensor([64_000, 41_234, 64_000]) if suppress != "released" else None
            crops = select_crops(
                rank,
                frames,
                torch.zeros(3, 64_000),
                num_crops=5,
                crop_samples=19_200,
                suppress=suppress,
                lengths=lengths,
                impl="reference",
            )
            found = {"classes": crops.classes.tolist(), "starts": crops.starts.tolist()}
            cases.append({"suppress": suppress, "T": T, **found})
    return cases


def curve(backbone: str) -> list[dict[str, float]]:
    """The metrics of a short run, row by row; in a process with one thread."""
    from processes import metrics, train

    with TemporaryDirectory() as folder:
        status, said, complained = train("--backbone", backbone, *CURVE_FLAGS, "--run-dir", Path(folder) / "run")
        assert status == 0, said + complained
        return metrics(Path(folder) / "run")


def machine() -> dict[str, Any]:
    """What the last bits of a sum depend on."""
    return {"torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}


def rounded(tensor: torch.Tensor) -> Any:
    """Nested lists of 7 significant digits."""
    array = np.vectorize(lambda x: float(f"{x:.7g}"))(tensor.double().numpy())
    return array.tolist()


def main() -> None:
    """Write all of it."""
    sys.path.insert(0, str(HERE.parent))
    os.environ["OMP_NUM_THREADS"] = "1"
    networks = {f"{name}/{preset}": scores(name, preset) for name in BACKBONES for preset in PRESETS}
    golden = {"log_mel": log_mel(), "selections": selections(), "networks": networks}
    (HERE / "golden.json").write_text(json.dumps(golden) + "\n", encoding="utf-8")
    curves = {"machine": machine(), **{name: curve(name) for name in CURVES}}
    (HERE / "curves.json").write_text(json.dumps(curves, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
