"""What is written down: means, `results.csv`, and the comparison of two `results.json`."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hdrvid.errors import InputError, UsageError
from hdrvid.evaluate.measures import MEASURES, Scores
from hdrvid.io.json_files import read_object
from hdrvid.types import run_texts

CLASSES = ("short", "middle", "long")
"""Exposure classes, in the order of the tables."""
PREDICTIONS_IN_LINE = "; predictions "
"""What follows this in a protocol line is about predictions, and no part of how the others are scored."""


def models_of(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Everything that `results.json` has scores of, by name: the model it is about first, then `baselines`."""
    return {str(results["model"]["name"]): results, **(results.get("baselines") or {})}


def summary(scenes: Mapping[str, Mapping[str, Any]], model: str, names: Sequence[str]) -> dict[str, Any]:
    """Means and spread of one model: `overall`, `spread`, `by_exposure`, `seconds`, `scenes`.

    A mean is over frames (all frames of all scenes); of a measure of whole clips, over scenes. The spread is the
    standard deviation of the same values. None is left out of both.
    """
    frames = [row for scene in scenes.values() for row in scene["frames"][model]]
    of_clips = [scene["clip"][model] for scene in scenes.values()]
    seconds = [s for scene in scenes.values() if (s := scene["seconds"][model]) is not None]
    return {
        "overall": _statistic(np.mean, frames, of_clips, names),
        "spread": _statistic(np.std, frames, of_clips, names),
        "by_exposure": {
            c: _statistic(np.mean, [f for f in frames if f["exposure"] == c], [], names)
            for c in CLASSES
            if any(f["exposure"] == c for f in frames)
        },
        "seconds": float(np.mean(seconds)) if seconds else None,
        "scenes": {
            name: {
                "overall": _statistic(np.mean, scene["frames"][model], [scene["clip"][model]], names),
                "spread": _statistic(np.std, scene["frames"][model], [], names),
                "frames": scene["frames"][model],
            }
            for name, scene in scenes.items()
        },
    }


def _statistic(
    of: Any, frames: Sequence[Mapping[str, Any]], of_clips: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> Scores:
    result: Scores = {}
    for name in names:
        rows = of_clips if MEASURES[name].of_clip else frames
        values = [v for row in rows if (v := row.get(name)) is not None]
        result[name] = float(of(values)) if values else None
    return result


def csv_text(results: Mapping[str, Any]) -> str:
    """`results.csv`: one row a model, scene and frame; measures of whole clips in a row without a frame."""
    table = io.StringIO()
    measures = list(results["overall"])
    writer = csv.writer(table)
    writer.writerow(["model", "scene", "frame", "exposure", *measures])
    of_clip = [m for m in measures if MEASURES[m].of_clip]
    for model, result in models_of(results).items():
        for scene, entry in result["scenes"].items():
            for frame in entry["frames"]:
                writer.writerow([model, scene, frame["index"], frame["exposure"], *_cells(frame, measures)])
            if of_clip:
                values = {m: entry["overall"][m] for m in of_clip}
                writer.writerow([model, scene, "", "", *_cells(values, measures)])
    return table.getvalue()


def _cells(row: Mapping[str, Any], measures: Sequence[str]) -> list[str]:
    return ["" if row.get(m) is None else f"{row[m]:.6f}" for m in measures]


# ---- comparison ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """B minus A in one measure, on what both have scored."""

    measure: str
    """Name."""
    mean_a: float
    """Mean of A over the common frames (scenes, of a measure of whole clips)."""
    mean_b: float
    """Mean of B over the same."""
    difference: float
    """Mean of the paired differences of scenes, each the mean of its frames."""
    low: float
    """Lower end of its 95 % confidence interval (paired t); NaN from one pair."""
    high: float
    """Upper end."""
    p_value: float
    """Two-sided, Student's paired t-test of no difference; NaN from one pair."""
    pairs: int
    """Pairs of the test: scenes."""
    frames: int
    """Frames both have scored."""
    better: int
    """Scenes in which B is better than A."""
    worse: int
    """Scenes in which it is worse; equal ones count in neither."""


def read_results(path: Path) -> dict[str, Any]:
    """A `results.json`. Raises InputError for anything else."""
    results = read_object(path, "a results.json of hdrvid eval")
    try:
        str(results["protocol"]), str(results["model"]["name"])
        _require_scores(results["overall"])
        for entry in results["scenes"].values():
            _require_scores(entry["overall"])
            for frame in entry["frames"]:
                int(frame["index"])
                _require_scores({name: value for name, value in frame.items() if name != "exposure"})
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{path} is not a results.json of hdrvid eval: it is damaged, or another kind of file"
        ) from error
    return results


def _require_scores(scores: Mapping[str, Any]) -> None:
    """Raise ValueError, or what Python raises, unless every value is None or a finite number."""
    for value in scores.values():
        if value is not None and (isinstance(value, (str, bool)) or not math.isfinite(float(value))):
            raise ValueError(f"{value} is no score")


def compare(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Difference]:
    """B against A, measure by measure, on the frames that both have, paired by scene.

    Frames of one scene are no independent samples: a test over them would find a difference in noise. One scene alone
    is not tested.
    Raises InputError where the two have no scored frame in common.
    """
    differences = []
    for measure in a["overall"]:
        if measure not in b["overall"]:
            continue
        pairs = _pairs(a, b, measure)
        if not pairs:
            continue
        frames = np.array([pair for scene in pairs.values() for pair in scene])
        samples = np.array([np.mean(scene, 0) for scene in pairs.values()])
        difference = samples[:, 1] - samples[:, 0]
        low, high, p = _paired_t(difference)
        mean_a, mean_b = (float(mean) for mean in frames.mean(0))
        sign = 1 if measure not in MEASURES or MEASURES[measure].larger_is_better else -1
        better, worse = (int((s * sign * difference > 0).sum()) for s in (1, -1))
        differences.append(
            Difference(
                measure,
                mean_a,
                mean_b,
                float(difference.mean()),
                low,
                high,
                p,
                len(samples),
                len(frames),
                better,
                worse,
            )
        )
    if not differences:
        raise InputError("the two results have no scored frame in common: compare two runs on the same dataset")
    return differences


@dataclass(frozen=True)
class Unpaired:
    """What one of two results lacks, and a comparison leaves out."""

    only_a: tuple[str, ...]
    """Scenes of A that B lacks."""
    only_b: tuple[str, ...]
    """Scenes of B that A lacks."""
    frames: Mapping[str, tuple[int, ...]]
    """Indices of frames that one of them alone has, by scene."""


def unpaired(a: Mapping[str, Any], b: Mapping[str, Any]) -> Unpaired:
    """The scenes and frames that only one of two results has."""
    scenes_a, scenes_b = a["scenes"], b["scenes"]
    frames = {}
    for scene in scenes_a:
        if scene in scenes_b:
            indices = [{int(f["index"]) for f in s[scene]["frames"]} for s in (scenes_a, scenes_b)]
            if indices[0] != indices[1]:
                frames[scene] = tuple(sorted(indices[0] ^ indices[1]))
    return Unpaired(
        tuple(s for s in scenes_a if s not in scenes_b), tuple(s for s in scenes_b if s not in scenes_a), frames
    )


def of_model(results: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The results as if they were about another model that is in them. Raises UsageError with the names there are."""
    models = models_of(results)
    if name not in models:
        raise UsageError(f"the results have no model '{name[:60]}': there are {', '.join(models)}")
    return {**results, **models[name], "model": {"name": name}}


def scoring_of(results: Mapping[str, Any]) -> str:
    """The protocol line without what it says of predictions: where it is equal, scores can be compared."""
    return str(results["protocol"]).split(PREDICTIONS_IN_LINE, 1)[0]


def frames_text(indices: Sequence[int], most: int = 6) -> str:
    """Frames in words.

    >>> frames_text([2]), frames_text([0, 1, 2, 7])
    ('frame 2', 'frames 0-2, 7')
    """
    texts = [text for text, _ in run_texts(indices)]
    more = f" and others ({len(indices)} in all)" if len(texts) > most else ""
    return f"frame{'s' * (len(indices) != 1)} {', '.join(texts[:most])}{more}"


def _pairs(a: Mapping[str, Any], b: Mapping[str, Any], measure: str) -> dict[str, list[tuple[float, float]]]:
    """(A, B) of every frame that both have, by scene; of a measure of whole clips one pair a scene."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    for scene, entry in a["scenes"].items():
        other = b["scenes"].get(scene)
        if other is None:
            continue
        if measure in MEASURES and MEASURES[measure].of_clip:
            both = [(entry["overall"].get(measure), other["overall"].get(measure))]
        else:
            other_values = {f["index"]: f.get(measure) for f in other["frames"]}
            both = [(f.get(measure), other_values.get(f["index"])) for f in entry["frames"]]
        kept = [(float(x), float(y)) for x, y in both if x is not None and y is not None]
        if kept:
            pairs[scene] = kept
    return pairs


def _paired_t(difference: np.ndarray) -> tuple[float, float, float]:
    """95 % confidence interval of the mean and the p-value of no difference."""
    from scipy.stats import t

    count = len(difference)
    if count < 2:
        return float("nan"), float("nan"), float("nan")
    mean, error = float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(count))
    if error == 0:
        return mean, mean, 1.0 if mean == 0 else 0.0
    reach = float(t.ppf(0.975, count - 1)) * error
    return mean - reach, mean + reach, float(2 * t.sf(abs(mean / error), count - 1))
