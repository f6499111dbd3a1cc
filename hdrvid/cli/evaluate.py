"""`hdrvid eval`: scores on the benchmarks of the field."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hdrvid.cli.console import FrameProgress, print_json, say
from hdrvid.errors import InputError, UsageError
from hdrvid.options.parse import parse_size

if TYPE_CHECKING:
    from hdrvid.data.benchmarks import Benchmark
    from hdrvid.evaluate import SyntheticOptions

HELP = """Score a model on a benchmark.

The datasets are read as they are published, below --root: 'cinematic' (HDR_Synthetic_Test_Dataset),
'deephdrvideo-dynamic', 'deephdrvideo-static', and 'kalantari' (TOG13_Dynamic_Dataset), which has no ground truth and
gets the measures that need none. 'synthetic' is made on the spot and works on every machine: hdrvid's own scenes, or
clips made from the HDR pictures and panoramas below --root.

The protocol line printed above the table is what to quote with a score. The folder --out gets results.json,
results.csv and report.html (open it in a browser). The same command again goes on where it was interrupted.

[bold]Examples[/bold]

    hdrvid eval --dataset synthetic --baselines

    hdrvid eval --dataset cinematic --root HDR_Synthetic_Test_Dataset/ --protocol hdrflow --baselines

    hdrvid eval --dataset kalantari --root TOG13_Dynamic_Dataset/ --cycle 3 --out scores/

    hdrvid eval --compare scores/a/results.json scores/b/results.json
"""

DATASETS = ("synthetic", "kalantari", "cinematic", "deephdrvideo-dynamic", "deephdrvideo-static")
_SCENES, _FRAMES, _SIZE = 12, 8, "448x256"


def command(
    dataset: Annotated[str, typer.Option(metavar="NAME", help=f"One of {', '.join(DATASETS)}.")] = "synthetic",
    root: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Where it lies. [default: $HDRVID_DATA/NAME, else ~/.cache/hdrvid/NAME; synthetic: own scenes]",
            show_default=False,
        ),
    ] = None,
    cycle: Annotated[int, typer.Option(min=2, max=3, metavar="2|3", help="Exposures in a cycle.")] = 2,
    protocol: Annotated[str, typer.Option(metavar="deephdrvideo|hdrflow", help="Whose way to score.")] = "deephdrvideo",
    model: Annotated[str, typer.Option(metavar="NAME|FILE", help="Model to score.")] = "default",
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Score the reference frame alone and the classical pipeline too.")
    ] = False,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Measures, separated by commas, or 'all'. [default: those that need no extra package]",
            show_default=False,
        ),
    ] = None,
    exposures: Annotated[
        str | None,
        typer.Option(
            metavar="0,3|0,2,4", help="Synthetic: stops of one cycle. [default: 0,3 or 0,2,4]", show_default=False
        ),
    ] = None,
    scenes: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help=f"Synthetic: own scenes. [default: {_SCENES}]", show_default=False),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(min=3, metavar="N", help=f"Synthetic: frames of a clip. [default: {_FRAMES}]", show_default=False),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="WxH", help=f"Synthetic: size of the clips. [default: {_SIZE}]", show_default=False),
    ] = None,
    jpeg: Annotated[
        int | None,
        typer.Option(
            min=1, max=100, metavar="QUALITY", help="Synthetic: code every frame as JPEG.", show_default=False
        ),
    ] = None,
    crf: Annotated[
        float | None,
        typer.Option(
            min=1, max=51, metavar="CRF", help="Synthetic: code the clips as H.264 of this CRF.", show_default=False
        ),
    ] = None,
    align: Annotated[
        bool, typer.Option("--align", help="kalantari: move the neighbours by the set's global alignment first.")
    ] = False,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda[:i]|mps", help="Where the networks run.")] = "auto",
    precision: Annotated[str, typer.Option(metavar="auto|fp32|bf16|fp16", help="Arithmetic of the networks.")] = "auto",
    out: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FOLDER",
            help="Where results and report go. [default: runs/eval/DATASET-CYCLE-PROTOCOL-MODEL]",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Score anew what an earlier run has scored with the same settings.")
    ] = False,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="A.json B.json", help="Do nothing but compare two results.json: B minus A.", show_default=False
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the results as JSON on stdout.")] = False,
) -> None:
    if compare:
        _compare(Path(compare[0]), Path(compare[1]), json)
        return
    if dataset not in DATASETS:
        raise UsageError(f"unknown dataset '{dataset}': --dataset takes {', '.join(DATASETS)}")
    of_synthetic = {
        "--exposures": exposures, "--scenes": scenes, "--frames": frames, "--size": size, "--jpeg": jpeg, "--crf": crf
    }  # fmt: skip
    given = [name for name, value in of_synthetic.items() if value is not None]
    if given and dataset != "synthetic":
        raise UsageError(f"{', '.join(given)} says what to make; a published dataset is what it is: leave it out")

    from hdrvid.evaluate import evaluate

    data: Benchmark | SyntheticOptions
    if align and dataset == "synthetic":
        raise UsageError("--align is for kalantari, which comes with the camera's motion: leave it out")
    if dataset == "synthetic":
        data = _synthetic(root, cycle, exposures, scenes or _SCENES, frames or _FRAMES, size or _SIZE, jpeg, crf)
    else:
        from hdrvid.data.benchmarks import open_benchmark

        data = open_benchmark(dataset, Path(root) if root else None, cycle, align=align)
    folder = Path(out) if out else Path("runs/eval") / f"{dataset}-{cycle}-{protocol}-{Path(model).stem}"
    names = None if metrics is None else [m.strip() for m in metrics.split(",") if m.strip()]
    with FrameProgress("eval", kept="scored; the same command goes on after the last whole scene") as progress:
        results = evaluate(
            data,
            model,
            baselines=baselines,
            metric_names=names,
            protocol=protocol,
            device=device,
            precision=precision,
            out=folder,
            overwrite=overwrite,
            on_progress=lambda done, total, _: progress.update(done, total),
        )
    if json:
        print_json(results)
    else:
        typer.echo(results["protocol"])
        typer.echo(table(results))
    for name in ("results.json", "results.csv", "report.html"):
        say(f"hdrvid: wrote {folder / name}")
    failures = results["failures"]
    for failure in failures:
        where = "" if failure["scene"] is None else f"{failure['scene']}: "
        where += "" if failure["frame"] is None else f"frame {failure['frame']}: "
        say(f"hdrvid: not scored: {where}{failure['error']}")
    if failures:
        things = "thing" if len(failures) == 1 else "things"
        raise InputError(
            f"{len(failures)} {things} listed above could not be scored and {'is' if len(failures) == 1 else 'are'} "
            "not part of the means: repair the files and run the same command again, the other scenes are kept"
        )


command.__doc__ = HELP


def _synthetic(
    root: str | None,
    cycle: int,
    exposures: str | None,
    scenes: int,
    frames: int,
    size: str,
    jpeg: int | None,
    crf: float | None,
) -> SyntheticOptions:
    from dataclasses import replace

    from hdrvid.evaluate import DEFAULT_STOPS, SyntheticOptions
    from hdrvid.io.exposure_files import parse_exposures
    from hdrvid.types import ExposureCycle

    width, height = parse_size(size)
    declared = parse_exposures(exposures) if exposures else ExposureCycle(DEFAULT_STOPS[cycle])
    if declared is None or (exposures and len(declared) != cycle and cycle != 2):
        raise UsageError("--exposures takes the stops of one cycle here, for example 0,3 or 0,2,4")
    options = SyntheticOptions(declared, scenes, frames, width, height, root=Path(root) if root else None)
    return replace(options, camera=replace(options.camera, jpeg_quality=jpeg, h264_crf=crf))


def table(results: dict[str, Any]) -> str:
    """Rows of model and exposure class, columns of measures, as text that also reads well in a log."""
    everything = {results["model"]["name"]: results, **results["baselines"]}
    measures = list(results["overall"])
    widths = [max(10, len(m) + 2) for m in measures]
    titles = "".join(f"{m:>{w}}" for m, w in zip(measures, widths, strict=True))
    lines = [f"{'model':<12} {'frames':<8}{titles}"]
    for model, result in everything.items():
        rows = {**result["by_exposure"], "overall": result["overall"], "spread": result["spread"]}
        for label, scores in rows.items():
            values = "".join(f"{_number(m, scores[m]):>{w}}" for m, w in zip(measures, widths, strict=True))
            lines.append(f"{model:<12} {label:<8}{values}")
    return "\n".join(lines)


def _number(measure: str, value: float | None) -> str:
    """Two digits for decibels, percent and other measures of that size, four for indices; a dash for nothing."""
    if value is None:
        return "-"
    return f"{value:.4f}" if measure.startswith("ssim") or measure == "flicker" else f"{value:.2f}"


def _compare(a_path: Path, b_path: Path, as_json: bool) -> None:
    from hdrvid.evaluate import compare, read_results

    a, b = read_results(a_path), read_results(b_path)
    differences = compare(a, b)
    if a["protocol"] != b["protocol"]:
        say("hdrvid: warning: the two were not scored in the same way")
        say(f"hdrvid:   A: {a['protocol']}")
        say(f"hdrvid:   B: {b['protocol']}")
    if as_json:
        finite = {d.measure: {k: None if v != v else v for k, v in asdict(d).items()} for d in differences}
        print_json({"a": a["model"]["name"], "b": b["model"]["name"], "differences": finite})
        return
    typer.echo(f"A: {a['model']['name']} ({a_path}); B: {b['model']['name']} ({b_path})")
    typer.echo(f"{'measure':<20}{'A':>10}{'B':>10}{'B - A':>10}   {'95 % interval':<20}{'p':>8}  pairs")
    for d in differences:
        digits = 4 if _number(d.measure, 0.0) == "0.0000" else 2
        interval = "-" if d.low != d.low else f"{d.low:+.{digits}f} .. {d.high:+.{digits}f}"
        p = "-" if d.p_value != d.p_value else f"{d.p_value:.2g}"
        typer.echo(
            f"{d.measure:<20}{d.mean_a:>10.{digits}f}{d.mean_b:>10.{digits}f}{d.difference:>+10.{digits}f}   "
            f"{interval:<20}{p:>8}  {d.pairs} scene{'s' * (d.pairs != 1)}"
        )
