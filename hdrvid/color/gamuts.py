"""Colour gamuts: primaries, white points, and the matrices between them.

Convention:
    linear light (..., 3) RGB; matrices act on column vectors: target = matrix @ source.
    White stays white: where two white points differ, the Bradford transform adapts one to the other (Lam 1985; the one
    of ICC profiles and of ACES).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from hdrvid.errors import UsageError

_D65 = (0.3127, 0.3290)
_DCI = (0.314, 0.351)
_ACES = (0.32168, 0.33767)
_ILLUMINANT_C = (0.310, 0.316)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


@dataclass(frozen=True)
class Gamut:
    """CIE 1931 chromaticities of an RGB colour space."""

    name: str
    """What `--input-primaries` takes, or 'chromaticities of the file'."""
    red: tuple[float, float]
    """x, y of the red primary."""
    green: tuple[float, float]
    """x, y of the green primary."""
    blue: tuple[float, float]
    """x, y of the blue primary."""
    white: tuple[float, float] = _D65
    """x, y of R = G = B."""

    @property
    def chromaticities(self) -> tuple[float, ...]:
        """The eight numbers of an EXR header: red, green, blue, white."""
        return (*self.red, *self.green, *self.blue, *self.white)

    @classmethod
    def from_chromaticities(cls, values: tuple[float, ...], name: str = "chromaticities of the file") -> Self:
        """A gamut from the eight numbers of an EXR header. Raises ValueError where they span no gamut."""
        if len(values) != 8 or not np.isfinite(values).all():
            raise ValueError(f"a gamut has eight finite chromaticities, not {values}")
        x = [(float(values[i]), float(values[i + 1])) for i in range(0, 8, 2)]
        (rx, ry), (gx, gy), (bx, by), (_, wy) = x
        if abs((gx - rx) * (by - ry) - (bx - rx) * (gy - ry)) < 1e-4 or wy <= 0 or any(c[1] == 0 for c in x[:3]):
            raise ValueError(f"the chromaticities {values} span no gamut")
        return cls(name, *x)

    def to_xyz(self) -> np.ndarray:
        """(3, 3) linear RGB to XYZ, Y of white 1 (SMPTE RP 177)."""
        primaries = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in (self.red, self.green, self.blue)]).T
        return primaries * np.linalg.solve(primaries, _xyz_of(self.white))


def _xyz_of(white: tuple[float, float]) -> np.ndarray:
    x, y = white
    return np.array([x / y, 1.0, (1 - x - y) / y])


REC709 = Gamut("rec709", (0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
"""ITU-R BT.709-6, and sRGB: what previews are made from, and output files hold unless `--primaries` says otherwise."""

GAMUTS = {
    gamut.name: gamut
    for gamut in (
        REC709,
        Gamut("rec2020", (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),  # ITU-R BT.2020-2
        Gamut("p3d65", (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # SMPTE EG 432-1, Display P3
        Gamut("p3dci", (0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _DCI),  # SMPTE RP 431-2
        Gamut("smpte170m", (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),  # SMPTE ST 170, 525 lines
        Gamut("bt470bg", (0.640, 0.330), (0.290, 0.600), (0.150, 0.060)),  # ITU-R BT.470, 625 lines
        Gamut("bt470m", (0.670, 0.330), (0.210, 0.710), (0.140, 0.080), _ILLUMINANT_C),  # NTSC 1953
        Gamut("adobergb", (0.640, 0.330), (0.210, 0.710), (0.150, 0.060)),  # Adobe RGB (1998)
        Gamut("acescg", (0.713, 0.293), (0.165, 0.830), (0.128, 0.044), _ACES),  # ACES AP1, S-2014-004
        Gamut("aces2065-1", (0.7347, 0.2653), (0.0, 1.0), (0.0001, -0.077), _ACES),  # ACES AP0, SMPTE ST 2065-1
        Gamut("sgamut3", (0.730, 0.280), (0.140, 0.855), (0.100, -0.050)),  # Sony, S-Gamut3
        Gamut("sgamut3cine", (0.766, 0.275), (0.225, 0.800), (0.089, -0.087)),  # Sony, S-Gamut3.Cine
        Gamut("vgamut", (0.730, 0.280), (0.165, 0.840), (0.100, -0.030)),  # Panasonic, V-Gamut
        Gamut("awg3", (0.6840, 0.3130), (0.2210, 0.8480), (0.0861, -0.1020)),  # ARRI Wide Gamut 3
        Gamut("awg4", (0.7347, 0.2653), (0.1424, 0.8576), (0.0991, -0.0308)),  # ARRI Wide Gamut 4
        Gamut("cinemagamut", (0.740, 0.270), (0.170, 1.140), (0.080, -0.100)),  # Canon, Cinema Gamut
    )
}
"""Gamuts by the name that `--input-primaries` takes; `--primaries` takes those of COLOR_INTEROP_IDS."""

GAMUT_OF_RESPONSE = {
    "slog3": "sgamut3cine",
    "vlog": "vgamut",
    "logc3": "awg3",
    "logc4": "awg4",
    "clog3": "cinemagamut",
}
"""The gamut that a log curve is recorded in. S-Log3 comes with S-Gamut3 as well: `--input-primaries sgamut3`."""

GAMUT_OF_TAG = {
    "bt709": "rec709",
    "bt470m": "bt470m",
    "bt470bg": "bt470bg",
    "smpte170m": "smpte170m",
    "smpte240m": "smpte170m",
    "bt2020": "rec2020",
    "smpte431": "p3dci",
    "smpte432": "p3d65",
}
"""Gamuts by the name of a stream's primaries tag (ITU-T H.273, table 2)."""


COLOR_INTEROP_IDS = {
    "rec709": "lin_rec709_scene",
    "rec2020": "lin_rec2020_scene",
    "p3d65": "lin_p3d65_scene",
    "acescg": "lin_ap1_scene",
    "aces2065-1": "lin_ap0_scene",
}
"""Gamuts that `--primaries` takes, and their names in the list of the ASWF Color Interop Forum (scene-linear RGB)."""


def known_gamut(values: object) -> Gamut | None:
    """The gamut of the eight numbers in a header, red, green, blue and white; that of GAMUTS where one is as near as
    0.002. None where they are no gamut.
    """
    if not isinstance(values, (tuple, list)) or len(values) != 8:
        return None
    try:
        gamut = Gamut.from_chromaticities(tuple(float(v) for v in values))
    except ValueError:
        return None
    known = (g for g in GAMUTS.values() if np.allclose(g.chromaticities, gamut.chromaticities, atol=2e-3))
    return next(known, gamut)


def find_gamut(name: str) -> Gamut:
    """The gamut of this name. Raises UsageError for an unknown one."""
    key = name.strip().lower()
    if key not in GAMUTS:
        raise UsageError(f"--input-primaries takes auto or one of {', '.join(GAMUTS)}, not '{name[:60]}'")
    return GAMUTS[key]


def conversion_matrix(source: Gamut, target: Gamut) -> np.ndarray:
    """(3, 3) linear RGB of `source` to linear RGB of `target`, white to white (Bradford).

    >>> conversion_matrix(GAMUTS["rec2020"], REC709).round(4)
    array([[ 1.6605, -0.5876, -0.0728],
           [-0.1246,  1.1329, -0.0083],
           [-0.0182, -0.1006,  1.1187]])
    """
    if source.chromaticities == target.chromaticities:
        return np.eye(3)
    return np.linalg.solve(target.to_xyz(), _adaptation(source.white, target.white) @ source.to_xyz())


def convert(linear: np.ndarray, source: Gamut, target: Gamut) -> np.ndarray:
    """Linear light (..., 3) float32 of `source` in `target`; colours outside of it get negative components.

    The very array where the two are the same.
    """
    if source.chromaticities == target.chromaticities:
        return linear
    return linear @ conversion_matrix(source, target).astype(np.float32).T


def to_white(gamut: Gamut, white: tuple[float, float]) -> Gamut:
    """The gamut as it is written for another white: its primaries adapted with it (Bradford)."""
    xyz = _adaptation(gamut.white, white) @ gamut.to_xyz()
    red, green, blue = ((float(c[0] / c.sum()), float(c[1] / c.sum())) for c in xyz.T)
    return Gamut(gamut.name, red, green, blue, white)


def _adaptation(source: tuple[float, float], target: tuple[float, float]) -> np.ndarray:
    """(3, 3) XYZ seen under one white to XYZ seen under another."""
    gain = (_BRADFORD @ _xyz_of(target)) / (_BRADFORD @ _xyz_of(source))
    return np.linalg.solve(_BRADFORD, gain[:, None] * _BRADFORD)
