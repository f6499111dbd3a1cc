"""Classical alignment: dense inverse search flow (Kroeger et al. 2016) on exposure-matched frames.

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
from contextlib import suppress
from itertools import cycle
from typing import Any, NamedTuple, TypeVar

import numpy as np

from hdrvid import machine, threads
from hdrvid.color.radiance import code_gain, common_floor, match_exposure
from hdrvid.compiled import availability
from hdrvid.picture_warp import warp_picture

Item = TypeVar("Item")
Made = TypeVar("Made")

WIDE_RATIO = 2.0**3.9
"""Ratio of exposures, just under 4 stops, from which the flow through the reference is a candidate. Alone it loses to
DIS at 3 stops."""
EQUAL_STOPS = 0.1
"""Exposures closer than this are equal: cameras report what they did."""

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
"""Candidates of frames larger than this are compared in the size that the search ends in. Halving 448x256 cost 0.03 to
0.05 dB of PSNR-T."""

ALONE_ABOVE_PIXELS = 3_000_000
"""Of pictures larger than this, in the size that the search ends in, one search runs at a time: it takes about 100
bytes a pixel, OpenCV's 200."""


class Search(NamedTuple):
    """Settings of dense inverse search."""

    num_downsamplings: int
    """How often the frames are halved before: the size that the search ends in."""
    stride: int
    """Distance of patches, in pixels of that size."""
    usual: tuple[int, int]
    """Steps of gradient descent, half of them in each of the two orders of the patches, and of variational
    refinement."""
    thorough: tuple[int, int]
    """The same where exposures are far apart (WIDE_RATIO)."""


SEARCHES = {
    "medium": Search(1, 3, (25, 5), (25, 5)),
    "short": Search(1, 3, (12, 3), (25, 5)),
    "fast": Search(1, 4, (8, 2), (8, 2)),
}
"""`medium` is OpenCV's. Where a network refines the flow, fewer steps do: 47.278 instead of 47.267 dB PSNR-T on 12
held-out panoramas, 43.634 instead of 43.708 dB on six own scenes, in two thirds of the time. No variational refinement
would lose 0.12 and 0.15 dB, patches 4 instead of 3 pixels apart 0.01 and 0.09 dB. Exposures far apart take all steps:
at 5 stops fewer lose 0.12 dB. OpenCV's `fast` ends at a quarter of the size (16 and 5 steps): with it the preset `fast`
loses 1.4 dB on the panoramas, 0.9 dB on own scenes, 1.5 dB with 3 exposures; (12, 3) and patches 3 pixels apart would
gain less than 0.1 dB."""

BLOCK_PIXELS = 30_000


def matched_luma8(ldr: np.ndarray, exposure: float, target: float) -> np.ndarray:
    """Network-coded frame (H, W, 3) at the code of another exposure, Rec. 601 luma as uint8 (H, W)."""
    import cv2

    luma = np.empty(ldr.shape[:2], np.uint8)
    for rows in threads.row_blocks(slice(0, ldr.shape[0]), ldr.shape[1], BLOCK_PIXELS):
        block = ldr[rows]
        matched = block if exposure == target else match_exposure(block, exposure, target)
        grey = cv2.cvtColor(np.ascontiguousarray(matched, np.float32), cv2.COLOR_RGB2GRAY)
        luma[rows] = np.rint(grey * np.float32(255.0)).clip(0, 255)
    return luma


class DenseInverseSearch:
    """Dense inverse search, the same to the bit on every number of cores.

    OpenCV cuts the picture into one stripe a thread and the result depends on the cut, so the first search holds it to
    one thread in this process, and the pairs of a window run beside one another instead. The flow of a
    pair of frames is kept for the next windows, which need the same pair. Small frames are padded by edge replication.
    Windows that follow one another may be searched at the same time, from several threads.
    The search ends at half resolution. OpenCV's at full resolution takes 6 to 11 times as long: worth 1.25 dB in the
    classical merge of 24 validation windows, and 0.07 dB once the flow is refined.
    """

    MIN_SIDE = 16
    """Of the picture that the search ends in."""

    def __init__(
        self, workers: int = 1, candidates: bool = True, search: str = "medium", compiled: bool = False
    ) -> None:
        """`workers` pairs of frames at a time; `candidates` False leaves DIS alone; `search` is a key of SEARCHES;
        `compiled`: by compiled functions, in half the time, where there is Numba, else by OpenCV and NumPy."""
        import cv2

        self._cv2: Any = cv2
        self.candidates = candidates
        self._settings = SEARCHES[search]
        self._kernels: Any = availability.compiled_functions() if compiled else None
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="hdrvid-flow") if workers > 1 else None
        self._lock = threading.Lock()
        """Of all that follows."""
        self._kept: dict[tuple[int, int], _Pair] = {}
        self._lumas: dict[tuple[int, float, float, bool, int], tuple[np.ndarray, np.ndarray]] = {}
        self._searched: list[set[int]] = []
        """Ids of the frames of every window that is being searched."""
        self._later: set[int] = set()
        """Ids of the frames that the windows after the last submitted one may share with it."""

    @property
    def _compiled(self) -> bool:
        """Whether compiled functions do the work; one of them may have failed meanwhile."""
        return self._kernels is not None and availability.usable()

    def flow(self, reference: np.ndarray, source: np.ndarray, thorough: bool = False) -> np.ndarray:
        """Backward flow (H, W, 2) in pixels from two uint8 pictures (H, W) of the size that the search ends in:
        source(x + flow) shows reference(x).

        `thorough`: with all steps.
        """
        settings = self._settings
        steps, refinements = settings.thorough if thorough else settings.usual
        if self._compiled:
            with suppress(availability.CompiledError):  # OpenCV does the same
                return self._kernels.search(reference, source, settings.stride, steps, refinements)
        cv2 = self._cv2
        machine.hold_opencv_to_one_thread()
        dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        dis.setFinestScale(0)
        dis.setPatchStride(settings.stride)
        dis.setGradientDescentIterations(steps)
        dis.setVariationalRefinementIterations(refinements)
        flow = dis.calc(reference, source, None)
        # one number tells: looking at each takes as long as a tenth of the search
        return flow if np.isfinite(flow.sum()) else np.nan_to_num(flow)

    def _padded(self, height: int, width: int) -> tuple[int, int]:
        """The size of frames that is halved for the search."""
        min_side = self.MIN_SIDE << self._settings.num_downsamplings
        return max(height, min_side), max(width, min_side)

    def _luma(
        self, frame: np.ndarray, exposure: float, target: float, whole: bool = False, floor: float = 0.0
    ) -> np.ndarray:
        """`matched_luma8` of a frame, in the size that the search ends in or `whole`; kept for the next windows.

        `floor`: code that nothing is below.
        """
        floor8 = round(255 * min(floor, 1.0))
        key = id(frame), exposure, target, whole, floor8
        with self._lock:
            entry = self._lumas.get(key)
        if entry is None:
            luma = self._made_luma(frame, exposure, target, 0 if whole else self._settings.num_downsamplings)
            if floor8:
                luma = np.maximum(luma, np.uint8(floor8))
            # with the frame, so that its id cannot be given to another array meanwhile
            entry = luma, frame
            with self._lock:
                self._lumas[key] = entry
        return entry[0]

    def _made_luma(self, frame: np.ndarray, exposure: float, target: float, levels: int) -> np.ndarray:
        """`matched_luma8` of a frame, padded and halved so often."""
        h, w = frame.shape[:2]
        height, width = self._padded(h, w) if levels else (h, w)
        small = width >> levels, height >> levels
        if self._compiled and (height, width) == (h, w) == (small[1] << levels, small[0] << levels):
            luma = np.empty((small[1], small[0]), np.uint8)
            with suppress(availability.CompiledError):
                self._kernels.luma(frame, np.float32(code_gain(exposure, target)), levels, luma)
                return luma
        luma = matched_luma8(frame, exposure, target)
        if (height, width) != (h, w):
            luma = np.pad(luma, ((0, height - h), (0, width - w)), mode="edge")
        return self._cv2.resize(luma, small, interpolation=self._cv2.INTER_AREA) if levels else luma

    def _enlarge(self, flow: np.ndarray, into: np.ndarray) -> None:
        """Flow in the size that the search ends in, into one (H, W, 2) of the frames."""
        h, w = into.shape[:2]
        if self._compiled and (h, w) == (2 * flow.shape[0], 2 * flow.shape[1]):
            with suppress(availability.CompiledError):
                return self._kernels.upsample2x_flow(flow, into)
        height, width = self._padded(h, w)
        scaled = flow * np.array((width / flow.shape[1], height / flow.shape[0]), np.float32)
        if (height, width) == (h, w):
            self._cv2.resize(scaled, (w, h), dst=into)
        else:
            into[:] = self._cv2.resize(scaled, (width, height))[:h, :w]

    def _enlarged(self, flows: Sequence[np.ndarray], h: int, w: int) -> np.ndarray:
        """Flows in the size that the search ends in as (N, h, w, 2), of the frames."""
        all_of_them = np.empty((len(flows), h, w, 2), np.float32)
        self._each(lambda job: self._enlarge(*job), list(zip(flows, all_of_them, strict=True)))
        return all_of_them

    def _each(self, function: Callable[[Item], Made], items: Sequence[Item]) -> list[Made]:
        """[function(i) for i in items], beside one another."""
        return list((self._pool.map if self._pool else map)(function, items))

    def window(
        self,
        frames: Sequence[np.ndarray],
        exposures: Sequence[float],
        times: Sequence[float] | None = None,
        black: float = 0.0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Flows between the middle frame of a window and its K neighbours, in their order.

        `frames` (H, W, 3) network-coded. `times`, `black`: see `hdrvid.types.Window`. Returns (forward, backward), each
        (K, H, W, 2) float32 pixels: reference -> neighbour and neighbour -> reference.
        """
        middle = len(frames) // 2
        in_window = {id(f) for f in frames}
        with self._lock:
            self._forget(in_window.union(*self._searched))
            self._searched.append(in_window)
            # the windows after this one are later ones: pairs with its first frame are done with
            self._later = {id(f) for f in frames[1:]}
        try:
            pairs = [
                self._pair(frames[middle], frames[i], exposures[middle], exposures[i], black)
                for i in range(len(frames))
                if i != middle
            ]
            flows = [pair.forward.result() for pair in pairs] + [pair.backward.result() for pair in pairs]
        except BaseException:
            with self._lock:
                self._forget(set())  # a search that failed is tried again
            raise
        finally:
            with self._lock:
                self._searched.remove(in_window)
                if not self._searched:
                    self._forget(self._later)
        h, w = frames[middle].shape[:2]
        middle_time = tuple(float(i - middle) for i in range(len(frames)))
        compared = _equal_exposures(frames, exposures, times or middle_time) if self.candidates else []
        whole = bool(compared) and h * w <= WHOLE_BELOW_PIXELS
        if whole:
            flows = list(self._enlarged(flows, h, w))
        for sides, share in compared:
            self._choose(frames, exposures, sides, share, flows, whole, black)
        both = np.stack(flows) if whole else self._enlarged(flows, h, w)
        forward, backward = both.reshape(2, len(pairs), h, w, 2)
        return forward, backward

    def _pair(self, a: np.ndarray, b: np.ndarray, exposure: float, other: float, black: float) -> _Pair:
        """The flows between two frames, which are searched unless they are known or being searched."""
        key, target = (id(a), id(b)), max(exposure, other)
        with self._lock:
            if key in self._kept:
                return self._kept[key]
        wide = target / min(exposure, other) >= WIDE_RATIO
        floor = common_floor(black, min(exposure, other), target)
        pictures = self._luma(a, exposure, target, floor=floor), self._luma(b, other, target, floor=floor)
        with self._lock:
            if key not in self._kept:
                forward, backward = self._submit((*pictures, wide)), self._submit((*reversed(pictures), wide))
                self._kept[id(a), id(b)] = _Pair(forward, backward, a, b)
                self._kept[id(b), id(a)] = _Pair(backward, forward, b, a)
            return self._kept[key]

    def _submit(self, search: tuple[np.ndarray, np.ndarray, bool]) -> Future[np.ndarray]:
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
        sides: tuple[int, int],
        share: float,
        flows: list[np.ndarray],
        whole: bool,
        black: float,
    ) -> None:
        """Replace, in the list, the flows to two neighbours of equal exposure where another candidate fits better.

        `sides`: the neighbours, `share`: of the time between them, that before the reference. `flows`: to each of the
        K neighbours of the window, and back, of the frames' size (`whole`) or of that of the search.
        """
        cv2 = self._cv2
        middle, (before, after) = len(frames) // 2, sides
        slots = [i - (i > middle) for i in sides]
        slots_back = [len(flows) // 2 + slot for slot in slots]
        target = max(exposures[middle], exposures[before])
        h, w = flows[0].shape[:2]
        pixel = 1.0 if whole else 0.5**self._settings.num_downsamplings

        floor = common_floor(black, min(exposures[middle], exposures[before]), target)

        def prepared(i: int) -> tuple[np.ndarray, np.ndarray]:
            own = self._luma(frames[i], exposures[i], exposures[i], whole)
            return own, self._luma(frames[i], exposures[i], target, whole, floor)

        (first, first_matched), (_, middle_luma), (last, last_matched) = self._each(prepared, (before, middle, after))
        originals, matched = (first, last), (first_matched, last_matched)
        reference = middle_luma.astype(np.float32)
        same = exposures[before] == target
        # both neighbours to the reference, and to each other; with a short reference they clip, and agree there on
        # nothing
        further = () if same and not black else originals  # nothing is seen in what is brought to the floor
        pictures = tuple(picture.astype(np.float32) for picture in (*matched, *further))
        factor = np.float32(0.5 if same else 1.0)

        def misfit(flows: Sequence[np.ndarray]) -> np.ndarray:
            return cv2.GaussianBlur(self._misfit(reference, pictures, flows, factor), (0, 0), FIT_SIGMA * pixel)

        sources = [flows[slot] for slot in slots]
        pairs = [(flows[slot], flows[backward]) for slot, backward in zip(slots, slots_back, strict=True)]
        points = self._each(lambda pair: self.consistent(*pair, pixel), pairs)
        best = misfit(sources)

        def take(forward: Sequence[np.ndarray], backward: Sequence[np.ndarray], advantage: float = 0.0) -> None:
            nonlocal best
            error = misfit(forward) - advantage
            better = error < best
            best = np.minimum(error, best)
            if not better.any():
                return

            def replaced(job: tuple[int, np.ndarray, bool]) -> np.ndarray:
                slot, flow, onward = job
                where = better if onward else warp_picture(better.astype(np.float32), flow) > 0.5
                # others keep the flow of the pair
                return cv2.copyTo(flow, where.astype(np.uint8), flows[slot].copy())

            jobs = [(slot, flow, True) for slot, flow in zip(slots, forward, strict=True)]
            jobs += [(slot, flow, False) for slot, flow in zip(slots_back, backward, strict=True)]
            for (slot, _, _), flow in zip(jobs, self._each(replaced, jobs), strict=True):
                flows[slot] = flow

        ratio = exposures[before] / exposures[middle]
        if max(ratio, 1 / ratio) >= WIDE_RATIO:
            longer = max(exposures[before], exposures[after])
            a, b = (self._luma(frames[i], exposures[i], longer) for i in (before, after))
            searches = [self._submit((a, b, True)), self._submit((b, a, True))]
            ways = [search.result() for search in searches]
            forward, backward = self._enlarged(ways, h, w) if whole else ways
            # a pixel of the reference lies on the way of one of the frame before, and of one of the frame after
            onward, return_ = self._each(lambda way: self._on_the_way(*way), ((forward, share), (backward, 1 - share)))
            sources = [share * (return_ - onward) / 2, (1 - share) * (onward - return_) / 2]
            take(sources, (share * forward, (1 - share) * backward))
            points = [_squared(onward + return_) < pixel**2] * 2
        cameras = self._each(lambda pair: self._camera(*pair, pixel), list(zip(sources, points, strict=True)))
        moves = [camera for camera in cameras if camera is not None]
        if len(moves) == len(slots):
            take([forward for forward, _ in moves], [backward for _, backward in moves], CAMERA_ADVANTAGE)

    def _misfit(
        self,
        reference: np.ndarray,
        pictures: tuple[np.ndarray, ...],
        flows: Sequence[np.ndarray],
        factor: np.float32,
    ) -> np.ndarray:
        """How far two pictures, moved by the flows, are from the reference, and `factor` times how far the last two,
        moved by the same, are from each other: (H, W), as all of them."""
        if self._compiled:
            h, w = reference.shape
            total = np.empty((h, w), np.float32)
            blocks = threads.row_blocks(slice(0, h), w, BLOCK_PIXELS)
            given = reference, pictures, tuple(flows), factor
            with suppress(availability.CompiledError):
                self._each(lambda rows: self._kernels.misfit(*given, (rows.start, rows.stop), total), blocks)
                return total
        moved = self._each(lambda pair: warp_picture(*pair), list(zip(pictures, cycle(flows), strict=False)))
        difference = np.abs(moved[-2] - moved[-1]) * factor
        return np.asarray(np.abs(moved[0] - reference) + np.abs(moved[1] - reference) + difference)

    def consistent(self, flow: np.ndarray, flow_back: np.ndarray, tolerance_px: float = 1.0) -> np.ndarray:
        """Where flow there and back (H, W, 2) ends this close to its start: (H, W) bool."""
        if self._compiled:
            close = np.empty(flow.shape[:2], np.bool_)
            with suppress(availability.CompiledError):
                self._kernels.consistent(flow, flow_back, np.float32(tolerance_px), close)
                return close
        error = flow + warp_picture(flow_back, flow)
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
        result = flow
        for _ in range(3):
            result = warp_picture(flow, -share * result)
        return result


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


def _equal_exposures(
    frames: Sequence[np.ndarray], exposures: Sequence[float], times: Sequence[float]
) -> list[tuple[tuple[int, int], float]]:
    """Positions (before, after the reference) of neighbours of one exposure, and the share of the time between them
    that is before the reference; not at the ends of a clip, where one frame stands for both or both are on one side."""
    middle = len(frames) // 2
    return [
        ((i, j), -times[i] / (times[j] - times[i]))
        for i in range(middle)
        for j in range(middle + 1, len(frames))
        if frames[i] is not frames[j]
        and times[i] < 0 < times[j]
        and abs(math.log2(exposures[i] / exposures[j])) <= EQUAL_STOPS
    ]
