"""Processes that leave Ctrl-C to the one that started them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Processes that are started in the block never see Ctrl-C, which a terminal sends to all processes of a command.

    From their first moment on: they take seconds to import what they need, and would end with a traceback meanwhile.
    Here Ctrl-C waits for the end of the block. Windows has no such thing.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # Python starts it before the first process, and lets Ctrl-C through then
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
