"""select_crops on CUDA and ROCm devices: one launch forward, one launch backward.

A program ranks the classes of one clip, finds the peak of one crop and copies one of the `parts` of that crop. The
selection is repeated in every program, never handed over. For crop n it waits for two loads, one after the other (rank
scores, frames of a class), and for n + 1 maxima over classes and one over frames, of float32 scores twice as many: the
maximum, then the lowest index that has it. Where crops suppress each other, every earlier crop adds its maximum over
frames; its frames are loaded a class ahead.

The copy goes by tiles that begin with a sector (32 bytes) of the output. A tile that lies inside its crop is copied
without tests: 4-byte samples one a lane, 2-byte samples in granules of 16 bytes a lane, which the lanes of a warp shift
into place. The other tiles, one or two a crop, are copied one sample a lane, with tests. Why, and what was measured:
README.md in this folder.
"""

# mypy: allow-untyped-defs
# Kernels are written in Triton's language, whose values have no Python types; the launchers below are typed.

import functools
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

# Keys in the order of the scores leave their low 12 bits free where scores have 2 bytes: the index goes there.
STRUCK_KEY = tl.constexpr(-(2**31))  # no class, or one that is taken
NEVER_KEY = tl.constexpr(-0x7F900000)  # NaN, and frames that may not be searched
ZERO_KEY = tl.constexpr(-0x7F800000)  # minus infinity, which is probability zero
INFINITY_BITS = tl.constexpr(0x7F800000)
LAST_INDEX = tl.constexpr(4095)  # L and T are at most 4096
INT16_SCALE = tl.constexpr(1.0 / 32767.0)


@triton.jit
def _quotient(x, divider, BIG: tl.constexpr):
    """``x // d`` of x >= 0: by `_divider(d)` of an int32 x, by d itself of an int64 x."""
    if BIG:
        return x // divider
    return ((x.to(tl.uint32).to(tl.int64) * (divider & 0xFFFFFFFF)) >> (divider >> 32)).to(tl.int32)


@triton.jit
def _keys(scores, index, searched, otherwise):
    """int32 in the order of the scores; `otherwise` where not searched. Of 2-byte scores no two are equal."""
    bits = scores.to(tl.float32).to(tl.int32, bitcast=True)
    size = bits & 0x7FFFFFFF
    key = tl.where(size > INFINITY_BITS, NEVER_KEY, tl.where(bits < 0, -size, size))  # -0.0 and 0.0 are both 0
    key = tl.where(searched, key, otherwise)
    return key | (LAST_INDEX - index) if scores.dtype.primitive_bitwidth == 16 else key


@triton.jit
def _best(keys, index, UNIQUE: tl.constexpr):
    """Index of the highest key, the lowest of equals."""
    top = tl.max(keys, axis=0)
    if UNIQUE:
        return LAST_INDEX - (top & LAST_INDEX)
    return tl.min(tl.where(keys == top, index, LAST_INDEX), axis=0)


@triton.jit
def _peak(logits, t, valid, spent, SUPPRESS: tl.constexpr):
    """Peak frame of a class."""
    otherwise = tl.where(valid, ZERO_KEY, NEVER_KEY) if SUPPRESS == "released" else NEVER_KEY
    searched = valid if SUPPRESS == "none" else valid & (spent == 0)
    return _best(_keys(logits, t, searched, otherwise), t, logits.dtype.primitive_bitwidth == 16)


@triton.jit
def _start(centre, wanted, last_start):
    return tl.minimum(tl.maximum(centre - wanted // 2, 0), last_start)


@triton.jit
def _spent(centre, m, frames, last_start, samples, wanted, quarter, T, by_S, SUPPRESS: tl.constexpr, BIG: tl.constexpr):
    """The frames [low, high) that a crop around frame m, sample `centre`, takes away from later crops."""
    if SUPPRESS == "crop":  # start <= floor(samples * t / T) < start + wanted, solved for t
        first = _start(centre, wanted, last_start) * T + samples - 1
        return _quotient(first, by_S, BIG).to(tl.int32), _quotient(first + wanted * T, by_S, BIG).to(tl.int32)
    right = centre + wanted // 2 >= last_start + wanted
    left = centre - wanted // 2 < 0
    # quarter == 0 at the right edge: the released program's slice [-0:] is the whole map.
    low = tl.where(right, tl.where(quarter > 0, frames - 2 * quarter, 0), tl.where(left, 0, m - quarter))
    high = tl.where(right, frames, tl.where(left, 2 * quarter, m + quarter))
    return low, high


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
    y = tl.where(x < 0, small, 1.0) / (1.0 + small)
    return tl.where(x == x, y, x)


@triton.jit
def _after(low_word, high_word):
    """The word that starts in the middle of two."""
    return ((low_word >> 16) & 0xFFFF) | (high_word << 16)


@triton.jit
def _lanes(ROWS: tl.constexpr):
    """Granule [ROWS, 32] of each lane, and the lane: rows overlap by two, since 32 lanes complete 30."""
    lane = tl.broadcast_to(tl.arange(0, 32)[None, :], (ROWS, 32))
    return tl.arange(0, ROWS)[:, None] * 30 + lane, lane


@triton.jit
def _shifted(sample_ptr, phase, ROWS: tl.constexpr, WORDS: tl.constexpr):
    """Words [ROWS, 32, WORDS] of the samples from `sample_ptr` on, which lies `phase` samples after a granule's begin.

    Reads aligned granules of 4 * WORDS bytes, 31 a row and 30 * ROWS + 1 in all; every lane takes the words that it
    lacks from the lane after it. At most four exchanges shift by any phase, so a phase asks for no compilation.
    """
    SAMPLE_BYTES: tl.constexpr = sample_ptr.dtype.element_ty.primitive_bitwidth // 8
    word_ptr = tl.multiple_of((sample_ptr - phase).to(tl.pointer_type(tl.int32)), 4 * WORDS)
    granule, lane = _lanes(ROWS)
    word = tl.arange(0, WORDS)[None, None, :]
    words = tl.load(word_ptr + (granule[:, :, None] * WORDS + word), mask=(lane < 31)[:, :, None], other=0)
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
def _scaled(samples):
    return samples.to(tl.float32) * INT16_SCALE


# One compilation for all sizes, strides and alignments of a dtype and mode; dense rank scores are a case apart.
@triton.jit(
    do_not_specialize=[
        *("rank_stride_b", "frame_stride_b", "frame_stride_t", "frame_stride_l", "wave_stride_b", "lengths_stride_b"),
        *("T", "L", "S", "N", "W", "parts", "part_samples", "quarter", "by_parts", "by_N", "by_T", "by_S"),
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
    part_samples,  # whole tiles that a program copies
    quarter,  # frames: a quarter of a crop, rounded down twice as the released program does
    by_parts,  # dividers
    by_N,
    by_T,
    by_S,
    SUPPRESS: tl.constexpr,
    BIG: tl.constexpr,  # S * (T + 1) passes 2**31
    BLOCK_L: tl.constexpr,
    BLOCK_T: tl.constexpr,
    ROWS: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Select crop n of clip b and copy part of it: ``audio[b, n, i] = wave[b, starts[b, n] + i]``."""
    INT: tl.constexpr = tl.int64 if BIG else tl.int32
    program = tl.program_id(0)
    crop = _quotient(program, by_parts, False)
    clip = _quotient(crop, by_N, False)
    n = crop - clip * N
    b = clip.to(tl.int64)  # b * stride passes 2**31 at 6711 clips of 10 s
    samples = tl.cast(S, INT)
    wanted = tl.cast(W, INT)
    if lengths_ptr is not None:
        length = tl.load(lengths_ptr + b * lengths_stride_b)
        length = tl.minimum(tl.maximum(length, 0), S).to(INT)
        frames = _quotient(T * length + samples - 1, by_S, BIG).to(tl.int32)
        last_start = tl.maximum(length - wanted, 0)
    else:
        frames = T
        last_start = samples - wanted

    # Clamped addresses, not masks: with a predicate for each, ptxas loads the scores one after the other.
    c = tl.arange(0, BLOCK_L)
    scores = tl.load(rank_ptr + b * rank_stride_b + tl.minimum(c, L - 1).to(tl.int64) * rank_stride_l)
    ranks = _keys(scores, c, c < L, STRUCK_KEY)
    UNIQUE: tl.constexpr = scores.dtype.primitive_bitwidth == 16
    t = tl.arange(0, BLOCK_T)
    valid = t < frames
    logits_ptr = frame_ptr + b * frame_stride_b
    frame_ptrs = logits_ptr + tl.minimum(t, T - 1).to(tl.int64) * frame_stride_t
    spent = t < 0
    class_ = tl.full((), -1, tl.int32)
    logits = tl.zeros((BLOCK_T,), frame_ptr.dtype.element_ty)
    for later in range(n + 1):
        ranks = tl.where(c == class_, STRUCK_KEY, ranks)
        class_ = _best(ranks, c, UNIQUE)
        if SUPPRESS != "none":
            following = tl.load(frame_ptrs + class_.to(tl.int64) * frame_stride_l)
            if later:
                m = _peak(logits, t, valid, spent, SUPPRESS)
                centre = _quotient(samples * m, by_T, BIG)
                low, high = _spent(centre, m, frames, last_start, samples, wanted, quarter, T, by_S, SUPPRESS, BIG)
                spent |= (t >= low) & (t < high)
            logits = following
    if SUPPRESS == "none":
        logits = tl.load(frame_ptrs + class_.to(tl.int64) * frame_stride_l)
    m = _peak(logits, t, valid, spent, SUPPRESS)
    start = _start(_quotient(samples * m, by_T, BIG), wanted, last_start)

    row = crop.to(tl.int64)  # row * W passes 2**31 at B = 4474, N = 5, 3 s
    part = program - crop * parts
    if part == 0:
        peak = tl.load(logits_ptr + m.to(tl.int64) * frame_stride_t + class_.to(tl.int64) * frame_stride_l)
        tl.store(classes_ptr + row, class_)
        tl.store(starts_ptr + row, start)
        tl.store(peaks_ptr + row, _sigmoid(peak.to(tl.float32)))

    WIDEN: tl.constexpr = wave_ptr.dtype.element_ty == tl.int16  # int16 in, float32 out
    IN: tl.constexpr = tl.int16 if wave_ptr.dtype.element_ty.primitive_bitwidth == 16 else tl.int32
    OUT: tl.constexpr = tl.float32 if WIDEN else IN
    OUT_BYTES: tl.constexpr = OUT.primitive_bitwidth // 8
    VEC: tl.constexpr = 16 // OUT_BYTES  # samples in a granule of the output
    TILE: tl.constexpr = ROWS * 30 * VEC if WIDE else ROWS * 128
    BLOCK: tl.constexpr = triton.next_power_of_2(TILE)
    source_ptr = (wave_ptr + b * wave_stride_b).to(tl.pointer_type(IN)) + start
    target_ptr = (audio_ptr + row * W).to(tl.pointer_type(OUT))
    # Tiles begin at the sector that holds the crop's first sample, so stores fill whole sectors.
    first = tl.cast(part, INT) * part_samples - ((target_ptr.to(tl.int64) & 31) // OUT_BYTES).to(tl.int32)
    stop = tl.minimum(first + part_samples, wanted)
    i = tl.arange(0, BLOCK)
    if WIDE:
        phase = ((source_ptr.to(tl.int64) // (IN.primitive_bitwidth // 8) + first) % VEC).to(tl.int32)
    for tile in range(first, stop, TILE):
        whole = (tile >= 0) & (tile + TILE <= stop)
        if WIDE:  # granules reach beyond the tile, but not out of the row
            whole &= (start + tile >= phase) & (start + tile + (TILE + VEC) <= samples)
        if whole:
            if WIDE:
                words = _shifted(source_ptr + tile, phase, ROWS, 2 if WIDEN else 4)
                if WIDEN:
                    words = tl.join(_scaled((words << 16) >> 16), _scaled(words >> 16))
                    words = tl.reshape(words, (ROWS, 32, 4)).to(tl.int32, bitcast=True)
                granule, lane = _lanes(ROWS)
                word_ptr = tl.multiple_of((target_ptr + tile).to(tl.pointer_type(tl.int32)), 16)
                word = tl.arange(0, 4)[None, None, :]
                tl.store(word_ptr + (granule[:, :, None] * 4 + word), words, mask=(lane < 30)[:, :, None])
            else:
                x = tl.load(source_ptr + tile + i)
                tl.store(target_ptr + tile + i, _scaled(x) if WIDEN else x)
        else:
            inside = (i >= -tile) & (i < stop - tile) & (i < TILE)
            x = tl.load(source_ptr + tl.minimum(tl.maximum(tile + i, 0), stop - 1))
            tl.store(target_ptr + tile + i, _scaled(x) if WIDEN else x, mask=inside)


@triton.jit(
    do_not_specialize=["grad_stride_b", "grad_stride_n", "S", "N", "W", "tiles", "by_tiles"],
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
    by_tiles,  # divider
    BIG: tl.constexpr,  # S passes 2**30
    ROWS: tl.constexpr,
):
    """Add up one tile of a clip, in the order of n: ``grad_wave[b, s] = sum_n grad[b, n, s - starts[b, n]]``."""
    INT: tl.constexpr = tl.int64 if BIG else tl.int32
    TILE: tl.constexpr = ROWS * 128
    program = tl.program_id(0)
    clip = _quotient(program, by_tiles, False)
    b = clip.to(tl.int64)
    wave_row = grad_wave_ptr + b * S
    dtype: tl.constexpr = grad_ptr.dtype.element_ty
    SAMPLE_BYTES: tl.constexpr = dtype.primitive_bitwidth // 8
    first = tl.cast(program - clip * tiles, INT) * TILE  # tiles begin with a sector
    first -= ((wave_row.to(tl.int64) & 31) // SAMPLE_BYTES).to(tl.int32)
    i = tl.arange(0, TILE)
    total = tl.zeros((TILE,), tl.float32)
    for n in range(N):
        begin = first - tl.load(starts_ptr + b * N + n).to(INT)
        if (begin > -TILE) & (begin < W):
            row_ptr = grad_ptr + b * grad_stride_b + tl.cast(n, tl.int64) * grad_stride_n + begin
            if (begin >= 0) & (begin + TILE <= W):
                total += tl.load(row_ptr + i).to(tl.float32)
            else:
                total += tl.load(row_ptr + i, mask=(i >= -begin) & (i < W - begin), other=0).to(tl.float32)
    inside = (i >= -first) & (i < S - first)
    if dtype == tl.bfloat16:  # by hand: the interpreter truncates
        bits = total.to(tl.int32, bitcast=True)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        half = tl.where((bits & 0x7FFFFFFF) > INFINITY_BITS, 0x7FC0, rounded).to(tl.int16)
        tl.store((wave_row + first).to(tl.pointer_type(tl.int16)) + i, half, mask=inside)
    else:
        tl.store(wave_row + first + i, total.to(dtype), mask=inside)


class Sizes(NamedTuple):
    """How a launch is cut into programs. The result does not depend on it."""

    wide: bool  # copied in granules of 16 bytes a lane, or in samples one a lane
    rows: int = 8  # of a warp in a tile, a power of 2: 480 bytes of granules, or 128 samples
    num_warps: int = 4
    registers: int = 48  # a thread may have
    parts: int = 0  # programs a crop; 0: as many as make one wave

    @property
    def programs(self) -> int:
        """Programs that fit on a multiprocessor of 65536 registers at once."""
        return min(32, 64 // self.num_warps, 65536 // (32 * self.num_warps * self.registers))


class Chosen(NamedTuple):
    """The sizes of an architecture, and the measurement that they stand on."""

    four_bytes: Sizes  # of a sample of the wave
    two_bytes: Sizes
    measured: str


ARCHITECTURES = {
    "sm_80": Chosen(Sizes(wide=False), Sizes(wide=True), "not measured"),
    "sm_90": Chosen(
        Sizes(wide=False),
        Sizes(wide=True),
        "H200, 2026-11-28, the kernel before this one, whose copy was by granules: of all sizes 8 rows, 4 warps and "
        "8 programs a crop were the fastest, for float32 and int16; this kernel: not measured",
    ),
    "sm_100": Chosen(Sizes(wide=False), Sizes(wide=True), "not measured"),
}
UNKNOWN = Chosen(Sizes(wide=False), Sizes(wide=True), "not measured")
BACKWARD = Sizes(wide=False, num_warps=8, registers=32)  # not measured


@functools.cache
def device_facts(device: torch.device) -> tuple[str, int]:
    """Architecture and multiprocessors of a device; of an H100 for the CPU, where Triton's interpreter runs."""
    if device.type != "cuda":
        return "sm_90", 132
    facts = torch.cuda.get_device_properties(device)
    name = f"sm_{facts.major}{facts.minor}" if torch.version.hip is None else facts.gcnArchName
    return name, facts.multi_processor_count


def default_sizes(wave: Tensor) -> Sizes:
    """The sizes for a wave of this dtype on this device."""
    chosen = ARCHITECTURES.get(device_facts(wave.device)[0], UNKNOWN)
    return chosen.four_bytes if wave.element_size() == 4 else chosen.two_bytes


def _parts(crops: int, tiles: int, at_once: int) -> int:
    """Programs a crop: one full wave of programs on the device, or three and more where one cannot hold all crops.

    A wave and a bit would leave most of the device idle for half of the time.
    """
    parts = at_once // crops if crops <= at_once else triton.cdiv(3 * at_once, crops)
    return max(1, min(parts, tiles))


def cut(sizes: Sizes, audio: Tensor) -> tuple[int, int]:
    """Programs a crop, and how many samples each of them copies, in whole tiles; audio [B, N, W]."""
    B, N, W = audio.shape
    sample_bytes = audio.element_size()
    tile = sizes.rows * (480 // sample_bytes if sizes.wide else 128)
    tiles = triton.cdiv(W + 31 // sample_bytes, tile)  # 31: where the crop's first sector begins before it
    parts = sizes.parts or _parts(B * N, tiles, sizes.programs * device_facts(audio.device)[1])
    return parts, triton.cdiv(tiles, parts) * tile


def _divider(divisor: int) -> int:
    """What `_quotient` divides an int32 by: a multiplier of 32 bits, and above it the shift that follows.

    With ``l = ceil(log2(d))`` and ``m = ceil(2**(31 + l) / d)``, ``x * m >> (31 + l) == x // d`` for 0 <= x < 2**31:
    Granlund and Montgomery, "Division by invariant integers using multiplication", 1994.
    """
    shift = 31 + (divisor - 1).bit_length()
    return shift << 32 | -(-(1 << shift) // divisor)


def _for_scores(sizes: Sizes, L: int, T: int) -> Sizes:
    """More warps where a thread would hold more than 8 scores or frames, with as many registers as they need."""
    num_warps = min(16, triton.next_power_of_2(max(L, T)) // 256)
    if num_warps <= sizes.num_warps:
        return sizes
    return sizes._replace(rows=sizes.rows * num_warps // sizes.num_warps, num_warps=num_warps, registers=128)


def _options(sizes: Sizes) -> dict[str, Any]:
    options: dict[str, Any] = {"num_warps": sizes.num_warps, "enable_fp_fusion": True}
    if torch.version.hip is None:  # as many programs fit as were counted on, whatever version compiles them
        options["maxnreg"] = sizes.registers
    return options


def select_crops_fwd(
    rank_scores: Tensor,
    frame_logits: Tensor,
    wave: Tensor,
    lengths: Tensor | None = None,
    num_crops: int = 5,
    crop_samples: int = 96_000,
    suppress: str = "none",
    out: Tensor | None = None,
    sizes: Sizes | None = None,
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
    sizes = _for_scores(sizes or default_sizes(wave), L, T)
    parts, part_samples = cut(sizes, audio)
    big = S * (T + 1) >= 2**31
    # A block shorter than the threads would have warps repeat each other's loads.
    threads = sizes.num_warps * (32 if torch.version.hip is None else 64)
    with torch.cuda.device_of(wave):
        select_crops_fwd_kernel[(B * N * parts,)](
            *(rank_scores, frame_logits, wave, lengths, audio, classes, starts, peaks),
            *(*rank_scores.stride(), *frame_logits.stride(), wave.stride(0)),
            0 if lengths is None else lengths.stride(0),
            *(T, L, S, N, W, parts, part_samples, W * T // S // 4),
            *(_divider(parts), _divider(N), *((T, S) if big else (_divider(T), _divider(S)))),
            SUPPRESS=suppress,
            BIG=big,
            BLOCK_L=max(threads, triton.next_power_of_2(L)),
            BLOCK_T=max(threads, triton.next_power_of_2(T)),
            ROWS=sizes.rows,
            WIDE=sizes.wide,
            **_options(sizes),
        )
    return audio, classes, starts, peaks


def select_crops_bwd(grad_audio: Tensor, starts: Tensor, wave_samples: int, sizes: Sizes | None = None) -> Tensor:
    """Gradient [B, S] of the wave in the dtype of `grad_audio` [B, N, W]; as `reference.select_crops_backward`."""
    B, N, W = grad_audio.shape
    grad_wave = torch.empty(B, wave_samples, dtype=grad_audio.dtype, device=grad_audio.device)
    if B == 0:
        return grad_wave
    if W > 1 and grad_audio.stride(2) != 1:  # an expanded gradient, as sum() gives
        grad_audio = grad_audio.contiguous()
    sizes = sizes or BACKWARD
    tiles = triton.cdiv(wave_samples + 31 // grad_wave.element_size(), 128 * sizes.rows)
    with torch.cuda.device_of(grad_audio):
        select_crops_bwd_kernel[(B * tiles,)](
            *(grad_audio, starts.contiguous(), grad_wave, *grad_audio.stride()[:2]),
            *(wave_samples, N, W, tiles, _divider(tiles)),
            BIG=wave_samples >= 2**30,
            ROWS=sizes.rows,
            **_options(sizes),
        )
    return grad_wave
