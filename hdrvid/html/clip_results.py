"""Finished clips in a folder that `hdrvid reconstruct` wrote: their JSON and their frame files."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hdrvid.errors import ExposureError, InputError
from hdrvid.io.json_files import read_object
from hdrvid.types import MAX_CYCLE_FRAMES, ExposureCycle, ExposureList, Exposures, FrameNumbers, PathLike

MAX_GAP_FRAMES = 2000
"""Missing frames that are counted between two results."""

_FRAME_NAME = re.compile(r"(?P<stem>.+)\.(?P<number>\d{1,18})\.(?P<format>exr|hdr)", re.DOTALL)
_PART_NAME = re.compile(r"(?P<stem>.+)\.(?P<first>\d{6,})-(?P<last>\d{6,})", re.DOTALL)

_FrameFiles = dict[tuple[str, str], dict[str, Path]]
"""Frame files by (stem, format) and their number."""


@dataclass(frozen=True)
class ClipResults:
    """A clip in a folder of results."""

    stem: str
    """Base name of its JSON."""
    folder: Path
    """Where JSON and frames are."""
    values: Mapping[str, Any] = field(repr=False)
    """What `<stem>.json` holds."""
    exposures: Exposures
    """The exposures, beginning with frame 0."""
    scale: float
    """File value of radiance 1.0, the clipping of the shortest exposure."""
    frames: Mapping[int, Path] = field(repr=False)
    """Frame files by input index, in order."""

    @property
    def white(self) -> float:
        """File value at which the longest exposure clips."""
        return self.scale / self.exposures.max_exposure

    @property
    def num_lost(self) -> int:
        """Results that its JSON counts and that are no longer there."""
        return max(0, (self._count or 0) - len(self.frames))

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the results as its JSON says; None where it says none."""
        match as_list(self.values.get("size")):
            case [int(width), int(height)]:
                return width, height
        return None

    def missing_frames(self) -> list[int]:
        """Frames between the first and the last result that have none, at most MAX_GAP_FRAMES of every gap.

        None are missing where the run made no more: one of --only or --every bracket makes some frames of the clip.
        """
        if self.num_lost == 0 and self._count is not None and not self.values.get("problem"):
            return []
        pairs, step = list(itertools.pairwise(self.frames)), _numbers(self.values).step
        if step == 1:
            step = min((b - a for a, b in pairs), default=1)
        return [i for a, b in pairs for i in range(a + step, min(b, a + step * (1 + MAX_GAP_FRAMES)), step)]

    @property
    def _count(self) -> int | None:
        """Results that its JSON counts."""
        count = as_mapping(self.values.get("frames")).get("count")
        return count if isinstance(count, int) else None

    @property
    def moment_frames(self) -> int:
        """Frames of the clip that were shot at one moment: the number of tracks, else 1."""
        return _numbers(self.values).step


def find_clips(results: PathLike) -> list[ClipResults]:
    """The clips in a folder that `hdrvid reconstruct` wrote, by name; or the one of a `<stem>.json` in it.

    Raises InputError where there is none, or where one is damaged or has no frames.
    """
    folder, chosen = _folder_and_json(Path(results))
    try:
        names = sorted(p.name for p in folder.iterdir() if p.is_file())
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror or error}") from error
    files: _FrameFiles = {}
    for name in names:
        if match := _FRAME_NAME.fullmatch(name):
            files.setdefault((match["stem"], match["format"]), {})[match["number"]] = folder / name
    clips = []
    for path in [chosen] if chosen else [folder / n for n in names if n.endswith(".json") and n[0] != "."]:
        values = _read_json(path)
        if values is None or not {"source", "stops", "scale"} <= set(values):
            continue
        stem = path.name.removesuffix(".json")
        frames = _frames_of(stem, values, files)
        if not frames:
            raise InputError(f"{path} is there, but none of its frames: run hdrvid reconstruct again")
        clips.append(_clip(path, stem, values, frames))
    if not clips:
        raise InputError(_nothing_found(folder, chosen, {stem for stem, _ in files}))
    return clips


def as_list(value: object) -> list[Any]:
    """A list in JSON; an empty one for any other value."""
    return list(value) if isinstance(value, list) else []


def as_mapping(value: object) -> Mapping[str, Any]:
    """An object in JSON; an empty one for any other value."""
    return value if isinstance(value, Mapping) else {}


def _folder_and_json(path: Path) -> tuple[Path, Path | None]:
    """The folder of results, and the JSON in it that was named."""
    if path.is_dir():
        return path, None
    if path.is_file() and path.suffix == ".json":
        return path.parent, path
    if path.exists():
        raise InputError(f"{path} is neither a folder of results nor a STEM.json in it: name the folder of -o")
    raise InputError(f"{path} does not exist: name the folder that hdrvid reconstruct wrote with -o")


def _frames_of(stem: str, values: Mapping[str, Any], files: _FrameFiles) -> dict[int, Path]:
    """Frame files of a clip, in the format that its JSON names where both are present."""
    pattern = Path(str(as_mapping(values.get("outputs")).get("frames"))).name.replace("%%", "%")
    formats = ["hdr", "exr"] if pattern.endswith(".hdr") else ["exr", "hdr"]
    numbers = _numbers(values)
    for name in formats:
        if frames := _by_index(files.get((stem, name), {}), numbers):
            return frames
    # of a run with --frames the JSON carries the range in its name, the frames do not
    if part := _PART_NAME.fullmatch(stem):
        whole = _by_index(files.get((part["stem"], formats[0]), {}), numbers)
        moments = {i: i // numbers.step for i in whole}  # what --frames counts
        return {i: p for i, p in whole.items() if int(part["first"]) <= moments[i] <= int(part["last"])}
    return {}


def _by_index(files: Mapping[str, Path], numbers: FrameNumbers) -> dict[int, Path]:
    """Frame files by input index; those with other numbers are left out."""
    indices = {path: numbers.index_of(text) for text, path in files.items()}
    return {index: path for path, index in indices.items() if index is not None}


def _numbers(values: Mapping[str, Any]) -> FrameNumbers:
    """The numbers of the frames, as the JSON has them; those of hdrvid 0.1.0 were the input indices."""
    stored = as_mapping(values.get("numbers"))
    try:
        runs = tuple((int(index), int(number)) for index, number in as_list(stored.get("runs")))
        digits = int(stored.get("digits", 0))
        step, offset = int(stored.get("step", 1)), int(stored.get("offset", 0))
    except (TypeError, ValueError, OverflowError):
        return FrameNumbers()
    rising = all(b[0] > a[0] and b[1] > a[1] for a, b in itertools.pairwise(runs))
    is_whole = rising and runs[:1] and runs[0][0] == 0 and runs[0][1] >= 0 and 0 < digits < 20
    is_whole = is_whole and 0 <= offset < step <= MAX_CYCLE_FRAMES
    return FrameNumbers(runs, digits, step, offset) if is_whole else FrameNumbers()


def _clip(path: Path, stem: str, values: Mapping[str, Any], frames: Mapping[int, Path]) -> ClipResults:
    try:
        stops = tuple(float(s) for s in values["stops"])
        repeats = values.get("cycle") is not None or len(stops) <= MAX_CYCLE_FRAMES
        exposures = ExposureCycle(stops) if repeats else ExposureList(stops)
        scale = float(values["scale"])
    except (TypeError, ValueError, OverflowError, ExposureError) as error:
        raise InputError(f"{path} is damaged ({error}): run hdrvid reconstruct again") from error
    if not (math.isfinite(scale) and scale > 0):
        raise InputError(f"{path} is damaged (scale {scale}): run hdrvid reconstruct again")
    return ClipResults(stem, path.parent, values, exposures, scale, dict(sorted(frames.items())))


def _nothing_found(folder: Path, chosen: Path | None, stems: set[str]) -> str:
    if chosen is not None:
        return f"{chosen} was not written by hdrvid reconstruct: name the STEM.json of a clip"
    if stems:
        stem = min(stems)
        return (
            f"{folder} holds frames of {stem}, but no {stem}.json that hdrvid reconstruct wrote: run it again, it "
            "keeps the frames"
        )
    return f"{folder} holds no results of hdrvid reconstruct: name the folder given to it with -o"


def _read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where the file cannot be read or holds something else."""
    try:
        return read_object(path, "a STEM.json of hdrvid reconstruct")
    except InputError:
        return None
