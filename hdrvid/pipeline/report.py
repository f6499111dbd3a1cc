"""The report of a run, `<stem>.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hdrvid import __version__
from hdrvid.color.response import Response
from hdrvid.errors import InputError
from hdrvid.io.response_files import load_response
from hdrvid.io.tracks import TracksReader
from hdrvid.metrics.exposure_flicker import flicker_stops
from hdrvid.metrics.unmeasured import summary
from hdrvid.pipeline.distributed import Piece
from hdrvid.pipeline.job import Job
from hdrvid.pipeline.settings import settings_id
from hdrvid.types import FrameNumbers


@dataclass(frozen=True)
class ClipReport:
    """What was detected, used and written for one clip: the content of `<stem>.json`."""

    source: str
    """The clip, as the user named it."""
    problem: str | None
    """Why the clip could not be read to its end, else None. Frames before that point are finished."""
    values: dict[str, Any] = field(repr=False)
    """Everything else, ready for JSON."""

    def as_dict(self) -> dict[str, Any]:
        """The machine-readable form."""
        return {"source": self.source, "problem": self.problem, **self.values}


KEPT_CURVE_CODES = 1025
"""A report stores a curve without samples at so many evenly spaced codes."""


def curve_samples(response: Response) -> list[str] | None:
    """The linear values of evenly spaced codes, as 'r,g,b', of a curve that its name alone does not give back."""
    curve = response.curve
    if curve is None:
        with suppress(InputError):
            load_response(response.name)
            return None
        codes = np.repeat(np.linspace(0.0, 1.0, KEPT_CURVE_CODES)[:, None], 3, axis=1)
        curve = np.asarray(response.linearize(codes))
    return [",".join(f"{value:.8g}" for value in row) for row in curve]


def make_report(
    job: Job, piece: Piece, warnings: list[str], videos: Mapping[str, Mapping[str, Any]], total_seconds: float
) -> ClipReport:
    """The report of a run that has made the frames of `piece` and these HDR videos."""
    flicker = flicker_stops(piece.brightness, job.exposures.num_classes)
    detected = job.detection.as_dict()
    count, first, last = len(piece.indices), piece.indices[0], piece.indices[-1]
    pattern = job.numbers.pattern(str(job.out / job.info.stem), job.frame_format)
    values: dict[str, Any] = {
        "version": __version__,
        **{key: value for key, value in detected.items() if key not in ("source", "warnings")},
        "response_curve": curve_samples(job.detection.response),
        "frames": {"first": first, "last": last, "count": count, "new": count - piece.kept, "kept": piece.kept},
        "numbers": _numbers(job.numbers),
        "tracks": job.reader.sources if isinstance(job.reader, TracksReader) else None,
        "events": [{"kind": e.kind, "index": e.index, "text": e.text} for e in piece.events],
        "damaged": {str(index): text for index, text in piece.damaged.items()},
        "white": job.options.white,
        "scale": job.scale,
        "model": {"name": job.reconstructor.name, "sha256": None, **job.reconstructor.provenance},
        "settings": {"id": settings_id(job.settings), **job.settings},
        "quality": {
            "flicker_stops": None if flicker is None else round(flicker, 4),
            "unmeasured": summary(piece.unmeasured),
        },
        "warnings": warnings,
        "timings": {
            "total_seconds": round(total_seconds, 3),
            "network_seconds": round(piece.network_seconds, 3),
            "frames_per_second": round(count / total_seconds, 3),
            "processes": job.ranks.world,
        },
        "outputs": {
            "folder": str(job.out),
            "frames": pattern,
            "first_frame": str(job.frame_path(first)),
            "last_frame": str(job.frame_path(last)),
            "preview": str(job.video_path("preview")) if job.options.preview else None,
            **{kind: facts["path"] for kind, facts in videos.items()},
            "report": str(job.report_path),
        },
        "hdr_videos": dict(videos),
    }
    return ClipReport(job.info.source, _problem(job, piece), values)


def _numbers(numbers: FrameNumbers) -> dict[str, Any]:
    values: dict[str, Any] = {"digits": numbers.digits, "runs": [list(run) for run in numbers.runs]}
    return values if numbers.step == 1 else {**values, "step": numbers.step, "offset": numbers.offset}


def _problem(job: Job, piece: Piece) -> str | None:
    """One sentence about frames of the range that were not made; None where all were."""
    last = math.inf if job.last is None else job.last
    damaged = {i: text for i, text in piece.damaged.items() if job.first <= i <= last}
    others = [i for i in piece.lost if i not in damaged]
    parts = [] if piece.problem is None else [piece.problem]
    if damaged:
        listed = "; ".join(list(damaged.values())[:10]) + ("; ..." if len(damaged) > 10 else "")
        parts.append(f"{len(damaged)} damaged frame(s) were left out: {listed}")
    if others:
        parts.append(
            f"frame(s) {', '.join(map(str, others[:20]))} were left out: nothing of another exposure is near them"
        )
    return "; ".join(parts) or None
