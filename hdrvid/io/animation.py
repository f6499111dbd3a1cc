"""Animated WebP through Pillow: FFmpeg writes it and cannot read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from hdrvid.errors import InputError
from hdrvid.io.frames import SEQUENCE_RATE
from hdrvid.io.icc import parse_profile
from hdrvid.io.video import output_stem
from hdrvid.types import ClipInfo, Frame, PathLike

SUFFIXES = (".webp",)
"""Suffixes of files that this module reads."""


class AnimationReader:
    """Reads the frames of an animated picture, 8 bits a channel; alpha is dropped. See `hdrvid.types.ClipReader`.

    Raises InputError where the file is missing, damaged or holds a single picture.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        with self._opened() as image:
            self._count = int(getattr(image, "n_frames", 1))
            if self._count < 2:
                raise InputError(f"{self.path} holds one picture, not a clip: name all its frames, as PNG or TIFF")
            duration = image.info.get("duration") or 0  # ms; known once a frame was decoded
            image.load()
            duration = image.info.get("duration") or duration
            profile = parse_profile(image.info["icc_profile"]) if image.info.get("icc_profile") else None
            self.info = ClipInfo(
                source=str(path),
                stem=output_stem(self.path.stem),
                kind="video",
                width=image.width,
                height=image.height,
                num_frames=self._count,
                frames_per_second=Fraction(1000, int(duration)) if duration else SEQUENCE_RATE,
                bit_depth=8,
                details={"format": "animated WebP"} | ({} if profile is None else {"icc_profile": profile.name}),
                transfer="" if profile is None else profile.transfer,
                gamut=None if profile is None else profile.gamut,
            )

    def _opened(self) -> Image.Image:
        try:
            if not self.path.is_file():
                raise InputError(f"{self.path} does not exist: check the path")
            return Image.open(self.path)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise InputError(
                f"{self.path} cannot be read as WebP: it is damaged, incomplete or another kind of file"
            ) from error

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
        milliseconds = 0
        with self._opened() as image:
            for index in range(stop):
                try:
                    image.seek(index)
                    codes = np.asarray(image.convert("RGB"), np.float32) / np.float32(255)
                except (OSError, EOFError, ValueError, SyntaxError) as error:
                    text = f"frame {index} of {self.path} cannot be decoded"
                    if on_damage is None:
                        raise InputError(f"{self.path} is damaged at frame {index}: copy it again") from error
                    if index >= start:
                        on_damage(index, text)
                    continue
                if index >= start:
                    yield Frame(index, codes, milliseconds / 1000)
                milliseconds += int(image.info.get("duration") or 1000 / self.info.frames_per_second)

    def warnings(self) -> list[str]:
        """Nothing is noticed here."""
        return []

    def close(self) -> None:
        """Nothing stays open between frames."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
