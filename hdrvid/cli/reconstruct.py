"""`hdrvid reconstruct`: clips in, HDR frames out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hdrvid.cli.console import (
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
    Terminated,
    echo,
    exit_code_of,
    leave_unterminated,
    opening,
    print_json,
    say,
    sentence_of,
)
from hdrvid.cli.options import fields_as_options
from hdrvid.cli.progress import FrameProgress
from hdrvid.errors import HdrvidError, InputError
from hdrvid.options.metadata import OUTPUT
from hdrvid.options.reconstruct import VIDEO_SUFFIXES, ReconstructOptions

if TYPE_CHECKING:
    from hdrvid.pipeline.report import ClipReport
    from hdrvid.ranks import Ranks

HELP = """Reconstruct the full radiance of every frame of an alternating-exposure clip.

INPUT is a video file, a folder of frames, or a pattern (shot.%06d.tif, 'shot.*.tif'). Several clips are done in turn.
For each the folder given with -o gets STEM.NNNNNN.exr, STEM.preview.mp4 and STEM.json, which says what was detected and
used. Frames keep the numbers of an image sequence, shotA.1001.exr from shotA.1001.png; those of a video count from 0.
A run that was stopped goes on where it was when the same command is given again.

[bold]Examples[/bold]

    hdrvid reconstruct shot.mov -o out/

    hdrvid reconstruct frames/ -o out/ --exposures 0,3 --response rec709

    hdrvid reconstruct A001.mxf A002.mxf -o out/ --exposures 0,2,4 --white shortest

    hdrvid reconstruct A001.mov X001.mov -o out/ --tracks 0,6     (two files, two exposures of each moment)

    hdrvid reconstruct shot.mov -o out/ --frames 240-479     (one job of a render farm)

    torchrun --nproc-per-node 4 -m hdrvid reconstruct shot.mov -o out/     (four processes share the frames)

With --frames the report and the videos carry the range in their names, STEM.000240-000479.json; the same command
without --frames, run at the end, keeps the frames and replaces these files by those of the whole clip.
"""


@fields_as_options
def command(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT", help="Video files, folders of frames, or patterns.", show_default=False),
    ],
    out: Annotated[
        str,
        typer.Option(
            "-o", "--out", metavar="FOLDER", help="Where the results go.", show_default=False, rich_help_panel=OUTPUT
        ),
    ],
    options: ReconstructOptions,
    json: Annotated[
        bool, typer.Option("--json", help="Print the reports as JSON on stdout.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    opening(inputs)
    from hdrvid.ranks import joined

    with joined("cpu") as ranks, _first_speaks(ranks):
        reports, failures = _reconstruct_all(inputs, out, options, ranks, quiet=json)
        if json and ranks.is_main:
            values = [r.as_dict() for r in reports]
            values += [{"source": name, "problem": text} for name, text in failures if name not in _sources(reports)]
            print_json(values[0] if len(values) == 1 else values)
        if failures:
            leave_unterminated()
            # with one clip its error is the whole story; with several the failures are gathered at the end
            for name, text in failures if ranks.is_main else ():
                alone = len(failures) == 1 and not reports
                say(f"hdrvid: error: {text}" if alone else f"hdrvid: error: {name}: {text}")
            ranks.let_main_speak()
            raise typer.Exit(1)


@contextmanager
def _first_speaks(ranks: Ranks) -> Iterator[None]:
    """Of several processes the first one prints what ended them all; the others only leave with its exit code."""
    try:
        yield
    except (HdrvidError, KeyboardInterrupt, Terminated) as error:
        if ranks.world == 1 or os.environ.get("HDRVID_DEBUG") == "1":
            raise
        leave_unterminated()
        if isinstance(error, HdrvidError):
            code = exit_code_of(error) if ranks.is_main else error.exit_code
            ranks.let_main_speak()
            raise typer.Exit(code) from error
        if ranks.is_main:
            raise
        raise typer.Exit(EXIT_TERMINATED if isinstance(error, Terminated) else EXIT_INTERRUPTED) from error


command.__doc__ = HELP


def _sources(reports: list[ClipReport]) -> set[str]:
    return {r.source for r in reports}


def _reconstruct_all(
    inputs: list[str], out: str, options: ReconstructOptions, ranks: Ranks, quiet: bool
) -> tuple[list[ClipReport], list[tuple[str, str]]]:
    """Every clip in turn: the reports, and (clip, sentence) of those that failed. The same in every process."""
    from hdrvid.pipeline.options import validate_options

    ranks.each(lambda: validate_options(options, out))
    clips, failures = ranks.from_main(lambda: _opened(inputs, options))
    reports: list[ClipReport] = []
    for group, source, stem in clips:
        try:
            report = _reconstruct_one(group, stem, out, options, ranks, quiet)
        except Exception as error:
            # an unexpected error is of this process alone; the other processes wait for it
            if (len(clips) == 1 and not failures) or not (isinstance(error, HdrvidError) or ranks.world == 1):
                raise
            failures.append((source, sentence_of(error)))
            continue
        reports.append(report)
        if report.problem:
            failures.append((report.source, report.problem))
    return reports, failures


def _opened(
    inputs: list[str], options: ReconstructOptions
) -> tuple[list[tuple[list[str], str, str]], list[tuple[str, str]]]:
    """The clips that can be opened, as (inputs, source, stem), and (clip, sentence) for the others."""
    from hdrvid.detect.clip import open_input
    from hdrvid.io import open_clip, split_inputs

    clips: list[tuple[list[str], str, str]] = []
    failures: list[tuple[str, str]] = []
    stems: dict[str, str] = {}
    for group in [inputs] if options.tracks is not None else split_inputs(inputs):
        try:
            with open_input(group, options, options.fps) if options.tracks is not None else open_clip(group) as reader:
                source, stem = reader.info.source, reader.info.stem
            if stem in stems:
                raise InputError(
                    f"{stems[stem]} and {source} would both be written to {stem}.*: "
                    "reconstruct them into different folders"
                )
        except Exception as error:
            failures.append((group[0], sentence_of(error)))
            continue
        stems[stem] = source
        clips.append((group, source, stem))
    return clips, failures


def _reconstruct_one(
    group: list[str], stem: str, out: str, options: ReconstructOptions, ranks: Ranks, quiet: bool
) -> ClipReport:
    from hdrvid.pipeline.run import reconstruct_clip

    if not ranks.is_main:
        return reconstruct_clip(group, out, options, ranks=ranks)
    same = "the same command without --overwrite" if options.overwrite else "the same command"
    with FrameProgress(stem, kept=f"kept; {same} goes on") as progress:
        report = reconstruct_clip(
            group,
            out,
            options,
            progress=progress.update,
            message=lambda text: progress.say(f"hdrvid: {text}"),
            phase=progress.phase,
            ranks=ranks,
        )
        progress.stop()
        if not quiet:
            _print_report(report)  # warnings come behind it
    return report


def _print_report(report: ClipReport) -> None:
    facts: dict[str, Any] = report.as_dict()
    stops = ",".join(f"{s:.4g}" for s in facts["stops"])
    sure = str(facts["exposures_from"])
    if facts["confidence"] is not None:
        sure += f", confidence {facts['confidence']:.2f}"
    width, height = facts["size"]
    echo(
        f"{report.source}: {width}x{height}, exposures {stops} stops ({sure}), response {facts['response']} "
        f"({facts['response_from']}), model {facts['model']['name']}"
        f"{', grey taken as R = G = B' if 'grey' in facts['details'] else ''}"
    )
    outputs = facts["outputs"]
    count = facts["frames"]["count"]
    kept = f", {facts['frames']['kept']} of them from an earlier run" if facts["frames"]["kept"] else ""
    flicker = facts["quality"]["flicker_stops"]
    even = "" if flicker is None else f", flicker {flicker:.3f} stops"
    missing = facts["quality"]["unmeasured"]
    clipped = f", {100 * missing['mean']:.1f} % unmeasured" if missing and missing["mean"] >= 5e-4 else ""
    echo(f"{outputs['first_frame']} ... {count} frame(s){kept}{even}{clipped}")
    for kind in VIDEO_SUFFIXES:
        if outputs.get(kind):
            echo(outputs[kind])
    echo(outputs["report"])
