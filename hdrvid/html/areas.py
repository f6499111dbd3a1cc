"""Where a frame holds nothing: clipped and dark as it was shot, and clipped or dark in every exposure.

Convention:
    mask    (H, W) bool, of a frame or of a regular grid of its pixels.
    share   of the pixels of a frame, 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from hdrvid.color.radiance import luminance
from hdrvid.color.response import RESPONSES
from hdrvid.html.clip_results import ClipResults
from hdrvid.html.histogram import CLIPPED_CODE, darkest_linear
from hdrvid.html.original_clip import OriginalClip
from hdrvid.metrics.exposure_flicker import FrameBrightness
from hdrvid.metrics.unmeasured import unmeasured

CLIPPED_COLOUR = (230, 120, 0)
"""Clipped, RGB."""
DARK_COLOUR = (40, 110, 240)
"""Dark."""
UNUSED_COLOUR = (200, 60, 200)
"""Clipped, and hidden in every other frame."""
MAX_MASK_PX = 1280
"""Frames with a longer side than this are looked at on a grid, but for NaN and infinity."""
_STRIPE_PX = 4


@dataclass(frozen=True)
class Areas:
    """Masks of a frame; None where one cannot be known."""

    clipped: np.ndarray | None
    """A channel of the frame as shot is clipped."""
    dark: np.ndarray | None
    """The frame as shot is lost in noise and rounding."""
    clipped_in_all: np.ndarray
    """Clipped in every exposure."""
    dark_in_all: np.ndarray
    """Dark in every exposure."""
    not_finite: np.ndarray
    """The result holds NaN or infinity."""
    hidden_highlights: np.ndarray | None = None
    """Clipped as shot, and no other frame shows more: the result is where the frame clips."""

    def shares(self) -> dict[str, float]:
        """Share of the frame of every mask that is known, by its name."""
        masks = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: float(mask.mean()) for name, mask in masks.items() if mask is not None}


def find_areas(clip: ClipResults, original: OriginalClip, frame: FrameBrightness, pixels: np.ndarray) -> Areas:
    """Masks of a result, (H, W, 3) file values, and of the frame that it was made for where it can be read.

    A result clips in every exposure where a channel reaches what the shortest exposure can hold, and is dark in every
    exposure where its luminance is noise in the longest. Of a frame of the shortest (longest) exposure, what is clipped
    (dark) in it is so in every exposure.
    """
    response = original.response or RESPONSES["gamma2.2"]
    darkest = darkest_linear(response)
    not_finite = ~np.isfinite(pixels).all(-1)
    step = -(-max(pixels.shape[:2]) // MAX_MASK_PX)
    finite = ~not_finite[::step, ::step]
    values = np.nan_to_num(pixels[::step, ::step], nan=0.0, posinf=0.0, neginf=0.0)
    top = float(np.min(response.linearize(np.full(3, CLIPPED_CODE))))
    clipped_in_all = finite & (values.max(-1) >= top * clip.scale)
    dark_in_all = finite & (luminance(values) < darkest * clip.white)
    code = original.frame(frame.index)
    if code is None:
        return Areas(None, None, clipped_in_all, dark_in_all, not_finite)
    code = np.ascontiguousarray(code[::step, ::step])
    clipped = code.max(-1) > CLIPPED_CODE
    dark = None
    if original.response is not None:
        linear = np.asarray(original.response.linearize(code), np.float32)
        dark = ~clipped & (luminance(original.in_output_colours(linear)) < darkest)
    level = clip.exposures.level_of(frame.stops)
    if level == 0:
        clipped_in_all = clipped_in_all | clipped
    if dark is not None and level == clip.exposures.num_levels - 1:
        dark_in_all = dark
    hidden = None
    if original.response is not None:
        network = np.asarray(original.response.network_code(code), np.float32)
        radiance, exposures = values / np.float32(clip.scale), (1.0, 2.0**frame.stops, 1.0)
        hidden = clipped & ~clipped_in_all & unmeasured(radiance, network, exposures)
    return Areas(clipped, dark, clipped_in_all, dark_in_all, not_finite, hidden)


def areas_picture(picture: np.ndarray, areas: Areas) -> np.ndarray:
    """The masks over a grey and darker `picture`, (h, w, 3) uint8 RGB, which may be smaller than they are.

    As shot: plain colour. In every exposure: stripes to the right (clipped) and to the left (dark). Clipped and hidden
    in the other frames: a chequered pattern.
    """
    height, width = picture.shape[:2]
    shown = np.repeat(luminance(picture.astype(np.float32))[..., None], 3, -1) * 0.7
    y, x = np.mgrid[:height, :width]
    right, left = (((x + sign * y) // _STRIPE_PX) % 2 == 0 for sign in (1, -1))
    everywhere = np.ones((height, width), bool)
    layers = (
        (areas.clipped, CLIPPED_COLOUR, everywhere, 0.55),
        (areas.dark, DARK_COLOUR, everywhere, 0.55),
        (areas.clipped_in_all, (255, 255, 255), right, 1.0),
        (areas.clipped_in_all, CLIPPED_COLOUR, ~right, 1.0),
        (areas.dark_in_all, (255, 255, 255), left, 1.0),
        (areas.dark_in_all, DARK_COLOUR, ~left, 1.0),
        (areas.hidden_highlights, UNUSED_COLOUR, right == left, 1.0),
        (areas.not_finite, (255, 0, 0), everywhere, 1.0),
    )
    for mask, colour, pattern, tint in layers:
        if mask is None:
            continue
        covered = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        amount = ((covered > 0) if mask is areas.not_finite else covered) * pattern * tint  # one pixel of NaN is seen
        shown += amount[..., None] * (np.array(colour, np.float32) - shown)
    return np.rint(shown).astype(np.uint8)
