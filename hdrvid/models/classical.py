"""The classical merge as prior weights: well-exposedness x exposure x confidence of the alignment.

A pixel has one weight for its three channels, and one for each of them (`channel_weights`). A saturated light may clip
in red where its blue is well exposed, and be black in blue where a shorter frame has its red: each channel is then
another frame's. The network is shown the one weight, and corrects the three.

Convention:
    Windows are (B, W, 3, H, W') network-coded LDR with exposures (B, W); flows (B, K, 2, H, W') in pixels, backward.
    Candidates of this module are the reference and the K warped neighbours, in that order: (B, K + 1, ...).
    Weights are not normalised; their logarithm is what the `default` network corrects.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional as F

from hdrvid import opencv_filters
from hdrvid.color.radiance import common_floor, match_exposure, radiance_from_ldr
from hdrvid.models.constants import (
    BLACK_RAMP,
    BLACK_WEIGHT,
    CONSISTENCY_FLOOR,
    HAT_HIGH,
    OUTSIDE_PX,
    PARTLY_CLIPPED,
    PHOTOMETRIC_TOLERANCE,
    WEIGHT_FLOOR,
)
from hdrvid.warp import warp


def well_exposedness(ldr: torch.Tensor, exposure: torch.Tensor) -> torch.Tensor:
    """Hat weight in [0, 1] of (B, 3, H, W) frames, one for the three channels: (B, 1, H, W).

    It falls from 1 to 0 as the brightest channel approaches clipping. The shortest exposure (1) keeps its weight, as
    nothing knows more about what it clips. There is no ramp at the dark end: the factor `exposure` of the merge
    already prefers the longer, cleaner frame.
    """
    low, high = HAT_HIGH
    brightest = ldr.amax(1, keepdim=True)
    ramp = ((high - brightest) / (high - low)).clamp(0.0, 1.0)
    return torch.where(exposure[:, None, None, None] <= 1.0 + 1e-6, torch.ones_like(ramp), ramp)


def channel_exposedness(
    ldr: torch.Tensor, exposure: torch.Tensor, partly_clipped: float | torch.Tensor = PARTLY_CLIPPED
) -> torch.Tensor:
    """`well_exposedness` of every channel, (B, 3, H, W): `partly_clipped`, also as (B, 1, 1, 1), where only another
    channel clips."""
    low, high = HAT_HIGH
    alone = partly_clipped * ((high - ldr) / (high - low)).clamp(0.0, 1.0)
    return torch.maximum(well_exposedness(ldr, exposure), alone)


def above_black(
    codes: torch.Tensor, exposure: torch.Tensor, longest: torch.Tensor, black: torch.Tensor
) -> torch.Tensor:
    """Weight in [BLACK_WEIGHT, 1] of (B, C, H, W) codes of a frame, each by itself.

    `black` (B,): code at or below which frames are black. The longest exposure keeps its weight, as nothing knows more
    about what it shows as black; so do frames of clips without black codes.
    """
    ramp = ((codes - black[:, None, None, None]) / BLACK_RAMP).clamp(BLACK_WEIGHT, 1.0)
    keeps = (exposure >= longest * (1 - 1e-6)) | (black <= 0)
    return torch.where(keeps[:, None, None, None], torch.ones_like(ramp), ramp)


def inside_picture(
    flow: torch.Tensor, size: tuple[int, int] | None = None, corner: tuple[int, int] = (0, 0)
) -> torch.Tensor:
    """1 where flow (B, 2, H, W) points into the picture, or OUTSIDE_PX beyond it, else 0: (B, 1, H, W).

    `size`: height and width of the picture where the flow is a tile of it, from row and column `corner` on.
    """
    h, w = size or (flow.shape[-2], flow.shape[-1])
    top, left = corner
    xs = torch.arange(left, left + flow.shape[-1], device=flow.device, dtype=flow.dtype) + flow[:, 0]
    ys = torch.arange(top, top + flow.shape[-2], device=flow.device, dtype=flow.dtype)[:, None] + flow[:, 1]
    low, high = -OUTSIDE_PX, OUTSIDE_PX - 1
    return ((xs >= low) & (xs <= w + high) & (ys >= low) & (ys <= h + high))[:, None].to(flow.dtype)


def alignment_confidence(
    reference: torch.Tensor,
    warped: torch.Tensor,
    exposure_ref: torch.Tensor,
    exposure_src: torch.Tensor,
    flow: torch.Tensor,
    flow_back: torch.Tensor | None,
    size: tuple[int, int] | None = None,
    corner: tuple[int, int] = (0, 0),
    black: torch.Tensor | None = None,
) -> torch.Tensor:
    """How far a warped neighbour can be trusted, (B, 1, H, W) in [0, 1].

    Product of: inside the picture; forward-backward consistency, exp(-(err / (0.5 + 0.05 |flow|))^2), brought to
    CONSISTENCY_FLOOR .. 1; photometric agreement of both frames at the longer exposure, averaged over 5x5 so that
    noise does not count. Without `flow_back` the second is left out.
    `black` (B,): code at or below which frames are black, where they are compared as equal.
    `reference`, `warped` (B, 3, H, W) codes; exposures (B,); flows (B, 2, H, W) pixels. All but `flow_back` may be a
    tile of a picture of `size`, from row and column `corner` on; exact but for its two outermost rows and columns.
    """
    inside = inside_picture(flow, size, corner)
    consistent = torch.ones_like(inside)
    if flow_back is not None:
        error = (flow + warp(flow_back, flow, corner)).square().sum(1, keepdim=True)
        tolerance = 0.5 + 0.05 * flow.square().sum(1, keepdim=True).sqrt()
        consistent = CONSISTENCY_FLOOR + (1 - CONSISTENCY_FLOOR) * torch.exp(-error / tolerance.square())
    e_ref, e_src = exposure_ref[:, None, None, None], exposure_src[:, None, None, None]
    target = torch.maximum(e_ref, e_src)
    a, s = match_exposure(reference, e_ref, target), match_exposure(warped, e_src, target)
    if black is not None:
        floor = common_floor(black[:, None, None, None], torch.minimum(e_ref, e_src), target)
        a, s = torch.maximum(a, floor), torch.maximum(s, floor)
    difference = a - s
    difference = box_mean5(difference).abs().amax(1, keepdim=True)
    agree = torch.exp(-(difference / PHOTOMETRIC_TOLERANCE).square())
    return inside * consistent * agree


def box_mean5(x: torch.Tensor) -> torch.Tensor:
    """Mean over 5x5 pixels, edges replicated."""
    if opencv_filters.usable(x):
        return opencv_filters.separable(x, torch.full((5,), 0.2))
    return F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, stride=1)


class Candidates(NamedTuple):
    """The aligned candidates of a window."""

    codes: torch.Tensor
    """(B, K + 1, 3, H, W) in [0, 1]."""
    radiance: torch.Tensor
    """(B, K + 1, 3, H, W)."""
    weights: torch.Tensor
    """(B, K + 1, 1, H, W) > 0."""
    channel_weights: torch.Tensor
    """(B, K + 1, 3, H, W) > 0, of every channel."""


def candidates_and_prior(
    ldr: torch.Tensor,
    exposures: torch.Tensor,
    flows: torch.Tensor,
    flows_back: torch.Tensor | None,
    confidence: torch.Tensor | None = None,
    tile: tuple[slice, slice] | None = None,
    size: tuple[int, int] | None = None,
    black: torch.Tensor | None = None,
    partly_clipped: float | torch.Tensor = PARTLY_CLIPPED,
) -> tuple[Candidates, torch.Tensor]:
    """Align the candidates of a window and weight them as the classical merge does.

    `confidence` (B, K, 1, H, W) in [0, 1] of the warped neighbours, where a network has found one; else it is
    `alignment_confidence`. Returned as the second value.
    `partly_clipped`: see `channel_exposedness`; less where the exposures differ (`exposure_agreement`).
    Inputs are whole pictures. `tile` bounds the results to some of their rows and columns; `size` is height and width
    without the padding that a picture may have at its right and bottom.
    """
    n, height, width = ldr.shape[1], *ldr.shape[-2:]
    rows, columns = tile or (slice(0, height), slice(0, width))
    size, corner = size or (height, width), (rows.start, columns.start)
    middle = n // 2
    exposures = exposures.to(ldr.dtype)
    neighbours = [i for i in range(n) if i != middle]
    reference = ldr[:, middle, :, rows, columns]
    longest = exposures.amax(1)

    def exposedness(frame: torch.Tensor, exposure: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        whole, each = well_exposedness(frame, exposure), channel_exposedness(frame, exposure, partly_clipped)
        if black is not None:
            whole = whole * above_black(frame.amax(1, keepdim=True), exposure, longest, black)
            each = each * above_black(frame, exposure, longest, black)
        scale = exposure[:, None, None, None]
        return whole * scale, each * scale

    codes = [reference]
    confidences = []
    weights = [exposedness(reference, exposures[:, middle])]
    for k, i in enumerate(neighbours):
        flow = flows[:, k, :, rows, columns]
        warped = warp(ldr[:, i], flow, corner)
        if confidence is not None:
            trust = confidence[:, k, :, rows, columns] * inside_picture(flow, size, corner)
        else:
            back = None if flows_back is None else flows_back[:, k]
            trust = alignment_confidence(
                reference, warped, exposures[:, middle], exposures[:, i], flow, back, size, corner, black
            )
        confidences.append(trust)
        whole, each = exposedness(warped, exposures[:, i])
        weights.append((whole * trust, each * trust))
        codes.append(warped)
    order = [middle, *neighbours]
    stacked = torch.stack(codes, 1)
    radiance = radiance_from_ldr(stacked, exposures[:, order, None, None, None])
    weight, channel_weight = (torch.stack(parts, 1) + WEIGHT_FLOOR for parts in zip(*weights, strict=True))
    return Candidates(stacked, radiance, weight, channel_weight), torch.stack(confidences, 1)


def blend(radiance: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """H = sum(w_i H_i) / sum(w_i) over dimension 1: (B, C, 3, H, W) and (B, C, 1 or 3, H, W) -> (B, 3, H, W)."""
    return (radiance * weights).sum(1) / weights.sum(1)
