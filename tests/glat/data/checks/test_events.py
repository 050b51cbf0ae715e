"""What `glat check-data` says of labelled times, and of long recordings without any."""

import json

import pytest
import soundfile
from sounds import noise

from glat.commands.check_data import CheckData
from glat.commands.pack import Pack
from glat.data.packs import write as write_packs
from glat.data.packs.filling import write_shard

RATE = 8_000


@pytest.fixture
def folder(tmp_path):
    for i in range(4):
        soundfile.write(tmp_path / f"{i}.wav", noise(24, RATE, seed=i), RATE)
    return tmp_path


def write(folder, *rows):
    whole = [f"{i}.wav,{5 * k},{5 * k + 2},{label},{'ab'[i % 2]}" for i in range(4) for k, label in enumerate("xy")]
    (folder / "t.csv").write_text("file,onset,offset,label,fold\n" + "\n".join([*whole, *rows]) + "\n")
    return folder / "t.csv"


def check(table, capsys, **options):
    status = CheckData(data=table, json=table.parent / "found.json", overwrite=True, workers=1, **options)()
    return status, capsys.readouterr().out, json.loads((table.parent / "found.json").read_text())


def test_events_are_counted_and_what_is_odd_is_named(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    table = write(
        folder,
        "0.wav,1,3,x,a",  # over another one of its class
        "0.wav,5.5,5.6,x,a",  # over one of another class; shorter than a frame
        "2.wav,30,31,x,a",  # outside
        "2.wav,23,25,y,a",  # cut
        "1.wav,9,9,x,b",  # a moment
        "1.wav,10,21,y,b",  # longer than a clip
        "3.wav,9,8,y,b",  # backwards
    )
    status, said, found = check(table, capsys, eval_folds=("b",))
    assert status == 1
    lines = said.splitlines()
    assert "PROBLEM: 1 event lies outside of its recording, and is not heard" in said
    assert "  2.wav: x, 30 to 31 s (of 24.00 s)" in lines
    assert "PROBLEM: 1 event ends before it begins, and is left out; correct their times" in lines
    for what in (
        "1 event passes the end of its recording",
        "1 event has no length",
        "1 event is shorter than 0.32 s",
        "1 event is longer than 10 s",
        "1 event overlaps one of its own class",
        "2 classes have fewer than 10 events for training",
        "4 recordings are longer than 10 s; they are heard in windows, labelled by what sounds in them",
    ):
        assert f"note: {what}" in said, what
    assert max(len(line) for line in lines if line[:1] in "┏┃┡│└") <= 80
    events = found["events"]
    assert events["train"] == {
        "events": 8,
        "event_seconds": pytest.approx(13.1),
        "overlapping": 2,
        "without_events": 0,
        "by_class": {"x": 5, "y": 3},
    }
    assert found["in_windows"]
    assert {"label": "x", "onset_seconds": 1.0, "offset_seconds": 3.0} in found["recordings"]["train"][0]["soundings"]


def test_packs_of_events_are_checked_by_window(folder, capsys, monkeypatch):
    # In this process: workers take seconds to start.
    monkeypatch.setattr(write_packs, "write_shards", lambda tasks, *_: [write_shard(t) for t in tasks])
    table = write(folder)
    Pack(out=folder / "packs", data=table, clip_seconds=10.0, sample_rate=RATE, workers=1)()
    assert "12 clips, windows of 4 recordings in" in capsys.readouterr().out
    status, said, found = check(table.parent / "packs", capsys, eval_folds=("b",))
    assert (status, found["events"]["train"]["events"]) == (0, 4)
    assert "PROBLEM" not in said


def test_weak_labels_of_long_recordings_are_said_to_be_taken_for_all_windows(folder, capsys):
    (folder / "w.csv").write_text("file,label,fold\n" + "".join(f"{i}.wav,x,{'ab'[i % 2]}\n" for i in range(4)))
    assert "each of which has all labels of its recording (--windows)" in check(folder / "w.csv", capsys)[1]
    said = check(folder / "w.csv", capsys, windows="off")[1]
    assert "what comes later is cut; give --windows on" in said
