"""hdrvid from Python: look at a clip, reconstruct it into files, take its frames one by one, or merge own frames.

    >>> import hdrvid
    >>> callable(hdrvid.inspect), callable(hdrvid.reconstruct), callable(hdrvid.frames), callable(hdrvid.merge)
    (True, True, True, True)

Options are those of `hdrvid reconstruct`, with underscores: `exposures="0,3"`, `input_primaries="rec2020"`,
`frame_range=(240, 479)`. Every error that a user can act on is a `hdrvid.errors.HdrvidError`, and its text says how.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from hdrvid.detect.clip import Detection, inspect_clip, open_input
from hdrvid.detect.window_choice import WindowRule
from hdrvid.errors import ExposureError, UsageError
from hdrvid.io.response_files import load_response
from hdrvid.options.reconstruct import DetectOptions, ReconstructOptions
from hdrvid.pipeline.job import require_windows
from hdrvid.pipeline.options import of_tracks
from hdrvid.pipeline.report import ClipReport
from hdrvid.pipeline.run import reconstruct_clip
from hdrvid.pipeline.setup import prepare_job
from hdrvid.pipeline.windows import DamagedFrames, open_windows
from hdrvid.predict.registry import load_reconstructor
from hdrvid.ranks import Ranks
from hdrvid.types import MAX_CYCLE_FRAMES, ExposureCycle, ExposureList, Exposures, PathLike, Window

MAX_FLOAT_CODE = 2.0
"""Pictures of floats hold codes up to 1, and a little more by rounding and resampling."""

Clip = PathLike | Sequence[PathLike]
"""A video file, a folder of frames, a pattern such as 'shot.%04d.tif', or a list of frame files."""


def inspect(clip: Clip, **options: Any) -> Detection:
    """Exposures, camera curve, levels and colours of a clip, as `hdrvid info` shows them.

    `options`: fields of `DetectOptions`. Raises InputError for a clip that cannot be read, ExposureError for exposures
    that make no sense, TypeError for an option that does not exist.
    """
    return inspect_clip(_inputs(clip), DetectOptions(**options))


def reconstruct(clip: Clip, out: PathLike, **options: Any) -> ClipReport:
    """Reconstruct a clip into the folder `out`, as `hdrvid reconstruct` does; what was detected, used and written.

    `options`: fields of `ReconstructOptions`. Raises HdrvidError, and TypeError for an option that does not exist.
    """
    return reconstruct_clip(_inputs(clip), out, ReconstructOptions(**options))


def frames(clip: Clip, **options: Any) -> Iterator[tuple[int, np.ndarray]]:
    """The HDR frames of a clip one after another: (index in the clip, radiance (H, W, 3) float32). Writes nothing.

    Radiance is scene-linear, Rec. 709 primaries, 1.0 where the SHORTEST exposure clips. `options`: fields of
    `ReconstructOptions`; those of the output files have no effect. Frames that cannot be decoded are left out. Raises
    HdrvidError, and TypeError for an option that does not exist.
    """
    chosen = of_tracks(ReconstructOptions(**options))
    with ExitStack() as stack:
        reader = stack.enter_context(open_input(_inputs(clip), chosen, chosen.fps))
        job = prepare_job(stack, reader, Path(), chosen, Ranks(), lambda text: None)
        for window in open_windows(stack, job, job.first, job.last, DamagedFrames()):
            if job.is_wanted(window.phase, window.reference_stops):
                yield (
                    window.index,
                    job.rec709_radiance(
                        job.reconstructor.reconstruct(window.as_window(job.detection.response.black_code)).radiance
                    ),
                )


def merge(
    pictures: Sequence[np.ndarray],
    stops: Sequence[float],
    *,
    reference: int | None = None,
    response: str = "gamma2.2",
    model: str = "default",
    device: str = "auto",
) -> np.ndarray:
    """One HDR frame from consecutive frames of a camera that alternates between exposures, or from a bracket.

    `pictures`: (H, W, 3) RGB each, uint8, uint16, or floats in [0, 1], coded by the camera curve `response`; at least
    one cycle of them. `stops`: one cycle, beginning with the first picture, or one number a picture. `reference`: the
    picture that the result shows the moment of; the middle one by default.
    Returns radiance (H, W, 3) float32, scene-linear, 1.0 where the shortest exposure clips. Raises UsageError for
    pictures that do not fit, ExposureError for stops that are no cycle, ModelError for a model that does not exist.

    >>> pictures = [np.full((32, 32, 3), code, np.uint8) for code in (50, 128)]
    >>> merge(pictures, (0, 3), model="classical").shape
    (32, 32, 3)
    """
    known = _exposures(stops)
    rule = WindowRule(known, bracket=not known.is_plain and known.period == len(pictures))
    index = len(pictures) // 2 if reference is None else reference
    shapes = {np.shape(picture) for picture in pictures}
    if len(shapes) != 1 or len(shape := shapes.pop()) != 3 or shape[2] != 3:
        raise UsageError("the pictures must have one shape (H, W, 3): crop or scale them first")
    if not 0 <= index < len(pictures):
        raise UsageError(
            f"there is no picture {index} among {len(pictures)}: choose a reference of 0 to {len(pictures) - 1}"
        )
    curve = load_response(response)
    indices = rule.regular(index, len(pictures))
    if indices is None:
        raise UsageError("no picture near the reference has another exposure: choose another reference")
    exposures = tuple(rule.exposures.exposure_at(i) for i in indices)
    codes = {i: np.ascontiguousarray(curve.network_code(_codes(pictures[i])), np.float32) for i in set(indices)}
    times = tuple(float(i - index) for i in indices)
    window = Window(index, tuple(codes[i] for i in indices), exposures, times, curve.black_code)
    reconstructor = load_reconstructor(model, rule.exposures.network_exposures, device=device)
    require_windows(reconstructor, rule.exposures)
    return reconstructor.reconstruct(window).radiance


def _exposures(stops: Sequence[float]) -> Exposures:
    """One cycle, or one number a picture that no cycle repeats in."""
    try:
        return ExposureCycle.from_stops(stops)
    except ExposureError:
        return ExposureCycle(tuple(stops)) if len(stops) <= MAX_CYCLE_FRAMES else ExposureList(tuple(stops))


def _codes(picture: np.ndarray) -> np.ndarray:
    if picture.dtype in (np.uint8, np.uint16):
        return picture.astype(np.float32) / np.float32(np.iinfo(picture.dtype).max)
    if not np.issubdtype(picture.dtype, np.floating):
        raise UsageError(f"pictures of {picture.dtype} are not taken: give uint8, uint16 or floats in [0, 1]")
    if np.nanmax(picture, initial=0.0) > MAX_FLOAT_CODE:
        raise UsageError(f"a picture of floats goes up to {np.nanmax(picture):.4g}: scale them to [0, 1]")
    return picture.astype(np.float32)


def _inputs(clip: Clip) -> list[str]:
    return [str(clip)] if isinstance(clip, str | Path) else [str(item) for item in clip]
