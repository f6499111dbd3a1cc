"""One pass through everything, quick enough for every Python and every set of versions that is promised.

`.ci/run` runs this with the readers' and the writers' tests where the whole suite would take too long.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from pathlib import Path

import av
import numpy as np
import pytest
from test_cli import TINY_TRAINING, hdrvid
from test_reconstruct import exr_frames, video_frames
from training import made_in_process

import hdrvid as package
from hdrvid.compiled import availability

pytestmark = pytest.mark.usefixtures("one_thread")

NUM_FRAMES = 6


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An H.264 clip of two exposures."""
    from hdrvid.cli.app import run

    out = tmp_path_factory.mktemp("smoke") / "made"
    arguments = ("--exposures", "0,3", "--frames", str(NUM_FRAMES), "--size", "96x64", "--video")
    assert run(["synth", "-o", str(out), *arguments]) == 0
    return out / "clip.mp4"


def test_every_module_can_be_imported() -> None:
    names = [m.name for m in pkgutil.walk_packages(package.__path__, "hdrvid.") if not m.name.endswith("__main__")]
    assert len(names) > 60
    for name in names:
        importlib.import_module(name)


def test_loops_are_compiled_here() -> None:
    assert availability.usable()


def test_a_clip_from_the_camera_to_the_page(clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, stdout, stderr = hdrvid(capfd, "info", clip, "--json")
    assert code == 0, stderr
    facts = json.loads(stdout)
    assert (facts["size"], facts["frames_per_second"]) == ([96, 64], "24")

    out = tmp_path / "out"
    command = ("reconstruct", clip, "-o", out, "--exposures", "0,3", "--device", "cpu", "--hdr10", "--hlg", "--json")
    code, stdout, stderr = hdrvid(capfd, *command)
    assert code == 0, stderr
    frames = exr_frames(out)
    assert list(frames) == [f"clip.{i:06d}.exr" for i in range(NUM_FRAMES)]
    assert all(np.isfinite(pixels).all() and pixels.max() > 0.5 for pixels in frames.values())
    for kind, codec in (("preview", "h264"), ("hdr10", "hevc"), ("hlg", "hevc")):
        assert len(video_frames(out / f"clip.{kind}.mp4")) == NUM_FRAMES
        with av.open(str(out / f"clip.{kind}.mp4")) as container:
            assert container.streams.video[0].codec_context.name == codec

    code, stdout, stderr = hdrvid(capfd, *command)
    assert code == 0, stderr
    assert json.loads(stdout)["frames"]["kept"] == NUM_FRAMES

    code, _, stderr = hdrvid(capfd, "report", out, "--frames", "0-1")
    assert code == 0, stderr
    assert "</html>" in (out / "clip.report.html").read_text()


def test_radiance_hdr(clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = ("reconstruct", clip, "-o", tmp_path, "--exposures", "0,3", "--device", "cpu", "--format", "hdr")
    code, _, stderr = hdrvid(capfd, *command, "--model", "fast", "--frames", "0-1", "--no-preview")
    assert code == 0, stderr
    assert len(list(tmp_path.glob("*.hdr"))) == 2


def test_scores(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = ("eval", "--scenes", "1", "--frames", "3", "--size", "64x48", "--model", "classical", "-o", tmp_path)
    code, _, stderr = hdrvid(capfd, *command)
    assert code == 0, stderr
    assert json.loads((tmp_path / "results.json").read_text())["overall"]["psnr_t"] > 20
    assert "</html>" in (tmp_path / "report.html").read_text()


def test_two_steps_of_training(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with made_in_process():
        code, _, stderr = hdrvid(capfd, "train", "--preset", "fast", *TINY_TRAINING, "-o", tmp_path / "run")
    assert code == 0, stderr
    assert (tmp_path / "run" / "model.safetensors").is_file()
