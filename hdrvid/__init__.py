"""HDR video reconstruction from alternating-exposure clips. `hdrvid.api` has what is meant to be called from Python.

Imports only go down:

    cli                                    commands
    train  evaluate  bench  html           what is built on a reconstruction
    pipeline                               a frame's way from decode to EXR: pipeline/run.py
    detect  predict  data                  what a clip is; models on frames of any size; synthetic clips
    flow  compiled  models                 classical flow, Numba, networks
    io  color  metrics  options            files, light, measures, options
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = ["__version__", "frames", "inspect", "merge", "reconstruct"]

if TYPE_CHECKING:
    from hdrvid.api import frames, inspect, merge, reconstruct


def __getattr__(name: str) -> Any:
    """Import `hdrvid.api` when one of its functions is first asked for: importing hdrvid has no effect."""
    if name in __all__:
        from hdrvid import api

        return getattr(api, name)
    raise AttributeError(f"module 'hdrvid' has no attribute '{name}'")
