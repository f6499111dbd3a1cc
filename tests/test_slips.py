"""Every kind of slip at every position: each frame has its own exposure, or the run names it as not sure.

`python tests/test_slips.py` prints the counts by kind, `python tests/test_slips.py declared` (or `measured`, with
`details`) a mark for every position, `python tests/test_slips.py clean` what is said of clips without a slip, and
`python tests/test_slips.py stops` how well the exposures of regular clips are measured.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pytest
from test_reconstruct import scene_radiance

from hdrvid.color.curves import gamma_encode, gamma_linearize
from hdrvid.data.camera import SynthesisOptions, clipping_level, expose
from hdrvid.data.scenes import procedural_scene
from hdrvid.detect.cycle import MIN_CONFIDENCE, contradiction, estimate_cycle
from hdrvid.detect.phases import Labeller
from hdrvid.types import ExposureCycle

LENGTH = 28
CYCLES = ((0.0, 3.0), (0.0, 2.0), (0.0, 2.0, 4.0))
CAMERA = SynthesisOptions(clip_percentile=99.5, read_noise=1.5e-3, full_well=8000.0, bits=8)
NOISY = replace(CAMERA, read_noise=6e-3, full_well=1500.0)
TOLERANCE_STOPS = 0.3


@dataclass(frozen=True)
class Shot:
    """What one frame of a clip shows."""

    time: int
    """Moment of the scene, in frames."""
    stops: float
    """Its exposure."""
    scene: int = 0
    """Which scene."""
    gain: float = 1.0
    """Light of the scene."""
    flash: float = 0.0
    """Light that is added."""
    noisy: bool = False
    """A poor camera."""


Clip = list[Shot]


@lru_cache(maxsize=16)
def _scene(seed: int, motion: float):
    return procedural_scene(seed, 160, 96, LENGTH + 8, motion=motion)


@lru_cache(maxsize=4096)
def _radiance(seed: int, motion: float, time: int) -> np.ndarray:
    return _scene(seed, motion).render(time)


@lru_cache(maxsize=64)
def _level(seed: int, motion: float) -> float:
    return clipping_level(_radiance(seed, motion, LENGTH // 2), 99.5)


@lru_cache(maxsize=4096)
def frame(shot: Shot, seed: int, motion: float) -> np.ndarray:
    """(96, 160, 3) linear frame."""
    seed += 100 * shot.scene
    radiance = _radiance(seed, motion, shot.time) / np.float32(_level(seed, motion))
    rng = np.random.default_rng([seed, shot.time, int(10 * shot.stops)])
    radiance = radiance * np.float32(shot.gain) + np.float32(shot.flash)
    return gamma_linearize(expose(radiance, 2.0**shot.stops, rng, NOISY if shot.noisy else CAMERA))


def regular(stops: Sequence[float], length: int = LENGTH) -> Clip:
    """A clip that keeps its cycle."""
    return [Shot(t, stops[t % len(stops)]) for t in range(length)]


def of_order(stops: Sequence[float], order: Sequence[int]) -> Clip:
    """The frames of a regular clip in this order."""
    clip = regular(stops, LENGTH + 8)
    return [clip[i] for i in order][:LENGTH]


def gap(stops: Sequence[float], at: int, count: int = 1) -> Clip:
    """`count` frames are missing before frame `at`."""
    return of_order(stops, [*range(at), *range(at + count, LENGTH + 8)])


def two_gaps(stops: Sequence[float], at: int) -> Clip:
    """One frame is missing before frame `at`, another one before frame `at` + 2."""
    return of_order(stops, [*range(at), at + 1, at + 2, *range(at + 4, LENGTH + 8)])


def repeat(stops: Sequence[float], at: int, count: int = 1) -> Clip:
    """Frame `at` - 1 is shown `count` times more."""
    return of_order(stops, [*range(at), *[at - 1] * count, *range(at, LENGTH)])


def misfire(stops: Sequence[float], at: int) -> Clip:
    """Frame `at` has the exposure of the next one."""
    clip = regular(stops)
    clip[at] = replace(clip[at], stops=stops[(at + 1) % len(stops)])
    return clip


def swap(stops: Sequence[float], at: int) -> Clip:
    """Frames `at` - 1 and `at` are swapped."""
    order = list(range(LENGTH))
    order[at - 1], order[at] = at, at - 1
    return of_order(stops, order)


def flash(stops: Sequence[float], at: int) -> Clip:
    """A light adds half of what clips the longest exposure."""
    clip = regular(stops)
    clip[at] = replace(clip[at], gain=2.5, flash=0.5 * 2.0 ** -max(stops) * (1 + (clip[at].stops == 0) * 2))
    return clip


def turned_cut(stops: Sequence[float], at: int) -> Clip:
    """Another scene begins at frame `at`, one place further in the cycle."""
    return [s if t < at else Shot(t, stops[(t + 1) % len(stops)], 1) for t, s in enumerate(regular(stops))]


def steady_head(stops: Sequence[float], at: int, place: int = 0) -> Clip:
    """The clip alternates from frame `at` on."""
    return [replace(s, stops=stops[place]) if t < at else s for t, s in enumerate(regular(stops))]


def steady_tail(stops: Sequence[float], at: int, place: int = 0) -> Clip:
    """The clip alternates up to frame `at` - 1."""
    return [replace(s, stops=stops[place]) if t >= at else s for t, s in enumerate(regular(stops))]


SLIPS: dict[str, tuple[Callable[[Sequence[float], int], Clip], range]] = {
    "gap of 1": (gap, range(1, LENGTH)),
    "gap of 2": (lambda stops, at: gap(stops, at, 2), range(1, LENGTH)),
    "two gaps": (two_gaps, range(1, LENGTH)),
    "repeat": (repeat, range(1, LENGTH)),
    "triple": (lambda stops, at: repeat(stops, at, 2), range(1, LENGTH)),
    "quadruple": (lambda stops, at: repeat(stops, at, 3), range(1, LENGTH)),
    "misfire": (misfire, range(LENGTH)),
    "swap": (swap, range(1, LENGTH)),
    "flash": (flash, range(LENGTH)),
    "turned cut": (turned_cut, range(1, LENGTH)),
    "short head": (steady_head, range(2, LENGTH - 8)),
    "long head": (lambda stops, at: steady_head(stops, at, -1), range(2, LENGTH - 8)),
    "short tail": (steady_tail, range(12, LENGTH - 1)),
    "long tail": (lambda stops, at: steady_tail(stops, at, -1), range(12, LENGTH - 1)),
}


def cut(stops: Sequence[float], at: int) -> Clip:
    """Another scene begins at frame `at`, and the cycle goes on."""
    return [s if t < at else replace(s, scene=1) for t, s in enumerate(regular(stops))]


def _lit(gain: Callable[[int], float]) -> Callable[[Sequence[float], int], Clip]:
    return lambda stops, at: [replace(s, gain=gain(t)) for t, s in enumerate(regular(stops))]


CLEAN: dict[str, Callable[[Sequence[float], int], Clip]] = {
    "still cycle": lambda stops, at: regular(stops),
    "noise": lambda stops, at: [replace(s, noisy=True) for s in regular(stops)],
    "flicker": _lit(lambda t: 1 + 0.12 * np.sin(2.1 * t)),
    "fade in": _lit(lambda t: min(1.0, (t + 1) / 14)),
    "fade out": _lit(lambda t: min(1.0, (LENGTH - t) / 14)),
    "fade to black": _lit(lambda t: min(1.0, max(0.0, (LENGTH - 3 - t) / 12))),
    "brightening": _lit(lambda t: 2.0 ** (0.08 * (t - 14))),
}


@dataclass(frozen=True)
class Verdict:
    """How one clip is labelled."""

    word: str
    """'right', 'said' (a wrong frame is named), 'refused' (the cycle is not sure) or 'SILENT'."""
    wrong: tuple[int, ...]
    """Frames with the stops of another exposure."""
    events: tuple[tuple[str, int], ...]
    """What is said."""


def labelled(frames: Sequence[np.ndarray], stops: Sequence[float]) -> Labeller:
    labeller = Labeller(ExposureCycle(tuple(stops)))
    for index, picture in enumerate(frames):
        labeller.add(index, picture)
    labeller.finish()
    return labeller


def verdict(clip: Clip, stops: Sequence[float], seed: int, *, measured: bool, motion: float = 2.0) -> Verdict:
    """`measured`: the cycle is measured, not declared."""
    frames = [frame(shot, seed, motion) for shot in clip]
    if measured:
        estimate = estimate_cycle(frames[:24])
        if estimate.cycle is None or estimate.confidence < MIN_CONFIDENCE:
            return Verdict("refused", (), ())
        stops = estimate.cycle.stops
    labeller = labelled(frames, stops)
    events = tuple((e.kind, e.index) for e in labeller.events)
    named = {index for _, index in events}
    wrong = tuple(i for i, shot in enumerate(clip) if abs(labeller.label(i).stops - shot.stops) > TOLERANCE_STOPS)
    unsure_from = min((i for kind, i in events if kind == "unsure"), default=LENGTH)
    unsure_to = min((i for kind, i in events if kind == "alternating"), default=0)
    unnamed = [i for i in wrong if i not in named and not unsure_from <= i < unsure_to]
    unnamed += [i for i, shot in enumerate(clip) if shot.flash and i not in named]
    word = "SILENT" if unnamed else "said" if wrong else "right"
    return Verdict(word, wrong, events)


_SIGNS = {"right": ".", "said": "s", "refused": "r", "SILENT": "#"}


def print_table(measured: bool, seeds: Sequence[int], kinds: Sequence[str], details: bool) -> None:
    """A row for every kind and cycle, a column for every position; the worst of the seeds."""
    order = ["right", "refused", "said", "SILENT"]
    for kind in kinds:
        make, positions = SLIPS[kind]
        for stops in CYCLES:
            row, lines = [" "] * LENGTH, []
            for at in positions:
                results = [verdict(make(stops, at), stops, seed, measured=measured) for seed in seeds]
                worst = max(results, key=lambda v: order.index(v.word))
                row[at] = _SIGNS[worst.word]
                if worst.word == "SILENT":
                    lines.append(f"      {kind} {stops} {at}: wrong {worst.wrong} events {worst.events}")
            print(f"{kind:12s} {','.join(f'{s:g}' for s in stops):6s} |{''.join(row)}|", flush=True)
            if details:
                print("\n".join(lines))


def print_clean(seeds: Sequence[int]) -> None:
    """Events in clips that keep their cycle."""
    for stops in CYCLES:
        for motion in (2.0, 6.0):
            for kind, make in CLEAN.items():
                alarms = [
                    v.events
                    for s in seeds
                    if (v := verdict(make(stops, 0), stops, s, measured=False, motion=motion)).events or v.wrong
                ]
                if alarms:
                    print(f"alarm: {kind} {stops} motion {motion}: {alarms}")
            row = ""
            for at in range(1, LENGTH):
                results = [verdict(cut(stops, at), stops, s, measured=False, motion=motion) for s in seeds]
                bad = [v for v in results if v.wrong or any(e != ("cut", at) for e in v.events)]
                row += (
                    "#" if any(v.wrong for v in bad) else "a" if bad else "." if all(v.events for v in results) else "-"
                )
            print(f"plain cut {stops} motion {motion}  |{row}|", flush=True)


def _silent(kind: str, stops: Sequence[float], seed: int, *, measured: bool, step: int = 1) -> list[str]:
    """Cases with a wrong frame that is not named, at every `step`th position and at those near the ends."""
    make, positions = SLIPS[kind]
    lines = []
    for at in positions:
        if at % step and at > 8 and at < LENGTH - 4:
            continue
        result = verdict(make(stops, at), stops, seed, measured=measured)
        if result.word == "SILENT":
            lines.append(f"{kind} at frame {at}: wrong {result.wrong}, said {result.events}")
    return lines


@pytest.mark.parametrize("stops", CYCLES)
@pytest.mark.parametrize("kind", SLIPS)
def test_no_slip_is_silent(kind, stops):
    assert _silent(kind, stops, 3, measured=False, step=5) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 4])
@pytest.mark.parametrize("stops", CYCLES)
@pytest.mark.parametrize("kind", SLIPS)
def test_no_slip_is_silent_where_the_cycle_is_measured(kind, stops, seed):
    assert _silent(kind, stops, seed, measured=True) == []


@pytest.mark.parametrize("stops", CYCLES)
@pytest.mark.parametrize("kind", CLEAN)
@pytest.mark.parametrize("motion", [2.0, 6.0])
def test_nothing_is_said_of_a_clip_that_keeps_its_cycle(kind, stops, motion):
    result = verdict(CLEAN[kind](stops, 0), stops, 5, measured=False, motion=motion)
    assert (result.wrong, result.events) == ((), ())


@pytest.mark.parametrize("stops", CYCLES)
def test_a_cut_that_keeps_the_cycle_changes_no_label(stops):
    n = len(stops)
    for at in range(1, LENGTH):
        result = verdict(cut(stops, at), stops, 5, measured=False, motion=6.0)
        assert result.wrong == ()
        # nothing tells the exposures of a scene of fewer frames than the cycle
        unsure = range(at) if at < n else range(at, LENGTH) if at > LENGTH - n else range(0)
        assert all(event == ("cut", at) or event[1] in unsure for event in result.events)


@pytest.mark.parametrize(
    ("kind", "at", "events"),
    [
        ("gap of 1", LENGTH - 3, [("dropped", LENGTH - 3)]),
        ("gap of 1", LENGTH - 1, [("misfired", LENGTH - 1)]),
        ("repeat", LENGTH - 1, [("doubled", LENGTH - 1)]),
        ("quadruple", 9, [("doubled", 9), ("doubled", 10), ("doubled", 11)]),
        ("misfire", 12, [("misfired", 12)]),
        ("swap", 12, [("misfired", 11), ("misfired", 12)]),
        ("flash", 0, [("flash", 0)]),
        ("flash", LENGTH - 1, [("flash", LENGTH - 1)]),
        ("turned cut", 1, [("unsure", 0), ("cut", 1)]),
        ("turned cut", LENGTH - 1, [("unsure", LENGTH - 1)]),
        ("short tail", 15, [("steady", 15)]),
        ("long head", 10, [("unsure", 0), ("alternating", 10)]),
    ],
)
def test_what_is_said(kind, at, events):
    result = verdict(SLIPS[kind][0]((0.0, 3.0), at), (0.0, 3.0), 3, measured=False)
    assert list(result.events) == events


@pytest.mark.parametrize("stops", CYCLES)
@pytest.mark.parametrize("at", [1, 9, LENGTH - 1])
def test_known_gaps_decide_where_the_pixels_do_not(stops, at):
    dark = [np.full((96, 160, 3), 0.004 + 0.001 * (i % 3), np.float32) for i in range(LENGTH)]
    labeller = Labeller(ExposureCycle(stops))
    for index, picture in enumerate(dark):
        labeller.add(index, picture, 1 if index == at else 0)
    labeller.finish()
    assert [(e.kind, e.index) for e in labeller.events] == [("dropped", at)]
    assert [labeller.label(i).phase for i in (at - 1, at)] == [(at - 1) % len(stops), (at + 1) % len(stops)]


@pytest.mark.parametrize("at", [1, 9, LENGTH - 2, LENGTH - 1])
@pytest.mark.parametrize("stops", CYCLES)
def test_known_gaps_and_pixels(stops, at):
    for is_missing in (True, False):
        clip = gap(stops, at) if is_missing else regular(stops)
        labeller = Labeller(ExposureCycle(stops))
        for index, shot in enumerate(clip):
            labeller.add(index, frame(shot, 3, 2.0), 1 if index == at else 0)
        labeller.finish()
        assert [(e.kind, e.index) for e in labeller.events] == [("dropped", at)] * is_missing
        assert [labeller.label(i).stops for i in range(LENGTH)] == [shot.stops for shot in clip]


@lru_cache(maxsize=64)
def bright_frame(index: int, stops: float) -> np.ndarray:
    """(48, 64, 3) linear frame of a scene of which the longest exposure shows little that is not clipped."""
    return gamma_linearize(
        np.round(255 * gamma_encode(np.clip(scene_radiance(index, 64, 48) * 2.0**stops, 0, 1))) / 255
    )


@pytest.mark.parametrize("stops", [(0.0, 3.0), (3.0, 0.0), (0.0, 2.0, 4.0)])
@pytest.mark.parametrize("at", range(3, 13))
def test_gap_in_a_bright_scene(stops, at):
    """Two long exposures in a row: both are clipped nearly everywhere, so nearly every exposure would explain them."""
    kept = [i for i in range(25) if i != at]
    frames = [bright_frame(i, stops[i % len(stops)]) for i in kept]
    estimate = estimate_cycle(frames)
    assert estimate.cycle is not None
    assert np.allclose(estimate.cycle.stops, stops, atol=0.1)
    assert contradiction(estimate, ExposureCycle(stops)) is None
    labeller = labelled(frames, stops)
    # what is white nearly everywhere tells nothing and loses nothing
    told = [n for n, i in enumerate(kept) if stops[i % len(stops)] < 4]
    assert [labeller.label(n).stops for n in told] == [stops[kept[n] % len(stops)] for n in told]
    assert [e.kind for e in labeller.events if e.kind != "unsure"] == ["dropped"]


def print_summary(seeds: Sequence[int]) -> None:
    """Markdown: clips with a slip at every position, by kind, declared exposures; the table of weights/README.md."""
    print("| slip | 2 exposures: right | named | silent | 3 exposures: right | named | silent |")
    print("|---|---|---|---|---|---|---|")
    for kind, (make, positions) in SLIPS.items():
        cells = []
        for n in (2, 3):
            verdicts = [
                verdict(make(stops, at), stops, seed, measured=False).word
                for stops in CYCLES
                if len(stops) == n
                for at in positions
                for seed in seeds
            ]
            cells += [str(verdicts.count(word)) for word in ("right", "said", "SILENT")]
        print(f"| {kind} | {' | '.join(cells)} |", flush=True)


def print_measured(seeds: Sequence[int]) -> None:
    """Markdown: regular clips whose exposures are measured; right is the order and every stop within 0.15."""
    print("| stops apart | 2 exposures: right | not sure | wrong | 3 exposures: right | not sure | wrong |")
    print("|---|---|---|---|---|---|---|")
    for apart in range(1, 7):
        cells = []
        for stops in ((0.0, float(apart)), (0.0, apart / 2, float(apart))):
            counts = {"right": 0, "not sure": 0, "wrong": 0}
            for seed in seeds:
                estimate = estimate_cycle([frame(shot, seed, 2.0) for shot in regular(stops, 24)])
                sure = estimate.cycle is not None and estimate.confidence >= MIN_CONFIDENCE
                found = estimate.cycle.stops if estimate.cycle else ()
                right = len(found) == len(stops) and np.allclose(found, stops, atol=0.15)
                counts["not sure" if not sure else "right" if right else "wrong"] += 1
            cells += [str(count) for count in counts.values()]
        print(f"| {apart} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    words = sys.argv[1:]
    chosen = [k for k in SLIPS if not words[1:] or k in words[1:]]
    if not words:
        print_summary((3, 4))
    elif words[0] == "stops":
        print_measured(range(10, 18))
    elif words[0] == "clean":
        print_clean((3, 4, 5, 6))
    else:
        print_table("measured" in words[0], (3, 4), chosen, "details" in words[0])
