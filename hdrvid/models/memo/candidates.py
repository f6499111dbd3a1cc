"""The candidates that the memo's merging network blends."""

from __future__ import annotations

import torch

from hdrvid.warp import warp


def memo_candidates(
    ldr: torch.Tensor, flows: torch.Tensor, tile: tuple[slice, slice] | None = None
) -> tuple[torch.Tensor, list[int]]:
    """The memo's candidates: ref, warped neighbours, original neighbours.

    `ldr` (B, W, 3, H, W'), `flows` (B, K, 2, H, W'). Returns codes (B, 2K + 1, 3, H, W'), or the rows and columns
    `tile` of them, and each candidate's position in the window.
    """
    n = ldr.shape[1]
    middle = n // 2
    neighbours = [i for i in range(n) if i != middle]
    rows, columns = tile or (slice(0, ldr.shape[-2]), slice(0, ldr.shape[-1]))
    codes_in_tile = ldr[..., rows, columns]
    corner = rows.start, columns.start
    warped = [warp(ldr[:, i], flows[:, k, :, rows, columns], corner) for k, i in enumerate(neighbours)]
    codes = torch.stack([codes_in_tile[:, middle], *warped, *(codes_in_tile[:, i] for i in neighbours)], 1)
    return codes, [middle, *neighbours, *neighbours]
