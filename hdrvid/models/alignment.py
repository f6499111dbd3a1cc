"""Classical alignment: dense inverse search flow (Kroeger et al. 2016) on exposure-matched frames, in OpenCV.

Two frames of different exposure are both brought to the LONGER one: what it clips is clipped in both, so that they
show the same picture up to noise. Flow is estimated in both directions for the forward-backward check.

DIS finds the wrong motion where a pixel says little: in noise, in what a frame clips, where exposures are so far apart
that what one shows is noise in the other. So there are two more candidates, and each pixel takes the one that fits
best, both neighbours to the reference and to each other:
    through     frames of EQUAL exposure before and after the reference match wherever they are exposed at all; the
                motion from one to the other, divided at the time of the reference. Exposures far apart only.
    camera      the homography of most of the picture (RANSAC, Fischler & Bolles 1981): hand-held and panning cameras.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np

from hdrvid import cpu
from hdrvid.radiance import match_exposure

Item = TypeVar("Item")
Made = TypeVar("Made")

WIDE_RATIO = 2.0**3.9
"""Ratio of exposures, just under 4 stops, from which the flow through the reference is a candidate. Alone it loses to
DIS at 3 stops."""
FIT_SIGMA = 2.0
"""Standard deviation, in pixels, of the Gaussian over which the misfit of a candidate is averaged."""
CAMERA_ADVANTAGE = 0.5
"""Misfit, in codes of 255, that the camera's motion is allowed beyond the others': where nothing tells, it is right."""
CAMERA_POINTS = 4000
"""Points that the homography is fitted to."""
CAMERA_TOLERANCE = 1 / 960
"""Misfit of a point that belongs to the homography, in widths of the picture; at least one pixel."""
CAMERA_SHARE = 0.25
"""Share of the points that must belong to it."""

WHOLE_BELOW_PIXELS = 400_000
"""Frames larger than this are halved to compare candidates: a quarter of the time and memory. Halving 448x256 cost 0.03
to 0.05 dB of PSNR-T."""

ALONE_ABOVE_PIXELS = 12_000_000
"""The search takes about 50 bytes a pixel: of frames larger than this, one runs at a time."""

SEARCHES = {
    "medium": ("DISOPTICAL_FLOW_PRESET_MEDIUM", None),
    "short": ("DISOPTICAL_FLOW_PRESET_MEDIUM", (12, 3)),
    "fast": ("DISOPTICAL_FLOW_PRESET_FAST", None),
}
"""OpenCV's settings of the search, and its steps of gradient descent and of variational refinement where they are not
those (25 and 5 of `medium`). Where a network refines the flow, 12 and 3 do: 47.278 instead of 47.267 dB PSNR-T on 12
held-out panoramas, 43.634 instead of 43.708 dB on six own scenes, in two thirds of the time. No variational refinement
would lose 0.12 and 0.15 dB, patches 4 instead of 3 pixels apart 0.01 and 0.09 dB. Exposures far apart (WIDE_RATIO) take
all steps: at 5 stops fewer lose 0.12 dB."""

BLOCK_PIXELS = 30_000


def matched_luma8(ldr: np.ndarray, exposure: float, target: float) -> np.ndarray:
    """Network-coded frame (H, W, 3) at the code of another exposure, Rec. 601 luma as uint8 (H, W)."""
    import cv2

    luma = np.empty(ldr.shape[:2], np.uint8)
    for rows in cpu.row_blocks(slice(0, ldr.shape[0]), ldr.shape[1], BLOCK_PIXELS):
        block = ldr[rows]
        matched = block if exposure == target else match_exposure(block, exposure, target)
        grey = cv2.cvtColor(np.ascontiguousarray(matched, np.float32), cv2.COLOR_RGB2GRAY)
        luma[rows] = np.rint(grey * np.float32(255.0)).clip(0, 255)
    return luma


class DenseInverseSearch:
    """OpenCV's DIS flow, the same to the bit on every number of cores.

    OpenCV cuts the picture into one stripe a thread and the result depends on the cut, so it is held to one thread
    (process-wide, `cv2.setNumThreads(1)`) and the pairs of a window run beside one another instead. The flow of a
    pair of frames is kept for the next windows, which need the same pair. Small frames are padded by edge replication.
    Windows that follow one another may be searched at the same time, from several threads.
    The search ends at half resolution with OpenCV's setting `medium` and with `short`, at a quarter with `fast` in a
    fifth of the time. At full resolution it takes 6 to 11 times as long:
    worth 1.25 dB in the classical merge of 24 validation windows, and 0.07 dB once the flow is refined.
    """

    MIN_SIDE = 32

    def __init__(self, workers: int = 1, candidates: bool = True, search: str = "medium") -> None:
        """`workers` pairs of frames at a time; `candidates` False leaves DIS alone; `search` is a key of SEARCHES."""
        import cv2

        cv2.setNumThreads(1)
        self._cv2: Any = cv2
        self.candidates = candidates
        preset, self._steps = SEARCHES[search]
        self._preset = getattr(cv2, preset)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="hdrvid-flow") if workers > 1 else None
        self._lock = threading.Lock()
        """Of all that follows."""
        self._kept: dict[tuple[int, int], _Pair] = {}
        self._lumas: dict[tuple[int, float, float, int], tuple[np.ndarray, np.ndarray]] = {}
        self._searched: list[set[int]] = []
        """Ids of the frames of every window that is being searched."""
        self._later: set[int] = set()
        """Ids of the frames that the windows after the last one that was begun may share with it."""

    def flow(self, reference: np.ndarray, source: np.ndarray, thorough: bool = False) -> np.ndarray:
        """Backward flow (H, W, 2) in pixels from two uint8 pictures (H, W): source(x + flow) shows reference(x).

        `thorough`: with all steps of the setting, whatever the search.
        """
        h, w = reference.shape
        pad_h, pad_w = max(self.MIN_SIDE - h, 0), max(self.MIN_SIDE - w, 0)
        if pad_h or pad_w:
            reference = np.pad(reference, ((0, pad_h), (0, pad_w)), mode="edge")
            source = np.pad(source, ((0, pad_h), (0, pad_w)), mode="edge")
        dis = self._cv2.DISOpticalFlow_create(self._preset)
        if self._steps is not None and not thorough:
            dis.setGradientDescentIterations(self._steps[0])
            dis.setVariationalRefinementIterations(self._steps[1])
        flow = dis.calc(np.ascontiguousarray(reference), np.ascontiguousarray(source), None)
        # one number tells: looking at each takes as long as a tenth of the search
        return flow[:h, :w] if np.isfinite(flow.sum()) else np.nan_to_num(flow[:h, :w])

    def _luma(self, frame: np.ndarray, exposure: float, target: float, factor: int = 1) -> np.ndarray:
        """`matched_luma8` of a frame, or of one reduced by a factor; kept for the next windows."""
        key = id(frame), exposure, target, factor
        with self._lock:
            found = self._lumas.get(key)
        if found is None:
            h, w = frame.shape[:2]
            small = frame
            if factor > 1:
                small = self._cv2.resize(frame, (-(-w // factor), -(-h // factor)), interpolation=self._cv2.INTER_AREA)
            # with the frame, so that its id cannot be given to another array meanwhile
            found = matched_luma8(small, exposure, target), frame
            with self._lock:
                self._lumas[key] = found
        return found[0]

    def _each(self, function: Callable[[Item], Made], items: Sequence[Item]) -> list[Made]:
        """[function(i) for i in items], beside one another."""
        return list((self._pool.map if self._pool else map)(function, items))

    def window(self, frames: Sequence[np.ndarray], exposures: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """Flows between the middle frame of a window and its K neighbours, in time order.

        `frames` (H, W, 3) network-coded. Returns (forward, backward), each (K, H, W, 2) float32 pixels:
        reference -> neighbour and neighbour -> reference.
        """
        middle = len(frames) // 2
        mine = {id(f) for f in frames}
        with self._lock:
            self._forget(mine.union(*self._searched))
            self._searched.append(mine)
            # the windows after this one are later ones: pairs with its first frame are done with
            self._later = {id(f) for f in frames[1:]}
        try:
            pairs = [
                self._pair(frames[middle], frames[i], exposures[middle], exposures[i])
                for i in range(len(frames))
                if i != middle
            ]
            found = [pair.forward.result() for pair in pairs] + [pair.backward.result() for pair in pairs]
            both = np.empty((2, len(pairs), *frames[middle].shape[:2], 2), np.float32)
            self._each(lambda job: np.copyto(*job), list(zip(both.reshape(-1, *both.shape[2:]), found, strict=True)))
            forward, backward = both
        except BaseException:
            with self._lock:
                self._forget(set())  # a search that failed is tried again
            raise
        finally:
            with self._lock:
                self._searched.remove(mine)
                if not self._searched:
                    self._forget(self._later)
        if self.candidates:
            for before, after in _equal_exposures(frames, exposures):
                self._choose(frames, exposures, before, after, forward, backward)
        return forward, backward

    def _pair(self, a: np.ndarray, b: np.ndarray, exposure: float, other: float) -> _Pair:
        """The flows between two frames, which are searched unless they are known or being searched."""
        key, target = (id(a), id(b)), max(exposure, other)
        with self._lock:
            if key in self._kept:
                return self._kept[key]
        wide = target / min(exposure, other) >= WIDE_RATIO
        pictures = self._luma(a, exposure, target), self._luma(b, other, target)
        with self._lock:
            if key not in self._kept:
                forward, backward = self._begun((*pictures, wide)), self._begun((*reversed(pictures), wide))
                self._kept[id(a), id(b)] = _Pair(forward, backward, a, b)
                self._kept[id(b), id(a)] = _Pair(backward, forward, b, a)
            return self._kept[key]

    def _begun(self, search: tuple[np.ndarray, np.ndarray, bool]) -> Future[np.ndarray]:
        """A call of `flow`, beside others where their memory allows it."""
        if self._pool and search[0].size <= ALONE_ABOVE_PIXELS:
            return self._pool.submit(self.flow, *search)
        done: Future[np.ndarray] = Future()
        done.set_result(self.flow(*search))
        return done

    def _forget(self, needed: set[int]) -> None:
        """Drop what is kept of frames but those whose ids are needed."""
        self._kept = {key: pair for key, pair in self._kept.items() if needed.issuperset(key)}
        self._lumas = {key: luma for key, luma in self._lumas.items() if key[0] in needed}

    def _choose(
        self,
        frames: Sequence[np.ndarray],
        exposures: Sequence[float],
        before: int,
        after: int,
        forward: np.ndarray,
        backward: np.ndarray,
    ) -> None:
        """Replace, in place, the flows to two neighbours of equal exposure where another candidate fits better.

        Candidates of large frames are compared at half size: the search ends there too.
        """
        cv2 = self._cv2
        middle = len(frames) // 2
        slots = [i - (i > middle) for i in (before, after)]
        target = max(exposures[middle], exposures[before])
        h, w = frames[middle].shape[:2]
        factor = 2 if h * w > WHOLE_BELOW_PIXELS else 1
        small = -(-w // factor), -(-h // factor)
        scale = np.array([small[0] / w, small[1] / h], np.float32)

        def reduced(picture: np.ndarray) -> np.ndarray:
            return cv2.resize(picture, small, interpolation=cv2.INTER_AREA)

        def prepared(i: int) -> tuple[np.ndarray, np.ndarray]:
            lumas = [self._luma(frames[i], exposures[i], wanted, factor) for wanted in (exposures[i], target)]
            return lumas[0], lumas[1]

        (first, first_matched), (_, here), (last, last_matched) = self._each(prepared, (before, middle, after))
        own, matched = (first, last), (first_matched, last_matched)
        reference = here.astype(np.float32)
        same = exposures[before] == target

        def misfit(flows: Sequence[np.ndarray]) -> np.ndarray:
            # both neighbours to the reference, and to each other
            pictures = list(zip(matched, flows, strict=True)) + ([] if same else list(zip(own, flows, strict=True)))
            moved = self._each(lambda pair: self.moved(*pair).astype(np.float32), pictures)
            total = np.abs(moved[0] - reference) + np.abs(moved[1] - reference)
            # with a short reference the neighbours clip, and agree there on nothing
            total += np.abs(moved[-2] - moved[-1]) * np.float32(0.5 if same else 1.0)
            return cv2.GaussianBlur(total, (0, 0), FIT_SIGMA / factor)

        def searched(k: int) -> tuple[np.ndarray, np.ndarray]:
            source = reduced(forward[k]) * scale
            return source, self.consistent(source, reduced(backward[k]) * scale, 1 / factor)

        (source_a, points_a), (source_b, points_b) = self._each(searched, slots)
        sources, points = [source_a, source_b], [points_a, points_b]
        best = misfit(sources)

        def put(into: np.ndarray, flow: np.ndarray, where: np.ndarray) -> None:
            mask = cv2.resize(where.astype(np.uint8), (w, h), interpolation=cv2.INTER_NEAREST)
            cv2.copyTo(cv2.resize(flow / scale, (w, h)), mask, into)

        def take(flows: Sequence[np.ndarray], flows_back: Sequence[np.ndarray], advantage: float = 0.0) -> None:
            nonlocal best
            error = misfit(flows) - advantage
            better = error < best
            best = np.minimum(error, best)
            if not better.any():
                return

            def replace(job: tuple[bool, int, np.ndarray]) -> None:
                onward, slot, flow = job
                if onward:
                    put(forward[slot], flow, better)
                else:
                    put(backward[slot], flow, self.moved(better.astype(np.float32), flow) > 0.5)

            jobs = [(True, *pair) for pair in zip(slots, flows, strict=True)]
            self._each(replace, jobs + [(False, *pair) for pair in zip(slots, flows_back, strict=True)])

        ratio = exposures[before] / exposures[middle]
        if max(ratio, 1 / ratio) >= WIDE_RATIO:
            share = (middle - before) / (after - before)
            a, b = (self._luma(frames[i], exposures[i], exposures[i]) for i in (before, after))
            there, back = (
                reduced(search.result()) * scale for search in [self._begun((a, b, True)), self._begun((b, a, True))]
            )
            # a pixel of the reference lies on the way of one of the frame before, and of one of the frame after
            onward, return_ = self._each(lambda way: self._on_the_way(*way), ((there, share), (back, 1 - share)))
            sources = [share * (return_ - onward) / 2, (1 - share) * (onward - return_) / 2]
            take(sources, (share * there, (1 - share) * back))
            points = [_squared(onward + return_) < factor**-2] * 2
        cameras = self._each(lambda pair: self._camera(*pair, 1 / factor), list(zip(sources, points, strict=True)))
        flows = [c[0] for c in cameras if c is not None]
        if len(flows) == len(slots):
            take(flows, [c[1] for c in cameras if c is not None], CAMERA_ADVANTAGE)

    def consistent(self, flow: np.ndarray, flow_back: np.ndarray, tolerance_px: float = 1.0) -> np.ndarray:
        """Where flow there and back (H, W, 2) ends this close to its start: (H, W) bool."""
        error = flow + self.moved(flow_back, flow)
        return _squared(error) < tolerance_px**2

    def _camera(self, flow: np.ndarray, where: np.ndarray, pixel: float) -> tuple[np.ndarray, np.ndarray] | None:
        """The homography that most of `flow` (H, W, 2) follows, as flow and as flow back; None where there is none.

        `pixel`: size of a pixel of the frame in those of the flow.
        """
        cv2 = self._cv2
        h, w = where.shape
        step = max(int(math.sqrt(h * w / CAMERA_POINTS)), 1)
        y, x = np.nonzero(where[step // 2 :: step, step // 2 :: step])
        y, x = y * step + step // 2, x * step + step // 2
        if len(x) < 16:
            return None
        start = np.stack([x, y], -1).astype(np.float32)
        matrix, belongs = cv2.findHomography(start, start + flow[y, x], cv2.RANSAC, max(pixel, CAMERA_TOLERANCE * w))
        if matrix is None or belongs.mean() < CAMERA_SHARE or abs(np.linalg.det(matrix)) < 1e-6:
            return None
        corners = np.array([[[0, 0], [w, 0], [0, h], [w, h]]], np.float64)
        both = []
        for m in (matrix, np.linalg.inv(matrix)):
            depth = corners[0] @ m[2, :2] + m[2, 2]
            if depth.min() < 0.3 * depth.max():  # a horizon inside the picture: no camera moves like that
                return None
            grid_x, grid_y = np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32)[:, None]
            x, y, z = (a * grid_x + (b * grid_y + c) for a, b, c in m.astype(np.float32))
            flow = np.empty((h, w, 2), np.float32)
            np.subtract(x / z, grid_x, out=flow[..., 0])
            np.subtract(y / z, grid_y, out=flow[..., 1])
            both.append(flow)
        return both[0], both[1]

    def _on_the_way(self, flow: np.ndarray, share: float) -> np.ndarray:
        """Flow (H, W, 2) of the pixel that is at x once it has gone `share` of its way."""
        found = flow
        for _ in range(3):
            found = self.moved(flow, -share * found)
        return found

    def moved(self, picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
        """picture(x + flow), bilinear, border replicated."""
        h, w = flow.shape[:2]
        x = flow[..., 0] + np.arange(w, dtype=np.float32)
        y = flow[..., 1] + np.arange(h, dtype=np.float32)[:, None]
        cv2 = self._cv2
        return cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


class _Pair(NamedTuple):
    """The flow between two frames, and the frames, so that an id cannot be given to another array meanwhile."""

    forward: Future[np.ndarray]
    backward: Future[np.ndarray]
    a: np.ndarray
    b: np.ndarray


def _squared(flow: np.ndarray) -> np.ndarray:
    """Squared length (H, W) of flow (H, W, 2)."""
    u, v = flow[..., 0], flow[..., 1]
    return u * u + v * v


def _equal_exposures(frames: Sequence[np.ndarray], exposures: Sequence[float]) -> list[tuple[int, int]]:
    """Positions (before, after the reference) of neighbours of one exposure; not at the ends of a clip, where one frame
    stands for both."""
    middle = len(frames) // 2
    return [
        (i, j)
        for i in range(middle)
        for j in range(middle + 1, len(frames))
        if exposures[i] == exposures[j] and frames[i] is not frames[j]
    ]
