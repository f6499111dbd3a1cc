"""What is minimised in supervised training of preset 'memo': one loss a stage, for 2 and 3 exposures.

Stages:
    flow        every level of the pyramid against exact flow at its own size; gradients stay inside a level. At first
                the coarsest levels share one set of weights.
    imitation   the merge, given exact, inexact or zero flow: log mu-law L1, and closeness to the classical prior's
                weights, which matters less and less.
    merge       the merge, with the networks' own flow.
    joint       both, at a lower rate, the flow supervised as before.
The few-shot loss of the memo is `hdrvid.train.objective.Objective`.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from hdrvid.color.radiance import radiance_from_ldr
from hdrvid.models.classical import candidates_and_prior
from hdrvid.models.memo.candidates import memo_candidates
from hdrvid.models.memo.merge_net import MemoMerge
from hdrvid.models.memo.spynet import FlowNet
from hdrvid.options.train import TrainOptions
from hdrvid.train import losses
from hdrvid.train.objective import Batch, split_window
from hdrvid.train.options import SHARED_LEVELS, Stage, shares_levels

DIVERGENCE = (0.3, 0.03)
"""Weight of the divergence from the prior: at the start of the imitation, and from its middle on."""
ORIGINAL_PRIOR = 1e-3
"""Prior weight of the neighbours that are not warped, before the weights are normalised."""
POSITIVE_LOGITS = 0.01
"""Weight of `losses.positive_logits`."""
FINEST_SHARE = 1.5
"""Weight of the finest level beside the others."""
JOINT_FLOW = 0.05
"""Weight of the flow loss in the joint stage."""
TRAINED = {"flow": ("flow",), "imitation": ("merge",), "merge": ("merge",), "joint": ("flow", "merge")}


class MemoObjective(nn.Module):
    """The loss of a stage as a module, so that gradients can be shared between processes."""

    def __init__(self, networks: nn.ModuleDict, options: TrainOptions, stage: Stage) -> None:
        super().__init__()
        self.networks = networks
        self.options = options
        self.stage = stage
        for name, network in networks.items():
            network.requires_grad_(name in TRAINED[stage.name])

    def forward(self, batch: Batch, unlabelled: Batch | None, epoch: int, step: int) -> Batch:
        """Every term by its name, and their weighted sum 'loss'; `step` decides how far the stage is."""
        flow, merge = self.networks["flow"], self.networks["merge"]
        assert isinstance(flow, FlowNet)
        assert isinstance(merge, MemoMerge)
        ldr, exposures, name = batch["ldr"], batch["exposures"], self.stage.name
        if name == "flow":
            shared = SHARED_LEVELS if shares_levels(self.options, self.stage, step) else 0
            levels = flow.level_flows(ldr, exposures, detached=True, shared=shared)
            return flow_terms(levels, batch)
        terms: Batch = {}
        if name == "imitation":
            flows = batch["inexact"]
            known = losses.is_known(batch["visible"]) > 0
            if not bool(known.all()):
                with torch.no_grad():
                    flows = torch.where(known[:, None, None, None, None], flows, flow(ldr, exposures).float())
        elif name == "merge":
            with torch.no_grad():
                flows = flow(ldr, exposures).float()
        else:
            levels = flow.level_flows(ldr, exposures)
            flows = flow.full_size(levels[-1].float(), ldr.shape[-2:])
            terms = {f"flow_{k}": v for k, v in flow_terms(levels, batch).items()}
        terms |= merge_terms(merge, batch, flows)
        share = divergence_share(self.stage.position(step)) if name == "imitation" else DIVERGENCE[1]
        loss = terms["log_l1"] + share * terms["divergence"] + POSITIVE_LOGITS * terms["positive_logits"]
        if name == "joint":
            loss = loss + JOINT_FLOW * terms["flow_loss"]
        return terms | {"loss": loss}


def divergence_share(position: float) -> float:
    """Weight of the divergence at a position, 0 to 1, in the imitation: half a cosine over its first half."""
    first, last = DIVERGENCE
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * min(2 * position, 1.0)))


def flow_terms(levels: list[torch.Tensor], batch: Batch) -> Batch:
    """Losses of level flows (B, K, 2, h, w), coarsest first, in pixels of the level.

    'loss' and 'loss_zero', that of zero flow; 'endpoint' and 'endpoint_zero' of the finest level over visible pixels,
    in pixels of the frames. Samples without exact flow are compared by what is warped: the mu-law L1 of the truth.
    """
    exact, visible = batch["flow"], batch["visible"]
    unknown = losses.is_known(visible) == 0
    loss = zero_loss = exact.new_zeros(())
    truth = batch["truth"][unknown]
    for i, raw in enumerate(levels):
        flows = raw.float()
        zero = torch.zeros_like(flows)
        error, of_zero = (losses.level_endpoint_error(f, exact, visible) for f in (flows, zero))
        if len(truth):
            scale = exact.shape[-1] // flows.shape[-1]
            pooled = F.avg_pool2d(truth.flatten(0, 1), scale).unflatten(0, truth.shape[:2])
            frames, part = split_window(pooled), len(truth) / len(exact)
            error = error + part * losses.alignment(flows[unknown], *frames)
            of_zero = of_zero + part * losses.alignment(zero[unknown], *frames)
        share = FINEST_SHARE if i == len(levels) - 1 else 1.0
        loss, zero_loss = loss + share * error, zero_loss + share * of_zero
    with torch.no_grad():
        size = exact.shape[-2:]
        finest = F.interpolate(levels[-1].float().flatten(1, 2), size=size, mode="bilinear", align_corners=False)
        finest = finest.view_as(exact) * (size[1] / levels[-1].shape[-1])
        endpoint = losses.endpoint_error(finest, exact, visible)
        endpoint_zero = losses.endpoint_error(torch.zeros_like(exact), exact, visible)
    return {"endpoint": endpoint, "endpoint_zero": endpoint_zero, "loss_zero": zero_loss.detach(), "loss": loss}


def merge_terms(merge: MemoMerge, batch: Batch, flows: torch.Tensor) -> Batch:
    """Losses of the blend of a batch with flows (B, K, 2, H, W) in pixels."""
    ldr, exposures = batch["ldr"], batch["exposures"]
    codes, order = memo_candidates(ldr, flows)
    radiance = radiance_from_ldr(codes, exposures[:, order, None, None, None])
    logits = merge.logits(merge.features(codes, radiance)).float()
    log_weights = losses.log_weights(logits)
    blended = (radiance * log_weights.exp()).sum(1)
    return {
        "log_l1": losses.tone_log_l1(blended, split_window(batch["truth"])[1]),
        "divergence": losses.divergence(log_weights, memo_prior(ldr, exposures, flows)),
        "positive_logits": losses.positive_logits(logits),
    }


@torch.no_grad()
def memo_prior(ldr: torch.Tensor, exposures: torch.Tensor, flows: torch.Tensor) -> torch.Tensor:
    """The classical prior's weights of the memo's candidates, (B, 2K + 1, 1, H, W), adding up to 1 over them."""
    (_, _, weights, _), _ = candidates_and_prior(ldr, exposures, flows.detach(), None)
    weights = torch.cat([weights, torch.full_like(weights[:, 1:], ORIGINAL_PRIOR)], 1)
    return weights / weights.sum(1, keepdim=True)
