"""Key to the pictures: what the colours of errors, flow and blend weights mean."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hdrvid import pictures
from hdrvid.html.page import data_uri

_ERROR_TICKS = (0.0, 0.003, 0.01, 0.03, pictures.ERROR_MAX)
_SIDES = (
    ((0, 0, 0), "this frame"),
    (pictures.EARLIER_COLOUR, "earlier frames"),
    (pictures.LATER_COLOUR, "later frames"),
    ((128, 128, 128), "earlier and later alike"),
)
"""Colours of the blend weights, RGB."""


@dataclass(frozen=True)
class KeyEntry:
    """One kind of picture. At most one of scale, wheel and swatches is given."""

    name: str
    """Kind of picture."""
    text: str
    """Its meaning."""
    scale: str = ""
    """Data URI of a strip of colours."""
    ticks: tuple[tuple[float, str], ...] = ()
    """(place in %, label) below the strip."""
    wheel: str = ""
    """Data URI of a wheel of colours."""
    swatches: tuple[tuple[str, str], ...] = ()
    """(CSS colour, label)."""


def error_entry() -> KeyEntry:
    """Of `pictures.error_picture`."""
    ticks = tuple((100 * math.sqrt(e / pictures.ERROR_MAX), f"{e:g}") for e in _ERROR_TICKS)
    text = (
        "|T(result) − T(truth)|, T the mu-law with mu = 5000, mean of the channels; "
        f"{pictures.ERROR_MAX:g} and more are the brightest."
    )
    return KeyEntry("error", text, scale=data_uri(pictures.png_bytes(pictures.error_legend()), "png"), ticks=ticks)


def flow_entry() -> KeyEntry:
    """Of `pictures.flow_picture`."""
    half = math.sqrt(1 + pictures.FLOW_MAX_PX) - 1
    text = (
        "Where a pixel is found in the neighbour: hue is the direction as on the wheel, white is 0, the rim "
        f"{pictures.FLOW_MAX_PX:g} px and more, half-way {half:.1f} px."
    )
    return KeyEntry("flow", text, wheel=data_uri(pictures.png_bytes(pictures.flow_legend()), "png"))


def weights_entry() -> KeyEntry:
    """Of `pictures.weights_picture`."""
    swatches = tuple((f"rgb{colour}", label) for colour, label in _SIDES)
    return KeyEntry("blend weights", "Where a pixel is taken from.", swatches=swatches)
