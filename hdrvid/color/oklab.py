"""Oklab: lines to white keep their hue as the eye sees it (Ottosson, "A perceptual color space for image processing",
2020).

Convention:
    rgb         linear Rec. 709; matrices act on column vectors.
    lms         cone responses of that model; of white 1, 1, 1. Lab is a matrix times their cube roots: a line in Lab
                is a line in the cube roots.
"""

from __future__ import annotations

import numpy as np

LAB_TO_LMS_ROOT = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.291485548]]
)
"""(3, 3) Lab to the cube roots of lms."""
LMS_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.707614701],
    ]
)
"""(3, 3) lms to linear Rec. 709."""
RGB_TO_LMS = np.linalg.inv(LMS_TO_RGB)
"""(3, 3) linear Rec. 709 to lms."""


def oklab_to_rgb(lab: np.ndarray) -> np.ndarray:
    """(..., 3) Oklab to (..., 3) linear Rec. 709; outside 0..1 where no display shows the colour.

    >>> oklab_to_rgb(np.array([1.0, 0.0, 0.0])).round(6)
    array([1., 1., 1.])
    """
    rgb: np.ndarray = (lab @ LAB_TO_LMS_ROOT.T) ** 3 @ LMS_TO_RGB.T
    return rgb


def rgb_to_oklab(rgb: np.ndarray) -> np.ndarray:
    """(..., 3) linear Rec. 709 to (..., 3) Oklab.

    >>> rgb_to_oklab(np.array([0.5, 0.5, 0.5])).round(4) + 0.0
    array([0.7937, 0.    , 0.    ])
    """
    lab: np.ndarray = np.cbrt(rgb @ RGB_TO_LMS.T) @ np.linalg.inv(LAB_TO_LMS_ROOT).T
    return lab
