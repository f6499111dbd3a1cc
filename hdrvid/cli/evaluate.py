"""`hdrvid eval`: scores on datasets with ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hdrvid.cli.console import FrameProgress, print_json, say
from hdrvid.cli.synth import parse_size
from hdrvid.errors import UsageError

HELP = """Score a model on clips with known radiance.

The dataset 'synthetic' is made on the spot and works on every machine: hdrvid's own scenes, or clips made from the HDR
pictures and panoramas below --root. The protocol line printed above the table is all that is needed to repeat it.

[bold]Examples[/bold]

    hdrvid eval --dataset synthetic --baselines

    hdrvid eval --dataset synthetic --cycle 3 --model classical --out scores/

    hdrvid eval --dataset synthetic --root panoramas/ --baselines
"""


def command(
    dataset: Annotated[str, typer.Option(metavar="synthetic", help="What to score on.")] = "synthetic",
    root: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="HDR pictures to make the clips from. [default: own scenes]", show_default=False
        ),
    ] = None,
    cycle: Annotated[int, typer.Option(min=2, max=3, metavar="2|3", help="Exposures in a cycle.")] = 2,
    exposures: Annotated[
        str | None,
        typer.Option(metavar="0,3|0,2,4", help="Stops of one cycle. [default: 0,3 or 0,2,4]", show_default=False),
    ] = None,
    model: Annotated[str, typer.Option(metavar="NAME|FILE", help="Model to score.")] = "default",
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Score the reference frame alone and the classical pipeline too.")
    ] = False,
    metrics: Annotated[
        str, typer.Option(metavar="LIST", help="Measures, separated by commas.")
    ] = "psnr_t,psnr_l,ssim_t,ssim_l",
    scenes: Annotated[int, typer.Option(min=1, metavar="N", help="Number of own scenes.")] = 12,
    frames: Annotated[int, typer.Option(min=3, metavar="N", help="Frames of a clip.")] = 8,
    size: Annotated[str, typer.Option(metavar="WxH", help="Size of the clips in pixels.")] = "448x256",
    jpeg: Annotated[
        int | None,
        typer.Option(min=1, max=100, metavar="QUALITY", help="Code every frame as JPEG.", show_default=False),
    ] = None,
    crf: Annotated[
        float | None,
        typer.Option(min=1, max=51, metavar="CRF", help="Code the clips as H.264 of this CRF.", show_default=False),
    ] = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda[:i]|mps", help="Where the networks run.")] = "auto",
    precision: Annotated[str, typer.Option(metavar="auto|fp32|bf16|fp16", help="Arithmetic of the networks.")] = "auto",
    out: Annotated[
        str | None,
        typer.Option(
            "-o", "--out", metavar="FOLDER", help="Write results.json and results.csv here.", show_default=False
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the results as JSON on stdout.")] = False,
) -> None:
    if dataset != "synthetic":
        raise UsageError(f"dataset '{dataset}' cannot be read by this version: use --dataset synthetic")
    width, height = parse_size(size)

    from dataclasses import replace

    from hdrvid.evaluate import DEFAULT_STOPS, SyntheticOptions, checked_metrics, evaluate, write_results
    from hdrvid.io.exposure_files import parse_exposures
    from hdrvid.types import ExposureCycle

    names = checked_metrics([m.strip() for m in metrics.split(",") if m.strip()])
    declared = parse_exposures(exposures) if exposures else ExposureCycle(DEFAULT_STOPS[cycle])
    if declared is None or (exposures and len(declared) != cycle and cycle != 2):
        raise UsageError("--exposures takes the stops of one cycle here, for example 0,3 or 0,2,4")
    options = SyntheticOptions(declared, scenes, frames, width, height, root=Path(root) if root else None)
    options = replace(options, camera=replace(options.camera, jpeg_quality=jpeg, h264_crf=crf))
    with FrameProgress("eval") as progress:
        total = None if root else scenes * frames
        results = evaluate(
            options,
            model,
            baselines=baselines,
            metric_names=names,
            device=device,
            precision=precision,
            on_progress=lambda done, _: progress.update(done, total),
        )
    written = write_results(Path(out), results) if out else []
    if json:
        print_json(results)
    else:
        typer.echo(results["protocol"])
        typer.echo(table(results))
    for path in written:
        say(f"hdrvid: wrote {path}")


command.__doc__ = HELP


def table(results: dict[str, Any]) -> str:
    """Rows of model and exposure class, columns of measures, as text that also reads well in a log."""
    everything = {results["model"]["name"]: results, **results["baselines"]}
    measures = list(results["overall"])
    widths = [max(10, len(m) + 2) for m in measures]
    titles = "".join(f"{m:>{w}}" for m, w in zip(measures, widths, strict=True))
    lines = [f"{'model':<12} {'frames':<8}{titles}"]
    for model, result in everything.items():
        for label, scores in {**result["by_exposure"], "overall": result["overall"]}.items():
            values = "".join(f"{_number(m, scores[m]):>{w}}" for m, w in zip(measures, widths, strict=True))
            lines.append(f"{model:<12} {label:<8}{values}")
    return "\n".join(lines)


def _number(measure: str, value: float | None) -> str:
    """Decibels with two digits, indices with four; a dash where there is nothing to measure."""
    if value is None:
        return "-"
    return f"{value:.2f}" if "psnr" in measure or "alignment" in measure else f"{value:.4f}"
