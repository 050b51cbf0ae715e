"""Reads what a run of Weights & Biases wrote offline: records of its protocol in the log format of LevelDB."""

import json
import struct

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER = 32_768, 7


def records(path):
    """The records of a ``.wandb`` file, in their order."""
    content, at, parts = path.read_bytes(), HEADER, b""
    assert content.startswith(b":W&B")
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        _, size, kind = struct.unpack("<IHB", content[at : at + HEADER])
        parts += content[at + HEADER : at + HEADER + size]
        at += HEADER + size
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def items(entries):
    """Values by name, of a point, a config or a summary."""
    return {"/".join(entry.nested_key) or entry.key: json.loads(entry.value_json) for entry in entries}
