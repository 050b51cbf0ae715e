"""Batches decoded by DALI and resampled on the device."""

from collections import deque
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from nvidia.dali import Pipeline, fn, types
from torch import Tensor

from ...errors import UserError, first_line, warn
from ..recordings.audio import frames_for
from ..recordings.containers import Damaged, examine
from ..recordings.decoding import UnreadableAudio
from ..recordings.encoded import EncodedClips
from ..recordings.level import CANCELLED, FULL_SCALE, remarks_on, wrong_peak
from ..recordings.resample import can_resample, resample
from .rows import RowByRow

_MOST_CHANNELS = 2  # each clip of a batch takes the memory of the most channels
_GLANCE = 4096  # samples; if a clip of integers is sound there, the rest is not checked


def _placeholder() -> NDArray[np.uint8]:
    """A tiny valid file, for the places of a batch that DALI does not decode."""
    stream = BytesIO()
    soundfile.write(stream, np.zeros(1), 32_000, format="WAV", subtype="PCM_16")
    return np.frombuffer(stream.getvalue(), np.uint8)


def _sounds(wave: Tensor) -> NDArray[np.bool_]:
    """Whether each row is neither silent, nor constant, nor on another scale; takes one copy to the CPU."""
    least, most = torch.stack(wave.aminmax(dim=-1)).cpu().numpy()
    of_scale = [wrong_peak(peak) is None for peak in np.maximum(most, -least).ravel()]
    with np.errstate(invalid="ignore"):  # of infinite samples, which are of no scale
        return np.array(of_scale) & ((most - least).ravel() * 32_767 >= 2)


@dataclass(eq=False)
class _Batch:
    """A batch in preparation."""

    rows: list[int]
    jobs: list[Future[Any]]
    samples: int = 0  # number of samples that DALI decodes of each clip
    encoded: list[NDArray[np.uint8]] = field(default_factory=list)  # DALI reads this memory itself
    decoded: dict[int, NDArray[np.float32]] = field(default_factory=dict)  # by place: clips decoded by soundfile
    reasons: dict[int, str] = field(default_factory=dict)


class Dali:
    """Threads read the files, DALI decodes them, and those with another sampling rate are resampled on the device.

    DALI, like libsndfile, trusts the header. soundfile therefore decodes files whose bytes contradict their header,
    that changed since they were listed, that are far longer than a clip, that have more than two channels or channels
    that cancel, whose rate is in no simple ratio to the wanted one, or whose samples look wrong. It also decodes
    every batch in which DALI meets an error, since one bad file costs DALI the whole batch and the pipeline.
    """

    def __init__(self, by_row: RowByRow, device: torch.device) -> None:
        assert isinstance(by_row.source, EncodedClips)
        self.source: EncodedClips = by_row.source
        self.by_row, self.device = by_row, device
        self.clip_seconds = self.source.clip_samples / self.source.sample_rate_hz
        few = self.source.channels[self.source.channels <= _MOST_CHANNELS]
        self.channels = int(few.max()) if len(few) else 1
        self.waiting: deque[_Batch] = deque()
        self.running: _Batch | None = None
        self.pipeline: Any = None
        self.refused: set[int] = set()  # rows of batches where DALI failed and soundfile did not
        self.placeholder = _placeholder()
        on_gpu = device.type == "cuda"
        self.stream = torch.cuda.Stream(device) if on_gpu else None  # its own: checking samples waits for it
        self.lent: list[Tensor] = []
        self.held: list[tuple[list[Tensor], Any]] = []

    def start(self, rows: list[int]) -> _Batch:
        batch = _Batch(rows, [self.by_row.pool.submit(self._fetch, row) for row in rows])
        self.waiting.append(batch)
        return batch

    def finish(self, started: _Batch) -> tuple[Tensor, Tensor, dict[int, str]]:
        if self.running is None:
            self._feed()
        assert self.running is started
        self._keep_lent()
        side: AbstractContextManager[Any] = nullcontext() if self.stream is None else torch.cuda.stream(self.stream)
        with side:
            try:
                outputs = self.pipeline.share_outputs()  # waits for DALI only, not for the device's other work
                decoded = torch.from_dlpack(outputs[0].as_tensor())  # [B, samples, channels]
                frames = np.asarray(outputs[1].as_array()).reshape(len(started.rows), -1)[:, 0]
                rates = np.asarray(outputs[2].as_array()).reshape(-1)
                self.pipeline.release_outputs()
            except RuntimeError as error:
                decoded, message = None, first_line(error)
            self.running = None
            if decoded is None:
                self.pipeline = None
                wave, lengths = self._by_soundfile(started, message)
            else:
                if self.waiting:
                    self._feed()  # DALI decodes the next batch while this one is finished and used
                wave, lengths = self._checked(started, decoded, frames, rates)
        if self.stream is not None:
            torch.cuda.current_stream(self.device).wait_stream(self.stream)
            self.lent = [wave] if decoded is None else [wave, decoded]
        return wave, lengths, started.reasons

    def close(self) -> None:
        self.by_row.close()
        self.waiting.clear()
        if self.running is not None and self.pipeline is not None:
            with suppress(RuntimeError):
                self.pipeline.share_outputs()  # decoding still reads our memory
        self.running = self.pipeline = None

    def _fetch(self, row: int) -> NDArray[Any] | str:
        """The file's bytes as uint8 for DALI, or what `read_row` returns."""
        if row in self.by_row.known or row in self.refused or not self._is_for_dali(row):
            return self.by_row.read(row)
        try:
            data = self.source.read_bytes(row)
            if examine(BytesIO(data)).views:
                return self.by_row.read(row)
        except (UnreadableAudio, Damaged):
            return self.by_row.read(row)
        return np.frombuffer(data, np.uint8)

    def _is_for_dali(self, row: int) -> bool:
        rate = int(self.source.rates_hz[row])
        wanted = frames_for(self.clip_seconds, rate, self.source.sample_rate_hz)
        is_simple = self.source.is_plain[row] and self.source.channels[row] <= _MOST_CHANNELS
        return bool(is_simple and self.source.frames[row] <= 2 * wanted) and (
            rate == self.source.sample_rate_hz or can_resample(rate, self.source.sample_rate_hz)
        )

    def _feed(self) -> None:
        """Pass the oldest waiting batch to DALI."""
        batch, source = self.waiting.popleft(), self.source
        batch.samples = source.clip_samples
        for place, (row, job) in enumerate(zip(batch.rows, batch.jobs, strict=True)):
            encoded, result = self.placeholder, job.result()
            if isinstance(result, str):
                batch.reasons[place] = result
            elif result.dtype == np.float32:
                batch.decoded[place] = result
            else:
                encoded, rate = result, int(source.rates_hz[row])
                wanted = min(int(source.frames[row]), frames_for(self.clip_seconds, rate, source.sample_rate_hz))
                batch.samples = max(batch.samples, wanted)
            batch.encoded.append(encoded)
        B = len(batch.rows)
        if self.pipeline is None or self.pipeline.max_batch_size < B:
            try:
                self.pipeline = self._build(B)
            except RuntimeError as error:
                raise UserError(f"DALI cannot start here ({first_line(error)}); give --loader soundfile") from error
        self.pipeline.feed_input("encoded", batch.encoded)
        self.pipeline.feed_input("samples", [np.array([batch.samples, self.channels], np.int32)] * B)
        self.pipeline.schedule_run()
        self.running = batch

    def _build(self, B: int) -> Any:
        pipeline = Pipeline(
            batch_size=B,
            num_threads=self.by_row.workers,
            device_id=None if self.stream is None else self.device.index or 0,
            prefetch_queue_depth=1,
        )
        with pipeline:
            encoded = fn.external_source(name="encoded", ndim=1, dtype=types.DALIDataType.UINT8, no_copy=True)
            samples = fn.external_source(name="samples", ndim=1, dtype=types.DALIDataType.INT32)
            decoded, rate = fn.decoders.audio(encoded, downmix=False, dtype=types.DALIDataType.FLOAT)
            shape = decoded.shape(dtype=types.DALIDataType.INT64)
            if self.stream is not None:
                decoded = decoded.gpu()
            uniform = fn.slice(decoded, start=[0, 0], shape=samples, axes=[0, 1], out_of_bounds_policy="pad")
            pipeline.set_outputs(uniform, shape, rate)
        pipeline.build()
        return pipeline

    def _downmixed(self, batch: _Batch, decoded: Tensor) -> tuple[Tensor, NDArray[np.bool_]]:
        """Mono [B, samples] from [B, samples, channels], and the places where averaging may cancel the channels."""
        if decoded.shape[2] == 1:
            return decoded[:, :, 0], np.zeros(len(decoded), bool)
        source, rows = self.source, np.array(batch.rows)
        channels = torch.from_numpy(np.minimum(source.channels[rows], _MOST_CHANNELS)).to(decoded.device)
        mono = decoded.sum(2) / channels[:, None]
        heard = [frames_for(self.clip_seconds, int(rate), source.sample_rate_hz) for rate in source.rates_hz[rows]]
        inside = torch.arange(decoded.shape[1]) < torch.tensor(heard)[:, None]  # the samples that soundfile would check
        inside = inside.to(decoded.device)
        mono_power = (mono * inside).square().sum(1)
        unrelated = (decoded * inside[:, :, None]).square().sum((1, 2)) / channels**2
        clear = mono_power > 2 * CANCELLED * unrelated  # NaN is not clear; soundfile decides the doubtful ones
        return mono, ((channels > 1) & ~clear).cpu().numpy()

    def _checked(
        self,
        batch: _Batch,
        decoded: Tensor,
        frames: NDArray[np.int64],
        rates: NDArray[np.float32],
    ) -> tuple[Tensor, Tensor]:
        """Average [B, samples, channels], resample, check the result, and fill the places that DALI did not decode."""
        source, rows = self.source, np.array(batch.rows)
        mono, may_cancel = self._downmixed(batch, decoded)
        ours = np.ones(len(rows), bool)
        ours[[*batch.decoded, *batch.reasons]] = False
        trusted = ours & (frames == source.frames[rows]) & (rates == source.rates_hz[rows]) & ~may_cancel
        lengths = source.lengths[rows].copy()
        wave = self._resampled(mono, source.rates_hz[rows], ours, lengths)
        beginning = _sounds(wave[:, :_GLANCE]) & (lengths >= _GLANCE)  # a shorter clip is padded with zeros
        for place in np.flatnonzero(trusted):
            if not (source.is_integer[rows[place]] and beginning[place]):
                trusted[place] = _sounds(wave[place, : lengths[place]])[0]
            if not source.is_integer[rows[place]]:  # NaN may follow the clip's end, where soundfile finds it
                trusted[place] &= bool(mono[place].abs().amax().isfinite())
        self._remark(rows, trusted, decoded, mono)
        for place in np.flatnonzero(ours & ~trusted):
            result = self.by_row.read(int(rows[place]))
            if isinstance(result, str):
                batch.reasons[int(place)] = result
            else:
                batch.decoded[int(place)] = result
        for filled, samples in batch.decoded.items():
            lengths[filled] = len(samples)
            wave[filled, : len(samples)] = torch.from_numpy(samples)
            wave[filled, len(samples) :] = 0
        return wave, torch.from_numpy(lengths)

    def _remark(self, rows: NDArray[np.int64], trusted: NDArray[np.bool_], decoded: Tensor, mono: Tensor) -> None:
        """Note what is odd about clips that are heard for the first time; soundfile's path measures every time."""
        source = self.source
        places = np.flatnonzero(trusted)
        places = places[self.by_row.remarks.unjudged(source, rows[places])]
        if not len(places):
            return
        parts: list[tuple[Tensor, Tensor]] = []
        for place, row in zip(places, rows[places], strict=True):
            frames = frames_for(self.clip_seconds, int(source.rates_hz[row]), source.sample_rate_hz)
            frames = min(frames, int(source.frames[row]))
            parts.append((mono[place, :frames], decoded[place, :frames, : source.channels[row]]))
        measured = []
        for m, d in parts:
            ends = torch.stack(m.aminmax())
            measured.append(torch.cat([m.mean()[None], ends, ends if d.shape[1] == 1 else torch.stack(d.aminmax())]))
        numbers = torch.stack(measured).cpu().tolist()
        for row, (_, d), (offset, least, most, low, high) in zip(rows[places], parts, numbers, strict=True):
            clipped = 0.0
            if max(high, -low) >= FULL_SCALE:
                clipped = float((d.abs() >= FULL_SCALE).any(1).float().mean())
            self.by_row.remarks.note(source, int(row), remarks_on(clipped, offset, max(most, -least)))

    def _resampled(
        self, decoded: Tensor, rates: NDArray[np.int32], ours: NDArray[np.bool_], lengths: NDArray[np.int64]
    ) -> Tensor:
        """[B, S] of `decoded`, which is returned itself where it can be."""
        source = self.source
        S = source.clip_samples
        foreign = sorted({int(rate) for rate in rates[ours]} - {source.sample_rate_hz})
        if not foreign:
            return decoded[:, :S]
        wave = (
            decoded[:, :S].clone() if (rates[ours] == source.sample_rate_hz).any() else decoded.new_empty(len(rates), S)
        )
        for rate in foreign:
            places = np.flatnonzero(ours & (rates == rate))
            wanted = frames_for(self.clip_seconds, rate, source.sample_rate_hz)
            part = decoded[:, :wanted] if len(places) == len(rates) else decoded[places, :wanted]
            for place, samples in zip(places, resample(part, rate, source.sample_rate_hz), strict=True):
                wave[place, : lengths[place]] = samples[: lengths[place]]
                wave[place, lengths[place] :] = 0
        return wave

    def _by_soundfile(self, batch: _Batch, message: str) -> tuple[Tensor, Tensor]:
        wave, lengths, batch.reasons = self.by_row.finish(self.by_row.start(batch.rows))
        if not batch.reasons:
            if not self.refused:
                warn(f"DALI failed where soundfile does not ({message}); it reads those files", stacklevel=2)
            self.refused.update(batch.rows)
        return wave.to(self.device), lengths

    def _keep_lent(self) -> None:
        """Keep the last batch's memory until the consumer's queued kernels have read it.

        The memory is DALI's, which does not know on which streams it is read.
        """
        if self.stream is None or not self.lent:
            return
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self.device))
        self.held = [(tensors, past) for tensors, past in self.held if not past.query()]
        self.held.append((self.lent, event))
        self.lent = []
