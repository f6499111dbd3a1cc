"""A clip in pieces, one for every process; parts of a clip, one for every machine."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from hdrvid.color.response import measured_response
from hdrvid.detect.clip import Detection, detect
from hdrvid.detect.phases import Event
from hdrvid.io.atomic import is_abandoned
from hdrvid.io.frames import FramesReader
from hdrvid.io.prefetch import Item
from hdrvid.io.response_files import load_response
from hdrvid.metrics.exposure_flicker import FrameBrightness
from hdrvid.pipeline.options import FORMATS, ReconstructOptions
from hdrvid.ranks import Ranks
from hdrvid.types import ClipReader


def in_each(ranks: Ranks, call: Callable[[], Item]) -> Item:
    """What `call` returns here, once it has succeeded in every process."""
    made: list[Item] = []
    ranks.each(lambda: made.append(call()))
    return made[0]


def agreed_detection(reader: ClipReader, options: ReconstructOptions, ranks: Ranks) -> Detection:
    """What the first process finds out about the clip, in all of them."""
    if ranks.world == 1:
        return detect(reader, options)

    def facts() -> dict[str, Any]:
        found = detect(reader, options)
        values = {f.name: getattr(found, f.name) for f in fields(found) if f.name not in ("info", "response")}
        return {**values, "response_name": found.response.name, "response_curve": found.response.curve}

    agreed = ranks.from_main(facts)
    name, curve = agreed.pop("response_name"), agreed.pop("response_curve")
    # a curve is a function and cannot be sent, but its table can, and every name that is found can be given
    response = load_response(name) if curve is None else measured_response(name, curve)
    if isinstance(reader, FramesReader):
        reader.set_white_code(agreed["white_code"])
    return Detection(info=reader.info, response=response, **agreed)


@dataclass(frozen=True)
class Piece:
    """What one process made of the range."""

    made: list[int]
    """Frames that are there."""
    times: list[float]
    """Presentation time of each, in seconds."""
    kept: int
    """How many of them an earlier run had made."""
    lost: list[int]
    """Frames that there is no window for."""
    damaged: dict[int, str]
    """Frames of the clip that were passed over, and why."""
    events: list[Event]
    """What was found, from the start of the clip to the end of the piece."""
    told: int
    """How many of these the user was told."""
    num_frames: int | None
    """Frames of the clip, where its end was seen."""
    problem: str | None
    """Why reading stopped before the end, where it did."""
    warnings: list[str]
    """What the reader noticed."""
    network_seconds: float
    """Time in the networks."""
    brightness: list[FrameBrightness] = field(default_factory=list)
    """Of every frame that is there."""


NOTHING = Piece([], [], 0, [], {}, [], 0, None, None, [], 0.0)


def join_pieces(pieces: Sequence[Piece]) -> Piece:
    """Neighbouring pieces as one."""
    furthest = max(pieces, key=lambda p: len(p.events))
    damaged = {index: text for p in reversed(pieces) for index, text in p.damaged.items()}
    return Piece(
        [i for p in pieces for i in p.made],
        [t for p in pieces for t in p.times],
        sum(p.kept for p in pieces),
        [i for p in pieces for i in p.lost],
        dict(sorted(damaged.items())),
        furthest.events,
        pieces[0].told,
        next((p.num_frames for p in pieces if p.num_frames is not None), None),
        next((p.problem for p in pieces if p.problem), None),
        list(dict.fromkeys(text for p in pieces for text in p.warnings)),
        sum(p.network_seconds for p in pieces),
        [b for p in pieces for b in p.brightness],
    )


def part_name(stem: str, frame_range: tuple[int, int]) -> str:
    """What stands for STEM in the names of the report and the videos of a part of a clip, as `--frames` makes it.

    >>> part_name("shot", (240, 479))
    'shot.000240-000479'
    """
    return f"{stem}.{frame_range[0]:06d}-{frame_range[1]:06d}"


def remove_parts(folder: Path, stem: str) -> None:
    """Remove the reports of parts of a clip, and their videos where the whole clip has such a video now."""
    for report in sorted(folder.glob("*.json")):
        name = re.fullmatch(rf"({re.escape(stem)}\.\d{{6,}}-\d{{6,}})\.json", report.name)
        if name is None or not _is_part_of(stem, report):
            continue
        for kind in ("preview", "hdr10", "hlg"):
            if (folder / f"{stem}.{kind}.mp4").exists():
                with suppress(OSError):
                    (folder / f"{name[1]}.{kind}.mp4").unlink(missing_ok=True)
        with suppress(OSError):
            report.unlink()


def _is_part_of(stem: str, report: Path) -> bool:
    """Whether a report is of frames of the clip `stem`, not of a clip that is called like a part of it."""
    try:
        frames = Path(json.loads(report.read_text(encoding="utf-8"))["outputs"]["frames"]).name
    except (OSError, ValueError, TypeError, LookupError):
        return False
    return frames in {f"{stem}.%06d.{format}" for format in FORMATS}


def remove_leftovers(folder: Path, stem: str, first: int, last: int | None) -> None:
    """Remove the temporary files of killed runs: of the frames and videos of this run, and of all for a whole clip.

    Files of processes that still run stay, and so do other frames than those of a range: another machine may be
    writing them.
    """
    whole = first == 0 and last is None
    part = "" if last is None else part_name("", (first, last))
    pattern = re.compile(
        rf"\.{re.escape(stem)}(?P<index>\.\d{{6,}})?(?P<part>\.\d{{6,}}-\d{{6,}})?(?:\.(?:preview|hdr10|hlg))?"
        r"\.partial-(?:[0-9a-f]{8}-)?\d+\.(?:exr|hdr|mp4|json)"
    )
    for path in folder.iterdir() if folder.is_dir() else ():
        match = pattern.fullmatch(path.name)
        if match is None or not is_abandoned(path):
            continue
        index = int(match["index"][1:]) if match["index"] else -1
        if whole or match["part"] == part or first <= index <= (math.inf if last is None else last):
            with suppress(OSError):
                path.unlink()
