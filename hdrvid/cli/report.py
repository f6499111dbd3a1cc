"""`hdrvid report`: what a reconstruction made of a clip, as a page to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hdrvid.cli.console import FrameProgress, print_json, say, sentence_of

if TYPE_CHECKING:
    from hdrvid.html.reconstruction_report import WrittenReport

HELP = """Show a finished reconstruction: one HTML file a clip, which needs nothing else.

RESULTS is the folder given to `hdrvid reconstruct` with -o, or one STEM.json in it. The page, STEM.report.html beside
it, has a slider between frame as shot and result, blend weights and flow, the exposures found, the brightness of every
frame with the flicker between exposures in stops, and the range of luminance that was gained. It stays below 8 MB.

[bold]Examples[/bold]

    hdrvid report out/

    hdrvid report out/shot.json --frames 0,1,120-123 -o shot.html

    hdrvid report out/shot.json --clip /archive/shot.mov --no-weights
"""


def command(
    results: Annotated[
        str,
        typer.Argument(metavar="RESULTS", help="A folder of results, or one STEM.json in it.", show_default=False),
    ],
    clip: Annotated[
        str | None,
        typer.Option(
            metavar="INPUT",
            help="The original clip, where it is no longer where it was. Without it there is nothing to compare with.",
            show_default=False,
        ),
    ] = None,
    frames: Annotated[
        str | None,
        typer.Option(
            metavar="A,B-C",
            help="Frames to show, counted from 0, at most 64; without it about 8, evenly spaced.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("-o", "--out", metavar="FILE", help="The page; STEM.report.html by default.", show_default=False),
    ] = None,
    weights: Annotated[
        bool,
        typer.Option("--weights/--no-weights", help="Run the model on the frames shown, for blend weights and flow."),
    ] = True,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help="The model of the results, where it is a file of your own.", show_default=False
        ),
    ] = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda[:i]|mps", help="Where the model runs.")] = "auto",
    tonemap: Annotated[
        str,
        typer.Option(metavar="NAME", help="Tone curve of the results, as for `hdrvid reconstruct`."),
    ] = "reinhard",
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    from pathlib import Path

    from hdrvid.errors import UsageError
    from hdrvid.html.clip_results import find_clips
    from hdrvid.html.reconstruction_report import write_report
    from hdrvid.html.report_options import ReportOptions, validate_options

    options = ReportOptions(clip, frames, weights, model, device, tonemap)
    validate_options(options)
    clips = find_clips(results)
    given = [name for name, value in (("-o", out), ("--clip", clip), ("--frames", frames)) if value is not None]
    if len(clips) > 1 and given:
        raise UsageError(
            f"{results} holds {len(clips)} clips, but {given[0]} is for one: name its STEM.json, "
            f"such as {clips[0].folder / (clips[0].stem + '.json')}"
        )
    written: list[WrittenReport] = []
    failures: list[str] = []
    for one in clips:
        path = Path(out) if out is not None else one.folder / f"{one.stem}.report.html"
        try:
            with FrameProgress(one.stem) as progress:
                report = write_report(one, path, options, progress.update)
                for text in report.notes:
                    progress.say(f"hdrvid: {text}")
        except Exception as error:
            if len(clips) == 1:
                raise
            failures.append(f"{one.stem}: {sentence_of(error)}")
            continue
        written.append(report)
        failures += report.problems
        if not json:
            _print_report(report)
    if json:
        values = [r.as_dict() for r in written]
        print_json(values[0] if len(clips) == 1 else values)
    for text in failures:
        say(f"hdrvid: error: {text}")
    if failures:
        raise typer.Exit(1)


command.__doc__ = HELP


def _print_report(report: WrittenReport) -> None:
    flicker = "not measured" if report.flicker is None else f"{report.flicker:.3f} stops"
    best = max(report.input_range_stops.values(), default=None)
    single = "" if best is None else f", {best:.1f} in a single exposure"
    typer.echo(
        f"{report.stem}: {report.frames} frame(s), flicker {flicker}, range {report.range_stops:.1f} stops{single}"
    )
    typer.echo(report.path)
