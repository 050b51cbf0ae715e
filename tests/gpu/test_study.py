"""The study at the paper's width, in small: it trains, is stopped and goes on, and its steps wait for nothing."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.study import gpu, training
from glat.training.learner import Learner

from . import needed  # noqa: F401


@contextmanager
def no_wait():
    """Inside, what waits for the GPU is an error."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_rows_on_one_global_stream_train_without_a_wait_and_go_on_where_they_stopped(size, tmp_path, monkeypatch):
    scale = replace(
        gpu.GPU_SMALL, train_clips=16, eval_clips=16, steps=6, points=2, width=0.25 if size.on_gpu else 0.05
    )
    learn, batch, watched = Learner.learn, training.Held.batch, []

    def watched_learn(self, step, parts):
        if not (size.on_gpu and self.search.done):
            return learn(self, step, parts)
        watched.append(step)
        with no_wait():
            return learn(self, step, parts)

    def watched_batch(self, rows):
        if not (size.on_gpu and watched):
            return batch(self, rows)
        with no_wait():
            return batch(self, rows)

    monkeypatch.setattr(Learner, "learn", watched_learn)
    monkeypatch.setattr(training.Held, "batch", watched_batch)

    class StopError(Exception):
        pass

    def say(line):
        if "step 6 of 6" in line:  # its checkpoint is not written yet
            raise StopError

    (joint, _) = gpu.MAIN
    with pytest.raises(StopError):
        training.train(joint, 0, scale, None, tmp_path, say)
    lines = []
    assert training.train(joint, 0, scale, None, tmp_path, lines.append)
    assert any("going on from step" in line for line in lines)
    assert not size.on_gpu or watched
    scores = np.load(tmp_path / training.SCORES)
    assert all(np.isfinite(scores[name]).all() for name in scores.files)
