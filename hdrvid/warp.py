"""The one warp of hdrvid.

Convention:
    flow_px     (B, 2, H, W), pixels, channel 0 = u (right), channel 1 = v (down), BACKWARD:
                warped(y, x) = image(y + v(y, x), x + u(y, x)).
    sampling    bilinear on pixel centres (what `align_corners=True` means), border padding: a position outside the
                picture takes the nearest border pixel. Zero flow is the identity to the bit.
"""

from __future__ import annotations

import torch

from hdrvid import cpu


def warp(image: torch.Tensor, flow_px: torch.Tensor, first_row: int = 0) -> torch.Tensor:
    """Sample `image` (B, C, H, W) at x + flow; returns (B, C, H, W), differentiable in both arguments.

    A strip of the result needs only its own flow (B, 2, h, W), h rows from `first_row` on: (B, C, h, W).

    Positions stay in pixels. `grid_sample` is not used: its normalised grid loses the last bits of a position, so
    that zero flow would change the picture.
    Raises ValueError when the flow does not fit the image.
    """
    b, c, h, w = image.shape
    rows = flow_px.shape[2] if flow_px.ndim == 4 else 0
    if flow_px.shape != (b, 2, rows, w) or not 0 <= first_row <= h - rows:
        raise ValueError(f"flow must have shape {(b, 2, h, w)} or less rows, not {tuple(flow_px.shape)}")
    flow = flow_px.float()
    xs = torch.arange(w, device=image.device, dtype=torch.float32)
    ys = torch.arange(first_row, first_row + rows, device=image.device, dtype=torch.float32)[:, None]
    x = (xs + flow[:, 0]).clamp(0, w - 1)
    y = (ys + flow[:, 1]).clamp(0, h - 1)
    if cpu.usable(image, flow):
        return cpu.remap(image, x, y)
    left, top = x.floor(), y.floor()
    fx, fy = (x - left)[:, None].to(image.dtype), (y - top)[:, None].to(image.dtype)
    x0, y0 = left.long(), top.long()
    x1, y1 = (x0 + 1).clamp(max=w - 1), (y0 + 1).clamp(max=h - 1)
    flat = image.reshape(b, c, h * w)

    def fetch(yi: torch.Tensor, xi: torch.Tensor) -> torch.Tensor:
        index = (yi * w + xi).reshape(b, 1, rows * w).expand(b, c, rows * w)
        return flat.gather(2, index).reshape(b, c, rows, w)

    upper = fetch(y0, x0) * (1 - fx) + fetch(y0, x1) * fx
    lower = fetch(y1, x0) * (1 - fx) + fetch(y1, x1) * fx
    return upper * (1 - fy) + lower * fy


def resize_flow(flow_px: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Flow (B, 2, h, w) brought to `size` = (H, W): bilinear, values scaled with the picture."""
    h, w = flow_px.shape[-2:]
    if (h, w) == tuple(size):
        return flow_px
    scale = torch.tensor([size[1] / w, size[0] / h], dtype=flow_px.dtype, device=flow_px.device)
    up = torch.nn.functional.interpolate(flow_px, size=size, mode="bilinear", align_corners=False)
    return up * scale[:, None, None]
