"""FlowRefiner: starts as the flow it is given, its parts do what they claim, it is local, small and can learn."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from hdrvid.color.radiance import ldr_from_radiance
from hdrvid.models.constants import CORRELATION_RADIUS, HALO_PX
from hdrvid.models.flow_net import EVIDENCE_CHANNELS, SHIFTS, FlowRefiner, _Products, evidence, lucas_kanade
from hdrvid.warp import warp

pytestmark = pytest.mark.usefixtures("one_thread")


def texture(h, w, seed=0, channels=3):
    """Smooth random codes in about [0.2, 0.8]."""
    noise = torch.randn(1, channels, h, w, generator=torch.Generator().manual_seed(seed))
    smooth = F.avg_pool2d(F.avg_pool2d(F.pad(noise, (6,) * 4, mode="reflect"), 7, 1), 7, 1)
    return 0.5 + 0.12 * smooth / smooth.std()


def window(k=2, h=64, w=80, seed=0):
    """ldr, exposures, flows, flows_back of a still scene with made-up flow."""
    g = torch.Generator().manual_seed(seed + 1)
    radiance = texture(h, w, seed).clamp(0.05, 1.0) ** 2.2
    exposures = torch.tensor([[8.0, 1.0, 8.0]] if k == 2 else [[4.0, 16.0, 1.0, 4.0, 16.0]])
    ldr = ldr_from_radiance(radiance[:, None], exposures[:, :, None, None, None])
    return ldr, exposures, torch.randn(1, k, 2, h, w, generator=g), torch.randn(1, k, 2, h, w, generator=g)


def trained(seed=0):
    """A refiner whose head is not zero."""
    torch.manual_seed(seed)
    net = FlowRefiner()
    torch.nn.init.normal_(net.head.weight, std=0.05)
    torch.nn.init.normal_(net.head.bias, std=0.2)
    return net.eval()


@pytest.mark.parametrize("k", [2, 4])
def test_step_0_is_the_classical_flow(k):
    ldr, exposures, flows, back = window(k)
    refined, logits = FlowRefiner()(ldr, exposures, flows, back)
    assert torch.equal(refined, flows)
    assert logits.shape == (1, k, 1, 64, 80)
    assert not logits.any()


def test_every_neighbour_has_the_same_weights():
    """Reversing time reverses the neighbours' results and changes nothing else."""
    net = trained()
    ldr, exposures, flows, back = window(4)
    with torch.no_grad():
        a, la = net(ldr, exposures, flows, back)
        b, lb = net(ldr.flip(1), exposures.flip(1), flows.flip(1), back.flip(1))
    assert torch.allclose(a, b.flip(1), atol=1e-4)
    assert torch.allclose(la, lb.flip(1), atol=1e-4)


def test_samples_of_a_batch_do_not_mix():
    net = trained()
    one, two = window(2, seed=0), window(2, seed=5)
    with torch.no_grad():
        both, logits = net(*(torch.cat(pair) for pair in zip(one, two, strict=True)))
        alone, alone_logits = net(*two)
    assert torch.allclose(both[1:], alone, atol=1e-4)
    assert torch.allclose(logits[1:], alone_logits, atol=1e-4)


def test_lucas_kanade_finds_a_fraction_of_a_pixel():
    source = texture(64, 80)
    true = torch.tensor([0.6, -0.4])[:, None, None].expand(1, 2, 64, 80)
    reference = warp(source, true)
    found = torch.zeros(1, 2, 64, 80)
    for _ in range(4):
        found = found + lucas_kanade(reference, warp(source, found))
    error = (found - true)[..., 6:-6, 6:-6].norm(dim=1)
    assert error.median() < 0.1  # of 0.72
    assert error.mean() < 0.15


def test_lucas_kanade_leaves_flat_places_alone():
    flat = torch.full((1, 3, 32, 48), 1.0)
    assert not lucas_kanade(flat, flat).any()


def test_evidence_of_true_flow_has_no_differences():
    ldr, exposures, flows, _ = window(2)
    zero = torch.zeros_like(flows)
    seen = evidence(ldr, exposures, zero, zero)
    assert seen.shape == (1, 2, EVIDENCE_CHANNELS, 64, 80)
    assert seen[:, :, 3:17].abs().max() < 1e-3  # every candidate fits, none differs, the check closes
    assert torch.allclose(seen[:, :, :3], ldr[:, :1], atol=1e-5)  # brought to the longer of the two exposures
    assert torch.equal(seen[:, :, 19].unique(), torch.tensor([3.0]))


def test_the_mirrored_flow_comes_from_the_other_side():
    ldr, exposures, flows, back = window(4)
    seen = evidence(ldr, exposures, flows, back)
    assert torch.allclose(seen[:, 0, 13:15], -flows[:, 3] - flows[:, 0], atol=1e-5)
    assert torch.allclose(seen[:, 1, 13:15], -flows[:, 2] - flows[:, 1], atol=1e-5)


def test_at_the_end_of_a_clip_the_mirrored_flow_is_the_flow():
    ldr, exposures, flows, back = window(2)
    same = flows[:, :1].expand_as(flows)  # one frame stands for both neighbours
    seen = evidence(ldr, exposures, same, back[:, :1].expand_as(back))
    assert seen[:, :, 13:15].abs().max() == 0


def test_a_tile_of_the_evidence_is_that_of_the_whole():
    ldr, exposures, flows, back = window(2, h=96)
    left, right = 16, ldr.shape[-1]
    whole = evidence(ldr, exposures, flows, back)[..., 16 + HALO_PX : 80 - HALO_PX, left + HALO_PX : right - HALO_PX]
    tile = evidence(ldr, exposures, flows, back, (slice(16, 80), slice(left, right)))
    assert tile.shape[-2:] == (64, right - left)
    assert torch.allclose(tile[..., HALO_PX:-HALO_PX, HALO_PX:-HALO_PX], whole, atol=1e-5)


def test_correlation_names_the_shift():
    """A neighbour 8 pixels to the right: the volume peaks at two quarter-size pixels, and the shift says so."""
    torch.manual_seed(0)
    net = FlowRefiner()
    with torch.no_grad():
        net.sharpness.fill_(50.0)
        wide = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(3))
        reference, moved = wide[..., 16:], wide[..., 8:-8]
        volume, shift = net.correlation(reference, moved)
    assert volume.shape == (1, 81, 16, 20)
    best = volume[..., 3:-3, 3:-3].argmax(1).flatten()
    assert best.mode().values == 4 * 9 + 6  # centre row, two columns right of the centre
    middle = shift[0, :, 3:-3, 3:-3]
    assert middle[0].median() == pytest.approx(8.0, abs=1.0)
    assert middle[1].median() == pytest.approx(0.0, abs=1.0)


def test_gradients_of_the_products_are_those_of_autograd():
    torch.manual_seed(0)
    r = CORRELATION_RADIUS
    a, s = torch.randn(2, 3, 5, 7, requires_grad=True), torch.randn(2, 3, 5 + 2 * r, 7 + 2 * r, requires_grad=True)
    expected = torch.stack([(a * s[..., y : y + 5, x : x + 7]).sum(1) for y, x in SHIFTS], 1)
    result = _Products.apply(a, s)
    assert torch.equal(result, expected)
    weights = torch.randn_like(expected)
    for got, wanted in zip(
        torch.autograd.grad(result, (a, s), weights), torch.autograd.grad(expected, (a, s), weights), strict=True
    ):
        torch.testing.assert_close(got, wanted)


def test_tiles_with_a_halo_agree_with_the_whole():
    net = trained()
    with torch.no_grad():
        seen = evidence(*window(2, 64, 320))
        delta, logits = net.correct(seen)
        tile, tile_logits = net.correct(seen[..., :208])  # 96 pixels of halo right of column 112
        cut, _ = net.correct(seen[..., :112])
    error = (delta[..., :112] - tile[..., :112]).abs()
    assert error.max() < 0.01  # pixels; this untrained head moves them by 1.5 on average
    assert error.mean() < 2e-5
    assert (logits[..., :112] - tile_logits[..., :112]).abs().max() < 0.01
    assert (delta[..., :112] - cut).abs().max() > 0.1  # without a halo the end of the tile shows


def test_a_size_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="multiples of 16"):
        FlowRefiner().correct(torch.zeros(1, 2, EVIDENCE_CHANNELS, 64, 72))


def test_evidence_keeps_full_precision_under_autocast():
    inputs = window(2)
    plain = evidence(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = evidence(*inputs)
        refined, logits = FlowRefiner()(*inputs)
    assert torch.equal(plain, mixed)
    assert refined.dtype == logits.dtype == torch.float32


def test_cost_of_a_window():
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        FlowRefiner()(*window(2, 64, 64))
    assert counter.get_total_flops() / 2 / 64**2 < 25_000


def test_it_learns_flow_and_confidence():
    """Every part gets a gradient, and a few steps bring flow that is a pixel off to where it belongs."""
    torch.manual_seed(0)
    net = FlowRefiner()
    ldr, exposures, _, _ = window(2, 48, 48)
    flows = torch.full((1, 2, 2, 48, 48), 1.0)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    first = last = float("inf")
    for step in range(12):
        refined, logits = net(ldr, exposures, flows, -flows)
        loss = refined.abs().mean() + F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
        optimizer.zero_grad()
        loss.backward()
        if step == 1:
            assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
        optimizer.step()
        first, last = (loss.item() if step == 0 else first), loss.item()
    assert last < 0.6 * first
