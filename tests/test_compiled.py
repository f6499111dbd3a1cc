"""Compiled networks give the same frames; where nothing can be compiled they run as they are and say so."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from test_models import busy_networks, window

from hdrvid.predict.runner import ModelRunner


def runners(preset: str) -> tuple[ModelRunner, ModelRunner]:
    plain, compiled = (
        ModelRunner("x", 2, *busy_networks(preset, 2), device="cpu", precision="fp32", compiled=c)
        for c in (False, True)
    )
    return plain, compiled


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_frames_are_the_same():
    w, _ = window((64, 96))
    plain, compiled = runners("default")
    assert np.abs(plain.reconstruct(w).radiance - compiled.reconstruct(w).radiance).max() < 1e-4
    assert not compiled.notes


@pytest.mark.parametrize("preset", ["default", "memo"])
@pytest.mark.parametrize("error", [RuntimeError("no compiler\nat all"), OSError("no compiler")])
def test_without_a_compiler_the_networks_run_as_they_are(preset, error, monkeypatch):
    def refuse(*inputs: torch.Tensor) -> None:
        raise error

    monkeypatch.setattr(torch, "compile", lambda function, **options: refuse)
    w, _ = window((48, 64))
    plain, compiled = runners(preset)
    for _ in range(2):
        np.testing.assert_array_equal(compiled.reconstruct(w).radiance, plain.reconstruct(w).radiance)
    assert compiled.notes == ["the networks run as they are, for they cannot be compiled here (no compiler)"]


def test_memory_that_runs_out_is_no_reason_not_to_compile(monkeypatch):
    def crowded(*inputs: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch, "compile", lambda function, **options: crowded)
    with pytest.raises(torch.OutOfMemoryError):
        runners("default")[1].networks["merge"].network(torch.zeros(1, 27, 16, 16))
