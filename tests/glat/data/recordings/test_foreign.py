"""What PyAV decodes, where it is installed, and what is said where it is not."""

import io
from pathlib import Path

import numpy as np
import pytest
from cases.containers import sound, write

from glat.data.recordings import foreign
from glat.data.recordings.audio import hear
from glat.data.recordings.audioset import read_audioset
from glat.data.recordings.decoding import UnreadableAudio
from glat.data.recordings.manifest import read_manifest
from glat.errors import UserError

RATE = 44_100


def m4a(folder, container="mp4", codec="aac", faststart=False, seconds=2.0, dtype="fltp"):
    av = pytest.importorskip("av")
    path = folder / "made"
    options = {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", format=container, options=options) as file:
        track = file.add_stream(codec, rate=RATE)
        track.layout = "mono"
        samples = sound(seconds, RATE).astype(np.float32)
        if dtype.startswith("s16"):
            samples = np.round(samples * 32_767).astype(np.int16)
        for start in range(0, len(samples), 1024):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format=dtype, layout="mono")
            frame.rate, frame.pts = RATE, start
            file.mux(track.encode(frame))
        file.mux(track.encode(None))
    return path.read_bytes()


@pytest.mark.parametrize(("container", "codec"), [("mp4", "aac"), ("adts", "aac"), ("matroska", "aac")])
def test_foreign_formats_are_heard_whole(tmp_path, container, codec):
    data = m4a(tmp_path, container, codec)
    found = hear(Path("x"), RATE, stream=io.BytesIO(data))
    assert len(found.samples) == pytest.approx(2 * RATE, abs=2_200)
    assert not found.facts.header.is_plain
    start = hear(Path("x"), RATE, stream=io.BytesIO(data), max_seconds=0.5)
    assert len(start.samples) == RATE // 2


def test_flac_in_ogg_is_heard_to_the_sample_and_told_where_pyav_is_missing(tmp_path, monkeypatch):
    data = m4a(tmp_path, "ogg", "flac", dtype="s16")
    found = hear(Path("x.ogg"), RATE, stream=io.BytesIO(data)).samples
    np.testing.assert_allclose(found, sound(2.0, RATE), atol=4e-5)
    with pytest.raises(UnreadableAudio, match="the last page of the Ogg stream is missing"):
        hear(Path("x.ogg"), RATE, stream=io.BytesIO(data[:-50]))
    with pytest.raises(UnreadableAudio, match=r"is FLAC in Ogg in several pieces.*convert it to \.flac"):
        hear(Path("x.ogg"), RATE, stream=io.BytesIO(data + data))
    monkeypatch.setattr(foreign, "is_available", lambda: False)
    with pytest.raises(UnreadableAudio, match=r"is FLAC in Ogg, .*pip install 'glat\[av\]'"):
        hear(Path("x.ogg"), RATE, stream=io.BytesIO(data))


def test_an_encoding_that_pyav_reads_short_is_refused(tmp_path):
    """FFmpeg writes ALAC into CAF in a way that libsndfile does not read, and loses its last packet itself."""
    with pytest.raises(UnreadableAudio, match=r"an encoding that libsndfile does not read; convert it to \.flac"):
        hear(Path("x.caf"), RATE, stream=io.BytesIO(m4a(tmp_path, "caf", "alac", dtype="s16p")))


@pytest.mark.parametrize("faststart", [True, False])
def test_cut_foreign_files_are_refused(tmp_path, faststart):
    data = m4a(tmp_path, faststart=faststart)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(UnreadableAudio, match="cut off|damaged"):
            hear(Path("x.m4a"), RATE, stream=io.BytesIO(data[: int(share * len(data))]))


def test_without_pyav_the_format_is_named_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign, "is_available", lambda: False)
    path = write(tmp_path / "a" / "x.m4a", b"\0\0\0\x20ftypM4A " + bytes(100))
    with pytest.raises(UnreadableAudio, match=r"is MPEG-4 audio .*pip install 'glat\[av\]'"):
        hear(path, RATE)
    with pytest.raises(UserError, match="libsndfile reads no .m4a files"):
        read_manifest(tmp_path)


def test_audioset_as_m4a_is_named_for_what_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign, "is_available", lambda: False)
    (tmp_path / "labels.csv").write_text("index,mid,display_name\n0,/m/0,Speech\n")
    (tmp_path / "segments.csv").write_text('# a\n# b\n# c\n--aE2O5G5WE, 0.000, 10.000, "/m/0"\n')
    write(tmp_path / "audio" / "Y--aE2O5G5WE.m4a", b"")
    arguments = (tmp_path / "segments.csv", tmp_path / "labels.csv", tmp_path / "audio")
    with pytest.raises(UserError, match=r"1 files such as \S+m4a: libsndfile reads no .m4a files; pip install"):
        read_audioset(*arguments)
    monkeypatch.setattr(foreign, "is_available", lambda: True)
    assert len(read_audioset(*arguments).recordings) == 1
