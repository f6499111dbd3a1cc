"""The warp of `hdrvid.warp` for one NumPy picture. PyTorch is not needed."""

from __future__ import annotations

import numpy as np


def warp_picture(picture: np.ndarray, flow_px: np.ndarray) -> np.ndarray:
    """Sample `picture` (H, W) or (H, W, C) at x + flow (h, w, 2), bilinear, border replicated; returns (h, w) or
    (h, w, C).

    By OpenCV, which before version 5 keeps positions to 1/32 of a pixel.
    """
    import cv2  # a machine that only runs networks needs none

    h, w = flow_px.shape[:2]
    x = flow_px[..., 0] + np.arange(w, dtype=np.float32)
    y = flow_px[..., 1] + np.arange(h, dtype=np.float32)[:, None]
    return cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
