"""`hdrvid eval`: scores on the benchmarks of the field."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hdrvid.cli.console import print_json, say
from hdrvid.cli.options import fields_as_options
from hdrvid.cli.progress import FrameProgress
from hdrvid.errors import InputError, UsageError
from hdrvid.options.evaluate import (
    CAMERA_NAMES,
    DATASETS,
    NUM_FRAMES,
    NUM_SCENES,
    SIZE,
    DatasetOptions,
    EvalOptions,
    SyntheticChoices,
)
from hdrvid.options.parse import parse_cycle

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


@fields_as_options
def command(
    dataset: DatasetOptions,
    choices: SyntheticChoices,
    options: EvalOptions,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FOLDER",
            help=r"Where results and report go. \[default: runs/eval/ and what was scored]",
            show_default=False,
        ),
    ] = None,
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
    _check(dataset, choices)

    from hdrvid.evaluate import evaluate
    from hdrvid.html.evaluation_page import report_html

    kind = dataset.dataset + (f"-{choices.camera}" if choices.camera else "")
    name = f"{kind}-{dataset.num_exposures}-{options.protocol}-{Path(options.model).stem}"
    folder = out or Path("runs/eval") / name
    data = _data(dataset, choices)
    with FrameProgress("eval", kept="scored; the same command goes on after the last whole scene") as progress:
        results = evaluate(
            data,
            options,
            out=folder,
            page=report_html,
            on_progress=lambda done, total, _: progress.update(done, total),
        )
    if json:
        print_json(results)
    else:
        typer.echo(results["protocol"])
        typer.echo(table(results))
    for name in ("results.json", "results.csv", "report.html"):
        say(f"hdrvid: wrote {folder / name}")
    _raise_failures(results["failures"])


command.__doc__ = HELP


def _check(dataset: DatasetOptions, choices: SyntheticChoices) -> None:
    """Raise UsageError for a dataset that does not exist and for options that belong to another dataset."""
    if dataset.dataset not in DATASETS:
        raise UsageError(f"unknown dataset '{dataset.dataset}': --dataset takes {', '.join(DATASETS)}")
    chosen = [f"--{name}" for name in choices.chosen()]
    if chosen and dataset.dataset != "synthetic":
        raise UsageError(f"{', '.join(chosen)} says what to make; a published dataset is what it is: leave it out")
    if dataset.align and dataset.dataset == "synthetic":
        raise UsageError("--align is for kalantari, which comes with the camera's motion: leave it out")


def _data(dataset: DatasetOptions, choices: SyntheticChoices) -> Benchmark | SyntheticOptions:
    """The dataset, ready to be scored."""
    if dataset.dataset == "synthetic":
        return _synthetic(dataset, choices)
    from hdrvid.data.benchmarks import open_benchmark

    return open_benchmark(dataset.dataset, dataset.root, dataset.num_exposures, align=dataset.align)


def _synthetic(dataset: DatasetOptions, choices: SyntheticChoices) -> SyntheticOptions:
    from hdrvid.evaluate import CAMERAS, SyntheticOptions
    from hdrvid.types import ExposureCycle

    name = choices.camera or CAMERA_NAMES[0]
    if name not in CAMERAS:
        raise UsageError(f"--camera takes one of {', '.join(CAMERA_NAMES)}, not '{name[:40]}'")
    num_exposures, named = dataset.num_exposures, CAMERAS[name]
    cycle = parse_cycle(choices.exposures) if choices.exposures else ExposureCycle(named.stops[num_exposures])
    if len(cycle) != num_exposures != 2:
        raise UsageError(f"--exposures names {len(cycle)} exposures, but --cycle {num_exposures}: leave --cycle out")
    width, height = choices.size or SIZE
    camera = named.camera
    if choices.jpeg is not None or choices.crf is not None:
        camera = replace(camera, jpeg_quality=choices.jpeg, h264_crf=choices.crf)
    scenes, frames = choices.scenes or NUM_SCENES, choices.frames or NUM_FRAMES
    return SyntheticOptions(cycle, scenes, frames, width, height, camera=camera, camera_name=name, root=dataset.root)


def _raise_failures(failures: list[dict[str, Any]]) -> None:
    """Name what could not be scored. Raises InputError where there is anything."""
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
