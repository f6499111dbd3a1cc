"""What a result says of the pixels that nothing has measured: their share in the report, and a channel of the EXR."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest
from test_reconstruct import assert_same_results, options

from hdrvid.color.radiance import ldr_from_radiance
from hdrvid.errors import OutputError, UsageError
from hdrvid.io.exr import read_exr
from hdrvid.metrics.unmeasured import FrameShare, summary, unmeasured
from hdrvid.pipeline.options import validate_options
from hdrvid.pipeline.run import reconstruct_clip

LAMP = slice(8, 24), slice(12, 28)
"""Clipped by the shortest exposure."""


@pytest.mark.parametrize("exposure", [1.0, 8.0])
def test_a_clipped_value_is_measured_where_another_frame_shows_more(exposure: float) -> None:
    radiance = np.geomspace(0.01, 0.98, 256, dtype=np.float32)[:, None, None].repeat(3, 2)
    reference = ldr_from_radiance(radiance, exposure)
    clipped = radiance[..., 0] * exposure >= 1
    assert not unmeasured(radiance, reference, (1.0, exposure, 1.0))[radiance[..., 0] * exposure > 1.04].any()
    assert unmeasured(np.ones_like(radiance), reference, (1.0, exposure, 1.0)).all()  # the shortest clips too
    kept = np.minimum(radiance, np.float32(1 / exposure))  # nothing else was seen
    np.testing.assert_array_equal(unmeasured(kept, reference, (1.0, exposure, 1.0))[clipped], True)
    assert not unmeasured(kept, reference, (1.0, exposure, 1.0))[radiance[..., 0] * exposure < 0.98].any()


def test_black_is_a_bound_where_blacks_are_crushed_alone() -> None:
    reference = np.full((4, 4, 3), 0.08, np.float32)
    dark = reference**2.2
    short, long = (8.0, 1.0, 8.0), (1.0, 8.0, 1.0)
    assert unmeasured(dark, reference, short, black=0.08).all()
    assert not unmeasured(dark * 0.5, reference, short, black=0.08).any()  # the longer frame shows that it is darker
    assert unmeasured(dark * 0.5 / 8, reference, long, black=0.08).all()
    assert not unmeasured(dark, reference, short).any()
    assert not unmeasured(dark * 0.2, reference + 0.1, long, black=0.08).any()


def test_the_summary_names_the_worst_frame() -> None:
    assert summary([]) is None
    shares = [FrameShare(3, 0.25), FrameShare(4, 0.5), FrameShare(5, 0.0)]
    assert summary(shares) == {"mean": 0.25, "worst": {"frame": 4, "share": 0.5}}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A still scene of a few levels, one lamp brighter than all exposures; stops 0,3."""
    folder = tmp_path_factory.mktemp("lamp") / "lamp"
    folder.mkdir()
    scene = np.full((48, 64, 3), 0.02, np.float32)
    scene[:, 40:] = 0.5
    scene[LAMP] = 3.0
    for index in range(4):
        code = ldr_from_radiance(scene, 2.0 ** (0, 3)[index % 2])
        cv2.imwrite(str(folder / f"f{index:03d}.png"), np.round(code * 255).astype(np.uint8))
    return folder


@pytest.mark.parametrize("changes", [{}, {"primaries": "acescg"}, {"white": "shortest", "depth": "float"}])
def test_the_channel_marks_what_the_shortest_exposure_clips(
    clip: Path, tmp_path: Path, changes: dict[str, str]
) -> None:
    run = options(exposures="0,3", unmeasured=True, preview=False, **changes)
    report = reconstruct_clip([str(clip)], tmp_path / "out", run)
    for index in range(4):
        path = tmp_path / "out" / f"lamp.{index:03d}.exr"
        channels = OpenEXR.File(str(path), separate_channels=True).parts[0].channels
        mask = channels["unmeasured"].pixels
        assert mask.dtype == np.float16
        assert (mask[10:22, 14:26] == 1).all()
        mask[6:26, 10:30] = 0
        assert not mask.any()
        assert read_exr(path)[0].shape == (48, 64, 3)
    share = report.values["quality"]["unmeasured"]
    assert share["mean"] == pytest.approx(16 * 16 / (48 * 64), rel=0.3)
    assert json.loads((tmp_path / "out" / "lamp.json").read_text())["quality"]["unmeasured"] == share


def test_resumed_runs_and_those_without_the_channel(clip: Path, tmp_path: Path) -> None:
    run = options(exposures="0,3", unmeasured=True)
    whole = reconstruct_clip([str(clip)], tmp_path / "whole", run)
    reconstruct_clip([str(clip)], tmp_path / "parts", run)
    (tmp_path / "parts" / "lamp.001.exr").unlink()
    resumed = reconstruct_clip([str(clip)], tmp_path / "parts", run)
    assert_same_results(tmp_path / "whole", tmp_path / "parts")
    assert resumed.values["quality"] == whole.values["quality"]
    with pytest.raises(OutputError, match="unmeasured"):
        reconstruct_clip([str(clip)], tmp_path / "parts", options(exposures="0,3"))
    plain = reconstruct_clip([str(clip)], tmp_path / "plain", options(exposures="0,3"))
    assert plain.values["quality"] == whole.values["quality"]
    names = OpenEXR.File(str(tmp_path / "plain" / "lamp.001.exr"), separate_channels=True).parts[0].channels
    assert sorted(names) == ["B", "G", "R"]


def test_what_has_no_room_for_it(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--unmeasured"):
        validate_options(options(unmeasured=True, format="hdr"), tmp_path)
    said: list[str] = []
    run = options(exposures="0,3", unmeasured=True, primaries="aces2065-1", preview=False)
    reconstruct_clip([str(clip)], tmp_path / "aces", run, message=said.append)
    header = OpenEXR.File(str(tmp_path / "aces" / "lamp.000.exr")).header()
    assert "acesImageContainerFlag" not in header
    assert any("--unmeasured" in text and "ST 2065-4" in text for text in said)
