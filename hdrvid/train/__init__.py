"""Training: options and schedules, what is trained on, the objective, the loop."""

from hdrvid.train.loop import Progress, train
from hdrvid.train.options import TERMS, TrainOptions

__all__ = ["TERMS", "Progress", "TrainOptions", "train"]
