"""Scores of models on datasets: what is read (`hdrvid.data.benchmarks`), how it is scored, what is reported."""

from hdrvid.evaluate.measures import ALIGNMENT, MAX_DB, MEASURES, alignment_scores, checked_measures
from hdrvid.evaluate.protocols import PROTOCOLS
from hdrvid.evaluate.results import compare, read_results
from hdrvid.evaluate.run import BASELINES, FrameResult, evaluate
from hdrvid.evaluate.synthetic import CAMERAS, SyntheticOptions
from hdrvid.options.evaluate import EvalOptions

__all__ = [
    "ALIGNMENT",
    "BASELINES",
    "CAMERAS",
    "MAX_DB",
    "MEASURES",
    "PROTOCOLS",
    "EvalOptions",
    "FrameResult",
    "SyntheticOptions",
    "alignment_scores",
    "checked_measures",
    "compare",
    "evaluate",
    "read_results",
]
