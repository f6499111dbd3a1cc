"""Shared settings of the tests, and the clip and the results that several of them compare with."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hdrvid.compiled import vectors

os.environ.setdefault("OMP_NUM_THREADS", "2")
# as the command does, which some tests start: what one compiles others find
os.environ[vectors.OWN_PROCESS] = "1"
vectors.widen()


COMPILE = """
from dataclasses import replace
from hdrvid.compiled.first_run import FirstRun
from hdrvid.predict.registry import load_reconstructor
calls = load_reconstructor("default", 2, device="cpu").compiled_calls
with FirstRun() as run:
    run.add(replace(calls, display=True))
    run.finish()
"""


def pytest_sessionstart(session: pytest.Session) -> None:
    """What most tests call is compiled once, on all cores, before several processes would each compile it."""
    processes = session.config.getoption("numprocesses", None)
    if processes and not hasattr(session.config, "workerinput"):
        environment = os.environ | {"OMP_NUM_THREADS": str(processes), "CUDA_VISIBLE_DEVICES": ""}
        subprocess.run([sys.executable, "-c", COMPILE], env=environment, check=False)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Frames of a few thousand pixels are slower on several threads. For modules that use only such."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 8 small frames with two exposures."""
    from test_reconstruct import write_frames

    return write_frames(tmp_path_factory.mktemp("clips") / "clip")


@pytest.fixture(scope="module")
def undisturbed(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the classical model makes of `clip`, of the module's own where it has one."""
    from test_reconstruct import CLASSICAL

    from hdrvid.pipeline.run import reconstruct_clip

    out = tmp_path_factory.mktemp("undisturbed") / "out"
    reconstruct_clip([str(clip)], out, CLASSICAL)
    return out


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of frames with two exposures whose results reports are made of."""
    from test_reconstruct import write_frames
    from test_viewer import NUM_FRAMES

    return write_frames(tmp_path_factory.mktemp("reported") / "shot", num_frames=NUM_FRAMES)


@pytest.fixture(scope="module")
def finished(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of `original` that nobody may change."""
    from test_viewer import reconstructed

    return reconstructed(original, tmp_path_factory.mktemp("reported") / "out")


@pytest.fixture
def results(finished: Path, tmp_path: Path) -> Path:
    """The same results, of a test's own."""
    return shutil.copytree(finished, tmp_path / "out")
