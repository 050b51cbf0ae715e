"""Jobs: whole rows, the same bytes after a kill, parts, and files that other programs open."""

import csv
import json
import sys

import pytest
import tagging

from glat import cli
from glat.data.parallel import Part
from glat.errors import UserError
from glat.tagging import job as job_module
from glat.tagging.events import TaggedEvent
from glat.tagging.formats import FORMATS
from glat.tagging.job import Job
from glat.tagging.pipeline import Start

EVENT = TaggedEvent("some where/a b.wav", "hum, low", 1.0, 2.5, 1.25, 0.75, 0.5, 0.6, 0.58, "sharpened")


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["glat", "tag", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return left.value.code


@pytest.fixture
def flags(weights):
    return ("--weights", weights[0], "--labels", weights[1], "--threshold", "0.4", "--batch-size", "4")


def test_a_killed_job_goes_on_to_the_same_bytes(flags, recordings, tmp_path, monkeypatch):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFF")
    files = (recordings[0], bad, recordings[1], recordings[2])
    whole = tmp_path / "whole.csv"
    assert run(monkeypatch, *files, *flags, "--events", whole) == 1  # one cannot be read
    names = {row["file"] for row in csv.DictReader(whole.open(newline=""))}
    assert names == {str(f) for f in files if f is not bad}
    for done in range(4):
        parts = tmp_path / f"after{done}.csv"
        commit, calls = Job.commit, []

        def dying(self, *arguments, commit=commit, calls=calls, done=done):
            if len(calls) == done:
                self.rows_file.open("ab").write(b"half a ro")
                self.journal.open("ab").write(b'{"file": "ha')
                raise KeyboardInterrupt
            calls.append(1)
            commit(self, *arguments)

        monkeypatch.setattr(Job, "commit", dying)
        assert run(monkeypatch, *files, *flags, "--events", parts) == 130
        monkeypatch.setattr(Job, "commit", commit)
        assert run(monkeypatch, *files, *flags, "--events", parts) == 1
        assert parts.read_bytes() == whole.read_bytes()
        assert run(monkeypatch, *files, *flags, "--events", parts) == 1  # done: nothing changes
        assert parts.read_bytes() == whole.read_bytes()


def test_events_are_printed_as_a_file_would_hold_them_and_nothing_is_left(
    flags, recordings, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    files = (*recordings, tmp_path / "bad.wav")
    files[-1].write_bytes(b"RIFF")
    assert run(monkeypatch, *files, *flags, "--events", "whole.csv") == 1
    capfd.readouterr()
    assert run(monkeypatch, *files, *flags, "--events", "-") == 1
    printed = capfd.readouterr()
    assert printed.out == (tmp_path / "whole.csv").read_bytes().decode()
    assert "events, by frames at --threshold 0.4" in printed.err
    assert run(monkeypatch, recordings[1], *flags, "--events", "-", "--format", "jsonl") == 0
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert {row["file"] for row in rows} == {str(recordings[1])}
    assert {path.name for path in tmp_path.iterdir()} == {"bad.wav", "whole.csv", "whole.csv.job.jsonl"}
    for name, said in (("parquet", "parquet is no text"), ("audacity", "holds the events of one recording")):
        assert run(monkeypatch, *files, *flags, "--events", "-", "--format", name) == 2
        assert said in capfd.readouterr().err


def test_a_job_is_not_mixed_with_another(flags, recordings, tmp_path, monkeypatch, capsys):
    out = tmp_path / "e.csv"
    assert run(monkeypatch, recordings[0], *flags, "--events", out) == 0
    before = out.read_bytes()
    assert run(monkeypatch, recordings[0], *flags, "--events", out, "--min-seconds", "1") == 2
    assert "min_seconds 0.0" in capsys.readouterr().err
    assert run(monkeypatch, recordings[1], *flags, "--events", out) == 2
    assert out.read_bytes() == before
    mine = tmp_path / "mine.csv"
    mine.write_text("precious")
    assert run(monkeypatch, recordings[0], *flags, "--events", mine) == 2
    assert mine.read_text() == "precious"


def test_parts_share_the_recordings(flags, recordings, tmp_path, monkeypatch):
    assert run(monkeypatch, *recordings, *flags, "--events", tmp_path / "all.csv") == 0
    rows = []
    for part in ("1/2", "2/2"):
        assert run(monkeypatch, *recordings, *flags, "--events", tmp_path / "e.csv", "--part", part) == 0
        path = tmp_path / f"part-{part[0]}-of-2-e.csv"
        rows += list(csv.DictReader(path.open(newline="")))
    whole = list(csv.DictReader((tmp_path / "all.csv").open(newline="")))
    assert {(r["file"], r["class"], r["onset_seconds"]) for r in rows} == {
        (r["file"], r["class"], r["onset_seconds"]) for r in whole
    }
    for text in ("0/2", "3/2", "2", "a/b"):
        with pytest.raises(UserError, match="--part"):
            Part.parse(text)


def test_a_job_that_goes_on_makes_the_batches_that_it_would_have_made():
    assert Start.after([], 4) == Start(0, 0, 0)
    assert Start.after([4, 4], 4) == Start(2, 0, 2)
    assert Start.after([1, 1, 1], 4) == Start(0, 0, 3)  # all three shared a batch with what is to come
    assert Start.after([10, 3], 4) == Start(1, 2, 2)  # 12 windows are whole batches; of the second, one is heard again
    assert Start.after([10, 0, 0], 4) == Start(0, 8, 3)


def written(name, tmp_path, events=(EVENT,), in_folder=False):
    out = tmp_path / ("out" if in_folder else f"out.{name}")
    job = Job(out, name, {}, [str(tmp_path / "a b.wav")], in_folder=in_folder)
    job.commit(events, 1, None)
    job.finish()
    job.close()
    return job, out


@pytest.mark.parametrize("name", [f for f in FORMATS if f != "parquet"])
def test_a_folder_has_a_file_a_recording(name, tmp_path):
    job, out = written(name, tmp_path, in_folder=True)
    assert job.file_of(str(tmp_path / "a b.wav")).read_text()
    assert sorted(p.name for p in out.iterdir()) == sorted(["a b.wav" + job.format.suffix, "glat.job.jsonl"])


def test_csv_and_json_lines_hold_all_there_is(tmp_path):
    row = next(csv.DictReader(written("csv", tmp_path)[1].open(newline="")))
    assert (row["file"], row["class"], float(row["onset_seconds"])) == (EVENT.file, EVENT.label, 1.0)
    assert [float(row[k]) for k in ("probability", "global", "local", "fused")] == [0.75, 0.5, 0.6, 0.58]
    assert row["events_by"] == "sharpened"
    line = json.loads(written("jsonl", tmp_path)[1].read_text())
    assert line == {
        "file": EVENT.file,
        "class": EVENT.label,
        "onset_seconds": 1.0,
        "offset_seconds": 2.5,
        "peak_seconds": 1.25,
        "probability": 0.75,
        "global": 0.5,
        "local": 0.6,
        "fused": 0.58,
        "events_by": "sharpened",
    }


def as_txt(name, tmp_path):
    return written(name, tmp_path)[1].rename(tmp_path / f"{name}.txt")


def test_crowsetta_reads_what_audacity_and_raven_do(tmp_path):
    crowsetta = pytest.importorskip("crowsetta", reason="crowsetta is not installed")
    labels = crowsetta.formats.seq.AudSeq.from_file(as_txt("audacity", tmp_path))
    assert (labels.start_times.tolist(), labels.end_times.tolist()) == ([1.0], [2.5])
    assert labels.labels.tolist() == ["hum, low 0.75"]
    table = crowsetta.formats.bbox.Raven.from_file(as_txt("raven", tmp_path), annot_col="Class")
    (box,) = table.to_bbox()
    assert (box.onset, box.offset, box.label) == (1.0, 2.5, "hum, low")


def test_raven_numbers_its_selections_through(tmp_path):
    job = Job(tmp_path / "r.txt", "raven", {}, ["a.wav", "b.wav"], in_folder=False)
    job.commit([EVENT, EVENT], 1, None)
    job.commit([EVENT], 1, None)
    lines = [line.split("\t") for line in job.out.read_text().splitlines()]
    assert [line[0] for line in lines] == ["Selection", "1", "2", "3"]
    assert len({len(line) for line in lines}) == 1


def test_pyannote_reads_the_rttm(tmp_path):
    util = pytest.importorskip("pyannote.database.util", reason="pyannote.database is not installed")
    path = written("rttm", tmp_path)[1]
    (found,) = util.load_rttm(path).values()
    ((segment, _, label),) = found.itertracks(yield_label=True)
    assert (round(segment.start, 3), round(segment.end, 3), label) == (1.0, 2.5, "hum,_low")
    assert path.read_text().split()[1] == "a_b"


def test_parquet_is_one_table(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    job, out = written("parquet", tmp_path, [EVENT] * 3)
    rows = parquet.read_table(out).to_pylist()
    assert len(rows) == 3
    assert rows[0]["class"] == EVENT.label
    assert not job.rows_file.exists()
    again = Job(out, "parquet", {}, job.names, in_folder=False)
    assert len(again.done) == 1


def test_audacity_wants_a_file_a_recording(tmp_path):
    with pytest.raises(UserError, match="folder"):
        Job(tmp_path / "a.txt", "audacity", {}, ["a.wav", "b.wav"], in_folder=False)


def test_names_and_labels_cannot_make_lines_of_their_own(tmp_path):
    evil = TaggedEvent("=cmd()\x1b[2J\n.wav", "a\tb\nc", 0.0, 1.0, 0.5, 0.9, 0.9, float("nan"), 0.9)
    for name in ("csv", "audacity", "raven", "rttm", "jsonl"):
        (tmp_path / name).mkdir()
        text = written(name, tmp_path / name, [evil])[1].read_text()
        assert "\x1b" not in text
        assert len(text.splitlines()) == (2 if name in ("csv", "raven") else 1), name


@pytest.mark.parametrize("in_folder", [False, True])
def test_a_job_belongs_to_one_process_at_a_time(in_folder, tmp_path):
    out = tmp_path / ("out" if in_folder else "out.csv")
    first = Job(out, "csv", {}, ["a.wav"], in_folder=in_folder)
    with pytest.raises(UserError, match="another process is writing it; wait for its end"):
        Job(out, "csv", {}, ["a.wav"], in_folder=in_folder)
    first.commit([EVENT], 1, None)
    first.close()
    again = Job(out, "csv", {}, ["a.wav"], in_folder=in_folder)
    assert [done.file for done in again.done] == ["a.wav"]


@pytest.mark.parametrize("left", [b"", b'{"format": "cs'])
def test_a_job_that_was_killed_at_its_first_line_begins_anew(left, tmp_path):
    (tmp_path / "out.csv.job.jsonl").write_bytes(left)
    job, out = written("csv", tmp_path)
    assert len(out.read_text().splitlines()) == 2
    assert len(job.journal.read_text().splitlines()) == 2


def test_a_damaged_journal_is_said(tmp_path):
    job, out = written("csv", tmp_path)
    job.journal.write_bytes(b"{\n")
    with pytest.raises(UserError, match="damaged"):
        Job(out, "csv", {}, job.names, in_folder=False)
    assert job_module.JOURNAL in str(job.journal)


def test_the_output_of_a_job_that_shrank_is_not_trusted(tmp_path):
    job, out = written("csv", tmp_path)
    out.write_bytes(b"x")
    with pytest.raises(UserError, match="changed"):
        Job(out, "csv", {}, job.names, in_folder=False)
    assert tagging.CLASSES
