"""The networks that can be a stream, by name."""

from ..errors import UserError
from .at_sca import ATSCA
from .base import Backbone
from .cnn10 import CNN10
from .cnn14 import CNN14
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
    "Backbone",
    "ResNet38",
    "TALNet",
    "WavegramLogmelCNN14",
    "backbone_class",
    "build",
]


def build(name: str, num_classes: int = 527, width: float = 1.0) -> Backbone:
    """Make a backbone with fresh weights.

    Args:
        name: a key of `BACKBONES`, such as ``"cnn10"``; ``"at_sca"`` is AT-SCA (reconstruction).
        num_classes: L, at least 1; AudioSet has 527.
        width: factor on the number of channels; 0.25 makes a CNN10 that trains on a CPU.

    Raises:
        UserError: an unknown name (the known ones are listed), no class, a width that is not positive.
    """
    kind = backbone_class(name)
    if num_classes < 1:
        raise UserError(f"num_classes is {num_classes}; wanted at least 1")
    if not width > 0:
        raise UserError(f"width is {width}; wanted a positive factor on the channels, such as 1 or 0.25")
    return kind(num_classes, width)


def backbone_class(name: str) -> type[Backbone]:
    """The class behind a name; its attributes tell the sample rate before a network is made.

    Raises:
        UserError: an unknown name.
    """
    if name not in BACKBONES:
        raise UserError(f"unknown backbone {name!r}; choose one of {', '.join(BACKBONES)}")
    return BACKBONES[name]
