"""Measures of the flow: against flow that is known, by region, null where there is nothing to measure."""

import csv
import io
import json

import numpy as np
import pytest

from hdrvid.errors import UsageError
from hdrvid.evaluate import MAX_DB, EvalOptions, SyntheticOptions, alignment_scores, evaluate
from hdrvid.evaluate.results import csv_text
from hdrvid.types import ExposureCycle

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = ("psnr_t", "alignment", "alignment_clipped", "alignment_occluded")
SHIFT = np.array([3.0, -2.0], np.float32)
INNER = (slice(8, -8), slice(8, -8))


def shifted_pair():
    """A picture and a neighbour in which everything is SHIFT pixels (right, down) further."""
    picture = np.random.default_rng(0).uniform(0, 1, (64, 80, 3)).astype(np.float32)
    neighbour = np.roll(picture, (int(SHIFT[1]), int(SHIFT[0])), (0, 1))
    return picture[INNER], neighbour[INNER]


def flow_field(picture, flow):
    return np.broadcast_to(flow, (1, *picture.shape[:2], 2)).astype(np.float32).copy()


def tone(h):
    return np.log1p(5000 * np.clip(h, 0, 1).astype(np.float64)) / np.log1p(5000)


def test_the_right_flow_scores_high_and_no_flow_low():
    picture, neighbour = shifted_pair()
    ldr = np.zeros_like(picture)
    visible = np.ones((1, *picture.shape[:2]), bool)
    visible[:, :10, :10] = False
    still = alignment_scores(flow_field(picture, 0 * SHIFT), picture, [neighbour], ldr, visible)
    error = (tone(neighbour) - tone(picture)) ** 2
    assert still["alignment"] == pytest.approx(-10 * np.log10(error.mean()), abs=1e-3)
    assert still["alignment_occluded"] == pytest.approx(-10 * np.log10(error[:10, :10].mean()), abs=1e-3)
    moved = alignment_scores(flow_field(picture, SHIFT), picture, [neighbour], ldr)
    assert moved["alignment"] > still["alignment"] + 3  # not perfect: the frame's edge has left the picture
    wrong_way = alignment_scores(flow_field(picture, -SHIFT), picture, [neighbour], ldr)
    assert wrong_way["alignment"] < moved["alignment"] - 3


def test_regions_are_scored_apart():
    picture, neighbour = shifted_pair()
    ldr = np.zeros_like(picture)
    ldr[20:40, 20:40, 1] = 1.0  # one clipped channel is enough; well inside, so the right flow is exact there
    visible = np.ones((1, *picture.shape[:2]), bool)
    scores = alignment_scores(flow_field(picture, SHIFT), picture, [neighbour], ldr, visible)
    assert scores["alignment_clipped"] == MAX_DB
    assert scores["alignment_occluded"] is None
    visible[:, :4] = False
    scores = alignment_scores(flow_field(picture, SHIFT), picture, [neighbour], 0 * ldr, visible)
    assert scores["alignment_clipped"] is None
    assert scores["alignment_occluded"] < scores["alignment"]  # the rows where the border was replicated


def test_all_neighbours_count():
    picture, neighbour = shifted_pair()
    flows = np.concatenate([flow_field(picture, SHIFT), flow_field(picture, 0 * SHIFT)])
    ldr = np.zeros_like(picture)
    both = alignment_scores(flows, picture, [neighbour, neighbour], ldr)["alignment"]
    each = [alignment_scores(f[None], picture, [neighbour], ldr)["alignment"] for f in flows]
    assert both == pytest.approx(-10 * np.log10(np.mean([10 ** (-e / 10) for e in each])), abs=1e-3)


@pytest.fixture(scope="module")
def scored():
    options = SyntheticOptions(ExposureCycle((0, 3)), num_scenes=2, num_frames=3, width=96, height=64)
    return evaluate(options, EvalOptions("classical", baselines=True, metrics=NAMES, device="cpu"))


def test_results_hold_the_measures_asked_for(scored):
    assert tuple(scored["overall"]) == NAMES
    assert 20 < scored["overall"]["alignment"] < MAX_DB
    frames = [f for scene in scored["scenes"].values() for f in scene["frames"]]
    for name in NAMES:
        values = [f[name] for f in frames if f[name] is not None]
        assert scored["overall"][name] == (pytest.approx(np.mean(values)) if values else None)
    # the long frames clip, and something is hidden, in at least one of the clips
    assert scored["by_exposure"]["long"]["alignment_clipped"] is not None
    assert scored["overall"]["alignment_occluded"] < scored["overall"]["alignment"]


def test_a_model_without_flow_has_null(scored):
    overall = scored["baselines"]["reference"]["overall"]
    assert [overall[n] for n in NAMES[1:]] == [None, None, None]
    assert overall["psnr_t"] > 0


def test_files_hold_null_and_an_empty_cell(scored):
    assert json.loads(json.dumps(scored), parse_constant=pytest.fail) == scored
    rows = [r for r in csv.DictReader(io.StringIO(csv_text(scored))) if r["model"] == "reference"]
    assert {r["alignment"] for r in rows} == {""}


def test_unknown_measures_name_the_alignment_ones():
    with pytest.raises(UsageError, match="alignment_occluded"):
        evaluate(SyntheticOptions(ExposureCycle((0, 3))), EvalOptions("classical", metrics=("alignement",)))
