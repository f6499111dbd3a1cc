"""Time, memory and arithmetic of models on this machine, stage by stage, beside a network of known cost.

What is timed:
    network     Consecutive windows of a clip, as in a real run: the flow of a pair of frames is kept for the next
                window. The frames of a cycle cost differently, so a run is a whole cycle; one comes before those that
                count. Every time is of the wall, the device synchronised.
    around it   Decoding, linearising, tonemapping, preview and EXR files, each alone: `clip.measure_media`.
    end to end  `hdrvid reconstruct` on the clip, in a process of its own.
A size that does not fit the memory or a precision that the device lacks is a result that says so.
"""

from __future__ import annotations

import itertools
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hdrvid import machine
from hdrvid.bench.clip import BenchClip, make_clip, measure_media
from hdrvid.bench.fresh import YARDSTICK, end_to_end, in_fresh_process, network_memory_mib
from hdrvid.bench.yardstick import BYTES_PER_PIXEL, count_macs, peak_gflops, yardstick_call
from hdrvid.errors import HdrvidError, UsageError
from hdrvid.metrics import psnr_t
from hdrvid.options.bench import BenchOptions
from hdrvid.predict import int8
from hdrvid.predict.clock import StageClock, synchronise
from hdrvid.predict.device import PRECISIONS, available_memory, resolve_device
from hdrvid.predict.graphs import compile_networks
from hdrvid.predict.registry import BUILT_IN, find_weights, load_reconstructor
from hdrvid.predict.runner import ModelRunner
from hdrvid.types import Window

END_TO_END_FRAMES = 12
"""Frames of an end-to-end run at 1280x720 and below; half of them from 1920x1080 on. On an accelerator four times as
many."""

_HD_PIXELS = 1280 * 720


@dataclass(frozen=True)
class BenchResult:
    """One model at one size in one precision. A figure that was not measured is None."""

    size: tuple[int, int]
    """Width and height in pixels."""
    device: str
    """Where the networks ran."""
    precision: str
    """'fp32', 'bf16', 'fp16' or 'int8'."""
    model: str
    """Name of the model, or 'yardstick'."""
    compiled: bool = False
    """Whether the networks were compiled."""
    problem: str | None = None
    """Why nothing was measured, else None."""
    network_ms: float | None = None
    """Milliseconds from a window to its radiance, mean of a cycle, median over the runs. The yardstick: its
    convolutions alone, without the way to the device and back."""
    network_ms_spread: tuple[float, float] | None = None
    """First and third quartile of the same."""
    stage_ms: dict[str, float] | None = None
    """Milliseconds a frame of every stage, median over the runs. Of the network: those of `hdrvid.predict.clock`;
    around it, each measured alone: decode, linearise, tonemap, preview, write."""
    yardstick_ms: float | None = None
    """Milliseconds of the yardstick in this precision (int8: in fp32), run between the cycles of this very row, median:
    the speed of a machine drifts. CPU only."""
    relative_to_yardstick: float | None = None
    """network_ms over yardstick_ms, or over the network_ms of the yardstick of this size and precision. The yardstick
    does not compute in int8."""
    relative_to_fp32_yardstick: float | None = None
    """network_ms over that of the yardstick of this size in fp32."""
    kmac_per_pixel: float | None = None
    """Thousands of multiply-accumulates of the networks' convolutions for one frame, by its pixels; overlaps of tiles
    and edges are counted too, so it depends on the size."""
    gflops: float | None = None
    """GFLOP/s of the convolutions, 2 FLOP each multiply-accumulate, over the time of the stages they are in; these
    do more than convolutions."""
    peak_share: float | None = None
    """gflops over the machine's measured peak in this precision."""
    peak_memory_mib: float | None = None
    """CPU: peak resident memory of a process that makes two frames. CUDA: most memory allocated on the device."""
    psnr_t_to_fp32: float | None = None
    """PSNR-T in dB of the output against that in fp32, the same windows; None for fp32 and where both are identical."""
    max_difference_to_fp32: float | None = None
    """Largest difference of radiance between the two; 1 is the clipping of the shortest exposure."""
    end_to_end_frames: int | None = None
    """Frames of the end-to-end run."""
    end_to_end_fps: float | None = None
    """Frames per second of `hdrvid reconstruct` over everything, from opening the clip to the report."""
    network_share: float | None = None
    """Share of that time that the network took."""
    end_to_end_ms: float | None = None
    """Milliseconds a frame of the same, from the first finished frame to the last."""
    end_to_end_start_seconds: float | None = None
    """Until the first frame was finished."""
    end_to_end_finish_seconds: float | None = None
    """After the last frame; the preview's encoder holds dozens of frames back, so a short clip's are in here."""
    end_to_end_memory_mib: float | None = None
    """Peak resident memory of the end-to-end process."""
    slowest_stage: str | None = None
    """What a pipeline cannot be faster than: 'decode' (with linearise), 'network', 'preview' (with tonemap) or
    'write'."""
    slowest_stage_ms: float | None = None
    """Milliseconds a frame of it, measured alone."""
    end_to_end_over_slowest: float | None = None
    """end_to_end_ms over slowest_stage_ms: 1 is a pipeline whose stages overlap altogether."""


def default_precisions(device: torch.device) -> tuple[str, ...]:
    """What a device does well."""
    if device.type == "cpu":
        faster = (("bf16", machine.has_bf16), ("int8", int8.available))
        return ("fp32", *(precision for precision, has in faster if has()))
    return ("fp32", "bf16", "fp16") if device.type == "cuda" else ("fp32", "fp16")


def lacking(precision: str, device: torch.device) -> str | None:
    """Why a device does not compute in a precision, or far slower than in fp32; None where it does."""
    lacks = False
    if precision == "int8":
        lacks = device.type != "cpu" or not int8.available()
    elif device.type == "cpu" and precision == "fp16":
        lacks = not torch.ops.mkldnn._is_mkldnn_fp16_supported()
    elif device.type == "cuda" and precision == "bf16":
        lacks = not torch.cuda.is_bf16_supported(including_emulation=False)
    return f"this {'CPU' if device.type == 'cpu' else 'GPU'} does not compute in {precision}" if lacks else None


def _of_yardstick(precision: str) -> str:
    """In which precision the yardstick beside a row computes: it has no bytes."""
    return "fp32" if precision == "int8" else precision


def bench(
    options: BenchOptions,
    say: Callable[[str], None] = lambda text: None,
    keep: Callable[[dict[str, Any]], None] = lambda results: None,
) -> dict[str, Any]:
    """Measure every size, model and precision asked for, and the yardstick, in fp32 too.

    `say` gets the name of the next measurement; `keep` gets, after every size, the results so far. Returns, ready for
    JSON:
        machine     `hdrvid.machine.machine_facts`, with the measured `peak_gflops` of every precision
        options     `cycle` in stops and `runs`
        results     the fields of a `BenchResult` for each, in the order size, model (the yardstick first), precision
    Raises UsageError for options without meaning and ModelError for a model that cannot be loaded, before anything is
    measured.
    """
    device = _checked(options)
    asked = options.precisions or default_precisions(device)
    precisions = ("fp32", *(p for p in asked if p != "fp32"))
    facts = machine.machine_facts(device)
    say("measuring the machine's peak")
    peaks = {p: None if p == "int8" or lacking(p, device) else peak_gflops(device, p) for p in precisions}
    facts["peak_gflops"] = peaks
    results: dict[str, Any] = {
        "machine": facts,
        "options": {"cycle": list(options.cycle.stops), "runs": options.runs},
        "results": [],
    }
    for size in options.sizes:
        rows = _Bench(options, device, size, asked, precisions, say).results()
        results["results"] += [asdict(_with_peak(row, peaks[row.precision])) for row in rows]
        keep(results)
    return results


def _checked(options: BenchOptions) -> torch.device:
    """The device, once every option has been found good."""
    if options.runs < 1:
        raise UsageError(f"--runs takes a number from 1 on, not {options.runs}")
    for precision in options.precisions:
        if precision not in PRECISIONS[1:]:
            raise UsageError(f"--precision takes auto or a list of {', '.join(PRECISIONS[1:])}, not '{precision}'")
    for width, height in options.sizes:
        if width % 2 or height % 2:
            raise UsageError(f"the clip is a 4:2:0 video, so --size takes even numbers, not {width}x{height}")
    for model in options.models:
        if model in ("reference", YARDSTICK):
            reason = "is always measured" if model == YARDSTICK else "has nothing to measure"
            raise UsageError(f"--model {model} {reason}: leave it out or name another model")
        if model not in BUILT_IN:
            find_weights(model, len(options.cycle))
    return resolve_device(options.device)


@dataclass(frozen=True)
class _Timed:
    """The network's times over some cycles."""

    frame_ms: list[float]
    """Of every run: mean of its frames."""
    stage_ms: dict[str, float]
    """Medians over the runs."""
    kmac_per_pixel: float
    """Of one frame."""
    gflops: float | None
    """Of the stages that have convolutions."""
    memory_mib: float | None
    """Peak on the device, or of a fresh process."""
    radiance: list[np.ndarray]
    """Frames of the cycle before those that count."""
    yardstick_ms: float | None = None
    """Of the yardstick, between the cycles."""

    @property
    def figures(self) -> dict[str, Any]:
        """Fields of a BenchResult."""
        return {
            "network_ms": statistics.median(self.frame_ms),
            "network_ms_spread": tuple(float(q) for q in np.percentile(self.frame_ms, (25, 75))),
            "stage_ms": self.stage_ms,
            "yardstick_ms": self.yardstick_ms,
            "kmac_per_pixel": self.kmac_per_pixel,
            "gflops": self.gflops,
            "peak_memory_mib": self.memory_mib,
        }


class _Bench:
    """Everything of one size."""

    def __init__(
        self,
        options: BenchOptions,
        device: torch.device,
        size: tuple[int, int],
        asked: Sequence[str],
        precisions: Sequence[str],
        say: Callable[[str], None],
    ) -> None:
        """`precisions` are those asked for and fp32, which is first."""
        self.options, self.device, self.size = options, device, size
        self.asked, self.precisions, self._say = asked, precisions, say
        self._on_cpu = device.type == "cpu"
        self._yardsticks: dict[str, Callable[[], None]] = {}
        """By precision; on a CPU only, for elsewhere they would be counted as the models' memory."""

    def results(self) -> list[BenchResult]:
        """The yardstick in fp32 and every precision asked for, and the models in those."""
        cycle = self.options.cycle
        few = END_TO_END_FRAMES * max(0.5, min(1.0, _HD_PIXELS / math.prod(self.size))) * (1 if self._on_cpu else 4)
        # one cycle before those that count; on an accelerator they come once more, with the clock
        cycles = self.options.runs * (1 if self._on_cpu else 2) + 1
        frames = cycles * len(cycle) + 2 * cycle.window_radius
        self.say("clip")
        clip = make_clip(self.size, cycle, max(frames, round(few) if self.options.end_to_end else 0))
        of_yardsticks = dict.fromkeys(_of_yardstick(precision) for precision in self.precisions)
        yardsticks = [self._guarded(YARDSTICK, precision, self._yardstick)[0] for precision in of_yardsticks]
        rows: list[BenchResult] = []
        sample: list[np.ndarray] = []
        for model in self.options.models:
            exact: list[np.ndarray] = []
            for precision, compiled in itertools.product(self.precisions, (False, True)):
                if compiled and not (self.options.compiled and precision in self.asked and model not in BUILT_IN):
                    continue
                measure = partial(self._model, clip=clip, compiled=compiled)
                row, timed = self._guarded(model, precision, measure, compiled)
                if timed is not None:
                    row = _with_difference(row, timed.radiance, exact)
                    exact, sample = exact or timed.radiance, sample or timed.radiance
                if precision in self.asked:
                    rows.append(row)
            del exact
        if sample:
            with tempfile.TemporaryDirectory(prefix="hdrvid-bench-") as folder:
                rows = list(self._with_media(rows, clip, sample, Path(folder), round(few)))
        return _with_ratios([*yardsticks, *rows])

    def say(self, text: str) -> None:
        """What comes next."""
        self._say(f"{self.size[0]}x{self.size[1]}: {text}")

    def _guarded(
        self, model: str, precision: str, measure: Callable[[str, str], _Timed], compiled: bool = False
    ) -> tuple[BenchResult, _Timed | None]:
        row = BenchResult(self.size, str(self.device), precision, model, compiled)
        problem = lacking(precision, self.device)
        if problem is None:
            self.say(f"{model}, {precision}{', compiled' if compiled else ''}")
            try:
                timed = measure(model, precision)
                return replace(row, **timed.figures), timed
            except (HdrvidError, MemoryError, torch.OutOfMemoryError) as error:
                problem = (str(error) or "out of memory").splitlines()[0]
            except RuntimeError as error:
                if "memory" not in str(error) and "not implemented" not in str(error):
                    raise
                problem = str(error).splitlines()[0]
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        return replace(row, problem=problem), None

    def _yardstick(self, model: str, precision: str) -> _Timed:
        width, height = self.size
        if self._on_cpu:
            machine.keep_memory()
            machine.release_memory()
            free = available_memory(self.device)
            if free is not None and width * height * BYTES_PER_PIXEL > free:
                raise MemoryError(f"does not fit the memory that is free ({free >> 20} MiB)")
        call = yardstick_call(self.size, self.device, precision)
        self._forget_peak()
        macs = count_macs(call)
        times = [self._seconds(call) for _ in range(self.options.runs + 1)][1:]
        memory = self._peak_memory(model, precision)
        if self._on_cpu:
            self._yardsticks[precision] = call
        gflops = 2 * macs / statistics.median(times) / 1e9
        return _Timed([t * 1e3 for t in times], {}, macs / (width * height) / 1e3, gflops, memory, [])

    def _model(self, model: str, precision: str, clip: BenchClip, compiled: bool) -> _Timed:
        cycle, wanted = self.options.cycle, precision in self.asked
        runs = self.options.runs if wanted else 1
        runner = load_reconstructor(model, len(cycle), device=str(self.device), precision=precision)
        assert isinstance(runner, ModelRunner)
        if runner.precision != precision:
            raise UsageError(f"{model} computes in {runner.precision} only")
        if compiled and precision == "int8":
            raise UsageError("int8 cannot be compiled")
        if self._on_cpu:
            machine.release_memory()
        windows = clip.windows()
        self._forget_peak()
        radiance: list[np.ndarray] = []
        macs = count_macs(lambda: self._cycle(runner, windows, radiance)) / len(cycle)
        if compiled:
            assert runner.networks is not None
            compile_networks(runner.networks, runner.notes.append)
            radiance.clear()
            windows = clip.windows()  # the same frames as without
            self._cycle(runner, windows, radiance)
            if runner.notes:
                raise HdrvidError(runner.notes[-1])
        clock = StageClock(self.device)
        if self._on_cpu:
            runner.clock = clock
        frame_ms, stages, units = [], [], []
        yardstick = self._yardsticks.get(_of_yardstick(precision)) if wanted else None
        for _ in range(runs):
            clock.reset()
            frame_ms.append(self._cycle(runner, windows) * 1e3)
            stages.append(dict(clock.seconds))
            if yardstick is not None:
                yardstick()  # its memory is cold
                units.append(self._seconds(yardstick) * 1e3)
        if not self._on_cpu:  # a clock synchronises the device at every stage, which costs time of its own
            runner.clock = clock
            stages = []
            for _ in range(runs):
                clock.reset()
                self._cycle(runner, windows)
                stages.append(dict(clock.seconds))
        stage_ms = {
            name: statistics.median(s[name] for s in stages) / len(cycle) * 1e3 for name in dict.fromkeys(stages[0])
        }
        search = runner.descriptor.search
        convolving = ("refine", "merge") if search else ("flow", "merge")
        seconds = sum(stage_ms.get(name, 0.0) for name in convolving) / 1e3
        gflops = 2 * macs / seconds / 1e9 if macs and seconds else None
        memory = self._peak_memory(model, precision) if wanted and not compiled else None
        kmac, unit = macs / math.prod(self.size) / 1e3, statistics.median(units) if units else None
        return _Timed(frame_ms, stage_ms, kmac, gflops, memory, radiance, unit)

    def _cycle(self, runner: ModelRunner, windows: Iterator[Window], radiance: list[np.ndarray] | None = None) -> float:
        """Mean seconds of the frames of one cycle, which go to `radiance`."""
        frames_made: list[np.ndarray] = []
        total = 0.0
        for window in itertools.islice(windows, len(self.options.cycle)):
            total += self._seconds(lambda w=window: frames_made.append(runner.reconstruct(w).radiance))  # type: ignore[misc]
        if radiance is not None:
            radiance += frames_made
        return total / len(self.options.cycle)

    def _seconds(self, call: Callable[[], None]) -> float:
        synchronise(self.device)
        started = time.perf_counter()
        call()
        synchronise(self.device)
        return time.perf_counter() - started

    def _forget_peak(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def _peak_memory(self, model: str, precision: str) -> float | None:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / (1 << 20)
        if not self._on_cpu:
            return None
        return in_fresh_process(network_memory_mib, model, self.size, self.options.cycle, precision)

    def _with_media(
        self,
        rows: Sequence[BenchResult],
        clip: BenchClip,
        radiance: Sequence[np.ndarray],
        folder: Path,
        num_frames: int,
    ) -> Iterator[BenchResult]:
        """The rows with the stages around the network and, one precision of every model, the end-to-end run."""
        cycle = self.options.cycle
        self.say("decode, tonemap, preview, write")
        path = folder / "clip.mp4"
        replace(clip, codes=clip.codes[: max(num_frames, len(cycle))]).write(path)
        measured = measure_media(path, folder, radiance, cycle, self.options.runs)
        media = {name: statistics.median(run[name] for run in measured) for name in measured[0]}
        done: set[str] = set()
        for row in rows:
            if row.stage_ms is None or row.network_ms is None:
                yield row
                continue
            alone: dict[str, float] = {
                "decode": media["decode"] + media["linearise"],
                "network": row.network_ms,
                "preview": media["tonemap"] + media["preview"],
                "write": media["write"],
            }
            slowest = max(alone, key=alone.__getitem__)
            row = replace(
                row, stage_ms={**media, **row.stage_ms}, slowest_stage=slowest, slowest_stage_ms=alone[slowest]
            )
            if self.options.end_to_end and row.model not in done and self._is_for_end_to_end(row, rows):
                done.add(row.model)
                self.say(f"{row.model}, {row.precision}, end to end")
                out = folder / f"out-{len(done)}"
                row = self._with_end_to_end(row, path, out)
            yield row

    def _is_for_end_to_end(self, row: BenchResult, rows: Sequence[BenchResult]) -> bool:
        """Whether a row has the precision that `reconstruct` chooses, not compiled; where none has, the first."""
        if row.compiled:
            return False
        runner = load_reconstructor(row.model, len(self.options.cycle), device=str(self.device))
        chosen = getattr(runner, "precision", "fp32")
        return row.precision == chosen or not any(
            other.model == row.model and other.precision == chosen and other.problem is None for other in rows
        )

    def _with_end_to_end(self, row: BenchResult, clip: Path, out: Path) -> BenchResult:
        assert row.slowest_stage_ms is not None
        try:
            run = in_fresh_process(
                end_to_end, clip, out, row.model, self.options.cycle, str(self.device), row.precision
            )
        except HdrvidError as error:
            return replace(row, problem=f"end to end: {error}")
        return replace(
            row,
            end_to_end_frames=run.num_frames,
            end_to_end_fps=run.frames_per_second,
            network_share=run.network_share,
            end_to_end_ms=run.frame_ms,
            end_to_end_start_seconds=run.start_seconds,
            end_to_end_finish_seconds=run.finish_seconds,
            end_to_end_memory_mib=run.peak_memory_mib,
            end_to_end_over_slowest=run.frame_ms / row.slowest_stage_ms,
        )


def _with_difference(row: BenchResult, radiance: Sequence[np.ndarray], exact: Sequence[np.ndarray]) -> BenchResult:
    """The row with the difference of its frames from those in fp32; none where `exact` is empty."""
    if (row.precision == "fp32" and not row.compiled) or not exact:
        return row
    pairs = list(zip(radiance, exact, strict=True))
    decibels = statistics.fmean(psnr_t(a, b) for a, b in pairs)
    difference = max(float(np.abs(a - b).max()) for a, b in pairs)
    return replace(row, psnr_t_to_fp32=decibels if math.isfinite(decibels) else None, max_difference_to_fp32=difference)


def _with_ratios(rows: Sequence[BenchResult]) -> list[BenchResult]:
    """The rows of one size with their time relative to the yardstick's."""
    yardstick: Mapping[str, float | None] = {r.precision: r.network_ms for r in rows if r.model == YARDSTICK}

    def ratio(row: BenchResult, precision: str) -> float | None:
        own = precision == _of_yardstick(row.precision)
        unit = row.yardstick_ms if own and row.yardstick_ms else yardstick.get(precision)
        return row.network_ms / unit if row.network_ms and unit else None

    return [
        replace(r, relative_to_yardstick=ratio(r, r.precision), relative_to_fp32_yardstick=ratio(r, "fp32"))
        for r in rows
    ]


def _with_peak(row: BenchResult, peak: float | None) -> BenchResult:
    return replace(row, peak_share=row.gflops / peak) if row.gflops and peak else row
