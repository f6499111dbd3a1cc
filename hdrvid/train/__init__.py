"""Training: options and schedules, what is trained on, the objective, the loop."""

from hdrvid.options.train import TERMS, RunOptions, TrainOptions
from hdrvid.train.loop import Progress, train

__all__ = ["TERMS", "Progress", "RunOptions", "TrainOptions", "train"]
