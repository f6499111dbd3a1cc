"""Whether this process uses compiled functions. Numba is loaded when that is first asked."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from hdrvid.compiled import vectors


class CompiledError(Exception):
    """A compiled function failed; from now on PyTorch does its work in this process, and `problem` says why."""


_failures: list[str] = []
"""Why compiled functions are not used in this process: empty, or one reason."""


class Compiled:
    """The functions of a compiled module. Numba may fail when it is imported and when a function is first called."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(self.module, name)

        def call(*arguments: Any) -> Any:
            try:
                return function(*arguments)
            except MemoryError:
                raise
            except Exception as error:
                give_up(error)
                raise CompiledError from error

        setattr(self, name, call)
        return call


def give_up(error: BaseException) -> None:
    """Let PyTorch do the work of compiled functions from now on: they cannot be used."""
    if not _failures:
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        _failures.append(f"{type(error).__name__}: {reason}" if reason else type(error).__name__)


@cache
def loaded() -> Compiled | None:
    """`compiled.kernels`; None where it cannot be loaded: Numba supports a new Python later than others do."""
    vectors.widen()
    try:
        from hdrvid.compiled import kernels
    except Exception as error:
        give_up(error)
        return None
    return Compiled(kernels)


def compiled_functions() -> Compiled | None:
    """The functions of `hdrvid.compiled.kernels`; None where they cannot be used."""
    return loaded() if usable() else None


def usable() -> bool:
    """Whether this process uses compiled functions."""
    return loaded() is not None and not _failures


def problem() -> str | None:
    """Why it does not, in one sentence for the user; None where it does, or none was called yet."""
    if not _failures:
        return None
    return (
        f"PyTorch does, several times slower, what Numba should have compiled ({_failures[0]}): "
        "install the numba and llvmlite that hdrvid asks for"
    )
