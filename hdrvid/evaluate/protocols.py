"""How a frame is scored, by name: two papers' figures can be compared only where this is the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hdrvid.color.constants import LUMA_BT601
from hdrvid.color.radiance import radiance_from_ldr
from hdrvid.errors import UsageError

LUMA = np.array(LUMA_BT601, np.float32)
"""Rec. 601 luma of display-coded RGB."""
WELL_EXPOSED_LUMA = {"short": (0.2, 1.0), "middle": (0.2, 0.8), "long": (0.0, 0.8)}
"""HDRFlow: lowest and highest luma of a reference pixel that is well exposed, by exposure class."""


@dataclass(frozen=True)
class Protocol:
    """A way to score."""

    name: str
    """`--protocol`."""
    description: str
    """For the line that is printed with every score."""
    keeps_well_exposed: bool = False
    """Well-exposed pixels of the reference replace those of the estimate."""
    ssim_range_of_truth: bool = False
    """SSIM takes max - min of the truth as the span of the values, else 1."""

    def scored_estimate(
        self, estimate: np.ndarray, reference: np.ndarray, exposure: float, exposure_class: str
    ) -> np.ndarray:
        """The (H, W, 3) radiance that is compared with the truth; `reference` (H, W, 3) is the frame's network code."""
        if not self.keeps_well_exposed:
            return estimate
        low, high = WELL_EXPOSED_LUMA[exposure_class]
        luma = reference @ LUMA
        keep = (luma >= low) & (luma <= high)
        return np.where(keep[..., None], radiance_from_ldr(reference, exposure), estimate)

    def ssim_range(self, truth: np.ndarray) -> float:
        """Span of the values of `truth`, after the mu-law where SSIM is taken there."""
        return float(truth.max() - truth.min()) or 1.0 if self.ssim_range_of_truth else 1.0


PROTOCOLS = {
    p.name: p
    for p in (
        Protocol(
            "deephdrvideo",
            "mu = 5000, peak 1, nothing cropped, clipped or rescaled, SSIM 7x7 uniform with range 1, mean over frames",
        ),
        Protocol(
            "hdrflow",
            "mu = 5000, peak 1, pixels whose reference luma is well exposed (short >= 0.2, long <= 0.8, middle both) "
            "taken from the linearised reference, SSIM 7x7 uniform with the truth's range, mean over frames",
            keeps_well_exposed=True,
            ssim_range_of_truth=True,
        ),
    )
}
"""Chen et al. 2021 (DeepHDRVideo) and Xu et al. 2024 (HDRFlow)."""


def find_protocol(name: str) -> Protocol:
    """The protocol of that name. Raises UsageError."""
    if name not in PROTOCOLS:
        raise UsageError(f"unknown protocol '{name}': --protocol takes {' or '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
