"""Packs and tar files that lie elsewhere: the same clips, by ranges; what is said where they cannot be had."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from flags import TINY
from ranges import Ranges
from sounds import RATE, encoded, noise, opened, write_tar
from trained import glat, train_here

from glat.data import remote
from glat.data.packs.write import pack
from glat.data.recordings.manifest import read_manifest
from glat.data.stamps import Stamps
from glat.errors import UserError

SECONDS = 0.5
COUNT = 24


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same clips as a tar file, a pack of two shards, and a shard alone."""
    root = tmp_path_factory.mktemp("elsewhere")
    members, rows = {}, []
    for i in range(COUNT):
        sound = encoded(noise(2.0, seed=i), kind=("WAV", "FLAC", "OGG")[i % 3], subtype=None)
        (root / f"{i}.wav").write_bytes(sound)
        members |= {f"{i}.wav": sound, f"{i}.txt": "ab"[i % 2].encode()}
        rows.append(f"{i}.wav,{'ab'[i % 2]}\n")
    write_tar(root / "x.tar", members)
    (root / "set.csv").write_text("file,label\n" + "".join(rows))
    manifest = read_manifest(root / "set.csv")
    pack(root / "pack", manifest, clip_seconds=SECONDS, sample_rate_hz=RATE, clips_per_shard=16, workers=1)
    return root


@pytest.fixture
def server(files, monkeypatch):
    monkeypatch.setattr(remote, "FIRST_PAUSE_SECONDS", 0.0)
    with Ranges(files) as server:
        yield server


def shard_of(files):
    return next(path for path in sorted((files / "pack").iterdir()) if path.suffix == ".h5")


@pytest.fixture(params=["tar", "pack"])
def here_and_there(request, files, server):
    here = files / "x.tar" if request.param == "tar" else shard_of(files)
    return here, Path(f"{server.url}/{here.relative_to(files).as_posix()}")


def assert_same(first, second):
    assert first.names == second.names
    assert first.targets.dense().tolist() == second.targets.dense().tolist()
    for row in range(len(first)):
        np.testing.assert_array_equal(first.read(row), second.read(row))


def test_what_lies_elsewhere_holds_the_same_clips(here_and_there):
    ours, theirs = (opened(path, clip_seconds=SECONDS) for path in here_and_there)
    assert_same(ours.train, theirs.train)
    assert_same(ours.evaluation, theirs.evaluation)
    alone = opened(here_and_there[1], evaluation_only=True, clip_seconds=SECONDS)[0]
    assert len(alone) == len(ours.train) + len(ours.evaluation)


def test_a_clip_is_one_request_of_its_bytes(here_and_there, server):
    clips = opened(here_and_there[1], evaluation_only=True, clip_seconds=SECONDS)[0]
    server.asked.clear()
    clips.read(5)
    assert len(server.asked) == 1
    assert server.bytes_asked == (clips.sizes[5] if hasattr(clips, "sizes") else 2 * clips.lengths[5])


def test_a_pack_is_opened_without_its_samples(files, server):
    shard = shard_of(files)
    opened(Path(f"{server.url}/pack/{shard.name}"), evaluation_only=True)
    of_samples = 16 * 2 * round(SECONDS * RATE)
    assert server.bytes_asked < shard.stat().st_size - of_samples + 4 * (1 << 16)


def test_a_run_trains_and_is_evaluated_on_it(files, server, tmp_path, monkeypatch, capsys):
    train_here(*TINY, "--data", f"{server.url}/x.tar", "--iterations", 1, "--run-dir", tmp_path / "run")
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())["config"]["data"]["data"]
    assert recorded == f"{server.url}/x.tar"
    capsys.readouterr()
    assert glat(monkeypatch, "evaluate", "--run", tmp_path / "run", "--resamples", 0) == 0
    assert "have changed" not in capsys.readouterr().out


def test_a_connection_that_drops_is_tried_again(here_and_there, server):
    here, there = here_and_there
    server.cut = 3
    theirs = opened(there, evaluation_only=True, clip_seconds=SECONDS)[0]
    server.cut = 2
    np.testing.assert_array_equal(theirs.read(0), opened(here, evaluation_only=True, clip_seconds=SECONDS)[0].read(0))


def test_a_connection_that_stays_away_ends_a_run_and_swaps_no_clip(here_and_there, server):
    clips = opened(here_and_there[1], evaluation_only=True, clip_seconds=SECONDS)[0]
    server.cut = 10**6
    with pytest.raises(UserError, match=r"http://127.*: cannot be read, 5 times tried .*; look after the connection"):
        clips.read(0)
    with pytest.raises(UserError, match="5 times tried"):
        opened(here_and_there[1], clip_seconds=SECONDS)


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("y.tar", None, r"http://127.*/y.tar: no such file, or none that you may see; check the name"),
        ("y.h5", None, r"y.h5: no such file, or none that you may see; check the name"),
        ("x.tar", 403, "x.tar: may not be read .*; give the credentials"),
        ("x.tar", 503, r"x.tar: cannot be read, 5 times tried .*503"),
        ("set.csv", None, r"set.csv: neither packs \(.h5\) nor tar files; of other kinds copy them here"),
    ],
)
def test_what_cannot_be_had_is_one_line(server, tmp_path, monkeypatch, capsys, name, status, message):
    server.status = status
    with pytest.raises(UserError, match=message):
        opened(Path(f"{server.url}/{name}"))


def test_a_server_that_knows_no_ranges_is_named(here_and_there, server):
    server.whole = True
    with pytest.raises(UserError, match="its server gives whole files only; copy it to this machine"):
        opened(here_and_there[1], clip_seconds=SECONDS)


def test_what_is_not_installed_is_named():
    with pytest.raises(UserError, match=r"gs://bucket/x.tar: .*; pip install 'glat\[remote\]' gcsfs"):
        opened(Path("gs://bucket/x.tar"))
    with pytest.raises(UserError, match=r"nosuch://bucket/x.tar: .*nosuch.*; copy it here"):
        opened(Path("nosuch://bucket/x.tar"))


def test_a_file_that_changes_elsewhere_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "FIRST_PAUSE_SECONDS", 0.0)
    (tmp_path / "a.tar").write_bytes(b"one")
    with Ranges(tmp_path) as server:
        path = Path(f"{server.url}/a.tar")
        stamps = Stamps.of([path])
        assert stamps.changed(range(1)) == []
        server.status = 503
        assert stamps.changed(range(1)) == []  # it cannot be reached, which is no change
        server.status = None
        (tmp_path / "a.tar").write_bytes(b"two")
        assert stamps.changed(range(1)) == [path]
        assert Stamps.of([path]).changed_since(stamps.values) == [path]
        (tmp_path / "a.tar").unlink()
        assert stamps.changed(range(1)) == [path]


@pytest.fixture
def bucket(files, monkeypatch):
    """A bucket of moto's S3 server with the files in it."""
    server_of = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (("ACCESS_KEY_ID", "me"), ("SECRET_ACCESS_KEY", "me"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setattr(remote, "FIRST_PAUSE_SECONDS", 0.0)
    remote._open_filesystem.cache_clear()
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    store = s3fs.S3FileSystem()
    store.mkdir("sounds")
    store.put(str(files / "x.tar"), "sounds/x.tar")
    store.put(str(files / "pack"), "sounds/pack", recursive=True)
    yield store
    remote._open_filesystem.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_a_bucket_holds_the_same_clips(files, bucket, monkeypatch):
    for here, there in ((files / "x.tar", "s3://sounds/x.tar"), (files / "pack", "s3://sounds/pack")):
        ours, theirs = (opened(Path(path), clip_seconds=SECONDS) for path in (here, there))
        assert_same(ours.train, theirs.train)
        assert_same(ours.evaluation, theirs.evaluation)
    stamps = Stamps.of([Path("s3://sounds/x.tar")])
    bucket.pipe("sounds/x.tar", b"other")
    assert stamps.changed(range(1)) == [Path("s3://sounds/x.tar")]
    for path, message in (
        ("s3://sounds/y.tar", "s3://sounds/y.tar: no such file, or none that you may see"),
        ("s3://nowhere/y.tar", "s3://nowhere/y.tar: no such file, or none"),
        ("s3://sounds/nothing", "s3://sounds/nothing: no such file"),
    ):
        with pytest.raises(UserError, match=message):
            opened(Path(path))
    for name in list(os.environ):
        if name.startswith("AWS_") and "KEY" in name:
            monkeypatch.delenv(name)
    remote._open_filesystem.cache_clear()
    bucket.clear_instance_cache()
    with pytest.raises(UserError, match="s3://sounds/x.tar: may not be read .*redentials.*; give the credentials"):
        opened(Path("s3://sounds/x.tar"))
