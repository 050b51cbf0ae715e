"""Where a recording is cut, whatever blocks it comes in, and how its frames are joined."""

import numpy as np
import pytest

from glat.tagging.frames import JoinedFrames, Pooled
from glat.tagging.windows import Cutter, Grid


def cut(samples, grid, block):
    cutter = Cutter(grid)
    found = []
    for start in range(0, len(samples), block):
        found += cutter.take(samples[start : start + block])
    return [*found, *cutter.finish()], cutter.samples


@pytest.mark.parametrize("total", [1, 99, 100, 101, 150, 199, 200, 201, 333, 1000])
@pytest.mark.parametrize("block", [7, 100, 5000])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.9])
def test_windows_cover_a_recording_and_hold_its_samples(total, block, overlap):
    grid = Grid.of(100, 10, 100, overlap)
    samples = np.arange(1, total + 1, dtype=np.float32)
    windows, counted = cut(samples, grid, block)
    assert counted == total
    heard = np.zeros(total, bool)
    for window in windows:
        assert len(window.wave) == 100
        held = samples[window.offset : window.offset + 100]
        assert window.valid == len(held)
        assert np.array_equal(window.wave[: len(held)], held)
        assert not window.wave[len(held) :].any()
        heard[window.offset : window.offset + 100] = True
    assert heard.all()
    assert sum(window.new for window in windows) == total
    assert windows[-1].offset + windows[-1].valid == total
    assert [w.first_frame for w in windows[:-1]] == [i * grid.hop_frames for i in range(len(windows) - 1)]


def test_without_overlap_windows_are_the_chunks_that_glat_always_made():
    grid = Grid.of(100, 10, 100, 0.0)
    windows, _ = cut(np.ones(250, np.float32), grid, 64)
    assert [w.offset for w in windows] == [0, 100, 150]


def test_one_window_s_frames_come_out_as_they_are_up_to_the_end_of_the_recording():
    grid = Grid.of(100, 10, 100, 0.25)
    probs = np.random.default_rng(0).random((10, 3), np.float32)
    out = []
    joined = JoinedFrames(grid, out.append)
    joined.add(0, probs, np.zeros((3, 3), np.float32))
    joined.finish(grid.frames_in(45))
    found = np.concatenate([frames.probs for frames in out])
    assert len(found) == 5
    np.testing.assert_allclose(found, probs[:5], rtol=1e-6)


def test_a_frame_takes_most_from_the_window_in_whose_middle_it_lies():
    grid = Grid.of(100, 10, 100, 0.5)
    out = []
    joined = JoinedFrames(grid, out.append)
    for i in range(3):
        joined.add(i * grid.hop_frames, np.full((10, 1), i, np.float32), np.full((3, 1), i, np.float32))
    joined.finish(20)
    probs = np.concatenate([frames.probs for frames in out])[:, 0]
    streams = np.concatenate([frames.streams for frames in out])[:, 0, 0]
    assert len(probs) == 20
    assert np.all(np.diff(probs) >= 0)  # from one window to the next without a step back
    np.testing.assert_allclose(probs[[0, 4, 15, 19]], [0, 0, 2, 2])
    assert probs[5] == pytest.approx((4.5 * 0 + 0.5 * 1) / 5)
    assert streams.tolist() == [0] * 8 + [1] * 5 + [2] * 7


def test_frames_are_final_when_they_are_given_out():
    grid = Grid.of(100, 10, 100, 0.5)
    random = np.random.default_rng(0)
    windows = [(i * grid.hop_frames, random.random((10, 2), np.float32)) for i in range(8)]
    out = []
    joined = JoinedFrames(grid, out.append)
    for first, probs in windows:
        joined.add(first, probs, np.zeros((3, 2), np.float32))
        assert sum(len(frames.probs) for frames in out) <= first
    joined.finish(45)
    assert [frames.first for frames in out] == np.cumsum([0, *(len(f.probs) for f in out)])[:-1].tolist()
    assert sum(len(frames.probs) for frames in out) == 45


def test_a_pooled_recording_keeps_its_peaks_in_bounded_memory():
    grid = Grid.of(100, 10, 100, 0.0)
    pooled = Pooled(8)
    values = np.zeros((100, 1), np.float32)
    values[63] = 1
    joined = JoinedFrames(grid, pooled.add)
    for i in range(10):
        joined.add(i * 10, values[i * 10 : i * 10 + 10], np.zeros((3, 1), np.float32))
    joined.finish(100)
    probs = pooled.probs()
    assert len(probs) <= 8
    assert probs[63 // pooled.frames_a_row] == 1
    assert probs.sum() == 1
