"""Pictures of a frame: as shot, the result, its blend weights and flow; and their size in the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from hdrvid import pictures
from hdrvid.color.curves import srgb_encode
from hdrvid.color.half import HALF_MAX
from hdrvid.color.radiance import luminance
from hdrvid.color.tonemap import Tonemapper
from hdrvid.html.clip_results import ClipResults
from hdrvid.html.original_clip import OriginalClip
from hdrvid.html.page import data_uri
from hdrvid.metrics.exposure_flicker import FrameBrightness, frame_levels
from hdrvid.types import Reconstruction

MAX_SIDE_PX = 960
"""Longer side of the result and of the frame as shot."""
PICTURE_BYTES = 1_300_000
"""All pictures of the frames together, before base64 makes them a third larger."""
DIFFERENT_STOPS = 0.05
"""A result that the model repeats no better than this (median over pixels) was made in another way."""


@dataclass(frozen=True)
class FramePictures:
    """A frame with its pictures, (H, W, 3) uint8 RGB."""

    brightness: FrameBrightness
    """Index, exposure and brightness."""
    result: np.ndarray
    """The result, tone-mapped."""
    shot: np.ndarray | None
    """The frame as shot, None where it cannot be read."""
    weights: np.ndarray | None
    """Blend weights, None where the model has none or cannot run."""
    flows: Mapping[str, np.ndarray]
    """Flow to the neighbours by title."""


@dataclass(frozen=True)
class FrameRenderer:
    """Makes the pictures of the frames of a clip."""

    clip: ClipResults
    """The results."""
    original: OriginalClip
    """The frames as shot. What cannot be shown is added to its notes."""
    tonemap: Tonemapper
    """Tone curve of the results."""
    stops_of: Mapping[int, float]
    """Exposures of the frames by index, where they are known."""

    def render(self, frame: FrameBrightness, pixels: np.ndarray, header: Mapping[str, object]) -> FramePictures:
        """Pictures of a result: `pixels` (H, W, 3) are its file values, `header` is that of its file."""
        result = shrunk(self.tonemap(pixels / np.float32(self.clip.white)), MAX_SIDE_PX)
        code = self.original.frame(frame.index)
        shot = None if code is None else self.shot_picture(code, MAX_SIDE_PX)
        reconstruction = self.original.reconstruct(frame.index, header, self.stops_of)
        if reconstruction is None:
            return FramePictures(frame, result, shot, None, {})
        self._compare(frame.index, reconstruction, pixels)
        return FramePictures(frame, result, shot, self._weights(reconstruction), _flows(reconstruction))

    def small_result(self, pixels: np.ndarray, side: int) -> np.ndarray:
        """A result, file values (H, W, 3), averaged to at most `side` pixels and tone-mapped."""
        light = np.nan_to_num(pixels / np.float32(self.clip.white), nan=0.0, posinf=HALF_MAX, neginf=0.0)
        return self.tonemap(shrunk(np.asarray(light, np.float32), side))

    def shot_picture(self, code: np.ndarray, side: int) -> np.ndarray:
        """A frame as shot, (H, W, 3) as the clip stores it, as a display shows it; at most `side` pixels."""
        original = self.original
        assert original.reader is not None
        code = shrunk(np.ascontiguousarray(code, np.float32), side)
        if original.response is not None and (original.reader.info.linear or original.to_output is not None):
            linear = np.asarray(original.response.linearize(code), np.float32)
            code = np.asarray(srgb_encode(original.in_output_colours(linear)))
        return pictures.input_picture(code)

    def matched_picture(self, code: np.ndarray, stops: float, side: int) -> np.ndarray | None:
        """A frame as shot in the brightness and with the tone curve of the results; None where its curve is unknown.

        `stops`: its exposure.
        """
        original = self.original
        if original.response is None:
            return None
        linear = np.asarray(original.response.linearize(shrunk(np.ascontiguousarray(code, np.float32), side)))
        light = original.in_output_colours(linear) * (self.clip.exposures.max_exposure / 2.0**stops)
        return self.tonemap(np.ascontiguousarray(light, np.float32))

    def _weights(self, reconstruction: Reconstruction) -> np.ndarray | None:
        if reconstruction.weights is None:
            self.original.notes.append("Blend weights: the model has none.")
            return None
        neighbours = 2 * self.clip.exposures.network_exposures - 2
        weights = [shrunk(w, MAX_SIDE_PX * 2 // 3) for w in reconstruction.weights[: 1 + neighbours]]
        return pictures.weights_picture(np.stack(weights), neighbours)

    def _compare(self, index: int, reconstruction: Reconstruction, pixels: np.ndarray) -> None:
        """Add a note where the reconstruction differs from the file values `pixels`."""
        radiance = self.original.in_output_colours(reconstruction.radiance)
        if radiance.shape == pixels.shape:
            levels, levels_of_file = (
                frame_levels(luminance(p) / np.float32(s)) for p, s in ((radiance, 1.0), (pixels, self.clip.scale))
            )
            difference = float(np.median(np.abs(levels - levels_of_file)))
            if difference <= DIFFERENT_STOPS:
                return
            text = f"by {difference:.2f} stops"
        else:
            text = "in size"
        self.original.notes.append(
            f"The blend weights that made frame {index}: what the model makes of it now differs {text} from the result."
        )


def _flows(reconstruction: Reconstruction) -> dict[str, np.ndarray]:
    """Pictures of the flow to both neighbours in time, by title."""
    flow = reconstruction.flow_px
    if flow is None:
        return {}
    after = len(flow) // 2
    by_title = {"flow to the frame before": flow[after - 1], "flow to the frame after": flow[after]}
    return {title: pictures.flow_picture(shrunk(f, MAX_SIDE_PX // 3)) for title, f in by_title.items()}


def shrunk(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture (H, W, C), uint8 or float32, averaged so that its longer side is at most `side` pixels."""
    height, width = picture.shape[:2]
    share = side / max(height, width)
    if share >= 1:
        return picture
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA)


class PictureBudget:
    """Bytes that the pictures of a number of frames share."""

    RESULT = SHOT = 1.0
    WEIGHTS, FLOW, THUMB = 0.5, 0.15, 0.25
    """Shares of the pictures of one frame."""
    QUALITIES = (90, 82, 72, 60, 45)
    """Of JPEG: the first that fits is taken."""
    LOSSLESS_PIXELS = 16_384
    """A picture of no more pixels than this is PNG, where that fits."""

    def __init__(self, num_frames: int, num_bytes: int) -> None:
        shares = self.RESULT + self.SHOT + self.WEIGHTS + 2 * self.FLOW + 2 * self.THUMB
        self._unit = num_bytes / (max(num_frames, 1) * shares)

    def uri(self, picture: np.ndarray, share: float) -> str:
        """A data URI within `share`: JPEG as good as fits, smaller where none does; PNG of a very small picture."""
        if picture.shape[0] * picture.shape[1] <= self.LOSSLESS_PIXELS:
            data = pictures.png_bytes(picture)
            if len(data) <= share * self._unit:
                return data_uri(data, "png")
        while True:
            bgr = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR)
            for quality in self.QUALITIES:
                data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
                if len(data) <= share * self._unit or max(picture.shape) <= 16:
                    return data_uri(data, "jpeg")
            picture = shrunk(picture, max(picture.shape[:2]) * 3 // 4)
