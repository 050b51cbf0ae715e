"""Small models for the tests of export."""

import torch
from torch import nn

from glat.backbones import Adapted
from glat.config import ModelConfig
from glat.export.check import Parity
from glat.export.facts import describe
from glat.export.sounds import Sounds
from glat.export.write import export_model, output
from glat.model import GlobalLocal, build_model

NORMS = nn.BatchNorm1d | nn.BatchNorm2d


def as_trained(model, seed=1):
    """Batch norms as training leaves them, and classifiers whose classes and frames differ."""
    generator = torch.Generator().manual_seed(seed)
    for norm in (m for m in model.modules() if isinstance(m, NORMS)):
        norm.running_mean.normal_(0, 0.3, generator=generator)
        norm.running_var.uniform_(0.5, 2, generator=generator)
        nn.init.uniform_(norm.weight, 0.5, 1.5, generator=generator)
        nn.init.normal_(norm.bias, 0, 0.2, generator=generator)
    for name, weight in model.named_parameters():
        if name.endswith(("fc_audioset.weight", "fc_prob.weight")):
            weight.data.mul_(3)
    return model.eval()


def small_model(num_classes=5, seed=0, **config):
    torch.manual_seed(seed)
    settings = {"width": 0.05, "num_crops": 2, "crop_seconds": 0.4} | config
    return as_trained(build_model(ModelConfig(**settings), num_classes))


def own_model(num_classes=3, seed=0, rate=2_000, **config):
    """A network that knows nothing of glat: fast, and of a rate that no other has."""
    torch.manual_seed(seed)

    class Features(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(1, 6, 40, stride=20)

        def forward(self, wave):
            return self.conv(wave[:, None]).tanh().mT

    def stream():
        return Adapted(
            Features(),
            nn.Linear(6, num_classes),
            sample_rate_hz=rate,
            num_classes=num_classes,
            channels=6,
            min_samples=40,
        )

    settings = ModelConfig(**({"num_crops": 2, "crop_seconds": 0.4} | config))
    global_ = stream()
    return GlobalLocal(global_, global_ if settings.share == "all" else stream(), settings).eval()


def noise(model, samples, clips=3, seed=2):
    """Clips of noise that swells and fades, and one of silence."""
    generator = torch.Generator().manual_seed(seed)
    swell = torch.linspace(0, 9, samples).sin().square()
    waves = 0.2 * torch.randn(clips, samples, generator=generator) * swell
    return Sounds.of("noise", [(f"noise {i}", wave.numpy()) for i, wave in enumerate(waves)], samples)


def export(model, path, seconds=1.0, classes=None, sounds=None, **options) -> Parity:
    """Write a model with its metadata; of the options, `tolerance`."""
    samples = round(seconds * model.global_.sample_rate_hz)
    classes = classes or [f"class {i}" for i in range(model.global_.num_classes)]
    with torch.no_grad():
        frames = model.global_.frame_features(torch.zeros(1, samples)).shape[1]
    thresholds = torch.full((len(classes),), 0.3).numpy()
    facts = describe(model, classes, samples, frames, thresholds, thresholds, {"run": "small"})
    return export_model(model, samples, facts, output("OUT", path), lambda: sounds or noise(model, samples), **options)
