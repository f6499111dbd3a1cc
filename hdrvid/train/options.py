"""What follows from the options of a training run: its stages and its learning rate."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hdrvid.options.train import TrainOptions

SHARED_SHARE = 0.6
"""Part of the flow stage in which the coarsest SHARED_LEVELS are trained with one set of weights."""
SHARED_LEVELS = 3
WIDTHS = {"default": 48, "fast": 32, "memo": 48}
"""Channels of the merging network at half resolution, by preset; the memo's has its own."""
JOINT_RATE = 0.1
MEMO_JOINT_RATE = 0.3
"""Factor on the learning rate while both networks are trained; the second for supervised training of 'memo'."""


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
    names = [n for n in options.stage_shares if not options.stages or n in options.stages]
    shares = [options.stage_shares[n] for n in names]
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
