"""SMPTE time codes: which frame of the day a frame is.

Convention (SMPTE ST 12-1):
    text        hh:mm:ss:ff; hh:mm:ss;ff where numbers are dropped.
    drop        at 30000/1001 and 60000/1001 frames a second the first 2 or 4 numbers of every minute are left out, but
                for each tenth minute, so that the code keeps up with the clock. No frame is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

MAX_COUNTED_RATE = 120
"""Frames a second that a code can count."""

_TEXT = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.,])(\d{2,3})")


@dataclass(frozen=True)
class Timecode:
    """The code of one frame.

    >>> code = Timecode.parse("00:59:59;28", Fraction(30000, 1001))
    >>> str(code.plus(1)), str(code.plus(2)), str(code.plus(2 + 1800))
    ('00:59:59;29', '01:00:00;00', '01:01:00;02')
    """

    hours: int
    """0 to 23."""
    minutes: int
    """0 to 59."""
    seconds: int
    """0 to 59."""
    frames: int
    """0 to counted_rate - 1."""
    counted_rate: int
    """Frames counted in a second: 24 at 24000/1001 frames a second."""
    drop: bool = False
    """Whether numbers are dropped."""

    @classmethod
    def parse(cls, text: str, rate: Fraction) -> Self | None:
        """The code of a text, in a clip of so many frames a second; None where it is no code of such a clip."""
        match = _TEXT.fullmatch(text.strip())
        counted = round(rate)
        if match is None or not 1 <= counted <= MAX_COUNTED_RATE:
            return None
        hours, minutes, seconds, frames = (int(match[i]) for i in (1, 2, 3, 5))
        drop = match[4] != ":" and counted % 30 == 0 and rate != counted
        code = cls(hours, minutes, seconds, frames, counted, drop)
        return code if code.is_valid else None

    @property
    def is_valid(self) -> bool:
        """Whether the numbers are in their ranges, and not among those that are dropped."""
        dropped = self.drop and self.minutes % 10 and self.seconds == 0 and self.frames < self._dropped
        return (
            0 <= self.hours < 24
            and 0 <= self.minutes < 60
            and 0 <= self.seconds < 60
            and 0 <= self.frames < self.counted_rate
            and not dropped
        )

    @property
    def _dropped(self) -> int:
        """Numbers that are left out in a minute that leaves them out."""
        return self.counted_rate // 15 if self.drop else 0

    def plus(self, num_frames: int) -> Timecode:
        """The code so many frames later; a day begins again at 0."""
        rate, dropped = self.counted_rate, self._dropped
        minutes = 60 * self.hours + self.minutes
        number = (60 * minutes + self.seconds) * rate + self.frames - dropped * (minutes - minutes // 10)
        in_minute, in_ten = 60 * rate - dropped, 600 * rate - 9 * dropped
        tens, rest = divmod((number + num_frames) % (144 * in_ten), in_ten)
        # the first of ten minutes has all its numbers
        skipped = max(0, (rest - dropped) // in_minute) if dropped else 0
        total = rest + dropped * skipped + tens * 600 * rate
        seconds, frames = divmod(total, rate)
        return Timecode(seconds // 3600, seconds // 60 % 60, seconds % 60, frames, rate, self.drop)

    def at_rate(self, counted_rate: int) -> Timecode | None:
        """The code of the same moment in a clip with every n-th of the frames; None where there is none."""
        if self.drop or self.counted_rate % counted_rate:
            return None
        frames = self.frames * counted_rate // self.counted_rate
        return Timecode(self.hours, self.minutes, self.seconds, frames, counted_rate)

    def __str__(self) -> str:
        mark = ";" if self.drop else ":"
        return f"{self.hours:02d}:{self.minutes:02d}:{self.seconds:02d}{mark}{self.frames:02d}"
