"""HDR-VQM, a measure of HDR video quality, from the paper; no MATLAB.

Narwaria, Perreira Da Silva and Le Callet, HDR-VQM: An objective quality measure for high dynamic range video, Signal
Processing: Image Communication 35, 2015. The steps:

1. A frame becomes what an HDR display emits: radiance times 4500 cd/m^2, its luminance held in [0.03, 4500].
2. Perceptually uniform codes (Aydin et al. 2008), resized to 512 x 896, split by log-Gabor filters of 5 scales and 4
   orientations.
3. The magnitudes of estimate and truth are compared subband by subband: similarity (2ab + C) / (a^2 + b^2 + C).
   The sum over the subbands is the similarity map of the frame, 20 where nothing differs.
4. Short-term pooling: the standard deviation of that map over tubes of 64 x 64 pixels and as many frames as the eye
   rests on one spot (0.6 s).
5. The mean of the lowest 30 percent of the tubes of one block of frames, and of these the mean of the lowest 30 percent
   of the blocks: 0 for identical clips, larger is worse. Reported as (4 / (1 + e^q) - 1) 100 percent.

The lowest: the pooling looks at the best part of the picture, so damage that spares a third of it costs next to
nothing. That is what the authors' program does, and every published figure with it.

Convention:
    radiance    (H, W, 3) linear Rec. 709 RGB, 1.0 = clipping of the SHORTEST exposure; any size, resized by itself.
    frames      come in the order of the clip, estimate and truth together.

Where the paper is silent this follows the authors' program, whose figures it gives back to 6 digits:
- a block counts only when another frame follows it: 16 frames at 25 fps make one block of 15, and so do 30. What is
  left over at the end is not looked at. A clip that has no such block (the program has no answer there) is one block
  of all its frames, of a length of its own: compare it only with clips of that length.
- a pixel of exactly zero luminance has code 0, though the display's black has code 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.resources import files
from itertools import zip_longest

import numpy as np
import scipy.fft
import scipy.sparse

from hdrvid.color.radiance import luminance
from hdrvid.errors import InputError
from hdrvid.metrics.pu21 import checked_radiance

DISPLAY_CD_M2 = (0.03, 4500.0)
"""Black and peak of the display of the paper's experiments, a SIM2; radiance 1.0 is its peak."""
ROWS, COLUMNS = 512, 896
"""Size at which frames are compared, in pixels."""
SCALES, ORIENTATIONS = 5, 4
"""Of the log-Gabor filters."""
SHORTEST_WAVELENGTH_PX = 3.0
"""Of the finest scale; every next one is three times as long."""
WAVELENGTH_RATIO = 3.0
"""Between neighbouring scales."""
RADIAL_SIGMA = 0.55
"""Standard deviation of the logarithmic Gaussian over the frequency, as a ratio to the centre frequency."""
ANGULAR_SIGMA = math.pi / ORIENTATIONS / 1.5
"""Standard deviation of the Gaussian over the angle, in radians."""
SIMILARITY_CONSTANT = 0.2
"""C of the similarity, in squared codes: differences below its root do not count."""
TUBE_PX = 64
"""Side of a tube in pixels: 2 degrees of the visual field, rounded to a power of 2."""
FIXATION_SECONDS = 0.6
"""Length of a tube."""
POOLED_FRACTION = 0.3
"""Share of the tubes, and of the blocks, that is averaged."""


@dataclass(frozen=True)
class Subbands:
    """One frame, filtered: what `HdrVqm.add` takes in place of the frame itself."""

    magnitudes: np.ndarray = field(repr=False)
    """(20, 512, 896) float32, scale by scale, within a scale by orientation."""
    frame_shape: tuple[int, ...]
    """(H, W, 3) of the frame."""


def subbands(frame: np.ndarray) -> Subbands:
    """Filter one frame (H, W, 3) once for several estimates; 37 MB. Raises InputError as `HdrVqm.add` does."""
    magnitudes = np.empty((SCALES * ORIENTATIONS, ROWS, COLUMNS), np.float32)
    for band, magnitude in zip(magnitudes, _magnitudes(frame), strict=True):
        band[:] = magnitude
    return Subbands(magnitudes, np.shape(frame))


class HdrVqm:
    """HDR-VQM of one clip, frame by frame: `add` every pair, then ask for `score`.

    Only sums over the tubes are kept, whatever the length of the clip.
    """

    def __init__(self, frames_per_second: float = 25.0) -> None:
        """`frames_per_second` settles the length of a tube. Raises InputError where it is no frame rate."""
        if not (math.isfinite(frames_per_second) and frames_per_second > 0):
            raise InputError(f"a frame rate is a positive number of frames per second, not {frames_per_second}")
        self.block_frames = math.ceil(float(frames_per_second) * FIXATION_SECONDS)
        self.num_frames = 0
        self._block = _Block()
        self._pooled: list[float] = []
        self._similarity = 0.0

    def add(self, estimate: np.ndarray | Subbands, truth: np.ndarray | Subbands) -> None:
        """Take the next frame of the clip: radiance (H, W, 3), or what `subbands` made of it, of one size.

        Raises InputError for frames that are not (H, W, 3), not finite or of two sizes; the clip is then as before.
        """
        shapes = [x.frame_shape if isinstance(x, Subbands) else np.shape(x) for x in (estimate, truth)]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"a reconstruction of shape {shapes[0]} cannot be compared with a ground truth of shape {shapes[1]}: "
                "bring both to the same size first"
            )
        lost = _lost_similarity(estimate, truth)
        if self._block.num_frames == self.block_frames:
            self._pooled.append(self._block.pooled())
            self._block = _Block()
        self._block.add(lost)
        self._similarity += SCALES * ORIENTATIONS - float(lost.mean(dtype=np.float64))
        self.num_frames += 1

    def raw(self) -> float:
        """The distortion q, 0 for identical clips and larger for worse ones. Raises InputError without any frame."""
        if not self.num_frames:
            raise InputError("HDR-VQM needs at least one frame: add the frames of the clip first")
        return _mean_of_lowest(np.array(self._pooled or [self._block.pooled()]))

    def score(self) -> float:
        """(4 / (1 + e^q) - 1) 100 percent: 100 for identical clips, 0 at q = ln 3, below 0 for still worse ones."""
        return 100.0 * (4.0 / (1.0 + math.exp(self.raw())) - 1.0)

    def mean_similarity(self) -> float:
        """Mean of the similarity maps over all frames, 0..20: an intermediate figure to check against."""
        if not self.num_frames:
            raise InputError("HDR-VQM needs at least one frame: add the frames of the clip first")
        return self._similarity / self.num_frames


def hdr_vqm(estimates: Iterable[np.ndarray], truths: Iterable[np.ndarray], frames_per_second: float = 25.0) -> float:
    """HDR-VQM of a clip in percent, 100 for identical clips: see `HdrVqm`, and for frames and errors `HdrVqm.add`.

    Raises InputError also where one clip is longer than the other.
    """
    measure = HdrVqm(frames_per_second)
    for estimate, truth in zip_longest(estimates, truths):
        if estimate is None or truth is None:
            raise InputError("the reconstruction and the ground truth differ in length: give the same frames of both")
        measure.add(estimate, truth)
    return measure.score()


def pu_encode(luminance_cd_m2: np.ndarray) -> np.ndarray:
    """Perceptually uniform code of luminance in cd/m^2, clipped to the display's 0.03..4500; of exactly 0 it is 0.

    Aydin, Mantiuk and Seidel, Extending quality metrics to full luminance range images, 2008: their table, between its
    entries linear in log10 of both.

    >>> [round(float(v), 2) for v in pu_encode(np.array([0.0, 0.03, 100.0, 4500.0]))]
    [0.0, 3.07, 224.15, 462.76]
    """
    table = _pu_table()
    shown = np.clip(luminance_cd_m2, *DISPLAY_CD_M2)
    code = 10.0 ** np.interp(np.log10(shown), table[:, 0], table[:, 1])
    return np.where(luminance_cd_m2 == 0, 0.0, code)


@cache
def _pu_table() -> np.ndarray:
    """(N, 2): log10 of the luminance in cd/m^2 and of its code."""
    text = files("hdrvid.metrics").joinpath("data", "pu_aydin2008.csv").read_text(encoding="ascii")
    return np.log10(np.array([line.split(",") for line in text.split()], np.float64))


@lru_cache(maxsize=8)
def bicubic(size: int, new_size: int) -> scipy.sparse.csr_array:
    """(new_size, size): bicubic resizing of one axis.

    Convention: pixel centres at half-integers, so both grids span the same picture; a = -0.5; widened by the ratio when
    shrinking, against aliasing; mirrored at the border. All as MATLAB's imresize.
    """
    ratio = new_size / size
    stretch = max(1.0, 1.0 / ratio)
    centres = (np.arange(new_size) + 0.5) / ratio - 0.5
    taps = math.ceil(4 * stretch) + 2
    sources = np.floor(centres - 2 * stretch).astype(int)[:, None] + np.arange(taps)
    x = np.abs(sources - centres[:, None]) / stretch
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weights = np.where(x <= 1, near, np.where(x <= 2, far, 0.0))
    weights /= weights.sum(1, keepdims=True)
    mirrored = sources % (2 * size)
    mirrored = np.minimum(mirrored, 2 * size - 1 - mirrored)
    rows = np.repeat(np.arange(new_size), taps)
    return scipy.sparse.csr_array((weights.ravel(), (rows, mirrored.ravel())), shape=(new_size, size))


def resized(image: np.ndarray) -> np.ndarray:
    """(H, W) to (512, 896)."""
    if image.shape == (ROWS, COLUMNS):
        return image
    tall = bicubic(image.shape[0], ROWS) @ image
    return (bicubic(image.shape[1], COLUMNS) @ tall.T).T


@cache
def subband_filters() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Radial parts, finest scale first, and angular parts of the log-Gabor filters: (512, 896) float32 over frequency.

    One-sided: a filter passes one half of the plane, so its output is complex and its magnitude an envelope.
    """
    x, y = np.meshgrid(scipy.fft.fftfreq(COLUMNS), scipy.fft.fftfreq(ROWS))
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    radius[0, 0] = 1.0  # the logarithm of the mean's 0
    radial, angular = [], []
    for scale in range(SCALES):
        centre = 1.0 / (SHORTEST_WAVELENGTH_PX * WAVELENGTH_RATIO**scale)
        part = np.exp(-((np.log(radius / centre) / math.log(RADIAL_SIGMA)) ** 2) / 2)
        part[0, 0] = 0.0
        radial.append(part.astype(np.float32))
    for orientation in range(ORIENTATIONS):
        turned = angle - orientation * math.pi / ORIENTATIONS
        distance = np.arctan2(np.sin(turned), np.cos(turned))
        angular.append(np.exp(-((distance / ANGULAR_SIGMA) ** 2) / 2).astype(np.float32))
    return radial, angular


def _magnitudes(frame: np.ndarray) -> Iterator[np.ndarray]:
    """(512, 896) float32 magnitude of every subband, in the order of `Subbands`.

    Single precision is enough, the score of a clip moves by 1e-6 percent: the mean, which no filter passes, is taken
    off before.
    """
    code = resized(pu_encode(luminance(checked_radiance(frame)) * DISPLAY_CD_M2[1]))
    spectrum = scipy.fft.fft2((code - code.mean()).astype(np.float32), workers=1)
    radial, angular = subband_filters()
    turned = [spectrum * part for part in angular]
    for scale in radial:
        for direction in turned:
            band = scipy.fft.ifft2(direction * scale, overwrite_x=True, workers=1)
            yield np.sqrt(band.real**2 + band.imag**2)


def _lost_similarity(estimate: np.ndarray | Subbands, truth: np.ndarray | Subbands) -> np.ndarray:
    """(512, 896): 20 less the similarity map, summed as (a - b)^2 / (a^2 + b^2 + C), which does not cancel near 0."""
    a, b = (x.magnitudes if isinstance(x, Subbands) else _magnitudes(x) for x in (estimate, truth))
    lost = np.zeros((ROWS, COLUMNS), np.float32)
    for p, q in zip(a, b, strict=True):
        squared_difference = np.square(p - q)
        lost += squared_difference / (squared_difference + 2 * p * q + np.float32(SIMILARITY_CONSTANT))
    return lost


class _Block:
    """Sums over the tubes of consecutive frames."""

    def __init__(self) -> None:
        self.num_frames = 0
        self._sum = np.zeros((ROWS // TUBE_PX, COLUMNS // TUBE_PX))
        self._sum_of_squares = np.zeros_like(self._sum)

    def add(self, lost: np.ndarray) -> None:
        tubes = lost.reshape(ROWS // TUBE_PX, TUBE_PX, COLUMNS // TUBE_PX, TUBE_PX)
        self._sum += tubes.sum((1, 3), dtype=np.float64)
        self._sum_of_squares += np.einsum("iajb,iajb->ij", tubes, tubes, dtype=np.float64)
        self.num_frames += 1

    def pooled(self) -> float:
        """Short-term pooling, then over the picture."""
        count = self.num_frames * TUBE_PX * TUBE_PX
        variance = (self._sum_of_squares - self._sum**2 / count) / (count - 1)
        return _mean_of_lowest(np.sqrt(np.maximum(variance, 0.0)).ravel())


def _mean_of_lowest(values: np.ndarray) -> float:
    """Mean of the lowest 30 percent of the values, and of one at least."""
    count = 1 + math.floor((values.size - 1) * POOLED_FRACTION + 0.5)
    return float(np.sort(values)[:count].mean())
