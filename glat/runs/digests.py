"""Digests that tell a file of a run from a damaged one.

Each file carries its own: JSON as an entry, weights in their header, metrics as the last entry of every line. A digest
beside the files would be of the wrong ones after a kill between two renames; these are always those of what is read.
Weights also name the digest of the network that they are of, as their run's config describes it: that never changes.
"""

import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import UserError
from ..files import replaced, to_json_text, write_json, write_new_json

DIGEST = "sha256"
_LINE = re.compile(r'(.*)"crc": "([0-9a-f]{8})"\}')


def write_record(path: Path, value: Mapping[str, Any], *, new: bool = False) -> str:
    """Write JSON with its digest; `new`: raise FileExistsError where the file is there already.

    Returns:
        The digest.
    """
    digest = digest_of(value)
    (write_new_json if new else write_json)(path, {**value, DIGEST: digest})
    return digest


def read_record(path: Path) -> tuple[dict[str, Any], str | None]:
    """What `write_record` wrote, and its digest; None of a file of an older glat, which has none.

    Raises:
        FileNotFoundError: no such file.
        UserError: a file that cannot be read, is no JSON object, or is not what was written.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); restore the file") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged: it holds a {type(value).__name__} in place of entries; restore the file")
    found = value.pop(DIGEST, None)
    if found is not None and found != digest_of(value):
        raise UserError(
            f"{path} is damaged, or was edited: its {DIGEST} does not match; restore it (without the entry "
            f'"{DIGEST}" it is read as it stands, and that is said)'
        )
    return value, found


def digest_of(value: Mapping[str, Any]) -> str:
    """The SHA-256 of what JSON makes of `value`, its keys in order: of the meaning, not of the spelling."""
    plain = json.loads(to_json_text(dict(value)))
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_weights(path: Path, weights: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
    """Write tensors and facts as safetensors, with their digest in the header.

    Args:
        weights: contiguous, on any device, no two of them in the same memory.
    """
    on_cpu = {name: tensor.detach().cpu() for name, tensor in weights.items()}
    with replaced(path) as temporary:
        save_file(on_cpu, temporary, metadata={**facts, DIGEST: _digest_of_weights(on_cpu, facts)})


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str], str | None]:
    """What `write_weights` wrote: weights, facts and digest; None of a file of an older glat, which has none.

    Raises:
        FileNotFoundError: no such file.
        UserError: a file that cannot be read, or is not what was written.
    """
    try:
        # Opened once: a training may replace the file meanwhile.
        with safe_open(path, "pt") as file:
            facts = dict(file.metadata() or {})
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); train again, or restore the file") from None
    found = facts.pop(DIGEST, None)
    if found is not None and found != _digest_of_weights(weights, facts):
        raise UserError(
            f"{path} is damaged: its {DIGEST} does not match; restore the file, or let --resume auto write it anew"
        )
    return weights, facts, found


def _digest_of_weights(weights: Mapping[str, Tensor], facts: Mapping[str, str]) -> str:
    digest = hashlib.sha256(digest_of(facts).encode())
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        if tensor.numel():
            digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def to_line(row: Mapping[str, Any]) -> str:
    """JSON on one line, with a checksum as its last entry."""
    text = to_json_text(dict(row))
    start = text[:-1] + (", " if row else "")
    return f'{start}"crc": "{zlib.crc32(start.encode()):08x}"}}'


def from_line(line: str) -> dict[str, Any] | None:
    """The row that `to_line` wrote, or one without a checksum, of an older glat; None of a damaged line."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not (isinstance(row, dict) and type(row.get("step")) is int):
        return None
    if "crc" in row:
        found = _LINE.fullmatch(line)
        if found is None or f"{zlib.crc32(found[1].encode()):08x}" != found[2]:
            return None
        del row["crc"]
    is_numbers = all(value is None or (isinstance(value, int | float) and value == value) for value in row.values())
    return row if is_numbers else None
