"""Training: options and schedules, what is trained on, the objective, the loop."""

from hdrvid.options.train import TERMS, RunOptions, TrainOptions
from hdrvid.train.loop import CHECKPOINT, Progress, train

__all__ = ["CHECKPOINT", "TERMS", "Progress", "RunOptions", "TrainOptions", "train"]
