"""What runs beside an accelerator, on tensors of the device `meta`: they have shapes and a device but no values.

Whoever waits for a value of theirs, or mixes them with tensors of the CPU, gets an error. So a window that passes is
computed on its device from the first step to the last, and nobody waits for it in between. Where there is CUDA, its
frames are compared with those of the CPU.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hdrvid.bench.clip import make_clip
from hdrvid.metrics import psnr_t
from hdrvid.predict import device
from hdrvid.predict.registry import load_reconstructor
from hdrvid.predict.runner import ModelRunner
from hdrvid.types import ExposureCycle, Window

META = torch.device("meta")


class Stages:
    """Stands for the clock: knows the stage."""

    name = ""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.name = name
        yield


class Sent(TorchDispatchMode):
    """Notes the stages in which something is copied from the CPU to the device."""

    def __init__(self, stages: Stages) -> None:
        super().__init__()
        self.stages, self.found = stages, set[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [a for a in tree_leaves((args, kwargs, result)) if isinstance(a, torch.Tensor)]
        if len({t.device.type for t in tensors if t.ndim}) > 1:
            self.found.add(self.stages.name)
        return result


@pytest.fixture
def meta(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hdrvid.predict.runner.resolve_device", lambda _: META)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it does not know the device
    monkeypatch.setattr(ModelRunner, "_result", lambda self, canvas, flows, size: (canvas.radiance, canvas.weights))
    monkeypatch.setattr(ModelRunner, "_checked", lambda self, result, *_: result)  # on the CPU, of what has come back


def window(num_exposures: int) -> Window:
    rng = np.random.default_rng(0)
    number = 2 * num_exposures - 1
    frames = tuple(rng.random((100, 130, 3), dtype=np.float32) for _ in range(number))
    return Window(num_exposures - 1, frames, tuple(8.0 ** (i % num_exposures) for i in range(number)))


@pytest.mark.usefixtures("meta")
@pytest.mark.parametrize("tile", ["auto", 64])
@pytest.mark.parametrize(
    ("model", "num_exposures"),
    [("default", 2), ("default", 3), ("fast", 2), ("fast", 3), ("memo", 2), ("classical", 2)],
)
def test_a_window_stays_on_its_device_and_nobody_waits_for_it(
    model: str, num_exposures: int, tile: str | int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as on_cpu:
        on_cpu.setattr(device, "resolve_device", torch.device)
        loaded = load_reconstructor(model, num_exposures, device="cpu")
    made = ModelRunner(model, num_exposures, loaded.config, loaded.networks, device="meta", precision="fp32", tile=tile)
    stages = Stages()
    made.clock = stages  # type: ignore[assignment]
    make = torch.tensor

    def tensor(*args: Any, **kwargs: Any) -> torch.Tensor:
        sent.found.add(stages.name)  # made on the CPU, and sent without any operator that could be seen
        return make(*args, **kwargs)

    with Sent(stages) as sent:
        monkeypatch.setattr(torch, "tensor", tensor)
        radiance, weights = made.reconstruct(window(num_exposures), diagnostics=True)  # type: ignore[misc]
    assert radiance.device == weights.device == META
    assert radiance.shape == (100, 130, 3)
    assert weights.shape[-2:] == (100, 130)
    assert sent.found == {"prepare"}  # frames and flows go there at once, and nothing later


@pytest.mark.usefixtures("meta")
def test_waiting_for_a_value_is_noticed() -> None:
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        float(torch.ones(3, device=META).sum())
    with pytest.raises(RuntimeError, match="meta"):
        torch.ones(3, device=META) + torch.ones(3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("precision", "decibels"), [("fp32", 60.0), ("fp16", 55.0), ("bf16", 45.0)])
@pytest.mark.parametrize(("model", "num_exposures"), [("default", 2), ("default", 3), ("fast", 2), ("memo", 2)])
def test_cuda_makes_the_frames_of_the_cpu(model: str, num_exposures: int, precision: str, decibels: float) -> None:
    cycle = ExposureCycle((0, 3) if num_exposures == 2 else (0, 2, 4))
    windows = list(itertools.islice(make_clip((320, 192), cycle, 12).windows(), 4))
    exact = load_reconstructor(model, num_exposures, device="cpu", precision="fp32")
    expected = [exact.reconstruct(w).radiance for w in windows]
    on_cuda = load_reconstructor(model, num_exposures, device="cuda", precision=precision)
    for w in windows[: on_cuda.look_ahead]:
        on_cuda.expect(w)
    for w, frame in zip(windows, expected, strict=True):
        assert psnr_t(on_cuda.reconstruct(w).radiance, frame) > decibels
