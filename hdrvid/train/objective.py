"""What is minimised: the losses of every stage, supervised or few-shot, over one batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from hdrvid.color.radiance import radiance_from_ldr
from hdrvid.models.classical import Candidates, blend
from hdrvid.models.forward import Aligned, align
from hdrvid.models.memo.candidates import memo_candidates
from hdrvid.options.train import TrainOptions
from hdrvid.train import losses
from hdrvid.train.options import Stage

Batch = dict[str, torch.Tensor]
DISTILLATION = 0.5
"""Weight of the teacher's result beside the truth."""
ENDPOINT_LIMIT_PX = 8.0
"""Endpoint errors of the refinement are cut here: what is lost altogether should not decide the rest."""


@dataclass(frozen=True)
class Result:
    """What the networks make of a batch, cut to the crop."""

    radiance: torch.Tensor
    """(B, 3, H, W) the reconstruction."""
    blended: torch.Tensor
    """(B, 3, H, W) the blend of candidates alone."""
    weights: torch.Tensor
    """(B, C, 3, H, W) weights of the blend; they add up to 1 over C."""
    codes: torch.Tensor
    """(B, K + 1, 3, H, W) the reference and the warped neighbours."""
    visible: torch.Tensor
    """(B, K + 1, 1, H, W) how far each of them can be trusted, 1 for the reference."""
    flows: torch.Tensor
    """(B, K, 2, H, W) flows of the neighbours, pixels."""


def cut(x: torch.Tensor, margin: int) -> torch.Tensor:
    """(..., H, W) without `margin` pixels on every side."""
    return x[..., margin:-margin, margin:-margin] if margin else x


def _aligned(networks: nn.ModuleDict, batch: Batch) -> Aligned:
    given = (batch.get(name) for name in ("dis", "dis_back", "black", "partly_clipped"))
    return align(networks, batch["ldr"], batch["exposures"], *given)


PREPARED = ("codes", "radiance", "prior", "channel_prior")
"""Names of the candidates of a batch whose frames are aligned already, in the order of `Candidates`."""


def prepared(networks: nn.ModuleDict, batch: Batch, margin: int) -> Batch:
    """What a merge learns from, cut to the crop, of a batch whose frames the networks align: the candidates and the
    truth (B, 3, H, W) of the reference."""
    with torch.no_grad():
        candidates = _aligned(networks, batch).candidates
    assert candidates is not None
    truth = batch["truth"][:, batch["truth"].shape[1] // 2]
    cuts = {name: cut(x, margin) for name, x in zip(PREPARED, candidates, strict=True)}
    return cuts | {"truth": cut(truth, margin), "exposures": batch["exposures"]}


def merged(networks: nn.ModuleDict, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The reconstruction and the blend alone, (B, 3, H, W), of a prepared batch."""
    result, _, blended = networks["merge"](*(batch[name] for name in PREPARED))
    return result, blended


def run(networks: nn.ModuleDict, batch: Batch, margin: int, *, train_flow: bool = False) -> Result:
    """Both networks on a batch. Gradients reach the flow only with `train_flow`."""
    ldr, exposures = batch["ldr"], batch["exposures"]
    k = ldr.shape[1] - 1
    with torch.set_grad_enabled(train_flow and torch.is_grad_enabled()):
        aligned = _aligned(networks, batch)
    flows = cut(aligned.flows, margin)
    visible = cut(torch.cat([torch.ones_like(aligned.confidence[:, :1]), aligned.confidence], 1), margin)
    if aligned.candidates is None:
        codes, order = memo_candidates(ldr, aligned.flows)
        radiance = radiance_from_ldr(codes, exposures[:, order, None, None, None])
        weights = networks["merge"](codes, radiance).float()
        h = blend(radiance, weights)
        return Result(h, h, weights / weights.sum(1, keepdim=True), codes[:, : k + 1], visible, flows)
    candidates = Candidates(*(cut(x, margin) for x in aligned.candidates))
    h, weights, blended = networks["merge"](*candidates)
    return Result(h, blended, weights, candidates.codes, visible, flows)


class Objective(nn.Module):
    """The loss of a stage as a module, so that gradients can be shared between processes."""

    def __init__(self, networks: nn.ModuleDict, options: TrainOptions, stage: Stage) -> None:
        super().__init__()
        self.networks = networks
        self.options = options
        self.stage = stage.name
        trained = {"flow": ("flow",), "merge": ("merge",), "joint": ("flow", "merge")}[stage.name]
        for name, network in networks.items():
            network.requires_grad_(name in trained)

    def forward(self, batch: Batch, unlabelled: Batch | None, epoch: int, step: int = 0) -> Batch:
        """Every term by its name, and their weighted sum 'loss'. `step` decides nothing here. A batch of stage merge
        may be `prepared`."""
        if self.stage == "flow":
            return self._flow(batch)
        options = self.options
        if PREPARED[0] in batch:
            return self._supervised(*merged(self.networks, batch), batch["truth"], batch)
        train_flow = self.stage == "joint"
        result = run(self.networks, batch, options.margin, train_flow=train_flow)
        middle = batch["ldr"].shape[1] // 2
        truth = cut(batch["truth"][:, middle], options.margin)
        terms: Batch = {}
        if options.preset != "memo" and not options.few_shot:
            terms = self._supervised(result.radiance, result.blended, truth, batch)
            loss = terms.pop("loss")
        else:
            loss = truth.new_zeros(())
            if "l1" not in options.without:
                terms["l1"] = losses.tone_l1(result.radiance, truth)
                loss = loss + terms["l1"]
            if "structure" not in options.without:
                terms["structure"] = losses.structure(result.radiance, truth)
                loss = loss + losses.ALPHA * terms["structure"]
        if train_flow:
            terms["alignment"] = self._alignment(batch, result.flows)
            loss = loss + 0.1 * terms["alignment"]
        if unlabelled is not None:
            loss = loss + losses.beta(epoch) * self._unlabelled(unlabelled, epoch, train_flow, terms)
        return terms | {"loss": loss}

    def _supervised(self, radiance: torch.Tensor, blended: torch.Tensor, truth: torch.Tensor, batch: Batch) -> Batch:
        """The terms of the merge, and 'loss'."""
        terms = {
            "log_l1": losses.tone_log_l1(radiance, truth),
            "log_l1_blend": losses.tone_log_l1(blended, truth),
        }
        loss = terms["log_l1"] + terms["log_l1_blend"] / 3
        if "taught" in batch:
            terms["log_l1_teacher"] = losses.tone_log_l1(radiance, batch["taught"])
            loss = loss + DISTILLATION * terms["log_l1_teacher"]
        if self.options.agree:
            terms["log_agreement"] = losses.agreement(radiance, truth)
            loss = loss + self.options.agree * terms["log_agreement"]
        return terms | {"loss": loss}

    def _unlabelled(self, batch: Batch, epoch: int, train_flow: bool, terms: Batch) -> torch.Tensor:
        """L_unsup; its terms are put into `terms`."""
        margin, without = self.options.margin, self.options.without
        result = run(self.networks, batch, margin, train_flow=train_flow)
        middle = batch["ldr"].shape[1] // 2
        loss = result.radiance.new_zeros(())
        if "self" not in without:
            order = [middle, *(i for i in range(batch["ldr"].shape[1]) if i != middle)]
            exposures = batch["exposures"][:, order]
            terms["self"] = losses.self_consistency(result.radiance, result.codes, exposures, result.visible)
            loss = loss + losses.theta(epoch) * terms["self"]
        if "smoothness" not in without:
            terms["smoothness"] = losses.smoothness(result.flows, cut(batch["ldr"][:, middle], margin))
            loss = loss + losses.LAMBDA * terms["smoothness"]
        return loss

    def _flow(self, batch: Batch) -> Batch:
        margin = self.options.margin
        aligned = _aligned(self.networks, batch)
        flows, truth = cut(aligned.flows, margin), cut(batch["truth"], margin)
        exact, visible = cut(batch["flow"], margin), cut(batch["visible"], margin)
        neighbours, reference = split_window(truth)
        if aligned.logits is None or aligned.candidates is None:
            terms = {"alignment": losses.alignment(flows, neighbours, reference)}
            terms["endpoint"] = losses.endpoint_error(flows, exact, visible)
            return terms | {"loss": terms["alignment"] + 0.01 * terms["endpoint"]}
        logits = cut(aligned.logits, margin)
        _, radiance, weights, _ = (cut(x, margin) for x in aligned.candidates)
        terms = {
            "log_alignment": losses.alignment_log(flows, neighbours, reference, visible),
            "endpoint": losses.endpoint_error(flows, exact, visible, ENDPOINT_LIMIT_PX),
            "log_l1_merge": losses.tone_log_l1(blend(radiance, weights), reference),
            "confidence": losses.confidence(logits, flows, neighbours, reference, visible),
        }
        loss = terms["log_alignment"] + 0.05 * terms["endpoint"] + terms["log_l1_merge"] + 0.2 * terms["confidence"]
        return terms | {"loss": loss}

    def _alignment(self, batch: Batch, flows: torch.Tensor) -> torch.Tensor:
        return losses.alignment(flows, *split_window(cut(batch["truth"], self.options.margin)))


def split_window(frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The neighbours (B, K, ...) and the reference (B, ...) of windows (B, W, ...)."""
    middle = frames.shape[1] // 2
    return torch.cat([frames[:, :middle], frames[:, middle + 1 :]], 1), frames[:, middle]
