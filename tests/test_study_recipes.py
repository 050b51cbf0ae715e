"""What was tried for a better recipe does what its row says."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.study import training
from bench.study.plan import ALONE, COUPLED, OTHER_CROPS, SMALL, Job
from bench.study.recipes import taught
from glat.data import Batch

TINY = replace(SMALL, train_clips=8, eval_clips=12)
ROWS = {row.name: row for row in (*OTHER_CROPS, *COUPLED)}


def streams_of(name, train=True):
    """A row's model, and a batch of clips with their labels."""
    clips = training.soundscapes(None, TINY).train
    streams = training.Streams(Job(name, (ROWS[name],), (0,)), len(clips.classes), TINY.width, 0).train(train)
    targets = clips.targets.dense()[:4].float()
    return streams.models[name], Batch(clips.waves[:4], torch.from_numpy(clips.lengths[:4]), targets)


def run(rows, folder, say=lambda line: None, scale=TINY):
    training.train(Job(folder.name, rows, (0,)), 0, scale, None, folder, say)
    return torch.load(folder / training.WEIGHTS, weights_only=True)


def test_rows_of_other_crops_go_on_after_a_stop_to_the_same_weights(tmp_path):
    class StopError(Exception):
        pass

    def stop(line):
        if "step 4 of 4" in line:
            raise StopError

    whole = run(OTHER_CROPS, tmp_path / "whole")
    with pytest.raises(StopError):
        run(OTHER_CROPS, tmp_path / "stopped", stop)
    stopped = run(OTHER_CROPS, tmp_path / "stopped")
    assert all(torch.equal(tensor, stopped[name]) for name, tensor in whole.items())


@pytest.mark.parametrize("row", COUPLED, ids=lambda row: row.name)
def test_a_coupled_row_gives_another_global_stream_than_the_backbone_alone(row, tmp_path):
    short = replace(TINY, steps=2, points=1)
    alone, coupled = run((ALONE,), tmp_path / "alone", scale=short), run((row,), tmp_path / "coupled", scale=short)
    name = "global_.conv_block1.conv1.weight"
    assert not torch.equal(alone[name], coupled[name])


def test_shifted_crops_move_in_training_alone():
    model, batch = streams_of("shifted")
    with torch.no_grad():
        first, second = (model(batch.wave).crops.starts for _ in range(2))
        model.eval()
        third, fourth = (model(batch.wave).crops.starts for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(third, fourth)
    assert (first - second).abs().max() <= 2 * (model.crop_samples // 3)


def test_crops_have_three_lengths_in_training_and_one_in_the_evaluation():
    model, batch = streams_of("lengths")
    with torch.no_grad():
        seconds = {model(batch.wave).crops.audio.shape[2] / 16_000 for _ in range(12)}
        assert seconds == {1.5, 3.0, 4.5}
        model.eval()
        assert {model(batch.wave).crops.audio.shape[2] for _ in range(6)} == {48_000}


def test_novel_crops_are_those_of_a_plain_loop():
    model, batch = streams_of("novel", train=False)
    with torch.no_grad():
        scores = model(batch.wave)
        features = model.global_.frame_features(batch.wave / 32767)
        clip = model.global_.clip_logits(features).sigmoid().numpy()
    frames = scores.frame_logits.sigmoid().numpy()
    T, L = frames.shape[1:]
    for b in range(4):
        vectors = features[b].numpy() / np.linalg.norm(features[b].numpy(), axis=1, keepdims=True)
        chosen = []
        for n in range(5):
            value = np.zeros((T, L))
            for t in range(T):
                cosines = [
                    vectors[t] @ vectors[u] / np.linalg.norm(vectors[t]) / np.linalg.norm(vectors[u]) for u in chosen
                ]
                value[t] = clip[b] * frames[b, t] * (1 - max(cosines) if cosines else 1)
            t, k = np.unravel_index(value.argmax(), value.shape)
            chosen.append(t)
            assert scores.crops.classes[b, n] == k
            assert scores.crops.starts[b, n] == min(max(t * 160_000 // T - 24_000, 0), 160_000 - 48_000)


def test_what_two_streams_share_is_one_weight_and_the_rest_two():
    def shared(name):
        model, _ = streams_of(name)
        own = dict(model.global_.named_parameters(remove_duplicate=False))
        return {n for n, p in model.local_.named_parameters(remove_duplicate=False) if p is own[n]}, set(own)

    both, all_of_them = shared("heads")
    assert all_of_them - both == {f"{part}.{kind}" for part in ("fc1", "fc_audioset") for kind in ("weight", "bias")}
    both, _ = shared("norms")
    assert both == {name for name in all_of_them if ".conv" in name and "bn" not in name}


def test_pooled_features_are_those_of_one_long_clip():
    model, batch = streams_of("pool-features", train=False)
    with torch.no_grad():
        scores = model(batch.wave)
        parts = torch.cat([model.local_.frame_features(scores.crops.audio[:, n]) for n in range(5)], 1)
        wanted = model.local_.clip_logits(parts)
    assert scores.crop_logits.shape == (4, 1, wanted.shape[1])
    assert torch.allclose(scores.crop_logits[:, 0], wanted, atol=1e-5)


@pytest.mark.parametrize("name", ["distil-clip", "distil-frames"])
def test_the_global_stream_alone_learns_from_what_it_is_taught(name):
    model, batch = streams_of(name)
    features = model.global_.frame_features(batch.wave / 32767)
    scores = model.hear_crops(features, model.global_.clip_logits(features), batch.wave, batch.lengths)
    taught(model, ROWS[name].distil, features, scores, batch).backward()
    assert all(p.grad is None for p in model.local_.parameters())
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in model.global_.parameters())


def test_frames_of_a_crop_are_taught_what_the_crop_says_of_the_clips_labels():
    model, batch = streams_of("distil-frames")
    features = model.global_.frame_features(batch.wave / 32767).detach()
    scores = model.hear_crops(features, model.global_.clip_logits(features), batch.wave, batch.lengths)
    logits, said = model.global_.frame_logits(features), scores.crop_logits.sigmoid()
    T, L = logits.shape[1:]
    losses = []
    for b in range(4):
        for n in range(5):
            start = int(scores.crops.starts[b, n])
            inside = [t for t in range(T) if start <= (t + 0.5) * 160_000 / T < start + 48_000]
            for k in range(L):
                p = torch.sigmoid(logits[b, inside, k].max())
                wanted = said[b, n, k] * batch.targets[b, k]
                losses.append(-(wanted * p.log() + (1 - wanted) * (1 - p).log()))
    assert taught(model, "frames", features, scores, batch).item() == pytest.approx(
        torch.stack(losses).mean().item(), rel=1e-5
    )
