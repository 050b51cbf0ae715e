"""The weights in a run's folder."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..backbones import BACKBONES
from ..backbones.own import refuse_unnamed
from ..errors import UserError, warn
from ..model import GlobalLocal, build_model
from .checkpoints import naming_failures
from .digests import read_record, read_weights, write_weights
from .folder import BEST_WEIGHTS, CONFIG, WEIGHTS, Run, network_digest

NETWORK = "network_sha256"  # in the header: the digest of the network that the weights are of
ALLOW = "--allow-code {module} (in Python, allow_code=['{module}'])"


def load_model(run: Run, name: str = WEIGHTS, allow_code: Collection[str] = ()) -> GlobalLocal:
    """The trained model of a run, in evaluation mode, on the CPU.

    Args:
        run: from `open_run`.
        name: of the file in its folder: `WEIGHTS` or `BEST_WEIGHTS`.
        allow_code: modules, or module:factory, whose code may run, where the run was trained with a network of the
            user's own. A folder that somebody else made can name any.

    Raises:
        UserError: a network that is not among `allow_code`; weights that are missing, damaged, or of another shape than
            the config says.
    """
    model = run.config.model
    refuse_unnamed([model.backbone, model.local_backbone], allow_code, run.folder, ALLOW)
    path = run.folder / name
    try:
        weights, facts, digest = read_weights(path)
    except FileNotFoundError:
        if name == WEIGHTS and (run.folder / BEST_WEIGHTS).exists():  # as glat push --best leaves it
            raise UserError(f"{run.folder} has no {name}, but {BEST_WEIGHTS}; add --best (best=True)") from None
        before = "checkpoint" if name == WEIGHTS else "evaluation"
        raise UserError(f"{run.folder} has no {name}; the run was stopped before its first {before}") from None
    if digest is None:
        warn(f"{path} holds no digest, as an older glat wrote it: damage to it cannot be noticed", stacklevel=2)
    elif run.network is not None and facts.get(NETWORK, run.network) != run.network:
        raise UserError(f"{path} is of another network or other classes than {CONFIG} beside it; restore its own")
    if {model.backbone, model.local_backbone or model.backbone} <= BACKBONES.keys():
        with torch.device("meta"):  # weights that do not fit take no memory
            _check_fit(build_model(model, len(run.classes)), weights, path)
    network = build_model(model, len(run.classes))
    network.check_clip(run.clip_samples)
    load_weights(network, weights, path)
    return network.eval()


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], source: Path) -> None:
    """Load a state dict strictly.

    Raises:
        UserError: names, shapes or types that differ, and values that are not finite; the first three are named.
    """
    _check_fit(module, weights, source)
    bad = [name for name, tensor in weights.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if bad:
        raise UserError(
            f"{source} holds values that are not finite, in {', '.join(bad[:3])}{', ...' if len(bad) > 3 else ''}: the "
            "training went wrong, or the file is damaged; take earlier weights"
        )
    module.load_state_dict(dict(weights))


def _check_fit(module: nn.Module, weights: Mapping[str, Tensor], source: Path) -> None:
    def described(tensor: Tensor) -> str:
        return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"

    wanted = {name: described(tensor) for name, tensor in module.state_dict().items()}
    found = {name: described(tensor) for name, tensor in weights.items()}
    differences = [
        f"{name}: {found.get(name, 'missing')} instead of {wanted.get(name, 'nothing')}"
        for name in dict.fromkeys([*wanted, *found])
        if wanted.get(name) != found.get(name)
    ]
    if differences:
        first = "; ".join(differences[:3])
        raise UserError(
            f"{source} does not fit this network, {len(differences)} entries differ: {first}; "
            "give the backbone, width and classes it was trained with"
        )


def save_weights(folder: Path, model: nn.Module, name: str = WEIGHTS, **facts: float) -> None:
    """Write the model's weights as safetensors; in the header facts, and digests of the weights and their network.

    Raises:
        UserError: no room, or no permission; the file before it is as it was.
    """
    # Copies: streams that share weights share memory, which the format refuses.
    weights = {k: v.detach().clone(memory_format=torch.contiguous_format) for k, v in model.state_dict().items()}
    texts = {key: str(value) for key, value in facts.items()}
    with naming_failures(folder / name):
        with suppress(FileNotFoundError, UserError):  # weights of no run, or of one whose record is damaged
            recorded, digest = read_record(folder / CONFIG)
            if digest is not None:
                texts[NETWORK] = network_digest(recorded)
        write_weights(folder / name, weights, texts)


def header_of_weights(folder: Path, name: str) -> dict[str, str]:
    """The facts in the header of a file of weights; none where it is missing or damaged."""
    try:
        with safe_open(folder / name, "pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError):
        return {}


def step_of_weights(folder: Path, name: str) -> int | None:
    """After which step the weights of a file were saved, as its header says; None: it is missing or damaged."""
    try:
        return int(header_of_weights(folder, name)["step"])
    except (KeyError, ValueError):
        return None
