"""The preview: an 8-bit H.264 file that plays everywhere."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation

from hdrvid.io.movie import MovieWriter, av_errors
from hdrvid.types import PathLike

_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP


class PreviewWriter(MovieWriter):
    """Writes one mp4: H.264, yuv420p, BT.709 matrix, primaries and transfer tagged, limited range, index in front.

    A context manager; the file appears when the body ends without an error, and only if a frame was written. Odd
    sizes are padded to even by repeating the last row and column.
    Raises OutputError where the disk or the encoder refuses.
    """

    def __init__(
        self,
        path: PathLike,
        width: int,
        height: int,
        frames_per_second: Fraction | float,
        crf: int = 18,
        *,
        transfer: ColorTrc = ColorTrc.BT709,
        audio_from: PathLike | None = None,
        audio_start_seconds: float | None = None,
        pixel_aspect: Fraction = Fraction(1),
        keyframe_every: int | None = None,
    ) -> None:
        """`crf`: x264's quality, lower is better. `audio_from`, `audio_start_seconds`, `pixel_aspect`: see
        `MovieWriter`. `keyframe_every`: frames from one keyframe to the next at most; None: as x264 likes."""
        super().__init__(
            path,
            width,
            height,
            frames_per_second,
            audio_from=audio_from,
            audio_start_seconds=audio_start_seconds,
            pixel_aspect=pixel_aspect,
        )
        self.crf = crf
        self.transfer = transfer
        self.keyframe_every = keyframe_every

    def write(self, rgb8: np.ndarray, pts_seconds: float | None = None) -> None:
        """Append one frame: (H, W, 3) uint8 display RGB.

        pts_seconds: presentation time; the first frame becomes time 0. Without it frames follow at the frame rate.
        Times that do not rise are moved to the next tick.
        """
        if rgb8.shape != (self.height, self.width, 3) or rgb8.dtype != np.uint8:
            raise ValueError(f"the frame is {rgb8.dtype} {rgb8.shape}, not uint8 {(self.height, self.width, 3)}")
        padded = np.pad(rgb8, ((0, self.height % 2), (0, self.width % 2), (0, 0)), mode="edge")
        with av_errors(self.path):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(padded), format="rgb24").reformat(
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.MPEG,
                interpolation=_EXACT,
            )
        _tag(frame, self.transfer)
        self._append(frame, pts_seconds)

    def _add_stream(self, container: Any) -> Any:
        # with AVX-512, mbtree's results differ from run to run; "medium" takes 2.3 times as long for the same size and
        # PSNR
        options = {"crf": str(self.crf), "preset": "veryfast", "x264-params": "mbtree=0"}
        stream = container.add_stream("libx264", rate=self.frames_per_second, options=options)
        stream.width = self.width + self.width % 2
        stream.height = self.height + self.height % 2
        stream.pix_fmt = "yuv420p"
        if self.keyframe_every is not None:
            stream.gop_size = self.keyframe_every
        stream.thread_type = "AUTO"  # the default slices the picture, which costs quality
        _tag(stream.codec_context, self.transfer)
        return stream


def _tag(target: Any, transfer: ColorTrc) -> None:
    """Tag a frame or a codec context as BT.709 colour, limited range: players read the one or the other."""
    target.colorspace = Colorspace.ITU709
    target.color_range = ColorRange.MPEG
    target.color_primaries = ColorPrimaries.BT709
    target.color_trc = transfer
