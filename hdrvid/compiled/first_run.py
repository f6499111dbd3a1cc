"""What the first run on a machine compiles, in helper processes, while it opens its clip and looks at it.

Numba compiles one function at a time in a process, whatever its threads, and holds Python's lock for most of it. So
every helper process compiles a share of the functions and leaves them in Numba's cache, where the run finds them: code
of the same functions for the same CPU. What a helper does not deliver the run compiles itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from hdrvid import machine, threads
from hdrvid.compiled import availability, vectors
from hdrvid.compiled.calls import Calls

if TYPE_CHECKING:
    from hdrvid.compiled.signatures import Signature

MAX_HELPERS = 4
"""More gain nothing: the largest function takes a fifth of the time of all."""

MIN_THREADS = 2
"""One core has no room for helpers."""

HELPER_BYTES = 700_000_000
"""Memory that a helper may take."""

SECONDS_BETWEEN_LOOKS = 0.05
"""Pause between two looks at whether the helpers are done."""


class FirstRun:
    """Has what a run calls ready before its first frame. A context manager that ends its helpers.

    `helpers`: whether processes may be started. `on_begin` is called once, in any thread, where something has to be
    compiled.
    """

    def __init__(self, helpers: bool = True, on_begin: Callable[[], None] | None = None) -> None:
        self._helpers, self._on_begin = helpers, on_begin
        self._processes: list[subprocess.Popen[bytes]] = []
        self._wanted: list[Signature] = []
        self._began: float | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        for process in self._processes:
            with suppress(OSError):
                process.kill()
            process.wait()

    def add(self, calls: Calls, *, alone: bool = True) -> None:
        """Begin with what these calls need and no cache has. Returns at once; nothing where Numba cannot be used.

        `alone` False: the run has other work meanwhile, and helpers take half of the cores.
        """
        if not availability.usable():
            return
        try:
            self._add(calls, alone)
        except MemoryError:
            raise
        except Exception as error:
            availability.give_up(error)

    def _add(self, calls: Calls, alone: bool) -> None:
        from hdrvid.compiled.signatures import signatures

        if vectors.own_process():
            load_without_scipy()
        begun = {signature.name for signature in self._wanted}
        wanted = [s for s in signatures(calls) if not s.is_present and s.name not in begun]
        self._wanted += wanted
        missing = [signature for signature in wanted if not signature.is_kept]
        if not missing:
            return
        if self._began is None:
            self._began = time.monotonic()
            if self._on_begin is not None:
                self._on_begin()
        if self._helpers and all(signature.can_be_kept for signature in missing):
            for share in shares(missing, self._num_helpers(alone)):
                self._start(calls, share)

    def _num_helpers(self, alone: bool) -> int:
        """How many more may be started: no more than there are threads, and than the memory has room for."""
        memory, cores = machine.available_memory(), threads.num_threads()
        fitting = MAX_HELPERS if memory is None else memory // HELPER_BYTES - 1
        wanted = cores if alone else max(1, cores // 2)
        if cores < MIN_THREADS or not _python():
            return 0
        return int(max(0, min(MAX_HELPERS, wanted, fitting)))

    def _start(self, calls: Calls, share: Sequence[Signature]) -> None:
        """Start a helper. Where none can be started the run compiles by itself."""
        source = str(Path(__file__).resolve().parents[2])
        paths = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
        task = json.dumps({"calls": asdict(calls), "names": [signature.name for signature in share]})
        with suppress(OSError):
            process = subprocess.Popen(
                # -P: not what the current folder holds, as a checkout beside the installed package
                [_python(), "-P", "-m", "hdrvid.compiled.helper", task],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            )
            self._processes.append(process)
            if self._closed:  # while it was started
                process.kill()

    def finish(self) -> float | None:
        """Wait until everything is there. Returns how long it took, in seconds; None where nothing was compiled."""
        while any(process.poll() is None for process in self._processes):
            time.sleep(SECONDS_BETWEEN_LOOKS)
        if not availability.usable():
            return None
        for signature in self._wanted:
            try:
                signature.compile()
            except MemoryError:
                raise
            except Exception as error:
                availability.give_up(error)
                return None
        return None if self._began is None else time.monotonic() - self._began


def load_without_scipy() -> None:
    """Let Numba load what it compiles with, but not SciPy's linear algebra, which no function here calls: 0.1 to 0.3
    seconds of the start. For processes of hdrvid's own in which nobody else wants it meanwhile."""
    from numba.core.registry import cpu_target

    name = "scipy.linalg.cython_blas"
    if name in sys.modules:
        return
    sys.modules[name] = None  # type: ignore[assignment]  # imports of it fail
    try:
        cpu_target.target_context.refresh()
    finally:
        del sys.modules[name]


def shares(signatures: Sequence[Signature], count: int) -> list[list[Signature]]:
    """Functions shared between `count` processes, so that these end at about the same time."""
    parts: list[list[Signature]] = [[] for _ in range(count)]
    for signature in sorted(signatures, key=lambda s: -s.seconds):
        if parts:
            min(parts, key=lambda part: sum(s.seconds for s in part)).append(signature)
    return [part for part in parts if part]


def _python() -> str:
    """The Python that runs; '' where that is another program with Python inside."""
    return "" if getattr(sys, "frozen", False) else sys.executable or ""
