"""Networks as compiled graphs (torch.compile), where there is a compiler; as they are where there is none."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class Compiled:
    """A function of tensors, compiled when it is first called for a size.

    Where it cannot be compiled (no C++ compiler, no Triton), the function itself is called from then on, and the reason
    is reported once. Running out of memory is no such case and is raised.
    """

    def __init__(self, function: Callable[..., Any], tell: Callable[[str], None]) -> None:
        self._function, self._tell = function, tell
        self._compiled: Callable[..., Any] | None = torch.compile(function, dynamic=False)

    def __call__(self, *inputs: torch.Tensor) -> Any:
        """What the function returns."""
        if self._compiled is not None:
            try:
                return self._compiled(*inputs)
            except (RuntimeError, OSError, ImportError, TypeError, subprocess.SubprocessError) as error:
                if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
                    raise
                self._compiled = None
                reason = str(error).strip().splitlines() or [type(error).__name__]
                self._tell(f"the networks run as they are, for they cannot be compiled here ({reason[0][:200]})")
        return self._function(*inputs)


def compile_networks(networks: nn.ModuleDict, tell: Callable[[str], None]) -> None:
    """Let the convolutions of the networks be compiled; what is around them stays as it is."""
    reported: set[str] = set()

    def once(text: str) -> None:
        if not reported:
            reported.add(text)
            tell(text)

    for network in networks.values():
        name = next(name for name in ("network", "weights", "forward") if hasattr(network, name))
        setattr(network, name, Compiled(getattr(network, name), once))
