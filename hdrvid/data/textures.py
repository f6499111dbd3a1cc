"""Procedural HDR pictures and cut-out objects: what the scenes of `hdrvid.data.scenes` are painted with.

Everything is drawn from a numpy generator, so a seed gives the same picture everywhere, and everything is linear
radiance: a surface is albedo times illumination, a light is far brighter than what it lights, and shadows keep their
texture. Levels follow photographs: albedo 0.03 to 0.9, sun to shade 10 to 50, lamps 30 to 3000 times what they light.

Convention:
    picture     (h, w, 3) float32 linear Rec. 709 RGB, >= 0, finite; the unit is the scene's own.
    albedo      (h, w, 3) float32 in (0, 1].
    sprite      (h, w, 4) float32: radiance premultiplied with alpha, and alpha in [0, 1]; the border is transparent.
    unit        pixels of the short side of what the screen will show: features are stated as fractions of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

_SHIFT = 4  # sub-pixel bits of polygon corners
LARGEST = 65504.0
"""The largest half float: what the files store for the sun."""

# ---- noise -----------------------------------------------------------------------------------------------------------


def fractal_noise(
    rng: np.random.Generator,
    width: int,
    height: int,
    cell: float,
    octaves: int = 6,
    persistence: float = 0.55,
    stretch: float = 1.0,
) -> np.ndarray:
    """(height, width) float32 noise with a spectrum like 1/f, mean near 0, standard deviation 1.

    `cell` is the size in pixels of the largest features, each further octave halves it and has `persistence` times
    the amplitude; `stretch` > 1 draws the features out horizontally.
    """
    total = np.zeros((height, width), np.float32)
    power = 0.0
    for octave in range(octaves):
        size = cell / 2**octave
        if size < 1.0 and octave:
            break
        rows, columns = int(height / size) + 4, int(width / (size * stretch)) + 4
        grid = rng.standard_normal((rows, columns), dtype=np.float32)
        # the grid keeps its cell size whatever the picture size: scale first, crop then
        matrix = np.array([[size * stretch, 0, -size * stretch * rng.random()], [0, size, -size * rng.random()]])
        amplitude = persistence**octave
        total += amplitude * cv2.warpAffine(
            grid, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
        )
        power += 0.55 * amplitude**2  # cubic interpolation keeps about 0.55 of the variance
    return total / math.sqrt(power)


def add_grain(rng: np.random.Generator, picture: np.ndarray, size: float) -> None:
    """Give a picture that was magnified `size` times the fine detail it lacks, in place.

    The grain is multiplicative and as strong as the texture that is there: a wall or a lawn gets it, a clear sky
    stays clean (a network must not learn that noise is signal).
    """
    height, width = picture.shape[:2]
    tone = np.log(picture.max(-1) + 1e-5)
    # an outline is no texture: a large difference counts no more than a small one
    local = np.minimum(np.abs(tone - cv2.GaussianBlur(tone, (0, 0), 2.5 * size)), 0.12)
    rough = cv2.blur(local, (int(8 * size) | 1, int(8 * size) | 1))
    noise = cv2.GaussianBlur(fractal_noise(rng, width, height, max(size * 1.5, 2.5), 3, 0.8), (0, 0), 0.6)
    picture *= np.exp(0.7 * np.maximum(rough - 0.015, 0) * noise)[..., None]


def cells(rng: np.random.Generator, width: int, height: int, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Voronoi cells about `size` pixels across: (height, width) int32 label and float32 distance from its seed."""
    count = max(int(width * height / size**2), 2)
    mask = np.full((height, width), 255, np.uint8)
    mask[rng.integers(0, height, count), rng.integers(0, width, count)] = 0
    distance, labels = cv2.distanceTransformWithLabels(mask, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    return labels, distance


# ---- colours ---------------------------------------------------------------------------------------------------------


def colour(rng: np.random.Generator, saturation: float = 0.35, value: float = 0.35) -> np.ndarray:
    """(3,) float32 albedo: saturation about `saturation`, value spread about `value`, any hue."""
    return _hsv(rng, rng.uniform(0, 360), saturation, value)


def earthy(rng: np.random.Generator, saturation: float = 0.35, value: float = 0.35) -> np.ndarray:
    """(3,) float32 albedo as `colour`, of the hues that wood, stone, clay and plaster have; rarely another."""
    hue = rng.normal(28, 13) % 360 if rng.random() < 0.85 else rng.uniform(0, 360)
    return _hsv(rng, hue, saturation, value)


def _hsv(rng: np.random.Generator, hue: float, saturation: float, value: float) -> np.ndarray:
    s = float(np.clip(rng.beta(1.2, 1.2) * 2 * saturation, 0, 0.95))
    v = float(np.clip(value * math.exp(rng.normal(0, 0.55)), 0.03, 0.9))
    return cv2.cvtColor(np.array([[[hue, s, v]]], np.float32), cv2.COLOR_HSV2RGB)[0, 0]


def warm(rng: np.random.Generator) -> np.ndarray:
    """(3,) float32 colour of lamplight, luminance near 1."""
    t = rng.random()
    return np.array([1.25 + 0.25 * t, 0.95 - 0.12 * t, 0.62 - 0.4 * t], np.float32)


def _vary(rng: np.random.Generator, base: np.ndarray, count: int, spread: float) -> np.ndarray:
    """(count, 3) colours about `base`: mostly lighter and darker, a little in hue."""
    tone = rng.normal(0, spread, (count, 1)) + rng.normal(0, spread * 0.25, (count, 3))
    return np.clip(base * np.exp(tone), 0.01, 0.95).astype(np.float32)


# ---- materials: (h, w, 3) albedo -------------------------------------------------------------------------------------


def plaster(rng: np.random.Generator, width: int, height: int, unit: float) -> np.ndarray:
    """A painted or concrete wall: stains, patches and grain."""
    base = earthy(rng, 0.22, 0.45)
    stain = fractal_noise(rng, width, height, unit * 0.4, 7, 0.55)
    streak = fractal_noise(rng, height, width, unit * 0.25, 4, 0.6, stretch=4.0).T
    gain = np.exp(0.14 * stain + 0.06 * streak)
    return np.minimum(base * gain[..., None], 0.95).astype(np.float32)


def bricks(rng: np.random.Generator, width: int, height: int, unit: float) -> np.ndarray:
    """Bricks, blocks or tiles with joints, each of its own tone, with light catching the upper edges."""
    bh = unit * rng.uniform(0.022, 0.06)
    bw = bh * rng.uniform(1.0, 3.0)
    offset = rng.choice([0.0, 0.5])
    y = np.arange(height, dtype=np.float32)[:, None] / np.float32(bh)
    row = np.floor(y)
    x = np.arange(width, dtype=np.float32) / np.float32(bw) + np.float32(offset) * (row % 2)
    column = np.floor(x)
    fy, fx = np.broadcast_to(y - row, x.shape), x - column
    base = earthy(rng, 0.4, 0.3) if rng.random() < 0.6 else np.array([0.42, 0.2, 0.13], np.float32)
    palette = _vary(rng, base, 257, 0.25)
    index = ((row * 71 + column * 37 + (row * column) % 13 * 5) % 257).astype(np.int32)
    albedo = palette[index]
    joint = 0.045 + 0.03 * rng.random()
    edge = np.minimum(np.minimum(fx, 1 - fx) * np.float32(bw / bh), np.minimum(fy, 1 - fy))
    face = np.clip((edge - joint) * 14, 0, 1)[..., None]
    mortar = earthy(rng, 0.1, 0.4)
    grain = np.exp(0.16 * fractal_noise(rng, width, height, bh * 1.5, 5, 0.7))[..., None]
    relief = (1 + 0.35 * np.exp(-((fy - joint) ** 2) / 0.006) - 0.35 * np.exp(-((1 - fy - joint) ** 2) / 0.006))[
        ..., None
    ]
    return np.clip((mortar * (1 - face) + albedo * face * relief) * grain, 0.01, 0.95).astype(np.float32)


def planks(rng: np.random.Generator, width: int, height: int, unit: float) -> np.ndarray:
    """Boards with grain, horizontal."""
    bh = unit * rng.uniform(0.05, 0.14)
    y = np.arange(height, dtype=np.float32) / np.float32(bh)
    row = np.floor(y).astype(np.int32)
    tones = _vary(rng, earthy(rng, 0.5, 0.3), int(row.max()) + 1, 0.22)
    grain = fractal_noise(rng, width, height, bh * 0.5, 5, 0.75, stretch=9.0)
    gap = np.clip(np.minimum(y - row, 1 - y + row) * 18, 0.12, 1)
    albedo = (tones[row] * gap[:, None])[:, None, :] * np.exp(0.22 * grain)[..., None]
    return np.clip(albedo, 0.01, 0.95).astype(np.float32)


def stones(rng: np.random.Generator, width: int, height: int, unit: float) -> np.ndarray:
    """Rubble or cobbles."""
    size = unit * rng.uniform(0.04, 0.12)
    labels, distance = cells(rng, width, height, size)
    tones = _vary(rng, earthy(rng, 0.2, 0.35), int(labels.max()) + 1, 0.35)
    dome = np.exp(-((distance / (0.75 * size)) ** 2))
    grain = np.exp(0.2 * fractal_noise(rng, width, height, size, 5, 0.7))
    return np.clip(tones[labels] * (0.15 + 1.1 * dome * grain)[..., None], 0.01, 0.95).astype(np.float32)


def fabric(rng: np.random.Generator, width: int, height: int, unit: float) -> np.ndarray:
    """Stripes, checks or dots with a weave and folds."""
    period = unit * rng.uniform(0.03, 0.15)
    a, b = colour(rng, 0.6, 0.4), colour(rng, 0.6, 0.35)
    x = np.arange(width, dtype=np.float32)[None, :] / period
    y = np.arange(height, dtype=np.float32)[:, None] / period
    kind = rng.integers(0, 3)
    if kind == 0:
        mix = np.broadcast_to((x % 1 < rng.uniform(0.3, 0.7)).astype(np.float32), (height, width))
    elif kind == 1:
        mix = 0.5 * ((x % 1 < 0.5).astype(np.float32) + (y % 1 < 0.5).astype(np.float32))
    else:
        mix = (((x % 1 - 0.5) ** 2 + (y % 1 - 0.5) ** 2) < 0.09).astype(np.float32)
    folds = np.exp(0.25 * fractal_noise(rng, width, height, unit * 0.2, 4, 0.5))
    mix = mix[..., None]
    return np.clip((a * mix + b * (1 - mix)) * folds[..., None], 0.01, 0.95).astype(np.float32)


def foliage(rng: np.random.Generator, width: int, height: int, unit: float) -> np.ndarray:
    """Leaves over leaves: the deep ones dark, the outer ones light."""
    hue = rng.uniform(62, 112)
    canvas = np.empty((height, width, 3), np.float32)
    canvas[:] = (0.012, 0.02, 0.01)
    size = unit * rng.uniform(0.012, 0.03)
    count = int(np.clip(2.2 * width * height / (size * size * 3), 60, 6000))
    xs, ys = rng.uniform(-size, width + size, count), rng.uniform(-size, height + size, count)
    angles, lengths = rng.uniform(0, 360, count), size * np.exp(rng.normal(0, 0.35, count))
    depth = np.linspace(0, 1, count)
    value = 0.03 + 0.45 * depth**1.5 * np.exp(rng.normal(0, 0.45, count))
    hsv = np.stack([hue + rng.normal(0, 9, count), np.clip(rng.normal(0.6, 0.12, count), 0.1, 0.9), value], -1)
    tones = cv2.cvtColor(np.clip(hsv, 0.01, [[360, 0.95, 0.9]]).astype(np.float32)[None], cv2.COLOR_HSV2RGB)[0]
    for i in range(count):
        cv2.ellipse(
            canvas,
            (int(xs[i]), int(ys[i])),
            (max(int(lengths[i]), 1), max(int(lengths[i] * 0.42), 1)),
            float(angles[i]),
            0,
            360,
            tones[i].tolist(),
            -1,
        )
    return canvas


def text_sheet(rng: np.random.Generator, width: int, height: int, unit: float) -> np.ndarray:
    """Lines of letters on paper: small marks of high contrast."""
    paper, ink = colour(rng, 0.3, 0.75), colour(rng, 0.7, 0.1)
    sheet = np.full((height, width), 0, np.uint8)
    scale = unit * rng.uniform(0.0006, 0.003)
    line = max(int(34 * scale), 5)
    y = line
    while y < height + line:
        words = " ".join(
            _WORDS[int(i)].lower() for i in rng.integers(0, len(_WORDS), max(int(width / (90 * scale)), 1))
        )
        font = int(rng.choice(_FONTS))
        if rng.random() < 0.85:
            start = int(rng.uniform(0, 0.1) * width)
            cv2.putText(sheet, words, (start, y), font, scale, 255, max(int(scale * 1.6), 1), cv2.LINE_AA)
        y += line
    mix = (sheet.astype(np.float32) / 255)[..., None]
    grain = np.exp(0.05 * fractal_noise(rng, width, height, unit * 0.2, 5, 0.6))[..., None]
    return np.clip((paper * (1 - mix) + ink * mix) * grain, 0.01, 0.95).astype(np.float32)


_WORDS = (
    "CAFE", "HOTEL", "BAR", "BOOKS", "CINEMA", "MARKET", "FLOWERS", "THEATRE", "BAKERY", "JAZZ", "OPEN", "MUSIC",
    "PIZZA", "TEA", "RADIO", "STATION", "GALLERY", "SHOES", "NOODLES", "OPTIK", "BANK", "POST", "GARAGE", "ART",
)  # fmt: skip
_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
)

Material = Callable[[np.random.Generator, int, int, float], np.ndarray]
WALLS: tuple[Material, ...] = (plaster, bricks, planks, stones)
MATERIALS: tuple[Material, ...] = (plaster, bricks, planks, stones, fabric, foliage, text_sheet)


def random_material(rng: np.random.Generator, width: int, height: int, unit: float) -> np.ndarray:
    """One of all materials."""
    return MATERIALS[int(rng.integers(len(MATERIALS)))](rng, width, height, unit)


# ---- light -----------------------------------------------------------------------------------------------------------


def illumination(rng: np.random.Generator, width: int, height: int, stops: float) -> np.ndarray:
    """(h, w, 3) float32 smooth coloured light of about `stops` stops between its brightest and darkest part."""
    small_w, small_h = max(width // 8, 4), max(height // 8, 4)
    field = fractal_noise(rng, small_w, small_h, max(small_w, small_h) * 0.7, 3, 0.45)
    light = np.exp2(field * (stops / 4))
    cool, hot = np.array([0.75, 0.95, 1.35], np.float32), warm(rng)
    mix = 1 / (1 + np.exp(-1.5 * field))[..., None]
    small = (light[..., None] * (hot * mix + cool * (1 - mix))).astype(np.float32)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).clip(min=1e-4)


def add_light(
    picture: np.ndarray, x: float, y: float, core: float, radiance: float, tint: np.ndarray, glow: float = 0.02
) -> None:
    """Add a lamp in place: a core of `core` pixels radius at `radiance`, and a halo falling as the inverse square.

    `glow` is the halo's brightness at the rim of the core relative to the core.
    """
    height, width = picture.shape[:2]
    reach = core * math.sqrt(max(glow * radiance / 2e-3, 4.0))
    reach = min(max(reach, 3 * core), 1.5 * max(width, height))
    x0, x1 = max(int(x - reach), 0), min(int(x + reach) + 1, width)
    y0, y1 = max(int(y - reach), 0), min(int(y + reach) + 1, height)
    if x0 >= x1 or y0 >= y1:
        return
    dx = np.arange(x0, x1, dtype=np.float32) - np.float32(x)
    dy = (np.arange(y0, y1, dtype=np.float32) - np.float32(y))[:, None]
    r = np.sqrt(dx * dx + dy * dy) / np.float32(max(core, 0.5))
    halo = np.float32(glow) / (1 + r * r) * np.clip(1 - r * np.float32(core / reach), 0, 1)
    disc = np.clip(1.5 - r, 0, 1)
    picture[y0:y1, x0:x1] += (np.float32(radiance) * (disc + halo))[..., None] * tint


def polygon_mask(width: int, height: int, points: np.ndarray) -> np.ndarray:
    """(height, width) float32 anti-aliased inside of a polygon; points (n, 2) in pixels."""
    mask = np.zeros((height, width), np.uint8)
    corners = np.round(np.asarray(points, np.float64) * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, _SHIFT)
    return mask.astype(np.float32) / 255


def paint(picture: np.ndarray, mask: np.ndarray, what: np.ndarray) -> None:
    """Lay `what`, a colour or a picture, over `picture` where `mask` is 1, in place."""
    m = mask[..., None]
    picture *= 1 - m
    picture += m * what


# ---- pictures --------------------------------------------------------------------------------------------------------


def leaves_picture(rng: np.random.Generator, width: int, height: int, unit: float) -> np.ndarray:
    """Occluding shapes of all sizes, each of some material and in its own light (the dead leaves model: Lee, Mumford
    and Huang, Occlusion models for natural images, IJCV 2001)."""
    labels = np.zeros((height, width), np.int32)
    count = int(rng.integers(50, 220))
    low, high = 0.02, 0.55
    # radii with density r^-3, cut off at both ends: the statistics of natural scenes do not depend on scale
    radii = unit / np.sqrt(rng.uniform(1 / high**2, 1 / low**2, count))
    radii[: count // 8] = unit * rng.uniform(0.2, high, count // 8)
    for i in range(1, count):
        points = outline(rng, float(radii[i])) + rng.uniform(0, 1, 2) * [width, height]
        cv2.fillPoly(labels, [np.round(points).astype(np.int32)], i)
    looks = [random_material(rng, width, height, unit) for _ in range(4)]
    choice = rng.integers(0, len(looks), count)[labels]
    albedo = looks[0]
    for k in range(1, len(looks)):
        albedo = np.where((choice == k)[..., None], looks[k], albedo)
    tones = _vary(rng, np.ones(3, np.float32), count, 0.6) * np.exp(rng.normal(0, 0.9, (count, 1)))
    light = illumination(rng, width, height, rng.uniform(4, 8))
    picture = albedo * tones.astype(np.float32)[labels] * light
    for _ in range(int(rng.integers(0, 5))):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        add_light(picture, x, y, unit * rng.uniform(0.004, 0.03), 10 ** rng.uniform(1.3, 3.2), warm(rng), 0.01)
    return picture


def _light_field(
    width: int, height: int, lamps: Sequence[tuple[float, float, float, float, np.ndarray]], ambient: np.ndarray
) -> np.ndarray:
    """(h, w, 3) light of lamps (x, y, reach, strength, tint) on a wall: strength / (1 + (r / reach)^2), and ambient."""
    step = 4
    small_w, small_h = width // step + 2, height // step + 2
    xs = np.arange(small_w, dtype=np.float32)[None, :] * step
    ys = np.arange(small_h, dtype=np.float32)[:, None] * step
    field = np.empty((small_h, small_w, 3), np.float32)
    field[:] = ambient
    for x, y, reach, strength, tint in lamps:
        r2 = ((xs - x) ** 2 + (ys - y) ** 2) / reach**2
        field += (strength / (1 + r2))[..., None].astype(np.float32) * tint
    matrix = np.array([[1 / step, 0, 0], [0, 1 / step, 0]])
    return cv2.warpAffine(field, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def _floor(material: np.ndarray, width: int, height: int, horizon: float, camera: float) -> np.ndarray:
    """(h, w, 3) a material laid on the ground seen in perspective; black above row `horizon`."""
    rows, columns = material.shape[:2]
    floor = np.zeros((height, width, 3), np.float32)
    first = int(np.clip(horizon + 1, 0, height - 1))
    below = np.arange(first, height, dtype=np.float32)[:, None] - np.float32(horizon)
    depth = np.float32(camera) / np.maximum(below, 0.5)
    map_x = _fold((np.arange(width, dtype=np.float32) - width / 2) * depth + columns / 2, columns)
    map_y = np.broadcast_to(_fold(camera * 2.0 * depth, rows), map_x.shape)
    pattern = cv2.remap(material, map_x, np.ascontiguousarray(map_y), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    far = np.clip((depth - 1.2) / 3, 0, 1)[..., None]  # far away the pattern is finer than a pixel: show its mean
    floor[first:] = pattern * (1 - far) + far * np.array(cv2.mean(material)[:3], np.float32)
    return floor


def _fold(position: np.ndarray, length: int) -> np.ndarray:
    """Positions reflected into [0, length - 1]."""
    period = np.float32(2 * (length - 1))
    return (length - 1 - np.abs(position % period - (length - 1))).astype(np.float32)


def _ridge(rng: np.random.Generator, width: int, base: float, swing: float, cell: float) -> np.ndarray:
    """(width,) row of a skyline: base minus fractal noise times swing."""
    noise = fractal_noise(rng, width, 8, cell, 7, 0.5)[4]
    return base - swing * noise


def _below(height: int, ridge: np.ndarray) -> np.ndarray:
    """(height, width) float32 anti-aliased part of the picture below a skyline."""
    return np.clip(np.arange(height, dtype=np.float32)[:, None] - ridge[None, :] + 0.5, 0, 1)


def _text(
    rng: np.random.Generator, width: int, height: int, x: float, y: float, size: float, letters: int
) -> np.ndarray:
    """(height, width) float32 matte of a word of at most `letters`, `size` pixels high, with its baseline at (x, y)."""
    mask = np.zeros((height, width), np.uint8)
    fitting = [word for word in _WORDS if len(word) <= max(letters, 3)]
    word = fitting[int(rng.integers(len(fitting)))]
    font = int(rng.choice(_FONTS[:4]))
    thickness = max(int(size / 9), 1)
    cv2.putText(mask, word, (int(x), int(y)), font, size / 22, 255, thickness, cv2.LINE_AA)
    return mask.astype(np.float32) / 255


def _box(picture: np.ndarray, x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """View of a rectangle of the picture, cut at its border; possibly empty."""
    height, width = picture.shape[:2]
    a, b = int(np.clip(round(x0), 0, width)), int(np.clip(round(x1), 0, width))
    c, d = int(np.clip(round(y0), 0, height)), int(np.clip(round(y1), 0, height))
    return picture[c : max(d, c), a : max(b, a)]


def _ramp(view: np.ndarray, top: float, bottom: float) -> np.ndarray:
    """(rows, 1, 1) gain from `top` to `bottom` over the rows of a view."""
    return np.linspace(top, bottom, max(view.shape[0], 1), dtype=np.float32)[: view.shape[0], None, None]


def sky(rng: np.random.Generator, width: int, height: int, unit: float, horizon: float) -> np.ndarray:
    """A day or sunset sky: gradient, haze, a sun (in the frame or not) and clouds lit by it; mean radiance near 1."""
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.arange(width, dtype=np.float32)[None, :]
    up = np.clip((horizon - y) / max(horizon, 1.0), 0, 1)
    evening = float(rng.random() ** 2)
    zenith = np.array([0.15, 0.31, 0.78], np.float32) * (1 - 0.65 * evening)
    low = np.array([0.85, 0.95, 1.05], np.float32) * (1 - evening) + evening * np.array([1.5, 0.62, 0.25], np.float32)
    mix = (np.exp(-3.2 * up) * np.ones_like(x))[..., None]
    picture = zenith * (1 - mix) + low * mix
    sun_x = rng.uniform(-0.1, 1.1) * width
    sun_y = horizon * (1 - rng.uniform(0.03, 0.35)) if evening > 0.35 else horizon * rng.uniform(-0.3, 0.6)
    tint = np.array([1.2, 1.0, 0.8], np.float32) * (1 - evening) + evening * np.array([1.5, 0.75, 0.3], np.float32)
    r = np.sqrt((x - sun_x) ** 2 + (y - sun_y) ** 2) / np.float32(unit)
    glare = 0.9 * np.exp(-2.2 * r) + 5.0 * np.exp(-9.0 * r)
    picture = picture + glare[..., None] * tint
    disc = 10 ** rng.uniform(2.6, 3.9) * (1 - 0.8 * evening)
    sun = np.clip((0.021 - r) * np.float32(unit) * 0.7 + 0.5, 0, 1) * disc + 60 * np.exp(-38 * r)
    cover = rng.uniform(-1.3, 0.9)
    noise = fractal_noise(rng, width, int(height * 1.5) + 2, unit * rng.uniform(0.25, 0.6), 8, 0.56, stretch=1.6)
    # clouds are a ceiling: they crowd together towards the horizon
    rows = np.clip((1 - (1 - up) ** 0.5) * height * 1.4, 0, noise.shape[0] - 2).astype(np.float32)
    map_x = np.broadcast_to(x, (height, width)).astype(np.float32)
    noise = cv2.remap(noise, map_x, np.broadcast_to(rows, (height, width)).astype(np.float32), cv2.INTER_LINEAR)
    thick = np.clip(np.log1p(np.exp(3.0 * (noise + np.float32(cover)))) / 3.0 - 0.04, 0, 3)
    alpha = (1 - np.exp(-2.6 * thick**1.3)) * np.clip(up * 9, 0.25, 1)
    silver = np.exp(-0.9 * thick) * (0.75 + 2.6 * np.exp(-2.5 * r)) + 0.4 * (1 - 0.6 * evening)
    cloud = silver[..., None] * (0.55 * tint + 0.5) * np.float32(1.25)
    alpha = alpha[..., None]
    picture = picture * (1 - alpha) + cloud * alpha + (sun * np.exp(-2.6 * thick))[..., None] * tint
    return picture.astype(np.float32)


def landscape(rng: np.random.Generator, width: int, height: int, unit: float) -> np.ndarray:
    """Hills and trees under a sky, by day or against a low sun."""
    horizon = (height + unit * rng.uniform(-0.05, 0.3)) / 2
    picture = sky(rng, width, height, unit, horizon)
    haze = picture[max(int(horizon) - 3, 0)].mean(0)
    sunlight = rng.uniform(0.25, 1.6)
    light = np.array([1.15, 1.0, 0.8], np.float32) * sunlight + haze * np.float32(0.12)
    grain = fractal_noise(rng, width, height, unit * 0.12, 7, 0.72, stretch=1.6)
    shade = np.clip(0.55 + 0.6 * fractal_noise(rng, width, height, unit * 0.6, 3, 0.5, stretch=2.5), 0.08, 1.0)
    layers = int(rng.integers(2, 5))
    for k in range(layers):
        near = (k + 1) / layers
        ridge = _ridge(rng, width, horizon + unit * (-0.1 + 0.16 * near), unit * 0.07 * (1.3 - near), unit * 0.9)
        ridge += _ridge(rng, width, 0, unit * 0.008 * near, unit * 0.05)
        green = colour(rng, 0.45, 0.13) * np.array([0.9, 1.1, 0.65], np.float32)
        ground = green * np.exp((0.25 + 0.35 * near) * grain)[..., None] * light * shade[..., None]
        paint(picture, _below(height, ridge), haze * (0.55 * (1 - near)) + ground * (0.45 + 0.55 * near))
    field = MATERIALS[int(rng.choice([0, 3, 5]))](rng, width, height, unit * 0.5)
    if rng.random() < 0.6:  # meadow
        field = field * (0.6 * colour(rng, 0.5, 0.4) + np.array([0.35, 0.5, 0.15], np.float32))
    floor = _floor(field, width, height, horizon, unit * 0.35) * light * shade[..., None] * 0.8
    paint(picture, _below(height, _ridge(rng, width, horizon + unit * 0.14, unit * 0.012, unit * 0.3)), floor)
    for _ in range(int(rng.integers(0, 6))):
        _tree(rng, picture, rng.uniform(0, width), horizon + unit * rng.uniform(0.12, 0.45), unit, light)
    if rng.random() < 0.4:
        _fence(rng, picture, horizon + unit * rng.uniform(0.2, 0.4), unit, light)
    return picture


def _tree(rng: np.random.Generator, picture: np.ndarray, x: float, y: float, unit: float, light: np.ndarray) -> None:
    """A tree whose foot stands at (x, y), in place."""
    height, width = picture.shape[:2]
    size = unit * rng.uniform(0.18, 0.5)
    bark = colour(rng, 0.3, 0.08) * light
    trunk = np.array(
        [[x - 0.03 * size, y], [x + 0.03 * size, y], [x + 0.015 * size, y - size], [x - 0.012 * size, y - size]]
    )
    paint(picture, polygon_mask(width, height, trunk), bark)
    crown_w, crown_h = max(int(size * 1.3), 8), max(int(size * 1.1), 8)
    leaves = foliage(rng, crown_w, crown_h, unit * rng.uniform(0.3, 0.55))
    yy, xx = np.mgrid[-1 : 1 : crown_h * 1j, -1 : 1 : crown_w * 1j].astype(np.float32)
    shape = 1.0 - np.sqrt(xx * xx + yy * yy) + 0.16 * fractal_noise(rng, crown_w, crown_h, size * 0.3, 6, 0.75)
    alpha = np.clip((shape - 0.2) * 9, 0, 1)
    lit = (leaves * light * (1.5 - 0.9 * (yy + 1) / 2)[..., None]).astype(np.float32)
    left, top = int(x - crown_w / 2), int(y - size * 0.75 - crown_h / 2)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + crown_w, width), min(top + crown_h, height)
    if x0 < x1 and y0 < y1:
        part = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
        paint(picture[y0:y1, x0:x1], alpha[part], lit[part])


def _fence(rng: np.random.Generator, picture: np.ndarray, y: float, unit: float, light: np.ndarray) -> None:
    """Posts and rails across the picture, in place."""
    height, width = picture.shape[:2]
    wood = colour(rng, 0.3, 0.2) * light * rng.uniform(0.3, 1.0)
    mask = np.zeros((height, width), np.uint8)
    tall, gap = unit * rng.uniform(0.09, 0.16), unit * rng.uniform(0.1, 0.25)
    for x in np.arange(rng.uniform(0, gap), width, gap):
        cv2.line(mask, (int(x), int(y)), (int(x), int(y - tall)), 255, max(int(unit * 0.012), 1), cv2.LINE_AA)
    for part in (0.35, 0.8):
        cv2.line(
            mask, (0, int(y - part * tall)), (width, int(y - part * tall)), 255, max(int(unit * 0.008), 1), cv2.LINE_AA
        )
    paint(picture, mask.astype(np.float32) / 255, wood)


def night_street(rng: np.random.Generator, width: int, height: int, unit: float) -> np.ndarray:
    """House fronts with lit windows, shops and signs, street lamps and a wet road."""
    street = height / 2 + unit * rng.uniform(0.08, 0.24)
    dusk = 10 ** rng.uniform(-2.6, -1.2)
    top, low = np.array([0.25, 0.4, 1.0], np.float32) * dusk, np.array([1.0, 0.75, 0.6], np.float32) * dusk
    fade = np.linspace(0, 1, height, dtype=np.float32)[:, None, None] ** 1.5
    glow_noise = np.exp(0.35 * fractal_noise(rng, width, height, unit * 0.6, 5, 0.55, stretch=2))[..., None]
    picture = (top * (1 - fade) + low * fade) * glow_noise
    for _ in range(int(rng.integers(0, 60))):
        picture[int(rng.integers(0, max(int(street * 0.6), 1))), int(rng.integers(0, width))] += (
            dusk * 10 ** rng.uniform(0, 1.6)
        )
    emission = np.zeros_like(picture)
    lamps = []
    spacing = unit * rng.uniform(0.45, 0.9)
    lamp_tint = warm(rng)
    lamp_top = street - unit * rng.uniform(0.26, 0.4)
    for x in np.arange(rng.uniform(0, spacing), width + spacing / 2, spacing):
        lamps.append((float(x), lamp_top, unit * rng.uniform(0.16, 0.3), rng.uniform(0.5, 1.2), lamp_tint))
    light = _light_field(width, height, lamps, 0.25 * top + 0.012)
    walls = [material(rng, width, height, unit * rng.uniform(0.5, 0.9)) for material in (plaster, bricks)]
    x = -unit * rng.uniform(0, 0.2)
    while x < width:
        house_w = unit * rng.uniform(0.28, 0.62)
        _house_at_night(rng, picture, emission, light, walls, x, house_w, street, unit)
        x += house_w + (unit * rng.uniform(0.02, 0.15) if rng.random() < 0.25 else 0)
    spill = cv2.resize(emission, (width // 8 + 1, height // 8 + 1), interpolation=cv2.INTER_AREA)
    spill = cv2.GaussianBlur(np.minimum(spill, 30), (0, 0), max(unit * 0.08 / 8, 0.6))
    spill = cv2.resize(spill, (width, height), interpolation=cv2.INTER_LINEAR)
    picture += emission + spill * 0.03
    # the road: pools of light, and the street upside down where it is wet
    asphalt = plaster(rng, width, height, unit * 0.3) * 0.3
    if rng.random() < 0.4:
        asphalt = stones(rng, width, height, unit * 0.8) * 0.5
    floor = _floor(asphalt, width, height, street - unit * 0.03, unit * 0.3)
    rows = np.arange(height)
    pools = light[np.clip((lamp_top + (rows - lamp_top) * 1.0).astype(int), 0, height - 1)] * 1.6 + spill * 0.5
    mirror_rows = np.clip((2 * street - rows).astype(int), 0, height - 1)
    mirror = cv2.blur(np.minimum(picture[mirror_rows], 60), (max(int(unit * 0.008), 1), max(int(unit * 0.13), 3)))
    wet = rng.uniform(0.02, 0.35) * np.clip(
        0.5 + 0.6 * fractal_noise(rng, width, height, unit * 0.3, 5, 0.6, 2.5), 0.05, 1.3
    )
    ground = floor * pools + mirror * wet[..., None]
    paint(picture, _below(height, np.full(width, street, np.float32)), ground.astype(np.float32))
    kerb = _box(picture, 0, street, width, street + unit * 0.018)
    kerb *= 1.8
    power = 10 ** rng.uniform(2.0, 3.3)
    for lx, ly, _, _, tint in lamps:
        pole = _box(picture, lx - unit * 0.006, ly, lx + unit * 0.006, street + unit * 0.03)
        pole *= 0.12
        add_light(picture, lx, ly, unit * rng.uniform(0.009, 0.016), power, tint, 0.006)
    return picture


def _house_at_night(
    rng: np.random.Generator,
    picture: np.ndarray,
    emission: np.ndarray,
    light: np.ndarray,
    walls: Sequence[np.ndarray],
    x: float,
    house_w: float,
    street: float,
    unit: float,
) -> None:
    """One house front: wall, windows, perhaps a shop with a neon sign, in place."""
    height, width = picture.shape[:2]
    roof = street - unit * rng.uniform(0.4, 1.15)
    view = _box(picture, x, roof, x + house_w, street)
    if not view.size:
        return
    tint = np.exp(rng.normal(0, 0.35)) * (0.7 + 0.6 * colour(rng, 0.3, 0.5))
    view[:] = (
        _box(walls[int(rng.integers(len(walls)))], x, roof, x + house_w, street)
        * tint
        * _box(light, x, roof, x + house_w, street)
    )
    ledge = _box(picture, x, roof, x + house_w, roof + unit * 0.012)
    ledge *= 2.0
    columns = int(rng.integers(2, 6))
    cell_w = house_w / (columns + 0.4)
    cell_h = unit * rng.uniform(0.13, 0.2)
    win_w, win_h = cell_w * rng.uniform(0.4, 0.68), cell_h * rng.uniform(0.5, 0.72)
    shop = rng.random() < 0.55
    first = street - (unit * 0.24 if shop else unit * 0.05)
    lit_share = rng.uniform(0.15, 0.6)
    for r in range(int((first - roof - 0.3 * cell_h) / cell_h)):
        for c in range(columns):
            wx, wy = x + 0.2 * cell_w + (c + 0.16) * cell_w, first - (r + 1) * cell_h
            frame = _box(
                picture, wx - unit * 0.006, wy - unit * 0.006, wx + win_w + unit * 0.006, wy + win_h + unit * 0.012
            )
            frame *= 1.5
            glass = _box(picture, wx, wy, wx + win_w, wy + win_h)
            glass *= 0.12
            if rng.random() > lit_share:
                continue
            tone = warm(rng) if rng.random() < 0.8 else np.array([0.75, 0.95, 1.25], np.float32)
            level = math.exp(rng.normal(1.0, 0.9))
            room = _box(emission, wx, wy, wx + win_w, wy + win_h)
            room[:] = tone * level * _ramp(room, rng.uniform(0.7, 1.5), rng.uniform(0.15, 0.8))
            if rng.random() < 0.5:  # a curtain on either side
                for a, b in ((0, rng.uniform(0.1, 0.35)), (rng.uniform(0.65, 0.9), 1)):
                    curtain = _box(emission, wx + a * win_w, wy, wx + b * win_w, wy + win_h)
                    curtain *= rng.uniform(0.2, 0.6) * (0.6 + 0.8 * colour(rng, 0.6, 0.5))
            if rng.random() < 0.35:  # the lamp itself
                bulb = _box(
                    emission,
                    wx + 0.45 * win_w,
                    wy + 0.15 * win_h,
                    wx + 0.45 * win_w + unit * 0.012,
                    wy + 0.15 * win_h + unit * 0.01,
                )
                bulb[:] = tone * level * rng.uniform(8, 40)
            for bar in (
                _box(emission, wx + 0.47 * win_w, wy, wx + 0.53 * win_w, wy + win_h),
                _box(emission, wx, wy + 0.4 * win_h, wx + win_w, wy + 0.46 * win_h),
            ):
                bar *= 0.1
    if not shop:
        return
    sx0, sx1, sy0, sy1 = x + 0.08 * house_w, x + 0.92 * house_w, street - unit * 0.17, street - unit * 0.015
    window = _box(emission, sx0, sy0, sx1, sy1)
    if not window.size:
        return
    tone, level = (warm(rng) + 0.4) * rng.uniform(0.5, 0.9), math.exp(rng.normal(1.5, 0.7))
    goods = (
        fabric(rng, window.shape[1], window.shape[0], unit * 0.5)
        if rng.random() < 0.5
        else _goods(rng, window.shape[1], window.shape[0], unit)
    )
    window[:] = goods * tone * level * _ramp(window, 1.8, 0.5)
    for k in range(1, int(rng.integers(2, 5))):
        bar = _box(emission, sx0 + k * (sx1 - sx0) / 4, sy0, sx0 + k * (sx1 - sx0) / 4 + unit * 0.008, sy1)
        bar *= 0.05
    size = unit * rng.uniform(0.028, 0.05)
    letters = max(int(0.84 * house_w / size), 3)
    neon = colour(rng, 0.95, 0.9)
    neon = neon / max(float(neon.max()), 1e-3)
    mask = _text(rng, width, height, sx0, street - unit * 0.185, size, letters)
    emission += mask[..., None] * neon * np.float32(math.exp(rng.normal(2.6, 0.6)))


def _goods(rng: np.random.Generator, width: int, height: int, unit: float) -> np.ndarray:
    """(h, w, 3) albedo of things standing side by side on boards."""
    albedo = np.full((height, width, 3), 0.05, np.float32)
    board = max(unit * rng.uniform(0.1, 0.22), 6.0)
    y = board * rng.uniform(0.3, 1.0)
    while y < height + board:
        x = -rng.uniform(0, 0.1) * unit
        while x < width:
            w = board * rng.uniform(0.1, 0.6)
            tall = board * rng.uniform(0.45, 0.88)
            item = _box(albedo, x, y - tall, x + w, y)
            if item.size:
                across = np.linspace(-1, 1, item.shape[1], dtype=np.float32)[None, :, None]
                item[:] = colour(rng, 0.75, 0.35) * (1.0 - 0.55 * across**2)
                band = _box(albedo, x, y - tall * rng.uniform(0.4, 0.9), x + w, y - tall * rng.uniform(0.15, 0.38))
                if rng.random() < 0.6 and band.size:
                    band[:] = colour(rng, 0.5, 0.7)
            x += w * (1.03 if rng.random() < 0.9 else rng.uniform(1.2, 3.0))
        plank = _box(albedo, 0, y, width, y + 0.08 * board)
        plank[:] = 0.3
        y += board
    return albedo


def shelves(rng: np.random.Generator, width: int, height: int, unit: float) -> np.ndarray:
    """Things on shelves under a few spotlights, deep shade between them."""
    albedo = _goods(rng, width, height, unit * rng.uniform(0.9, 1.8))
    albedo *= np.exp(0.1 * fractal_noise(rng, width, height, unit * 0.06, 5, 0.7))[..., None]
    lamps = [
        (
            rng.uniform(0, width),
            rng.uniform(-0.1, 0.6) * height,
            unit * rng.uniform(0.1, 0.3),
            10 ** rng.uniform(-0.3, 0.9),
            warm(rng),
        )
        for _ in range(int(rng.integers(2, 5)))
    ]
    picture = albedo * _light_field(
        width, height, lamps, np.array([0.01, 0.014, 0.02], np.float32) * rng.uniform(0.5, 3)
    )
    for x, y, _, strength, tint in lamps:
        if rng.random() < 0.7:
            add_light(
                picture, x, y, unit * rng.uniform(0.01, 0.03), strength * 10 ** rng.uniform(1.5, 2.8), tint, 0.004
            )
    return picture


def interior(rng: np.random.Generator, width: int, height: int, unit: float) -> np.ndarray:
    """A room with a window to a bright day, light falling on the floor, and a lamp."""
    cx = width / 2
    floor_y = height / 2 + unit * rng.uniform(0.18, 0.3)
    albedo = plaster(rng, width, height, unit) if rng.random() < 0.7 else bricks(rng, width, height, unit)
    lamp = (
        cx + unit * rng.uniform(-0.7, 0.7),
        floor_y - unit * rng.uniform(0.25, 0.45),
        unit * 0.16,
        rng.uniform(0.05, 0.5),
        warm(rng),
    )
    win_w, win_h = unit * rng.uniform(0.3, 0.6), unit * rng.uniform(0.3, 0.45)
    wx, wy = cx - win_w / 2 + unit * rng.uniform(-0.45, 0.45), floor_y - unit * 0.17 - win_h
    day = np.array([0.75, 0.95, 1.2], np.float32)
    lamps = [lamp, (wx + win_w / 2, wy + win_h, unit * 0.35, rng.uniform(0.03, 0.12), day)]
    light = _light_field(width, height, lamps, day * rng.uniform(0.004, 0.02))
    picture = albedo * light
    boards = planks(rng, width, height, unit * 0.8) if rng.random() < 0.6 else bricks(rng, width, height, unit * 1.4)
    flat = _light_field(
        width,
        height,
        [(wx + win_w / 2, floor_y + unit * 0.15, unit * 0.5, rng.uniform(0.04, 0.15), day), lamp],
        day * 0.008,
    )
    ground = _floor(boards, width, height, floor_y - unit * 0.12, unit * 0.4) * flat
    # the window on the floor: a patch of sunlight with the bars in it
    lean = unit * rng.uniform(-0.5, 0.5)
    a, b = floor_y + unit * rng.uniform(0.03, 0.08), floor_y + unit * rng.uniform(0.16, 0.3)
    sun = np.zeros((height, width), np.float32)
    panes = int(rng.integers(2, 4))
    for k in range(panes):
        l0, l1 = wx + win_w * (k + 0.06) / panes, wx + win_w * (k + 0.94) / panes
        spread = 1.25
        c = wx + win_w / 2
        quad = [
            [l0 + lean * 0.4, a],
            [l1 + lean * 0.4, a],
            [c + (l1 - c) * spread + lean, b],
            [c + (l0 - c) * spread + lean, b],
        ]
        sun += polygon_mask(width, height, np.array(quad))
    ground += (
        _floor(boards, width, height, floor_y - unit * 0.12, unit * 0.4)
        * (sun * np.float32(rng.uniform(1.0, 5.0)))[..., None]
        * np.array([1.2, 1.0, 0.75], np.float32)
    )
    paint(picture, _below(height, np.full(width, floor_y, np.float32)), ground.astype(np.float32))
    skirting = _box(picture, 0, floor_y - unit * 0.02, width, floor_y)
    skirting *= 1.6
    # what is outside
    pane = _box(picture, wx, wy, wx + win_w, wy + win_h)
    if pane.size:
        frame = _box(picture, wx - unit * 0.02, wy - unit * 0.02, wx + win_w + unit * 0.02, wy + win_h + unit * 0.03)
        frame[:] = frame * 0.3 + 0.05
        outside = (
            landscape(rng, pane.shape[1], pane.shape[0], unit * 0.45)
            if rng.random() < 0.7
            else facade(rng, pane.shape[1], pane.shape[0], unit * 0.6)
        )
        pane[:] = np.minimum(outside, 300) * 10 ** rng.uniform(0.3, 0.9)
        for k in range(1, panes):
            bar = _box(
                picture, wx + win_w * k / panes - unit * 0.008, wy, wx + win_w * k / panes + unit * 0.008, wy + win_h
            )
            bar[:] = 0.05
    for _ in range(int(rng.integers(1, 4))):  # pictures on the wall
        fw, fh = unit * rng.uniform(0.1, 0.25), unit * rng.uniform(0.1, 0.25)
        fx, fy = rng.uniform(0, width), floor_y - unit * rng.uniform(0.3, 0.8)
        if wx - fw < fx < wx + win_w:
            continue
        frame = _box(picture, fx, fy, fx + fw, fy + fh)
        frame *= 0.15
        canvas = _box(picture, fx + fw * 0.08, fy + fh * 0.08, fx + fw * 0.92, fy + fh * 0.92)
        if canvas.size:
            canvas[:] = random_material(rng, canvas.shape[1], canvas.shape[0], unit * 0.5) * _box(
                light, fx + fw * 0.08, fy + fh * 0.08, fx + fw * 0.92, fy + fh * 0.92
            )
    for _ in range(int(rng.integers(1, 4))):  # furniture
        bw, bh = unit * rng.uniform(0.15, 0.4), unit * rng.uniform(0.12, 0.45)
        bx, by = rng.uniform(-0.1, 0.95) * width, floor_y + unit * rng.uniform(0.0, 0.12)
        body = _box(picture, bx, by - bh, bx + bw, by)
        if body.size:
            look = _goods if rng.random() < 0.4 else random_material
            body[:] = (
                look(rng, body.shape[1], body.shape[0], unit * 0.6)
                * _box(light, bx, by - bh, bx + bw, by)
                * _ramp(body, 1.2, 0.35)
            )
            cast = _box(picture, bx - unit * 0.01, by, bx + bw + unit * 0.01, by + unit * 0.03)
            cast *= 0.35
    _lamp(rng, picture, lamp[0], lamp[1], floor_y, unit, lamp[4], 10 ** rng.uniform(0.6, 1.6))
    return picture


def _lamp(
    rng: np.random.Generator,
    picture: np.ndarray,
    x: float,
    y: float,
    foot: float,
    unit: float,
    tint: np.ndarray,
    level: float,
) -> None:
    """A standing lamp with a shade, in place."""
    height, width = picture.shape[:2]
    stem = _box(picture, x - unit * 0.005, y, x + unit * 0.005, foot + unit * 0.04)
    stem *= 0.15
    top, bottom, tall = unit * 0.035, unit * 0.065, unit * 0.09
    shade = np.array([[x - top, y - tall], [x + top, y - tall], [x + bottom, y], [x - bottom, y]])
    rows = (np.arange(height, dtype=np.float32)[:, None, None] - np.float32(y - tall)) / np.float32(tall)
    paint(picture, polygon_mask(width, height, shade), tint * level * np.clip(0.35 + 0.9 * rows, 0.2, 1.4))
    add_light(picture, x, y - 0.004 * unit, unit * rng.uniform(0.005, 0.012), level * rng.uniform(15, 60), tint, 0.002)


def facade(rng: np.random.Generator, width: int, height: int, unit: float) -> np.ndarray:
    """A house front in the sun, the lower part or one side in hard shadow."""
    ground_y = height / 2 + unit * rng.uniform(0.25, 0.42)
    albedo = WALLS[int(rng.integers(len(WALLS)))](rng, width, height, unit * rng.uniform(0.5, 1.0))
    sun, shade = (
        np.array([1.25, 1.05, 0.8], np.float32) * rng.uniform(1.5, 4),
        np.array([0.06, 0.085, 0.13], np.float32),
    )
    lit = np.ones((height, width), np.float32)
    slope = rng.uniform(-0.7, 0.7)
    middle = np.array([width, height]) * rng.uniform(0.3, 0.7, 2)
    far = 4.0 * max(width, height)
    direction = np.array([math.cos(slope), math.sin(slope)])
    normal = np.array([-direction[1], direction[0]])
    corners = np.array(
        [
            middle - far * direction,
            middle + far * direction,
            middle + far * (direction + normal),
            middle + far * (normal - direction),
        ]
    )
    lit -= polygon_mask(width, height, corners)
    for _ in range(int(rng.integers(0, 3))):
        lit *= 1 - polygon_mask(
            width, height, outline(rng, unit * rng.uniform(0.1, 0.35)) + rng.uniform(0, 1, 2) * [width, height]
        )
    if rng.random() < 0.5:  # the shadow of a tree
        noise = fractal_noise(rng, width, height, unit * 0.16, 6, 0.8)
        lit *= np.clip((noise + rng.uniform(0, 1.2)) * 4, 0, 1)
    soft = cv2.GaussianBlur(lit, (0, 0), max(unit * 0.003, 0.6))
    light = sun * soft[..., None] + shade
    picture = albedo * light
    cell_w, cell_h = unit * rng.uniform(0.22, 0.4), unit * rng.uniform(0.26, 0.42)
    win_w, win_h = cell_w * rng.uniform(0.35, 0.55), cell_h * rng.uniform(0.45, 0.62)
    blind = colour(rng, 0.6, 0.3)
    bars = 0.3 * np.array(cv2.mean(light)[:3], np.float32)
    reflect = sky(rng, width, height, unit, height * 1.2)
    shutters = rng.random() < 0.4
    y = ground_y - cell_h * 0.95
    while y > -cell_h:
        for x in np.arange((width / 2) % cell_w - cell_w, width, cell_w):
            frame = _box(picture, x - unit * 0.014, y - unit * 0.014, x + win_w + unit * 0.014, y + win_h + unit * 0.02)
            frame[:] = 0.75 * _box(
                light, x - unit * 0.014, y - unit * 0.014, x + win_w + unit * 0.014, y + win_h + unit * 0.02
            )
            cast = _box(
                picture, x - unit * 0.01, y + win_h + unit * 0.02, x + win_w + unit * 0.02, y + win_h + unit * 0.045
            )
            cast *= 0.45
            glass = _box(picture, x, y, x + win_w, y + win_h)
            glass[:] = np.minimum(_box(reflect, x, y, x + win_w, y + win_h), 400) * rng.uniform(0.02, 0.5) + 0.008
            if rng.random() < 0.3:
                inner = _box(picture, x, y, x + win_w * rng.uniform(0.2, 0.5), y + win_h)
                inner[:] = 0.5 * _box(light, x, y, x + win_w, y + win_h)[: inner.shape[0], : inner.shape[1]]
            for bar in (
                _box(picture, x + 0.46 * win_w, y, x + 0.54 * win_w, y + win_h),
                _box(picture, x, y + 0.42 * win_h, x + win_w, y + 0.48 * win_h),
            ):
                bar[:] = bars
            if shutters:
                for side in (x - 0.4 * win_w, x + 1.05 * win_w):
                    leaf = _box(picture, side, y, side + 0.35 * win_w, y + win_h)
                    slats = 0.7 + 0.3 * np.sign(np.sin(np.arange(leaf.shape[0]) * (6.0 / (unit * 0.015))))
                    leaf[:] = blind * _box(light, side, y, side + 0.35 * win_w, y + win_h) * slats[:, None, None]
        y -= cell_h
    for _ in range(int(rng.integers(0, 7))):  # the sun in a pane or on metal
        x, gy = rng.uniform(0, width), rng.uniform(0, ground_y)
        add_light(
            picture, x, gy, unit * rng.uniform(0.002, 0.008), 10 ** rng.uniform(1.5, 3.0), np.ones(3, np.float32), 0.003
        )
    if rng.random() < 0.6:  # an awning or a sign over a shop
        y0, x0 = ground_y - unit * 0.3, rng.uniform(0, 0.6) * width
        x1 = x0 + unit * rng.uniform(0.4, 0.8)
        look = fabric if rng.random() < 0.5 else text_sheet
        part = _box(picture, x0, y0, x1, y0 + unit * 0.1)
        if part.size:
            part[:] = look(rng, part.shape[1], part.shape[0], unit * 0.8) * _box(light, x0, y0, x1, y0 + unit * 0.1)
            under = _box(picture, x0, y0 + unit * 0.1, x1, ground_y)
            under *= 0.18
    pavement = stones(rng, width, height, unit * 0.7) if rng.random() < 0.5 else plaster(rng, width, height, unit * 0.4)
    ground = _floor(pavement, width, height, ground_y - unit * 0.06, unit * 0.35) * light
    paint(picture, _below(height, np.full(width, ground_y, np.float32)), ground.astype(np.float32))
    return picture


def backlit(rng: np.random.Generator, width: int, height: int, unit: float) -> np.ndarray:
    """Branches and leaves against a bright sky, the sun between them."""
    picture = sky(rng, width, height, unit, height * rng.uniform(0.9, 1.3)) * np.float32(rng.uniform(1, 3))
    leaves = foliage(rng, width, height, unit * rng.uniform(0.8, 1.6))
    noise = fractal_noise(rng, width, height, unit * 0.45, 7, 0.7)
    trunk = fractal_noise(rng, height, width, unit * 0.09, 5, 0.6, stretch=5.0).T
    mask = np.clip((noise + rng.uniform(-0.5, 0.7)) * 7, 0, 1)
    through = np.array([0.9, 1.25, 0.3], np.float32) * rng.uniform(0.1, 1.2)
    paint(picture, mask, leaves * (through + 0.25 * illumination(rng, width, height, 4)))
    bark = plaster(rng, width, height, unit * 0.2) * illumination(rng, width, height, 3)
    for _ in range(int(rng.integers(1, 5))):
        x, thick, lean = rng.uniform(0, width), unit * rng.uniform(0.015, 0.1), unit * rng.uniform(-0.25, 0.25)
        stem = np.array(
            [[x - thick, height], [x + thick, height], [x + thick * 0.6 + lean, -5], [x - thick * 0.6 + lean, -5]]
        )
        tone = bark * np.exp(0.5 * trunk)[..., None] * np.float32(rng.uniform(0.04, 0.3))
        paint(picture, polygon_mask(width, height, stem), tone.astype(np.float32))
    return picture


def random_picture(rng: np.random.Generator, width: int, height: int, unit: float) -> tuple[str, np.ndarray]:
    """The name and the pixels (height, width, 3) of a picture of a random kind."""
    names = list(PICTURES)
    name = names[int(rng.choice(len(names), p=[PICTURES[n][1] for n in names]))]
    picture = PICTURES[name][0](rng, width, height, unit)
    return name, np.ascontiguousarray(np.clip(picture, 1e-5, LARGEST), np.float32)


PICTURES: dict[str, tuple[Material, float]] = {
    "night street": (night_street, 0.2),
    "landscape": (landscape, 0.16),
    "interior": (interior, 0.16),
    "facade": (facade, 0.14),
    "shelves": (shelves, 0.08),
    "backlit trees": (backlit, 0.1),
    "leaves": (leaves_picture, 0.16),
}
"""Pictures by name: painter and share."""

# ---- objects ---------------------------------------------------------------------------------------------------------


def outline(rng: np.random.Generator, radius: float) -> np.ndarray:
    """(n, 2) points of a closed outline about (0, 0): a blob, a polygon, an ellipse or a box."""
    kind = rng.integers(0, 4)
    turn = rng.uniform(0, 2 * math.pi)
    if kind == 0:  # blob: a circle with a few harmonics
        a = np.linspace(0, 2 * math.pi, 48, endpoint=False)
        r = np.ones_like(a)
        for k in range(2, 6):
            r += rng.normal(0, 0.28 / k) * np.cos(k * a + rng.uniform(0, 2 * math.pi))
        points = np.stack([np.cos(a), np.sin(a)], -1) * np.maximum(r, 0.25)[:, None]
    elif kind == 1:
        n = int(rng.integers(3, 8))
        a = np.sort(rng.uniform(0, 2 * math.pi, n))
        points = np.stack([np.cos(a), np.sin(a)], -1) * rng.uniform(0.55, 1.0, (n, 1))
    elif kind == 2:
        a = np.linspace(0, 2 * math.pi, 40, endpoint=False)
        points = np.stack([np.cos(a), rng.uniform(0.3, 1.0) * np.sin(a)], -1)
    else:
        aspect = rng.uniform(0.3, 1.0)
        points = np.array([[-1, -aspect], [1, -aspect], [1, aspect], [-1, aspect]])
    c, s = math.cos(turn), math.sin(turn)
    return radius * points @ np.array([[c, s], [-s, c]])


def person_mask(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, w) float32 matte of somebody walking."""
    width = max(int(size * 0.62), 8)
    mask = np.zeros((size, width), np.uint8)
    scale = size * (1 << _SHIFT)
    cx = width * (1 << _SHIFT) / 2

    def limb(x0: float, y0: float, x1: float, y1: float, thick: float) -> None:
        a = (round(cx + x0 * scale), round(y0 * scale))
        b = (round(cx + x1 * scale), round(y1 * scale))
        cv2.line(mask, a, b, 255, max(round(thick * size), 1), cv2.LINE_AA, _SHIFT)

    step, swing = rng.uniform(0.03, 0.14), rng.uniform(0.02, 0.13)
    cv2.ellipse(
        mask, (round(cx), round(0.1 * scale)), (round(0.06 * scale), round(0.075 * scale)), 0, 0, 360, 255, -1,
        cv2.LINE_AA, _SHIFT,
    )  # fmt: skip
    limb(0, 0.15, 0, 0.22, 0.06)
    body = np.array([[-0.1, 0.21], [0.1, 0.21], [0.085, 0.4], [0.09, 0.55], [-0.09, 0.55], [-0.085, 0.4]])
    if rng.random() < 0.3:  # a coat
        body[3:5] = [[0.13, 0.72], [-0.13, 0.72]]
    cv2.fillPoly(mask, [np.round(body * scale + [cx, 0]).astype(np.int32)], 255, cv2.LINE_AA, _SHIFT)
    for side in (-1, 1):
        limb(0.045 * side, 0.53, 0.045 * side + step * side * 0.6, 0.74, 0.085)
        limb(0.045 * side + step * side * 0.6, 0.74, 0.03 * side + step * side, 0.955, 0.06)
        limb(0.095 * side, 0.24, 0.12 * side + swing * side * 0.3, 0.4, 0.055)
        limb(0.12 * side + swing * side * 0.3, 0.4, 0.11 * side + swing * side, 0.54, 0.045)
    return mask.astype(np.float32) / 255


def random_matte(rng: np.random.Generator, size: int) -> np.ndarray:
    """(h, w) float32 in [0, 1] with a transparent border: blob, polygon, ellipse, box or rod, `size` high."""
    if rng.random() < 0.16:  # a rod, a pole, a cable
        thick = max(size * rng.uniform(0.02, 0.09), 2.0)
        width = int(size * rng.uniform(0.1, 0.9) + 2 * thick) + 4
        ends = np.array([[thick, thick], [width - thick, size - thick]])
        if rng.random() < 0.5:
            ends[:, 0] = ends[::-1, 0]
        line = np.zeros((size, width), np.uint8)
        start, stop = (tuple(int(v) for v in np.round(p * (1 << _SHIFT))) for p in ends)
        cv2.line(line, start, stop, 255, max(round(thick), 1), cv2.LINE_AA, _SHIFT)
        return np.pad(line.astype(np.float32) / 255, 3)
    points = outline(rng, size / 2)
    low, high = points.min(0), points.max(0)
    points = (points - low) * (size - 1) / max(float((high - low)[1]), 1.0)
    points[:, 0] *= min(1.0, 2.5 * size / max(float(points[:, 0].max()), 1.0))
    width = int(points[:, 0].max()) + 2
    matte = polygon_mask(width, size, points)
    if rng.random() < 0.2:  # something to see through
        hole = outline(rng, size * 0.2) + np.array([width, size]) * rng.uniform(0.3, 0.7, 2)
        matte *= 1 - polygon_mask(width, size, hole)
    return np.pad(matte, 3)


@dataclass(frozen=True, eq=False)
class Sprite:
    """An object cut out of its surroundings."""

    pixels: np.ndarray
    """(h, w, 4) float32: radiance premultiplied with alpha, and alpha in [0, 1]."""
    glow: bool = False
    """True where it adds light outside its alpha."""
    upright: bool = False
    """True for what walks or drives: it belongs on the ground and does not turn over."""

    def __repr__(self) -> str:
        return f"Sprite(pixels={self.pixels.shape}, glow={self.glow}, upright={self.upright})"


def random_sprite(rng: np.random.Generator, size: int, sources: Sequence[np.ndarray], level: float) -> Sprite:
    """An object about `size` pixels high, for a scene whose middle radiance is `level`.

    It is cut from one of `sources` (h, w, 3) or painted: a person, a car, a lantern, or a shape of some material.
    """
    kind = rng.random()
    if kind < 0.26:
        return Sprite(_person(rng, size, level), upright=True)
    if kind < 0.34:
        pixels, lit = _car(rng, size, level)
        return Sprite(pixels, glow=lit, upright=True)
    if kind < 0.42:
        return Sprite(_lantern(rng, size, level), glow=True)
    matte = random_matte(rng, size)
    height, width = matte.shape
    if sources and rng.random() < 0.65:
        body = _cut_out(rng, sources[int(rng.integers(len(sources)))], width, height)
        body *= level / (float(np.median(body.max(-1))) + 1e-6) * math.exp(rng.normal(0, 1.0))
    else:
        albedo = random_material(rng, width, height, max(float(size), 24.0) * rng.uniform(0.7, 2.0))
        body = albedo * _shading(rng, matte) * (3.0 * level * math.exp(rng.normal(0, 1.3)))
    return Sprite(_rgba(body, matte))


def _rgba(body: np.ndarray, matte: np.ndarray) -> np.ndarray:
    return np.dstack([np.clip(body, 0, LARGEST) * matte[..., None], matte]).astype(np.float32)


def _person(rng: np.random.Generator, size: int, level: float) -> np.ndarray:
    """Somebody walking, in clothes, with hair."""
    matte = np.pad(person_mask(rng, size), 3)
    height, width = matte.shape
    y = np.linspace(0, 1, height, dtype=np.float32)
    skin = np.array([0.62, 0.42, 0.3], np.float32) * rng.uniform(0.25, 1.1)
    coat = (
        fabric(rng, width, height, size * 1.0)
        if rng.random() < 0.4
        else plaster(rng, width, height, size * 0.5) * colour(rng, 0.8, 0.8)
    )
    legs, hair = colour(rng, 0.4, 0.15), earthy(rng, 0.5, 0.08)
    albedo = np.where(((y > 0.17) & (y < 0.57))[:, None, None], coat, legs)
    albedo = np.where((y <= 0.17)[:, None, None], skin, albedo)
    albedo = np.where((y < 0.075)[:, None, None], hair, albedo)
    albedo = np.where((y > 0.925)[:, None, None], np.float32(0.04), albedo)
    folds = np.exp(0.2 * fractal_noise(rng, width, height, size * 0.12, 4, 0.6))[..., None]
    return _rgba(albedo * folds * _shading(rng, matte) * (4.0 * level * math.exp(rng.normal(0, 1.0))), matte)


def _car(rng: np.random.Generator, size: int, level: float) -> tuple[np.ndarray, bool]:
    """A car from the side; its headlamps are lit now and then."""
    size = max(int(size * 0.6), 12)
    long = int(size * rng.uniform(2.1, 2.9))
    pad = size // 2 + 3
    h, w = size + 2 * pad, long + 2 * pad

    def at(points: list[list[float]]) -> np.ndarray:
        return np.array(points) * [long, size] + pad

    body = [[0.0, 0.82], [0.01, 0.5], [0.16, 0.42], [0.3, 0.06], [0.62, 0.04], [0.78, 0.4], [0.97, 0.48], [1.0, 0.82]]
    matte = polygon_mask(w, h, at(body))
    wheels = np.zeros((h, w), np.uint8)
    for x in (0.2, 0.79):
        centre = tuple(int(v) for v in at([[x, 0.82]])[0])
        cv2.circle(wheels, centre, max(int(0.18 * size), 2), 255, -1, cv2.LINE_AA)
    tyres = wheels.astype(np.float32) / 255
    light = 4.0 * level * math.exp(rng.normal(0, 0.9))
    y = np.linspace(-0.5, 1.5, h, dtype=np.float32)[:, None, None]
    paintwork = colour(rng, 0.8, 0.3) * (0.45 + 0.9 * np.exp(-(((y - 0.5) / 0.06) ** 2)) + 0.5 * (1 - y)).clip(0.1)
    picture = (paintwork * light * np.ones((h, w, 1), np.float32)).astype(np.float32)
    for pane in (
        [[0.2, 0.42], [0.315, 0.12], [0.45, 0.1], [0.45, 0.42]],
        [[0.48, 0.42], [0.48, 0.1], [0.6, 0.1], [0.73, 0.42]],
    ):
        paint(
            picture,
            polygon_mask(w, h, at(pane)),
            light * np.array([0.05, 0.07, 0.09], np.float32) * (1.6 - 1.5 * y).clip(0.3),
        )
    paint(picture, tyres, np.full(3, 0.03 * light, np.float32))
    matte = np.maximum(matte, tyres)
    out = picture * matte[..., None]
    lit = rng.random() < 0.6
    if lit:
        front, back = at([[0.985, 0.56]])[0], at([[0.015, 0.56]])[0]
        power = max(level, 1e-3) * 10 ** rng.uniform(1.8, 3.2)
        halo = np.zeros_like(out)
        add_light(
            halo, front[0], front[1], max(size * 0.05, 1.0), power, np.array([1.05, 1.0, 0.85], np.float32), 0.004
        )
        add_light(
            halo, back[0], back[1], max(size * 0.045, 1.0), power * 0.04, np.array([1.6, 0.08, 0.04], np.float32), 0.01
        )
        out += halo * _fade(h, w)
    sprite = np.dstack([np.clip(out, 0, LARGEST), matte]).astype(np.float32)
    if rng.random() < 0.5:
        sprite = np.ascontiguousarray(sprite[:, ::-1])
    return sprite, lit


def _lantern(rng: np.random.Generator, size: int, level: float) -> np.ndarray:
    """A glowing ball or a lit sign, much brighter than its surroundings, with a faint halo."""
    core = max(int(size * 0.45), 8)
    pad = core // 2 + 3
    tint = warm(rng) if rng.random() < 0.6 else colour(rng, 0.9, 0.9) * 1.4
    power = max(level, 1e-3) * 10 ** rng.uniform(1.0, 2.6)
    if rng.random() < 0.5:
        side = core + 2 * pad
        yy, xx = np.mgrid[:side, :side].astype(np.float32) - np.float32((side - 1) / 2)
        r = np.sqrt(xx * xx + yy * yy) / np.float32(core / 2)
        matte = np.clip((1 - r) * core / 2 + 0.5, 0, 1)
        body = (tint * (power * (0.35 + 0.65 * np.sqrt(np.clip(1 - r * r, 0, 1))))[..., None]).astype(np.float32)
    else:
        width = int(core * rng.uniform(1.0, 2.2))
        matte = np.pad(np.ones((core, width), np.float32), pad)
        sheet = text_sheet(rng, matte.shape[1], matte.shape[0], core * 2.5)
        body = sheet * tint * power
    halo = cv2.GaussianBlur(body * matte[..., None], (0, 0), core * 0.16) * 0.02
    out = body * matte[..., None] + halo * (1 - matte[..., None]) * _fade(*matte.shape)
    return np.dstack([np.clip(out, 0, LARGEST), matte]).astype(np.float32)


def _fade(height: int, width: int) -> np.ndarray:
    """(h, w, 1) window that is 1 inside and falls to 0 at the border, so that no halo is cut off."""
    y = np.minimum(np.arange(height), np.arange(height)[::-1])[:, None]
    x = np.minimum(np.arange(width), np.arange(width)[::-1])
    margin = max(min(height, width) // 6, 2)
    return np.clip((np.minimum(y, x) - 1) / margin, 0, 1).astype(np.float32)[..., None]


def _shading(rng: np.random.Generator, matte: np.ndarray) -> np.ndarray:
    """(h, w, 1) light on a rounded body of that matte, from a random side."""
    inside = cv2.distanceTransform((matte > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    relief = np.sqrt(inside * max(float(inside.max()), 1.0))
    relief = cv2.GaussianBlur(relief, (0, 0), max(0.02 * matte.shape[0], 0.8))
    dx = cv2.Sobel(relief, cv2.CV_32F, 1, 0, scale=0.25)
    dy = cv2.Sobel(relief, cv2.CV_32F, 0, 1, scale=0.25)
    angle = rng.uniform(0, 2 * math.pi)
    facing = (dx * math.cos(angle) + dy * math.sin(angle) + 1.0) / np.sqrt(dx * dx + dy * dy + 2.0)
    return (0.12 + np.clip(facing, 0, None))[..., None]


def _cut_out(rng: np.random.Generator, source: np.ndarray, width: int, height: int) -> np.ndarray:
    """(height, width, 3) float32 random piece of an HDR picture, enlarged at most three times."""
    rows, columns = source.shape[:2]
    zoom = rng.uniform(0.4, 1.2)
    part_w, part_h = min(int(width * zoom) + 2, columns), min(int(height * zoom) + 2, rows)
    x = int(rng.integers(0, columns - part_w + 1))
    y = int(np.clip(rng.normal(0.5, 0.17) * rows - part_h / 2, 0, rows - part_h))
    piece = np.nan_to_num(
        np.asarray(source[y : y + part_h, x : x + part_w], np.float32), nan=0, posinf=LARGEST, neginf=0
    )
    return cv2.resize(np.maximum(piece, 0.0), (width, height), interpolation=cv2.INTER_LINEAR)
