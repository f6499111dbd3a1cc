"""One alternating-exposure clip in, one HDR frame for every input frame out. A frame's way, top to bottom:

    decode, encode    a thread reads, linearises and re-codes frames, 3 ahead (`windows`, `encode`)
    window            the frame and 2 or 4 that are near; nothing else of the clip is held in memory (`windows`)
    network           the calling thread (`predict`)
    file values       scaled, in the primaries of the file, rounded to half (`job`)
    write             threads of the sequence writer; a frame appears complete or not at all (`io.writers`)
    preview           a thread tonemaps and encodes what was written (`preview`)

Guarantees, each with a test:
    - Frames out = frames in, but for `--only` and `--every`. A window that leaves the clip is mirrored into it
      (`ExposureCycle.window_indices`, `detect.window_choice`).
    - A range of frames is identical to the same frames of a full run: exposures are always measured at the start of
      the clip, and a window reaches beyond the range.
    - A run that was killed and started again ends with the files of an undisturbed run (`resume`). The preview is made
      from file values, never from what was in memory.
    - Several processes under torchrun write the very files of one process (`distributed`): frames, preview and HDR
      videos are identical to the byte where every process has as many threads as the one; with another number of
      threads or on another kind of processor the last bits of float32 sums may differ before they are rounded to half.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hdrvid.detect.labels import Event
from hdrvid.errors import HdrvidError, InputError, OutputError
from hdrvid.io.atomic import atomic_path, writable_target
from hdrvid.io.lock import frames_lock
from hdrvid.io.ownership import MOVIE, OVERWRITE_ADVICE, REPORT, replaceable_target, require_unread
from hdrvid.io.tracks import TracksReader
from hdrvid.io.writers import SequenceWriter
from hdrvid.metrics.exposure_flicker import FlickerMeter, flicker_warning, join_steps
from hdrvid.metrics.unmeasured import FrameShare
from hdrvid.options.reconstruct import VIDEO_SUFFIXES
from hdrvid.pipeline.cleanup import remove_leftovers, remove_parts
from hdrvid.pipeline.distributed import Piece, Range, join_pieces, require_same_settings, split_job
from hdrvid.pipeline.hdr_videos import write_hdr_videos
from hdrvid.pipeline.job import Job, beyond_the_end
from hdrvid.pipeline.options import ReconstructOptions, of_tracks
from hdrvid.pipeline.preview import PreviewThread
from hdrvid.pipeline.report import ClipReport, make_report
from hdrvid.pipeline.resume import check_numbers, frame_attributes, kept_frame, read_output
from hdrvid.pipeline.setup import Phase, no_phase, set_up
from hdrvid.pipeline.space import check_space
from hdrvid.pipeline.windows import DamagedFrames, FrameWindow, LabelledWindows, RegularWindows, open_windows
from hdrvid.ranks import Ranks
from hdrvid.types import PathLike, Window

WRITERS = 2
"""Threads that compress and write frames; more than two gain nothing (measured)."""

UNMEASURED_STEP = 2
"""Every how many rows and columns are looked at for the share of a frame that is not measured."""


def reconstruct_clip(
    inputs: Sequence[str],
    out: PathLike,
    options: ReconstructOptions | None = None,
    *,
    progress: Callable[[int, int | None], None] | None = None,
    message: Callable[[str], None] | None = None,
    phase: Phase | None = None,
    ranks: Ranks | None = None,
) -> ClipReport:
    """Reconstruct one clip into the folder `out`.

    `progress` is called with (frames done, frames of the clip or range; None where unknown) after every frame, and
    `message` with every sentence the user should see while the work goes on. `phase` is called with the name of a part
    of the work before the first frame (exposures, curve, compiling) and None where it begins, and with what came of it.
    `ranks`: the processes that share the work, from `hdrvid.ranks.joined`; each of them makes this call with the same
    arguments and gets the same report or error. `progress`, `message` and `phase` are called in the
    first one only, for all.

    A clip that is damaged half-way is reconstructed up to there and the report says so in `problem`.
    Raises UsageError, InputError, ExposureError, ModelError or OutputError, and HdrvidError where another process has
    ended; finished frames stay.
    """
    options, ranks = of_tracks(options or ReconstructOptions()), ranks or Ranks()
    if message is None or not ranks.is_main:
        message = _no_callback
    if progress is None or not ranks.is_main:
        progress = _no_callback
    if phase is None or not ranks.is_main:
        phase = no_phase
    started = time.perf_counter()
    with ExitStack() as stack:
        job = set_up(stack, inputs, Path(out), options, ranks, message, phase)
        require_same_settings(job)
        piece_range = ranks.from_main(lambda: _claim(job, stack, message))[ranks.rank]
        count, total, done = ranks.counter(), job.expected_frames, 0

        def report_progress(frames: int) -> None:
            nonlocal done
            done = frames
            progress(count(done), total)

        # one process makes the preview beside the frames; several make it from their files
        preview = stack.enter_context(PreviewThread(job)) if options.preview and ranks.world == 1 else None
        pieces = ranks.each(
            lambda: make_piece(job, piece_range, preview, report_progress, message) if piece_range else Piece(),
            meanwhile=lambda: progress(count(done), total),
        )
        return ranks.from_main(lambda: _finish(job, pieces, preview, message, started))


def make_piece(
    job: Job,
    piece_range: Range,
    preview: PreviewThread | None,
    progress: Callable[[int], None],
    message: Callable[[str], None],
) -> Piece:
    """Make the frames of a range, or keep those of an earlier run. All of them go to the preview, in order.

    `progress` is called with the number of frames so far, `message` with every event of the clip.
    """
    piece, damaged, meter = Piece(), DamagedFrames(), FlickerMeter(job.white)
    through_file = job.is_large or not job.is_lossless  # the preview shows what the file holds
    with ExitStack() as stack:
        writer = stack.enter_context(
            SequenceWriter(
                job.out,
                job.info.stem,
                job.frame_format,
                job.compression,
                WRITERS,
                depth=job.options.depth,
                gamut=job.gamut,
                one_channel=job.is_grey_file,
                numbers=job.numbers,
            )
        )
        windows = open_windows(stack, job, *piece_range, damaged)
        previous_key: str = ""
        previous_values: np.ndarray | None = None
        for frame in _pending_frames(job, windows, writer):
            _announce(windows.events, piece, message)
            window, values = frame.window, frame.kept_values
            path = writer.path_for(window.index)
            if frame.model_input is None:
                piece.kept += 1
            else:
                if window.key != previous_key or previous_values is None:  # else it repeats the frame before
                    before = time.perf_counter()
                    previous_values = job.file_values(job.reconstructor.reconstruct(frame.model_input).radiance)
                    piece.network_seconds += time.perf_counter() - before
                previous_key, values = window.key, job.viewed(previous_values)
                if through_file:
                    writable_target(path)
                    path.unlink(missing_ok=True)  # the preview must not read the frame that is replaced
                mask = job.unmeasured(values, window.reference, window.stops) if job.options.unmeasured else None
                writer.submit(window.index, previous_values, frame_attributes(job, window), mask)
                if job.detection.repeats[0] == 1:
                    previous_values = None  # large
            assert values is not None
            share = float(job.unmeasured(values, window.reference, window.stops, UNMEASURED_STEP).mean())
            piece.unmeasured.append(FrameShare(window.index, share))
            meter.add(window.index, window.reference_stops, job.exposures.class_of(window.reference_stops), values)
            piece.indices.append(window.index)
            piece.times.append(window.pts_seconds)
            if preview is not None:
                preview.add(window.index, path if through_file else values, window.pts_seconds)
            del frame, window, values  # large
            progress(len(piece.indices))
        writer.close()
    piece.lost, piece.damaged, piece.events = windows.lost, damaged.texts, windows.events
    piece.num_frames, piece.problem = windows.num_frames, windows.problem
    piece.warnings = [*job.reader.warnings(), *windows.warnings(), *job.reconstructor.notes]
    piece.brightness = meter.frames
    return piece


@dataclass(frozen=True)
class _PendingFrame:
    """A frame that an earlier run has made, or what it is to be made of."""

    window: FrameWindow
    kept_values: np.ndarray | None
    """File values (H, W, 3) of the earlier run."""
    model_input: Window | None
    """What the model takes, where there are none."""


def _pending_frames(
    job: Job, windows: LabelledWindows | RegularWindows, writer: SequenceWriter
) -> Iterator[_PendingFrame]:
    """The frames in order. The model gets notice of a frame a few frames before its turn."""
    look_ahead = 0 if job.is_large else job.reconstructor.look_ahead
    queue: deque[_PendingFrame] = deque()
    previous_key = ""
    try:
        for window in windows:
            if not job.is_wanted(window.phase, window.reference_stops):
                continue
            kept_values = kept_frame(job, writer, window)
            frame = _PendingFrame(
                window,
                kept_values,
                window.as_window(job.detection.response.black_code) if kept_values is None else None,
            )
            if frame.model_input is not None and look_ahead and window.key != previous_key:
                job.reconstructor.expect(frame.model_input)
            previous_key = window.key
            queue.append(frame)
            del window, kept_values, frame  # large
            if len(queue) > look_ahead:
                yield queue.popleft()
    except HdrvidError:
        yield from queue
        raise
    yield from queue


def _announce(events: Sequence[Event], piece: Piece, message: Callable[[str], None]) -> None:
    """Tell the user of the events that came since the last call."""
    for event in events[piece.announced :]:
        message(event.text)
    piece.announced = len(events)


def _claim(job: Job, stack: ExitStack, message: Callable[[str], None]) -> list[Range | None]:
    """Lock the range, check and clear the folder; what every process is to make."""
    stack.enter_context(frames_lock(job.out, job.info.stem, job.first, job.last))
    if (text := check_numbers(job)) is not None:
        message(f"warning: {text}")
    wanted = [kind for kind in VIDEO_SUFFIXES if getattr(job.options, kind)]
    targets = [job.report_path, *(job.video_path(kind) for kind in wanted)]
    for path in targets:
        mark = REPORT if path == job.report_path else MOVIE
        replaceable_target(path, mark, OVERWRITE_ADVICE, overwrite=job.options.overwrite)
    options = job.options
    sources = job.reader.paths if isinstance(job.reader, TracksReader) else [job.info.source]
    inputs = [*sources, options.exposures, options.response, options.model]
    require_unread(targets, inputs, "choose another folder")
    remove_leftovers(job.out, job.info.stem, job.numbers, job.first, job.last)
    message(check_space(job))
    return split_job(job)


def _finish(
    job: Job, pieces: Sequence[Piece], preview: PreviewThread | None, message: Callable[[str], None], started: float
) -> ClipReport:
    """Finish the preview, make the HDR videos and the report, once every frame is there."""
    piece = join_pieces(pieces)
    if not piece.indices:
        if piece.problem:
            raise InputError(piece.problem)
        if not job.makes_all and not 0 < (piece.num_frames or 0) <= job.first:
            raise InputError(
                "no frame of the range is one of those wanted: widen --frames, or leave out --only and --every"
            )
        if piece.lost:
            raise InputError(
                f"no frame of {job.info.source} can be made, for nothing of another exposure is near any of them: "
                f"check --exposures {job.exposures} and whether the clip alternates (hdrvid info CLIP shows both)"
            )
        raise beyond_the_end(job.info, job.first, job.last, piece.num_frames or 0)
    paths = [job.frame_path(index) for index in piece.indices]
    _require_all(job, paths)
    _announce(piece.events, piece, message)
    with ExitStack() as stack:
        if preview is None and job.options.preview:
            preview = stack.enter_context(PreviewThread(job))
            for index, path, pts_seconds in zip(piece.indices, paths, piece.times, strict=True):
                preview.add(index, path, pts_seconds)
        if preview is not None:
            preview.finish()
        videos, video_warnings = write_hdr_videos(job, piece.indices[0], paths, piece.times)
    if preview is not None:
        video_warnings = [*preview.warnings, *video_warnings]
    warnings = [*piece.warnings, *dict.fromkeys(video_warnings)]
    if _ends_early(job, piece.indices[-1]) and not piece.problem:
        last = f"moment {piece.indices[-1] // job.info.tracks}" if job.info.tracks > 1 else f"frame {piece.indices[-1]}"
        warnings.append(f"{job.info.source} ends at {last}, before the end of --frames")
    if job.frame_format == "exr" and not job.is_lossless:
        warnings.append(
            f"the compression {job.compression} is lossy and turns some black pixels into values just below 0, "
            "about -3e-5: clip them, or take --compression zip, piz or zstd"
        )
    starts = [p.indices[0] for p in pieces if p.indices][1:]
    if starts:
        path_of = dict(zip(piece.indices, paths, strict=True))
        piece.brightness = join_steps(piece.brightness, starts, job.white, lambda index: read_output(path_of[index])[0])
    flicker = flicker_warning(piece.brightness, job.exposures.num_classes)
    warnings += [flicker] if flicker else []
    for text in warnings:
        message(f"warning: {text}")
    warnings = [*job.detection.warnings, *warnings]
    report = make_report(job, piece, warnings, videos, time.perf_counter() - started)
    with atomic_path(job.report_path) as partial:
        partial.write_text(json.dumps(report.as_dict(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    if job.options.frame_range is None:
        remove_parts(job.out, job.info.stem)
    return report


def _ends_early(job: Job, last_made: int) -> bool:
    """Whether frames of `--frames` that are wanted are missing behind the last one that was made."""
    period = job.exposures.period
    if job.last is None or job.makes_all or period is None:
        return job.last is not None and last_made < job.last
    behind = range(last_made + 1, min(job.last, last_made + period) + 1)
    return any(job.is_wanted(i % period, job.exposures.stops_at(i)) for i in behind)


def _require_all(job: Job, paths: Sequence[Path]) -> None:
    """Raise OutputError where finished frames were removed while the run went on."""
    removed = [path for path in paths if not path.is_file()]
    if removed:
        raise OutputError(
            f"{len(removed)} of {len(paths)} finished frames of {job.info.source} were removed during the run, the "
            f"first is {removed[0]}: give the same command again, it makes the frames that are missing"
        )


def _no_callback(*_: object) -> None:
    """Stands for a callback that the caller did not give."""
