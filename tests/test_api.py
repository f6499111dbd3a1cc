"""hdrvid from Python: the same results as the command line, and nothing imported before it is asked for."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_reconstruct import write_frames

import hdrvid
from hdrvid import api
from hdrvid.color.response import RESPONSES
from hdrvid.errors import ExposureError, InputError, UsageError
from hdrvid.io.exr import read_exr

OPTIONS = {"model": "classical", "device": "cpu", "exposures": "0,3"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_frames(tmp_path_factory.mktemp("api") / "shot", num_frames=6)


def test_importing_hdrvid_imports_nothing_else() -> None:
    code = "import sys, typing; before = set(sys.modules); import hdrvid; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() in ("['hdrvid']", "['__future__', 'hdrvid']")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hdrvid.nothing  # noqa: B018


def test_doctests() -> None:
    assert doctest.testmod(api).failed == 0


def test_a_clip_is_inspected(clip: Path) -> None:
    assert hdrvid.inspect(clip, exposures="0,3").cycle == hdrvid.inspect(str(clip), exposures="0,3").cycle
    with pytest.raises(InputError):
        hdrvid.inspect(clip / "missing")
    with pytest.raises(TypeError):
        hdrvid.inspect(clip, exposure="0,3")


def test_frames_are_those_of_the_files(clip: Path, tmp_path: Path) -> None:
    report = hdrvid.reconstruct(clip, tmp_path / "out", preview=False, **OPTIONS).as_dict()
    frames = dict(hdrvid.frames(clip, **OPTIONS))
    assert sorted(frames) == list(range(6))
    for index, radiance in frames.items():
        stored = read_exr(Path(report["outputs"]["frames"] % index))[0]
        values = (radiance * np.float32(report["scale"])).astype(np.float16)
        np.testing.assert_array_equal(values, stored.astype(np.float16))
    part = dict(hdrvid.frames(clip, frame_range=(2, 3), **OPTIONS))
    assert sorted(part) == [2, 3]
    np.testing.assert_array_equal(part[2], frames[2])


def test_merging_a_bracket_gives_its_radiance() -> None:
    rng = np.random.default_rng(0)
    radiance = np.float32(2.0) ** rng.uniform(-6, -0.5, (48, 64, 3)).astype(np.float32)
    for response in ("gamma2.2", "srgb"):
        encode = RESPONSES[response].encode
        pictures = [(encode(np.clip(radiance * e, 0, 1)) * 65535).round().astype(np.uint16) for e in (1, 8, 1)]
        arguments = {"response": response, "model": "classical", "device": "cpu"}
        merged = hdrvid.merge(pictures, (0, 3), **arguments)
        assert merged.dtype == np.float32
        assert np.abs(np.log2(merged / radiance)).max() < 0.05
        floats = [p.astype(np.float64) / 65535 for p in pictures]
        np.testing.assert_allclose(hdrvid.merge(floats, (0, 3), **arguments), merged, rtol=1e-4)


@pytest.mark.parametrize(
    ("pictures", "options", "error"),
    [
        ([np.zeros((8, 8, 3)), np.zeros((8, 9, 3))], {}, UsageError),
        ([np.zeros((8, 8)), np.zeros((8, 8))], {}, UsageError),
        ([np.zeros((8, 8, 3), np.int32)] * 2, {}, UsageError),
        ([np.zeros((8, 8, 3))] * 2, {"reference": 2}, UsageError),
        ([np.zeros((8, 8, 3))] * 2, {"stops": (0, 0)}, ExposureError),
        ([np.zeros((8, 8, 3))], {}, ExposureError),
        ([], {}, UsageError),
    ],
)
def test_pictures_that_cannot_be_merged(pictures, options, error) -> None:
    arguments = {"stops": (0, 3), "model": "classical"} | options
    with pytest.raises(error):
        hdrvid.merge(pictures, **arguments)
