"""A traced model as one ONNX file."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from ..errors import UserError, first_line
from .graph import INPUT, OUTPUTS, quiet

OPSET = 18  # of 2022: what runtimes of three years know
_MOST_BYTES = 2**31 - 1  # of one protobuf


def needed() -> None:
    """Raise a UserError where what writes and runs ONNX is not installed."""
    missing = []
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(name)
        except ImportError:
            missing.append(name)
    if missing:
        raise UserError(
            f"an .onnx file needs {', '.join(missing)}; pip install 'glat[export]', or export OUT.pt2, which needs "
            "nothing more"
        )


def write_onnx(program: ExportedProgram, path: Path, metadata: Mapping[str, str]) -> None:
    """Write the program and its metadata, JSON by name.

    Raises:
        UserError: what writes ONNX is missing; an operator of the network has no counterpart in ONNX; more than 2 GB.
    """
    needed()
    import onnx

    of_weights = sum(tensor.nbytes for tensor in (*program.state_dict.values(), *program.constants.values()))
    if of_weights > _MOST_BYTES:
        raise UserError(f"the weights are {of_weights / 2**30:.1f} GiB, and an ONNX file holds 2; export OUT.pt2")
    proto = to_onnx(program, [INPUT], list(OUTPUTS))
    for value, described in zip(proto.graph.output, OUTPUTS.values(), strict=True):
        value.doc_string = described
    onnx.helper.set_model_props(proto, dict(metadata))
    path.write_bytes(proto.SerializeToString())


def to_onnx(program: ExportedProgram, inputs: list[str], outputs: list[str]) -> Any:
    """The program as an ``onnx.ModelProto`` with these names, the first axis of each called batch."""
    import onnxscript

    op: Any = onnxscript.opset18  # it takes Python's numbers for constants, and its types do not say so

    def stable_sort(x: Any, *, stable: bool, dim: int = -1, descending: bool = False) -> Any:
        """TopK promises of equals the one with the lower index first."""
        size = op.Reshape(op.Gather(op.Shape(x), dim, axis=0), op.Constant(value_ints=[1]))
        return op.TopK(x, size, axis=dim, largest=int(descending), sorted=1)

    with quiet(), _silent():
        try:
            made = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                external_data=False,
                input_names=inputs,
                output_names=outputs,
                custom_translation_table={torch.ops.aten.sort.stable: stable_sort},
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise UserError(f"the network has no counterpart in ONNX ({_reason(error)}); export OUT.pt2") from error
    assert made is not None
    proto = made.model_proto
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del proto.graph.value_info[:]  # shapes in between, which call the batch otherwise
    _forget_the_trace(proto)
    return proto


def _forget_the_trace(proto: Any) -> None:
    """Which line of which file of this machine made a node is in its metadata, and nobody's business."""
    del proto.metadata_props[:]
    for part in (proto.graph, *proto.functions):
        del part.metadata_props[:]
        for node in part.node:
            del node.metadata_props[:]
            node.doc_string = ""
        for value in getattr(part, "initializer", ()):
            del value.metadata_props[:]


def _reason(error: BaseException) -> str:
    """The innermost of nested errors says what it was."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)[:200]


@contextmanager
def _silent() -> Iterator[None]:
    """The exporter lists the libraries that it does without."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
