"""Miniatures of every layout of training data, written here and read back pixel by pixel."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import write_ffv1

from hdrvid.data import layouts
from hdrvid.data.layouts import (
    HdrWindow,
    LdrWindow,
    Shot,
    fewshot_trial,
    random_crop,
    random_curve,
    resolve_shots,
    training_sources,
    unlabelled_windows,
    validation_shots,
)
from hdrvid.data.synth import synth_to_folder
from hdrvid.errors import ExposureError, InputError, UsageError
from hdrvid.io.exr import write_exr
from hdrvid.io.hdr import write_hdr
from hdrvid.options.synth import SynthOptions
from hdrvid.types import ExposureCycle

SIZE = (20, 24)
"""Height and width of the miniature frames."""


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def radiance(value: float, height: int = SIZE[0], width: int = SIZE[1]) -> np.ndarray:
    """A frame in which every pixel tells its place and its frame; exact in half floats."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return np.stack([y, x, np.full_like(x, value)], -1)


def write_scene(folder: Path, names: Sequence[str], suffix: str = ".exr") -> list[np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    frames = [radiance(i + 1) for i in range(len(names))]
    for name, frame in zip(names, frames, strict=True):
        if suffix == ".exr":
            write_exr(folder / f"{name}.exr", frame, compression="none")
        else:
            write_hdr(folder / f"{name}.hdr", frame)
    return frames


def numbered(prefix: str, first: int, count: int, digits: int = 6) -> list[str]:
    return [f"{prefix}{first + i:0{digits}d}" for i in range(count)]


def write_codes(folder: Path, frames: Sequence[np.ndarray], names: Sequence[str]) -> None:
    """8-bit pictures from (H, W, 3) uint8 RGB."""
    folder.mkdir(parents=True, exist_ok=True)
    for frame, name in zip(frames, names, strict=True):
        assert cv2.imwrite(str(folder / name), np.ascontiguousarray(frame[..., ::-1]))


def random_codes(count: int, seed: int = 0) -> list[np.ndarray]:
    return list(rng(seed).integers(0, 256, (count, *SIZE, 3), dtype=np.uint8))


# ---- few-shot trials -------------------------------------------------------------------------------------------------


def test_trials_are_those_of_the_memo() -> None:
    trials = {
        1: "bistro_02_000398 cars_fullshot_000467 smith_hammering_000706 smith_welding_001268 bistro_03_001010",
        2: "fireplace_01_000689 hdr_testimage_001396 bridge_2.0329 clip_000007.000033 water.0223",
        3: "cars_closeshot_000683 cars_fullshot_000382 clip_000007.000147 clip_000005.000121 clip_000008.000097",
        4: "cars_closeshot_000683 fireplace_01_000867 showgirl_01_000367 showgirl_01_000738 bridge_2.0582",
        5: "fireplace_01_000802 fireplace_01_001086 clip_000011.000028 river.0081 river.0198",
    }
    scenes_of_clips = {"clip_000005": "window", "clip_000007": "students", "clip_000008": "hallway"}
    scenes_of_clips |= {"clip_000011": "hallway2"}
    for number, frames in trials.items():
        shots = fewshot_trial(number)
        assert [s.frame for s in shots] == frames.split()
        for shot in shots:
            clip = shot.frame.rpartition("." if shot.set == "LiU" else "_")[0]
            assert shot.scene == scenes_of_clips.get(clip, clip)
            assert (shot.scene in layouts.HDM_SCENES) == (shot.set == "HdM")
    assert validation_shots() == (
        Shot("HdM", "bistro_01", "bistro_01_000304"),
        Shot("LiU", "window", "clip_000005.000204"),
    )


@pytest.mark.parametrize("trial", [0, 6, -1])
def test_other_trials_are_refused(trial: int) -> None:
    with pytest.raises(UsageError, match="1 to 5"):
        fewshot_trial(trial)


def test_shots_are_found_in_hdm_and_liu_folders(tmp_path: Path) -> None:
    bistro = write_scene(tmp_path / "hdm" / "bistro_02", numbered("bistro_02_", 390, 14))
    bridge = write_scene(tmp_path / "liu" / "bridge_2", numbered("bridge_2.", 326, 7, 4))
    students = write_scene(tmp_path / "liu" / "download", numbered("clip_000007.", 29, 9))  # not named after the scene
    shots = (
        Shot("HdM", "bistro_02", "bistro_02_000398"),
        Shot("LiU", "bridge_2", "bridge_2.0329"),
        Shot("LiU", "students", "clip_000007.000033"),
    )
    found = resolve_shots([tmp_path / "hdm", tmp_path / "liu"], shots)
    assert list(found) == list(shots)
    for shot, frames in zip(shots, (bistro[5:12], bridge, students[1:8]), strict=True):
        (window,) = found[shot]  # these frames have room for one patch
        assert (window.name, window.scene, window.patch) == (f"{shot.frame}_0", shot.scene, 0)
        pixels = window.read(SIZE[0], rng())
        left = int(pixels[0, 0, 0, 1])
        np.testing.assert_array_equal(pixels, [f[:, left : left + SIZE[0]] for f in frames])
        assert pixels.dtype == np.float32


def test_water_repeats_its_frames(tmp_path: Path) -> None:
    frames = write_scene(tmp_path / "water", numbered("water.", 216, 15, 4))
    (window,) = resolve_shots([tmp_path], [Shot("LiU", "water", "water.0223")])[Shot("LiU", "water", "water.0223")]
    assert [Path(f).stem for f in window.files] == [f"water.0{n}" for n in range(217, 230, 2)]
    np.testing.assert_array_equal(window.read(4, rng())[:, 0, 0, 2], [f[0, 0, 2] for f in frames[1::2]])
    (stepped,) = training_sources([tmp_path]).windows
    assert [Path(f).stem for f in stepped.files] == [f"water.0{n}" for n in range(216, 229, 2)]


def test_everything_missing_is_listed_at_once(tmp_path: Path) -> None:
    write_scene(tmp_path / "bistro_02", numbered("bistro_02_", 396, 6))  # 395 is missing
    with pytest.raises(InputError) as caught:
        resolve_shots([tmp_path], (*fewshot_trial(1), *validation_shots()))
    text = str(caught.value)
    assert f"7 labelled windows are missing or incomplete in {tmp_path}" in text
    assert "bistro_02/bistro_02_000395.exr, a neighbour of bistro_02_000398: HdM-HDR-2014" in text
    assert "bistro_02_000396" not in text
    for scene, first, last in (
        ("cars_fullshot", "cars_fullshot_000464", "cars_fullshot_000470"),
        ("bistro_03", "bistro_03_001007", "bistro_03_001013"),
        ("bistro_01", "bistro_01_000301", "bistro_01_000307"),
        ("window", "clip_000005.000201", "clip_000005.000207"),
    ):
        assert f"\n  {scene}/{first}.exr to {last}.exr: " in text
    assert "https://www.hdm-stuttgart.de/vmlab/hdm-hdr-2014/" in text
    assert "http://www.hdrv.org/Resources.php" in text


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    write_scene(tmp_path / "a", ["still"])
    shots = [shot for trial in range(1, 6) for shot in fewshot_trial(trial)]
    with pytest.raises(InputError, match=r"\n  and 5 more$") as caught:  # 25 shots
        resolve_shots([tmp_path], shots)
    assert str(caught.value).count("\n") == layouts.MAX_LISTED + 1


# ---- frames ----------------------------------------------------------------------------------------------------------


def test_sequences_become_windows_without_overlap(tmp_path: Path) -> None:
    frames = write_scene(tmp_path / "bistro_02", numbered("bistro_02_", 100, 16))
    sources = training_sources([tmp_path])
    assert [w.name for w in sources.windows] == ["bistro_02_000103_0", "bistro_02_000110_0"]
    assert sources.pictures == ()
    for window, first in zip(sources.windows, (0, 7), strict=True):
        assert window.scene == "bistro_02"
        again: HdrWindow = pickle.loads(pickle.dumps(window))
        pixels = again.read(6, rng(3))
        top, left = pixels[0, 0, 0, :2].astype(int)
        expected = [f[top : top + 6, left : left + 6] for f in frames[first : first + 7]]
        np.testing.assert_array_equal(pixels, expected)
    places = {tuple(sources.windows[0].read(6, rng(s))[0, 0, 0, :2]) for s in range(8)}
    assert len(places) > 4  # the place is drawn


def test_hdr_sequences_gaps_and_singles(tmp_path: Path) -> None:
    write_scene(tmp_path / "take", [*numbered("s.", 1, 6, 4), *numbered("s.", 9, 2, 4)], ".hdr")  # 7 and 8 are missing
    write_scene(tmp_path / "stills", [*numbered("still_", 1, 4, 2), "other"])
    (tmp_path / "stills" / "._other.exr").write_bytes(b"left by another system")
    sources = training_sources([tmp_path])
    (window,) = sources.windows
    assert [Path(f).name for f in window.files] == [f"s.000{i}.hdr" for i in range(1, 6)]
    np.testing.assert_allclose(window.read(8, rng())[:, 0, 0, 2], [1, 2, 3, 4, 5], rtol=0.01)
    names = [Path(p).name for p in sources.pictures]
    assert names == ["other.exr", "still_01.exr", "still_02.exr", "still_03.exr", "still_04.exr"]


def test_numbered_panoramas_and_sizes_that_differ_are_pictures(tmp_path: Path) -> None:
    for i in range(5):
        write_exr(tmp_path / f"pano_{i}.exr", radiance(1, 8, 16))
        write_exr(tmp_path / f"still_{i}.exr", radiance(1, 8 + i, 10))
    sources = training_sources([tmp_path])
    assert sources.windows == ()
    assert len(sources.pictures) == 10


def test_roots_may_be_files_links_and_loops(tmp_path: Path) -> None:
    write_scene(tmp_path / "elsewhere" / "film", numbered("film.", 1, 7, 4))
    root = tmp_path / "root"
    root.mkdir()
    (root / "film").symlink_to(tmp_path / "elsewhere" / "film")
    (root / "loop").symlink_to(root)
    assert [w.name for w in training_sources([root]).windows] == ["film.0004_0"]
    write_scene(tmp_path, ["one"])
    assert training_sources([tmp_path / "one.exr"]).pictures == (str(tmp_path / "one.exr"),)


def test_hold_out_by_picture_scene_and_window(tmp_path: Path) -> None:
    write_scene(tmp_path / "a", numbered("a.", 1, 14, 4))
    write_scene(tmp_path / "b", numbered("b.", 1, 7, 4))
    write_scene(tmp_path / "pictures", ["forest", "sea"])
    sources = training_sources([tmp_path], ["b", "a.0004_0", "sea"])
    assert [w.name for w in sources.windows] == ["a.0011_0"]
    assert [Path(p).stem for p in sources.pictures] == ["forest"]


def test_patches_are_ranked_by_change(tmp_path: Path) -> None:
    frames = []
    for i, value in enumerate((1, 2, 3, 3, 4, 5, 6)):  # nothing but the square changes before the middle frame
        frame = radiance(value, 710, 711) / np.float32(1024)
        frame[600:700, 600:700, 2] += np.float32(0.25) * (i >= 3)
        write_exr(tmp_path / f"scene.{i:04d}.exr", frame, compression="none")
        frames.append(frame)
    windows = training_sources([tmp_path]).windows
    assert [w.name for w in windows] == [f"scene.0003_{k}" for k in range(layouts.PATCHES)]
    most = windows[0].read(352, rng())
    np.testing.assert_array_equal(most, [f[352:704, 352:704] for f in frames])  # the only patch that holds the square
    corners = {tuple(w.read(352, rng())[0, 0, 0, :2] * 1024) for w in windows}
    assert len(corners) == layouts.PATCHES
    assert corners < {(y, x) for y in (0, 176, 352) for x in (0, 176, 352)}


def test_hdm_footage_loses_its_border() -> None:
    frame = np.full((1080, 1920, 3), 2.0, np.float32)
    for edge in (np.s_[:10], np.s_[-10:], np.s_[:, :10], np.s_[:, -10:]):
        frame[edge] = 100.0

    class Read:
        pixels = frame  # published frames are taken as they are stored
        rec709 = 2 * frame

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layouts, "read_picture", lambda _: Read)
        reduced = layouts.read_hdr_frame("f.exr", "bistro_01")
        assert reduced.shape == (720, 1280, 3)
        np.testing.assert_allclose(reduced, 2.0, rtol=1e-6)
        np.testing.assert_array_equal(layouts.read_hdr_frame("f.exr", "mine"), 2 * frame)


def test_small_frames_are_mirrored() -> None:
    frames = np.stack([radiance(t, 3, 40) for t in range(2)])
    crop = random_crop(frames, 8, rng())
    assert crop.shape == (2, 8, 8, 3)
    np.testing.assert_array_equal(crop[0, :, 0, 0], [2, 1, 0, 1, 2, 1, 0, 1])
    np.testing.assert_array_equal(np.diff(crop[0, 0, :, 1]), 1)  # wide enough: not mirrored
    np.testing.assert_array_equal(crop[1] - crop[0], np.broadcast_to([0, 0, 1], (8, 8, 3)))
    assert random_crop(frames[:, :1, :1], 4, rng()).shape == (2, 4, 4, 3)


def test_negative_values_are_black_and_damage_is_named(tmp_path: Path) -> None:
    names = numbered("f.", 1, 7, 4)
    write_scene(tmp_path, names)
    write_exr(tmp_path / "f.0002.exr", -radiance(1))
    (window,) = training_sources([tmp_path]).windows
    pixels = window.read(5, rng())
    assert (pixels[1] == 0).all()
    assert pixels[2].max() > 0
    layouts.cut_patches.cache_clear()
    write_exr(tmp_path / "f.0006.exr", radiance(1, 30, 30))
    with pytest.raises(InputError, match=r"f\.0006\.exr is 30x30"):
        window.read(5, rng())
    (tmp_path / "f.0006.exr").write_bytes(b"junk")
    with pytest.raises(InputError, match=r"f\.0006\.exr"):
        window.read(5, rng())


@pytest.mark.parametrize("make", ["missing", "empty", "text"])
def test_roots_without_training_data(tmp_path: Path, make: str) -> None:
    root = tmp_path / "root"
    if make == "empty":
        root.mkdir()
    elif make == "text":
        root.write_text("hello")
    with pytest.raises(InputError, match="give --data"):
        training_sources([root])
    with pytest.raises(InputError, match="give --data"):
        resolve_shots([root], fewshot_trial(1))


# ---- prepared patches ------------------------------------------------------------------------------------------------


def write_patch(root: Path, scene: str, name: str, seed: int) -> np.ndarray:
    """One prepared patch: 7 arrays, and the list and the pictures that lie beside them."""
    folder = root / "Images" / scene / name
    folder.mkdir(parents=True)
    frames = rng(seed).random((7, *SIZE, 3)).astype(np.float16)
    for i, frame in enumerate(frames, start=1):
        np.save(folder / f"{name}_f{i}.npy", frame)
        (folder / f"{name}_f{i}_f{i}.jpg").write_bytes(b"for looking at")
    (folder / f"{name}.txt").write_text("".join(f"{name}_f{i} 99.990000\n" for i in range(1, 8)))
    return frames.astype(np.float32)


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    root = tmp_path / "Synthetic_Train_Data_LiU_HDRv"
    for k in range(2):
        write_patch(root, "bridge_2", f"bridge_2.0329_{k}", k)
    write_patch(root, "window", "clip_000005.000204_7", 7)
    (root / "train_list.txt").write_text("bridge_2/bridge_2.0329_0\nbridge_2/bridge_2.0329_1\n\n")
    (root / "val_list.txt").write_text("window/clip_000005.000204_7\n")
    return root


def test_prepared_patches(prepared: Path) -> None:
    sources = training_sources([prepared.parent])  # the folder they were unpacked in will do
    assert [(w.name, w.scene, w.patch) for w in sources.windows] == [
        ("bridge_2.0329_0", "bridge_2", 0),
        ("bridge_2.0329_1", "bridge_2", 1),
    ]
    assert sources.pictures == ()
    expected = rng(1).random((7, *SIZE, 3)).astype(np.float16).astype(np.float32)
    pixels = sources.windows[1].read(SIZE[0], rng())
    assert any(np.array_equal(pixels, expected[:, :, x : x + SIZE[0]]) for x in range(SIZE[1] - SIZE[0] + 1))


def test_prepared_patches_without_lists(prepared: Path) -> None:
    (prepared / "train_list.txt").unlink()
    assert [w.name for w in training_sources([prepared]).windows] == ["bridge_2.0329_0", "bridge_2.0329_1"]
    (prepared / "val_list.txt").unlink()
    assert len(training_sources([prepared]).windows) == 3


def test_shots_from_prepared_patches(prepared: Path) -> None:
    shots = [Shot("LiU", "bridge_2", "bridge_2.0329"), validation_shots()[1]]
    found = resolve_shots([prepared], shots)
    assert [[w.name for w in windows] for windows in found.values()] == [
        ["bridge_2.0329_0", "bridge_2.0329_1"],
        ["clip_000005.000204_7"],  # of the validation list
    ]


def test_incomplete_prepared_sets_are_listed(prepared: Path) -> None:
    (prepared / "Images/bridge_2/bridge_2.0329_1/bridge_2.0329_1_f4.npy").unlink()
    with (prepared / "train_list.txt").open("a") as file:
        file.writelines(f"river/river.0081_{k}\n" for k in range(30))
    with pytest.raises(InputError) as caught:
        training_sources([prepared])
    text = str(caught.value)
    assert "31 training files are missing" in text
    assert "bridge_2.0329_1_f4.npy" in text
    assert "river.0081_0" in text
    assert text.endswith("and 11 more")
    with pytest.raises(InputError, match=r"^1 labelled window is .*\n.*bridge_2\.0329_1_f4\.npy$"):
        resolve_shots([prepared], [Shot("LiU", "bridge_2", "bridge_2.0329")])


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (np.full((4, 4, 3), np.nan, np.float16), "NaN or infinite"),
        (np.zeros((4, 4), np.float16), "not a float"),
        (np.zeros((4, 4, 3), np.uint8), "not a float"),
        (np.zeros((5, 4, 3), np.float16), "one size"),
        (np.array([{}], dtype=object), "damaged"),
        (None, "does not exist"),
    ],
)
def test_bad_patches_are_named(prepared: Path, array: np.ndarray | None, complaint: str) -> None:
    window = training_sources([prepared]).windows[0]
    if array is None:
        Path(window.files[2]).unlink()
    else:
        np.save(window.files[2], array)
    with pytest.raises(InputError, match=complaint) as caught:
        window.read(4, rng())
    assert "bridge_2.0329_0_f3.npy" in str(caught.value)


# ---- septuplets ------------------------------------------------------------------------------------------------------


@pytest.fixture
def vimeo(tmp_path: Path) -> Path:
    root = tmp_path / "vimeo_septuplet"
    for i, line in enumerate(("00001/0001", "00001/0002")):
        write_codes(root / "sequences" / line, random_codes(7, i), [f"im{k}.png" for k in range(1, 8)])
    (root / "sep_trainlist.txt").write_text("00001/0001\n")
    (root / "sep_testlist.txt").write_text("00001/0002\n")
    return root


def test_septuplets(vimeo: Path) -> None:
    (window,) = training_sources([vimeo]).windows
    assert (window.name, window.scene, window.patch) == ("00001/0001", "00001", None)
    codes = np.stack(random_codes(7, 0)).astype(np.float32) / 255
    pixels = window.read(SIZE[0], rng(5))
    assert pixels.dtype == np.float32
    assert pixels.shape == (7, SIZE[0], SIZE[0], 3)
    twin = rng(5)
    curve = random_curve(twin)
    expected = curve.linearize(random_crop(codes, SIZE[0], twin))
    np.testing.assert_allclose(pixels, expected, rtol=1e-5, atol=1e-7)
    shown = random_crop(codes, SIZE[0], (twin := rng(5), random_curve(twin))[0])
    np.testing.assert_array_equal(pixels == 1.0, shown == 1.0)  # white stays white
    assert not np.allclose(pixels.mean(), window.read(SIZE[0], rng(6)).mean(), rtol=1e-3)  # another curve


def test_random_curves_are_responses() -> None:
    codes = np.linspace(0, 1, 256, dtype=np.float32)
    names = set()
    for seed in range(40):
        curve = random_curve(rng(seed))
        linear = curve.linearize(codes)
        assert linear[0] == 0
        assert linear[-1] == pytest.approx(1)
        assert (np.diff(linear) > 0).all()
        np.testing.assert_allclose(curve.encode(linear), codes, atol=1e-5)
        assert 0.05 < linear[128] < 0.5
        names.add(curve.name[:5])
    assert names == {"gamma", "sigmo"}


def test_missing_septuplets_are_listed(vimeo: Path) -> None:
    (vimeo / "sep_trainlist.txt").write_text("00001/0001\n00002/0001\n")
    (vimeo / "sequences/00001/0001/im7.png").unlink()
    with pytest.raises(InputError, match="2 training files are missing") as caught:
        training_sources([vimeo])
    assert "00001/0001/im7.png" in str(caught.value)
    assert "00002/0001" in str(caught.value)


# ---- unlabelled clips ------------------------------------------------------------------------------------------------


def test_synthetic_clips_are_both(tmp_path: Path) -> None:
    cycle = ExposureCycle((3, 0))
    synth_to_folder(tmp_path / "a", SynthOptions(str(cycle), 9, (48, 32), 1))
    (window,) = training_sources([tmp_path / "a"]).windows
    assert (window.name, window.scene) == ("truth.000003_0", "truth")
    (unlabelled,) = unlabelled_windows([tmp_path / "a"])
    assert (unlabelled.scene, unlabelled.name) == ("a/frames", "a/frames/000000")
    assert unlabelled.stops == (3, 0, 3, 0, 3, 0, 3)
    assert (unlabelled.num_exposures, unlabelled.response) == (2, "gamma2.2")
    again: LdrWindow = pickle.loads(pickle.dumps(unlabelled))
    pixels = again.read(32, rng())
    assert pixels.shape == (7, 32, 32, 3)
    assert pixels.dtype == np.float32
    assert pixels[0].mean() > 1.3 * pixels[1].mean()
    stored = cv2.imread(str(tmp_path / "a/frames/000004.png"), cv2.IMREAD_UNCHANGED)[..., ::-1] / np.float32(65535)
    assert any(np.array_equal(pixels[4], stored[:, x : x + 32]) for x in range(48 - 32 + 1))
    # the folder of the frames itself is the same clip
    assert unlabelled_windows([tmp_path / "a" / "frames"])[0].stops == unlabelled.stops


def test_videos_in_a_folder(tmp_path: Path) -> None:
    pictures = [np.full((*SIZE, 3), (i + 1) / 32) for i in range(15)]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_ffv1(tmp_path / name / "clip.mkv", pictures)
        (tmp_path / name / "Exposures.txt").write_text("0\n2\n4\n" if name == "one" else "0 3\n")
    windows = unlabelled_windows([tmp_path])
    scenes = [f"{tmp_path.name}/{name}/clip" for name in ("one", "two")]
    assert [(w.scene, w.start, w.num_exposures) for w in windows] == [
        (scenes[0], 0, 3),
        (scenes[0], 7, 3),
        (scenes[1], 0, 2),
        (scenes[1], 7, 2),
    ]
    assert windows[1].stops == (2, 4, 0, 2, 4, 0, 2)  # frame 7 has the exposure of frame 1
    assert windows[3].stops == (3, 0, 3, 0, 3, 0, 3)
    np.testing.assert_allclose(windows[1].read(4, rng())[:, 0, 0, 0], np.arange(8, 15) / 32, atol=1e-4)
    (direct, _) = unlabelled_windows([tmp_path / "two" / "clip.mkv"])
    assert (direct.scene, direct.stops) == ("clip", windows[2].stops)


def test_a_video_that_ends_early_is_named(tmp_path: Path) -> None:
    write_ffv1(tmp_path / "clip.mkv", [np.full((*SIZE, 3), 0.5)] * 5)
    window = LdrWindow("clip/000000", "clip", (str(tmp_path / "clip.mkv"),), 0, (0.0, 3.0) * 3 + (0.0,), "gamma2.2")
    with pytest.raises(InputError, match=r"clip\.mkv ends before frame 6"):
        window.read(4, rng())


@pytest.fixture
def kalantari(tmp_path: Path) -> Path:
    """Two scenes in the layout of TOG13_Dynamic_Dataset, the camera's curve beside them."""
    from scipy.io import savemat

    root = tmp_path / "TOG13_Dynamic_Dataset"
    for name, stops, count in (("Fire-2Exp-3Stop", "0\n3\n", 8), ("Dog-3Exp-2Stop", "-2\n0\n2\n", 6)):
        names = [f"f_{i:03d}.tif" for i in range(count)]
        write_codes(root / name, random_codes(count), names)
        (root / name / "img_list.txt").write_text("\n".join(names) + "\n")
        (root / name / "Exposures.txt").write_text(stops)
        write_scene(root / name / "HDR", numbered("hdr_", 0, 2), ".hdr")
    (root / "2Exp_scenes.txt").write_text("Fire-2Exp-3Stop\n")
    savemat(root / "BaslerCRF.mat", {"BaslerCRF": np.repeat(np.linspace(0, 1, 256)[:, None], 3, axis=1)})
    return root


def test_kalantari_scenes(kalantari: Path) -> None:
    dog, fire = unlabelled_windows([kalantari])
    assert dog.scene == "TOG13_Dynamic_Dataset/Dog-3Exp-2Stop"
    assert dog.stops == (0, 2, 4, 0, 2)  # 6 frames give one window of 5
    assert fire.stops == (0, 3, 0, 3, 0, 3, 0)
    assert [Path(f).name for f in fire.files] == [f"f_{i:03d}.tif" for i in range(7)]
    assert Path(fire.response).name == "BaslerCRF.mat"
    pixels = fire.read(SIZE[0], rng())
    # this camera is linear, so its codes are linear light: only the network's gamma is left
    stored = (np.stack(random_codes(8)[:7]) / 255.0) ** (1 / 2.2)
    error = min(np.abs(pixels - stored[:, :, x : x + SIZE[0]]).max() for x in range(SIZE[1] - SIZE[0] + 1))
    assert error < 1e-3
    (alone,) = unlabelled_windows([kalantari / "Fire-2Exp-3Stop"])
    assert (alone.scene, alone.response) == ("Fire-2Exp-3Stop", fire.response)


def test_frames_that_a_list_names_must_be_there(kalantari: Path) -> None:
    (kalantari / "Fire-2Exp-3Stop" / "f_002.tif").unlink()
    (kalantari / "Dog-3Exp-2Stop" / "f_005.tif").unlink()
    (kalantari / "Dog-3Exp-2Stop" / "f_004.tif").unlink()
    with pytest.raises(InputError, match="2 unlabelled clips cannot be used") as caught:
        unlabelled_windows([kalantari])
    for name in ("f_002.tif", "f_004.tif", "f_005.tif"):
        assert name in str(caught.value)


def test_exposures_are_measured_where_they_are_not_told(tmp_path: Path) -> None:
    synth_to_folder(tmp_path / "a", SynthOptions("0,3", 12, (96, 64), 4))
    (tmp_path / "a" / "Exposures.txt").unlink()
    (window,) = unlabelled_windows([tmp_path / "a"])
    assert window.stops == pytest.approx((0, 3, 0, 3, 0, 3, 0), abs=0.2)


def test_unclear_exposures_ask_for_a_file(tmp_path: Path) -> None:
    write_codes(tmp_path / "still", [np.full((*SIZE, 3), 90, np.uint8)] * 8, [f"{i}.png" for i in range(8)])
    with pytest.raises(ExposureError, match=r"still.*still/Exposures\.txt"):
        unlabelled_windows([tmp_path])
    (tmp_path / "still" / "Exposures.txt").write_text("0\n3\n")
    assert unlabelled_windows([tmp_path])[0].stops == (0, 3, 0, 3, 0, 3, 0)


def test_linear_frames_are_a_clip_where_the_root_names_them(tmp_path: Path) -> None:
    names = numbered("f.", 0, 3)
    (tmp_path / "linear").mkdir()
    for i, name in enumerate(names):
        write_exr(tmp_path / "linear" / f"{name}.exr", np.full((*SIZE, 3), 0.25 * (i + 1)))
    (tmp_path / "linear" / "Exposures.txt").write_text("3 0\n")
    (window,) = unlabelled_windows([tmp_path / "linear"])
    assert window.response == "linear"
    expected = np.array([0.25, 0.5, 0.75]) ** (1 / 2.2)
    np.testing.assert_allclose(window.read(4, rng())[:, 0, 0, 0], expected, rtol=1e-5)
    with pytest.raises(InputError, match="holds no clip"):
        unlabelled_windows([tmp_path])


def test_clips_that_are_too_short_or_mixed(tmp_path: Path) -> None:
    write_codes(tmp_path / "short", random_codes(4), [f"{i}.png" for i in range(4)])
    (tmp_path / "short" / "Exposures.txt").write_text("0 2 4\n")
    with pytest.raises(InputError, match=r"only 4 frame\(s\).*needs 5"):
        unlabelled_windows([tmp_path / "short"])
    (tmp_path / "short" / "4.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="mixes PNG and JPEG"):
        unlabelled_windows([tmp_path / "short"])
    with pytest.raises(InputError, match="does not exist"):
        unlabelled_windows([tmp_path / "nothing"])


def test_the_trials_are_package_data() -> None:
    from importlib import resources

    stored = json.loads(resources.files("hdrvid.data").joinpath("fewshot_2exp.json").read_text(encoding="utf-8"))
    assert [len(shots) for shots in stored["trials"].values()] == [5] * 5
