"""Weights that the memo's networks begin to learn from.

Under ordinary starts the flow pyramid stays at zero flow for hundreds of steps: the units before the last layer die.
The merge saturates: its sigmoids are pushed to where they have no slope. What is here changes numbers, not layers.

Flow, every level:
    The last layer is zero, so that step 0 is zero flow. The first filters add up to zero: brightness is no motion.
    Every layer is brought to unit variance on data (Mishkin & Matas, All you need is a good init, ICLR 2016). The first
    two layers begin as products of space and time derivatives, summed over a window, which is what Lucas & Kanade
    (1981) average: relu(a + b) + relu(-a - b) - relu(a - b) - relu(b - a) = 2 sign(ab) min(|a|, |b|). The units that
    are left are random.
Merge:
    Kaiming for LeakyReLU, transposed convolutions by the taps that reach an output. The head is small and its biases
    prefer the reference to the warped neighbours, and these to the original ones.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import nn

from hdrvid.models.memo.merge_net import MemoMerge
from hdrvid.models.memo.spynet import FlowNet, conv_input

LUMINANCE = (0.3, 0.55, 0.15)
"""Share of each colour in the structured filters."""
SIGNS = ((1, 1), (-1, -1), (1, -1), (-1, 1))
"""Signs of the space and the time derivative in the four units of a product."""
SCALES = {1: (0.4, 1.0, 2.5), 2: (0.6, 1.8)}
"""Space derivative over time derivative in the products, by the number of triples: a product tells apart motion about
that many pixels, and two triples leave room for fewer."""
DATA_LEVEL = 2
"""Level of the pyramid, coarsest first, on which variances are measured."""
UNIT_BIAS = 0.2
"""Mean of a random unit in standard deviations: most of its inputs have a gradient."""
HEAD_SCALE = 0.1
HEAD_BIAS = {"reference": -1.0, "warped": -2.0, "original": -5.0}
LEAKY_SLOPE = 0.1


def initial_flow(net: FlowNet, ldr: torch.Tensor, exposures: torch.Tensor) -> None:
    """Structured weights, scaled on windows `ldr` (B, W, 3, H, W') with `exposures` (B, W); the same for all levels."""
    inputs = conv_input(*net.pyramid(ldr, exposures)[DATA_LEVEL])
    level = net.levels[0]
    convs = [layer for layer in level.children() if isinstance(layer, nn.Conv2d)]
    for conv in convs:
        nn.init.kaiming_normal_(conv.weight)
        nn.init.zeros_(_bias(conv))
    with torch.no_grad():
        first = convs[0].weight
        first -= first.mean((1, 2, 3), keepdim=True)
        products, sums = _structured(convs[0].weight, convs[1].weight, net.num_exposures - 1)
        _scale_to_data(convs, inputs, products, sums)
        convs[-1].weight.zero_()
    net.share_coarsest()


def _scale_to_data(convs: list[nn.Conv2d], x: torch.Tensor, products: list[list[int]], sums: int) -> None:
    """Bring every layer but the last to unit variance on `x` (B, c, h, w).

    The units of a product, listed in `products`, keep one scale and no bias, as do the `sums` units that add them up.
    """
    for number, conv in enumerate(convs[:-1]):
        deviation = conv(x).std((0, 2, 3)).clamp(min=1e-4)
        structured = sums if number == 1 else 0
        if number == 0:
            for units in products:
                deviation[units] = deviation[units].mean()
            structured = sum(len(units) for units in products)
        conv.weight /= deviation[:, None, None, None]
        bias = _bias(conv)
        bias.copy_(UNIT_BIAS - conv(x).mean((0, 2, 3)))
        bias[:structured] = 0
        x = torch.relu(conv(x))


def _structured(first: torch.Tensor, second: torch.Tensor, num_triples: int) -> tuple[list[list[int]], int]:
    """Write the structured filters into the weights of the first two layers, from unit 0 on.

    Returns the units of the first layer that belong together, and the number of units of the second one.
    """
    smooth, right, down = _derivatives()
    window = _gaussian(1.5)
    window = window / window.sum()
    unit = total = 0
    groups: list[list[int]] = []
    for triple in range(num_triples):
        reference = 9 * triple + 3
        for source, derivative, scale in product((0, 6), (right, down), SCALES[num_triples]):
            units = list(range(unit, unit + len(SIGNS)))
            for at, (space, time) in zip(units, SIGNS, strict=True):
                first[at] = 0
                for colour, share in enumerate(LUMINANCE):
                    gradient = 0.5 * space * scale * derivative
                    first[at, 9 * triple + source + colour] = share * (gradient + time * smooth)
                    first[at, reference + colour] = share * (gradient - time * smooth)
            for sign in (1, -1):
                second[total] = 0
                for at, (space, time) in zip(units, SIGNS, strict=True):
                    second[total, at] = sign * space * time * window
                total += 1
            groups.append(units)
            unit += len(units)
        energy = list(range(unit, unit + 4))
        for at, (derivative, sign) in zip(energy, product((right, down), (1, -1)), strict=True):
            first[at] = 0
            for colour, share in enumerate(LUMINANCE):
                first[at, reference + colour] = share * sign * derivative
        for pair, sign in product((energy[:2], energy[2:]), (1, -1)):
            second[total] = 0
            second[total, pair] = sign * window
            total += 1
        groups.append(energy)
        unit += len(energy)
    return groups, total


def _gaussian(sigma: float) -> torch.Tensor:
    """(5, 5) with 1 in the middle."""
    line = torch.exp(-((torch.arange(5.0) - 2) ** 2) / (2 * sigma**2))
    return line[:, None] * line


def _derivatives() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(5, 5) each: a smoothing filter of sum 1, and its derivatives to the right and down, as correlations."""
    smooth = _gaussian(0.9)
    smooth = smooth / smooth.sum()
    right = smooth * (torch.arange(5.0) - 2) / 0.9**2
    return smooth, right, right.T.contiguous()


def initial_merge(merge: MemoMerge) -> None:
    """Random weights that keep variances and leave the sigmoids a slope."""
    for layer in merge.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(layer.weight, a=LEAKY_SLOPE)
            if isinstance(layer, nn.ConvTranspose2d):  # of 4x4 taps at stride 2, 4 of every input channel reach a pixel
                c_in, c_out = layer.weight.shape[:2]
                layer.weight.data.mul_((16 * c_out / (4 * c_in)) ** 0.5)
            nn.init.zeros_(_bias(layer))
    head = list(merge.decoder.children())[-1]
    assert isinstance(head, nn.Conv2d)
    head.weight.data.mul_(HEAD_SCALE)
    neighbours = (merge.num_candidates - 1) // 2
    names = ["reference"] + ["warped"] * neighbours + ["original"] * neighbours
    _bias(head).data.copy_(torch.tensor([HEAD_BIAS[name] for name in names]).repeat_interleave(3))


def transfer_merge(source: MemoMerge, target: MemoMerge) -> None:
    """Start a 3-exposure merge from a 2-exposure one: every neighbour takes the weights of the one on its side.

    Candidates: ref, 2 warped, 2 original -> ref, 4 warped, 4 original, in time order. There are twice as many
    neighbours: the encoder takes half of each, and the head gives each half of the weight where sigmoids are small.
    """
    picks = [0, 1, 1, 2, 2, 3, 3, 4, 4]
    state = source.state_dict()
    for i, pick in enumerate(picks[1:]):
        for name, value in source.attention[pick - 1].state_dict().items():
            state[f"attention.{i}.{name}"] = value
    half = torch.tensor([1.0] + [0.5] * 8)[:, None, None, None]
    entry = state["encoder.0.weight"]
    blocks = entry.unflatten(1, (5, -1))[:, picks] * half
    state["encoder.0.weight"] = blocks.flatten(1, 2)
    head = len(source.decoder) - 1
    for name in (f"decoder.{head}.weight", f"decoder.{head}.bias"):
        state[name] = state[name].unflatten(0, (5, 3))[picks].flatten(0, 1)
    state[f"decoder.{head}.bias"][3:] -= torch.log(torch.tensor(2.0))
    target.load_state_dict(state)


def _bias(layer: nn.Conv2d | nn.ConvTranspose2d) -> torch.Tensor:
    assert layer.bias is not None
    return layer.bias
