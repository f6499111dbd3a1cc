"""Learnt refinement of the classical flow: dense inverse search (DIS) in, better flow and a confidence out.

Basics:
    DIS errs in two ways. Its last picture is half size, so texture is a fraction of a pixel off; and where something
    is hidden, clipped or fast it settles on whatever is near. For the first there is a Lucas-Kanade step at full size
    (Lucas & Kanade 1981), which needs no weights. For the second there are two more candidates: the flow to the frame
    on the other side of the reference, mirrored (what is hidden before is often seen after), and the best match of a
    correlation volume of learnt features (PWC-Net, Sun et al. 2018). A U-Net sees how well each of them fits and mixes
    them pixel by pixel,

        flow = DIS + sum_c g_c (candidate_c - DIS) + r,

    and gives the logit of a confidence. The last layer starts at zero, so step 0 is DIS.
Architecture:
    `evidence` warps pictures: it needs the whole frame and has no weights. `correct` is convolutions alone. Both run
    in tiles with a halo. Weights are shared by the neighbours, which form the batch.
    pixel-unshuffle by 2, U-Net at 1/2, 1/4, 1/8, 1/16 of the size, the correlation joining at 1/4, pixel-shuffle back.
    No normalisation layers.
Sizes:
    H and W multiples of 16; the runner pads.
Training (terms of hdrvid.train.losses; flows (B, K, 2, H, W), truth in [0, 1], T the mu-law, v = exact visibility):
    align    log(mean of |T(warped truth) - T(truth)|, occluded pixels counted 0.2, + 1e-3), per sample and neighbour
    exact    0.05 x mean over v of the endpoint error, cut at 8 px
    merge    log of each sample's mu-law L1 of the merge whose weights are well-exposedness x exposure x
             sigmoid(logit): the confidence learns what a pixel is worth against the noise of the reference
    seen     0.2 x BCE of the logit against v and |T(warped truth) - T(truth)| < 0.03 in every channel (flow detached)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from hdrvid.color.radiance import common_floor, match_exposure
from hdrvid.models.constants import (
    CORRELATION_RADIUS,
    DAMPING,
    DIFFERENCE_SCALE,
    OFFSET_LIMIT_PX,
    OFFSET_SCALE,
    SHORTEST,
    WINDOW_RADIUS,
    WINDOW_SIGMA,
)
from hdrvid.models.layers import (
    ResidualBlock,
    act,
    act_inplace,
    initialise,
    pixel_unshuffle_conv,
    smooth,
    upsample2x_plus,
)
from hdrvid.warp import warp

SIZE_MULTIPLE = 16
SHIFTS = tuple((y, x) for y in range(2 * CORRELATION_RADIUS + 1) for x in range(2 * CORRELATION_RADIUS + 1))
"""Rows and columns of the volume's shifts, counted from the smallest one."""
CORRELATION_CHANNELS = 16
EVIDENCE_CHANNELS = 20
"""Reference (3); warped minus reference by DIS (3), Lucas-Kanade (3), mirrored flow (1, largest channel); difference of
the two sides (1); candidates minus DIS: Lucas-Kanade (2), mirrored (2); forward-backward error (2); brightest code of
the reference (1) and of the warped neighbour (1); log2 of the exposure ratio (1)."""
_PICTURES = slice(0, 11)
_LUCAS_KANADE = slice(11, 13)
_MIRRORED = slice(13, 15)
_OFFSETS = slice(11, 17)
_BRIGHTEST = slice(17, 19)


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Sum of a * b over the channels: (B, C, H, W) -> (B, H, W)."""
    total = a[:, 0] * b[:, 0]
    for c in range(1, a.shape[1]):
        total = torch.addcmul(total, a[:, c], b[:, c])
    return total


def lucas_kanade(reference: torch.Tensor, warped: torch.Tensor) -> torch.Tensor:
    """Motion (B, 2, H, W) in pixels that is left between two pictures (B, C, H, W): warped(x + motion) shows
    reference(x). A step of damped least squares over a Gaussian window, at most 1 px. All channels count.

    To be added to the flow that `warped` was made with, whose changes from pixel to pixel are taken to be small.
    """
    mean = F.pad((warped + reference) / 2, (1, 1, 1, 1), mode="replicate")
    gx = (mean[..., 1:-1, 2:] - mean[..., 1:-1, :-2]) / 2
    gy = (mean[..., 2:, 1:-1] - mean[..., :-2, 1:-1]) / 2
    gt = warped - reference
    products = torch.stack([_dot(a, b) for a, b in ((gx, gx), (gx, gy), (gy, gy), (gx, gt), (gy, gt))], 1)
    xx, xy, yy, xt, yt = smooth(products, WINDOW_SIGMA, WINDOW_RADIUS).unbind(1)
    xx, yy = xx + DAMPING, yy + DAMPING
    determinant = xx * yy - xy * xy
    step = torch.stack([xy * yt - yy * xt, xy * xt - xx * yt], 1) / determinant[:, None]
    return step.clamp(-1.0, 1.0)


def evidence(
    ldr: torch.Tensor,
    exposures: torch.Tensor,
    flows: torch.Tensor,
    flows_back: torch.Tensor,
    tile: tuple[slice, slice] | None = None,
    black: torch.Tensor | None = None,
) -> torch.Tensor:
    """What the network sees of every neighbour: (B, K, EVIDENCE_CHANNELS, H, W') float32.

    `ldr` (B, W, 3, H, W') network codes of K + 1 = W frames, the reference in the middle, `exposures` (B, W), `flows`
    and `flows_back` (B, K, 2, H, W') pixels, reference -> neighbour and back. `black` (B,): code at or below which
    frames are black; two of them are compared above `common_floor`. Frames are whole, as it warps; `tile`
    bounds the result to some of their rows and columns, exact but for the HALO_PX outermost ones.
    """
    b, n, _, height, width = ldr.shape
    middle = n // 2
    rows, columns = tile or (slice(0, height), slice(0, width))
    corner = rows.start, columns.start
    neighbours = [i for i in range(n) if i != middle]
    # full precision whatever the caller's autocast: the determinant of a window is a product of small numbers
    with torch.autocast(ldr.device.type, enabled=False), torch.no_grad():
        inputs = torch.empty(
            (b, n - 1, EVIDENCE_CHANNELS, rows.stop - rows.start, columns.stop - columns.start), device=ldr.device
        )
        mirrored = _mirrored(flows, rows, columns)
        ldr = ldr.float()
        reference = ldr[:, middle, :, rows, columns]
        exposure = exposures.float()[..., None, None, None]
        warped = [warp(ldr[:, i], flows[:, k, :, rows, columns], corner) for k, i in enumerate(neighbours)]
        for k, i in enumerate(neighbours):
            e_ref, e_src, e_other = exposure[:, middle], exposure[:, i], exposure[:, neighbours[-1 - k]]
            target, longer = torch.maximum(e_ref, e_src), torch.maximum(e_src, e_other)
            flow = flows[:, k, :, rows, columns].float()
            floor, floor_of_sides = None, None
            if black is not None:
                code = black.float()[:, None, None, None]
                floor = common_floor(code, torch.minimum(e_ref, e_src), target)
                floor_of_sides = common_floor(code, torch.minimum(e_src, e_other), longer)
            a, s = _seen(reference, e_ref, target, floor), _seen(warped[k], e_src, target, floor)
            step = lucas_kanade(a, s)
            other_flows = flow + step, mirrored[:, k]
            moved, turned = (_seen(warp(ldr[:, i], f, corner), e_src, target, floor) for f in other_flows)
            matched, matched_other = (
                _seen(warped[k], e_src, longer, floor_of_sides),
                _seen(warped[-1 - k], e_other, longer, floor_of_sides),
            )
            channels = (
                a,
                (s - a) * DIFFERENCE_SCALE,
                (moved - a) * DIFFERENCE_SCALE,
                (turned - a).abs().amax(1, keepdim=True) * DIFFERENCE_SCALE,
                (matched - matched_other).mean(1, keepdim=True) * DIFFERENCE_SCALE,
                step,
                mirrored[:, k] - flow,
                flow + warp(flows_back[:, k], flow, corner),
                reference.amax(1, keepdim=True),
                warped[k].amax(1, keepdim=True),
                torch.log2(e_src / e_ref).expand(-1, 1, *flow.shape[-2:]),
            )
            inputs[:, k] = torch.cat(channels, 1)
        return inputs


def _seen(
    codes: torch.Tensor, exposure: torch.Tensor, target: torch.Tensor, floor: torch.Tensor | None
) -> torch.Tensor:
    """Codes at another exposure, none below the floor."""
    matched = match_exposure(codes, exposure, target)
    return matched if floor is None else torch.maximum(matched, floor)


def _mirrored(flows: torch.Tensor, rows: slice, columns: slice) -> torch.Tensor:
    """Flow (B, K, 2, H, W) to the other side of the reference, turned round: what it is where motion goes on steadily.

    At the ends of a clip one frame stands for both sides, which shows in flows that are equal: these stay as they are.
    """
    k = flows.shape[1]
    same = torch.stack([(flows[:, i] == flows[:, k - 1 - i]).flatten(1).all(1) for i in range(k)], 1)
    tile = flows[..., rows, columns].float()
    return torch.where(same[:, :, None, None, None], tile, -tile.flip(1))


def fine_evidence(inputs: torch.Tensor) -> torch.Tensor:
    """Evidence (B, EVIDENCE_CHANNELS, H, W) as the network takes it: offsets cut and scaled; not the last channel."""
    offsets = inputs[:, _OFFSETS].clamp(-OFFSET_LIMIT_PX, OFFSET_LIMIT_PX) * OFFSET_SCALE
    return torch.cat([inputs[:, _PICTURES], offsets, inputs[:, _BRIGHTEST]], 1)


def shift_pixels(like: torch.Tensor) -> torch.Tensor:
    """SHIFTS from the centre, x and y in pixels: (S, 2), of the device and type of another tensor."""
    # made on the device: an accelerator would be waited for to send them there
    steps = 4.0 * torch.arange(-CORRELATION_RADIUS, CORRELATION_RADIUS + 1, device=like.device, dtype=like.dtype)
    return torch.stack([steps.repeat(len(steps)), steps.repeat_interleave(len(steps))], 1)


class _Products(torch.autograd.Function):
    """Sums over the channels of a (B, C, H, W) times s (B, C, H + 2 r, W + 2 r) at each of SHIFTS: (B, S, H, W). The
    gradients add up in place: autograd's own would pad every product to the size of s, a tenth of a training step."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(a, s)
        h, w = a.shape[-2:]
        return torch.stack([(a * s[..., y : y + h, x : x + w]).sum(1) for y, x in SHIFTS], 1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        a, s = ctx.saved_tensors
        h, w = a.shape[-2:]
        of_a, of_s = torch.zeros_like(a), torch.zeros_like(s)
        for k, (y, x) in enumerate(SHIFTS):
            at, gradient = (..., slice(y, y + h), slice(x, x + w)), gradients[0][:, k : k + 1]
            of_a.addcmul_(gradient, s[at])
            of_s[at].addcmul_(gradient, a)
        return of_a, of_s


class FlowRefiner(nn.Module):
    """DIS flow in, better flow and the logit of a confidence out; the same weights for 2 and 4 neighbours."""

    def __init__(self, half_width: int = 16) -> None:
        """`half_width`: channels at half resolution."""
        super().__init__()
        w = [half_width, 32, 56]
        self.stem = nn.Conv2d(4 * (EVIDENCE_CHANNELS - 1) + 1, w[0], 3, padding=1)
        self.feature1 = nn.Conv2d(3 * 16, 24, 1)
        self.feature2 = nn.Conv2d(24, CORRELATION_CHANNELS, 3, padding=1)
        self.sharpness = nn.Parameter(torch.tensor(8.0))
        self.matches = nn.Conv2d(len(SHIFTS), w[1], 1)
        self.down1 = nn.Conv2d(w[0], w[1], 3, stride=2, padding=1)
        self.enc1 = nn.Sequential(ResidualBlock(w[1]), ResidualBlock(w[1]))
        self.down2 = nn.Conv2d(w[1], w[2], 3, stride=2, padding=1)
        self.enc2 = ResidualBlock(w[2])
        self.down3 = nn.Conv2d(w[2], w[2], 3, stride=2, padding=1)
        self.enc3 = nn.Sequential(ResidualBlock(w[2]), ResidualBlock(w[2]))
        self.up2 = nn.Conv2d(w[2], w[2], 1)
        self.dec2 = ResidualBlock(w[2])
        self.up1 = nn.Conv2d(w[2], w[1], 1)
        self.dec1 = ResidualBlock(w[1])
        self.up0 = nn.Conv2d(w[1], w[0], 1)
        self.dec0 = ResidualBlock(w[0])
        self.head = nn.Conv2d(w[0], 4 * 6, 3, padding=1)  # residual (2), gates (3), logit (1), of 4 sub-pixels
        initialise(self, self.head)

    def embedding(self, picture: torch.Tensor) -> torch.Tensor:
        """(B, C, H / 4, W / 4) of codes (B, 3, H, W): what becomes their features."""
        return self.feature2(act_inplace(pixel_unshuffle_conv(picture, self.feature1.weight, self.feature1.bias, 4)))

    def features(self, picture: torch.Tensor) -> torch.Tensor:
        """Unit-length features (B, C, H / 4, W / 4) of codes (B, 3, H, W)."""
        x = self.embedding(picture).float()
        return F.normalize(x - x.mean(1, keepdim=True), dim=1, eps=SHORTEST)

    def correlation(self, reference: torch.Tensor, warped: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine of the features of two pictures (B, 3, H, W), (B, (2 r + 1)^2, H / 4, W / 4), and the shift in pixels
        (B, 2, H / 4, W / 4) that a softmax over it expects."""
        r = CORRELATION_RADIUS
        a, s = self.features(reference), F.pad(self.features(warped), (r,) * 4)
        volume: Any = _Products.apply(a, s)
        likely = torch.softmax(volume * self.sharpness, 1)
        return volume, torch.einsum("bshw,sc->bchw", likely, shift_pixels(volume))

    def network(self, fine: torch.Tensor, ratio: torch.Tensor, volume: torch.Tensor) -> torch.Tensor:
        """The U-Net: residual (2), gates (3) and logit (1) of 4 sub-pixels, (B, 24, H / 2, W / 2).

        `fine` (B, EVIDENCE_CHANNELS - 1, H, W) is `fine_evidence`, `ratio` (B, 1, H / 2, W / 2) the last channel of the
        evidence, `volume` the correlation.
        """
        known = F.conv2d(ratio.to(self.stem.weight.dtype), self.stem.weight[:, -1:], padding=1)
        x0 = pixel_unshuffle_conv(fine, self.stem.weight[:, :-1], self.stem.bias, 2, plus=known)
        x1 = self.enc1(self.down1(act(x0)) + self.matches(volume.to(x0.dtype)))
        x2 = self.enc2(self.down2(act(x1)))
        x3 = self.enc3(self.down3(act(x2)))
        y2 = self.dec2(upsample2x_plus(self.up2(act_inplace(x3)), x2))
        y1 = self.dec1(upsample2x_plus(self.up1(act_inplace(y2)), x1))
        y0 = self.dec0(upsample2x_plus(self.up0(act_inplace(y1)), x0))
        return self.head(act_inplace(y0))

    def correct(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Evidence (B, K, EVIDENCE_CHANNELS, H, W) to what is added to the flow (B, K, 2, H, W), in pixels, and the
        logit of the confidence (B, K, 1, H, W). Local: runs in tiles."""
        b, k, _, h, w = inputs.shape
        if h % SIZE_MULTIPLE or w % SIZE_MULTIPLE:
            raise ValueError(f"height and width must be multiples of {SIZE_MULTIPLE}, not {h}x{w}")
        inputs = inputs.reshape(b * k, EVIDENCE_CHANNELS, h, w)
        reference = inputs[:, :3]
        volume, shift = self.correlation(reference, reference + inputs[:, 3:6] / DIFFERENCE_SCALE)
        out = F.pixel_shuffle(self.network(fine_evidence(inputs), inputs[:, -1:, ::2, ::2], volume), 2).float()
        upsampled = F.interpolate(shift, scale_factor=4, mode="bilinear", align_corners=False)
        candidates = (inputs[:, _LUCAS_KANADE], inputs[:, _MIRRORED], upsampled)
        delta = out[:, :2] + sum(out[:, 2 + c : 3 + c] * d for c, d in enumerate(candidates))
        return delta.reshape(b, k, 2, h, w), out[:, 5:6].reshape(b, k, 1, h, w)

    def forward(
        self,
        ldr: torch.Tensor,
        exposures: torch.Tensor,
        flows: torch.Tensor,
        flows_back: torch.Tensor,
        black: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`evidence`, then `correct`: (flows (B, K, 2, H, W'), logits of the confidence (B, K, 1, H, W'))."""
        delta, logits = self.correct(evidence(ldr, exposures, flows, flows_back, black=black))
        return flows + delta, logits
