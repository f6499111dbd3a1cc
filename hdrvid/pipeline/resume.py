"""The resume rule: a frame of an earlier run is kept where this run would make the very same one.

Every frame carries its settings, the indices and exposures of its window and a checksum of their pixels in its header.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np

from hdrvid import __version__
from hdrvid.color.gamuts import REC709, convert, known_gamut
from hdrvid.errors import InputError, OutputError
from hdrvid.io.exr import read_exr
from hdrvid.io.hdr import read_hdr, read_hdr_attributes
from hdrvid.io.ownership import FRAME, OVERWRITE_ADVICE, REPORT, is_own, replaceable_target
from hdrvid.io.writers import SequenceWriter
from hdrvid.pipeline.job import Job
from hdrvid.pipeline.settings import canonical_json, changed_settings, frame_settings
from hdrvid.pipeline.windows import FrameWindow
from hdrvid.types import MAX_CYCLE_FRAMES

SOURCE_CHECKSUM = "all"
"""Pixels that the checksum of the source covers. A header without this word has one of every eighth pixel."""


def source_text(window: FrameWindow) -> str:
    """The header entry `hdrvid:source` of a frame."""
    return f"{SOURCE_CHECKSUM}:{window.source_id}"


def read_output(path: Path) -> tuple[np.ndarray, Mapping[str, object]]:
    """File values (H, W, 3) float32, with Rec. 709 primaries, and header entries of a finished frame.

    Raises InputError for a damaged one.
    """
    if path.suffix == ".hdr":
        lines = read_hdr_attributes(path)
        return convert(read_hdr(path), known_gamut(lines.get("PRIMARIES", "").split()) or REC709, REC709), lines
    pixels, header = read_exr(path)
    return convert(pixels, known_gamut(header.get("chromaticities")) or REC709, REC709), header


def kept_frame(job: Job, writer: SequenceWriter, window: FrameWindow) -> np.ndarray | None:
    """File values (H, W, 3) of a frame that an earlier run has made of the same window; None where it is to be made.

    Raises OutputError where a file of that name was made with other settings or from another clip.
    """
    path = writer.path_for(window.index)
    if job.options.overwrite:
        return None
    replaceable_target(path, FRAME, OVERWRITE_ADVICE)
    if not writer.is_complete(window.index):
        return None
    try:
        file_values, header = read_output(path)
    except InputError:
        return None  # damaged: made again
    advice = OVERWRITE_ADVICE
    if (made_of := str(header.get("hdrvid:frame", window.index))) != str(window.index):
        raise OutputError(f"{path} holds frame {made_of} of its clip, not frame {window.index}: {advice}")
    if (difference := changed_settings(header, job.settings)) is not None:
        if difference.startswith("precision") and job.options.precision == "auto":
            advice = f"give the same --precision on every machine, {advice}"
        raise OutputError(f"{path} was made with other settings ({difference}): {advice}")
    if isinstance(rate := header.get("framesPerSecond"), Fraction) and rate != job.info.frames_per_second:
        return None  # an image sequence that was given another rate; Radiance files do not say theirs
    if header.get("hdrvid:window") != window.window_id:
        return None  # the clip was shorter when the frame was made, or broke off there
    if ":" not in str(header.get("hdrvid:source")):
        raise OutputError(
            f"{path} was made by an older hdrvid, which did not look at all pixels of its source: {advice}"
        )
    if header.get("hdrvid:source") != source_text(window):
        raise OutputError(f"{path} was made from another clip of the same name: {advice}")
    return file_values


def misnumbered_frames(job: Job) -> list[Path]:
    """Frames of earlier runs over a clip of this name that have other numbers than those of this run."""
    pattern = re.compile(rf"{re.escape(job.info.stem)}\.(\d{{1,18}})\.{job.frame_format}")
    matches = [m for path in sorted(job.out.iterdir()) if (m := pattern.fullmatch(path.name))]
    indices = {job.out / m[0]: job.numbers.index_of(m[1]) for m in matches}
    others = [path for path, index in indices.items() if index is None and is_own(path, FRAME)]
    fitting = [path for path, index in indices.items() if index is not None]
    # numbers that overlap show at an end; those of the frames of this run are looked at when their turn comes
    return others + [path for path in {*fitting[:1], *fitting[-1:]} if _frame_of(path) not in (None, indices[path])]


def _frame_of(path: Path) -> int | None:
    """Index of the input frame that a finished frame was made of; None for files of others and damaged ones."""
    try:
        return int(str(read_output(path)[1]["hdrvid:frame"]))
    except (InputError, KeyError, ValueError):
        return None


def check_numbers(job: Job) -> str | None:
    """A warning where results of this clip lie in the folder under other names, else None.

    Raises OutputError where they are frames that would be taken for one sequence with those of this run, unless the
    user said --overwrite.
    """
    others = misnumbered_frames(job)
    if others:
        wanted = job.frame_path(job.first).name
        text = f"{job.out} holds frames with other numbers, such as {others[0].name}, while this run begins"
        if not job.options.overwrite:
            raise OutputError(f"{text} with {wanted}: remove them, or choose another folder")
        return f"{text} with {wanted}: remove them, or they are taken for frames of the clip"
    if job.info.kind == "frames":
        name = Path(job.info.source).resolve().name
        if name != job.info.stem and is_own(job.out / f"{name}.json", REPORT):
            return f"{job.out} holds results under the name {name} too, those of this run are called {job.info.stem}"
    return None


def _metadata_attributes(job: Job, index: int) -> dict[str, object]:
    """Standard header entries of what the clip says of a frame beside its pixels."""
    metadata = job.reader.metadata(index)
    entries = {
        "timeCode": metadata.timecode if metadata.timecode is None or metadata.timecode.counted_rate <= 60 else None,
        "reelName": metadata.reel or None,
        "capDate": metadata.captured or None,
        "utcOffset": metadata.utc_offset_seconds,
        "expTime": metadata.exposure_seconds,
        "isoSpeed": metadata.iso,
        "aperture": metadata.f_number,
    }
    aspect = job.info.first.pixel_aspect
    if job.frame_format == "exr":
        entries["pixelAspectRatio"] = float(aspect)
    elif aspect != 1:
        entries["PIXASPECT"] = float(1 / aspect)  # Radiance has height over width
    return {name: value for name, value in entries.items() if value is not None}


def frame_attributes(job: Job, window: FrameWindow) -> dict[str, object]:
    """Header entries of a frame that has just been made."""
    # not job.settings: the tiles may have shrunk since the start, or a compiled function failed
    settings = frame_settings(job.options, job.exposures, job.detection, job.reconstructor)
    return {
        "framesPerSecond": job.info.frames_per_second,
        **_metadata_attributes(job, window.index),
        "hdrvid:version": __version__,
        "hdrvid:model": job.reconstructor.name,
        "hdrvid:scale": job.scale,
        "hdrvid:white": job.white,
        "hdrvid:frame": window.index,
        "hdrvid:exposure_stops": float(window.reference_stops),
        "hdrvid:cycle_stops": [float(s) for s in job.exposures.stops[:MAX_CYCLE_FRAMES]],
        "hdrvid:response": job.detection.response.name,
        "hdrvid:input_primaries": job.detection.gamut.name,
        "hdrvid:options": canonical_json(settings),
        "hdrvid:window": window.window_id,
        "hdrvid:source": source_text(window),
    }
