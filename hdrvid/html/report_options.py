"""Checks of the options of `hdrvid report`, and the frames that are measured and shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hdrvid.color.tonemap import OPERATORS
from hdrvid.errors import UsageError
from hdrvid.metrics.exposure_flicker import EXPOSURE_CLASSES
from hdrvid.options.parse import parse_frame_range
from hdrvid.options.report import ReportOptions

SHOWN_FRAMES = 8
"""Frames with pictures, where the user names none."""
MAX_SHOWN_FRAMES = 64
"""Frames the user can name."""
MEASURED_FRAMES = 2000
"""Frames whose brightness is measured; of longer clips runs of MEASURED_RUN frames in a row, evenly spaced."""
MEASURED_RUN = 20


def validate_options(options: ReportOptions) -> None:
    """Check what needs no clip. Raises UsageError."""
    if options.tonemap not in OPERATORS:
        raise UsageError(f"--tonemap takes one of {', '.join(OPERATORS)}, not '{options.tonemap}'")
    if options.frames is not None:
        parse_frames(options.frames)


def parse_frames(text: str) -> list[int]:
    """Frames of '0,12,40-44', in order, each once. Raises UsageError, also for more than MAX_SHOWN_FRAMES.

    >>> parse_frames("7,2-4,3")
    [2, 3, 4, 7]
    """
    chosen: set[int] = set()
    for part in text.split(","):
        first, last = parse_frame_range(part)
        chosen.update(range(first, min(last, first + MAX_SHOWN_FRAMES) + 1))
        if len(chosen) > MAX_SHOWN_FRAMES:
            raise UsageError(f"--frames {text} are more than the {MAX_SHOWN_FRAMES} frames that a report shows")
    return sorted(chosen)


def chosen_frames(exposures: Mapping[int, str], count: int = SHOWN_FRAMES) -> list[int]:
    """About `count` of the frames: evenly spaced, the first and the last, every exposure in turn.

    `exposures` has the exposure of every frame. A frame in the middle is replaced by one nearby of the exposure whose
    turn it is.

    >>> chosen_frames({i: ("short", "long")[i % 2] for i in range(100)}, 5)
    [0, 25, 50, 73, 99]
    """
    indices = sorted(exposures)
    if len(indices) <= count:
        return indices
    classes = [c for c in EXPOSURE_CLASSES if c in set(exposures.values())]
    turn = classes.index(exposures[indices[0]])
    chosen = [0, len(indices) - 1]
    for k, place in enumerate(np.linspace(0, len(indices) - 1, count).round().astype(int)[1:-1], 1):
        wanted = classes[(turn + k) % len(classes)]
        nearby = range(max(place - len(classes), 0), min(place + len(classes) + 1, len(indices)))
        fitting = [p for p in nearby if exposures[indices[p]] == wanted and p not in chosen]
        place = min(fitting, key=lambda p: (abs(p - place), p), default=int(place))
        if place not in chosen:
            chosen.append(place)
    return [indices[p] for p in sorted(chosen)]


def spread(indices: Sequence[int], count: int) -> list[int]:
    """At most `count` of the indices, evenly spaced, the first and the last among them.

    >>> spread([1, 2, 4, 8, 16], 3), spread([3], 4)
    ([1, 4, 16], [3])
    """
    if len(indices) <= count:
        return list(indices)
    return [indices[i] for i in np.linspace(0, len(indices) - 1, count).round().astype(int)]


def measured_indices(indices: Sequence[int]) -> list[int]:
    """All indices, or of more than MEASURED_FRAMES evenly spaced runs of MEASURED_RUN, the first and the last in it."""
    if len(indices) <= MEASURED_FRAMES:
        return list(indices)
    starts = np.linspace(0, len(indices) - MEASURED_RUN, MEASURED_FRAMES // MEASURED_RUN).round().astype(int)
    return [indices[i] for start in starts for i in range(start, start + MEASURED_RUN)]
