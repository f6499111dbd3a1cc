"""The settings that decide the pixels of a frame. Every EXR carries them, and a run keeps only frames with its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from hdrvid import __version__
from hdrvid.detect.clip import Detection
from hdrvid.io.exr import LOSSY_COMPRESSIONS
from hdrvid.pipeline.options import ReconstructOptions, exr_compression
from hdrvid.types import Exposures, Reconstructor


def frame_settings(
    options: ReconstructOptions, exposures: Exposures, detection: Detection, reconstructor: Reconstructor
) -> dict[str, Any]:
    """Everything but the clip that decides the pixels of the next frame. The device is left out: its last bits are not
    promised."""
    from hdrvid.predict.runner import ModelRunner  # loads PyTorch

    response, info = detection.response, detection.info
    runner = reconstructor if isinstance(reconstructor, ModelRunner) else None
    curve = None if response.curve is None else hashlib.sha256(np.float64(response.curve).tobytes()).hexdigest()[:12]
    return {
        "version": __version__,
        "model": reconstructor.name,
        "model_sha256": reconstructor.provenance.get("sha256"),
        "precision": getattr(reconstructor, "precision", options.precision),
        "tile": options.tile,
        "tile_px": runner and runner.tile_px(info.height, info.width),
        "compiled_loops": bool(runner and runner.compiled_loops),
        "opencv": cv2.__version__,
        "align": options.align,
        "regular": options.regular,
        "stops": [round(s, 6) for s in exposures.stops],
        "response": response.name if curve is None else f"measured curve {curve}",
        "primaries": [round(float(c), 5) for c in detection.gamut.chromaticities],
        "white_code": detection.white_code,
        "repeats": list(detection.repeats),
        "white": options.white if options.white in ("longest", "shortest") else f"{float(options.white):g}",
        "compression": compression if (compression := exr_compression(options)) in LOSSY_COMPRESSIONS else "exact",
        "output_primaries": options.primaries,
        "depth": options.depth,
        **({} if options.every == "frame" else {"every": options.every}),
        **({"unmeasured": True} if options.unmeasured else {}),
        **_sample_settings(detection),
    }


def _sample_settings(detection: Detection) -> dict[str, Any]:
    """What decides how stored samples are read, where that is not what it is for most clips."""
    samples, levels = detection.samples, detection.levels
    settings: dict[str, Any] = {
        "black_code": levels.black if levels else 0,
        "bayer": samples.bayer if samples.is_mosaic else "",
        "white_balance": None if samples.white_balance is None else list(samples.white_balance),
        "deinterlace": samples.deinterlace,
        "one_channel": detection.info.one_channel,
        "tracks": detection.info.tracks if detection.info.tracks > 1 else 0,
    }
    return {name: value for name, value in settings.items() if value}


_MACHINE_SETTINGS = ("tile_px", "compiled_loops")
"""Settings that follow from the machine. A frame records them; a run with others keeps the frame."""


def canonical_json(settings: Mapping[str, Any]) -> str:
    """Settings as one line of JSON, the same for equal settings."""
    return json.dumps(settings, sort_keys=True, separators=(",", ":"))


def settings_id(settings: Mapping[str, Any]) -> str:
    """Checksum of settings, 12 hexadecimal digits."""
    return hashlib.sha256(canonical_json(settings).encode()).hexdigest()[:12]


def changed_settings(header: Mapping[str, object], settings: Mapping[str, Any]) -> str | None:
    """The settings in which an existing frame differs, in words; None where it is kept all the same."""
    try:
        before = json.loads(str(header["hdrvid:options"]))
        settings = json.loads(canonical_json(settings))
        keys = [k for k in {**settings, **before} if before.get(k) != settings.get(k)]
        changed = [f"{k} {before.get(k)}, now {settings.get(k)}" for k in keys]
        if {*keys} <= {*_MACHINE_SETTINGS}:
            return None
    except (KeyError, ValueError, AttributeError, TypeError):
        changed = []
    return "; ".join(changed) or "it does not say which"
