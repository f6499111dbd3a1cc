"""Whether a reconstruction can be done with its options, and what their text means."""

from __future__ import annotations

import math
import os
from pathlib import Path

from hdrvid.color.gamuts import find_gamut
from hdrvid.color.half import HALF_MAX
from hdrvid.color.tonemap import OPERATORS
from hdrvid.errors import ModelError, OutputError, UsageError
from hdrvid.io.atomic import require_short_names
from hdrvid.io.exposure_files import parse_exposures
from hdrvid.io.exr import COMPRESSIONS
from hdrvid.io.hdr_video import check_peak
from hdrvid.io.response_files import load_response
from hdrvid.options.reconstruct import EXPOSURE_CLASSES, FORMATS, ReconstructOptions
from hdrvid.predict.device import check_precision
from hdrvid.predict.registry import available_models
from hdrvid.predict.tiling import resolve_tile
from hdrvid.types import ExposureCycle, PathLike

LOSSY_COMPRESSIONS = ("b44", "b44a", "dwaa", "dwab")
"""EXR compressions after which a file no longer holds exactly the half floats it was given."""


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
    if options.format == "hdr" and options.compression != ReconstructOptions.compression:
        raise UsageError("--compression is for EXR, and .hdr files have their own: leave it or --format hdr out")
    if options.preview and options.tonemap not in OPERATORS:
        raise UsageError(f"--tonemap takes one of {', '.join(OPERATORS)}, not '{options.tonemap}'")
    if options.only not in EXPOSURE_CLASSES:
        raise UsageError(f"--only takes one of {', '.join(EXPOSURE_CLASSES)}, not '{options.only}'")
    if options.align not in ("auto", "off"):
        raise UsageError(f"--align takes auto or off, not '{options.align}'")
    if options.peak_nits is not None:
        check_peak(options.peak_nits)
        if not options.hdr10:
            raise UsageError("--peak-nits is for the HDR10 video: give --hdr10 too, or leave it out")
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
    require_short_names(folder)
    nearest = folder.absolute()
    while not os.path.lexists(nearest):
        nearest = nearest.parent
    if not os.path.isdir(nearest):
        raise OutputError(f"{nearest} is not a folder, so results cannot be written to {folder}: choose another folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"{nearest} cannot be written to: change its permissions or choose another folder")
