"""With which types of arguments a run calls the compiled functions: what has to be there before its first frame."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import typeof, types

from hdrvid.compiled import contradiction, display, evidence, flow_choice, inverse_search, merge, quantise, variational
from hdrvid.compiled.calls import Calls


@dataclass(frozen=True)
class Signature:
    """A compiled function and the types of its arguments."""

    function: Any
    """A dispatcher of Numba."""
    types: tuple[Any, ...]
    seconds: float
    """About how long it takes to compile, measured on one core; what matters is the ratio of these figures."""

    @property
    def name(self) -> str:
        """A text that no other function of a run has: `misfit` is there twice."""
        return f"{self.function.py_func.__name__} {zlib.crc32(str(self.types).encode())}"

    @property
    def is_present(self) -> bool:
        """Whether this process has it."""
        return self.types in self.function.overloads

    @property
    def is_kept(self) -> bool:
        """Whether an earlier process has left it in Numba's cache."""
        cache, target = self.function._cache, self.function.targetctx
        if not self.can_be_kept:
            return False
        target.refresh()
        return cache._index_key(self.types, target.codegen()) in cache._cache_file._load_index()

    @property
    def can_be_kept(self) -> bool:
        """Whether Numba has a folder to keep it in."""
        return self.function._cache.cache_path is not None

    def compile(self) -> None:
        """Load it from the cache, or compile it."""
        self.function.compile(self.types)


def signatures(calls: Calls) -> list[Signature]:
    """The functions that a run calls, those first that take longest."""
    found = [*_search(calls)] if calls.search else []
    if calls.merge:
        found += _merge(calls)
    if calls.refine:
        found += _refine(calls)
    if calls.display:
        found.append(_display())
    if calls.quantised:
        found += _quantise(calls)
    return sorted(found, key=lambda signature: -signature.seconds)


def _signature(function: Any, seconds: float, *arguments: Any) -> Signature:
    """Of a call with such arguments; those that are left out have their default."""
    defaults = function.py_func.__defaults__ or ()
    count = function.py_func.__code__.co_argcount - len(arguments)
    omitted = [types.Omitted(value) for value in defaults[len(defaults) - count :]] if count else []
    return Signature(function, (*(typeof(value) for value in arguments), *omitted), seconds)


def _array(dimensions: int, dtype: Any = np.float32) -> np.ndarray:
    return np.empty((1,) * dimensions, dtype)


def _search(calls: Calls) -> Iterator[Signature]:
    plane, bytes_, one = _array(2), _array(2, np.uint8), np.float32(1)
    flow, channels, gradient = _array(3), _array(4), _array(2, np.int16)
    yield _signature(flow_choice.luma, 1.0, flow, one, 1, bytes_)
    yield _signature(flow_choice.upsample2x_flow, 0.6, flow, flow)
    yield _signature(
        inverse_search.search_patches, 1.6, bytes_, bytes_, gradient, gradient, plane, plane, 1, 1, plane, plane
    )
    yield _signature(inverse_search.spread_patches, 0.9, bytes_, bytes_, plane, plane, 1, plane, plane)
    yield _signature(variational.linearised, 3.9, bytes_, plane, plane, plane, channels)
    yield _signature(variational.solved, 6.0, channels, channels, channels, 1)
    yield _signature(variational._separate, 0.2, plane, flow)
    yield _signature(variational._add_to, 0.3, flow, plane)
    if calls.candidates:
        yield _signature(flow_choice.consistent, 1.2, flow, flow, one, _array(2, np.bool_))
        for count in (2, 4):
            yield _signature(flow_choice.misfit, 1.4, plane, (plane,) * count, (flow, flow), one, (0, 1), plane)


def _merge(calls: Calls) -> Iterator[Signature]:
    picture, channels, vector, bounds = _array(3), _array(4), _array(1), (0, 1, 0, 1)
    given = _array(3, np.uint32 if calls.quantised else np.uint16 if calls.half else np.float32)
    result = _array(3, np.uint16 if calls.half or calls.half_between else np.float32)
    pictures = (picture,) * calls.neighbours
    yield _signature(
        merge.merge_input, 11.5, picture, pictures, pictures, pictures, picture, vector, _array(2), np.float32(1),
        np.float32(1), (vector, vector), vector, bounds, (0, 1), given, channels, channels, channels,
    )  # fmt: skip
    yield _signature(contradiction.half_means, 1.0, picture, picture, np.float32(1), np.float32(1), (0, 1), channels)
    yield _signature(contradiction.contradicted, 1.5, channels, vector, picture, np.float32(1), vector, (0, 1), picture)
    yield _signature(
        merge.merge_result, 3.6, result, channels, channels, channels, 1, (0, 1), (0, 1), (0, 1), picture, channels
    )


def _display() -> Signature:
    picture, table, codes = _array(3), _array(1), _array(1, np.int32)
    table.flags.writeable = codes.flags.writeable = False
    return _signature(display.show_rows, 1.5, picture, table, table, codes, (0, 1), _array(3, np.uint8))


def _quantise(calls: Calls) -> Iterator[Signature]:
    vector, one, bytes_ = _array(1), np.float32(1), _array(3, np.uint8)
    given = _array(3, np.uint16 if calls.half_between else np.float32)
    for function in (quantise.quantise, quantise.quantise_doubled):
        yield _signature(function, 0.7, given, vector, one, one, (0, 1), bytes_)
    yield _signature(quantise.quantise_sum, 0.9, given, given, vector, one, one, True, (0, 1), bytes_)


def _refine(calls: Calls) -> Iterator[Signature]:
    picture, plane, vector, one = _array(3), _array(2), _array(1), np.float32(1)
    bounds, network = (0, 1, 0, 1), _array(3, np.uint16 if calls.half else np.float32)
    yield _signature(evidence.matched, 0.5, picture, one, one, bounds, (0, 1), picture)
    yield _signature(
        evidence.evidence, 8.7, picture, picture, picture, picture, picture, one, picture, picture, vector, vector,
        bounds, (0, 1), network, picture, picture,
    )  # fmt: skip
    yield _signature(evidence.correlation, 4.6, network, network, one, (0, 1), network, picture)
    yield _signature(evidence.refine_flow, 1.9, network, picture, picture, (0, 1), (0, 1), (0, 1), picture, plane)
