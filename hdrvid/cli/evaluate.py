"""`hdrvid eval`: scores on the benchmarks of the field."""

from __future__ import annotations

import os
import re
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
    ExportOptions,
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

The protocol line printed above the table is what to quote with a score. The folder --out gets results.json and
results.csv, table.md and table.tex, figure.png (a crop of the worst frame), times.svg (quality against time) and
report.html (open it in a browser). The same command again goes on where it was interrupted.

Results of other programs are scored on the same frames: --export-inputs writes these, --predictions reads what was made
of them. --compare takes two results.json; FILE:NAME is a model in it other than its first.

[bold]Examples[/bold]

    hdrvid eval --dataset synthetic --baselines

    hdrvid eval --dataset cinematic --root HDR_Synthetic_Test_Dataset/ --protocol hdrflow --baselines

    hdrvid eval --dataset kalantari --root TOG13_Dynamic_Dataset/ --cycle 3 --out scores/

    hdrvid eval --dataset synthetic --inner --export-inputs inputs/

    hdrvid eval --dataset synthetic --inner --model default,fast --predictions HDRFlow=results/hdrflow/

    hdrvid eval --compare scores/a/results.json scores/b/results.json:HDRFlow
"""

MAX_NAMED = 8
"""Scenes that a warning names."""


@fields_as_options
def command(
    dataset: DatasetOptions,
    choices: SyntheticChoices,
    options: EvalOptions,
    export: ExportOptions,
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
            metavar="A.json B.json",
            help="Do nothing but compare two results.json scene by scene: B minus A.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the results as JSON on stdout.")] = False,
) -> None:
    if compare:
        _compare(compare[0], compare[1], json)
        return
    _check(dataset, choices)
    if export.export_inputs is not None:
        _export(export.export_inputs, dataset, choices, options, export.export_truth, json)
        return
    if export.export_truth:
        raise UsageError("--export-truth is for --export-inputs FOLDER: give it too, or leave --export-truth out")

    from hdrvid.evaluate import RESULT_FILES, evaluate
    from hdrvid.html.evaluation_page import report_html
    from hdrvid.html.evaluation_times import times_svg

    folder = out or Path("runs/eval") / _folder_name(dataset, choices, options)
    data = _data(dataset, choices)
    with FrameProgress("eval", kept="scored; the same command goes on after the last whole scene") as progress:
        results = evaluate(
            data,
            options,
            out=folder,
            page=report_html,
            plot=times_svg,
            on_progress=lambda done, total, _: progress.update(done, total),
        )
    if json:
        print_json(results)
    else:
        typer.echo(results["protocol"])
        typer.echo(table(results))
    for text in results["warnings"]:
        say(f"hdrvid: warning: {text}")
    for name in RESULT_FILES:
        if (folder / name).exists():
            say(f"hdrvid: wrote {folder / name}")
    _raise_failures(results["failures"])


command.__doc__ = HELP


def _folder_name(dataset: DatasetOptions, choices: SyntheticChoices, options: EvalOptions) -> str:
    """What was scored, as the name of a folder."""
    kind = dataset.dataset + (f"-{choices.camera}" if choices.camera else "") + ("-inner" if choices.inner else "")
    names = [*(Path(name).stem for name in options.models), *(p.name for p in options.predictions)]
    parts = "+".join(re.sub(r"[^\w.-]+", "_", name) for name in names)
    return f"{kind}-{dataset.num_exposures}-{options.protocol}-{parts}"


def _export(
    folder: Path,
    dataset: DatasetOptions,
    choices: SyntheticChoices,
    options: EvalOptions,
    with_truth: bool,
    as_json: bool,
) -> None:
    """Write the frames of the dataset for other programs."""
    from hdrvid.data.benchmarks import Benchmark
    from hdrvid.evaluate import export_inputs

    if dataset.align:
        raise UsageError("--export-inputs writes the frames as they are: leave --align out")
    if options.predictions:
        raise UsageError("--export-inputs does nothing but export: leave --predictions out, and score with them after")
    data = _data(dataset, choices)
    bench = data if isinstance(data, Benchmark) else data.benchmark()
    with FrameProgress("export") as progress:
        facts = export_inputs(
            bench, folder, with_truth=with_truth, on_progress=lambda done, total, _: progress.update(done, total)
        )
    if as_json:
        print_json(facts)
        return
    frames = sum(len(scene["frames"]) for scene in facts["scenes"].values())
    scored = sum(len(scene["scored"]) for scene in facts["scenes"].values())
    typer.echo(
        f"{folder}: {len(facts['scenes'])} scenes, {frames} frames, {scored} of them scored, 16-bit TIFF, gamma 2.2"
        + (", with truth" if with_truth else "")
    )
    typer.echo("results go into a folder a scene, named as the frames: --predictions NAME=FOLDER scores them")


def _check(dataset: DatasetOptions, choices: SyntheticChoices) -> None:
    """Raise UsageError for a dataset that does not exist and for options that belong to another dataset."""
    if dataset.dataset not in DATASETS:
        raise UsageError(f"unknown dataset '{dataset.dataset}': --dataset takes {', '.join(DATASETS)}")
    chosen = [f"--{name}" for name in choices.chosen() if name != "inner" or choices.inner]
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
    return SyntheticOptions(
        cycle,
        scenes,
        frames,
        width,
        height,
        camera=camera,
        camera_name=name,
        root=dataset.root,
        inner=bool(choices.inner),
    )


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
    from hdrvid.evaluate.results import models_of

    everything = models_of(results)
    first = max(12, *(len(name) for name in everything))
    measures = list(results["overall"])
    widths = [max(10, len(m) + 2) for m in measures]
    titles = "".join(f"{m:>{w}}" for m, w in zip(measures, widths, strict=True))
    lines = [f"{'model':<{first}} {'frames':<8}{titles}"]
    for model, result in everything.items():
        rows = {**result["by_exposure"], "overall": result["overall"], "spread": result["spread"]}
        for label, scores in rows.items():
            values = "".join(f"{_number(m, scores[m]):>{w}}" for m, w in zip(measures, widths, strict=True))
            lines.append(f"{model:<{first}} {label:<8}{values}")
    return "\n".join(lines)


def _number(measure: str, value: float | None) -> str:
    """Two digits for decibels, percent and other measures of that size, four for indices; a dash for nothing."""
    if value is None:
        return "-"
    return f"{value:.4f}" if measure.startswith("ssim") or measure == "flicker" else f"{value:.2f}"


def _results_of(text: str) -> tuple[dict[str, Any], str]:
    """The results that 'FILE' or 'FILE:NAME' means, and the path."""
    from hdrvid.evaluate import of_model, read_results

    path, colon, name = text.rpartition(":")
    if os.path.exists(text) or not colon or not os.path.isfile(path):
        return read_results(Path(text)), text
    return of_model(read_results(Path(path)), name), path


def _compare(a_text: str, b_text: str, as_json: bool) -> None:
    from hdrvid.evaluate import compare, frames_text, scoring_of, unpaired

    (a, a_path), (b, b_path) = _results_of(a_text), _results_of(b_text)
    differences, alone = compare(a, b), unpaired(a, b)
    if scoring_of(a) != scoring_of(b):
        say("hdrvid: warning: the two were not scored in the same way")
        say(f"hdrvid:   A: {a['protocol']}")
        say(f"hdrvid:   B: {b['protocol']}")
    for which, scenes in (("A", alone.only_a), ("B", alone.only_b)):
        if scenes:
            more = f" and {len(scenes) - MAX_NAMED} more" if len(scenes) > MAX_NAMED else ""
            named = ", ".join(scenes[:MAX_NAMED])
            say(f"hdrvid: warning: left out, in {which} alone: scene{'s' * (len(scenes) != 1)} {named}{more}")
    for scene, indices in alone.frames.items():
        say(f"hdrvid: warning: left out, in one of them alone: {frames_text(indices)} of scene {scene}")
    if as_json:
        finite = {d.measure: {k: None if v != v else v for k, v in asdict(d).items()} for d in differences}
        names = {"a": a["model"]["name"], "b": b["model"]["name"]}
        print_json({**names, "differences": finite, "unpaired": asdict(alone)})
        return
    typer.echo(f"A: {a['model']['name']} ({a_path}); B: {b['model']['name']} ({b_path})")
    heads = f"{'measure':<20}{'A':>10}{'B':>10}{'B - A':>10}   {'95 % interval':<20}{'p':>8}  {'pairs':<10}"
    typer.echo(f"{heads}  B better, worse")
    for d in differences:
        digits = 4 if _number(d.measure, 0.0) == "0.0000" else 2
        interval = "-" if d.low != d.low else f"{d.low:+.{digits}f} .. {d.high:+.{digits}f}"
        p = "-" if d.p_value != d.p_value else f"{d.p_value:.2g}"
        pairs = f"{d.pairs} scene{'s' * (d.pairs != 1)}"
        typer.echo(
            f"{d.measure:<20}{d.mean_a:>10.{digits}f}{d.mean_b:>10.{digits}f}{d.difference:>+10.{digits}f}   "
            f"{interval:<20}{p:>8}  {pairs:<10}  {d.better}, {d.worse}"
        )
