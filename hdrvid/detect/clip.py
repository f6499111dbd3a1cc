"""Finds out what a clip is: exposures, camera curve, levels, colours. The first frames are read once (`detect.probe`).

Order of trust, for everything: what the user says, what the container says, what the pixels say, what is assumed. A tag
of a display curve (BT.709, sRGB) is an exception: cameras write it whatever their curve is, so it is only what is
assumed where the pixels cannot tell. A contradiction names both sides.

    probe           the first frames, decoded and reduced (`hdrvid.detect.probe`)
    exposures       of one cycle: declared, recorded in the files, or measured (`hdrvid.detect.cycle`)
    response        declared, tagged, or measured from matched codes (`hdrvid.detect.response`)
    correction      stops measured on aligned pixels, where the curve is known (`hdrvid.detect.stops`)
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from fractions import Fraction
from typing import Any

import numpy as np

from hdrvid.color.gamuts import GAMUT_OF_RESPONSE, GAMUTS, REC709, Gamut, conversion_matrix, find_gamut
from hdrvid.color.response import LOG_RESPONSES, RESPONSES, Response, clipped_response, levelled_response
from hdrvid.detect.cycle import (
    MIN_CONFIDENCE,
    ROUGH_FROM_STOPS,
    CycleEstimate,
    contradiction,
    estimate_cycle,
    least_stops,
    snap,
    stops_of_frames,
)
from hdrvid.detect.probe import Probe, read_probe
from hdrvid.detect.recorded import Recorded, recorded_exposures
from hdrvid.detect.response import (
    DEFAULT_RESPONSE,
    DISPLAY_RESPONSES,
    FLAT_STOPS,
    GAMMA_RANGE,
    FrameLevels,
    ResponseEstimate,
    base_name,
    darkest_code,
    estimate_response,
    is_linear,
    stops_by_rank,
)
from hdrvid.detect.stops import StopsMeasurement, measure_stops
from hdrvid.errors import ExposureError, InputError, UsageError
from hdrvid.io import open_clip
from hdrvid.io.exposure_files import check_exposures, parse_exposures
from hdrvid.io.frames import FramesReader
from hdrvid.io.readers import open_tracks
from hdrvid.io.response_files import load_response
from hdrvid.io.samples import Levels, SampleFormat
from hdrvid.options.reconstruct import ClipOptions, DetectOptions
from hdrvid.types import ClipInfo, ClipReader, ExposureCycle, ExposureList, Exposures

CALIBRATION_FRAMES = 12
"""Frames at the start of a clip on which its exposures are measured again, on aligned pixels."""

MIN_RESPONSE_FRAMES = 6
"""A response is measured from at least so many frames."""

MIN_RESPONSE_CONFIDENCE = 0.5
"""A response less sure than this is not used."""

MAX_COMPARED_EXPOSURES = 8
"""Different exposures that the curve is measured from, at the most."""

LOG_BLACK_CODE = 0.05
"""Where no code of a clip is below this it may be coded in a log curve: these have black at 0.09 to 0.13."""

PROBED_LOG_RESPONSES = ("slog3", "logc3")
"""Curves that the exposures of such a clip are measured under: of the log curves, one with a long and one with a short
toe."""

CONTRADICTION_STOPS = 0.15
"""A ratio that varies more than this over the levels contradicts the curve that was declared or tagged."""

ODD_STOPS = 0.1
"""Stops further than this from a whole number are seldom set on a camera."""

MAX_RANK_STOPS = 1.0
"""Codes matched by rank change measured stops by less than this."""

_TRANSFER_RESPONSES = {
    "smpte2084": "pq",
    "arib_std_b67": "hlg",
    "linear": "linear",
    "iec61966_2_1": "srgb",
    "bt709": "rec709",
    "smpte170m": "rec709",
    "bt2020_10": "rec709",
    "bt2020_12": "rec709",
    "gamma22": "gamma2.2",
    "gamma28": "gamma2.8",
}
"""Responses by the name of a stream's transfer tag (ITU-T H.273, table 3)."""


@dataclass(frozen=True)
class Detection:
    """What is known of a clip once its first frames were looked at."""

    info: ClipInfo
    """The container's or folder's own account."""
    cycle: Exposures | None
    """The exposures, beginning with frame 0; None where they could not be found."""
    cycle_from: str
    """'declared', 'recorded' (by the files) or 'measured'."""
    confidence: float | None
    """0..1, of the measured exposures in all; None where they were not measured."""
    pair_stops: tuple[float, ...]
    """Measured exposure ratio of each pair of neighbouring frames, in stops."""
    reason: str
    """What the measurement rests on, or why it failed, in words."""
    response: Response
    """The curve that turns the clip's codes into linear light."""
    response_from: str
    """'declared', 'linear frames', 'tagged', 'measured' or 'assumed'."""
    warnings: tuple[str, ...] = ()
    """What the user should know."""
    measured: StopsMeasurement | None = None
    """What aligned pixels say about the exposures; None where that was not asked for. `cycle` is corrected by it."""
    response_reason: str = ""
    """What the response rests on, where it was looked for."""
    cycle_confidence: float | None = None
    """0..1, of the number and the order of the exposures; None where they were not measured."""
    stops_confidence: float | None = None
    """0..1, of how far apart they are; None where they were not measured."""
    gamut: Gamut = REC709
    """Primaries of the clip."""
    gamut_from: str = "assumed"
    """'declared', 'tagged', 'response' (the gamut that a log curve comes with), 'one channel' or 'assumed'."""
    levels: Levels | None = None
    """Stored codes of black and white, as the reader uses them; None where they are 0 and the largest one."""
    samples: SampleFormat = field(default_factory=SampleFormat)
    """What the user says of the stored samples."""
    repeats: tuple[int, int] = (1, 0)
    """(k, r): every frame is shown k times, and frame i is a repetition unless (i + r) % k == 0."""
    frame_levels: tuple[FrameLevels, ...] = field(default=(), repr=False, compare=False)
    """Levels of the first frames, repetitions left out."""

    @property
    def white_code(self) -> float | None:
        """Stored code that is read as 1 where that is not the largest one, else None."""
        return None if self.levels is None else self.levels.white

    @property
    def to_output(self) -> np.ndarray | None:
        """(3, 3) linear RGB of the clip to Rec. 709; None where they are the same."""
        matrix = conversion_matrix(self.gamut, REC709)
        return None if np.array_equal(matrix, np.eye(3)) else matrix

    def as_dict(self) -> dict[str, Any]:
        """The machine-readable form of `hdrvid info CLIP --json`."""
        info = self.info
        return {
            "source": info.source,
            "kind": info.kind,
            "size": [info.width, info.height],
            "num_frames": info.num_frames,
            "frames_per_second": str(info.frames_per_second),
            "bit_depth": info.bit_depth,
            "linear": info.linear,
            "compressed": info.compressed,
            "details": dict(info.details),
            "stops": None if self.cycle is None else list(self.cycle.stops),
            "cycle": None if self.cycle is None else self.cycle.period,
            "confidence": self.confidence,
            "cycle_confidence": self.cycle_confidence,
            "stops_confidence": self.stops_confidence,
            "exposures_from": self.cycle_from,
            "exposures_corrected": self.measured.reason if self.measured and self.measured.corrected else None,
            "pair_stops": [round(s, 4) if math.isfinite(s) else None for s in self.pair_stops],
            "reason": self.reason,
            "response": self.response.name,
            "response_from": self.response_from,
            "response_reason": self.response_reason,
            "primaries": self.gamut.name,
            "primaries_from": self.gamut_from,
            "levels": None if self.levels is None else asdict(self.levels),
            "white_code": self.white_code,
            "repeats": self.repeats[0],
            "warnings": list(self.warnings),
        }


def inspect_clip(inputs: Sequence[str], options: DetectOptions | None = None) -> Detection:
    """Open a clip and find out all there is to know before a reconstruction.

    An exposure cycle that cannot be found is an answer here (`cycle` None), not an error.
    Raises InputError for a clip that cannot be read and ExposureError for exposures that make no sense.
    """
    options = options or DetectOptions()
    check_declared(options)
    with open_input(inputs, options) as reader:
        return detect(reader, options)


def open_input(inputs: Sequence[str], options: ClipOptions, frames_per_second: Fraction | None = None) -> ClipReader:
    """A reader for what the user names, with what the options say of it.

    Raises as `hdrvid.io.open_clip`, and UsageError where the tracks are not as many as `--tracks` has exposures.
    """
    samples = sample_format(options)
    if options.tracks is None:
        return open_clip(inputs, frames_per_second, samples)
    cycle = declared_exposures(options)
    count = (cycle.period if cycle else None) or 0
    if count != len(inputs):
        raise UsageError(
            f"--tracks {options.tracks} are {count} exposures, but {len(inputs)} clips are given: name one clip for "
            "each, all of different exposures"
        )
    return open_tracks(inputs, frames_per_second, samples)


def declared_exposures(options: ClipOptions, frame_names: Sequence[str] = ()) -> Exposures | None:
    """The exposures that the options declare, of a cycle or of every frame; None where they are to be found.

    Raises ExposureError or InputError as `parse_exposures`, and UsageError where they are given twice.
    """
    if options.tracks is None:
        return parse_exposures(options.exposures, frame_names)
    if options.exposures.strip().lower() != "auto":
        raise UsageError("--tracks has the exposures of the tracks: leave out --exposures")
    tracks = parse_exposures(options.tracks)
    if not isinstance(tracks, ExposureCycle) or os.path.exists(options.tracks):
        raise UsageError(f"--tracks takes the stops of the tracks in order, like 0,6, not '{options.tracks[:60]}'")
    return tracks


def check_declared(options: ClipOptions) -> None:
    """Raise what `declared_exposures` does before the clip is open."""
    if options.tracks is None:
        check_exposures(options.exposures)
    else:
        declared_exposures(options)


def sample_format(options: ClipOptions) -> SampleFormat:
    """What the options say of the stored samples. Raises UsageError where they contradict each other."""
    return SampleFormat(**{f.name: getattr(options, f.name) for f in fields(SampleFormat)})


def required_exposures(detection: Detection) -> Exposures:
    """The exposures of a clip. Raises ExposureError, with what was measured, where it is not sure."""
    if detection.cycle is not None and (detection.confidence is None or detection.confidence >= MIN_CONFIDENCE):
        return detection.cycle
    steps = [f"{s:+.2f}" for s in detection.pair_stops if math.isfinite(s)][:6]
    measured = f" (measured from frame to frame: {', '.join(steps)} stops)" if steps else ""
    if detection.cycle is not None:
        measured += f" (confidence {detection.confidence:.2f}, {MIN_CONFIDENCE:g} is needed)"
    noticed = "".join(f"; {text}" for text in detection.warnings if "interlaced" in text)
    raise ExposureError(
        f"the exposures of {detection.info.source} are not clear{measured}: {detection.reason}{noticed}; "
        "--exposures 0,3 declares the stops of one cycle, beginning with the first frame"
    )


@dataclass(frozen=True)
class _Curve:
    """A camera curve, and why it is taken."""

    response: Response
    source: str
    """'declared', 'linear frames', 'tagged', 'measured' or 'assumed'."""
    reason: str = ""

    @property
    def is_open(self) -> bool:
        """Whether the pixels may name another one."""
        return self.source == "assumed"


@dataclass(frozen=True)
class _Exposures:
    """Exposures of a cycle, and why they are taken."""

    cycle: Exposures | None
    source: str
    """'declared', 'recorded' or 'measured'."""
    estimate: CycleEstimate
    """What the pixels say, under the curve that is taken."""

    @property
    def known(self) -> bool:
        """Whether somebody says what they are."""
        return self.source != "measured"

    @property
    def is_sure(self) -> bool:
        return self.cycle is not None and (self.known or self.estimate.confidence >= MIN_CONFIDENCE)


def detect(reader: ClipReader, options: DetectOptions) -> Detection:
    """Find out what an open clip is. Raises InputError, ExposureError or UsageError."""
    samples = sample_format(options)
    probe = read_probe(reader, samples)
    info = reader.info
    warnings = list(probe.warnings)
    names = [path.name for path in reader.paths] if isinstance(reader, FramesReader) else []
    declared = declared_exposures(options, names)
    curve = _said_curve(options.response, info, probe)
    recorded = Recorded()
    if declared is None and isinstance(reader, FramesReader):
        recorded = recorded_exposures(reader.paths)
        warnings += [recorded.problem] if recorded.problem else []
    known = declared or recorded.exposures
    source = "declared" if declared else "recorded" if recorded.exposures else "measured"
    _require_frames(probe, known)
    warnings += _surplus(info, known)
    all_levels = tuple(probe.levels)
    probe.levels = probe.levels[: _comparable_frames(known, len(probe.levels))]
    exposures, curve = _solve(probe, curve, known, source)
    if recorded.exposures and exposures.known and contradiction(exposures.estimate, recorded.exposures):
        warnings.append(
            f"{recorded.origin}, {recorded.exposures} stops, but that is not what the pixels show: measured instead"
        )
        exposures, curve = _solve(probe, _said_curve(options.response, info, probe), None, "measured")
    if declared is not None:
        against = contradiction(exposures.estimate, declared)
        # a curve that is assumed for want of frames is no evidence against declared exposures
        unchecked = curve.is_open and len(probe.levels) < MIN_RESPONSE_FRAMES
        trusted = options.regular and info.tracks == 1
        if against and against.is_sure and not trusted and not unchecked:
            advice = "check --tracks" if info.tracks > 1 else "or give --regular to take them as they are"
            raise ExposureError(f"{info.source}: {against.text}, {advice}{_black_advice(probe, curve)}")
        warnings += [against.text] if against else []
    deviation = _deviation(probe, curve, exposures)
    if deviation > CONTRADICTION_STOPS:
        warnings.append(_bent(probe, curve, exposures, deviation))
    if info.linear and probe.brightest > 1.0:
        warnings.append(
            f"{info.source} holds linear values up to {probe.brightest:.3g}, but 1.0 is taken as the clipping of each "
            "frame: scale the frames so that the sensor clips at 1.0"
        )
    measured = None
    # where the curve bends the ratio, no stops are right, and declared ones are likelier than others
    bent = exposures.known and (deviation > FLAT_STOPS or (curve.is_open and len(probe.levels) < MIN_RESPONSE_FRAMES))
    if options.deflicker and exposures.is_sure and not bent and isinstance(exposures.cycle, ExposureCycle):
        frames = itertools.islice(probe.linear(curve.response), CALIBRATION_FRAMES)
        measured = measure_stops(frames, exposures.cycle)
        exposures = replace(exposures, cycle=measured.cycle)
    if not exposures.known and exposures.cycle is not None and max(exposures.cycle.stops) > ROUGH_FROM_STOPS:
        warnings.append(
            f"exposures so far apart share few levels and may be measured too close: the measured {exposures.cycle} "
            f"are at least {least_stops(exposures.cycle):g} stops apart, and may be 6: give --exposures if known"
        )
    gamut, gamut_from = _gamut(options.input_primaries, info, curve)
    if probe.repeats[0] > 1:
        warnings.append(f"every frame is shown {probe.repeats[0]} times: the repetitions get the result of the first")
    estimate = exposures.estimate
    return Detection(
        info=_with_black(info, probe, curve.response),
        cycle=exposures.cycle,
        cycle_from=exposures.source,
        confidence=None if exposures.known else estimate.confidence,
        pair_stops=tuple(float(s) for s in estimate.pair_stops),
        reason={"declared": "declared", "recorded": recorded.origin}.get(exposures.source, estimate.reason),
        response=curve.response,
        response_from=curve.source,
        warnings=tuple(warnings),
        measured=measured,
        response_reason=curve.reason,
        cycle_confidence=None if exposures.known else estimate.cycle_confidence,
        stops_confidence=None if exposures.known else estimate.stops_confidence,
        gamut=gamut,
        gamut_from=gamut_from,
        levels=probe.found.levels,
        samples=samples,
        repeats=probe.repeats,
        frame_levels=all_levels,
    )


def _black_advice(probe: Probe, curve: _Curve) -> str:
    """What to say of black where the user named a linear curve, which takes the darkest code as light."""
    found = probe.found
    if curve.source != "declared" or not is_linear(curve.response) or not found.is_sensor or found.has_black:
        return ""
    white = found.levels.white if found.levels else 0
    code = round(darkest_code(probe.levels) * white)
    return f"; if no light is not code 0, give --black-level (the darkest code is {code})" if code > 0 else ""


def _with_black(info: ClipInfo, probe: Probe, response: Response) -> ClipInfo:
    """The account of a clip with the black level that its curve found."""
    levels = probe.found.levels
    parts = response.name.removeprefix("linear@").split(",")
    if levels is None or probe.found.has_black or not response.name.startswith("linear@"):
        return info
    black = levels.black + float(parts[0]) * (levels.white - levels.black)
    return replace(info, details={**info.details, "levels": replace(levels, black=float(round(black))).text()})


def _require_frames(probe: Probe, known: Exposures | None) -> None:
    info, needed = probe.reader.info, (known.period if known else None) or 2
    if isinstance(known, ExposureList) and info.kind == "frames" and len(known) < (info.num_frames or 0):
        raise ExposureError(
            f"{info.source} has {info.num_frames} frames, but the exposures of {len(known)} are given and do not "
            "repeat: give the exposure of every frame"
        )
    if probe.count < needed:
        raise InputError(
            f"{probe.reader.info.source} has only {probe.count} frame(s), but alternating exposures need at least "
            f"{needed}: give the whole clip or the folder with all its frames"
        )


def _comparable_frames(known: Exposures | None, count: int) -> int:
    """How many of the first frames the curve is measured on: every exposure is compared with every other one."""
    if not isinstance(known, ExposureList):
        return count
    return next((i for i in range(count) if len(set(known.stops[: i + 1])) > MAX_COMPARED_EXPOSURES), count)


def _surplus(info: ClipInfo, known: Exposures | None) -> list[str]:
    """A warning where more exposures are given than there are frames: which frame each belongs to is then a guess."""
    if not isinstance(known, ExposureList) or info.num_frames is None or len(known) <= info.num_frames:
        return []
    return [
        f"exposures of {len(known)} frames are given, but {info.source} has {info.num_frames}: they are taken from the "
        "first frame on"
    ]


def _said_curve(text: str, info: ClipInfo, probe: Probe) -> _Curve:
    """The curve that the user or the container names, else the one to begin with."""
    if info.linear:
        if text.lower() not in ("auto", "linear"):
            raise UsageError(f"{info.source} is scene-linear, so --response {text} has no meaning: leave it out")
        return _Curve(RESPONSES["linear"], "linear frames")
    if text.lower() != "auto":
        return _Curve(load_response(text), "declared")
    name = _TRANSFER_RESPONSES.get(info.transfer, "")
    if name and name not in DISPLAY_RESPONSES and name != "gamma2.8":
        reason = f"the clip is tagged {info.transfer}"
        return _Curve(_clipped(RESPONSES[name], probe), "tagged", reason)
    return _Curve(load_response(name or DEFAULT_RESPONSE), "assumed")


def _clipped(response: Response, probe: Probe) -> Response:
    """The response with linear 1 where the clip's samples pile up.

    PQ has so much room above what a camera gives that the pile of green does, which codecs keep best, and without one
    the brightest code stands for it.
    """
    code = probe.clip_code
    if code is None and response.name == "pq":
        code = probe.clip_codes[1] or max((level.peak for level in probe.levels), default=None)
    if code is None:
        return response
    try:
        return clipped_response(response, code)
    except ValueError:
        return response


def _solve(probe: Probe, curve: _Curve, known: Exposures | None, source: str) -> tuple[_Exposures, _Curve]:
    """Exposures and curve together: each is measured under the other."""
    estimate = estimate_cycle(probe.linear(curve.response))
    if not curve.is_open:
        return _Exposures(known or estimate.cycle, source, estimate), curve
    if known is not None:
        is_other = known.period is not None and estimate.cycle and len(estimate.cycle) != known.period
        if is_other and estimate.confidence >= MIN_CONFIDENCE:
            return _Exposures(known, source, estimate), curve  # which no curve can mend
        base, frames = curve, stops_of_frames(estimate, known)[: len(probe.levels)]
        if probe.found.is_sensor and _suits(probe, sensor := _sensor_curve(probe), known):
            base = sensor
        found = _measured_curve(probe, base, frames, declared=True)
        if found.source == "measured" and _is_bent_to(probe, found.response, frames):
            found = base  # which the declared stops then contradict
        if found.response is not curve.response:
            estimate = estimate_cycle(probe.linear(found.response))
        return _Exposures(known, source, estimate), found
    starts = [(curve, estimate)]
    if probe.found.is_sensor:
        displays = [_started(probe, name) for name in DISPLAY_RESPONSES if name != curve.response.name]
        starts = [_started(probe, "linear"), *starts, *displays]
    elif estimate.confidence < MIN_CONFIDENCE and _may_be_log(probe.levels):
        starts += [_started(probe, name) for name in PROBED_LOG_RESPONSES]
    confident = [s for s in starts if s[1].confidence >= MIN_CONFIDENCE]
    if probe.found.is_sensor and confident:  # linear, unless only a display curve makes the stops whole
        whole = [s for s in confident if s[1].cycle and _is_whole(s[1].cycle)]
        start, first = (whole or confident)[0]
    else:
        start, first = max(starts, key=lambda s: s[1].confidence)
    if first.cycle is None or first.confidence < MIN_CONFIDENCE:
        return _Exposures(estimate.cycle, source, estimate), replace(curve, reason="the exposures are not known")
    base = start if probe.found.is_sensor else curve
    frames = stops_of_frames(first, first.cycle)[: len(probe.levels)]
    found = _measured_curve(probe, base, frames, declared=False)
    if found.response is not curve.response:
        # the stops were measured under another curve
        estimate = estimate_cycle(probe.linear(found.response))
    return _Exposures(_by_rank(probe, estimate, found.response), source, estimate), found


def _by_rank(probe: Probe, estimate: CycleEstimate, response: Response) -> ExposureCycle | None:
    """The measured cycle with the stops of matched codes, where these are the same at every level.

    A median commutes with the curve, so codes matched by rank are free of what averaging does next to clipping.
    """
    cycle = estimate.cycle
    if cycle is None or estimate.confidence < MIN_CONFIDENCE or not cycle.is_plain:
        return cycle
    stops, error = stops_by_rank(probe.levels, stops_of_frames(estimate, cycle), response)
    off = np.abs(np.array(stops) - np.sort(cycle.stops)).max() if len(stops) == len(cycle) else math.inf
    if not (error < FLAT_STOPS / 2 and off < MAX_RANK_STOPS):
        return cycle
    order = np.argsort(np.argsort(cycle.stops))
    with suppress(ExposureError):
        return ExposureCycle(tuple(snap(float(stops[k])) for k in order))
    return cycle


def _started(probe: Probe, name: str) -> tuple[_Curve, CycleEstimate]:
    """The exposures under another curve."""
    curve = _sensor_curve(probe) if name == "linear" else _Curve(RESPONSES[name], "assumed")
    return curve, estimate_cycle(probe.linear(curve.response))


def _sensor_curve(probe: Probe) -> _Curve:
    """Linear light, with black at the darkest code unless the user gave it."""
    if probe.found.has_black:
        return _Curve(RESPONSES["linear"], "assumed")
    black = min(darkest_code(probe.levels), 0.2)
    return _Curve(levelled_response(RESPONSES["linear"], black, 1.0), "assumed")


def _suits(probe: Probe, curve: _Curve, declared: Exposures) -> bool:
    """Whether a curve makes codes matched by rank about as far apart as the declared stops."""
    frames = declared.stops[: len(probe.levels)]
    stops, _ = stops_by_rank(probe.levels, frames, curve.response)
    expected = np.unique(frames)
    if len(stops) != len(expected):
        return True  # a sensor's curve where nothing can be compared
    return bool(np.abs(np.array(stops) - (expected - expected[0])).max() < 0.5)


def _is_whole(cycle: ExposureCycle) -> bool:
    return all(abs(s - round(s)) < ODD_STOPS / 2 for s in cycle.stops)


def _is_bent_to(probe: Probe, response: Response, frames: Sequence[float]) -> bool:
    """Whether a curve of several parameters fits declared stops where a likelier one fits others, half a stop off.

    A power is let through: stops decide its exponent. `frames`: stops of every frame.
    """
    expected = np.unique(frames)
    if response.name in RESPONSES or response.name.startswith("gamma"):
        return False
    if is_linear(response) and probe.found.is_sensor:
        return False
    fits = [stops_by_rank(probe.levels, frames, RESPONSES[name]) for name in DISPLAY_RESPONSES]
    free = estimate_response(probe.levels, frames, False)
    if free.response is not None and free.confidence >= MIN_RESPONSE_CONFIDENCE:
        fits.append((free.stops, free.error_stops))
    return any(
        len(stops) == len(expected)
        and error < FLAT_STOPS / 2
        and np.abs(np.array(stops) - (expected - expected[0])).max() > 0.5
        for stops, error in fits
    )


def _may_be_log(levels: Sequence[FrameLevels]) -> bool:
    """Whether black is nowhere near code 0."""
    return bool(levels) and darkest_code(levels) >= LOG_BLACK_CODE


def _measured_curve(probe: Probe, assumed: _Curve, stops: Sequence[float], *, declared: bool) -> _Curve:
    """The curve that the clip shows where it can tell, else the assumed one with the reason. `stops`: one a frame."""
    levels = probe.levels
    if len(levels) < MIN_RESPONSE_FRAMES:
        return replace(assumed, reason=f"{len(levels)} frames are too few to tell the response from")
    try:
        estimate = estimate_response(levels, stops, declared, assumed.response)
    except ExposureError as error:
        return replace(assumed, reason=str(error))
    is_levelled_linear = estimate.response is not None and estimate.response.name.startswith("linear@")
    if probe.found.has_black and is_levelled_linear and is_linear(assumed.response):
        return replace(assumed, reason="the black level is declared")
    if estimate.response is None or estimate.confidence < MIN_RESPONSE_CONFIDENCE:
        reason = estimate.reason
        if not declared and estimate.error_stops < FLAT_STOPS and not is_linear(assumed.response):
            reason += _settled_by(estimate)
        return replace(assumed, reason=reason)
    return _Curve(_with_clipping(estimate.response, probe), "measured", estimate.reason)


def _with_clipping(response: Response, probe: Probe) -> Response:
    """The measured curve, with linear 1 where the samples pile up unless the curve puts it there itself."""
    if probe.clip_code is None or float(np.asarray(response.linearize(np.full(3, probe.clip_code - 0.01))).min()) > 0.9:
        return response
    return _clipped(response, probe)


def _settled_by(estimate: ResponseEstimate) -> str:
    """Whole stops that a camera curve of the same shape would mean, where the measured ones are not whole."""
    longest = max(estimate.stops)
    if abs(longest - round(longest)) < ODD_STOPS:
        return ""
    powers = {whole: 2.2 * whole / longest for whole in (math.floor(longest), math.ceil(longest)) if whole}
    listed = [
        f"--exposures {','.join(f'{s * whole / longest:.3g}' for s in estimate.stops)} means gamma{gamma:.2g}"
        for whole, gamma in powers.items()
        if GAMMA_RANGE[0] <= gamma <= GAMMA_RANGE[1]
    ]
    return f"; what the camera was set to settles it: {', '.join(listed)}" if listed else ""


def _deviation(probe: Probe, curve: _Curve, exposures: _Exposures) -> float:
    """How far the ratio of the exposures is from the same at every level, in stops; 0 where that is not known."""
    cycle = exposures.cycle
    if cycle is None or not exposures.is_sure or len(probe.levels) < MIN_RESPONSE_FRAMES or probe.reader.info.linear:
        return 0.0
    frames = stops_of_frames(exposures.estimate, cycle)[: len(probe.levels)]
    _, deviation = stops_by_rank(probe.levels, frames, curve.response)
    return deviation if math.isfinite(deviation) else 0.0


def _bent(probe: Probe, curve: _Curve, exposures: _Exposures, deviation: float) -> str:
    """The warning that the pixels contradict the curve, with a better one where there is one."""
    assert exposures.cycle is not None
    frames = stops_of_frames(exposures.estimate, exposures.cycle)[: len(probe.levels)]
    other = estimate_response(probe.levels, frames, exposures.known)
    better = ""
    if other.response is not None and other.error_stops < min(FLAT_STOPS, deviation / 3):
        better = f"; {other.response.name} makes it the same within {other.error_stops:.2f}"
    what = {"declared": "the declared response", "tagged": "the tagged response"}.get(curve.source, "the response")
    return (
        f"under {what} {curve.response.name} the ratio of the exposures changes by {deviation:.2f} stops over the "
        f"levels, which shows as flicker: check --response{'' if exposures.known else ' and --exposures'}{better}"
    )


def _gamut(text: str, info: ClipInfo, curve: _Curve) -> tuple[Gamut, str]:
    """Primaries of the clip, and who says so."""
    if info.one_channel:
        if text.lower() != "auto":
            raise UsageError(f"{info.source} is grey, so --input-primaries {text} has no meaning: leave it out")
        return REC709, "one channel"
    if text.lower() != "auto":
        return find_gamut(text), "declared"
    log = next((name for name in LOG_RESPONSES if base_name(curve.response) == name), None)
    if info.gamut is not None and not (log and info.gamut == REC709):
        return info.gamut, "tagged"
    if log:  # cameras that record a log curve seldom tag its gamut, or tag it BT.709
        return GAMUTS[GAMUT_OF_RESPONSE[log]], "response"
    return REC709, "assumed"
