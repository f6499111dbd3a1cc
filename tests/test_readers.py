"""One contract over every reader, then what is special to videos and to image sequences."""

from __future__ import annotations

import io
import os
import shutil
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import av
import clips
import cv2
import numpy as np
import OpenEXR
import pytest

from hdrvid.errors import InputError
from hdrvid.io import open_clip, split_inputs
from hdrvid.io.exr import read_exr, write_exr
from hdrvid.io.frames import natural_key, printf_frames, read_picture
from hdrvid.io.video import frame_codes

PICTURES = clips.smooth_pictures()
HEIGHT, WIDTH = PICTURES[0].shape[:2]

Maker = Callable[[Path], object]

CONTAINERS: dict[str, Maker] = {
    "h264-rgb8": lambda p: clips.write_rgb_mp4(p / "c.mp4", PICTURES, gop=2),
    "ffv1-rgb16": lambda p: clips.write_ffv1(p / "c.mkv", PICTURES),
    "h264-420-8": lambda p: clips.write_yuv(p / "c.mp4", PICTURES, "libx264", "yuv420p", gop=3),
    "h264-444-10": lambda p: clips.write_yuv(p / "c.mkv", PICTURES, "libx264", "yuv444p10le", gop=3),
    "h265-444-12": lambda p: clips.write_yuv(p / "c.mp4", PICTURES, "libx265", "yuv444p12le", gop=3),
    "ffv1-422-10": lambda p: clips.write_yuv(p / "c.mkv", PICTURES, "ffv1", "yuv422p10le"),
    "png-8": lambda p: clips.write_images(p / "c", PICTURES, ".png"),
    "png-16": lambda p: clips.write_images(p / "c", PICTURES, ".png", 16),
    "tiff-8": lambda p: clips.write_images(p / "c", PICTURES, ".tif"),
    "tiff-16": lambda p: clips.write_images(p / "c", PICTURES, ".tiff", 16),
    "jpeg": lambda p: clips.write_images(p / "c", PICTURES, ".jpg"),
    "exr": lambda p: clips.write_images(p / "c", PICTURES, ".exr"),
    "hdr": lambda p: clips.write_images(p / "c", PICTURES, ".hdr"),
    "printf": lambda p: clips.write_images(p / "c", PICTURES, ".png", 16) / "shot.%04d.png",
    "glob": lambda p: clips.write_images(p / "c", PICTURES, ".png", 16) / "shot.*.png",
    "list": lambda p: sorted(clips.write_images(p / "c", PICTURES, ".png", 16).iterdir()),
    "ppm-8": lambda p: clips.write_images(p / "c", PICTURES, ".ppm"),
    "ppm-16": lambda p: clips.write_images(p / "c", PICTURES, ".ppm", 16),
    "ppm-text-8": lambda p: clips.write_pnm(p / "c", PICTURES, 255, text=True),
    "ppm-text-16": lambda p: clips.write_pnm(p / "c", PICTURES, 65535, text=True),
    "ppm-200-8": lambda p: clips.write_pnm(p / "c", PICTURES, 200),
    "ppm-1000-16": lambda p: clips.write_pnm(p / "c", PICTURES, 1000),
    "webp-8": lambda p: clips.write_animation(p / "c.webp", PICTURES, lossless=True),
    "avif-8": lambda p: clips.write_animation(p / "c.avif", PICTURES, quality=100, subsampling="4:4:4"),
}

# Largest error of a code. Integers: half a step. Y'CbCr: half a step of each plane through the inverse matrix, at most
# (0.5 + 0.5 * 1.86) / 219 for 8 bit; subsampled chroma adds its interpolation (FFV1 does not say where its chroma
# samples lie, swscale then centres them), JPEG its quantisation.
TOLERANCES = {
    "h264-rgb8": 0.5 / 255,
    "ffv1-rgb16": 0.5 / 65535,
    "h264-420-8": 0.03,
    "h264-444-10": 1.5 / 876,
    "h265-444-12": 1.5 / 3504,
    "ffv1-422-10": 0.025,
    "png-8": 0.5 / 255,
    "png-16": 0.5 / 65535,
    "tiff-8": 0.5 / 255,
    "tiff-16": 0.5 / 65535,
    "jpeg": 6 / 255,
    "exr": 0.5 / 2048,
    "hdr": 0.5 / 256,
    "printf": 0.5 / 65535,
    "glob": 0.5 / 65535,
    "list": 0.5 / 65535,
    "ppm-8": 0.5 / 255,
    "ppm-16": 0.5 / 65535,
    "ppm-text-8": 0.5 / 255,
    "ppm-text-16": 0.5 / 65535,
    "ppm-200-8": 1 / 200,  # codes become whole multiples of 1 / 255
    "ppm-1000-16": 0.51 / 1000,
    "webp-8": 0.5 / 255,
    "avif-8": 4 / 255,
}
BIT_DEPTHS = {
    "ppm-8": 8,
    "text-8": 8,
    "200-8": 8,
    "webp-8": 8,
    "avif-8": 8,
    "rgb8": 8,
    "420-8": 8,
    "png-8": 8,
    "tiff-8": 8,
    "jpeg": 8,
    "444-10": 10,
    "422-10": 10,
    "444-12": 12,
}


@pytest.fixture(scope="module", params=CONTAINERS)
def container(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    made = CONTAINERS[request.param](tmp_path_factory.mktemp(request.param))
    return request.param, [str(m) for m in made] if isinstance(made, list) else [str(made)]


class TestEveryReader:
    def test_pictures_in_order(self, container: tuple[str, list[str]]) -> None:
        name, inputs = container
        with open_clip(inputs) as clip:
            frames = list(clip.frames())
            assert [f.index for f in frames] == list(range(len(PICTURES)))
            for frame, picture in zip(frames, PICTURES, strict=True):
                assert frame.pixels.dtype == np.float32
                assert frame.pixels.shape == (HEIGHT, WIDTH, 3)
                assert frame.pixels.flags.c_contiguous
                assert frame.pixels.min() >= 0
                assert frame.pixels.max() <= 1
                assert np.abs(frame.pixels - picture).max() <= TOLERANCES[name] * 1.001 + 1e-6
            assert clip.warnings() == []

    def test_info(self, container: tuple[str, list[str]]) -> None:
        name, inputs = container
        with open_clip(inputs) as clip:
            info = clip.info
        assert (info.width, info.height) == (WIDTH, HEIGHT)
        assert info.linear == (name in ("exr", "hdr"))
        # animations count whole milliseconds
        assert info.frames_per_second == (Fraction(1000, 42) if name in ("webp-8", "avif-8") else 24)
        assert info.num_frames in (len(PICTURES), None if info.kind == "video" else len(PICTURES))
        assert info.stem in ("c", "shot")
        expected = next((depth for part, depth in BIT_DEPTHS.items() if name.endswith(part)), None)
        assert info.bit_depth == (expected or (32 if info.linear else 16))

    @pytest.mark.parametrize(
        ("start", "stop"), [(1, None), (2, 4), (3, None), (5, 6), (0, 1), (2, 2), (6, None), (4, 99)]
    )
    def test_restart_equals_slice(self, container: tuple[str, list[str]], start: int, stop: int | None) -> None:
        with open_clip(container[1]) as clip:
            whole = list(clip.frames())
            part = list(clip.frames(start, stop))
        expected = whole[start:stop]
        assert [f.index for f in part] == [f.index for f in expected]
        assert [f.pts_seconds for f in part] == [f.pts_seconds for f in expected]
        for a, b in zip(part, expected, strict=True):
            assert np.array_equal(a.pixels, b.pixels)

    def test_interleaved_iterations(self, container: tuple[str, list[str]]) -> None:
        with open_clip(container[1]) as clip:
            pairs = list(zip(clip.frames(), clip.frames(1), strict=False))
        assert [(a.index, b.index) for a, b in pairs] == [(i, i + 1) for i in range(len(PICTURES) - 1)]

    def test_times(self, container: tuple[str, list[str]]) -> None:
        with open_clip(container[1]) as clip:
            times = [f.pts_seconds for f in clip.frames()]
            rate = clip.info.frames_per_second
        # Matroska counts in milliseconds
        assert times == pytest.approx([float(i / rate) for i in range(len(PICTURES))], abs=0.00051)

    def test_negative_index(self, container: tuple[str, list[str]]) -> None:
        with open_clip(container[1]) as clip, pytest.raises(ValueError, match="indices begin at 0"):
            clip.frames(-1)


class TestVideo:
    @pytest.mark.parametrize(
        "pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p12le"]
    )
    @pytest.mark.parametrize("full_range", [False, True])
    def test_grey_codes_are_exact(self, pixel_format: str, full_range: bool) -> None:
        """Every grey level, black and white included, within 1/50 of a ten-bit code of its definition."""
        bits = 10 if "10" in pixel_format else 12 if "12" in pixel_format else 8
        unit = 2 ** (bits - 8)
        low, high = (0, 2**bits - 1) if full_range else (16 * unit, 235 * unit)
        luma = np.linspace(low, high, 64).round()[None].repeat(4, 0)
        kind = np.uint8 if bits == 8 else np.uint16
        chroma = np.full(luma.shape, 128 * unit, kind)
        frame = clips.frame_of_planes([luma.astype(kind), chroma, chroma], pixel_format)
        frame.colorspace, frame.color_range = 1, 2 if full_range else 1
        codes = frame_codes(frame)
        assert np.abs(codes - ((luma - low) / (high - low))[..., None]).max() <= 0.02 / 1023
        assert codes[0, -1].tolist() == [1, 1, 1]
        assert codes[0, 0].tolist() == [0, 0, 0]

    @pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p12le"])
    def test_flat_colour_at_every_size(self, pixel_format: str) -> None:
        """Odd and tiny sizes too: some of swscale's conversions leave garbage where vectors or slices end."""
        bits = 10 if "10" in pixel_format else 12 if "12" in pixel_format else 8
        for width in (*range(1, 36), 101, 334, 641):
            for height in (1, 2, 7, 8, 9, 18, 33):
                colour = np.broadcast_to([0.8, 0.3, 0.55], (height, width, 3))
                frame = clips.frame_of_planes(clips.yuv_planes(colour, bits), pixel_format)
                frame.colorspace, frame.color_range = 1, 1
                assert np.abs(frame_codes(frame) - colour).max() <= 1.5 / (219 * 2 ** (bits - 8)), (width, height)

    @pytest.mark.parametrize("pixel_format", ["gbrp", "bgr0", "rgba", "gbrp16le", "gbrap16le", "rgba64le"])
    def test_rgb_formats_are_exact(self, pixel_format: str) -> None:
        bits = 16 if "16" in pixel_format or "64" in pixel_format else 8
        rng = np.random.default_rng(0)
        for width in (1, 7, 16, 33, 101):
            codes = rng.integers(0, 2**bits, (9, width, 4)).astype(np.uint8 if bits == 8 else np.uint16)
            frame = av.VideoFrame.from_ndarray(codes, format="rgba" if bits == 8 else "rgba64le")
            decoded = frame_codes(frame.reformat(format=pixel_format)) * (2**bits - 1)
            assert np.array_equal(np.rint(decoded), codes[..., :3]), width

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_jpegs_of_a_camera_muxed_as_they_are(self, tmp_path: Path, orientation: int) -> None:
        """Their frames have side data that PyAV before 19 has no name for; what is beside it is still used."""
        pictures = clips.smooth_pictures(3)
        path = clips.write_jpegs_with_exif(tmp_path / "a.mov", pictures, orientation)
        # EXIF 2.32, tag 0x0112: where row 0 and column 0 of what is stored are
        upright = {
            1: lambda p: p,
            2: lambda p: p[:, ::-1],
            3: lambda p: p[::-1, ::-1],
            4: lambda p: p[::-1],
            5: lambda p: p.transpose(1, 0, 2),
            6: lambda p: p.transpose(1, 0, 2)[:, ::-1],
            7: lambda p: p.transpose(1, 0, 2)[::-1, ::-1],
            8: lambda p: p.transpose(1, 0, 2)[::-1],
        }[orientation]
        with open_clip(path) as clip:
            frames = list(clip.frames())
            assert len(frames) == 3
            for frame, picture in zip(frames, pictures, strict=True):
                assert frame.pixels.shape == upright(picture).shape
                assert np.abs(frame.pixels - upright(picture)).max() < 0.05

    @pytest.mark.parametrize(
        ("name", "mean", "ticks", "expected"),
        [
            ("a.flv", 1000, [round(i * 1001 / 30) for i in range(30)], Fraction(30000, 1001)),
            ("a.flv", 25, [40 * i for i in range(30)], 25),
            ("a.mkv", 24, [round(i * 1001 / 24) for i in range(30)], Fraction(24000, 1001)),
        ],
    )
    def test_the_rate_is_that_of_the_times(
        self, tmp_path: Path, name: str, mean: int, ticks: list[int], expected: Fraction
    ) -> None:
        """A Flash video may say 1000 frames a second, the ticks that its times are counted in."""
        path = clips.write_yuv(
            tmp_path / name,
            clips.smooth_pictures(len(ticks)),
            "libx264",
            "yuv420p",
            pts=ticks,
            time_base=Fraction(1, 1000),
            rate=Fraction(mean),
        )
        with open_clip(path) as clip:
            assert float(clip.info.frames_per_second) == pytest.approx(float(expected), rel=1e-3)
            assert len(list(clip.frames())) == len(ticks)
            assert clip.warnings() == []

    def test_the_rate_of_a_gif(self, tmp_path: Path) -> None:
        """12.5 frames a second, which FFmpeg takes for 12000/1001."""
        path = tmp_path / "a.gif"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("gif", rate=Fraction(25, 2))
            stream.width, stream.height, stream.pix_fmt = 26, 18, "rgb8"
            for picture in clips.smooth_pictures(16):
                frame = av.VideoFrame.from_ndarray(clips.quantised(picture, 8), format="rgb24")
                container.mux(stream.encode(frame.reformat(format="rgb8")))
            container.mux(stream.encode())
        with open_clip(path) as clip:
            assert clip.info.frames_per_second == Fraction(25, 2)

    @pytest.mark.parametrize(
        ("steps", "missing"),
        [
            ([1] * 9 + [3] * 12, None),  # the rate changes
            ([1] * 9 + [3, 1] * 6, None),  # and changes
            ([1, 1, 2, 1, 1, 3, 1, 2] * 3, None),
            ([1] * 9 + [2, 2, 1, 1, 1, 1, 1, 1], None),
            ([1] * 9 + [3] + [1] * 9, "2 frame(s) seem to be missing before frame 10"),
            ([1] * 9 + [3] + [1] * 2, "2 frame(s) seem to be missing before frame 10"),
        ],
    )
    def test_only_a_jump_in_even_times_is_a_gap(self, tmp_path: Path, steps: list[int], missing: str | None) -> None:
        ticks = [0, *np.cumsum(steps).tolist()]
        path = clips.write_yuv(tmp_path / "a.mp4", clips.smooth_pictures(len(ticks)), "libx264", "yuv420p", pts=ticks)
        with open_clip(path) as clip:
            list(clip.frames())
            assert [w for w in clip.warnings() if "missing" in w] == ([] if missing is None else clip.warnings())
            assert missing is None or missing in clip.warnings()[0]

    def test_tags_that_are_no_utf8(self, tmp_path: Path) -> None:
        plain = clips.write_rgb_mp4(tmp_path / "plain.mkv", clips.smooth_pictures(3), title="cafe")
        path = tmp_path / "latin1.mkv"
        path.write_bytes(plain.read_bytes().replace(b"cafe", b"caf\xe9"))
        assert b"caf\xe9" in path.read_bytes()
        with open_clip(path) as clip:
            assert len(list(clip.frames())) == 3

    @pytest.mark.parametrize("color_range", [0, 1, 2])
    def test_grey_formats(self, color_range: int) -> None:
        frame = clips.frame_of_planes([np.tile(np.array([16, 126, 235], np.uint8), (2, 8))], "gray")
        frame.color_range = color_range
        expected = [0, 110 / 219, 1] if color_range == 1 else [16 / 255, 126 / 255, 235 / 255]
        assert frame_codes(frame)[0, :3, 1] == pytest.approx(expected, abs=1e-4)

    @pytest.mark.parametrize("color_range", [0, 1, 2])
    @pytest.mark.parametrize("stored_full", [False, True])
    @pytest.mark.parametrize(
        ("name", "codec", "pixel_format"),
        [
            ("a.mp4", "libx264", "gray"),
            ("a.ts", "libx264", "gray"),
            ("a.mkv", "libx264", "gray10le"),
            ("a.mp4", "libx265", "gray"),
            ("a.mkv", "libx265", "gray12le"),
            ("a.mkv", "ffv1", "gray"),
        ],
    )
    def test_grey_video_is_as_bright_as_its_colour_version(
        self, tmp_path: Path, name: str, codec: str, pixel_format: str, stored_full: bool, color_range: int
    ) -> None:
        """Whatever the tag says: FFmpeg's encoders write full range and tag it as limited, or not at all."""
        if (stored_full, color_range) in ((False, 2), (False, 0) if codec == "ffv1" else (True, 3)):
            pytest.skip("a false tag that the codes do not contradict")
        bits = 10 if "10" in pixel_format else 12 if "12" in pixel_format else 8
        ramp = np.repeat(np.tile(np.linspace(0, 1, 128), (64, 1))[..., None], 3, axis=2)
        luma, cb, cr = clips.yuv_planes(ramp, bits, full_range=stored_full)
        options = {"x265-params": "log-level=none:lossless=1"} if codec == "libx265" else {"qp": "0"}
        options = {} if codec == "ffv1" else options
        frames = [clips.frame_of_planes([luma], pixel_format) for _ in range(8)]
        grey = clips.write_frames(tmp_path / name, frames, codec, options=options, color_range=color_range)
        colour = tmp_path / "colour.mkv"
        kind = {8: "yuv444p", 10: "yuv444p10le", 12: "yuv444p12le"}[bits]
        frames = [clips.frame_of_planes([luma, cb, cr], kind) for _ in range(8)]
        clips.write_frames(colour, frames, "ffv1", color_range=2 if stored_full else 1)
        with open_clip(grey) as one, open_clip(colour) as other:
            pixels, expected = next(one.frames()).pixels, next(other.frames()).pixels
            assert np.abs(pixels - expected).max() <= 0.05 / (219 << (bits - 8))
            assert np.array_equal(pixels, np.repeat(pixels[..., :1], 3, axis=2))
            assert one.info.details["matrix"] == "none"
            assert "R = G = B" in one.info.details["grey"]
            assert one.info.details["range"].startswith("full" if stored_full else "limited")
            assert one.warnings() == []

    @pytest.mark.parametrize("codec", ["libx264", "libx265", "ffv1"])
    def test_grey_video_whose_range_nothing_tells(self, tmp_path: Path, codec: str) -> None:
        luma = np.tile(np.linspace(60, 180, 64).round().astype(np.uint8), (64, 1))
        frames = [clips.frame_of_planes([luma], "gray") for _ in range(8)]
        path = clips.write_frames(tmp_path / "a.mkv", frames, codec, color_range=1 if codec == "ffv1" else 0)
        with open_clip(path) as clip:
            assert clip.info.details["range"].startswith("limited")
            pixels = next(clip.frames()).pixels[32]
            assert pixels[:, 1] == pytest.approx((luma[0].astype(float) - 16) / 219, abs=0.02)
            # the tag of FFV1 is one that its encoder was given
            said = [w for w in clip.warnings() if "taken as limited range" in w]
            assert len(said) == (codec != "ffv1")

    @pytest.mark.parametrize("weights", [clips.BT709, clips.BT601, clips.BT2020])
    @pytest.mark.parametrize("full_range", [False, True])
    def test_ten_bit_colours_honour_the_tags(
        self, tmp_path: Path, weights: tuple[float, float], full_range: bool
    ) -> None:
        flat = np.broadcast_to([0.8, 0.3, 0.55], (16, 16, 3))
        path = clips.write_yuv(
            tmp_path / "c.mkv", [flat], "libx264", "yuv420p10le", weights=weights, full_range=full_range
        )
        with open_clip(path) as clip:
            pixels = next(clip.frames()).pixels
            assert clip.info.details["range"] == ("full" if full_range else "limited")
            assert "not tagged" not in clip.info.details["matrix"]
        # one and a half ten-bit steps: the rounding of three planes
        assert np.abs(pixels - flat).max() <= 1.5 / 876

    @pytest.mark.parametrize(("height", "weights"), [(718, clips.BT601), (720, clips.BT709)])
    def test_untagged_matrix_follows_the_height(
        self, tmp_path: Path, height: int, weights: tuple[float, float]
    ) -> None:
        flat = np.broadcast_to([0.8, 0.3, 0.55], (height, 32, 3))
        path = clips.write_yuv(tmp_path / "c.mkv", [flat], "ffv1", "yuv444p10le", weights=weights, tagged=False)
        with open_clip(path) as clip:
            pixels = next(clip.frames()).pixels
            assert "not tagged" in clip.info.details["matrix"]
        assert np.abs(pixels - flat).max() <= 1.5 / 876

    def test_variable_frame_rate(self, tmp_path: Path) -> None:
        ticks = [0, 40, 90, 100, 300, 333]
        path = clips.write_rgb_mp4(tmp_path / "c.mkv", PICTURES, pts=ticks, time_base=Fraction(1, 1000))
        with open_clip(path) as clip:
            assert [f.pts_seconds for f in clip.frames()] == [t / 1000 for t in ticks]
            assert [f.pts_seconds for f in clip.frames(3)] == [t / 1000 for t in ticks[3:]]
            assert clip.warnings() == []

    def test_seek_with_reordered_frames(self, tmp_path: Path) -> None:
        pictures = clips.smooth_pictures(40)
        for name in ("b.mp4", "b.mkv", "b.ts"):
            path = clips.write_yuv(tmp_path / name, pictures, "libx264", "yuv420p", gop=7)
            with open_clip(path) as clip:
                whole = list(clip.frames())
                assert len(whole) == 40
                for start in (1, 6, 7, 8, 20, 34, 35, 39):
                    frame = next(clip.frames(start))
                    assert frame.index == start
                    assert frame.pts_seconds == whole[start].pts_seconds
                    assert np.array_equal(frame.pixels, whole[start].pixels)

    def test_rotation_is_applied(self, tmp_path: Path) -> None:
        path = clips.write_rgb_mp4(tmp_path / "c.mp4", PICTURES[:2], rotation=90)
        with open_clip(path) as clip:
            assert (clip.info.width, clip.info.height) == (HEIGHT, WIDTH)
            pixels = next(clip.frames()).pixels
        assert np.abs(pixels - np.rot90(PICTURES[0])).max() <= 0.51 / 255

    def test_truncated_file_warns(self, tmp_path: Path) -> None:
        noise = [np.random.default_rng(i).random((32, 32, 3)) for i in range(20)]
        whole = clips.write_ffv1(tmp_path / "whole.mkv", noise)
        with open_clip(whole) as clip:
            assert len(list(clip.frames())) == 20
            assert clip.warnings() == []
        cut = tmp_path / "cut.mkv"
        data = whole.read_bytes()
        cut.write_bytes(data[: len(data) // 2])
        with open_clip(cut) as clip:
            frames = list(clip.frames())
            assert 5 < len(frames) < 15
            assert len(clip.warnings()) == 1
            assert "ends early" in clip.warnings()[0]
            assert f"{len(frames)} of about 20" in clip.warnings()[0]
            last = list(clip.frames(len(frames) - 1))
            assert [f.index for f in last] == [len(frames) - 1]
            assert len(clip.warnings()) == 1

    @pytest.mark.parametrize("damaged", [0, 3, 5])
    def test_frame_that_cannot_be_decoded(self, tmp_path: Path, damaged: int) -> None:
        """In the middle it is an error, for a frame left out would shift the exposures; at the end it is a warning."""
        whole = [av.VideoFrame.from_ndarray(clips.quantised(p, 8), format="rgb24") for p in PICTURES]
        source = clips.write_frames(tmp_path / "whole.mov", whole, "png")
        path = clips.damage_packets(source, tmp_path / "c.mov", [damaged])
        if damaged < 5:
            with pytest.raises(InputError, match=f"damaged at frame {damaged}"), open_clip(path) as clip:
                list(clip.frames())
            return
        with open_clip(path) as clip:
            assert [f.index for f in clip.frames()] == [0, 1, 2, 3, 4]
            assert len(clip.warnings()) == 1
            assert "ends early: nothing after frame 4" in clip.warnings()[0]

    def test_partial_reads_do_not_warn(self, tmp_path: Path) -> None:
        path = clips.write_ffv1(tmp_path / "c.mkv", PICTURES)
        with open_clip(path) as clip:
            assert len(list(clip.frames(0, 2))) == 2
            assert clip.warnings() == []

    def test_closed_clip(self, tmp_path: Path) -> None:
        path = clips.write_ffv1(tmp_path / "c.mkv", PICTURES)
        clip = open_clip(path)
        iterator = clip.frames()
        next(iterator)
        clip.close()
        assert list(iterator) == []
        with pytest.raises(ValueError, match="closed"):
            clip.frames()

    def test_changing_size_is_refused(self, tmp_path: Path) -> None:
        a = clips.write_rgb_mp4(tmp_path / "a.h264", PICTURES[:2])
        b = clips.write_rgb_mp4(tmp_path / "b.h264", clips.smooth_pictures(2, 34, 40))
        joined = tmp_path / "joined.h264"
        joined.write_bytes(a.read_bytes() + b.read_bytes())
        with open_clip(joined) as clip, pytest.raises(InputError, match="changes its size at frame 2"):
            list(clip.frames())

    def test_stream_without_times_is_counted(self, tmp_path: Path) -> None:
        path = clips.write_rgb_mp4(tmp_path / "raw.h264", PICTURES, gop=2)
        with open_clip(path) as clip:
            assert [f.index for f in clip.frames(3)] == [3, 4, 5]
            assert np.abs(next(clip.frames(4)).pixels - PICTURES[4]).max() <= 0.51 / 255

    @pytest.mark.parametrize("name", ["junk.mp4", "junk.mkv", "junk.txt", "junk", "empty.mp4"])
    def test_junk(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        path.write_bytes(b"" if "empty" in name else b"this is not a video\n" * 200)
        with pytest.raises(InputError, match=name):
            open_clip(path)

    def test_truncated_mp4(self, tmp_path: Path) -> None:
        whole = clips.write_rgb_mp4(tmp_path / "c.mp4", PICTURES).read_bytes()
        cut = tmp_path / "cut.mp4"
        cut.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InputError, match="damaged, incomplete or not a video"):
            open_clip(cut)

    def test_missing_and_soundtrack_only(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="does not exist"):
            open_clip(tmp_path / "none.mp4")
        path = tmp_path / "sound.wav"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
            sound.rate = 8000
            container.mux(stream.encode(sound))
        with pytest.raises(InputError, match="holds no video"):
            open_clip(path)

    def test_no_frames(self, tmp_path: Path) -> None:
        path = tmp_path / "none.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=24)
            stream.width = stream.height = 16
            stream.pix_fmt = "yuv420p"
            container.start_encoding()
        with pytest.raises(InputError, match=r"no frame|cannot be read"):
            open_clip(path)


class TestImages:
    def test_natural_order(self, tmp_path: Path) -> None:
        for number in (10, 9, 100, 1):
            cv2.imwrite(str(tmp_path / f"f{number}.png"), np.full((4, 4, 3), number, np.uint8))
        cv2.imwrite(str(tmp_path / ".hidden.png"), np.zeros((4, 4, 3), np.uint8))
        (tmp_path / "notes.txt").write_text("no frame")
        with open_clip(tmp_path) as clip:
            assert [round(255 * float(f.pixels[0, 0, 0])) for f in clip.frames()] == [1, 9, 10, 100]
            assert clip.info.stem == tmp_path.name
        assert sorted(["b", "a10", "a9", "A1"], key=natural_key) == ["A1", "a9", "a10", "b"]

    def test_list_keeps_the_given_order(self, tmp_path: Path) -> None:
        folder = clips.write_images(tmp_path / "c", PICTURES, ".png", 16)
        order = [folder / "shot.0003.png", folder / "shot.0001.png"]
        with open_clip(order) as clip:
            frames = list(clip.frames())
        assert np.abs(frames[0].pixels - PICTURES[2]).max() < 1e-4
        assert np.abs(frames[1].pixels - PICTURES[0]).max() < 1e-4

    @pytest.mark.parametrize("kind", [np.uint8, np.uint16])
    def test_grey_and_alpha(self, tmp_path: Path, kind: type) -> None:
        top = np.iinfo(kind).max
        grey = np.array([[0, top // 2, top]], kind)
        cv2.imwrite(str(tmp_path / "grey.png"), grey)
        cv2.imwrite(str(tmp_path / "alpha.png"), np.array([[[0, top // 2, top, 3]]], kind))
        expected = (grey / top).astype(np.float32)
        assert np.array_equal(read_picture(tmp_path / "grey.png").pixels, np.repeat(expected[..., None], 3, 2))
        assert np.array_equal(read_picture(tmp_path / "alpha.png").pixels[0, 0], expected[0, ::-1])

    def test_different_sizes(self, tmp_path: Path) -> None:
        folder = clips.write_images(tmp_path / "c", PICTURES[:2], ".png")
        clips.write_images(folder, [np.zeros((5, 7, 3))], ".png", first=3)
        message = rf"shot\.0003\.png is 7x5 but shot\.0001\.png is {WIDTH}x{HEIGHT}"
        with open_clip(folder) as clip, pytest.raises(InputError, match=message):
            list(clip.frames())

    def test_different_depths(self, tmp_path: Path) -> None:
        folder = clips.write_images(tmp_path / "c", PICTURES[:2], ".png")
        clips.write_images(folder, PICTURES[:1], ".png", 16, first=3)
        with open_clip(folder) as clip, pytest.raises(InputError, match="16 bit samples"):
            list(clip.frames())

    def test_empty_and_mixed_folders(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match="holds no frames"):
            open_clip(tmp_path / "empty")
        folder = clips.write_images(tmp_path / "c", PICTURES[:2], ".png")
        clips.write_images(folder, PICTURES[:2], ".exr")
        with pytest.raises(InputError, match=r"mixes .*pattern such as .*\*\.(png|exr)\""):
            open_clip(folder)
        with open_clip(folder / "*.exr") as clip:
            assert clip.info.num_frames == 2

    def test_patterns(self, tmp_path: Path) -> None:
        folder = clips.write_images(tmp_path / "c", PICTURES, ".png", first=98)
        assert [p.name for p in printf_frames(str(folder / "shot.%04d.png"))][:2] == ["shot.0098.png", "shot.0099.png"]
        with open_clip(folder / "shot.%04d.png") as clip:
            assert clip.info.stem == "shot"
        for pattern, message in {
            "shot.%05d.png": "matches nothing",
            "shot.%d.png": "matches nothing",
            "other*.png": "matches nothing",
            "%d.%04d.png": "exactly one",
            "shot.%04d.mp4": "does not name images",
        }.items():
            with pytest.raises(InputError, match=message):
                open_clip(folder / pattern)
        (folder / "shot.0100.png").unlink()
        with pytest.raises(InputError, match=r"shot\.0100\.png is missing"):
            open_clip(folder / "shot.%04d.png")
        with open_clip(folder) as clip:
            assert ["gap" in w for w in clip.warnings()] == [True]

    def test_unpadded_pattern_and_literal_names(self, tmp_path: Path) -> None:
        for number in range(9, 12):
            cv2.imwrite(str(tmp_path / f"f{number}.png"), np.full((4, 4, 3), number, np.uint8))
        assert [p.name for p in printf_frames(str(tmp_path / "f%d.png"))] == ["f9.png", "f10.png", "f11.png"]
        literal = clips.write_rgb_mp4(tmp_path / "take[1]:%d.mp4", PICTURES)
        with open_clip(literal) as clip:
            assert len(list(clip.frames())) == len(PICTURES)

    @pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".exr", ".hdr"])
    @pytest.mark.parametrize("damage", ["cut", "junk", "empty"])
    def test_damaged(self, tmp_path: Path, suffix: str, damage: str, capfd: pytest.CaptureFixture[str]) -> None:
        noise = np.random.default_rng(0).random((64, 64, 3))
        folder = clips.write_images(tmp_path / "c", [noise, noise], suffix)
        path = folder / f"shot.0002{suffix}"
        data = path.read_bytes()
        path.write_bytes({"cut": data[: len(data) * 2 // 3], "junk": b"junk" * 500, "empty": b""}[damage])
        with open_clip(folder) as clip, pytest.raises(InputError, match=r"shot\.0002"):
            list(clip.frames())
        assert capfd.readouterr().out == ""

    def test_single_and_missing_image(self, tmp_path: Path) -> None:
        folder = clips.write_images(tmp_path / "c", PICTURES[:1], ".png")
        with open_clip(folder / "shot.0001.png") as clip:
            assert clip.info.num_frames == 1
            assert clip.info.stem == "shot.0001"
        with pytest.raises(InputError, match="does not exist"):
            open_clip(folder / "shot.0002.png")

    def test_float_tiff_is_refused(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "f.tif"), np.zeros((4, 4, 3), np.float32))
        with pytest.raises(InputError, match="float32 samples"):
            open_clip(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes an intact clip of `TestDamage.VIDEOS`, once."""
    folder = tmp_path_factory.mktemp("whole")

    def make(name: str) -> Path:
        path = folder / name
        if not path.exists():
            codec, pixel_format, options = TestDamage.VIDEOS[name]
            pictures = [np.tile(p, (2, 3, 1)) if codec == "dnxhd" else p for p in TestDamage.NOISE]
            clips.write_yuv(path, pictures, codec, pixel_format, options=options, gop=8)
        return path

    return make


class TestDamage:
    """One broken frame in the middle: reported with its index, left out, the others as they are in the whole clip."""

    NOISE: ClassVar = [np.random.default_rng(i).random((64, 96, 3)) for i in range(24)]
    VIDEOS: ClassVar = {
        "h264.mp4": ("libx264", "yuv420p", {"qp": "18"}),
        "h264-no-b.mp4": ("libx264", "yuv420p", {"qp": "18", "bf": "0"}),
        "h264-slices.mp4": ("libx264", "yuv420p", {"qp": "18", "slices": "4"}),
        "hevc.mkv": ("libx265", "yuv420p10le", {}),
        "ffv1.mkv": ("ffv1", "yuv422p10le", {}),
        "dnxhd.mov": ("dnxhd", "yuv422p10le", {"profile": "dnxhr_hqx"}),
        "mjpeg.avi": ("mjpeg", "yuvj422p", {}),
        "prores.mov": ("prores_ks", "yuv422p10le", {}),
    }

    @staticmethod
    def read(path: Path, start: int = 0, stop: int | None = None) -> tuple[dict[int, np.ndarray], list[int], list[str]]:
        """Pixels by index, the indices reported, and the warnings."""
        reported: list[int] = []

        def note(index: int, text: str) -> None:
            assert path.name in text or "shot" in text
            assert str(index) in text or "shot" in text
            reported.append(index)

        with open_clip(path) as clip:
            frames = list(clip.frames(start, stop, note))
            warnings = clip.warnings()
        assert [f.index for f in frames] == sorted({f.index for f in frames})
        return {f.index: f.pixels for f in frames}, reported, warnings

    @pytest.mark.parametrize("name", VIDEOS)
    def test_packet_that_is_no_picture(self, tmp_path: Path, whole: Callable[[str], Path], name: str) -> None:
        source = whole(name)
        intact, none, warnings = self.read(source)
        assert (sorted(intact), none, warnings) == (list(range(24)), [], [])
        times = self.presentation_order(source)
        for packet in (9, 12, 16):
            path = clips.damage_packets(source, tmp_path / name, [packet])
            lost = times[packet]
            frames, reported, warnings = self.read(path)
            assert lost in reported
            assert sorted([*frames, *reported]) == list(range(24))
            # what refers to the lost frame may be wrong up to the next key frame, the clip says so
            wrong = [i for i in frames if not np.array_equal(frames[i], intact[i])]
            assert all(lost // 8 * 8 - 8 < i < lost // 8 * 8 + 16 for i in wrong), (packet, lost, wrong)
            assert not [i for i in wrong if i > lost] or any("may show traces" in w for w in warnings)
            if name.split(".")[0] in ("ffv1", "dnxhd", "mjpeg", "prores"):
                assert wrong == []
            with open_clip(path) as clip, pytest.raises(InputError, match=f"damaged at frame {min(reported)}"):
                list(clip.frames())

    @staticmethod
    def presentation_order(path: Path) -> list[int]:
        """Frame index of every packet in the order of the file."""
        with av.open(str(path)) as container:
            pts = [p.pts for p in container.demux(video=0) if p.size]
        return [sorted(pts).index(p) for p in pts]

    @pytest.mark.parametrize("name", ["h264-no-b.mp4", "h264-slices.mp4", "dnxhd.mov"])
    def test_flipped_bytes(self, tmp_path: Path, whole: Callable[[str], Path], name: str) -> None:
        """H.264 and DNxHR decoders notice, also where they patch the picture up."""
        source = whole(name)
        intact, _, _ = self.read(source)
        times = self.presentation_order(source)
        path = clips.damage_packets(source, tmp_path / name, [11], "flip")
        frames, reported, _ = self.read(path)
        assert times[11] in reported
        assert sorted([*frames, *reported]) == list(range(24))
        assert all(np.array_equal(frames[i], intact[i]) for i in frames if i < 8 or i >= 16)

    def test_several_and_ranges(self, tmp_path: Path, whole: Callable[[str], Path]) -> None:
        source = whole("dnxhd.mov")
        intact, _, _ = self.read(source)
        path = clips.damage_packets(source, tmp_path / "c.mov", [3, 4, 10, 20])
        assert self.read(path)[1] == [3, 4, 10, 20]
        for start, stop, expected in ((0, 4, [3]), (4, 11, [4, 10]), (5, 10, []), (11, 20, []), (12, None, [20])):
            frames, reported, _ = self.read(path, start, stop)
            assert reported == expected
            assert sorted([*frames, *reported]) == list(range(start, 24 if stop is None else stop))
            assert all(np.array_equal(pixels, intact[i]) for i, pixels in frames.items())
        with open_clip(path) as clip:
            assert [f.index for f in clip.frames(5, 10)] == [5, 6, 7, 8, 9]
            with pytest.raises(InputError, match="damaged at frame 10"):
                list(clip.frames(5, 11))

    def test_gap_in_the_times(self, tmp_path: Path) -> None:
        """Packets that are gone for good leave nothing but a jump in otherwise even times."""
        ticks = [0, 1, 2, 3, 4, 8]
        path = clips.write_rgb_mp4(tmp_path / "c.mkv", PICTURES, pts=ticks)
        with open_clip(path) as clip:
            assert [f.index for f in clip.frames()] == [0, 1, 2, 3, 4, 5]
            assert "3 frame(s) seem to be missing before frame 5" in clip.warnings()[0]
            assert len(clip.warnings()) == 1

    def test_first_frame(self, tmp_path: Path, whole: Callable[[str], Path]) -> None:
        """There is nothing to go by without it."""
        path = clips.damage_packets(whole("dnxhd.mov"), tmp_path / "c.mov", [0])
        with pytest.raises(InputError, match="damaged at frame 0"):
            open_clip(path)

    def test_last_frame_is_the_end_of_the_file(self, tmp_path: Path, whole: Callable[[str], Path]) -> None:
        path = clips.damage_packets(whole("dnxhd.mov"), tmp_path / "c.mov", [23])
        frames, reported, warnings = self.read(path)
        assert (sorted(frames), reported) == (list(range(23)), [])
        assert "ends early: nothing after frame 22" in warnings[0]

    def test_variable_rate_keeps_its_times(self, tmp_path: Path) -> None:
        ticks = [0, 40, 90, 100, 300, 333]
        frames = [av.VideoFrame.from_ndarray(clips.quantised(p, 8), format="rgb24") for p in PICTURES]
        source = clips.write_frames(tmp_path / "a.mov", frames, "png", pts=ticks, time_base=Fraction(1, 1000))
        path = clips.damage_packets(source, tmp_path / "c.mov", [2])
        reported: list[int] = []
        with open_clip(path) as clip:
            times = {f.index: f.pts_seconds for f in clip.frames(on_damage=lambda i, _: reported.append(i))}
        assert reported == [2]
        assert times == pytest.approx({i: t / 1000 for i, t in enumerate(ticks) if i != 2})

    @pytest.mark.parametrize("suffix", [".png", ".jpg", ".exr", ".dpx", ".tif"])
    def test_image_sequence(self, tmp_path: Path, suffix: str) -> None:
        folder = tmp_path / "c"
        if suffix == ".dpx":
            folder.mkdir()
            for i, picture in enumerate(PICTURES):
                clips.write_dpx(folder / f"shot.{i + 1:04d}.dpx", picture, 10)
        else:
            clips.write_images(folder, PICTURES, suffix)
        intact, _, _ = self.read(folder)
        paths = sorted(folder.iterdir())
        paths[2].write_bytes(paths[2].read_bytes()[:300])
        paths[4].unlink()
        frames, reported, _ = self.read(tmp_path / "c" / f"shot.*{suffix}")
        assert (sorted(frames), reported) == ([0, 1, 3, 4], [2])  # the clip has five files now
        for index, old in ((0, 0), (1, 1), (3, 3), (4, 5)):
            assert np.array_equal(frames[index], intact[old])
        with open_clip(folder) as clip, pytest.raises(InputError, match=r"shot\.0003"):
            list(clip.frames())

    def test_files_that_vanish_and_other_sizes(self, tmp_path: Path) -> None:
        folder = clips.write_images(tmp_path / "c", PICTURES[:4], ".png")
        clips.write_images(folder, [np.zeros((5, 7, 3))], ".png", first=2)
        reported: dict[int, str] = {}
        with open_clip(folder) as clip:
            (folder / "shot.0003.png").unlink()
            assert [f.index for f in clip.frames(on_damage=reported.__setitem__)] == [0, 3]
        assert sorted(reported) == [1, 2]
        assert "is 7x5 but" in reported[1]
        assert "does not exist" in reported[2]


class TestNamesAndPlaces:
    NAMES: ClassVar = [
        "two\nlines",
        "-rf",
        "--help",
        "with space ",
        "%d",
        "%04d.%s",
        "*[a]?",
        "shot:1",
        "Ünï\u202e\U0001f3a5",
        "'\"$(x)`",
        "n" * 240,
        "é" * 120,
    ]

    @pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
    def test_hostile_names(self, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = clips.write_images(tmp_path / name, PICTURES[:2], ".png")
        written = clips.write_rgb_mp4(tmp_path / "c.mp4", PICTURES[:2])
        video = written.rename(tmp_path / f"{name}.mp4")
        picture = (folder / "shot.0001.png").rename(tmp_path / f"{name}.png")
        with open_clip(video) as clip:
            assert len(list(clip.frames())) == 2
            assert 0 < len(os.fsencode(clip.info.stem)) <= 200
        for inputs in (folder, picture, [str(picture), str(picture)]):
            with open_clip(inputs) as clip:
                assert np.abs(next(clip.frames()).pixels - PICTURES[inputs == folder]).max() < 0.01
                assert 0 < len(os.fsencode(clip.info.stem)) <= 200
        monkeypatch.chdir(tmp_path)
        with open_clip(f"{name}.mp4") as clip:
            assert next(clip.frames()).index == 0
        with open_clip(name) as clip:
            assert clip.info.num_frames == 1
        if not set("*[%") & set(name):
            with open_clip(f"{name}/shot.%04d.png") as clip:
                assert clip.info.num_frames == 1

    def test_names_that_are_no_text(self, tmp_path: Path) -> None:
        """Bytes that are not UTF-8 in a name: the outputs get a name that is text."""
        bad = os.fsdecode(b"bad\xff")
        clips.write_images(tmp_path / "c", PICTURES[:2], ".png")
        folder = (tmp_path / "c").rename(tmp_path / bad)
        for path in folder.iterdir():
            path.rename(folder / path.name.removeprefix("shot."))
        video = clips.write_rgb_mp4(tmp_path / "c.mp4", PICTURES[:2]).rename(tmp_path / f"{bad}.mp4")
        for path in (folder, video):
            with open_clip(path) as clip:
                assert len(list(clip.frames())) == 2
                assert clip.info.stem == "bad"

    @pytest.mark.parametrize("text", ["n" * 5000, "a/" * 3000, "nul\0byte", "n" * 5000 + ".png", "n" * 5000 + "%d.png"])
    def test_impossible_names(self, text: str) -> None:
        with pytest.raises(InputError):
            open_clip(text)

    def test_unreadable_files(self, tmp_path: Path) -> None:
        folder = clips.write_images(tmp_path / "c", PICTURES[:2], ".png")
        clips.write_images(tmp_path / "e", PICTURES[:2], ".exr")
        video = clips.write_rgb_mp4(tmp_path / "c.mp4", PICTURES[:2])
        for path in (video, folder / "shot.0001.png", tmp_path / "e" / "shot.0001.exr"):
            path.chmod(0)
        closed = tmp_path / "closed"
        closed.mkdir(0)
        with unprivileged(tmp_path):
            for path in (video, folder, folder / "shot.0001.png", tmp_path / "e", closed):
                with pytest.raises(InputError, match=r"[Pp]ermission denied"):
                    open_clip(path)
        closed.chmod(0o700)

    @pytest.mark.slow
    def test_folder_of_100000_frames(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "f.000000.png"), np.zeros((13, 17, 3), np.uint8))
        for i in range(1, 100_000):
            origin = tmp_path / f"f.{(i - 1) // 50_000 * 50_000:06d}.png"
            if i % 50_000:
                os.link(origin, tmp_path / f"f.{i:06d}.png")
            else:
                shutil.copy(origin, tmp_path / f"f.{i:06d}.png")
        tracemalloc.start()
        try:
            with open_clip(tmp_path) as clip:
                assert clip.info.num_frames == 100_000
                opened = tracemalloc.get_traced_memory()[0]
                assert [f.index for f in clip.frames(99_998)] == [99_998, 99_999]
                assert sum(1 for _ in clip.frames(0, 300)) == 300
                assert tracemalloc.get_traced_memory()[0] < opened + (1 << 20)
            assert tracemalloc.get_traced_memory()[1] < 200 << 20
        finally:
            tracemalloc.stop()

    @pytest.mark.parametrize("suffix", [".png", ".mp4"])
    @pytest.mark.parametrize(("width", "height"), [(17, 13), pytest.param(8192, 4320, marks=pytest.mark.slow)])
    def test_smallest_and_largest_pictures(self, tmp_path: Path, suffix: str, width: int, height: int) -> None:
        y, x = np.mgrid[0:height, 0:width].astype(np.uint32)
        codes = np.stack([x % 251, y % 241, (x + y) % 239], -1).astype(np.uint8)
        path = tmp_path / f"c{suffix}"
        fast = {"qp": "0", "preset": "ultrafast"}
        if suffix == ".png":
            cv2.imwrite(str(path), codes[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
        else:
            clips.write_frames(path, [av.VideoFrame.from_ndarray(codes, format="rgb24")], "libx264rgb", options=fast)
        with open_clip(path) as clip:
            assert (clip.info.width, clip.info.height) == (width, height)
            pixels = next(clip.frames()).pixels
        assert np.array_equal(np.rint(pixels * 255).astype(np.uint8), codes)


@contextmanager
def unprivileged(folder: Path) -> Iterator[None]:
    """As a user to whom permissions apply: root gives up its rights for the while."""
    if os.geteuid() != 0:
        yield
        return
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == 0 and parent != parent.parent and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


class TestExrInput:
    @staticmethod
    def write_raw(path: Path, channels: dict[str, np.ndarray]) -> Path:
        OpenEXR.File({}, channels).write(str(path))
        return path

    def test_non_finite_pixels_are_repaired(self, tmp_path: Path) -> None:
        picture = np.full((20, 20, 3), 0.25, np.float32)
        picture[4, 4] = np.nan
        picture[9, 9, 1] = np.inf
        picture[8, 9, 1] = 1.25
        self.write_raw(tmp_path / "a.exr", {"RGB": picture})
        with open_clip(tmp_path) as clip:
            pixels = next(clip.frames()).pixels
            assert len(clip.warnings()) == 1
            assert "a.exr: 2 NaN or infinite pixels" in clip.warnings()[0]
        assert pixels[4, 4].tolist() == [0.25, 0.25, 0.25]
        assert pixels[9, 9].tolist() == [0.25, 0.375, 0.25]

    def test_corner_without_finite_neighbours_becomes_black(self, tmp_path: Path) -> None:
        picture = np.ones((40, 40, 3), np.float32)
        picture[:2, :2, 0] = np.nan
        self.write_raw(tmp_path / "a.exr", {"RGB": picture})
        with open_clip(tmp_path) as clip:
            assert next(clip.frames()).pixels[0, :3, 0].tolist() == [0, 1, 1]

    def test_too_many_non_finite_pixels(self, tmp_path: Path) -> None:
        picture = np.ones((20, 20, 3), np.float32)
        picture[0, :5] = np.nan
        self.write_raw(tmp_path / "a.exr", {"RGB": picture})
        with pytest.raises(InputError, match=r"a\.exr: 5 of 400 pixels"):
            open_clip(tmp_path)

    def test_channels(self, tmp_path: Path) -> None:
        planes = {n: np.full((4, 5), v, np.float32) for n, v in (("R", 0.1), ("G", 2), ("B", 3), ("A", 4), ("Z", 5))}
        pixels, _ = read_exr(self.write_raw(tmp_path / "a.exr", planes))
        assert pixels[0, 0] == pytest.approx([0.1, 2, 3])
        assert pixels.shape == (4, 5, 3)
        pixels, _ = read_exr(self.write_raw(tmp_path / "y.exr", {"Y": planes["G"]}))
        assert pixels[3, 4].tolist() == [2, 2, 2]
        with pytest.raises(InputError, match=r"no R, G and B.*it has: left\.Z"):
            read_exr(self.write_raw(tmp_path / "z.exr", {"left.Z": planes["Z"]}))

    @pytest.mark.parametrize("compression", ["none", "zip", "zips", "piz", "dwab", "zstd"])
    def test_every_truncation_is_found(
        self, tmp_path: Path, compression: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "a.exr"
        write_exr(path, np.random.default_rng(1).random((70, 30, 3)), compression=compression)
        data = path.read_bytes()
        for size in (*range(1, 400, 57), len(data) // 2, len(data) - 1):
            path.write_bytes(data[:size])
            with pytest.raises(InputError):
                read_exr(path)
        assert capfd.readouterr().out == ""

    def test_flipped_bytes_keep_stdout_clean(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "a.exr"
        write_exr(path, np.random.default_rng(1).random((70, 30, 3)))
        data = bytearray(path.read_bytes())
        data[len(data) // 2 : len(data) // 2 + 30] = bytes(30)
        path.write_bytes(data)
        out = io.StringIO()
        monkeypatch.setattr(sys, "stdout", out)
        with pytest.raises(InputError, match="damaged"):
            read_exr(path)
        assert sys.stdout is out
        assert out.getvalue() == ""


class TestSplitInputs:
    def test_groups(self, tmp_path: Path) -> None:
        folder = clips.write_images(tmp_path / "c", PICTURES[:3], ".png")
        images = [str(p) for p in sorted(folder.iterdir())]
        assert split_inputs(images) == [images]
        assert split_inputs(["a.mp4", "b.mkv"]) == [["a.mp4"], ["b.mkv"]]
        assert split_inputs([str(folder), "x.%03d.png", "y*.png"]) == [[str(folder)], ["x.%03d.png"], ["y*.png"]]
        assert split_inputs([*images, "a.mp4", images[0]]) == [images, ["a.mp4"], [images[0]]]
        assert split_inputs([]) == []

    def test_joining_videos_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="only image files"):
            open_clip(["a.mp4", "b.mp4"])
        with pytest.raises(InputError, match="no input"):
            open_clip([])
