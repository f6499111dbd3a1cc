"""Two processes under torchrun train as one does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from training import log_of, made_in_process

from hdrvid.cli.app import run
from hdrvid.train import TERMS

pytestmark = pytest.mark.usefixtures("one_thread")
TRAIN = (
    *("train", "--device", "cpu", "--shots", "1", "--epochs", "3", "--steps-per-epoch", "2", "--batch", "4"),
    *("--crop", "32", "--window-size", "64", "--windows", "4", "--workers", "0", "--patience", "9", "--seed", "3"),
)


def two_processes(*arguments: str) -> subprocess.CompletedProcess[str]:
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "hdrvid")
    hidden = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HDRVID_DEBUG": ""}
    return subprocess.run(
        [sys.executable, *launch, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ | hidden,
    )


def test_two_processes_are_one(tmp_path: Path) -> None:
    cache = ("--cache", str(tmp_path / "cache"))
    with made_in_process(num_validation=None):
        assert run([*TRAIN, *cache, "-o", str(tmp_path / "one")]) == 0
    done = two_processes(*TRAIN, *cache, "-o", str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "two" / "model.safetensors")]  # the first process speaks for all
    one, two = log_of(tmp_path / "one"), log_of(tmp_path / "two")
    assert [e["step"] for e in one] == [e["step"] for e in two] == [2, 4, 6]
    for a, b in zip(one, two, strict=True):
        measured = [k for k in a if not k.endswith("samples_per_second")]
        assert {"loss", "validation_psnr_t"} < set(measured)
        for name in measured:
            assert b[name] == (pytest.approx(a[name], rel=1e-4) if isinstance(a[name], float) else a[name]), name
    assert set(TERMS) <= set(one[1])


def test_a_batch_that_cannot_be_shared_is_one_sentence(tmp_path: Path) -> None:
    done = two_processes(*TRAIN, "--batch", "3", "-o", str(tmp_path / "out"))
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("hdrvid: error: ")]
    assert set(said) == {
        "hdrvid: error: a batch of 3 cannot be cut into 2 equal pieces (2 processes, --accumulate 1): "
        "give --batch a multiple of 2"
    }
    assert "hdrvid/" not in done.stderr  # the traceback of the launcher names none of our files
    assert "exitcode  : 2" in done.stderr
    assert not (tmp_path / "out").exists()
