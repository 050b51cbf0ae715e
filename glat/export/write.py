"""A trained model as a file for other programs: traced, written, read back and compared, whole or not at all."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import UserError
from ..files import to_json_text
from ..model import GlobalLocal
from ..outputs import Kind, Output
from .check import TOLERANCE, Hear, Parity, compare
from .facts import MARK
from .graph import INPUT, OUTPUTS, Graph
from .onnx import needed, write_onnx
from .pt2 import METADATA, write_pt2
from .sounds import Sounds

SUFFIXES = (".onnx", ".pt2")
_KINDS = {
    ".onnx": Kind("an ONNX file of glat export", holds=MARK.encode()),
    ".pt2": Kind("a .pt2 file of glat export", begins="PK", holds=METADATA.encode()),
}


def output(flag: str, path: Path, overwrite: bool = False, reads: tuple[Path, ...] = ()) -> Output:
    """The file to write, looked at before the work is begun.

    Raises:
        UserError: another suffix than .onnx and .pt2; what writes .onnx is not installed; as of `Output`.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"{flag} {path}: give a file that ends in {' or '.join(SUFFIXES)}")
    if path.suffix == ".onnx":
        needed()
    return Output(flag, path, _KINDS[path.suffix], reads, overwrite)


def export_model(
    model: GlobalLocal,
    clip_samples: int,
    facts: Mapping[str, Any],
    to: Output,
    sounds: Callable[[], Sounds],
    tolerance: float = TOLERANCE,
) -> Parity:
    """Write a model, and compare the file with it before it takes its place.

    Args:
        model: on the CPU, float32; it is left as it is.
        clip_samples: S.
        facts: the metadata, plain types by name.
        to: from `output`.
        sounds: gives clips to compare on.
        tolerance: largest difference of a probability.

    Raises:
        UserError: a network that cannot be exported; a file that says something else. Nothing is written then.
    """
    program = Graph(model, clip_samples).trace()
    compared_on = sounds()
    with to.replaced() as temporary:
        if temporary.suffix == ".onnx":
            write_onnx(program, temporary, {name: to_json_text(value) for name, value in facts.items()})
            hear = _onnx(temporary)
        else:
            write_pt2(program, temporary, to_json_text(dict(facts)))
            hear = _pt2(temporary)
        try:
            return compare(model, hear, compared_on, tolerance)
        except UserError as error:
            raise UserError(f"{to.path} is not written, as it does not say what the run says: {error}") from None


def _onnx(path: Path) -> Hear:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def hear(waves: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        return dict(zip(OUTPUTS, session.run(list(OUTPUTS), {INPUT: waves}), strict=True))

    return hear


def _pt2(path: Path) -> Hear:
    network = torch.export.load(path).module()

    @torch.inference_mode()
    def hear(waves: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        return {name: tensor.numpy() for name, tensor in network(torch.from_numpy(waves)).items()}

    return hear
