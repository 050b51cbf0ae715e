"""Evidence pages and pictures of long recordings."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
import tagging
from trained import glat

from glat.errors import UserError
from glat.plots.evidence import Evidence
from glat.plots.tagged import Sketch, draw_tagged


class Links(HTMLParser):
    """What a page names."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found += [value for name, value in attributes if name in ("src", "href")]


def evidence(folder, tagger, limit=0.05, top=3, **options):
    limits = np.full(len(tagging.CLASSES), limit, np.float32)
    return Evidence(folder, top, limits, tagger.classes, tagger.sample_rate_hz, tagger.crop_samples, **options)


def gather(kept, tagger, paths, start=0):
    from glat.tagging.reading import FileSource

    for outcome in tagger.hear(
        [FileSource(path) for path in paths],
        lambda i: tagger.recording(str(paths[i]), window_sink=kept.gather(start + i, str(paths[i]))),
    ):
        kept.keep(outcome.recording.window_sink)


def test_the_page_has_the_best_crops_and_needs_no_network(tagger, recordings, tmp_path):
    folder = tmp_path / "evidence"
    kept = evidence(folder, tagger)
    gather(kept, tagger, recordings)
    page = kept.finish().read_text(encoding="utf-8")
    assert "http" not in page
    names = Links(page).found
    sounds = [name for name in names if name.endswith(".wav")]
    assert sounds
    assert all((folder / name).exists() for name in names if not name.startswith("#"))
    assert {p.name for p in folder.iterdir()} == {
        *sounds,
        *(name.replace(".wav", ".png") for name in sounds),
        "index.html",
        "evidence.json",
    }
    state = json.loads((folder / "evidence.json").read_text(encoding="utf-8"))["pieces"]
    for label in tagging.CLASSES:
        of_class = [piece for piece in state if piece["label"] == label]
        assert len(of_class) <= 3
        assert [p["probability"] for p in of_class] == sorted((p["probability"] for p in of_class), reverse=True)
    piece = state[0]
    heard, rate = soundfile.read(folder / piece["sound"], dtype="float32")
    whole = tagger_wave(piece["file"], rate)
    start = round(piece["start_seconds"] * rate)
    np.testing.assert_allclose(heard, whole[start : start + len(heard)], atol=2e-4)
    assert re.search(r"_\d\.\d{3}_\d{5}-\w_\d+\.\d\ds\.wav$", piece["sound"])


def tagger_wave(path, rate):
    from pathlib import Path

    from glat.data import read_audio

    return read_audio(Path(path), rate)


def test_evidence_that_goes_on_is_that_of_one_go(tagger, recordings, tmp_path):
    kept = evidence(tmp_path / "one", tagger)
    gather(kept, tagger, recordings)
    kept.finish()
    gather(evidence(tmp_path / "two", tagger), tagger, recordings[:2])
    # Killed behind the evidence of the second recording and before its events: it is heard again.
    kept = evidence(tmp_path / "two", tagger, going_on=True)
    gather(kept, tagger, recordings[1:], start=1)
    kept.finish()
    assert {p.name for p in (tmp_path / "one").iterdir()} == {p.name for p in (tmp_path / "two").iterdir()}
    assert (tmp_path / "one" / "index.html").read_bytes() == (tmp_path / "two" / "index.html").read_bytes()


def test_a_folder_of_something_else_stays(tagger, tmp_path):
    (tmp_path / "mine.wav").write_bytes(b"mine")
    with pytest.raises(UserError, match="something else"):
        evidence(tmp_path, tagger)
    (tmp_path / "evidence.json").write_text('{"pieces": [], "left_over": ["../x.wav", "mine.txt"]}')
    evidence(tmp_path, tagger, going_on=True)
    assert (tmp_path / "mine.wav").exists()


def test_long_recordings_are_drawn_as_classes_by_time(tagger, recordings, monkeypatch):
    from glat.plots import tagged
    from glat.tagging.reading import FileSource

    monkeypatch.setattr(tagged, "LONGEST_SECONDS", 15.0)
    items = []
    for path in recordings[:2]:
        sketch = Sketch(tagger.grid)
        recording = tagger.recording(str(path), frame_sink=sketch.frames, window_sink=sketch)
        (outcome,) = tagger.hear([FileSource(path)], lambda i, r=recording: r)
        items.append(sketch.done(outcome.recording.finish(outcome.samples, tagger.thresholds)[0], 3))
    assert items[0].wave is not None
    assert items[1].wave is None
    assert items[1].probs.shape[1] == len(tagging.CLASSES)
    labels = [axes.get_ylabel() for axes in draw_tagged(items).axes]
    assert labels[:2] == ["kHz", "frame probability"]
    assert draw_tagged(items).axes[2].get_xlabel() == "min:s"


def test_tag_writes_evidence_and_pictures_beside_the_events(weights, recordings, tmp_path, monkeypatch):
    flags = ("--weights", weights[0], "--labels", weights[1], "--threshold", "0.05")
    flags += ("--events", tmp_path / "e.csv", "--evidence", tmp_path / "evidence", "--plot", tmp_path / "pictures")
    assert glat(monkeypatch, "tag", *recordings[:2], *flags) == 0
    assert (tmp_path / "evidence" / "index.html").exists()
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == ["00000-a.png", "00001-b.png"]
