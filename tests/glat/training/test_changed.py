"""Recordings that change under a run are named once: while it goes on, and when it goes on again."""

import os

import pytest

from glat.data.stamps import Stamps
from glat.training import changed
from glat.training.changed import ChangedFiles


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / "data" / f"{i}.wav" for i in range(6)]
    paths[0].parent.mkdir()
    for i, path in enumerate(paths):
        path.write_bytes(bytes([i]) * 100)
        os.utime(path, ns=(10**18, 10**18))  # as a tar file leaves them: all at one time
    return paths


def swap(paths):
    aside = paths[0].with_name("aside")
    paths[1].rename(aside)
    paths[2].rename(paths[1])
    aside.rename(paths[2])


CHANGES = {
    "longer": (lambda paths: paths[1].write_bytes(b"x" * 101), 1),
    "of the same length": (lambda paths: paths[1].write_bytes(b"x" * 100), 1),
    "removed": (lambda paths: paths[1].unlink(), 1),
    "two swapped": (swap, 2),
}


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("when", ["while the run goes on", "since the run began"])
def test_a_change_is_said_once(files, tmp_path, kind, when, capsys):
    change, count = CHANGES[kind]
    first = ChangedFiles(tmp_path, Stamps.of(files))
    first.since_the_start()
    first.look()
    assert capsys.readouterr().err == ""
    change(files)
    if when == "since the run began":
        again = ChangedFiles(tmp_path, Stamps.of(files))
        again.since_the_start()
    else:
        first.look()
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {count} recording")
    assert f"changed, replaced or removed {when}: {files[1]}" in said
    assert said.count("\n") == 1
    (first if when == "while the run goes on" else again).look(last=True)
    assert capsys.readouterr().err == ""


def test_a_copy_of_all_recordings_is_no_change(files, tmp_path, capsys):
    ChangedFiles(tmp_path, Stamps.of(files)).since_the_start()
    for path in files:
        copy = path.with_suffix(".copy")
        copy.write_bytes(path.read_bytes())
        os.utime(copy, ns=(10**18, 10**18))
        path.unlink()
        copy.rename(path)
    after = Stamps.of(files)
    after.values[:, 2] += 1000  # inodes may be used again
    ChangedFiles(tmp_path, after).since_the_start()
    assert capsys.readouterr().err == ""


def test_many_files_are_looked_at_by_turns(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(changed, "A_LOOK", 4)
    looking = ChangedFiles(tmp_path, Stamps.of(files))
    files[5].unlink()
    looking.look()
    assert capsys.readouterr().err == ""
    files[1].unlink()
    looking.look()  # 4, 5, 0, 1
    assert capsys.readouterr().err.startswith("warning: 2 recordings were changed")


def test_a_damaged_note_of_the_files_is_said(files, tmp_path, capsys):
    (tmp_path / "recordings.safetensors").write_bytes(b"\x00" * 100)
    ChangedFiles(tmp_path, Stamps.of(files)).since_the_start()
    assert "recordings.safetensors is damaged" in capsys.readouterr().err
