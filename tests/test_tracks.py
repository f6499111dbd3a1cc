"""Tracks: several files with the same moments, one an exposure. One result a moment, named and timed by moments."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import clips
import numpy as np
import OpenEXR
import pytest

import hdrvid
from hdrvid.cli.app import run
from hdrvid.errors import InputError, UsageError
from hdrvid.io import open_clip
from hdrvid.io.exr import read_exr
from hdrvid.io.readers import open_tracks
from hdrvid.pipeline.options import ReconstructOptions
from hdrvid.pipeline.run import reconstruct_clip

WIDTH, HEIGHT, MOMENTS = 96, 64, 6

pytestmark = pytest.mark.usefixtures("one_thread")


def radiance(moment: int) -> np.ndarray:
    """A scene that moves, (H, W, 3), 1.0 where the shortest exposure clips."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    light = 0.02 + 0.05 * (1 + np.sin((x - 3 * moment) / 8)) * (1 + np.cos(y / 7))
    light += 0.6 * np.exp(-((x - 30 - 3 * moment) ** 2 + (y - 32) ** 2) / 90)
    return light[..., None] * np.array([1.0, 0.8, 0.6])


def codes(moment: int, stops: float) -> np.ndarray:
    return np.clip(radiance(moment) * 2.0**stops, 0, 1) ** (1 / 2.2)


def write_tracks(folder: Path, stops: Sequence[float] = (0, 4), count: int = MOMENTS) -> list[str]:
    """Lossless videos, one an exposure."""
    folder.mkdir(exist_ok=True)
    paths = []
    for name, s in zip("AXZ", stops, strict=False):
        frames = []
        for t in range(count):
            stored = clips.quantised(codes(t, s), 10)
            frames.append(clips.frame_of_planes([stored[..., 1], stored[..., 2], stored[..., 0]], "gbrp10le"))
        paths.append(str(clips.write_frames(folder / f"{name}.mkv", frames, "ffv1", matrix=0, color_range=2)))
    return paths


def options(**more: object) -> ReconstructOptions:
    given = {"response": "gamma2.2", "model": "classical", "preview": False, "tracks": "0,4"}
    return ReconstructOptions(**given | more)


def test_the_frames_of_a_moment_come_together(tmp_path: Path) -> None:
    paths = write_tracks(tmp_path / "in", (0, 4, 2))
    alone = []
    for path in paths:
        with open_clip(path) as clip:
            alone.append(list(clip.frames()))
    with open_tracks(paths) as clip:
        assert (clip.info.num_frames, clip.info.tracks) == (None, 3)  # Matroska does not count frames
        frames = list(clip.frames())
        assert [f.index for f in frames] == list(range(3 * MOMENTS))
        for frame in frames:
            moment, track = divmod(frame.index, 3)
            assert np.array_equal(frame.pixels, alone[track][moment].pixels)
            assert frame.pts_seconds == alone[track][moment].pts_seconds
        for start, stop in ((0, 1), (4, 5), (4, 11), (7, None), (3 * MOMENTS, None), (5, 5)):
            assert [f.index for f in clip.frames(start, stop)] == list(range(3 * MOMENTS))[start:stop]


@pytest.mark.parametrize("stops", [(0, 4), (4, 0)])
@pytest.mark.parametrize("only", ["all", "short", "long"])
def test_a_result_a_moment(tmp_path: Path, stops: tuple[float, float], only: str) -> None:
    paths = write_tracks(tmp_path / "in", stops)
    given = options(tracks=",".join(map(str, stops)), only=only)
    report = reconstruct_clip(paths, tmp_path / "out", given)
    assert report.problem is None
    results = sorted((tmp_path / "out").glob("*.exr"))
    assert [p.name for p in results] == [f"A.{t:06d}.exr" for t in range(MOMENTS)]
    of_track = 0 if only == "all" else stops.index(min(stops) if only == "short" else max(stops))
    for moment, path in enumerate(results):
        pixels, header = read_exr(path)
        assert header["hdrvid:frame"] == 2 * moment + of_track
        assert header["framesPerSecond"] == Fraction(24)
        result, true = pixels / float(header["hdrvid:scale"]), radiance(moment)
        assert np.median(np.abs(np.log2(result / true))) < 0.02
        assert np.abs(np.log2(result / true)).max() < 0.5
    again = reconstruct_clip(paths, tmp_path / "out", given)
    assert again.as_dict()["frames"]["kept"] == MOMENTS


def test_ranges_numbers_and_videos_are_those_of_moments(tmp_path: Path) -> None:
    paths = write_tracks(tmp_path / "in")
    whole = reconstruct_clip(paths, tmp_path / "whole", options(preview=True, hdr10=True))
    for kind in ("preview", "hdr10"):
        with av.open(str(whole.as_dict()["outputs"][kind])) as video:
            assert float(video.streams.video[0].average_rate) == pytest.approx(24, rel=0.01)
            times = [frame.time for frame in video.decode(video=0)]
            assert times == pytest.approx([t / 24 for t in range(MOMENTS)], abs=1e-3)
    said: list[str] = []
    given = options(frame_range=(2, 3), start_number=1001)
    reconstruct_clip(paths, tmp_path / "part", given, message=said.append)
    assert not any("before the end of --frames" in text for text in said)
    reconstruct_clip(paths, tmp_path / "end", options(frame_range=(4, 9)), message=said.append)
    assert any("ends at moment 5, before the end of --frames" in text for text in said)
    names = sorted(p.name for p in (tmp_path / "part").iterdir())
    assert names == ["A.000002-000003.json", "A.1003.exr", "A.1004.exr"]
    for number, moment in ((1003, 2), (1004, 3)):
        of_part = read_exr(tmp_path / "part" / f"A.{number}.exr")[0]
        assert np.array_equal(of_part, read_exr(tmp_path / "whole" / f"A.{moment:06d}.exr")[0])
    with pytest.raises(InputError, match="has 6 moments"):
        reconstruct_clip(paths, tmp_path / "none", options(frame_range=(6, 7)))


def test_tracks_of_image_sequences_keep_their_numbers(tmp_path: Path) -> None:
    for name, stops in (("A", 0), ("X", 4)):
        clips.write_images(tmp_path / name, [codes(t, stops) for t in range(MOMENTS)], ".png", 16, first=1001)
    folders = [str(tmp_path / name) for name in "AX"]
    reconstruct_clip(folders, tmp_path / "out", options())
    assert [p.name for p in sorted((tmp_path / "out").glob("*.exr"))] == [
        f"shot.{1001 + t}.exr" for t in range(MOMENTS)
    ]
    assert run(["report", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "shot.report.html").read_text()
    assert "differs" not in page
    assert "Without results" not in page
    assert "Frames as shot and what is made from them:" not in page


def test_levels_of_tracks(tmp_path: Path) -> None:
    """The short track never reaches white: the long one tells the levels of both."""
    for name, stops in (("A", 0), ("X", 4)):
        light = [np.clip(radiance(t) * 0.9 * 2.0**stops, 0, 1) for t in range(MOMENTS)]
        clips.write_images(tmp_path / name, [np.rint(x * 4095) / 65535 for x in light], ".png", 16)
    found = hdrvid.inspect([tmp_path / "A", tmp_path / "X"], tracks="0,4", response="linear")
    assert found.white_code == 4095
    assert found.cycle is not None
    assert found.cycle.stops == pytest.approx((0, 4), abs=0.05)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"tracks": "0,2,4"}, "--tracks 0,2,4 are 3 exposures, but 2 clips are given"),
        ({"exposures": "0,4"}, "--tracks has the exposures of the tracks: leave out --exposures"),
    ],
)
def test_options_that_do_not_go_together(tmp_path: Path, change: dict, text: str) -> None:
    paths = write_tracks(tmp_path / "in", count=2)
    with pytest.raises(UsageError, match=text):
        reconstruct_clip(paths, tmp_path / "out", options(**change))
    assert not (tmp_path / "out").exists()


def test_tracks_that_do_not_go_together(tmp_path: Path) -> None:
    first = write_tracks(tmp_path / "in")[0]
    small = clips.write_ffv1(tmp_path / "small.mkv", [codes(t, 4)[::2] for t in range(MOMENTS)])
    with pytest.raises(InputError, match=r"the size of .* is 96x64, that of .* 96x32"):
        open_tracks([first, str(small)])
    eight = clips.write_ffv1(tmp_path / "eight.mkv", [codes(t, 4) for t in range(MOMENTS)])
    with pytest.raises(InputError, match=r"the depth of .* is 10 bits, that of .* 16 bits"):
        open_tracks([first, str(eight)])
    for name, count in (("A", 4), ("X", 3)):
        clips.write_images(tmp_path / name, [codes(t, 0) for t in range(count)], ".png")
    with pytest.raises(InputError, match=r"the number of frames of .* is 4, that of .* 3"):
        open_tracks([str(tmp_path / "A"), str(tmp_path / "X")])
    (tmp_path / "other").mkdir()
    short = write_tracks(tmp_path / "other", count=MOMENTS - 2)[1]
    with (
        open_tracks([first, short]) as clip,
        pytest.raises(InputError, match=r"X\.mkv ends after 4 frames, before the"),
    ):
        list(clip.frames())


def test_a_damaged_frame_of_one_track(tmp_path: Path) -> None:
    """It is reported at its place in the clip, and the frames behind it keep theirs."""
    paths = write_tracks(tmp_path / "in")
    damaged = clips.damage_packets(Path(paths[1]), tmp_path / "X.mkv", [2])
    with open_clip(damaged) as clip:
        lost: list[int] = []
        kept = [f.index for f in clip.frames(0, None, lambda i, text: lost.append(i))]
    with open_tracks([paths[0], str(damaged)]) as clip:
        of_tracks: list[int] = []
        indices = [f.index for f in clip.frames(0, None, lambda i, text: of_tracks.append(i))]
    assert lost
    assert of_tracks == [2 * i + 1 for i in lost]
    assert indices == sorted([*range(0, 2 * MOMENTS, 2), *(2 * i + 1 for i in kept)])


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = write_tracks(tmp_path / "in")
    arguments = ["--tracks", "0,4", "--response", "gamma2.2"]
    assert run(["info", *paths, *arguments, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["stops"], facts["cycle"], facts["exposures_from"]) == ([0, 4], 2, "declared")
    more = ["--model", "classical", "--no-preview", "-o", str(tmp_path / "out")]
    assert run(["reconstruct", *paths, *arguments, *more]) == 0
    assert len(list((tmp_path / "out").glob("*.exr"))) == MOMENTS
    image = OpenEXR.File(str(tmp_path / "out" / "A.000003.exr"))
    assert image.channels()["RGB"].pixels.shape == (HEIGHT, WIDTH, 3)
    given = {"tracks": "0,4", "response": "gamma2.2", "model": "classical"}
    assert [i for i, _ in hdrvid.frames(paths, **given)] == list(range(0, 2 * MOMENTS, 2))
