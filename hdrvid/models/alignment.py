"""Classical alignment: dense inverse search flow (Kroeger et al. 2016) on exposure-matched frames, in OpenCV.

Two frames of different exposure are both brought to the LONGER one: what it clips is clipped in both, so that they
show the same picture up to noise. Flow is estimated in both directions for the forward-backward check.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from hdrvid.radiance import match_exposure

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Rec. 601 luma of display-coded RGB."""


def matched_luma8(ldr: np.ndarray, exposure: float, target: float) -> np.ndarray:
    """Network-coded frame (H, W, 3) at the code of another exposure, luma as uint8 (H, W)."""
    matched = ldr if exposure == target else match_exposure(ldr, exposure, target)
    return np.rint((matched @ LUMA) * 255.0).clip(0, 255).astype(np.uint8)


class DenseInverseSearch:
    """OpenCV's DIS flow, the same to the bit on every number of cores.

    OpenCV cuts the picture into one stripe a thread and the result depends on the cut, so it is held to one thread
    (process-wide, `cv2.setNumThreads(1)`) and the pairs of a window run beside one another instead. The flow of a
    pair of frames is kept for the next windows, which need the same pair. Small frames are padded by edge replication.
    The search ends at half resolution, OpenCV's setting `medium`. At full resolution it takes 6 to 11 times as long:
    worth 1.25 dB in the classical merge of 24 validation windows, and 0.07 dB once the flow is refined.
    """

    MIN_SIDE = 32
    KEPT_PAIRS = 8

    def __init__(self, workers: int = 1) -> None:
        import cv2

        cv2.setNumThreads(1)
        self._cv2: Any = cv2
        self._pool = ThreadPoolExecutor(workers) if workers > 1 else None
        self._kept: OrderedDict[tuple[int, int], tuple[np.ndarray, np.ndarray, Any, Any]] = OrderedDict()

    def flow(self, reference: np.ndarray, source: np.ndarray) -> np.ndarray:
        """Backward flow (H, W, 2) in pixels from two uint8 pictures (H, W): source(x + flow) shows reference(x)."""
        h, w = reference.shape
        pad_h, pad_w = max(self.MIN_SIDE - h, 0), max(self.MIN_SIDE - w, 0)
        if pad_h or pad_w:
            reference = np.pad(reference, ((0, pad_h), (0, pad_w)), mode="edge")
            source = np.pad(source, ((0, pad_h), (0, pad_w)), mode="edge")
        dis = self._cv2.DISOpticalFlow_create(self._cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        flow = dis.calc(np.ascontiguousarray(reference), np.ascontiguousarray(source), None)
        return np.nan_to_num(flow[:h, :w])

    def window(self, frames: Sequence[np.ndarray], exposures: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """Flows between the middle frame of a window and its K neighbours, in time order.

        `frames` (H, W, 3) network-coded. Returns (forward, backward), each (K, H, W, 2) float32 pixels:
        reference -> neighbour and neighbour -> reference.
        """
        middle = len(frames) // 2
        jobs: list[tuple[int, np.ndarray, np.ndarray]] = []
        for i in range(len(frames)):
            if i == middle:
                continue
            a, b = frames[middle], frames[i]
            if (id(a), id(b)) in self._kept or any(frames[j] is b for j, *_ in jobs):
                continue
            target = max(exposures[middle], exposures[i])
            pictures = matched_luma8(a, exposures[middle], target), matched_luma8(b, exposures[i], target)
            jobs.append((i, *pictures))
        calls = [(a, b) for _, a, b in jobs] + [(b, a) for _, a, b in jobs]
        run = self._pool.map if self._pool else map
        flows = list(run(lambda pair: self.flow(*pair), calls))
        for n, (i, *_) in enumerate(jobs):
            self._keep(frames[middle], frames[i], flows[n], flows[len(jobs) + n])
        pairs = [self._kept[id(frames[middle]), id(f)] for i, f in enumerate(frames) if i != middle]
        return np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])

    def _keep(self, a: np.ndarray, b: np.ndarray, forward: np.ndarray, backward: np.ndarray) -> None:
        # the frames are kept with the flow, so that an id cannot be given to another array meanwhile
        self._kept[id(a), id(b)] = (forward, backward, a, b)
        self._kept[id(b), id(a)] = (backward, forward, b, a)
        while len(self._kept) > 2 * self.KEPT_PAIRS:
            self._kept.popitem(last=False)
