"""select_crops on CUDA and ROCm devices: one launch forward, one launch backward.

A program ranks the classes of one clip, finds the peak of one crop and copies one of the `parts` of that crop, so the
selection is repeated, never handed over between programs. With b_w, b_a and b_r bytes in a sample of the wave, in one
of the audio and in a rank score, and 32 in a sector, of which a frame logit takes one to itself, these bytes move::

    forward    B * N * W * (b_w * q + b_a),   q = 16 / 15, of int16 waves 17 / 15
               + B * N * parts * (L * b_r + T * columns * 32),   columns = (N + 1) / 2 where crops suppress, else 1
    backward   B * S * b_a + B * N * W * b_a * 16 / 15

`_parts` gives a crop as many programs as keep the second line, the selection, under a tenth of the crop.

The copy. Crops start at any sample, but 128-bit accesses must be aligned. A tile is [ROWS, 32, WORDS]: in each row the
32 lanes of a warp load 31 aligned granules of 16 bytes (of 8 where int16 doubles on its way), every lane takes the
words that it lacks from the lane after it, and 30 lanes store a granule each. 30, because 480 bytes are the most that
the lanes can finish without another row and still are whole sectors of 32 bytes; that costs 16 sectors touched for 15
needed (17 of int16), and no shared memory for the exchange. At most four lane exchanges shift a granule by any phase,
so the phase is a run-time number and nothing is compiled anew for it. ROWS = 16 on 4 warps keeps 4 granules of a thread
in flight: 8 KiB a program, 4 of int16; with the fewest programs, the paper's batch under suppression, 19 and 10 KiB a
streaming multiprocessor of an H100, where bandwidth times a latency of 0.4 us asks for 10.

Sectors, warps of 32 and the rule of alignment are NVIDIA's, for whose GPUs the sizes are chosen. On AMD's a wave of 64
takes two rows and cache lines are longer: the result is the same, the bytes moved have not been looked into.
"""

# mypy: allow-untyped-defs
# Kernels are written in Triton's language, whose values have no Python types; the launchers below are typed.

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS = 16
MAX_PARTS = 8
MIN_BLOCK = 256  # an element a thread on AMD's waves of 64, too: with fewer, warps repeat each other's loads

NEVER_KEY = tl.constexpr(-(2**31))  # NaN, and frames that may not be searched
ZERO_KEY = tl.constexpr(-0x7F800000)  # minus infinity, which is probability zero
INFINITY_BITS = tl.constexpr(0x7F800000)
LAST_INDEX = tl.constexpr(4095)  # L and T are at most 4096
FIRST_RANK = tl.constexpr(2**63 - 1)
LAST_RANK = tl.constexpr(-(2**63))
INT16_SCALE = tl.constexpr(1.0 / 32767.0)


@triton.jit
def _rank(scores, index, searched, otherwise):
    """int64 that sort as the scores do, equal scores by falling index; `otherwise` is the key where not searched.

    Integers, because a float maximum loses NaN or keeps it by the order of the lanes.
    """
    bits = scores.to(tl.float32).to(tl.int32, bitcast=True)
    size = bits & 0x7FFFFFFF
    key = tl.where(size > INFINITY_BITS, NEVER_KEY, tl.where(bits < 0, -size, size))  # -0.0 and 0.0 are both 0
    return (tl.where(searched, key, otherwise).to(tl.int64) << 32) | (LAST_INDEX - index)


@triton.jit
def _index(rank):
    return LAST_INDEX - (rank & LAST_INDEX)


@triton.jit
def _next(ranks, previous):
    """The highest rank below `previous`: ranks are distinct, so none needs to be struck out."""
    return tl.max(tl.where(ranks < previous, ranks, LAST_RANK), axis=0)


@triton.jit
def _peak(frame_ptrs, t, valid, spent, SUPPRESS: tl.constexpr):
    """Peak frame of a class, int64."""
    searched = valid & (spent == 0)
    logits = tl.load(frame_ptrs, mask=searched, other=0)
    otherwise = tl.where(valid, ZERO_KEY, NEVER_KEY) if SUPPRESS == "released" else NEVER_KEY
    return _index(tl.max(_rank(logits, t, searched, otherwise), axis=0))


@triton.jit
def _start(centre, wanted, last_start):
    return tl.minimum(tl.maximum(centre - wanted // 2, 0), last_start)


@triton.jit
def _spent(centre, m, frames, last_start, samples, wanted, T, SUPPRESS: tl.constexpr):
    """The frames [low, high) that a crop around frame m, sample `centre`, takes away from later crops."""
    if SUPPRESS == "crop":  # start <= floor(samples * t / T) < start + wanted, solved for t
        start = _start(centre, wanted, last_start)
        low = (start * T + samples - 1) // samples
        high = ((start + wanted) * T + samples - 1) // samples
    else:
        quarter = wanted * T // samples // 4
        right = centre + wanted // 2 >= last_start + wanted
        left = centre - wanted // 2 < 0
        # quarter == 0 at the right edge: the released program's slice [-0:] is the whole map.
        low = tl.where(right, tl.where(quarter > 0, frames - 2 * quarter, 0), tl.where(left, 0, m - quarter))
        high = tl.where(right, frames, tl.where(left, 2 * quarter, m + quarter))
    return low.to(tl.int32), high.to(tl.int32)


@triton.jit
def _sigmoid(x):
    """float32 sigmoid of a scalar. The argument of exp2 is reduced exactly: a plain exp is 50 ulp off near |x| = 75."""
    size = tl.minimum(tl.where(x == x, tl.abs(x), 0.0), 104.0)  # exp(-104) rounds to 0
    power = tl.floor(size * 1.4426950408889634 + 0.5)
    # ln 2 in two parts; power * 355 / 512 has no more than 17 bits, so the first difference is exact, fused or not.
    rest = (size - power * 0.693359375) + power * 2.12194440e-4
    half = (power * 0.5).to(tl.int32)  # 2**-power in two factors, which stay normal
    first = ((127 - half) << 23).to(tl.float32, bitcast=True)
    second = ((127 - (power.to(tl.int32) - half)) << 23).to(tl.float32, bitcast=True)
    small = tl.exp2(rest * -1.4426950408889634) * first * second  # exp(-|x|)
    y = tl.math.div_rn(tl.where(x < 0, small, 1.0), 1.0 + small)
    return tl.where(x == x, y, x)


@triton.jit
def _lanes(ROWS: tl.constexpr):
    """Granule [ROWS, 32] of each lane, and the lane itself; rows overlap by two granules."""
    lane = tl.broadcast_to(tl.arange(0, 32)[None, :], (ROWS, 32))
    return tl.arange(0, ROWS)[:, None] * 30 + lane, lane


@triton.jit
def _after(low_word, high_word):
    """The word that starts in the middle of two."""
    return ((low_word >> 16) & 0xFFFF) | (high_word << 16)


@triton.jit
def _read_part(sample_ptr, first, word, low, high):
    """Words of the granule that begins at sample `first`, read one by one where they lie in [low, high), else 0."""
    SAMPLES: tl.constexpr = 32 // sample_ptr.dtype.element_ty.primitive_bitwidth  # in a word
    i = first + word * SAMPLES
    words = tl.load(sample_ptr + i, mask=(i >= low) & (i < high), other=0).to(tl.int32)
    if SAMPLES == 2:
        i += 1
        upper = tl.load(sample_ptr + i, mask=(i >= low) & (i < high), other=0).to(tl.int32)
        words = (words & 0xFFFF) | (upper << 16)
    return words


@triton.jit
def _read_words(row_ptr, row_samples, first, begin, end, ROWS: tl.constexpr, WORDS: tl.constexpr):
    """Words [ROWS, 32, WORDS] of the samples from `first` on, of which [begin, end) are wanted.

    Reads whole granules where they lie inside the row, single samples at its ends, nothing outside; samples outside
    the row are 0, and those outside [begin, end) may be.
    """
    SAMPLE_BYTES: tl.constexpr = row_ptr.dtype.element_ty.primitive_bitwidth // 8
    VEC: tl.constexpr = 4 * WORDS // SAMPLE_BYTES
    TILE: tl.constexpr = (ROWS * 30 + 2) * VEC
    phase = (((row_ptr + first).to(tl.int64) // SAMPLE_BYTES) % VEC).to(tl.int32)
    base = first - phase
    sample_ptr = row_ptr + base
    word_ptr = tl.multiple_of(sample_ptr.to(tl.pointer_type(tl.int32)), 4 * WORDS)
    # From the base: [low, high) is [begin, end) widened to whole granules and cut to the row.
    low = tl.maximum(tl.minimum(tl.maximum(begin - base, 0), TILE) // VEC * VEC, -base).to(tl.int32)
    high = (tl.minimum(tl.maximum(end - base, 0), TILE) + (VEC - 1)) // VEC * VEC
    high = tl.minimum(high, tl.maximum(row_samples - base, 0)).to(tl.int32)

    granule, lane = _lanes(ROWS)
    whole = (granule >= (low + (VEC - 1)) // VEC) & (granule < high // VEC) & (lane < 31)
    word = tl.arange(0, WORDS)[None, None, :]
    words = tl.load(word_ptr + (granule[:, :, None] * WORDS + word), mask=whole[:, :, None], other=0)
    if low % VEC != 0:  # the row begins inside this granule
        part = _read_part(sample_ptr, low // VEC * VEC, word, low, high)
        words = tl.where((granule == low // VEC)[:, :, None], part, words)
    if high % VEC != 0:  # the row ends inside this granule
        part = _read_part(sample_ptr, high // VEC * VEC, word, low, high)
        words = tl.where((granule == high // VEC)[:, :, None], part, words)

    following = tl.minimum(lane + 1, 31)
    shift = phase * SAMPLE_BYTES // 4
    if WORDS == 4:
        even, odd = tl.split(tl.reshape(words, (ROWS, 32, 2, 2)))
        w0, w2 = tl.split(even)
        w1, w3 = tl.split(odd)
        w4, w5 = tl.gather(w0, following, 1), tl.gather(w1, following, 1)
        w6, w7 = tl.gather(w2, following, 1), tl.gather(w3, following, 1)
        if shift >= 2:
            w0, w1, w2, w3, w4, w5 = w2, w3, w4, w5, w6, w7
    else:
        w0, w1 = tl.split(words)
        w2, w3 = tl.gather(w0, following, 1), tl.gather(w1, following, 1)
        w4, w5 = w3, w3
    if shift % 2 == 1:
        w0, w1, w2, w3, w4 = w1, w2, w3, w4, w5
    if SAMPLE_BYTES == 2:
        halfway = phase % 2 == 1
        w0, w1 = tl.where(halfway, _after(w0, w1), w0), tl.where(halfway, _after(w1, w2), w1)
        w2, w3 = tl.where(halfway, _after(w2, w3), w2), tl.where(halfway, _after(w3, w4), w3)
    return tl.reshape(tl.join(tl.join(w0, w2), tl.join(w1, w3)), (ROWS, 32, 4)) if WORDS == 4 else tl.join(w0, w1)


@triton.jit
def _write_words(row_ptr, first, begin, end, words, ROWS: tl.constexpr):
    """Store words [ROWS, 32, 4] as the samples from `first` on that lie in [begin, end), each byte once.

    The address of sample `first` is a multiple of 16.
    """
    SAMPLE_BYTES: tl.constexpr = row_ptr.dtype.element_ty.primitive_bitwidth // 8
    VEC: tl.constexpr = 16 // SAMPLE_BYTES
    sample_ptr = row_ptr + first
    word_ptr = tl.multiple_of(sample_ptr.to(tl.pointer_type(tl.int32)), 16)
    low = tl.maximum(begin - first, 0).to(tl.int32)
    high = tl.minimum(tl.maximum(end - first, 0), ROWS * 30 * VEC).to(tl.int32)

    granule, lane = _lanes(ROWS)
    whole = (granule >= (low + (VEC - 1)) // VEC) & (granule < high // VEC) & (lane < 30)
    word = tl.arange(0, 4)[None, None, :]
    tl.store(word_ptr + (granule[:, :, None] * 4 + word), words, mask=whole[:, :, None])
    for end in tl.static_range(2):  # [begin, end) begins or ends inside a granule of this tile
        edge = high if end else low
        if (edge % VEC != 0) & ((end == 0) | (low // VEC != high // VEC) | (low % VEC == 0)):
            mine = ((granule == edge // VEC) & (lane < 30))[:, :, None]
            part = tl.sum(tl.sum(tl.where(mine, words, 0), axis=0), axis=0)
            i = edge // VEC * VEC + tl.arange(0, 4) * (4 // SAMPLE_BYTES)
            if SAMPLE_BYTES == 4:
                tl.store(sample_ptr + i, part, mask=(i >= low) & (i < high))
            else:
                tl.store(sample_ptr + i, part.to(tl.int16), mask=(i >= low) & (i < high))
                i += 1
                tl.store(sample_ptr + i, (part >> 16).to(tl.int16), mask=(i >= low) & (i < high))


# One compilation for all sizes, strides and alignments of a dtype and mode; dense rank scores are a case apart.
@triton.jit(
    do_not_specialize=[
        *("rank_stride_b", "frame_stride_b", "frame_stride_t", "frame_stride_l", "wave_stride_b", "lengths_stride_b"),
        *("T", "L", "S", "N", "W", "parts", "part_rows"),
    ],
    do_not_specialize_on_alignment=[
        *("rank_ptr", "frame_ptr", "wave_ptr", "lengths_ptr"),
        *("audio_ptr", "classes_ptr", "starts_ptr", "peaks_ptr"),
    ],
)
def select_crops_fwd_kernel(
    rank_ptr,  # [B, L]
    frame_ptr,  # [B, T, L]
    wave_ptr,  # [B, S]
    lengths_ptr,  # [B] int, in samples, or None
    audio_ptr,  # [B, N, W]
    classes_ptr,  # [B, N] int64
    starts_ptr,  # [B, N] int64, in samples
    peaks_ptr,  # [B, N] float32
    rank_stride_b,
    rank_stride_l,
    frame_stride_b,
    frame_stride_t,
    frame_stride_l,
    wave_stride_b,
    lengths_stride_b,
    T,
    L,
    S,
    N,
    W,
    parts,  # programs a crop
    part_rows,  # rows of 480 bytes a program
    SUPPRESS: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_T: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Select crop n of clip b and copy part of it: ``audio[b, n, i] = wave[b, starts[b, n] + i]``."""
    program = tl.program_id(0)
    crop = program // parts
    part = program % parts
    n = crop % N
    b = (crop // N).to(tl.int64)  # b * stride passes 2**31 at 6711 clips of 10 s
    samples = tl.cast(S, tl.int64)  # S * t passes 2**31 at 4096 frames of 17 s
    wanted = tl.cast(W, tl.int64)
    length = samples
    if lengths_ptr is not None:
        length = tl.load(lengths_ptr + b * lengths_stride_b).to(tl.int64)
        length = tl.minimum(tl.maximum(length, 0), samples)
    last_start = tl.maximum(length - wanted, 0)
    frames = ((T * length + samples - 1) // samples).to(tl.int32)

    c = tl.arange(0, BLOCK_L)
    scores = tl.load(rank_ptr + b * rank_stride_b + c.to(tl.int64) * rank_stride_l, mask=c < L, other=0)
    ranks = _rank(scores, c, c < L, NEVER_KEY)
    t = tl.arange(0, BLOCK_T)
    logits_ptr = frame_ptr + b * frame_stride_b
    frame_ptrs = logits_ptr + t.to(tl.int64) * frame_stride_t
    rank = _next(ranks, FIRST_RANK)
    spent = t < 0
    if SUPPRESS != "none":
        for _ in range(n):
            m = _peak(frame_ptrs + _index(rank) * frame_stride_l, t, t < frames, spent, SUPPRESS)
            low, high = _spent(samples * m // T, m, frames, last_start, samples, wanted, T, SUPPRESS)
            spent |= (t >= low) & (t < high)
            rank = _next(ranks, rank)
    else:
        for _ in range(n):
            rank = _next(ranks, rank)
    class_ = _index(rank)
    m = _peak(frame_ptrs + class_ * frame_stride_l, t, t < frames, spent, SUPPRESS)
    start = _start(samples * m // T, wanted, last_start)

    row = crop.to(tl.int64)  # row * W passes 2**31 at B = 4474, N = 5, 3 s
    if part == 0:
        peak = tl.load(logits_ptr + m * frame_stride_t + class_ * frame_stride_l).to(tl.float32)
        tl.store(classes_ptr + row, class_)
        tl.store(starts_ptr + row, start)
        tl.store(peaks_ptr + row, _sigmoid(peak))

    WIDEN: tl.constexpr = wave_ptr.dtype.element_ty == tl.int16  # int16 in, float32 out
    IN: tl.constexpr = tl.int16 if wave_ptr.dtype.element_ty.primitive_bitwidth == 16 else tl.int32
    OUT: tl.constexpr = tl.int32 if WIDEN else IN
    OUT_BYTES: tl.constexpr = OUT.primitive_bitwidth // 8
    wave_row = (wave_ptr + b * wave_stride_b).to(tl.pointer_type(IN))
    audio_row = (audio_ptr + row * wanted).to(tl.pointer_type(OUT))
    # Rows of 480 bytes begin at the sector that holds the crop's first sample, so stores fill whole sectors.
    origin = part.to(tl.int64) * part_rows * (480 // OUT_BYTES) - (audio_row.to(tl.int64) % 32) // OUT_BYTES
    stop = tl.minimum(origin + tl.cast(part_rows, tl.int64) * (480 // OUT_BYTES), wanted)
    rows = ((stop - origin) * OUT_BYTES + 479) // 480
    for tile in range(0, rows, ROWS):
        first = origin + tile * (480 // OUT_BYTES)
        words = _read_words(
            wave_row, samples, start + first, start + tl.maximum(first, 0), start + stop, ROWS, 2 if WIDEN else 4
        )
        if WIDEN:
            low_half = ((words << 16) >> 16).to(tl.float32) * INT16_SCALE
            high_half = (words >> 16).to(tl.float32) * INT16_SCALE
            words = tl.reshape(tl.join(low_half, high_half), (ROWS, 32, 4)).to(tl.int32, bitcast=True)
        _write_words(audio_row, first, 0, stop, words, ROWS)


@triton.jit(
    do_not_specialize=["grad_stride_b", "grad_stride_n", "S", "N", "W", "tiles"],
    do_not_specialize_on_alignment=["grad_ptr", "starts_ptr", "grad_wave_ptr"],
)
def select_crops_bwd_kernel(
    grad_ptr,  # [B, N, W]
    starts_ptr,  # [B, N] int64, in samples
    grad_wave_ptr,  # [B, S]
    grad_stride_b,
    grad_stride_n,
    S,
    N,
    W,
    tiles,  # programs a clip
    ROWS: tl.constexpr,
):
    """Add up one tile of a clip, in the order of n: ``grad_wave[b, s] = sum_n grad[b, n, s - starts[b, n]]``."""
    program = tl.program_id(0)
    b = (program // tiles).to(tl.int64)
    dtype: tl.constexpr = grad_ptr.dtype.element_ty
    SAMPLE_BYTES: tl.constexpr = dtype.primitive_bitwidth // 8
    bits: tl.constexpr = tl.int16 if SAMPLE_BYTES == 2 else tl.int32
    samples = tl.cast(S, tl.int64)
    wanted = tl.cast(W, tl.int64)
    wave_row = (grad_wave_ptr + b * samples).to(tl.pointer_type(bits))
    first = (program % tiles).to(tl.int64) * ROWS * (480 // SAMPLE_BYTES)
    first -= (wave_row.to(tl.int64) % 32) // SAMPLE_BYTES  # tiles begin with a sector
    low_sum = tl.zeros((ROWS, 32, 4), tl.float32)  # of every sample, or of the lower half of every word
    high_sum = tl.zeros((ROWS, 32, 4), tl.float32)
    for n in range(N):
        start = tl.load(starts_ptr + b * N + n)
        if (start < first + ROWS * (480 // SAMPLE_BYTES)) & (start + wanted > first):
            row = (grad_ptr + b * grad_stride_b + tl.cast(n, tl.int64) * grad_stride_n).to(tl.pointer_type(bits))
            words = _read_words(row, wanted, first - start, 0, wanted, ROWS, 4)
            if SAMPLE_BYTES == 4:
                low_sum += words.to(tl.float32, bitcast=True)
            else:
                low_sum += words.to(tl.int16).to(dtype, bitcast=True).to(tl.float32)
                high_sum += (words >> 16).to(tl.int16).to(dtype, bitcast=True).to(tl.float32)
    if SAMPLE_BYTES == 4:
        words = low_sum.to(tl.int32, bitcast=True)
    else:
        words = _half_bits(low_sum, dtype) | (_half_bits(high_sum, dtype) << 16)
    _write_words(wave_row, first, 0, samples, words, ROWS)


@triton.jit
def _half_bits(x, dtype: tl.constexpr):
    """Bits of float32 rounded to nearest even in `dtype`, in the lower half of an int32."""
    if dtype == tl.bfloat16:  # by hand: the interpreter truncates
        bits = x.to(tl.int32, bitcast=True)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        half = tl.where((bits & 0x7FFFFFFF) > INFINITY_BITS, 0x7FC0, rounded)
    else:
        half = x.to(dtype).to(tl.int16, bitcast=True).to(tl.int32)
    return half & 0xFFFF


def _options(block_l: int, block_t: int) -> dict[str, Any]:
    """4 warps, and 8 where the selection holds more than 8 scores or 4 frames a thread."""
    options: dict[str, Any] = {"num_warps": 4, "enable_fp_fusion": True}
    if block_l > 1024 or block_t > 512:
        options["num_warps"] = 8
        if torch.version.hip is None:  # left alone, ptxas spills a few registers to fit one more program on an SM
            options["maxnreg"] = 255
    return options


def _parts(
    rank_scores: Tensor, frame_logits: Tensor, wave: Tensor, num_crops: int, crop_samples: int, mode: str
) -> int:
    """Programs a crop, such that the sectors their selection reads stay under a tenth of the crop's bytes.

    For the paper's crops and float32 that is 7, and 4 where crops suppress each other; for 2-byte samples 3 and 2.
    """
    _, T, L = frame_logits.shape
    step = rank_scores.element_size() if rank_scores.stride(1) == 1 else 32
    columns = 1.0 if mode == "none" else (num_crops + 1) / 2
    selection = 1.25 * L * step + 32 * T * columns + 256  # a warp's 32 scores touch 5 sectors where they fill 4
    tiles = triton.cdiv(crop_samples * wave.element_size(), 480 * ROWS)
    return max(1, min(MAX_PARTS, tiles, int(crop_samples * wave.element_size() / (10 * selection))))


def select_crops_fwd(
    rank_scores: Tensor,
    frame_logits: Tensor,
    wave: Tensor,
    lengths: Tensor | None = None,
    num_crops: int = 5,
    crop_samples: int = 96_000,
    suppress: str = "none",
    out: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Audio [B, N, W], classes, starts, peaks, as `reference.select_crops`; arguments as `api` has checked them."""
    B, T, L = frame_logits.shape
    S, N, W = wave.shape[1], num_crops, crop_samples
    audio_dtype = torch.float32 if wave.dtype == torch.int16 else wave.dtype
    audio = torch.empty(B, N, W, dtype=audio_dtype, device=wave.device) if out is None else out
    classes = torch.empty(B, N, dtype=torch.int64, device=wave.device)
    starts = torch.empty(B, N, dtype=torch.int64, device=wave.device)
    peaks = torch.empty(B, N, dtype=torch.float32, device=wave.device)
    if B == 0:
        return audio, classes, starts, peaks
    parts = _parts(rank_scores, frame_logits, wave, N, W, suppress)
    block_l = max(MIN_BLOCK, triton.next_power_of_2(L))
    block_t = max(MIN_BLOCK, triton.next_power_of_2(T))
    rows = triton.cdiv(W * audio.element_size() + 31, 480)  # 31: where the crop's first sector begins before it
    with torch.cuda.device_of(wave):
        select_crops_fwd_kernel[(B * N * parts,)](
            *(rank_scores, frame_logits, wave, lengths, audio, classes, starts, peaks),
            *(*rank_scores.stride(), *frame_logits.stride(), wave.stride(0)),
            0 if lengths is None else lengths.stride(0),
            *(T, L, S, N, W, parts, triton.cdiv(rows, parts)),
            SUPPRESS=suppress,
            BLOCK_L=block_l,
            BLOCK_T=block_t,
            ROWS=ROWS,
            **_options(block_l, block_t),
        )
    return audio, classes, starts, peaks


def select_crops_bwd(grad_audio: Tensor, starts: Tensor, wave_samples: int) -> Tensor:
    """Gradient [B, S] of the wave in the dtype of `grad_audio` [B, N, W]; as `reference.select_crops_backward`."""
    B, N, W = grad_audio.shape
    grad_wave = torch.empty(B, wave_samples, dtype=grad_audio.dtype, device=grad_audio.device)
    if B == 0:
        return grad_wave
    if W > 1 and grad_audio.stride(2) != 1:  # an expanded gradient, as sum() gives
        grad_audio = grad_audio.contiguous()
    tiles = triton.cdiv(wave_samples * grad_wave.element_size() + 31, 480 * ROWS)
    with torch.cuda.device_of(grad_audio):
        select_crops_bwd_kernel[(B * tiles,)](
            *(grad_audio, starts.contiguous(), grad_wave, *grad_audio.stride()[:2], wave_samples, N, W, tiles),
            ROWS=ROWS,
            num_warps=4,
            enable_fp_fusion=True,
        )
    return grad_wave
