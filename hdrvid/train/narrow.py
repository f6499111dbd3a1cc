"""A merge network with fewer channels at half resolution, from a trained one.

Two thirds of the merge's arithmetic is done at half resolution, with a tenth of its weights. Of every set of channels
there the strongest stay (Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017, by what goes in and what comes
out); everything deeper stays as it is. A short training with the wide network as its teacher makes up for the rest.
"""

from __future__ import annotations

import torch

from hdrvid.errors import ModelError
from hdrvid.models.merge_net import BlendNet

State = dict[str, torch.Tensor]

CHANNEL_SETS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("stem", "enc0.conv2"), ("enc0.conv1", "down1", "fuse0")),
    (("enc0.conv1",), ("enc0.conv2",)),
    (("up0",), ("fuse0",)),
    (("fuse0", "dec0.conv2"), ("dec0.conv1", "head")),
    (("dec0.conv1",), ("dec0.conv2",)),
)
"""Layers that make the channels of a set, and layers that take them. `fuse0` takes those of `up0`, then the stem's."""


def narrowed(network: BlendNet, channels: int) -> BlendNet:
    """A network like `network` with `channels` at half resolution. Raises ModelError where it has fewer."""
    state, width = network.state_dict(), network.half_width
    if channels > width:
        raise ModelError(f"the weights have {width} channels at half resolution: --half-width takes at most {width}")
    for makers, takers in CHANNEL_SETS:
        offset = {name: width if (name, makers[0]) == ("fuse0", "stem") else 0 for name in takers}
        incoming = [state[f"{name}.weight"].flatten(1) for name in makers]
        outgoing = [
            state[f"{name}.weight"][:, start : start + width].transpose(0, 1).flatten(1)
            for name, start in offset.items()
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
    narrow = BlendNet(network.num_candidates, network.width, network.weight_channels, channels)
    narrow.load_state_dict(state)
    return narrow
