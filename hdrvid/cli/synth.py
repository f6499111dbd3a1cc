"""`hdrvid synth`: alternating-exposure clips with ground truth."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from hdrvid.cli.console import FrameProgress, print_json
from hdrvid.errors import UsageError

HELP = """Make an alternating-exposure clip with ground truth.

Without SOURCE the clip shows one of hdrvid's own moving scenes; SOURCE is a folder of HDR frames (EXR, .hdr) or one
HDR panorama. The folder given with -o gets what a camera would have stored, with noise and clipping (frames/ or
clip.mp4, coded with gamma 2.2), the radiance it was made from (truth/, 1.0 = clipping of the shortest exposure) and
Exposures.txt: enough to try `hdrvid reconstruct` and to measure it. The same seed gives the same clip.

[bold]Examples[/bold]

    hdrvid synth -o clip/ --exposures 0,3

    hdrvid synth -o clip/ --exposures 0,2,4 --frames 24 --size 1280x720 --seed 7 --video

    hdrvid synth panorama.exr -o clip/ --exposures 0,3
"""


def command(
    out: Annotated[str, typer.Option("-o", "--out", metavar="FOLDER", help="Where the clip goes.", show_default=False)],
    source: Annotated[
        str | None,
        typer.Argument(metavar="SOURCE", help="A folder of HDR frames, or a panorama.", show_default=False),
    ] = None,
    exposures: Annotated[
        str, typer.Option(metavar="0,3|0,2,4", help="Stops of one cycle, beginning with the first frame.")
    ] = "0,3",
    frames: Annotated[int, typer.Option(min=1, metavar="N", help="Number of frames.")] = 12,
    size: Annotated[str, typer.Option(metavar="WxH", help="Size of the frames in pixels.")] = "640x360",
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Another seed, another scene.")] = 0,
    video: Annotated[bool, typer.Option("--video", help="Write clip.mp4 (H.264) instead of 16-bit frames.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print what was made as JSON on stdout.")] = False,
) -> None:
    width, height = parse_size(size)

    from hdrvid.data.synth import synth_to_folder
    from hdrvid.io.exposure_files import parse_exposures

    cycle = parse_exposures(exposures)
    if cycle is None:
        raise UsageError("--exposures auto has no meaning here: give the stops of one cycle, for example 0,3")
    with FrameProgress("synth") as progress:
        facts = synth_to_folder(
            Path(out),
            cycle,
            frames,
            width,
            height,
            seed,
            source=None if source is None else Path(source),
            video=video,
            progress=progress.update,
        )
    if json:
        print_json(facts)
        return
    typer.echo(f"{Path(out) / facts['clip']}: {frames} frames {width}x{height}, exposures {cycle} stops")
    typer.echo(Path(out) / "truth")


command.__doc__ = HELP


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) of '1280x720'. Raises UsageError.

    >>> parse_size("1280x720")
    (1280, 720)
    """
    match = re.fullmatch(r"(\d+)[xX](\d+)", text.strip())
    if match is None or not (16 <= int(match[1]) <= 16384 and 16 <= int(match[2]) <= 16384):
        raise UsageError(f"--size takes WIDTHxHEIGHT in pixels, 16 to 16384 each, like 1280x720, not '{text}'")
    return int(match[1]), int(match[2])
