"""Disks, folders and names that get in the way of a run: one sentence, exit code 1, and nothing half-written.

Damaged pixels are the subject of test_fuzz.py, killed runs that of test_reconstruct.py.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from test_cli import CLASSICAL, hdrvid, sentence
from test_reconstruct import (
    assert_same_results,
    exr_frames,
    options,
    scene_radiance,
    video_frames,
    write_frames,
    write_video,
)

from hdrvid.color.curves import gamma_encode
from hdrvid.errors import OutputError
from hdrvid.io.exr import read_exr
from hdrvid.io.hdr import read_hdr
from hdrvid.pipeline.options import ReconstructOptions
from hdrvid.pipeline.run import reconstruct_clip

MOST_EXTRA_MEGABYTES = 150
"""Memory that 100,000 frames may take beyond what a few do: their names."""

MOST_LARGE_MEGABYTES = 8000
"""Peak of a run over pictures of 8192x4320: three frames of the window, candidates and flow at full size."""

pytestmark = pytest.mark.usefixtures("one_thread")

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs links, pipes or limits of POSIX")


@pytest.fixture(autouse=True)
def _users_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HDRVID_DEBUG", raising=False)
    monkeypatch.setenv("COLUMNS", "120")


# The folder goes away


def in_the_way(out: Path, away: Path) -> None:
    out.rename(away)
    out.write_text("a file of somebody else")


@posix_only
@pytest.mark.parametrize(
    ("happens", "says"),
    [(Path.rename, "does not exist, or not any more"), (in_the_way, "a part of the path is a file|does not exist")],
    ids=["gone", "replaced"],
)
def test_output_folder_that_goes_away(
    happens: Callable[[Path, Path], object], says: str, clip: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out, away = tmp_path / "out", tmp_path / "away"

    def progress(done: int, total: int | None) -> None:
        if done == 3:
            happens(out, away)

    with pytest.raises(OutputError, match=says) as caught:
        reconstruct_clip([str(clip)], out, options(), progress=progress)
    assert "\n" not in str(caught.value)
    assert not out.is_dir()  # what the user took away does not come back
    # frames that were finished are whole, and a run into the folder at its new place completes them
    for path in away.glob("clip.*.exr"):
        np.testing.assert_array_equal(read_exr(path)[0], read_exr(undisturbed / path.name)[0])
    reconstruct_clip([str(clip)], away, options())
    assert_same_results(away, undisturbed)


# The disk has no room


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """No file may grow beyond `num_bytes`: writing fails as on a full disk, at a byte that can be chosen."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


NO_ROOM_FOR = {
    "the largest frame": options(preview=False),
    "grain.preview.mp4": options(),
    "grain.hdr10.mp4": options(preview=False, hdr10=True),
    "grain.hlg.mp4": options(preview=False, hlg=True),
    "grain.json": options(preview=False, format="hdr"),
}


@pytest.fixture(scope="module")
def grain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip whose videos are larger than any of its frames, and its report than a frame in .hdr."""
    folder = tmp_path_factory.mktemp("clips") / "grain"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for i in range(24):
        code = gamma_encode(np.clip(rng.random((12, 16, 3)) * 0.12 * (1, 8)[i % 2], 0, 1))
        cv2.imwrite(str(folder / f"f{i:06d}.png"), np.round(code * 255).astype(np.uint8))
    return folder


@posix_only
@pytest.mark.parametrize("part", [0.3, 0.9], ids=["early", "late"])
@pytest.mark.parametrize("name", NO_ROOM_FOR)
def test_no_room_for(name: str, part: float, grain: Path, tmp_path: Path) -> None:
    chosen: ReconstructOptions = NO_ROOM_FOR[name]
    expected, out = tmp_path / "expected", tmp_path / "out"
    reconstruct_clip([str(grain)], expected, chosen)
    sizes = {p.name: p.stat().st_size for p in expected.iterdir()}
    frames = {n: size for n, size in sizes.items() if n.endswith((".exr", ".hdr"))}
    if name in sizes:  # the frames themselves have room
        limit = max(int(part * sizes[name]), *frames.values())
        assert limit < sizes[name]
    else:
        limit = int(part * max(frames.values()))
    with largest_file(limit), pytest.raises(OutputError, match="too large for this disk") as caught:
        reconstruct_clip([str(grain)], out, chosen)
    assert "\n" not in str(caught.value)
    left = sorted(p.name for p in out.iterdir()) if out.exists() else []
    assert all(n in sizes and sizes[n] <= limit for n in left)
    for path in (out / n for n in left if n in frames):
        read = read_hdr if path.suffix == ".hdr" else lambda p: read_exr(p)[0]
        np.testing.assert_array_equal(read(path), read(expected / path.name))
    # room again: the run goes on where it stopped
    report = reconstruct_clip([str(grain)], out, chosen)
    assert report.as_dict()["frames"]["kept"] == sum(n in frames for n in left)
    assert sorted(p.name for p in out.iterdir()) == sorted(sizes)


# Inputs that are there and cannot be read


def folder_of_that_name(path: Path) -> None:
    path.mkdir()


def link_to_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def without_permission(path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path.write_bytes(b"secret")
    path.chmod(0)


UNREADABLE = [folder_of_that_name, link_to_nothing, link_to_itself, pipe, without_permission]


@posix_only
@pytest.mark.parametrize("make", UNREADABLE, ids=lambda make: make.__name__)
@pytest.mark.parametrize("suffix", [".mp4", ".png", ""])
def test_input_that_cannot_be_read(
    make: Callable[[Path], None], suffix: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / f"source{suffix}"
    make(source)
    for command in (("reconstruct", source, "-o", tmp_path / "out", *CLASSICAL), ("info", source)):
        code, stdout, stderr = hdrvid(capfd, *command)
        assert (code, stdout) == (1, "")
        assert source.name in sentence(stderr)
        assert "unexpected" not in stderr
    assert not (tmp_path / "out").exists()


@posix_only
@pytest.mark.parametrize("make", UNREADABLE, ids=lambda make: make.__name__)
def test_frame_that_cannot_be_read(
    make: Callable[[Path], None], clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    for path in clip.iterdir():
        if path.name == "f000003.png":
            make(folder / path.name)
        else:
            (folder / path.name).hardlink_to(path)
    out = tmp_path / "out"
    code, _, stderr = hdrvid(capfd, "reconstruct", folder / "f%06d.png", "-o", out, *CLASSICAL)
    assert code == 1
    assert "f000003.png" in sentence(stderr)
    assert list(exr_frames(out)) == [f"f.{i:06d}.exr" for i in range(8) if i != 3]
    assert not list(out.glob(".*"))


@posix_only
@pytest.mark.parametrize("make", [link_to_nothing, link_to_itself, pipe], ids=lambda make: make.__name__)
def test_output_that_is_no_folder(
    make: Callable[[Path], None], clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "out")
    code, stdout, stderr = hdrvid(capfd, "reconstruct", clip, "-o", tmp_path / "out", *CLASSICAL)
    assert (code, stdout) == (1, "")
    assert "is not a folder" in sentence(stderr)


# Names

NAMES = [
    "two\nlines",
    "-dash",
    "--help",
    "quo'te\"s",
    "\N{GRINNING FACE} café",
    "100%d%s%n",
    "%04d",
    "[x]*?",
    " ",
    ".hidden",
    "..twice",
    "~",
    "$HOME;ls",
    "back\\slash",
    "bell\a\x1b[2J",
    os.fsdecode(b"no\xff utf-8"),
    "dot.",
    "a" * 255,
    "é" * 127,
]


@posix_only
@pytest.mark.parametrize("name", NAMES, ids=[ascii(n)[1:20] for n in NAMES])
def test_hostile_names(
    name: str, undisturbed: Path, clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in" / name, tmp_path / "out"
    source.parent.mkdir()
    try:
        source.symlink_to(clip, target_is_directory=True)
    except (OSError, ValueError):
        pytest.skip("the file system refuses the name")
    # the link is followed, or the name would be that of the clip itself
    folder = source.parent / "copy"
    folder.mkdir()
    for path in clip.iterdir():
        (folder / path.name).hardlink_to(path)
    source.unlink()
    folder.rename(source)
    code, _, stderr = hdrvid(capfd, "reconstruct", "-o", out, *CLASSICAL, "--hdr10", "--frames", "0-2", "--", source)
    assert (code, [line for line in stderr.splitlines() if "error" in line]) == (0, [])
    assert "\x1b" not in stderr
    report = json.loads(next(out.glob("*.json")).read_text())
    made = {p.name for p in out.iterdir()}
    assert len(made) == 3 + 3  # frames; preview, HDR10 and report
    outputs = report["outputs"]
    assert {Path(outputs[k]).name for k in ("first_frame", "last_frame", "preview", "hdr10", "report")} <= made
    assert outputs["frames"] % 2 == outputs["last_frame"]
    for number, path in enumerate(sorted(out.glob("*.exr"))):
        pixels = read_exr(path)[0]
        np.testing.assert_array_equal(pixels, read_exr(undisturbed / f"clip.{number:06d}.exr")[0])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]


@posix_only
@pytest.mark.parametrize("name", ["two\nlines.mkv", "100%d%s.mkv", "%04d.mkv", "a" * 251 + ".mkv"], ids=ascii)
def test_hostile_names_of_videos(
    name: str, undisturbed: Path, clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    video = write_video(tmp_path / "clip.mkv", clip).rename(tmp_path / name)
    out = tmp_path / "out"
    code, _, stderr = hdrvid(capfd, "reconstruct", video, "-o", out, *CLASSICAL, "--frames", "0-1")
    assert (code, [line for line in stderr.splitlines() if "error" in line]) == (0, [])
    for number, path in enumerate(sorted(out.glob("*.exr"))):
        np.testing.assert_array_equal(read_exr(path)[0], read_exr(undisturbed / f"clip.{number:06d}.exr")[0])
    assert len(list(out.iterdir())) == 2 + 2


# Many frames, and pictures of any size


# on Linux the peak of a process begins with that of the one that starts it, and this one is large
START_AND_MEASURE = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak_megabytes(*arguments: object) -> tuple[int, float]:
    """(exit code, peak memory) of the command line in a process of its own."""
    command = [sys.executable, "-c", START_AND_MEASURE, sys.executable, "-m", "hdrvid", *map(str, arguments)]
    code, peak = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    return code, peak / (1024 if sys.platform == "linux" else 1024**2)


@posix_only
@pytest.mark.slow
def test_100000_frames(clip: Path, undisturbed: Path, tmp_path: Path) -> None:
    many = tmp_path / "clip"
    many.mkdir()
    pictures = sorted(clip.iterdir())
    for i in range(100_000):
        (many / f"f{i:06d}.png").hardlink_to(pictures[i % len(pictures)])
    few_info = peak_megabytes("info", clip)
    many_info = peak_megabytes("info", many)
    assert (few_info[0], many_info[0]) == (0, 0)
    assert many_info[1] < few_info[1] + MOST_EXTRA_MEGABYTES
    few_made = peak_megabytes("reconstruct", clip, "-o", tmp_path / "few", *CLASSICAL, "--frames", "5-6")
    for source in (many, many / "f%06d.png"):
        out = tmp_path / f"out{source.name}"
        code, peak = peak_megabytes("reconstruct", source, "-o", out, *CLASSICAL, "--frames", "5-6")
        assert code == few_made[0] == 0
        assert peak < few_made[1] + MOST_EXTRA_MEGABYTES
        assert [p.name[-10:] for p in sorted(out.glob("*.exr"))] == ["000005.exr", "000006.exr"]
        # frame 7 is the last of the few, and so frame 5 is the last whose window is the same
        made = read_exr(next(out.glob("*.000005.exr")))[0]
        np.testing.assert_array_equal(made, read_exr(undisturbed / "clip.000005.exr")[0])


@pytest.mark.parametrize("model", ["classical", "default"])
@pytest.mark.parametrize(("width", "height"), [(17, 13), (1, 1), (70, 2)])
def test_small_pictures(model: str, width: int, height: int, tmp_path: Path) -> None:
    clip = write_frames(tmp_path / "clip", num_frames=5, width=width, height=height)
    out = tmp_path / "out"
    reconstruct_clip([str(clip)], out, options(model=model, hdr10=True, hlg=True))
    for i, pixels in enumerate(exr_frames(out).values()):
        truth = scene_radiance(i, width, height) * 8
        assert pixels.shape == (height, width, 3)
        error = np.abs(np.log2(np.maximum(pixels, 1e-4) / truth))[truth < 7.5]
        # only the first size shows where its content went in the next frame
        assert np.median(error) < (0.15 if width == 17 else 1.0)
    for name in ("preview", "hdr10", "hlg"):
        pictures = video_frames(out / f"clip.{name}.mp4")
        smallest = 2 if name == "preview" else 16
        size = tuple(max(smallest, side + side % 2) for side in (height, width))
        assert [p.shape[:2] for p in pictures] == [size] * 5


ODD_VIDEOS = {"ffv1": "bgr0", "libx264": "yuv444p", "mjpeg": "yuvj420p", "prores_ks": "yuv422p10le"}


@pytest.mark.parametrize("codec", ODD_VIDEOS)
def test_videos_of_an_odd_size(codec: str, tmp_path: Path) -> None:
    path, out = tmp_path / ("clip.mkv" if codec == "ffv1" else "clip.mov"), tmp_path / "out"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=24, options={"qp": "8", "q:v": "2"} if codec != "ffv1" else {})
        stream.width, stream.height, stream.pix_fmt = 63, 47, ODD_VIDEOS[codec]
        for i in range(4):
            code = gamma_encode(np.clip(scene_radiance(i, 63, 47) * (1, 8)[i % 2], 0, 1))
            frame = av.VideoFrame.from_ndarray(np.round(code * 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame.reformat(format=ODD_VIDEOS[codec])))
        container.mux(stream.encode(None))
    reconstruct_clip([str(path)], out, options())
    frames = list(exr_frames(out).values())
    assert len(frames) == 4
    for i, pixels in enumerate(frames):
        truth = scene_radiance(i, 63, 47) * 8
        assert pixels.shape == truth.shape
        error = np.abs(np.log2(np.maximum(pixels, 1e-4) / truth))[(truth < 7) & (truth > 0.05)]
        assert np.median(error) < 0.15
    assert {p.shape for p in video_frames(out / "clip.preview.mp4")} == {(48, 64, 3)}


@posix_only
@pytest.mark.slow
def test_pictures_of_8192x4320(tmp_path: Path) -> None:
    clip, out = tmp_path / "clip", tmp_path / "out"
    clip.mkdir()
    for i in range(2):
        linear = cv2.resize(scene_radiance(i, 1024, 540), (8192, 4320)) * (1, 8)[i]
        code = gamma_encode(np.clip(linear, 0, 1))
        cv2.imwrite(str(clip / f"f{i}.png"), np.round(code[..., ::-1] * 255).astype(np.uint8))
    code, peak = peak_megabytes("reconstruct", clip, "-o", out, *CLASSICAL, "--hdr10")
    assert code == 0
    assert peak < MOST_LARGE_MEGABYTES
    frames = exr_frames(out)
    assert [f.shape for f in frames.values()] == [(4320, 8192, 3)] * 2
    truth = cv2.resize(scene_radiance(0, 1024, 540), (8192, 4320)) * 8
    error = np.abs(np.log2(np.maximum(frames["clip.000000.exr"], 1e-4) / truth))[truth < 7.5]
    assert np.median(error) < 0.1
