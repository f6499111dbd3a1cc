"""Scenes: exact flow, visibility, determinism, and pictures that look like radiance."""

import math
import pickle

import cv2
import numpy as np
import pytest

from hdrvid.color.radiance import mu_law
from hdrvid.data import textures
from hdrvid.data.scenes import (
    Layer,
    ObjectMotion,
    PlanarMotion,
    RotationMotion,
    Scene,
    Wave,
    panorama_scene,
    procedural_scene,
    still_scene,
)
from hdrvid.errors import HdrvidError, InputError, UsageError

WIDTH, HEIGHT = 257, 131


def _panorama(rows: int = 96) -> np.ndarray:
    """A smooth panorama of eight stops without a seam at its border."""
    longitude = np.linspace(0, 2 * math.pi, 2 * rows, endpoint=False)[None, :]
    latitude = np.linspace(0, math.pi, rows)[:, None]
    tone = np.stack([np.sin(3 * longitude + k) * np.sin(latitude) + np.cos(4 * latitude + k) for k in range(3)], -1)
    return np.exp2(2 * tone).astype(np.float32)


def _still() -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.exp(textures.fractal_noise(rng, 300, 200, 60, 3))[..., None] * np.array([1, 0.8, 0.5], np.float32)


def _scene(kind: str, seed: int, width: int = WIDTH, height: int = HEIGHT, motion: float = 1.0) -> Scene:
    if kind == "panorama":
        return panorama_scene(_panorama(), seed, width, height, motion=motion, object_sources=[_still()])
    if kind == "still":
        return still_scene(_still(), seed, width, height, motion=motion)
    return procedural_scene(seed, width, height, motion=motion)


def _sample(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    ys, xs = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    return cv2.remap(image, xs + flow[..., 0], ys + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _psnr_t(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> float:
    scale = np.percentile(a.max(-1), 99)
    return float(-10 * np.log10(np.mean((mu_law(a / scale) - mu_law(b / scale))[where] ** 2) + 1e-12))


KINDS = ("procedural", "panorama", "still")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_flow_carries_one_frame_onto_the_other(kind: str, seed: int) -> None:
    scene = _scene(kind, seed, motion=1.5)
    before, after = scene.render(1.0), scene.render(2.0)
    flow, visible = scene.flow(1.0, 2.0), scene.visible(1.0, 2.0)
    # a pixel that two layers share has two motions: stay one pixel inside
    inside = cv2.erode(visible.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert inside.mean() > 0.4
    with_flow = _psnr_t(before, _sample(after, flow), inside)
    # bilinear sampling of bricks and leaves loses detail; smooth pictures must agree almost exactly
    assert with_flow > (33.0 if kind == "procedural" else 38.0)
    assert with_flow > _psnr_t(before, after, inside) - 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back_is_the_identity(kind: str) -> None:
    scene = _scene(kind, 5, motion=2.0)
    visible = cv2.erode(scene.visible(0.0, 3.5).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    there, back = scene.flow(0.0, 3.5), scene.flow(3.5, 0.0)
    error = np.abs(there + _sample(back, there)).max(-1)[visible]
    assert np.abs(there[visible]).max() > 0.5
    # the few pixels whose target lies between two layers mix two flows
    assert np.percentile(error, 98) < 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_are_radiance(kind: str) -> None:
    scene = _scene(kind, 7)
    for t in (-3.0, 0.0, 1.25, 4.0, 500.0):
        picture = scene.render(t)
        assert picture.shape == (HEIGHT, WIDTH, 3)
        assert picture.dtype == np.float32
        assert picture.flags.c_contiguous
        assert np.isfinite(picture).all()
        assert picture.min() >= 0
    flow = scene.flow(0, 500)
    assert flow.shape == (HEIGHT, WIDTH, 2)
    assert flow.dtype == np.float32
    assert np.isfinite(flow).all()
    assert scene.visible(0, 500).dtype == np.bool_


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_is_a_scene(kind: str) -> None:
    first, again, other = _scene(kind, 11, 64, 48), _scene(kind, 11, 64, 48), _scene(kind, 12, 64, 48)
    np.testing.assert_array_equal(first.render(1.5), again.render(1.5))
    np.testing.assert_array_equal(first.flow(0, 1), again.flow(0, 1))
    assert np.abs(first.render(1.5) - other.render(1.5)).max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_without_motion_nothing_moves(kind: str) -> None:
    scene = _scene(kind, 4, 64, 48, motion=0.0)
    np.testing.assert_allclose(scene.render(0), scene.render(4), rtol=1e-3, atol=1e-4)
    assert np.abs(scene.flow(0, 4)).max() < 1e-6


def test_scenes_travel_to_worker_processes() -> None:
    scene = procedural_scene(2, 40, 32)
    copy = pickle.loads(pickle.dumps(scene))
    np.testing.assert_array_equal(copy.render(1), scene.render(1))


def test_more_motion_moves_faster() -> None:
    slow, fast = (np.abs(procedural_scene(9, 96, 64, motion=m).flow(1, 2)).mean() for m in (0.5, 2.0))
    assert fast > 2 * slow > 0


def _flat(width: int, height: int, channels: int, value: float) -> np.ndarray:
    return np.full((height, width, channels), value, np.float32)


def _pan(x: Wave, centre: tuple[float, float]) -> PlanarMotion:
    return PlanarMotion(centre, centre, 1.0, x, Wave(), Wave(), Wave())


# sin(t * pi / 2) * 3: 0 at frame 0, 3 at frame 1
_STEP_3 = Wave(0.0, ((3.0, math.pi / 2, 0.0),))


def test_pan_has_the_flow_it_says() -> None:
    texture = np.random.default_rng(0).random((20, 30, 3)).astype(np.float32)
    scene = Scene((30, 20), (Layer(texture, _pan(_STEP_3, (14.5, 9.5))),))
    np.testing.assert_allclose(scene.flow(0, 1)[..., 0], 3.0, atol=1e-6)
    np.testing.assert_allclose(scene.flow(0, 1)[..., 1], 0.0, atol=1e-6)
    # the picture moves right by 3: what was at x is at x + 3
    np.testing.assert_allclose(scene.render(1)[:, 3:], scene.render(0)[:, :-3], atol=1e-4)
    visible = scene.visible(0, 1)
    assert visible[:, :27].all()
    assert not visible[:, 27:].any()


def test_object_hides_and_uncovers() -> None:
    still = _pan(Wave(), (14.5, 9.5))
    square = _flat(6, 6, 4, 1.0)
    square[..., :3] = 5.0
    mover = ObjectMotion((2.5, 2.5), 1.0, Wave(10.5, _STEP_3.terms), Wave(9.5), Wave(), Wave())
    scene = Scene((30, 20), (Layer(_flat(30, 20, 3, 1.0), still), Layer(square, mover)))
    before, after, flow, visible = scene.render(0), scene.render(1), scene.flow(0, 1), scene.visible(0, 1)
    body = np.zeros((20, 30), bool)
    body[7:13, 8:14] = True
    np.testing.assert_allclose(before[body], 5.0)
    np.testing.assert_allclose(after[7:13, 11:17], 5.0, atol=1e-4)
    np.testing.assert_allclose(flow[body], [[3.0, 0.0]] * 36, atol=1e-6)
    np.testing.assert_allclose(flow[~body], 0.0, atol=1e-6)
    hidden = np.zeros((20, 30), bool)
    hidden[7:13, 14:17] = True
    np.testing.assert_array_equal(visible, ~hidden)


def test_front_object_hides_the_one_behind() -> None:
    still = _pan(Wave(), (14.5, 9.5))
    near, far = _flat(8, 8, 4, 1.0), _flat(8, 8, 4, 1.0)
    far[..., :3] = 3.0
    here = ObjectMotion((3.5, 3.5), 1.0, Wave(15.5), Wave(9.5), Wave(), Wave())
    coming = ObjectMotion((3.5, 3.5), 1.0, Wave(24.5, ((-9.0, math.pi / 2, 0.0),)), Wave(9.5), Wave(), Wave())
    scene = Scene((30, 20), (Layer(_flat(30, 20, 3, 0.5), still), Layer(far, here), Layer(near, coming)))
    assert scene.render(0)[9, 15, 0] == 3.0
    assert scene.render(1)[9, 15, 0] == pytest.approx(1.0)
    assert not scene.visible(0, 1)[6:14, 12:20].any()
    assert scene.visible(0, 1)[6:14, 22:28].all()


def test_glow_is_light_without_a_surface() -> None:
    still = _pan(Wave(), (14.5, 9.5))
    lamp = np.zeros((12, 12, 4), np.float32)
    lamp[..., :3] = 10.0
    motion = ObjectMotion((5.5, 5.5), 1.0, Wave(10.5, _STEP_3.terms), Wave(9.5), Wave(), Wave())
    scene = Scene((30, 20), (Layer(_flat(30, 20, 3, 1.0), still), Layer(lamp, motion, glow=True)))
    assert scene.render(0)[9, 10, 0] == pytest.approx(11.0)
    np.testing.assert_allclose(scene.flow(0, 1), 0.0, atol=1e-6)
    visible = scene.visible(0, 1)
    assert not visible[5:14, 6:18].any()
    assert visible[:, 20:].all()


def test_rotation_follows_the_rays() -> None:
    focal, centre = 40.0, (31.5, 23.5)
    inverse = np.linalg.inv(np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]]))
    motion = RotationMotion(inverse, centre, focal, Wave(0, ((0.2, math.pi / 2, 0.0),)), Wave(), Wave(), Wave())
    scene = Scene((64, 48), (Layer(_flat(64, 48, 3, 1.0), motion),))
    flow = scene.flow(0, 1)
    # on the middle row the ray at angle a is seen at a + 0.2
    x = np.arange(64)
    expected = centre[0] + focal * np.tan(np.arctan((x - centre[0]) / focal) + 0.2) - x
    row = (flow[23, :, 0] + flow[24, :, 0]) / 2
    np.testing.assert_allclose(row, expected, atol=2e-2)
    # the middle column: pixel (x, y) is the direction (x, y, focal), turned about the vertical axis
    y = np.arange(48) - centre[1]
    dx = 31 - centre[0]
    z = -dx * math.sin(0.2) + focal * math.cos(0.2)
    np.testing.assert_allclose(flow[:, 31, 1], focal * y / z - y, atol=1e-4)


def test_point_behind_the_camera_is_not_visible() -> None:
    focal, centre = 20.0, (31.5, 23.5)
    inverse = np.linalg.inv(np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]]))
    motion = RotationMotion(inverse, centre, focal, Wave(0, ((math.pi, math.pi / 2, 0.0),)), Wave(), Wave(), Wave())
    scene = Scene((64, 48), (Layer(_flat(64, 48, 3, 1.0), motion),))
    assert np.isfinite(scene.flow(0, 1)).all()
    assert not scene.visible(0, 1).any()


def test_objects_come_from_the_sources() -> None:
    panorama = np.full((32, 64, 3), 0.5, np.float32)
    red = np.zeros((50, 50, 3), np.float32)
    red[..., 0] = 1.0
    reds = 0
    for seed in range(12):
        for layer in panorama_scene(panorama, seed, 64, 48, object_sources=[red]).layers[1:]:
            rgb = layer.texture[layer.texture[..., 3] > 0.9][:, :3]
            reds += bool(len(rgb) and rgb[:, 1:].max() == 0 and rgb[:, 0].max() > 0)
    assert reds > 0


def test_broken_panorama_pixels_do_no_harm() -> None:
    panorama = _panorama(32)
    panorama[3, 4], panorama[16, 10], panorama[17, 30] = np.nan, np.inf, -5.0
    for seed in range(4):
        picture = panorama_scene(panorama, seed, 40, 30).render(2.5)
        assert np.isfinite(picture).all()
        assert picture.min() >= 0
    assert np.isfinite(panorama_scene(np.zeros((16, 32, 3)), 0, 40, 30).render(0)).all()


def test_large_panorama_does_not_alias() -> None:
    """A checkerboard finer than the screen becomes grey."""
    rows = 1024
    board = (np.indices((rows, 2 * rows)).sum(0) % 2).astype(np.float32)
    scene = panorama_scene(np.repeat(board[..., None], 3, 2), 3, 48, 32)
    texture = scene.layers[0].texture
    assert abs(float(texture.mean()) - 0.5) < 0.05
    assert float(texture.std()) < 0.02


@pytest.mark.parametrize("name", sorted(textures.PICTURES))
def test_every_picture_is_high_dynamic_range(name: str) -> None:
    stops = []
    for seed in range(4):
        picture = textures.PICTURES[name][0](np.random.default_rng(seed), 150, 110, 100.0)
        assert picture.shape == (110, 150, 3)
        assert picture.dtype == np.float32
        assert np.isfinite(picture).all()
        assert picture.min() >= 0
        level = picture.max(-1)
        stops.append(math.log2(np.percentile(level, 99.95) / max(np.percentile(level, 0.1), 1e-6)))
        assert np.median(level) < 0.6 * np.percentile(level, 99.9)  # a long tail
    assert max(stops) > 9
    assert min(stops) > 4


def test_noise_has_the_statistics_it_says() -> None:
    noise = textures.fractal_noise(np.random.default_rng(0), 256, 192, 32)
    assert noise.shape == (192, 256)
    assert abs(float(noise.mean())) < 0.3
    assert 0.7 < float(noise.std()) < 1.4
    spectrum = np.abs(np.fft.rfft2(noise - noise.mean())) ** 2
    assert spectrum[4:12, 4:12].mean() > 20 * spectrum[40:80, 40:80].mean()


def test_sprites_end_before_their_border() -> None:
    for seed in range(40):
        sprite = textures.random_sprite(np.random.default_rng(seed), 40, (), 0.2)
        pixels = sprite.pixels
        assert pixels.shape[2] == 4
        assert np.isfinite(pixels).all()
        assert pixels.min() >= 0
        assert pixels[..., 3].max() <= 1
        assert pixels[..., 3].max() > 0.5
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert border.max() == 0
        assert sprite.glow == bool((pixels[..., :3].max(-1)[pixels[..., 3] == 0] > 0).any())


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: procedural_scene(0, 4, 40), UsageError, "4x40"),
        (lambda: procedural_scene(0, 40, 40, 0), UsageError, "at least one frame"),
        (lambda: procedural_scene(0, 40, 40, motion=-1.0), UsageError, "0 or more"),
        (lambda: procedural_scene(0, 40, 40, motion=float("nan")), UsageError, "0 or more"),
        (lambda: panorama_scene(np.zeros((32, 40, 3)), 0, 40, 40), InputError, "twice as wide"),
        (lambda: panorama_scene(np.zeros((32, 64)), 0, 40, 40), InputError, "(rows, columns, 3)"),
        (lambda: still_scene(np.zeros((32, 64, 4)), 0, 40, 40), InputError, "(rows, columns, 3)"),
    ],
)
def test_bad_input_is_told(make, error: type[HdrvidError], text: str) -> None:
    with pytest.raises(error) as caught:
        make()
    assert text in str(caught.value)
