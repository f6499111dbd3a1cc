"""The one warp of hdrvid: `warp` for tensors on any device. `picture_warp` is for one NumPy picture.

Convention:
    flow_px     (B, 2, H, W), pixels, channel 0 = u (right), channel 1 = v (down), BACKWARD:
                warped(y, x) = image(y + v(y, x), x + u(y, x)).
    sampling    bilinear on pixel centres (what `align_corners=True` means), border padding: a position outside the
                picture takes the nearest border pixel. Zero flow is the identity to the bit.
"""

from __future__ import annotations

import torch

from hdrvid import opencv_filters


def warp(image: torch.Tensor, flow_px: torch.Tensor, corner: tuple[int, int] = (0, 0)) -> torch.Tensor:
    """Sample `image` (B, C, H, W) at x + flow; returns (B, C, H, W), differentiable in both arguments.

    A tile of the result needs only its own flow (B, 2, h, w), from row and column `corner` on: (B, C, h, w).

    Positions stay in pixels. `grid_sample` is not used: its normalised grid loses the last bits of a position, so
    that zero flow would change the picture.
    Raises ValueError when the flow does not fit the image.
    """
    b, c, h, w = image.shape
    top, left = corner
    rows, columns = flow_px.shape[-2:] if flow_px.ndim == 4 else (0, 0)
    inside = 0 <= top <= h - rows and 0 <= left <= w - columns
    if flow_px.shape != (b, 2, rows, columns) or not inside:
        raise ValueError(f"flow must have shape {(b, 2, h, w)} or be a tile of it, not {tuple(flow_px.shape)}")
    flow = flow_px.float()
    xs = torch.arange(left, left + columns, device=image.device, dtype=torch.float32)
    ys = torch.arange(top, top + rows, device=image.device, dtype=torch.float32)[:, None]
    x = (xs + flow[:, 0]).clamp(0, w - 1)
    y = (ys + flow[:, 1]).clamp(0, h - 1)
    if opencv_filters.usable(image, flow):
        return opencv_filters.remap(image, x, y)
    low_x, low_y = x.floor(), y.floor()
    fx, fy = (x - low_x)[:, None].to(image.dtype), (y - low_y)[:, None].to(image.dtype)
    x0, y0 = low_x.long(), low_y.long()
    x1, y1 = (x0 + 1).clamp(max=w - 1), (y0 + 1).clamp(max=h - 1)
    flat = image.reshape(b, c, h * w)

    def fetch(yi: torch.Tensor, xi: torch.Tensor) -> torch.Tensor:
        index = (yi * w + xi).reshape(b, 1, rows * columns).expand(b, c, rows * columns)
        return flat.gather(2, index).reshape(b, c, rows, columns)

    upper = fetch(y0, x0) * (1 - fx) + fetch(y0, x1) * fx
    lower = fetch(y1, x0) * (1 - fx) + fetch(y1, x1) * fx
    return upper * (1 - fy) + lower * fy


def resize_flow(flow_px: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Flow (B, 2, h, w) brought to `size` = (H, W): bilinear, values scaled with the picture."""
    h, w = flow_px.shape[-2:]
    if (h, w) == tuple(size):
        return flow_px
    up = torch.nn.functional.interpolate(flow_px, size=size, mode="bilinear", align_corners=False)
    return torch.stack([up[:, 0] * (size[1] / w), up[:, 1] * (size[0] / h)], 1)
