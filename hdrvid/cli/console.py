"""Signals, errors and lines of text on stderr. Progress is in `hdrvid.cli.progress`."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from types import FrameType
from typing import Any, TextIO

from hdrvid.disk_errors import output_error
from hdrvid.errors import HdrvidError, UsageError

MIN_WIDTH = 40
"""Columns of the narrowest terminal that text is wrapped for."""

SECONDS_BETWEEN_LINES = 5.0
"""Pause between two plain progress lines."""

EXIT_INTERRUPTED = 130
"""128 + SIGINT."""

EXIT_TERMINATED = 143
"""128 + SIGTERM."""


class Terminated(BaseException):
    """SIGTERM, made an exception so that temporary files are removed on the way out."""


class Interrupted(BaseException):
    """Ctrl-C, under a name that typer does not know: at a KeyboardInterrupt it would end the process without a word."""


def interruptible(command: Callable[..., None]) -> Callable[..., None]:
    """A command that raises `Interrupted` where it is interrupted."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except KeyboardInterrupt as error:
            interrupted = Interrupted()
            for note in getattr(error, "__notes__", ()):
                interrupted.add_note(note)
            raise interrupted from error

    return run


_ENDING_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name)]
"""Signals that end a command as SIGTERM does. SIGHUP comes when the terminal is closed."""

_INTERRUPTS_TO_LEAVE = 3
"""Ctrl-C so many times ends the process at once; the second one finds it cleaning up."""

_interrupts = 0
"""How many times Ctrl-C came since `signals_as_exceptions` began."""


@contextmanager
def signals_as_exceptions(restore: bool = True) -> Iterator[None]:
    """Turn the first signal that ends a command into an exception (only possible in the main thread).

    Ctrl-C raises KeyboardInterrupt, the others raise `Terminated`. Later ones do not disturb the clean-up. A signal
    that is ignored, as SIGHUP is under nohup, stays so.
    `restore`: handle signals as before behind the block; else ignore them, in a process that ends there.
    While the main thread imports modules the exception waits: some of them abort the process at any exception.
    """
    global _interrupts
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is _terminate:
        yield
        return
    _interrupts = 0
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *_ENDING_SIGNALS)}
    for number in _ENDING_SIGNALS:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, _terminate)
    if before[signal.SIGINT] is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            # Python gives signals with a handler their default action on its way out, which is to end without a word
            signal.signal(number, handler if restore else signal.SIG_IGN)


def _terminate(number: int, frame: FrameType | None) -> None:
    leave_unterminated()  # a second signal must not interrupt the clean-up that the first one started
    _raise(Terminated, frame)


SECONDS_BETWEEN_TRIES = 0.05
"""Pause before a signal that came during an import is looked at again."""


def _raise(kind: type[BaseException], frame: FrameType | None) -> None:
    """Raise an exception, or do so as soon as the import in `frame` has ended."""
    if not hasattr(signal, "setitimer") or not _is_import(frame):
        raise kind
    signal.signal(signal.SIGALRM, lambda number, frame: _raise(kind, frame))
    signal.setitimer(signal.ITIMER_REAL, SECONDS_BETWEEN_TRIES)


def _is_import(frame: FrameType | None) -> bool:
    """Whether a frame or one of its callers is Python's import of a module."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _interrupts
    _interrupts += 1
    if _interrupts >= _INTERRUPTS_TO_LEAVE:
        os._exit(EXIT_INTERRUPTED)
    if _interrupts == 1:
        leave_unterminated()
        _raise(KeyboardInterrupt, frame)
        return
    say(f"hdrvid: interrupted already, cleaning up; {_INTERRUPTS_TO_LEAVE - _interrupts} more ends it at once")


def leave_unterminated() -> None:
    """Ignore SIGTERM until `signals_as_exceptions` ends: the process is leaving, and has said why or is about to.

    torchrun sends it to the processes that are left as soon as one is gone: a second reason would hide the first.
    """
    if threading.current_thread() is threading.main_thread():
        for number in _ENDING_SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def check_arguments(arguments: Sequence[str]) -> None:
    """Raise UsageError for an argument that is empty or holds a zero byte: no option has a meaning for either."""
    for index, text in enumerate(arguments):
        before = arguments[index - 1] if index else ""
        name = text.split("=", 1)[0] if text.startswith("-") else before if before.startswith("-") else "an argument"
        if not text or (text.startswith("--") and text.endswith("=")):
            raise UsageError(
                f"{name} is empty: give it a value (a variable of the shell may be empty), or leave it out"
            )
        if sys.getfilesystemencoding().lower() not in ("utf-8", "utf8") and not text.isascii():
            raise UsageError(
                f"{name} has letters that the encoding {sys.getfilesystemencoding()} of this environment lacks: set "
                "LC_ALL=C.UTF-8 or PYTHONUTF8=1"
            )
        if "\0" in text:
            raise UsageError(f"{name} holds a zero byte, which no name and no number can: leave the byte out")


def use_compiler() -> None:
    """Undo NUMBA_DISABLE_JIT, which Numba reads when it is imported: the loops of hdrvid only run compiled."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0").strip() not in ("", "0"):
        if "numba" in sys.modules:
            raise UsageError("NUMBA_DISABLE_JIT is set, but the loops of hdrvid only run compiled: unset it")
        os.environ["NUMBA_DISABLE_JIT"] = "0"
        say("hdrvid: warning: NUMBA_DISABLE_JIT is ignored, the loops of hdrvid only run compiled")


def flush_stdout(code: int) -> int:
    """Write what is left for stdout. Returns the exit code of the process: 1 where it cannot be written."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        # Python would flush again on its way out, and print a traceback
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # the reader has seen enough
            return code
        say(f"hdrvid: error: {sentence_of(error)}")
        return code or 1
    return code


def exit_code_of(error: BaseException) -> int:
    """Print the one sentence that `error` deserves and return the exit code of the process.

    Re-raises where HDRVID_DEBUG=1.
    """
    if os.environ.get("HDRVID_DEBUG") == "1":
        raise error
    notes = "".join(f": {note}" for note in getattr(error, "__notes__", ()))
    # an import that is interrupted raises what it likes
    if isinstance(error, (KeyboardInterrupt, Interrupted)) or (_interrupts and not isinstance(error, HdrvidError)):
        say(f"hdrvid: interrupted{notes}")
        return EXIT_INTERRUPTED
    if isinstance(error, Terminated):
        say(f"hdrvid: terminated{notes}")
        return EXIT_TERMINATED
    say(f"hdrvid: error: {sentence_of(error)}")
    return error.exit_code if isinstance(error, HdrvidError) else 1


def sentence_of(error: BaseException) -> str:
    """What the user is told of an error. Raises it where HDRVID_DEBUG=1, unless its text is meant for the user."""
    if isinstance(error, HdrvidError):
        return str(error)
    if os.environ.get("HDRVID_DEBUG") == "1":
        raise error
    if _is_out_of_memory(error):
        return (
            "out of memory: give more memory to the process, or smaller tiles (--tile 512), a smaller picture, or in "
            "training a smaller --batch"
        )
    if isinstance(error, UnicodeEncodeError):
        return (
            f"the text {error.object[error.start : error.end][:40]!a} cannot be written in the encoding "
            f"{error.encoding} of this terminal: set LC_ALL=C.UTF-8 or PYTHONUTF8=1"
        )
    if isinstance(error, OSError) and error.errno is not None:
        sentence = str(output_error(error.filename or "the output", error))
        return f"cannot open{sentence.removeprefix('cannot write')}" if error.filename else sentence
    if isinstance(error, ValueError) and "null" in str(error):
        return "a name holds a zero byte, which no file can have: give another name"
    first_line = (str(error).splitlines() or [""])[0][:200]
    return (
        f"unexpected {type(error).__name__}: {first_line} "
        "(this is a fault of hdrvid: please run the command again with HDRVID_DEBUG=1 and report what it prints)"
    )


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, as Python, the system, PyTorch or the loader of shared libraries tell it."""
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (
            isinstance(error, (RuntimeError, ImportError, OSError, SystemError))
            and any(words in text for words in _MEMORY_WORDS)
        )
    )


_MEMORY_WORDS = (
    "Cannot allocate memory",
    "can't allocate memory",
    "CUDA out of memory",
    "failed to map segment",
    "cannot allocate memory in static TLS block",
    "can't start new thread",
    "error return without exception set",
)
"""What the messages say."""


def printable(text: str) -> str:
    """`text` with its control characters escaped: a file name must not move the cursor or fake a line, and so further
    lines are indented.

    >>> printable("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    lines = text.split("\n")
    shown = (
        "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in line)
        for line in lines
    )
    return "\n".join(line if i == 0 or line.startswith("  ") else f"  {line}" for i, line in enumerate(shown))


def wrapped(text: str, stream: TextIO) -> str:
    """`text` with its lines broken between words where `stream` is a terminal; what follows is indented.

    A word that is longer than the terminal is wide, like a path, stays whole: it can be copied.
    """
    if not stream.isatty():
        return text
    width = max(shutil.get_terminal_size().columns, MIN_WIDTH)
    lines = (_wrapped_line(line, width) for line in text.split("\n"))
    return "\n".join(lines)


def _wrapped_line(line: str, width: int) -> str:
    indent = " " * (len(line) - len(line.lstrip()))
    parts = textwrap.wrap(
        line,
        width,
        initial_indent="",
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )
    return "\n".join(parts)


def echo(text: str) -> None:
    """One line of a result on stdout."""
    print(wrapped(printable(text), sys.stdout), flush=True)


def say(text: str) -> None:
    """One line on stderr; a closed stderr is ignored."""
    try:
        # one write: the lines of several processes must not end up in one another
        print(f"{wrapped(printable(text), sys.stderr)}\n", end="", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        return


def opening(inputs: Sequence[str]) -> None:
    """Say what is opened, before the libraries are loaded that it takes seconds to load. Of several processes under
    torchrun the first one speaks."""
    if os.environ.get("RANK", "0") == "0":
        more = f" and {len(inputs) - 1} more" if len(inputs) > 1 else ""
        say(f"hdrvid: opening {inputs[0]}{more}")


def print_json(value: Any) -> None:
    """`value` as JSON on stdout; numbers that JSON lacks (NaN, infinity) are refused."""
    print(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False), flush=True)


def clock(seconds: float) -> str:
    """Whole seconds as m:ss or h:mm:ss.

    >>> clock(75), clock(3600)
    ('1:15', '1:00:00')
    """
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
