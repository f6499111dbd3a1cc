"""The clip that a result was made from, and the model that made it, as far as they can still be read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

import numpy as np

from hdrvid.color.gamuts import REC709, Gamut, conversion_matrix
from hdrvid.color.response import RESPONSES, Response, measured_response
from hdrvid.detect.window_choice import WindowRule
from hdrvid.errors import HdrvidError, InputError, UsageError
from hdrvid.html.clip_results import ClipResults, as_list, as_mapping
from hdrvid.io import open_clip
from hdrvid.io.frames import FramesReader
from hdrvid.io.readers import open_tracks
from hdrvid.io.response_files import load_response
from hdrvid.io.samples import Levels, SampleFormat
from hdrvid.io.tracks import TracksReader
from hdrvid.io.video import VideoReader
from hdrvid.options.report import ReportOptions
from hdrvid.predict.registry import available_models, load_reconstructor
from hdrvid.types import ClipReader, Reconstruction, Reconstructor, Window

_WINDOW_FRAME = re.compile(r"(\d{1,9})(?::(\d+(?:\.\d*)?(?:e-?\d\d?)?))?")


def _samples_of(settings: Mapping[str, object]) -> SampleFormat:
    """How a run read the stored samples, beside their levels, from its settings."""
    balance = settings.get("white_balance")
    with suppress(UsageError, ValueError, TypeError):
        factors = [float(v) for v in balance] if isinstance(balance, list) and len(balance) == 3 else None
        return SampleFormat(
            black_level=0 if factors else None,
            bayer=str(settings.get("bayer", "none")),
            white_balance=None if factors is None else (factors[0], factors[1], factors[2]),
            deinterlace=settings.get("deinterlace") is True,
        )
    return SampleFormat()


def _levels_of(values: Mapping[str, object]) -> Levels | None:
    """Codes of black and white that a run used, from its JSON; older ones have white alone."""
    levels, white = as_mapping(values.get("levels")), values.get("white_code")
    with suppress(ValueError, TypeError, KeyError):
        if levels:
            top, white, black = (float(str(levels[name])) for name in ("top", "white", "black"))
            return Levels(top, white, black, int(str(levels["bits"]))) if 0 <= black < white <= top else None
        return Levels(65535, float(str(white))) if white and float(str(white)) > 0 else None
    return None


class OriginalClip:
    """Frames as shot, their response and primaries, and the model. A context manager.

    `notes` lists what is missing; only what the options name must exist. Raises InputError where the clip of the
    options cannot be read or has another size, ModelError where their model cannot be loaded.
    """

    def __init__(self, clip: ClipResults, options: ReportOptions) -> None:
        self.clip = clip
        self.notes: list[str] = []
        """What is missing and why, in sentences."""
        self.reader: ClipReader | None = None
        """The clip, open; None where it cannot be read."""
        self.response: Response | None = None
        """Its camera response; None where it is not known."""
        self.to_output: np.ndarray | None = None
        """(3, 3) linear RGB of the clip to that of the results; None where they are the same."""
        self.model: Reconstructor | None = None
        """The model; None where it cannot run."""
        self._kept: dict[int, np.ndarray] = {}
        self._open(options)
        if self.reader is not None:
            self._find_response()
            self._find_colours()
        if options.weights:
            self._load_model(options)

    def __enter__(self) -> OriginalClip:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.reader is not None:
            self.reader.close()

    # ---- opening -----------------------------------------------------------------------------------------------------

    def _open(self, options: ReportOptions) -> None:
        source = options.clip or str(self.clip.values["source"])
        advice = "" if options.clip else "; --clip names it"
        try:
            samples = _samples_of(as_mapping(self.clip.values.get("settings")))
            tracks = [str(name) for name in as_list(self.clip.values.get("tracks"))]
            if tracks and options.clip:
                raise InputError(f"{self.clip.stem} was made from {len(tracks)} tracks: leave out --clip")
            reader = open_tracks(tracks, samples=samples) if tracks else open_clip(source, samples=samples)
        except InputError as error:
            if options.clip:
                raise
            self.notes.append(f"Frames as shot and what is made from them: {error}{advice}.")
            return
        size, size_of_run = [reader.info.width, reader.info.height], self.clip.values.get("size")
        if isinstance(size_of_run, list) and size != size_of_run:
            reader.close()
            text = f"{source} is {size[0]}x{size[1]}, but the results were made from {'x'.join(map(str, size_of_run))}"
            if options.clip:
                raise InputError(f"{text}: give --clip the original")
            self.notes.append(f"Frames as shot and what is made from them: {text}{advice}.")
            return
        self.reader = reader

    def _find_response(self) -> None:
        """The response curve that the JSON holds, else the response of that name."""
        assert self.reader is not None
        name = str(self.clip.values.get("response"))
        curve = self.clip.values.get("response_curve")
        with suppress(ValueError, TypeError):
            rows = [[float(value) for value in str(row).split(",")] for row in curve or ()]
            self.response = measured_response(name, np.asarray(rows))
            return
        try:
            self.response = RESPONSES["linear"] if self.reader.info.linear else load_response(name)
        except InputError as error:
            self.notes.append(f"Blend weights and the range of the frames as shot: {error}.")

    def _find_colours(self) -> None:
        """White level and primaries, as the run used them."""
        if isinstance(self.reader, FramesReader | VideoReader | TracksReader):
            self.reader.set_levels(_levels_of(self.clip.values))
        primaries = as_mapping(self.clip.values.get("settings")).get("primaries")
        with suppress(ValueError, TypeError):
            gamut = Gamut.from_chromaticities(tuple(float(v) for v in primaries or REC709.chromaticities))
            matrix = conversion_matrix(gamut, REC709)
            self.to_output = None if np.allclose(matrix, np.eye(3), atol=1e-4) else matrix

    def _load_model(self, options: ReportOptions) -> None:
        if self.response is None:
            return
        model_of_run = as_mapping(self.clip.values.get("model"))
        settings = as_mapping(self.clip.values.get("settings"))
        name = options.model or str(model_of_run.get("name"))
        try:
            if options.model is None and name not in available_models():
                raise InputError(f"the model {name} is not one that hdrvid has; --model names its file")
            self.model = load_reconstructor(
                name,
                self.clip.exposures.network_exposures,
                device=options.device,
                tile=str(settings.get("tile_px") or settings.get("tile", "auto")),
                align=settings.get("align", "auto") == "auto",
            )
        except HdrvidError as error:
            if options.model is not None:
                raise
            self.notes.append(f"Blend weights: {error}.")
            return
        if model_of_run.get("sha256") != self.model.provenance.get("sha256"):
            self.notes.append(
                f"The blend weights that made the results: those shown come from another version of {name}."
            )

    # ---- frames ------------------------------------------------------------------------------------------------------

    def frame(self, index: int) -> np.ndarray | None:
        """Frame (H, W, 3) float32 as the clip stores it, None where it cannot be read."""
        if self.reader is None:
            return None
        if index not in self._kept:
            try:
                frame = next(iter(self.reader.frames(index, index + 1)), None)
            except InputError as error:
                self.notes.append(f"Frame {index} as shot: {error}.")
                return None
            if frame is None or frame.index != index:
                self.notes.append(f"Frame {index} as shot: {self.reader.info.source} ends before it.")
                return None
            self._kept[index] = frame.pixels
        return self._kept[index]

    def read_ahead(self, index: int, header: Mapping[str, object]) -> None:
        """Read the frames that the result `index` was made from in one go, and forget all others.

        `header` is that of the result. A frame that cannot be read is left to `frame`, which adds a note.
        """
        window = self._window_of(index, header) if self.model is not None else []
        needed = {index, *(i for i, _ in window)}
        self._kept = {i: f for i, f in self._kept.items() if i in needed}
        missing = [i for i in needed if i not in self._kept]
        if self.reader is None or not missing:
            return
        with suppress(InputError):
            for frame in self.reader.frames(min(missing), max(missing) + 1):
                if frame.index in missing:
                    self._kept[frame.index] = frame.pixels

    def run(self, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Index and pixels (H, W, 3) of these frames, which are in order; those that cannot be read are left out."""
        if self.reader is None or not indices:
            return
        wanted = set(indices)
        with suppress(InputError):
            for frame in self.reader.frames(indices[0], indices[-1] + 1, on_damage=lambda index, text: None):
                if frame.index in wanted:
                    yield frame.index, frame.pixels

    def in_output_colours(self, linear: np.ndarray) -> np.ndarray:
        """Linear light (H, W, 3) of the clip in the primaries of the results."""
        return linear if self.to_output is None else linear @ self.to_output.T.astype(linear.dtype)

    # ---- model -------------------------------------------------------------------------------------------------------

    def reconstruct(
        self, index: int, header: Mapping[str, object], stops_of: Mapping[int, float]
    ) -> Reconstruction | None:
        """The model once more on the window of a frame, with flow and weights. None where it cannot run.

        `header` is that of the result, `stops_of` the exposures of the frames by index: where neither has one, the
        cycle tells it.
        """
        if self.model is None or self.response is None:
            return None
        window = self._window_of(index, header)
        frames = [self.frame(i) for i, _ in window]
        coded = [np.ascontiguousarray(self.response.network_code(f), np.float32) for f in frames if f is not None]
        if len(coded) < len(window):
            return None
        known = self.clip.exposures
        all_stops = [stops_of.get(i, known.stops_at(i)) if stops is None else stops for i, stops in window]
        reference = window[len(window) // 2][0]
        times = tuple(float(i - reference) for i, _ in window)
        exposures = tuple(2.0**stops for stops in all_stops)
        try:
            return self.model.reconstruct(
                Window(index, tuple(coded), exposures, times, self.response.black_code), diagnostics=True
            )
        except HdrvidError as error:
            self.notes.append(f"Blend weights: {error}.")
            self.model = None
            return None

    def _window_of(self, index: int, header: Mapping[str, object]) -> list[tuple[int, float | None]]:
        """Index and stops of the frames that a result was made from, in order; None: the header names no stops.

        `hdrvid:window` of the header is like '4:0 5:3 6:0' or '4 5 6'. Without it the exposures tell the window.
        """
        exposures = self.clip.exposures
        matches = [_WINDOW_FRAME.fullmatch(word) for word in str(header.get("hdrvid:window", "")).split()]
        frames = [(int(m[1]), float(m[2]) if m[2] else None) for m in matches if m is not None]
        if len(matches) == len(frames) == 2 * exposures.network_exposures - 1:
            return frames
        count = max(1 + max(self.clip.frames), exposures.period or len(exposures.stops))
        return [(i, None) for i in WindowRule(exposures).regular(index, count) or (index,)]
