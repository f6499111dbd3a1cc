"""Whether a reconstruction can be done with its options, and what their text means."""

from __future__ import annotations

import math
import os
import re
from dataclasses import replace
from pathlib import Path

from hdrvid.color.gamuts import find_gamut
from hdrvid.color.half import HALF_MAX
from hdrvid.color.tonemap import OPERATORS
from hdrvid.detect.clip import check_declared, sample_format
from hdrvid.errors import ModelError, OutputError, UsageError
from hdrvid.io.atomic import require_short_names
from hdrvid.io.exr import COMPRESSIONS, DEPTHS, LOSSY_COMPRESSIONS, is_aces_container
from hdrvid.io.hdr_video import check_peak
from hdrvid.io.master_video import check_master
from hdrvid.io.response_files import load_response
from hdrvid.options.reconstruct import (
    COMPRESSED,
    EXPOSURE_CLASSES,
    FORMATS,
    MAX_START_NUMBER,
    OUTPUT_PRIMARIES,
    RESULTS,
    ReconstructOptions,
)
from hdrvid.predict.device import check_precision
from hdrvid.predict.registry import available_models, offered_models
from hdrvid.predict.tiling import resolve_tile
from hdrvid.types import Exposures, PathLike


def exr_compression(options: ReconstructOptions) -> str:
    """The EXR compression of a run: an ACES container has none."""
    if options.compression != "auto":
        return options.compression
    return "none" if makes_aces_container(options, "none") else "zip"


def makes_aces_container(options: ReconstructOptions, compression: str) -> bool:
    """Whether the frames are ACES containers with this compression: these have no channels but the colours."""
    return is_aces_container(options.primaries, compression, options.depth) and not options.unmeasured


def parse_white(text: str, exposures: Exposures | None = None) -> float:
    """File value at which the longest exposure clips. Raises UsageError.

    'longest' is 1; 'shortest' is 1 / the longest exposure, so that the shortest clips at 1; a number is itself. Without
    exposures only the text is checked.
    """
    if text == "longest":
        return 1.0
    longest = exposures.max_exposure if exposures else 1.0
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
    _check_files(options)
    if options.preview and options.tonemap not in OPERATORS:
        raise UsageError(f"--tonemap takes one of {', '.join(OPERATORS)}, not '{options.tonemap}'")
    if options.only not in EXPOSURE_CLASSES and not re.fullmatch("[1-9]", options.only):
        raise UsageError(f"--only takes one of {', '.join(EXPOSURE_CLASSES)}, or a number, not '{options.only}'")
    if options.every not in RESULTS:
        raise UsageError(f"--every takes {' or '.join(RESULTS)}, not '{options.every}'")
    if options.every == "bracket" and options.only == "middle":
        raise UsageError("--every bracket makes one frame of a bracket: --only short, long or a number names it")
    if options.compressed not in COMPRESSED:
        raise UsageError(f"--compressed takes auto, yes or no, not '{options.compressed[:60]}'")
    if options.align not in ("auto", "off"):
        raise UsageError(f"--align takes auto or off, not '{options.align}'")
    if options.prores is not None:
        check_master("prores", options.prores)
    if options.dnxhr is not None:
        check_master("dnxhr", options.dnxhr)
    if options.peak_nits is not None:
        check_peak(options.peak_nits)
        if not options.hdr10 and "pq" not in (options.prores, options.dnxhr):
            raise UsageError("--peak-nits is for the HDR10 video: give --hdr10 too, or leave it out")
    check_precision(options.precision)
    resolve_tile(options.tile)
    parse_white(options.white)
    check_folder(Path(out))
    path = Path(options.model)
    if options.model not in available_models() and not (path.is_file() and path.suffix == ".safetensors"):
        raise ModelError(
            f"there is no model '{options.model}': choose one of {', '.join(offered_models())}, "
            "or give the path of a .safetensors file"
        )
    check_declared(options)
    sample_format(options)
    if options.response.lower() != "auto":
        load_response(options.response)
    if options.input_primaries.lower() != "auto":
        find_gamut(options.input_primaries)


def of_tracks(options: ReconstructOptions) -> ReconstructOptions:
    """The options with what `--tracks` means for others: one result a moment, of its frames alone."""
    return replace(options, every="bracket", regular=True) if options.tracks is not None else options


def _check_files(options: ReconstructOptions) -> None:
    """Raise UsageError where the options of the files do not exist or do not go together."""
    if options.start_number is not None and not 0 <= options.start_number <= MAX_START_NUMBER:
        raise UsageError(f"--start-number takes 0 to {MAX_START_NUMBER}, not {options.start_number}")
    if options.format == "exr" and options.compression not in ("auto", *COMPRESSIONS):
        raise UsageError(f"--compression takes auto or one of {', '.join(COMPRESSIONS)}, not '{options.compression}'")
    if options.format == "hdr" and options.compression != ReconstructOptions.compression:
        raise UsageError("--compression is for EXR, and .hdr files have their own: leave it or --format hdr out")
    if options.primaries not in OUTPUT_PRIMARIES:
        raise UsageError(f"--primaries takes one of {', '.join(OUTPUT_PRIMARIES)}, not '{options.primaries[:60]}'")
    if options.depth not in DEPTHS:
        raise UsageError(f"--depth takes half or float, not '{options.depth[:60]}'")
    if options.unmeasured and options.format == "hdr":
        raise UsageError("Radiance .hdr has no further channels, so --unmeasured needs --format exr")
    if options.depth == "float" and options.format == "hdr":
        raise UsageError("Radiance .hdr has 8 bits and an exponent, so --depth float needs --format exr")
    if options.depth == "float" and exr_compression(options) in LOSSY_COMPRESSIONS:
        raise UsageError(f"--compression {options.compression} keeps no 32-bit floats: --compression zip, piz or none")


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
