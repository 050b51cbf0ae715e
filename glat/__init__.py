"""GL-AT: global-local attention for weakly labelled audio tagging.

What this package offers from Python, imported when it is used, so that ``import glat`` is quick; docs/python.md shows
each of it at work.

======================  ==================================================================================
`load`                  a run's folder, or weights of PANNs or TALNet, as a `Tagger`
`Tagger`                tags files and arrays of any length
`Tags`                  what is said of a recording, made of `Tag`, `Crop`, `FrameProbs` and `WindowProbs`
`TaggedEvent`           one sounding of a class, made by `Tags.events`
`train`, `TrainConfig`  train.py as a function, and its flags
`select_crops`          the selector: one operator, fused on a GPU and on a CPU; returns `Crops`
`GlobalLocal`           the two-stream network
`ModelConfig`           what it is built from
`load_pretrained`       trained weights as a network
`UserError`             what is raised where input is not as it should be
======================  ==================================================================================
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .commands.train import train as train
    from .config import ModelConfig as ModelConfig
    from .config import TrainConfig as TrainConfig
    from .errors import UserError as UserError
    from .kernels import Crops as Crops
    from .kernels import select_crops as select_crops
    from .model import GlobalLocal as GlobalLocal
    from .runs.pretrained import load_pretrained as load_pretrained
    from .tagging.events import TaggedEvent as TaggedEvent
    from .tagging.loading import load as load
    from .tagging.tagger import Tagger as Tagger
    from .tagging.tags import Crop as Crop
    from .tagging.tags import FrameProbs as FrameProbs
    from .tagging.tags import Tag as Tag
    from .tagging.tags import Tags as Tags
    from .tagging.tags import WindowProbs as WindowProbs

__version__ = "0.1.0"

_MODULES = {
    "Crop": "tagging.tags",
    "Crops": "kernels",
    "FrameProbs": "tagging.tags",
    "GlobalLocal": "model",
    "ModelConfig": "config",
    "Tag": "tagging.tags",
    "TaggedEvent": "tagging.events",
    "Tagger": "tagging.tagger",
    "Tags": "tagging.tags",
    "TrainConfig": "config",
    "UserError": "errors",
    "WindowProbs": "tagging.tags",
    "load": "tagging.loading",
    "load_pretrained": "runs.pretrained",
    "select_crops": "kernels",
    "train": "commands.train",
}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
