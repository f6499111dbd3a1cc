"""ColorVideoVDP, by the package of its authors (`cvvdp` on PyPI, imported as `pycvvdp`), the extra `metrics`.

Mantiuk et al., ColorVideoVDP: A visual difference predictor for image, video and display distortions, SIGGRAPH 2024.

Convention:
    radiance    (H, W, 3) linear Rec. 709 RGB, 1.0 = clipping of the SHORTEST exposure = the peak of the display.
    display     the package's `standard_hdr_linear`: a 30-inch 4K screen seen from two screen heights (75 pixels per
                degree), peak 1500 cd/m^2, contrast 1000000, room light of 10 lux. Frames are shown pixel by pixel, not
                enlarged.

With 1.0 at the peak of a standard display nothing of the truth clips, and the long exposure of a clip with 3 stops
clips at 188 cd/m^2, about the white that graphics have in HDR video (203 cd/m^2, ITU-R BT.2408).
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType

import numpy as np
import torch

from hdrvid.errors import InputError, UsageError
from hdrvid.metrics.pu21 import checked_radiance

DISPLAY = "standard_hdr_linear"
"""Name of the display in the package."""
DISPLAY_PEAK_CD_M2 = 1500.0
"""Its peak, the luminance of radiance 1.0."""
SMALLEST_SIDE_PX = 16
"""Frames below this have no pyramid to speak of."""


def require_cvvdp() -> ModuleType:
    """The package `pycvvdp`. Raises UsageError where it, or the torchvision that it imports, is absent or broken.

    Its import puts the package's own folder on `sys.path`: imported here and nowhere else, only when it is asked for.
    """
    try:
        return importlib.import_module("pycvvdp")
    # torchvision built for another torch ends its import in a RuntimeError or AttributeError, a missing library in an
    # OSError
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        raise UsageError(
            f'ColorVideoVDP cannot be loaded ({error}): pip install "hdrvid[metrics]", with a torchvision that was '
            "built for the installed torch, or leave cvvdp out of --metrics"
        ) from error


def cvvdp_jod(
    estimate_frames: Sequence[np.ndarray],
    truth_frames: Sequence[np.ndarray],
    frames_per_second: float,
    device: torch.device | str | None = None,
) -> float:
    """ColorVideoVDP of a clip in JOD (just-objectionable differences): 10 = identical, less is worse.

    The frames are radiance (H, W, 3), consecutive, all of one size; a single frame is scored as a still. `device` is
    where torch computes, the accelerator if there is one where None. Both clips are held in memory as float32.
    Raises UsageError where the package is not there, InputError for clips that differ in length or size, are empty or
    not finite, for frames too small for the measure, and for a frame rate that is none.
    """
    if len(estimate_frames) != len(truth_frames) or not len(truth_frames):
        raise InputError(
            f"a reconstruction of {len(estimate_frames)} frames cannot be compared with a ground truth of "
            f"{len(truth_frames)}: give the same frames of both, one at least"
        )
    if not (np.isfinite(frames_per_second) and frames_per_second > 0):
        raise InputError(f"a frame rate is a positive number of frames per second, not {frames_per_second}")
    shapes = {np.shape(frame) for frame in (*estimate_frames, *truth_frames)}
    if len(shapes) > 1:
        raise InputError(f"frames of shapes {sorted(shapes)} cannot be compared: bring all to the same size first")
    shown = [_shown(frames) for frames in (estimate_frames, truth_frames)]
    if min(shown[0].shape[1:3]) < SMALLEST_SIDE_PX:
        raise InputError(
            f"ColorVideoVDP needs frames of at least {SMALLEST_SIDE_PX}x{SMALLEST_SIDE_PX} pixels, "
            f"not {shown[0].shape[2]}x{shown[0].shape[1]}: give larger frames"
        )
    where = None if device is None else torch.device(device)
    metric = require_cvvdp().cvvdp(display_name=DISPLAY, quiet=True, device=where)
    jod, _ = metric.predict(*shown, dim_order="FHWC", frames_per_second=float(frames_per_second))
    return float(jod)


def _shown(frames: Sequence[np.ndarray]) -> np.ndarray:
    """(F, H, W, 3) float32 cd/m^2; the package clips to what the display can show."""
    return np.stack([(checked_radiance(frame) * DISPLAY_PEAK_CD_M2).astype(np.float32) for frame in frames])
