"""Scores of models on datasets: what is read (`hdrvid.data.benchmarks`), how it is scored, what is reported."""

from hdrvid.evaluate.export import export_inputs
from hdrvid.evaluate.measures import ALIGNMENT, MAX_DB, MEASURES, alignment_scores, checked_measures
from hdrvid.evaluate.protocols import PROTOCOLS
from hdrvid.evaluate.results import compare, frames_text, of_model, read_results, scoring_of, unpaired
from hdrvid.evaluate.run import BASELINES, RESULT_FILES, FrameResult, evaluate
from hdrvid.evaluate.synthetic import CAMERAS, SyntheticOptions
from hdrvid.options.evaluate import EvalOptions

__all__ = [
    "ALIGNMENT",
    "BASELINES",
    "CAMERAS",
    "MAX_DB",
    "MEASURES",
    "PROTOCOLS",
    "RESULT_FILES",
    "EvalOptions",
    "FrameResult",
    "SyntheticOptions",
    "alignment_scores",
    "checked_measures",
    "compare",
    "evaluate",
    "export_inputs",
    "frames_text",
    "of_model",
    "read_results",
    "scoring_of",
    "unpaired",
]
