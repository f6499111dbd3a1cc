"""The engine: one alternating-exposure clip in, one HDR frame for every input frame out.

    decode ahead      a thread reads, linearises and re-codes frames (3 ahead)
    window            a sliding window of 3 or 5 frames; nothing else of the clip is held in memory
    network           the calling thread
    write             threads of the sequence writer; a frame appears complete or not at all
    preview           a thread tonemaps and encodes what was written

Guarantees, each with a test:
    - Frames out = frames in. A window that leaves the clip is mirrored into it (`ExposureCycle.window_indices`).
    - A range of frames is identical to the same frames of a full run: exposures are always measured at the start of
      the clip, and a window reaches beyond the range.
    - A run that was killed and started again ends with the files of an undisturbed run. Every EXR carries the settings
      it was made with, the frames of its window and a checksum of its input, so only frames that would come out the
      same are kept. The preview is made from file values, never from what was in memory.
    - Several processes under torchrun write the very files of one process: frames, preview and HDR videos are
      identical to the byte where every process has as many threads as the one; with another number of threads or on
      another kind of processor the last bits of float32 sums may differ before they are rounded to half.

Several processes:
    The first one looks at the clip and tells the others what it found, so that all use the same numbers even where
    their processors round differently. Each makes one contiguous piece of the range: a window needs neighbours. The
    first one holds the lock of the whole range, and makes videos and report from the finished files.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hdrvid import __version__
from hdrvid.color.half import HALF_MAX, to_half
from hdrvid.color.tonemap import Tonemapper
from hdrvid.compiled import bands
from hdrvid.detect.clip import Detection, required_cycle
from hdrvid.detect.phases import Labeller
from hdrvid.errors import HdrvidError, InputError, OutputError, UsageError
from hdrvid.io import open_clip
from hdrvid.io.atomic import atomic_path, writable_target
from hdrvid.io.hdr_video import HdrKind, HdrVideoWriter, grade_clip, measure_light
from hdrvid.io.lock import frames_lock
from hdrvid.io.prefetch import Item, Prefetcher
from hdrvid.io.writers import SequenceWriter
from hdrvid.metrics.exposure_flicker import FlickerMeter, flicker_stops, flicker_warning, join_steps
from hdrvid.pipeline.distributed import (
    NOTHING,
    Piece,
    agreed_detection,
    in_each,
    join_pieces,
    part_name,
    remove_leftovers,
    remove_parts,
)
from hdrvid.pipeline.encode import EncodedFrame, encode_frame
from hdrvid.pipeline.options import LOSSY_COMPRESSIONS, ReconstructOptions, parse_white, validate_options
from hdrvid.pipeline.preview import PreviewThread
from hdrvid.pipeline.report import ClipReport, curve_samples
from hdrvid.pipeline.resume import (
    canonical_json,
    changed_settings,
    frame_settings,
    read_output,
    settings_id,
    source_id,
    window_id,
)
from hdrvid.pipeline.windows import LABEL_SIDE, LabelledWindows, RegularWindows
from hdrvid.predict.registry import BUILT_IN, load_reconstructor
from hdrvid.predict.runner import ModelRunner
from hdrvid.ranks import Ranks, local_device
from hdrvid.types import ClipInfo, ClipReader, ExposureCycle, Frame, PathLike, Reconstructor, Window

DECODE_AHEAD = 3
"""Decoded frames that may wait for the network."""

LARGE_PIXELS = 12_000_000
"""Frames larger than this (DCI 4K is not) are hundreds of megabytes: one waits for the network, and what waits for the
preview is read back from its file."""

SHARED_PIXELS = 2_400_000
"""Frames up to this size are decoded once, for labels and for windows, and held from the one to the other; larger ones
are decoded twice."""

WRITERS = 2
"""Threads that compress and write frames; more than two gain nothing (measured)."""


def reconstruct_clip(
    inputs: Sequence[str],
    out: PathLike,
    options: ReconstructOptions | None = None,
    *,
    progress: Callable[[int, int | None], None] | None = None,
    message: Callable[[str], None] | None = None,
    ranks: Ranks | None = None,
) -> ClipReport:
    """Reconstruct one clip into the folder `out`.

    `progress` is called with (frames done, frames of the clip or range; None where unknown) after every frame, and
    `message` with every sentence the user should see while the work goes on.
    `ranks`: the processes that share the work, from `hdrvid.ranks.joined`; each of them makes this call with the same
    arguments and gets the same report or error. `progress` and `message` are called in the first one only, for all.

    A clip that is damaged half-way is reconstructed up to there and the report says so in `problem`.
    Raises UsageError, InputError, ExposureError, ModelError or OutputError, and HdrvidError where another process has
    ended; finished frames stay.
    """
    options = options or ReconstructOptions()
    ranks = ranks or Ranks()
    if message is None or not ranks.is_main:
        message = _silent
    if progress is None or not ranks.is_main:
        progress = _silent
    started = time.perf_counter()
    out = Path(out)
    with ExitStack() as stack:

        def opened() -> ClipReader:
            validate_options(options, out)
            reader = stack.enter_context(open_clip(inputs))
            _keep_apart(inputs, reader.info, out)
            return reader

        reader = in_each(ranks, opened)
        beside = stack.enter_context(ThreadPoolExecutor(1, "hdrvid-prepare"))
        prepared = None if options.model in BUILT_IN else beside.submit(bands.prepare)
        detection = agreed_detection(reader, options, ranks)
        cycle = required_cycle(detection)
        first, last = _frame_range(options, reader.info)
        for text in detection.warnings:
            message(f"warning: {text}")
        if detection.measured and detection.measured.corrected:
            message(f"{detection.measured.reason}: corrected (--no-deflicker leaves them)")
        if detection.response_from == "assumed":
            why = f" ({detection.response_reason})" if detection.response_reason else ""
            message(f"assuming the response {detection.response.name}{why}; --response names another")
        elif detection.response_from == "measured":
            message(f"response {detection.response.name}: {detection.response_reason}")
        if detection.to_output is not None:
            message(f"primaries {detection.gamut.name} ({detection.gamut_from}): converted to Rec. 709")
        parse_white(options.white, cycle)
        reconstructor = in_each(
            ranks,
            lambda: load_reconstructor(
                options.model,
                len(cycle),
                device=local_device(options.device),
                precision=options.precision,
                tile=options.tile,
                align=options.align == "auto",
                compiled=options.compile,
            ),
        )
        if isinstance(reconstructor, ModelRunner):
            # every process in the tiles of the one with the least memory
            size = reader.info.height, reader.info.width
            sides = ranks.each(lambda: reconstructor.tile_px(*size))
            reconstructor.use_tile_px(min((side for side in sides if side), default=None))
        if prepared is not None and prepared.result() and getattr(reconstructor, "compiles", False):
            message("compiling for this CPU, which the first run on a machine does: 15 to 40 seconds")
        return _Job(reader, detection, cycle, reconstructor, options, out, first, last, ranks).run(
            progress, message, started
        )


def _silent(*_: object) -> None:
    """Where nobody listens."""


def _keep_apart(inputs: Sequence[str], info: ClipInfo, out: Path) -> None:
    """Raise OutputError where results would be written among the frames they are made from, or over them."""
    if info.kind != "frames":
        return
    for item in map(Path, inputs):
        folder = item if item.is_dir() else item.parent
        if folder.resolve() == out.resolve():
            raise OutputError(f"{out} holds the frames of {info.source}: choose another folder for the results")


def _frame_range(options: ReconstructOptions, info: ClipInfo) -> tuple[int, int | None]:
    if options.frame_range is None:
        return 0, None
    first, last = options.frame_range
    # a container's count is a hint, a folder's is a fact
    if info.kind == "frames" and info.num_frames is not None and first >= info.num_frames:
        raise _beyond_the_end(info, first, last, info.num_frames)
    return first, last


def _beyond_the_end(info: ClipInfo, first: int, last: int | None, num_frames: int) -> InputError:
    return InputError(
        f"{info.source} has {num_frames} frames (0-{num_frames - 1}), so --frames {first}-{last} selects none of them"
    )


@dataclass(frozen=True)
class PendingFrame:
    """A frame that is there already, or the window that it is to be made of."""

    index: int
    coded: tuple[EncodedFrame, ...]
    stops: tuple[float, ...]
    pts_seconds: float
    file_values: np.ndarray | None
    window: Window | None


class _Job:
    """Everything that one run over one clip needs, and the run itself."""

    def __init__(
        self,
        reader: ClipReader,
        detection: Detection,
        cycle: ExposureCycle,
        reconstructor: Reconstructor,
        options: ReconstructOptions,
        out: Path,
        first: int,
        last: int | None,
        ranks: Ranks,
    ) -> None:
        self.reader, self.detection, self.cycle = reader, detection, cycle
        self.reconstructor, self.options, self.out = reconstructor, options, out
        self.first, self.last, self.ranks = first, last, ranks
        self.info = reader.info
        self.white = parse_white(options.white, cycle)
        self.scale = self.white * cycle.max_exposure
        matrix = detection.to_output
        self.to_output = None if matrix is None else matrix.astype(np.float32)
        self.settings = frame_settings(options, cycle, detection, reconstructor)
        # the parts of a clip that several machines make into one folder leave each other's files alone
        self.name = self.info.stem if options.frame_range is None else part_name(self.info.stem, options.frame_range)
        self.preview_path = out / f"{self.name}.preview.mp4"
        self.report_path = out / f"{self.name}.json"
        self.damaged: dict[int, str] = {}

    def run(
        self, progress: Callable[[int, int | None], None], say: Callable[[str], None], started: float
    ) -> ClipReport:
        """Make every frame of the range, together with the other processes; then the preview and the report."""
        ranks = self.ranks
        with ExitStack() as stack:

            def claim() -> list[tuple[int, int | None] | None]:
                stack.enter_context(frames_lock(self.out, self.info.stem, self.first, self.last))
                self._check_targets()
                remove_leftovers(self.out, self.info.stem, self.first, self.last)
                return self._pieces()

            self._check_settings()
            mine = ranks.from_main(claim)[ranks.rank]
            count, total = ranks.counter(), self._expected_frames()
            done = 0

            def made(number: int) -> None:
                nonlocal done
                done = number
                progress(count(done), total)

            # alone, the preview is made beside the frames; with others, from their files
            preview = self._new_preview(stack) if ranks.world == 1 else None
            pieces = ranks.each(
                lambda: self._make(*mine, preview, made, say) if mine else NOTHING,
                meanwhile=lambda: progress(count(done), total),
            )
            starts = [p.made[0] for p in pieces if p.made][1:]
            return ranks.from_main(lambda: self._finish(join_pieces(pieces), starts, preview, say, started))

    def _check_targets(self) -> None:
        """Raise OutputError where a video or the report could not be written when the frames are made."""
        options = self.options
        kinds = {"preview": options.preview, "hdr10": options.hdr10, "hlg": options.hlg}
        videos = [self.out / f"{self.name}.{kind}.mp4" for kind, wanted in kinds.items() if wanted]
        for path in (self.report_path, *videos):
            writable_target(path)

    def _check_settings(self) -> None:
        """Raise UsageError where the processes would not make the same frames."""
        for rank, settings in enumerate(self.ranks.each(lambda: self.settings)):
            changed = [f"{k} {self.settings.get(k)} and {v}" for k, v in settings.items() if self.settings.get(k) != v]
            if changed:
                raise UsageError(
                    f"processes {self.ranks.rank} and {rank} would make different frames ({'; '.join(changed)}): "
                    "install the same hdrvid, packages and weights on every machine"
                )

    def _pieces(self) -> list[tuple[int, int | None] | None]:
        """First and last frame for every process; None for one that there is nothing left for.

        The last piece ends where the range does, for a container's count is a hint.
        """
        world = self.ranks.world
        known = self.info.num_frames
        if known is None and self.last is None and world > 1:
            known = self._count_frames()
        ends = [n - 1 for n in (known, None if self.last is None else self.last + 1) if n is not None]
        number = max(1, min(ends, default=self.first) - self.first + 1)
        starts = [self.first + number * rank // world for rank in range(world + 1)]
        pieces: list[tuple[int, int | None] | None] = [
            (start, end - 1) if end > start else None for start, end in itertools.pairwise(starts)
        ]
        pieces[-1] = starts[-2], self.last
        return pieces

    def _count_frames(self) -> int:
        number = 0
        with suppress(InputError):  # told when its frames are made
            for frame in self.reader.frames(0, None, None if self.options.regular else _silent):
                number = frame.index + 1
        return number

    def _new_preview(self, stack: ExitStack) -> PreviewThread | None:
        options = self.options
        if not options.preview:
            return None
        tonemap = Tonemapper(
            options.tonemap,
            max_value=self.cycle.max_exposure,
            frames_per_second=float(self.info.frames_per_second),
        )
        return stack.enter_context(PreviewThread(self.preview_path, self.info, tonemap, self.white, self._audio_from))

    def _make(
        self,
        first: int,
        last: int | None,
        preview: PreviewThread | None,
        done: Callable[[int], None],
        say: Callable[[str], None],
    ) -> Piece:
        """The frames of a piece, and what it took. Every frame goes to the preview, where there is one."""
        options = self.options
        made: list[int] = []
        times: list[float] = []
        kept = 0
        network_seconds = 0.0
        last_key, last_values = "", None
        meter = FlickerMeter(self.white)
        read_back = self._large or not self._exact
        with ExitStack() as stack:
            writer = stack.enter_context(
                SequenceWriter(self.out, self.info.stem, self._format, options.compression, WRITERS)
            )
            windows = self._windows(stack, first, last)
            # frames whose file values are known only once their file is there
            unread: deque[tuple[np.ndarray | Path, float]] = deque()
            told = 0
            for due in self._looking_ahead(windows, writer):
                index, coded, file_values = due.index, due.coded, due.file_values
                for event in windows.events[told:]:
                    say(f"{event.text}")
                told = len(windows.events)
                path = writer.path_for(index)
                if due.window is None:
                    kept += 1
                else:
                    key = f"{window_id(coded, due.stops)} {source_id(coded)}"
                    if key != last_key or last_values is None:  # else the frame repeats the one before
                        before = time.perf_counter()
                        last_values = self._file_values(self.reconstructor.reconstruct(due.window).radiance)
                        network_seconds += time.perf_counter() - before
                    last_key, file_values = key, last_values
                    if read_back:
                        writable_target(path)
                        path.unlink(missing_ok=True)  # the preview must not read the frame that is replaced
                    writer.submit(index, file_values, self._attributes(index, coded, due.stops))
                    if self.detection.repeats[0] == 1:
                        last_values = None  # large, and the next frame is made while it would be there
                made.append(index)
                times.append(due.pts_seconds)
                reference = due.stops[len(due.stops) // 2]
                assert file_values is not None
                meter.add(index, reference, self.cycle.class_of(reference), file_values)
                if preview is not None:
                    unread.append((path if read_back else file_values, due.pts_seconds))
                    while unread and (isinstance(unread[0][0], np.ndarray) or unread[0][0].exists()):
                        preview.add(*unread.popleft())
                del due, file_values
                done(len(made))
            writer.close()
            if preview is not None:
                for frame, pts_seconds in unread:
                    preview.add(frame, pts_seconds)
        return Piece(
            made,
            times,
            kept,
            windows.lost,
            self.damaged,
            windows.events,
            told,
            windows.num_frames,
            windows.problem,
            [*self.reader.warnings(), *self.reconstructor.notes],
            network_seconds,
            meter.frames,
        )

    def _looking_ahead(
        self, windows: LabelledWindows | RegularWindows, writer: SequenceWriter
    ) -> Iterator[PendingFrame]:
        """The frames in order. The reconstructor knows a little earlier of those that it will make."""
        ahead = 0 if self._large else self.reconstructor.look_ahead
        waiting: deque[PendingFrame] = deque()
        try:
            before = ""
            for index, coded, stops, pts_seconds in windows:
                file_values = self._kept(writer, index, coded, stops)
                window = _window(index, coded, stops) if file_values is None else None
                key = f"{window_id(coded, stops)} {source_id(coded)}"
                if window is not None and ahead and key != before:
                    self.reconstructor.expect(window)
                before = key
                waiting.append(PendingFrame(index, coded, stops, pts_seconds, file_values, window))
                del coded, file_values, window  # large
                if len(waiting) > ahead:
                    yield waiting.popleft()
        except HdrvidError:
            yield from waiting
            raise
        yield from waiting

    def _finish(
        self,
        piece: Piece,
        starts: Sequence[int],
        preview: PreviewThread | None,
        say: Callable[[str], None],
        started: float,
    ) -> ClipReport:
        """The videos and the report, once every frame is there. `starts`: where a further process began."""
        if not piece.made:
            raise self._nothing_made(piece)
        paths = [self.out / f"{self.info.stem}.{index:06d}.{self._format}" for index in piece.made]
        for event in piece.events[piece.told :]:
            say(f"{event.text}")
        with ExitStack() as stack:
            if preview is None:
                preview = self._new_preview(stack)
                if preview is not None:
                    for path, pts_seconds in zip(paths, piece.times, strict=True):
                        preview.add(path, pts_seconds)
            if preview is not None:
                preview.finish()
            notes = preview.warnings if preview else []
            videos = self._write_hdr_videos(paths, piece.times, notes)
        warnings = [*self.detection.warnings, *piece.warnings, *dict.fromkeys(notes)]
        if self.last is not None and piece.made[-1] < self.last and not piece.problem:
            warnings.append(f"{self.info.source} ends at frame {piece.made[-1]}, before the end of --frames")
        if starts:
            path_of = dict(zip(piece.made, paths, strict=True))
            measured = join_steps(piece.brightness, starts, self.white, lambda index: read_output(path_of[index])[0])
            piece = replace(piece, brightness=measured)
        flicker = flicker_warning(piece.brightness, len(self.cycle))
        warnings += [flicker] if flicker else []
        for text in warnings[len(self.detection.warnings) :]:
            say(f"warning: {text}")
        report = self._report(piece, warnings, time.perf_counter() - started, videos)
        with atomic_path(self.report_path) as partial:
            partial.write_text(json.dumps(report.as_dict(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        if self.options.frame_range is None:
            remove_parts(self.out, self.info.stem)
        return report

    def _windows(self, stack: ExitStack, first: int, last: int | None) -> LabelledWindows | RegularWindows:
        """The windows first <= index <= last; reading threads end with `stack`."""
        reader, response, radius = self.reader, self.detection.response, self.cycle.window_radius
        labeller = Labeller(self.cycle, self.detection.repeats)
        reach = radius if self.options.regular else labeller.reach
        stop = None if last is None else last + reach + 1
        on_damage = None if self.options.regular else self._damaged
        ahead = 1 if self._large else DECODE_AHEAD
        step = max(1, max(self.info.width, self.info.height) // LABEL_SIDE)

        def code(frame: Frame) -> EncodedFrame:
            return encode_frame(frame, response, self.info.linear)

        def thin(frame: Frame) -> tuple[int, np.ndarray]:
            return frame.index, np.asarray(response.linearize(frame.pixels[::step, ::step]), np.float32)

        def read(make: Callable[[Frame], Item], start: int, stop: int | None = None) -> Iterator[Item]:
            frames = reader.frames(start, stop, on_damage)
            return iter(stack.enter_context(Prefetcher((make(frame) for frame in frames), ahead)))

        start = max(0, first - reach)
        if self.options.regular:
            return RegularWindows(read(code, start, stop), self.cycle, first, last)
        thinned: Iterator[tuple[int, np.ndarray]]
        if start or self.info.width * self.info.height > SHARED_PIXELS:
            coded, thinned = read(code, start, stop), read(thin, 0)
        else:
            both, same = itertools.tee(read(lambda frame: (thin(frame), code(frame)), 0))
            coded, thinned = (c for _, c in both), (t for t, _ in same)
        return LabelledWindows(coded, thinned, labeller, first, last)

    def _damaged(self, index: int, text: str) -> None:
        """A frame that was passed over; told once, though two threads read the clip."""
        self.damaged.setdefault(index, text)

    def _write_hdr_videos(
        self, paths: Sequence[Path], times: Sequence[float], notes: list[str]
    ) -> dict[str, dict[str, Any]]:
        """The HDR videos that were asked for, made from the finished files; what a report says of each."""
        asked: dict[HdrKind, bool] = {"hdr10": self.options.hdr10, "hlg": self.options.hlg}
        kinds = [kind for kind, wanted in asked.items() if wanted]
        if not kinds:
            return {}

        def frames() -> Iterator[np.ndarray]:
            for path in paths:
                yield read_output(path)[0].astype(np.float32) / np.float32(self.white)

        light = measure_light(frames())
        videos: dict[str, dict[str, Any]] = {}
        for kind in kinds:
            grade = grade_clip(frames, kind, peak_nits=self.options.peak_nits if kind == "hdr10" else None, light=light)
            path = self.out / f"{self.name}.{kind}.mp4"
            size = self.info.width, self.info.height
            with HdrVideoWriter(path, *size, self.info.frames_per_second, grade, audio_from=self._audio_from) as video:
                for frame, pts_seconds in zip(frames(), times, strict=True):
                    video.write(frame, pts_seconds)
            notes += video.warnings()
            videos[kind] = {
                "path": str(path),
                "nits_per_unit": grade.nits_per_unit,
                "peak_nits": grade.peak_nits,
                "max_cll_nits": grade.max_cll_nits,
                "max_fall_nits": grade.max_fall_nits,
            }
        return videos

    @property
    def _audio_from(self) -> Path | None:
        return Path(self.info.source) if self.options.audio and self.info.kind == "video" else None

    @property
    def _format(self) -> Literal["exr", "hdr"]:
        return "hdr" if self.options.format == "hdr" else "exr"

    @property
    def _exact(self) -> bool:
        """Whether a file holds the very half floats that it is given."""
        return self._format == "exr" and self.options.compression not in LOSSY_COMPRESSIONS

    @property
    def _large(self) -> bool:
        return self.info.width * self.info.height > LARGE_PIXELS

    def _expected_frames(self) -> int | None:
        known = self.info.num_frames
        if self.last is None:
            return None if known is None else max(1, known - self.first)
        last = self.last if known is None else min(self.last, known - 1)
        return max(1, last - self.first + 1)

    def _problem(self, piece: Piece) -> str | None:
        """What the user must know of frames that were not made, in one sentence; None where all were."""
        last = math.inf if self.last is None else self.last
        damaged = {i: text for i, text in piece.damaged.items() if self.first <= i <= last}
        others = [i for i in piece.lost if i not in damaged]
        parts = [] if piece.problem is None else [piece.problem]
        if damaged:
            listed = "; ".join(list(damaged.values())[:10]) + ("; ..." if len(damaged) > 10 else "")
            parts.append(f"{len(damaged)} damaged frame(s) were left out: {listed}")
        if others:
            parts.append(
                f"frame(s) {', '.join(map(str, others[:20]))} were left out: nothing of another exposure is near them"
            )
        return "; ".join(parts) or None

    def _nothing_made(self, piece: Piece) -> InputError:
        if piece.problem:
            return InputError(piece.problem)
        return _beyond_the_end(self.info, self.first, self.last, piece.num_frames or 0)

    def _file_values(self, radiance: np.ndarray) -> np.ndarray:
        """(H, W, 3) float values as the file will hold them: scaled, and rounded to half for EXR."""
        if self.to_output is not None:  # colours outside Rec. 709 get negative components there
            radiance = radiance @ self.to_output.T
            if self._format == "hdr":
                radiance = np.maximum(radiance, np.float32(0))
        values = np.minimum(radiance * np.float32(self.scale), np.float32(HALF_MAX))
        return to_half(values) if self._format == "exr" else values

    def _attributes(self, index: int, coded: tuple[EncodedFrame, ...], stops: tuple[float, ...]) -> dict[str, object]:
        """Header entries of frame `index`, which has just been made."""
        # the memory may have run out meanwhile, or a compiled function failed
        settings = frame_settings(self.options, self.cycle, self.detection, self.reconstructor)
        attributes: dict[str, object] = {
            "framesPerSecond": self.info.frames_per_second,
            "hdrvid:version": __version__,
            "hdrvid:model": self.reconstructor.name,
            "hdrvid:scale": self.scale,
            "hdrvid:white": self.white,
            "hdrvid:frame": index,
            "hdrvid:exposure_stops": float(stops[len(stops) // 2]),
            "hdrvid:cycle_stops": [float(s) for s in self.cycle.stops],
            "hdrvid:response": self.detection.response.name,
            "hdrvid:input_primaries": self.detection.gamut.name,
            "hdrvid:settings": settings_id(settings),
            "hdrvid:options": canonical_json(settings),
            "hdrvid:window": window_id(coded, stops),
            "hdrvid:source": source_id(coded),
        }
        if "sha256" in self.reconstructor.provenance:
            attributes["hdrvid:model_sha256"] = self.reconstructor.provenance["sha256"]
        return attributes

    def _kept(
        self, writer: SequenceWriter, index: int, coded: tuple[EncodedFrame, ...], stops: tuple[float, ...]
    ) -> np.ndarray | None:
        """File values of frame `index` where an earlier run left this very frame, else None.

        Raises OutputError where it left another one.
        """
        path = writer.path_for(index)
        if self.options.overwrite or not writer.is_complete(index):
            return None
        try:
            file_values, header = read_output(path)
        except InputError:
            return None  # damaged: made again
        advice = "give --overwrite to replace it or choose another folder"
        if header.get("hdrvid:settings") != settings_id(self.settings):
            difference = changed_settings(header, self.settings)
            if difference is not None:
                raise OutputError(f"{path} was made with other settings ({difference}): {advice}")
        if header.get("hdrvid:window") != window_id(coded, stops):
            return None  # the clip was shorter when the frame was made, or broke off there
        if header.get("hdrvid:source") != source_id(coded):
            raise OutputError(f"{path} was made from another clip of the same name: {advice}")
        return file_values

    def _report(
        self, piece: Piece, warnings: list[str], total_seconds: float, videos: Mapping[str, Mapping[str, Any]]
    ) -> ClipReport:
        made, kept = piece.made, piece.kept
        flicker = flicker_stops(piece.brightness, len(self.cycle))
        detected = self.detection.as_dict()
        new = len(made) - kept
        escaped = str(self.out / self.info.stem).replace("%", "%%")
        pattern = f"{escaped}.%06d.{self._format}"
        values: dict[str, Any] = {
            "version": __version__,
            **{key: value for key, value in detected.items() if key not in ("source", "warnings")},
            "response_curve": curve_samples(self.detection.response),
            "frames": {"first": made[0], "last": made[-1], "count": len(made), "new": new, "kept": kept},
            "events": [{"kind": e.kind, "index": e.index, "text": e.text} for e in piece.events],
            "damaged": {str(index): text for index, text in piece.damaged.items()},
            "white": self.options.white,
            "scale": self.scale,
            "model": {"name": self.reconstructor.name, "sha256": None, **self.reconstructor.provenance},
            "settings": {"id": settings_id(self.settings), **self.settings},
            "quality": {"flicker_stops": None if flicker is None else round(flicker, 4)},
            "warnings": warnings,
            "timings": {
                "total_seconds": round(total_seconds, 3),
                "network_seconds": round(piece.network_seconds, 3),
                "frames_per_second": round(len(made) / total_seconds, 3),
                "processes": self.ranks.world,
            },
            "outputs": {
                "folder": str(self.out),
                "frames": pattern,
                "first_frame": pattern % made[0],
                "last_frame": pattern % made[-1],
                "preview": str(self.preview_path) if self.options.preview else None,
                **{kind: facts["path"] for kind, facts in videos.items()},
                "report": str(self.report_path),
            },
            "hdr_videos": dict(videos),
        }
        return ClipReport(self.info.source, self._problem(piece), values)


def _window(index: int, coded: tuple[EncodedFrame, ...], stops: tuple[float, ...]) -> Window:
    return Window(index, tuple(c.ldr for c in coded), tuple(2.0**s for s in stops))
