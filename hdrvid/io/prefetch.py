"""Items of an iterator, made in a thread before they are asked for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")


class Prefetcher(Generic[Item]):
    """Items of an iterator, a few ahead, from a thread. An iterator and a context manager.

    Raises what the iterator raises, after the items before it.
    """

    def __init__(self, items: Iterator[Item], ahead: int) -> None:
        """`ahead`: items that are there at a time, the one being made among them."""
        self._items = items
        self._queue: queue.SimpleQueue[Item | BaseException | None] = queue.SimpleQueue()
        self._places = threading.Semaphore(ahead)
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._read, name="hdrvid-decode", daemon=True)

    def _read(self) -> None:
        end: BaseException | None = None
        try:
            while not self._leave.is_set():
                if self._places.acquire(timeout=0.1):
                    self._queue.put(next(self._items))
        except StopIteration:
            pass
        except BaseException as error:
            end = error
        self._queue.put(end)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave.set()
        self._thread.join()

    def __iter__(self) -> Iterator[Item]:
        while True:
            item = self._queue.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            self._places.release()
            yield item
