"""The frames of a clip whose exposures are known one by one: scenes, and where the pixels contradict what is known."""

from __future__ import annotations

import numpy as np

from hdrvid.detect.labels import Event, FrameLabel
from hdrvid.detect.phases import CUT_CORRELATION, ODD_MISFIT, USUAL_CORRELATION
from hdrvid.detect.pictures import SmallPicture, resemblance, small_picture, visible_difference
from hdrvid.detect.window_choice import WindowRule
from hdrvid.types import ExposureList

COMPARED_FRAMES = 4
"""Frames before it that a frame is compared with."""
LOOK_AHEAD = 2
"""Frames behind a frame that must show a new scene as well."""


class ListLabeller:
    """Labels the frames of one clip, in order, as `hdrvid.detect.phases.Labeller` does; the list is never left."""

    def __init__(self, exposures: ExposureList) -> None:
        self._exposures = exposures
        self._rule = WindowRule(exposures)
        self.reach = self._rule.reach
        """No window reaches further than this many frames from its reference, on either side."""
        self.events: list[Event] = []
        self._labels: dict[int, FrameLabel] = {}
        self._pending: list[SmallPicture] = []
        self._before: list[SmallPicture] = []
        """The last frames of the scene."""
        self._usual: list[float] = []
        """Resemblance of the last frames to those before them."""
        self._segment = 0
        self._next = 0
        self._is_finished = False

    def add(self, index: int, linear: np.ndarray, num_missing: int = 0) -> None:
        """The next frame: (H, W, 3) linear, 1.0 = clipping, of any size. Indices left out are damaged frames.

        Raises ExposureError where the list ends before it. `num_missing` has no meaning here.
        """
        self._exposures.stops_at(index)
        self._pending.append(small_picture(index, linear))
        while len(self._pending) > LOOK_AHEAD:
            self._decide()

    def finish(self) -> None:
        """There are no more frames."""
        while self._pending:
            self._decide()
        self._is_finished = True

    def forget(self, before: int) -> None:
        """Drop what is known of frames below `before`."""
        self._labels = {i: label for i, label in self._labels.items() if i >= before}

    def label(self, index: int) -> FrameLabel:
        """The label of a frame. Raises KeyError for one that is damaged, forgotten or not ready."""
        return self._labels[index]

    def window_ready(self, index: int) -> bool:
        """Whether `window(index)` is final."""
        return self._is_finished or self._next > index + self.reach

    def window(self, index: int) -> tuple[int, ...] | None:
        """Frames of the window around `index`, see `window_choice`; None where there is none."""
        label = self._labels.get(index)
        return None if label is None else self._rule.chosen(label, self._labels.values())

    def _decide(self) -> None:
        """Label the first pending frame."""
        frame, later = self._pending[0], [f for f in self._pending[1:] if not f.mute]
        for missing in range(self._next, frame.index):
            self.events.append(Event("damaged", missing, f"frame {missing} is damaged"))
        if not frame.mute and self._before:
            if self._is_cut(frame, later):
                self._segment += 1
                self._before, self._usual = [], []
                self.events.append(Event("cut", frame.index, f"a scene cut at frame {frame.index}"))
            else:
                self._compare(frame)
        stops = self._exposures.stops_at(frame.index)
        self._labels[frame.index] = FrameLabel(frame.index, 0, stops, self._segment)
        if not frame.mute:
            if self._before:
                self._usual = [*self._usual[-11:], resemblance(frame, self._before)]
            self._before = [frame, *self._before[: COMPARED_FRAMES - 1]]
        self._next = frame.index + 1
        self._pending.pop(0)

    def _is_cut(self, frame: SmallPicture, later: list[SmallPicture]) -> bool:
        if len(self._before) < COMPARED_FRAMES or len(later) < LOOK_AHEAD or np.median(self._usual) < USUAL_CORRELATION:
            return False
        return all(resemblance(f, self._before) < CUT_CORRELATION for f in (frame, *later))

    def _compare(self, frame: SmallPicture) -> None:
        """Say so where the brightness contradicts the list."""
        stops = self._exposures.stops_at(frame.index)
        steps = [stops - self._exposures.stops_at(other.index) for other in self._before]
        differences = [visible_difference(frame, x, step) for x, step in zip(self._before, steps, strict=True)]
        if min(differences) > ODD_MISFIT:
            text = (
                f"frame {frame.index} is brighter or darker than its exposure of {stops:g} stops, a wrong row perhaps"
            )
            self.events.append(Event("unsure", frame.index, text))
