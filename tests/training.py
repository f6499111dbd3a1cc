"""Tiny training runs: material made in this process, and few windows to validate on."""

from __future__ import annotations

import json
import multiprocessing.dummy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from hdrvid.data import windows
from hdrvid.data.windows import SampleOptions, TrainingWindows, UnlabelledWindows
from hdrvid.io.exr import write_exr
from hdrvid.train import TrainOptions, material

TINY = TrainOptions(windows=6, window_size=64, crop=32, batch=2, epochs=1, steps_per_epoch=8, seed=3, real=0.0)
NUM_VALIDATION = 4


@contextmanager
def made_in_process(num_validation: int | None = NUM_VALIDATION) -> Iterator[None]:
    """Threads instead of processes make the windows: starting a process takes longer than all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "multiprocessing", SimpleNamespace(get_context=lambda _: multiprocessing.dummy))
        if num_validation:
            patch.setattr(material, "NUM_VALIDATION", num_validation)
        yield


def write_sequence(folder: Path, names: Sequence[str], size: tuple[int, int] = (70, 80)) -> None:
    """EXR frames of a texture that moves by a pixel a frame, other for every folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(folder.name.encode()))
    texture = np.exp2(rng.uniform(-6, 3, (size[0], size[1] + len(names), 3))).astype(np.float32)
    for i, name in enumerate(names):
        write_exr(folder / f"{name}.exr", texture[:, i : i + size[1]], compression="none")


def numbered(prefix: str, first: int, count: int, digits: int = 6) -> list[str]:
    return [f"{prefix}{first + i:0{digits}d}" for i in range(count)]


def batch_of(folder: Path, sample: SampleOptions, size: int, *, labelled: bool = True) -> dict[str, torch.Tensor]:
    """The first samples of a cache."""
    kind = TrainingWindows if labelled else UnlabelledWindows
    return next(iter(DataLoader(kind(folder, sample, size), batch_size=size)))


def log_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
