"""Weights of the colour channels and the levels of a well-exposed pixel, in one place."""

from __future__ import annotations

LUMA_BT601 = (0.299, 0.587, 0.114)
"""Weights of the R, G and B codes in luma (ITU-R BT.601)."""

LUMINANCE_BT709 = (0.2126, 0.7152, 0.0722)
"""Weights of linear R, G and B of Rec. 709 primaries in relative luminance (ITU-R BT.709)."""

LUMINANCE_BT2020 = (0.2627, 0.6780, 0.0593)
"""Weights of linear R, G and B of Rec. 2020 primaries in relative luminance (ITU-R BT.2020)."""

WELL_EXPOSED_CODES = (0.05, 0.95)
"""Network codes of a well-exposed pixel, both exclusive: what lies below is mostly noise, what lies above clips."""
