"""Loading: every loader makes the same batches, and no bad file stops one, hides, or leaves something running."""

import faulthandler
import gc
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sounds import encoded, in_memory, noise, write_tar

from glat.data import Clips, Skipped
from glat.data.loading.batches import batches, choose_loader
from glat.data.recordings.audio import read_audio
from glat.data.recordings.decoding import UnreadableAudio
from glat.data.recordings.encoded import encoded_from_manifest, encoded_from_tar
from glat.data.recordings.recording import Recording
from glat.errors import UserError

RATE = 32_000
CPU = torch.device("cpu")
SECONDS = 0.5
LOADERS = ["soundfile", "dali"]
ROUNDING = 3e-6  # of the decoders of lossy formats, and of resampling by matrices


@pytest.fixture(params=LOADERS)
def loader(request):
    if request.param == "dali":
        pytest.importorskip("nvidia.dali")
    return request.param


@pytest.fixture(autouse=True)
def _no_hang():
    """End the whole run with every thread's traceback where a test hangs."""
    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def open_files(folder, names):
    recordings = [Recording(name, folder / name, (f"c{i % 3}",)) for i, name in enumerate(names)]
    source, skipped = encoded_from_manifest(
        recordings, ("c0", "c1", "c2"), sample_rate_hz=RATE, clip_seconds=SECONDS, workers=2
    )
    assert skipped == ()
    return source


def write_files(folder, count, rate=RATE, kind="WAV", subtype="PCM_16"):
    names = [f"{i}.{kind.lower()}" for i in range(count)]
    for i, name in enumerate(names):
        (folder / name).write_bytes(encoded(noise(0.3 + 0.1 * i, rate, i), rate, kind, subtype))
    return names


def run(source, rows, loader="auto", **options):
    """(batches, reports) of some rows."""
    reported = []
    made = batches(
        source,
        [torch.tensor(each) for each in rows],
        device=CPU,
        loader=loader,
        workers=2,
        report=reported.append,
        **options,
    )
    return list(made), reported


def expected_wave(path):
    samples = read_audio(path, RATE, max_seconds=SECONDS)
    return np.pad(samples, (0, round(SECONDS * RATE) - len(samples)))


@dataclass(frozen=True)
class Packed:
    """A source of rows that are read one by one, as packs are."""

    clips: Clips
    bad: frozenset[int] = frozenset()

    storage = "pack"

    def __getattr__(self, name):
        return getattr(self.clips, name)

    def hear(self, row):
        return self.read(row), ()

    def __len__(self):
        return len(self.clips)

    def read(self, row):
        if row in self.bad:
            raise UnreadableAudio(Path("pack.h5"), f"row {row} is cut off")
        return self.clips.read(row)


# The same batches


@pytest.mark.parametrize(
    ("kind", "subtype", "rate"),
    [
        ("WAV", "PCM_16", RATE),
        ("FLAC", "PCM_24", RATE),
        ("WAV", "FLOAT", RATE),
        ("OGG", "VORBIS", RATE),
        ("WAV", "PCM_16", 44_100),
        ("FLAC", "PCM_16", 22_050),
    ],
)
def test_batches_are_those_of_soundfile_and_soxr(tmp_path, loader, kind, subtype, rate):
    names = write_files(tmp_path, 6, rate, kind, subtype)
    source = open_files(tmp_path, names)
    rows = [[0, 3, 5], [4, 4, 1], [2, 0, 3]]
    made, reported = run(source, rows, loader)
    assert reported == []
    assert len(made) == 3
    for batch, chosen in zip(made, rows, strict=True):
        assert batch.wave.dtype == torch.float32
        assert batch.lengths.tolist() == source.lengths[chosen].tolist()
        assert torch.equal(batch.targets, source.targets.dense(torch.tensor(chosen)).float())
        for wave, row in zip(batch.wave, chosen, strict=True):
            expected = expected_wave(tmp_path / names[row])
            if rate == RATE and kind != "OGG":
                np.testing.assert_array_equal(wave, expected)
            else:
                np.testing.assert_allclose(wave, expected, rtol=0, atol=ROUNDING)


def test_rates_and_formats_mix_in_one_batch(tmp_path, loader):
    forms = [(RATE, "WAV", "PCM_16"), (44_100, "OGG", "VORBIS"), (22_050, "FLAC", "PCM_16"), (44_100, "WAV", "FLOAT")]
    forms += [(8_000, "WAV", "ULAW"), (37_123, "WAV", "PCM_16"), (48_000, "AIFF", "PCM_16")]
    names = [f"{i}" for i in range(len(forms))]
    for name, (rate, kind, subtype) in zip(names, forms, strict=True):
        (tmp_path / name).write_bytes(encoded(noise(0.8 if rate == 22_050 else 0.4, rate), rate, kind, subtype))
    made, _ = run(open_files(tmp_path, names), [[0, 1, 2, 3], [4, 5, 6, 0], [0, 0, 0, 0]], loader)
    for batch, chosen in zip(made, ([0, 1, 2, 3], [4, 5, 6, 0], [0, 0, 0, 0]), strict=True):
        for wave, row in zip(batch.wave, chosen, strict=True):
            np.testing.assert_allclose(wave, expected_wave(tmp_path / names[row]), rtol=0, atol=ROUNDING)


def test_a_tar_gives_the_batches_of_its_files(tmp_path, loader):
    names = write_files(tmp_path, 5)
    members = {name: (tmp_path / name).read_bytes() for name in names}
    members |= {f"{i}.txt": f"c{i % 3}".encode() for i in range(5)}
    tar = write_tar(tmp_path / "x.tar", members)
    packed, _ = encoded_from_tar([tar], sample_rate_hz=RATE, clip_seconds=SECONDS)
    rows = [[4, 0, 1], [2, 3, 3]]
    for a, b in zip(run(packed, rows, loader)[0], run(open_files(tmp_path, names), rows, loader)[0], strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_packs_and_memory_give_the_same_int16_batches(tmp_path):
    lengths = torch.tensor([16_000, 9_000, 1, 12_000])
    waves = torch.randint(-32_767, 32_768, (4, 16_000), dtype=torch.int16)
    for wave, length in zip(waves, lengths, strict=True):
        wave[length:] = 0
    clips = in_memory(waves, lengths.numpy(), [[0], [1], [0, 1], []], ("x", "y"))
    rows = [[3, 1], [2, 0], [1, 1]]
    for source in (clips, Packed(clips)):
        made, _ = run(source, rows)
        for batch, chosen in zip(made, rows, strict=True):
            assert torch.equal(batch.wave, waves[chosen])
            assert torch.equal(batch.lengths, lengths[chosen])
            assert torch.equal(batch.targets, clips.targets.dense(torch.tensor(chosen)).float())
    made, reported = run(Packed(clips, frozenset([1])), rows[:2])
    assert torch.equal(made[0].wave, waves[[3, 3]])
    assert reported == [Skipped("b", "row 1 is cut off")]


ODD = {
    "96 kHz, 8 channels of float.wav": lambda path: soundfile.write(
        path, np.random.default_rng(0).uniform(-0.5, 0.5, (48_000, 8)), 96_000, "FLOAT"
    ),
    "8 kHz u-law.wav": lambda path: soundfile.write(path, noise(0.4, 8_000), 8_000, "ULAW"),
    "1 sample.wav": lambda path: soundfile.write(path, noise()[:1], RATE),
    "10 minutes.flac": lambda path: soundfile.write(path, np.tile(noise(1, 8_000), 600), 8_000),
    "opus": lambda path: path.write_bytes(encoded(noise(1, 48_000), 48_000, "OGG", "OPUS")),
    "ärger 音声 🎧.wav": lambda path: soundfile.write(path, noise(), RATE),
    "x" * 250 + ".wav": lambda path: soundfile.write(path, noise(), RATE),
    "peak of 1.5.wav": lambda path: soundfile.write(path, 3 * noise(), RATE, "FLOAT"),
    "late.wav": lambda path: soundfile.write(path, np.pad(noise(0.2), (9_000, 0)), RATE),
}


def test_odd_files_are_read_like_any_other(tmp_path, loader):
    for name, make in ODD.items():
        make(tmp_path / name)
    rows = [[i, (i + 1) % len(ODD)] for i in range(len(ODD))]
    made, reported = run(open_files(tmp_path, list(ODD)), rows, loader)
    assert reported == []
    for batch, chosen in zip(made, rows, strict=True):
        for wave, row in zip(batch.wave, chosen, strict=True):
            np.testing.assert_allclose(wave, expected_wave(tmp_path / list(ODD)[row]), rtol=0, atol=ROUNDING)


# What goes bad while it is used


def overwrite(start, data):
    def spoil(path):
        whole = bytearray(path.read_bytes())
        whole[start : start + len(data)] = data
        path.write_bytes(whole)

    return spoil


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


def replace_by_pipe(path):
    path.unlink()
    os.mkfifo(path)


def same_size(make):
    """Other bytes, as many as before: only decoding shows it."""

    def spoil(path):
        size = path.stat().st_size
        path.write_bytes(make(size))

    return spoil


FLOAT, FLAC, OGG = ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")
GONE_BAD = {
    "deleted": (FLOAT, lambda path: path.unlink()),
    "0 bytes": (FLOAT, lambda path: path.write_bytes(b"")),
    "a folder": (FLOAT, replace_by_folder),
    "a pipe": (FLOAT, replace_by_pipe),
    "random bytes": (FLOAT, lambda path: path.write_bytes(np.random.default_rng(0).bytes(9_000))),
    "random bytes, as many": (FLOAT, same_size(np.random.default_rng(0).bytes)),
    "text, as long": (FLAC, same_size(lambda size: (b"not audio\n" * size)[:size])),
    "half a header": (FLOAT, lambda path: path.write_bytes(path.read_bytes()[:22])),
    "cut wav": (FLOAT, lambda path: path.write_bytes(path.read_bytes()[:9_000])),
    "cut flac": (FLAC, lambda path: path.write_bytes(path.read_bytes()[:9_000])),
    "cut ogg": (OGG, lambda path: path.write_bytes(path.read_bytes()[:-200])),
    "ogg with zeros at its end": (OGG, lambda path: path.write_bytes(path.read_bytes()[:-3_000] + bytes(3_000))),
    "flac with zeros in the middle": (FLAC, overwrite(5_000, bytes(6_000))),
    "wav with NaN": (FLOAT, overwrite(4_096, np.full(9, np.nan, np.float32).tobytes())),
    "wav with infinity": (FLOAT, overwrite(4_096, np.full(1, np.inf, np.float32).tobytes())),
    "wav on another scale": (FLOAT, overwrite(4_096, np.full(1, 30_000, np.float32).tobytes())),
    "only zeros": (FLOAT, same_size(lambda size: encoded(np.zeros((size - 80) // 4 + 1), RATE, *FLOAT)[:size])),
}


@pytest.mark.parametrize("kind", GONE_BAD)
@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_a_file_that_goes_bad_is_replaced_and_reported_once(tmp_path, loader, kind, rate):
    (container, subtype), spoil = GONE_BAD[kind]
    names = write_files(tmp_path, 5, rate, container, subtype)
    source = open_files(tmp_path, names)
    spoil(tmp_path / names[2])
    made, reported = run(source, [[0, 2, 1], [3, 4, 2], [2, 2, 4], [1, 3, 0]], loader)
    assert [skip.file for skip in reported] == [names[2]]
    with pytest.raises(UnreadableAudio) as caught:
        source.read_samples(2)
    assert reported[0].reason == caught.value.reason
    for batch, heard in zip(made, [[0, 1, 1], [3, 4, 3], [4, 4, 4], [1, 3, 0]], strict=True):
        assert batch.lengths.tolist() == source.lengths[heard].tolist()
        assert torch.equal(batch.targets, source.targets.dense(torch.tensor(heard)).float())
        for wave, row in zip(batch.wave, heard, strict=True):
            np.testing.assert_allclose(wave, expected_wave(tmp_path / names[row]), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("change", ["channels", "rate"])
def test_a_file_that_was_replaced_by_one_of_the_same_size_is_heard_as_it_is(tmp_path, loader, change):
    names = write_files(tmp_path, 3)
    source = open_files(tmp_path, names)
    size = (tmp_path / names[1]).stat().st_size
    samples = noise(0.4, seed=9)
    other = encoded(samples.reshape(-1, 2), RATE) if change == "channels" else encoded(samples, 22_050)
    assert len(other) == size
    (tmp_path / names[1]).write_bytes(other)
    (batch,), reported = run(source, [[0, 1, 2]], loader)
    assert reported == []
    assert batch.lengths[1] == len(source.read_samples(1)) != source.lengths[1]
    np.testing.assert_allclose(batch.wave[1], expected_wave(tmp_path / names[1]), rtol=0, atol=ROUNDING)


def test_a_file_that_is_deleted_while_batches_are_made_is_replaced(tmp_path, loader):
    names = write_files(tmp_path, 4)
    source = open_files(tmp_path, names)
    reported = []
    rows = (torch.tensor([i % 4, (i + 1) % 4]) for i in range(40))
    made = batches(source, rows, device=CPU, loader=loader, workers=2, report=reported.append)
    for i, batch in enumerate(made):
        if i == 5:
            (tmp_path / names[3]).unlink()
        assert batch.wave.shape == (2, round(SECONDS * RATE))
        assert batch.wave.abs().amax(1).gt(0.4).all()
    assert i == 39
    assert reported == [Skipped(names[3], "no such file")]


@pytest.mark.parametrize("damage", range(12))
def test_damage_anywhere_gives_what_soundfile_gives_or_is_reported(tmp_path, loader, damage):
    container, subtype = (FLAC, OGG)[damage % 2]
    names = write_files(tmp_path, 3, 44_100, container, subtype)
    source = open_files(tmp_path, names)
    rng = np.random.default_rng(damage)
    size = (tmp_path / names[1]).stat().st_size
    overwrite(int(rng.integers(100, size - 100)), rng.bytes(int(rng.integers(1, 60))))(tmp_path / names[1])
    reasons = []
    try:
        samples = source.read_samples(1)
        expected = np.pad(samples, (0, source.clip_samples - len(samples)))
    except UnreadableAudio as error:
        reasons = [error.reason]
        expected = expected_wave(tmp_path / names[2])
    (batch,), reported = run(source, [[0, 1, 2]], loader)
    assert reported == [Skipped(names[1], reason) for reason in reasons]
    np.testing.assert_allclose(batch.wave[1], expected, rtol=0, atol=ROUNDING)


def test_the_next_clip_takes_the_place_of_a_batch_of_which_nothing_can_be_read(tmp_path, loader):
    names = write_files(tmp_path, 4)
    source = open_files(tmp_path, names)
    expected = expected_wave(tmp_path / names[2])
    for name in (names[0], names[1], names[3]):
        (tmp_path / name).write_bytes(b"")
    made, reported = run(source, [[2, 2], [0, 1], [3]], loader)
    for batch, size in zip(made, (2, 2, 1), strict=True):
        np.testing.assert_allclose(batch.wave, [expected] * size, rtol=0, atol=ROUNDING)
        assert batch.lengths.tolist() == [source.clip_samples] * size
        assert batch.targets.equal(source.targets.dense(torch.tensor([2] * size)).float())
    assert sorted(skipped.file for skipped in reported) == [names[0], names[1], names[3]]


def test_data_that_went_away_is_an_error(tmp_path, loader):
    names = write_files(tmp_path, 3)
    source = open_files(tmp_path, names)
    for name in names:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match="no clip of a batch can be read, nor any that follows"):
        run(source, [[0, 1]], loader)


def test_an_error_of_dali_alone_costs_no_clip(tmp_path, monkeypatch):
    pipeline = pytest.importorskip("nvidia.dali").Pipeline
    share_outputs, calls = pipeline.share_outputs, []

    def failing(self, *args, **options):
        calls.append(self)
        if len(calls) == 2:
            raise RuntimeError("Critical error in pipeline")
        return share_outputs(self, *args, **options)

    monkeypatch.setattr(pipeline, "share_outputs", failing)
    names = write_files(tmp_path, 4)
    rows = [[0, 1], [2, 3], [3, 0], [2, 1]]
    with pytest.warns(UserWarning, match=r"DALI failed where soundfile does not \(Critical error in pipeline\)"):
        made, reported = run(open_files(tmp_path, names), rows, "dali")
    assert reported == []
    for batch, chosen in zip(made, rows, strict=True):
        for wave, row in zip(batch.wave, chosen, strict=True):
            np.testing.assert_array_equal(wave, expected_wave(tmp_path / names[row]))
    assert len({id(pipe) for pipe in calls}) == 2


def test_a_pipeline_that_cannot_be_built_says_what_to_do(tmp_path, monkeypatch):
    def failing(self):
        raise RuntimeError("CUDA driver version is insufficient\nstack")

    monkeypatch.setattr(pytest.importorskip("nvidia.dali").Pipeline, "build", failing)
    with pytest.raises(UserError, match=r"^DALI cannot start here \(CUDA driver .*\); give --loader soundfile$"):
        run(open_files(tmp_path, write_files(tmp_path, 2)), [[0, 1]], "dali")


# Nothing is left behind


def native_threads():
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.is_dir() else 0


def endless(count):
    step = 0
    while True:
        yield torch.tensor([step % count, (step + 1) % count])
        step += 1


@pytest.mark.parametrize("how", ["close", "exception", "used up", "forgotten"])
def test_no_thread_is_left(tmp_path, loader, how):
    source = open_files(tmp_path, write_files(tmp_path, 4))
    run(source, [[0, 1]], loader)  # what libraries start once is no leak
    gc.collect()
    threads, native = threading.active_count(), native_threads()
    made = batches(source, endless(4), device=CPU, loader=loader, workers=3, report=pytest.fail)
    if how == "used up":
        made = batches(source, [torch.tensor([0, 1])], device=CPU, loader=loader, workers=3, report=pytest.fail)
        assert len(list(made)) == 1
    elif how == "exception":
        next(made)
        with pytest.raises(ZeroDivisionError):
            made.throw(ZeroDivisionError)
    for _ in range(3 if how in ("close", "forgotten") else 0):
        next(made)
    if how != "forgotten":
        made.close()
    del made
    gc.collect()
    assert threading.active_count() == threads
    assert native_threads() <= native


def test_rows_are_taken_no_further_ahead_than_promised(tmp_path, loader):
    source = open_files(tmp_path, write_files(tmp_path, 4))
    taken = []
    rows = (taken.append(step) or torch.tensor([step % 4]) for step in range(100))
    made = batches(source, rows, device=CPU, loader=loader, prefetch=3, report=pytest.fail)
    assert taken == []
    for done in range(1, 6):
        next(made)
        assert len(taken) == done + 3
    made.close()


def test_a_batch_stays_as_it_was_while_others_are_made(tmp_path, loader):
    source = open_files(tmp_path, write_files(tmp_path, 4))
    kept, copies = [], []
    for batch in batches(
        source, [torch.tensor([i % 4]) for i in range(12)], device=CPU, loader=loader, report=pytest.fail
    ):
        kept.append(batch.wave)
        copies.append(batch.wave.clone())
    assert all(torch.equal(a, b) for a, b in zip(kept, copies, strict=True))


# The choice


def test_the_choice_is_made_by_format_rate_and_device(tmp_path, monkeypatch):
    pytest.importorskip("nvidia.dali")
    cuda = torch.device("cuda")
    right = open_files(tmp_path, write_files(tmp_path, 2))
    other = open_files(tmp_path, write_files(tmp_path, 2, 44_100, "FLAC"))
    mp3 = open_files(tmp_path, write_files(tmp_path, 2, RATE, "MP3", "MPEG_LAYER_III"))
    assert choose_loader(right, "auto", CPU).name == "dali"
    assert choose_loader(other, "auto", cuda).name == "dali"
    assert choose_loader(other, "auto", CPU) == ("soundfile", "without a GPU, soxr resamples faster than DALI's path")
    assert choose_loader(other, "dali", CPU).name == "dali"
    assert choose_loader(mp3, "auto", cuda) == ("soundfile", "DALI reads no MP3 files")
    with pytest.raises(UserError, match="DALI reads no MP3 files; leave --loader out"):
        batches(mp3, [], device=CPU, loader="dali", report=pytest.fail)
    with pytest.raises(UserError, match="--loader fast; give one of auto, memory, dali, soundfile"):
        choose_loader(right, "fast", CPU)

    def broken(name):
        raise OSError("libdali.so: cannot open shared object file")

    with monkeypatch.context() as patch:
        patch.setattr("importlib.import_module", broken)
        reason = "DALI does not load (libdali.so: cannot open shared object file)"
        assert choose_loader(right, "auto", CPU) == ("soundfile", reason)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert choose_loader(right, "auto", CPU) == ("soundfile", "DALI is not installed (pip has it for Linux only)")
    with pytest.raises(UserError, match="DALI is not installed"):
        choose_loader(right, "dali", CPU)


def test_clips_that_need_no_decoder_take_none():
    clips = in_memory(torch.ones(1, 9, dtype=torch.int16), np.array([9]), [[0]], ("x",))
    assert choose_loader(clips, "auto", CPU).name == "memory"
    assert choose_loader(Packed(clips), "auto", CPU).name == "pack"
    with pytest.raises(UserError, match="decoded already"):
        choose_loader(clips, "dali", CPU)


@pytest.mark.parametrize(("options", "message"), [({"workers": 0}, "--workers 0"), ({"prefetch": 0}, "prefetch is 0")])
def test_wrong_numbers_are_refused_at_once(tmp_path, options, message):
    source = open_files(tmp_path, write_files(tmp_path, 1))
    with pytest.raises(UserError, match=message):
        batches(source, [], device=CPU, report=pytest.fail, **options)


def test_all_works_where_dali_is_missing(tmp_path):
    write_files(tmp_path, 2, 44_100)
    program = f"""
import sys
sys.modules["nvidia"] = None
import torch
from pathlib import Path
from glat.data.recordings.encoded import encoded_from_manifest
from glat.data.loading.batches import batches
from glat.data.recordings.recording import Recording
recordings = [Recording(name, Path({str(tmp_path)!r}) / name, ("a",)) for name in ("0.wav", "1.wav")]
source, _ = encoded_from_manifest(recordings, ("a",), sample_rate_hz=32000, clip_seconds=0.5)
made = batches(source, [torch.tensor([0, 1])], device=torch.device("cpu"), report=print)
print(*(batch.wave.shape for batch in made))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout == "torch.Size([2, 16000])\n", done.stderr


def test_a_batch_of_bad_files_is_silence_where_it_may_be(tmp_path, loader):
    write_files(tmp_path, 4)
    source = open_files(tmp_path, [f"{i}.wav" for i in range(4)])
    for i in (1, 2):
        (tmp_path / f"{i}.wav").unlink()
    reports = []
    rows = torch.tensor([[1, 2], [0, 3]])
    first, second = batches(source, rows, device=CPU, loader=loader, report=reports.append, may_be_empty=True)
    assert first.wave.shape == second.wave.shape
    assert not first.wave.any()
    assert first.lengths.tolist() == [source.clip_samples] * 2
    assert second.wave.any(1).all()
    assert sorted(skipped.file for skipped in reports) == ["1.wav", "2.wav"]
