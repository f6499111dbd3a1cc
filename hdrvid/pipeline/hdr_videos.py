"""The HDR videos and masters of a run, made from its finished frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hdrvid.color.response import LOG_RESPONSES
from hdrvid.io.hdr_video import HdrGrade, HdrKind, HdrVideoWriter, grade_clip, measure_light
from hdrvid.io.master_video import MasterKind, MasterWriter
from hdrvid.pipeline.job import Job
from hdrvid.pipeline.resume import read_output

_MASTERS: tuple[MasterKind, ...] = ("prores", "dnxhr")
_GRADES: dict[str, HdrKind] = {"hlg": "hlg", "pq": "hdr10"}


def write_hdr_videos(
    job: Job, first: int, paths: Sequence[Path], times: Sequence[float]
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Write the HDR videos that the options ask for.

    `first`: index of the first frame; `paths`: the frames; `times`: presentation time of each in seconds. Returns what
    the report says of each video, by kind, and warnings.
    """
    wanted: dict[HdrKind, bool] = {"hdr10": job.options.hdr10, "hlg": job.options.hlg}
    kinds = [kind for kind, asked in wanted.items() if asked]
    masters = [(kind, curve) for kind in _MASTERS if (curve := getattr(job.options, kind)) is not None]
    if not kinds and not masters:
        return {}, []

    def frames() -> Iterator[np.ndarray]:
        for path in paths:
            yield read_output(path)[0].astype(np.float32) / np.float32(job.white)

    light = None if all(curve in LOG_RESPONSES for _, curve in masters) and not kinds else measure_light(frames())
    videos: dict[str, dict[str, Any]] = {}
    warnings: list[str] = []
    for kind in kinds:
        grade = grade_clip(frames, kind, peak_nits=job.options.peak_nits if kind == "hdr10" else None, light=light)
        path = job.video_path(kind)
        size = job.info.width, job.info.height
        aspect = job.info.first.pixel_aspect
        with HdrVideoWriter(
            path, *size, job.video_rate, grade, audio_from=job.audio_from, pixel_aspect=aspect
        ) as video:
            video.timecode = job.video_timecode(first)
            for frame, pts_seconds in zip(frames(), times, strict=True):
                video.write(frame, pts_seconds)
        warnings += video.warnings()
        videos[kind] = {
            "path": str(path),
            "nits_per_unit": grade.nits_per_unit,
            "peak_nits": grade.peak_nits,
            "max_cll_nits": grade.max_cll_nits,
            "max_fall_nits": grade.max_fall_nits,
        }
    for master_kind, curve in masters:
        grade_kind = _GRADES.get(curve)
        peak_nits = job.options.peak_nits if curve == "pq" else None
        grading = None if grade_kind is None else grade_clip(frames, grade_kind, peak_nits=peak_nits, light=light)
        warnings += _write_master(job, first, master_kind, curve, grading, frames(), times)
        videos[master_kind] = {"path": str(job.video_path(master_kind)), "curve": curve}
    return videos, warnings


def _write_master(
    job: Job,
    first: int,
    kind: MasterKind,
    curve: str,
    grade: HdrGrade | None,
    frames: Iterator[np.ndarray],
    times: Sequence[float],
) -> list[str]:
    size = job.info.width, job.info.height
    with MasterWriter(
        job.video_path(kind),
        *size,
        job.video_rate,
        kind,
        curve,
        grade,
        audio_from=job.audio_from,
        pixel_aspect=job.info.first.pixel_aspect,
    ) as master:
        master.timecode = job.video_timecode(first)
        for frame, pts_seconds in zip(frames, times, strict=True):
            master.write(frame, pts_seconds)
    return master.warnings()
