"""`hdrvid train`: supervised training of the networks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from hdrvid.cli.console import FrameProgress, say
from hdrvid.errors import InputError

HELP = """Train a network; the result is a weights file that --model takes.

Windows of moving HDR scenes are rendered once into the output folder and exposed anew for every step. Without --data
they are hdrvid's own scenes; --data adds folders of HDR panoramas or frames (EXR, .hdr). A run that was interrupted
goes on with the same options and --resume.

[bold]Examples[/bold]

    hdrvid train --out runs/mine

    hdrvid train --data panoramas/ --hold-out heldout.txt --epochs 25 --out runs/mine

    hdrvid train --preset memo --data panoramas/ --out runs/memo --resume
"""


def command(
    out: Annotated[str, typer.Option("-o", "--out", metavar="FOLDER", help="Where the run is kept.")] = "runs/train",
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="FOLDER", help="HDR pictures to train on; may be given again.", show_default=False),
    ] = None,
    hold_out: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Names of pictures not to train on, one a line.", show_default=False),
    ] = None,
    preset: Annotated[str, typer.Option(metavar="default|memo", help="Network.")] = "default",
    cycle: Annotated[int, typer.Option(min=2, max=3, metavar="2|3", help="Exposures in a cycle.")] = 2,
    epochs: Annotated[int, typer.Option(min=1, metavar="N", help="Epochs.")] = 30,
    steps_per_epoch: Annotated[int, typer.Option(min=1, metavar="N", help="Optimiser steps in an epoch.")] = 200,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Crops in a step.")] = 6,
    crop: Annotated[int, typer.Option(min=32, metavar="PIXELS", help="Side of a crop, a multiple of 16.")] = 128,
    learning_rate: Annotated[float, typer.Option(metavar="RATE", help="Peak learning rate.")] = 6e-4,
    ema: Annotated[
        float,
        typer.Option(min=0.0, max=0.99999, metavar="DECAY", help="Decay of the averaged weights, which are kept."),
    ] = 0.998,
    windows: Annotated[int, typer.Option(min=1, metavar="N", help="Windows to render.")] = 1500,
    window_size: Annotated[int, typer.Option(min=64, metavar="PIXELS", help="Side of a rendered window.")] = 192,
    init: Annotated[str, typer.Option(metavar="FILE", help="Weights to start from.", show_default=False)] = "",
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of everything random.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the output folder.")] = False,
    cache: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Rendered windows. [default: OUT/cache]", show_default=False),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, metavar="N", help="Processes that prepare data.")] = 1,
    minutes: Annotated[
        float, typer.Option(metavar="N", help="Stop after this long, ready to be resumed.", show_default=False)
    ] = math.inf,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda[:i]|mps", help="Where the training runs.")] = "auto",
) -> None:
    from hdrvid.train import Progress, TrainOptions, train

    options = TrainOptions(
        preset=preset,
        num_exposures=cycle,
        data=tuple(data or ()),
        hold_out=_names(hold_out),
        windows=windows,
        window_size=window_size,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        batch=batch,
        crop=crop,
        learning_rate=learning_rate,
        ema=ema,
        seed=seed,
        init=init,
    )
    with FrameProgress("train", "step") as training:

        def on_cache(done: int, total: int) -> None:
            if done % 100 == 0 or done == total:
                training.say(f"rendered {done} of {total} windows")

        def on_step(p: Progress) -> None:
            training.update(p.step, p.total)
            score = "" if p.validation_psnr_t is None else f", validation PSNR-T {p.validation_psnr_t:.2f} dB"
            training.say(f"step {p.step}/{p.total} ({p.stage}): loss {p.loss:.5f}{score}")

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
        )
    typer.echo(str(path))
    say(f"hdrvid: use it with: hdrvid reconstruct in.mp4 -o out/ --model {path}")


command.__doc__ = HELP


def _names(path: str | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a list of names: give a text file with one name a line") from error
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
