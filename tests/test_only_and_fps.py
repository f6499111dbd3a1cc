"""`--only`: the frames of one exposure; `--fps`: the rate of an image sequence."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from test_reconstruct import CLASSICAL, options, write_frames, write_video

import hdrvid
from hdrvid.errors import UsageError
from hdrvid.io.exr import read_exr
from hdrvid.options.parse import parse_rate
from hdrvid.pipeline.job import Job
from hdrvid.pipeline.run import reconstruct_clip
from hdrvid.ranks import Ranks
from hdrvid.types import ExposureCycle


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_frames(tmp_path_factory.mktemp("only") / "shot", num_frames=9)


@pytest.fixture(scope="module")
def whole(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    reconstruct_clip([str(clip)], out, CLASSICAL)
    return out


def video(path: Path) -> tuple[int, Fraction, float]:
    """Frames, rate and seconds of a video."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times = [float(frame.pts * frame.time_base) for frame in container.decode(stream)]
    return len(times), Fraction(stream.average_rate), times[-1]


@pytest.mark.parametrize(("only", "indices"), [("long", [1, 3, 5, 7]), ("short", [0, 2, 4, 6, 8])])
def test_the_frames_of_one_exposure_are_those_of_a_whole_run(only, indices, clip, whole, tmp_path) -> None:
    done: list[tuple[int, int | None]] = []
    report = reconstruct_clip(
        [str(clip)], tmp_path, options(only=only), progress=lambda count, total: done.append((count, total))
    ).as_dict()
    assert sorted(p.name for p in tmp_path.glob("*.exr")) == [f"shot.{i:06d}.exr" for i in indices]
    for i in indices:
        name = f"shot.{i:06d}.exr"
        np.testing.assert_array_equal(read_exr(tmp_path / name)[0], read_exr(whole / name)[0])
    assert report["frames"]["count"] == len(indices)
    assert done[-1] == (len(indices), len(indices))
    assert video(tmp_path / "shot.preview.mp4")[:2] == (len(indices), Fraction(12))
    again = reconstruct_clip([str(clip)], tmp_path, options(preview=False)).as_dict()
    assert (again["frames"]["new"], again["frames"]["kept"]) == (9 - len(indices), len(indices))


def test_only_in_a_range_of_three_exposures_and_from_python(tmp_path) -> None:
    clip = write_frames(tmp_path / "shot", (0, 2, 4), 9)
    arguments = {"model": "classical", "device": "cpu", "exposures": "0,2,4"}
    assert [i for i, _ in hdrvid.frames(clip, only="middle", frame_range=(2, 8), **arguments)] == [4, 7]


@pytest.mark.parametrize(("only", "count"), [("all", 10**15 - 1), ("long", (10**15 - 1) // 2)])
def test_the_results_of_an_endless_range_are_counted_at_once(only: str, count: int) -> None:
    reader = SimpleNamespace(info=SimpleNamespace(num_frames=None))
    cycle = ExposureCycle((0, 3))
    job = Job(reader, None, cycle, None, options(only=only), Path(), 2, 10**15, Ranks())  # type: ignore[arg-type]
    assert job.expected_frames == count


def test_what_only_refuses(clip, tmp_path) -> None:
    for only, text in (("middle", "no middle one"), ("longest", "--only takes one of")):
        with pytest.raises(UsageError, match=text):
            reconstruct_clip([str(clip)], tmp_path / "out", options(only=only))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("25", Fraction(25)),
        ("23.976", Fraction(24000, 1001)),
        ("23.98", Fraction(24000, 1001)),
        ("59.94", Fraction(60000, 1001)),
        ("30000/1001", Fraction(30000, 1001)),
        ("12.5", Fraction(25, 2)),
        ("0.5", Fraction(1, 2)),
    ],
)
def test_rates(text, rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0", "-24", "fast", "1/0", "1e9", "9" * 5000, "nan"])
def test_rates_that_are_none(text) -> None:
    with pytest.raises(UsageError, match="--fps takes"):
        parse_rate(text)


def test_a_sequence_gets_its_rate_and_a_video_keeps_its_own(clip, tmp_path) -> None:
    out = tmp_path / "out"
    reconstruct_clip([str(clip)], out, options())
    report = reconstruct_clip([str(clip)], out, options(fps=Fraction(50))).as_dict()
    assert report["frames_per_second"] == "50"
    assert report["frames"]["new"] == 9, "the header of every frame names the rate"
    assert read_exr(out / "shot.000003.exr")[1]["framesPerSecond"] == 50
    count, rate, last = video(out / "shot.preview.mp4")
    assert (count, rate) == (9, 50)
    assert last == pytest.approx(8 / 50, abs=1e-3)
    movie = write_video(tmp_path / "clip.mkv", clip)
    with pytest.raises(UsageError, match="--fps is the rate of an image sequence"):
        reconstruct_clip([str(movie)], tmp_path / "other", options(fps=Fraction(50)))
