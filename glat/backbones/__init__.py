"""The networks that can be a stream, by name."""

from collections.abc import Callable

from ..errors import UserError
from .adapted import Adapted
from .at_sca import ATSCA
from .base import Backbone
from .cnn10 import CNN10
from .cnn14 import CNN14
from .own import load_factory
from .resnet38 import ResNet38
from .talnet import TALNet
from .wavegram_logmel_cnn14 import WavegramLogmelCNN14

BACKBONES: dict[str, type[Backbone]] = {
    "at_sca": ATSCA,  # AT-SCA (reconstruction)
    "cnn10": CNN10,
    "cnn14": CNN14,
    "resnet38": ResNet38,
    "talnet": TALNet,
    "wavegram_logmel_cnn14": WavegramLogmelCNN14,
}

__all__ = [
    "ATSCA",
    "BACKBONES",
    "CNN10",
    "CNN14",
    "Adapted",
    "Backbone",
    "ResNet38",
    "TALNet",
    "WavegramLogmelCNN14",
    "build",
    "sample_rate_hz_of",
]


def build(name: str, num_classes: int = 527, width: float = 1.0, clip_pooling: str = "own") -> Backbone:
    """Make a backbone with fresh weights.

    Args:
        name: a key of `BACKBONES`, such as ``"cnn10"`` (``"at_sca"`` is AT-SCA (reconstruction)); or
            ``"module:factory"``, where ``factory(num_classes, width)`` returns a `Backbone` of your own. That is code
            which runs: of a name that a file holds, `own.refuse_unnamed` comes first.
        num_classes: L, at least 1; AudioSet has 527.
        width: factor on the number of channels; 0.25 makes a CNN10 that trains on a CPU.
        clip_pooling: "own", or one of `glat.pooling.POOLINGS` to score clips by the frames' probabilities.

    Raises:
        UserError: an unknown name (the known ones are listed), no class, a width that is not positive, a factory that
            is none or returns something else.
    """
    if name not in BACKBONES and ":" not in name:
        known = ", ".join(BACKBONES)
        raise UserError(f"unknown backbone {name!r}; choose one of {known}, or module:factory for one of your own")
    factory: Callable[[int, float], Backbone] = BACKBONES[name] if name in BACKBONES else load_factory(name)
    if num_classes < 1:
        raise UserError(f"num_classes is {num_classes}; wanted at least 1")
    if not width > 0:
        raise UserError(f"width is {width}; wanted a positive factor on the channels, such as 1 or 0.25")
    network = factory(num_classes, width)
    if not isinstance(network, Backbone):
        raise UserError(
            f"backbone {name!r} made {type(network).__name__}; wanted a glat.backbones.Backbone: subclass it, or "
            "return glat.backbones.Adapted(features, classifier, ...)"
        )
    if network.num_classes != num_classes:
        raise UserError(f"backbone {name!r} was asked for {num_classes} classes and has {network.num_classes}")
    if clip_pooling != "own":
        network.pool_clips_by(clip_pooling)
    return network


def sample_rate_hz_of(name: str) -> int:
    """The rate of the waveforms that a backbone takes, before the number of classes is known.

    Raises:
        UserError: an unknown name.
    """
    return BACKBONES[name].sample_rate_hz if name in BACKBONES else build(name, 1).sample_rate_hz
