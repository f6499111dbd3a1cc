"""The compiled functions that the rest of hdrvid calls, each with the function of PyTorch, OpenCV or NumPy it replaces.

A machine without Numba, an accelerator and training use these; `tests/test_compiled_pairs.py` compares every pair.
"""

from __future__ import annotations

from hdrvid.compiled.contradiction import contradicted, half_means
from hdrvid.compiled.display import show_rows
from hdrvid.compiled.evidence import correlation, evidence, matched, refine_flow
from hdrvid.compiled.flow_choice import consistent, luma, misfit, upsample2x_flow
from hdrvid.compiled.inverse_search import search
from hdrvid.compiled.merge import merge_input, merge_result
from hdrvid.compiled.quantise import quantise, quantise_doubled, quantise_sum
from hdrvid.compiled.variational import refine

__all__ = [
    "consistent",
    "contradicted",
    "correlation",
    "evidence",
    "half_means",
    "luma",
    "matched",
    "merge_input",
    "merge_result",
    "misfit",
    "quantise",
    "quantise_doubled",
    "quantise_sum",
    "refine",
    "refine_flow",
    "search",
    "show_rows",
    "upsample2x_flow",
]

REPLACES = {
    "consistent": "hdrvid.flow.dense_inverse_search.DenseInverseSearch.consistent",
    "contradicted": "hdrvid.models.reference_check.contradiction",
    "correlation": "hdrvid.models.flow_net.FlowRefiner.correlation",
    "evidence": "hdrvid.models.flow_net.evidence",
    "half_means": "hdrvid.models.reference_check.half_means",
    "luma": "hdrvid.flow.dense_inverse_search.matched_luma8",
    "matched": "hdrvid.color.radiance.match_exposure",
    "merge_input": "hdrvid.models.classical.candidates_and_prior",
    "merge_result": "hdrvid.models.merge_net.BlendNet.forward",
    "misfit": "hdrvid.flow.dense_inverse_search.DenseInverseSearch._misfit",
    "quantise": "torch.fake_quantize_per_channel_affine",
    "quantise_doubled": "torch.nn.functional.interpolate",
    "quantise_sum": "torch.add",
    "refine": "cv2.VariationalRefinement.calcUV",
    "refine_flow": "hdrvid.models.flow_net.FlowRefiner.correct",
    "search": "cv2.DISOpticalFlow.calc",
    "show_rows": "hdrvid.color.neutral.show_rows",
    "upsample2x_flow": "cv2.resize",
}
"""What each function replaces; a method of `DenseInverseSearch` does the same without Numba."""
