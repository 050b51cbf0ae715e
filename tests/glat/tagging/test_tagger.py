"""`glat.load` and `Tagger`: files and arrays of any length, alone, together and from several threads."""

import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
import tagging
import torch

import glat
from glat.data import read_audio
from glat.tagging.hearing import Heard
from glat.tagging.reading import FileSource, ReadAhead
from glat.tagging.recording import crops_of
from glat.tagging.windows import Grid, Window


def same(a, b, tolerance=1e-5):
    assert (a.seconds, [t.label for t in a.crops]) == (b.seconds, [t.label for t in b.crops])
    for one, other in ((a.probs, b.probs), (a.frames.probs, b.frames.probs), (a.windows.fused, b.windows.fused)):
        np.testing.assert_allclose(one, other, atol=tolerance)


@pytest.mark.parametrize("rate", [32_000, 44_100, 16_000])
def test_reading_in_blocks_is_reading_at_once(rate, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([tagging.sound(40, i, rate) for i in (0, 1)], axis=1), rate)
    blocks = []
    FileSource(path).read(32_000, lambda: blocks.append)
    assert len(blocks) > 1
    np.testing.assert_allclose(np.concatenate(blocks), read_audio(path, 32_000), atol=1e-6)


def test_tags_have_the_shapes_that_are_promised(tagger, recordings):
    tags = tagger.tag(recordings[1])
    T, L, K = len(tags.frames.seconds), len(tagging.CLASSES), len(tags.windows.seconds)
    assert tags.seconds == 23
    assert tags.frames.probs.shape == (T, L)
    assert tags.frames.seconds[-1] < 23 < tags.frames.seconds[-1] + tags.grid.frame_seconds + 1e-6
    assert K == 3
    for probs in (tags.windows.fused, tags.windows.global_, tags.windows.local_):
        assert probs.shape == (K, L)
    assert tags.embeddings.shape[0] == K
    assert len(tags.crops) == K * tags.crops_per_window
    assert [t.probability for t in tags.tags] == sorted((t.probability for t in tags.tags), reverse=True)
    np.testing.assert_allclose(tags.probs, tags.windows.fused.max(0))
    for event in tags.events(0.5):
        assert 0 <= event.onset_seconds <= event.peak_seconds <= event.offset_seconds <= 23
        assert event.probability >= 0.5
        assert 0.75 * max(event.global_, event.local_) <= event.fused + 1e-6


def test_files_and_arrays_say_the_same(tagger, recordings):
    wave, rate = soundfile.read(recordings[1], dtype="float32")
    tags = tagger.tag(str(recordings[1]))
    same(tags, tagger.tag(wave, rate))
    same(tags, tagger.tag(torch.from_numpy(wave).double(), rate))
    as_int16, _ = soundfile.read(recordings[1], dtype="int16")
    same(tags, tagger.tag(as_int16, rate), tolerance=1e-3)


def test_recordings_in_common_batches_say_what_they_say_alone(tagger, recordings):
    for together, path in zip(tagger.tag(list(recordings)), recordings, strict=True):
        assert together.file == str(path)
        same(together, tagger.tag(path))


def test_a_two_dimensional_array_is_several_recordings(tagger):
    waves = np.stack([tagging.sound(3, i) for i in range(3)])
    found = tagger.tag(waves, tagging.RATE)
    assert len(found) == 3
    same(found[2], tagger.tag(waves[2], tagging.RATE))


def test_threads_may_share_a_tagger(tagger, recordings):
    alone = [tagger.tag(path) for path in recordings]
    with ThreadPoolExecutor(4) as pool:
        for i, tags in enumerate(pool.map(tagger.tag, list(recordings) * 3)):
            same(tags, alone[i % 3])


@pytest.mark.parametrize(
    ("audio", "rate", "said"),
    [
        (np.zeros(100), None, "need their rate"),
        (np.zeros(0), 32_000, "wanted [S]"),
        (np.zeros(32_000, np.float32), 32_000, "the array is silent (only zeros)"),
        (np.full(32_000, 0.25, np.float32), 32_000, "the array is constant"),
        (np.ones((32_000, 2), np.float32), 32_000, "looks like samples by channels; wanted [S], one channel"),
        (np.zeros(100, np.int32), 32_000, "int16"),
        (np.full(100, np.nan), 32_000, "NaN"),
        (np.full(40_000, 3e4), 32_000, "scale"),
        (np.zeros(100), 5, "1 000"),
    ],
)
def test_what_is_no_audio_is_refused(tagger, audio, rate, said):
    with pytest.raises(glat.UserError, match=re.escape(said)):
        tagger.tag(audio, rate)


def test_one_stream_alone(weights, recordings):
    tags = tagging.load(weights, streams="global").tag(recordings[1])
    both = tagging.load(weights).tag(recordings[1])
    np.testing.assert_allclose(tags.windows.fused, both.windows.global_, atol=1e-5)
    assert np.isnan(tags.windows.local_).all()
    assert tags.tags[0].decided_by is None
    assert tags.to_json(3)["tags"][0]["local"] is None
    np.testing.assert_allclose(tags.frames.probs, both.frames.probs, atol=1e-5)


def test_sharpened_frames_are_means_with_what_both_streams_say(weights, recordings, tagger):
    plain, sharp = tagger.tag(recordings[0]), tagging.load(weights, events_by="sharpened").tag(recordings[0])
    assert sharp.tags == plain.tags
    middles = plain.frames.seconds + plain.grid.frame_seconds / 2
    inside = np.zeros(len(middles), bool)
    for crop in plain.crops:
        inside |= (middles >= crop.start_seconds) & (middles < crop.end_seconds)
    assert inside.any()
    ratios = sharp.frames.probs**2 / plain.frames.probs
    clip = plain.windows.global_[0]
    np.testing.assert_allclose(ratios[~inside], np.broadcast_to(clip, ratios[~inside].shape), rtol=1e-4)
    assert (ratios[inside] >= clip / 2 - 1e-5).all()
    assert (ratios[inside] <= (clip + 1) / 2 + 1e-5).all()
    assert len({ratio.tobytes() for ratio in ratios[inside].round(4)}) > 1
    assert sharp.events(0.3) != plain.events(0.3)


def test_of_weights_that_were_trained_on_no_crops_events_are_by_frames_unless_asked(weights):
    assert tagging.load(weights).events_by == "frames"
    assert tagging.load(weights, events_by="sharpened").events_by == "sharpened"


def test_bfloat16_is_near(weights, recordings, tagger):
    tags = tagging.load(weights, dtype=torch.bfloat16).tag(recordings[0])
    np.testing.assert_allclose(tags.probs, tagger.tag(recordings[0]).probs, atol=0.1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"labels": None}, "labels"),
        ({"labels": ["a"]}, "1"),
        ({"overlap": 1.0}, "overlap"),
        ({"best": True}, "best"),
        ({"events_by": "sharpened", "streams": "global"}, "sharpened by the local stream"),
        ({"events_by": "crops"}, "events_by is 'crops'; give one of frames, sharpened"),
    ],
)
def test_a_tagger_says_what_it_needs(weights, options, said):
    with pytest.raises(glat.UserError, match=said):
        glat.load(weights[0], **({"labels": weights[1]} | options))


def test_talnet_needs_recordings_for_its_normaliser(tmp_path, recordings):
    from glat.backbones import build

    network = build("talnet", 3, 0.1)
    state = {k: v for k, v in network.state_dict().items() if not k.startswith("standardise.")}
    torch.save(state, tmp_path / "TALNet.pt")
    with pytest.raises(glat.UserError, match="normaliser"):
        glat.load(tmp_path / "TALNet.pt", labels=["a", "b", "c"])
    tagger = glat.load(tmp_path / "TALNet.pt", labels=["a", "b", "c"], normalise_with=recordings[:1])
    assert tagger.sample_rate_hz == 16_000
    assert np.isfinite(tagger.tag(recordings[0]).probs).all()


def test_a_data_frame_has_a_row_a_window(tagger, recordings):
    pytest.importorskip("pandas", reason="pandas is not installed")
    frame = tagger.tag(recordings[1]).to_dataframe()
    assert list(frame.columns) == list(tagging.CLASSES)
    assert list(frame.index.names) == ["file", "start_seconds", "end_seconds"]
    assert frame.index.get_level_values("end_seconds")[-1] == 23


def test_the_peak_of_a_saturated_class_is_where_the_operator_saw_it():
    logits = torch.full((1, 10, 2), -5.0)
    logits[0, 6, 0], logits[0, 7, 0] = 18.0, 20.0  # both are 1 in float32
    crops = glat.select_crops(torch.tensor([[1.0, 0.0]]), logits, torch.zeros(1, 1000), num_crops=1, crop_samples=800)
    nothing = np.zeros((1, 1, 2), np.float32)
    selected = (crops.classes, crops.starts, crops.peaks)
    heard = Heard(
        nothing, nothing, logits.numpy(), logits.sigmoid().numpy(), *(t.numpy() for t in selected), embeddings=nothing
    )
    window = Window(np.zeros(1000, np.float32), 0, 1000, 0, 1000)
    (found,) = crops_of(window, heard, 0, Grid.of(1000, 10, 100, 0.0), ("a", "b"), 800)
    assert found.peak_seconds == 7.0


def test_a_reader_that_nobody_listens_to_any_more_ends():
    import threading

    def produce(put):
        while True:
            put(Grid.of(100, 10, 100, 0.0))

    items = iter(ReadAhead([produce, produce], 2, 1))
    next(items)
    items.close()
    for thread in threading.enumerate():
        if thread.name.startswith("glat-read"):
            thread.join(5)
            assert not thread.is_alive()


@pytest.mark.parametrize("device", ["tpu", "cuda:99", 3.5])
def test_a_device_that_is_not_there_is_named(device, weights):
    with pytest.raises(glat.UserError, match="which cannot be used here"):
        glat.load(weights[0], labels=weights[1], device=device)


def test_one_bad_recording_does_not_lose_the_others(tagger, recordings, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    first, second, third = tagger.tag([recordings[0], tmp_path / "bad.wav", recordings[2]], errors="return")
    assert isinstance(second, glat.UserError)
    assert "bad.wav" in str(second)
    same(first, tagger.tag(recordings[0]))
    same(third, tagger.tag(recordings[2]))
    with pytest.raises(glat.UserError, match=r"bad\.wav"):
        tagger.tag([recordings[0], tmp_path / "bad.wav"])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda t, tags: t.tag(b"abc"), "give a file, samples"),
        (lambda t, tags: t.tag(np.zeros(32_000, np.float32), "32000"), "sample_rate_hz is '32000'; give a number"),
        (lambda t, tags: t.tag(np.zeros(32_000, np.float32), True), "sample_rate_hz is True"),
        (lambda t, tags: t.tag([], errors="skip"), "errors is 'skip'"),
        (lambda t, tags: tags.top(-1), "count is -1; give a whole number, 0 or more"),
        (lambda t, tags: tags.top(True), "count is True"),
        (lambda t, tags: tags.top(2.0), r"count is 2\.0"),
        (lambda t, tags: tags.events(threshold="a"), "threshold of 'hum, low' is 'a'"),
        (lambda t, tags: tags.events(threshold=True), "is True; give a probability"),
        (lambda t, tags: tags.events(min_seconds=-1), "min_seconds is -1; give a number, 0 or more"),
        (lambda t, tags: tags.events(merge_gap_seconds=float("nan")), "merge_gap_seconds is nan"),
        (lambda t, tags: tags.events(top=0), "top is 0; give a whole number, 1 or more"),
    ],
)
def test_arguments_of_the_wrong_kind_are_named(call, said, tagger, recordings):
    tags = tagger.tag(recordings[0])
    with pytest.raises(glat.UserError, match=said):
        call(tagger, tags)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"labels": 5}, "labels is 5"),
        ({"streams": "local"}, "streams is 'local'; give one of both, global"),
        ({"overlap": "a"}, "overlap is 'a'"),
        ({"batch_size": True}, "batch_size is True"),
        ({"batch_size": 2.5}, r"batch_size is 2\.5; give a whole number"),
    ],
)
def test_options_of_the_wrong_kind_are_named(options, said, weights):
    with pytest.raises(glat.UserError, match=said):
        glat.load(weights[0], **({"labels": weights[1]} | options))


def test_what_is_no_model_is_named(recordings):
    with pytest.raises(glat.UserError, match="is a recording; give a checkpoint"):
        glat.load(recordings[0])
    with pytest.raises(glat.UserError, match="source is None"):
        glat.load(None)
