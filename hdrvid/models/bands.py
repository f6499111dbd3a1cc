"""The work around the networks on a CPU, in bands of rows: a band stays in the caches, and every core has its own.

What a window needs beside convolutions is a hundred simple steps on pictures of many channels. PyTorch makes each of
them for the whole picture, which moves every intermediate picture to the memory and back, and its change between planes
and channels-last is slower still. Here a band of rows goes through all steps, by NumPy and OpenCV, into the very layout
that the convolutions take. The formulas are those of hdrvid.models.prior, .blend and .refine, which training and
accelerators use; tests compare the two.

Convention:
    Frames (H, W, 3) float32 network codes in [0, 1]; flows (H, W, 2) float32 pixels, backward; planes (C, h, w).
    A region is a pair of slices, rows and columns of the frame. Steps that reach beyond a region read the frame there,
    so that a tile is exact.
    Bands do not depend on the number of threads: neither do results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hdrvid import cpu
from hdrvid.models import prior, refine
from hdrvid.models.blend import RESIDUAL_SCALE, SMOOTHED_PRIOR, SMOOTHING, smoothing_radius
from hdrvid.models.blocks import gaussian_window
from hdrvid.radiance import MU, NETWORK_GAMMA

BAND_PIXELS = 60_000
"""About how many pixels a band has: its planes fit the caches."""
_LOG_WHITE = float(np.log1p(MU))

Region = tuple[slice, slice]
Mirrored = tuple[np.float32, np.ndarray]
"""Sign, and the flow that it turns round or leaves as it is."""


def usable(height: int, width: int) -> bool:
    """Whether pictures of this size can be worked on here: OpenCV is new enough, see `cpu.usable`."""
    return cpu.usable(torch.empty((height, 1)).expand(height, width))


def _bands(rows: slice, columns: slice) -> list[slice]:
    """Rows cut into bands."""
    return cpu.row_blocks(rows, columns.stop - columns.start, BAND_PIXELS, least=8)


def _grown(region: Region, margin: int, size: tuple[int, int]) -> Region:
    """A region with `margin` more pixels on every side, within a frame of height and width `size`."""
    (rows, columns), (height, width) = region, size
    return (
        slice(max(rows.start - margin, 0), min(rows.stop + margin, height)),
        slice(max(columns.start - margin, 0), min(columns.stop + margin, width)),
    )


def _within(region: Region, outer: Region) -> Region:
    """A region counted from the corner of one that holds it."""
    rows, columns = (slice(a.start - b.start, a.stop - b.start) for a, b in zip(region, outer, strict=True))
    return rows, columns


def _shape(region: Region) -> tuple[int, int]:
    return region[0].stop - region[0].start, region[1].stop - region[1].start


def planes_of(picture: np.ndarray) -> np.ndarray:
    """(h, w, c) as contiguous planes (c, h, w)."""
    h, w, c = picture.shape
    out = np.empty((c, h, w), np.float32)
    cpu.opencv().split(picture, list(out))
    return out


def _channels_last(planes: np.ndarray, out: np.ndarray) -> None:
    """Planes (c, h, w) into `out` (h, w', c), w' >= w; the last column is repeated."""
    c, h, w = planes.shape
    if out.shape[1] == w:
        cpu.opencv().transpose(planes.reshape(c, h * w), out.reshape(h * w, c))
        return
    for row in range(h):
        cpu.opencv().transpose(planes[:, row], out[row, :w])
    out[:, w:] = out[:, w - 1 : w]


def _unshuffled(channels: np.ndarray) -> np.ndarray:
    """(h, w, 4 c), channels last, as planes (c, 2 h, 2 w): what `pixel_shuffle` does."""
    cv2 = cpu.opencv()
    h, w, c = channels.shape
    planes = np.empty((c // 4, 2, 2, h, w), np.float32)
    cv2.transpose(np.ascontiguousarray(channels, np.float32).reshape(h * w, c), planes.reshape(c, h * w))
    out = np.empty((c // 4, h, 2, w, 2), np.float32)
    for source, result in zip(planes, out, strict=True):
        for row in (0, 1):
            cv2.merge(list(source[row]), result[:, row])
    return out.reshape(c // 4, 2 * h, 2 * w)


def _unshuffled_part(channels: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    """Rows and columns of what `_unshuffled` makes."""
    half = [slice(s.start // 2, -(-s.stop // 2)) for s in (rows, columns)]
    top, left = (s.start - 2 * h.start for s, h in zip((rows, columns), half, strict=True))
    height, width = _shape((rows, columns))
    return _unshuffled(channels[half[0], half[1]])[:, top : top + height, left : left + width]


def _positions(flow: np.ndarray, region: Region) -> np.ndarray:
    """Where the pixels of a region come from: (h, w, 2) pixels, for its flow (h, w, 2)."""
    rows, columns = region
    first_row = np.zeros((columns.stop - columns.start, 2), np.float32)
    first_row[:, 0] = np.arange(columns.start, columns.stop)
    positions = flow + first_row
    positions[..., 1] += np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
    return positions


def _sampled(picture: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """`picture` (H, W, c) at positions (h, w, 2), bilinear, border replicated."""
    cv2 = cpu.opencv()
    return cv2.remap(picture, positions, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _sampled_planes(planes: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The same of planes (c, H, W): (c, h, w). OpenCV 5.0 samples two interleaved channels at 1/32 of a pixel only."""
    return np.stack([_sampled(plane, positions) for plane in planes])


def _gain(exposure: float, target: float) -> float:
    """Factor of the code; see `radiance.match_exposure`."""
    return (target / exposure) ** (1.0 / NETWORK_GAMMA)


def _matched(code: np.ndarray, gain: float, out: np.ndarray | None = None) -> np.ndarray:
    """Codes in [0, 1] at another exposure; the array itself where it is the same one."""
    if gain == 1.0:
        return code
    out = np.multiply(code, np.float32(gain), out=out)
    return np.minimum(out, 1.0, out=out)


def _filtered(planes: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Every plane under a symmetric separable kernel (n,), border replicated."""
    cv2 = cpu.opencv()
    out = np.empty_like(planes)
    for plane, result in zip(planes, out, strict=True):
        cv2.sepFilter2D(plane, -1, kernel, kernel, dst=result, borderType=cv2.BORDER_REPLICATE)
    return out


def _largest(planes: np.ndarray) -> np.ndarray:
    """The largest of three planes, pixel by pixel."""
    out = np.maximum(planes[0], planes[1])
    return np.maximum(out, planes[2], out=out)


def _radiance(codes: np.ndarray, exposures: Sequence[float]) -> np.ndarray:
    """code^2.2 / exposure of (C, ...) codes >= 0; a new array."""
    out = _log(np.maximum(codes, np.float32(1e-30)))
    out *= np.float32(NETWORK_GAMMA)
    for plane, exposure in zip(out, exposures, strict=True):
        plane -= np.float32(np.log(exposure))
    return _exp(out)


def _mu_law(radiance: np.ndarray) -> np.ndarray:
    """T(H) of H >= 0; a new array."""
    out = radiance * np.float32(MU)
    out += 1.0
    _log(out)
    out *= np.float32(1 / _LOG_WHITE)
    return out


def _inverse_mu_law(tone: np.ndarray) -> np.ndarray:
    """H of T(H), negative T as 0; a new array."""
    out = np.maximum(tone, 0.0)
    out *= np.float32(_LOG_WHITE)
    _exp(out)
    out -= 1.0
    out *= np.float32(1 / MU)
    return out


def _flat(array: np.ndarray) -> np.ndarray:
    """A contiguous array as a picture of one channel."""
    return array.reshape(-1, array.shape[-1])


def _exp(array: np.ndarray) -> np.ndarray:
    """exp in place, of a contiguous array."""
    cpu.opencv().exp(_flat(array), dst=_flat(array))
    return array


def _log(array: np.ndarray) -> np.ndarray:
    """Natural logarithm in place, of a contiguous array."""
    cpu.opencv().log(_flat(array), dst=_flat(array))
    return array


# ---- candidates, their prior, and what the merging network sees ------------------------------------------------------


@dataclass(frozen=True)
class Neighbours:
    """The neighbours of a window and how they are aligned, in time order."""

    frames: Sequence[np.ndarray]
    """Each (H, W, 3)."""
    exposures: Sequence[float]
    """Of each."""
    flows: Sequence[np.ndarray]
    """Reference -> neighbour, each (H, W, 2)."""
    back: Sequence[np.ndarray] | None = None
    """Neighbour -> reference, each as planes (2, H, W); where there is no confidence."""
    confidence: np.ndarray | None = None
    """(K, H, W) in [0, 1], where a network has found it."""

    def padded(self, size: tuple[int, int]) -> Neighbours:
        """Everything but the confidence at another height and width, edges replicated at the right and the bottom."""
        assert self.back is not None
        return Neighbours(
            [padded(frame, size) for frame in self.frames],
            self.exposures,
            [padded(flow, size) for flow in self.flows],
            [np.stack([padded(plane, size) for plane in planes]) for planes in self.back],
        )


def padded(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture (H, W) or (H, W, c) of another height and width, edges replicated; itself where nothing changes."""
    down, right = size[0] - picture.shape[0], size[1] - picture.shape[1]
    if not down and not right:
        return picture
    cv2 = cpu.opencv()
    return cv2.copyMakeBorder(picture, 0, down, 0, right, cv2.BORDER_REPLICATE)


@dataclass(frozen=True)
class MergeInput:
    """A region of a window as `blend.BlendNet.network` takes it, and what its result is applied to."""

    x: torch.Tensor
    """(1, 7 C + 6, h', w') float32, channels last; h' and w' are h and w padded to a multiple of 16."""
    radiance: np.ndarray
    """(C, 3, h, w) of the candidates: the reference, then the aligned neighbours."""
    log_prior: np.ndarray
    """(C, h, w)."""
    smoothed: np.ndarray
    """(2, 3, h, w) smoothed versions of the classical merge, mu-law."""


def merge_input(
    reference: np.ndarray, exposure: float, neighbours: Neighbours, region: Region, multiple: int
) -> MergeInput:
    """See `prior.candidates_and_prior` and `blend.BlendNet.features`."""
    size = reference.shape[:2]
    (rows, columns), (h, w) = region, _shape(region)
    count = 1 + len(neighbours.frames)
    padded = h + -h % multiple, w + -w % multiple
    x = np.empty((*padded, 7 * count + 3 * len(SMOOTHING)), np.float32)
    radiance = np.empty((count, 3, h, w), np.float32)
    log_prior = np.empty((count, h, w), np.float32)
    smoothed = np.empty((len(SMOOTHING), 3, h, w), np.float32)
    kernels = [gaussian_window(sigma, smoothing_radius(sigma)).numpy() for sigma in SMOOTHING]
    halo = max(smoothing_radius(sigma) for sigma in SMOOTHING)

    def band(part: slice) -> None:
        outer = _grown((part, columns), halo, size)
        inner = _within((part, columns), outer)
        here = slice(part.start - rows.start, part.stop - rows.start)
        codes, weights = _candidates(reference, exposure, neighbours, outer)
        light = _radiance(codes, (exposure, *neighbours.exposures))
        total = weights.sum(0)
        merged = light[0] * weights[0]
        for i in range(1, count):
            merged += light[i] * weights[i]
        merged /= total
        tone = _mu_law(merged)
        planes = np.empty((x.shape[-1], *_shape((part, columns))), np.float32)
        mine = planes[: 7 * count].reshape(count, 7, *planes.shape[1:])
        np.subtract(codes[(..., *inner)], 0.5, out=mine[:, :3])
        radiance[:, :, here] = light[(..., *inner)]
        np.subtract(_mu_law(radiance[:, :, here]), 0.5, out=mine[:, 3:6])
        shares = _log(np.ascontiguousarray((weights / total)[(..., *inner)]))
        log_prior[:, here] = shares
        np.multiply(shares, 0.2, out=mine[:, 6])
        for i, kernel in enumerate(kernels):
            smoothed[i, :, here] = _filtered(tone, kernel)[(..., *inner)]
        np.subtract(smoothed[:, :, here].reshape(-1, *planes.shape[1:]), 0.5, out=planes[7 * count :])
        _channels_last(planes, x[here])

    cpu.each(band, _bands(rows, columns))
    x[h:] = x[h - 1 : h]
    return MergeInput(torch.from_numpy(x).permute(2, 0, 1)[None], radiance, log_prior, smoothed)


def _candidates(
    reference: np.ndarray, exposure: float, neighbours: Neighbours, region: Region
) -> tuple[np.ndarray, np.ndarray]:
    """Codes (C, 3, h, w) and prior weights (C, h, w) of the reference and the warped neighbours."""
    size = reference.shape[:2]
    checked = neighbours.confidence is None
    outer = _grown(region, 2, size) if checked else region
    inner = _within(region, outer)
    codes = np.empty((1 + len(neighbours.frames), 3, *_shape(region)), np.float32)
    weights = np.empty((len(codes), *_shape(region)), np.float32)
    here = planes_of(reference[outer])
    codes[0] = here[(..., *inner)]
    weights[0] = _well_exposed(codes[0], exposure)
    for k, (frame, e) in enumerate(zip(neighbours.frames, neighbours.exposures, strict=True)):
        flow = neighbours.flows[k][outer]
        positions = _positions(flow, outer)
        warped = planes_of(_sampled(frame, positions))
        codes[1 + k] = warped[(..., *inner)]
        weights[1 + k] = _well_exposed(codes[1 + k], e)
        if neighbours.confidence is not None:
            weights[1 + k] *= neighbours.confidence[(k, *region)]
        else:
            weights[1 + k] *= _agreement(here, warped, exposure, e)[inner]
            if neighbours.back is not None:
                weights[1 + k] *= _consistency(flow[inner], _sampled_planes(neighbours.back[k], positions[inner]))
        _keep_inside(weights[1 + k], positions[inner], size)
    weights += np.float32(prior.WEIGHT_FLOOR)
    return codes, weights


def _well_exposed(codes: np.ndarray, exposure: float) -> np.ndarray | np.float32:
    """Hat of codes (3, h, w) times the exposure; see `prior.well_exposedness`."""
    if exposure <= 1.0 + 1e-6:
        return np.float32(exposure)
    low, high = prior.HAT_HIGH
    ramp = _largest(codes)
    np.subtract(np.float32(high), ramp, out=ramp)
    ramp *= np.float32(1 / (high - low))
    np.clip(ramp, 0.0, 1.0, out=ramp)
    ramp *= np.float32(exposure)
    return ramp


def _keep_inside(weights: np.ndarray, positions: np.ndarray, size: tuple[int, int]) -> None:
    """Make weights (h, w) zero where positions (h, w, 2) lie outside a picture of height and width `size`; see
    `prior.inside_picture`."""
    cv2 = cpu.opencv()
    low, high = -prior.OUTSIDE_PX, prior.OUTSIDE_PX - 1
    inside = cv2.inRange(positions, (low, low), (size[1] + high, size[0] + high))
    if cv2.countNonZero(inside) < inside.size:
        weights[inside == 0] = 0.0


def _consistency(flow: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Forward-backward consistency (h, w) of flow (h, w, 2) and the flow back at its end, planes (2, h, w); see
    `prior.alignment_confidence`."""
    u, v = planes_of(flow)
    tolerance = np.sqrt(u * u + v * v)
    tolerance *= np.float32(0.05)
    tolerance += np.float32(0.5)
    u += back[0]
    v += back[1]
    u /= tolerance
    v /= tolerance
    ratio = u * u + v * v
    _exp(np.negative(ratio, out=ratio))
    ratio *= np.float32(1 - prior.CONSISTENCY_FLOOR)
    ratio += np.float32(prior.CONSISTENCY_FLOOR)
    return ratio


def _agreement(here: np.ndarray, warped: np.ndarray, exposure: float, other: float) -> np.ndarray:
    """Photometric agreement (h, w) of codes (3, h, w); see `prior.alignment_confidence`."""
    target = max(exposure, other)
    difference = _matched(here, _gain(exposure, target)) - _matched(warped, _gain(other, target))
    difference = np.abs(_filtered(difference, np.full(5, 0.2, np.float32)))
    worst = _largest(difference)
    worst *= np.float32(1 / prior.PHOTOMETRIC_TOLERANCE)
    worst *= worst
    return _exp(np.negative(worst, out=worst))


def merge_result(
    given: MergeInput,
    out: torch.Tensor,
    weight_channels: int,
    inner: Region,
    radiance: np.ndarray,
    weights: np.ndarray | None = None,
) -> bool:
    """What `blend.BlendNet.result` makes of the network's result `out` (1, c, h' / 2, w' / 2).

    `inner`: the part of the region that is kept, into `radiance` (rows, columns, 3), and its blend weights into
    `weights` (C + 2, 3, rows, columns) where they are wanted. Results that are not numbers become black, infinite ones
    1; returns whether there were none of both.
    """
    channels = out.permute(0, 2, 3, 1)[0].numpy()
    rows, columns = inner
    count = len(given.radiance)
    shares = count + len(SMOOTHING)

    def band(part: slice) -> bool:
        shuffled = _unshuffled_part(channels, part, columns)
        shape = shuffled.shape[1:]
        blend_weights = np.array(shuffled[:-3]).reshape(shares, weight_channels, *shape)
        blend_weights[:count] += given.log_prior[:, None, part, columns]
        blend_weights[count:] += np.float32(np.log(SMOOTHED_PRIOR))
        blend_weights -= blend_weights.max(0)
        _exp(blend_weights)
        total = blend_weights.sum(0)
        merged = np.zeros((3, *shape), np.float32)
        for i in range(count):
            merged += blend_weights[i] * given.radiance[i, :, part, columns]
        for i, tone in enumerate(given.smoothed[:, :, part, columns], count):
            merged += blend_weights[i] * _inverse_mu_law(tone)
        merged /= total
        residual = shuffled[-3:] * np.float32(RESIDUAL_SCALE)
        residual += _mu_law(merged)
        result = _inverse_mu_law(residual)
        finite = bool(np.isfinite(result.sum()))
        if not finite:
            np.nan_to_num(result, copy=False, nan=0.0, posinf=1.0)
        kept = slice(part.start - rows.start, part.stop - rows.start)
        cpu.opencv().merge(list(result), radiance[kept])
        if weights is not None:
            weights[:, :, kept] = blend_weights / total
        return finite

    return all(cpu.each(band, _bands(rows, columns)))


# ---- refinement of the flow ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Evidence:
    """What the refining network sees of one neighbour in a region, and what its result is applied to."""

    fine: torch.Tensor
    """(1, EVIDENCE_CHANNELS - 1, h, w) float32, channels last."""
    ratio: torch.Tensor
    """(1, 1, h / 2, w / 2) log2 of the exposure ratio."""
    reference: torch.Tensor
    """(1, 3, h, w) codes of the reference at the longer of the two exposures, channels last: one tensor for all
    neighbours of an exposure."""
    warped: torch.Tensor
    """The same of the warped neighbour."""
    offsets: np.ndarray
    """(4, h, w): Lucas-Kanade flow and mirrored flow, minus the flow."""


def evidence(
    reference: np.ndarray, exposure: float, neighbours: Neighbours, mirrored: Sequence[Mirrored], region: Region
) -> list[Evidence]:
    """See `refine.evidence`: for every neighbour. `mirrored` is `mirrored_flows`, the same for all regions."""
    (rows, columns), (h, w) = region, _shape(region)
    size = reference.shape[:2]
    count = len(neighbours.frames)
    targets = [max(exposure, e) for e in neighbours.exposures]
    fine = [np.empty((h, w, refine.EVIDENCE_CHANNELS - 1), np.float32) for _ in range(count)]
    matched = {target: np.empty((h, w, 3), np.float32) for target in targets}
    warped = [np.empty((h, w, 3), np.float32) for _ in range(count)]
    offsets = [np.empty((4, h, w), np.float32) for _ in range(count)]
    assert neighbours.back is not None
    back = neighbours.back
    kernel = gaussian_window(refine.WINDOW_SIGMA, refine.WINDOW_RADIUS).numpy()

    def band(part: slice) -> None:
        piece = part, columns
        here = slice(part.start - rows.start, part.stop - rows.start)
        outer = _grown(piece, refine.HALO_PX, size)
        inner = _within(piece, outer)
        around = planes_of(reference[outer])
        brightest = _largest(around[(..., *inner)])
        references = {target: _matched(around, _gain(exposure, target)) for target in matched}
        for target, picture in matched.items():
            cpu.opencv().merge(list(references[target][(..., *inner)]), picture[here])
        positions = [_positions(flow[outer], outer) for flow in neighbours.flows]
        own = [planes_of(_sampled(f, p)) for f, p in zip(neighbours.frames, positions, strict=True)]
        for k, (frame, e) in enumerate(zip(neighbours.frames, neighbours.exposures, strict=True)):
            other, target = neighbours.exposures[count - 1 - k], targets[k]
            gain, longer = _gain(e, target), max(e, other)
            flow, before = neighbours.flows[k][piece], positions[k][inner]
            planes = np.empty((refine.EVIDENCE_CHANNELS - 1, *_shape(piece)), np.float32)
            s = _matched(own[k], gain)
            step = cpu.opencv().merge(_lucas_kanade(references[target], s, kernel, inner))
            turned = mirrored[k][0] * mirrored[k][1][piece]
            turned -= flow
            cpu.opencv().merge(list(s[(..., *inner)]), warped[k][here])
            a = planes[:3]
            a[:] = references[target][(..., *inner)]
            np.subtract(s[(..., *inner)], a, out=planes[3:6])
            for offset, slots in ((step, planes[6:9]), (turned, planes[9:12])):
                moved = _sampled(frame, before + offset)
                cpu.opencv().split(_matched(moved, gain, moved), list(slots))
                slots -= a
            # of the mirrored flow the largest difference alone
            planes[9] = _largest(np.abs(planes[9:12], out=planes[9:12]))
            codes = _matched(own[k][(..., *inner)], _gain(e, longer))
            between = codes - _matched(own[-1 - k][(..., *inner)], _gain(other, longer))
            np.add(between[0], between[1], out=planes[10])
            planes[10] += between[2]
            planes[10] *= np.float32(1 / 3)
            planes[3:11] *= np.float32(refine.DIFFERENCE_SCALE)
            cpu.opencv().split(step, list(offsets[k][:2, here]))
            cpu.opencv().split(turned, list(offsets[k][2:, here]))
            planes[11:15] = offsets[k][:, here]
            cpu.opencv().split(flow, list(planes[15:17]))
            for c in (0, 1):
                planes[15 + c] += _sampled(back[k][c], before)
            np.clip(planes[11:17], -refine.OFFSET_LIMIT_PX, refine.OFFSET_LIMIT_PX, out=planes[11:17])
            planes[11:17] *= np.float32(refine.OFFSET_SCALE)
            planes[17] = brightest
            planes[18] = _largest(own[k][(..., *inner)])
            _channels_last(planes, fine[k][here])

    cpu.each(band, _bands(rows, columns))
    references = {target: _as_tensor(picture) for target, picture in matched.items()}
    half = 1, 1, h // 2, w // 2
    return [
        Evidence(
            _as_tensor(fine[k]),
            torch.full(half, float(np.log2(neighbours.exposures[k] / exposure))),
            references[targets[k]],
            _as_tensor(warped[k]),
            offsets[k],
        )
        for k in range(count)
    ]


def _lucas_kanade(a: np.ndarray, s: np.ndarray, kernel: np.ndarray, inner: Region) -> list[np.ndarray]:
    """See `refine.lucas_kanade`: the step (2 of (h, w)) in the part `inner` of codes (3, H, W), window `kernel`."""
    total = a + s  # twice the mean
    gt = s - a
    gx, gy = np.empty_like(a), np.empty_like(a)
    _central(total.transpose(2, 0, 1), gx.transpose(2, 0, 1))
    _central(total.transpose(1, 0, 2), gy.transpose(1, 0, 2))
    pairs = ((gx, gx), (gx, gy), (gy, gy), (gx, gt), (gy, gt))
    products = np.empty((len(pairs), *a.shape[1:]), np.float32)
    for pair, product in zip(pairs, products, strict=True):
        _dot(*pair, product)
    xx, xy, yy, xt, yt = (p[inner] for p in _filtered(products, kernel))
    # the gradients are four times what they should be
    xx = xx * np.float32(1 / 16) + np.float32(refine.DAMPING)
    yy = yy * np.float32(1 / 16) + np.float32(refine.DAMPING)
    xy = xy * np.float32(1 / 16)
    scale = np.float32(0.25) / (xx * yy - xy * xy)
    u, v = xy * yt - yy * xt, xy * xt - xx * yt
    for step in (u, v):
        step *= scale
        np.clip(step, -1.0, 1.0, out=step)
    return [u, v]


def _as_tensor(picture: np.ndarray) -> torch.Tensor:
    """(h, w, c) as (1, c, h, w), channels last."""
    return torch.from_numpy(picture).permute(2, 0, 1)[None]


def mirrored_flows(flows: Sequence[np.ndarray]) -> list[Mirrored]:
    """Sign and flow of each neighbour's other side; see `refine._mirrored`."""
    pairs = zip(flows, reversed(flows), strict=True)
    return [(np.float32(1 if np.array_equal(a, b) else -1), b) for a, b in pairs]


def _central(values: np.ndarray, out: np.ndarray) -> None:
    """values[i + 1] - values[i - 1] along the first axis, ends repeated."""
    np.subtract(values[2:], values[:-2], out=out[1:-1])
    np.subtract(values[1], values[0], out=out[0])
    np.subtract(values[-1], values[-2], out=out[-1])


def _dot(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Sum of a * b over three planes."""
    np.multiply(a[0], b[0], out=out)
    for c in (1, 2):
        out += a[c] * b[c]


def correlation(reference: torch.Tensor, warped: torch.Tensor, sharpness: float) -> tuple[torch.Tensor, torch.Tensor]:
    """What `refine.FlowRefiner.correlation` finds in features (1, C, h, w): the volume (1, S, h, w), channels last, and
    the shift (1, 2, h, w)."""
    r, block = refine.CORRELATION_RADIUS, 16
    side, reach = 2 * r + 1, block + 2 * r
    c, h, w = reference.shape[1:]
    blocks = -(-w // block)
    left, padded = torch.zeros((h, blocks * block, c)), torch.zeros((h + 2 * r, blocks * block + 2 * r, c))
    left[:, :w] = reference[0].permute(1, 2, 0)
    padded[r : r + h, r : r + w] = warped[0].permute(1, 2, 0)
    # a block of pixels and all that they may match are two small matrices; the products of interest lie on diagonals
    right = padded.as_strided((h + 2 * r, blocks, reach, c), (padded.stride(0), block * c, c, 1)).contiguous()
    products = torch.empty((h * blocks, block, reach))
    diagonals = products.as_strided((h, blocks, block, side), (blocks * block * reach, block * reach, reach + 1, 1))
    volume = torch.empty((h, blocks, block, side, side))
    for down in range(side):
        torch.bmm(left.view(-1, block, c), right[down : down + h].flatten(0, 1).mT, out=products)
        volume[:, :, :, down] = diagonals
    flat = volume.view(h, blocks * block, side * side)[:, :w]
    shift = torch.softmax(flat * sharpness, -1) @ refine.shift_pixels(flat)
    return flat.permute(2, 0, 1)[None], shift.permute(2, 0, 1)[None]


def refine_flow(
    out: torch.Tensor,
    shift: torch.Tensor,
    seen: Evidence,
    inner: Region,
    flow: np.ndarray,
    confidence: np.ndarray,
) -> None:
    """What `refine.FlowRefiner.correct` makes of the network's result `out` (1, 24, h / 2, w / 2) and the expected
    shift (1, 2, h / 4, w / 4): added to `flow` (rows, columns, 2) of the part `inner` of the region, with its
    `confidence` (rows, columns)."""
    cv2 = cpu.opencv()
    channels = out.permute(0, 2, 3, 1)[0].numpy()
    height, width = 2 * channels.shape[0], 2 * channels.shape[1]
    found = [
        cv2.resize(plane.numpy(), (width, height), interpolation=cv2.INTER_LINEAR) for plane in shift[0].contiguous()
    ]
    rows, columns = inner

    def band(part: slice) -> None:
        shuffled = _unshuffled_part(channels, part, columns)
        kept = slice(part.start - rows.start, part.stop - rows.start)
        lucas_kanade, mirrored, matching = shuffled[2:5]
        for c in (0, 1):
            delta = shuffled[c]
            delta += lucas_kanade * seen.offsets[c, part, columns]
            delta += mirrored * seen.offsets[2 + c, part, columns]
            delta += matching * found[c][part, columns]
            flow[kept, :, c] += delta
        logit = np.negative(shuffled[5])
        _exp(logit)
        logit += 1.0
        np.divide(np.float32(1.0), logit, out=confidence[kept])

    cpu.each(band, _bands(rows, columns))
