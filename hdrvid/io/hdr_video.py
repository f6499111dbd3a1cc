"""HDR video: finished frames as a 10-bit HEVC file that televisions, phones and browsers show as HDR.

How file values become light. A frame value v is scene-linear Rec. 709, 1.0 = clipping of the longest exposure. It is
shown at `nits_per_unit` * v cd/m2, one factor for the whole clip: 203, the diffuse white of Report ITU-R BT.2408, so
that the longest exposure looks as it would as an ordinary picture and everything it clips is brighter. Only where
the brightest frame would then average more than 400 cd/m2, which displays cannot hold, is the factor smaller.
Up to the knee of the roll-off (`HdrGrade.knee_nits`) light is exactly proportional to the file. HDR10 has no knee
unless the clip exceeds 10000 cd/m2 or `peak_nits` is given: its mastering display is the smallest of 1000, 2000, 4000
and 10000 cd/m2 that shows everything. HLG is for a display of 1000 cd/m2 (system gamma 1.2), and brighter parts
are rolled off (BT.2390) as they are with `peak_nits`. The roll-off scales the three components of a colour alike, so
that its hue stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import av
import cv2
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from hdrvid.color import hdr_signals
from hdrvid.errors import InputError, UsageError
from hdrvid.io.movie import MovieWriter, av_errors
from hdrvid.types import PathLike

HdrKind = Literal["hdr10", "hlg"]

HDR_CRF = 4
"""x265 quality: half of the pixels of textured pictures, and nearly all of smooth ones, are within 1 % of their
luminance, where one step of 10-bit PQ alone is 1.1 % at 100 cd/m2. About 20 Mbit/s at 1920x1080."""

MASTERING_PEAKS_NITS = (1000.0, 2000.0, 4000.0, 10_000.0)
"""Peaks of the mastering displays that are in use."""

MAX_FRAME_AVERAGE_NITS = 400.0
"""Light over a whole frame that televisions can hold."""

_MASTERING_MIN_NITS = 0.0001
_SMALLEST = 16  # of the pictures that x265 takes, in pixels
_ROWS_AT_ONCE = 64
_LUMA_STEPS = 2
_TRANSFER = {"hdr10": ColorTrc.SMPTE2084, "hlg": ColorTrc.ARIB_STD_B67}
_LEVEL = {"hdr10": hdr_signals.pq_level, "hlg": hdr_signals.hlg_level}


@dataclass(frozen=True)
class LightLevels:
    """How bright a clip is, in file values with BT.2020 primaries, before any roll-off."""

    max_pq_level: float
    """Largest `hdr_signals.pq_level` of a pixel: the largest component."""
    max_hlg_level: float
    """Largest `hdr_signals.hlg_level` of a pixel."""
    max_frame_average: float
    """Largest average over a frame of `hdr_signals.pq_level`."""
    num_frames: int
    """Frames that were measured."""

    def max_level(self, kind: HdrKind) -> float:
        """The largest level, as the signal of `kind` counts."""
        return self.max_pq_level if kind == "hdr10" else self.max_hlg_level


@dataclass(frozen=True)
class HdrGrade:
    """How the values of one clip become light, and what the file says about it. See the text of this module."""

    kind: HdrKind
    """'hdr10' (PQ, SMPTE ST 2084) or 'hlg' (BT.2100)."""
    nits_per_unit: float
    """cd/m2 of the frame value 1.0."""
    source_peak_nits: float
    """Brightest level of the clip before the roll-off, cd/m2."""
    peak_nits: float
    """Peak of the display that the clip is made for, cd/m2."""
    max_cll_nits: float
    """MaxCLL: the brightest component of the clip as it is shown, cd/m2."""
    max_fall_nits: float
    """MaxFALL: the brightest frame's average of the brightest components as it is shown, cd/m2."""

    @property
    def rolls_off(self) -> bool:
        """Whether anything of the clip is above the knee."""
        return self.source_peak_nits > self.peak_nits

    @property
    def knee_nits(self) -> float:
        """cd/m2 up to which light is proportional to the file."""
        return hdr_signals.roll_off_knee(self.source_peak_nits, self.peak_nits)

    def display_nits(self, linear: np.ndarray) -> np.ndarray:
        """(..., 3) frame values to (..., 3) cd/m2 on the display, BT.2020 primaries. NaN and negative light are 0."""
        nits = _bt2020(linear) * np.float32(self.nits_per_unit)
        if not self.rolls_off:
            # only a frame that was not measured can be brighter
            return np.minimum(nits, np.float32(self.peak_nits))
        level = _LEVEL[self.kind](nits)
        knee = self.knee_nits
        bright = level > knee
        if bright.any():
            shown = hdr_signals.roll_off(level[bright].astype(np.float64), self.source_peak_nits, self.peak_nits)
            nits[bright] *= (shown / level[bright]).astype(np.float32)[:, None]
        return nits


def check_peak(peak_nits: float) -> None:
    """Raise UsageError for a peak, in cd/m2, that no display has."""
    if not 100 <= peak_nits <= hdr_signals.PQ_PEAK_NITS:
        raise UsageError(f"the peak of a display is 100 to 10000 cd/m2, not {peak_nits:g}")


def measure_light(frames: Iterable[np.ndarray]) -> LightLevels:
    """Measure a clip: (H, W, 3) scene-linear Rec. 709 frames, one at a time. Raises InputError without any frame."""
    pq, hlg, average, count = 0.0, 0.0, 0.0, 0
    for frame in frames:
        total = 0.0
        for top in range(0, len(frame), _ROWS_AT_ONCE):
            light = _bt2020(frame[top : top + _ROWS_AT_ONCE])
            largest, mean = hdr_signals.frame_light(light)
            pq = max(pq, largest)
            hlg = max(hlg, float(hdr_signals.hlg_level(light).max()))
            total += mean * len(light)
        average = max(average, total / len(frame))
        count += 1
    if not count:
        raise InputError("an HDR video needs at least one frame: check the range of frames")
    return LightLevels(pq, hlg, average, count)


def grade_clip(
    frames: Callable[[], Iterable[np.ndarray]],
    kind: HdrKind,
    *,
    nits_per_unit: float | None = None,
    peak_nits: float | None = None,
    light: LightLevels | None = None,
) -> HdrGrade:
    """Decide how a clip is shown. `frames()` gives all its frames, one at a time, from the first on.

    The frames are read once to measure them, unless `light` is given, and once more for MaxFALL where there is a
    roll-off. `nits_per_unit` and `peak_nits` None: as the text of this module says. `peak_nits` is for HDR10 only;
    one above the clip's own peak is kept, and rolls nothing off.
    Raises UsageError for numbers out of range, InputError without any frame.
    """
    if nits_per_unit is not None and not (math.isfinite(nits_per_unit) and nits_per_unit > 0):
        raise UsageError(f"nits_per_unit must be a positive number, not {nits_per_unit}")
    if peak_nits is not None:
        check_peak(peak_nits)
    if light is None:
        light = measure_light(frames())
    if nits_per_unit is None:
        average = max(light.max_frame_average, 1e-6)
        nits_per_unit = min(hdr_signals.REFERENCE_WHITE_NITS, MAX_FRAME_AVERAGE_NITS / average)
    source_peak = light.max_level(kind) * nits_per_unit
    if kind == "hlg":
        peak_nits = hdr_signals.HLG_PEAK_NITS
    elif peak_nits is None:
        peak_nits = next((p for p in MASTERING_PEAKS_NITS if p >= source_peak), MASTERING_PEAKS_NITS[-1])
    grade = HdrGrade(
        kind,
        nits_per_unit,
        source_peak,
        peak_nits,
        light.max_pq_level * nits_per_unit,
        light.max_frame_average * nits_per_unit,
    )
    if not grade.rolls_off:
        return grade
    max_cll = max_fall = 0.0
    for frame in frames():
        total = 0.0
        for top in range(0, len(frame), _ROWS_AT_ONCE):
            rows = frame[top : top + _ROWS_AT_ONCE]
            largest, mean = hdr_signals.frame_light(grade.display_nits(rows))
            max_cll = max(max_cll, largest)
            total += mean * len(rows)
        max_fall = max(max_fall, total / len(frame))
    return HdrGrade(kind, nits_per_unit, source_peak, peak_nits, max_cll, max_fall)


class HdrVideoWriter(MovieWriter):
    """Writes one mp4: HEVC Main 10, BT.2020 non-constant luminance, limited range, PQ or HLG, tagged as such.

    4:2:0 chroma is sited at the top left, as BT.2100 has it. HDR10 carries the mastering display (P3 primaries, D65,
    0.0001 cd/m2 to the grade's peak) and MaxCLL and MaxFALL. They are in the video's own SEI messages, not in mp4's
    `mdcv` and `clli` boxes, which PyAV has no way to write. A context manager with the promises of `MovieWriter`; sizes
    below 16 pixels are padded to 16 as odd ones are to even. The same frames give the same file, but for pictures of at
    most 64x64, which x265 codes differently from run to run.
    """

    def __init__(
        self,
        path: PathLike,
        width: int,
        height: int,
        frames_per_second: Fraction | float,
        grade: HdrGrade,
        crf: int = HDR_CRF,
        *,
        audio_from: PathLike | None = None,
        audio_start_seconds: float | None = None,
        pixel_aspect: Fraction = Fraction(1),
    ) -> None:
        """`grade`: from `grade_clip`, over the same frames. `crf`: x265's quality, lower is better. `audio_from`,
        `audio_start_seconds`, `pixel_aspect`: see `MovieWriter`.
        """
        super().__init__(
            path,
            width,
            height,
            frames_per_second,
            audio_from=audio_from,
            audio_start_seconds=audio_start_seconds,
            pixel_aspect=pixel_aspect,
        )
        self.grade = grade
        self.crf = crf
        self._coded_width = max(_SMALLEST, width + width % 2)
        self._coded_height = max(_SMALLEST, height + height % 2)
        self._coder = SignalCoder(grade.kind)

    def write(self, linear: np.ndarray, pts_seconds: float | None = None) -> None:
        """Append one frame: (H, W, 3) floating, scene-linear Rec. 709, the values that were graded.

        pts_seconds: presentation time; the first frame becomes time 0. Without it frames follow at the frame rate.
        Times that do not rise are moved to the next tick.
        """
        if linear.shape != (self.height, self.width, 3) or linear.dtype.kind != "f":
            raise ValueError(f"the frame is {linear.dtype} {linear.shape}, not float {(self.height, self.width, 3)}")
        with av_errors(self.path):
            frame = av.VideoFrame.from_ndarray(self._planes(linear), format="yuv420p10le")
        _tag(frame, self.grade.kind)
        self._append(frame, pts_seconds)

    def _encode(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            if frame is None and self._count < 3:
                packet.dts = packet.pts  # x265 leaves it to chance where there are fewer frames than it reorders
            self._container.mux(packet)

    def _planes(self, linear: np.ndarray) -> np.ndarray:
        """The frame as PyAV takes it: luma, Cb and Cr one after the other, uint16 (H * 3 / 2, W)."""
        rows, columns = self._coded_height, self._coded_width
        out = np.empty(rows * columns * 3 // 2, np.uint16)
        luma = out[: rows * columns].reshape(rows, columns)
        chroma = out[rows * columns :].reshape(2, rows // 2, columns // 2)
        for top in range(0, rows, _ROWS_AT_ONCE):
            bottom = min(top + _ROWS_AT_ONCE, rows)
            # a row above and two below for the chroma filters; rows past the edge repeat it
            index = np.clip(np.arange(top - 1, bottom + 2), 0, self.height - 1)
            padded = np.pad(linear[index], ((0, 0), (0, columns - self.width), (0, 0)), mode="edge")
            light = self._coder.light(self.grade.display_nits(padded))
            codes = hdr_signals.ycbcr_10bit(self._coder.encode(light))
            smaller = [np.clip(np.rint(_halved(p)), 64, 960) for p in cv2.split(np.ascontiguousarray(codes[..., 1:]))]
            luma[top:bottom] = self._adjusted_luma(codes[1:-2, :, 0], [_doubled(p) for p in smaller], light[1:-2])
            for plane, values in zip(chroma, smaller, strict=True):
                plane[top // 2 : bottom // 2] = values[:-1]
        return out.reshape(rows * 3 // 2, columns)

    def _adjusted_luma(self, luma: np.ndarray, chroma: list[np.ndarray], light: np.ndarray) -> np.ndarray:
        """Luma codes (H, W) that give the pixels their own luminance with the chroma that a player will show.

        Stroem et al., Luma Adjustment for High Dynamic Range Video, 2016: where colours change from pixel to pixel,
        halved chroma alone makes the picture darker, by several per cent in fine texture. `luma` is where the search
        begins, `chroma` the stored codes at full size, `light` (H, W, 3) what the coder makes signals of.
        """
        target = self._coder.encode(hdr_signals.bt2020_luminance(light))
        signal = hdr_signals.signal_of_ycbcr_10bit(np.stack([luma, *chroma], axis=-1)).astype(np.float32)
        grey = (luma - 64) / np.float32(876)
        for _ in range(_LUMA_STEPS):
            # the luminance as a signal rises about as fast as luma does, for greys exactly as fast
            change = target - self._coder.encode(hdr_signals.bt2020_luminance(self._coder.decode(signal)))
            grey += change
            signal += change[..., None]
        return np.clip(np.rint(64 + 876 * grey), 64, 940)

    def _add_stream(self, container: Any) -> Any:
        parameters = {
            "log-level": "error",
            "repeat-headers": "1",
            "open-gop": "0",
            "info": "0",
            "colorprim": "bt2020",
            "transfer": "smpte2084" if self.grade.kind == "hdr10" else "arib-std-b67",
            "colormatrix": "bt2020nc",
            "range": "limited",
            "chromaloc": "2",
        }
        if self.grade.kind == "hdr10":
            peak, black = round(self.grade.peak_nits * 10_000), round(_MASTERING_MIN_NITS * 10_000)
            primaries = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)"
            levels = [max(1, math.ceil(n - 1e-3)) for n in (self.grade.max_cll_nits, self.grade.max_fall_nits)]
            parameters |= {
                "hdr10": "1",
                "hdr10-opt": "1",
                "master-display": f"{primaries}L({peak},{black})",
                "max-cll": f"{levels[0]},{levels[1]}",
            }
        text = ":".join(f"{name}={value}" for name, value in parameters.items())
        stream = container.add_stream(
            "libx265",
            rate=self.frames_per_second,
            options={"crf": str(self.crf), "preset": "medium", "x265-params": text},
        )
        stream.width, stream.height = self._coded_width, self._coded_height
        stream.pix_fmt = "yuv420p10le"
        stream.codec_context.codec_tag = "hvc1"  # Apple's players take no other
        _tag(stream.codec_context, self.grade.kind)
        return stream


def _bt2020(linear: np.ndarray) -> np.ndarray:
    """(..., 3) scene-linear Rec. 709 of any kind to non-negative float32 with BT.2020 primaries."""
    finite = np.nan_to_num(np.asarray(linear, np.float32), nan=0.0, posinf=65504.0, neginf=0.0)
    return np.maximum(hdr_signals.rec709_to_bt2020(finite), 0.0)


def _halved(plane: np.ndarray) -> np.ndarray:
    """Chroma (2 N + 3, 2 M) to (N + 1, M): samples at the top left of each four, from a 1 2 1 filter both ways.

    The first row is the one above the first sample, the last one below the last.
    """
    kernel = np.array([0.25, 0.5, 0.25], np.float32)
    return cv2.sepFilter2D(plane, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)[1::2, ::2]


def _doubled(plane: np.ndarray) -> np.ndarray:
    """Chroma (N + 1, M) to (2 N, 2 M) as players show it: linear between samples at the top left of each four."""
    rows = np.empty((2 * (plane.shape[0] - 1), plane.shape[1]), np.float32)
    rows[::2] = plane[:-1]
    rows[1::2] = (plane[:-1] + plane[1:]) / 2
    out = np.empty((rows.shape[0], 2 * rows.shape[1]), np.float32)
    out[:, ::2] = rows
    out[:, 1:-1:2] = (rows[:, :-1] + rows[:, 1:]) / 2
    out[:, -1] = rows[:, -1]
    return out


class SignalCoder:
    """Light to R'G'B' signals and back, float32, by tables.

    Light is cd/m2 for PQ and scene light for HLG. Encoding looks at the first 13 bits of the mantissa and is off by
    less than 0.02 of a 10-bit step; decoding rounds to 1/16 of a step.
    """

    _SHIFT = 23 - 12
    _LOWEST = int(np.float32(2.0**-20).view(np.uint32)) >> _SHIFT
    _HIGHEST = int(np.float32(2.0**14).view(np.uint32)) >> _SHIFT
    _SIGNALS = 1 << 14

    def __init__(self, kind: HdrKind) -> None:
        self._kind = kind
        values = (np.arange(self._LOWEST, self._HIGHEST + 1, dtype=np.uint32) << self._SHIFT).view(np.float32)
        encode, decode = (
            (hdr_signals.pq_encode, hdr_signals.pq_decode)
            if kind == "hdr10"
            else (hdr_signals.hlg_encode, hdr_signals.hlg_decode)
        )
        self._encoded = encode(values.astype(np.float64)).astype(np.float32)
        self._encoded[0] = encode(np.zeros(1))[0]
        self._decoded = decode(np.linspace(0, 1, self._SIGNALS + 1)).astype(np.float32)

    def light(self, nits: np.ndarray) -> np.ndarray:
        """(..., 3) cd/m2 on the display to what `encode` takes."""
        return nits if self._kind == "hdr10" else hdr_signals.hlg_nits_to_scene(nits)

    def encode(self, light: np.ndarray) -> np.ndarray:
        """Light, any shape, to signals 0..1."""
        bits = np.ascontiguousarray(light, np.float32).view(np.uint32)
        index = (bits + (1 << (self._SHIFT - 1))) >> self._SHIFT
        return self._encoded[np.clip(index, self._LOWEST, self._HIGHEST) - self._LOWEST]

    def decode(self, signal: np.ndarray) -> np.ndarray:
        """Signals, any shape, clipped to 0..1, to light."""
        return self._decoded[np.rint(np.clip(signal, 0.0, 1.0) * self._SIGNALS).astype(np.intp)]


def _tag(target: Any, kind: HdrKind) -> None:
    """Tag a frame or a codec context: both are needed for the file to say it."""
    target.colorspace = Colorspace.BT2020
    target.color_range = ColorRange.MPEG
    target.color_primaries = ColorPrimaries.BT2020
    target.color_trc = _TRANSFER[kind]
