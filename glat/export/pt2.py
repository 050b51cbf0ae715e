"""A traced model as a .pt2 file of torch.export, which loads where glat is not installed."""

from pathlib import Path

import torch
from torch.export import ExportedProgram

from .graph import quiet

METADATA = "glat.json"  # its name among the extra files


def write_pt2(program: ExportedProgram, path: Path, metadata: str) -> None:
    """Write the program, and its metadata (JSON) as an extra file."""
    program.example_inputs = None  # silence, of some megabytes
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # names folders of this machine
    with quiet(), path.open("wb") as file:  # an open file: a path's stem would become a folder's name in the archive
        torch.export.save(program, file, extra_files={METADATA: metadata})
