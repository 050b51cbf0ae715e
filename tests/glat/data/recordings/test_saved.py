"""`--data hf-dataset:FOLDER`: data sets of Hugging Face's datasets, written by themselves."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from flags import TINY
from sounds import RATE, encoded, noise, opened
from trained import glat, train_here

from glat.data.packs.read import open_packs
from glat.data.recordings.manifest import read_manifest
from glat.data.recordings.table_format import TableFormat
from glat.errors import UserError

LABELS = [["cat"], ["dog"], ["cat", "dog"], [], ["dog"], ["cat"], ["dog"], ["cat"]]
NAMES = ["cat", "dog"]
SOUNDS = [encoded(noise(0.2 + 0.05 * i, seed=i), kind="FLAC" if i % 2 else "WAV") for i in range(8)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A data set with two splits, in two files, as `datasets` writes it; one of its sounds is cut off."""
    datasets = pytest.importorskip("datasets")
    folder = tmp_path_factory.mktemp("saved") / "sounds"
    datasets.disable_progress_bars()

    def split(rows):
        table = datasets.Dataset.from_dict(
            {
                "audio": [{"bytes": SOUNDS[i][: 99 if i == 6 else None], "path": f"{i}.wav"} for i in rows],
                "label": [NAMES.index(LABELS[i][0]) if LABELS[i] else -1 for i in rows],
                "several": [[NAMES.index(label) for label in LABELS[i]] for i in rows],
                "text": [";".join(LABELS[i]) or None for i in rows],
                "texts": [LABELS[i] for i in rows],
                "hot": [[label in LABELS[i] for label in NAMES] for i in rows],
                "number": [*rows],
                "numbers": [[i] for i in rows],
                "fold": [i % 2 for i in rows],
            }
        )
        named = datasets.ClassLabel(names=NAMES)
        for column, feature in (("label", named), ("several", datasets.Sequence(named))):
            table = table.cast_column(column, feature)
        return table.cast_column("audio", datasets.Audio(decode=False))

    every = datasets.DatasetDict({"train": split(range(8)), "test": split(range(4))})
    every.save_to_disk(str(folder), num_shards={"train": 2, "test": 1})
    return folder


def named(folder):
    return Path(f"hf-dataset:{folder}")


@pytest.mark.parametrize("loader", ["memory", "soundfile"])
def test_a_saved_data_set_holds_the_clips_of_its_files(saved, tmp_path, loader):
    with (tmp_path / "set.csv").open("w", newline="") as file:
        rows = [(f"{i}.wav", ";".join(LABELS[i])) for i in range(8)]
        csv.writer(file).writerows([("file", "label"), *rows])
    for i, sound in enumerate(SOUNDS):
        (tmp_path / f"{i}.wav").write_bytes(sound)
    expected = opened(tmp_path / "set.csv", evaluation_only=True, loader=loader, clip_seconds=0.5)[0]
    data = opened(named(saved), loader=loader, label_column="several", clip_seconds=0.5)
    assert [skip.file for skip in data.skipped] == ["train/6/6.wav"]
    assert data.train.names == tuple(f"train/{i}/{i}.wav" for i in range(8) if i != 6)
    assert data.evaluation.names == tuple(f"test/{i}/{i}.wav" for i in range(4))
    for side in (data.train, data.evaluation):
        for row, name in enumerate(side.names):
            i = int(name.split("/")[1])
            np.testing.assert_array_equal(side.read(row), expected.read(i))
            assert side.targets.dense()[row].tolist() == [label in LABELS[i] for label in NAMES]
    assert {path.name for path in data.stamps.paths} == {
        "data-00000-of-00001.arrow",
        "data-00000-of-00002.arrow",
        "data-00001-of-00002.arrow",
    }


@pytest.mark.parametrize("column", ["several", "text", "texts", "hot", "label"])
def test_labels_of_every_kind_are_read(saved, column):
    found = read_manifest(named(saved / "train"), TableFormat(label_column=column)).recordings
    wanted = [labels[:1] for labels in LABELS] if column == "label" else LABELS
    if column == "hot":
        wanted = [[str(NAMES.index(label)) for label in labels] for labels in wanted]
    assert [list(recording.labels) for recording in found] == wanted
    assert [recording.fold for recording in found] == [str(i % 2) for i in range(8)]


def test_a_run_trains_and_is_evaluated_on_it(saved, tmp_path, monkeypatch, capsys):
    train_here(*TINY, "--data", named(saved), "--iterations", 1, "--run-dir", tmp_path / "run")
    assert "train/6/6.wav" in (tmp_path / "run" / "skipped.json").read_text()
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())["config"]["data"]["data"]
    assert recorded == f"hf-dataset:{saved}"
    capsys.readouterr()
    monkeypatch.chdir(saved.parent)
    for more in ((), ("--data", f"hf-dataset:{saved.name}/test")):
        assert glat(monkeypatch, "evaluate", "--run", tmp_path / "run", "--resamples", 0, *more) == 0
        said = capsys.readouterr().out
        assert "\n4 clips" in said
        assert "have changed" not in said


def test_it_is_checked_and_packed(saved, tmp_path, monkeypatch, capsys):
    assert glat(monkeypatch, "check-data", "--data", named(saved / "train")) == 1
    said = capsys.readouterr().out
    assert "train/6/6.wav" in said
    assert glat(monkeypatch, "pack", tmp_path / "pack", "--data", named(saved / "train"), "--clip-seconds", 0.5) == 0
    packed = open_packs(tmp_path / "pack")
    data = opened(named(saved / "train"), evaluation_only=True, clip_seconds=0.5)[0]
    assert packed.names == data.names == tuple(f"train/{i}/{i}.wav" for i in range(8) if i != 6)
    for row in range(len(packed)):
        np.testing.assert_array_equal(packed.read(row), data.read(row))


def test_folds_and_mixing_are_those_of_other_recordings(saved):
    data = opened(named(saved / "train"), eval_folds=("1",))
    assert data.evaluation.names == tuple(f"train/{i}/{i}.wav" for i in (1, 3, 5, 7))
    assert len(opened(named(saved), mix=True, clip_seconds=1.0, train_clips=3, eval_clips=2).train) == 3


def by_hand(folder, columns, features, **options):
    """A data set of one file with rows that `datasets` would not write."""
    folder.mkdir(exist_ok=True)
    table = pa.table(columns)
    how = pa.ipc.IpcWriteOptions(**options)
    with (
        pa.OSFile(str(folder / "data.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema, options=how) as writer,
    ):
        writer.write_table(table, 2)
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
    return named(folder)


KIND = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def test_rows_may_name_files_or_hold_nothing(tmp_path):
    (tmp_path / "b.wav").write_bytes(SOUNDS[2])
    cells = [{"bytes": SOUNDS[0], "path": None}, {"bytes": None, "path": str(tmp_path / "b.wav")}, None]
    data = by_hand(tmp_path / "set", {"audio": pa.array(cells, KIND), "label": ["a", "b", "c"]}, {})
    found = read_manifest(data)
    assert [(r.name, r.path.name) for r in found.recordings] == [("0", "data.arrow"), ("1/b.wav", "b.wav")]
    assert [(skip.file, skip.reason) for skip in found.skipped] == [("2", "holds no sound")]
    clips = opened(data, evaluation_only=True, clip_seconds=0.5)[0]
    assert clips.lengths.tolist() == [len(noise(0.2)), len(noise(0.3))]


@pytest.mark.parametrize(
    ("where", "options", "message"),
    [
        ("nowhere", {}, r"no data set was saved there \(it lacks state.json\); give the folder of save_to_disk"),
        ("", {"label_column": "kind"}, "has no column kind, but audio, label, .*; say where the labels are"),
        (
            "",
            {"label_column": "number"},
            r"number holds int64, which names no class; cast_column\('number', ClassLabel",
        ),
        ("", {"label_column": "numbers"}, "holds lists of numbers that are no row of zeros and ones"),
        ("", {"windows": "on"}, "of hf-dataset.* the beginnings are heard; leave it out"),
        ("", {"labels": Path("l.csv")}, "--labels l.csv names the classes of packs"),
    ],
)
def test_what_cannot_be_meant_is_named(saved, where, options, message):
    with pytest.raises(UserError, match=message):
        opened(named(saved / where), sample_rate_hz=RATE, **options)


def test_splits_that_are_not_two_are_chosen_by_the_user(saved, tmp_path):
    with pytest.raises(UserError, match=r"holds the splits train, test; give one, hf-dataset:.*/train"):
        opened(named(saved), evaluation_only=True)
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "validation", "test"]}')
    with pytest.raises(UserError, match=r"say which: --data hf-dataset:.*/train --eval-data hf-dataset:.*/test"):
        opened(named(tmp_path))
    both = opened(named(saved / "train"), eval_data=named(saved / "train"))
    assert both.train.names == both.evaluation.names


def test_files_that_are_damaged_or_compressed_are_refused(tmp_path, monkeypatch):
    rows = {"audio": pa.array([{"bytes": SOUNDS[0], "path": "a"}] * 3, KIND), "label": ["a", "b", "c"]}
    with pytest.raises(UserError, match="its Arrow files are compressed; save it with save_to_disk"):
        read_manifest(by_hand(tmp_path / "zip", rows, {}, compression="lz4"))
    data = by_hand(tmp_path / "cut", rows, {})
    path = tmp_path / "cut" / "data.arrow"
    path.write_bytes(path.read_bytes()[:-9_000])
    with pytest.raises(UserError, match="data.arrow cannot be read .*; save it again"):
        read_manifest(data)
    with pytest.raises(UserError, match=r"none of its columns \(label\) holds sounds; make one with cast_column"):
        read_manifest(by_hand(tmp_path / "none", {"label": ["a"]}, {}))
    two = {"one": rows["audio"], "two": rows["audio"], "label": rows["label"]}
    with pytest.raises(UserError, match="sounds are in one, two; choose one, --file-column one"):
        read_manifest(by_hand(tmp_path / "two", two, {}))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"it needs pyarrow: pip install 'glat\[datasets\]'"):
        read_manifest(data)
