"""Names of the results: the numbers of an image sequence stay, and what has other numbers is never mixed with them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_reconstruct import assert_same_results, exr_frames, options, write_video

from hdrvid.errors import OutputError, UsageError
from hdrvid.html.clip_results import find_clips
from hdrvid.io import open_clip
from hdrvid.io.atomic import partial_path
from hdrvid.io.exr import read_exr, write_exr
from hdrvid.io.frames import numbered_names, sequence_stem
from hdrvid.pipeline.cleanup import remove_leftovers
from hdrvid.pipeline.options import validate_options
from hdrvid.pipeline.run import reconstruct_clip
from hdrvid.types import FrameNumbers

pytestmark = pytest.mark.usefixtures("one_thread")

NUMBERS = [1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009]
REGULAR = {"preview": False, "regular": True}


@pytest.fixture(scope="module")
def plate(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The frames of `clip` as shotA.1001.png to shotA.1009.png, without 1004."""
    folder = tmp_path_factory.mktemp("plates") / "plate_v01"
    folder.mkdir()
    for number, path in zip(NUMBERS, sorted(clip.iterdir()), strict=True):
        shutil.copy(path, folder / f"shotA.{number}.png")
    return folder


@pytest.fixture(scope="module")
def results(plate: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("numbered") / "out"
    reconstruct_clip([str(plate)], out, options())
    return out


def names(out: Path) -> list[str]:
    return sorted(p.name for p in out.iterdir())


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["f.0001", "f.0002", "f.0004"], ("f", FrameNumbers(((0, 1), (2, 4)), 4))),
        (["9", "10", "11"], ("", FrameNumbers(((0, 9),), 1))),
        (["099", "100", "1000"], ("", FrameNumbers(((0, 99), (2, 1000)), 3))),
        (["s2_007_L", "s2_008_L"], ("s2", FrameNumbers(((0, 7),), 3))),
        (["f.01", "f.002"], None),  # two ways of writing
        (["f.2", "f.1"], None),  # not in order
        (["f.1", "f.01"], None),  # one number twice
        (["a.1", "b.2"], None),  # two sequences
        (["left", "right"], None),
        (["t1699999999123", "t1699999999456"], None),  # times
        (["only.0007"], None),
    ],
)
def test_numbers_are_read_from_names(files: list[str], expected: object) -> None:
    assert numbered_names([Path(f"{name}.png") for name in files]) == expected


@pytest.mark.parametrize(
    ("folder", "files", "stem"),
    [
        ("v01", ["shotA.1001.png", "shotA.1002.png"], "shotA"),
        ("shotB", ["frame_0001.png", "frame_0002.png"], "shotB"),
        ("shotB", ["f0001.png", "f0002.png"], "shotB"),
        ("shotB", ["0001.png", "0002.png"], "shotB"),
        ("shotB", ["IMG_0001.png", "IMG_0002.png"], "shotB"),
        ("shotB", ["one.png", "two.png"], "shotB"),
        ("shotB", ["A001_C003.0001.png", "A001_C003.0002.png"], "A001_C003"),
    ],
)
def test_a_folder_has_the_name_of_its_files_where_they_have_one(
    folder: str, files: list[str], stem: str, tmp_path: Path
) -> None:
    (tmp_path / folder).mkdir()
    assert sequence_stem(str(tmp_path / folder), [tmp_path / folder / name for name in files]) == stem


def test_numbers_and_indices_are_inverse() -> None:
    numbers = FrameNumbers(((0, 8), (3, 20)), 2)
    texts = [numbers.text(i) for i in range(6)]
    assert texts == ["08", "09", "10", "20", "21", "22"]
    assert [numbers.index_of(text) for text in texts] == list(range(6))
    assert [numbers.index_of(text) for text in ("8", "008", "07", "11", "19")] == [None] * 5
    assert numbers.starting_at(100).text(3) == "112"


def test_frames_keep_their_numbers_and_the_gap(plate: Path, results: Path) -> None:
    expected = [f"shotA.{number}.exr" for number in NUMBERS]
    assert names(results) == sorted([*expected, "shotA.preview.mp4", "shotA.json"])
    assert [read_exr(results / name)[1]["hdrvid:frame"] for name in expected] == list(range(8))
    report = json.loads((results / "shotA.json").read_text())
    assert report["outputs"]["frames"].endswith("shotA.%04d.exr")
    assert report["outputs"]["first_frame"] == str(results / "shotA.1001.exr")
    assert report["outputs"]["last_frame"] == str(results / "shotA.1009.exr")
    assert report["frames"]["first"] == 0
    assert report["numbers"] == {"digits": 4, "runs": [[0, 1001], [3, 1005]]}
    found = find_clips(results)[0]
    assert {index: path.name for index, path in found.frames.items()} == dict(enumerate(expected))
    assert found.missing_frames() == []


@pytest.mark.parametrize("pattern", ["shotA.*.png", "shotA.100%d.png"])
def test_patterns_keep_the_numbers_too(pattern: str, plate: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for path in sorted(plate.iterdir())[3:]:
        shutil.copy(path, tmp_path / "in")
    with open_clip(str(tmp_path / "in" / pattern)) as reader:
        assert (reader.info.stem, reader.info.numbers.number_of(0)) == ("shotA", 1005)


def test_a_run_goes_on_under_the_same_numbers(plate: Path, results: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    part = reconstruct_clip([str(plate)], out, options(frame_range=(2, 4), preview=False)).as_dict()
    assert names(out) == ["shotA.000002-000004.json", "shotA.1003.exr", "shotA.1005.exr", "shotA.1006.exr"]
    assert {i: p.name for i, p in find_clips(out)[0].frames.items()} == {
        2: "shotA.1003.exr",
        3: "shotA.1005.exr",
        4: "shotA.1006.exr",
    }
    assert part["outputs"]["last_frame"] == str(out / "shotA.1006.exr")
    whole = reconstruct_clip([str(plate)], out, options()).as_dict()
    assert (whole["frames"]["kept"], whole["frames"]["new"]) == (3, 5)
    assert_same_results(out, results)


def test_start_number(plate: Path, clip: Path, results: Path, tmp_path: Path) -> None:
    reconstruct_clip([str(plate)], tmp_path / "a", options(start_number=1, **REGULAR))
    expected = [f"shotA.{number - 1000:04d}.exr" for number in NUMBERS]
    assert names(tmp_path / "a") == [*expected, "shotA.json"]
    video = write_video(tmp_path / "take.mkv", clip)
    reconstruct_clip([str(video)], tmp_path / "b", options(start_number=1001, frame_range=(2, 3), **REGULAR))
    assert [p for p in names(tmp_path / "b") if p.endswith("exr")] == ["take.1003.exr", "take.1004.exr"]
    reconstruct_clip([str(video)], tmp_path / "c", options(frame_range=(2, 3), **REGULAR))
    assert [p for p in names(tmp_path / "c") if p.endswith("exr")] == ["take.000002.exr", "take.000003.exr"]
    for number in (-1, 10**9):
        with pytest.raises(UsageError, match="--start-number takes 0 to"):
            validate_options(options(start_number=number), tmp_path)


def test_frames_without_numbers_are_counted(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "words"
    folder.mkdir()
    for word, path in zip(["ape", "bee", "cat", "dog"], sorted(clip.iterdir()), strict=False):
        shutil.copy(path, folder / f"{word}.png")
    reconstruct_clip([str(folder)], tmp_path / "out", options(**REGULAR))
    assert list(exr_frames(tmp_path / "out")) == [f"words.{i:06d}.exr" for i in range(4)]


def test_other_numbers_in_the_folder_are_refused(plate: Path, results: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(results, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    # frames beyond those of the clip, frames before them, and other frames under the numbers of the clip
    for number in (1, 2000, 1000, 1006):
        with pytest.raises(OutputError, match="frames with other numbers"):
            reconstruct_clip([str(plate)], out, options(start_number=number, **REGULAR))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    said: list[str] = []
    reconstruct_clip(
        [str(plate)], out, options(start_number=1, overwrite=True, frame_range=(0, 0), **REGULAR), message=said.append
    )
    assert any("with other numbers" in text and "warning" in text for text in said)
    for number in [*NUMBERS[:4], *NUMBERS[5:]]:
        (out / f"shotA.{number}.exr").unlink()
    (out / "shotA.0001.exr").unlink()
    shutil.copy(results / "shotA.1007.exr", out / "shotA.1006.exr")
    with pytest.raises(OutputError, match=r"frames with other numbers, such as shotA.1006.exr"):
        reconstruct_clip([str(plate)], out, options(**REGULAR))


def test_the_page_of_a_run_shows_its_own_frames(plate: Path, results: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(results, out)
    reconstruct_clip([str(plate)], out, options(start_number=1, overwrite=True, frame_range=(0, 0), **REGULAR))
    # the report of the new run counts its own frames alone
    part = next(c for c in find_clips(out) if c.stem == "shotA.000000-000000")
    assert [p.name for p in part.frames.values()] == ["shotA.0001.exr"]


def test_a_frame_under_the_number_of_another_is_refused(plate: Path, results: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(results, out)
    shutil.copy(results / "shotA.1006.exr", out / "shotA.1003.exr")
    with pytest.raises(OutputError, match=r"shotA\.1003\.exr holds frame 4 of its clip, not frame 2"):
        reconstruct_clip([str(plate)], out, options(preview=False))


def test_frames_with_the_names_of_an_older_hdrvid(plate: Path, results: Path, tmp_path: Path) -> None:
    pixels, header = read_exr(results / "shotA.1001.exr")
    own = {name: value for name, value in header.items() if name.startswith("hdrvid:")}
    write_exr(tmp_path / "shotA.000000.exr", pixels, attributes=own)
    with pytest.raises(OutputError, match=r"shotA.000000.exr, while this run begins with shotA.1001.exr"):
        reconstruct_clip([str(plate)], tmp_path, options(**REGULAR))
    # files of others with such a name are none of our business
    write_exr(tmp_path / "shotA.000000.exr", pixels)
    reconstruct_clip([str(plate)], tmp_path, options(frame_range=(0, 1), **REGULAR))
    assert find_clips(tmp_path)[0].frames.keys() == {0, 1}


def test_results_under_the_name_of_the_folder_are_mentioned(plate: Path, results: Path, tmp_path: Path) -> None:
    shutil.copy(results / "shotA.json", tmp_path / "plate_v01.json")
    said: list[str] = []
    reconstruct_clip([str(plate)], tmp_path, options(frame_range=(0, 1), **REGULAR), message=said.append)
    assert any("under the name plate_v01 too" in text for text in said)


@pytest.mark.parametrize("item", ["", "shotA.*.png", "shotA.1001.png shotA.1002.png"])
def test_results_never_go_over_their_own_frames(item: str, plate: Path, tmp_path: Path) -> None:
    """The names are the same now: linear EXR frames would be replaced by their results."""
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(4):
        write_exr(folder / f"shotA.{1001 + i}.exr", np.full((16, 16, 3), 0.1 * (1, 8)[i % 2], np.float32))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    inputs = [str(folder / word.replace("png", "exr")) for word in item.split()] or [str(folder)]
    with pytest.raises(OutputError, match="choose another folder for the results"):
        reconstruct_clip(inputs, folder, options(overwrite=True))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_pattern_over_folders_does_not_hide_them(tmp_path: Path) -> None:
    (tmp_path / "take1").mkdir()
    for i in range(4):
        write_exr(tmp_path / "take1" / f"a.{i:04d}.exr", np.full((16, 16, 3), 0.1, np.float32))
    with pytest.raises(OutputError, match="choose another folder for the results"):
        reconstruct_clip([str(tmp_path / "take*" / "a.*.exr")], tmp_path / "take1", options(overwrite=True))


def test_leftovers_of_a_range_are_told_by_their_numbers(tmp_path: Path) -> None:
    numbers = FrameNumbers(((0, 1001), (3, 1005)), 4)
    inside, outside = (partial_path(tmp_path / f"shotA.{n}.exr") for n in (1005, 1006))
    dead = "999999999"
    inside, outside = (
        p.with_name(p.name.replace(f"-{p.stem.rsplit('-', 1)[1]}", f"-{dead}")) for p in (inside, outside)
    )
    for path in (inside, outside):
        path.write_bytes(b"x")
    remove_leftovers(tmp_path, "shotA", numbers, 3, 3)
    assert [path.exists() for path in (inside, outside)] == [False, True]
    remove_leftovers(tmp_path, "shotA", numbers, 0, None)
    assert not outside.exists()
