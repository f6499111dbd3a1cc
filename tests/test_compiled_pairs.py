"""Every compiled function gives what the function that it replaces gives; `test_bands` looks closer."""

from __future__ import annotations

import inspect
from functools import reduce
from importlib import import_module

import cv2
import numpy as np
import pytest
import torch
from test_bands import model, neighbours_of, whole_of
from test_inverse_search import COARSE_REMAP, frames, opencv, pair
from test_models import window

from hdrvid import opencv_filters
from hdrvid.color import neutral
from hdrvid.color.radiance import match_exposure
from hdrvid.compiled import bands, shown
from hdrvid.flow.dense_inverse_search import DenseInverseSearch, matched_luma8
from hdrvid.models import reference_check
from hdrvid.models.flow_net import FlowRefiner, fine_evidence
from hdrvid.models.flow_net import evidence as torch_evidence

kernels = pytest.importorskip("hdrvid.compiled.kernels", exc_type=ImportError)

Pair = tuple[np.ndarray, np.ndarray, float]
"""The compiled result, that of the function it replaces, and how far they may differ."""


def luma() -> Pair:
    codes = frames(64, 96)[0][0]
    result = np.empty((64, 96), np.uint8)
    kernels.luma(codes, np.float32(8 ** (1 / 2.2)), 0, result)
    return result.astype(int), matched_luma8(codes, 1.0, 8.0).astype(int), 1


def matched() -> Pair:
    codes = frames(32, 48)[0][0]
    result = np.empty_like(codes)
    kernels.matched(codes, np.float32(8 ** (1 / 2.2)), np.float32(0.3), (0, 32, 0, 48), (0, 32), result)
    return result, np.maximum(match_exposure(codes, 1.0, 8.0), 0.3), 1e-5


def search() -> Pair:
    first, second, _ = pair(90, 160)
    difference = np.linalg.norm(kernels.search(first, second, 3, 12, 3) - opencv(3, 12, 3, first, second), axis=-1)
    return np.median(difference), np.zeros(()), 0.01


def refine() -> Pair:
    first, second, flow = pair(61, 75)
    u, v = (np.ascontiguousarray(f) for f in np.moveaxis(flow, -1, 0))
    reference = cv2.VariationalRefinement.create()
    for name, value in (
        ("Alpha", 20.0),
        ("Delta", 5.0),
        ("Gamma", 10.0),
        ("Epsilon", 0.01),
        ("FixedPointIterations", 2),
    ):
        getattr(reference, f"set{name}")(value)
    expected = reference.calcUV(first, second, u.copy(), v.copy())
    kernels.refine(first, second, u, v, 2)
    return np.stack([u, v]), np.stack(expected), 2e-4


def upsample2x_flow() -> Pair:
    flow = np.random.default_rng(0).normal(0, 3, (17, 9, 2)).astype(np.float32)
    result = np.empty((34, 18, 2), np.float32)
    kernels.upsample2x_flow(flow, result)
    return result, cv2.resize(2 * flow, (18, 34)), 1e-5


def _random_flows() -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(0)
    pictures = [rng.random((40, 56), dtype=np.float32) * 255 for _ in range(5)]
    return pictures, [cv2.GaussianBlur(rng.normal(0, 30, (40, 56, 2)).astype(np.float32), (0, 0), 3) for _ in range(2)]


def misfit() -> Pair:
    (reference, *pictures), flows = _random_flows()
    compiled, plain = (
        d._misfit(reference, tuple(pictures), flows, np.float32(0.5))
        for d in (DenseInverseSearch(compiled=True), DenseInverseSearch())
    )
    return compiled, plain, 1e-2


def consistent() -> Pair:
    _, flows = _random_flows()
    compiled, plain = (d.consistent(*flows, 3.0) for d in (DenseInverseSearch(compiled=True), DenseInverseSearch()))
    return np.mean(compiled != plain), np.zeros(()), 0.002


def correlation() -> Pair:
    torch.manual_seed(0)
    network = FlowRefiner()
    with torch.inference_mode():
        reference, warped = (torch.rand(1, 3, 48, 80) for _ in range(2))
        expected, _ = network.correlation(reference, warped)
        result, _ = bands.correlation(network.embedding(reference), network.embedding(warped), float(network.sharpness))
    return result.numpy(), expected.numpy(), 1e-5


def evidence() -> Pair:
    w, _ = window((64, 96))
    neighbours = neighbours_of(w)
    compiled = bands.evidence(
        w.reference, w.exposures[1], neighbours, bands.mirrored_flows(neighbours.flows), whole_of(w)
    )
    planes, exposures = torch.from_numpy(np.stack(w.frames)).permute(0, 3, 1, 2)[None], torch.tensor([w.exposures])
    flows, back = (torch.from_numpy(np.stack(f)).permute(0, 3, 1, 2)[None] for f in (neighbours.flows, neighbours.back))
    expected = fine_evidence(torch_evidence(planes, exposures, flows, back, whole_of(w))[0])
    return np.concatenate([v.fine.numpy() for v in compiled]), expected.numpy(), 2e-4


def _values_and_steps() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    values = torch.randn(1, 5, 18, 22).contiguous(memory_format=torch.channels_last)
    values[0, 0, 3, :3] = torch.tensor([1e4, -1e4, 2.0])
    return values, torch.tensor([0.01, 0.02, 0.03, 0.5, 3.0])


def quantise() -> Pair:
    values, steps = _values_and_steps()
    zeros = torch.full((5,), 32, dtype=torch.int32)
    activated = torch.nn.functional.leaky_relu(values, 0.1)
    rounded = torch.fake_quantize_per_channel_affine(activated, steps, zeros, 1, 0, 255)
    expected = torch.round(rounded / steps[:, None, None]) + 32
    return bands.quantised(values, steps, 32, 0.1).int().numpy(), expected.int().numpy(), 1


def quantise_doubled() -> Pair:
    values, steps = _values_and_steps()
    expected = torch.nn.functional.interpolate(bands.quantised(values, steps, 128, 1.0), scale_factor=2.0)
    return bands.quantised(values, steps, 128, 1.0, double=True).int().numpy(), expected.int().numpy(), 0


def _compared() -> tuple[np.ndarray, np.ndarray]:
    """Light that differs from a reference at exposure 4 in its noise, and in a patch."""
    rng = np.random.default_rng(0)
    codes = cv2.GaussianBlur(rng.random((96, 131, 3), dtype=np.float32), (0, 0), 5) * 6 - 2.5
    reference = np.clip(codes + rng.normal(0, 0.01, codes.shape), 0, 1).astype(np.float32)
    codes[20:50, 30:60] += np.float32((0.3, 0.0, -0.1))
    return (np.clip(codes, 0, 1) ** np.float32(2.2) / np.float32(4)).astype(np.float32), reference


def quantise_sum() -> Pair:
    (values, steps), plus = _values_and_steps(), torch.randn(1, 5, 18, 22).contiguous(memory_format=torch.channels_last)
    expected, result = bands.quantised(values + plus, steps, 32, 0.1), values.clone()
    once = bands.quantised_sum(result, plus, steps, 32, 0.1, again=False)
    torch.testing.assert_close(result, values, rtol=0, atol=0)
    assert torch.equal(once, expected)
    again = bands.quantised_sum(result, plus, steps, 32, 0.1, again=True)
    assert torch.equal(again, expected)
    return result.numpy(), torch.add(values, plus).numpy(), 0


def half_means() -> Pair:
    radiance, reference = _compared()
    result = np.empty((3, 3, 48, 65), np.float32)
    kernels.half_means(radiance, reference, np.float32(4), np.float32(0.1), (0, 48), result)
    return result, reference_check.half_means(radiance, reference, 4.0, 0.1), 1e-5


def contradicted() -> Pair:
    compiled, expected = (module.contradiction(*_compared(), 4.0, 1.0) for module in (bands, reference_check))
    assert 0.05 < (expected > 0.9).mean() < 0.5
    return compiled, expected, 2e-3


def show_rows() -> Pair:
    rng = np.random.default_rng(0)
    light = np.exp2(rng.uniform(-26, 17, (48, 60, 3))).astype(np.float32)
    light[:8] = np.exp2(rng.uniform(-6, 4, (8, 60, 1)))  # grey
    light[8:40] = np.exp2(rng.uniform(-6, 4, (32, 60, 3)))
    light[40, :6] = [[-1, 0, 1], [0, 0, 0], [65504, 1, 1], [2**-24, 2**-25, 0], [8, 8, 8], [0, 0, 7.9]]
    results = []
    for gain in (0.3, 1.0, 7.0):
        tables = neutral.tables(8.0, gain)
        compiled, plain = shown.show_rows(light, *tables).astype(int), neutral.show_rows(light, *tables).astype(int)
        assert np.array_equal(compiled[:8], plain[:8])
        assert (compiled != plain).mean() < 1e-3
        results.append((compiled, plain))
    return *(np.stack(pictures) for pictures in zip(*results, strict=True)), 1


def _reconstructed() -> Pair:
    """A whole frame, whose flow and merge networks give large corrections."""
    w, _ = window((96, 160))
    runner = model("default", 2, precision="fp32")
    compiled = runner.reconstruct(w).radiance
    runner.in_bands = False
    return compiled, runner.reconstruct(w).radiance, 1e-4


PAIRS = {
    function.__name__: function
    for function in (
        *(luma, matched, search, refine, upsample2x_flow, misfit, consistent, correlation, evidence),
        *(quantise, quantise_doubled, quantise_sum, half_means, contradicted, show_rows),
    )
} | dict.fromkeys(("merge_input", "merge_result", "refine_flow"), _reconstructed)


@pytest.mark.parametrize("name", sorted(kernels.__all__))
def test_every_function_gives_what_it_replaces(name: str) -> None:
    if name in ("misfit", "refine") and opencv_filters.opencv() is None:
        pytest.skip(COARSE_REMAP)
    compiled, expected, tolerance = PAIRS[name]()
    assert np.shape(compiled) == np.shape(expected)
    np.testing.assert_allclose(compiled, expected, atol=tolerance)


def test_every_function_says_what_it_replaces() -> None:
    assert sorted(kernels.REPLACES) == sorted(kernels.__all__)
    for name, path in kernels.REPLACES.items():
        parts = path.split(".")
        depth = next(n for n, part in enumerate(parts) if part == parts[-1] or part[0].isupper())
        module = import_module(".".join(parts[:depth]))
        replaced = reduce(getattr, parts[depth:], module)
        assert callable(replaced), name
        assert inspect.getmodule(replaced) is None or not replaced.__module__.startswith("hdrvid.compiled"), name
