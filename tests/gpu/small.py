"""What the GPU tests run on: networks, batches and flags, on a GPU or, smaller, on the CPU in its place."""

import json
import os
from dataclasses import dataclass, replace

import torch

from glat.config import ModelConfig, paper
from glat.data import Batch
from glat.model import GlobalLocal, build_model

ON = os.environ.get("GLAT_GPU_TESTS_ON", "cuda")
QUICK = os.environ.get("GLAT_GPU_QUICK", "") not in ("", "0")
CLASSES = 20
NETWORKS = (
    ["cnn10", "resnet38"] if QUICK else ["cnn10", "resnet38", "talnet", "at_sca", "cnn14", "wavegram_logmel_cnn14"]
)
OF_THE_PAPER = ["cnn10", "resnet38"] if QUICK else ["cnn10", "resnet38", "talnet", "at_sca"]


@dataclass(frozen=True)
class Size:
    """What is tested on: a GPU with networks of a useful size, or the CPU with the smallest ones."""

    device: torch.device

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def seconds(self) -> int:
        """Of a clip; long enough for every network and for crops of 1 s."""
        return 10 if self.on_gpu else 2

    def model(
        self, backbone: str, width: float = 0.25, preset: ModelConfig | None = None, **more: float
    ) -> GlobalLocal:
        """The same fresh weights at every call, on the CPU, without dropout and SpecAugment; `more` is its config."""
        torch.manual_seed(0)
        config = replace(
            preset or paper().model,
            backbone=backbone,
            width=width if self.on_gpu else 0.1,
            spec_augment=False,
            dropout_scale=0.0,
            select_dropout=0.0,
            **({"num_crops": 3, "crop_seconds": 3.0 if self.on_gpu else 1.0} | more),
        )
        return build_model(config, CLASSES)

    def batch(self, model: GlobalLocal, clips: int = 2) -> Batch:
        """Noise whose loudness changes, so that frames differ; one clip is shorter than the others. On the CPU."""
        draw = torch.Generator().manual_seed(1)
        samples = self.seconds * model.global_.sample_rate_hz
        loudness = torch.rand(clips, self.seconds * 2, generator=draw).repeat_interleave(
            samples // (2 * self.seconds), 1
        )
        wave = 0.3 * loudness * torch.randn(clips, samples, generator=draw)
        lengths = torch.full((clips,), samples)
        lengths[-1] = samples * 7 // 10
        wave[-1, lengths[-1] :] = 0
        return Batch(wave, lengths, (torch.rand(clips, CLASSES, generator=draw) < 0.2).float())

    def moved(self, batch: Batch) -> Batch:
        """The batch on the device."""
        return Batch(*(x.to(self.device) for x in batch))

    def held(self) -> int:
        """Bytes of tensors on the device; 0 on a CPU, which does not count them."""
        return torch.cuda.memory_allocated(self.device) if self.on_gpu else 0


def losses(folder):
    """Loss by step, of a run's metrics."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return {row["step"]: row["loss"] for row in rows if "loss" in row}
