"""The cinematic test set, made as published."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdrvid.cli import main
from hdrvid.color.curves import gamma_encode, gamma_linearize
from hdrvid.data.benchmarks import open_benchmark
from hdrvid.data.cinematic import BORDER_PX, cinematic_scenes, film, prepare_cinematic
from hdrvid.errors import InputError, OutputError
from hdrvid.io.exr import write_exr

SIZE = (64, 80)


def frame(index: int, gain: float = 50.0) -> np.ndarray:
    """(H, W, 3) smooth source frame with a few very bright pixels."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    picture = np.stack([0.5 + 0.4 * np.sin((x + 2 * index) / 9 + y / 13 + k) for k in range(3)], -1)
    picture[30, 40] = 40.0
    return (picture * gain).astype(np.float32)


def write_source(
    root: Path, num_frames: int = 9, names=("poker_fullshot", "carousel_fireworks_02", "bistro_01")
) -> Path:
    for name in names:
        (root / name).mkdir(parents=True)
        for i in range(num_frames):
            write_exr(root / name / f"{name}_{i:06d}.exr", frame(i))
    return root


@pytest.mark.parametrize("cycle", [2, 3])
def test_set_is_made_as_published_and_read_back(tmp_path: Path, cycle: int):
    source, out = write_source(tmp_path / "hdm"), tmp_path / "HDR_Synthetic_Test_Dataset"
    scenes = prepare_cinematic(source, out, cycle)
    assert scenes == [f"carousel_fireworks_02_{cycle}expo", f"poker_fullshot_{cycle}expo"]
    bench = open_benchmark("cinematic", tmp_path, cycle)
    assert bench.missing == ()
    scale = np.percentile(frame(0).astype(np.float16), 99.5)
    for clip in bench.clips:
        assert clip.num_frames == 9
        assert clip.cycle.exposures == ((1, 8) if cycle == 2 else (1, 4, 16))
        assert clip.scored == tuple(range(cycle, 9 - cycle))
        for i in range(9):
            expected = np.clip(frame(i)[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX] / scale, 0, 1)
            truth = clip.truth(i)
            assert (truth is not None) == (i in clip.scored)
            if truth is not None:
                assert np.abs(truth - expected).max() < 0.006  # eight bits of mantissa
            exposure = clip.cycle.exposure_at(i)
            clean = gamma_encode(expected * exposure)
            code = clip.ldr(i)
            if exposure in (8, 16):
                assert np.abs(code - clean).max() < 1e-3  # half floats of the source
            else:
                inside = (clean > 0.1) & (clean < 0.95)
                noise = gamma_linearize(code[inside]) - gamma_linearize(clean[inside])
                assert 0.9e-3 < noise.std() < 3.3e-3
                assert abs(noise.mean()) < 4e-4


@given(seed=st.integers(0, 2**32 - 1), exposure=st.sampled_from([1.0, 4.0, 8.0, 16.0]))
@settings(max_examples=40, deadline=None)
def test_noise_is_on_exposures_1_and_4_only(seed: int, exposure: float):
    radiance = np.full((64, 64, 3), 0.4 / exposure, np.float32)
    code = film(radiance, exposure, np.random.default_rng(seed))
    noise = gamma_linearize(code) - 0.4
    if exposure in (1, 4):
        assert 0.95e-3 < noise.std() < 3.15e-3
    else:
        assert np.abs(noise).max() < 1e-6


def test_same_seed_same_files(tmp_path: Path):
    source = write_source(tmp_path / "hdm", 5, ("poker_fullshot",))
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        prepare_cinematic(source, tmp_path / name, seed=seed)
    a, b, c = (
        {p.relative_to(tmp_path / n): p.read_bytes() for p in sorted((tmp_path / n).rglob("*")) if p.is_file()}
        for n in "abc"
    )
    assert a == b
    assert a.keys() == c.keys()
    changed = {str(k.name) for k in a if a[k] != c[k]}
    assert changed == {"0000.tif", "0002.tif", "0004.tif"}


def test_16_bits(tmp_path: Path):
    prepare_cinematic(write_source(tmp_path / "hdm", 5, ("poker_fullshot",)), tmp_path / "out")
    stored = cv2.imread(str(tmp_path / "out/Images/poker_fullshot_2expo/0000.tif"), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16
    assert stored.shape == (SIZE[0] - 30, SIZE[1] - 30, 3)
    assert len(np.unique(stored)) > 256


def test_other_folders_serve_where_the_two_are_not_there(tmp_path: Path):
    write_source(tmp_path, 5, ("bistro_01", "smith_hammering"))
    assert [p.name for p in cinematic_scenes(tmp_path)] == ["bistro_01", "smith_hammering"]
    assert [p.name for p in cinematic_scenes(tmp_path / "bistro_01")] == ["bistro_01"]


def test_missing_sources_say_where_they_are(tmp_path: Path):
    for folder in (tmp_path, tmp_path / "gone"):
        with pytest.raises(InputError, match="HdM-HDR-2014"):
            prepare_cinematic(folder, tmp_path / "out")
    with pytest.raises(InputError, match="5 are the least"):
        prepare_cinematic(write_source(tmp_path / "short", 4), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_set_is_not_overwritten(tmp_path: Path):
    source = write_source(tmp_path / "hdm", 5, ("poker_fullshot",))
    prepare_cinematic(source, tmp_path / "out", max_frames=5)
    with pytest.raises(OutputError, match="there already"):
        prepare_cinematic(source, tmp_path / "out")


def test_interrupted_set_is_not_there(tmp_path: Path):
    source = write_source(tmp_path / "hdm", 6, ("poker_fullshot",))
    (source / "poker_fullshot" / "poker_fullshot_000004.exr").write_bytes(b"junk")
    with pytest.raises(InputError, match="000004"):
        prepare_cinematic(source, tmp_path / "out")
    with pytest.raises(InputError, match="is not in"):
        open_benchmark("cinematic", tmp_path / "out", 2)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source, out = write_source(tmp_path / "hdm", 9, ("poker_fullshot",)), tmp_path / "set"
    with pytest.raises(SystemExit) as ended:
        main(["synth", "--cinematic", str(source), "-o", str(out), "--cycle", "3", "--frames", "8"])
    assert ended.value.code in (None, 0)
    assert "hdrvid eval --dataset cinematic" in capsys.readouterr().out
    assert open_benchmark("cinematic", out, 3).clips[0].num_frames == 8
    with pytest.raises(SystemExit) as ended:
        main(["synth", "picture.exr", "--cinematic", str(source), "-o", str(out)])
    assert ended.value.code == 2
