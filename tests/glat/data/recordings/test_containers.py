"""A header is a claim: what is heard of files that hold more, less or other than they say."""

import contextlib
import io
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cases import containers as made

from glat.data.recordings.audio import hear, read_clip
from glat.data.recordings.containers import LENGTHLESS, Damaged, examine
from glat.data.recordings.decoding import UnreadableAudio, decode_mono, read_header
from glat.errors import UserError

RATE = made.RATE
X = made.sound(1.0)
NOISE = np.random.default_rng(1).uniform(-0.5, 0.5, len(X))
LONG = made.sound(3.0, 44_100)


def heard(data, rate=RATE, **options):
    return hear(Path("made.bin"), rate, stream=io.BytesIO(data), **options)


def refusal(data, rate=RATE):
    with pytest.raises(UnreadableAudio) as caught:
        heard(data, rate)
    return caught.value.reason


@pytest.mark.parametrize(("kind", "subtype"), list(made.writable()))
def test_whole_files_are_never_accused_and_cut_ones_never_pass(kind, subtype):
    rate = 8_000 if kind == "WVE" else RATE
    data = made.encoded(made.sound(0.4375, rate), kind, subtype, rate)
    if kind in LENGTHLESS:
        assert "does not state its length" in refusal(data)
        return
    whole = heard(data, rate)
    assert whole.facts.samples >= 0.4375 * rate
    assert whole.remarks == (
        (f"its header says an unusual rate of {whole.facts.header.rate_hz} Hz",)
        if kind == "VOC" and subtype == "PCM_U8"
        else ()
    )
    for cut in made.damaged(data, 12, np.random.default_rng(0), "cut"):
        with pytest.raises(UnreadableAudio):
            heard(cut, rate)


SIZED = made.wav(X)
STREAM_SIZES = (0xFFFF_FFFF, 0x7FFF_F000, 0x8000_0000, 0x7FFF_FFFF)
W64, CAF = made.encoded(X, "W64"), made.encoded(X, "CAF")
W64_DATA, CAF_DATA = W64.index(b"data\xf3\xac\xd3\x11") + 16, CAF.index(b"data") + 4
WHOLE = {
    "wav": SIZED,
    "W64 into a pipe": W64[:W64_DATA] + struct.pack("<q", (1 << 63) - 1) + W64[W64_DATA + 8 :],
    "CAF into a pipe": CAF[:CAF_DATA] + struct.pack(">q", -1) + CAF[CAF_DATA + 8 :],
    "chunk behind": made.wav(X, behind=made.chunk()),
    "odd chunk behind, unpadded": made.wav(X, behind=made.chunk(content=b"abc", padded=False)),
    "cut chunk behind": made.wav(X, behind=made.chunk()[:-5]),
    "ID3v1 behind": made.wav(X, behind=made.id3v1()),
    "zeros behind": made.wav(X, behind=bytes(1001)),
    "size of file 0": made.wav(X, whole=0),
    **{f"streamed {size:x}": made.wav(X, claimed=size, whole=size) for size in STREAM_SIZES},
    "AIFF and zeros": made.encoded(X, "AIFF") + bytes(6),
    "W64 and zeros": made.encoded(X, "W64") + bytes(1001),
    "AU and zeros": made.encoded(X, "AU") + bytes(100),
    "SVX and zeros": made.encoded(X, "SVX") + bytes(100),
    "FLAC and ID3v1": made.encoded(X, "FLAC") + made.id3v1(),
    "FLAC behind ID3v2": made.id3v2() + made.encoded(X, "FLAC"),
    "Ogg and text": made.encoded(X, "OGG", "VORBIS") + b"a tag behind the end",
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_tools_leave_around_whole_sounds_is_no_damage(name):
    found = heard(WHOLE[name])
    assert len(found.samples) == len(X)
    assert found.remarks == ()


MP3 = {mode: made.mp3(LONG, mode) for mode in ("VARIABLE", "CONSTANT")}
WHOLE_MP3 = {
    "counted": lambda data: data,
    "not counted": made.uncounted,
    "ID3v2": lambda data: made.id3v2() + data,
    "ID3v2 and padding": lambda data: made.id3v2() + bytes(3_000) + made.uncounted(data),
    "ID3v1": lambda data: data + made.id3v1(),
    "APE": lambda data: data + made.ape(),
    "APE and ID3v1": lambda data: data + made.ape() + made.id3v1(),
    "all, not counted": lambda data: made.id3v2() + made.uncounted(data) + made.ape() + made.id3v1(),
    "zeros": lambda data: data + bytes(500),
    "two in a row": lambda data: made.uncounted(data) + made.id3v2() + made.uncounted(data),
}


@pytest.mark.parametrize("mode", MP3)
@pytest.mark.parametrize("name", WHOLE_MP3)
def test_whole_mp3_is_heard_with_any_tags_and_without_its_counting_frame(mode, name):
    found = heard(WHOLE_MP3[name](MP3[mode]), 44_100)
    seconds = 6 if name == "two in a row" else 3
    assert len(found.samples) / 44_100 == pytest.approx(seconds, abs=0.06)
    assert found.remarks == ()


MORE = {
    "wav of size 0": (made.wav(X, claimed=0), "counts 0 of 32000 bytes"),
    "wav of its first half": (made.wav(X, claimed=16_000), "counts 16000 of 32000 bytes"),
    "AU of size 0": (made.encoded(X, "AU")[:8] + bytes(4) + made.encoded(X, "AU")[12:], "counts 0 of 32000 bytes"),
    "AIFF of size 0": (None, "counts 0 of 32000 bytes"),
    "FLAC of unknown length": (made.flac_with_total(made.encoded(X, "FLAC"), 0), "does not say its length"),
    "FLAC of too few": (made.flac_with_total(made.encoded(X, "FLAC"), 4_000), "counts 4000 of 16000 samples"),
    "two Ogg streams": (made.encoded(X[:8_000], "OGG", "VORBIS") + made.encoded(X[8_000:], "OGG", "VORBIS"), "2 Ogg"),
}


def unfinished_aiff():
    data = bytearray(made.encoded(X, "AIFF"))
    at = data.find(b"SSND")
    data[at + 4 : at + 8] = struct.pack(">I", 8)
    comm = data.find(b"COMM")
    data[comm + 10 : comm + 14] = bytes(4)
    data[4:8] = struct.pack(">I", at + 8)
    return bytes(data)


@pytest.mark.parametrize("name", MORE)
def test_all_is_heard_of_files_that_hold_more_than_they_say_and_it_is_said(name):
    data, remark = MORE[name]
    found = heard(data or unfinished_aiff())
    assert len(found.samples) == len(X)
    assert remark in found.remarks[0]
    assert not read_header(Path("x"), io.BytesIO(data or unfinished_aiff())).is_plain
    if "Ogg" not in name:
        np.testing.assert_allclose(found.samples, X, atol=1e-4)


@pytest.mark.parametrize("factor", [0.25, 0.5])
def test_mp3_whose_counting_frame_counts_too_few_is_heard_whole(factor):
    found = heard(made.miscounted(MP3["VARIABLE"], factor), 44_100)
    assert len(found.samples) == len(LONG)
    assert "MPEG frames; all are heard" in found.remarks[0]


LESS = {
    "mp3 that counts more": (made.miscounted(MP3["VARIABLE"], 2), "is cut off"),
    "mp3, uncounted, cut in a frame": (made.uncounted(MP3["CONSTANT"])[:-100], "is cut off within its last MPEG frame"),
    "mp3 with a hole": (MP3["CONSTANT"][:5_000] + MP3["CONSTANT"][5_300:], "is damaged"),
    "wav and bytes that are nothing": (made.wav(X, behind=b"\x80\x81" * 50), "100 bytes behind its samples"),
    "wav whose file is longer": (made.wav(X, claimed=8_000, whole=36 + 32_000), "one of its sizes is wrong"),
    "wav of two rates": (made.wav(X)[:24] + struct.pack("<I", 16_002) + made.wav(X)[28:], "two sample rates"),
    "wav of three channels": (made.wav(X)[:22] + b"\x03\0" + made.wav(X)[24:], "3 channels of 16 bits in 2 bytes"),
    "FLAC of more": (made.flac_with_total(made.encoded(X, "FLAC"), 16_001), "is cut off: 16000 of 16001 samples"),
    "Ogg without a page": (None, "Ogg page 3 is missing"),
    "Ogg streams of two rates": (
        made.encoded(X, "OGG", "VORBIS") + made.encoded(X, "OGG", "VORBIS", 8_000),
        "2 streams of different rates",
    ),
}


def ogg_without_a_page():
    data = made.encoded(made.sound(4.0), "OGG", "VORBIS")
    pages = [at for at in range(len(data)) if data[at : at + 4] == b"OggS"]
    return data[: pages[3]] + data[pages[4] :]


@pytest.mark.parametrize("name", LESS)
def test_files_that_contradict_themselves_are_refused_with_the_cause(name):
    data, reason = LESS[name]
    assert reason in refusal(data or ogg_without_a_page(), 44_100 if "mp3" in name else RATE)


def test_every_flipped_bit_of_an_ogg_file_is_found():
    data = made.encoded(made.sound(0.5), "OGG", "VORBIS")
    for flipped in made.damaged(data, 40, np.random.default_rng(1), "flip"):
        with pytest.raises(UnreadableAudio):
            heard(flipped)


def test_wav_longer_than_32_bits_can_say_is_heard_whole(tmp_path):
    path = tmp_path / "long.wav"
    rate, samples = 1_000_000, (1 << 32) + 1_000_000  # of one byte, most of them in holes that take no room
    with path.open("wb") as file:
        file.write(
            struct.pack(
                "<4sI4s4sIHHIIHH4sI",
                b"RIFF",
                1_000_036,
                b"WAVE",
                b"fmt ",
                16,
                1,
                1,
                rate,
                rate,
                1,
                8,
                b"data",
                1_000_000,
            )
        )
        file.write(np.random.default_rng(0).integers(0, 256, 1 << 20).astype(np.uint8).tobytes())
        file.truncate(44 + samples)
        if path.stat().st_blocks * 512 > 1 << 30:
            pytest.skip("this file system has no holes")
    assert read_header(path).frames == samples


def test_advice_fits_the_file(tmp_path):
    for name, advice in (("a.wav", "write it anew"), ("a.ogg", "convert it to .wav or .flac")):
        path = made.write(tmp_path / name, b"not audio" * 100)
        with pytest.raises(UnreadableAudio, match=advice):
            hear(path, RATE)


def test_what_examine_reads_is_left_at_its_start():
    stream = io.BytesIO(made.wav(X, claimed=0))
    examine(stream)
    assert stream.tell() == 0


@pytest.mark.parametrize("ratio", [-0.999, -0.99, -0.8])
def test_channels_that_cancel_are_told_from_silence_and_the_louder_one_is_heard(ratio):
    found = heard(made.encoded(np.stack([ratio * X, X], 1)))
    np.testing.assert_allclose(found.samples, X, atol=1e-4)
    assert "channel 2 is heard alone" in found.remarks[0]


@pytest.mark.parametrize("other", [X, -0.4 * X, 0 * X, NOISE])
def test_channels_that_do_not_cancel_are_averaged(other):
    pair = np.stack([X, other], 1)
    found = heard(made.encoded(pair))
    np.testing.assert_allclose(found.samples, pair.mean(1), atol=1e-4)
    assert found.remarks == ()


def test_remarks_on_what_is_heard():
    assert "clipped" in heard(made.encoded(np.clip(4 * X, -1, 1))).remarks[0]
    assert "offset (DC) of 30% of full scale" in heard(made.encoded(X * 0.5 + 0.3)).remarks[0]
    assert "faint" in heard(made.encoded(X * 1e-3)).remarks[0]
    assert "unusual rate of 16002 Hz" in heard(made.encoded(X, "AU", rate=16_002)).remarks[0]
    assert heard(made.encoded(X)).remarks == ()


def test_long_recordings_take_no_more_memory_than_short_ones(tmp_path):
    path = tmp_path / "long.flac"
    soundfile.write(path, np.tile(made.sound(10.0), 30), RATE)
    hear(path, RATE, max_seconds=0.1)  # what a thread decodes into is made once
    blocks = []
    tracemalloc.start()
    decode_mono(path, lambda header: lambda block: blocks.append(len(block)))
    clip = read_clip(path, RATE, 10.0)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(blocks) == 300 * RATE
    assert len(clip.wave) == 10 * RATE
    assert most < 4e6  # the recording has 19 MB as float32


@pytest.mark.parametrize("error", [MemoryError(), soundfile.LibsndfileError(17)])
def test_want_of_memory_is_no_bad_recording(tmp_path, monkeypatch, error):
    path = made.write(tmp_path / "a.wav", SIZED)

    def full(*_):
        raise error

    monkeypatch.setattr(soundfile.SoundFile, "__init__", full)
    monkeypatch.setattr(soundfile.LibsndfileError, "error_string", "Internal malloc () failed.")
    with pytest.raises(UserError, match="not enough memory to decode it; give fewer --workers") as caught:
        hear(path, RATE)
    assert not isinstance(caught.value, UnreadableAudio)


def test_no_bytes_make_a_traceback():
    """Headers with sizes and numbers overwritten; what they say may be absurd."""
    draw = np.random.default_rng(3)
    some = [made.encoded(X[:400], kind) for kind in ("WAV", "W64", "RF64", "AIFF", "CAF", "FLAC", "AU", "VOC", "NIST")]
    some += [made.encoded(X[:400], kind) for kind in ("MAT4", "MAT5", "AVR", "MPC2K", "SVX")]
    some += [MP3["VARIABLE"][:4_000] + made.ape() + made.id3v1(), made.encoded(X, "OGG", "VORBIS")]
    for _ in range(3_000):
        data = bytearray(some[int(draw.integers(len(some)))])
        for at in draw.integers(0, min(200, len(data)), 3):
            data[at : at + 4] = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff")[int(draw.integers(3))]
        with contextlib.suppress(Damaged):
            examine(io.BytesIO(bytes(data)))
