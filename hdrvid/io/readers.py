"""From what the user named to clips: one interface over videos, folders, patterns and lists."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal

from hdrvid.errors import InputError, UsageError
from hdrvid.io.animation import SUFFIXES, AnimationReader
from hdrvid.io.frames import (
    SEQUENCE_RATE,
    FramesReader,
    folder_frames,
    glob_frames,
    has_printf,
    is_image,
    printf_frames,
)
from hdrvid.io.samples import SampleFormat
from hdrvid.io.tracks import TracksReader
from hdrvid.io.video import VideoReader
from hdrvid.types import ClipReader, PathLike

InputKind = Literal["video", "image", "folder", "printf", "glob"]


def input_kind(item: PathLike) -> InputKind:
    """What `item` is. A file or folder that exists is never taken for a pattern, whatever its name."""
    text = str(item)
    path = Path(text)
    if os.path.isdir(path):  # unlike Path.is_dir, False for a text that can be no path at all
        return "folder"
    if not os.path.exists(path):
        if has_printf(text):
            return "printf"
        if glob.has_magic(text):
            return "glob"
    return "image" if is_image(path) else "video"


def split_inputs(inputs: Sequence[PathLike]) -> list[list[str]]:
    """Group the INPUTs of a command line into clips, in order.

    Image files that follow each other are the frames of one clip; every video, folder and pattern is a clip of its
    own. Nothing is opened.
    """
    clips: list[list[str]] = []
    joinable = False
    for item in inputs:
        image = input_kind(item) == "image"
        if image and joinable:
            clips[-1].append(str(item))
        else:
            clips.append([str(item)])
        joinable = image
    return clips


def open_clip(
    inputs: Sequence[PathLike] | PathLike,
    frames_per_second: Fraction | None = None,
    samples: SampleFormat = SampleFormat(),  # noqa: B008 -- frozen
) -> ClipReader:
    """A reader for one clip: a video file, a folder of frames, a printf or glob pattern, or image files in order.

    `frames_per_second` is the rate of an image sequence, 24 without it; a video has its own. `samples`: what the user
    says of the stored samples; its levels are applied when the clip has been looked at (`hdrvid.detect`).
    The reader is a context manager; `frames` may be called any number of times, also at the same time.
    Raises InputError where the clip is missing, holds no frames or cannot be read, UsageError for the rate of a video.
    """
    items = [str(inputs)] if isinstance(inputs, (str, Path)) else [str(item) for item in inputs]
    if not items or not all(items):
        raise InputError("no input was given: name a video file, a folder of frames or a pattern")
    kinds = [input_kind(item) for item in items]
    rate = frames_per_second or SEQUENCE_RATE
    if len(items) > 1:
        for item, kind in zip(items, kinds, strict=True):
            if kind != "image":
                raise InputError(f"{item} is not an image file: only image files can be joined to one clip")
        return FramesReader([Path(item) for item in items], f"{items[0]} ... {items[-1]}", rate, samples)
    item, kind = items[0], kinds[0]
    if kind == "folder":
        return FramesReader(folder_frames(item), item, rate, samples)
    if kind == "printf":
        return FramesReader(printf_frames(item), item, rate, samples)
    if kind == "glob":
        return FramesReader(glob_frames(item), item, rate, samples)
    if kind == "image":
        return FramesReader([Path(item)], item, rate, samples)
    if frames_per_second is not None and os.path.exists(item):
        raise UsageError(f"--fps is the rate of an image sequence, but {item} is a video with its own: leave it out")
    if Path(item).suffix.lower() in SUFFIXES:
        if samples != SampleFormat():
            raise UsageError(f"{item} is an animated picture, which has no levels, mosaic or fields: leave them out")
        return AnimationReader(item)
    return VideoReader(item, samples)


def open_tracks(
    inputs: Sequence[PathLike],
    frames_per_second: Fraction | None = None,
    samples: SampleFormat = SampleFormat(),  # noqa: B008 -- frozen
) -> TracksReader:
    """A reader for clips that show the same moments in different exposures. Arguments as of `open_clip`.

    Raises as `open_clip`, and InputError for clips that do not go together or are animated pictures.
    """
    tracks: list[FramesReader | VideoReader] = []
    for item in inputs:
        reader = open_clip(item, frames_per_second, samples)
        if not isinstance(reader, FramesReader | VideoReader):
            raise InputError(f"{item} cannot be a track: --tracks takes videos, folders of frames and patterns")
        tracks.append(reader)
    return TracksReader(tracks)
