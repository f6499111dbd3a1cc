"""ICC profiles of PNG, TIFF and JPEG files, as far as a camera curve and primaries go. Read by Pillow (LittleCMS)."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from hdrvid.color.curves import srgb_encode
from hdrvid.color.gamuts import GAMUTS, Gamut, to_white
from hdrvid.color.response import RESPONSES, Response, gamma_response

CURVES: dict[str, Response] = {
    "iec61966_2_1": RESPONSES["srgb"],
    "bt709": RESPONSES["rec709"],
    "gamma22": gamma_response(2.2),
    "gamma28": gamma_response(2.8),
    "linear": RESPONSES["linear"],
}
"""Curves that a profile is compared with, by the name of the transfer function."""

D50 = (0.34567, 0.35850)
"""x, y of the white of profiles."""

MAX_CODE_DIFFERENCE = 4
"""Largest difference of 8-bit codes to one of `CURVES`."""


@dataclass(frozen=True)
class Profile:
    """What a profile says of a picture."""

    name: str
    """Its description."""
    transfer: str
    """Transfer function, a name of `CURVES`; '' for another one."""
    gamut: Gamut | None
    """Primaries; None where the profile has no matrix."""


def read_profile(path: Path) -> Profile | None:
    """The ICC profile of an image file; None where it has none, or one that is damaged or not of RGB."""
    try:
        with Image.open(path) as image:
            data = image.info.get("icc_profile")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    if not isinstance(data, bytes) or not data:
        return None
    return parse_profile(data)


def parse_profile(data: bytes) -> Profile | None:
    """The same of the bytes of a profile."""
    try:
        profile: Any = ImageCms.ImageCmsProfile(io.BytesIO(data))
        facts = profile.profile
        if facts.xcolor_space.strip() != "RGB":
            return None
        name = (facts.profile_description or "unnamed").strip()
        return Profile(name, _transfer(profile), _gamut(facts))
    except (OSError, ValueError, TypeError, AttributeError, ImageCms.PyCMSError):
        return None


def _transfer(profile: Any) -> str:
    """The curve, from what LittleCMS makes of a grey ramp."""
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    image = ImageCms.profileToProfile(Image.fromarray(ramp), profile, ImageCms.createProfile("sRGB"))
    assert image is not None
    shown = np.asarray(image)[0, :, 1].astype(float)
    codes = np.linspace(0.0, 1.0, 256)
    differences = {
        name: float(np.abs(255 * srgb_encode(curve.linearize(codes)) - shown)[8:].max())
        for name, curve in CURVES.items()
    }
    best = min(differences, key=lambda name: differences[name])
    return best if differences[best] <= MAX_CODE_DIFFERENCE else ""


def _gamut(facts: Any) -> Gamut | None:
    """The gamut of `GAMUTS` with the profile's primaries, else one of its own; profiles hold them adapted to D50."""
    with suppress(ValueError, TypeError, ZeroDivisionError, IndexError):
        colorants = facts.red_colorant, facts.green_colorant, facts.blue_colorant
        corners = [tuple(float(v) for v in colorant[1][:2]) for colorant in colorants]
        gamut = Gamut.from_chromaticities((*corners[0], *corners[1], *corners[2], *D50), "profile of the file")
        for known in GAMUTS.values():
            if np.allclose(_adapted(known), gamut.chromaticities, atol=3e-3):
                return known
        return gamut
    return None


def _adapted(gamut: Gamut) -> tuple[float, ...]:
    """Chromaticities of the gamut's primaries after a Bradford adaptation to D50, as a profile holds them."""
    return to_white(gamut, D50).chromaticities
