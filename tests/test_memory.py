"""Memory that does not grow with the clip, and tiles that follow the memory there is."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from test_models import busy_networks, window
from test_reconstruct import options, write_frames

from hdrvid import machine
from hdrvid.errors import ModelError
from hdrvid.models.merge_net import BlendNet
from hdrvid.pipeline import setup
from hdrvid.pipeline.run import reconstruct_clip
from hdrvid.predict import device
from hdrvid.predict.device import resolve_device
from hdrvid.predict.runner import ModelRunner

CPU = torch.device("cpu")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


class Crowded(torch.nn.Module):
    """A network that needs more memory than there is for more than `most` pixels."""

    def __init__(self, network: torch.nn.Module, most: int, error: str) -> None:
        super().__init__()
        self.most, self.error = most, error
        self.crowded = network
        self.num_weights, self.weight_channels = network.num_weights, network.weight_channels

    def network(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] * x.shape[-2] > self.most:
            raise torch.OutOfMemoryError(self.error) if "CUDA" in self.error else RuntimeError(self.error)
        return self.crowded.network(x)

    def forward(self, *candidates: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x, *others = self.crowded.features(*candidates)
        return self.crowded.result(self.network(x), candidates[1], *others)


def crowded(monkeypatch: pytest.MonkeyPatch, most: int, error: str) -> ModelRunner:
    config, networks = busy_networks("default", 2)
    monkeypatch.setattr("hdrvid.predict.runner.BlendNet", (BlendNet, Crowded))
    networks["merge"] = Crowded(networks["merge"], most, error)
    return ModelRunner("x", 2, config, networks, device="cpu", precision="fp32")


@pytest.mark.parametrize("error", ["CUDA out of memory.", "DefaultCPUAllocator: can't allocate memory: you tried ..."])
def test_tiles_become_smaller_when_the_memory_runs_out(error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    w, _ = window((480, 700))
    config, networks = busy_networks("default", 2)
    whole = ModelRunner("x", 2, config, networks, device="cpu", precision="fp32", tile="off").reconstruct(w).radiance
    model = crowded(monkeypatch, 330 * 330, error)
    tiled = model.reconstruct(w).radiance
    assert np.abs(whole - tiled).max() < 2e-3
    assert model.notes == [
        "the memory of cpu ran out: going on with tiles of 512 px",
        "the memory of cpu ran out: going on with tiles of 256 px",
        "the memory of cpu ran out: going on with tiles of 128 px",
    ]
    model.reconstruct(w)
    assert len(model.notes) == 3  # the smaller tiles stay


def test_too_little_memory_for_any_tile_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    model = crowded(monkeypatch, 100, "CUDA out of memory.")
    with pytest.raises(ModelError, match="frames of 90x60 do not fit the memory of cpu"):
        model.reconstruct(window((60, 90))[0])


def test_other_errors_are_not_taken_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model = crowded(monkeypatch, 100, "something else")
    with pytest.raises(RuntimeError, match="something else"):
        model.reconstruct(window((60, 90))[0])


GIB = 2**30


@pytest.mark.parametrize(
    ("height", "width", "free", "side"),
    [
        (720, 1280, None, None),
        (1080, 1920, 64 * GIB, None),
        (1080, 1920, 2 * GIB, 512),
        (2160, 3840, None, 1024),
        (2160, 3840, 64 * GIB, 1024),
        (2160, 3840, 4 * GIB, 512),
        (2160, 3840, GIB // 8, 128),  # nothing fits: as little as can be
    ],
)
def test_tile_follows_the_free_memory(
    height: int, width: int, free: int | None, side: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hdrvid.predict.runner.available_memory", lambda device: free)
    model = ModelRunner("x", 2, *busy_networks("default", 2), device="cpu")
    assert model.tile_side(height, width) == side
    assert len(model.notes) == (free is not None and side not in (None, 1024))
    assert ModelRunner("x", 2, *busy_networks("default", 2), device="cpu", tile=200).tile_side(height, width) == 200
    assert ModelRunner("x", 2, *busy_networks("default", 2), device="cpu", tile="off").tile_side(height, width) is None


def test_an_accelerator_cuts_only_what_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    for free, side in ((140 * GIB, None), (40 * GIB, 4096), (12 * GIB, 1024)):
        monkeypatch.setattr("hdrvid.predict.runner.available_memory", lambda device, free=free: free)
        model = ModelRunner("x", 2, *busy_networks("default", 2), device="cpu")
        model.device = torch.device("meta")
        assert model.tile_side(4320, 7680) == side
        assert not model.notes  # nothing is lost


@linux_only
def test_free_memory_is_known() -> None:
    assert 2**20 < machine.available_memory() < 2**50
    assert device.available_memory(resolve_device("cpu")) is not None


def test_what_the_model_notes_is_in_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_frames(tmp_path / "clip", num_frames=4)
    load = setup.load_reconstructor

    def noting(*args: object, **kwargs: object) -> ModelRunner:
        model = load(*args, **kwargs)
        model.notes.append("the memory of cuda ran out: going on with tiles of 512 px")
        return model

    monkeypatch.setattr(setup, "load_reconstructor", noting)
    said: list[str] = []
    report = reconstruct_clip([str(clip)], tmp_path / "out", options(), message=said.append)
    assert report.as_dict()["warnings"] == ["the memory of cuda ran out: going on with tiles of 512 px"]
    assert [s for s in said if "ran out" in s] == ["warning: the memory of cuda ran out: going on with tiles of 512 px"]


def test_large_frames_take_the_way_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done to hold fewer frames changes nothing."""
    clip = write_frames(tmp_path / "clip", num_frames=6)
    reconstruct_clip([str(clip)], tmp_path / "plain", options())
    monkeypatch.setattr("hdrvid.pipeline.job.LARGE_PIXELS", 0)
    monkeypatch.setattr("hdrvid.flow.dense_inverse_search.ALONE_ABOVE_PIXELS", 0)
    reconstruct_clip([str(clip)], tmp_path / "large", options())
    for path in sorted((tmp_path / "plain").glob("*.[em][xp]*")):
        assert path.read_bytes() == (tmp_path / "large" / path.name).read_bytes(), path.name


# A long clip


def resident_mebibytes(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


@linux_only
@pytest.mark.slow
def test_10000_frames_need_no_more_memory_than_1000(tmp_path: Path) -> None:
    """A tenth of the way in everything that is kept per frame would show ninefold at the end."""
    pictures = [np.asarray(p) for p in _pictures(tmp_path)]
    clip, out = tmp_path / "long.mkv", tmp_path / "out"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "bgr0"
        for i in range(10_000):
            position = i % (2 * len(pictures) - 2)  # there and back: exposures go on alternating, nothing jumps
            picture = pictures[min(position, 2 * len(pictures) - 2 - position)]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="bgr0")))
        container.mux(stream.encode(None))
    process = subprocess.Popen(
        [sys.executable, "-m", "hdrvid", "reconstruct", str(clip), "-o", str(out), "--model", "classical"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    sizes: dict[int, float] = {}

    def watch() -> None:
        while process.poll() is None:
            with suppress(OSError, StopIteration):
                sizes[sum(1 for _ in out.glob("*.exr"))] = resident_mebibytes(process.pid)
            time.sleep(1.0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert process.wait() == 0
    watcher.join()
    assert len(list(out.glob("*.exr"))) == 10_000
    early = max(size for done, size in sizes.items() if 500 < done <= 1500)
    late = max(size for done, size in sizes.items() if done > 9000)
    assert late < early + 24, sizes


def _pictures(folder: Path) -> list[np.ndarray]:
    import cv2

    clip = write_frames(folder / "frames", num_frames=9, width=64, height=48)
    return [cv2.imread(str(p))[..., ::-1].copy() for p in sorted(clip.iterdir())]
