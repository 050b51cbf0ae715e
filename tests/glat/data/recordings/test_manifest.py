"""Folders and CSV tables: what is listed, which side of the split it is on, and what is said of bad ones."""

import hashlib
import os
from collections import Counter

import pytest
from cases.containers import encoded, sound

from glat.data.recordings import foreign
from glat.data.recordings.manifest import read_manifest, split
from glat.data.recordings.recording import Recording
from glat.data.recordings.table_format import TableFormat
from glat.errors import UserError


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def table(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "set.csv"
    path.write_bytes(text.encode(encoding))
    return path


def recordings(counts, fold=None):
    return [
        Recording(f"{label}/{i}.wav", None, tuple(label.split("+")), fold)
        for label, n in counts.items()
        for i in range(n)
    ]


# Folders


def test_a_folder_has_a_class_a_sub_folder_at_any_depth(tmp_path):
    touch(tmp_path / "dog/a.wav", tmp_path / "dog/deep/er/b.FLAC", tmp_path / "cat/c.ogg", tmp_path / "cat/notes.txt")
    touch(tmp_path / "dog/.hidden.wav", tmp_path / "cat/.cache/d.wav", tmp_path / ".git/e.wav", tmp_path / "list.txt")
    manifest = read_manifest(tmp_path)
    assert [(r.name, r.labels) for r in manifest.recordings] == [
        ("cat/c.ogg", ("cat",)),
        ("dog/a.wav", ("dog",)),
        ("dog/deep/er/b.FLAC", ("dog",)),
    ]
    assert manifest.classes == ("cat", "dog")
    assert [(s.file, s.reason) for s in manifest.skipped] == [("dog", "holds 1 hidden sounds (.name)")]
    assert all(r.path.is_file() and r.fold is None for r in manifest.recordings)


def test_what_a_folder_holds_beside_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign, "is_available", lambda: False)
    touch(tmp_path / "dog/a.wav", tmp_path / "dog/b.m4a", tmp_path / "stray.wav")
    touch(tmp_path / "dog/c.dat", tmp_path / "dog/d.dat")
    (tmp_path / "empty").mkdir()
    (tmp_path / "dog/folder.wav").mkdir()
    manifest = read_manifest(tmp_path)
    assert {s.file: s.reason for s in manifest.skipped} == {
        "dog/b.m4a": "libsndfile reads no .m4a files; pip install 'glat[av]' for a decoder, or convert it to .flac",
        "dog/c.dat": "is no audio by its suffix (.dat) or content, and so are 1 more in dog",
        "stray.wav": "lies in no class folder",
        "empty": "class folder without audio",
    }
    assert [r.name for r in manifest.recordings] == ["dog/a.wav", "dog/folder.wav"]  # refused when it is opened


def test_links_to_class_folders_are_followed_and_loops_are_not(tmp_path):
    touch(tmp_path / "elsewhere/a.wav")
    root = tmp_path / "root"
    root.mkdir()
    (root / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/again").symlink_to(root)
    (tmp_path / "elsewhere/nothing.wav").symlink_to(root / "nowhere")
    touch(tmp_path / "disk/b.wav")
    (tmp_path / "elsewhere/disk").symlink_to(tmp_path / "disk")
    (tmp_path / "elsewhere/twice").symlink_to(tmp_path / "disk")
    manifest = read_manifest(root)
    assert [r.name for r in manifest.recordings] == ["dog/a.wav", "dog/disk/b.wav"]
    assert [(s.file, s.reason) for s in manifest.skipped] == [
        ("dog/again", "is a link back to a folder that holds it"),
        ("dog/nothing.wav", "is a link to nothing"),
        ("dog/twice", "is the same folder as dog/disk, which is listed"),
    ]


def test_sounds_of_any_name_are_recordings(tmp_path):
    kinds = {
        "a": "WAV",
        "b.bwf": "WAV",
        "c.rf64": "RF64",
        "d.aifc": "AIFF",
        "e.dat": "FLAC",
        "f.xyz": "OGG",
        "g.wave": "WAV",
    }
    (tmp_path / "dog").mkdir()
    for name, kind in kinds.items():
        (tmp_path / "dog" / name).write_bytes(encoded(sound(0.2), kind, "VORBIS" if kind == "OGG" else "PCM_16"))
    manifest = read_manifest(tmp_path)
    assert [r.name for r in manifest.recordings] == [f"dog/{name}" for name in sorted(kinds)]
    assert manifest.skipped == ()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            ("train/dog/a.wav", "test/dog/b.wav"),
            r"test, train\) divide the recordings.*--data \S+train --eval-data \S+test",
        ),
        (("Training/dog/a.wav", "val/dog/b.wav", "test/dog/c.wav"), r"--data \S+Training --eval-data \S+test"),
        (("train/a.wav", "eval/b.wav"), "they hold no class folders: give a CSV"),
        (
            ("fold1/a.wav", "fold2/b.wav", "fold10/c.wav"),
            "its folders are folds .*give a CSV .* fold, and --eval-folds",
        ),
    ],
)
def test_folders_that_divide_are_no_classes(tmp_path, files, message):
    touch(*(tmp_path / name for name in files))
    with pytest.raises(UserError, match=message):
        read_manifest(tmp_path)


def test_a_train_among_other_vehicles_is_a_class(tmp_path):
    touch(tmp_path / "train/a.wav", tmp_path / "bus/b.wav")
    assert read_manifest(tmp_path).classes == ("bus", "train")


def test_names_that_are_not_utf8_can_be_printed(tmp_path):
    (tmp_path / "dog").mkdir()
    try:
        (tmp_path / "dog" / os.fsdecode(b"\xe4.wav")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes no such names")
    (recording,) = read_manifest(tmp_path).recordings
    assert recording.name == "dog/\\xe4.wav"
    assert recording.path.exists()


@pytest.mark.parametrize(
    ("files", "seen"), [([], "no files"), (["a.wav"], "1 .wav"), (["x/a.mp4", "x/b.mp4", "x/c.txt"], "2 .mp4, 1 .txt")]
)
def test_a_folder_without_audio_says_what_it_saw(tmp_path, files, seen, monkeypatch):
    monkeypatch.setattr(foreign, "is_available", lambda: False)
    touch(*(tmp_path / name for name in files))
    with pytest.raises(UserError) as caught:
        read_manifest(tmp_path)
    assert f"no audio in a class folder (seen: {seen})" in str(caught.value)
    assert "one sub-folder a class" in str(caught.value)


# CSV


def test_a_csv_names_files_labels_and_folds(tmp_path):
    text = (
        '\ufeff source , file,label,fold\r\nx,./a/1.wav,dog; cat;dog;,1\r\n\r\ny,"b,2.wav",bird, 2 \r\nz,c.wav,dog\r\n'
    )
    manifest = read_manifest(table(tmp_path, text))
    assert [(r.name, r.path, r.labels, r.fold) for r in manifest.recordings] == [
        ("a/1.wav", tmp_path / "a/1.wav", ("cat", "dog"), "1"),
        ("b,2.wav", tmp_path / "b,2.wav", ("bird",), "2"),
        ("c.wav", tmp_path / "c.wav", ("dog",), ""),
    ]
    assert manifest.classes == ("bird", "cat", "dog")
    assert manifest.skipped == ()


def test_rows_that_cannot_be_used_are_reported(tmp_path):
    text = "file,label\na.wav,dog\n./a.wav,dog\nb.wav,\n,dog\nc.wav,dog, cat\nd.wav, ;\ne.wav\n"
    manifest = read_manifest(table(tmp_path, text))
    assert [(r.name, r.labels) for r in manifest.recordings] == [("a.wav", ("dog",)), ("b.wav", ()), ("d.wav", ())]
    assert [(s.file, s.reason) for s in manifest.skipped] == [
        ("a.wav", "line 3 repeats line 2"),
        ("line 5", "line 5 has no file"),
        ("c.wav", "line 6 has 3 cells, the header 2; quote cells that hold commas"),
        ("e.wav", "line 8 has no cell for the label"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,tag\na.wav,dog\n", "seen: name, tag"),
        ("file;label\na.wav;dog\n", "one column \\('file;label'\\)"),
        ("file,label,label\na.wav,dog,cat\n", "2 columns are called label"),
        ("filename,category\na.wav,dog\n", "give --file-column filename --label-column category"),
        ("file\tlabel\na.wav\tdog\n", "name the table .tsv"),
        ("", "seen: none"),
        ("file,label\n", "lists no recording"),
        ("file,label\na.wav,\n", "none of 1 recordings has a label"),
        ("file,label\na.wav,dog\na.wav,cat\n", "lines 2 and 3 disagree on a.wav"),
        ("file,label,fold\na.wav,dog,1\na.wav,dog,2\n", "lines 2 and 3 disagree on a.wav"),
        ('file,label\na.wav,"dog' + "x" * 200_000 + "\n", "cannot be read as a UTF-8 CSV"),
    ],
)
def test_bad_tables_are_refused(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as caught:
        read_manifest(table(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert "set.csv" in str(caught.value)


def test_a_table_in_another_encoding_is_refused(tmp_path):
    with pytest.raises(UserError, match="UTF-8"):
        read_manifest(table(tmp_path, "file,label\nä.wav,dog\n", "latin-1"))


def test_other_sources_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        read_manifest(tmp_path / "nowhere")
    touch(tmp_path / "a.wav")
    with pytest.raises(UserError, match="neither a folder nor a .csv, .tsv, .tab file"):
        read_manifest(tmp_path / "a.wav")
    with pytest.raises(UserError, match="cannot be read"):
        read_manifest(tmp_path / ("x" * 400))


def test_columns_and_separator_are_what_the_flags_say(tmp_path):
    text = "Filename;x,TAGS\na.wav,dog|cat\n"
    manifest = read_manifest(table(tmp_path, text), TableFormat("filename;x", "Tags", "|"))
    assert [(r.name, r.labels) for r in manifest.recordings] == [("a.wav", ("cat", "dog"))]
    with pytest.raises(UserError, match="--label-separator is empty"):
        read_manifest(table(tmp_path, text), TableFormat(label_separator=""))


def test_a_tsv_is_separated_by_tabs(tmp_path):
    path = tmp_path / "set.tsv"
    path.write_text("file\tlabel\nb,c.wav\tdog;cat, old\n")
    assert [(r.name, r.labels) for r in read_manifest(path).recordings] == [("b,c.wav", ("cat, old", "dog"))]


def test_labels_are_composed_and_without_invisible_characters(tmp_path):
    labels = ("\u00c9pervier", "E\u0301pervier", "\u200b\u00c9per\u00advier\ufeff", "two\u00a0 words")
    text = "file,label\n" + "".join(f"{i}.wav,{label}\n" for i, label in enumerate(labels))
    assert read_manifest(table(tmp_path, text)).classes == ("two words", "\u00c9pervier")


def test_files_are_found_however_their_names_are_composed(tmp_path):
    touch(tmp_path / "E\u0301.wav")
    (recording,) = read_manifest(table(tmp_path, "file,label\n\u00c9.wav,dog\n")).recordings
    assert recording.path.exists()


# Split


def test_about_a_fifth_of_the_clips_without_a_label_is_evaluated():
    some = [*recordings({"a": 10}), *(Recording(f"none/{i}.wav", None, ()) for i in range(10))]
    assert sum(split(some, (), seed=0)[10:]) == 2
    assert split(some, (), seed=0)[:10] == split(some[:10], (), seed=0)


def test_about_a_fifth_of_every_class_is_evaluated():
    counts = {"a": 2, "b": 5, "c": 40, "d": 13}
    chosen = split(recordings(counts), (), seed=0)
    picked = Counter(r.labels[0] for r, is_eval in zip(recordings(counts), chosen, strict=True) if is_eval)
    assert picked == {"a": 1, "b": 1, "c": 8, "d": 3}


def test_the_split_is_a_function_of_names_and_seed_only():
    some = recordings({"a": 20, "b": 30})
    first = dict(zip((r.name for r in some), split(some, (), seed=0), strict=True))
    backwards = dict(zip((r.name for r in some[::-1]), split(some[::-1], (), seed=0), strict=True))
    more = recordings({"a": 20, "b": 30, "c": 7})
    with_more = dict(zip((r.name for r in more), split(more, (), seed=0), strict=True))
    assert first == backwards
    assert {name: side for name, side in with_more.items() if name in first} == first
    assert list(first.values()) != split(some, (), seed=1)
    smallest = sorted((f"a/{i}.wav" for i in range(20)), key=lambda name: hashlib.sha256(f"0/{name}".encode()).digest())
    assert {name for name, is_eval in first.items() if is_eval and name.startswith("a/")} == set(smallest[:4])


def test_every_class_of_several_labels_is_on_both_sides():
    some = recordings({"a": 6, "b": 9, "a+b": 4, "b+c": 2, "c": 3, "d+a": 2})
    chosen = split(some, (), seed=3)
    for side in (True, False):
        assert {label for r, s in zip(some, chosen, strict=True) if s is side for label in r.labels} == set("abcd")


def test_a_class_that_cannot_be_on_both_sides_is_named():
    with pytest.raises(UserError, match="one recording only of 'b'.*column fold"):
        split(recordings({"a": 5, "b": 1}), (), seed=0)
    # Where a and b send both recordings of c to one side, which seed 0 to 19 cannot all avoid.
    tied = [Recording(f"{i}.wav", None, labels) for i, labels in enumerate([("a",), ("a", "c"), ("b",), ("b", "c")])]
    with pytest.raises(UserError, match="no split .* 'c' into both"):
        [split(tied, (), seed) for seed in range(20)]


def test_folds_are_compared_as_stripped_text():
    some = recordings({"a": 2, "b": 2}, "1") + recordings({"a+b": 1}, "02") + recordings({"b+a": 1}, "")
    assert split(some, (" 02 ",), seed=0) == [False] * 4 + [True, False]


@pytest.mark.parametrize(
    ("some", "folds", "message"),
    [
        (recordings({"a": 3}), ("1",), "the data name no folds"),
        (recordings({"a": 3}, ""), ("1",), "the data name no folds"),
        (recordings({"a": 3}, "1") + recordings({"b": 1}, "2"), ("2", "5"), "no recording is in '5'; folds seen: 1, 2"),
        (recordings({"a": 3}, "1") + recordings({"zebra": 1}, "2"), ("2",), "training lacks 'zebra'"),
        (recordings({"a": 3}, "1"), ("1",), "no recording is left for training"),
    ],
)
def test_bad_folds_are_refused(some, folds, message):
    with pytest.raises(UserError, match=message):
        split(some, folds, seed=0)
