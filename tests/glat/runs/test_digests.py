"""A file of a run with one bit flipped is never taken for what was written."""

import json
import random

import pytest
import torch

from glat.errors import UserError
from glat.runs import digests

WEIGHTS = {
    "a.weight": torch.arange(12.0).reshape(3, 4),
    "a.count": torch.tensor(7),
    "a.mask": torch.tensor([True, False]),
    "a.empty": torch.zeros(0, 3),
}
RECORD = {"classes": ["é", "b"], "config": {"model": {"width": 0.1, "init_from": None}}, "n": 3, "nan": float("nan")}


def flipped(data, bit):
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def bits(data, count=500):
    """Some of the bits of a file."""
    return random.Random(0).sample(range(8 * len(data)), min(count, 8 * len(data)))


def test_what_was_written_is_read(tmp_path):
    digests.write_weights(tmp_path / "w.safetensors", WEIGHTS, {"step": "3"})
    weights, facts, digest = digests.read_weights(tmp_path / "w.safetensors")
    assert weights.keys() == WEIGHTS.keys()
    assert all(torch.equal(weights[name], WEIGHTS[name]) for name in WEIGHTS)
    assert facts == {"step": "3"}
    assert digest
    written = digests.write_record(tmp_path / "r.json", RECORD)
    value, digest = digests.read_record(tmp_path / "r.json")
    assert value == RECORD | {"nan": None}
    assert digest == written
    with pytest.raises(FileExistsError):
        digests.write_record(tmp_path / "r.json", RECORD, new=True)
    row = {"step": 1, "loss": 0.5, "nan": None}
    assert digests.from_line(digests.to_line(row)) == row
    assert digests.from_line(json.dumps(row)) == row, "of an older glat"


def test_a_flipped_bit_of_weights_is_said_or_changes_nothing(tmp_path):
    path = tmp_path / "w.safetensors"
    digests.write_weights(path, WEIGHTS, {"step": "3"})
    data = path.read_bytes()
    for bit in bits(data):
        path.write_bytes(flipped(data, bit))
        try:
            weights, facts, digest = digests.read_weights(path)
        except UserError:
            continue
        if digest is not None:  # else the reader says that there is none
            assert facts == {"step": "3"}
            assert all(torch.equal(weights[name], WEIGHTS[name]) for name in WEIGHTS)


def test_a_flipped_bit_of_a_record_is_said_or_changes_nothing(tmp_path):
    path = tmp_path / "r.json"
    digests.write_record(path, RECORD)
    data = path.read_bytes()
    for bit in bits(data):
        path.write_bytes(flipped(data, bit))
        try:
            value, digest = digests.read_record(path)
        except UserError:
            continue
        assert digest is None or value == RECORD | {"nan": None}


def test_a_flipped_bit_of_a_line_drops_it_or_changes_nothing():
    row = {"step": 12, "loss": 0.125, "mAP_fused": None}
    line = digests.to_line(row).encode()
    for bit in range(8 * len(line)):
        found = digests.from_line(flipped(line, bit).decode(errors="replace"))
        assert found is None or found.items() >= row.items()


def test_weights_of_other_bytes_are_a_damaged_file(tmp_path):
    path = tmp_path / "w.safetensors"
    rng = random.Random(0)
    for size in (0, 1, 7, 8, 9, 300):
        path.write_bytes(rng.randbytes(size))
        with pytest.raises(UserError, match="is damaged"):
            digests.read_weights(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "[" * 100_000, '{"a": ' * 100_000, "\udcff"])
def test_a_record_that_is_none_is_one_line(tmp_path, text):
    path = tmp_path / "r.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match="is damaged") as raised:
        digests.read_record(path)
    assert "\n" not in str(raised.value)
