"""Encoded files and tar members: what is opened, what is left out, and that their samples are the file's."""

import json
import tarfile

import numpy as np
import pytest
from sounds import RATE, encoded, noise, write_tar

from glat.data.recordings import foreign
from glat.data.recordings.audio import read_audio, to_int16
from glat.data.recordings.decoding import UnreadableAudio
from glat.data.recordings.encoded import encoded_from_manifest, encoded_from_tar
from glat.data.recordings.recording import Recording
from glat.errors import UserError


def open_files(paths, clip_seconds=0.5):
    recordings = [Recording(path.name, path, ("a" if i % 2 else "b",)) for i, path in enumerate(paths)]
    return encoded_from_manifest(recordings, ("a", "b"), sample_rate_hz=RATE, clip_seconds=clip_seconds)


def open_tar(*paths, **options):
    return encoded_from_tar(paths, **{"sample_rate_hz": RATE, "clip_seconds": 0.5} | options)


# Files


def test_a_file_is_read_as_it_is_packed(tmp_path):
    for name, rate, kind, subtype in (("a", RATE, "WAV", "PCM_16"), ("b", 44_100, "FLAC", "PCM_24")):
        (tmp_path / name).write_bytes(encoded(noise(1, rate), rate, kind, subtype))
    source, skipped = open_files([tmp_path / "a", tmp_path / "b"])
    assert skipped == ()
    assert source.lengths.tolist() == [RATE // 2, RATE // 2]
    for row, name in enumerate("ab"):
        np.testing.assert_array_equal(source.read(row), to_int16(read_audio(tmp_path / name, RATE, max_seconds=0.5)))
        assert source.names[row] == name
    assert source.targets.dense().tolist() == [[False, True], [True, False]]


def test_clips_are_as_long_as_the_longest_file_up_to_ten_seconds(tmp_path):
    for seconds, expected in ((0.31, 0.4), (12, 10)):
        (tmp_path / "long").write_bytes(encoded(noise(seconds, 8_000), 8_000))
        (tmp_path / "short").write_bytes(encoded(noise(0.1)))
        source, _ = open_files([tmp_path / "long", tmp_path / "short"], None)
        assert source.clip_samples == expected * RATE


BAD = {
    "random bytes": lambda path: path.write_bytes(np.random.default_rng(0).bytes(50_000)),
    "text": lambda path: path.write_text("not audio\n" * 500),
    "0 bytes": lambda path: path.write_bytes(b""),
    "half a header": lambda path: path.write_bytes(encoded(noise())[:22]),
    "no samples": lambda path: path.write_bytes(encoded(noise(0))),
    "cut wav": lambda path: path.write_bytes(encoded(noise())[:9_000]),
    "cut ogg": lambda path: path.write_bytes(encoded(noise(2), RATE, "OGG", "VORBIS")[:-100]),
    "folder": lambda path: path.mkdir(),
    "missing": lambda path: None,
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_left_out_when_the_source_is_opened(tmp_path, kind):
    (tmp_path / "good.wav").write_bytes(encoded(noise()))
    BAD[kind](tmp_path / "x.wav")
    source, skipped = open_files([tmp_path / "x.wav", tmp_path / "good.wav"])
    assert source.names == ("good.wav",)
    assert [skip.file for skip in skipped] == ["x.wav"]
    with pytest.raises(UserError, match="none of 1 recordings can be read"):
        open_files([tmp_path / "x.wav"])


def test_a_file_of_another_size_is_not_taken_for_the_one_that_was_listed(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(noise()))
    source, _ = open_files([path])
    path.write_bytes(encoded(noise(0.1)))
    with pytest.raises(UnreadableAudio, match="has changed"):
        source.read_bytes(0)


# Tar files


@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")])
def test_a_member_is_read_as_the_file_it_was(tmp_path, kind, subtype):
    members = {}
    for i in range(3):
        members[f"{i}.{kind.lower()}"] = encoded(noise(0.2 + 0.1 * i, 44_100, i), 44_100, kind, subtype)
        members[f"{i}.txt"] = b"a;b\n" if i else b"c"
    source, skipped = open_tar(write_tar(tmp_path / "x.tar", members))
    assert (skipped, source.classes) == ((), ("a", "b", "c"))
    assert source.targets.dense().tolist() == [[False, False, True], [True, True, False], [True, True, False]]
    for row, name in enumerate(source.names):
        (tmp_path / "one").write_bytes(members[name.removeprefix("x.tar/")])
        np.testing.assert_array_equal(source.read(row), to_int16(read_audio(tmp_path / "one", RATE, max_seconds=0.5)))


def test_labels_in_every_form(tmp_path):
    labels = {
        "lines.txt": b"dog\nrain\n",
        "number.cls": b"1",
        "list.json": json.dumps(["rain", "dog"]).encode(),
        "object.json": json.dumps({"labels": [0]}).encode(),
        "joined.json": json.dumps({"label": "dog; rain"}).encode(),
    }
    members = labels | {name.partition(".")[0] + ".wav": encoded(noise()) for name in labels}
    source, skipped = open_tar(write_tar(tmp_path / "x.tar", members), classes=("dog", "rain"))
    assert skipped == ()
    assert source.targets.dense().tolist() == [[True, True], [False, True], [True, True], [True, False], [True, True]]


def test_another_number_is_no_index_where_classes_are_called_by_numbers(tmp_path):
    members = {"a.wav": encoded(noise()), "a.cls": b"3", "b.wav": encoded(noise()), "b.cls": b"10"}
    source, skipped = open_tar(write_tar(tmp_path / "x.tar", members), classes=("0", "1", "10", "2"))
    assert source.targets.dense().tolist() == [[False, False, True, False]]
    assert [(skip.file, skip.reason) for skip in skipped] == [("x.tar/a.wav", "has the unknown label '3'")]


def test_members_without_a_place_are_reported_once(tmp_path):
    members = {
        "good.wav": encoded(noise()),
        "good.txt": b"dog",
        "alone.wav": encoded(noise()),
        "unknown.wav": encoded(noise()),
        "unknown.txt": b"cat",
        "bad.wav": b"not audio",
        "bad.txt": b"dog",
        "broken.wav": encoded(noise()),
        "broken.json": b"{",
        "notes.md": b"",
    }
    source, skipped = open_tar(write_tar(tmp_path / "x.tar", members), classes=("dog",))
    assert source.names == ("x.tar/good.wav",)
    assert sorted({skip.file for skip in skipped}) == ["x.tar"] + [
        f"x.tar/{name}" for name in ("alone.wav", "bad.wav", "broken.json", "broken.wav", "unknown.wav")
    ]


HOSTILE_LABELS = {
    "deep.json": (b"[" * 100_000 + b"]" * 100_000, "holds no labels (maximum recursion depth"),
    "digits.json": (b"9" * 5_000, "holds no labels (Exceeds the limit"),
    "long.txt": (b"9" * 5_000, "holds no labels (a label of 5000 characters)"),
    "large.txt": (b"x;" * (1 << 20), "holds no labels (2097152 bytes)"),
    "object.json": (b'{"labels": [{"name": "dog"}]}', "holds no labels (labels that are neither text nor numbers)"),
    "null.json": (b'{"labels": null}', "holds no labels (neither labels nor label is there, or it is null)"),
    "bytes.txt": (b"\xff\xfe", "holds no labels ('utf-8' codec"),
}


@pytest.mark.parametrize("name", HOSTILE_LABELS)
@pytest.mark.parametrize("classes", [None, ("dog", "rain")])
def test_hostile_labels_are_one_line(tmp_path, name, classes):
    data, reason = HOSTILE_LABELS[name]
    key = name.partition(".")[0]
    members = {"good.wav": encoded(noise()), "good.txt": b"dog", f"{key}.wav": encoded(noise()), name: data}
    source, skipped = open_tar(write_tar(tmp_path / "x.tar", members), classes=classes)
    assert source.names == ("x.tar/good.wav",)
    said = {skip.file: skip.reason for skip in skipped}
    assert said[f"x.tar/{name}"].startswith(reason)
    assert not any("\n" in skip.reason or len(skip.reason) > 200 for skip in skipped)


def sparse(name, size):
    """A member that says it is `size` bytes long, and stores one block of them (old GNU format)."""
    info = tarfile.TarInfo(name)
    info.size = 512
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[156:157] = b"S"
    block[386:410] = b"%011o\0%011o\0" % (0, 512)
    block[483:495] = size.to_bytes(12, "big") if size >> 33 else b"%011o\0" % size
    if size >> 33:
        block[483] |= 0x80
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + b"dog".ljust(512, b"\0")


@pytest.mark.parametrize("name", ["a.txt", "a.wav"])
def test_sparse_members_of_16_gib_are_one_line(tmp_path, name):
    path = write_tar(tmp_path / "x.tar", {"good.wav": encoded(noise()), "good.txt": b"dog", "a.wav": encoded(noise())})
    path.write_bytes(sparse(name, 16 << 30) + path.read_bytes())
    source, skipped = open_tar(path)
    assert source.names == ("x.tar/good.wav",)
    assert any("stored sparse" in skip.reason for skip in skipped)


def test_an_empty_label_is_a_clip_of_no_class(tmp_path):
    members = {"a.wav": encoded(noise()), "a.txt": b"dog", "b.wav": encoded(noise()), "b.txt": b"\n"}
    members |= {"c.wav": encoded(noise()), "c.json": b'{"labels": []}'}
    source, skipped = open_tar(write_tar(tmp_path / "x.tar", members))
    assert skipped == ()
    assert source.targets.dense().tolist() == [[True], [False], [False]]


def test_members_that_are_left_out_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign, "is_available", lambda: False)
    members = {"a.wav": encoded(noise()), "a.txt": b"dog", "b.m4a": b"", "c.m4a": b"", "d.png": b""}
    _, skipped = open_tar(write_tar(tmp_path / "x.tar", members))
    said = [(skip.file, skip.reason.partition(";")[0]) for skip in skipped]
    assert said == [
        ("x.tar", "2 members .m4a: libsndfile reads no .m4a files"),
        ("x.tar", "1 members .png: they are neither sounds nor labels"),
    ]


def test_a_cut_tar_gives_what_is_whole(tmp_path):
    members = {f"{i}.{s}": encoded(noise(seed=i)) if s == "wav" else b"dog" for i in range(4) for s in ("txt", "wav")}
    path = write_tar(tmp_path / "x.tar", members)
    path.write_bytes(path.read_bytes()[:45_000])
    source, skipped = open_tar(path)
    assert source.names == ("x.tar/0.wav", "x.tar/1.wav")
    assert skipped


def test_a_compressed_tar_is_refused_with_the_way_out(tmp_path):
    path = write_tar(tmp_path / "x.tar.gz", {"a.wav": encoded(noise()), "a.txt": b"dog"}, "w:gz")
    with pytest.raises(UserError, match="uncompressed tar file.*tar -cf"):
        open_tar(path)
