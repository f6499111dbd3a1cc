"""Animated WebP and AVIF through imageio (Pillow): FFmpeg writes them, and reads the first picture alone or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import imageio.v3 as iio
import numpy as np
from PIL import Image

from hdrvid.bounds import require_pixels
from hdrvid.errors import InputError
from hdrvid.io.frames import SEQUENCE_RATE
from hdrvid.io.icc import parse_profile
from hdrvid.io.text_files import require_file
from hdrvid.io.video import output_stem
from hdrvid.types import ClipInfo, Frame, FrameMetadata, PathLike

SUFFIXES = {".webp": "WebP", ".avif": "AVIF", ".avifs": "AVIF"}
"""Format by suffix of the files that this module reads."""

_ERRORS = (OSError, EOFError, ValueError, SyntaxError, Image.DecompressionBombError)


class AnimationReader:
    """Reads the frames of an animated picture, 8 bits a channel; alpha is dropped. See `hdrvid.types.ClipReader`.

    Raises InputError where the file is missing, damaged or holds a single picture.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        self._format = SUFFIXES[self.path.suffix.lower()]
        with self._opened() as file:
            try:
                self._count = int(file.properties(index=...).n_images or 1)
                if self._count < 2:
                    raise InputError(f"{self.path} holds one picture, not a clip: name all its frames, as PNG or TIFF")
                height, width = file.properties(index=0).shape[:2]
                require_pixels(self.path, width, height)
                height, width = file.read(index=0, mode="RGB").shape[:2]
                metadata = file.metadata(index=0, exclude_applied=False)
            except _ERRORS as error:
                raise self._unreadable() from error
        duration = metadata.get("duration") or 0  # ms
        profile = parse_profile(metadata["icc_profile"]) if metadata.get("icc_profile") else None
        self.info = ClipInfo(
            source=str(path),
            stem=output_stem(self.path.stem),
            kind="video",
            width=width,
            height=height,
            num_frames=self._count,
            frames_per_second=Fraction(1000, int(duration)) if duration else SEQUENCE_RATE,
            bit_depth=8,
            details={"format": f"animated {self._format}"} | ({} if profile is None else {"icc_profile": profile.name}),
            transfer="" if profile is None else profile.transfer,
            gamut=None if profile is None else profile.gamut,
        )

    def _opened(self) -> Any:
        require_file(self.path)
        try:
            return iio.imopen(self.path, "r", plugin="pillow")
        except _ERRORS as error:
            raise self._unreadable() from error

    def _unreadable(self) -> InputError:
        return InputError(
            f"{self.path} cannot be read as {self._format}: it is damaged, incomplete or another kind of file"
        )

    def frames(
        self, start: int = 0, stop: int | None = None, on_damage: Callable[[int, str], None] | None = None
    ) -> Iterator[Frame]:
        """Frames `start` <= index < `stop`, in order. A frame that cannot be decoded raises InputError, or is reported
        to `on_damage` and left out."""
        if start < 0 or (stop is not None and stop < 0):
            raise ValueError(f"frame indices begin at 0, not {min(start, stop or 0)}")
        return self._frames(start, self._count if stop is None else min(stop, self._count), on_damage)

    def _frames(self, start: int, stop: int, on_damage: Callable[[int, str], None] | None) -> Iterator[Frame]:
        if start >= stop:
            return
        milliseconds = 0.0
        with self._opened() as file:
            for index in range(stop):
                try:
                    codes = np.asarray(file.read(index=index, mode="RGB"), np.float32) / np.float32(255)
                    duration = file.metadata(index=index, exclude_applied=False).get("duration")
                except _ERRORS as error:
                    if on_damage is None:
                        raise InputError(f"{self.path} is damaged at frame {index}: copy it again") from error
                    if index >= start:
                        on_damage(index, f"frame {index} of {self.path} cannot be decoded")
                    continue
                if index >= start:
                    yield Frame(index, codes, milliseconds / 1000)
                milliseconds += float(duration or 1000 / self.info.frames_per_second)

    def metadata(self, index: int) -> FrameMetadata:
        """Nothing: animated pictures say nothing of their frames."""
        return FrameMetadata()

    def warnings(self) -> list[str]:
        """Nothing is noticed here."""
        return []

    def close(self) -> None:
        """Nothing stays open between frames."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
