"""Reading packs: ours, those of PANNs' programs, and what is said of others."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
import soundfile

from glat.data.clips import fingerprint
from glat.data.packs.read import is_pack, load_packs, open_packs
from glat.data.packs.write import pack
from glat.data.recordings.audio import to_int16
from glat.data.recordings.decoding import UnreadableAudio
from glat.data.recordings.manifest import read_manifest, split
from glat.errors import UserError

S = 1_000
CLASSES = ("Speech", "Music", "Whoop")


@pytest.fixture
def packs(tmp_path):
    """Twelve clips of two classes and three folds in shards of 4, number i as long as 500 + i samples."""
    folder = tmp_path / "set"
    folder.mkdir()
    lines = ["file,label,fold"]
    for i in range(12):
        samples = np.random.default_rng(i).uniform(-0.5, 0.5, 500 + i).astype(np.float32)
        soundfile.write(folder / f"{i}.wav", samples, 8_000, subtype="FLOAT")
        lines.append(f"{i}.wav,{'ab'[i % 2]},{i % 3}")
    (folder / "set.csv").write_text("\n".join(lines))
    out = tmp_path / "packs"
    options = {"clip_seconds": S / 8_000, "sample_rate_hz": 8_000, "clips_per_shard": 4, "workers": 1}
    pack(out, read_manifest(folder / "set.csv"), **options)
    return out


def written_by_panns(path, names, waves, targets, dtype=np.int16, **layout):
    """As its pack_waveforms_to_hdf5 does: every dataset is made first, rows of missing files are never written."""
    with h5py.File(path, "w") as file:
        file.create_dataset("audio_name", shape=(len(names),), dtype="S20")
        file.create_dataset("waveform", shape=(len(names), waves.shape[1]), dtype=dtype, **layout)
        file.create_dataset("target", shape=targets.shape, dtype=np.bool_)
        file.attrs.create("sample_rate", data=32_000, dtype=np.int32)
        for row, name in enumerate(names):
            if name:
                file["audio_name"][row] = name.encode()
                file["waveform"][row] = waves[row]
                file["target"][row] = targets[row]
    return path


@pytest.fixture
def foreign():
    """Names, waves and targets of five clips, the third missing."""
    draw = np.random.default_rng(0)
    waves = draw.integers(-32_767, 32_767, (5, S)).astype(np.int16)
    return ["Y0.wav", "Y1.wav", "", "Y3.wav", "Y4.wav"], waves, draw.random((5, 3)) < 0.5


@pytest.fixture
def labels(tmp_path):
    rows = "".join(f"{k},/m/{k},{name}\n" for k, name in enumerate(CLASSES))
    (tmp_path / "labels.csv").write_text("index,mid,display_name\n" + rows)
    return tmp_path / "labels.csv"


def test_rows_are_the_clips_that_were_packed(packs):
    packed = open_packs(packs)
    assert packed.classes == ("a", "b")
    assert (packed.sample_rate_hz, packed.clip_samples, len(packed)) == (8_000, S, 12)
    assert packed.folds == tuple(str(i % 3) for i in range(12))
    for row in range(12):
        expected = to_int16(np.random.default_rng(row).uniform(-0.5, 0.5, 500 + row).astype(np.float32))
        np.testing.assert_array_equal(packed.read(row), expected)
        path, index = packed.locate(row)
        assert (path.name, index) == (f"shard-{row // 4:05d}.h5", row % 4)
        with h5py.File(path) as file:
            np.testing.assert_array_equal(file["waveform"][index, : 500 + row], expected)
    np.testing.assert_array_equal(packed.targets.dense().numpy(), np.eye(2, dtype=bool)[np.arange(12) % 2])


def test_threads_and_copies_read_the_same(packs):
    packed = open_packs(packs)
    copy = pickle.loads(pickle.dumps(packed))
    with ThreadPoolExecutor(8) as pool:
        waves = list(pool.map(copy.read, list(range(12)) * 20))
    for i, wave in enumerate(waves):
        np.testing.assert_array_equal(wave, packed.read(i % 12))


def test_packs_of_panns_programs_are_read_without_their_missing_clips(tmp_path, foreign, labels):
    names, waves, targets = foreign
    packed = open_packs(written_by_panns(tmp_path / "eval.h5", names, waves, targets), labels)
    assert packed.names == ("Y0.wav", "Y1.wav", "Y3.wav", "Y4.wav")
    assert packed.classes == CLASSES
    assert packed.lengths.tolist() == [S] * 4
    np.testing.assert_array_equal([packed.read(row) for row in range(4)], waves[[0, 1, 3, 4]])
    np.testing.assert_array_equal(packed.targets.dense().numpy(), targets[[0, 1, 3, 4]])
    assert packed.locate(2)[1] == 3
    assert [skip.reason for skip in packed.skipped] == ["1 rows without a name (recordings that were missing)"]


@pytest.mark.parametrize("layout", [{"chunks": (1, S)}, {"chunks": (2, S)}, {"maxshape": (None, S), "chunks": (3, S)}])
def test_whole_rows_are_found_in_chunks_of_any_height(tmp_path, foreign, labels, layout):
    names, waves, targets = foreign
    names = [name or "Y2.wav" for name in names]
    packed = open_packs(written_by_panns(tmp_path / "a.h5", names, waves, targets, **layout), labels)
    np.testing.assert_array_equal([packed.read(row) for row in range(5)], waves)


def test_float_packs_of_early_versions_become_int16(tmp_path, foreign, labels):
    names, waves, targets = foreign
    floats = waves / np.float32(32_767)
    packed = open_packs(written_by_panns(tmp_path / "a.h5", names, floats, targets, np.float32), labels)
    np.testing.assert_array_equal(packed.read(1), to_int16(floats[1]))


def test_a_folder_of_panns_files_is_one_source(tmp_path, foreign, labels):
    names, waves, targets = foreign
    folder = tmp_path / "waveforms"
    folder.mkdir()
    for part in range(2):
        written_by_panns(folder / f"part{part}.h5", names, waves + part, targets)
    packed = open_packs(folder, labels)
    assert len(packed) == 8
    np.testing.assert_array_equal(packed.read(5), waves[1] + 1)
    assert (is_pack(folder), is_pack(folder / "part0.h5"), is_pack(labels)) == (True, True, False)


def test_panns_programs_read_our_shards(packs):
    """What its create_indexes and data_generator look at."""
    path = packs / "shard-00001.h5"
    with h5py.File(path, "r") as file:
        assert [name.decode() for name in file["audio_name"][:]] == ["4.wav", "5.wav", "6.wav", "7.wav"]
        assert file["target"][:].astype(bool).sum() == 4
        wave = (file["waveform"][2] / 32767.0).astype(np.float32)
        assert wave.shape == (S,)
        assert int(file.attrs["sample_rate"]) == 8_000


def test_a_shard_that_goes_away_or_is_cut_off_is_said(packs):
    packed = open_packs(packs)
    path = packed.shards[0]
    end = packed.offsets[3] + 100
    path.write_bytes(path.read_bytes()[:end])
    packed.read(2)
    with pytest.raises(UnreadableAudio, match="shard-00000.h5: is cut off before the end of row 3"):
        packed.read(3)
    path.unlink()
    with pytest.raises(UnreadableAudio, match="row 0 cannot be read \\(No such file"):
        packed.read(0)
    with pytest.raises(UserError, match="shard-00000.h5: cannot be opened as HDF5"):
        open_packs(packs)


def test_packs_are_divided_by_folds_or_as_recordings_are(packs, tmp_path):
    data = load_packs(packs, eval_folds=("2",))
    assert data.evaluation.names == ("2.wav", "5.wav", "8.wav", "11.wav")
    assert len(data.train) == 8
    np.testing.assert_array_equal(data.evaluation.read(1), open_packs(packs).read(5))
    assert data.evaluation.targets.dense()[:, 1].tolist() == [False, True, False, True]
    listed = read_manifest(tmp_path / "set/set.csv").recordings
    chosen = split(listed, (), 3)
    by_hash = load_packs(packs, seed=3)
    expected = tuple(recording.name for recording, is_eval in zip(listed, chosen, strict=True) if is_eval)
    assert by_hash.evaluation.names == expected


def test_two_packs_are_two_sides(packs, tmp_path, foreign, labels):
    data = load_packs(packs, packs)
    assert data.train.names == data.evaluation.names
    with pytest.raises(UserError, match="--eval-folds 1 and --eval-data .* exclude each other"):
        load_packs(packs, packs, eval_folds=("1",))
    other = written_by_panns(tmp_path / "other.h5", *foreign)
    with pytest.raises(UserError, match="differ in classes \\(3 and 2, or in other order\\); pack both alike"):
        load_packs(packs, other, labels=labels)


def test_the_fingerprint_of_clips_depends_on_which_not_on_their_order():
    assert fingerprint(("a", "b")) == fingerprint(["b", "a"])
    assert fingerprint(("a", "b")) != fingerprint(("a", "c"))


def test_unfinished_and_foreign_things_are_refused(packs, tmp_path, foreign, labels):
    names, waves, targets = foreign
    plain = written_by_panns(tmp_path / "a.h5", names, waves, targets)
    with pytest.raises(UserError, match="names none of its 3 classes; give --labels class_labels_indices.csv"):
        open_packs(plain)
    squeezed = written_by_panns(tmp_path / "b.h5", names, waves, targets, compression="gzip")
    with pytest.raises(UserError, match="waveform is compressed; int16 in uncompressed whole rows is wanted: h5repack"):
        open_packs(squeezed, labels)
    pieces = written_by_panns(tmp_path / "c.h5", names, waves, targets, chunks=(1, 10))
    with pytest.raises(UserError, match="in chunks of \\(1, 10\\)"):
        open_packs(pieces, labels)
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(UserError, match="lacks audio_name, target, waveform, the attribute sample_rate"):
        open_packs(tmp_path / "d.h5", labels)
    (tmp_path / "e.h5").write_text("no HDF5")
    with pytest.raises(UserError, match="cannot be opened as HDF5"):
        open_packs(tmp_path / "e.h5")
    empty = written_by_panns(tmp_path / "f.h5", ["", ""], waves[:2], targets[:2])
    with pytest.raises(UserError, match="holds no clip"):
        open_packs(empty, labels)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="no HDF5 files"):
        open_packs(tmp_path / "folder")
    with pytest.raises(UserError, match="no such file or folder"):
        open_packs(tmp_path / "gone")
    manifest = packs / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"complete": False}))
    with pytest.raises(UserError, match="not packed to the end; give the same glat pack again"):
        open_packs(packs)
    manifest.write_text("[]")
    with pytest.raises(UserError, match="is no manifest of glat pack"):
        open_packs(packs)


# Packs of others


def pack_of(path, waves=None, targets=None, names=None, rate=32_000, change=None, **extra):
    """Five clips of three classes; `change`: called with the file before it is closed."""
    draw = np.random.default_rng(0)
    waves = draw.integers(-20_000, 20_000, (5, S)).astype(np.int16) if waves is None else waves
    with h5py.File(path, "w") as file:
        file["audio_name"] = np.array([f"Y{i}.wav" for i in range(len(waves))] if names is None else names, "S20")
        file["waveform"] = waves
        file["target"] = np.eye(3, dtype=bool)[[0, 1, 2, 0, 1]] if targets is None else targets
        file.attrs["sample_rate"] = rate
        file.create_dataset("classes", data=CLASSES, dtype=h5py.string_dtype())
        for name, value in extra.items():
            file[name] = value
        if change:
            change(file)
    return path


def with_layout(create):
    def change(file):
        rows = file["waveform"][:]
        del file["waveform"]
        create(file, rows)

    return change


def virtual(file, rows):
    file["part"] = rows[::-1]
    layout = h5py.VirtualLayout(rows.shape, rows.dtype)
    for row in range(5):
        layout[row] = h5py.VirtualSource(".", "part", rows.shape)[4 - row]
    file.create_virtual_dataset("waveform", layout)


def compact(file, rows):
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.COMPACT)
    space = h5py.h5s.create_simple(rows.shape)
    dataset = h5py.h5d.create(file.id, b"waveform", h5py.h5t.NATIVE_INT16, space, plist)
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, rows)


def external(file, rows):
    raw = file.filename + ".raw"
    rows.tofile(raw)
    file.create_dataset("waveform", rows.shape, rows.dtype, external=[(raw, 0, rows.nbytes)])


def ragged(file, rows):
    file.create_dataset("waveform", (5,), h5py.vlen_dtype(np.int16))


EYE = np.eye(3)[[0, 1, 2, 0, 1]]
PACKS_OF_OTHERS = {
    "virtual": ({"change": with_layout(virtual)}, "its waveform is virtual, made of datasets of itself; copy its rows"),
    "external": ({"change": with_layout(external)}, "its waveform lies in other files"),
    "compact": ({"change": with_layout(compact)}, "of the compact layout"),
    "never written": (
        {"change": with_layout(lambda f, r: f.create_dataset("waveform", r.shape, r.dtype))},
        "never written",
    ),
    "ragged": ({"change": with_layout(ragged)}, "its waveform is object in 1 dimensions"),
    "of float64": ({"waves": np.ones((5, S))}, "its waveform is <f8 in 2 dimensions"),
    "soft": ({"targets": EYE * 0.7 + 0.05}, "its target holds soft labels \\(0.05, 0.75\\)"),
    "NaN in labels": ({"targets": np.where(EYE == 1, np.nan, 0)}, "its target holds nan, which is no probability"),
    "numbers of classes": ({"targets": np.arange(5)}, "its target is one number a clip"),
    "numbers in columns": ({"targets": np.arange(15).reshape(5, 3)}, "numbers of classes \\(2, 3, 4\\)"),
    "packed bits": ({"targets": np.packbits(EYE == 1, axis=1)}, "packed bits"),
    "text for labels": ({"targets": np.array([["a"] * 3] * 5, "S3")}, "its target is \\|S3"),
    "short labels": ({"targets": EYE[:4]}, "its target is of shape \\(4, 3\\), and waveform has 5 rows"),
    "few names": ({"names": ["Y0.wav"] * 4}, "audio_name is of shape \\(4,\\), and waveform has 5 rows"),
    "few lengths": ({"length": np.full(3, S)}, "length is of shape \\(3,\\)"),
    "long lengths": ({"length": np.full(5, S + 1)}, "its lengths are not all from 1 to 1000"),
    "two rates": ({"rate": [32_000, 16_000]}, "its sample rate is \\[32000, 16000\\]; one number"),
    "rate 0": ({"rate": 0}, "its sample rate is 0"),
    "a group": ({"change": lambda f: (f.pop("target"), f.create_group("target"))}, "lacks target"),
    "a class twice": (
        {"change": lambda f: f["classes"].write_direct(np.array(["a", "b", "a"], object))},
        "the class 'a' twice",
    ),
}


@pytest.mark.parametrize("kind", PACKS_OF_OTHERS)
def test_packs_of_others_are_refused_in_a_sentence(tmp_path, kind):
    options, message = PACKS_OF_OTHERS[kind]
    with pytest.raises(UserError, match=message) as caught:
        open_packs(pack_of(tmp_path / "a.h5", **options))
    assert "\n" not in str(caught.value)


def test_a_rate_in_an_array_and_labels_in_ones_are_read(tmp_path):
    packed = open_packs(pack_of(tmp_path / "a.h5", rate=[32_000], targets=EYE.astype(np.float32)))
    assert packed.sample_rate_hz == 32_000
    np.testing.assert_array_equal(packed.targets.dense().numpy(), EYE == 1)


@pytest.mark.parametrize(
    ("value", "reason"),
    [(np.nan, "holds NaN or infinite samples"), (9_000.0, "on another scale"), (1e-6, "is silent in 16 bits")],
)
def test_rows_that_cannot_be_heard_are_said(tmp_path, value, reason):
    waves = np.random.default_rng(0).uniform(-0.5, 0.5, (5, S)).astype(np.float32)
    waves[2] = value
    packed = open_packs(pack_of(tmp_path / "a.h5", waves=waves))
    with pytest.raises(UnreadableAudio, match=f"row 2 .*{reason}"):
        packed.read(2)
    packed.read(1)


def test_rows_without_a_label_are_negative_clips(tmp_path):
    path = pack_of(tmp_path / "a.h5", np.tile(pack_waves(), (4, 1)), np.tile(np.where(EYE[:, :1] == 1, 0, EYE), (4, 1)))
    data = load_packs(path)
    assert len(data.train) + len(data.evaluation) == 20
    assert not data.train.targets.dense()[:, 0].any()
    assert (~data.train.targets.dense().any(1)).sum() >= 1


def pack_waves():
    return np.random.default_rng(0).integers(-20_000, 20_000, (5, S)).astype(np.int16)


def test_a_lock_says_who_may_hold_it_and_what_helps(tmp_path, monkeypatch):
    def locked(*_):
        raise BlockingIOError(11, "unable to lock file")

    (tmp_path / "a.h5").touch()
    monkeypatch.setattr(h5py, "File", locked)
    with pytest.raises(UserError, match="locked by a process that writes it.*HDF5_USE_FILE_LOCKING"):
        open_packs(tmp_path / "a.h5")


@pytest.mark.parametrize("ours", [True, False])
def test_flipped_metadata_never_changes_a_clip_in_silence(packs, tmp_path, ours):
    path = packs / "shard-00000.h5" if ours else pack_of(tmp_path / "a.h5")
    data, before = path.read_bytes(), open_packs(path)
    rows = [before.read(row) for row in range(len(before))]
    inside = np.zeros(len(data), bool)
    for offset in before.offsets:
        inside[offset : offset + 2 * S] = True
    draw = np.random.default_rng(7)
    for at in draw.choice(np.flatnonzero(~inside), 60):
        flipped = bytearray(data)
        flipped[at] ^= 1 << int(draw.integers(8))
        (tmp_path / "flipped.h5").write_bytes(flipped)
        try:
            after = open_packs(tmp_path / "flipped.h5")
            heard = [after.read(row) for row in range(len(after))]
        except UserError:
            continue
        if after.names == before.names:
            assert all(np.array_equal(a, b) for a, b in zip(heard, rows, strict=True)), at
