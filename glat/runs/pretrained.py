"""Weights that were trained before: PANNs' checkpoints, TALNet's, and our own runs."""

import pickle
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..backbones import BACKBONES, Backbone, build
from ..backbones.own import refuse_unnamed
from ..backbones.panns import FROZEN
from ..config import ModelConfig
from ..data.recordings.folders import AUDIO_SUFFIXES
from ..errors import UserError, first_line, warn
from ..hub.fetch import local
from ..model import GlobalLocal
from .digests import read_weights
from .folder import BEST_WEIGHTS, WEIGHTS, open_run
from .weights import ALLOW, load_model, load_weights

# An entry that one network has and the others lack; the first that is found names the network.
_TELLTALES = {
    "wavegram_logmel_cnn14": "pre_conv0.weight",
    "at_sca": "sca1.squeeze.weight",
    "resnet38": "resnet.layer1.0.conv1.weight",
    "cnn14": "conv_block6.conv1.weight",
    "cnn10": "conv_block4.conv1.weight",
    "talnet": "conv10.conv.weight",
}
_CLASSIFIERS = ("fc_audioset.weight", "fc_prob.weight")  # [L, C]


@dataclass(frozen=True)
class Pretrained:
    """What a file or a run's folder holds."""

    source: Path
    network: Backbone | GlobalLocal
    backbones: tuple[str, str]  # of the global and of the local stream
    width: float
    classes: tuple[str, ...] | None  # None: as many as the network has, unnamed
    lacking: frozenset[str] = frozenset()  # entries of the state dict that the file did not have

    @property
    def streams(self) -> tuple[Backbone, Backbone]:
        """Whose weights the global and the local stream start from."""
        if isinstance(self.network, GlobalLocal):
            return self.network.global_, self.network.local_
        return self.network, self.network


def load_pretrained(path: str | Path, allow_code: Collection[str] = ()) -> Backbone | GlobalLocal:
    """The trained network that a file or folder holds, on the CPU, in evaluation mode.

    Nothing that the file brings along is run: it is read with ``weights_only=True``.

    Args:
        path: a checkpoint of PANNs (``Cnn10_mAP=0.380.pth``, Zenodo record 3987831; also of its CNN14, ResNet38 and
            Wavegram-Logmel-CNN14) or TALNet (``TALNet.pt``), a state dict or a dict with one as ``"model"``; or the
            folder of one of our own runs; on the hub as `glat.load` takes them.
        allow_code: as of `load_model`.

    Returns:
        A `Backbone` with the file's classes; of a run the two-stream `GlobalLocal`. ``TALNet.pt`` lacks the
        normaliser, which a warning says: call `estimate_normalizer` with batches of training clips.

    Raises:
        UserError: nothing there; a file that is damaged, holds other objects than tensors (the message says how to
            convert it) or is of no network that we know.
    """
    found = read_pretrained(path, allow_code)
    if "standardise.mean" in found.lacking:
        warn(
            f"{path} holds no normaliser: call estimate_normalizer with batches of training clips before it is used",
            stacklevel=2,
        )
    return found.network


def read_pretrained(path: str | Path, allow_code: Collection[str] = (), way_out: str = ALLOW) -> Pretrained:
    """As `load_pretrained`, with what is known of the weights beside them.

    Args:
        way_out: how a caller names code, for the message: as of `refuse_unnamed`.
    """
    path = local(path)
    if path.is_dir():
        run = open_run(path)
        model = run.config.model
        backbones = model.backbone, model.local_backbone or model.backbone
        refuse_unnamed(backbones, allow_code, path, way_out)
        only_best = not (path / WEIGHTS).exists() and (path / BEST_WEIGHTS).exists()  # as glat push --best leaves it
        both = load_model(run, BEST_WEIGHTS if only_best else WEIGHTS, allow_code)
        return Pretrained(path, both, backbones, 1.0 if model.width is None else model.width, run.classes)
    weights = _read_weights(path)
    name = next((name for name, entry in _TELLTALES.items() if entry in weights), None)
    last = next((entry for entry in _CLASSIFIERS if entry in weights), None)
    if any(entry.startswith("global_.") for entry in weights):
        raise UserError(f"{path} holds both streams of a run; give the run's folder")
    if name is None or last is None:
        seen = ", ".join(list(weights)[:3]) or "nothing"
        raise UserError(
            f"{path} holds weights of no network that glat knows ({seen}, ...); wanted {', '.join(BACKBONES)}; "
            "load it into a network of your own, and give that as --backbone module:factory"
        )
    if weights[last].dim() != 2 or not weights[last].numel():
        raise UserError(f"{path}: its classifier {last} is {tuple(weights[last].shape)}, wanted [classes, channels]")
    num_classes, channels = weights[last].shape
    with torch.device("meta"):
        width = channels / build(name, 1).channels
    pooling = "attention" if "fc_att.weight" in weights else "own"
    network = build(name, num_classes, width, pooling)
    own = network.state_dict()
    fresh = {entry: own[entry] for entry in own if entry not in weights and entry.startswith(network.may_start_fresh)}
    load_weights(network, weights | fresh, path)
    return Pretrained(path, network.eval(), (name, name), width, None, frozenset(fresh))


def read_init_from(config: ModelConfig) -> Pretrained:
    """What ``--init-from`` names. Code of a run's own network runs where --backbone names the same."""
    assert config.init_from is not None
    named = [config.backbone, config.local_backbone or ""]
    return read_pretrained(config.init_from, named, way_out="--backbone {name}")


def match_network(config: ModelConfig, found: Pretrained) -> ModelConfig:
    """Check that the networks are those of the weights, and fill in their width where none was given.

    Raises:
        UserError: streams of other networks, or of another width, than the weights.
    """
    asked = config.backbone, config.local_backbone or config.backbone
    for ours, theirs, flag in zip(asked, found.backbones, ("--backbone", "--local-backbone"), strict=True):
        if ours != theirs and (ours, theirs) != ("at_sca", "cnn10"):
            raise UserError(
                f"--init-from {found.source} holds {theirs}, and the stream is {ours}; give {flag} {theirs}"
            )
    if config.width not in (None, found.width):
        raise UserError(
            f"--init-from {found.source} has width {found.width:g}, and --width is {config.width:g}; leave --width out"
        )
    return replace(config, width=found.width)


def initialise(model: GlobalLocal, found: Pretrained, config: ModelConfig, classes: tuple[str, ...]) -> list[str]:
    """Start both streams from trained weights; the classifier's last layer stays fresh where the classes differ.

    Args:
        model: built from `config` for `classes`, its normaliser estimated: weights without one keep the estimate.

    Returns:
        What was done, a line each.

    Raises:
        UserError: weights that do not fit.
    """
    lines = []
    known = found.streams[0].num_classes
    same = found.classes == classes if found.classes is not None else known == len(classes)
    names = (config.backbone, config.local_backbone or config.backbone)
    pairs = list(zip(model.streams(), found.streams, names, strict=False))
    for stream, source, name in reversed(pairs):  # the global one last: what both share is then its own
        own = stream.state_dict()
        given = {entry: tensor for entry, tensor in source.state_dict().items() if entry not in found.lacking}
        missing = [entry for entry in own if entry not in given and entry.startswith(stream.may_start_fresh)]
        last = [] if same else _last_layer(name, config)
        load_weights(stream, given | {entry: own[entry] for entry in (*missing, *last) if entry in own}, found.source)
        if missing:
            lines.append(f"{name}: not in these weights, left as it starts: {', '.join(missing)}")
    if not same:
        lines.append(f"its {known} classes are not the {len(classes)} of these recordings: the last layer starts anew")
    which = "both streams start" if len(model.streams()) == 2 else "the stream starts"
    return [f"{which} from {found.source}", *lines]


def _last_layer(name: str, config: ModelConfig) -> list[str]:
    """Entries of the state dict whose shape depends on the number of classes."""
    device = "meta" if name in BACKBONES else "cpu"  # another's network may not like to be built without memory
    with torch.device(device):
        one, two = (build(name, L, config.width or 1.0, config.clip_pooling).state_dict() for L in (1, 2))
    return [entry for entry in one if one[entry].shape != two[entry].shape]


def _read_weights(path: Path) -> dict[str, Tensor]:
    if path.suffix.lower() in AUDIO_SUFFIXES:
        raise UserError(f"{path} is a recording; give a checkpoint (.pth, .pt) or the folder of a run")
    try:
        found: Any
        if path.suffix == ".safetensors":
            found, _, _ = read_weights(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(
            f"there is no {path}; give a checkpoint (.pth, .pt, .safetensors), the folder of a run or hf://owner/name"
        ) from None
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        if "GLOBAL" not in str(error):
            raise UserError(f"{path} is damaged or no checkpoint; fetch it again") from None
        program = (
            f"import torch; w = torch.load({str(path)!r}, 'cpu', weights_only=False); "
            "torch.save(w.state_dict() if hasattr(w, 'state_dict') else w.get('model', w), 'weights.pth')"
        )
        raise UserError(
            f"{path} holds more than tensors, and glat runs nothing that a file brings along. If you trust it, convert "
            f"it: python -c {shlex.quote(program)}, and give weights.pth"
        ) from None
    except Exception as error:  # torch.load raises whatever the bytes lead it into
        reason = first_line(error)
        raise UserError(f"{path} is damaged or no checkpoint ({reason}); fetch it again") from None
    weights = found.get("model", found) if isinstance(found, Mapping) else None
    if not isinstance(weights, Mapping) or not all(isinstance(w, Tensor) for w in weights.values()):
        raise UserError(f"{path} holds no state dict; wanted one, or a dict with one as 'model'")
    if not all(isinstance(entry, str) and _is_dense(tensor) for entry, tensor in weights.items()):
        raise UserError(f"{path} holds no state dict: its names are no text, or a tensor is none of plain numbers")
    weights = {entry.removeprefix("module."): _as_float(tensor) for entry, tensor in weights.items()}  # of DataParallel
    return {entry: tensor for entry, tensor in weights.items() if not entry.startswith(FROZEN)}


def _is_dense(tensor: Tensor) -> bool:
    """Whether a tensor is no larger than what the file holds of it."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.device.type != "cpu":
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _as_float(tensor: Tensor) -> Tensor:
    """Weights of any floating type as float32, which networks are built in."""
    return tensor.float() if tensor.is_floating_point() else tensor
