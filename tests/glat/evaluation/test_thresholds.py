"""The thresholds that maximise F1."""

import json

import numpy as np
import pytest
from sklearn.metrics import f1_score

from glat.errors import UserError
from glat.evaluation.thresholds import best_thresholds
from glat.runs.thresholds import Thresholds, read_threshold_table, read_thresholds, write_thresholds


def test_no_threshold_has_a_better_f1():
    random = np.random.default_rng(0)
    targets = random.random((60, 5)) < 0.3
    probs = np.round(random.random((60, 5)) * 0.6 + 0.3 * targets, 1).astype(np.float32)  # with ties
    targets[:, 3], targets[:, 4] = True, False  # nothing to part
    found = best_thresholds(targets, probs, tuple("abcde"))
    assert list(found) == ["a", "b", "c"]
    for k, label in enumerate("abc"):
        best = max(f1_score(targets[:, k], probs[:, k] >= limit) for limit in np.unique(probs[:, k]))
        taken = probs[:, k] >= np.float32(found[label].threshold)
        assert found[label].f1 == pytest.approx(best) == pytest.approx(f1_score(targets[:, k], taken))
        assert found[label].precision == pytest.approx(targets[taken, k].mean())
        assert found[label].recall == pytest.approx(taken[targets[:, k]].mean())


def test_thresholds_are_kept_with_a_run(tmp_path):
    found = best_thresholds(np.array([[True], [False]]), np.array([[0.8], [0.4]], np.float32), ("a",))
    kept = Thresholds(found, {}, found, 2, "sha", "model.safetensors")
    assert read_thresholds(tmp_path) is None
    write_thresholds(tmp_path, kept)
    assert read_thresholds(tmp_path) == kept
    assert kept.frames["a"].threshold == pytest.approx(0.6)
    assert kept.of_events("frames") == {"a": pytest.approx(0.6)}
    assert kept.of_events("sharpened") is None, "those of other frames are not taken for them"
    record = json.loads((tmp_path / "thresholds.json").read_text())
    del record["sharpened"], record["sha256"]
    (tmp_path / "thresholds.json").write_text(json.dumps(record))  # as an older glat wrote it
    assert read_thresholds(tmp_path) == kept
    (tmp_path / "thresholds.json").write_text("{}")
    with pytest.raises(UserError, match="damaged"):
        read_thresholds(tmp_path)


def test_a_threshold_is_a_number_or_a_table(tmp_path):
    assert read_threshold_table("0.3") == 0.3
    (tmp_path / "t.csv").write_text("class,threshold\na,0.2\n")
    assert read_threshold_table(str(tmp_path / "t.csv")) == {"a": 0.2}
    (tmp_path / "bad.csv").write_text("class,limit\na,0.2\n")
    for bad in (tmp_path / "bad.csv", tmp_path / "gone.csv"):
        with pytest.raises(UserError, match="class and threshold"):
            read_threshold_table(str(bad))
