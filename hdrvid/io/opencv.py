"""Pictures through OpenCV's decoders, which print what they dislike: the caller says it in a sentence instead."""

from __future__ import annotations

import cv2
import numpy as np


def decode_with_opencv(data: bytes, flags: int) -> np.ndarray | None:
    """Samples of a file in memory, (H, W) or (H, W, C) in BGR order; None where OpenCV cannot decode it."""
    log_level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except (cv2.error, MemoryError):
        return None
    finally:
        cv2.utils.logging.setLogLevel(log_level)
    return None if stored is None or stored.size == 0 else np.asarray(stored)
