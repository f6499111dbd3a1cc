"""The networks of a model, and how they align a window: what training and prediction share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from hdrvid.models.classical import Candidates, alignment_confidence, candidates_and_prior
from hdrvid.models.config import ModelConfig
from hdrvid.models.constants import PARTLY_CLIPPED
from hdrvid.models.flow_net import FlowRefiner
from hdrvid.models.memo.merge_net import MemoMerge
from hdrvid.models.memo.spynet import FlowNet
from hdrvid.models.merge_net import BlendNet
from hdrvid.warp import warp


def build(config: ModelConfig) -> nn.ModuleDict:
    """The networks of a config, untrained: 'merge', and 'flow' where the config has one."""
    if config.preset == "memo":
        return nn.ModuleDict(
            {
                "flow": FlowNet(config.num_exposures, config.flow_finest),
                "merge": MemoMerge(config.num_exposures, config.base_width),
            }
        )
    weight_channels = 1 if config.preset == "fast" else 3
    merge = BlendNet(
        config.num_neighbours + 1,
        config.width,
        weight_channels,
        config.half_width,
        config.quarter_width,
        config.stem_kernel,
    )
    networks = nn.ModuleDict({"merge": merge})
    if config.refine_flow:
        networks["flow"] = FlowRefiner(config.flow_half_width)
    return networks


@dataclass(frozen=True)
class Aligned:
    """A window whose neighbours were brought to the reference."""

    flows: torch.Tensor
    """(B, K, 2, H, W) pixels, backward."""
    confidence: torch.Tensor
    """(B, K, 1, H, W) in [0, 1]: how far each neighbour can be trusted."""
    candidates: Candidates | None = None
    """What the `default` network blends; None for the memo's networks."""
    logits: torch.Tensor | None = None
    """(B, K, 1, H, W) of the confidence, where a network has found it."""


def align(
    networks: nn.ModuleDict,
    ldr: torch.Tensor,
    exposures: torch.Tensor,
    dis: torch.Tensor | None,
    dis_back: torch.Tensor | None,
    black: torch.Tensor | None = None,
    partly_clipped: torch.Tensor | None = None,
) -> Aligned:
    """Align windows (B, W, 3, H, W') with the networks' own flow, or from the classical flows of both directions.

    `black` (B,): code at or below which frames are black; None: none is. `partly_clipped` (B,): what a channel weighs
    where another one clips, as `hdrvid.models.exposure_agreement` allows; None: PARTLY_CLIPPED.
    """
    if dis is not None and dis_back is not None:
        flows, logits, confidence = dis, None, None
        if "flow" in networks:
            flows, logits = networks["flow"](ldr, exposures, dis, dis_back, black)
            confidence = torch.sigmoid(logits)
        mixed = PARTLY_CLIPPED if partly_clipped is None else partly_clipped[:, None, None, None]
        candidates, trust = candidates_and_prior(
            ldr, exposures, flows, dis_back, confidence, black=black, partly_clipped=mixed
        )
        return Aligned(flows, trust, candidates, logits)
    flows = networks["flow"](ldr, exposures).float()
    middle = ldr.shape[1] // 2
    trusts = [
        alignment_confidence(
            ldr[:, middle], warp(ldr[:, i], flows[:, k]), exposures[:, middle], exposures[:, i], flows[:, k], None
        )
        for k, i in enumerate(i for i in range(ldr.shape[1]) if i != middle)
    ]
    return Aligned(flows, torch.stack(trusts, 1))
