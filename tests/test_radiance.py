"""Properties of the photometry that everything else stands on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hdrvid.color.curves import (
    clog3_encode,
    gamma_encode,
    gamma_linearize,
    logc3_encode,
    logc4_decode,
    logc4_encode,
    slog3_decode,
    slog3_encode,
    vlog_encode,
)
from hdrvid.color.radiance import (
    MU,
    inverse_mu_law,
    ldr_from_radiance,
    luminance,
    match_exposure,
    mu_law,
    radiance_from_ldr,
)
from hdrvid.color.response import LOG_RESPONSES, RESPONSES, gamma_response, measured_response

unit = st.floats(0, 1)
units = hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(3)), elements=unit)
exposures = st.floats(0, 6).map(lambda stops: 2.0**stops)
gammas = st.floats(1.0, 4.0)

all_responses = st.one_of(st.sampled_from(sorted(RESPONSES)).map(RESPONSES.__getitem__), gammas.map(gamma_response))
few = settings(max_examples=60, deadline=None)


def black_of(response):
    """The code of no light: 0 but for the log curves and PQ."""
    return {
        "slog3": 95 / 1023,
        "vlog": 0.125,
        "logc3": 0.092809,
        "logc4": 95 / 1023,
        "clog3": 0.12512219,
        "pq": (3424 / 4096) ** (2523 / 32),
    }.get(response.name, 0.0)


@pytest.mark.parametrize("name", sorted(RESPONSES))
def test_the_parts_of_a_curve_meet(name):
    response = RESPONSES[name]
    codes = np.linspace(black_of(response), 1.0, 20001)
    np.testing.assert_allclose(response.encode(response.linearize(codes)), codes, atol=2e-5)


@few
@given(all_responses, units)
def test_responses_round_trip(response, codes):
    # codes below the black of a log curve are negative light, which counts as none
    lit = np.maximum(codes, black_of(response))
    np.testing.assert_allclose(response.encode(response.linearize(codes)), lit, atol=2e-4)
    np.testing.assert_allclose(response.linearize(response.encode(codes)), codes, atol=2e-4)


@few
@given(all_responses)
def test_responses_hold_the_ends(response):
    np.testing.assert_allclose(response.linearize(np.array([0.0, black_of(response), 1.0])), [0, 0, 1], atol=1e-12)
    ends = response.encode(np.array([0.0, 1.0]))
    np.testing.assert_allclose(ends, [black_of(response), 1], atol=1e-12)
    assert (ends[0] > 0.09) == (response.name in LOG_RESPONSES)


@few
@given(all_responses, st.floats(1, 1e6))
def test_responses_clip_what_is_outside(response, beyond):
    outside = np.array([-beyond, 1 + beyond])
    np.testing.assert_allclose(response.linearize(outside), [0, 1], atol=1e-12)
    np.testing.assert_allclose(response.encode(outside), [black_of(response), 1], atol=1e-12)


@few
@given(all_responses)
def test_responses_rise(response):
    codes = np.linspace(0, 1, 1024)
    # the published constants of sRGB and BT.709 leave a step of about 1e-8 and 1e-4 where the two pieces meet
    assert np.diff(response.linearize(codes)).min() > -1e-6
    assert np.diff(response.encode(codes)).min() > -1e-6
    assert (response.linearize(codes[codes > black_of(response) + 1e-9]) > 0).all()


@few
@given(all_responses, units)
def test_responses_are_the_same_in_torch(response, codes):
    for curve in (response.linearize, response.encode):
        result = curve(torch.from_numpy(codes))
        assert isinstance(result, torch.Tensor)
        np.testing.assert_allclose(result.numpy(), curve(codes), atol=1e-12)


@pytest.mark.parametrize(
    ("name", "code", "linear"),
    [
        ("srgb", 0.5, 0.21404114),
        ("srgb", 0.04, 0.00309598),
        ("rec709", 0.5, 0.25971944),
        ("rec709", 0.045, 0.01),
        ("gamma2.2", 0.5, 0.21763764),
        ("linear", 0.5, 0.5),
    ],
)
def test_published_values(name, code, linear):
    assert float(RESPONSES[name].linearize(np.array(code))) == pytest.approx(linear, abs=1e-7)


@pytest.mark.parametrize(
    ("encode", "grey", "white"),
    [
        # 10-bit codes of 18 % and 90 % reflectance as published: Sony 420 and 598, Panasonic 433 and 602,
        # ARRI LogC3 400 and 572 (EI 800), Canon 34.3 % and 56.4 %
        (slog3_encode, 420 / 1023, 598 / 1023),
        (vlog_encode, 433 / 1023, 602 / 1023),
        (logc3_encode, 400 / 1023, 572 / 1023),
        (clog3_encode, 0.343, 0.564),
    ],
)
def test_published_codes_of_log_curves(encode, grey, white):
    assert float(encode(np.array(0.18))) == pytest.approx(grey, abs=6e-4)
    assert float(encode(np.array(0.9))) == pytest.approx(white, abs=6e-4)


def test_published_codes_of_logc4():
    assert float(logc4_encode(np.array(0.18))) == pytest.approx(0.2784, abs=6e-5)
    assert float(logc4_decode(np.array(1.0))) == pytest.approx(469.8, abs=0.05)


@pytest.mark.parametrize("name", LOG_RESPONSES)
def test_log_curves_have_no_step(name):
    codes = np.linspace(black_of(RESPONSES[name]), 1, 20_001)
    linear = RESPONSES[name].linearize(codes)
    steps = np.diff(linear)
    assert (steps > 0).all()
    # a jump where the pieces meet would be many steps high; the slope of S-Log3 changes by a quarter there
    assert np.abs(np.diff(steps) / steps[1:]).max() < 0.3


def test_linear_of_a_log_curve_is_relative_to_its_largest_code():
    grey = RESPONSES["slog3"].linearize(np.array(420 / 1023))
    assert float(grey) == pytest.approx(0.18 / float(slog3_decode(np.array(1.0))), rel=1e-6)


@few
@given(units, exposures)
def test_radiance_round_trip_up_to_clipping(ldr, exposure):
    np.testing.assert_allclose(ldr_from_radiance(radiance_from_ldr(ldr, exposure), exposure), ldr, atol=1e-9)


@few
@given(units, exposures)
def test_radiance_is_linear_light_over_exposure(radiance_rel, exposure):
    ldr = ldr_from_radiance(radiance_rel, exposure)
    back = radiance_from_ldr(ldr, exposure)
    clipped = radiance_rel * exposure >= 1
    np.testing.assert_allclose(back[~clipped], radiance_rel[~clipped], atol=1e-9)
    np.testing.assert_allclose(back[clipped], 1 / exposure, rtol=1e-9)


@few
@given(units, exposures, exposures)
def test_matched_exposure_is_what_the_other_exposure_shows(radiance_rel, first, second):
    seen_first = ldr_from_radiance(radiance_rel, first)
    matched = match_exposure(seen_first, first, second)
    unclipped = radiance_rel * first < 1
    np.testing.assert_allclose(matched[unclipped], ldr_from_radiance(radiance_rel, second)[unclipped], atol=1e-6)
    # a clipped pixel is at least as bright as it seems, never brighter than the other exposure would show it
    assert (matched <= ldr_from_radiance(radiance_rel, second) + 1e-6).all()


@few
@given(units, exposures)
def test_matching_to_the_same_exposure_changes_nothing(ldr, exposure):
    np.testing.assert_allclose(match_exposure(ldr, exposure, exposure), ldr, atol=1e-9)


@few
@given(units, exposures, exposures)
def test_exposure_functions_are_the_same_in_torch(ldr, first, second):
    tensor = torch.from_numpy(ldr)
    np.testing.assert_allclose(radiance_from_ldr(tensor, first).numpy(), radiance_from_ldr(ldr, first), atol=1e-12)
    np.testing.assert_allclose(ldr_from_radiance(tensor, first).numpy(), ldr_from_radiance(ldr, first), atol=1e-12)
    matched = match_exposure(tensor, first, second)
    np.testing.assert_allclose(matched.numpy(), match_exposure(ldr, first, second), atol=1e-12)


def test_exposures_broadcast_over_a_batch():
    ldr = torch.full((2, 3, 2, 2), 0.5)
    exposure = torch.tensor([1.0, 8.0]).view(2, 1, 1, 1)
    result = radiance_from_ldr(ldr, exposure)
    assert result[0, 0, 0, 0] == pytest.approx(8 * float(result[1, 0, 0, 0]))


@few
@given(hnp.arrays(np.float64, 7, elements=st.floats(0, 1e4)))
def test_mu_law_inverse(values):
    np.testing.assert_allclose(inverse_mu_law(mu_law(values)), values, rtol=1e-9, atol=1e-12)
    tensor = torch.from_numpy(values)
    np.testing.assert_allclose(mu_law(tensor).numpy(), mu_law(values), atol=1e-12)
    np.testing.assert_allclose(inverse_mu_law(mu_law(tensor)).numpy(), values, rtol=1e-9, atol=1e-12)


def test_mu_law_values():
    assert mu_law(np.array([0.0, 1.0, -3.0])) == pytest.approx([0, 1, 0])
    assert float(mu_law(np.array(0.01))) == pytest.approx(np.log(51) / np.log(5001))
    assert MU == 5000
    values = np.geomspace(1e-8, 1e4, 500)
    assert (np.diff(mu_law(values)) > 0).all()
    assert (mu_law(values[values < 1]) > values[values < 1]).all()


def test_gradients_are_finite_where_training_needs_them():
    ldr = torch.tensor([1e-3, 0.3, 0.9], requires_grad=True)
    mu_law(radiance_from_ldr(ldr, 8.0)).sum().backward()
    assert ldr.grad is not None
    assert torch.isfinite(ldr.grad).all()
    assert (ldr.grad > 0).all()


def test_single_precision_stays_single():
    for value in (np.float32([[0.1, 0.9]]), torch.tensor([[0.1, 0.9]])):
        for function in (gamma_linearize, gamma_encode, mu_law, inverse_mu_law):
            assert function(value).dtype == value.dtype


@few
@given(
    hnp.arrays(np.float64, st.tuples(st.integers(4, 64), st.sampled_from([1, 3])), elements=st.floats(0.01, 1)),
    units,
)
def test_measured_responses_round_trip(steps, codes):
    curve = np.cumsum(steps, axis=0)
    response = measured_response("camera", curve[:, 0] if curve.shape[1] == 1 else curve)
    np.testing.assert_allclose(response.encode(response.linearize(codes)), codes, atol=1e-4)
    ends = np.array([[[0.0] * 3, [1.0] * 3]])
    np.testing.assert_allclose(response.linearize(ends), ends, atol=1e-6)
    np.testing.assert_allclose(response.encode(ends), ends, atol=1e-6)
    assert response.curve is not None
    assert (np.diff(response.curve, axis=0) >= 0).all()


@pytest.mark.parametrize(
    ("curve", "problem"),
    [
        (np.array([1.0]), "shape"),
        (np.zeros((5, 2)), "shape"),
        (np.array([0.0, np.nan, 1.0]), "finite"),
        (np.ones(9), "rise"),
        (np.linspace(1, 0, 9), "rise"),
    ],
)
def test_measured_responses_that_are_none(curve, problem):
    with pytest.raises(ValueError, match=problem):
        measured_response("camera", curve)


def test_luminance():
    assert luminance(np.ones((2, 2, 3))) == pytest.approx(np.ones((2, 2)))
    assert luminance(np.array([0.0, 1.0, 0.0])) == pytest.approx(0.7152)
