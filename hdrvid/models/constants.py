"""Numbers that the networks' formulas share with their compiled twins, which are compiled without PyTorch."""

from __future__ import annotations

# ---- the classical merge: hdrvid.models.classical ---

HAT_HIGH = (0.85, 0.97)
"""Codes between which a frame that clips loses its weight."""
OUTSIDE_PX = 2.5
"""How far, in pixels, a flow may point beyond the centres of the outermost pixels: their replication is worth more
there than the noise of a short reference. Against half a pixel, on eight own scenes: 0.21 dB PSNR-T with a short
reference (2.5 dB in the two outermost pixels), 0.00 dB with a long one."""
PARTLY_CLIPPED = 0.25
"""Weight of a channel that does not clip beside one that does, of a frame that is not the shortest. PSNR-T of twelve
panoramas and six own scenes: at 6 stops +3.6 and +1.6 dB in short frames, +2.3 and +0.8 dB in long ones; at 3 stops
+0.5 and +0.1, +0.4 and +0.3 dB; H.264 of CRF 23 +0.3 and +0.1, +0.1 and 0.0 dB. With a weight of 1 colours that are off
by a few percent would show."""
BLACK_RAMP = 0.05
"""Range of codes, from black on, over which a frame gains its weight."""
BLACK_WEIGHT = 0.01
"""Weight left to a frame where it is black: what it shows is anything up to black, and any longer one knows better."""
CONSISTENCY_FLOOR = 0.4
"""Confidence left to flow that is not consistent: in flat, noisy places flow is arbitrary and harmless, and giving them
up leaves specks of noise. The photometric check finds real occlusions. Measured on 48 windows without a
network: +1.0 dB on short frames, +0.2 dB on long ones."""
PHOTOMETRIC_TOLERANCE = 0.06
"""Difference of matched codes at which the confidence has fallen to 1/e."""
WEIGHT_FLOOR = 1e-4
"""Weight of a candidate that nothing speaks for: it decides only where every candidate is like that."""

# ---- the merging network: hdrvid.models.merge_net ---

CHANNELS_PER_CANDIDATE = 7
"""Code (3), mu-law radiance (3), log prior (1)."""
SMOOTHED_PRIOR = 0.01
"""Prior weight of a smoothed candidate, beside 1 of all others together."""
RESIDUAL_LIMIT = 1.0
"""Largest residual, in that unit: a frame is nowhere further than 0.02 from the range of its candidates. The networks
use up to 0.8 of it."""
RESIDUAL_SCALE = 0.02
"""Unit of the residual in the mu-law domain: errors there are thousandths, so must be what a step of Adam changes."""

# ---- what contradicts the reference: hdrvid.models.reference_check ---

TOLERANCE = 0.015
"""Difference of codes that is never a contradiction."""
TOLERANCE_OF_CODE = 0.04
"""The same as a share of the code: what an exposure or a curve known a few percent wrong explains."""
NOISE_SIGMAS = 2.0
"""Standard deviations of the local mean that are no contradiction."""
CONTRADICTION_WINDOW = 3
"""Side of the window of the local mean, at half the size of the picture."""
USUAL_FACTOR = 8.0
"""A contradiction is larger than so many times the usual difference: 5 standard deviations."""

# ---- networks in 8 bits: hdrvid.models.quantised ---

SIGNED_ZERO = 128
"""The byte that stands for 0 where values have both signs."""
ACTIVATED_ZERO = 32
"""The same behind a leaky ReLU."""
HIGHEST_BYTE = 255

# ---- the flow refinement: hdrvid.models.flow_net ---

WINDOW_SIGMA = 1.5
"""Standard deviation of the window of the Lucas-Kanade step, in pixels."""
WINDOW_RADIUS = round(2.5 * WINDOW_SIGMA)
HALO_PX = WINDOW_RADIUS + 1
"""Reach of the step."""
DAMPING = 1e-3
"""Added to the squared gradients (code per pixel): flow of flat, noisy places stays where DIS left it."""
CORRELATION_RADIUS = 4
"""Reach of the correlation volume, in quarter-size pixels."""
SHORTEST = 1e-3
"""Length from which on features are brought to unit length."""
DIFFERENCE_SCALE = 4.0
"""Differences of codes are tenths: brought to the size of the other inputs."""
OFFSET_LIMIT_PX = 16.0
OFFSET_SCALE = 0.25
"""Flow differences enter the network cut at the limit and scaled; the candidates themselves stay whole."""
