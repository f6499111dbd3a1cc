"""Makes examples/strip.jpg: a short frame of the example clip, the long one after it, and the result, tonemapped.

python examples/strip.py
"""

from pathlib import Path

import cv2
import numpy as np

import hdrvid
from hdrvid.color.tonemap import Tonemapper
from hdrvid.io import open_clip

FOLDER = Path(__file__).parent
SHORT, LONG = 34, 35
WIDTH, GAP = 480, 6


def picture(rgb: np.ndarray) -> np.ndarray:
    """RGB codes (H, W, 3), uint8, as a picture of WIDTH pixels."""
    return cv2.resize(rgb, (WIDTH, WIDTH * rgb.shape[0] // rgb.shape[1]), interpolation=cv2.INTER_AREA)


def main() -> None:
    """Write the strip."""
    with open_clip(FOLDER / "clip.mp4") as clip:
        inputs = [(frame.pixels * 255).round().astype(np.uint8) for frame in clip.frames(SHORT, LONG + 1)]
    exposure = 2.0 ** max(hdrvid.inspect(FOLDER / "clip.mp4").cycle.stops)
    tonemap = Tonemapper(max_value=exposure)
    frames = hdrvid.frames(FOLDER / "clip.mp4", frame_range=(SHORT, SHORT))
    # the tonemapper takes 1.0 as the clipping of the longest exposure
    results = [tonemap((radiance * np.float32(exposure)).astype(np.float32)) for _, radiance in frames]
    gap = np.full((WIDTH * inputs[0].shape[0] // inputs[0].shape[1], GAP, 3), 255, np.uint8)
    strip = np.hstack([picture(inputs[0]), gap, picture(inputs[1]), gap, picture(results[0])])
    cv2.imwrite(str(FOLDER / "strip.jpg"), strip[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])


if __name__ == "__main__":
    main()
