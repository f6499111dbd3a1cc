"""What a run leaves behind to be looked at: a line of JSON a report, and TensorBoard where it is installed."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hdrvid.color.radiance import mu_law
from hdrvid.pictures import flow_picture
from hdrvid.train.objective import Result

LOG = "log.jsonl"


class TrainLog:
    """Writes `log.jsonl`, and TensorBoard events into `tensorboard/` with the extra `train`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOG
        self._board: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._board = SummaryWriter(str(folder / "tensorboard"))

    def scalars(self, step: int, entry: dict[str, Any]) -> None:
        """One report."""
        with suppress(OSError), self._path.open("a") as log:  # a full disk is reported with the checkpoint
            log.write(json.dumps({"step": step, **entry}) + "\n")
        if self._board is not None:
            for name, value in entry.items():
                if isinstance(value, float):
                    self._board.add_scalar(name, value, step)

    def pictures(self, step: int, result: Result, truth: torch.Tensor) -> None:
        """The first sample of a validation batch: reference, weights, flow, result and truth, side by side."""
        if self._board is None:
            return
        strip = picture_strip(result, truth)
        self._board.add_image("validation", torch.from_numpy(strip).permute(2, 0, 1), step)

    def close(self) -> None:
        """Finish the event file."""
        if self._board is not None:
            self._board.close()


def picture_strip(result: Result, truth: torch.Tensor) -> np.ndarray:
    """(H, n W, 3) float32 in [0, 1] of the first sample.

    Reference; weights of the reference (red), the first and the last neighbour (green, blue); flow to the first
    neighbour, hue = direction; result and truth (B, 3, H, W), mu-law.
    """
    k = result.flows.shape[1]
    weights = result.weights[0, [0, 1, k]].mean(1)
    flow = result.flows[0, 0].permute(1, 2, 0).cpu().numpy()
    pieces = [result.codes[0, 0], weights, torch.from_numpy(flow_picture(flow)).permute(2, 0, 1) / 255]
    pieces += [mu_law(result.radiance[0]), mu_law(truth[0])]
    strip = torch.cat([p.float().cpu().clamp(0, 1) for p in pieces], 2)
    return np.ascontiguousarray(strip.permute(1, 2, 0).numpy())
