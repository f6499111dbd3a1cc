"""The report of a run."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hdrvid.color.response import Response
from hdrvid.errors import InputError
from hdrvid.io.response_files import load_response


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
"""Codes, evenly spaced, at which a report keeps a curve that has no samples of its own."""


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
