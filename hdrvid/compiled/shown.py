"""The preview's display transform by a compiled function, where there is one. PyTorch is not loaded for it."""

from __future__ import annotations

from functools import cache

import numpy as np

from hdrvid.color import neutral
from hdrvid.color.half_tables import srgb_codes
from hdrvid.compiled.availability import CompiledError, compiled_functions


@cache
def _srgb_codes() -> np.ndarray:
    codes = srgb_codes().astype(np.int32)
    codes.flags.writeable = False
    return codes


def show_rows(frame: np.ndarray, curve: np.ndarray, fades: np.ndarray) -> np.ndarray:
    """See `neutral.show_rows`. In the thread that calls: a preview is made beside other work."""
    kernels = compiled_functions()
    if kernels is not None:
        out = np.empty(frame.shape, np.uint8)
        try:
            kernels.show_rows(frame, curve, fades, _srgb_codes(), (0, len(frame)), out)
            return out
        except CompiledError:
            pass
    return neutral.show_rows(frame, curve, fades)
