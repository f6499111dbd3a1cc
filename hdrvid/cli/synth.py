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

    hdrvid synth --cinematic HdM-HDR-2014/ -o HDR_Synthetic_Test_Dataset/ --cycle 3     (the test set of the papers)
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
    frames: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Number of frames: 12; with --cinematic all.", show_default=False),
    ] = None,
    size: Annotated[str, typer.Option(metavar="WxH", help="Size of the frames in pixels.")] = "640x360",
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Another seed, another scene.")] = 0,
    video: Annotated[bool, typer.Option("--video", help="Write clip.mp4 (H.264) instead of 16-bit frames.")] = False,
    cinematic: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Make the cinematic test set from the HdM-HDR-2014 frames in this folder, as published.",
            show_default=False,
        ),
    ] = None,
    cycle: Annotated[int, typer.Option("--cycle", min=2, max=3, metavar="2|3", help="--cinematic: exposures.")] = 2,
    json: Annotated[bool, typer.Option("--json", help="Print what was made as JSON on stdout.")] = False,
) -> None:
    if cinematic is not None:
        if source is not None or video:
            raise UsageError("--cinematic makes frames from its own folder: leave SOURCE and --video out")
        _make_cinematic(Path(cinematic), Path(out), cycle, frames, seed, json)
        return
    width, height = parse_size(size)
    frames = frames or 12

    from hdrvid.data.synth import synth_to_folder
    from hdrvid.io.exposure_files import parse_exposures

    stops = parse_exposures(exposures)
    if stops is None:
        raise UsageError("--exposures auto has no meaning here: give the stops of one cycle, for example 0,3")
    with FrameProgress("synth") as progress:
        facts = synth_to_folder(
            Path(out),
            stops,
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
    typer.echo(f"{Path(out) / facts['clip']}: {frames} frames {width}x{height}, exposures {stops} stops")
    typer.echo(Path(out) / "truth")


command.__doc__ = HELP


def _make_cinematic(source: Path, out: Path, cycle: int, frames: int | None, seed: int, as_json: bool) -> None:
    from hdrvid.data.cinematic import prepare_cinematic

    with FrameProgress("synth") as progress:
        scenes = prepare_cinematic(source, out, cycle, max_frames=frames, seed=seed, progress=progress.update)
    if as_json:
        print_json({"folder": str(out), "cycle": cycle, "scenes": scenes})
        return
    typer.echo(f"{out}: {', '.join(scenes)}")
    typer.echo(f"hdrvid eval --dataset cinematic --root {out} --cycle {cycle}")


NAMED_SIZES = {f"{height}p": (height * 16 // 9, height) for height in (720, 1080, 2160, 4320)}
"""Width and height of the sizes of television."""


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) of '1280x720' or a name of NAMED_SIZES. Raises UsageError.

    >>> parse_size("1280x720"), parse_size("2160p")
    ((1280, 720), (3840, 2160))
    """
    named = NAMED_SIZES.get(text.strip().lower())
    if named:
        return named
    match = re.fullmatch(r"(\d+)[xX](\d+)", text.strip())
    if match is None or not (16 <= int(match[1]) <= 16384 and 16 <= int(match[2]) <= 16384):
        raise UsageError(f"--size takes WIDTHxHEIGHT in pixels, 16 to 16384 each, like 1280x720 or 720p, not '{text}'")
    return int(match[1]), int(match[2])
