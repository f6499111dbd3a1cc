"""`hdrvid synth`: alternating-exposure clips with ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hdrvid.cli.console import print_json
from hdrvid.cli.options import fields_as_options
from hdrvid.cli.progress import FrameProgress
from hdrvid.errors import UsageError
from hdrvid.options.synth import CinematicOptions, SynthOptions

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


@fields_as_options
def command(
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FOLDER", help="Where the clip goes.", show_default=False)
    ],
    options: SynthOptions,
    cinematic: CinematicOptions,
    source: Annotated[
        str | None,
        typer.Argument(metavar="SOURCE", help="A folder of HDR frames, or a panorama.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was made as JSON on stdout.")] = False,
) -> None:
    if cinematic.folder is None:
        if cinematic.num_exposures != CinematicOptions.num_exposures:
            raise UsageError("--cycle is for --cinematic: give --exposures 0,2,4 for a clip of three exposures")
        _make_clip(source, out, options, json)
        return
    if source is not None or options.video:
        raise UsageError("--cinematic makes frames from its own folder: leave SOURCE and --video out")
    if (options.exposures, options.size) != (SynthOptions.exposures, SynthOptions.size):
        raise UsageError("--cinematic makes what was published: leave --exposures and --size out, --cycle takes 2 or 3")
    _make_cinematic(cinematic.folder, out, cinematic.num_exposures, options, json)


command.__doc__ = HELP


def _make_clip(source: str | None, out: Path, options: SynthOptions, as_json: bool) -> None:
    from hdrvid.data.synth import synth_to_folder

    with FrameProgress("synth") as progress:
        facts = synth_to_folder(out, options, source, progress=progress.update)
    if as_json:
        print_json(facts)
        return
    width, height = options.size
    typer.echo(f"{out / facts['clip']}: {facts['frames']} frames {width}x{height}, exposures {options.cycle} stops")
    typer.echo(out / "truth")


def _make_cinematic(source: Path, out: Path, num_exposures: int, options: SynthOptions, as_json: bool) -> None:
    from hdrvid.data.cinematic import prepare_cinematic

    with FrameProgress("synth") as progress:
        scenes = prepare_cinematic(
            source, out, num_exposures, max_frames=options.frames, seed=options.seed, progress=progress.update
        )
    if as_json:
        print_json({"folder": str(out), "cycle": num_exposures, "scenes": scenes})
        return
    typer.echo(f"{out}: {', '.join(scenes)}")
    typer.echo(f"hdrvid eval --dataset cinematic --root {out} --cycle {num_exposures}")
