"""The space that frames take: said before the work, and a disk that will not hold them is an early error."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_reconstruct import options, write_frames

from hdrvid.errors import OutputError
from hdrvid.io.exr import COMPRESSIONS, LOSSY_COMPRESSIONS
from hdrvid.pipeline import space
from hdrvid.pipeline.run import reconstruct_clip

pytestmark = pytest.mark.usefixtures("one_thread")

Usage = namedtuple("Usage", "total used free")
QUICK = {"preview": False, "regular": True}


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch):
    """Sets the free space of the disk, in bytes."""

    def set_free(num_bytes: float) -> None:
        monkeypatch.setattr(space.shutil, "disk_usage", lambda path: Usage(10**12, 0, num_bytes))

    return set_free


def frame_sizes(out: Path) -> list[int]:
    return [path.stat().st_size for path in sorted(out.iterdir()) if path.suffix in (".exr", ".hdr")]


def test_every_format_has_an_estimate() -> None:
    assert space.SHARE_OF_SAMPLES["half"].keys() == COMPRESSIONS.keys()
    assert space.SHARE_OF_SAMPLES["float"].keys() == COMPRESSIONS.keys() - set(LOSSY_COMPRESSIONS)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"compression": "piz"},
        {"compression": "none"},
        {"compression": "dwaa"},
        {"depth": "float"},
        {"format": "hdr"},
        {"primaries": "aces2065-1"},
    ],
)
def test_the_estimate_is_near_the_files(changed: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_frames(tmp_path / "shot", num_frames=2, width=320, height=240)
    jobs = []
    monkeypatch.setattr(space, "_present_sizes", lambda job: jobs.append(job) or [])
    reconstruct_clip([str(clip)], tmp_path / "out", options(**changed, **QUICK))
    actual = np.mean(frame_sizes(tmp_path / "out"))
    assert 0.5 * actual < space.expected_bytes(jobs[0]) < 2 * actual


def test_the_plan_is_said_before_the_work(clip: Path, tmp_path: Path, free) -> None:
    for num_bytes, end in ((5e9, "in all"), (150_000, "in all; 150 kB are free")):
        free(num_bytes)
        said: list[str] = []
        reconstruct_clip([str(clip)], tmp_path / end, options(**QUICK), message=said.append)
        text = next(text for text in said if "in all" in text)
        assert text.startswith("8 frames of about ")
        assert text.endswith(end)


def test_a_disk_that_is_too_small_is_an_early_error(clip: Path, tmp_path: Path, free) -> None:
    free(1000)
    with pytest.raises(OutputError, match=r"will not hold the results .*1\.0 kB are free.*--anyway"):
        reconstruct_clip([str(clip)], tmp_path / "out", options(**QUICK))
    assert not (tmp_path / "out").exists()
    said: list[str] = []
    reconstruct_clip([str(clip)], tmp_path / "out", options(anyway=True, **QUICK), message=said.append)
    assert len(frame_sizes(tmp_path / "out")) == 8
    assert any(text.startswith("warning: 8 frames of about") for text in said)


@pytest.mark.parametrize("kind", ["scene", "black", "flat"])
def test_a_disk_that_just_holds_the_results_is_enough(kind: str, tmp_path: Path, free) -> None:
    """Also for clips that compress far better than the estimate."""
    folder = tmp_path / "shot"
    if kind == "scene":
        write_frames(folder, num_frames=4, width=160, height=120)
    else:
        folder.mkdir()
        for i in range(4):
            level = 0 if kind == "black" else (60, 154)[i % 2]
            cv2.imwrite(str(folder / f"{i:06d}.png"), np.full((120, 160, 3), level, np.uint8))
    run = options(response="gamma2.2", **QUICK)
    reconstruct_clip([str(folder)], tmp_path / "first", run)
    free(1.05 * sum(frame_sizes(tmp_path / "first")))
    if kind == "scene":
        # an estimate, not a measurement: it may ask for a little more, never for twice
        free(1.5 * sum(frame_sizes(tmp_path / "first")))
    reconstruct_clip([str(folder)], tmp_path / "second", run)
    assert frame_sizes(tmp_path / "second") == frame_sizes(tmp_path / "first")


@pytest.mark.parametrize("answer", [Usage(0, 0, 0), OSError("no answer")])
def test_a_disk_that_does_not_tell_its_size_is_trusted(
    answer: object, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_usage(path: Path) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(space.shutil, "disk_usage", disk_usage)
    reconstruct_clip([str(clip)], tmp_path, options(frame_range=(0, 1), **QUICK))
    assert len(frame_sizes(tmp_path)) == 2


def test_frames_that_are_there_count(clip: Path, undisturbed: Path, tmp_path: Path, free) -> None:
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    sizes = frame_sizes(out)
    (out / "clip.000003.exr").unlink()
    free(1.1 * max(sizes))  # one frame
    said: list[str] = []
    reconstruct_clip([str(clip)], out, options(), message=said.append)
    assert any(text.startswith("1 frame of about") for text in said)
    free(0)
    reconstruct_clip([str(clip)], out, options())
    # those that are written over make room for themselves
    free(0.5 * sum(sizes))
    reconstruct_clip([str(clip)], out, options(overwrite=True))
    # a part of the clip counts its own frames
    free(1.1 * 2 * max(sizes))
    reconstruct_clip([str(clip)], tmp_path / "part", options(frame_range=(2, 3), **QUICK))


def test_a_clip_of_unknown_length_is_told_the_size_of_a_frame(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free
) -> None:
    from hdrvid.pipeline.job import Job

    monkeypatch.setattr(Job, "expected_frames", None)
    free(0)
    said: list[str] = []
    reconstruct_clip([str(clip)], tmp_path, options(**QUICK), message=said.append)
    assert any(text.startswith("about ") and text.endswith(" a frame") for text in said)
