"""Networks with fewer channels, or a smaller first convolution, from trained ones.

Two thirds of the merge's arithmetic is done at half resolution, with a tenth of its weights, and most of the rest at a
quarter. Of every set of channels there the strongest stay (Li et al., Pruning Filters for Efficient ConvNets, ICLR
2017, by what goes in and what comes out); everything deeper stays as it is. A short training with the wide network as
its teacher makes up for the rest.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from hdrvid.errors import ModelError
from hdrvid.models.config import ModelConfig
from hdrvid.models.forward import build

State = dict[str, torch.Tensor]
ChannelSet = tuple[tuple[str, ...], tuple[str, ...]]
"""Layers that make the channels of a set, and layers that take them."""


def _merge_sets(level: int, entry: str, after: str) -> tuple[ChannelSet, ...]:
    """`fuse` takes those of `up`, then those of `entry`."""
    return (
        ((entry, f"enc{level}.conv2"), (f"enc{level}.conv1", f"down{level + 1}", f"fuse{level}")),
        ((f"enc{level}.conv1",), (f"enc{level}.conv2",)),
        ((f"up{level}",), (f"fuse{level}",)),
        ((f"fuse{level}", f"dec{level}.conv2"), (f"dec{level}.conv1", after)),
        ((f"dec{level}.conv1",), (f"dec{level}.conv2",)),
    )


CHANNEL_SETS: dict[str, tuple[str, tuple[ChannelSet, ...]]] = {
    "half_width": ("merge", _merge_sets(0, "stem", "head")),
    "quarter_width": ("merge", _merge_sets(1, "down1", "up0")),
    "flow_half_width": (
        "flow",
        (
            (("stem", "up0", "dec0.conv2"), ("down1", "dec0.conv1", "head")),
            (("dec0.conv1",), ("dec0.conv2",)),
        ),
    ),
}
"""Network and sets of channels, by the name of their number in a config."""

STEM_KERNEL = "stem_kernel"
"""Name, in a config, of the size of the merge's first convolution."""


def narrowed(networks: nn.ModuleDict, config: ModelConfig, widths: dict[str, Any]) -> tuple[nn.ModuleDict, ModelConfig]:
    """Networks like those of `config` with so many channels, by the names of CHANNEL_SETS, and their config; or with
    another STEM_KERNEL, of which the middle stays.

    Raises ModelError where the networks have fewer channels, or where there is no such network.
    """
    if not widths:
        return networks, config
    config = replace(config, **widths)
    states = {name: network.state_dict() for name, network in networks.items()}
    for field, channels in widths.items():
        if field == STEM_KERNEL:
            _keep_middle(states["merge"], channels)
            continue
        network, sets = CHANNEL_SETS[field]
        option = field.replace("_", "-")
        if network not in states:
            raise ModelError(f"the weights have no network that refines the flow: leave --{option} out")
        for makers, takers in sets:
            _keep_strongest(states[network], makers, takers, channels, option)
    narrow = build(config)
    for name, state in states.items():
        narrow[name].load_state_dict(state)
    return narrow, config


def _keep_middle(state: State, side: int) -> None:
    weight = state["stem.weight"]
    if side > weight.shape[-1]:
        raise ModelError(f"the weights see {weight.shape[-1]} pixels there: leave --stem-kernel out")
    start = (weight.shape[-1] - side) // 2
    middle = slice(start, start + side)
    state["stem.weight"] = weight[..., middle, middle]


def _keep_strongest(state: State, makers: tuple[str, ...], takers: tuple[str, ...], channels: int, option: str) -> None:
    width = len(state[f"{makers[0]}.weight"])
    if channels > width:
        raise ModelError(f"the weights have {width} channels there: --{option} takes at most {width}")
    behind = {name: name.startswith("fuse") and not makers[0].startswith("up") for name in takers}
    offset = {name: state[f"{name}.weight"].shape[1] - width if last else 0 for name, last in behind.items()}
    incoming = [state[f"{name}.weight"].flatten(1) for name in makers]
    outgoing = [
        state[f"{name}.weight"][:, start : start + width].transpose(0, 1).flatten(1) for name, start in offset.items()
    ]
    strength = torch.cat(incoming, 1).norm(dim=1) * torch.cat(outgoing, 1).norm(dim=1)
    kept = strength.topk(channels).indices.sort().values
    for name in makers:
        for part in ("weight", "bias"):
            state[f"{name}.{part}"] = state[f"{name}.{part}"][kept]
    for name, start in offset.items():
        weight = state[f"{name}.weight"]
        pieces = weight[:, :start], weight[:, start : start + width][:, kept], weight[:, start + width :]
        state[f"{name}.weight"] = torch.cat(pieces, 1)
