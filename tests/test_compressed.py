"""Clips that a codec took detail from have weights of their own."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import frame_of_planes, write_ffv1, write_frames, write_images, yuv_planes

import hdrvid
from hdrvid.cli.app import run
from hdrvid.data.synth import synthesise
from hdrvid.data.windows import PROCEDURAL, scene_from
from hdrvid.evaluate.synthetic import CAMERAS
from hdrvid.io.compression import bits_per_pixel
from hdrvid.io.readers import open_clip
from hdrvid.metrics.fidelity import psnr_t
from hdrvid.predict.registry import FOR_COMPRESSED, find_weights, load_reconstructor, shipped_weights, weights_for
from hdrvid.types import ExposureCycle, Window

SHIPPED = [
    (name.removesuffix(FOR_COMPRESSED), count) for name, count, _ in shipped_weights() if name.endswith(FOR_COMPRESSED)
]
STOPS = {2: (0.0, 3.0), 3: (0.0, 2.0, 4.0)}


def smooth(count: int = 8, height: int = 96, width: int = 160) -> list[np.ndarray]:
    x = np.arange(width) / width
    return [np.broadcast_to((0.5 + 0.4 * np.sin(6 * x + i))[:, None], (height, width, 3)) for i in range(count)]


def noisy(count: int = 8, height: int = 96, width: int = 160) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    still = 0.5 + 0.3 * np.sin(x / 7)[..., None] * np.cos(y / 5)[..., None]
    return [np.clip(still + rng.normal(0, 0.03, (height, width, 3)), 0, 1) for _ in range(count)]


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "options", "is_compressed"),
    [
        ("a.mp4", "libx264", "yuv420p", {"crf": "23"}, True),
        ("a.mkv", "libx264", "yuv420p", {"crf": "23"}, True),
        ("a.h264", "libx264", "yuv420p", {"crf": "23"}, True),
        ("a.mp4", "libx264", "yuv420p", {"qp": "0"}, False),
        ("b.mov", "libx265", "yuv420p10le", {"x265-params": "crf=26:log-level=none"}, True),
        ("c.avi", "mpeg4", "yuv420p", {"b": "100000", "qmin": "12"}, True),
        ("d.webm", "libvpx-vp9", "yuv420p", {"crf": "40", "b": "0", "cpu-used": "8"}, True),
        ("e.mov", "prores_ks", "yuv422p10le", {}, False),
        ("f.mov", "mjpeg", "yuvj420p", {"qmin": "8"}, True),
        ("f.mov", "mjpeg", "yuvj420p", {"qmin": "1", "qmax": "1"}, False),
    ],
)
def test_the_file_tells_whether_detail_is_lost(name, codec, pixel_format, options, is_compressed, tmp_path):
    bits = 10 if "10" in pixel_format else 8
    frames = [frame_of_planes(yuv_planes(p, bits), pixel_format) for p in noisy()]
    path = write_frames(tmp_path / name, frames, codec, options=options, matrix=1)
    with open_clip(path) as reader:
        assert reader.info.compressed == is_compressed
        assert "bit_rate" in reader.info.details or name.endswith(".h264")


def test_what_loses_nothing_is_not_compressed(tmp_path):
    frames = [frame_of_planes(yuv_planes(p, 8), "yuv420p") for p in smooth()]
    path = write_frames(tmp_path / "a.mp4", frames, "libx264", options={"qp": "0"}, matrix=1)
    assert 8 * path.stat().st_size < 2 * 8 * 96 * 160, "fewer bits than many a lossy clip"
    with open_clip(path) as reader:
        assert not reader.info.compressed
    with open_clip(write_ffv1(tmp_path / "a.mkv", noisy(2))) as reader:
        assert not reader.info.compressed
    with open_clip(write_images(tmp_path / "frames", noisy(2), ".png")) as reader:
        assert not reader.info.compressed


@pytest.mark.parametrize(("quality", "is_compressed"), [(80, True), (99, False)])
def test_the_size_of_a_jpeg_tells(quality, is_compressed, tmp_path):
    for i, picture in enumerate(noisy(2)):
        codes = np.ascontiguousarray(np.rint(255 * picture).astype(np.uint8)[..., ::-1])
        assert cv2.imwrite(str(tmp_path / f"a.{i}.jpg"), codes, [cv2.IMWRITE_JPEG_QUALITY, quality])
    with open_clip(tmp_path) as reader:
        assert reader.info.compressed == is_compressed


def test_bits_a_pixel_are_those_of_the_stream(tmp_path):
    frames = [frame_of_planes(yuv_planes(p, 8), "yuv420p") for p in noisy(24)]
    path = write_frames(tmp_path / "a.h264", frames, "libx264", options={"crf": "20"})
    size = path.stat().st_size
    same = write_frames(tmp_path / "a.mp4", frames, "libx264", options={"crf": "20"})
    import av

    with av.open(str(same)) as container:
        bits = bits_per_pixel(container, container.streams.video[0], Fraction(24))
    assert bits == pytest.approx(8 * size / (24 * 96 * 160), rel=0.02)


@pytest.mark.parametrize(("preset", "num_exposures"), SHIPPED)
def test_compressed_clips_gain_by_their_weights(preset, num_exposures):
    """On a clip of CRF 23 that the camera sharpened, whose scene no training saw."""
    cycle = ExposureCycle(STOPS[num_exposures])
    scene = scene_from(PROCEDURAL, 91_234, 256, 160, 5, motion=2.0)
    clip = synthesise(scene, cycle, 5, 91_234, CAMERAS["codec"].camera)
    half = num_exposures - 1
    window = Window(
        2,
        tuple(clip.ldr[2 + i] for i in range(-half, half + 1)),
        tuple(cycle.exposure_at(2 + i) for i in range(-half, half + 1)),
        tuple(float(i) for i in range(-half, half + 1)),
    )
    scores = {}
    for model in (preset, weights_for(preset, num_exposures, True)):
        made = load_reconstructor(model, num_exposures, device="cpu", precision="fp32").reconstruct(window).radiance
        scores[model] = psnr_t(made, np.clip(clip.truth[2], 0, 1))
    assert scores[f"{preset}{FOR_COMPRESSED}"] > scores[preset] + 0.5, scores


def test_models_without_such_weights_stay_what_they_are():
    assert weights_for("default", 2, False) == "default"
    for model in ("memo", "classical", "reference", "runs/mine/model.safetensors"):
        assert weights_for(model, 2, True) == model


@pytest.mark.parametrize(
    ("options", "model"),
    [
        ((), f"default{FOR_COMPRESSED}"),
        (("--compressed", "no"), "default"),
        (("--model", "classical"), "classical"),
        (("--model", f"default{FOR_COMPRESSED}", "--compressed", "no"), f"default{FOR_COMPRESSED}"),
    ],
)
def test_a_run_takes_the_weights_of_the_clip(options, model, tmp_path):
    cycle = ExposureCycle((0.0, 3.0))
    scene = scene_from(PROCEDURAL, 91_235, 128, 96, 4, motion=1.0)
    clip = synthesise(scene, cycle, 4, 91_235, replace(CAMERAS["clean"].camera, bits=8))
    frames = [frame_of_planes(yuv_planes(code, 8), "yuv420p") for code in clip.ldr]
    path = write_frames(tmp_path / "a.mp4", frames, "libx264", options={"crf": "23"}, matrix=1)
    out = tmp_path / "out"
    assert run(["reconstruct", str(path), "-o", str(out), "--exposures", "0,3", "--no-preview", *options]) == 0
    assert json.loads((out / "a.json").read_text())["model"]["name"] == model


def test_a_model_may_be_a_path(tmp_path):
    pictures = [np.full((48, 64, 3), value) for value in (0.2, 0.5, 0.2)]
    folder = write_images(tmp_path / "frames", pictures, ".png")
    model = find_weights(f"fast{FOR_COMPRESSED}", 2)
    made = list(hdrvid.frames(folder, model=model, exposures="0,3", device="cpu"))
    assert [index for index, _ in made] == [0, 1, 2]


def test_frames_are_compressed_where_the_user_says_so(tmp_path, capfd):
    pictures = [np.full((64, 64, 3), value) for value in (0.2, 0.5, 0.2, 0.5)]
    folder, out = write_images(tmp_path / "frames", pictures, ".png"), tmp_path / "out"
    arguments = ["reconstruct", str(folder), "-o", str(out), "--exposures", "0,3", "--no-preview", "--compressed"]
    assert run([*arguments, "perhaps"]) == 2
    assert "--compressed takes auto, yes or no" in capfd.readouterr().err
    assert not Path(out).exists()
    assert run([*arguments, "yes"]) == 0
    assert json.loads(next(out.glob("*.json")).read_text())["model"]["name"] == f"default{FOR_COMPRESSED}"
