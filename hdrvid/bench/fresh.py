"""Measurements that need a process of their own: peak memory, and whole reconstructions."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch

from hdrvid import machine
from hdrvid.bench.clip import RESPONSE, make_clip
from hdrvid.bench.yardstick import yardstick_call
from hdrvid.errors import HdrvidError
from hdrvid.pipeline.options import ReconstructOptions
from hdrvid.pipeline.run import reconstruct_clip
from hdrvid.predict.registry import load_reconstructor
from hdrvid.types import ExposureCycle
from hdrvid.workers import without_interrupts

YARDSTICK = "yardstick"
"""The yardstick's name among the models."""

Given = ParamSpec("Given")
Made = TypeVar("Made")


def in_fresh_process(function: Callable[Given, Made], *args: Given.args, **kwargs: Given.kwargs) -> Made:
    """`function(*args, **kwargs)` in a new process, which ends with this call whatever happens.

    Raises what the function raises of hdrvid's errors, and HdrvidError where the process was ended: most likely by the
    system, for want of memory.
    """
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, torch.get_num_threads(), function, args, kwargs))
    with without_interrupts():
        process.start()
    sender.close()
    try:
        answer = receiver.recv()
    except EOFError:
        process.join()
        raise HdrvidError(f"the process ended with code {process.exitcode}: probably out of memory") from None
    finally:
        process.kill()
        process.join()
    if isinstance(answer, HdrvidError):
        raise answer
    return answer


def _answer(sender: Connection, threads: int, function: Callable, args: tuple, kwargs: dict) -> None:
    torch.set_num_threads(threads)
    try:
        sender.send(function(*args, **kwargs))
    except HdrvidError as error:
        sender.send(error)


def peak_resident_mib() -> float | None:
    """Peak resident memory of this process, in MiB; None where the system does not tell.

    Not `getrusage`'s: on Linux that begins with the peak of the process that started this one.
    """
    with suppress(OSError):
        match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
        return int(match[1]) / 1024 if match else None
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def network_memory_mib(model: str, size: tuple[int, int], cycle: ExposureCycle, precision: str) -> float | None:
    """Peak resident memory of a process that reconstructs two windows on the CPU and does nothing else."""
    if model == YARDSTICK:
        machine.keep_memory()
        call = yardstick_call(size, torch.device("cpu"), precision)
        call()
        call()
    else:
        clip = make_clip(size, cycle, 2 * cycle.window_radius + 2)
        machine.release_memory()
        reconstructor = load_reconstructor(model, len(cycle), device="cpu", precision=precision)
        for window in clip.windows():
            reconstructor.reconstruct(window)
    return peak_resident_mib()


@dataclass(frozen=True)
class EndToEnd:
    """A run of `hdrvid reconstruct`, with preview and report."""

    num_frames: int
    """Frames made."""
    frames_per_second: float
    """Over everything, from opening the clip to its report."""
    network_share: float
    """Of that time, what the network took."""
    frame_ms: float
    """From the first finished frame to the last one, a frame."""
    start_seconds: float
    """Until the first frame was finished: measuring exposures, loading the model."""
    finish_seconds: float
    """After the last frame: the files and what the preview's encoder had held back."""
    peak_memory_mib: float | None
    """Peak resident memory of the process."""


def end_to_end(clip: Path, out: Path, model: str, cycle: ExposureCycle, device: str, precision: str) -> EndToEnd:
    """Reconstruct a clip of RESPONSE into the folder `out`."""
    options = ReconstructOptions(
        exposures=str(cycle), response=RESPONSE.name, model=model, device=device, precision=precision
    )
    finished: dict[int, float] = {}

    def progress(done: int, total: int | None) -> None:
        if done:
            finished.setdefault(done, time.perf_counter())

    started = time.perf_counter()
    report = reconstruct_clip([str(clip)], out, options, progress=progress)
    ended = time.perf_counter()
    timings, count = report.values["timings"], len(finished)
    return EndToEnd(
        num_frames=count,
        frames_per_second=timings["frames_per_second"],
        network_share=timings["network_seconds"] / timings["total_seconds"],
        frame_ms=(finished[count] - finished[1]) / max(1, count - 1) * 1e3,
        start_seconds=finished[1] - started,
        finish_seconds=ended - finished[count],
        peak_memory_mib=peak_resident_mib(),
    )
