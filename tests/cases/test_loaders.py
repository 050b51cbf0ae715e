"""Files that contradict their headers, cancel, or hold no sound: DALI's and soundfile's batches are the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from cases import containers as made

from glat.data.loading.batches import batches
from glat.data.loading.remarks import Remarks
from glat.data.recordings.encoded import encoded_from_manifest
from glat.data.recordings.recording import Recording

RATE = 32_000
X = made.sound(1.0, RATE)
LONG = made.sound(1.0, 44_100)
FLAC = made.encoded(X, "FLAC", rate=RATE)
FILES = {
    "plain.wav": made.wav(X, rate=RATE),
    "plain.flac": FLAC,
    "stale.wav": made.wav(X, 8_000, rate=RATE),
    "size0.wav": made.wav(X, 0, rate=RATE),
    "short.flac": made.flac_with_total(FLAC, 8_000),
    "unknown.flac": made.flac_with_total(FLAC, 0),
    "chain.ogg": made.encoded(X[:9_000], "OGG", "VORBIS", RATE) + made.encoded(X[:7_000], "OGG", "VORBIS", RATE),
    "cancels.wav": made.encoded(np.stack([X, -0.99 * X], 1), rate=RATE),
    "cancels2.wav": made.encoded(np.stack([0.5 * X, -0.55 * X], 1), rate=RATE),
    "two.wav": made.encoded(np.stack([X, 0.5 * made.sound(1.0, RATE, 1)], 1), rate=RATE),
    "four.wav": made.encoded(np.stack([X, -X, X, X], 1), rate=RATE),
    "float.wav": made.encoded(np.stack([X, X], 1), subtype="FLOAT", rate=RATE),
    "two_44k.wav": made.encoded(np.stack([X, 0.2 * X], 1), rate=44_100),
}
ODD = {
    "clipped.wav": (made.encoded(np.clip(4 * X, -1, 1), rate=RATE), "it is clipped"),
    "clipped2.wav": (made.encoded(np.stack([np.clip(4 * X, -1, 1), 0 * X], 1), rate=RATE), "it is clipped"),
    "clipped44.flac": (made.encoded(np.clip(4 * LONG, -1, 1), "FLAC", rate=44_100), "it is clipped"),
    "offset.wav": (made.encoded(0.5 * X + 0.3, subtype="FLOAT", rate=RATE), "an offset (DC) of 30% of full scale"),
    "faint.wav": (made.encoded(X * 1e-3, rate=RATE), "it peaks at -67 dB"),
    "cancels.wav": (made.encoded(np.stack([X, -0.99 * X], 1), rate=RATE), "channel 1 is heard alone"),
}
SILENT = {
    "constant.wav": made.encoded(np.full(RATE, 0.3), rate=RATE),
    "scale.wav": made.encoded(X * 32_767, subtype="FLOAT", rate=RATE),
    "silent.wav": made.encoded(np.zeros(RATE), rate=RATE),
}


def load(folder, files, loader):
    for name, data in files.items():
        made.write(folder / name, data)
    recordings = [Recording(name, folder / name, ("a",)) for name in files]
    source, _ = encoded_from_manifest(recordings, ("a",), sample_rate_hz=RATE, clip_seconds=1.0)
    said, remarks = {}, Remarks()
    rows = [torch.arange(len(source))]
    found = list(
        batches(
            source,
            rows,
            device=torch.device("cpu"),
            loader=loader,
            workers=2,
            report=lambda skip: said.update({skip.file: skip.reason}),
            remarks=remarks,
            may_be_empty=True,
        )
    )
    return source, found[0], said, remarks.listed()


@pytest.mark.parametrize("files", [FILES, {"plain.wav": FILES["plain.wav"]} | SILENT], ids=["heard", "refused"])
def test_both_loaders_hear_the_same(tmp_path, files):
    pytest.importorskip("nvidia.dali")
    source, by_dali, said, odd_by_dali = load(tmp_path, files, "dali")
    _, by_soundfile, also_said, odd = load(tmp_path, files, "soundfile")
    assert said == also_said
    assert sorted(odd_by_dali) == sorted(odd)
    assert set(said) == set(files) & set(SILENT)
    assert torch.equal(by_dali.lengths, by_soundfile.lengths)
    torch.testing.assert_close(by_dali.wave, by_soundfile.wave, rtol=0, atol=1e-5)
    if "cancels.wav" in files:
        row = source.names.index("cancels.wav")
        np.testing.assert_allclose(by_dali.wave[row].numpy(), X, atol=1e-4)
        odd = {"chain.ogg": 16_000, "two_44k.wav": 23_220}
        assert by_dali.lengths.tolist() == [odd.get(name, RATE) for name in source.names]


@pytest.mark.parametrize("loader", ["dali", "soundfile"])
def test_what_is_odd_is_said_of_clips_that_are_decoded_as_they_are_heard(tmp_path, loader):
    if loader == "dali":
        pytest.importorskip("nvidia.dali")
    files = {"plain.wav": FILES["plain.wav"]} | {name: data for name, (data, _) in ODD.items()}
    *_, said, odd = load(tmp_path, files, loader)
    assert not said
    assert [name for name, _ in sorted(odd)] == sorted(ODD)
    for name, remark in odd:
        assert ODD[name][1] in remark


def test_a_recording_is_judged_once_and_the_list_of_odd_ones_is_bounded(tmp_path):
    source, *_ = load(tmp_path, {"plain.wav": FILES["plain.wav"]}, "soundfile")
    remarks, rows = Remarks(), np.zeros(1, np.int64)
    assert [bool(remarks.unjudged(source, rows)[0]) for _ in range(3)] == [True, False, False]
    names = tuple(f"{i}.wav" for i in range(1_200))
    many = replace(source, names=names)
    for _ in range(2):
        for row in range(len(names)):
            remarks.note(many, row, ("it is odd",))
    assert remarks.count == 1_200
    assert remarks.listed() == [(name, "it is odd") for name in names[:1_000]]
