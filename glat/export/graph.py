"""A trained model as one module of plain operators, and its graph."""

import warnings
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ..errors import UserError, first_line
from ..inference import for_inference
from ..model import GlobalLocal, Scores
from .log_mel import with_plain_log_mel
from .selection import plain_select_crops

INPUT = "wave"
# In this order. [B, L] but where said.
OUTPUTS = {
    "fused_probs": "[B, L] float32: what both streams say together",
    "global_probs": "[B, L] float32: the global stream, of the clip",
    "local_probs": "[B, L] float32: the local stream, of its crops together",
    "frame_probs": "[B, T, L] float32: the global stream, of the frames",
    "crop_probs": "[B, N, L] float32: the local stream, of each crop",
    "crop_classes": "[B, N] int64: index of the class that the crop was cut for, the best first",
    "crop_starts": "[B, N] int64: first sample of the crop",
    "crop_peaks": "[B, N] float32: the largest frame probability of that class",
}


def outputs_of(scores: Scores) -> dict[str, Tensor]:
    """Scores as `OUTPUTS`."""
    found = (
        scores.fused_probs,
        scores.global_probs,
        scores.local_probs,
        scores.frame_logits.sigmoid(),
        scores.crop_logits.float().sigmoid(),
        scores.crops.classes,
        scores.crops.starts,
        scores.crops.peaks,
    )
    return dict(zip(OUTPUTS, found, strict=True))


class Graph(nn.Module):
    """A model from the waveform to all that it says, on the CPU in float32.

    The log-mel and the selection are replaced by the same in plain operators: no FFT, no complex numbers, no custom
    operator. A batch norm behind a convolution is folded into it.

    Args:
        model: it is copied and left as it is.
        clip_samples: S.

    Args of forward:
        wave: [B, S] float32, full scale ±1.

    Returns of forward:
        A dict of `OUTPUTS`.
    """

    def __init__(self, model: GlobalLocal, clip_samples: int) -> None:
        super().__init__()
        model.check_clip(clip_samples)
        copy: Any = for_inference(deepcopy(model).cpu().float())
        copy = copy.to(memory_format=torch.contiguous_format)
        with_plain_log_mel(copy)
        copy.selector = plain_select_crops
        self.model, self.clip_samples = copy, clip_samples

    def forward(self, wave: Tensor) -> dict[str, Tensor]:
        return outputs_of(self.model(wave))

    def trace(self) -> ExportedProgram:
        """Its graph, of a batch of any size.

        Raises:
            UserError: a network of the user's own that cannot be traced, or that calls a custom operator.
        """
        wave = torch.zeros(2, self.clip_samples)
        try:
            with quiet(), torch.no_grad():
                program = torch.export.export(self, (wave,), dynamic_shapes={INPUT: {0: Dim("batch")}}, strict=False)
        except UserError:
            raise
        except Exception as error:  # torch raises whatever it stumbles over in a network of the user's own
            raise UserError(
                f"the network cannot be traced ({type(error).__name__}: {first_line(error)[:200]}); export takes what "
                "torch.export does: no branches on values, no code outside of PyTorch"
            ) from error
        if custom := sorted(_custom_operators(program)):
            raise UserError(
                f"the network calls {', '.join(custom)}, which is known where it was defined and nowhere else; write "
                "it in operators of PyTorch to export it"
            )
        return program


def _custom_operators(program: ExportedProgram) -> set[str]:
    parts = [part for part in program.graph_module.modules() if isinstance(part, torch.fx.GraphModule)]
    targets = {node.target for part in parts for node in part.graph.nodes}
    operators = (target for target in targets if isinstance(target, torch._ops.OpOverload))
    return {str(operator) for operator in operators if operator.namespace not in ("aten", "prims", "prim")}


class quiet(warnings.catch_warnings):  # noqa: N801  # a context manager, as that is
    """What torch's exporter has to say of its own inside is none of the user's."""

    def __enter__(self) -> Any:
        entered = super().__enter__()
        warnings.simplefilter("ignore")
        return entered
