"""Checkpoints: written whole, a few kept, every kind of damage noticed."""

import random
import resource
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from glat.errors import UserError
from glat.runs import checkpoints
from glat.runs.weights import save_weights


def save(folder, step, best=0, keep=2, irregular=(), **entries):
    state = dict.fromkeys(checkpoints.ENTRIES) | {"step": step, "best": {"step": best}, "model": torch.ones(100_000)}
    checkpoints.save(folder, state | entries)
    checkpoints.remove_old(folder, keep, best, lambda step: step not in irregular)


def steps(folder):
    return [int(path.stem) for path in sorted((folder / "checkpoints").iterdir())]


def test_the_last_and_the_best_are_kept(tmp_path):
    for step in range(1, 8):
        save(tmp_path, step, best=3 if step >= 3 else 0)
    assert steps(tmp_path) == [3, 6, 7]


def test_what_a_signal_saved_between_two_regular_steps_goes_with_the_next_one(tmp_path):
    for step, left in ((4, [4]), (8, [4, 8]), (10, [4, 8, 10]), (11, [4, 8, 11]), (12, [8, 12])):
        save(tmp_path, step, irregular=(10, 11))
        assert steps(tmp_path) == left


def test_the_newest_is_read_back(tmp_path):
    assert checkpoints.newest(tmp_path) == (None, [])
    for step in (9, 10, 100):
        save(tmp_path, step, sampler={"rows": [1, 2]}, random=[checkpoints.random_state()])
    path, notes = checkpoints.newest(tmp_path)
    assert not notes
    state = checkpoints.read(path)
    assert state["step"] == 100
    assert state["sampler"] == {"rows": [1, 2]}
    assert torch.equal(state["model"], torch.ones(100_000))


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1000]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not a checkpoint"),
    "one bit": flip_a_bit,
    "of another program": lambda path: torch.save({"step": 1}, path),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(tmp_path, kind):
    save(tmp_path, 1)
    save(tmp_path, 2)
    DAMAGE[kind](checkpoints.path_of(tmp_path, 2))
    path, notes = checkpoints.newest(tmp_path)
    assert path == checkpoints.path_of(tmp_path, 1)
    (note,) = notes
    assert "000000000002.pt is damaged (" in note
    assert "going on from 000000000001.pt, the one before" in note
    assert "\n" not in note
    save(tmp_path, 3, keep=2)
    assert [p.name for p in sorted((tmp_path / "checkpoints").glob("*.pt"))] == ["000000000001.pt", "000000000003.pt"]


def test_nothing_but_damaged_checkpoints_is_an_error(tmp_path):
    save(tmp_path, 1)
    flip_a_bit(checkpoints.path_of(tmp_path, 1))
    with pytest.raises(UserError, match="is damaged .*, and there is none before it; start the run anew"):
        checkpoints.newest(tmp_path)


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return pytest.fail, ("run",)

    save(tmp_path, 1)
    save(tmp_path, 2, sampler=Evil())
    assert checkpoints.newest(tmp_path)[0] == checkpoints.path_of(tmp_path, 1)


@contextmanager
def small_files(most_bytes):
    """No file of this process may grow larger, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path):
    save(tmp_path, 1)
    with small_files(100_000), pytest.raises(UserError, match="02.pt cannot be written .* make room") as raised:
        save(tmp_path, 2)
    assert "\n" not in str(raised.value)
    assert steps(tmp_path) == [1]
    assert checkpoints.newest(tmp_path)[0] == checkpoints.path_of(tmp_path, 1)


def test_weights_that_find_no_room_are_an_error_of_one_line_too(tmp_path):
    with pytest.raises(torch.OutOfMemoryError), checkpoints.naming_failures(tmp_path / "model.safetensors"):
        raise torch.OutOfMemoryError  # of the device; no room on the disk would not help
    with small_files(100_000), pytest.raises(UserError, match="model.safetensors cannot be written") as raised:
        save_weights(tmp_path, torch.nn.Linear(1000, 100))
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_every_generator_goes_on_where_it_was(tmp_path):
    def draws():
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    save(tmp_path, 1, random=[{}, checkpoints.random_state()])
    first = draws()
    state = checkpoints.read(checkpoints.path_of(tmp_path, 1))
    assert checkpoints.set_random_state(state["random"], rank=1)
    assert draws() == first
    assert not checkpoints.set_random_state(state["random"], rank=2)
