"""Moving HDR scenes made of layers, with exact flow: from nothing, from a panorama, or from an HDR still.

A scene is a background and up to five moving objects in front of it. Every layer is a flat picture, brought to the
screen by one 3x3 matrix a moment: a planar background under a similarity with a little tilt, an object under a
similarity, and a panorama seen by a rotating pinhole camera too, because a rotation acts on a picture as the
homography K R K^-1 (Hartley & Zisserman, Multiple View Geometry, 2004, section 8.4.2). So the flow between any two
moments is exact, in closed form, and nothing is ever estimated.

Convention:
    t           time in frames, any real number; frame n of a clip is t = n.
    size        (width, height) in pixels.
    pixels      centre of the top left pixel at (0, 0), x to the right, y down.
    radiance    (H, W, 3) float32 linear Rec. 709 RGB in scene units, finite, >= 0.
    flow        (H, W, 2) float32 pixels, channel 0 = u (right), channel 1 = v (down). The surface point seen at
                (x, y) at `t_from` lies at (x + u, y + v) at `t_to`, so frame `t_to` sampled at x + u, y + v gives
                frame `t_from`: the backward flow of `hdrvid.warp`.
    edges       where several layers share a pixel the one that covers most of it owns it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np

from hdrvid.data import textures
from hdrvid.errors import InputError, UsageError

DENSITY = 1.5
"""Texture samples per screen pixel: enough for bilinear sampling to neither alias nor soften visibly."""

_REFERENCE_SIZE = 448 * 256
"""Speeds are stated for a picture of this many pixels and scale with the square root of the size."""

_MIN_SIZE, _MAX_SIZE = 8, 16384


@dataclass(frozen=True)
class Wave:
    """A smooth function of time: offset + sum of amplitude * sin(frequency * t + phase)."""

    offset: float = 0.0
    """Constant part."""
    terms: tuple[tuple[float, float, float], ...] = ()
    """(amplitude, frequency in radians a frame, phase in radians) of each sine."""

    def __call__(self, t: float) -> float:
        return self.offset + sum(a * math.sin(f * t + p) for a, f, p in self.terms)

    def __add__(self, other: Wave) -> Wave:
        return Wave(self.offset + other.offset, self.terms + other.terms)

    def scaled(self, factor: float) -> Wave:
        """The wave times `factor`."""
        return Wave(self.offset * factor, tuple((a * factor, f, p) for a, f, p in self.terms))


class Motion(Protocol):
    """How a layer moves."""

    def matrix(self, t: float) -> np.ndarray:
        """(3, 3) float64 homography from texture pixels to screen pixels at time `t`."""
        ...


@dataclass(frozen=True, eq=False)
class PlanarMotion:
    """A plane in front of a camera that pans, rolls, zooms and tilts a little."""

    texture_centre: tuple[float, float]
    """Texture pixel that the camera looks at when nothing moves."""
    screen_centre: tuple[float, float]
    """Middle of the screen in pixels."""
    density: float
    """Texture samples per screen pixel."""
    pan_x: Wave
    """Shift to the right in screen pixels."""
    pan_y: Wave
    """Shift down in screen pixels."""
    roll: Wave
    """Rotation in radians."""
    zoom: Wave
    """Natural logarithm of the magnification."""
    tilt_x: Wave = Wave()
    """Perspective along x: relative change of scale per pixel."""
    tilt_y: Wave = Wave()
    """Perspective along y: relative change of scale per pixel."""

    def matrix(self, t: float) -> np.ndarray:
        return (
            _translation(*self.screen_centre)
            @ np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [self.tilt_x(t), self.tilt_y(t), 1.0]])
            @ _similarity(self.roll(t), math.exp(self.zoom(t)))
            @ _translation(self.pan_x(t), self.pan_y(t))
            @ _similarity(0.0, 1.0 / self.density)
            @ _translation(-self.texture_centre[0], -self.texture_centre[1])
        )


@dataclass(frozen=True, eq=False)
class RotationMotion:
    """A perspective picture of a panorama under a pinhole camera that turns about its centre."""

    plate_inverse: np.ndarray
    """(3, 3) texture pixel -> viewing direction, the inverse camera matrix of the picture."""
    screen_centre: tuple[float, float]
    """Principal point in screen pixels."""
    focal_px: float
    """Focal length in screen pixels."""
    yaw: Wave
    """Turn to the left in radians (the picture moves right)."""
    pitch: Wave
    """Turn upwards in radians (the picture moves down)."""
    roll: Wave
    """Rotation about the axis in radians."""
    zoom: Wave
    """Natural logarithm of the magnification."""

    def matrix(self, t: float) -> np.ndarray:
        focal = self.focal_px * math.exp(self.zoom(t))
        camera = np.array([[focal, 0.0, self.screen_centre[0]], [0.0, focal, self.screen_centre[1]], [0.0, 0.0, 1.0]])
        return camera @ _rotation(self.yaw(t), self.pitch(t), self.roll(t)) @ self.plate_inverse


@dataclass(frozen=True, eq=False)
class ObjectMotion:
    """An object with its own path, carried along by what it stands on."""

    texture_centre: tuple[float, float]
    """Middle of the object in texture pixels: what it turns and grows about."""
    density: float
    """Texture samples per screen pixel at scale 1."""
    x: Wave
    """Screen position of the middle in pixels, before `carrier`."""
    y: Wave
    """Screen position of the middle in pixels, before `carrier`."""
    angle: Wave
    """Rotation in radians."""
    size: Wave
    """Natural logarithm of the scale."""
    carrier: Motion | None = None
    """The layer that carries the object, or None for an object that the camera does not move."""
    carrier_time: float = 0.0
    """The time at which `carrier` leaves the object where x and y say."""

    def matrix(self, t: float) -> np.ndarray:
        object_matrix = (
            _translation(self.x(t), self.y(t))
            @ _similarity(self.angle(t), math.exp(self.size(t)) / self.density)
            @ _translation(-self.texture_centre[0], -self.texture_centre[1])
        )
        if self.carrier is None:
            return object_matrix
        return self.carrier.matrix(t) @ np.linalg.inv(self.carrier.matrix(self.carrier_time)) @ object_matrix


@dataclass(frozen=True, eq=False)
class Layer:
    """One flat picture and its motion."""

    texture: np.ndarray
    """Background: (h, w, 3) float32 radiance, continued by reflection. Object: (h, w, 4) float32, radiance
    premultiplied with alpha, and alpha in [0, 1]; transparent outside. Light may be added where alpha is 0 (glow)."""
    motion: Motion
    """Texture pixels to screen pixels."""
    glow: bool = False
    """True where the texture adds light outside its alpha."""

    def __repr__(self) -> str:
        return f"Layer(texture={self.texture.shape}, motion={type(self.motion).__name__})"


@dataclass(frozen=True, eq=False)
class Scene:
    """A moving HDR scene; see the convention of this module."""

    size: tuple[int, int]
    """(width, height) in pixels."""
    layers: tuple[Layer, ...]
    """Back to front; the first one is the background and covers everything."""
    kind: str = "layers"
    """What was built, for reports: 'procedural street at night', 'panorama', 'still'."""
    _grid: tuple[np.ndarray, np.ndarray] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        width, height = self.size
        xs, ys = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
        object.__setattr__(self, "_grid", (xs, ys))

    def render(self, t: float) -> np.ndarray:
        """The picture at time `t`: (H, W, 3) float32 radiance in scene units."""
        width, height = self.size
        background = self.layers[0]
        picture: np.ndarray = cv2.warpPerspective(
            background.texture,
            np.linalg.inv(background.motion.matrix(t)),
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        for layer in self.layers[1:]:
            placed = self._place(layer, t)
            if placed is not None:
                rows, columns, pixels = placed
                part = picture[rows, columns]
                part *= np.float32(1) - pixels[..., 3:]
                part += pixels[..., :3]
        return picture

    def flow(self, t_from: float, t_to: float) -> np.ndarray:
        """(H, W, 2) float32 flow in pixels from `t_from` to `t_to`, of the layer that owns each pixel at `t_from`.

        A point that passes behind the camera has no position: its flow is finite but means nothing, and `visible`
        is False there.
        """
        x, y, _ = self._targets(t_from, t_to, self._owners(self._coverage(t_from)))
        return np.stack([x - self._grid[0], y - self._grid[1]], -1).astype(np.float32)

    def visible(self, t_from: float, t_to: float) -> np.ndarray:
        """(H, W) bool: the point seen at `t_from` is inside the picture at `t_to` and not hidden there.

        Hidden means that other layers cover half of it or more, or that the glow of another object drowns it at
        either moment.
        """
        width, height = self.size
        owners = self._owners(self._coverage(t_from))
        x, y, in_front = self._targets(t_from, t_to, owners)
        result = in_front & (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
        x32 = np.clip(x, 0, width - 1).astype(np.float32)
        y32 = np.clip(y, 0, height - 1).astype(np.float32)
        coverage = self._coverage(t_to)
        for index in np.unique(owners):
            owned = owners == index
            coverage_at_target = cv2.remap(coverage[index], x32, y32, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            result &= ~owned | (coverage_at_target > 0.5)
        veil_from, veil_to = self._veil(t_from), self._veil(t_to)
        if veil_from is not None and veil_to is not None:
            result &= veil_from < 0.05
            result &= cv2.remap(veil_to, x32, y32, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) < 0.05
        return result

    def _place(self, layer: Layer, t: float) -> tuple[slice, slice, np.ndarray] | None:
        """Rows, columns and RGBA pixels of an object on the screen, or None where it is out of sight."""
        width, height = self.size
        h, w = layer.texture.shape[:2]
        matrix = layer.motion.matrix(t)
        corners = matrix @ np.array([[0, w - 1, w - 1, 0], [0, 0, h - 1, h - 1], [1, 1, 1, 1]], np.float64)
        if (corners[2] < 1e-3).any():
            return None
        xs, ys = corners[0] / corners[2], corners[1] / corners[2]
        x0, x1 = max(math.floor(xs.min()), 0), min(math.ceil(xs.max()) + 1, width)
        y0, y1 = max(math.floor(ys.min()), 0), min(math.ceil(ys.max()) + 1, height)
        if x0 >= x1 or y0 >= y1:
            return None
        pixels = cv2.warpPerspective(
            layer.texture,
            np.linalg.inv(matrix) @ _translation(x0, y0),
            (x1 - x0, y1 - y0),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(0, 0, 0, 0),
        )
        return slice(y0, y1), slice(x0, x1), pixels

    def _coverage(self, t: float) -> list[np.ndarray]:
        """(H, W) float32 share of each pixel that each layer shows, back to front."""
        width, height = self.size
        shares = [np.ones((height, width), np.float32)]
        for layer in self.layers[1:]:
            share = np.zeros((height, width), np.float32)
            placed = self._place(layer, t)
            if placed is not None:
                rows, columns, pixels = placed
                alpha = pixels[..., 3]
                for below in shares:
                    below[rows, columns] *= 1.0 - alpha
                share[rows, columns] = alpha
            shares.append(share)
        return shares

    def _veil(self, t: float) -> np.ndarray | None:
        """(H, W) float32 share of the light that objects add beyond what they cover, or None without glow."""
        if not any(layer.glow for layer in self.layers[1:]):
            return None
        width, height = self.size
        total = self.render(t).max(-1)
        added = np.zeros((height, width), np.float32)
        for layer in self.layers[1:]:
            placed = self._place(layer, t)
            if placed is None:
                continue
            rows, columns, pixels = placed
            added[rows, columns] *= 1.0 - pixels[..., 3]
            if layer.glow:
                added[rows, columns] += np.where(pixels[..., 3] < 0.5, pixels[..., :3].max(-1), 0.0)
        return added / np.maximum(total, 1e-12)

    @staticmethod
    def _owners(coverage: list[np.ndarray]) -> np.ndarray:
        """(H, W) index of the layer that covers most of each pixel."""
        return np.argmax(np.stack(coverage), axis=0)

    def _targets(self, t_from: float, t_to: float, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions x, y at `t_to` of the points seen at `t_from`, and whether they are in front of the camera."""
        x, y = np.empty_like(self._grid[0]), np.empty_like(self._grid[1])
        in_front = np.ones(x.shape, bool)
        for index in np.unique(owners):
            motion = self.layers[index].motion
            m = motion.matrix(t_to) @ np.linalg.inv(motion.matrix(t_from))
            where = owners == index
            gx, gy = self._grid[0][where], self._grid[1][where]
            depth = m[2, 0] * gx + m[2, 1] * gy + m[2, 2]
            in_front[where] = depth > 1e-3
            depth = np.maximum(depth, 1e-3)
            x[where] = (m[0, 0] * gx + m[0, 1] * gy + m[0, 2]) / depth
            y[where] = (m[1, 0] * gx + m[1, 1] * gy + m[1, 2]) / depth
        return x, y, in_front


def procedural_scene(seed: int, width: int, height: int, num_frames: int = 5, *, motion: float = 1.0) -> Scene:
    """A scene made from nothing: the same seed gives the same scene on every machine.

    `num_frames` is the length of the clip it is meant for (the camera path is centred on it); `motion` multiplies
    every speed, 0 holds everything still. Raises UsageError for a size, length or motion that has no meaning.
    """
    _check(width, height, num_frames, motion)
    rng = np.random.default_rng([seed, 1])
    middle = (num_frames - 1) / 2
    camera = _planar_camera(rng, width, height, middle, motion)
    plate_size = _plate_size(camera, width, height, num_frames)
    unit = min(width, height) * DENSITY
    kind, picture = textures.random_picture(rng, plate_size[0], plate_size[1], unit)
    texture = _band_limit(picture, DENSITY)
    background = _recentred(camera, texture)
    objects = _objects(rng, texture, (), width, height, middle, motion, background)
    return Scene((width, height), (Layer(texture, background), *objects), f"procedural {kind}")


def panorama_scene(
    panorama: np.ndarray,
    seed: int,
    width: int,
    height: int,
    num_frames: int = 5,
    *,
    motion: float = 1.0,
    object_sources: Sequence[np.ndarray] = (),
) -> Scene:
    """A panorama seen by a turning camera, with objects cut from it, from `object_sources`, or made from nothing.

    `panorama` is (h, 2h, 3) float32 equirectangular radiance, the top row at the zenith; negative and non-finite
    values count as 0. `object_sources` are HDR pictures or panoramas (h, w, 3) in any scale.
    Raises InputError for a panorama that is not 2:1, UsageError for a size, length or motion that has no meaning.
    """
    _check(width, height, num_frames, motion)
    panorama = _checked_image(panorama, "a panorama")
    if abs(panorama.shape[1] / panorama.shape[0] - 2) > 0.02:
        raise InputError(
            f"a panorama is twice as wide as high, this one is {panorama.shape[1]}x{panorama.shape[0]}: "
            "give an equirectangular image, or use it as a still"
        )
    rng = np.random.default_rng([seed, 2])
    middle = (num_frames - 1) / 2
    field_of_view = math.radians(rng.uniform(35, 75))
    focal = 0.5 * max(width, height) / math.tan(field_of_view / 2)
    # a view angle is a shift of the picture divided by the focal length, so the planar path serves here too
    path = _planar_camera(rng, width, height, middle, motion)
    heading, elevation = _heading(rng, panorama, field_of_view)
    moving = RotationMotion(
        np.eye(3), ((width - 1) / 2, (height - 1) / 2), focal,
        path.pan_x.scaled(1 / focal), path.pan_y.scaled(1 / focal), path.roll, path.zoom,
    )  # fmt: skip
    low, high = _extent(moving, width, height, num_frames)
    low, high = np.maximum(low, -1.7), np.minimum(high, 1.7)  # 60 degrees each way; the rest is continued by reflection
    plate_w, plate_h = (math.ceil(v) + 5 for v in (high - low) * focal * DENSITY)
    scale = focal * DENSITY
    inverse = np.array([[1 / scale, 0, low[0] - 2 / scale], [0, 1 / scale, low[1] - 2 / scale], [0, 0, 1]])
    texture = _perspective(panorama, inverse, (plate_w, plate_h), heading, elevation, rng)
    background = RotationMotion(
        inverse, moving.screen_centre, focal, moving.yaw, moving.pitch, moving.roll, moving.zoom
    )  # fmt: skip
    objects = _objects(rng, texture, (panorama, *object_sources), width, height, middle, motion, background)
    return Scene((width, height), (Layer(texture, background), *objects), "panorama")


def still_scene(
    image: np.ndarray, seed: int, width: int, height: int, num_frames: int = 5, *, motion: float = 1.0
) -> Scene:
    """An HDR still (h, w, 3) float32 under a moving camera, with objects cut from it or made from nothing.

    The still fills the screen at every moment of the path, a random part of it where it is larger.
    Raises InputError for an image of another shape, UsageError for a size, length or motion that has no meaning.
    """
    _check(width, height, num_frames, motion)
    image = _checked_image(image, "an HDR image")
    rng = np.random.default_rng([seed, 3])
    middle = (num_frames - 1) / 2
    camera = _planar_camera(rng, width, height, middle, motion)
    plate_w, plate_h = _plate_size(camera, width, height, num_frames)
    h, w = image.shape[:2]
    # image pixels per texture pixel: the largest view that the still can fill, or a closer one down to 1:1
    widest = min(w / plate_w, h / plate_h)
    step = widest * rng.uniform(0.6, 1.0) if widest > 1 / DENSITY else widest
    x0, y0 = rng.uniform(0, max(w - step * plate_w, 0)), rng.uniform(0, max(h - step * plate_h, 0))
    source = np.maximum(np.nan_to_num(image, nan=0.0, posinf=textures.LARGEST, neginf=0.0), 0.0)
    if step > 1:
        source = cv2.GaussianBlur(source, (0, 0), 0.45 * step)
    texture = cv2.warpAffine(
        source,
        np.array([[step, 0, x0], [0, step, y0]]),
        (plate_w, plate_h),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    texture = _band_limit(texture, DENSITY, magnification=1 / step)
    background = _recentred(camera, texture)
    objects = _objects(rng, texture, (image,), width, height, middle, motion, background)
    return Scene((width, height), (Layer(texture, background), *objects), "still")


# ---- camera and object paths -----------------------------------------------------------------------------------------


def picture_scene(
    image: np.ndarray,
    seed: int,
    width: int,
    height: int,
    num_frames: int = 5,
    *,
    motion: float = 1.0,
    object_sources: Sequence[np.ndarray] = (),
) -> Scene:
    """`panorama_scene` of a picture that is twice as wide as high, `still_scene` of any other."""
    if abs(image.shape[1] / image.shape[0] - 2) < 0.02:
        return panorama_scene(image, seed, width, height, num_frames, motion=motion, object_sources=object_sources)
    return still_scene(image, seed, width, height, num_frames, motion=motion)


def _drift(rng: np.random.Generator, velocity: float, limit: float, middle: float) -> Wave:
    """A shift that is 0 at `middle`, moves with about `velocity` there, and stays within about `limit`."""
    if velocity == 0 or limit <= 0:
        return Wave()
    amplitude = limit * rng.uniform(0.5, 1.0)
    frequency = velocity / amplitude
    phase = rng.uniform(-0.8, 0.8)
    return Wave(-amplitude * math.sin(phase), ((amplitude, frequency, phase - frequency * middle),))


def _jitter(rng: np.random.Generator, amplitude: float) -> Wave:
    """The tremor of a hand-held camera, about `amplitude` from rest."""
    terms = []
    for frequency, share in (
        (rng.uniform(0.15, 0.35), 0.6),
        (rng.uniform(0.5, 0.9), 0.3),
        (rng.uniform(1.2, 1.9), 0.1),
    ):
        terms.append((amplitude * share, frequency, rng.uniform(0, 2 * math.pi)))
    return Wave(0.0, tuple(terms))


def _speed_unit(width: int, height: int) -> float:
    return math.sqrt(width * height / _REFERENCE_SIZE)


def _planar_camera(rng: np.random.Generator, width: int, height: int, middle: float, motion: float) -> PlanarMotion:
    """A camera path: on a tripod now and then, mostly hand-held with a slow pan."""
    unit = _speed_unit(width, height) * motion
    style = rng.random()
    if style < 0.12:  # tripod
        pan, tremor, turn = 0.0, rng.uniform(0.0, 0.15), 0.0
    elif style < 0.55:  # hand-held
        pan, tremor, turn = rng.uniform(0.0, 2.5), rng.uniform(0.6, 4.0), 1.0
    else:  # panning
        pan, tremor, turn = float(np.clip(rng.lognormal(1.1, 0.7), 0.3, 10.0)), rng.uniform(0.5, 3.0), 1.0
    direction = rng.normal(0.0, 0.35) + (math.pi if rng.random() < 0.5 else 0.0)
    pan_x = _drift(rng, pan * unit * math.cos(direction), 0.35 * width, middle)
    pan_y = _drift(rng, pan * unit * math.sin(direction), 0.2 * height, middle)
    radius = 0.5 * math.hypot(width, height)
    roll = _drift(rng, turn * rng.normal(0, 0.4) * unit / radius, 0.08, middle)
    zoom = _drift(rng, turn * rng.normal(0, 0.5) * unit / radius, 0.12, middle)
    return PlanarMotion(
        (0.0, 0.0),
        ((width - 1) / 2, (height - 1) / 2),
        1.0,
        pan_x + _jitter(rng, tremor * unit),
        pan_y + _jitter(rng, tremor * unit * 0.8),
        roll + _jitter(rng, turn * 0.2 * tremor * unit / radius),
        zoom,
        _jitter(rng, turn * 0.04 * min(motion, 3.0) / radius),
        _jitter(rng, turn * 0.04 * min(motion, 3.0) / radius),
    )


def _extent(motion: Motion, width: int, height: int, num_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest texture position (x, y) that the screen shows during the clip."""
    corners = np.array([[0, width - 1, width - 1, 0], [0, 0, height - 1, height - 1], [1, 1, 1, 1]], np.float64)
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for t in np.linspace(0, num_frames - 1, min(4 * num_frames, 200)):
        rays = np.linalg.inv(motion.matrix(float(t))) @ corners
        points = rays[:2] / np.maximum(rays[2], 1e-3)
        low, high = np.minimum(low, points.min(1)), np.maximum(high, points.max(1))
    return low, high


def _plate_size(camera: PlanarMotion, width: int, height: int, num_frames: int) -> tuple[int, int]:
    low, high = _extent(camera, width, height, num_frames)
    reach = np.maximum(np.abs(low), np.abs(high))
    reach = np.minimum(reach, [1.2 * width, 1.2 * height])
    return math.ceil(2 * reach[0] * DENSITY) + 5, math.ceil(2 * reach[1] * DENSITY) + 5


def _recentred(camera: PlanarMotion, texture: np.ndarray) -> PlanarMotion:
    h, w = texture.shape[:2]
    return PlanarMotion(
        ((w - 1) / 2, (h - 1) / 2), camera.screen_centre, DENSITY,
        camera.pan_x, camera.pan_y, camera.roll, camera.zoom, camera.tilt_x, camera.tilt_y,
    )  # fmt: skip


def _objects(
    rng: np.random.Generator,
    background: np.ndarray,
    sources: Sequence[np.ndarray],
    width: int,
    height: int,
    middle: float,
    motion: float,
    carrier: Motion,
) -> list[Layer]:
    """One to five moving objects, back to front, the smaller ones behind."""
    unit = _speed_unit(width, height) * motion
    short_side = min(width, height)
    count = int(rng.choice([1, 2, 3, 4, 5], p=[0.22, 0.28, 0.25, 0.15, 0.1]))
    heights = np.sort(np.exp(rng.uniform(math.log(0.12), math.log(0.6), count))) * short_side
    level = float(np.median(background[::7, ::7].max(-1))) + 1e-6
    layers = []
    for size_px in heights:
        sprite = textures.random_sprite(rng, max(int(size_px * DENSITY), 12), sources, level)
        pixels = _band_limit(sprite.pixels, DENSITY)
        h, w = pixels.shape[:2]
        speed = 0.0 if rng.random() < 0.06 else float(np.clip(rng.lognormal(1.05, 0.75), 0.3, 16.0))
        direction = rng.normal(0.0, 0.12 if sprite.upright else 0.45) + (math.pi if rng.random() < 0.5 else 0.0)
        u, v = speed * unit * math.cos(direction), speed * unit * math.sin(direction)
        x = rng.uniform(-0.08, 1.08) * width
        if sprite.upright:  # the feet on the ground, somewhere in the lower part of the picture
            y = float(np.clip(rng.normal(0.86, 0.08), 0.7, 1.1)) * height - 0.5 * h / DENSITY
        else:
            y = rng.uniform(0.05, 0.95) * height
        turn = rng.normal(0, 0.001 if sprite.upright else 0.012) * motion if rng.random() < 0.5 else 0.0
        grow = rng.normal(0, 0.01) * motion if rng.random() < 0.6 else 0.0
        layers.append(
            Layer(
                pixels,
                ObjectMotion(
                    ((w - 1) / 2, (h - 1) / 2),
                    DENSITY,
                    Wave(x) + _drift(rng, u, 0.6 * width, middle),
                    Wave(y) + _drift(rng, v, 0.35 * height, middle),
                    _drift(rng, turn, 0.5, middle),
                    _drift(rng, grow, 0.25, middle),
                    carrier if rng.random() < 0.75 else None,
                    middle,
                ),
                sprite.glow,
            )
        )
    return layers


# ---- pictures --------------------------------------------------------------------------------------------------------


def _heading(rng: np.random.Generator, panorama: np.ndarray, field_of_view: float) -> tuple[float, float]:
    """A random direction to look at, (heading, elevation) in radians: mostly the most contrasty of a few.

    Half of the directions of an outdoor panorama show nothing but grass, which needs no second exposure.
    """
    headings, elevations = rng.uniform(-math.pi, math.pi, 4), np.clip(rng.normal(-0.02, 0.22, 4), -0.7, 0.7)
    if rng.random() < 0.3:
        return float(headings[0]), float(elevations[0])
    rows, columns = panorama.shape[:2]
    thumbnail = panorama[:: max(rows // 64, 1), :: max(columns // 128, 1)].max(-1)
    reach = max(int(thumbnail.shape[1] * field_of_view / (2 * math.pi) / 2), 1)
    spans = []
    for heading, elevation in zip(headings, elevations, strict=True):
        x = int(heading / (2 * math.pi) * thumbnail.shape[1])
        y = int((0.5 - elevation / math.pi) * thumbnail.shape[0])
        view = thumbnail[max(y - reach * 2 // 3, 0) : y + reach * 2 // 3 + 1].take(
            range(x - reach, x + reach), 1, mode="wrap"
        )
        low, high = np.percentile(np.nan_to_num(np.maximum(view, 0)), [3, 99.5])
        spans.append(math.log((float(high) + 1e-4) / (float(low) + 1e-4)))
    best = int(np.argmax(spans))
    return float(headings[best]), float(elevations[best])


def _perspective(
    panorama: np.ndarray,
    inverse: np.ndarray,
    size: tuple[int, int],
    heading: float,
    elevation: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """The (h, w, 3) perspective picture of a panorama: `inverse` maps its pixels to directions about the heading."""
    width, height = size
    rows, columns = panorama.shape[:2]
    x = inverse[0, 0] * np.arange(width, dtype=np.float32) + np.float32(inverse[0, 2])
    y = inverse[1, 1] * np.arange(height, dtype=np.float32)[:, None] + np.float32(inverse[1, 2])
    cos, sin = math.cos(elevation), math.sin(elevation)
    # camera looks along +z, y is down; tilting up by `elevation`
    up = np.broadcast_to(sin - y * cos, (height, width)).astype(np.float32)
    distance = np.broadcast_to(cos + y * sin, (height, width)).astype(np.float32)
    side = np.broadcast_to(x, (height, width)).astype(np.float32)
    longitude = cv2.phase(distance, side) + np.float32(heading)
    horizontal = cv2.magnitude(distance, side)
    latitude = np.arctan2(up, horizontal)
    px = (longitude * np.float32(columns / (2 * math.pi)) - 0.5) % columns
    py = (np.float32(0.5) - latitude * np.float32(1 / math.pi)) * rows - np.float32(0.5)
    # panorama pixels per texture pixel in the middle of the view
    step = columns / (2 * math.pi) * inverse[0, 0]
    if step >= 2:
        factor = int(step)
        panorama = cv2.resize(panorama, (columns // factor, rows // factor), interpolation=cv2.INTER_AREA)
        px, py = (px + 0.5) * (panorama.shape[1] / columns) - 0.5, (py + 0.5) * (panorama.shape[0] / rows) - 0.5
        step /= factor
    texture = cv2.remap(
        panorama, px.astype(np.float32), py.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    texture = np.maximum(np.nan_to_num(texture, copy=False, nan=0.0, posinf=textures.LARGEST, neginf=0.0), 0.0)
    texture = _band_limit(texture, DENSITY, magnification=1 / step)
    if step < 0.6:
        textures.add_grain(rng, texture, 1 / step)
    return texture


def _band_limit(texture: np.ndarray, density: float, magnification: float = 1.0) -> np.ndarray:
    """Blur to what the screen can show, and round off the corners that bilinear magnification leaves."""
    sigma = max(0.42 * density, 0.45 * magnification)
    return np.maximum(cv2.GaussianBlur(np.ascontiguousarray(texture, np.float32), (0, 0), sigma), 0.0)


# ---- small mathematics -----------------------------------------------------------------------------------------------


def _translation(x: float, y: float) -> np.ndarray:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def _similarity(angle: float, scale: float) -> np.ndarray:
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (math.cos, math.sin))
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1.0]])
    return about_z @ about_x @ about_y


def _checked_image(image: np.ndarray, name: str) -> np.ndarray:
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or min(array.shape[:2]) < 2:
        raise InputError(f"{name} is an array of shape (rows, columns, 3), not {array.shape}: give an RGB image")
    return np.ascontiguousarray(array, np.float32)


def _check(width: int, height: int, num_frames: int, motion: float) -> None:
    if not (_MIN_SIZE <= width <= _MAX_SIZE and _MIN_SIZE <= height <= _MAX_SIZE):
        raise UsageError(
            f"a scene of {width}x{height} pixels cannot be made: give a size from {_MIN_SIZE}x{_MIN_SIZE} "
            f"to {_MAX_SIZE}x{_MAX_SIZE}"
        )
    if num_frames < 1:
        raise UsageError(f"a clip has at least one frame, not {num_frames}: give a larger number of frames")
    if not (math.isfinite(motion) and motion >= 0):
        raise UsageError(f"motion multiplies the speeds and cannot be {motion}: give 0 or more")
