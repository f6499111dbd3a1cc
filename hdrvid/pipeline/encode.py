"""Frames in network code: what windows are made of."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from hdrvid.color.half_tables import row_blocks
from hdrvid.color.response import NETWORK_RESPONSE, Response
from hdrvid.types import Frame

_STEPS: Any = 65535.0


@dataclass(frozen=True)
class EncodedFrame:
    """A frame as the network wants it, with what identifies its source."""

    index: int
    ldr: np.ndarray
    pts_seconds: float
    checksum: int


@lru_cache(maxsize=1)
def _network_codes(response: Response) -> np.ndarray:
    """Network code of 65536 even codes: (1, 65536) float32, or (3, 65536) where channels have curves of their own."""
    levels = np.repeat(np.linspace(0.0, 1.0, 1 << 16, dtype=np.float32)[:, None], 3, axis=1)
    tables = np.ascontiguousarray(np.asarray(response.network_code(levels), np.float32).T)
    return tables[:1] if (tables[:1] == tables).all() else tables


def network_code_by_table(pixels: np.ndarray, response: Response) -> np.ndarray:
    """Codes (H, W, 3) of a camera, float32, as network code, gamma 2.2, in [0, 1].

    By a table of 65536 codes, which is exact for pictures of 8 and 16 bits and far below a step of any video.
    """
    tables = _network_codes(response)
    result = np.empty(pixels.shape, np.float32)
    for rows in row_blocks(pixels):
        some = np.minimum(np.ascontiguousarray(pixels[rows], np.float32), np.float32(1))
        # rounded, negative values to 0; what is no number is 0
        levels = np.asarray(cv2.multiply(some.reshape(len(some), -1), _STEPS, dtype=cv2.CV_16U)).reshape(some.shape)
        if len(tables) == 1:
            tables[0].take(levels, out=result[rows], mode="clip")
        else:
            for c, table in enumerate(tables):
                result[rows, :, c] = table.take(levels[..., c])
    return result


def encode_frame(frame: Frame, response: Response, linear: bool) -> EncodedFrame:
    """The frame in network code: (H, W, 3) float32, gamma 2.2, in [0, 1]; `linear` frames hold floats of any step."""
    pixels = frame.pixels
    by_table = not linear and response.name != NETWORK_RESPONSE
    ldr = network_code_by_table(pixels, response) if by_table else response.network_code(pixels)
    ldr = np.ascontiguousarray(ldr, dtype=np.float32)
    return EncodedFrame(frame.index, ldr, frame.pts_seconds, _checksum(pixels, linear))


def _checksum(pixels: np.ndarray, linear: bool) -> int:
    """Checksum of all pixels (H, W, 3) float32 of a source frame.

    Linear frames are decoded alike everywhere. Other codes count in 8 bits: the last bit of a video decoder does not.
    """
    pixels = np.ascontiguousarray(pixels, np.float32)
    counted = pixels if linear else np.asarray(cv2.convertScaleAbs(pixels.reshape(len(pixels), -1), alpha=255.0))
    return zlib.crc32(counted.data.cast("B"))
