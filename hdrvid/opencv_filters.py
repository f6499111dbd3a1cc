"""Two filters that OpenCV does many times faster on a CPU than PyTorch does.

Only where no gradient is wanted; filtered pictures are those of PyTorch but for the last bits.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch

from hdrvid.threads import each

LARGEST_SIDE_PX = 32_000
"""OpenCV counts the positions of a remap in 16 bits."""


@cache
def opencv() -> Any:
    """OpenCV where its remap interpolates in floating point (5.0 on), else None: before, in 1/32 of a pixel."""
    try:
        import cv2
    except ImportError:
        return None
    return cv2 if int(cv2.__version__.split(".")[0]) >= 5 else None


def usable(*tensors: torch.Tensor) -> bool:
    """Whether these tensors can be filtered here: float32, on the CPU, no gradient wanted, OpenCV new enough."""
    return (
        all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors)
        and not (torch.is_grad_enabled() and any(t.requires_grad for t in tensors))
        and max(tensors[0].shape[-2:]) <= LARGEST_SIDE_PX
        and opencv() is not None
    )


def remap(image: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """`image` (B, C, H, W) at the positions x, y (B, h, w) in pixels, bilinear, border replicated: (B, C, h, w)."""
    cv2 = opencv()
    batch, channels = image.shape[:2]
    result = torch.empty((batch, channels, *x.shape[1:]))
    planes, out = image.contiguous().numpy(), result.numpy()
    xs, ys = x.contiguous().numpy(), y.contiguous().numpy()

    def one(plane: tuple[int, int]) -> None:
        b = plane[0]
        cv2.remap(planes[plane], xs[b], ys[b], cv2.INTER_LINEAR, dst=out[plane], borderMode=cv2.BORDER_REPLICATE)

    each(one, [(b, c) for b in range(batch) for c in range(channels)])
    return result


def separable(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) under the symmetric kernel (n,), rows and columns, border replicated: (B, C, H, W)."""
    cv2 = opencv()
    taps = kernel.numpy().astype(np.float32)
    planes = x.contiguous().reshape(-1, *x.shape[-2:]).numpy()
    result = torch.empty(planes.shape)
    out = result.numpy()

    def one(k: int) -> None:
        cv2.sepFilter2D(planes[k], -1, taps, taps, dst=out[k], borderType=cv2.BORDER_REPLICATE)

    each(one, range(len(planes)))
    return result.reshape(x.shape)
