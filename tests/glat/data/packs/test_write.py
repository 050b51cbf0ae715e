"""Packing: what lies in the shards, and that kills, full disks and wrong folders lose and double nothing."""

import csv
import hashlib
import json
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile
import sounds
import soxr

from glat.data.packs.filling import Shard, WriteError, write_shard
from glat.data.packs.read import open_packs
from glat.data.packs.write import pack
from glat.data.parallel import Part
from glat.data.recordings.audio import to_int16
from glat.data.recordings.manifest import Manifest, read_manifest
from glat.data.recordings.recording import Recording
from glat.errors import UserError

RATE = 8_000
OPTIONS = {"clip_seconds": 1.0, "sample_rate_hz": RATE}


def noise(seed, seconds=0.5, rate=RATE, peak=0.5):
    return sounds.noise(seconds, rate, seed, peak)


@pytest.fixture
def table(tmp_path):
    """A CSV of 24 recordings of two classes with folds, number 5 broken and number 7 missing."""
    source = tmp_path / "set" / "set.csv"
    for i in range(24):
        sounds.add_recording(source, f"{i}.wav", noise(i), "a;b" if i == 3 else "ab"[i % 2], i % 4, RATE)
    (source.parent / "5.wav").write_bytes(b"RIFF")
    (source.parent / "7.wav").unlink()
    return source


def contents(out):
    return {path.name: path.read_bytes() for path in out.iterdir() if not path.name.startswith(".")}


def test_a_packed_clip_is_the_resampled_recording_with_all_that_is_known_of_it(tmp_path):
    x = noise(0, 0.5, 11_025)
    soundfile.write(tmp_path / "a.wav", np.stack([x, x], 1), 11_025, subtype="FLOAT")
    soundfile.write(tmp_path / "b.wav", noise(1, 3.0), RATE, subtype="FLOAT")
    manifest = Manifest(
        (Recording("a.wav", tmp_path / "a.wav", ("p", "q"), "2"), Recording("b.wav", tmp_path / "b.wav", ("q",))),
        ("q", "p"),
        (),
    )
    assert pack(tmp_path / "out", manifest, workers=1, clips_per_shard=5, windows="off", **OPTIONS).clips == 2
    expected = to_int16(soxr.resample(x, 11_025, RATE, quality="HQ"))
    with h5py.File(tmp_path / "out/shard-00000.h5") as file:
        assert file.attrs["sample_rate"] == RATE
        assert file["waveform"].dtype == np.int16
        assert file["waveform"].shape == (2, RATE)
        assert file["audio_name"].dtype == "S20"
        np.testing.assert_array_equal(file["waveform"][0, : len(expected)], expected)
        assert not file["waveform"][0, len(expected) :].any()
        np.testing.assert_array_equal(file["waveform"][1], to_int16(noise(1, 3.0))[:RATE])
        assert file["target"][:].tolist() == [[True, True], [True, False]]
        assert file["length"][:].tolist() == [len(expected), RATE]
    with (tmp_path / "out/clips.csv").open() as stream:
        first, second = csv.DictReader(stream)
    assert (first["name"], first["shard"], first["row"], first["fold"]) == ("a.wav", "shard-00000.h5", "0", "2")
    assert (first["source_rate_hz"], first["channels"], first["samples"]) == ("11025", "2", str(len(expected)))
    assert first["sha256"] == hashlib.sha256(expected.tobytes()).hexdigest()
    assert float(second["peak"]) == pytest.approx(np.abs(noise(1, 3.0)[:RATE]).max(), rel=1e-5)
    assert second["fold"] == ""


def test_bad_recordings_are_dropped_and_reported(table, tmp_path):
    packing = pack(tmp_path / "out", read_manifest(table), clips_per_shard=5, workers=2, **OPTIONS)
    assert packing.clips == 22
    reasons = {skip.file: skip.reason for skip in packing.skipped}
    assert reasons.keys() == {"5.wav", "7.wav"}
    assert reasons["7.wav"] == "no such file"
    packed = open_packs(tmp_path / "out")
    assert packed.names == tuple(f"{i}.wav" for i in range(24) if i not in (5, 7))
    assert [len(shard) for shard in json.loads((tmp_path / "out/manifest.json").read_text())["shards"]] == [3] * 5
    for row, name in enumerate(packed.names):
        np.testing.assert_array_equal(packed.read(row), to_int16(noise(int(name.split(".")[0]))))
    assert packed.targets.dense()[packed.names.index("3.wav")].tolist() == [True, True]


def test_workers_change_nothing_and_a_second_call_packs_nothing(table, tmp_path):
    for workers in (1, 2):
        pack(tmp_path / f"out{workers}", read_manifest(table), clips_per_shard=5, workers=workers, **OPTIONS)
    before = contents(tmp_path / "out1")
    assert before == contents(tmp_path / "out2")
    assert pack(tmp_path / "out1", read_manifest(table), clips_per_shard=5, **OPTIONS).clips == 22
    assert contents(tmp_path / "out1") == before


def test_parts_into_one_folder_are_the_packing_of_one_process(table, tmp_path):
    manifest = read_manifest(table)
    pack(tmp_path / "whole", manifest, **OPTIONS, workers=1)
    for number in (3, 1, 2):
        packed = pack(tmp_path / "parts", manifest, **OPTIONS, workers=1, part=Part(number, 3))
        assert (packed is None) == (number != 2)
    assert packed == pack(tmp_path / "whole", manifest, **OPTIONS)
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_small_sets_are_spread_over_several_shards(table, tmp_path):
    pack(tmp_path / "out", read_manifest(table), workers=1, **OPTIONS)
    assert len(list((tmp_path / "out").glob("shard-*.h5"))) == 12


PROGRAM = """
import sys
from pathlib import Path
from glat.data.recordings.manifest import read_manifest
from glat.data.packs.write import pack
if __name__ == "__main__":
    pack(Path(sys.argv[1]), read_manifest(Path(sys.argv[2])), clip_seconds=30.0, sample_rate_hz=8000,
         clips_per_shard=5, workers=2, report=lambda done, total: print(done, flush=True))
"""


def processes_of(group):
    """Process ids of a session's processes that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group_id = stat.read_text().rsplit(")", 1)[1].split()[:3]
        except OSError:  # gone
            continue
        if int(group_id) == group and state != "Z":
            found.append(stat.parent.name)
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_kills_lose_and_double_nothing(tmp_path):
    folder, out = tmp_path / "set/a", tmp_path / "out"
    folder.mkdir(parents=True)
    for i in range(100):  # a shard takes some 0.1 s
        if i < 4:
            soundfile.write(folder / f"{i}.wav", noise(i, 30.0, 44_100), 44_100)
        else:
            (folder / f"{i}.wav").hardlink_to(folder / f"{i % 4}.wav")
    whole_after_kill = []
    for attempt in range(2):
        program = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(out), str(folder.parent)],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert program.stdout is not None
        with program.stdout:
            if attempt == 0:
                while not any(out.glob(".glat-tmp-*")):  # the first dies within its first shards, most likely
                    assert program.poll() is None
                    time.sleep(0.001)
            else:
                for _ in range(3):
                    program.stdout.readline()
                time.sleep(random.uniform(0, 0.05))
            program.send_signal(signal.SIGKILL)
            program.wait()
        for _ in range(500):  # workers die with their parent, soon
            if not processes_of(program.pid):
                break
            time.sleep(0.02)
        assert not processes_of(program.pid)
        if attempt == 0:
            assert any(out.glob(".glat-tmp-*"))
        whole_after_kill.append({path: path.stat().st_mtime_ns for path in out.glob("shard-*.h5")})
    assert len(whole_after_kill[1]) > len(whole_after_kill[0])
    options = {"clip_seconds": 30.0, "sample_rate_hz": RATE, "clips_per_shard": 5, "workers": 2}
    assert pack(out, read_manifest(folder.parent), **options).clips == 100
    assert {path: path.stat().st_mtime_ns for path in whole_after_kill[1]} == whole_after_kill[1]
    assert not any(out.glob(".glat-tmp-*"))
    pack(tmp_path / "whole", read_manifest(folder.parent), **options)
    assert contents(out) == contents(tmp_path / "whole")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 200 kB, and a call that enlarges it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield disk, lambda: subprocess.run(["mount", "-o", "remount,size=10m", disk], check=True)
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_one_error_and_whole_shards_and_can_be_resumed(table, tmp_path, small_disk):
    disk, enlarge = small_disk
    with pytest.raises(UserError, match=r"No space left on device\); . of 5 shards are whole: free some space"):
        pack(disk / "out", read_manifest(table), clips_per_shard=5, workers=2, **OPTIONS)
    pack(tmp_path / "whole", read_manifest(table), clips_per_shard=5, workers=1, **OPTIONS)
    for shard in (disk / "out").glob("shard-*.h5"):  # which of them came before the disk was full is chance
        with h5py.File(shard) as file, h5py.File(tmp_path / "whole" / shard.name) as wanted:
            assert len(file["waveform"]) == len(wanted["waveform"])
    assert not list((disk / "out").glob(".glat-tmp-*"))
    enlarge()
    assert pack(disk / "out", read_manifest(table), clips_per_shard=5, workers=2, **OPTIONS).clips == 22
    assert contents(disk / "out") == contents(tmp_path / "whole")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # h5py's, of what follows an error
def test_a_shard_is_whole_or_an_error_wherever_there_was_no_room_for_a_moment(table, tmp_path, monkeypatch):
    recordings = tuple(read_manifest(table).recordings[:5])
    whole, shard = (Shard(tmp_path / name, recordings, ("a", "b"), RATE, 1.0) for name in ("whole.h5", "shard.h5"))
    write_shard(whole)
    expected, outcomes = whole.path.read_bytes(), []
    unlimited, create = resource.getrlimit(resource.RLIMIT_FSIZE), h5py.AttributeManager.create

    def room_again(*args, **options):
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        return create(*args, **options)

    monkeypatch.setattr(h5py.AttributeManager, "create", room_again)  # of the last thing that is written
    for most_bytes in range(0, len(expected) + 500, 500):
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, unlimited[1]))
        try:
            write_shard(shard)
        except WriteError:
            outcomes.append("error")
            assert not shard.path.exists()
        else:
            outcomes.append("whole")
            assert shard.path.read_bytes() == expected
            shard.path.unlink()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert {*outcomes} == {"error", "whole"}


def test_another_packing_is_not_mixed_in(table, tmp_path):
    out = tmp_path / "out"
    pack(out, read_manifest(table), clips_per_shard=5, workers=1, **OPTIONS)
    before = contents(out)
    for options, message in (
        ({"clips_per_shard": 4}, "packing of clips_per_shard 5, not 4"),
        ({"clip_seconds": 2.0}, "packing of clip_samples 8000, not 16000"),
        ({"sample_rate_hz": 16_000}, "packing of sample_rate_hz 8000, not 16000"),
    ):
        with pytest.raises(UserError, match=message):
            pack(out, read_manifest(table), workers=1, **{"clips_per_shard": 5, **OPTIONS, **options})
    table.write_text(table.read_text().replace("9.wav,b", "9.wav,a"))
    with pytest.raises(UserError, match="packing of other recordings, labels or folds; give the same as before, or a"):
        pack(out, read_manifest(table), clips_per_shard=5, workers=1, **OPTIONS)
    assert contents(out) == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").write_text("mine")
    with pytest.raises(UserError, match="exists and holds no packs"):
        pack(tmp_path / "other", read_manifest(table), workers=1, **OPTIONS)


def test_two_processes_do_not_pack_into_one_folder(table, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / "out").mkdir()
    with (tmp_path / "out/.glat-lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="is being packed by another process"):
            pack(tmp_path / "out", read_manifest(table), workers=1, **OPTIONS)


def test_nothing_readable_is_an_error(table, tmp_path):
    for path in table.parent.glob("*.wav"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"none of 24 recordings can be read \(one of them: .*\.wav: is empty"):
        pack(tmp_path / "out", read_manifest(table), clips_per_shard=24, workers=1, **OPTIONS)
    with pytest.raises(UserError, match="not packed to the end"):
        open_packs(tmp_path / "out")


def test_long_and_unicode_names_are_kept_whole(tmp_path):
    name = "hund/" + "sehr langer Name " * 8 + "äöü.wav"
    soundfile.write(tmp_path / "a.wav", noise(0), RATE)
    pack(
        tmp_path / "out",
        Manifest((Recording(name, tmp_path / "a.wav", ("hund",)),), ("hund",), ()),
        workers=1,
        **OPTIONS,
    )
    assert open_packs(tmp_path / "out").names == (name,)
