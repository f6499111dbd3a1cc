"""`hdrvid train`: supervised and few-shot training of the networks."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hdrvid.cli.console import SECONDS_BETWEEN_LINES, clock, say
from hdrvid.cli.options import fields_as_options
from hdrvid.cli.progress import FrameProgress
from hdrvid.errors import UsageError
from hdrvid.options.train import RunOptions, TrainOptions

if TYPE_CHECKING:
    from hdrvid.train import Progress

HELP = """Train a network; the result is a weights file that --model takes.

With --shots N the training is few-shot: N labelled windows, and any number
of alternating-exposure clips without truth (--unlabelled). Without --shots
everything labelled is used.

Without --data the scenes are hdrvid's own. --data takes folders of HDR
panoramas or pictures, HDR frames (HdM-HDR-2014 and LiU HDRv as they come,
or any numbered EXR / .hdr frames), prepared .npy patches and Vimeo-90K
septuplets. A run that was interrupted goes on with the same options and
--resume. Several processes: torchrun --nproc-per-node N -m hdrvid train ...

[bold]Examples[/bold]

    hdrvid train --shots 5

    hdrvid train --shots 5 --trial 2 --data HdM/ --data LiU/ --unlabelled my_clips/ --out runs/trial2

    hdrvid train --shots 5 --data my_hdr_frames/ --unlabelled my_clips/ --init default --out runs/mine

    hdrvid train --data panoramas/ --hold-out heldout.txt --epochs 25 --out runs/full
"""

DEFAULT_OUT = Path("runs/train")
FEW_SHOT_PATIENCE = 10
"""Epochs; the default of --patience with --shots."""
FEW_SHOT_WINDOWS = 300
"""The default of --windows with --shots."""
STALL_STEPS = 1000
"""The default of --stall for preset memo without --shots and --init."""


@fields_as_options
def command(
    *,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="Where the run is kept.")] = DEFAULT_OUT,
    given: partial[TrainOptions],
    run_options: RunOptions,
) -> None:
    from hdrvid.train import CHECKPOINT, train

    options = _completed(given)
    if run_options.resume and not (out / CHECKPOINT).exists():
        say(f"hdrvid: {out} holds no checkpoint to go on with: the training begins at its first step")
    with FrameProgress("train", "steps", "kept; the same command with --resume goes on", lines=False) as progress:
        reporter = _StepReporter(progress, options.batch)
        path = train(
            out,
            options,
            run_options,
            on_cache=_cache_reporter(progress),
            on_step=reporter.report,
            on_warning=lambda text: progress.say(f"hdrvid: warning: {text}"),
        )
        reporter.finish()
    if os.environ.get("RANK", "0") != "0":  # torchrun: the first process speaks for all
        return
    typer.echo(str(path))
    say(f"hdrvid: use it with: hdrvid reconstruct in.mp4 -o out/ --model {path}")


command.__doc__ = HELP


def _completed(given: partial[TrainOptions]) -> TrainOptions:
    """The options that the user gave, and those that follow from them."""
    from hdrvid.train.loop import brings_flow

    fields = given.keywords
    shots, init = fields.get("shots", 0), fields.get("init", "")
    if fields.get("unlabelled") and not shots:
        raise UsageError("--unlabelled belongs to few-shot training: give --shots, the number of labelled windows, too")
    if fields.get("refine_flow") and fields["preset"] != "default":
        raise UsageError("--refine is for preset default")
    refine = fields["preset"] == "default" and (
        fields["refine_flow"] if "refine_flow" in fields else _refined_by_default(init, fields["num_exposures"], shots)
    )
    defaults = {"patience": FEW_SHOT_PATIENCE, "windows": FEW_SHOT_WINDOWS} if shots else {}
    options = given(**{**defaults, **fields, "refine_flow": refine})
    if not options.imitates:
        return options
    stall_steps = fields.get("stall_steps", 0 if init else STALL_STEPS)
    return replace(options, shared_levels=not brings_flow(options), stall_steps=stall_steps)


def _cache_reporter(progress: FrameProgress) -> Callable[[int, int], None]:
    """A function that reports windows prepared of windows in all, a line every few seconds."""
    spoken = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal spoken
        if done == total or time.monotonic() - spoken > SECONDS_BETWEEN_LINES:
            spoken = time.monotonic()
            progress.say(f"train: {done} of {total} windows prepared")

    return report


WHY_STOPPED = {
    "": "",
    "time": "; the time of --minutes is over, the same command with --resume goes on",
    "patience": "; validation did not improve for the epochs of --patience",
}
"""What the last line adds, by `Progress.stopped`."""

DATA_BOUND = 1.1
"""The data is what a training waits for where it could deliver less than so many times the samples that are used."""


class _StepReporter:
    """Shows a training with `batch` samples a step: a short line a report, and a last one of what was gained."""

    def __init__(self, progress: FrameProgress, batch: int) -> None:
        self._progress, self._batch = progress, batch
        self._started = time.monotonic()
        self._last: Progress | None = None

    def report(self, p: Progress) -> None:
        """Show a report."""
        self._last = p
        self._progress.update(p.step, p.total)
        self._progress.say(step_line(p, self._batch))

    def finish(self) -> None:
        """Say what the training has come to."""
        self._progress.stop()
        if self._last is None:
            say("hdrvid: all of its steps were done already")
        else:
            say(f"hdrvid: {result_line(self._last, time.monotonic() - self._started)}")


def step_line(p: Progress, batch: int) -> str:
    """A report of a training in one line; `log.jsonl` has every term of the loss."""
    name = "loss" if "loss" in p.losses else next(iter(p.losses))
    parts = [f"{name} {p.losses[name]:.4g}"]
    if p.validation_psnr_t is not None:
        parts.append(f"PSNR-T {p.validation_psnr_t:.2f} dB")
    samples = p.steps_per_second * batch
    waits = " (waiting for data)" if p.data_samples_per_second < DATA_BOUND * samples else ""
    parts.append(f"{samples:.1f} samples/s{waits}")
    left = clock((p.total - p.step) / p.steps_per_second)
    if p.stage_stop < p.total:
        parts.append(f"{clock((p.stage_stop - p.step) / p.steps_per_second)} left in {p.stage}, about {left} in all")
    else:
        parts.append(f"{left} left")
    return f"{p.stage} {p.step}/{p.total}: {', '.join(parts)}"


def result_line(p: Progress, seconds: float) -> str:
    """What a training has come to, from its last report."""
    steps = f"{p.step} of {p.total}" if p.stopped else f"{p.step}"
    if math.isnan(p.kept_psnr_t) or math.isnan(p.before_psnr_t):
        line = f"{steps} steps in {clock(seconds)}, not validated"
    else:
        gain = p.kept_psnr_t - p.before_psnr_t
        line = (
            f"{steps} steps in {clock(seconds)}: validation PSNR-T {p.before_psnr_t:.2f} dB before, "
            f"{p.kept_psnr_t:.2f} dB after ({gain:+.2f} dB)"
        )
    return line + WHY_STOPPED[p.stopped]


def _refined_by_default(init: str, cycle: int, shots: int) -> bool:
    """A few shots are too few to learn flow from nothing: measured 1.9 dB below the classical flow."""
    if not init:
        return not shots
    from hdrvid.predict.registry import find_weights
    from hdrvid.weights import read_weights

    return read_weights(find_weights(init, cycle))[1].refine_flow
