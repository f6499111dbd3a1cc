"""Half floats, which PyTorch makes many times faster than NumPy, to the bit."""

from __future__ import annotations

import numpy as np

HALF_MAX = 65504.0
"""The largest half float."""
CONVERTED_AT_ONCE = 30_000
"""Values. More of them PyTorch converts by a team of threads for each thread that asks; teams wait at full speed."""


def to_half(values: np.ndarray) -> np.ndarray:
    """float32 values of any shape as float16, to the nearest even; infinite beyond HALF_MAX."""
    return _converted(values, np.float16)


def from_half(values: np.ndarray) -> np.ndarray:
    """float16 values of any shape as float32."""
    return _converted(values, np.float32)


def _converted(values: np.ndarray, dtype: type[np.floating]) -> np.ndarray:
    import torch

    result = np.empty(values.shape, dtype)
    source, target = torch.from_numpy(np.ascontiguousarray(values)).reshape(-1), torch.from_numpy(result).reshape(-1)
    for some in zip(source.split(CONVERTED_AT_ONCE), target.split(CONVERTED_AT_ONCE), strict=True):
        some[1].copy_(some[0])
    return result
