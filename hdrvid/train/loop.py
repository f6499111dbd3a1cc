"""The training loop: one for every preset, supervised and few-shot, one process or several; resumable.

What is shipped is the exponential moving average of the weights; with `patience` the best of them by validation.
"""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from hdrvid.color.radiance import mu_law
from hdrvid.data.described_camera import described_camera
from hdrvid.data.windows import SampleOptions, TrainingWindows, UnlabelledWindows
from hdrvid.errors import InputError, ModelError, OutputError, UsageError
from hdrvid.io.atomic import atomic_path, make_folder
from hdrvid.io.lock import folder_lock
from hdrvid.io.ownership import TRAIN_LOG, WEIGHTS, replaceable_target
from hdrvid.models.config import ModelConfig
from hdrvid.models.constants import CHANNELS_PER_CANDIDATE
from hdrvid.models.forward import build
from hdrvid.models.memo.merge_net import MemoMerge
from hdrvid.models.memo.spynet import FlowNet
from hdrvid.models.merge_net import BlendNet
from hdrvid.models.quantised import Ranges, measuring
from hdrvid.options.train import STALL_WINDOW, RunOptions, TrainOptions
from hdrvid.predict.device import place, resolve_device
from hdrvid.predict.registry import find_weights
from hdrvid.ranks import Ranks, joined, local_device, piece
from hdrvid.train.initial import initial_flow, initial_merge, transfer_merge
from hdrvid.train.log import LOG, TrainLog
from hdrvid.train.losses import endpoint_error
from hdrvid.train.material import Material, plan, prepare
from hdrvid.train.memo import MemoObjective
from hdrvid.train.narrow import narrowed
from hdrvid.train.objective import PREPARED, Batch, Objective, Result, cut, merged, prepared, run
from hdrvid.train.options import (
    WIDTHS,
    Stage,
    learning_rate,
    own_levels_start,
    published,
    shares_levels,
    stages,
)
from hdrvid.train.reuse import POOL_BATCHES, reused
from hdrvid.weights import read_weights, save_weights
from hdrvid.workers import without_interrupts

CHECKPOINT = "checkpoint.pt"
MODEL = "model.safetensors"
REPORT_EVERY = 50
"""Steps between two lines of the log."""
SCALING_SAMPLES = 6
"""Samples on which the first variances of the memo's flow are measured."""
RANGING_SAMPLES = 24
"""Samples on which the ranges of what the networks see are measured."""
LEG_SEED = 1_000_003
"""Between the seeds of the samples of two legs."""
SKIPPED_STEPS = 20
"""Steps in a row without a finite gradient that end a run."""


@dataclass(frozen=True)
class Progress:
    """What a caller shows of a running training."""

    step: int
    """Steps done."""
    total: int
    """Steps of the run."""
    stage: str
    """Name of the stage."""
    losses: dict[str, float]
    """Mean of every term since the last report; 'loss' is their weighted sum."""
    stage_stop: int
    """Step at which the stage ends."""
    steps_per_second: float
    """Since this process began the stage."""
    data_samples_per_second: float
    """Samples that the data processes could deliver in all."""
    validation_psnr_t: float | None
    """Of the averaged weights, when just measured, in dB."""
    before_psnr_t: float
    """The same of the weights that this process began with."""
    kept_psnr_t: float
    """The same of the weights that would be kept now; NaN before the first measurement."""
    stopped: str
    """Why the run ends here before its last step, 'time' or 'patience'; '' where it does not."""


def initial_networks(options: TrainOptions) -> tuple[nn.ModuleDict, ModelConfig]:
    """Networks at step 0: random in the seed, or from `options.init`."""
    config = ModelConfig(
        preset=options.preset,
        num_exposures=options.num_exposures,
        width=options.width or WIDTHS.get(options.preset, 0),
        refine_flow=options.refine_flow,
        **options.narrower,
    )
    torch.manual_seed(options.seed)
    if not options.init:
        networks = build(config)
        if isinstance(networks["merge"], MemoMerge):
            initial_merge(networks["merge"])
        return networks, config
    trained, trained_config, _ = read_weights(_init_file(options))
    if trained_config.preset != options.preset:
        raise ModelError(f"{options.init} holds preset '{trained_config.preset}', not '{options.preset}'")
    trained, trained_config = narrowed(trained, trained_config, options.narrower)
    config = replace(trained_config, num_exposures=options.num_exposures, refine_flow=options.refine_flow)
    networks = build(config)
    if trained_config.num_exposures == options.num_exposures:
        networks["merge"].load_state_dict(trained["merge"].state_dict())
    else:
        transfer(trained, networks)
    if "flow" in trained and "flow" in networks and _flow_fits(trained_config, options.num_exposures):
        networks["flow"].load_state_dict(trained["flow"].state_dict())
    return networks, config


def brings_flow(options: TrainOptions) -> bool:
    """Whether the weights to start from hold a flow network of preset 'memo' that fits."""
    if not options.init:
        return False
    _, config, _ = read_weights(_init_file(options))
    return config.preset == "memo" and _flow_fits(config, options.num_exposures)


def _init_file(options: TrainOptions) -> Path:
    """The weights to start from: of a name, those for 2 exposures where there are none for 3."""
    try:
        return find_weights(options.init, options.num_exposures)
    except ModelError:
        if options.num_exposures == 2 or options.init.endswith(".safetensors"):
            raise
        return find_weights(options.init, 2)


def _flow_fits(config: ModelConfig, num_exposures: int) -> bool:
    """The memo's levels see all neighbours at once; the refinement sees one, whatever their number."""
    return config.preset != "memo" or config.num_exposures == num_exposures


def transfer(source: nn.ModuleDict, target: nn.ModuleDict) -> None:
    """Start a 3-exposure merge from a 2-exposure one: every warped neighbour takes the weights of one.

    Candidates of the stem and the head are reordered: ref, before, after -> ref, before, before, after, after, the
    stem's neighbour weights halved because there are twice as many.
    """
    a, b = source["merge"], target["merge"]
    if isinstance(a, MemoMerge) and isinstance(b, MemoMerge) and (a.num_candidates, b.num_candidates) == (5, 9):
        transfer_merge(a, b)
        return
    if not isinstance(a, BlendNet) or not isinstance(b, BlendNet) or (a.num_candidates, b.num_candidates) != (3, 5):
        raise ModelError("only 2-exposure weights can start a 3-exposure network")
    state = a.state_dict()
    picks, scale = [0, 1, 1, 2, 2], torch.tensor([1.0, 0.5, 0.5, 0.5, 0.5])
    stem = state["stem.weight"]
    kernel = stem.shape[2:]
    num_inputs = 3 * 4 * CHANNELS_PER_CANDIDATE  # input channels of the candidates; those of the smoothed ones follow
    candidates = stem[:, :num_inputs].reshape(len(stem), 3, -1, *kernel)[:, picks] * scale[None, :, None, None, None]
    state["stem.weight"] = torch.cat([candidates.reshape(len(stem), -1, *kernel), stem[:, num_inputs:]], 1)
    size = 4 * a.weight_channels  # outputs of a candidate: 4 sub-pixels; smoothed ones and the residual follow
    for name in ("head.weight", "head.bias"):
        head = state[name]
        blocks = head[: 3 * size].reshape(3, size, *head.shape[1:])[picks]
        state[name] = torch.cat([blocks.reshape(-1, *head.shape[1:]), head[3 * size :]])
    b.load_state_dict(state)


@dataclass(frozen=True)
class Validation:
    """Means over the samples of the validation batches."""

    psnr_t: float
    """PSNR-T in dB."""
    psnr_t_by_rank: dict[int, float]
    """The same of the samples whose reference has the shortest exposure of its window (0), the next (1), and so on."""
    endpoint_px: float
    """Endpoint error of the flow over visible pixels."""
    endpoint_zero_px: float
    """The same of zero flow."""
    result: Result
    """What the networks make of the first batch, to be looked at."""
    truth: torch.Tensor
    """(B, 3, H, W) the truth of the first batch."""

    def entry(self) -> dict[str, float]:
        """What the log keeps."""
        ranks = {f"validation_psnr_t_{rank}": value for rank, value in sorted(self.psnr_t_by_rank.items())}
        flow = {"validation_endpoint": self.endpoint_px, "validation_endpoint_zero": self.endpoint_zero_px}
        return {"validation_psnr_t": self.psnr_t} | ranks | flow


def validate(networks: nn.ModuleDict, options: TrainOptions, batches: list[Batch]) -> Validation:
    """Run the networks on `batches` and score them."""
    by_rank: defaultdict[int, list[float]] = defaultdict(list)
    endpoint, zero, count = 0.0, 0.0, 0
    first: tuple[Result, torch.Tensor] | None = None
    with torch.inference_mode():
        for batch in batches:
            result = run(networks, batch, options.margin)
            middle = batch["truth"].shape[1] // 2
            truth, exact, visible = (
                cut(x, options.margin) for x in (batch["truth"][:, middle], batch["flow"], batch["visible"])
            )
            error = (mu_law(result.radiance) - mu_law(truth)).square().mean((1, 2, 3))
            values = (-10 * torch.log10(error.clamp(min=1e-12))).tolist()
            for value, exposures in zip(values, batch["exposures"].tolist(), strict=True):
                by_rank[sorted(set(exposures)).index(exposures[middle])].append(value)
            endpoint += float(endpoint_error(result.flows, exact, visible)) * len(values)
            zero += float(endpoint_error(torch.zeros_like(exact), exact, visible)) * len(values)
            count += len(values)
            first = first or (result, truth)
    assert first is not None
    total = sum(sum(values) for values in by_rank.values())
    means = {rank: sum(values) / len(values) for rank, values in by_rank.items()}
    return Validation(total / count, means, endpoint / count, zero / count, *first)


@dataclass
class _State:
    """What a run has come to; all of it is in the checkpoint."""

    step: int = 0
    best: float = -math.inf
    best_step: int = 0
    validation: float = math.nan
    stage_start: float = 0.0
    """Sum of the criterion over the first STALL_WINDOW steps of the stage."""
    stage_recent: float = 0.0
    """The same over the STALL_WINDOW steps before a stage is judged."""


def train(
    out: Path,
    options: TrainOptions,
    run_options: RunOptions | None = None,
    *,
    on_cache: Callable[[int, int], None] | None = None,
    on_step: Callable[[Progress], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> Path:
    """Train into `out` and return the weights file `out/model.safetensors`.

    Writes `checkpoint.pt` (everything a resumed run needs), `log.jsonl`, TensorBoard events where that is installed,
    and the weights, each atomically. `on_cache` is called with windows prepared and windows in all, `on_step` with the
    progress. Under torchrun every process calls this; the first one writes and reports. A checkpoint that cannot be
    written is reported to `on_warning` and the run goes on with the one before.
    Raises InputError, ModelError, UsageError or OutputError.
    """
    run_options = run_options or RunOptions()
    with joined(run_options.device) as ranks:
        run = _Run(out, options, run_options, ranks, on_warning)
        with _claimed(out, ranks):
            run.train(on_cache, on_step)
    return out / MODEL


@contextmanager
def _claimed(out: Path, ranks: Ranks) -> Iterator[None]:
    """The folder of a run, held by its first process. Raises OutputError where another run or file is in the way."""
    if not ranks.is_main:
        yield
        return
    for name, mark in ((MODEL, WEIGHTS), (LOG, TRAIN_LOG)):
        replaceable_target(out / name, mark, "choose another --out")
    with folder_lock(out, "train"):
        yield


class _Run:
    """A run under way."""

    def __init__(
        self,
        out: Path,
        options: TrainOptions,
        run_options: RunOptions,
        ranks: Ranks,
        on_warning: Callable[[str], None] | None,
    ) -> None:
        self.out, self.options, self.ranks = out, options, ranks
        self.cache = run_options.cache or out / "cache"
        self.seconds = run_options.minutes * 60
        self.validate_every = options.steps_per_epoch if options.patience else run_options.validate_every
        self.checkpoint_seconds, self.on_warning = run_options.checkpoint_seconds, on_warning
        self.piece = piece(options.batch, ranks, options.accumulate)
        if options.camera:
            described_camera(options.camera, options.num_exposures)
        if options.agree and self.piece % 2:
            raise UsageError(f"--agree needs pairs: --batch is a multiple of {2 * ranks.world * options.accumulate}")
        self.device = resolve_device(local_device(run_options.device))
        workers = run_options.workers
        if workers is None:  # an accelerator waits for data sooner than a CPU, which has the networks to run as well
            workers = 1 if self.device.type == "cpu" else max((os.cpu_count() or 2) // ranks.world - 1, 1)
        self.workers = workers
        checkpoint = out / CHECKPOINT
        if checkpoint.exists() and not run_options.resume:
            raise OutputError(f"{out} holds a training run already: continue it with --resume, or choose another --out")
        networks, self.config = initial_networks(options)
        self.networks = place(networks, self.device)
        self.average = place(build(self.config), self.device).requires_grad_(False)
        self.average.load_state_dict(networks.state_dict())
        self.teacher_search = ""
        """The teacher's own search, where it is another one."""
        self.teacher = self._teacher()
        self.ranging: list[Batch] = []
        """Samples of training that the ranges of values are measured on."""
        self.best: dict[str, torch.Tensor] | None = None
        self.before = math.nan
        """Score of the weights that this process begins with."""
        self.optimizer = torch.optim.Adam(networks.parameters(), lr=options.learning_rate, betas=(0.9, 0.99))
        self.state = _State()
        if checkpoint.exists():
            self._load(checkpoint)

    def _teacher(self) -> nn.ModuleDict | None:
        options = self.options
        if not options.distill:
            return None
        teacher, config, _ = read_weights(find_weights(options.distill, options.num_exposures))
        if (config.preset, config.num_exposures) != ("default", options.num_exposures):
            raise ModelError(
                f"{options.distill} cannot teach: give weights of preset default for {options.num_exposures} exposures"
            )
        if config.search != self.config.search:
            self.teacher_search = config.search
        return place(teacher, self.device).eval().requires_grad_(False)

    def _load(self, checkpoint: Path) -> None:
        try:
            saved = torch.load(checkpoint, map_location=self.device, weights_only=True)
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
            raise InputError(f"{checkpoint} is damaged: remove it to train anew, or choose another --out") from error
        if saved["options"] != json.dumps(asdict(self.options), sort_keys=True):
            raise InputError(
                f"{self.out} was trained with other options: give the same ones with --resume, or another --out"
            )
        self.networks.load_state_dict(saved["networks"])
        self.average.load_state_dict(saved["average"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.best = saved["best_weights"]
        self.state = _State(**saved["state"])

    def _save(self) -> None:
        state = {
            "options": json.dumps(asdict(self.options), sort_keys=True),
            "networks": self.networks.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best_weights": self.best,
            "state": asdict(self.state),
        }
        data = io.BytesIO()  # a full disk then is Python's OSError, not an assertion inside torch
        torch.save(state, data)
        with atomic_path(self.out / CHECKPOINT) as partial, data.getbuffer() as view:
            partial.write_bytes(view)
        shipped, step, score = self.average, self.state.step, self.state.validation
        if self.best is not None:
            shipped = build(self.config)
            shipped.load_state_dict(self.best)
            step, score = self.state.best_step, self.state.best
        ranges = self._ranges(shipped)
        provenance = {"options": json.dumps(published(self.options), sort_keys=True), "steps": str(step)}
        if math.isfinite(score):
            provenance["validation_psnr_t"] = f"{score:.3f}"
        with atomic_path(self.out / MODEL) as partial:
            save_weights(partial, shipped, self.config, provenance, ranges=ranges)

    def _ranges(self, networks: nn.ModuleDict) -> Ranges | None:
        """What the networks see of a few samples, for `--precision int8`; None for networks that are never run so."""
        if not self.ranging:
            return None
        with torch.inference_mode(), measuring(place(networks, self.device)) as ranges:
            for batch in self.ranging:
                run(networks, batch, self.options.margin)
        return ranges

    def train(self, on_cache: Callable[[int, int], None] | None, on_step: Callable[[Progress], None] | None) -> None:
        """Everything from the data to the last checkpoint."""
        make_folder(self.out)
        planned = plan(self.options)
        if self.ranks.is_main:
            prepare(planned, self.cache, max(os.cpu_count() or 1, 1), on_cache, self.on_warning)
        self.ranks.wait()
        material = prepare(planned, self.cache)  # built already: only the folders' names are wanted
        if self.options.preset == "memo" and not self.state.step and not brings_flow(self.options):
            self._scale_flow_to_data(material)
        validation = list(self._validation(material)) if self.ranks.is_main else []
        if self.ranks.is_main and self.options.preset != "memo":
            windows = TrainingWindows(material.labelled, self._labelled_sample("merge"), RANGING_SAMPLES)
            self.ranging = [self._moved(sample) for sample in DataLoader(windows)]
        if on_step and self.ranks.is_main:
            self.before = validate(self.average, self.options, validation).psnr_t
        if self.ranks.is_main and not self.state.step:  # of a run whose checkpoint was removed
            (self.out / LOG).unlink(missing_ok=True)
        log = TrainLog(self.out) if self.ranks.is_main else None
        first_step = self.state.step
        deadline = time.monotonic() + self.seconds
        try:
            with _deferred_interrupt() as interrupted:
                for stage in stages(self.options):
                    if self.state.step < stage.stop:
                        self._stage(stage, material, validation, log, deadline, interrupted, on_step)
                    if self.state.step < stage.stop:
                        break
        finally:
            if log:
                log.close()
            if self.state.step > first_step and self.ranks.is_main:
                self._save()

    def _stage(
        self,
        stage: Stage,
        material: Material,
        validation: list[Batch],
        log: TrainLog | None,
        deadline: float,
        interrupted: threading.Event,
        on_step: Callable[[Progress], None] | None,
    ) -> None:
        options, state = self.options, self.state
        if state.step == stage.start:  # moments of another loss only mislead the first steps
            self.optimizer.state.clear()
        kind = MemoObjective if options.imitates else Objective
        objective = self.ranks.share(kind(self.networks, options, stage), self.device)
        started = last_save = time.monotonic()
        first_step = state.step
        totals: defaultdict[str, float] = defaultdict(float)
        counted, skipped, data_seconds, data_samples = 0, 0, 0.0, 0
        for batches in self._batches(stage, material):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(options, state.step)
            self.optimizer.zero_grad(set_to_none=True)
            criterion = 0.0
            for i, (labelled, unlabelled) in enumerate(batches):
                terms = self._gradients(objective, labelled, unlabelled, last=i == len(batches) - 1)
                for name, value in terms.items():
                    totals[name] += value / len(batches)
                criterion += _criterion(terms) / len(batches)
                data_seconds += float(labelled["seconds"].sum())
                data_samples += len(labelled["seconds"])
            parameters = [p for p in self.networks.parameters() if p.requires_grad]
            norm = nn.utils.clip_grad_norm_(parameters, options.gradient_clip)
            if torch.isfinite(norm):  # one sample that overflows must not destroy the weights
                self.optimizer.step()
                skipped = 0
            else:
                skipped += 1
                if skipped == SKIPPED_STEPS:
                    raise ModelError(
                        f"the training diverged: {skipped} steps in a row had no finite gradient: start again with a "
                        "lower --learning-rate"
                    )
            if shares_levels(options, stage, state.step):
                self._flow_network(self.networks).share_coarsest()
            state.step += 1
            counted += 1
            self._update_average()
            now = time.monotonic()
            finished = state.step == options.total_steps
            score: float | None = None
            scores: dict[str, float] = {}
            if state.step % self.validate_every == 0 or finished or (options.imitates and state.step == stage.stop):
                score, scores = self._validated(validation, log)
            # scores of a flow under an untrained merge say nothing, and a stage has the time to improve on the last
            waited = state.step - max(state.best_step, stage.start)
            patient = not options.patience or stage.name == "flow"
            stale = not patient and waited >= options.patience * options.steps_per_epoch
            late = now > deadline
            leaves = self.ranks.any(late or stale or interrupted.is_set())
            if state.step % REPORT_EVERY == 0 or score is not None or leaves:
                means = self.ranks.mean({k: v / counted for k, v in totals.items()})
                speed = (state.step - first_step) / (now - started)
                rate = data_samples / max(data_seconds, 1e-9) * max(self.workers, 1) * self.ranks.world
                if log:
                    entry = {"stage": stage.name, **means, "lr": learning_rate(options, state.step - 1)}
                    entry |= {"samples_per_second": speed * options.batch, "data_samples_per_second": rate}
                    log.scalars(state.step, entry | scores)
                if on_step and self.ranks.is_main:
                    stopped = "" if finished else "patience" if stale else "time" if late else ""
                    on_step(self._progress(stage, means, speed, rate, score, stopped))
                totals.clear()
                counted, data_seconds, data_samples = 0, 0.0, 0
            if self.ranks.any(interrupted.is_set()):
                raise KeyboardInterrupt
            if self.ranks.is_main and time.monotonic() - last_save > self.checkpoint_seconds and not finished:
                self._save_or_warn()
                last_save = time.monotonic()
            self._stop_where_nothing_is_learnt(stage, criterion)
            if leaves:
                break

    def _progress(
        self, stage: Stage, means: dict[str, float], speed: float, rate: float, score: float | None, stopped: str
    ) -> Progress:
        """What is shown of the run at this step."""
        state, options = self.state, self.options
        kept = state.best if options.patience and math.isfinite(state.best) else state.validation
        return Progress(
            step=state.step,
            total=options.total_steps,
            stage=stage.name,
            losses=means,
            stage_stop=stage.stop,
            steps_per_second=speed,
            data_samples_per_second=rate,
            validation_psnr_t=score,
            before_psnr_t=self.before,
            kept_psnr_t=kept,
            stopped=stopped,
        )

    def _stop_where_nothing_is_learnt(self, stage: Stage, criterion: float) -> None:
        """Raise ModelError at step `stall_steps` of a stage that is not better than in its first steps."""
        state, stall = self.state, self.options.stall_steps
        done = state.step - stage.start
        if not stall or done > stall:
            return
        if done == 1:
            state.stage_start = state.stage_recent = 0.0
        if done <= STALL_WINDOW:
            state.stage_start += criterion / STALL_WINDOW
        if done > stall - STALL_WINDOW:
            state.stage_recent += criterion / STALL_WINDOW
        if done == stall:
            means = self.ranks.mean({"start": state.stage_start, "recent": state.stage_recent})
            if not means["recent"] < means["start"]:
                raise ModelError(
                    f"stage '{stage.name}' has not improved on its start after {stall} steps (loss "
                    f"{means['recent']:.4g}, at first {means['start']:.4g}): start again with another --seed or "
                    "--learning-rate, or give --stall 0 to go on all the same"
                )

    @staticmethod
    def _flow_network(networks: nn.ModuleDict) -> FlowNet:
        flow = networks["flow"]
        assert isinstance(flow, FlowNet)
        return flow

    def _scale_flow_to_data(self, material: Material) -> None:
        """Give the memo's flow the weights that it begins to learn from, the same in every process."""
        sample = replace(self._sample(), side=self.options.side("flow"), exact_flow=True, plain=1.0)
        windows = TrainingWindows(material.labelled, sample, SCALING_SAMPLES)
        batch = self._moved(next(iter(DataLoader(windows, batch_size=SCALING_SAMPLES))))
        torch.manual_seed(self.options.seed)
        initial_flow(self._flow_network(self.networks), batch["ldr"], batch["exposures"])
        self.average.load_state_dict(self.networks.state_dict())

    def _gradients(
        self, objective: nn.Module, labelled: Batch, unlabelled: Batch | None, *, last: bool
    ) -> dict[str, float]:
        """Add the gradients of one piece of a batch; its terms."""
        options = self.options
        epoch = self.state.step // options.steps_per_epoch
        alone = nullcontext() if last or not isinstance(objective, DistributedDataParallel) else objective.no_sync()
        with alone:
            with self._arithmetic():
                batch = self._moved(labelled)
                if self.teacher is not None and "taught" not in batch:
                    batch["taught"] = self._taught(self.teacher, batch)
                other = self._moved(unlabelled) if unlabelled else None
                terms = objective(batch, other, epoch, self.state.step)
            (terms["loss"] / options.accumulate).backward()
        return {name: float(value.detach()) for name, value in terms.items()}

    def _taught(self, teacher: nn.ModuleDict, batch: Batch) -> torch.Tensor:
        """What the teacher makes of a batch, prepared or not."""
        with torch.no_grad():
            if PREPARED[0] in batch:
                return merged(teacher, batch)[0]
            flows = {"dis": batch["teacher"], "dis_back": batch["teacher_back"]} if "teacher" in batch else {}
            return run(teacher, batch | flows, self.options.margin).radiance

    def _prepared(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Batches whose frames are aligned, with what the teacher makes of them; once, for all their uses."""
        for labelled in batches:
            with self._arithmetic():
                batch = self._moved(labelled)
                ready = prepared(self.networks, batch, self.options.margin)
                if self.teacher is not None:
                    alike = self._aligns_alike(self.teacher)
                    ready["taught"] = self._taught(self.teacher, ready if alike else batch)
            yield ready | {"seconds": labelled["seconds"] / self.options.reuse}

    def _aligns_alike(self, teacher: nn.ModuleDict) -> bool:
        """Whether the teacher aligns frames as the network in training does."""
        if self.teacher_search or ("flow" in teacher) != ("flow" in self.networks):
            return False
        if "flow" not in teacher:
            return True
        flow, its = self.networks["flow"].state_dict(), teacher["flow"].state_dict()
        return all(torch.equal(flow[name], its[name]) for name in its)

    def _arithmetic(self) -> Any:
        half = self.options.precision == "bf16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if half else nullcontext()

    def _moved(self, batch: Batch) -> Batch:
        return {k: v.to(self.device, non_blocking=True) for k, v in batch.items() if k != "seconds"}

    def _update_average(self) -> None:
        step = self.state.step
        decay = min(self.options.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, current in zip(self.average.parameters(), self.networks.parameters(), strict=True):
                if current.requires_grad:
                    mean.lerp_(current, 1 - decay)

    def _validated(self, batches: list[Batch], log: TrainLog | None) -> tuple[float, dict[str, float]]:
        """Scores of the averaged weights, the first the same in every process; the best weights are kept where a run
        may stop early."""
        score, scores = 0.0, {}
        if log:
            validation = validate(self.average, self.options, batches)
            score, scores = validation.psnr_t, validation.entry()
            log.pictures(self.state.step, validation.result, validation.truth)
        score = self.ranks.mean({"score": score})["score"] * self.ranks.world
        self.state.validation = score
        if score > self.state.best:
            self.state.best, self.state.best_step = score, self.state.step
            if self.options.patience:
                self.best = {k: v.detach().cpu().clone() for k, v in self.average.state_dict().items()}
        return score, scores

    def _save_or_warn(self) -> None:
        try:
            self._save()
        except OutputError as error:
            if self.on_warning:
                self.on_warning(f"{error}; training goes on with the checkpoint before")

    def _validation(self, material: Material) -> Iterator[Batch]:
        sample = replace(self._sample(), side=_validation_side(self.options), augment=False)
        windows = TrainingWindows(material.validation, sample, material.num_validation)
        for batch in DataLoader(windows, batch_size=6):
            yield self._moved(batch)

    def _sample(self) -> SampleOptions:
        o = self.options
        return SampleOptions(
            o.num_exposures,
            o.crop + 2 * o.margin,
            seed=o.seed + LEG_SEED * o.leg,
            search=self.config.search,
            teacher=self.teacher_search,
            camera=o.camera,
            camera_share=o.camera_share,
        )

    def _labelled_sample(self, stage: str) -> SampleOptions:
        """How labelled windows become the samples of a stage."""
        o, only_flow = self.options, stage == "flow"
        return replace(
            self._sample(),
            side=o.side(stage) + 2 * o.margin,
            exact_flow=only_flow or (o.imitates and stage != "merge"),
            perturb=only_flow and o.preset == "memo",
            plain=o.plain if o.imitates else 0.0,
            real=0.0 if o.preset == "memo" else o.real,
            pairs=o.agree > 0,
            inexact_flow=stage == "imitation",
        )

    def _batches(self, stage: Stage, material: Material) -> Iterator[list[tuple[Batch, Batch | None]]]:
        """The pieces of every batch of this process, from the current step to the end of the stage."""
        o, only_flow, labelled = self.options, stage.name == "flow", self._labelled_sample(stage.name)
        parts = [(stage.stop, labelled)]
        if o.imitates and o.shared_levels and only_flow:
            parts.insert(0, (own_levels_start(stage), replace(labelled, plain=1.0)))
        total = o.total_steps * o.batch
        other: Iterator[Batch] | None = None
        if material.unlabelled and not only_flow:
            sample = replace(self._sample(), side=labelled.side)
            windows = UnlabelledWindows(material.unlabelled, sample, total)
            other = self._loaded(windows, self.state.step, stage.stop)
        step = self.state.step
        for stop, options in parts:
            if step >= stop:
                continue
            if o.reuse > 1:
                begin = step // o.reuse
                end = begin + (stop - step) // o.reuse + POOL_BATCHES
                fresh = self._loaded(TrainingWindows(material.labelled, options, total), begin, end)
                loader = reused(self._prepared(fresh), o.reuse, o.seed + LEG_SEED * o.leg + step + self.ranks.rank)
            else:
                loader = self._loaded(TrainingWindows(material.labelled, options, total), step, stop)
            for _ in range(step, stop):
                yield [(next(loader), next(other) if other else None) for _ in range(o.accumulate)]
            step = stop

    def _loaded(self, windows: Dataset, start: int, stop: int) -> Iterator[Batch]:
        """The samples of this process for the steps from `start` to `stop`."""
        o, rank = self.options, self.ranks.rank
        each = self.piece * o.accumulate
        share = [
            index
            for step in range(start, stop)
            for index in range(step * o.batch + rank * each, step * o.batch + (rank + 1) * each)
        ]
        loader = DataLoader(
            windows,
            batch_size=self.piece,
            sampler=share,
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
            multiprocessing_context="spawn" if self.workers else None,
            worker_init_fn=_quiet_worker if self.workers else None,
            pin_memory=self.device.type == "cuda",
        )
        with without_interrupts():
            return iter(loader)


def _criterion(terms: dict[str, float]) -> float:
    """What tells whether a stage learns: of flow the loss above that of zero flow, of a merge the L1 alone."""
    if "log_l1" in terms:
        return terms["log_l1"]
    return terms["loss"] - terms.get("loss_zero", 0.0)


def _validation_side(options: TrainOptions) -> int:
    """The largest whole picture of a cached window."""
    return (options.window_size - 2 * options.margin) // 16 * 16 + 2 * options.margin


@contextmanager
def _deferred_interrupt() -> Iterator[threading.Event]:
    """Ctrl-C sets the event instead of stopping the code anywhere; a second one stops it at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.getsignal(signal.SIGINT)

    def interrupt(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, before)
        event.set()

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


def _quiet_worker(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that reads the data decides
    torch.set_num_threads(1)
