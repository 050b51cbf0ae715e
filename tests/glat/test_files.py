"""Files are written whole or not at all, and what a kill leaves is removed without touching anything else."""

import json

import pytest

from glat.files import TEMPORARY, remove_temporary, replaced, to_json_text, write_new_json


def test_what_a_kill_left_is_removed_and_nothing_else(tmp_path):
    mine = [".git-credentials", ".pre-commit-config.yaml", ".my-notes/thesis.txt", ".glat-tmp-notes", "a-b.txt"]
    mine += [".glat-tmp-folder-abcdefgh/thesis.txt", f".old/{TEMPORARY}config-abcdefgh.json"]
    for name in mine:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("years of work")
    (tmp_path / f"{TEMPORARY}link-abcdefgh.json").symlink_to(tmp_path / ".git-credentials")
    left = tmp_path / f"{TEMPORARY}config-abcd_f01.json"
    left.write_text("{")
    remove_temporary(tmp_path, tmp_path / "nowhere")
    assert not left.exists()
    assert all((tmp_path / name).read_text() == "years of work" for name in mine)
    assert (tmp_path / f"{TEMPORARY}link-abcdefgh.json").is_symlink()


@pytest.mark.parametrize("name", ["model.safetensors", "000000000012.pt", "a" * 200 + ".json", "no_suffix", "x.y.csv"])
def test_the_names_of_temporary_files_are_those_that_are_removed(tmp_path, name):
    with replaced(tmp_path / name) as temporary:
        assert temporary.suffix == (tmp_path / name).suffix
        remove_temporary(tmp_path)
        assert not temporary.exists()
        temporary.write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_new_file_is_written_once_and_leaves_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "config.json"
    write_new_json(path, {"a": 1})
    with pytest.raises(FileExistsError):
        write_new_json(path, {"a": 2})
    monkeypatch.setattr(type(path), "hardlink_to", lambda *_: (_ for _ in ()).throw(OSError("not on this file system")))
    with pytest.raises(FileExistsError):
        write_new_json(path, {"a": 3})
    assert json.loads(path.read_text()) == {"a": 1}
    path.unlink()
    write_new_json(path, {"a": 4})
    assert json.loads(path.read_text()) == {"a": 4}
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]


def test_json_keeps_what_it_says_and_holds_nothing_that_a_terminal_obeys():
    value = {"a\x9b31m": ["\u202ebad\u2028", "\x1b[2J", "\udc80", "é ☃\n"]}
    text = to_json_text(value, indent=2)
    assert json.loads(text) == value
    assert not set(text) & set("\x9b\u202e\u2028\x1b\udc80")
    assert "é ☃" in text
