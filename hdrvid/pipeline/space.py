"""How much space the frames of a run take, said before the work; a disk that will not hold them is an early error."""

from __future__ import annotations

import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from hdrvid.errors import InputError, OutputError
from hdrvid.io.ownership import FRAME, is_own
from hdrvid.io.writers import SequenceWriter
from hdrvid.pipeline.job import Job

SHARE_OF_SAMPLES = {
    "half": {
        **{"none": 1.0, "rle": 0.85, "zips": 0.72, "zip": 0.63, "piz": 0.65, "zstd": 0.7},
        **{"b44": 0.44, "b44a": 0.44, "dwaa": 0.16, "dwab": 0.14},
    },
    "float": {"none": 1.0, "rle": 1.0, "zips": 0.74, "zip": 0.55, "piz": 0.5, "zstd": 0.42},
}
"""Size of an EXR over that of its samples, by depth and compression: about the mean of seven results."""

HDR_BYTES_PER_PIXEL = 3.3
"""Of a Radiance file, measured on the same results."""


def check_space(job: Job) -> str:
    """What the frames of a run will take, in a sentence for the user.

    Raises OutputError where the disk will not hold them, unless the user said --anyway. Before that one frame of the
    clip is compressed to see how far it can be: a dark or smooth clip takes a small part of what others do.
    """
    present = _present_sizes(job)
    reused = 0 if job.options.overwrite else len(present)
    frame_bytes = float(np.mean(present)) if reused else expected_bytes(job)
    total = job.expected_frames
    if total is None:
        return f"about {size_text(frame_bytes)} a frame"
    free = _free_bytes(job.out) + (sum(present) if job.options.overwrite else 0)
    count = max(0, total - reused)
    needed = count * frame_bytes
    if needed > free and not reused:
        frame_bytes = min(frame_bytes, _measured_bytes(job))
        needed = count * frame_bytes
    what = "frame" if count == 1 else "frames"
    plan = f"{count} {what} of about {size_text(frame_bytes)}, {size_text(needed)} in all"
    if needed > free / 2:  # in other runs the free space says nothing
        plan += f"; {size_text(free)} are free"
    if needed > free:
        if not job.options.anyway:
            raise OutputError(
                f"the disk of {job.out} will not hold the results ({plan}): free some space, choose another folder, "
                "--compression dwaa for a fifth of the size, or --anyway to begin all the same"
            )
        return f"warning: {plan}"
    return plan


def _free_bytes(folder: Path) -> float:
    """Free space of a disk; infinite where the system cannot tell, as with some that lie in a network."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return float("inf")
    return usage.free if usage.total else float("inf")


def expected_bytes(job: Job) -> float:
    """Size of one frame of a run by its format, in bytes."""
    pixels = job.info.width * job.info.height
    if job.frame_format == "hdr":
        return pixels * HDR_BYTES_PER_PIXEL
    sample_bytes = 4 if job.options.depth == "float" else 2
    channels = (1 if job.is_grey_file else 3) + job.options.unmeasured
    return pixels * channels * sample_bytes * SHARE_OF_SAMPLES[job.options.depth][job.compression]


def size_text(num_bytes: float) -> str:
    """A size for people, in decimal units.

    >>> size_text(8_770_000), size_text(126.6e9), size_text(900)
    ('8.8 MB', '127 GB', '0.9 kB')
    """
    units = {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3}
    unit = next((name for name, factor in units.items() if num_bytes >= factor), "kB")
    value = num_bytes / units[unit]
    return f"{value:.0f} {unit}" if value >= 99.5 else f"{value:.1f} {unit}"


def _present_sizes(job: Job) -> list[int]:
    """Sizes of the frames of the range that an earlier run has written, in bytes."""
    pattern = re.compile(rf"{re.escape(job.info.stem)}\.(\d{{1,18}})\.{job.frame_format}")
    sizes = []
    for path in job.out.iterdir():
        match = pattern.fullmatch(path.name)
        index = None if match is None else job.numbers.index_of(match[1])
        if index is None or index < job.first or (job.last is not None and index > job.last):
            continue
        with suppress(OSError):
            if (size := path.stat().st_size) and is_own(path, FRAME):
                sizes.append(size)
    return sizes


def _measured_bytes(job: Job) -> float:
    """Size of the first frame of the range as it was shot, written as results are; infinite where that is not possible.

    Results have finer steps than the codes of a camera and compress less: it is a lower bound.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="hdrvid-") as folder:
            frame = next(iter(job.reader.frames(job.first, job.first + 1)))
            linear = np.asarray(job.detection.response.linearize(frame.pixels), np.float32)
            exposure = job.exposures.exposure_at(job.first)
            with SequenceWriter(
                Path(folder),
                "frame",
                job.frame_format,
                job.compression,
                1,
                depth=job.options.depth,
                gamut=job.gamut,
                one_channel=job.is_grey_file,
            ) as writer:
                writer.submit(0, job.file_values(linear / np.float32(exposure)))
            return writer.path_for(0).stat().st_size
    except (InputError, OutputError, OSError, StopIteration):
        return float("inf")
