"""PSDS and F1: known answers by hand, and the numbers of sed_scores_eval and sed_eval called directly."""

import numpy as np
import pytest

from glat.data import Event
from glat.evaluation.bootstrap import draw
from glat.evaluation.events.counts import PSDS, count
from glat.evaluation.events.measures import best_thresholds, curve, f1, psds
from glat.evaluation.events.timelines import Timeline, Truth

pytest.importorskip("sed_scores_eval", reason="needs glat[events]")


def said(*spans, seconds=10.0, step=0.5, classes=1):
    """A clip in which a model says 0.9 in spans (class, onset, offset) and 0.1 elsewhere."""
    edges = np.arange(0, seconds + step / 2, step)
    probs = np.full((len(edges) - 1, classes), 0.1)
    for k, onset, offset in spans:
        probs[(edges[:-1] >= onset) & (edges[:-1] < offset), k] = 0.9
    return Timeline(edges, probs)


def scores(lines, truths, labels=(0,), threshold=0.5):
    counts = count(lines, truths, labels)
    ones = np.ones((len(truths), 1))
    at = np.full(len(labels), threshold)
    found = {metric: psds(counts, metric, ones)[1][0] for metric in PSDS}
    return found | {kind: np.nanmean(f1(counts, kind, at, ones)) for kind in ("event", "segment")}


TRUE = Truth(10.0, (Event(0, 2.0, 4.0),))


@pytest.mark.parametrize(
    ("onset", "offset", "wanted"),
    [
        (2.0, 4.0, {"PSDS1": 1, "PSDS2": 1, "event": 1, "segment": 1}),
        # The onset is 0.5 s late. 1.5 of 2 s are 75 % of the detection and of the event. Seconds 2 and 3 are found, 4
        # is too much: F1 = 2 * 2 / (2 * 2 + 1).
        (2.5, 4.5, {"PSDS1": 1, "PSDS2": 1, "event": 0, "segment": 0.8}),
        # Half is below 70 %: a false positive in 10 s, 360 an hour; and above 10 %.
        (3.0, 5.0, {"PSDS1": 0, "PSDS2": 1, "event": 0, "segment": 0.5}),
        # Below 0.1 all of the clip is a detection, a fifth of which is the event: enough for PSDS2.
        (6.0, 8.0, {"PSDS1": 0, "PSDS2": 1, "event": 0, "segment": 0}),
    ],
)
def test_known_answers(onset, offset, wanted):
    assert scores([said((0, onset, offset))], [TRUE]) == pytest.approx(wanted)


def test_an_offset_may_be_off_by_a_fifth_of_a_long_event():
    long = Truth(10.0, (Event(0, 2.0, 8.0),))
    assert scores([said((0, 2.0, 7.0))], [long])["event"] == 1
    assert scores([said((0, 2.0, 6.5))], [long])["event"] == 0


def test_false_positives_count_by_the_hour():
    # A silent clip of 90 s with a false positive: 40 an hour. Above 0.9 nothing is found; from 0.9 on all is.
    lines, truths = [said((0, 2.0, 4.0)), said((0, 50.0, 51.0), seconds=90.0)], [TRUE, Truth(80.0, ())]
    counts = count(lines, truths, (0,))
    assert psds(counts, "PSDS1", np.ones((2, 1)))[1][0] == pytest.approx((100 - 40) / 100)
    at, rates = curve(counts, "PSDS1")
    np.testing.assert_allclose(at, [0, 0, 40, 100])
    np.testing.assert_allclose(rates, [0, 0, 1, 1])


def test_other_classes_events_cost_the_second_score_only():
    # Class 0 is found, and said on class 1's event too: in an hour one false positive, and one cross trigger.
    seconds, other = 3_600.0, Event(1, 6.0, 8.0)
    line = Timeline(
        np.array([0, 2.0, 4.0, 6.0, 8.0, seconds]),
        np.array([[0.1, 0.1], [0.9, 0.1], [0.1, 0.1], [0.9, 0.9], [0.1, 0.1]]),
    )
    counts = count([line], [Truth(seconds, (*TRUE.events, other))], (0, 1))
    ones = np.ones((1, 1))
    assert psds(counts, "PSDS1", ones)[0][:, 0] == pytest.approx([0.99, 1])
    # And half of a cross trigger in 2 s of class 1's events: 900 an hour.
    assert psds(counts, "PSDS2", ones)[0][:, 0] == pytest.approx([0, 1])


def drawn(clips=12, classes=3, seed=0, levels=8, stretch=1.0):
    """Clips with events, and scores that rank them better than chance, with ties; `stretch` makes all of it longer."""
    rng = np.random.default_rng(seed)
    lines, truths = [], []
    for _ in range(clips):
        seconds = stretch * rng.choice([4.0, 5.5])
        edges = np.linspace(0, seconds, 21)
        probs = rng.random((20, classes)) * 0.6
        events = []
        for k in np.flatnonzero(rng.random(classes) < 0.6).tolist():
            onset = stretch * rng.uniform(0, 2)
            offset = onset + stretch * rng.uniform(0.2, 2)
            probs[(edges[:-1] < offset) & (edges[1:] > onset), k] += 0.3
            events.append(Event(k, onset, offset))
        lines.append(Timeline(edges, np.round(probs * levels) / levels))
        truths.append(Truth(seconds, tuple(events)))
    return lines, truths


def for_the_library(lines, truths, counts):
    """Scores, events and durations of clips, each as often as it is counted."""
    import pandas

    class Writable(pandas.DataFrame):
        """Of a fresh array each time; see `counts._as_scores`."""

        _constructor = property(lambda self: Writable)

        def to_numpy(self, *arguments, **options):
            return np.array(super().to_numpy(*arguments, **options))

    frames, events, seconds = {}, {}, {}
    for i, times in enumerate(counts):
        for j in range(int(times)):
            columns = np.column_stack([lines[i].edges[:-1], lines[i].edges[1:], lines[i].probs])
            frames[f"{i}-{j}"] = Writable(columns, columns=["onset", "offset", *"abc"])
            events[f"{i}-{j}"] = [(e.onset_seconds, e.offset_seconds, "abc"[e.label]) for e in truths[i].events]
            seconds[f"{i}-{j}"] = truths[i].seconds
    return frames, events, seconds


@pytest.mark.parametrize("metric", PSDS)
def test_psds_is_sed_scores_evals_of_all_clips_and_of_resamples(metric):
    from sed_scores_eval import intersection_based

    lines, truths = drawn(stretch=60)  # an hour, of which 100 false positives are looked at
    counts, rules = count(lines, truths, range(3)), PSDS[metric]
    weights = np.column_stack([np.ones(12), draw(12, 3, seed=1)])
    of_classes, of_all = psds(counts, metric, weights)
    for r in range(weights.shape[1]):
        wanted, wanted_of_classes, *_ = intersection_based.psds(
            *for_the_library(lines, truths, weights[:, r]),
            dtc_threshold=rules.dtc,
            gtc_threshold=rules.gtc,
            cttc_threshold=rules.cttc,
            alpha_ct=rules.alpha_ct,
            alpha_st=rules.alpha_st,
            max_efpr=rules.max_efpr,
        )
        assert of_all[r] == pytest.approx(wanted, abs=1e-12)
        assert of_classes[:, r] == pytest.approx([wanted_of_classes[name] for name in "abc"], abs=1e-12)
    assert 0 < of_all[0] < 1
    single = psds(counts, metric, weights.astype(np.float32))[1]
    np.testing.assert_allclose(single, of_all, rtol=1e-5)


def test_f1_is_sed_scores_evals_of_all_clips_and_of_resamples():
    from sed_scores_eval import collar_based, segment_based

    lines, truths = drawn()
    counts = count(lines, truths, range(3))
    weights = np.column_stack([np.ones(12), draw(12, 2, seed=1)])
    for kind in ("event", "segment"):
        found = f1(counts, kind, np.full(3, 0.5), weights)
        best = f1(counts, kind, best_thresholds(counts, kind), weights[:, :1])[:, 0]
        for r in range(weights.shape[1]):
            frames, events, seconds = for_the_library(lines, truths, weights[:, r])
            # A class sounds from the threshold on; the library's sounds above it.
            below = float(np.nextafter(0.5, 0))
            if kind == "event":
                how = {"onset_collar": 0.2, "offset_collar": 0.2, "offset_collar_rate": 0.2}
                wanted = collar_based.fscore(frames, events, below, **how)[0]
                wanted_best = collar_based.best_fscore(frames, events, **how)[0]
            else:
                wanted = segment_based.fscore(frames, events, seconds, below, segment_length=1.0)[0]
                wanted_best = segment_based.best_fscore(frames, events, seconds, segment_length=1.0)[0]
            assert found[:, r] == pytest.approx([wanted[name] for name in "abc"])
            if r == 0:
                assert best == pytest.approx([wanted_best[name] for name in "abc"])


def test_f1_is_sed_evals():
    sed_eval = pytest.importorskip("sed_eval")

    lines, truths = drawn(levels=50)
    how = {"event_label_list": list("abc")}
    by_event = sed_eval.sound_event.EventBasedMetrics(**how, t_collar=0.2, percentage_of_length=0.2)
    by_segment = sed_eval.sound_event.SegmentBasedMetrics(**how, time_resolution=1.0)
    for i, (line, truth) in enumerate(zip(lines, truths, strict=True)):
        said = []
        for k in range(3):
            edges = np.flatnonzero(np.diff(line.probs[:, k] >= 0.5, prepend=False, append=False))
            said += [(k, line.edges[a], line.edges[b]) for a, b in zip(edges[::2], edges[1::2], strict=True)]
        true = [(event.label, event.onset_seconds, event.offset_seconds) for event in truth.events]
        reference, estimated = (
            [{"filename": str(i), "event_label": "abc"[k], "onset": a, "offset": b} for k, a, b in spans]
            for spans in (true, said)
        )
        by_event.evaluate(reference, estimated)
        by_segment.evaluate(reference, estimated, evaluated_length_seconds=truth.seconds)
    counts = count(lines, truths, range(3))
    for kind, metrics in (("event", by_event), ("segment", by_segment)):
        of_classes = metrics.results_class_wise_metrics()
        found = f1(counts, kind, np.full(3, 0.5), np.ones((12, 1)))[:, 0]
        assert found == pytest.approx([of_classes[name]["f_measure"]["f_measure"] for name in "abc"], nan_ok=True)


def test_a_class_without_an_event_in_a_resample_is_left_out_of_it():
    lines, truths = (
        [said((0, 2.0, 4.0), classes=2), said((1, 2.0, 4.0), classes=2)],
        [TRUE, Truth(10.0, (Event(1, 2.0, 4.0),))],
    )
    counts = count(lines, truths, (0, 1))
    weights = np.array([[1.0, 2.0, 0.0], [1.0, 0.0, 2.0]])
    for found, of_all in (psds(counts, metric, weights) for metric in PSDS):
        np.testing.assert_array_equal(found, [[1, 1, np.nan], [1, np.nan, 1]])
        np.testing.assert_array_equal(of_all, [1, 1, 1])
    np.testing.assert_array_equal(f1(counts, "event", np.full(2, 0.5), weights), [[1, 1, np.nan], [1, np.nan, 1]])
