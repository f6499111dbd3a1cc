"""Compiled dense inverse search, its variational refinement and what is around them, against OpenCV and NumPy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from hdrvid import opencv_filters
from hdrvid.flow import dense_inverse_search
from hdrvid.flow.dense_inverse_search import SEARCHES, DenseInverseSearch, matched_luma8

inverse_search = pytest.importorskip("hdrvid.compiled.inverse_search", exc_type=ImportError)
variational = pytest.importorskip("hdrvid.compiled.variational", exc_type=ImportError)

COARSE_REMAP = "OpenCV before 5 moves pictures by whole 1/32 of a pixel"
exact_remap = pytest.mark.skipif(opencv_filters.opencv() is None, reason=COARSE_REMAP)


@pytest.fixture(autouse=True)
def one_thread():
    cv2.setNumThreads(1)


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth float picture, 0 to 255, with a border of 24 pixels to move over."""
    noise = np.random.default_rng(seed).random((height + 48, width + 48)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return (soft - soft.min()) / np.ptp(soft) * 255


def pair(height: int, width: int, seed: int = 0):
    """Two uint8 pictures, and the flow from the first to the second."""
    whole = texture(height, width, seed)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    u = 2.3 + 1.5 * np.sin(y / 31) + 0.01 * x
    v = -1.4 + 1.2 * np.cos(x / 43)
    # the second picture shows at x + flow what the first shows at x
    back_x, back_y = x - u, y - v
    for _ in range(20):
        at_u = cv2.remap(u.astype(np.float32), back_x, back_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        at_v = cv2.remap(v.astype(np.float32), back_x, back_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        back_x, back_y = x - at_u, y - at_v
    first = whole[24:-24, 24:-24]
    second = cv2.remap(whole, back_x + 24, back_y + 24, cv2.INTER_LINEAR)
    flow = np.stack([u, v], -1).astype(np.float32)
    return first.round().astype(np.uint8), second.round().astype(np.uint8), flow


def opencv(stride: int, steps: int, refinements: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)
    dis.setPatchStride(stride)
    dis.setGradientDescentIterations(steps)
    dis.setVariationalRefinementIterations(refinements)
    return dis.calc(first, second, None)


@exact_remap
@pytest.mark.parametrize(("height", "width"), [(90, 160), (61, 75), (60, 75), (61, 76), (9, 8), (16, 40)])
@pytest.mark.parametrize("rounds", [1, 4])
def test_variational_refinement_is_that_of_opencv(height, width, rounds):
    first, second, flow = pair(height, width)
    rng = np.random.default_rng(1)
    u, v = (np.ascontiguousarray(f + rng.normal(0, 0.3, f.shape).astype(np.float32)) for f in np.moveaxis(flow, -1, 0))
    reference = cv2.VariationalRefinement.create()
    reference.setAlpha(20.0)
    reference.setDelta(5.0)
    reference.setGamma(10.0)
    reference.setEpsilon(0.01)
    reference.setFixedPointIterations(rounds)
    expected = reference.calcUV(first, second, u.copy(), v.copy())
    before = u.copy()
    variational.refine(first, second, u, v, rounds)
    assert np.abs(u - before).max() > 0.1
    np.testing.assert_allclose(u, expected[0], atol=2e-4)
    np.testing.assert_allclose(v, expected[1], atol=2e-4)


@pytest.mark.parametrize(("height", "width"), [(180, 320), (101, 133), (32, 64)])
@pytest.mark.parametrize(("stride", "steps", "refinements"), [(3, 12, 3), (3, 25, 5), (4, 16, 5), (3, 12, 0)])
def test_the_search_is_that_of_opencv(height, width, stride, steps, refinements):
    first, second, flow = pair(height, width)
    mine = inverse_search.search(first, second, stride, steps, refinements)
    its = opencv(stride, steps, refinements, first, second)
    assert mine.shape == its.shape
    assert mine.dtype == np.float32
    difference = np.linalg.norm(mine - its, axis=-1)
    assert np.median(difference) < 0.01
    assert np.quantile(difference, 0.98) < 0.25
    error, its_error = (np.linalg.norm(found - flow, axis=-1).mean() for found in (mine, its))
    assert error < its_error + 0.02
    if min(height, width) > 100:
        assert error < 0.3


@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 200), (16, 16), (33, 9)])
@pytest.mark.parametrize("value", [0, 255])
def test_flat_pictures_stand_still(height, width, value):
    flat = np.full((height, width), value, np.uint8)
    for stride, (steps, refinements) in ((s.stride, s.usual) for s in SEARCHES.values()):
        assert not inverse_search.search(flat, flat.copy(), stride, steps, refinements).any()


def test_pictures_without_anything_in_common_give_numbers():
    rng = np.random.default_rng(0)
    for height, width in ((24, 40), (17, 65)):
        first, second = (rng.integers(0, 256, (height, width)).astype(np.uint8) for _ in range(2))
        assert np.isfinite(inverse_search.search(first, second, 3, 25, 5)).all()


def test_searches_beside_one_another_are_those_alone():
    first, second, _ = pair(90, 120)
    alone = inverse_search.search(first, second, 3, 12, 3)
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(lambda _: inverse_search.search(first, second, 3, 12, 3), range(6)):
            np.testing.assert_array_equal(found, alone)


def frames(height: int, width: int):
    """Codes of three frames, the middle one 3 stops longer, and exposures; a camera that moves."""
    whole = np.stack([texture(height, width, seed) for seed in (3, 4, 5)], -1) / 255
    shown = [whole[24 + d : 24 + d + height, 24 - 2 * d : 24 - 2 * d + width] for d in (-3, 0, 3)]
    gain = np.float32(8 ** (1 / 2.2))
    codes = [
        np.ascontiguousarray(np.clip(f * (gain if k == 1 else 1) * 0.5, 0, 1), np.float32) for k, f in enumerate(shown)
    ]
    return codes, [1.0, 8.0, 1.0]


@pytest.mark.parametrize(("height", "width"), [(96, 160), (61, 91), (24, 30)])
@pytest.mark.parametrize("whole", [True, False])
def test_windows_are_those_of_opencv(height, width, whole, monkeypatch):
    monkeypatch.setattr(dense_inverse_search, "WHOLE_BELOW_PIXELS", 10**9 if whole else 0)
    codes, exposures = frames(height, width)
    mine = DenseInverseSearch(2, compiled=True).window(codes, exposures)
    its = DenseInverseSearch(2).window(codes, exposures)
    for sign, got, expected in zip((1, -1), mine, its, strict=True):
        assert got.shape == (2, height, width, 2)
        assert np.median(np.abs(got - expected)) < 0.02
        inside = got[:, 8:-8, 12:-12]
        assert np.abs(sign * np.median(inside, (1, 2)) - [(-6, 3), (6, -3)]).max() < 0.3 or min(height, width) < 64


@pytest.mark.parametrize("num_downsamplings", [0, 1, 2])
def test_luma_is_that_of_opencv(num_downsamplings):
    codes, _ = frames(64, 96)
    its = DenseInverseSearch()._made_luma(codes[0], 1.0, 8.0, num_downsamplings)
    mine = DenseInverseSearch(compiled=True)._made_luma(codes[0], 1.0, 8.0, num_downsamplings)
    assert mine.shape == its.shape == (64 >> num_downsamplings, 96 >> num_downsamplings)
    assert np.abs(mine.astype(int) - its).max() <= 1
    assert np.ptp(mine.astype(int)) > 50
    if not num_downsamplings:
        np.testing.assert_array_equal(its, matched_luma8(codes[0], 1.0, 8.0))


@exact_remap
def test_what_candidates_are_compared_by_is_that_of_opencv():
    rng = np.random.default_rng(0)
    reference, *pictures = (rng.random((40, 56), dtype=np.float32) * 255 for _ in range(5))
    flows = [cv2.GaussianBlur(rng.normal(0, 30, (40, 56, 2)).astype(np.float32), (0, 0), 3) for _ in range(2)]
    mine, its = DenseInverseSearch(2, compiled=True), DenseInverseSearch(2)
    for given in (tuple(pictures), tuple(pictures[:2])):
        got, expected = (dis._misfit(reference, given, flows, np.float32(0.5)) for dis in (mine, its))
        np.testing.assert_allclose(got, expected, atol=1e-2)
    close = mine.consistent(flows[0], flows[1], 3.0)
    assert 0.1 < close.mean() < 0.9
    assert (close != its.consistent(flows[0], flows[1], 3.0)).mean() < 0.002


@pytest.mark.parametrize(("height", "width"), [(40, 56), (1, 2), (17, 9)])
def test_flows_are_enlarged_as_by_opencv(height, width):
    flow = np.random.default_rng(0).normal(0, 3, (height, width, 2)).astype(np.float32)
    mine, its = np.empty((2, 2 * height, 2 * width, 2), np.float32)
    DenseInverseSearch(compiled=True)._enlarge(flow, mine)
    cv2.resize(2 * flow, (2 * width, 2 * height), dst=its)
    np.testing.assert_allclose(mine, its, atol=1e-5)
