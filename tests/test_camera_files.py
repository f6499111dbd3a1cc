"""What cameras write: codecs, ranges, matrices, orientations, DPX and raw DNG, each against the numbers put in."""

from __future__ import annotations

import struct
import sys
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import av
import clips
import numpy as np
import pytest

from hdrvid.detect.clip import inspect_clip
from hdrvid.errors import InputError
from hdrvid.io import open_clip
from hdrvid.io.exr import read_exr
from hdrvid.io.frames import read_picture
from hdrvid.io.raw import read_dng
from hdrvid.pipeline.options import ReconstructOptions
from hdrvid.pipeline.run import reconstruct_clip

BARS, FLAT = clips.colour_bars()
MATRICES = {"601": clips.BT601, "709": clips.BT709, "2020": clips.BT2020}

# Encoder, pixel format, options, largest error in codes of the format's depth against the exact inverse matrix of the
# samples put in. Measured: 0.01 for lossless 8 bit, 0.05 for 10, 0.22 for 12, 4.0 for 16; ProRes and DNxHR keep flat
# colours as they are, HEVC at CRF 16 is 2.2 off and AV1 at CRF 15 is 4.4.
YUV_FILES = {
    "h264-8.mp4": ("libx264", "yuv420p", {"qp": "0"}, 0.05),
    "h264-8.ts": ("libx264", "yuv420p", {"qp": "0"}, 0.05),
    "h264-10-422.mov": ("libx264", "yuv422p10le", {"qp": "0"}, 0.1),
    "h264-crf18.mp4": ("libx264", "yuv420p", {"crf": "18"}, 1),
    "hevc-8.mp4": ("libx265", "yuv420p", {}, 0.05),
    "hevc-10.mov": ("libx265", "yuv420p10le", {}, 0.1),
    "hevc-10-422.mkv": ("libx265", "yuv422p10le", {"x265-params": "crf=16:log-level=none"}, 5),
    "prores422.mov": ("prores_ks", "yuv422p10le", {"profile": "hq"}, 1),
    "prores4444.mov": ("prores_ks", "yuv444p10le", {"profile": "4444"}, 1),
    "dnxhr-8.mov": ("dnxhd", "yuv422p", {"profile": "dnxhr_hq"}, 1),
    "dnxhr-10.mov": ("dnxhd", "yuv422p10le", {"profile": "dnxhr_hqx"}, 1),
    "dnxhr-444.mov": ("dnxhd", "yuv444p10le", {"profile": "dnxhr_444"}, 1),
    "dnxhr-10.mxf": ("dnxhd", "yuv422p10le", {"profile": "dnxhr_hqx"}, 1),
    "ffv1-8.mkv": ("ffv1", "yuv420p", {}, 0.05),
    "ffv1-9.mkv": ("ffv1", "yuv422p9le", {}, 0.05),
    "ffv1-10.mkv": ("ffv1", "yuv422p10le", {}, 0.1),
    "ffv1-12.mkv": ("ffv1", "yuv444p12le", {}, 0.5),
    "ffv1-16.mkv": ("ffv1", "yuv444p16le", {}, 6),
    "av1-10.mp4": ("libsvtav1", "yuv420p10le", {"preset": "10", "crf": "15"}, 9),
}
# ProRes in MOV has no tag for the range, and DNxHR as FFmpeg writes it none for the matrix
YUV_CASES = [
    (name, matrix, full_range)
    for name in YUV_FILES
    for matrix in MATRICES
    for full_range in (False, True)
    if not (full_range and name.startswith("prores")) and not (matrix != "709" and name.startswith("dnxhr"))
]
RGB_FILES = {
    "h264-8.mp4": ("libx264rgb", "rgb24", {"qp": "0"}, 8),
    "hevc-10.mp4": ("libx265", "gbrp10le", {"x265-params": "lossless=1:log-level=none"}, 10),
    "hevc-12.mp4": ("libx265", "gbrp12le", {"x265-params": "lossless=1:log-level=none"}, 12),
    "ffv1-9.mkv": ("ffv1", "gbrp9le", {}, 9),
    "ffv1-10.mkv": ("ffv1", "gbrp10le", {}, 10),
    "ffv1-12.mkv": ("ffv1", "gbrp12le", {}, 12),
    "ffv1-14.mkv": ("ffv1", "gbrp14le", {}, 14),
    "ffv1-16.mkv": ("ffv1", "gbrp16le", {}, 16),
    "png-8.mov": ("png", "rgb24", {}, 8),
    "utvideo-8.avi": ("utvideo", "gbrp", {}, 8),
}


@pytest.fixture(autouse=True)
def quiet_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVT_LOG", "1")


class TestVideoColours:
    @pytest.mark.parametrize(("name", "matrix", "full_range"), YUV_CASES)
    def test_yuv(self, tmp_path: Path, name: str, matrix: str, full_range: bool) -> None:
        codec, pixel_format, options, tolerance = YUV_FILES[name]
        bits = next((b for b in (9, 10, 12, 16) if pixel_format.endswith(f"p{b}le")), 8)
        planes = clips.yuv_planes(BARS, bits, MATRICES[matrix], full_range)
        path = clips.write_yuv(
            tmp_path / name,
            [BARS] * 3,
            codec,
            pixel_format,
            weights=MATRICES[matrix],
            full_range=full_range,
            options=options,
        )
        expected = clips.planes_to_rgb(planes, bits, MATRICES[matrix], full_range)
        with open_clip(path) as clip:
            frames = list(clip.frames())
            assert clip.info.details["range"] == ("full" if full_range else "limited")
            assert clip.info.bit_depth == (12 if name.startswith("prores4444") else bits)
            assert clip.warnings() == []
        assert [f.index for f in frames] == [0, 1, 2]
        assert np.abs(frames[1].pixels - expected)[FLAT].max() * (2**bits - 1) <= tolerance

    @pytest.mark.parametrize("name", RGB_FILES)
    def test_rgb(self, tmp_path: Path, name: str) -> None:
        """Every code exactly, noise included."""
        codec, pixel_format, options, bits = RGB_FILES[name]
        codes = clips.quantised(np.random.default_rng(1).random((64, 96, 3)), bits)
        if pixel_format == "rgb24":
            frame = av.VideoFrame.from_ndarray(codes, format="rgb24")
        else:
            frame = clips.frame_of_planes([codes[..., 1], codes[..., 2], codes[..., 0]], pixel_format)
        path = clips.write_frames(tmp_path / name, [frame], codec, options=options, matrix=0, color_range=2)
        with open_clip(path) as clip:
            pixels = next(clip.frames()).pixels
            assert clip.info.bit_depth == bits
        assert np.array_equal(np.rint(pixels * (2**bits - 1)).astype(int), codes)


class TestOrientation:
    """All eight ways to hold a phone, as display matrices; names say how the stored picture is turned."""

    TURNED: ClassVar = {
        "upright": ((1, 0, 0, 1), lambda p: p),
        "clockwise": ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
        "upside down": ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
        "counter-clockwise": ((0, -1, 1, 0), lambda p: np.rot90(p)),
        "mirrored": ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
        "mirrored, upside down": ((1, 0, 0, -1), lambda p: p[::-1]),
        "mirrored, clockwise": ((0, -1, -1, 0), lambda p: np.rot90(p[:, ::-1], -1)),
        "mirrored, counter-clockwise": ((0, 1, 1, 0), lambda p: np.rot90(p[:, ::-1])),
    }

    @pytest.mark.parametrize("name", TURNED)
    def test_display_matrix(self, tmp_path: Path, name: str) -> None:
        (a, b, c, d), turn = self.TURNED[name]
        picture = clips.smooth_pictures(1)[0]
        path = clips.write_rgb_mp4(tmp_path / "c.mp4", [picture])
        data = bytearray(path.read_bytes())
        matrix = data.index(b"tkhd") + 4 + 40
        height, width = picture.shape[:2]
        # the picture is shifted back into sight, as phones do
        x, y = width * (a < 0) + height * (c < 0), width * (b < 0) + height * (d < 0)
        data[matrix : matrix + 36] = struct.pack(">9i", *(v << 16 for v in (a, b, 0, c, d, 0, x, y)), 1 << 30)
        path.write_bytes(data)
        expected = turn(picture)
        with open_clip(path) as clip:
            assert (clip.info.height, clip.info.width) == expected.shape[:2]
            pixels = next(clip.frames()).pixels
            rotation = clip.info.details.get("rotation", "")
        assert pixels.flags.c_contiguous
        assert np.abs(pixels - expected).max() <= 0.51 / 255
        assert ("mirrored" in rotation) == ("mirrored" in name)
        degrees = {"clockwise": "270", "upside down": "180", "counter-clockwise": "90"}.get(name.split(", ")[-1], "")
        assert (f"{degrees} degrees counter-clockwise" in rotation) == bool(degrees)


class TestDpx:
    @pytest.mark.parametrize("bits", clips.DPX_BITS)
    @pytest.mark.parametrize("big_endian", [True, False])
    def test_codes_are_exact(self, tmp_path: Path, bits: int, big_endian: bool) -> None:
        pictures = [np.random.default_rng(i).random((9, 14, 3)) for i in range(2)]
        for i, picture in enumerate(pictures):
            clips.write_dpx(tmp_path / f"take.{i:04d}.dpx", picture, bits, big_endian=big_endian)
        with open_clip(tmp_path) as clip:
            frames = list(clip.frames())
            assert (clip.info.bit_depth, clip.info.linear) == (bits, False)
        assert len(frames) == 2
        for frame, picture in zip(frames, pictures, strict=True):
            top = 2**bits - 1
            assert np.array_equal(np.rint(frame.pixels * top), np.rint(picture * top))
            assert np.abs(frame.pixels * top - np.rint(picture * top)).max() < 0.1

    def test_ten_bit_ramp(self, tmp_path: Path) -> None:
        ramp = np.arange(1024).reshape(32, 32, 1).repeat(3, 2) / 1023
        pixels = read_picture(clips.write_dpx(tmp_path / "a.dpx", ramp, 10)).pixels
        assert np.abs(pixels * 1023 - ramp * 1023).max() < 0.02
        assert pixels.min() == 0
        assert pixels.max() == 1

    def test_logarithmic_codes_are_left_alone(self, tmp_path: Path) -> None:
        picture = np.full((4, 6, 3), 685 / 1023)
        clips.write_dpx(tmp_path / "a.dpx", picture, 10, transfer=3)
        with open_clip(tmp_path) as clip:
            assert clip.info.details["transfer"] == "logarithmic"
            assert np.abs(next(clip.frames()).pixels - picture).max() < 0.02 / 1023

    def test_as_ffmpeg_writes_it(self, tmp_path: Path) -> None:
        codes = clips.quantised(np.random.default_rng(1).random((12, 16, 3)), 10)
        encoder = av.CodecContext.create("dpx", "w")
        encoder.width, encoder.height, encoder.pix_fmt = 16, 12, "gbrp10be"
        encoder.time_base = Fraction(1, 24)
        frame = clips.frame_of_planes([codes[..., i].astype(">u2") for i in (1, 2, 0)], "gbrp10be")
        (tmp_path / "a.dpx").write_bytes(b"".join(bytes(p) for p in [*encoder.encode(frame), *encoder.encode(None)]))
        assert np.array_equal(np.rint(read_picture(tmp_path / "a.dpx").pixels * 1023), codes)

    @pytest.mark.parametrize("damage", ["cut", "junk", "empty"])
    def test_damaged(self, tmp_path: Path, damage: str) -> None:
        path = clips.write_dpx(tmp_path / "a.dpx", np.zeros((20, 20, 3)), 10)
        data = path.read_bytes()
        path.write_bytes({"cut": data[:2500], "junk": b"junk" * 900, "empty": b""}[damage])
        with pytest.raises(InputError, match=r"a\.dpx cannot be read as DPX"):
            open_clip(tmp_path)


class TestDng:
    def test_without_rawpy(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "rawpy", None)
        clips.write_dng(tmp_path / "a.dng", np.zeros((16, 16, 3)))
        with pytest.raises(InputError, match=r"pip install 'hdrvid\[raw\]'"):
            open_clip(tmp_path)

    def test_levels(self, tmp_path: Path) -> None:
        """Black is 0, the level at which the sensor clips is 1, half of it is half, whatever else is in the picture."""
        pytest.importorskip("rawpy")
        picture = np.zeros((64, 96, 3))
        picture[:, 24:48] = np.array(clips.DNG_NEUTRAL) / 4
        picture[:, 48:72] = np.array(clips.DNG_NEUTRAL) / 2
        picture[:, 72:] = 1
        clips.write_dng(tmp_path / "a.dng", picture)
        with open_clip(tmp_path) as clip:
            pixels = next(clip.frames()).pixels
            assert clip.info.linear
            assert clip.info.bit_depth == 12
            assert (clip.info.width, clip.info.height) == (96, 64)
        for column, level in ((12, 0), (36, 0.25), (60, 0.5), (84, 1)):
            # one step of the 12-bit sensor, and the rounding of its matrix to XYZ
            assert np.abs(pixels[8:-8, column] - level).max() <= 2 / 3839, column
        clips.write_dng(tmp_path / "a.dng", np.where(picture == 1, 0, picture))
        with open_clip(tmp_path) as clip:
            darker = next(clip.frames()).pixels
        assert np.abs(darker[8:-8, 60] - 0.5).max() <= 2 / 3839

    def test_colours(self, tmp_path: Path) -> None:
        """The camera of the test has Rec. 709 primaries and an uneven balance: its colours come out as they went in."""
        pytest.importorskip("rawpy")
        for colour in ([0.6, 0.2, 0.1], [0.1, 0.5, 0.2], [0.15, 0.2, 0.6]):
            picture = np.broadcast_to(np.array(colour) * clips.DNG_NEUTRAL, (48, 48, 3))
            pixels = read_dng(clips.write_dng(tmp_path / "a.dng", picture)).pixels
            assert pixels[24, 24] == pytest.approx(colour, abs=0.004)

    def test_white_balance_of_the_first_frame(self, tmp_path: Path) -> None:
        pytest.importorskip("rawpy")
        picture = np.broadcast_to(np.array(clips.DNG_NEUTRAL) / 2, (32, 32, 3))
        clips.write_dng(tmp_path / "a1.dng", picture)
        clips.write_dng(tmp_path / "a2.dng", picture, neutral=(0.7, 1, 0.9))
        alone = read_dng(tmp_path / "a2.dng").pixels
        assert np.ptp(alone[16, 16]) > 0.05
        with open_clip(tmp_path) as clip:
            first, second = (f.pixels for f in clip.frames())
        assert np.array_equal(first, second)

    def test_orientation(self, tmp_path: Path) -> None:
        pytest.importorskip("rawpy")
        picture = np.zeros((32, 48, 3))
        picture[:16] = np.array(clips.DNG_NEUTRAL) / 2
        clips.write_dng(tmp_path / "a.dng", picture, orientation=6)
        with open_clip(tmp_path) as clip:
            assert (clip.info.width, clip.info.height) == (32, 48)
            pixels = next(clip.frames()).pixels
        assert pixels[24, 28] == pytest.approx([0.5] * 3, abs=0.01)
        assert pixels[24, 4] == pytest.approx([0] * 3, abs=0.01)

    def test_a_folder_of_a_cinema_camera(self, tmp_path: Path) -> None:
        """Exposures by the times in the files, light by their levels, names and numbers by the files."""
        pytest.importorskip("rawpy")
        y, x = np.mgrid[0:64, 0:96]
        scene = (0.02 + 0.08 * (1 + np.sin(x / 7)) * (1 + np.cos(y / 9)))[..., None] * np.array(clips.DNG_NEUTRAL)
        (tmp_path / "A001").mkdir()
        for i in range(8):
            exposure = (1, 4)[i % 2]
            path = tmp_path / "A001" / f"A001_{i + 1:06d}.dng"
            clips.write_dng(path, np.clip(scene * exposure, 0, 1), exposure_seconds=exposure / 1000)
        found = inspect_clip([str(tmp_path / "A001")])
        assert (found.cycle_from, found.response_from) == ("recorded", "linear frames")
        assert found.cycle is not None
        assert found.cycle.stops == pytest.approx((0, 2), abs=0.02)
        white, black = clips.DNG_WHITE, clips.DNG_BLACK
        assert found.info.details["levels"] == f"white at code {white}, black level {black}"
        options = ReconstructOptions(model="classical", preview=False)
        reconstruct_clip([str(tmp_path / "A001")], tmp_path / "out", options)
        paths = sorted((tmp_path / "out").glob("*.exr"))
        assert [path.name for path in paths] == [f"A001.{i + 1:06d}.exr" for i in range(8)]
        truth = read_dng(clips.write_dng(tmp_path / "truth.dng", scene)).pixels
        for path in paths:
            result = read_exr(path)[0] / 4
            assert np.median(np.abs(np.log2(result[4:-4, 4:-4] / truth[4:-4, 4:-4]))) < 0.03

    @pytest.mark.parametrize("damage", ["cut", "junk", "empty"])
    def test_damaged(self, tmp_path: Path, damage: str) -> None:
        pytest.importorskip("rawpy")
        path = clips.write_dng(tmp_path / "a.dng", np.zeros((64, 64, 3)))
        data = path.read_bytes()
        path.write_bytes({"cut": data[:1500], "junk": b"junk" * 900, "empty": b""}[damage])
        with pytest.raises(InputError, match=r"a\.dng cannot be read as DNG"):
            open_clip(tmp_path)
