"""The CPU's own filters give what PyTorch gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hdrvid import machine, opencv_filters, threads
from hdrvid.color.half import from_half, to_half
from hdrvid.color.radiance import ldr_from_radiance, match_exposure, radiance_from_ldr
from hdrvid.models import classical
from hdrvid.models.flow_net import FlowRefiner
from hdrvid.models.layers import (
    LEAK,
    conv_act,
    conv_of_concat,
    gaussian,
    in_half_precision,
    pixel_unshuffle_conv,
    smooth,
    upsample2x,
)
from hdrvid.warp import warp

SIZES = [(17, 13), (48, 80)]


@pytest.fixture
def without(monkeypatch):
    """Run a function as it is without OpenCV's filters."""

    def run(function, *arguments):
        with monkeypatch.context() as patched:
            patched.setattr(opencv_filters, "opencv", lambda: None)
            return function(*arguments)

    return run


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_remap_is_the_warp(size, channels, without):
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(2, channels, *size, generator=generator)
    flow = 6 * torch.randn(2, 2, *size, generator=generator)
    assert opencv_filters.usable(image, flow) == (opencv_filters.opencv() is not None)
    assert torch.allclose(warp(image, flow), without(warp, image, flow), atol=2e-6)
    tile = flow[:, :, 4:9, 3:]
    assert torch.allclose(warp(image, tile, (4, 3)), without(warp, image, tile, (4, 3)), atol=2e-6)
    assert torch.equal(warp(image, torch.zeros_like(flow)), image)


@pytest.mark.parametrize("size", SIZES)
def test_filters(size, without):
    x = torch.rand(2, 5, *size, generator=torch.Generator().manual_seed(2))
    for sigma, radius in ((0.7, 2), (1.5, 4)):
        expected = gaussian(F.pad(x, (radius,) * 4, mode="replicate"), sigma, radius)
        assert torch.allclose(smooth(x, sigma, radius), expected, atol=2e-6)
    assert torch.allclose(classical.box_mean5(x), without(classical.box_mean5, x), atol=2e-6)


def test_gradients_take_the_other_way():
    image = torch.rand(1, 3, 16, 16)
    flow = torch.zeros(1, 2, 16, 16, requires_grad=True)
    assert not opencv_filters.usable(image, flow)
    warp(image, flow + 0.25).sum().backward()
    assert flow.grad is not None
    with torch.no_grad():
        assert opencv_filters.usable(image, flow) == (opencv_filters.opencv() is not None)
    assert not opencv_filters.usable(image.half())


@pytest.mark.parametrize(("factor", "size"), [(2, 3), (4, 1)])
def test_a_folded_unshuffle_is_the_same_convolution(factor, size):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 3, 16, 32, generator=generator)
    weight = torch.randn(7, 3 * factor**2, size, size, generator=generator)
    bias = torch.randn(7, generator=generator)
    expected = F.conv2d(F.pixel_unshuffle(x, factor), weight, bias, padding=size // 2)
    assert torch.allclose(pixel_unshuffle_conv(x, weight, bias, factor), expected, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (3, 8)])
def test_a_joined_convolution_is_that_of_the_doubled(size):
    torch.manual_seed(4)
    conv = torch.nn.Conv2d(5 + 3, 7, 3, padding=1)
    small, large = torch.randn(2, 5, *size), torch.randn(2, 3, 2 * size[0], 2 * size[1])
    expected = conv(torch.cat([upsample2x(small), large], 1))
    assert torch.equal(conv_of_concat(conv, small, large), expected)
    with torch.inference_mode():
        assert torch.allclose(conv_of_concat(conv, small, large), expected, atol=1e-5)
        half = conv_of_concat(conv.to(torch.bfloat16), small.to(torch.bfloat16), large.to(torch.bfloat16))
        assert half.dtype == torch.bfloat16
        assert torch.allclose(half.float(), expected, atol=0.03)


def test_half_floats_are_those_of_numpy():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    numbers = every[~np.isnan(every)]
    assert np.array_equal(from_half(numbers), numbers.astype(np.float32))
    assert np.array_equal(to_half(numbers.astype(np.float32)), numbers)
    rng = np.random.default_rng(0)
    values = (rng.standard_normal((3, 20_001, 2)) * 10.0 ** rng.integers(-9, 6, (3, 20_001, 2))).astype(np.float32)
    between = (from_half(numbers[:30_000]) + from_half(numbers[1:30_001])) / 2  # to the even one
    for some in (values, values[:, ::2, ::-1], between):
        with np.errstate(over="ignore"):
            assert np.array_equal(to_half(some), some.astype(np.float16))


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("operators", ["fused", "missing"])
def test_a_convolution_and_what_follows_are_the_same_in_one_step(size, operators, monkeypatch):
    if operators == "missing":  # other builds of PyTorch, other processors
        monkeypatch.setattr(torch.ops, "mkldnn", object())
    torch.manual_seed(5)
    x, weight, bias = torch.randn(2, 6, 10, 12), torch.randn(7, 6, size, size), torch.randn(7)
    plus, convolution = torch.randn(2, 7, 10, 12), F.conv2d(x, weight, bias, padding=size // 2)
    with torch.inference_mode():
        assert torch.allclose(conv_act(x, weight, bias), F.leaky_relu(convolution, LEAK), atol=1e-5)
        assert torch.allclose(conv_act(x, weight, bias, plus=plus.clone()), convolution + plus, atol=1e-5)
        half = [t.to(torch.bfloat16) for t in (x, weight, bias)]
        active, total = conv_act(*half), conv_act(*half, plus=plus.to(torch.bfloat16))
        assert active.dtype == total.dtype == torch.bfloat16
        assert torch.allclose(active.float(), F.leaky_relu(convolution, LEAK), atol=0.15, rtol=0.02)
        assert torch.allclose(total.float(), convolution + plus, atol=0.15, rtol=0.02)
    kept = plus.clone()
    weight.requires_grad_(True)
    conv_act(x, weight, bias, plus=plus).sum().backward()
    assert weight.grad is not None
    assert torch.equal(plus, kept)


def test_half_precision_is_a_copy_and_of_convolutions_alone():
    networks = torch.nn.ModuleDict({"flow": FlowRefiner()})
    half = in_half_precision(networks, torch.bfloat16)["flow"]
    assert {p.dtype for p in networks.parameters()} == {torch.float32}
    assert half.sharpness.dtype == torch.float32
    assert {p.dtype for n, p in half.named_parameters() if n != "sharpness"} == {torch.bfloat16}
    with torch.inference_mode():
        features = half.features(torch.rand(1, 3, 32, 48))
    assert features.dtype == torch.float32  # a correlation is a sum of small differences


@pytest.mark.parametrize(("before", "after"), [(1.0, 8.0), (8.0, 1.0), (4.0, 4.0)])
def test_matching_is_radiance_and_back(before, after):
    code = torch.linspace(0, 1, 1001)
    expected = ldr_from_radiance(radiance_from_ldr(code, before), after)
    assert torch.allclose(match_exposure(code, before, after), expected, atol=1e-6)


def test_memory_is_kept_or_nothing_happens():
    machine.keep_memory()
    assert torch.rand(4, 1 << 20).sum() > 0


def test_each_inside_each_does_not_wait_for_ever():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        made = threads.each(lambda i: sum(threads.each(lambda j: i * j, range(5))), range(8))
    finally:
        torch.set_num_threads(before)
    assert made == [10 * i for i in range(8)]


@pytest.mark.parametrize(
    ("words", "pays"),
    [
        ("GenuineIntel avx2", False),
        ("GenuineIntel avx512f avx512_bf16", False),  # AMX hidden by a virtual machine: slower than float32
        ("GenuineIntel avx512f avx512_bf16 amx_bf16", True),
        ("AuthenticAMD avx512f avx512_bf16", True),
    ],
)
def test_auto_takes_bf16_where_it_is_faster(words, pays):
    assert machine.bf16_pays(words.split()) == pays
