"""What decides a training run: its options, its stages, its learning rate."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hdrvid.errors import UsageError

TERMS = ("l1", "structure", "self", "smoothness")
"""The four terms of the few-shot loss, by the name that `without` takes."""

STAGES = {"flow": 0.45, "merge": 0.45, "joint": 0.1}
"""Share of the steps that each stage has where all three are trained."""
MEMO_STAGES = {"flow": 0.45, "imitation": 0.2, "merge": 0.2, "joint": 0.15}
"""The same for supervised training of preset 'memo'."""
SHARED_SHARE = 0.6
"""Part of the flow stage in which the coarsest SHARED_LEVELS are trained with one set of weights."""
SHARED_LEVELS = 3
WIDTHS = {"default": 48, "fast": 32, "memo": 48}
"""Channels of the merging network at half resolution, by preset; the memo's has its own."""
JOINT_RATE = 0.1
MEMO_JOINT_RATE = 0.3
"""Factor on the learning rate while both networks are trained; the second for supervised training of 'memo'."""
STALL_WINDOW = 200
"""Steps whose mean is compared to tell whether a stage has improved on its start."""


@dataclass(frozen=True)
class TrainOptions:
    """Everything that decides a run. A resumed run must have the same options. Raises UsageError for a bad one."""

    preset: str = "default"
    """Network: 'default', 'fast' or 'memo'."""
    width: int = 0
    """'default', 'fast': channels of the merging network at half resolution; 0: WIDTHS."""
    distill: str = ""
    """Weights of preset 'default', a file or the name of a model, whose results are learnt beside the truth."""
    num_exposures: int = 2
    """Exposures in a cycle."""
    refine_flow: bool = False
    """'default': train the network that refines the classical flow too."""
    stages: tuple[str, ...] = ()
    """Stages to train; empty: all that the preset has."""
    data: tuple[str, ...] = ()
    """Folders of labelled data; empty: hdrvid's own scenes alone."""
    hold_out: tuple[str, ...] = ()
    """Stems of pictures, windows or scenes that are not trained on."""
    shots: int = 0
    """Labelled windows of few-shot training; 0: all there are, supervised training."""
    trial: int = 1
    """Which shots: the memo's list of five where `data` holds its sets, else another draw for every number."""
    unlabelled: tuple[str, ...] = ()
    """Few-shot: clips or folders without truth; empty: hdrvid's own scenes, or pictures of `data`, filmed once."""
    without: tuple[str, ...] = ()
    """Few-shot: terms of the loss to leave out, of TERMS. Without the last two nothing unlabelled is needed."""
    patience: int = 0
    """Stop after this many epochs without a better validation, and keep the best weights; 0: train to the end."""
    windows: int = 1500
    """Windows rendered to the cache: the labelled ones, or in few-shot training the unlabelled ones."""
    window_size: int = 192
    """Side of a cached window in pixels."""
    procedural_share: float = 0.3
    """Share of the windows made from nothing when there are pictures."""
    epochs: int = 30
    """Epochs of `steps_per_epoch` steps."""
    steps_per_epoch: int = 200
    """Optimiser steps in an epoch."""
    batch: int = 6
    """Samples in a step, over all processes."""
    accumulate: int = 1
    """Pieces that each process cuts its part of a batch into, for the memory of one piece."""
    crop: int = 128
    """Side of a training crop in pixels."""
    learning_rate: float = 6e-4
    """Peak rate."""
    schedule: str = "cosine"
    """'cosine': a short warm-up, then half a cosine to 2 % at the end of a stage. 'halve': halved every 10 epochs."""
    ema: float = 0.998
    """Decay of the moving average of the weights."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    precision: str = "fp32"
    """Arithmetic of the networks: 'fp32' or 'bf16' (autocast)."""
    seed: int = 0
    """Seed of scenes, samples and initial weights."""
    init: str = ""
    """Weights to start from, a file or the name of a model; 2-exposure ones may start a 3-exposure network."""
    leg: int = 0
    """Which samples are drawn from the windows: a training that goes on with `init` should see others."""
    shared_levels: bool = True
    """'memo': begin the flow stage with one set of weights for the coarsest levels, as flow without `init` should."""
    flow_crop: int = 0
    """'memo', supervised: side of a crop while the flow is trained, in pixels; 0: the largest in a window below 161."""
    plain: float = 0.75
    """'memo', supervised: share of the samples that a plain camera films; all of them while levels are shared."""
    stall_steps: int = 0
    """Stop a stage that after this many steps has not improved on its first STALL_WINDOW; 0: never."""

    def __post_init__(self) -> None:
        unknown = [t for t in self.without if t not in TERMS]
        if unknown:
            raise UsageError(f"unknown term '{', '.join(unknown)}' of the loss: --without takes {', '.join(TERMS)}")
        if self.schedule not in ("cosine", "halve"):
            raise UsageError(f"--schedule takes cosine or halve, not '{self.schedule}'")
        if self.precision not in ("fp32", "bf16"):
            raise UsageError(f"training runs in fp32 or bf16, not '{self.precision}'")
        if not self.crop or self.crop % 16:
            raise UsageError(f"--crop is a multiple of 16, not {self.crop}")
        if self.flow_crop % 16 or self.flow_crop > self.window_size:
            raise UsageError(f"the crop of the flow stage is a multiple of 16 that fits a window, not {self.flow_crop}")
        if self.stall_steps and self.stall_steps < 2 * STALL_WINDOW:
            raise UsageError(f"--stall takes 0 or at least {2 * STALL_WINDOW} steps, not {self.stall_steps}")
        if self.crop + 2 * self.margin > self.window_size:
            raise UsageError(
                f"a crop of {self.crop} px needs windows of {self.crop + 2 * self.margin} px, not "
                f"{self.window_size}: give a larger --window-size or a smaller --crop"
            )
        wrong = [s for s in self.stages if s not in self._possible_stages]
        if wrong:
            raise UsageError(
                f"stage '{', '.join(wrong)}' does not exist here: --stage takes {', '.join(self._possible_stages)}"
            )
        if self.distill and (self.few_shot or self.preset == "memo"):
            raise UsageError("--distill is for supervised training of the presets default and fast")
        if {"l1", "structure"} <= set(self.without):
            raise UsageError("without both l1 and structure nothing is learnt from the labelled windows: keep one")

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    @property
    def margin(self) -> int:
        """Pixels on every side of a crop that only the alignment sees ('default')."""
        return 0 if self.preset == "memo" else 16

    @property
    def few_shot(self) -> bool:
        """Whether the loss is the memo's."""
        return self.shots > 0

    @property
    def uses_unlabelled(self) -> bool:
        """Whether a step takes an unlabelled batch as well."""
        return self.few_shot and not {"self", "smoothness"} <= set(self.without)

    @property
    def imitates(self) -> bool:
        """Whether the stages and losses are those of `hdrvid.train.objective.MemoObjective`."""
        return self.preset == "memo" and not self.few_shot

    @property
    def _shares(self) -> dict[str, float]:
        """Share of the steps by stage, where all that the preset has are trained."""
        if self.imitates:
            return MEMO_STAGES
        return STAGES if self.preset == "memo" or self.refine_flow else {"merge": 1.0}

    @property
    def _possible_stages(self) -> tuple[str, ...]:
        return tuple(self._shares)

    def side(self, stage: str) -> int:
        """Side of a crop in a stage, in pixels, without the margin."""
        if stage == "flow" and self.imitates:
            return self.flow_crop or min(self.window_size, 160) // 16 * 16
        return self.crop


@dataclass(frozen=True)
class Stage:
    """A stretch of a run."""

    name: str
    """'flow', 'imitation', 'merge' or 'joint'."""
    start: int
    """First step."""
    stop: int
    """One past the last step."""
    rate: float
    """Factor on the learning rate."""

    def position(self, step: int) -> float:
        """How far the stage is at a step, from 0 to 1."""
        return (step - self.start) / (self.stop - self.start)


def published(options: TrainOptions) -> dict[str, Any]:
    """The options as a weights file carries them: names instead of the paths of one machine."""
    values = asdict(options)
    names = {k: [Path(d).name for d in values[k]] for k in ("data", "unlabelled")}
    return values | names | {"init": Path(options.init).name}


def stages(options: TrainOptions) -> tuple[Stage, ...]:
    """The stages of a run, covering its steps in the order flow, imitation, merge, joint."""
    possible = options._possible_stages
    names = [n for n in possible if not options.stages or n in options.stages]
    shares = [options._shares[n] for n in names]
    ends = [round(options.total_steps * sum(shares[: i + 1]) / sum(shares)) for i in range(len(names))]
    starts = [0, *ends[:-1]]
    joint = MEMO_JOINT_RATE if options.imitates else JOINT_RATE
    rates = [joint if n == "joint" and len(names) > 1 else 1.0 for n in names]
    return tuple(Stage(*values) for values in zip(names, starts, ends, rates, strict=True))


def stage_at(options: TrainOptions, step: int) -> Stage:
    """The stage that step belongs to."""
    return next(s for s in stages(options) if step < s.stop)


def learning_rate(options: TrainOptions, step: int) -> float:
    """The rate of a step. Both schedules begin with a warm-up over 1 % of a stage."""
    stage = stage_at(options, step)
    length = stage.stop - stage.start
    position = step - stage.start
    ramp = min((position + 1) / max(length * 0.01, 1.0), 1.0)
    if options.schedule == "halve":
        decay = 0.5 ** (step // options.steps_per_epoch // 10)
    else:
        decay = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * position / length))
    return options.learning_rate * stage.rate * ramp * decay


def shares_levels(options: TrainOptions, stage: Stage, step: int) -> bool:
    """Whether the coarsest levels of the memo's flow are trained with one set of weights at this step."""
    if not options.imitates or not options.shared_levels or stage.name != "flow":
        return False
    return step < own_levels_start(stage)


def own_levels_start(stage: Stage) -> int:
    """First step of the flow stage at which every level has its own weights."""
    return stage.start + round(SHARED_SHARE * (stage.stop - stage.start))
