"""`hdrvid train`: supervised and few-shot training of the networks."""

from __future__ import annotations

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
    from hdrvid.train import train

    options = _completed(given)
    with FrameProgress("train", "steps") as progress:
        path = train(
            out,
            options,
            run_options,
            on_cache=_cache_reporter(progress),
            on_step=_step_reporter(progress, options.batch),
            on_warning=lambda text: progress.say(f"hdrvid: warning: {text}"),
        )
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


def _step_reporter(progress: FrameProgress, batch: int) -> Callable[[Progress], None]:
    """A function that reports a step of a training with `batch` samples a step."""

    def report(p: Progress) -> None:
        progress.update(p.step, p.total)
        terms = ", ".join(f"{name} {value:.5g}" for name, value in p.losses.items())
        score = "" if p.validation_psnr_t is None else f"; validation PSNR-T {p.validation_psnr_t:.2f} dB"
        left = clock((p.total - p.step) / p.steps_per_second)
        progress.say(
            f"step {p.step}/{p.total} ({p.stage}): {terms}{score}; {p.steps_per_second * batch:.1f} samples/s "
            f"of {p.data_samples_per_second:.0f} that the data could give; {left} left"
        )

    return report


def _refined_by_default(init: str, cycle: int, shots: int) -> bool:
    """A few shots are too few to learn flow from nothing: measured 1.9 dB below the classical flow."""
    if not init:
        return not shots
    from hdrvid.predict.registry import find_weights
    from hdrvid.weights import read_weights

    return read_weights(find_weights(init, cycle))[1].refine_flow
