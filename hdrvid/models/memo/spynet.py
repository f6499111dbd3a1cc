"""Optical flow network: the modified SPyNet of Kalantari & Ramamoorthi 2019 and Chen et al. 2021.

Architecture:
    A pyramid of 5 levels, average-pooled by 2. Every level is conv 5x5 c_in-100-50-25-c_out with ReLU between and its
    own weights. Coarsest first; each next level warps the neighbours with the doubled flow and adds a residual.
Input:
    2 exposures  [prev, ref', next]: 9 channels, 2 flows. ref' = the reference brought to the neighbours' exposure.
    3 exposures  the triples (prev2, ref'', next) and (prev, ref', next2), each with the reference at that exposure:
                 18 channels, 4 flows.
Convention:
    Flows come back in time order of the neighbours, (B, K, 2, H, W), K = 2 or 4, pixels, backward (see hdrvid.warp).
    Frames are network-coded LDR in [0, 1].
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from hdrvid.color.radiance import match_exposure
from hdrvid.warp import resize_flow, warp

NUM_LEVELS = 5
SIZE_MULTIPLE = 2 ** (NUM_LEVELS - 1)
LEVEL_HALO_PX = 8
"""Reach of one level's four 5x5 convolutions, in pixels of that level."""


class FlowLevel(nn.Sequential):
    """conv 5x5: c_in-100-50-25-c_out."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(
            nn.Conv2d(c_in, 100, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(100, 50, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(50, 25, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(25, c_out, 5, padding=2),
        )


def conv_input(sources: list[torch.Tensor], matched: list[torch.Tensor]) -> torch.Tensor:
    """Triples (before, matched reference, after) of a level as the channels of its input: (B, 9 or 18, h, w)."""
    return torch.cat([t for i, m in enumerate(matched) for t in (sources[2 * i], m, sources[2 * i + 1])], 1)


class FlowNet(nn.Module):
    """The flow pyramid for 2 or 3 exposures.

    `finest` 'half' stops one level before full resolution and upsamples. `strip_rows` bounds memory: a level with
    more rows is run in strips with `LEVEL_HALO_PX` rows of overlap, which changes nothing in the result.
    """

    def __init__(self, num_exposures: int, finest: str = "full") -> None:
        super().__init__()
        self.num_exposures = num_exposures
        self.finest = finest
        self.strip_pixels: int | None = None
        pairs = num_exposures - 1
        self.levels = nn.ModuleList(FlowLevel(9 * pairs, 4 * pairs) for _ in range(NUM_LEVELS))
        for level in self.levels:
            last = list(level.children())[-1]
            assert isinstance(last, nn.Conv2d)
            assert last.bias is not None
            nn.init.zeros_(last.bias)
            last.weight.data.mul_(0.1)

    @staticmethod
    def pairs(num_exposures: int) -> tuple[tuple[int, int], ...]:
        """Positions in the window of the neighbours that share an exposure: (before, after) of each triple."""
        return ((0, 2),) if num_exposures == 2 else ((0, 3), (1, 4))

    def forward(self, ldr: torch.Tensor, exposures: torch.Tensor) -> torch.Tensor:
        """`ldr` (B, W, 3, H, W'), `exposures` (B, W), W = 3 or 5 frames. Returns flows (B, K, 2, H, W')."""
        return self.full_size(self.level_flows(ldr, exposures)[-1], ldr.shape[-2:])

    @property
    def num_levels(self) -> int:
        """Levels that are run: all, or all but the finest with `finest` 'half'."""
        return NUM_LEVELS if self.finest == "full" else NUM_LEVELS - 1

    def full_size(self, flows: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
        """Flows (B, K, 2, h, w) of a level at the frames' `size` = (H, W): bilinear, in pixels of the frames."""
        height, width = (-(-n // SIZE_MULTIPLE) * SIZE_MULTIPLE for n in size)
        resized = resize_flow(flows.flatten(0, 1), (height, width)).unflatten(0, flows.shape[:2])
        return resized[..., : size[0], : size[1]]

    def share_coarsest(self) -> None:
        """Give every level the weights of the coarsest one: motion looks alike at every scale."""
        for level in list(self.levels)[1:]:
            level.load_state_dict(self.levels[0].state_dict())

    def pyramid(
        self, ldr: torch.Tensor, exposures: torch.Tensor
    ) -> list[tuple[list[torch.Tensor], list[torch.Tensor]]]:
        """What the levels compare, coarsest first: neighbours and matched references (B, 3, h, w) of every triple.

        The frames are edge-replicated to multiples of 16 at the right and the bottom.
        """
        n, height, width = ldr.shape[1], *ldr.shape[-2:]
        if n != 2 * self.num_exposures - 1:
            raise ValueError(
                f"a window of {self.num_exposures} exposures has {2 * self.num_exposures - 1} frames, not {n}"
            )
        ref = ldr[:, n // 2]
        e = exposures.to(ldr.dtype)[:, :, None, None, None]
        sources: list[torch.Tensor] = []
        matched: list[torch.Tensor] = []
        for before, after in self.pairs(self.num_exposures):
            sources += [ldr[:, before], ldr[:, after]]
            matched.append(match_exposure(ref, e[:, n // 2], e[:, before]))
        pad = (0, -width % SIZE_MULTIPLE, 0, -height % SIZE_MULTIPLE)
        sources = [F.pad(s, pad, mode="replicate") for s in sources]
        matched = [F.pad(m, pad, mode="replicate") for m in matched]

        pyramid = [(sources, matched)]
        for _ in range(NUM_LEVELS - 1):
            pyramid.append(([F.avg_pool2d(s, 2) for s in pyramid[-1][0]], [F.avg_pool2d(m, 2) for m in pyramid[-1][1]]))
        return pyramid[::-1]

    def level_flows(
        self, ldr: torch.Tensor, exposures: torch.Tensor, *, detached: bool = False, shared: int = 0
    ) -> list[torch.Tensor]:
        """The flow of every level, coarsest first: (B, K, 2, h, w) in pixels of the level, time order, padded frames.

        `detached`: gradients stay inside a level. `shared`: run so many levels, all with the coarsest one's weights.
        """
        flow: torch.Tensor | None = None
        flows: list[torch.Tensor] = []
        levels = [self.levels[0]] * shared or list(self.levels)[: self.num_levels]
        for level, (sources, matched) in zip(levels, self.pyramid(ldr, exposures), strict=False):
            h, w = sources[0].shape[-2:]
            if flow is None:
                flow = ldr.new_zeros((len(ldr), 2 * len(sources), h, w))
            else:
                flow = torch.cat([resize_flow(f, (h, w)) for f in flow.split(2, 1)], 1)
                flow = flow.detach() if detached else flow
            warped = [warp(s, f) for s, f in zip(sources, flow.split(2, 1), strict=True)]
            flow = flow + self._in_strips(level, conv_input(warped, matched))
            pairs = flow.unflatten(1, (-1, 2))
            # (prev2, next, prev, next2) -> time order
            flows.append(pairs if self.num_exposures == 2 else pairs[:, [0, 2, 1, 3]])
        return flows

    def _in_strips(self, level: nn.Module, x: torch.Tensor) -> torch.Tensor:
        h, w = x.shape[-2:]
        if self.strip_pixels is None or h * w <= self.strip_pixels:
            return level(x)
        rows = max(self.strip_pixels // w, 4 * LEVEL_HALO_PX)
        out = []
        for top in range(0, h, rows):
            lo, hi = max(top - LEVEL_HALO_PX, 0), min(top + rows + LEVEL_HALO_PX, h)
            out.append(level(x[:, :, lo:hi])[:, :, top - lo : top - lo + min(rows, h - top)])
        return torch.cat(out, 2)
