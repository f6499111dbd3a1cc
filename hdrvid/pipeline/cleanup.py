"""Files of earlier runs that a run removes: temporary files of killed runs, and videos and reports of parts."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from pathlib import Path

from hdrvid.errors import InputError
from hdrvid.io.atomic import is_abandoned
from hdrvid.io.json_files import read_object
from hdrvid.options.reconstruct import VIDEO_SUFFIXES
from hdrvid.pipeline.job import part_name
from hdrvid.pipeline.options import FORMATS
from hdrvid.types import FrameNumbers


def remove_parts(folder: Path, stem: str) -> None:
    """Remove the reports of parts of a clip, and their videos where the whole clip has such a video now."""
    for report in sorted(folder.glob("*.json")):
        name = re.fullmatch(rf"({re.escape(stem)}\.\d{{6,}}-\d{{6,}})\.json", report.name)
        if name is None or not _is_part_of(stem, report):
            continue
        for kind, suffix in VIDEO_SUFFIXES.items():
            if (folder / f"{stem}.{kind}.{suffix}").exists():
                with suppress(OSError):
                    (folder / f"{name[1]}.{kind}.{suffix}").unlink(missing_ok=True)
        with suppress(OSError):
            report.unlink()


def _is_part_of(stem: str, report: Path) -> bool:
    """Whether a report is of frames of the clip `stem`, not of a clip that is called like a part of it."""
    try:
        frames = Path(read_object(report, "a report")["outputs"]["frames"]).name
    except (InputError, TypeError, LookupError):
        return False
    escaped = re.escape(stem.replace("%", "%%"))
    return re.fullmatch(rf"{escaped}\.%0\d+d\.(?:{'|'.join(FORMATS)})", frames) is not None


def remove_leftovers(folder: Path, stem: str, numbers: FrameNumbers, first: int, last: int | None) -> None:
    """Remove the temporary files of killed runs: of the frames and videos of this run, and of all for a whole clip.

    Files of processes that still run stay, and so do other frames than those of a range: another machine may be
    writing them.
    """
    whole = first == 0 and last is None
    part = "" if last is None else part_name("", (first, last))
    pattern = re.compile(
        rf"\.{re.escape(stem)}(?P<number>\.\d{{1,18}})?(?P<part>\.\d{{6,}}-\d{{6,}})?"
        rf"(?:\.(?:{'|'.join(VIDEO_SUFFIXES)}))?"
        r"\.partial-(?:[0-9a-f]{8}-)?\d+\.(?:exr|hdr|mp4|mov|json)"
    )
    for path in folder.iterdir() if folder.is_dir() else ():
        match = pattern.fullmatch(path.name)
        if match is None or not is_abandoned(path):
            continue
        index = numbers.index_of(match["number"][1:]) if match["number"] else None
        is_in_range = index is not None and first <= index <= (math.inf if last is None else last)
        if whole or match["part"] == part or is_in_range:
            with suppress(OSError):
                path.unlink()
