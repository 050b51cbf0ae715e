"""What is found when an exported file is compared with the run."""

import exported
import numpy as np
import pytest
import torch

from glat.errors import UserError
from glat.export.check import compare
from glat.export.graph import Graph

SAMPLES = 2_000


@pytest.fixture(scope="module")
def model():
    return exported.own_model()


def honest(model):
    graph = Graph(model, SAMPLES)

    @torch.inference_mode()
    def hear(waves):
        return {name: tensor.numpy().copy() for name, tensor in graph(torch.from_numpy(waves)).items()}

    return hear


def changing(model, change):
    hear = honest(model)

    def hear_changed(waves):
        found = hear(waves)
        change(found)
        return found

    return hear_changed


def test_a_faithful_file_passes(model):
    parity = compare(model, honest(model), exported.noise(model, SAMPLES))
    assert (parity.clips, parity.crops) == (4, 8)
    assert max(parity.largest.values()) < 1e-6


@pytest.mark.parametrize(
    "output", ["fused_probs", "global_probs", "local_probs", "frame_probs", "crop_probs", "crop_peaks"]
)
@pytest.mark.parametrize("wrong", [2e-5, np.nan])
def test_a_probability_that_differs_is_named(model, output, wrong):
    def change(found):
        found[output].reshape(-1)[0] += wrong

    with pytest.raises(UserError, match=output):
        compare(model, changing(model, change), exported.noise(model, SAMPLES))


def test_a_crop_elsewhere_is_named(model):
    def change(found):
        found["crop_starts"][0, 0] = (found["crop_starts"][0, 0] + 300) % 1_000

    with pytest.raises(UserError, match="crops of noise 0"):
        compare(model, changing(model, change), exported.noise(model, SAMPLES))


@pytest.mark.parametrize("classes", [[1, 1], [0, 7], [-1, 0]])
def test_classes_that_are_none_are_named(model, classes):
    def change(found):
        found["crop_classes"][0] = classes

    with pytest.raises(UserError, match="crops of noise 0"):
        compare(model, changing(model, change), exported.noise(model, SAMPLES))


def test_crops_at_ties_may_differ_and_are_counted(model):
    """In silence all frames tie: any of them may be the peak, and the local stream is compared on what it was given."""

    def change(found):
        row = len(found["crop_starts"]) - 1
        found["crop_starts"][row] = SAMPLES * 40 // 99 - 400  # of frame 40 of silence
        waves = torch.zeros(1, SAMPLES)
        with torch.no_grad():
            assert model(waves).frame_logits.std(1).max() < 1e-5

    silence = exported.noise(model, SAMPLES, clips=0)
    parity = compare(model, changing(model, change), silence)
    assert (parity.crops, parity.ties) == (2, 2)


@pytest.mark.parametrize("suppress", ["none", "released", "crop"])
def test_suppressed_maps_are_compared_too(suppress):
    model = exported.own_model(num_classes=4, num_crops=4, suppress=suppress)
    parity = compare(model, honest(model), exported.noise(model, SAMPLES))
    assert max(parity.largest.values()) < 1e-6
    assert parity.ties == 0
