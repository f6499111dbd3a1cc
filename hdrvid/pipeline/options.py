"""What decides a reconstruction, and whether it can be done."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from hdrvid.color.gamuts import find_gamut
from hdrvid.color.half import HALF_MAX
from hdrvid.color.tonemap import OPERATORS
from hdrvid.detect.clip import DetectOptions
from hdrvid.errors import ModelError, OutputError, UsageError
from hdrvid.io.exposure_files import parse_exposures
from hdrvid.io.exr import COMPRESSIONS
from hdrvid.io.hdr_video import check_peak
from hdrvid.io.response_files import load_response
from hdrvid.predict.device import check_precision
from hdrvid.predict.registry import available_models
from hdrvid.predict.tiling import resolve_tile
from hdrvid.types import ExposureCycle, PathLike

FORMATS = ("exr", "hdr")
"""What `--format` takes."""

LOSSY_COMPRESSIONS = ("b44", "b44a", "dwaa", "dwab")
"""EXR compressions after which a file no longer holds exactly the half floats it was given."""


@dataclass(frozen=True)
class ReconstructOptions:
    """Everything the user can choose. Checked by `validate_options`."""

    exposures: str = "auto"
    """'auto', stops of one cycle such as '0,3', or an exposure file."""
    response: str = "auto"
    """'auto' or what `hdrvid.io.response_files.load_response` takes."""
    input_primaries: str = "auto"
    """'auto', or the clip's primaries, a name of `hdrvid.color.gamuts.GAMUTS`."""
    model: str = "default"
    """A name of `weights.available_models` or a .safetensors file."""
    device: str = "auto"
    """'auto', 'cpu', 'cuda', 'cuda:1', 'mps'."""
    precision: str = "auto"
    """'auto', 'fp32', 'bf16', 'fp16'."""
    tile: str = "auto"
    """'auto', 'off' or the side of a tile in pixels."""
    compile: bool = False
    """Compile the networks (torch.compile), where that can be done."""
    frame_range: tuple[int, int] | None = None
    """First and last input frame to make, both included; None: all."""
    format: str = "exr"
    """'exr' or 'hdr'."""
    compression: str = "zip"
    """Compression of the EXR files."""
    white: str = "longest"
    """'longest', 'shortest', or the file value (a number) at which the longest exposure clips."""
    align: str = "auto"
    """'auto': beside the dense flow the camera's motion and that between equal exposures, wherever they fit better;
    'off': the dense flow alone."""
    regular: bool = False
    """Trust the cycle: do not look for dropped and doubled frames, cuts, flashes and damaged frames. A range of frames
    is then made without reading the clip from its start."""
    deflicker: bool = True
    """Correct exposures that are a little off, so that the output does not alternate in brightness."""
    tonemap: str = "reinhard"
    """Tone curve of the preview, a name of `tonemap.OPERATORS`."""
    preview: bool = True
    """Write `<stem>.preview.mp4`."""
    hdr10: bool = False
    """Write `<stem>.hdr10.mp4` (PQ)."""
    hlg: bool = False
    """Write `<stem>.hlg.mp4`."""
    peak_nits: float | None = None
    """Peak of the display that the HDR videos are made for, cd/m2; None: see `hdrvid.io.hdr_video`."""
    audio: bool = True
    """Videos carry the sound of the clip."""
    overwrite: bool = False
    """Make every frame again, instead of keeping those of an earlier run."""


def parse_frame_range(text: str) -> tuple[int, int]:
    """First and last frame of '240-479' or '240', both included. Raises UsageError.

    >>> parse_frame_range("240-479"), parse_frame_range("7")
    ((240, 479), (7, 7))
    """
    match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", text)
    if match is None:
        raise UsageError(f"--frames takes two frame numbers counted from 0, like 240-479, not '{text}'")
    first = int(match[1])
    last = first if match[2] is None else int(match[2])
    if last < first:
        raise UsageError(f"--frames {text} ends before it begins: give the smaller number first")
    return first, last


def parse_white(text: str, cycle: ExposureCycle | None = None) -> float:
    """File value at which the longest exposure clips. Raises UsageError.

    'longest' is 1; 'shortest' is 1 / the longest exposure of the cycle, so that the shortest clips at 1; a number is
    itself. Without a cycle only the text is checked.
    """
    if text == "longest":
        return 1.0
    longest = cycle.max_exposure if cycle else 1.0
    if text == "shortest":
        return 1.0 / longest
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"--white takes longest, shortest or a number above 0, not '{text}'")
    if value * longest > HALF_MAX or value < 1e-3:
        raise UsageError(
            f"--white {text} leaves the range of half-float files: choose a number between 0.001 and "
            f"{HALF_MAX / longest:.0f}"
        )
    return value


def validate_options(options: ReconstructOptions, out: PathLike) -> None:
    """Check everything that needs no clip, the cheapest first, and write nothing.

    Raises UsageError, OutputError, ModelError, ExposureError or InputError.
    """
    if options.format not in FORMATS:
        raise UsageError(f"--format takes exr or hdr, not '{options.format}'")
    if options.format == "exr" and options.compression not in COMPRESSIONS:
        raise UsageError(f"--compression takes one of {', '.join(COMPRESSIONS)}, not '{options.compression}'")
    if options.preview and options.tonemap not in OPERATORS:
        raise UsageError(f"--tonemap takes one of {', '.join(OPERATORS)}, not '{options.tonemap}'")
    if options.align not in ("auto", "off"):
        raise UsageError(f"--align takes auto or off, not '{options.align}'")
    if options.peak_nits is not None:
        check_peak(options.peak_nits)
    check_precision(options.precision)
    resolve_tile(options.tile)
    parse_white(options.white)
    check_folder(Path(out))
    if options.model not in available_models() and not Path(options.model).is_file():
        raise ModelError(
            f"there is no model '{options.model}': choose one of {', '.join(available_models())}, "
            "or give the path of a .safetensors file"
        )
    parse_exposures(options.exposures)
    if options.response.lower() != "auto":
        load_response(options.response)
    if options.input_primaries.lower() != "auto":
        find_gamut(options.input_primaries)


def check_folder(folder: Path) -> None:
    """Raise OutputError unless files can be written into `folder`, which need not exist yet. Creates nothing."""
    nearest = folder.absolute()
    while not os.path.lexists(nearest):
        nearest = nearest.parent
    if not os.path.isdir(nearest):
        raise OutputError(f"{nearest} is not a folder, so results cannot be written to {folder}: choose another folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"{nearest} cannot be written to: change its permissions or choose another folder")


def detect_options(options: ReconstructOptions) -> DetectOptions:
    """What the options of a run say about the clip."""
    return DetectOptions(
        options.exposures, options.response, options.input_primaries, options.deflicker, options.regular
    )
