"""Which recordings a command names."""

import pytest

from glat.errors import UserError
from glat.tagging.listing import list_recordings


@pytest.fixture
def card(tmp_path):
    """A card of recordings: files at two depths, notes, a link that leads back."""
    for name in ("b.wav", "day 1/a.wav", "day 1/night/c.flac", ".hidden.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("none of them\n")
    (tmp_path / "day 1" / "loop").symlink_to(tmp_path)
    return tmp_path


def names(listed, root):
    return [path.relative_to(root).as_posix() for path in listed.files]


def test_folders_are_searched_at_any_depth_and_links_back_are_not_followed(card):
    assert names(list_recordings([card]), card) == ["b.wav", "day 1/a.wav", "day 1/night/c.flac"]


def test_each_recording_is_listed_once(card):
    assert names(list_recordings([card / "day 1" / "a.wav", card, card]), card)[0] == "day 1/a.wav"
    assert len(list_recordings([card, card / "b.wav"]).files) == 3


def test_tables_and_lists_name_recordings_beside_them(card):
    (card / "t.csv").write_text("\ufefflabel,File\nx,b.wav\ny,day 1/a.wav\nz,b.wav\n", encoding="utf-8")
    (card / "t.tsv").write_text("file\tlabel\nb.wav\tx\n")
    (card / "l.txt").write_text("# mine\nday 1/a.wav\n\nb.wav\n")
    assert names(list_recordings([card / "t.csv"]), card) == ["b.wav", "day 1/a.wav"]
    assert names(list_recordings([card / "t.tsv"]), card) == ["b.wav"]
    assert names(list_recordings([card / "l.txt"]), card) == ["day 1/a.wav", "b.wav"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [("t.csv", "name\na.wav\n", "column file"), ("t.txt", "a\0b\n", "no text"), ("e.txt", "# none\n", "no recordings")],
)
def test_what_names_no_recording_is_said(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=said):
        list_recordings([tmp_path / name])
    with pytest.raises(UserError, match="no such file"):
        list_recordings([tmp_path / "gone.csv"])
