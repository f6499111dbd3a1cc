"""Candidates for the classical flow: the motion through the reference and the camera's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hdrvid.data.camera import SynthesisOptions
from hdrvid.data.scenes import procedural_scene
from hdrvid.data.synth import synthesise
from hdrvid.flow.dense_inverse_search import DenseInverseSearch
from hdrvid.types import ExposureCycle

CAMERA = SynthesisOptions(clip_percentile=99.5, read_noise=1.5e-3, full_well=8000.0, bits=8)


def window(stops: tuple[float, ...], index: int, seed: int = 5, motion: float = 2.0):
    """Codes, exposures and exact flows of a window of a procedural scene."""
    cycle, radius = ExposureCycle(stops), len(stops) - 1
    scene = procedural_scene(seed, 384, 224, 8, motion=motion)
    clip = synthesise(scene, cycle, 8, seed, CAMERA)
    around = range(index - radius, index + radius + 1)
    exact = np.stack([scene.flow(index, t) for t in around if t != index])
    seen = np.stack([scene.visible(index, t) for t in around if t != index])
    return [clip.ldr[t] for t in around], [cycle.exposure_at(t) for t in around], exact, seen


def error(flow: np.ndarray, exact: np.ndarray, seen: np.ndarray) -> float:
    """Share of visible pixels that are more than 2 px off."""
    return float((np.linalg.norm(flow - exact, axis=-1)[seen] > 2).mean())


@pytest.mark.parametrize(("stops", "index"), [((0, 7), 3), ((0, 7), 4), ((0, 6), 3)])
def test_candidates_help_where_exposures_are_far_apart(stops, index):
    alone = candidates = 0.0
    for seed in (5, 6, 7, 8, 9):
        frames, exposures, exact, seen = window(stops, index, seed)
        alone += error(DenseInverseSearch(candidates=False).window(frames, exposures)[0], exact, seen)
        candidates += error(DenseInverseSearch().window(frames, exposures)[0], exact, seen)
    assert candidates < 0.85 * alone


@pytest.mark.parametrize("stops", [(0, 3), (0, 2, 4)])
def test_candidates_do_no_harm_where_they_are_near(stops):
    for seed in (5, 6, 7):
        frames, exposures, exact, seen = window(stops, 4, seed)
        alone = error(DenseInverseSearch(candidates=False).window(frames, exposures)[0], exact, seen)
        assert error(DenseInverseSearch().window(frames, exposures)[0], exact, seen) < alone + 0.01


def test_flows_back_lead_to_where_the_flows_came_from():
    frames, exposures, _, seen = window((0, 6), 3)
    dis = DenseInverseSearch()
    forward, backward = dis.window(frames, exposures)
    for k in range(2):
        assert dis.consistent(forward[k], backward[k], 2.0)[seen[k]].mean() > 0.7


def test_inputs_of_the_cache_stay_as_they_were():
    """The kept flow of a pair is DIS's own, whatever was chosen for a window."""
    frames, exposures, _, _ = window((0, 6), 3)
    dis = DenseInverseSearch()
    first = [x.copy() for x in dis.window(frames, exposures)]
    again = dis.window(frames, exposures)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])


def test_more_windows_than_are_kept():
    """Windows over frames that return after long: no pair is dropped while it is needed."""
    rng = np.random.default_rng(0)
    frames = [rng.random((34, 40, 3), dtype=np.float32) for _ in range(9)]
    dis = DenseInverseSearch()
    exposures = [1.0, 4.0, 16.0]
    order = [*range(9), *range(8, -1, -1), 0, 4, 8, 1]
    for i in range(2, len(order) - 2):
        around = order[i - 2 : i + 3]
        if len(set(around)) == 5:
            forward, backward = dis.window([frames[k] for k in around], [exposures[k % 3] for k in around])
            assert forward.shape == backward.shape == (4, 34, 40, 2)
            assert np.isfinite(forward).all()


@pytest.mark.parametrize("num_exposures", [2, 3])
def test_windows_searched_at_the_same_time_are_those_searched_in_turn(num_exposures, monkeypatch):
    rng = np.random.default_rng(1)
    frames = [rng.random((40, 48, 3), dtype=np.float32) for _ in range(9)]
    radius = num_exposures - 1
    windows = [
        ([frames[k] for k in around], [4.0 ** (k % num_exposures) for k in around])
        for around in (range(i - radius, i + radius + 1) for i in range(radius, 9 - radius))
    ]
    alone = DenseInverseSearch()
    expected = [alone.window(*w) for w in windows]
    searches: list[bool] = []
    search = DenseInverseSearch.flow

    def counted(self, reference, source, thorough=False):
        searches.append(thorough)
        return search(self, reference, source, thorough)

    monkeypatch.setattr(DenseInverseSearch, "flow", counted)
    together = DenseInverseSearch(workers=4)
    with ThreadPoolExecutor(len(windows)) as pool:
        found = list(pool.map(lambda w: together.window(*w), windows))
    for mine, its in zip(found, expected, strict=True):
        assert np.array_equal(mine[0], its[0])
        assert np.array_equal(mine[1], its[1])
    assert len(searches) < len(windows) * 4 * radius  # pairs are shared


def test_a_search_that_fails_is_tried_again(monkeypatch):
    frames, exposures, _, _ = window((0, 3), 3)
    dis = DenseInverseSearch(workers=2)
    expected = DenseInverseSearch().window(frames, exposures)
    with monkeypatch.context() as broken:
        broken.setattr(DenseInverseSearch, "flow", lambda *_: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            dis.window(frames, exposures)
    assert np.array_equal(dis.window(frames, exposures)[0], expected[0])


def test_one_frame_on_both_sides_and_flat_pictures():
    grey = np.full((48, 64, 3), 0.5, np.float32)
    other = np.full((48, 64, 3), 0.7, np.float32)
    forward, backward = DenseInverseSearch().window([other, grey, other], [64.0, 1.0, 64.0])
    assert np.abs(forward).max() == np.abs(backward).max() == 0
    forward, _ = DenseInverseSearch().window([other, grey, other.copy()], [64.0, 1.0, 64.0])
    assert np.isfinite(forward).all()
