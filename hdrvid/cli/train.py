"""`hdrvid train`: supervised and few-shot training of the networks."""

from __future__ import annotations

import math
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from hdrvid.cli.console import SECONDS_BETWEEN_LINES, FrameProgress, clock, say
from hdrvid.errors import InputError, UsageError

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

FEW_SHOT_PATIENCE = 10
STALL_STEPS = 1000


def command(
    shots: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Labelled windows; few-shot training.", show_default=False)
    ] = None,
    trial: Annotated[
        int, typer.Option(min=1, metavar="1..5", help="Which shots: the memo's list where --data holds its sets.")
    ] = 1,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="FOLDER", help="Labelled data; may be given again.", show_default=False),
    ] = None,
    unlabelled: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLIP|FOLDER", help="Clips without truth, few-shot; may be given again.", show_default=False
        ),
    ] = None,
    hold_out: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Names of pictures or scenes not to train on, one a line."),
    ] = None,
    out: Annotated[str, typer.Option("-o", "--out", metavar="FOLDER", help="Where the run is kept.")] = "runs/train",
    preset: Annotated[str, typer.Option(metavar="default|fast|memo", help="Network.")] = "default",
    cycle: Annotated[int, typer.Option(min=2, max=3, metavar="2|3", help="Exposures in a cycle.")] = 2,
    refine: Annotated[
        bool | None,
        typer.Option(
            "--refine/--no-refine",
            help="Preset default: train a network that refines the flow too. "
            "[default: as --init has it, else only without --shots]",
            show_default=False,
        ),
    ] = None,
    init: Annotated[str, typer.Option(metavar="NAME|FILE", help="Weights to start from.", show_default=False)] = "",
    leg: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Number of a training that goes on with --init: draws other samples."),
    ] = 0,
    distill: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE", help="Weights of preset default to learn from beside the truth.", show_default=False
        ),
    ] = "",
    width: Annotated[
        int | None,
        typer.Option(
            min=8,
            metavar="CHANNELS",
            help="Presets default and fast: channels of the merge. [default: 48 and 32]",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, metavar="N", help="Epochs.")] = 30,
    steps_per_epoch: Annotated[int, typer.Option(min=1, metavar="N", help="Optimiser steps in an epoch.")] = 200,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Crops in a step, over all processes.")] = 6,
    accumulate: Annotated[int, typer.Option(min=1, metavar="N", help="Pieces of a batch, for less memory.")] = 1,
    crop: Annotated[int, typer.Option(min=32, metavar="PIXELS", help="Side of a crop, a multiple of 16.")] = 128,
    learning_rate: Annotated[float, typer.Option(min=0.0, metavar="RATE", help="Peak learning rate.")] = 6e-4,
    schedule: Annotated[str, typer.Option(metavar="cosine|halve", help="How the rate falls.")] = "cosine",
    ema: Annotated[
        float,
        typer.Option(min=0.0, max=0.99999, metavar="DECAY", help="Decay of the averaged weights, which are kept."),
    ] = 0.998,
    precision: Annotated[str, typer.Option(metavar="fp32|bf16", help="Arithmetic of the networks.")] = "fp32",
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="l1|structure|self|smoothness",
            help="Few-shot: a term of the loss to leave out; may be given again.",
            show_default=False,
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="EPOCHS",
            help="Stop when validation has not improved for this long; 0: never. [default: 10 with --shots, else 0]",
            show_default=False,
        ),
    ] = None,
    windows: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Windows to render. [default: 1500, with --shots 300]", show_default=False
        ),
    ] = None,
    window_size: Annotated[int, typer.Option(min=64, metavar="PIXELS", help="Side of a rendered window.")] = 192,
    stage: Annotated[
        list[str] | None,
        typer.Option(
            metavar="flow|imitation|merge|joint",
            help="Train this stage only; may be given again. Stage imitation is for preset memo without --shots.",
            show_default=False,
        ),
    ] = None,
    flow_crop: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="PIXELS",
            help="Preset memo: side of a crop in stage flow. [default: 160, or what a window holds]",
            show_default=False,
        ),
    ] = 0,
    plain: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, metavar="SHARE", help="Preset memo: share of samples without codec and wide brackets."
        ),
    ] = 0.75,
    stall: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="STEPS",
            help="Stop a stage that has not improved on its start after so many steps; 0: never. "
            "[default: 1000 for preset memo without --shots and --init, else 0]",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of everything random.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the output folder.")] = False,
    cache: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Rendered windows. [default: OUT/cache]", show_default=False),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Processes that prepare data. [default: 1 on a CPU, else one less than there are cores]",
            show_default=False,
        ),
    ] = None,
    minutes: Annotated[
        float, typer.Option(metavar="N", help="Stop after this long, ready to be resumed.", show_default=False)
    ] = math.inf,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda[:i]|mps", help="Where the training runs.")] = "auto",
) -> None:
    from hdrvid.train import Progress, TrainOptions, train
    from hdrvid.train.loop import brings_flow

    options = TrainOptions(
        preset=preset,
        num_exposures=cycle,
        refine_flow=preset == "default" and (_refined_by_default(init, cycle, shots) if refine is None else refine),
        stages=tuple(stage or ()),
        data=tuple(data or ()),
        hold_out=_names(hold_out),
        shots=shots or 0,
        trial=trial,
        unlabelled=tuple(unlabelled or ()),
        without=tuple(without or ()),
        patience=patience if patience is not None else (FEW_SHOT_PATIENCE if shots else 0),
        windows=windows or (300 if shots else 1500),
        window_size=window_size,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        batch=batch,
        accumulate=accumulate,
        crop=crop,
        learning_rate=learning_rate,
        schedule=schedule,
        ema=ema,
        precision=precision,
        seed=seed,
        init=init,
        distill=distill,
        width=width or 0,
        leg=leg,
        flow_crop=flow_crop,
        plain=plain,
    )
    if options.imitates:
        fresh = STALL_STEPS if not init else 0
        options = replace(
            options, shared_levels=not brings_flow(options), stall_steps=fresh if stall is None else stall
        )
    elif stall:
        options = replace(options, stall_steps=stall)
    if unlabelled and not shots:
        raise UsageError("--unlabelled belongs to few-shot training: give --shots, the number of labelled windows, too")
    with FrameProgress("train", "steps") as training:
        spoken = time.monotonic()

        def on_cache(done: int, total: int) -> None:
            nonlocal spoken
            if done == total or time.monotonic() - spoken > SECONDS_BETWEEN_LINES:
                spoken = time.monotonic()
                training.say(f"train: {done} of {total} windows prepared")

        def on_step(p: Progress) -> None:
            training.update(p.step, p.total)
            terms = ", ".join(f"{name} {value:.5g}" for name, value in p.losses.items())
            score = "" if p.validation_psnr_t is None else f"; validation PSNR-T {p.validation_psnr_t:.2f} dB"
            left = clock((p.total - p.step) / p.steps_per_second)
            training.say(
                f"step {p.step}/{p.total} ({p.stage}): {terms}{score}; {p.steps_per_second * batch:.1f} samples/s "
                f"of {p.data_samples_per_second:.0f} that the data could give; {left} left"
            )

        path = train(
            Path(out),
            options,
            device=device,
            resume=resume,
            workers=workers,
            cache=Path(cache) if cache else None,
            stop_after_seconds=minutes * 60,
            on_cache=on_cache,
            on_step=on_step,
            on_warning=lambda text: training.say(f"hdrvid: warning: {text}"),
        )
    if os.environ.get("RANK", "0") != "0":  # torchrun: the first process speaks for all
        return
    typer.echo(str(path))
    say(f"hdrvid: use it with: hdrvid reconstruct in.mp4 -o out/ --model {path}")


command.__doc__ = HELP


def _refined_by_default(init: str, cycle: int, shots: int | None) -> bool:
    """A few shots are too few to learn flow from nothing: measured 1.9 dB below the classical flow."""
    if not init:
        return not shots
    from hdrvid.predict.registry import find_weights
    from hdrvid.weights import read_weights

    return read_weights(find_weights(init, cycle))[1].refine_flow


def _names(path: str | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a list of names: give a text file with one name a line") from error
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
