"""Every kind of `--data` opens with the same clips and labels, whether they are held in memory or stay on the disk."""

import csv
import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile
import torch
from sounds import encoded, noise, opened, write_tar

from glat.data import Clips, Event
from glat.data.packs.read import PackedClips
from glat.data.packs.write import pack
from glat.data.parallel import cores
from glat.data.recordings.encoded import EncodedClips
from glat.data.recordings.manifest import read_manifest
from glat.data.sources import memory
from glat.errors import UserError

RATE = 32_000
SECONDS = 0.5
CLASSES = ("cat", "dog, big", "Vögel")


def write_table(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "label", "fold"), *rows])
    return path


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """The same twelve recordings as a CSV, a pack and tar files; every fourth has a label more. And as a folder."""
    root = tmp_path_factory.mktemp("kinds")
    rows, members = [], {}
    for i in range(12):
        labels = sorted({CLASSES[i % 3], CLASSES[0] if i % 4 == 1 else CLASSES[i % 3]})
        path = root / "folder" / CLASSES[i % 3] / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(noise(0.2 + 0.05 * i, seed=i)))
        rows.append((f"folder/{CLASSES[i % 3]}/{i}.wav", ";".join(labels), str(i // 6)))
        members |= {f"{i}.wav": path.read_bytes(), f"{i}.txt": ";".join(labels).encode()}
    table = write_table(root / "set.csv", rows)
    pack(root / "pack", read_manifest(table), clip_seconds=SECONDS, sample_rate_hz=RATE, clips_per_shard=5, workers=1)
    (root / "tar").mkdir()
    names = list(members)
    for part, chosen in enumerate((names[:10], names[10:])):
        write_tar(root / "tar" / f"{part}.tar", {name: members[name] for name in chosen})
    return {
        "csv": table,
        "pack": root / "pack",
        "tar": root / "tar",
        "folder": root / "folder",
        "missing": root / "nowhere.h5",
    }


def read(data, **options):
    return opened(data, **{"sample_rate_hz": RATE, "clip_seconds": SECONDS, **options})


def by_file(*clips):
    """{number of the file: (samples, labels)} of some sources."""
    found = {}
    for source in clips:
        targets = source.targets.dense()
        for row, name in enumerate(source.names):
            labels = {source.classes[k] for k in targets[row].nonzero()[:, 0].tolist()}
            found[int(name.rsplit("/", 1)[-1].removesuffix(".wav"))] = (source.read(row), labels)
    return found


def assert_same_clips(first, second):
    assert first.keys() == second.keys()
    for file, (samples, labels) in first.items():
        np.testing.assert_array_equal(samples, second[file][0])
        assert labels == second[file][1]


KINDS = {"memory": ("csv", "memory", Clips), "files": ("csv", "soundfile", EncodedClips)}
KINDS |= {"pack": ("pack", "auto", PackedClips), "tar": ("tar", "auto", EncodedClips)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_holds_the_same_clips_and_labels(kinds, kind):
    name, loader, source = KINDS[kind]
    expected = read(kinds["csv"], loader="memory")
    data = read(kinds[name], loader=loader)
    assert data.skipped == ()
    for side in (data.train, data.evaluation):
        assert isinstance(side, source)
        assert side.classes == tuple(sorted(CLASSES))
        assert (side.clip_samples, side.sample_rate_hz) == (RATE // 2, RATE)
    assert len(data.train) + len(data.evaluation) == 12
    assert_same_clips(by_file(data.train, data.evaluation), by_file(expected.train, expected.evaluation))
    if kind != "tar":  # whose clips have names of their own, by which the sides are chosen
        assert (data.train.names, data.evaluation.names) == (expected.train.names, expected.evaluation.names)

    alone, skipped = opened(
        kinds[name], evaluation_only=True, sample_rate_hz=RATE, clip_seconds=SECONDS, loader=loader, workers=1
    )
    assert (len(alone), skipped) == (12, ())
    assert_same_clips(by_file(alone), by_file(expected.train, expected.evaluation))


@pytest.mark.parametrize("kind", KINDS)
def test_a_subset_has_every_column_of_its_rows(kinds, kind):
    name, loader, _ = KINDS[kind]
    clips = read(kinds[name], loader=loader).train
    events = tuple((Event(0, float(row), row + 1.0),) for row in range(len(clips)))
    folds = tuple(map(str, range(len(clips))))
    rows = np.array([3, 1])
    part = replace(clips, events=events, folds=folds).subset(rows)
    assert (part.names, part.events, part.folds) == tuple(
        tuple(column[row] for row in rows) for column in (clips.names, events, folds)
    )
    assert part.lengths.tolist() == clips.lengths[rows].tolist()
    assert torch.equal(part.targets.dense(), clips.targets.dense()[rows])
    for row, of_all in enumerate(rows):
        np.testing.assert_array_equal(part.read(row), clips.read(of_all))


@pytest.mark.parametrize("kind", ["memory", "files", "pack"])
def test_folds_are_the_same_of_every_kind_that_has_them(kinds, kind):
    name, loader, _ = KINDS[kind]
    data = read(kinds[name], loader=loader, eval_folds=("1",))
    assert [sorted(by_file(side)) for side in (data.train, data.evaluation)] == [[*range(6)], [*range(6, 12)]]
    alone, _ = opened(
        kinds[name],
        evaluation_only=True,
        sample_rate_hz=RATE,
        clip_seconds=SECONDS,
        eval_folds=("1",),
        loader=loader,
    )
    assert sorted(by_file(alone)) == [*range(6, 12)]


@pytest.mark.parametrize("kind", KINDS)
def test_eval_data_is_for_the_evaluation_alone(kinds, kind):
    name, loader, _ = KINDS[kind]
    data = read(kinds[name], loader=loader, eval_data=kinds[name])
    assert len(data.train) == len(data.evaluation) == 12
    assert data.train.classes == data.evaluation.classes
    assert_same_clips(by_file(data.train), by_file(data.evaluation))


def test_eval_data_may_lack_classes_and_may_not_have_others(kinds, tmp_path):
    folder = kinds["folder"]
    fewer = write_table(tmp_path / "fewer.csv", [(folder / "cat" / "0.wav", "cat", "")])
    other = write_table(tmp_path / "other.csv", [(folder / "cat" / "0.wav", "cat;cow", "")])
    for loader in ("memory", "soundfile"):
        data = read(kinds["csv"], eval_data=fewer, loader=loader)
        assert data.evaluation.classes == data.train.classes
        assert data.evaluation.targets.dense().tolist() == [[c == "cat" for c in data.train.classes]]
        with pytest.raises(UserError, match="training lacks 'cow', which the evaluation has"):
            read(kinds["csv"], eval_data=other, loader=loader)


def test_recordings_stay_files_where_they_would_take_too_much_memory(kinds, monkeypatch):
    needed = 2 * 12 * SECONDS * RATE
    for room, kept in ((needed * 4, Clips), (needed * 4 - 4, EncodedClips)):
        monkeypatch.setattr(memory, "memory_bytes", lambda room=room: room)
        assert isinstance(read(kinds["csv"]).train, kept)
        assert isinstance(read(kinds["csv"], loader="memory").train, Clips)
        assert isinstance(read(kinds["csv"], loader="soundfile").train, EncodedClips)


@pytest.mark.parametrize("loader", ["memory", "soundfile"])
def test_a_bad_file_is_left_out_and_moves_no_other(kinds, tmp_path, loader):
    for i in range(12):
        path = tmp_path / CLASSES[i % 3] / f"{i}.wav"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(noise(0.3, seed=i)))
    whole = read(tmp_path, loader=loader)
    before = by_file(whole.train)
    spoilt = whole.train.names[2]
    (tmp_path / spoilt).write_bytes(b"")
    data = read(tmp_path, loader=loader)
    assert [skip.file for skip in data.skipped] == [spoilt]
    assert data.train.names == tuple(name for name in whole.train.names if name != spoilt)
    assert data.evaluation.names == whole.evaluation.names
    del before[int(spoilt.rsplit("/", 1)[-1].removesuffix(".wav"))]
    assert_same_clips(before, by_file(data.train))


def test_processes_of_a_run_share_the_memory_and_the_cores(kinds, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    held = 2 * SECONDS * RATE * len(read_manifest(kinds["csv"]).recordings) / memory.SHARE
    monkeypatch.setattr(memory, "memory_bytes", lambda: 1.5 * held)
    for processes, source, each in ((1, Clips, 16), (2, EncodedClips, 8), (32, EncodedClips, 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        assert isinstance(read(kinds["csv"]).train, source)
        assert cores() == each


@pytest.fixture
def by_panns(tmp_path):
    """A file as PANNs' programs write it, which names no classes, and AudioSet's kind of table that does."""
    path, labels = tmp_path / "panns.h5", tmp_path / "labels.csv"
    with h5py.File(path, "w") as file:
        file.create_dataset("audio_name", data=[f"Y{i}.wav".encode() for i in range(8)], dtype="S20")
        file.create_dataset("waveform", data=np.arange(8 * RATE, dtype=np.int16).reshape(8, RATE))
        file.create_dataset("target", data=np.arange(8)[:, None] % 2 == np.arange(2))
        file.attrs["sample_rate"] = RATE
    labels.write_text('index,mid,display_name\n0,/m/1,"Zebra, plains"\n1,/m/2,Ant\n')
    return path, labels


def test_packs_of_panns_take_the_classes_of_a_table_in_its_order(by_panns):
    path, labels = by_panns
    data = opened(path, sample_rate_hz=RATE, labels=labels)
    assert data.train.classes == ("Zebra, plains", "Ant")
    assert data.train.targets.dense().sum(0).tolist() == [3, 3]
    alone, _ = opened(path, evaluation_only=True, sample_rate_hz=RATE, clip_seconds=1.0, labels=labels)
    assert torch.equal(alone.targets.dense(), torch.arange(8)[:, None] % 2 == torch.arange(2))
    with pytest.raises(UserError, match=r"names none of its 2 classes; give --labels"):
        opened(path, sample_rate_hz=RATE)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ("pack", {"sample_rate_hz": 16_000}, "packed at 32000 Hz, and the network hears 16000 Hz; pack with"),
        ("pack", {"clip_seconds": 1.0}, "packed in clips of 0.5 s, and --clip-seconds is 1"),
        ("pack", {"mix": True}, "--mix takes recordings, and --data .* holds packs"),
        ("tar", {"mix": True}, "--mix takes recordings, and --data .* holds tar files"),
        ("pack", {"loader": "memory"}, "--loader memory: packs are read as they are heard"),
        ("tar", {"loader": "memory"}, "--loader memory: tar files are read as they are heard"),
        ("csv", {"eval_data": "tar"}, "--data .* holds recordings, and --eval-data .* tar files; give both alike"),
        ("csv", {"eval_data": "csv", "eval_folds": ("1",)}, "--eval-data .*: leave --eval-folds out"),
        ("pack", {"eval_data": "missing"}, "--eval-data .*nowhere.h5: no such file or folder"),
        (None, {"eval_data": "csv"}, "--eval-data .*: add --data"),
        ("tar", {"eval_folds": ("1",)}, "--eval-folds 1: the data name no folds"),
        ("csv", {"eval_folds": ("7",)}, "no recording is in '7'; folds seen: 0, 1"),
        ("csv", {"labels": Path("l.csv")}, "--labels l.csv names the classes of packs, and --data .* holds recordings"),
        ("tar", {"labels": Path("l.csv")}, "--labels l.csv names the classes of packs, and --data .* holds tar files"),
        (None, {"labels": Path("l.csv")}, "--labels l.csv names the classes of packs; add --data"),
    ],
)
def test_what_cannot_be_meant_is_named(kinds, data, options, message):
    options = options | ({"eval_data": kinds[options["eval_data"]]} if "eval_data" in options else {})
    with pytest.raises(UserError, match=message):
        read(kinds.get(data), **options)


@pytest.mark.parametrize("beside", ["x.tar", "x.h5"])
def test_an_archive_beside_class_folders_takes_not_their_place(beside, tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / beside).touch()
    with pytest.raises(UserError, match="holds (tar files|packs) and the folder cat; move one of the two"):
        read(tmp_path)


def test_folds_of_tar_files_are_refused_in_an_evaluation(kinds):
    with pytest.raises(UserError, match="tar files have no folds"):
        opened(kinds["tar"], evaluation_only=True, sample_rate_hz=RATE, clip_seconds=SECONDS, eval_folds=("1",))


def test_a_file_that_shrinks_after_it_was_opened_is_no_silent_sample(kinds, tmp_path):
    table = write_table(tmp_path / "set.csv", [(f"{i}.wav", "a", str(i)) for i in range(2)])
    for i in range(2):
        soundfile.write(tmp_path / f"{i}.wav", noise(seed=i), RATE, subtype="PCM_16")
    data = read(table, loader="soundfile", eval_folds=("1",))
    (tmp_path / "0.wav").unlink()
    with pytest.raises(UserError, match="no such file"):
        data.train.read(0)
