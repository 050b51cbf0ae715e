"""The selector in plain operators: eager and in ONNX Runtime it follows the specification, ties and NaN included."""

import numpy as np
import pytest
import torch
from torch import nn

from glat.export.selection import plain_select_crops
from glat.kernels import Crops, select_crops

# Values that tie, and those that compare with nothing.
VALUES = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1.0, 1.0, 2.0, -1.0, 1e-40])


def drawn(generator, *shape):
    return VALUES[torch.randint(len(VALUES), shape, generator=generator)]


@pytest.mark.parametrize("suppress", ["none", "released", "crop"])
@pytest.mark.parametrize("seed", range(20))
def test_ties_and_nan_follow_the_specification(suppress, seed):
    generator = torch.Generator().manual_seed(seed)

    def number(low, high):
        return int(torch.randint(low, high + 1, (1,), generator=generator))

    L, T, S = number(1, 8), number(1, 40), number(40, 400)
    options = {"num_crops": number(1, L), "crop_samples": number(1, S), "suppress": suppress}
    ranks, logits = drawn(generator, 3, L), drawn(generator, 3, T, L)
    wave = torch.randn(3, S, generator=generator)
    wanted = select_crops(ranks, logits, wave, impl="reference", **options)
    for mine, theirs in zip(plain_select_crops(ranks, logits, wave, **options), wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)


SUPPRESS = ("none", "released", "crop")
CUT = {"num_crops": 4, "crop_samples": 90}


class Selectors(nn.Module):
    """All of them: an export takes its time."""

    def forward(self, ranks, logits, wave):
        return tuple(
            part for suppress in SUPPRESS for part in plain_select_crops(ranks, logits, wave, suppress=suppress, **CUT)
        )


def test_onnx_runtime_breaks_ties_and_orders_nan_alike():
    onnxruntime = pytest.importorskip("onnxruntime", reason="pip install 'glat[export]' to run ONNX")
    pytest.importorskip("onnxscript", reason="pip install 'glat[export]' to write ONNX")
    from glat.export.onnx import to_onnx

    L, T, S = 6, 23, 400
    names = ("ranks", "logits", "wave")
    sizes = {name: {0: torch.export.Dim("batch")} for name in names}
    sample = (torch.zeros(2, L), torch.zeros(2, T, L), torch.zeros(2, S))
    program = torch.export.export(Selectors(), sample, dynamic_shapes=sizes, strict=False)
    outputs = [f"{suppress} {part}" for suppress in SUPPRESS for part in Crops._fields]
    session = onnxruntime.InferenceSession(to_onnx(program, list(names), outputs).SerializeToString())
    generator = torch.Generator().manual_seed(0)
    for B in (1, 64):
        ranks, logits = drawn(generator, B, L), drawn(generator, B, T, L)
        logits[0] = 0.0  # all frames tie
        ranks[0] = 1.0
        wave = torch.randn(B, S, generator=generator)
        found = session.run(None, dict(zip(names, (ranks.numpy(), logits.numpy(), wave.numpy()), strict=True)))
        wanted = [
            part
            for suppress in SUPPRESS
            for part in select_crops(ranks, logits, wave, impl="reference", suppress=suppress, **CUT)
        ]
        for name, mine, theirs in zip(outputs, found, wanted, strict=True):
            np.testing.assert_allclose(mine, theirs.numpy(), rtol=0, atol=1e-6 * name.endswith("peaks"), err_msg=name)
