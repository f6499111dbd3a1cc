"""Work on parts of a frame in as many threads as PyTorch uses, which need not be loaded for that."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


_thread = threading.local()
"""Of every thread, whether it belongs to `_pool`."""


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="hdrvid-filter")


def num_threads() -> int:
    """Threads that PyTorch uses. Before it is loaded: OMP_NUM_THREADS, or one a core that the process may use."""
    # the function is missing while another thread loads PyTorch
    used = getattr(sys.modules.get("torch"), "get_num_threads", None)
    if used is not None:
        return int(used())
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isascii() and given.isdigit() and int(given):
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(function: Callable[[Item], Made], items: Sequence[Item]) -> list[Made]:
    """[function(i) for i in items], over as many threads as PyTorch uses.

    One after the other where `function` itself was called so: threads that wait for threads of one pool wait for ever.
    """
    workers = num_threads()
    if workers == 1 or len(items) == 1 or getattr(_thread, "of_pool", False):
        return [function(i) for i in items]

    def in_pool(item: Item) -> Made:
        _thread.of_pool = True
        return function(item)

    return list(_pool(workers).map(in_pool, items))


def row_blocks(rows: slice, width: int, pixels: int, min_rows: int = 1) -> list[slice]:
    """Rows cut into blocks of about `pixels` pixels and at least `min_rows` rows; the last may have fewer."""
    height = max(pixels // max(width, 1), min_rows)
    return [slice(top, min(top + height, rows.stop)) for top in range(rows.start, rows.stop, height)]
