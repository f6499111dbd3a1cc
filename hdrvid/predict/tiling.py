"""Frames in tiles: which pixels a network sees, and which of its result are kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hdrvid.errors import UsageError

if TYPE_CHECKING:
    import torch

SIZE_MULTIPLE = 16
"""Both networks halve the picture four times."""


def resolve_tile(tile: str | int) -> str | int:
    """'auto', 'off' or a number of pixels (at least 64)."""
    if tile in ("auto", "off"):
        return tile
    try:
        pixels = int(tile)
    except ValueError as error:
        raise UsageError(f"--tile takes auto, off or a number of pixels from 64 on, not '{tile}'") from error
    if pixels < 64:
        raise UsageError(f"--tile takes auto, off or a number of pixels from 64 on, not '{pixels}'")
    return pixels


@dataclass(frozen=True)
class Tile:
    """A piece of a padded frame: what is read, and which part of the result is kept."""

    read: tuple[slice, slice]
    """Rows and columns given to the network, halo included."""
    keep: tuple[slice, slice]
    """Rows and columns of the frame that this tile decides."""
    inner: tuple[slice, slice]
    """`keep`, counted from the corner of `read`."""

    def inside(self, size: tuple[int, int]) -> tuple[slice, slice]:
        """`read` without what lies beyond a frame of height and width `size`."""
        rows, columns = self.read
        return slice(rows.start, min(rows.stop, size[0])), slice(columns.start, min(columns.stop, size[1]))

    def kept(self, size: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """`keep` and `inner` without what lies beyond a frame of height and width `size`."""
        ends = zip(self.keep, self.inner, size, strict=True)
        (rows, inner_rows), (columns, inner_columns) = (
            (slice(keep.start, stop := min(keep.stop, n)), slice(inner.start, inner.start + stop - keep.start))
            for keep, inner, n in ends
        )
        return (rows, columns), (inner_rows, inner_columns)


def tiles(height: int, width: int, size: int, halo: int) -> Iterator[Tile]:
    """Cover a frame (height and width multiples of 16) with tiles of at most size x size kept pixels."""
    size = max(size // SIZE_MULTIPLE, 1) * SIZE_MULTIPLE
    halo = -(-halo // SIZE_MULTIPLE) * SIZE_MULTIPLE

    def axis(length: int) -> list[tuple[slice, slice, slice]]:
        count = -(-length // size)
        step = -(-length // count // SIZE_MULTIPLE) * SIZE_MULTIPLE
        spans = []
        for start in range(0, length, step):
            stop = min(start + step, length)
            lo, hi = max(start - halo, 0), min(stop + halo, length)
            spans.append((slice(lo, hi), slice(start, stop), slice(start - lo, stop - lo)))
        return spans

    for read_y, keep_y, inner_y in axis(height):
        for read_x, keep_x, inner_x in axis(width):
            yield Tile((read_y, read_x), (keep_y, keep_x), (inner_y, inner_x))


def pad_to_multiple(x: torch.Tensor, multiple: int = SIZE_MULTIPLE) -> torch.Tensor:
    """Edge-replicate (B, C, c, H, W) at the right and the bottom up to a multiple."""
    b, c, k, h, w = x.shape
    if h % multiple == 0 and w % multiple == 0:
        return x
    from torch.nn import functional as F

    flat = F.pad(x.reshape(b, c * k, h, w), (0, -w % multiple, 0, -h % multiple), mode="replicate")
    return flat.reshape(b, c, k, *flat.shape[-2:])


class Canvas:
    """The frame that tiles are put together to, and the blend weights where they are wanted."""

    def __init__(self, size: tuple[int, int], num_weights: int, device: torch.device, diagnostics: bool) -> None:
        import torch

        self.radiance = torch.empty((*size, 3), device=device)
        """(H, W, 3)."""
        self.weights = torch.empty((num_weights, 3, *size), device=device) if diagnostics else None
        """(C, 3, H, W)."""
        self.finite = torch.ones((), dtype=torch.bool, device=device)
        """Whether all that was put was numbers."""

    def put(self, tile: Tile, radiance: torch.Tensor, weights: torch.Tensor) -> None:
        """What a network made of `tile.read`: radiance (1, 3, h, w) and weights (1, C, 1 or 3, h, w)."""
        import torch

        height, width = self.radiance.shape[:2]
        (rows, columns), inner = tile.kept((height, width))
        kept = radiance[(0, slice(None), *inner)].float()
        self.finite &= torch.isfinite(kept).all()
        piece = torch.nan_to_num(kept, nan=0.0, posinf=1.0, neginf=0.0)
        self.radiance[rows, columns] = piece.clamp_(min=0.0).permute(1, 2, 0)
        if self.weights is not None:
            self.weights[..., rows, columns] = weights[(0, ..., *inner)]
