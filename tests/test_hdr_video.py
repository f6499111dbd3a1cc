"""HDR10 and HLG files: the signals against the standards, what the files say, and the light that comes out again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from hdrvid.color import hdr_signals
from hdrvid.errors import InputError, OutputError, UsageError
from hdrvid.io.atomic import partial_path
from hdrvid.io.hdr_video import HdrGrade, HdrKind, HdrVideoWriter, grade_clip, measure_light
from hdrvid.io.preview import PreviewWriter
from hdrvid.io.video import side_data

FPS = Fraction(24)
each_kind = pytest.mark.parametrize("kind", ["hdr10", "hlg"])


def scene(count: int = 3, height: int = 96, width: int = 160, top: float = 4.0) -> list[np.ndarray]:
    """Smooth, coloured, moving frames over 8 stops up to `top`."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    frames = []
    for i in range(count):
        light = top * np.exp2(-8 * (x + 2 * i) / (width + 2 * count))
        colour = np.stack([0.8 + 0.2 * np.sin(y / 20), 0.7 + 0.3 * np.cos(x / 30), 0.75 + 0.25 * np.sin(y / 25)], -1)
        frames.append((light[..., None] * colour).astype(np.float32))
    return frames


def write(path: Path, frames: Sequence[np.ndarray], grade: HdrGrade, **options: Any) -> Path:
    height, width = frames[0].shape[:2]
    with HdrVideoWriter(path, width, height, FPS, grade, **options) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def decoded_signals(path: Path) -> Iterator[np.ndarray]:
    """(H, W, 3) R'G'B' of every frame; chroma at the top left of each four samples, linear between."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            assert frame.format.name == "yuv420p10le"
            planes = [
                np.frombuffer(p, np.uint16).reshape(p.height, -1)[:, : p.width].astype(np.float64) for p in frame.planes
            ]
            grow = np.array([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
            size = (frame.width, frame.height)
            chroma = [cv2.warpAffine(p, grow, size, borderMode=cv2.BORDER_REPLICATE) for p in planes[1:]]
            yield hdr_signals.signal_of_ycbcr_10bit(np.stack([planes[0], *chroma], axis=-1))


def decoded_nits(path: Path, kind: HdrKind) -> list[np.ndarray]:
    """(H, W, 3) cd/m2 of every frame, BT.2020."""
    if kind == "hdr10":
        return [hdr_signals.pq_decode(s) for s in decoded_signals(path)]
    return [hdr_signals.hlg_scene_to_nits(hdr_signals.hlg_decode(s)) for s in decoded_signals(path)]


def luminance_709(rgb: np.ndarray) -> np.ndarray:
    return rgb.astype(np.float64) @ np.array([0.2126, 0.7152, 0.0722])


# The signals ----------------------------------------------------------------------------------------------------------


class TestTransfer:
    def test_pq_against_the_published_table(self) -> None:
        """10-bit limited-range codes of Report ITU-R BT.2408 and ST 2084 for well-known luminances."""
        nits = np.array([0.0, 0.1, 1.0, 10.0, 100.0, 203.0, 1000.0, 4000.0, 10_000.0])
        signal = hdr_signals.pq_encode(nits)
        assert signal == pytest.approx([0, 0.0623, 0.1500, 0.2997, 0.5081, 0.5807, 0.7518, 0.9026, 1], abs=1e-4)
        assert hdr_signals.pq_decode(signal) == pytest.approx(nits, rel=1e-9, abs=1e-9)

    def test_hlg_against_the_published_values(self) -> None:
        """BT.2408: reference white of 203 cd/m2 is 75 % HLG and 18 % grey of 26 cd/m2 is 38 %."""
        nits = np.array([[203.0] * 3, [26.0] * 3, [1000.0] * 3, [0.0] * 3])
        signal = hdr_signals.hlg_encode(hdr_signals.hlg_nits_to_scene(nits))
        assert signal[:, 0] == pytest.approx([0.75, 0.38, 1.0, 0.0], abs=0.003)
        codes = np.linspace(0, 1, 101)
        assert hdr_signals.hlg_encode(hdr_signals.hlg_decode(codes)) == pytest.approx(codes, abs=1e-7)

    def test_hlg_display_light_round_trip(self) -> None:
        nits = np.random.default_rng(0).random((500, 3)) * 600
        assert hdr_signals.hlg_scene_to_nits(hdr_signals.hlg_nits_to_scene(nits)) == pytest.approx(nits, rel=1e-9)

    def test_primaries_against_bt2087(self) -> None:
        expected = [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
        assert np.abs(expected - hdr_signals.REC709_TO_BT2020).max() < 1e-4
        colours = np.random.default_rng(1).random((100, 3))
        assert hdr_signals.bt2020_luminance(hdr_signals.rec709_to_bt2020(colours)) == pytest.approx(
            luminance_709(colours), rel=2e-3
        )

    def test_ycbcr_against_the_standards_integers(self) -> None:
        signal = np.array([[1.0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 1]])
        codes = hdr_signals.ycbcr_10bit(signal)
        # 64 + 876 * 0.2627 and 512 + 448 where the component is the only one
        assert codes == pytest.approx(
            np.array([[940, 512, 512], [64, 512, 512], [294.13, 386.9, 960], [115.95, 960, 475.97]]), abs=0.01
        )
        assert hdr_signals.signal_of_ycbcr_10bit(codes) == pytest.approx(signal, abs=1e-12)

    @pytest.mark.parametrize(("source", "target"), [(1600, 1000), (6000, 1000), (52_000, 10_000), (1001, 1000)])
    def test_roll_off(self, source: float, target: float) -> None:
        """Proportional to the bit below the knee; above it smooth, rising, and never brighter; the peak is the peak."""
        knee = hdr_signals.roll_off_knee(source, target)
        assert 0.3 * target < knee < target
        below = np.linspace(0, 0.9999 * knee, 1000)
        assert np.array_equal(hdr_signals.roll_off(below, source, target), below)
        above = np.linspace(knee, source, 4000)
        shown = hdr_signals.roll_off(above, source, target)
        assert (np.diff(shown) >= -1e-6).all()
        assert (shown <= above + 1e-6).all()
        assert shown[-1] == pytest.approx(target)
        assert shown[0] == pytest.approx(knee)
        slope = np.diff(shown[:3]) / np.diff(above[:3])
        assert slope == pytest.approx(1, abs=0.02)
        assert hdr_signals.roll_off(np.array([9e5]), source, target)[0] == pytest.approx(target)

    def test_no_roll_off_where_all_fits(self) -> None:
        nits = np.array([0.0, 5.0, 999.0])
        assert np.array_equal(hdr_signals.roll_off(nits, 999, 1000), nits)
        assert hdr_signals.roll_off_knee(999, 1000) == 1000

    def test_hlg_level_is_where_the_signal_saturates(self) -> None:
        colours = np.random.default_rng(2).random((200, 3)) ** 3
        at_peak = colours / hdr_signals.hlg_level(colours)[:, None] * 1000
        assert hdr_signals.hlg_nits_to_scene(at_peak).max(axis=-1) == pytest.approx(1, rel=1e-6)
        assert hdr_signals.hlg_level(np.array([[500.0, 500.0, 500.0]])) == pytest.approx(500)

    def test_negative_light_is_black(self) -> None:
        assert hdr_signals.pq_encode(np.array([-1.0])) == pytest.approx(0, abs=1e-5)
        assert hdr_signals.hlg_encode(np.array([-1.0])) == 0
        assert hdr_signals.frame_light(np.array([[[-1.0, 2.0, 3.0], [0.0, 0.0, 1.0]]])) == (3.0, 2.0)


# The grade ------------------------------------------------------------------------------------------------------------


class TestGrade:
    def test_light_against_numpy(self) -> None:
        frames = scene()
        frames[1][5, 7] = [8.0, 1.0, 0.5]
        light = measure_light(iter(frames))
        wide = np.stack(frames).astype(np.float64) @ hdr_signals.REC709_TO_BT2020.T
        largest = wide.max(axis=-1)
        assert light.max_pq_level == pytest.approx(largest.max(), rel=1e-6)
        assert light.max_frame_average == pytest.approx(largest.mean(axis=(1, 2)).max(), rel=1e-6)
        assert light.num_frames == 3
        grade = grade_clip(lambda: frames, "hdr10", nits_per_unit=100)
        assert grade.max_cll_nits == pytest.approx(100 * largest.max(), rel=1e-6)
        assert grade.max_fall_nits == pytest.approx(100 * largest.mean(axis=(1, 2)).max(), rel=1e-6)

    @pytest.mark.parametrize(("top", "peak"), [(1.0, 1000), (4.0, 1000), (8.0, 2000), (15.0, 4000), (45.0, 10_000)])
    def test_hdr10_is_proportional_to_the_mastering_peak(self, top: float, peak: float) -> None:
        """Grey up to `top` at 203 cd/m2 a unit; the display is the smallest that shows it, and nothing is changed."""
        grey = np.repeat(np.linspace(0, top, 4000, dtype=np.float32)[None, :, None], 3, axis=2) * 0.999
        dark = np.zeros((60, 4000, 3), np.float32)  # so that the average stays low
        frame = np.concatenate([grey, dark])
        grade = grade_clip(lambda: [frame], "hdr10")
        assert (grade.nits_per_unit, grade.peak_nits, grade.rolls_off) == (203, peak, False)
        assert grade.display_nits(grey) == pytest.approx(grey * 203, rel=1e-6)

    def test_given_peak_rolls_off_and_max_cll_follows(self) -> None:
        frames = scene(top=12.0)
        grade = grade_clip(lambda: frames, "hdr10", nits_per_unit=203, peak_nits=1000)
        assert grade.rolls_off
        shown = [grade.display_nits(f) for f in frames]
        assert grade.max_cll_nits == pytest.approx(1000, rel=1e-3)
        assert grade.max_cll_nits == pytest.approx(max(s.max() for s in shown), rel=1e-6)
        assert grade.max_fall_nits == pytest.approx(max(s.max(axis=-1).mean() for s in shown), rel=1e-5)
        plain = hdr_signals.rec709_to_bt2020(frames[0]) * np.float32(203)
        below = plain.max(axis=-1) <= grade.knee_nits
        assert 0.3 < below.mean() < 1
        assert np.array_equal(shown[0][below], plain[below])
        # the roll-off keeps the ratios of the components
        ratio = shown[0] / plain
        assert np.ptp(ratio, axis=-1).max() < 1e-5

    def test_hlg_never_saturates_and_keeps_hue(self) -> None:
        rng = np.random.default_rng(4)
        frame = (8 * rng.random((40, 40, 3)) ** 4).astype(np.float32)
        grade = grade_clip(lambda: [frame], "hlg")
        scene_light = hdr_signals.hlg_nits_to_scene(grade.display_nits(frame).astype(np.float64))
        assert scene_light.max() <= 1 + 1e-4
        assert scene_light.max() > 0.99
        assert grade.peak_nits == 1000

    def test_a_bright_clip_is_shown_at_what_displays_hold(self) -> None:
        """A sky at 16 times the long exposure's clipping: 400 cd/m2 over the frame, not 3248."""
        frame = np.full((8, 8, 3), 16.0, np.float32)
        grade = grade_clip(lambda: [frame], "hdr10")
        assert grade.max_fall_nits == pytest.approx(400, rel=1e-5)
        assert grade.nits_per_unit == pytest.approx(25, rel=1e-5)

    def test_light_that_is_known_is_not_measured_again(self) -> None:
        frames = scene()
        light = measure_light(frames)

        def never() -> Iterator[np.ndarray]:
            raise AssertionError

        assert grade_clip(never, "hdr10", light=light) == grade_clip(lambda: frames, "hdr10")

    def test_broken_values_are_black_or_bright(self) -> None:
        frame = np.zeros((4, 4, 3), np.float32)
        frame[0, 0], frame[0, 1], frame[0, 2] = np.nan, -5.0, np.inf
        grade = grade_clip(lambda: [frame], "hdr10", nits_per_unit=203)
        nits = grade.display_nits(frame)
        assert np.isfinite(nits).all()
        assert nits[0, :2].max() == 0
        assert nits[0, 2] == pytest.approx(10_000, rel=1e-3)

    def test_bad_arguments(self) -> None:
        with pytest.raises(InputError, match="at least one frame"):
            measure_light([])
        for options, message in (
            ({"nits_per_unit": 0.0}, "nits_per_unit must be a positive number, not 0"),
            ({"nits_per_unit": float("nan")}, "nits_per_unit must be a positive number, not nan"),
            ({"peak_nits": 50.0}, "100 to 10000 cd/m2, not 50"),
            ({"peak_nits": 2e4}, "100 to 10000 cd/m2, not 20000"),
            ({"peak_nits": float("nan")}, "100 to 10000 cd/m2, not nan"),
        ):
            with pytest.raises(UsageError, match=message):
                grade_clip(lambda: scene(1), "hdr10", **options)


# The file -------------------------------------------------------------------------------------------------------------


class TestHdrVideoWriter:
    @each_kind
    def test_tags(self, tmp_path: Path, kind: HdrKind) -> None:
        frames = scene(5)
        grade = grade_clip(lambda: frames, kind)
        path = write(tmp_path / "p.mp4", frames, grade)
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            context = stream.codec_context
            assert (context.name, context.codec_tag, context.pix_fmt) == ("hevc", "hvc1", "yuv420p10le")
            assert context.profile == "Main 10"
            assert context.color_primaries == ColorPrimaries.BT2020
            assert context.color_trc == (ColorTrc.SMPTE2084 if kind == "hdr10" else ColorTrc.ARIB_STD_B67)
            assert context.colorspace == Colorspace.BT2020
            assert context.color_range == ColorRange.MPEG
            assert stream.average_rate == FPS
            assert stream.frames == 5
            frame = next(container.decode(video=0))
            side = {name: bytes(data) for name, data in side_data(frame).items()}
        if kind == "hlg":
            assert "MASTERING_DISPLAY_METADATA" not in side
            assert "CONTENT_LIGHT_LEVEL" not in side
        else:
            cll, fall = np.frombuffer(side["CONTENT_LIGHT_LEVEL"], np.uint32)
            assert (cll, fall) == (np.ceil(grade.max_cll_nits), np.ceil(grade.max_fall_nits))
            mastering = np.frombuffer(side["MASTERING_DISPLAY_METADATA"], np.int32)[:20].reshape(10, 2)
            values = mastering[:, 0] / mastering[:, 1]
            p3_d65 = [0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329]
            assert values == pytest.approx([*p3_d65, 0.0001, 1000], abs=1e-6)
        data = path.read_bytes()
        assert data.index(b"moov") < data.index(b"mdat")

    @pytest.mark.skipif(shutil.which("ffprobe") is None, reason="needs the ffprobe command")
    @each_kind
    def test_ffprobe_accepts_every_tag(self, tmp_path: Path, kind: HdrKind) -> None:
        frames = scene()
        grade = grade_clip(lambda: frames, kind)
        path = write(tmp_path / "p.mp4", frames, grade)
        command = ["ffprobe", "-v", "error", "-show_streams", "-show_frames", "-of", "json", str(path)]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        assert result.stderr == ""
        report = json.loads(result.stdout)
        expected = {
            "color_range": "tv",
            "color_space": "bt2020nc",
            "color_primaries": "bt2020",
            "color_transfer": "smpte2084" if kind == "hdr10" else "arib-std-b67",
            "chroma_location": "topleft",
            "pix_fmt": "yuv420p10le",
        }
        assert expected.items() <= report["streams"][0].items()
        assert report["streams"][0]["codec_tag_string"] == "hvc1"
        assert len(report["frames"]) == 3
        assert expected.items() <= report["frames"][0].items()
        side = {s["side_data_type"]: s for s in report["frames"][0].get("side_data_list", [])}
        if kind == "hdr10":
            light = side["Content light level metadata"]
            assert (light["max_content"], light["max_average"]) == (
                np.ceil(grade.max_cll_nits),
                np.ceil(grade.max_fall_nits),
            )
            assert side["Mastering display metadata"]["max_luminance"] == "10000000/10000"
        else:
            assert not {"Content light level metadata", "Mastering display metadata"} & side.keys()

    @each_kind
    def test_decoded_luminance_is_the_files(self, tmp_path: Path, kind: HdrKind) -> None:
        """Within 1 % of 203 cd/m2 times the luminance of the frames, below the knee: 90 of 100 pixels, and the mean."""
        frames = scene(3, 192, 320, top=6.0)
        grade = grade_clip(lambda: frames, kind)
        assert grade.nits_per_unit == 203
        path = write(tmp_path / "p.mp4", frames, grade)
        shown = decoded_nits(path, kind)
        assert len(shown) == 3
        for frame, nits in zip(frames, shown, strict=True):
            wanted = 203 * luminance_709(frame)
            # a step of 10-bit PQ is 1.1 % of 100 cd/m2 and 1.8 % of 1 cd/m2
            judged = (wanted > 10) & (hdr_signals.pq_level(grade.display_nits(frame)) < grade.knee_nits)
            error = hdr_signals.bt2020_luminance(nits)[judged] / wanted[judged] - 1
            assert judged.mean() > 0.4
            assert abs(error.mean()) < 0.003
            assert np.median(np.abs(error)) < 0.005
            assert np.percentile(np.abs(error), 90) < 0.01
            assert np.abs(error).max() < 0.04

    @each_kind
    def test_the_codes_are_right_where_nothing_is_coded(self, kind: HdrKind) -> None:
        """Before the encoder, a flat patch has the rounded codes of the formulas, every plane in its place."""
        colours = np.array([[0, 0, 0], [1, 1, 1], [0.5, 0.05, 0.1], [0.02, 0.3, 0.05], [0.1, 0.1, 0.9]], np.float32)
        for colour in colours:
            frame = np.broadcast_to(colour, (20, 18, 3))
            grade = grade_clip(lambda frame=frame: [frame], kind, nits_per_unit=203)
            planes = HdrVideoWriter("unused.mp4", 18, 20, FPS, grade)._planes(frame).ravel()
            nits = hdr_signals.rec709_to_bt2020(colour.astype(np.float64)) * 203
            if kind == "hdr10":
                signal = hdr_signals.pq_encode(nits)
            else:
                signal = hdr_signals.hlg_encode(hdr_signals.hlg_nits_to_scene(nits))
            wanted = hdr_signals.ycbcr_10bit(signal)
            luma, blue, red = planes[:360], planes[360:450], planes[450:]
            assert np.ptp(luma) == np.ptp(blue) == np.ptp(red) == 0
            # luma makes up for the rounding of chroma
            assert abs(luma[0] - wanted[0]) < 1.2
            assert abs(blue[0] - wanted[1]) < 0.55
            assert abs(red[0] - wanted[2]) < 0.55

    @each_kind
    def test_colourful_texture_keeps_its_luminance(self, kind: HdrKind) -> None:
        """Halved chroma darkens fine texture by per cents; luma makes up for it."""
        noise = np.random.default_rng(1).random((96, 96, 3)).astype(np.float32)
        frame = np.exp2((cv2.GaussianBlur(noise, (0, 0), 1.0) - 0.5) * 12) * np.float32(0.3)
        grade = grade_clip(lambda: [frame], kind, nits_per_unit=100)
        planes = HdrVideoWriter("unused.mp4", 96, 96, FPS, grade)._planes(frame).ravel().astype(np.float64)
        luma, chroma = planes[: 96 * 96].reshape(96, 96), planes[96 * 96 :].reshape(2, 48, 48)
        grow = np.array([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
        full = [cv2.warpAffine(p, grow, (96, 96), borderMode=cv2.BORDER_REPLICATE) for p in chroma]
        signal = hdr_signals.signal_of_ycbcr_10bit(np.stack([luma, *full], axis=-1))
        if kind == "hdr10":
            nits = hdr_signals.pq_decode(signal)
        else:
            nits = hdr_signals.hlg_scene_to_nits(hdr_signals.hlg_decode(signal))
        error = hdr_signals.bt2020_luminance(nits) / (100 * luminance_709(frame)) - 1
        assert abs(error.mean()) < 0.002
        assert np.percentile(np.abs(error), 99) < 0.012

    def test_odd_and_tiny_sizes(self, tmp_path: Path) -> None:
        """17x13 becomes 18x16: x265 takes nothing below 16. What is added repeats the edge."""
        frame = scene(1, 13, 17)[0]
        grade = grade_clip(lambda: [frame], "hdr10", nits_per_unit=203)
        path = write(tmp_path / "p.mp4", [frame] * 2, grade, crf=0)
        nits = decoded_nits(path, "hdr10")
        assert [n.shape for n in nits] == [(16, 18, 3)] * 2
        shown = hdr_signals.bt2020_luminance(nits[0])
        wanted = np.pad(203 * luminance_709(frame), ((0, 3), (0, 1)), mode="edge")
        assert np.median(np.abs(shown / wanted - 1)) < 0.01
        assert np.abs(shown / wanted - 1).max() < 0.06

    @pytest.mark.parametrize("count", [1, 2, 3, 4])
    def test_short_clips(self, tmp_path: Path, count: int) -> None:
        """x265 makes up decoding times where it has fewer frames than it reorders."""
        frames = scene(count, 32, 32)
        path = write(tmp_path / "p.mp4", frames, grade_clip(lambda: frames, "hdr10"))
        with av.open(str(path)) as container:
            found = [f.time for f in container.decode(video=0)]
            duration = container.streams.video[0].duration * container.streams.video[0].time_base
        assert found == pytest.approx([i / 24 for i in range(count)])
        assert duration == Fraction(count, 24)

    def test_variable_times_are_kept(self, tmp_path: Path) -> None:
        times = [2.0, 2.04, 2.09, 2.1, 2.35, 2.35, 2.4]
        frames = scene(7, 32, 32)
        grade = grade_clip(lambda: frames, "hdr10")
        with HdrVideoWriter(tmp_path / "p.mp4", 32, 32, Fraction(30), grade) as writer:
            for frame, seconds in zip(frames, times, strict=True):
                writer.write(frame, seconds)
        with av.open(str(tmp_path / "p.mp4")) as container:
            found = [f.time for f in container.decode(video=0)]
        assert found == pytest.approx([t - 2 for t in times], abs=5e-5)
        assert len(set(found)) == len(times)

    def test_half_floats_and_views(self, tmp_path: Path) -> None:
        frames = [f.astype(np.float16) for f in scene(1, 32, 48)]
        grade = grade_clip(lambda: frames, "hdr10")
        writer = HdrVideoWriter(tmp_path / "p.mp4", 48, 32, FPS, grade)
        whole = writer._planes(frames[0].astype(np.float32))
        assert np.array_equal(writer._planes(frames[0]), whole)
        assert np.array_equal(writer._planes(np.asfortranarray(frames[0])), whole)

    def test_appears_complete_or_not_at_all(self, tmp_path: Path) -> None:
        grade = grade_clip(lambda: scene(1), "hdr10")

        def interrupted() -> None:
            with HdrVideoWriter(tmp_path / "p.mp4", 160, 96, FPS, grade) as writer:
                writer.write(scene(1)[0])
                assert not (tmp_path / "p.mp4").exists()
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        with HdrVideoWriter(tmp_path / "p.mp4", 160, 96, FPS, grade):
            pass
        assert list(tmp_path.iterdir()) == []

    def test_full_disk_at_the_end(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*args: object) -> None:
            raise OSError(28, "x")

        frames = scene(1)
        grade = grade_clip(lambda: frames, "hdr10")
        monkeypatch.setattr(os, "replace", refuse)
        with pytest.raises(OutputError, match="disk is full"):
            write(tmp_path / "p.mp4", frames, grade)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
    def test_full_disk_while_writing(self, tmp_path: Path) -> None:
        partial_path(tmp_path / "p.mp4").symlink_to("/dev/full")
        frames = [np.random.default_rng(i).random((128, 128, 3)).astype(np.float32) for i in range(30)]
        grade = grade_clip(lambda: frames, "hdr10")
        with pytest.raises(OutputError, match=r"p\.mp4: the disk is full"):
            write(tmp_path / "p.mp4", frames, grade, crf=0)
        assert list(tmp_path.iterdir()) == []

    def test_missing_folder_and_bad_frames(self, tmp_path: Path) -> None:
        frames = scene(1)
        grade = grade_clip(lambda: frames, "hdr10")
        with pytest.raises(OutputError, match="the folder does not exist"):
            write(tmp_path / "none" / "p.mp4", frames, grade)
        with HdrVideoWriter(tmp_path / "p.mp4", 160, 96, FPS, grade) as writer:
            for bad in (frames[0][:5], (frames[0] * 10).astype(np.uint8)):
                with pytest.raises(ValueError, match="float"):
                    writer.write(bad)
        with pytest.raises(ValueError, match="size"):
            HdrVideoWriter(tmp_path / "p.mp4", 0, 96, FPS, grade)


# The sound ------------------------------------------------------------------------------------------------------------

CLICKS = (0.25, 0.75, 1.25, 1.75)
"""When the source's sound has a short tone; its frames come at 10 a second."""

COPIED, ENCODED = ("sound.mp4", "aac"), ("sound.mkv", "pcm_s16le")


def sounding_clip(path: Path, codec: str, rate: int = 48_000) -> Path:
    """2 seconds of grey pictures with tones of 20 ms."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width = video.height = 32
        video.pix_fmt = "yuv420p"
        audio = container.add_stream(codec, rate=rate, layout="stereo")
        sound = np.zeros(2 * rate, np.float32)
        for click in CLICKS:
            begin, length = round(click * rate), round(0.02 * rate)
            sound[begin : begin + length] = 0.8 * np.sin(2 * np.pi * 1000 * np.arange(length) / rate)
        for i in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 9 * i, np.uint8))
            frame.pts, frame.time_base = i, Fraction(1, 10)
            container.mux(video.encode(frame))
            part = sound[i * rate // 10 : (i + 1) * rate // 10]
            samples = av.AudioFrame.from_ndarray(np.stack([part, part]), format="fltp", layout="stereo")
            samples.sample_rate, samples.pts, samples.time_base = rate, i * rate // 10, Fraction(1, rate)
            container.mux(audio.encode(samples))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return path


def tones(path: Path) -> tuple[str, float, list[float]]:
    """Codec and duration of the sound of a file, and when its tones begin, all as a player has it."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        rate, seconds = stream.codec_context.sample_rate, float(stream.duration * stream.time_base)
        loud = np.zeros(4 * rate, bool)
        for frame in container.decode(audio=0):
            samples = np.abs(frame.to_ndarray()[0]) > 0.2
            begin = round(frame.time * rate)
            samples = samples[max(0, -begin) :]
            loud[max(0, begin) : max(0, begin) + len(samples)] = samples
        at = np.flatnonzero(loud)
        starts = at[np.concatenate([[True], np.diff(at) > 0.2 * rate])]
        return stream.codec_context.codec.canonical_name, seconds, [float(s / rate) for s in starts]


def carried(path: Path, source: Path, first: int, last: int, hdr: bool = False) -> list[str]:
    """Write the frames first..last of `source` with its sound; returns the warnings."""
    writer: HdrVideoWriter | PreviewWriter
    if hdr:
        frames = scene(1, 32, 32)
        writer = HdrVideoWriter(path, 32, 32, 10, grade_clip(lambda: frames, "hdr10"), audio_from=source)
    else:
        frames = [np.zeros((32, 32, 3), np.uint8)]
        writer = PreviewWriter(path, 32, 32, 10, audio_from=source)
    with writer:
        for i in range(first, last + 1):
            writer.write(frames[0], i / 10)
    return writer.warnings()


class TestSound:
    @pytest.mark.parametrize("hdr", [False, True], ids=["preview", "hdr"])
    @pytest.mark.parametrize(("name", "codec"), [COPIED, ENCODED])
    @pytest.mark.parametrize(("first", "last"), [(0, 19), (7, 15)])
    def test_in_step_and_as_long_as_the_pictures(
        self, tmp_path: Path, name: str, codec: str, first: int, last: int, hdr: bool
    ) -> None:
        source = sounding_clip(tmp_path / name, codec)
        assert carried(tmp_path / "p.mp4", source, first, last, hdr) == []
        found, seconds, starts = tones(tmp_path / "p.mp4")
        assert found == "aac"
        # a copy ends with a whole packet
        assert seconds == pytest.approx((last + 1 - first) / 10, abs=0.025 if codec == "aac" else 0.001)
        wanted = [c - first / 10 for c in CLICKS if first / 10 <= c < (last + 1) / 10]
        assert starts == pytest.approx(wanted, abs=0.002)

    def test_a_copy_is_not_encoded_again(self, tmp_path: Path) -> None:
        source = sounding_clip(tmp_path / "s.mp4", "aac")
        carried(tmp_path / "p.mp4", source, 0, 19)
        with av.open(str(source)) as a, av.open(str(tmp_path / "p.mp4")) as b:
            before = [bytes(p) for p in a.demux(a.streams.audio[0]) if p.size]
            after = [bytes(p) for p in b.demux(b.streams.audio[0]) if p.size]
        assert after == before[: len(after)]
        assert len(before) - len(after) <= 1

    def test_millisecond_containers_and_other_rates(self, tmp_path: Path) -> None:
        for name, codec, rate in (
            ("a.mkv", "aac", 44_100),
            ("b.mkv", "libmp3lame", 44_100),
            ("c.mov", "pcm_s24le", 11_025),
        ):
            source = sounding_clip(tmp_path / name, codec, rate)
            assert carried(tmp_path / "p.mp4", source, 3, 17) == []
            _, seconds, starts = tones(tmp_path / "p.mp4")
            assert seconds == pytest.approx(1.5, abs=0.03)
            assert starts == pytest.approx([0.45, 0.95, 1.45], abs=0.002)

    def test_a_start_that_is_given(self, tmp_path: Path) -> None:
        source = sounding_clip(tmp_path / "s.mkv", "pcm_s16le")
        with PreviewWriter(tmp_path / "p.mp4", 32, 32, 10, audio_from=source, audio_start_seconds=1.0) as writer:
            for _ in range(10):
                writer.write(np.zeros((32, 32, 3), np.uint8))
        _, seconds, starts = tones(tmp_path / "p.mp4")
        assert seconds == pytest.approx(1.0, abs=0.001)
        assert starts == pytest.approx([0.25, 0.75], abs=0.002)

    def test_sound_that_ends_early_or_lies_elsewhere(self, tmp_path: Path) -> None:
        source = sounding_clip(tmp_path / "s.mkv", "pcm_s16le")
        assert carried(tmp_path / "p.mp4", source, 15, 40) == []
        _, seconds, starts = tones(tmp_path / "p.mp4")
        assert seconds == pytest.approx(0.5, abs=0.03)
        assert starts == pytest.approx([0.25], abs=0.002)
        [warning] = carried(tmp_path / "q.mp4", source, 100, 105)
        assert "left out" in warning

    def test_sound_that_cannot_be_read_is_a_warning(self, tmp_path: Path) -> None:
        silent, junk, missing = (tmp_path / n for n in ("silent.mp4", "junk.mp4", "missing.mp4"))
        with PreviewWriter(silent, 32, 32, 10) as writer:
            writer.write(np.zeros((32, 32, 3), np.uint8))
        junk.write_bytes(b"no film")
        for source, warned in ((silent, False), (junk, True), (missing, True)):
            warnings = carried(tmp_path / "p.mp4", source, 0, 2)
            assert len(warnings) == warned
            assert all("left out" in w and source.name in w for w in warnings)
            with av.open(str(tmp_path / "p.mp4")) as container:
                assert container.streams.video[0].frames == 3
                assert not container.streams.audio

    @pytest.mark.parametrize(("name", "codec"), [COPIED, ENCODED, ("s.ts", "aac"), ("s.mkv", "flac")])
    def test_damaged_sound_never_costs_the_pictures(self, tmp_path: Path, name: str, codec: str) -> None:
        rng = np.random.default_rng(5)
        whole = sounding_clip(tmp_path / name, codec).read_bytes()
        for i in range(12):
            broken = bytearray(whole[: int(len(whole) * rng.uniform(0.2, 1))] if i % 3 == 0 else whole)
            for position in rng.integers(0, len(broken), int(10 ** rng.uniform(0, 3))):
                broken[position] = rng.integers(0, 256)
            (tmp_path / f"broken{i}{name}").write_bytes(broken)
            carried(tmp_path / "p.mp4", tmp_path / f"broken{i}{name}", 3, 17)
            with av.open(str(tmp_path / "p.mp4")) as container:
                assert container.streams.video[0].frames == 15
