"""What stands beside the code: images for Docker, the citation, advice for those who help, and recipes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_cli import hdrvid
from test_reconstruct import scene_radiance

from hdrvid import __version__
from hdrvid.io.exr import read_exr

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILES = ["Dockerfile", "Dockerfile.cuda"]
EXAMPLES = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")


def instructions(name: str) -> list[tuple[str, str]]:
    """(instruction, its arguments) of a Dockerfile without comments."""
    lines = [line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return [tuple(line.split(" ", 1)) for line in lines if line]  # type: ignore[misc]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_is_built_from_files_that_exist_and_runs_as_a_user(name: str) -> None:
    steps = instructions(name)
    bases = [rest.split()[0] for word, rest in steps if word == "FROM"]
    assert len(bases) == 2, "what builds is not in the image"
    assert all(re.fullmatch(r"python:3\.1[123]-slim-\w+", base) for base in bases)
    for word, rest in steps:
        if word == "COPY" and not rest.startswith("--from"):
            assert all((ROOT / source).exists() for source in rest.split()[:-1]), rest
        if word == "RUN" and "pip install" in rest:
            assert "--no-cache-dir" in rest
            assert "--constraint constraints.txt" in rest
    assert [rest for word, rest in steps if word == "USER"] == ["1000"]
    assert ("ENTRYPOINT", '["hdrvid"]') in steps


def test_all_that_the_wheel_is_built_from_is_copied() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed |= {*wheel["packages"], *wheel["force-include"]}
    for name in DOCKERFILES:
        copied = [rest.split()[:-1] for word, rest in instructions(name) if word == "COPY"]
        assert needed <= {source for sources in copied for source in sources}


@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint_finds_nothing(name: str) -> None:
    program = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("needs hadolint")
    done = subprocess.run([program, str(ROOT / name)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_citation_is_of_this_version() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    given = dict(re.findall(r"^([a-z-]+): *(.*)$", text, re.MULTILINE))
    assert {"cff-version", "message", "title", "authors"} <= set(given), "what the format asks for"
    assert (given["cff-version"], given["type"], given["version"]) == ("1.2.0", "software", __version__)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert given["license"] == project["license"]


def test_a_folder_of_a_sequencer_with_its_table(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The recipe for machine vision: 12 bits in 16-bit PNG, exposures in microseconds."""
    recipe = EXAMPLES[EXAMPLES.index("**Basler") :]
    rows = re.findall(r"^(Image__\d+\.png),(\d+)$", recipe, re.MULTILINE)
    folder = tmp_path / "basler"
    folder.mkdir()
    times = [int(time) for _, time in rows] * 3
    names = [f"Image__{i:04d}.png" for i in range(len(times))]
    assert [name for name, _ in rows] == names[:2]
    for i, (name, time) in enumerate(zip(names, times, strict=True)):
        light = np.clip(scene_radiance(i, 96, 64) * (time / times[0]), 0, 1)
        cv2.imwrite(str(folder / name), np.round(light[..., ::-1] * 4095).astype(np.uint16))
    lines = ["file,exposure_us", *(f"{name},{time}" for name, time in zip(names, times, strict=True))]
    (folder / "exposures.csv").write_text("\n".join(lines) + "\n")
    options = ("--response", "linear", "--device", "cpu", "--model", "classical", "--no-preview")
    code, stdout, stderr = hdrvid(capfd, "reconstruct", folder, "-o", tmp_path / "out", *options)
    assert code == 0, stderr
    assert "exposures 0,3 stops (recorded)" in stdout
    result = read_exr(tmp_path / "out" / "basler.0002.exr")[0]
    truth = scene_radiance(2, 96, 64) * 8
    unclipped = scene_radiance(2, 96, 64).max(-1) < 0.9
    np.testing.assert_allclose(np.median(result[unclipped] / truth[unclipped]), 1.0, atol=0.02)
    assert len(list((tmp_path / "out").glob("*.exr"))) == len(names)
