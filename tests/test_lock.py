"""Two runs must not write the same frames."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hdrvid.errors import OutputError
from hdrvid.io.lock import folder_lock, frames_lock

HOLD = """
import sys, time
from pathlib import Path
from hdrvid.io.lock import frames_lock
with frames_lock(Path(sys.argv[1]), "shot", 10, 19):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize(("first", "last"), [(0, None), (19, 30), (0, 10), (12, 13), (10, 19)])
def test_overlapping_frames_are_refused(tmp_path: Path, holder: subprocess.Popen[str], first: int, last: int | None):
    with (
        pytest.raises(OutputError, match="another run is writing frames of shot"),
        frames_lock(tmp_path, "shot", first, last),
    ):
        pass
    assert [p.name for p in tmp_path.iterdir()] == [".shot.10-19.run"]


@pytest.mark.parametrize(("stem", "first", "last"), [("shot", 0, 9), ("shot", 20, None), ("other", 0, None)])
def test_other_frames_are_free(tmp_path: Path, holder: subprocess.Popen[str], stem: str, first: int, last: int | None):
    with frames_lock(tmp_path, stem, first, last):
        assert len(list(tmp_path.iterdir())) == 2
    assert [p.name for p in tmp_path.iterdir()] == [".shot.10-19.run"]


def test_killed_run_claims_nothing(tmp_path: Path, holder: subprocess.Popen[str]):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with frames_lock(tmp_path, "shot", 0, None):
        assert [p.name for p in tmp_path.iterdir()] == [".shot.0-end.run"]
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_made(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"), frames_lock(tmp_path / "file", "shot", 0, None):
        pass


def test_folders_that_an_error_leaves_empty_are_removed(tmp_path: Path):
    """Those that were there before stay, and so do those with something in them."""
    kept = tmp_path / "kept"
    kept.mkdir()
    for folder in (kept, tmp_path / "new" / "below"):
        with folder_lock(folder, "train"):
            assert folder.is_dir()
    with folder_lock(tmp_path / "filled", "train"):
        (tmp_path / "filled" / "frame").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["filled", "kept"]
