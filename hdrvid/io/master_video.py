"""Master video for grading and finishing: finished frames as ProRes 4444 or DNxHR HQX, 10 bit, in a QuickTime file.

The signal is HLG or PQ, as of `hdrvid.io.hdr_video` and graded like it, or a camera's log curve with the gamut that it
comes with. A log curve stands for reflectances: the file value 1.0, clipping of the longest exposure, is the
reflectance 1.0, a white wall, and nothing is rolled off. What lies above the reflectance of code 1 clips: 38 in S-Log3,
55 in LogC3, 46 in V-Log, about 470 in LogC4.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from hdrvid.color.constants import LUMINANCE_BT709, LUMINANCE_BT2020
from hdrvid.color.gamuts import GAMUT_OF_RESPONSE, GAMUTS, REC709, convert
from hdrvid.color.hdr_signals import ycbcr_matrix
from hdrvid.color.response import LOG_RESPONSES, RESPONSES, SCENE_OF_CODE_1
from hdrvid.errors import UsageError
from hdrvid.io.hdr_video import HdrGrade, SignalCoder
from hdrvid.io.movie import MovieWriter, av_errors
from hdrvid.types import PathLike

MasterKind = Literal["prores", "dnxhr"]

CURVES = ("hlg", "pq", *LOG_RESPONSES)
"""Signals that a master can have."""

MIN_DNXHR = (256, 120)
"""Width and height, in pixels, of the smallest pictures that DNxHR takes."""

_DNX_MATRIX_BYTE, _DNX_MATRIX_BITS, _DNX_BT2020 = 0x2C, 0b110, 0b010
"""Where the header of a frame of DNxHR says its matrix (SMPTE ST 2019-1), and BT.2020 non-constant luminance there."""

_ROWS_AT_ONCE = 64
_FORMAT = {"prores": "yuv444p10le", "dnxhr": "yuv422p10le"}
_ENCODER = {"prores": "prores_ks", "dnxhr": "dnxhd"}
_OPTIONS = {"prores": {"profile": "4444", "vendor": "apl0"}, "dnxhr": {"profile": "dnxhr_hqx"}}
_TRANSFER = {"hlg": ColorTrc.ARIB_STD_B67, "pq": ColorTrc.SMPTE2084}


def check_master(kind: MasterKind, curve: str, width: int | None = None, height: int | None = None) -> None:
    """Raise UsageError for a signal that is not one of CURVES, or pictures that the format does not take."""
    if curve not in CURVES:
        raise UsageError(f"--{kind} takes one of {', '.join(CURVES)}, not '{curve}'")
    if kind == "dnxhr" and width and height and (width < MIN_DNXHR[0] or height < MIN_DNXHR[1]):
        raise UsageError(
            f"DNxHR takes pictures from {MIN_DNXHR[0]}x{MIN_DNXHR[1]} on, not {width}x{height}: --prores hlg"
        )


class MasterWriter(MovieWriter):
    """Writes one .mov: ProRes 4444 (4:4:4) or DNxHR HQX (4:2:2), 10 bit, limited range.

    HLG and PQ have BT.2020 primaries and matrix and are tagged so. Log curves have the primaries of their gamut and the
    matrix of BT.709; primaries and curve are tagged as unspecified, for no tag names them. A context manager with the
    promises of `MovieWriter`.
    """

    container_format = "mov"

    def __init__(
        self,
        path: PathLike,
        width: int,
        height: int,
        frames_per_second: Fraction | float,
        kind: MasterKind,
        curve: str,
        grade: HdrGrade | None = None,
        **movie: Any,
    ) -> None:
        """`grade`: of the frames, for the curves hlg and pq. `movie`: further arguments of `MovieWriter`.

        Raises UsageError as `check_master` does.
        """
        check_master(kind, curve, width, height)
        super().__init__(path, width, height, frames_per_second, **movie)
        self.kind = kind
        self.curve = curve
        self._grade = grade
        self._coder = None if grade is None else SignalCoder(grade.kind)
        luminance = LUMINANCE_BT2020 if curve in _TRANSFER else LUMINANCE_BT709
        scale = np.array([[876.0], [896.0], [896.0]])
        self._matrix = (ycbcr_matrix(luminance) * scale).astype(np.float32)
        self._size = height + height % 2, width + width % 2

    def write(self, linear: np.ndarray, pts_seconds: float | None = None) -> None:
        """Append one frame: (H, W, 3) floating, scene-linear Rec. 709, 1.0 where the longest exposure clips.

        `pts_seconds`: see `hdrvid.io.hdr_video.HdrVideoWriter.write`.
        """
        if linear.shape != (self.height, self.width, 3) or linear.dtype.kind != "f":
            raise ValueError(f"the frame is {linear.dtype} {linear.shape}, not float {(self.height, self.width, 3)}")
        with av_errors(self.path):
            frame = av.VideoFrame(self._size[1], self._size[0], _FORMAT[self.kind])
            for plane, values in zip(frame.planes, self._planes(linear), strict=True):
                rows = np.zeros((plane.height, plane.line_size // 2), np.uint16)
                rows[:, : plane.width] = values
                plane.update(rows.tobytes())
        self._tag(frame)
        self._append(frame, pts_seconds)

    def signal(self, linear: np.ndarray) -> np.ndarray:
        """(..., 3) scene-linear Rec. 709 to (..., 3) R'G'B' in 0..1."""
        finite = np.nan_to_num(np.asarray(linear, np.float32), nan=0.0, posinf=65504.0, neginf=0.0)
        if self._coder is not None:
            assert self._grade is not None
            return self._coder.encode(self._coder.light(self._grade.display_nits(finite)))
        scene = np.maximum(convert(finite, REC709, GAMUTS[GAMUT_OF_RESPONSE[self.curve]]), 0.0)
        return np.asarray(RESPONSES[self.curve].encode(scene / np.float32(SCENE_OF_CODE_1[self.curve])), np.float32)

    def _planes(self, linear: np.ndarray) -> tuple[np.ndarray, ...]:
        """Luma, Cb and Cr of a frame, uint16; chroma of every second column for 4:2:2, sited on the left."""
        rows, columns = self._size
        padding = ((0, rows - self.height), (0, columns - self.width), (0, 0))
        padded = np.pad(linear, padding, mode="edge")
        codes = np.empty((rows, columns, 3), np.float32)
        for top in range(0, rows, _ROWS_AT_ONCE):
            block = self.signal(padded[top : top + _ROWS_AT_ONCE])
            codes[top : top + _ROWS_AT_ONCE] = block @ self._matrix.T + np.array([64, 512, 512], np.float32)
        luma, chroma = codes[..., 0], codes[..., 1:]
        if self.kind == "dnxhr":
            left = np.concatenate([chroma[:, :1], chroma[:, 1:-1:2]], 1)
            chroma = np.float32(0.25) * (left + 2 * chroma[:, ::2] + chroma[:, 1::2])
        planes = (luma, 940), (chroma[..., 0], 960), (chroma[..., 1], 960)
        return tuple(np.clip(np.rint(plane), 64, top).astype(np.uint16) for plane, top in planes)

    def _add_stream(self, container: Any) -> Any:
        stream = container.add_stream(_ENCODER[self.kind], rate=self.frames_per_second, options=_OPTIONS[self.kind])
        stream.height, stream.width = self._size
        stream.pix_fmt = _FORMAT[self.kind]
        self._tag(stream.codec_context)
        return stream

    def _encode(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            if self.kind == "dnxhr" and self.curve in _TRANSFER:
                # FFmpeg's encoder leaves the matrix of every frame's header at BT.709, which decoders believe
                data = bytearray(packet)
                data[_DNX_MATRIX_BYTE] = data[_DNX_MATRIX_BYTE] & ~_DNX_MATRIX_BITS | _DNX_BT2020
                packet.update(bytes(data))
            self._container.mux(packet)

    def _tag(self, target: Any) -> None:
        """Tag a frame or a codec context."""
        is_hdr = self.curve in _TRANSFER
        target.colorspace = Colorspace.BT2020 if is_hdr else Colorspace.ITU709
        target.color_range = ColorRange.MPEG
        target.color_primaries = ColorPrimaries.BT2020 if is_hdr else ColorPrimaries.UNSPECIFIED
        target.color_trc = _TRANSFER.get(self.curve, ColorTrc.UNSPECIFIED)
