"""Verdicts on a reconstruction: what was measured, in words, with the limits that the words stand for."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hdrvid.html.clip_results import ClipResults, as_list, as_mapping
from hdrvid.html.page import counted
from hdrvid.metrics.exposure_flicker import EXPOSURE_CLASSES, VISIBLE_FLICKER_STOPS

GOOD, FAIR, BAD, UNKNOWN = "good", "fair", "bad", "unknown"
"""Kinds of verdicts."""

NO_FLICKER_STOPS = 0.02
"""Flicker up to this is none: 1.4 % of luminance."""
AGREED_STOPS = 0.1
"""Measured and used exposures this close agree."""
DOUBTFUL_STOPS = 0.25
"""Those further apart than this contradict each other."""
NO_SHARE = 0.001
"""A share of the pixels up to this is none."""
SMALL_SHARE = 0.02
"""One up to this is little."""
MIN_PAIRS = 3
"""Fewer measured pairs of frames tell nothing."""
_SLIPS = ("doubled", "dropped", "misfired", "steady", "alternating", "unsure")
"""Kinds of events in which a clip leaves its exposures."""


@dataclass(frozen=True)
class Verdict:
    """One measure of the reconstruction."""

    title: str
    """What was measured."""
    kind: str
    """GOOD, FAIR, BAD or UNKNOWN."""
    word: str
    """The verdict."""
    figure: str
    """What was measured, with its unit; empty where there is no figure."""
    text: str
    """What the verdict rests on, and its limits."""


AreaShares = Sequence[tuple[str, Mapping[str, float]]]
"""Exposure and shares (see `areas.Areas.shares`) of the frames that are shown."""


def verdicts(clip: ClipResults, flicker: float | None, num_measured: int, shares: AreaShares) -> list[Verdict]:
    """All verdicts on a clip. `flicker` is that of `num_measured` results, `shares` has the areas of some frames."""
    return [
        _flicker(flicker, num_measured, clip),
        _exposures(clip),
        _slips(clip),
        _curve(clip),
        _lost("Clipped in every exposure", shares, "clipped_in_all", "clipped"),
        _lost("Dark in every exposure", shares, "dark_in_all", "dark"),
        *_hidden(shares),
        _numbers(shares),
        _completeness(clip),
    ]


def _flicker(stops: float | None, num_measured: int, clip: ClipResults) -> Verdict:
    limits = f"None up to {NO_FLICKER_STOPS:g} stops, visible above {VISIBLE_FLICKER_STOPS:g}."
    if stops is None:
        classes = {clip.exposures.class_at(i) for i in clip.frames}
        why = "All results are of one exposure." if len(classes) < 2 else "Too few in a row, or all is in motion."
        return Verdict("Flicker", UNKNOWN, "not measured", "", why)
    kind, word = BAD, "visible"
    if stops <= VISIBLE_FLICKER_STOPS:
        kind, word = (GOOD, "none") if stops <= NO_FLICKER_STOPS else (FAIR, "slight")
    text = f"How much brighter results of one exposure are than those of another, of {counted(num_measured, 'result')}."
    return Verdict("Flicker", kind, word, f"{stops:.3f} stops", f"{text} {limits}")


def _exposures(clip: ClipResults) -> Verdict:
    """Exposures that were used against the ratios that were measured on the first frames of the clip."""
    differences = []
    for i, measured in enumerate(as_list(clip.values.get("pair_stops"))):
        if isinstance(measured, int | float) and math.isfinite(measured):
            used = clip.exposures.stops_at(i + 1) - clip.exposures.stops_at(i)
            differences.append(abs(measured - used))
    if len(differences) < MIN_PAIRS:
        return Verdict("Exposures", UNKNOWN, "not measured", "", "Too few frames share content that is well exposed.")
    difference = statistics.median(differences)
    kind, word = BAD, "contradicted by the pixels"
    if difference <= DOUBTFUL_STOPS:
        kind, word = (GOOD, "agree with the pixels") if difference <= AGREED_STOPS else (FAIR, "doubtful")
    text = (
        f"Between the ratio of two frames in a row and what the exposures say, median of {len(differences)}. Agreement "
        f"up to {AGREED_STOPS:g} stops, contradiction above {DOUBTFUL_STOPS:g}."
    )
    return Verdict("Exposures", kind, word, f"{difference:.3f} stops apart", text)


def _slips(clip: ClipResults) -> Verdict:
    events = clip.values.get("events")
    if not isinstance(events, list):
        return Verdict("Order of the exposures", UNKNOWN, "not measured", "", "The results do not tell.")
    counts = Counter(str(as_mapping(event).get("kind")) for event in events)
    slips = {kind: counts[kind] for kind in _SLIPS if counts[kind]}
    if not slips:
        return Verdict("Order of the exposures", GOOD, "kept throughout", "", "No dropped, doubled or misfired frame.")
    listed = ", ".join(f"{kind} {count}" for kind, count in slips.items())
    text = f"Events: {listed}; they are listed below. Any is worth a look."
    return Verdict("Order of the exposures", FAIR, "left", f"at {counted(sum(slips.values()), 'place')}", text)


def _curve(clip: ClipResults) -> Verdict:
    name, origin = str(clip.values.get("response")), str(clip.values.get("response_from"))
    if origin == "assumed":
        text = "Nothing names the camera's curve and the pixels do not tell it: levels may be off. --response names it."
        return Verdict("Camera curve", FAIR, "assumed", name, text)
    if origin in ("declared", "tagged", "measured", "linear frames"):
        return Verdict("Camera curve", GOOD, origin, name, "Levels are those of the scene where the curve is right.")
    return Verdict("Camera curve", UNKNOWN, "not told", "", "The results do not say where the curve comes from.")


def _lost(title: str, shares: AreaShares, in_all: str, as_shot: str) -> Verdict:
    values = [s[in_all] for _, s in shares if in_all in s]
    if not values:
        return Verdict(title, UNKNOWN, "not measured", "", "No frame could be read.")
    share = statistics.fmean(values)
    by_exposure = {
        c: statistics.fmean(own)
        for c in EXPOSURE_CLASSES
        if (own := [s[as_shot] for e, s in shares if e == c and as_shot in s])
    }
    each = ", ".join(f"{c} {percent(v)}" for c, v in by_exposure.items()) or "not known"
    text = (
        f"Of the pixels of {counted(len(values), 'frame')}; as shot: {each}. None up to {percent(NO_SHARE)}, little up "
        f"to {percent(SMALL_SHARE)}."
    )
    return _of_share(title, share, text)


def _of_share(title: str, share: float, text: str) -> Verdict:
    """The verdict on a share of the pixels of which none is best."""
    kind, word = FAIR, "much"
    if share <= SMALL_SHARE:
        kind, word = GOOD, "none" if share <= NO_SHARE else "little"
    return Verdict(title, kind, word, percent(share), text)


def _hidden(shares: AreaShares) -> list[Verdict]:
    """The verdict on pixels that clip and that no other frame shows, where that is known."""
    values = [s["hidden_highlights"] for _, s in shares if "hidden_highlights" in s]
    if not values:
        return []
    text = (
        f"Of the pixels of {counted(len(values), 'frame')}: they clip, and something hides them in the shorter "
        "exposures, so that the result is where they clip."
    )
    return [_of_share("Clipped and hidden", statistics.fmean(values), text)]


def _numbers(shares: AreaShares) -> Verdict:
    title = "NaN and infinity"
    if not shares:
        return Verdict(title, UNKNOWN, "not measured", "", "No frame could be read.")
    bad = sum(s["not_finite"] > 0 for _, s in shares)
    if bad:
        text = "They are marked in red in the contact sheet. Any is an error: please report it."
        return Verdict(title, BAD, "present", f"in {counted(bad, 'frame')}", text)
    return Verdict(title, GOOD, "none", "", f"Of the pixels of {counted(len(shares), 'frame')}.")


def _completeness(clip: ClipResults) -> Verdict:
    missing = len(clip.missing_frames()) + clip.num_lost
    if missing or clip.values.get("problem"):
        figure = counted(missing, "frame") + " missing" if missing else ""
        return Verdict("Results", BAD, "incomplete", figure, "See the problems and warnings.")
    return Verdict("Results", GOOD, "complete", counted(len(clip.frames), "frame"), "From the first to the last.")


def percent(share: float) -> str:
    """A share in percent.

    >>> percent(0.12345), percent(0.00123), percent(0.000001), percent(0)
    ('12.3 %', '0.12 %', '< 0.01 %', '0 %')
    """
    if share <= 0:
        return "0 %"
    if share < 0.0001:
        return "< 0.01 %"
    return f"{100 * share:.1f} %" if share >= 0.01 else f"{100 * share:.2f} %"
