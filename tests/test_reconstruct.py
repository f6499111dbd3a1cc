"""The engine, on small clips made here and reconstructed by the classical model: no weights file is needed."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from hdrvid.color.curves import gamma_encode, srgb_encode
from hdrvid.color.response import RESPONSES, measured_response
from hdrvid.detect import cycle
from hdrvid.detect.clip import inspect_clip
from hdrvid.errors import ExposureError, InputError, ModelError, OutputError, UsageError
from hdrvid.io.atomic import ABANDONED_SECONDS, machine_id
from hdrvid.io.exr import read_exr, write_exr
from hdrvid.io.hdr import read_hdr
from hdrvid.io.lock import frames_lock
from hdrvid.options.parse import parse_frame_range
from hdrvid.pipeline import windows
from hdrvid.pipeline.encode import network_code_by_table
from hdrvid.pipeline.options import ReconstructOptions, parse_white, validate_options
from hdrvid.pipeline.report import ClipReport
from hdrvid.pipeline.run import reconstruct_clip
from hdrvid.predict.runner import ModelRunner
from hdrvid.types import ClipReader, ExposureCycle, Reconstruction, Window

CLASSICAL = ReconstructOptions(model="classical", device="cpu", exposures="0,3")


def scene_radiance(index: int, width: int, height: int) -> np.ndarray:
    """(H, W, 3) radiance of a soft random texture that moves by (2, 1) pixels a frame; 1.0 = the short one clips."""
    rng = np.random.default_rng(7)
    noise = rng.standard_normal((height + 64, width + 64, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 4.0)
    stops = (soft - soft.min()) / (soft.max() - soft.min()) * 9.0 - 8.5
    top, left = 4 + index, 4 + 2 * index
    return np.exp2(stops[top : top + height, left : left + width])


def write_frames(
    folder: Path, stops: Sequence[float] = (0, 3), num_frames: int = 8, width: int = 64, height: int = 48, encode=None
) -> Path:
    """An 8-bit PNG sequence of the moving scene, exposed in turn."""
    folder.mkdir(parents=True)
    for i in range(num_frames):
        linear = scene_radiance(i, width, height) * 2.0 ** stops[i % len(stops)]
        code = (encode or gamma_encode)(np.clip(linear, 0.0, 1.0))
        cv2.imwrite(str(folder / f"f{i:06d}.png"), np.round(code[..., ::-1] * 255).astype(np.uint8))
    return folder


def write_video(path: Path, frames: Path, rate: int = 25, transfer: int = 2) -> Path:
    """A lossless FFV1 video of a PNG sequence; `transfer`: its tag, a code of ITU-T H.273."""
    pictures = [cv2.imread(str(p))[..., ::-1] for p in sorted(frames.iterdir())]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "bgr0"
        stream.codec_context.color_trc = transfer
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.color_trc = transfer
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def exr_frames(out: Path) -> dict[str, np.ndarray]:
    """Pixels of every EXR in a folder, by name."""
    return {p.name: read_exr(p)[0] for p in sorted(out.glob("[!.]*.exr"))}


def video_frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]


def options(**changes: object) -> ReconstructOptions:
    return ReconstructOptions(**{**CLASSICAL.__dict__, **changes})  # type: ignore[arg-type]


def assert_same_results(a: Path, b: Path) -> None:
    """Every frame and every preview picture of two runs, to the bit, and no stray file."""
    assert sorted(p.name for p in a.iterdir()) == sorted(p.name for p in b.iterdir())
    frames_a, frames_b = exr_frames(a), exr_frames(b)
    for name, pixels in frames_a.items():
        np.testing.assert_array_equal(pixels, frames_b[name], err_msg=name)
    for preview in a.glob("*.preview.mp4"):
        pictures_a, pictures_b = video_frames(preview), video_frames(b / preview.name)
        assert len(pictures_a) == len(pictures_b)
        for picture_a, picture_b in zip(pictures_a, pictures_b, strict=True):
            np.testing.assert_array_equal(picture_a, picture_b)


pytestmark = pytest.mark.usefixtures("one_thread")


# What comes out


@pytest.mark.parametrize(
    ("stops", "num_frames", "width", "height"),
    [((0, 3), 2, 64, 48), ((3, 0), 7, 63, 47), ((0, 2, 4), 3, 64, 48), ((4, 0, 2), 8, 61, 45)],
)
def test_as_many_frames_come_out_as_went_in(
    tmp_path: Path, stops: tuple[float, ...], num_frames: int, width: int, height: int
) -> None:
    clip = write_frames(tmp_path / "shot", stops, num_frames, width, height)
    text = ",".join(str(s) for s in stops)
    done: list[tuple[int, int | None]] = []
    report = reconstruct_clip(
        [str(clip)],
        tmp_path / "out",
        options(exposures=text),
        progress=lambda count, total: done.append((count, total)),
    )
    frames = exr_frames(tmp_path / "out")
    assert list(frames) == [f"shot.{i:06d}.exr" for i in range(num_frames)]
    assert all(pixels.shape == (height, width, 3) for pixels in frames.values())
    assert done == [(i + 1, num_frames) for i in range(num_frames)]
    assert len(video_frames(tmp_path / "out" / "shot.preview.mp4")) == num_frames
    assert report.as_dict() == json.loads((tmp_path / "out" / "shot.json").read_text())


def test_the_radiance_is_right_on_the_default_scale(clip: Path, undisturbed: Path) -> None:
    for i, pixels in enumerate(exr_frames(undisturbed).values()):
        truth = scene_radiance(i, 64, 48) * 8.0  # 1.0 = clipping of the longest exposure
        seen = truth < 7.5  # what neither exposure clips
        error = np.abs(np.log2(np.maximum(pixels, 1e-4) / truth))[seen]
        assert np.median(error) < 0.05
        # a long frame alone is clipped at 1: highlights come from the neighbours
        if i % 2:
            assert pixels[truth > 2].mean() > 1.5


def test_the_entries_of_hdrvid_are_few(undisturbed: Path) -> None:
    own = {name.removeprefix("hdrvid:") for name in read_exr(undisturbed / "clip.000003.exr")[1] if ":" in name}
    assert own == {
        *("version", "model", "frame", "exposure_stops", "cycle_stops", "response", "input_primaries"),
        *("scale", "white", "options", "window", "source"),
    }


def test_header_and_report_say_how_the_frame_was_made(undisturbed: Path, clip: Path) -> None:
    header = read_exr(undisturbed / "clip.000003.exr")[1]
    assert header["hdrvid:frame"] == 3
    assert header["hdrvid:exposure_stops"] == 3.0
    assert list(header["hdrvid:cycle_stops"]) == [0.0, 3.0]  # type: ignore[call-overload]
    assert header["hdrvid:scale"] == 8.0
    assert header["hdrvid:model"] == "classical"
    assert header["framesPerSecond"] == Fraction(24)
    report = json.loads((undisturbed / "clip.json").read_text())
    assert report["stops"] == [0.0, 3.0]
    assert report["cycle"] == 2
    assert report["confidence"] is None
    assert report["response"] == "gamma2.2"
    assert report["response_from"] == "measured"
    assert report["quality"]["flicker_stops"] < 0.05
    assert report["model"]["name"] == "classical"
    assert report["frames"] == {"first": 0, "last": 7, "count": 8, "new": 8, "kept": 0}
    assert report["source"] == str(clip)
    assert report["problem"] is None


def test_exposures_are_measured_where_none_are_declared(clip: Path, tmp_path: Path) -> None:
    report = reconstruct_clip([str(clip)], tmp_path / "out", options(exposures="auto")).as_dict()
    # a picture this small is measured to a tenth of a stop or two
    assert report["stops"] == pytest.approx([0.0, 3.0], abs=0.2)
    assert report["confidence"] >= 0.6
    assert report["exposures_from"] == "measured"
    # a range uses what was measured at the start of the clip, not in the range
    part = reconstruct_clip([str(clip)], tmp_path / "part", options(exposures="auto", frame_range=(5, 6))).as_dict()
    assert part["stops"] == report["stops"]
    for name, pixels in exr_frames(tmp_path / "part").items():
        np.testing.assert_array_equal(pixels, exr_frames(tmp_path / "out")[name])


def test_a_video_gives_what_its_frames_give(clip: Path, undisturbed: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mkv", clip)
    report = reconstruct_clip([str(video)], tmp_path / "out", CLASSICAL).as_dict()
    assert report["frames_per_second"] == "25"
    for name, pixels in exr_frames(tmp_path / "out").items():
        np.testing.assert_array_equal(pixels, exr_frames(undisturbed)[name])


@pytest.mark.parametrize(("white", "factor"), [("shortest", 1 / 8), ("4", 4.0)])
def test_white_scales_the_file_and_not_the_preview(
    clip: Path, undisturbed: Path, tmp_path: Path, white: str, factor: float
) -> None:
    reconstruct_clip([str(clip)], tmp_path / "out", options(white=white))
    for name, pixels in exr_frames(tmp_path / "out").items():
        # powers of two: half floats scale exactly, but for the smallest ones
        expected = exr_frames(undisturbed)[name] * factor
        np.testing.assert_allclose(pixels, expected, rtol=0, atol=2.0**-24)
    for a, b in zip(
        video_frames(tmp_path / "out" / "clip.preview.mp4"),
        video_frames(undisturbed / "clip.preview.mp4"),
        strict=True,
    ):
        assert np.abs(a.astype(int) - b).mean() < 0.5


def test_the_preview_of_large_frames_is_half_as_large(
    clip: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hdrvid.pipeline.preview.HALVED_ABOVE_PIXELS", 1000)
    reconstruct_clip([str(clip)], tmp_path / "out", CLASSICAL)
    halves, wholes = (video_frames(folder / "clip.preview.mp4") for folder in (tmp_path / "out", undisturbed))
    for half, whole in zip(halves, wholes, strict=True):
        height, width = whole.shape[0] // 2, whole.shape[1] // 2
        assert half.shape == (height, width, 3)
        # the light is averaged and not the codes: alike, not equal
        expected = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
        assert np.corrcoef(half.ravel(), expected.ravel())[0, 1] > 0.95
        assert abs(half.mean() - expected.mean()) < 5


def test_another_display_transform_keeps_the_frames_and_makes_the_preview_again(clip: Path, tmp_path: Path) -> None:
    """As in a folder that an earlier version finished, whose previews were reinhard."""
    reconstruct_clip([str(clip)], tmp_path / "out", options(tonemap="reinhard"))
    times = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("*.exr")}
    reconstruct_clip([str(clip)], tmp_path / "fresh", CLASSICAL)
    report = reconstruct_clip([str(clip)], tmp_path / "out", CLASSICAL).as_dict()
    assert report["frames"]["kept"] == len(times)
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("*.exr")} == times
    assert_same_results(tmp_path / "out", tmp_path / "fresh")


def test_a_response_is_undone(clip: Path, undisturbed: Path, tmp_path: Path) -> None:
    coded = write_frames(tmp_path / "clip", encode=srgb_encode)
    reconstruct_clip([str(coded)], tmp_path / "out", options(response="srgb"))
    for name, pixels in exr_frames(tmp_path / "out").items():
        expected = exr_frames(undisturbed)[name]
        assert np.median(np.abs(pixels / np.maximum(expected, 1e-3) - 1)) < 0.05


def test_linear_frames_take_no_response(tmp_path: Path) -> None:
    folder = tmp_path / "linear"
    folder.mkdir()
    for i in range(4):
        write_exr(folder / f"f{i:06d}.exr", np.clip(scene_radiance(i, 64, 48) * (1, 8)[i % 2], 0, 1))
    report = reconstruct_clip([str(folder)], tmp_path / "out", CLASSICAL).as_dict()
    assert (report["response"], report["response_from"], report["linear"]) == ("linear", "linear frames", True)
    pixels = exr_frames(tmp_path / "out")["linear.000000.exr"]
    truth = scene_radiance(0, 64, 48) * 8
    assert np.median(np.abs(np.log2(pixels / truth))[truth < 7.5]) < 0.02
    with pytest.raises(UsageError, match="scene-linear"):
        reconstruct_clip([str(folder)], tmp_path / "other", options(response="srgb"))
    assert not (tmp_path / "other").exists()


def test_radiance_hdr_files(clip: Path, undisturbed: Path, tmp_path: Path) -> None:
    report = reconstruct_clip([str(clip)], tmp_path / "out", options(format="hdr"))
    for name, pixels in exr_frames(undisturbed).items():
        rgbe = read_hdr((tmp_path / "out" / name).with_suffix(".hdr"))
        np.testing.assert_allclose(rgbe, pixels, atol=float(pixels.max()) / 128)
    again = reconstruct_clip([str(clip)], tmp_path / "out", options(format="hdr"))
    assert report.as_dict()["frames"]["new"] == 8
    assert again.as_dict()["frames"]["kept"] == 8


# Ranges


@pytest.mark.parametrize("exposures", ["0,3", "0,2,4"])
def test_ranges_are_identical_to_a_full_run(tmp_path: Path, exposures: str) -> None:
    stops = [float(s) for s in exposures.split(",")]
    clip = write_video(tmp_path / "clip.mkv", write_frames(tmp_path / "frames", stops, 8))
    settings = {"exposures": exposures, "preview": False}
    reconstruct_clip([str(clip)], tmp_path / "full", options(**settings))
    full = exr_frames(tmp_path / "full")
    assert len(full) == 8
    for first, last in ((0, 0), (1, 4), (5, 7)):
        reconstruct_clip([str(clip)], tmp_path / "parts", options(**settings, frame_range=(first, last)))
    parts = exr_frames(tmp_path / "parts")
    assert list(parts) == list(full)
    for name, pixels in parts.items():
        np.testing.assert_array_equal(pixels, full[name], err_msg=name)


def test_a_plain_run_completes_what_ranges_have_made(clip: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    reconstruct_clip([str(clip)], out, options(frame_range=(0, 2)))
    reconstruct_clip([str(clip)], out, options(frame_range=(5, 7)))
    report = reconstruct_clip([str(clip)], out, CLASSICAL).as_dict()
    assert report["frames"] == {"first": 0, "last": 7, "count": 8, "new": 2, "kept": 6}
    assert_same_results(out, undisturbed)


def test_a_range_beyond_the_end(clip: Path, tmp_path: Path) -> None:
    report = reconstruct_clip([str(clip)], tmp_path / "out", options(frame_range=(6, 20))).as_dict()
    assert report["frames"]["last"] == 7
    assert any("ends at frame 7" in text for text in report["warnings"])
    with pytest.raises(InputError, match=r"8 frames \(0-7\), so --frames 8-9 selects none"):
        reconstruct_clip([str(clip)], tmp_path / "none", options(frame_range=(8, 9)))


# Going on after an interruption

STOP_AT_FRAME = """
import os, signal, sys
import hdrvid.pipeline.setup as engine
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background starts with it ignored
number, at = int(sys.argv[1]), int(sys.argv[2])
load = engine.load_reconstructor
def load_and_stop(*args, **kwargs):
    model = load(*args, **kwargs)
    reconstruct = model.reconstruct
    def stopping(window, diagnostics=False):
        if window.index == at:
            os.kill(os.getpid(), number)
        return reconstruct(window, diagnostics)
    model.reconstruct = stopping
    return model
engine.load_reconstructor = load_and_stop
from hdrvid.cli import main
main(sys.argv[3:])
"""


def stop_at_frame(number: signal.Signals, index: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own that sends itself a signal when it comes to frame `index`."""
    command = [sys.executable, "-c", STOP_AT_FRAME, str(int(number)), str(index), "reconstruct", *arguments]
    environment = {**os.environ, "HDRVID_DEBUG": "", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_killed_and_started_again(clip: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = [str(clip), "-o", str(out), "--model", "classical", "--device", "cpu", "--exposures", "0,3"]
    killed = stop_at_frame(signal.SIGKILL, 5, *arguments)
    assert killed.returncode == -signal.SIGKILL
    assert not (out / "clip.json").exists()
    assert not (out / "clip.preview.mp4").exists()
    finished = exr_frames(out)
    assert 1 <= len(finished) <= 5
    # what a crash of the machine leaves of a file that was being written
    whole = (out / "clip.000000.exr").read_bytes()
    (out / "clip.000000.exr").write_bytes(whole[: len(whole) // 2])
    report = reconstruct_clip([str(clip)], out, CLASSICAL).as_dict()
    assert report["frames"]["kept"] == len(finished) - 1
    assert_same_results(out, undisturbed)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_runs_leave_only_finished_frames(
    clip: Path, undisturbed: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    out = tmp_path / "out"
    arguments = [str(clip), "-o", str(out), "--model", "classical", "--device", "cpu", "--exposures", "0,3"]
    stopped = stop_at_frame(number, 4, *arguments)
    assert stopped.returncode == code, stopped.stderr
    assert "Traceback" not in stopped.stderr
    what = "interrupted" if number == signal.SIGINT else "terminated"
    assert stopped.stderr.splitlines()[-1] == f"hdrvid: {what}: 4 of 8 frames kept; the same command goes on"
    assert sorted(p.name for p in out.iterdir()) == [f"clip.{i:06d}.exr" for i in range(4)]
    reconstruct_clip([str(clip)], out, CLASSICAL)
    assert_same_results(out, undisturbed)


def test_small_frames_are_decoded_once_to_be_measured(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []

    def probed(reader: ClipReader) -> Iterator[np.ndarray]:
        for index, pixels in enumerate(read(reader)):
            decoded.append(index)
            yield pixels

    read = cycle.probed
    monkeypatch.setattr("hdrvid.detect.probe.probed", probed)
    once = inspect_clip([str(clip)]).as_dict()
    assert decoded == list(range(8))
    monkeypatch.setattr("hdrvid.detect.probe.KEPT_PROBE_BYTES", 0)
    assert inspect_clip([str(clip)]).as_dict() == once
    assert len(decoded) > 2 * 8


def test_finished_frames_are_kept_and_overwrite_makes_them_again(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    reconstruct_clip([str(clip)], out, CLASSICAL)
    before = {p: p.stat().st_ino for p in out.glob("*.exr")}
    again = reconstruct_clip([str(clip)], out, CLASSICAL).as_dict()
    assert again["frames"]["kept"] == 8
    assert {p: p.stat().st_ino for p in before} == before
    other = reconstruct_clip([str(clip)], out, options(overwrite=True, white="shortest")).as_dict()
    assert other["frames"] == {"first": 0, "last": 7, "count": 8, "new": 8, "kept": 0}
    assert read_exr(out / "clip.000000.exr")[1]["hdrvid:scale"] == 1.0


def test_flow_searched_ahead_changes_nothing(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reconstruct_clip([str(clip)], tmp_path / "a", CLASSICAL)
    expected: list[Window] = []

    class Ahead(ModelRunner):
        def expect(self, window: Window) -> None:
            expected.append(window)
            super().expect(window)

        def reconstruct(self, window: Window, diagnostics: bool = False) -> Reconstruction:
            mine = next(i for i, w in enumerate(expected) if w is window)
            assert len(expected) - 1 - mine == min(2, 8 - 1 - mine)  # the next two are known already
            return super().reconstruct(window, diagnostics)

    def load(name: str, num_exposures: int, **_: object) -> ModelRunner:
        return Ahead(name, num_exposures, device="cpu", look_ahead=2)

    monkeypatch.setattr("hdrvid.pipeline.setup.load_reconstructor", load)
    report = reconstruct_clip([str(clip)], tmp_path / "b", CLASSICAL).as_dict()
    assert report["frames"]["new"] == 8 == len(expected)
    for path in sorted((tmp_path / "a").glob("*.exr")):
        assert np.array_equal(read_exr(path)[0], read_exr(tmp_path / "b" / path.name)[0])
    # frames that are there need no flow
    (tmp_path / "b" / "clip.000005.exr").unlink()
    expected.clear()
    monkeypatch.setattr(Ahead, "reconstruct", ModelRunner.reconstruct)
    report = reconstruct_clip([str(clip)], tmp_path / "b", CLASSICAL).as_dict()
    assert report["frames"]["kept"] == 7
    assert len(expected) == 1


@pytest.mark.parametrize("format", ["exr", "hdr"])
def test_frames_of_other_settings_are_not_mixed(clip: Path, tmp_path: Path, format: str) -> None:
    out = tmp_path / "out"
    reconstruct_clip([str(clip)], out, options(format=format, frame_range=(0, 1)))
    with pytest.raises(OutputError, match=r"other settings \(white longest, now shortest\).*--overwrite"):
        reconstruct_clip([str(clip)], out, options(format=format, white="shortest"))
    with pytest.raises(OutputError, match="stops"):
        reconstruct_clip([str(clip)], out, options(format=format, exposures="0,2.7"))


def test_a_frame_says_the_tiles_it_was_made_in(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles follow the memory: frames made in others say so, and are kept by the same command."""
    from hdrvid.predict import runner

    def made(out: str) -> dict[int, dict[str, object]]:
        reconstruct_clip([str(clip)], tmp_path / out, options(model="fast", preview=False))
        paths = sorted((tmp_path / out).glob("*.exr"))
        headers = [read_exr(p)[1] for p in paths]
        return {i: json.loads(str(h["hdrvid:options"])) for i, h in enumerate(headers)}

    whole = made("whole")
    assert {f["tile_px"] for f in whole.values()} == {None}
    assert {f["tile"] for f in whole.values()} == {"auto"}
    assert {f["opencv"] for f in whole.values()} == {cv2.__version__}
    monkeypatch.setattr(runner, "TILE_SIDES", (32, 16))
    run = runner.ModelRunner._run

    def once_too_large(self, window, diagnostics):
        if window.index >= 3 and self.tile == "off":
            raise RuntimeError("can't allocate memory")
        return run(self, window, diagnostics)

    with monkeypatch.context() as patch:
        patch.setattr(runner.ModelRunner, "_run", once_too_large)
        ran_out = made("out")
    assert [f["tile_px"] for f in ran_out.values()] == [None] * 3 + [32] * 5
    assert [f == whole[i] for i, f in ran_out.items()] == [True] * 3 + [False] * 5
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("*.exr")}
    assert made("out") == ran_out
    assert before == {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("*.exr")}
    monkeypatch.setattr("hdrvid.predict.runner.available_memory", lambda device: 1)
    assert {f["tile_px"] for f in made("short").values()} == {16}


def test_another_clip_of_the_same_name_is_noticed(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    declared = options(deflicker=False, response="gamma2.2")
    reconstruct_clip([str(clip)], out, declared)
    other = write_frames(tmp_path / "clip", stops=(0, 2.5))
    with pytest.raises(OutputError, match="another clip of the same name"):
        reconstruct_clip([str(other)], out, declared)


def test_a_clip_that_grew_gets_its_last_frames_made_again(tmp_path: Path) -> None:
    short = write_frames(tmp_path / "short" / "shot", num_frames=4)
    long = write_frames(tmp_path / "long" / "shot", num_frames=6)
    reconstruct_clip([str(long)], tmp_path / "expected", CLASSICAL)
    reconstruct_clip([str(short)], tmp_path / "out", CLASSICAL)
    report = reconstruct_clip([str(long)], tmp_path / "out", CLASSICAL).as_dict()
    assert report["frames"]["kept"] == 3  # frame 3 was mirrored at an end that is no end any more
    assert_same_results(tmp_path / "out", tmp_path / "expected")


def test_leftovers_of_dead_processes_are_removed(clip: Path, undisturbed: Path, tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    out = tmp_path / "out"
    out.mkdir()
    (out / f".clip.000002.partial-{machine_id()}-{process.pid}.exr").write_bytes(b"half")
    (out / f".clip.preview.partial-{machine_id()}-{process.pid}.mp4").write_bytes(b"half")
    (out / f".clip.hdr10.partial-{machine_id()}-{process.pid}.mp4").write_bytes(b"half")
    alive = out / f".clip.000003.partial-{machine_id()}-{os.getppid()}.exr"
    alive.write_bytes(b"another job")
    # a folder that machines share: another one has processes of the same numbers
    elsewhere = out / f".clip.000004.partial-0123abcd-{process.pid}.exr"
    elsewhere.write_bytes(b"a job of another machine")
    abandoned = out / f".clip.000005.partial-0123abcd-{os.getppid()}.exr"
    abandoned.write_bytes(b"half")
    os.utime(abandoned, (time.time() - 2 * ABANDONED_SECONDS,) * 2)
    other = out / f".clip2.000002.partial-{machine_id()}-{process.pid}.exr"
    other.write_bytes(b"another clip")
    reconstruct_clip([str(clip)], out, CLASSICAL)
    assert alive.exists()
    assert other.exists()
    assert elsewhere.exists()
    for path in (alive, other, elsewhere):
        path.unlink()
    assert_same_results(out, undisturbed)


# Clips and settings that cannot work


def test_a_disk_that_fills_up(clip: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hdrvid.io.writers as writers

    def full_after_two(path: Path, *args: object, **kwargs: object) -> None:
        if path.name > "clip.000001.exr":
            raise OutputError(f"cannot write {path}: the disk is full")
        write_exr(path, *args, **kwargs)  # type: ignore[arg-type]

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(writers, "write_exr", full_after_two)
        with pytest.raises(OutputError, match="the disk is full"):
            reconstruct_clip([str(clip)], out, CLASSICAL)
    assert sorted(p.name for p in out.iterdir()) == ["clip.000000.exr", "clip.000001.exr"]
    reconstruct_clip([str(clip)], out, CLASSICAL)
    assert_same_results(out, undisturbed)


def test_a_damaged_frame_is_left_out_and_its_neighbours_are_made(tmp_path: Path) -> None:
    clip = write_frames(tmp_path / "shot", num_frames=8)
    (clip / "f000005.png").write_bytes(b"not a picture")
    report = reconstruct_clip([str(clip)], tmp_path / "out", CLASSICAL)
    assert report.problem is not None
    assert "f000005.png" in report.problem
    assert list(exr_frames(tmp_path / "out")) == [f"shot.{i:06d}.exr" for i in range(8) if i != 5]
    assert list(report.as_dict()["damaged"]) == ["5"]
    assert json.loads((tmp_path / "out" / "shot.json").read_text())["problem"] == report.problem
    # once repaired, the frames on either side of the damage are made again
    write_frames(tmp_path / "whole" / "shot", num_frames=8)
    repaired = reconstruct_clip([str(tmp_path / "whole" / "shot")], tmp_path / "out", CLASSICAL)
    assert repaired.problem is None
    assert repaired.as_dict()["frames"]["kept"] == 5
    reconstruct_clip([str(tmp_path / "whole" / "shot")], tmp_path / "expected", CLASSICAL)
    assert_same_results(tmp_path / "out", tmp_path / "expected")


@pytest.mark.parametrize("stops", [(0, 3), (3, 0), (0, 2, 4)])
@pytest.mark.parametrize(("missing", "first"), [(11, 0), (11, 7), (5, 0), (None, 0), (None, 5)])
def test_a_gap_is_named_where_the_cycle_is_trusted(
    tmp_path: Path, stops: tuple[float, ...], missing: int | None, first: int
) -> None:
    """No time and no number tells of the gap: the pixels do."""
    clip = write_frames(tmp_path / "clip", stops, num_frames=24)
    paths = sorted(clip.iterdir())
    if missing is not None:
        for before, after in itertools.pairwise(paths[missing:]):
            after.replace(before)
    chosen = options(regular=True, exposures=",".join(map(str, stops)), preview=False, frame_range=(first, 21))
    report = reconstruct_clip([str(clip)], tmp_path / "out", chosen).as_dict()
    said = [w for w in report["warnings"] if "that the cycle gives them" in w]
    if missing is None:
        assert said == []
    else:
        assert len(said) == 1
        assert f"from frame {missing} on" in said[0]
        assert f"dropped at frame {missing}" in said[0]
    assert report["events"] == []


def test_a_regular_clip_is_reconstructed_up_to_the_damage(tmp_path: Path) -> None:
    clip = write_frames(tmp_path / "shot", num_frames=8)
    (clip / "f000005.png").write_bytes(b"not a picture")
    report = reconstruct_clip([str(clip)], tmp_path / "out", options(regular=True))
    assert report.problem is not None
    assert "f000005.png" in report.problem
    assert list(exr_frames(tmp_path / "out")) == [f"shot.{i:06d}.exr" for i in range(5)]
    with pytest.raises(InputError, match=r"f000005\.png"):
        reconstruct_clip([str(clip)], tmp_path / "range", options(frame_range=(6, 7), regular=True))


def test_damage_outside_the_range_is_no_problem_of_it(tmp_path: Path) -> None:
    clip = write_frames(tmp_path / "shot", num_frames=10)
    (clip / "f000002.png").write_bytes(b"not a picture")
    report = reconstruct_clip([str(clip)], tmp_path / "out", options(frame_range=(6, 7)))
    assert report.problem is None
    reconstruct_clip([str(clip)], tmp_path / "all", CLASSICAL)
    for name in exr_frames(tmp_path / "out"):
        assert np.array_equal(read_exr(tmp_path / "out" / name)[0], read_exr(tmp_path / "all" / name)[0])


def copied(source: Path, folder: Path, order: Sequence[int]) -> Path:
    """The frames of a clip in another order, as a clip."""
    folder.mkdir(parents=True)
    files = sorted(source.iterdir())
    for number, index in enumerate(order):
        shutil.copy(files[index], folder / f"f{number:06d}.png")
    return folder


@pytest.mark.parametrize(
    ("order", "kind", "at", "again"),
    [
        ([*range(7), *range(6, 16)], "doubled", 7, lambda i: i if i < 7 else i - 1),
        ([*range(7), *range(8, 18)], "dropped", 7, lambda i: i if i < 7 else i + 1),
    ],
)
def test_a_slip_of_the_cycle_is_found_and_handled(
    tmp_path: Path, order: list[int], kind: str, at: int, again: Callable[[int], int]
) -> None:
    whole = write_frames(tmp_path / "whole", num_frames=18, width=96, height=64)
    clip = copied(whole, tmp_path / "clip", order)
    said: list[str] = []
    report = reconstruct_clip([str(clip)], tmp_path / "out", options(preview=False), message=said.append)
    assert [(e["kind"], e["index"]) for e in report.as_dict()["events"]] == [(kind, at)]
    assert any(f"frame {at}" in text for text in said)
    expected = reconstruct_clip([str(whole)], tmp_path / "expected", options(preview=False))
    assert expected.as_dict()["events"] == []
    # away from the slip every frame is the very frame of the undisturbed clip
    for i in (0, 3, 5, 10, 12):
        made = read_exr(tmp_path / "out" / f"clip.{i:06d}.exr")[0]
        whole_frame = read_exr(tmp_path / "expected" / f"whole.{again(i):06d}.exr")[0]
        assert np.array_equal(made, whole_frame)
    # at the slip exposures are right too
    for i in (at - 1, at, at + 1):
        made = read_exr(tmp_path / "out" / f"clip.{i:06d}.exr")[0]
        whole_frame = read_exr(tmp_path / "expected" / f"whole.{again(i):06d}.exr")[0]
        assert abs(np.log2(made.mean() / whole_frame.mean())) < 0.1


def test_two_runs_into_one_folder(clip: Path, tmp_path: Path) -> None:
    with frames_lock(tmp_path / "out", "clip", 0, None):
        # a lock of this process does not hold against itself everywhere, so another one tries
        code = subprocess.run(
            [
                sys.executable,
                "-m",
                "hdrvid",
                "reconstruct",
                str(clip),
                "-o",
                str(tmp_path / "out"),
                "--model",
                "classical",
            ],
            capture_output=True,
            text=True,
        )
    assert code.returncode == 1
    assert "another run is writing" in code.stderr
    assert not list((tmp_path / "out").glob("*.exr"))


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_the_result_is_that_of_an_undisturbed_run(tmp_path: Path, kills: int) -> None:
    source = write_frames(tmp_path / "shot", num_frames=40, width=96, height=64)
    command = [sys.executable, "-m", "hdrvid", "reconstruct", str(source), "-o", str(tmp_path / "out")]
    command += ["--model", "classical", "--device", "cpu", "--exposures", "0,3"]
    rng = np.random.default_rng(kills)
    for kill in range(kills):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wanted = int(rng.integers(1, 36))
        until = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < until:
            if len(list((tmp_path / "out").glob("*.exr"))) >= wanted:
                break
            time.sleep(0.01)
        time.sleep(float(rng.uniform(0, 0.2)))
        process.kill()
        process.wait()
        for path in list((tmp_path / "out").glob("*.exr"))[:: 1 + kill % 3]:
            path.unlink()  # so that there is work to kill the next run at
    reconstruct_clip([str(source)], tmp_path / "out", CLASSICAL)
    reconstruct_clip([str(source)], tmp_path / "expected", CLASSICAL)
    assert_same_results(tmp_path / "out", tmp_path / "expected")


def test_too_few_frames(tmp_path: Path) -> None:
    one = write_frames(tmp_path / "one", num_frames=1)
    with pytest.raises(InputError, match="only 1 frame"):
        reconstruct_clip([str(one)], tmp_path / "out", CLASSICAL)
    two = write_frames(tmp_path / "two", num_frames=2)
    with pytest.raises(InputError, match="need at least 3"):
        reconstruct_clip([str(two)], tmp_path / "out", options(exposures="0,2,4"))
    assert not (tmp_path / "out").exists()


def test_a_clip_that_does_not_alternate_asks_for_the_exposures(tmp_path: Path) -> None:
    constant = write_frames(tmp_path / "constant", stops=(0, 0))
    with pytest.raises(ExposureError, match=r"not clear.*--exposures 0,3"):
        reconstruct_clip([str(constant)], tmp_path / "out", options(exposures="auto"))
    assert not (tmp_path / "out").exists()
    assert inspect_clip([str(constant)]).as_dict()["stops"] is None


def test_wrong_declared_exposures_are_an_error(clip: Path, tmp_path: Path) -> None:
    said: list[str] = []
    wrong = options(exposures="0,2,4", frame_range=(0, 0))
    with pytest.raises(ExposureError, match=r"3 exposures \(0,2,4\) are declared, but the frames repeat after 2 \(0,3"):
        reconstruct_clip([str(clip)], tmp_path / "out", wrong)
    trusted = replace(wrong, regular=True)
    report = reconstruct_clip([str(clip)], tmp_path / "out", trusted, message=said.append)
    assert any(text.startswith("warning: ") and "--exposures" in text for text in said)
    assert report.as_dict()["warnings"]


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"format": "png"}, UsageError, "--format takes exr or hdr"),
        ({"compression": "best"}, UsageError, "--compression takes auto or one of"),
        ({"tonemap": "nonsense"}, UsageError, "--tonemap takes one of"),
        ({"precision": "fp8"}, UsageError, "--precision takes"),
        ({"tile": "-5"}, UsageError, "--tile takes"),
        ({"white": "bright"}, UsageError, "--white takes"),
        ({"white": "1e6"}, UsageError, "half-float"),
        ({"model": "nonsense"}, ModelError, "no model 'nonsense': choose one of .*classical"),
        ({"exposures": "0,3,x"}, Exception, "0,3,x"),
        ({"response": "nonsense"}, Exception, "nonsense"),
    ],
)
def test_options_are_checked_before_any_work(
    tmp_path: Path, changes: dict[str, str], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text) as caught:
        validate_options(options(**changes), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(OutputError, match="is not a folder"):
            reconstruct_clip([str(clip)], out, CLASSICAL)


def test_results_never_go_among_the_frames(clip: Path, tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "shot", num_frames=4)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    for source in (folder, folder / "f%06d.png", folder / "*.png"):
        with pytest.raises(OutputError, match="choose another folder"):
            reconstruct_clip([str(source)], folder, CLASSICAL)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_a_preview_that_cannot_be_written_is_an_error(tmp_path: Path, clip: Path) -> None:
    out = tmp_path / "out"
    (out / "clip.preview.mp4").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"clip\.preview\.mp4"):
        reconstruct_clip([str(clip)], out, CLASSICAL)
    assert [p.name for p in out.iterdir()] == ["clip.preview.mp4"]  # said before the work, not after it


def test_frame_ranges_and_white() -> None:
    assert parse_frame_range("3-9") == (3, 9)
    for text in ("9-3", "-3", "a-b", "1-2-3", ""):
        with pytest.raises(UsageError, match="--frames"):
            parse_frame_range(text)
    cycle = ExposureCycle((0, 2, 4))
    assert [parse_white(t, cycle) for t in ("longest", "shortest", "2.5")] == [1.0, 1 / 16, 2.5]
    with pytest.raises(UsageError):
        parse_white("nan", cycle)


def test_memory_does_not_grow_with_the_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    held: list[int] = []
    iterate = windows.LabelledWindows.__iter__

    def watched(self):  # type: ignore[no-untyped-def]
        for item in iterate(self):
            held.append(len(self._held))
            yield item

    monkeypatch.setattr(windows.LabelledWindows, "__iter__", watched)
    clip = write_frames(tmp_path / "shot", (0, 2, 4), 20, 32, 32)
    report: ClipReport = reconstruct_clip([str(clip)], tmp_path / "out", options(exposures="0,2,4", preview=False))
    assert report.as_dict()["frames"]["count"] == 20
    assert max(held) == 5


@pytest.mark.parametrize("name", [*RESPONSES, "measured"])
def test_network_code_is_that_of_the_radiance(name):
    """To the bit for 8 and 16 bits, and to less than a tenth of a step of 10 bits in between."""
    curves = np.linspace(0, 1, 300)[:, None] ** np.array([2.0, 2.2, 2.6])
    response = measured_response("measured", curves) if name == "measured" else RESPONSES[name]
    for codes, tolerance in ((np.arange(256) / 255, 1e-6), (np.arange(65536) / 65535, 1e-6)):
        pixels = np.repeat(codes.astype(np.float32)[:, None, None], 3, axis=2)
        expected = gamma_encode(response.linearize(pixels))
        np.testing.assert_allclose(network_code_by_table(pixels, response), expected, atol=tolerance)
    pixels = np.random.default_rng(0).uniform(0.002, 1.0, (100, 100, 3)).astype(np.float32)
    expected = gamma_encode(response.linearize(pixels))
    assert np.abs(network_code_by_table(pixels, response) - expected).max() < 1e-3
    assert np.median(np.abs(network_code_by_table(pixels, response) - expected)) < 1e-5
