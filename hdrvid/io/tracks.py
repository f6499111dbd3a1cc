"""Several files that show the same moments, one an exposure (RED HDRx): read as one clip, the tracks in turn."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from hdrvid.errors import InputError
from hdrvid.io.frames import FramesReader
from hdrvid.io.samples import Levels
from hdrvid.io.video import VideoReader
from hdrvid.types import ClipInfo, Frame, FrameMetadata

LevelledReader = FramesReader | VideoReader
"""A reader whose levels can be set."""


class TracksReader:
    """Reads tracks as one clip: frame t * n + k is frame t of track k of n. See `hdrvid.types.ClipReader`.

    Convention: `info` is that of the first track, with all frames counted; the rate is that of the moments.
    Raises InputError where the tracks have different sizes, kinds or numbers of frames; from `frames` where that shows
    at the end of one.
    """

    def __init__(self, tracks: Sequence[LevelledReader]) -> None:
        self.tracks = tuple(tracks)
        sources = [os.path.realpath(track.info.source) for track in self.tracks]
        if len(set(sources)) < len(sources):
            raise InputError(f"{self.tracks[0].info.source} is given as more than one track: name a file for each")
        first, *others = (track.info for track in self.tracks)
        for other in others:
            _require_same(first, other)
        counts = [track.info.num_frames for track in self.tracks]
        num_frames = None if None in counts else sum(count or 0 for count in counts)
        details = {**first.details, "tracks": ", ".join(track.info.source for track in self.tracks)}
        self.info = replace(first, num_frames=num_frames, details=details, tracks=len(self.tracks))

    @property
    def sources(self) -> list[str]:
        """What the user named, track by track."""
        return [track.info.source for track in self.tracks]

    @property
    def paths(self) -> list[Path]:
        """All files that are read."""
        return [p for t in self.tracks for p in (t.paths if isinstance(t, FramesReader) else (t.path,))]

    def set_levels(self, levels: Levels | None) -> None:
        """Codes of black and white of all tracks, from now on."""
        for track in self.tracks:
            track.set_levels(levels)
        first = self.tracks[0].info
        details = {**self.info.details, **({"levels": first.details["levels"]} if levels else {})}
        self.info = replace(self.info, bit_depth=first.bit_depth, details=details)

    def frames(
        self, start: int = 0, stop: int | None = None, on_damage: Callable[[int, str], None] | None = None
    ) -> Iterator[Frame]:
        """Frames `start` <= index < `stop`, in order. Raises InputError as the readers of the tracks do, and where one
        track ends before the others; with `on_damage` damaged frames are reported there and left out."""
        if start < 0 or (stop is not None and stop < 0):
            raise ValueError(f"frame indices begin at 0, not {min(start, stop or 0)}")
        return self._frames(start, stop, on_damage)

    def _frames(self, start: int, stop: int | None, on_damage: Callable[[int, str], None] | None) -> Iterator[Frame]:
        count = len(self.tracks)
        if stop is not None and stop <= start:
            return
        damaged: list[set[int]] = [set() for _ in self.tracks]

        def reported(track: int) -> Callable[[int, str], None] | None:
            if on_damage is None:
                return None

            def report(moment: int, text: str) -> None:
                damaged[track].add(moment)
                if start <= moment * count + track and (stop is None or moment * count + track < stop):
                    on_damage(moment * count + track, text)

            return report

        last = None if stop is None else -(-stop // count)
        readers = [track.frames(start // count, last, reported(k)) for k, track in enumerate(self.tracks)]
        heads = [next(reader, None) for reader in readers]
        moment = start // count
        while any(head is not None for head in heads):
            for track, head in enumerate(heads):
                index = moment * count + track
                if head is not None and head.index == moment:
                    if start <= index and (stop is None or index < stop):
                        yield replace(head, index=index, pts_seconds=self._seconds(heads, head))
                elif head is None and moment not in damaged[track]:
                    raise self._uneven(track, moment)
            heads = [
                next(reader, None) if head is not None and head.index == moment else head
                for reader, head in zip(readers, heads, strict=True)
            ]
            moment += 1

    @staticmethod
    def _seconds(heads: Sequence[Frame | None], frame: Frame) -> float:
        """The time of a moment: that of the first track that has it."""
        return next((h.pts_seconds for h in heads if h is not None and h.index == frame.index), frame.pts_seconds)

    def _uneven(self, track: int, num_frames: int) -> InputError:
        return InputError(
            f"{self.tracks[track].info.source} ends after {num_frames} frames, before the other tracks: tracks of one "
            "shot have as many frames each"
        )

    def metadata(self, index: int) -> FrameMetadata:
        """What the file says of frame `index` beside its pixels."""
        moment, track = divmod(index, len(self.tracks))
        return self.tracks[track].metadata(moment)

    def warnings(self) -> list[str]:
        """What was noticed in any track."""
        return list(dict.fromkeys(text for track in self.tracks for text in track.warnings()))

    def close(self) -> None:
        """Close all tracks."""
        for track in self.tracks:
            track.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _require_same(first: ClipInfo, other: ClipInfo) -> None:
    """Raise InputError where two tracks cannot be exposures of the same moments."""
    facts = {
        "size": [f"{info.width}x{info.height}" for info in (first, other)],
        "number of frames": [str(info.num_frames) for info in (first, other)],
        "frame rate": [f"{float(info.frames_per_second):g}" for info in (first, other)],
        "depth": [f"{info.bit_depth} bits" for info in (first, other)],
        "kind": ["grey" if i.one_channel else "scene-linear" if i.linear else "in colour" for i in (first, other)],
        "transfer tag": [info.transfer or "none" for info in (first, other)],
        "primaries": [info.gamut.name if info.gamut else "none" for info in (first, other)],
    }
    for name, (a, b) in facts.items():
        if a != b and not (name == "number of frames" and "None" in (a, b)):
            raise InputError(
                f"the {name} of {first.source} is {a}, that of {other.source} {b}: tracks of one shot have the same"
            )
