"""Windows of long recordings: what is heard of them, with which labels, and in which order."""

import numpy as np
import pytest
import soundfile
import torch
from sounds import noise, opened

from glat.data.checks.rules import judge
from glat.data.checks.sounds import listen
from glat.data.clips import Event, Origin
from glat.data.loading.batches import Loading, choose_loader
from glat.data.loading.samplers import build_sampler
from glat.data.packs import write
from glat.data.packs.filling import write_shard
from glat.data.packs.read import open_packs
from glat.data.packs.write import pack
from glat.data.recordings.decoding import UnreadableAudio
from glat.data.recordings.manifest import read_manifest
from glat.data.recordings.recording import Sounding
from glat.data.recordings.stretch import StretchedFile, read_stretch
from glat.data.windows.grid import count_windows
from glat.data.windows.timeline import Timeline
from glat.errors import UserError

RATE = 8_000
CLIP = 1.0
S = RATE
CPU = torch.device("cpu")
EVENTS = {  # of a recording of 4.4 s: within a window, over an edge, shorter than the smallest overlap, a moment
    "dog": [(0.2, 0.6), (2.1, 2.2)],
    "cat": [(0.8, 1.9), (3.5, 9.0)],
    "click": [(3.0, 3.0)],
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Four recordings of 4.4 s with the same events, two a fold; in fold "b" one of 0.5 s without any."""
    folder = tmp_path_factory.mktemp("long")
    lines = ["filename\tonset\toffset\tevent_label\tfold"]
    for i in range(4):
        soundfile.write(folder / f"{i}.flac", noise(4.4, RATE, seed=i), RATE)
        rows = [(label, *times) for label, spans in EVENTS.items() for times in spans]
        lines += [f"{i}.flac\t{onset}\t{offset}\t{label}\t{'ab'[i % 2]}" for label, onset, offset in rows]
    soundfile.write(folder / "quiet.flac", noise(0.5, RATE, seed=9), RATE)
    lines.append("quiet.flac\t\t\t\tb")
    (folder / "long.tsv").write_text("\n".join(lines))
    return folder / "long.tsv"


@pytest.fixture
def in_process(monkeypatch):
    """Packing without workers, which take seconds to start."""
    monkeypatch.setattr(write, "write_shards", lambda tasks, *_: [write_shard(task) for task in tasks])


def read(data, **options):
    return opened(data, **{"sample_rate_hz": RATE, "clip_seconds": CLIP, "eval_folds": ("b",)} | options)


def test_evaluation_hears_all_of_a_recording_once_with_its_events(table):
    clips = read(table).evaluation
    names = [f"1.flac#t={t}" for t in ("0,1", "1,2", "2,3", "3,4", "4,4.4")]
    assert clips.names[:5] == tuple(names)
    assert clips.names[-1] == "quiet.flac#t=0,0.5"
    assert clips.origins[3:6] == (Origin("1.flac", 3.0), Origin("1.flac", 4.0), Origin("3.flac", 0.0))
    assert clips.lengths.tolist() == 2 * [S, S, S, S, round(0.4 * S)] + [S // 2]
    whole = soundfile.read(table.parent / "1.flac", dtype="int16")[0]
    heard = np.concatenate([clips.read(row) for row in range(5)])
    np.testing.assert_allclose(heard, whole, atol=1)
    cat, click, dog = (clips.classes.index(label) for label in ("cat", "click", "dog"))
    wanted = [
        [(dog, 0.2, 0.6)],  # 0.2 s of the cat are too few
        [(cat, 0.0, 0.9)],
        [(dog, 0.1, 0.2)],  # shorter than the smallest overlap, and whole
        [(click, 0.0, 0.0), (cat, 0.5, 1.0)],
        [(cat, 0.0, 0.4)],  # cut where the recording ends
        [],
    ]
    rows = [*range(5), 10]
    found = [[(e.label, e.onset_seconds, e.offset_seconds) for e in clips.events[row]] for row in rows]
    assert [[each[0] for each in row] for row in found] == [[each[0] for each in row] for row in wanted]
    for of_row, expected in zip(found, wanted, strict=True):
        np.testing.assert_allclose(of_row, expected, atol=1e-9)
    dense = clips.targets.dense().numpy()
    assert [set(np.flatnonzero(dense[row])) for row in rows] == [{each[0] for each in row} for row in wanted]


@pytest.mark.parametrize(("total", "count"), [(1, 1), (S - 1, 1), (S, 1), (S + 9, 1), (S + 10, 2), (2 * S, 2)])
def test_a_rest_in_which_no_event_counts_is_no_window(total, count):
    assert count_windows(total, S, 10) == count


def test_an_event_counts_from_the_smallest_overlap_on():
    timeline = Timeline.of([[Sounding("a", 1.0, 2.0), Sounding("a", -1.0, 0.3)]], ("a",), 0.3)
    assert timeline.within(0, 0.0, 1.3) == (Event(0, 0.0, 0.3), Event(0, 1.0, pytest.approx(1.3)))
    assert timeline.within(0, 0.0, 1.29) == (Event(0, 0.0, 0.3),)
    assert timeline.within(0, 0.01, 1.29) == ()
    moments = Timeline.of([[Sounding("a", 1.0, 1.0)]], ("a",), 0.3)
    assert [len(moments.within(0, t, t + 1)) for t in (0.0, 1.0)] == [0, 1]


def test_training_draws_windows_everywhere_and_labels_what_they_hold(table):
    clips = read(table).train
    assert (len(clips), clips.events, clips.places) == (10, None, 1 << 16)
    sampler = build_sampler("plain", clips.targets, 3, clips.places)
    starts = []
    for _ in range(40):  # epochs
        rows = sampler.draw(10)
        spans = [clips.span(row) for row in rows.tolist()]
        epoch = sorted(span[:2] for span in spans)
        # A fifth of the possible starts is every window's own, and no window passes the end.
        assert [5 * start // round(3.4 * RATE + 1) for _, start in epoch] == 2 * [0, 1, 2, 3, 4]
        assert {span.samples for span in spans} == {S}
        starts += [start for _, start in epoch]
        present = clips.present(rows)
        for row, span, labels in zip(rows.tolist(), spans, present, strict=True):
            first, last = span.start / RATE, (span.start + S) / RATE
            sounds = {
                label
                for label, times in EVENTS.items()
                for a, b in times
                if (a == b and first <= a < last) or (a < b and min(b, last) - max(a, first) >= min(0.3, b - a) - 1e-6)
            }
            assert {clips.classes[k] for k in labels.nonzero()[:, 0].tolist()} == sounds, clips.name_of(row)
    assert len(set(starts)) > 380
    counts = np.histogram(starts, 10, (0, 3.4 * RATE))[0]
    assert counts.min() > 20


def test_batches_are_of_the_drawn_windows_whatever_the_loader(table):
    in_memory, files = (read(table, loader=loader).train for loader in ("auto", "soundfile"))
    assert choose_loader(files, "auto", CPU) == ("soundfile", "it seeks to the windows, which DALI cannot")
    with pytest.raises(UserError, match="--loader dali: DALI decodes files from their beginning"):
        choose_loader(files, "dali", CPU)
    rows = build_sampler("balanced", in_memory.targets, 1, in_memory.places).draw(8)
    a, b = (next(Loading().batches(clips, [rows], CPU)) for clips in (in_memory, files))
    torch.testing.assert_close(a.wave.float() / 32_767, b.wave, atol=1 / 32_000, rtol=0)
    assert torch.equal(a.targets, b.targets)
    assert torch.equal(a.targets.bool(), in_memory.present(rows))


def test_draws_are_a_function_of_the_seed_and_of_what_was_drawn(table):
    clips = read(table).train
    one, other = (build_sampler("alternate", clips.targets, 5, clips.places) for _ in range(2))
    before = [one.draw(7) for _ in range(4)]
    state = one.state()
    after = [one.draw(7) for _ in range(3)]
    assert all(torch.equal(a, other.draw(7)) for a in before)
    fresh = build_sampler("alternate", clips.targets, 5, clips.places)
    fresh.restore(state)
    assert all(torch.equal(a, fresh.draw(7)) for a in after)
    assert not torch.equal(build_sampler("alternate", clips.targets, 6, clips.places).draw(7), before[0])
    with pytest.raises(UserError, match="the checkpoint's sampler is placed"):
        build_sampler("plain", clips.targets, 5).restore(state)


def test_weak_labels_of_long_recordings_are_those_of_all_windows(tmp_path):
    for label, seconds in (("dog", 3.2), ("cat", 1.0)):
        (tmp_path / label).mkdir()
        for i in range(2):
            soundfile.write(tmp_path / label / f"{i}.wav", noise(seconds, RATE, seed=i), RATE)
    clips = read(tmp_path, eval_folds=()).evaluation
    assert [(n.partition("#")[0][:3], t.tolist()) for n, t in zip(clips.names, clips.targets.dense(), strict=True)] == [
        ("cat", [True, False]),
        *[("dog", [False, True])] * 3,
    ]
    assert clips.events is None
    assert read(tmp_path, eval_folds=(), windows="off").evaluation.origins is None
    for path in tmp_path.rglob("*.wav"):  # a third more than a clip: beginnings, as ever
        soundfile.write(path, noise(1.4, RATE), RATE)
    assert read(tmp_path, eval_folds=()).train.origins is None
    assert len(read(tmp_path, eval_folds=(), windows="on").evaluation) == 4


def test_flags_that_do_not_go_with_times_are_refused(table):
    for options, message in [
        ({"windows": "off"}, "--windows off hears beginnings alone"),
        ({"mix": True}, "--mix takes recordings of one event each"),
    ]:
        with pytest.raises(UserError, match=message):
            read(table, **options)


@pytest.mark.parametrize(("seconds", "in_windows"), [(15.0, False), (15.1, True)])
def test_reading_packing_and_checking_agree_where_about_a_third_goes_unheard(tmp_path, in_process, seconds, in_windows):
    for label in ("cat", "dog"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for i in range(2):
            soundfile.write(tmp_path / "set" / label / f"{i}.wav", noise(seconds, 1_000, seed=i), 1_000)
    options = {"clip_seconds": 10.0, "sample_rate_hz": 1_000}
    manifest = read_manifest(tmp_path / "set")
    packing = pack(tmp_path / "packs", manifest, **options, workers=1)
    assert (read(tmp_path / "set", eval_folds=(), **options).evaluation.origins is not None) == in_windows
    assert (packing.recordings is not None) == in_windows
    assert judge(manifest.classes, listen(manifest.recordings), []).in_windows() == in_windows


def test_packs_keep_windows_times_and_what_training_draws(table, tmp_path, in_process):
    out = tmp_path / "packs"
    options = {"clip_seconds": CLIP, "sample_rate_hz": RATE, "workers": 1}
    packing = pack(out, read_manifest(table), **options, clips_per_shard=6)
    assert (packing.clips, packing.recordings) == (21, 5)
    assert len(list(out.glob("*.h5"))) == 4  # never more than a recording beyond 6 windows
    ours, theirs = read(out), read(table)
    assert ours.evaluation.names == theirs.evaluation.names
    assert ours.evaluation.events == theirs.evaluation.events
    assert ours.evaluation.origins == theirs.evaluation.origins
    assert ours.evaluation.targets.packed.tolist() == theirs.evaluation.targets.packed.tolist()
    rows = build_sampler("plain", ours.train.targets, 0, ours.train.places).draw(40)
    assert torch.equal(ours.train.present(rows), theirs.train.present(rows))
    for row in rows.tolist():
        np.testing.assert_array_equal(ours.train.read(row), theirs.train.read(row))
    assert read(out, windows="off").train.places == 1
    by_hash = read(out, eval_folds=())
    sides = [{origin.recording for origin in side.origins} for side in (by_hash.train, by_hash.evaluation)]
    assert not sides[0] & sides[1]
    packed = open_packs(out)
    of_eval = [n for n, o in zip(packed.names, packed.origins, strict=True) if o.recording in sides[1]]
    assert by_hash.evaluation.names == tuple(of_eval)


def test_silent_windows_are_heard_where_their_recording_is_not_silent(tmp_path, in_process):
    wave = noise(3.0, RATE)
    wave[RATE : 2 * RATE] = 0
    for name in "ab":
        soundfile.write(tmp_path / f"{name}.wav", wave, RATE)
    rows = "".join(f"{name}.wav,0,1,x,{name}\n" for name in "ab")
    (tmp_path / "t.csv").write_text("file,onset,offset,label,fold\n" + rows)
    pack(tmp_path / "packs", read_manifest(tmp_path / "t.csv"), clip_seconds=CLIP, sample_rate_hz=RATE, workers=1)
    for clips in (
        read(tmp_path / "t.csv").evaluation,
        read(tmp_path / "t.csv", loader="soundfile").evaluation,
        open_packs(tmp_path / "packs"),
    ):
        assert not clips.read(1).any()
        assert clips.read(2).any()


@pytest.mark.parametrize(
    ("kind", "subtype", "rate", "tolerance"),
    [
        ("WAV", "PCM_16", 8_000, 0),
        ("WAV", "PCM_24", 11_025, 2e-5),
        ("FLAC", "PCM_16", 44_100, 2e-5),
        ("OGG", "VORBIS", 16_000, 2e-5),
        ("MP3", "MPEG_LAYER_III", 44_100, 2e-5),
        ("WAV", "GSM610", 8_000, 1e-7),  # cannot seek
    ],
)
def test_a_stretch_has_the_samples_of_the_whole_file(tmp_path, kind, subtype, rate, tolerance):
    from glat.data.recordings.audio import read_audio

    path = tmp_path / "x.wav"
    soundfile.write(path, np.stack([noise(6, rate), noise(6, rate, seed=1)], 1)[:, : 1 + (rate > 8_000)], rate,
                    format=kind, subtype=subtype)  # fmt: skip
    whole = read_audio(path, RATE)
    frames = soundfile.info(path).frames
    file = StretchedFile(path, rate, frames, path.stat().st_size, True)
    for start in (0, 1, 12_345, 3 * RATE, len(whole) - RATE):
        np.testing.assert_allclose(
            read_stretch(file, start, RATE, RATE), whole[start : start + RATE], atol=tolerance, rtol=0
        )
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UnreadableAudio, match="has changed since it was listed"):
        read_stretch(file, 0, RATE, RATE)
    path.unlink()
    with pytest.raises(UnreadableAudio, match="no such file"):
        read_stretch(file, 0, RATE, RATE)


def test_a_recording_that_goes_bad_is_named_once(table, tmp_path):
    for path in table.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    clips = read(tmp_path / "long.tsv", loader="soundfile").train
    (tmp_path / "0.flac").unlink()
    said = []
    sampler = build_sampler("plain", clips.targets, 0, clips.places)
    batches = list(Loading(report=said.append).batches(clips, [sampler.draw(10) for _ in range(3)], CPU))
    assert [(s.file, s.reason) for s in said] == [("0.flac", "no such file")]
    assert all((batch.lengths == S).all() for batch in batches)
