"""`hdrvid report`: what a reconstruction made of a clip, as a page to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hdrvid.cli.console import print_json, say, sentence_of
from hdrvid.cli.options import fields_as_options
from hdrvid.cli.progress import FrameProgress
from hdrvid.errors import UsageError
from hdrvid.options.report import ReportOptions

if TYPE_CHECKING:
    from hdrvid.html.reconstruction_report import WrittenReport

HELP = """Show a finished reconstruction: one HTML file a clip, which needs nothing else.

RESULTS is the folder given to `hdrvid reconstruct` with -o, or one STEM.json in it. The page, STEM.report.html beside
it, begins with pictures: result and frame as shot in motion with a wipe between them, an exposure slider over the
radiance of some results, a contact sheet with histograms and what is clipped or dark. Then come verdicts in words
(flicker, exposures, camera curve), charts, blend weights and flow. It stays below 5 MB and works without a network.

[bold]Examples[/bold]

    hdrvid report out/

    hdrvid report out/shot.json --frames 0,1,120-123 -o shot.html

    hdrvid report out/shot.json --clip /archive/shot.mov --no-weights
"""


@fields_as_options
def command(
    results: Annotated[
        str,
        typer.Argument(metavar="RESULTS", help="A folder of results, or one STEM.json in it.", show_default=False),
    ],
    options: ReportOptions,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE", help="The page; STEM.report.html by default.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    from hdrvid.html.clip_results import find_clips
    from hdrvid.html.reconstruction_report import write_report
    from hdrvid.html.report_options import validate_options

    validate_options(options)
    clips = find_clips(results)
    given = [n for n, v in (("-o", out), ("--clip", options.clip), ("--frames", options.frames)) if v is not None]
    if len(clips) > 1 and given:
        raise UsageError(
            f"{results} holds {len(clips)} clips, but {given[0]} is for one: name its STEM.json, "
            f"such as {clips[0].folder / (clips[0].stem + '.json')}"
        )
    written: list[WrittenReport] = []
    failures: list[str] = []
    for clip in clips:
        path = clip.folder / f"{clip.stem}.report.html" if out is None else out
        try:
            with FrameProgress(clip.stem) as progress:
                report = write_report(clip, path, options, progress.update)
                for text in report.notes:
                    progress.say(f"hdrvid: {text}")
        except Exception as error:
            if len(clips) == 1:
                raise
            failures.append(f"{clip.stem}: {sentence_of(error)}")
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
