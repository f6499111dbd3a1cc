"""Supervised training in stages, resumable, one loop for every preset.

Stages:
    default   one stage: the network corrects the classical merge, loss = log of each sample's mu-law L1, plus a
              third of that of the blend without its residual (so that the weights stay meaningful).
    memo      flow first (alignment loss and exact synthetic flow), then merging with the flow frozen, then both at a
              tenth of the rate: trained jointly from scratch the blend settles on the reference alone.
What is shipped is the exponential moving average of the weights.
"""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from hdrvid import losses
from hdrvid.data.windows import (
    PROCEDURAL,
    CacheOptions,
    SampleOptions,
    TrainingWindows,
    build_cache,
    find_hdr_images,
)
from hdrvid.errors import InputError, ModelError, OutputError
from hdrvid.io.atomic import atomic_path
from hdrvid.models.blend import CHANNELS_PER_CANDIDATE, BlendNet
from hdrvid.models.config import ModelConfig
from hdrvid.models.prior import blend
from hdrvid.models.runner import build, memo_candidates, place, resolve_device
from hdrvid.radiance import mu_law, radiance_from_ldr
from hdrvid.weights import read_weights, save_weights

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"
MODEL = "model.safetensors"


@dataclass(frozen=True)
class TrainOptions:
    """Everything that decides a run. A resumed run must have the same options."""

    preset: str = "default"
    """Network: 'default' or 'memo'."""
    num_exposures: int = 2
    """Exposures in a cycle."""
    data: tuple[str, ...] = ()
    """Folders of HDR frames or panoramas; empty: hdrvid's own scenes alone."""
    hold_out: tuple[str, ...] = ()
    """Stems of pictures that are not trained on."""
    windows: int = 1500
    """Windows rendered to the cache."""
    window_size: int = 192
    """Side of a cached window in pixels."""
    procedural_share: float = 0.3
    """Share of the windows made from nothing when there is data."""
    epochs: int = 30
    """Epochs of `steps_per_epoch` steps."""
    steps_per_epoch: int = 200
    """Optimiser steps in an epoch."""
    batch: int = 6
    """Samples in a step."""
    crop: int = 128
    """Side of a training crop in pixels."""
    learning_rate: float = 6e-4
    """Peak rate; a short warm-up, then a cosine to zero at the last step of a stage."""
    ema: float = 0.998
    """Decay of the moving average of the weights."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    seed: int = 0
    """Seed of scenes, samples and initial weights."""
    init: str = ""
    """Weights file to start from; a 2-exposure one may start a 3-exposure network."""

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.epochs * self.steps_per_epoch


@dataclass(frozen=True)
class Stage:
    """A stretch of a run."""

    name: str
    """'blend', 'flow', 'merge' or 'joint'."""
    start: int
    """First step."""
    stop: int
    """One past the last step."""
    rate: float
    """Factor on the learning rate."""


@dataclass(frozen=True)
class Progress:
    """What a caller shows of a running training."""

    step: int
    """Steps done."""
    total: int
    """Steps of the run."""
    stage: str
    """Name of the stage."""
    loss: float
    """Mean loss since the last report."""
    steps_per_second: float
    """Since this process started training."""
    validation_psnr_t: float | None
    """Of the averaged weights, when just measured, in dB."""


def published(options: TrainOptions) -> dict[str, Any]:
    """The options as a weights file carries them: names instead of the paths of one machine."""
    values = asdict(options)
    return values | {"data": [Path(d).name for d in options.data], "init": Path(options.init).name}


def stages(options: TrainOptions) -> tuple[Stage, ...]:
    """The stages of a run, covering its steps."""
    total = options.total_steps
    if options.preset == "default":
        return (Stage("blend", 0, total, 1.0),)
    a, b = round(total * 0.45), round(total * 0.9)
    return (Stage("flow", 0, a, 1.0), Stage("merge", a, b, 1.0), Stage("joint", b, total, 0.1))


def stage_at(options: TrainOptions, step: int) -> Stage:
    """The stage that step belongs to."""
    return next(s for s in stages(options) if step < s.stop)


def learning_rate(options: TrainOptions, step: int) -> float:
    """Warm-up over 1 % of a stage, then a half cosine to 2 % of the peak."""
    stage = stage_at(options, step)
    length = stage.stop - stage.start
    position = step - stage.start
    warm = max(length * 0.01, 1.0)
    ramp = min((position + 1) / warm, 1.0)
    decay = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * position / length))
    return options.learning_rate * stage.rate * ramp * decay


def stage_loss(networks: nn.ModuleDict, stage: str, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The loss of one batch in a stage."""
    if stage == "blend":
        h, _, blended = networks["merge"](batch["codes"], batch["radiance"], batch["prior"])
        return losses.tone_log_l1(h, batch["truth"]) + losses.tone_log_l1(blended, batch["truth"]) / 3
    ldr, exposures, truth = batch["ldr"], batch["exposures"], batch["truth"]
    middle = ldr.shape[1] // 2
    neighbours = [i for i in range(ldr.shape[1]) if i != middle]
    if stage == "flow":
        flows = networks["flow"](ldr, exposures)
        aligned = losses.alignment(flows, truth[:, neighbours], truth[:, middle])
        return aligned + 0.01 * losses.endpoint_error(flows, batch["flow"], batch["visible"])
    with torch.set_grad_enabled(stage == "joint"):
        flows = networks["flow"](ldr, exposures)
    h = merge_memo(networks, ldr, exposures, flows)
    loss = losses.tone_l1(h, truth[:, middle])
    if stage == "joint":
        loss = loss + 0.1 * losses.alignment(flows, truth[:, neighbours], truth[:, middle])
    return loss


def merge_memo(
    networks: nn.ModuleDict, ldr: torch.Tensor, exposures: torch.Tensor, flows: torch.Tensor
) -> torch.Tensor:
    """The memo's blend of a batch of windows: (B, W, 3, H, W') -> (B, 3, H, W')."""
    codes, order = memo_candidates(ldr, flows)
    radiance = radiance_from_ldr(codes, exposures[:, order, None, None, None])
    return blend(radiance, networks["merge"](codes, radiance))


def validate(networks: nn.ModuleDict, preset: str, batches: list[dict[str, torch.Tensor]]) -> float:
    """Mean PSNR-T in dB over the samples of `batches`."""
    values: list[float] = []
    with torch.inference_mode():
        for batch in batches:
            if preset == "default":
                h = networks["merge"](batch["codes"], batch["radiance"], batch["prior"])[0]
                truth = batch["truth"]
            else:
                h = merge_memo(
                    networks, batch["ldr"], batch["exposures"], networks["flow"](batch["ldr"], batch["exposures"])
                )
                truth = batch["truth"][:, batch["truth"].shape[1] // 2]
            error = (mu_law(h) - mu_law(truth)).square().mean((1, 2, 3))
            values += (-10 * torch.log10(error.clamp(min=1e-12))).tolist()
    return sum(values) / len(values)


def initial_networks(options: TrainOptions) -> tuple[nn.ModuleDict, ModelConfig]:
    """Networks at step 0: random in the seed, or from `options.init`."""
    config = ModelConfig(preset=options.preset, num_exposures=options.num_exposures)
    torch.manual_seed(options.seed)
    networks = build(config)
    if options.init:
        trained, trained_config, _ = read_weights(Path(options.init))
        if trained_config.preset != options.preset:
            raise ModelError(f"{options.init} holds preset '{trained_config.preset}', not '{options.preset}'")
        if trained_config.num_exposures == options.num_exposures:
            networks.load_state_dict(trained.state_dict())
        else:
            transfer(trained, networks)
    return networks, config


def transfer(source: nn.ModuleDict, target: nn.ModuleDict) -> None:
    """Start a 3-exposure `default` network from a 2-exposure one: every warped neighbour takes the weights of one.

    Candidates of the stem and the head are reordered: ref, before, after -> ref, before, before, after, after, the
    stem's neighbour weights halved because there are twice as many.
    """
    a, b = source["merge"], target["merge"]
    if not isinstance(a, BlendNet) or not isinstance(b, BlendNet) or (a.num_candidates, b.num_candidates) != (3, 5):
        raise ModelError("only 2-exposure weights of preset 'default' can start a 3-exposure network")
    state = a.state_dict()
    picks, scale = [0, 1, 1, 2, 2], torch.tensor([1.0, 0.5, 0.5, 0.5, 0.5])
    stem = state["stem.weight"]
    own = 3 * 4 * CHANNELS_PER_CANDIDATE  # input channels of the candidates; those of the smoothed ones follow
    candidates = stem[:, :own].reshape(len(stem), 3, -1, 3, 3)[:, picks] * scale[None, :, None, None, None]
    state["stem.weight"] = torch.cat([candidates.reshape(len(stem), -1, 3, 3), stem[:, own:]], 1)
    for name in ("head.weight", "head.bias"):
        head = state[name]
        blocks = head.reshape(-1, 12, *head.shape[1:])  # 3 channels x 4 sub-pixels; smoothed ones and residual last
        state[name] = torch.cat([blocks[picks], blocks[3:]]).reshape(-1, *head.shape[1:])
    b.load_state_dict(state)


def train(
    out: Path,
    options: TrainOptions,
    *,
    device: str = "auto",
    resume: bool = False,
    workers: int = 1,
    cache: Path | None = None,
    checkpoint_seconds: float = 120.0,
    validate_every: int = 500,
    stop_after_seconds: float = math.inf,
    on_cache: Callable[[int, int], None] | None = None,
    on_step: Callable[[Progress], None] | None = None,
) -> Path:
    """Train into `out` and return the weights file `out/model.safetensors`.

    Writes `checkpoint.pt` (everything a resumed run needs), `log.jsonl` and the weights, each atomically. `cache`
    holds the rendered windows (default `out/cache`). `stop_after_seconds` ends the process early with a checkpoint.
    Raises InputError, ModelError or OutputError.
    """
    out.mkdir(parents=True, exist_ok=True)
    target = resolve_device(device)
    checkpoint_path = out / CHECKPOINT
    if checkpoint_path.exists() and not resume:
        raise OutputError(f"{out} holds a training run already: continue it with --resume, or choose another --out")
    networks, config = initial_networks(options)
    place(networks, target)
    average = place(build(config), target).requires_grad_(False)
    average.load_state_dict(networks.state_dict())
    optimizer = torch.optim.Adam(networks.parameters(), lr=options.learning_rate, betas=(0.9, 0.99))
    step = 0
    measured: dict[str, float] = {}
    if checkpoint_path.exists():
        state = torch.load(checkpoint_path, map_location=target, weights_only=True)
        if state["options"] != json.dumps(asdict(options), sort_keys=True):
            raise InputError(
                f"{out} was trained with other options: give the same ones with --resume, or another --out"
            )
        networks.load_state_dict(state["networks"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step = int(state["step"])
        measured = dict(state["measured"])

    images = find_hdr_images([Path(d) for d in options.data], options.hold_out)
    folder = cache or out / "cache"
    build_cache(
        folder,
        CacheOptions(
            options.windows, options.window_size, options.seed, (*images, PROCEDURAL), options.procedural_share
        ),
        progress=on_cache,
    )
    prior = options.preset == "default"
    sample = SampleOptions(options.num_exposures, options.crop, seed=options.seed, prior=prior)
    check = SampleOptions(options.num_exposures, window_crop(options), seed=options.seed, augment=False, prior=prior)
    validation = [
        {k: v.to(target) for k, v in batch.items()}
        for batch in DataLoader(TrainingWindows(_validation_cache(folder, options), check, 24), batch_size=6)
    ]
    dataset = TrainingWindows(folder, sample, options.total_steps * options.batch)

    def save() -> None:
        state = {
            "options": json.dumps(asdict(options), sort_keys=True),
            "networks": networks.state_dict(),
            "average": average.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": step,
            "measured": measured,
        }
        data = io.BytesIO()  # a full disk then is Python's OSError, not an assertion inside torch
        torch.save(state, data)
        with atomic_path(checkpoint_path) as partial:
            partial.write_bytes(data.getbuffer())
        provenance = {"options": json.dumps(published(options), sort_keys=True), "steps": str(step)}
        provenance |= {k: f"{v:.3f}" for k, v in measured.items()}
        with atomic_path(out / MODEL) as partial:
            save_weights(partial, average, config, provenance)

    started = last_save = time.monotonic()
    first_step = step
    total_loss, counted = 0.0, 0
    loader = DataLoader(
        dataset,
        batch_size=options.batch,
        sampler=range(step * options.batch, len(dataset)),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=_single_thread if workers else None,
    )
    try:
        for batch in loader:
            stage = stage_at(options, step)
            if step == stage.start:  # moments of another loss only mislead the first steps
                optimizer.state.clear()
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(options, step)
            loss = stage_loss(networks, stage.name, {k: v.to(target, non_blocking=True) for k, v in batch.items()})
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(networks.parameters(), options.gradient_clip)
            optimizer.step()
            step += 1
            decay = min(options.ema, (1 + step) / (10 + step))
            with torch.no_grad():
                for mean, current in zip(average.parameters(), networks.parameters(), strict=True):
                    mean.lerp_(current, 1 - decay)
            total_loss, counted = total_loss + float(loss.detach()), counted + 1
            now = time.monotonic()
            finished = step == options.total_steps
            score = None
            if step % validate_every == 0 or finished:
                score = validate(average, options.preset, validation)
                measured["validation_psnr_t"] = score
            if step % 50 == 0 or score is not None:
                entry = {
                    "step": step,
                    "stage": stage.name,
                    "loss": total_loss / counted,
                    "lr": learning_rate(options, step - 1),
                    "seconds": round(now - started, 1),
                }
                if score is not None:
                    entry["validation_psnr_t"] = score
                with (out / LOG).open("a") as log:
                    log.write(json.dumps(entry) + "\n")
                if on_step:
                    speed = (step - first_step) / (now - started)
                    on_step(Progress(step, options.total_steps, stage.name, total_loss / counted, speed, score))
                total_loss, counted = 0.0, 0
            if now - last_save > checkpoint_seconds:
                save()
                last_save = time.monotonic()
            if now - started > stop_after_seconds:
                break
    finally:
        if step > first_step:
            save()
    return out / MODEL


def window_crop(options: TrainOptions) -> int:
    """Side of a validation sample: the cached window less the context of the classical flow."""
    return max((options.window_size - 32) // 16 * 16, 64)


def _validation_cache(training_cache: Path, options: TrainOptions) -> Path:
    """24 windows of scenes that training does not see: the held-out pictures, or other seeds of hdrvid's own."""
    folder = training_cache.with_name(training_cache.name + "-validation")
    images: tuple[str, ...] = ()
    if options.hold_out and options.data:
        everything = find_hdr_images([Path(d) for d in options.data])
        images = tuple(p for p in everything if Path(p).stem in set(options.hold_out))
    sources = (*images, PROCEDURAL)
    build_cache(folder, CacheOptions(24, options.window_size, options.seed + 777, sources, options.procedural_share))
    return folder


def _single_thread(_: int) -> None:
    torch.set_num_threads(1)
