"""What the user sees while a command runs: the parts of the work, progress, warnings. All of it on stderr.

On a terminal that is one line of parts with ticks above a bar (frames, frames per second, time left), and warnings come
last, counted. Anywhere else everything is a plain line at once, progress every few seconds: a log of a render farm
stays readable, and a job that is killed has said what it knew.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from hdrvid.cli.console import SECONDS_BETWEEN_LINES, Terminated, clock, printable, say, wrapped

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.live import Live

SECONDS_OF_RATE = 30.0
"""The rate is that of the last so many seconds."""

WARNING = "hdrvid: warning: "
"""How a line begins that is a warning."""

REFRESHES_PER_SECOND = 4
"""Of the lines on a terminal."""

BAR_COLUMNS = 24
"""Width of the bar."""


class Rate:
    """How fast work goes on, over a moving window. The first unit is no part of it: compiling and loading precede it.

    >>> rate = Rate()
    >>> rate.add(1, 100.0)
    >>> rate.per_second is None
    True
    >>> rate.add(2, 100.5)
    >>> rate.per_second
    2.0
    """

    def __init__(self) -> None:
        self._times: deque[tuple[int, float]] = deque()

    def add(self, done: int, seconds: float) -> None:
        """`done` units were finished at the time `seconds`."""
        self._times.append((done, seconds))
        while len(self._times) > 2 and seconds - self._times[1][1] >= SECONDS_OF_RATE:
            self._times.popleft()

    @property
    def per_second(self) -> float | None:
        """Units a second; None before the second one."""
        if len(self._times) < 2:
            return None
        (first, start), (last, end) = self._times[0], self._times[-1]
        return (last - first) / (end - start) if end > start and last > first else None


def progress_line(label: str, done: int, total: int | None, rate: float | None, unit: str = "frames") -> str:
    """A plain progress line; `rate` in units a second.

    >>> progress_line("clip", 30, 120, 3.0)
    'clip: 30/120 frames, 3.00 fps, 0:30 left'
    >>> progress_line("clip", 30, None, 3.0)
    'clip: 30 frames, 3.00 fps'
    >>> progress_line("clip", 1, 120, None)
    'clip: 1/120 frames'
    """
    text = f"{label}: {done}/{total} {unit}" if total else f"{label}: {done} {unit}"
    return ", ".join((text, *_rate_texts(done, total, rate, unit)))


def _rate_texts(done: int, total: int | None, rate: float | None, unit: str) -> Iterator[str]:
    """The rate and the time that is left, where they are known."""
    if rate is None:
        return
    yield f"{rate:.2f} {'fps' if unit == 'frames' else f'{unit}/s'}"
    if total:
        yield f"{clock((total - done) / rate)} left"


class FrameProgress:
    """Progress over the frames of one clip: call `update(done, total)` after each. A context manager.

    `kept`: what becomes of those that are done where the work is interrupted, for the last line that the user sees.
    `lines`: whether there are lines of progress where there is no terminal.
    """

    def __init__(self, label: str, unit: str = "frames", kept: str | None = None, lines: bool = True) -> None:
        self._label, self._unit, self._kept, self._lines = printable(label), unit, kept, lines
        self._done: tuple[int, int | None] | None = None
        self._spoken = time.monotonic()
        self._rate = Rate()
        self._phases: dict[str, tuple[str | None, float]] = {}
        self._warnings: list[str] = []
        self._live: Live | None = None
        self._is_terminal = False
        self._marks = ("ok", "...", ", ", "#", "-")

    def __enter__(self) -> Self:
        self._is_terminal = sys.stderr.isatty()
        if self._is_terminal:
            from rich.console import Console
            from rich.live import Live

            if _shows("✓…·━", sys.stderr.encoding):
                self._marks = ("✓", "…", " · ", "━", "─")
            self._live = Live(
                self,
                console=Console(stderr=True),
                refresh_per_second=REFRESHES_PER_SECOND,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        return self

    def phase(self, name: str, result: str | None) -> None:
        """A part of the work begins (`result` None), or has ended with a result."""
        before = self._phases.pop(name, None)  # in the order in which they end
        self._phases[name] = result, time.monotonic() if before is None else before[1]
        if self._live is not None:
            self._live.refresh()
        elif result is not None:
            say(f"hdrvid: {name}: {result}")
        elif name in _SLOW:
            say(f"hdrvid: {name} {_SLOW[name]}")

    def update(self, done: int, total: int | None) -> None:
        """`done` of `total` (None: unknown) frames are finished."""
        if self._done is None or done != self._done[0]:
            self._rate.add(done, time.monotonic())
        self._done = done, total
        now = time.monotonic()
        if self._live is not None or not self._lines:
            return
        if now - self._spoken >= SECONDS_BETWEEN_LINES:
            self._spoken = now
            say(progress_line(self._label, done, total, self._rate.per_second, self._unit))

    def say(self, text: str) -> None:
        """A line that does not disturb the bar. On a terminal a warning waits for the end."""
        if not self._is_terminal:
            say(text)
        elif text.startswith(WARNING):
            self._warnings.append(text.removeprefix(WARNING))
        elif self._live is not None:
            line = wrapped(printable(text), sys.stderr)
            self._live.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            say(text)

    def stop(self) -> None:
        """End the bar: what is printed now stays below it."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._warnings:
            count = len(self._warnings)
            say(f"hdrvid: {count} warning{'s' if count > 1 else ''}:")
            for text in self._warnings:
                say(f"  {text}")
            self._warnings.clear()
        if isinstance(error, (KeyboardInterrupt, Terminated)) and self._kept and self._done is not None:
            done, total = self._done
            error.add_note(f"{done} {f'of {total} ' if total else ''}{self._unit} {self._kept}")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """The lines on a terminal, as rich asks for them."""
        from rich.text import Text

        for line in self.lines(options.max_width):
            yield Text(line, no_wrap=True, overflow="crop")

    def lines(self, width: int) -> list[str]:
        """The lines on a terminal of so many columns: the parts of the work, wrapped between them, then the bar."""
        tick, dots, dot, _, _ = self._marks
        parts = []
        for name, (result, start) in sorted(self._phases.items(), key=lambda phase: phase[1][0] is None):
            seconds = f" {time.monotonic() - start:.0f} s" if result is None else ""
            parts.append(f"{name} {dots}{seconds}" if result is None else f"{name} {tick} {result}")
        lines = [self._label] if parts else []
        for i, part in enumerate(parts):
            joined = f"{lines[-1]}{dot if i else ': '}{part}"
            if len(joined) <= width or not i:
                lines[-1] = joined
            else:
                lines.append(f"  {part}")
        if self._done is not None:
            lines.append(self._bar(*self._done))
        return lines

    def _bar(self, done: int, total: int | None) -> str:
        *_, full, empty = self._marks
        filled = round(BAR_COLUMNS * min(done / total, 1)) if total else 0
        texts = _rate_texts(done, total, self._rate.per_second, self._unit)
        counted = f"{done}/{total or '?'} {self._unit}"
        head = self._label if not self._phases else self._unit
        return f"{head} {full * filled}{empty * (BAR_COLUMNS - filled)} {', '.join((counted, *texts))}"


_SLOW = {"compiling": "for this CPU, which only the first run on a machine does"}
"""What is said of parts of the work that take long, where nobody sees them tick."""


def _shows(characters: str, encoding: str | None) -> bool:
    """Whether an encoding has these characters."""
    try:
        characters.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
