"""A clip in pieces, one for every process.

The first process looks at the clip and sends the result to the others, so that all use the same numbers even where
their processors round differently. Each makes one contiguous piece of the range: a window needs neighbours. The first
one holds the lock of the whole range, and makes videos and report from the finished files.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from hdrvid.color.response import measured_response
from hdrvid.detect.clip import Detection, detect
from hdrvid.detect.labels import Event
from hdrvid.errors import InputError, UsageError
from hdrvid.io.frames import FramesReader
from hdrvid.io.response_files import load_response
from hdrvid.io.tracks import TracksReader
from hdrvid.io.video import VideoReader
from hdrvid.metrics.exposure_flicker import FrameBrightness
from hdrvid.metrics.unmeasured import FrameShare
from hdrvid.pipeline.job import Job
from hdrvid.pipeline.options import ReconstructOptions
from hdrvid.ranks import Ranks
from hdrvid.types import ClipReader

Item = TypeVar("Item")


def in_each(ranks: Ranks, call: Callable[[], Item]) -> Item:
    """What `call` returns here, once it has succeeded in every process."""
    results: list[Item] = []
    ranks.each(lambda: results.append(call()))
    return results[0]


def agreed_detection(reader: ClipReader, options: ReconstructOptions, ranks: Ranks) -> Detection:
    """The detection of the first process, in all of them."""
    if ranks.world == 1:
        return detect(reader, options)

    def sendable() -> dict[str, Any]:
        detection = detect(reader, options)
        # the levels are of no use to a reconstruction
        left_out = ("info", "response", "frame_levels")
        values = {f.name: getattr(detection, f.name) for f in fields(detection) if f.name not in left_out}
        return {**values, "response_name": detection.response.name, "response_curve": detection.response.curve}

    values = ranks.from_main(sendable)
    name, curve = values.pop("response_name"), values.pop("response_curve")
    # a curve is a function and cannot be sent; its table or its name can
    response = load_response(name) if curve is None else measured_response(name, curve)
    if isinstance(reader, FramesReader | VideoReader | TracksReader):
        reader.set_levels(values["levels"])
    return Detection(info=reader.info, response=response, **values)


@dataclass
class Piece:
    """What one process has made of the range."""

    indices: list[int] = field(default_factory=list)
    """Frames that exist now."""
    times: list[float] = field(default_factory=list)
    """Presentation time of each, in seconds."""
    kept: int = 0
    """How many of them are from an earlier run."""
    lost: list[int] = field(default_factory=list)
    """Frames without a window."""
    damaged: dict[int, str] = field(default_factory=dict)
    """Frames of the clip that could not be decoded, and why."""
    events: list[Event] = field(default_factory=list)
    """Where the clip leaves its cycle, from its start to the end of the piece."""
    announced: int = 0
    """How many of these the user has been told."""
    num_frames: int | None = None
    """Frames of the clip, where its end was reached."""
    problem: str | None = None
    """Why reading stopped before the end, where it did."""
    warnings: list[str] = field(default_factory=list)
    """Warnings of the reader and the model."""
    network_seconds: float = 0.0
    """Time in the networks."""
    brightness: list[FrameBrightness] = field(default_factory=list)
    """Of every frame."""
    unmeasured: list[FrameShare] = field(default_factory=list)
    """Of every frame, how much of it is not measured."""


def join_pieces(pieces: Sequence[Piece]) -> Piece:
    """Neighbouring pieces as one."""
    furthest = max(pieces, key=lambda p: len(p.events))
    damaged = {index: text for p in reversed(pieces) for index, text in p.damaged.items()}
    return Piece(
        indices=[i for p in pieces for i in p.indices],
        times=[t for p in pieces for t in p.times],
        kept=sum(p.kept for p in pieces),
        lost=[i for p in pieces for i in p.lost],
        damaged=dict(sorted(damaged.items())),
        events=furthest.events,
        announced=pieces[0].announced,
        num_frames=next((p.num_frames for p in pieces if p.num_frames is not None), None),
        problem=next((p.problem for p in pieces if p.problem), None),
        warnings=list(dict.fromkeys(text for p in pieces for text in p.warnings)),
        network_seconds=sum(p.network_seconds for p in pieces),
        brightness=[b for p in pieces for b in p.brightness],
        unmeasured=[s for p in pieces for s in p.unmeasured],
    )


Range = tuple[int, int | None]
"""First and last frame; None: the end of the clip."""


def split_range(first: int, last: int | None, num_frames: int | None, world: int) -> list[Range | None]:
    """A range of frames for every process; None for one that gets nothing.

    The last piece ends where the range does, for `num_frames`, what a container says of its length, is a hint.
    """
    ends = [n - 1 for n in (num_frames, None if last is None else last + 1) if n is not None]
    count = max(1, min(ends, default=first) - first + 1)
    starts = [first + count * rank // world for rank in range(world + 1)]
    pieces: list[Range | None] = [(a, b - 1) if b > a else None for a, b in itertools.pairwise(starts)]
    pieces[-1] = starts[-2], last
    return pieces


def split_job(job: Job) -> list[Range | None]:
    """The range of a run for every process. Counts the frames where nothing tells their number."""
    num_frames, world = job.info.num_frames, job.ranks.world
    if num_frames is None and job.last is None and world > 1:
        num_frames = count_frames(job.reader, regular=job.options.regular)
    return split_range(job.first, job.last, num_frames, world)


def count_frames(reader: ClipReader, *, regular: bool) -> int:
    """Frames that can be decoded; with `regular` up to the first damaged one."""
    count = 0
    with suppress(InputError):  # reported when the frames are made
        for frame in reader.frames(0, None, None if regular else lambda index, text: None):
            count = frame.index + 1
    return count


def require_same_settings(job: Job) -> None:
    """Raise UsageError where the processes would not make the same frames."""
    for rank, settings in enumerate(job.ranks.each(lambda: job.settings)):
        changed = [f"{k} {job.settings.get(k)} and {v}" for k, v in settings.items() if job.settings.get(k) != v]
        if changed:
            raise UsageError(
                f"processes {job.ranks.rank} and {rank} would make different frames ({'; '.join(changed)}): "
                "install the same hdrvid, packages and weights on every machine"
            )
