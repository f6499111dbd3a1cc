"""HDR-VQM against the figures of the original program, and the parts that can be checked by themselves."""

from __future__ import annotations

import doctest
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from golden.inputs import frames

from hdrvid.errors import InputError
from hdrvid.metrics import hdr_vqm as module
from hdrvid.metrics.hdr_vqm import COLUMNS, ROWS, HdrVqm, Subbands, hdr_vqm, pu_encode, subbands

FILE = json.loads((Path(__file__).parent / "golden" / "golden.json").read_text())
GOLDEN, INPUT_SUMS = FILE["hdr_vqm"], FILE["sums"]

slow = pytest.mark.slow


def clip(num_frames: int = 2, size: tuple[int, int] = (48, 80)) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [(rng.uniform(0.0, 1.0, (*size, 3)) ** 4).astype(np.float32) for _ in range(num_frames)]


def noisy(truths: list[np.ndarray], sigma: float) -> list[np.ndarray]:
    rng = np.random.default_rng(6)
    return [np.clip(t + sigma * rng.standard_normal(t.shape), 0.0, None).astype(np.float32) for t in truths]


def test_doctests():
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("kind", ["noise", pytest.param("ghost", marks=slow), pytest.param("blur", marks=slow)])
def test_golden_figures_of_the_original_program(kind: str):
    estimates = frames(kind)
    assert float(estimates.sum(dtype=np.float64)) == pytest.approx(INPUT_SUMS[kind], rel=1e-9), "other inputs"
    measure = HdrVqm(25.0)
    for estimate, truth in zip(estimates, frames("reference"), strict=True):
        measure.add(estimate, truth)
    # what the original agrees to; the tolerance of the golden file, half a percent, would forgive a wrong weight
    assert measure.raw() == pytest.approx(GOLDEN["raw"][kind], rel=1e-4)
    assert measure.score() == pytest.approx(GOLDEN["reported_percent"][kind], abs=1e-3)
    assert measure.mean_similarity() == pytest.approx(GOLDEN["mean_similarity_sum"][kind], abs=1e-5)


def test_identical_clips_score_the_maximum():
    measure = HdrVqm()
    for frame in clip():
        measure.add(frame, frame.copy())
    assert measure.raw() == 0.0
    assert measure.score() == 100.0
    assert measure.mean_similarity() == 20.0


def test_more_noise_is_worse():
    truths = clip()
    scores = [hdr_vqm(noisy(truths, sigma), truths) for sigma in (0.001, 0.01, 0.1)]
    assert 100.0 > scores[0] > scores[1] > scores[2]


def test_what_the_display_cannot_show_does_not_count():
    truth = clip(1)[0]
    truth[:10] = 1.0
    truth[10:20] = 1e-6  # 4500e-6 cd/m^2 is below its black
    estimate = truth.copy()
    estimate[:10] = 3.0
    estimate[10:20] = 5e-6
    assert hdr_vqm([estimate], [truth]) == 100.0


def test_subbands_stand_for_their_frame():
    (truth,), (estimate,) = clip(1), noisy(clip(1), 0.01)
    filtered = subbands(truth)
    assert filtered.magnitudes.shape == (20, ROWS, COLUMNS)
    assert str(ROWS * COLUMNS) not in repr(filtered)
    assert len(repr(filtered)) < 100
    scores = []
    for a, b in ((estimate, truth), (estimate, filtered), (subbands(estimate), filtered)):
        measure = HdrVqm()
        measure.add(a, b)
        scores.append(measure.raw())
    assert scores[0] > 0
    assert scores[1] == scores[2] == scores[0]


def constant_bands(value: float) -> Subbands:
    return Subbands(np.full((20, ROWS, COLUMNS), value, np.float32), (ROWS, COLUMNS, 3))


def half_bands(value: float) -> Subbands:
    """Every tube half 0, half `value`."""
    pattern = np.where(np.arange(COLUMNS) % 2, value, 0.0).astype(np.float32)
    return Subbands(np.tile(pattern, (20, ROWS, 1)), (ROWS, COLUMNS, 3))


def test_pooling_by_hand():
    # similarity with 0 is C / (v^2 + C): one half in half the pixels of every tube, 1 in the others, summed over 20
    measure = HdrVqm(1.0)
    assert measure.block_frames == 1
    measure.add(half_bands(math.sqrt(0.2)), constant_bands(0.0))
    count = 64 * 64
    assert measure.raw() == pytest.approx(5.0 * math.sqrt(count / (count - 1)), rel=1e-6)
    assert measure.mean_similarity() == pytest.approx(15.0, rel=1e-6)
    # a loss that is even over the tube deviates from nothing
    even = HdrVqm(1.0)
    even.add(constant_bands(1.0), constant_bands(0.0))
    assert even.raw() == pytest.approx(0.0, abs=1e-6)
    assert even.mean_similarity() == pytest.approx(20 * 0.2 / 1.2, rel=1e-6)


@pytest.mark.parametrize(("count", "pooled"), [(1, 1), (2, 1), (3, 2), (6, 3), (16, 6), (112, 34)])
def test_lowest_30_percent(count: int, pooled: int):
    # 1 + (count - 1) 0.3, halves rounded up
    values = np.random.default_rng(1).permutation(np.arange(1.0, count + 1))
    assert module._mean_of_lowest(values) == pytest.approx(np.arange(1, pooled + 1).mean())


def test_a_block_counts_when_a_frame_follows():
    same, damaged = constant_bands(0.0), half_bands(1.0)

    def raw(*estimates: Subbands) -> float:
        measure = HdrVqm(3.0)  # blocks of 2
        assert measure.block_frames == 2
        for estimate in estimates:
            measure.add(estimate, same)
        return measure.raw()

    assert raw(same, same) == 0.0
    assert raw(damaged, damaged, same) > 1.0
    assert raw(same, same, damaged) == raw(same, same, damaged, damaged) == 0.0  # the second block has none behind it
    # two blocks, of which the better one is pooled
    assert raw(damaged, damaged, same, same, same) == 0.0
    assert raw(same, same, damaged, damaged, same) == 0.0
    # shorter than a block: all there is
    assert raw(damaged) > 1.0


@pytest.mark.parametrize(("rate", "frames_of_block"), [(25.0, 15), (24.0, 15), (30, 18), (60, 36), (24000 / 1001, 15)])
def test_block_is_600_ms(rate: float, frames_of_block: int):
    assert HdrVqm(rate).block_frames == frames_of_block


def test_codes_rise():
    codes = pu_encode(np.geomspace(0.03, 4500.0, 5001))
    assert (np.diff(codes) > 0).all()
    np.testing.assert_array_equal(pu_encode(np.array([1e-9, 1e9])), codes[[0, -1]])


@pytest.mark.parametrize("size", [(256, 448), (1080, 1920), (300, 1000), (512, 100)])
def test_resizing_agrees_with_torch(size: tuple[int, int]):
    image = np.random.default_rng(2).uniform(0, 300, size)
    resized = module.resized(image)
    assert resized.shape == (ROWS, COLUMNS)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(image)[None, None], (ROWS, COLUMNS), mode="bicubic", antialias=True, align_corners=False
    )[0, 0].numpy()
    # torch cuts the kernel at the border where this one mirrors the picture
    margin = [2 * math.ceil(max(1, new / old)) + 2 for new, old in zip((ROWS, COLUMNS), size, strict=True)]
    inner = tuple(slice(m, -m) for m in margin)
    np.testing.assert_allclose(resized[inner], expected[inner], rtol=0, atol=1e-9)
    assert np.abs(module.resized(np.full(size, 7.0)) - 7.0).max() < 1e-12


def test_a_filter_answers_to_its_own_grating():
    # scale 2, orientation 0: 9 pixels, along x; the frame is made of codes, so the table's inverse is not needed
    x = np.arange(COLUMNS)
    radial, angular = module.subband_filters()
    grating = np.tile(np.cos(2 * np.pi * round(COLUMNS / 9) * x / COLUMNS), (ROWS, 1))
    energy = [[float(np.abs(np.fft.ifft2(np.fft.fft2(grating) * r * a)).mean()) for a in angular] for r in radial]
    assert np.unravel_index(np.argmax(energy), (5, 4)) == (1, 0)
    # one-sided: half the amplitude of the grating, evenly everywhere
    assert energy[1][0] == pytest.approx(0.5, abs=0.005)
    assert all(r[0, 0] == 0 for r in radial)


@pytest.mark.parametrize(
    ("estimate", "truth", "text"),
    [
        (np.zeros((8, 8, 3)), np.zeros((8, 9, 3)), "same size"),
        (np.zeros((8, 8)), np.zeros((8, 8)), "RGB"),
        (np.full((8, 8, 3), np.nan), np.zeros((8, 8, 3)), "NaN"),
        (np.zeros((8, 8, 3)), np.full((8, 8, 3), np.inf), "inf"),
        (np.zeros((8, 8, 3)), constant_bands(0.0), "same size"),
    ],
    ids=["size", "gray", "nan", "inf", "subbands of another size"],
)
def test_refuses_and_goes_on_as_before(estimate: np.ndarray, truth: np.ndarray | Subbands, text: str):
    measure = HdrVqm()
    with pytest.raises(InputError, match=text):
        measure.add(estimate, truth)
    assert measure.num_frames == 0


@pytest.mark.parametrize("rate", [0.0, -25.0, math.nan, math.inf])
def test_refuses_a_frame_rate_that_is_none(rate: float):
    with pytest.raises(InputError, match="frame rate"):
        HdrVqm(rate)


def test_refuses_clips_of_two_lengths_and_none_at_all():
    with pytest.raises(InputError, match="length"):
        hdr_vqm(clip(1), clip(2))
    with pytest.raises(InputError, match="at least one frame"):
        hdr_vqm([], [])
    with pytest.raises(InputError, match="at least one frame"):
        HdrVqm().mean_similarity()
