"""What select_crops must mean: the recorded cases, edges written out by hand, and a naive oracle."""

import json
import math
import pathlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from glat.kernels import Crops, select_crops
from glat.kernels.crops.api import SCORE_DTYPES
from glat.kernels.crops.reference import SUPPRESS_MODES
from glat.kernels.testing import PEAK_TOLERANCE, assert_same_crops, crop_inputs, need_fused

INF, NAN = math.inf, math.nan


@pytest.mark.parametrize("impl", ["reference", "fused"])
def test_released_selection_is_reproduced_in_all_golden_cases(impl: Any, golden: pathlib.Path) -> None:
    if impl == "fused":
        need_fused()
    cases = json.loads((golden / "selector_released.json").read_text())["cases"]
    assert len(cases) == 100
    for case in cases:
        rng = np.random.default_rng(case["seed"])
        clip = torch.from_numpy(rng.random((case["B"], case["L"])).astype(np.float32))
        frame = torch.from_numpy(rng.random((case["B"], case["T"], case["L"])).astype(np.float32))
        S = case["sample_rate"] * case["clip_seconds"]
        wave = torch.arange(S, dtype=torch.float32).expand(case["B"], S)  # below 2**24: every sample is its index
        crops = select_crops(
            clip,
            frame,  # probabilities instead of logits: every monotone score selects alike
            wave,
            num_crops=case["N"],
            crop_samples=case["sample_rate"] * case["window_seconds"],
            suppress="released",
            impl=impl,
        )
        where = f"seed {case['seed']}"
        assert crops.classes.tolist() == case["classes"], where
        assert crops.starts.tolist() == case["starts"], where
        assert torch.equal(crops.audio[:, :, 0].long(), crops.starts), where
        assert torch.equal(crops.audio[:, :, -1].long() - crops.audio.shape[2] + 1, crops.starts), where


def peaked(T: int, peaks: list[int], device: str) -> tuple[Tensor, Tensor, Tensor]:
    """One clip of 10 s whose classes rank in order and peak where they are told to, high above a falling slope."""
    logits = -torch.arange(T, dtype=torch.float32)[:, None].repeat(1, len(peaks)) / 100
    for k, m in enumerate(peaks):
        logits[m, k] = 5.0
    rank = -torch.arange(len(peaks), dtype=torch.float32)
    wave = torch.arange(320_000, dtype=torch.float32)
    return rank[None].to(device), logits[None].to(device), wave[None].to(device)


@pytest.mark.parametrize("impl", ["reference", "fused"])
@pytest.mark.parametrize(
    ("T", "seconds", "peaks", "starts"),
    [
        # T = 31, 1 s: o = 0, and at the right edge the slice [-0:] silences the whole map.
        pytest.param(31, 1, [30] * 5, [288_000, 0, 0, 0, 0], id="o=0, right edge"),
        pytest.param(31, 1, [15] * 5, [138_838] * 5, id="o=0, centre: nothing is silenced"),
        pytest.param(31, 1, [1] * 5, [0] * 5, id="o=0, left edge: nothing is silenced"),
        # T = 62, 3 s: o = 4; frame 53 cuts at the right edge, which silences 54 to 61 only.
        pytest.param(62, 3, [53] * 5, [224_000] * 5, id="right band wider than what is silenced"),
        pytest.param(62, 3, [9] * 5, [0] * 5, id="left band wider than what is silenced"),
        pytest.param(31, 3, [4] * 5, [0] * 5, id="left band, T=31"),
        # Frames 26 to 33 are silenced around 30: 25 and 34 are free, 26 and 33 fall back to frame 0.
        pytest.param(62, 3, [30, 25, 34], [106_838, 81_032, 127_483], id="just outside"),
        pytest.param(62, 3, [30, 26], [106_838, 0], id="first silenced frame"),
        pytest.param(62, 3, [30, 33], [106_838, 0], id="last silenced frame"),
        # Frames 54 to 61 silenced, then 0 to 7: the slope's best is frame 8, which cuts at the left edge again.
        pytest.param(62, 3, [61, 60, 59], [224_000, 0, 0], id="right edge, then the slope"),
    ],
)
def test_released_edges(impl: Any, T: int, seconds: int, peaks: list[int], starts: list[int]) -> None:
    if impl == "fused":
        need_fused()
    crops = select_crops(
        *peaked(T, peaks, "cpu"), num_crops=len(peaks), crop_samples=32_000 * seconds, suppress="released", impl=impl
    )
    assert crops.starts.tolist() == [starts]


@pytest.mark.parametrize("impl", ["reference", "fused"])
def test_a_silenced_map_starts_over_at_its_first_frame(impl: Any) -> None:
    """Silenced frames count as probability 0, like minus infinity: with nothing else left the first frame wins."""
    if impl == "fused":
        need_fused()
    rank, logits, wave = peaked(62, [30] * 3, "cpu")
    logits[logits < 5] = -INF
    crops = select_crops(rank, logits, wave, num_crops=3, suppress="released", impl=impl)
    assert crops.starts.tolist() == [[106_838, 0, 0]]
    logits[:, 0, :] = NAN  # loses against probability 0, until it is silenced, which makes it a probability 0 itself
    crops = select_crops(rank, logits, wave, num_crops=3, suppress="released", impl=impl)
    assert crops.starts.tolist() == [[106_838, 0, 0]]
    assert crops.peaks[0, 1:].tolist() == pytest.approx([0.0, NAN], nan_ok=True)


@pytest.mark.parametrize("impl", ["reference", "fused"])
def test_crop_suppression_spends_the_frames_inside_earlier_crops(impl: Any) -> None:
    if impl == "fused":
        need_fused()
    # S / T = 10 samples a frame, W = 30: a crop spends the three frames that begin in it.
    logits = torch.zeros(1, 10, 6)
    logits[0, 5, :] = 1.0
    rank = -torch.arange(6.0)[None]
    wave = torch.arange(100.0)[None]
    crops = select_crops(rank, logits, wave, num_crops=6, crop_samples=30, suppress="crop", impl=impl)
    # 5: crop 35..64 spends 4, 5, 6; then frame 0: 0..29 spends 0, 1, 2; 3: 15..44; 7: 55..84 spends 7, 8; 9: 70..99;
    # nothing is left: the first frame.
    assert crops.starts.tolist() == [[35, 0, 15, 55, 70, 0]]
    assert crops.peaks[0].tolist() == pytest.approx([1 / (1 + math.exp(-1)), 0.5, 0.5, 0.5, 0.5, 0.5])


def naive(
    rank: Tensor, logits: Tensor, S: int, N: int, W: int, suppress: str, lengths: Tensor | None
) -> tuple[list[list[int]], list[list[int]], list[list[float]]]:
    """Rules 1 to 4 in plain Python, a clip and a frame at a time."""
    B, T, L = logits.shape
    all_classes, all_starts, all_peaks = [], [], []
    for b in range(B):
        scores = rank[b].float().tolist()
        classes = sorted(range(L), key=lambda k: (math.isnan(scores[k]), 0 if math.isnan(scores[k]) else -scores[k], k))
        length = S if lengths is None else min(max(int(lengths[b]), 0), S)
        frames = [t for t in range(T) if t < math.ceil(T * length / S)]
        silenced: set[int] = set()
        spent: set[int] = set()
        starts, peaks = [], []
        for k in classes[:N]:
            x = logits[b, :, k].float().tolist()
            best = None
            for t in frames:
                value = -INF if t in silenced else x[t]
                if t in spent or math.isnan(value):
                    continue
                if best is None or value > best[0]:
                    best = (value, t)
            m = 0 if best is None else best[1]
            centre = S * m // T
            left, right = centre - W // 2, centre + W // 2
            edge = max(length, W)
            starts.append(min(max(left, 0), edge - W))
            peaks.append(0.0 if x[m] < -700 else 1 / (1 + math.exp(-x[m])))
            if suppress == "crop":
                spent |= {t for t in range(T) if starts[-1] <= S * t // T < starts[-1] + W}
            if suppress == "released":
                o = int(W * T / S) // 4
                if right >= edge:  # the right edge is tested first
                    silenced |= set(frames[max(0, len(frames) - 2 * o) if o else 0 :])
                elif left < 0:
                    silenced |= set(frames[: 2 * o])
                else:
                    silenced |= set(range(m - o, m + o)) & set(frames)
        all_classes.append(classes[:N])
        all_starts.append(starts)
        all_peaks.append(peaks)
    return all_classes, all_starts, all_peaks


PALETTE = [NAN, INF, -INF, -0.0, 0.0, 1.0, -1.0, 2.5, 1e-40, -1e-40, 17.0, 18.0, 40.0, -100.0]


@st.composite
def problems(draw: st.DrawFn) -> dict[str, Any]:
    B, T, L, S = (draw(st.integers(1, high)) for high in (3, 14, 9, 80))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    palette = torch.tensor(draw(st.lists(st.sampled_from(PALETTE), min_size=1, max_size=8)))

    def scores(*shape: int) -> Tensor:
        return palette[torch.randint(len(palette), shape, generator=generator)].to(draw(st.sampled_from(SCORE_DTYPES)))

    lengths = None
    if draw(st.booleans()):
        values = st.integers(-3, S + 3) | st.sampled_from([-(2**31), 2**31 - 1])
        dtype = draw(st.sampled_from([torch.int32, torch.int64]))
        lengths = torch.tensor(draw(st.lists(values, min_size=B, max_size=B)), dtype=dtype)
    return {
        "rank": scores(B, L),
        "logits": scores(B, T, L),
        "S": S,
        "N": draw(st.integers(1, L)),
        "W": draw(st.integers(1, S)),
        "suppress": draw(st.sampled_from(SUPPRESS_MODES)),
        "lengths": lengths,
    }


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problems())
def test_every_implementation_obeys_the_rules(problem: dict[str, Any]) -> None:
    classes, starts, peaks = naive(**problem)
    S, N, W = problem["S"], problem["N"], problem["W"]
    wave = torch.arange(S, dtype=torch.float32) + 1000 * torch.arange(len(classes))[:, None]
    for impl in ("reference", "auto"):
        crops = select_crops(
            problem["rank"],
            problem["logits"],
            wave,
            num_crops=N,
            crop_samples=W,
            suppress=problem["suppress"],
            lengths=problem["lengths"],
            impl=impl,
        )
        assert crops.classes.tolist() == classes, impl
        assert crops.starts.tolist() == starts, impl
        torch.testing.assert_close(
            crops.peaks.double(), torch.tensor(peaks, dtype=torch.float64), rtol=0, atol=PEAK_TOLERANCE, equal_nan=True
        )
        expected = [[wave[b, s : s + W].tolist() for s in row] for b, row in enumerate(starts)]
        assert crops.audio.tolist() == expected, impl


def test_float_modes_of_the_caller_do_not_change_the_order() -> None:
    """Denormals are ordered as the numbers they are where they are flushed to zero, too."""
    need_fused()
    logits = torch.tensor([0.0, 1e-40, -1e-40, 2e-40]).view(1, 4, 1)
    if not torch.set_flush_denormal(True):
        pytest.skip("this CPU cannot flush denormals")
    try:
        crops = select_crops(torch.zeros(1, 1), logits, torch.arange(4.0)[None], num_crops=1, crop_samples=1)
    finally:
        torch.set_flush_denormal(False)
    assert crops.starts.tolist() == [[3]]


@pytest.mark.parametrize("impl", ["reference", "auto"])
def test_products_of_samples_and_frames_pass_31_bits(impl: Any) -> None:
    S, T, W = 2_000_000, 4096, 6  # S * T = 8.2e9
    logits = torch.zeros(2, T, 2)
    logits[:, T - 1, 0] = 1.0
    logits[:, T // 2 + 1, 1] = 1.0
    rank = torch.tensor([[1.0, 0.0]]).expand(2, 2)
    wave = torch.arange(S, dtype=torch.int32).to(torch.int16).expand(2, S)
    lengths = torch.tensor([S, S - 1000])
    for suppress in SUPPRESS_MODES:
        crops = select_crops(
            rank, logits, wave, num_crops=2, crop_samples=W, lengths=lengths, suppress=suppress, impl=impl
        )
        last, half = S * (T - 1) // T - 3, S * (T // 2 + 1) // T - 3
        # 1000 samples are 2.05 frames: of the second clip frames 4094 and 4095 are not searched.
        assert crops.starts.tolist() == [[last, half], [0, half]]


def test_peaks_are_within_a_millionth_of_float64(device: str) -> None:
    x = torch.cat([torch.linspace(-120, 120, 4001), torch.tensor([1e-40, -0.0, INF, -INF])]).to(device)
    crops = select_crops(
        torch.zeros(1, len(x), device=device),
        x.view(1, 1, -1),
        torch.zeros(1, 1, device=device),
        num_crops=min(len(x), 4096),
        crop_samples=1,
    )
    torch.testing.assert_close(crops.peaks[0].double(), x.double().sigmoid(), rtol=0, atol=PEAK_TOLERANCE)


def test_saturated_probabilities_do_not_tie(device: str) -> None:
    """In float32 sigmoid(17) and sigmoid(40) are both 1; the later, larger logit is the peak."""
    logits = torch.tensor([0.0, 17.0, 18.0, 40.0, 30.0], device=device).view(1, 5, 1)
    wave = torch.arange(5.0, device=device)[None]
    crops = select_crops(torch.zeros(1, 1, device=device), logits, wave, num_crops=1, crop_samples=1)
    assert crops.starts.tolist() == [[3]]


@pytest.mark.parametrize("suppress", SUPPRESS_MODES)
def test_padding_is_not_heard(suppress: Any, device: str) -> None:
    """A clip alone and the same clip padded, with its length given, have the same crops where frames match."""
    rank, logits, wave = crop_inputs(3, 24, 12, 3000, device=device)
    length, frames = 1500, 12
    options: dict[str, Any] = {"num_crops": 4, "crop_samples": 251, "suppress": suppress}
    alone = select_crops(rank, logits[:, :frames].contiguous(), wave[:, :length].contiguous(), **options)
    logits[:, frames:], wave[:, length:] = 100.0, NAN
    assert_same_crops(
        select_crops(rank, logits, wave, lengths=torch.full((3,), length, device=device), **options), alone
    )


def test_clips_do_not_know_of_each_other(device: str) -> None:
    inputs = crop_inputs(6, 31, 20, 3000, special=True, device=device)
    order = torch.tensor([3, 5, 0, 1, 4, 2], device=device)
    for suppress in SUPPRESS_MODES:
        options: dict[str, Any] = {"crop_samples": 700, "suppress": suppress}
        assert_same_crops(
            select_crops(*(x[order] for x in inputs), **options),
            Crops(*(x[order] for x in select_crops(*inputs, **options))),
        )


def test_out_is_written_and_returned(device: str) -> None:
    inputs = crop_inputs(3, 31, 20, 3000, device=device)
    for impl in ("auto", "reference"):
        buffer = torch.full((3 * 5 * 700 + 20,), 7.0, device=device)
        out = buffer[10:-10].view(3, 5, 700)
        for suppress in SUPPRESS_MODES:
            out.fill_(NAN)
            crops = select_crops(*inputs, crop_samples=700, suppress=suppress, out=out, impl=impl)
            assert crops.audio is out
            assert_same_crops(crops, select_crops(*inputs, crop_samples=700, suppress=suppress, impl="reference"))
        assert (buffer[:10] == 7).all()
        assert (buffer[-10:] == 7).all()


def test_out_may_lie_beside_the_wave_in_one_storage(device: str) -> None:
    rank, logits, wave = crop_inputs(2, 31, 20, 300, device=device)
    arena = torch.empty(2 * 300 + 2 * 5 * 70, device=device)
    inside = arena[:600].view(2, 300).copy_(wave)
    crops = select_crops(rank, logits, inside, crop_samples=70, out=arena[600:].view(2, 5, 70))
    assert_same_crops(crops, select_crops(rank, logits, wave, crop_samples=70))
