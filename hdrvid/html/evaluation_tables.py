"""Tables of an evaluation: models by rows, measures by columns, groups of rows by exposure or scene."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hdrvid.evaluate.measures import MEASURES
from hdrvid.evaluate.results import CLASSES
from hdrvid.evaluate.tables import measure_digits, measure_of, ranks
from hdrvid.html.page import counted, number

Frame = Mapping[str, Any]
"""A scored frame: 'index', 'exposure', and a score or None by measure."""


@dataclass(frozen=True)
class EvaluatedModel:
    """A model, a baseline or predictions, as `results.json` has it."""

    name: str
    """Its name."""
    results: Mapping[str, Any]
    """`overall`, `by_exposure`, `scenes`, ..."""
    provenance: Mapping[str, Any]
    """Where its weights or files come from; empty for a baseline."""
    role: str
    """'model', 'baseline' or 'predictions'."""

    @property
    def kind(self) -> str:
        """CSS class of its lines and markers: 'model' or 'baseline'."""
        return "baseline" if self.role == "baseline" else "model"

    def scene(self, name: str) -> Mapping[str, Any]:
        """`overall`, `spread` and `frames` of a scene; empty where the model has no such scene."""
        entry: Mapping[str, Any] = self.results.get("scenes", {}).get(name, {})
        return entry

    def frames(self, scene: str | None = None, exposure: str | None = None) -> list[Frame]:
        """Scored frames, of one scene and of one exposure where these are given."""
        entries = self.results.get("scenes", {}).values() if scene is None else [self.scene(scene)]
        frames = [f for entry in entries for f in entry.get("frames", ())]
        return [f for f in frames if exposure is None or f["exposure"] == exposure]


def evaluated_models(results: Mapping[str, Any]) -> list[EvaluatedModel]:
    """The model of `results.json`, then what was scored beside it."""
    provenance = {k: v for k, v in results["model"].items() if k != "name"}
    others = results.get("baselines") or {}
    return [
        EvaluatedModel(str(results["model"]["name"]), results, provenance, "model"),
        *(
            EvaluatedModel(str(name), table, table.get("provenance") or {}, table.get("role", "baseline"))
            for name, table in others.items()
        ),
    ]


# ---- measures --------------------------------------------------------------------------------------------------------


def score_text(value: float | None, name: str) -> str:
    """A score with its unit."""
    unit = measure_of(name).unit
    return number(value, measure_digits(name)) + (f" {unit}" if unit and value is not None else "")


def direction_arrow(name: str) -> str:
    """'↑' where larger is better, '↓' where smaller is, '' where the measure is not known."""
    if name not in MEASURES:
        return ""
    return "↑" if MEASURES[name].larger_is_better else "↓"


def scores_of(frames: Iterable[Frame], name: str) -> list[float]:
    """Scores of the frames that have one."""
    return [float(value) for f in frames if (value := f.get(name)) is not None]


def first_measure(names: Iterable[str], rows: Sequence[Iterable[Frame]]) -> str | None:
    """The first measure of which any frame of any row has a score."""
    frames = [f for row in rows for f in row]
    return next((n for n in names if any(f.get(n) is not None for f in frames)), None)


# ---- tables ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """Head of a column of scores."""

    title: str
    """Name of the measure."""
    unit: str
    """Unit and direction."""


@dataclass(frozen=True)
class Cell:
    """A score, as printed."""

    mean: str
    """Mean, or the score of a frame."""
    spread: str
    """Standard deviation; empty where there is none."""
    is_best: bool
    """Whether no row of the group is better."""


@dataclass(frozen=True)
class Row:
    """Scores of a model."""

    model: str
    """Its name."""
    cells: tuple[Cell, ...]
    """A cell for every column."""


@dataclass(frozen=True)
class Group:
    """Rows that are compared with each other."""

    rows: tuple[Row, ...]
    """A row for every model."""
    name: str = ""
    """An exposure, a scene or 'all'; a table without groups has none."""
    frames: str = ""
    """Number of frames, in words."""
    exposure: str = ""
    """CSS class of the exposure; empty for all of them."""
    link: str = ""
    """Id of the section about it."""


@dataclass(frozen=True)
class ScoreTable:
    """A table of scores."""

    columns: tuple[Column, ...]
    """Measures."""
    groups: tuple[Group, ...]
    """In order."""
    group_title: str = ""
    """Head of the column of the names of the groups; without it there is no such column."""


@dataclass(frozen=True)
class _Scores:
    """Scores of a model before they are printed."""

    model: str
    means: Mapping[str, float | None]
    spreads: Mapping[str, float | None]


def columns_of(names: Iterable[str]) -> tuple[Column, ...]:
    """Heads of the columns of some measures."""
    return tuple(
        Column(measure_of(n).title, " ".join(filter(None, (measure_of(n).unit, direction_arrow(n))))) for n in names
    )


def exposure_table(models: Sequence[EvaluatedModel], names: Sequence[str]) -> ScoreTable:
    """Means over all frames, and over those of every exposure."""
    exposures = [c for c in CLASSES if any(c in m.results.get("by_exposure", {}) for m in models)]
    groups = [_exposure_group(models, names, exposure) for exposure in (None, *exposures)]
    return ScoreTable(columns_of(names), tuple(groups), "exposure")


def scene_table(models: Sequence[EvaluatedModel], names: Sequence[str], scenes: Sequence[str]) -> ScoreTable:
    """Means over the frames of every scene; scene number i is linked to 'scene-i'."""
    groups = []
    for i, scene in enumerate(scenes):
        scores = []
        for model in models:
            entry = model.scene(scene)
            spreads = _spreads(entry.get("spread"), model.frames(scene), names)
            scores.append(_Scores(model.name, entry.get("overall", {}), spreads))
        count = counted(len(models[0].frames(scene)), "frame")
        groups.append(Group(_rows(scores, names), scene, count, link=f"scene-{i}"))
    return ScoreTable(columns_of(names), tuple(groups), "scene")


def frame_table(scores: Mapping[str, Mapping[str, float | None]], names: Iterable[str]) -> ScoreTable | None:
    """Scores of one frame by model; None where none of the measures `names` is in them."""
    scored = [n for n in names if any(n in s for s in scores.values())]
    if not scored:
        return None
    rows = _rows([_Scores(model, values, {}) for model, values in scores.items()], scored)
    return ScoreTable(columns_of(scored), (Group(rows),))


def table_note(models: Sequence[EvaluatedModel], names: Iterable[str]) -> str:
    """What the figures and signs of the tables mean."""
    of_clip = [measure_of(n).title for n in names if measure_of(n).of_clip]
    notes = ["Mean ± standard deviation over frames" + (f"; {', '.join(of_clip)} over clips." if of_clip else ".")]
    notes.append("↑ larger is better, ↓ smaller is better.")
    if len(models) > 1:
        notes.append("Bold: best of the models.")
    notes.append("–: does not apply.")
    return " ".join(notes)


def _exposure_group(models: Sequence[EvaluatedModel], names: Sequence[str], exposure: str | None) -> Group:
    scores = []
    for model in models:
        results = model.results
        means = results["overall"] if exposure is None else results["by_exposure"].get(exposure, {})
        stored = results.get("spread") if exposure is None else None
        scores.append(_Scores(model.name, means, _spreads(stored, model.frames(exposure=exposure), names)))
    count = counted(max(len(m.frames(exposure=exposure)) for m in models), "frame")
    return Group(_rows(scores, names), exposure or "all", count, exposure or "")


def _spreads(
    stored: Mapping[str, Any] | None, frames: Sequence[Frame], names: Iterable[str]
) -> dict[str, float | None]:
    return {name: _spread(stored, frames, name) for name in names}


def _spread(stored: Mapping[str, Any] | None, frames: Sequence[Frame], name: str) -> float | None:
    """The standard deviation in the results, else that of the frames; None of a single score, which has none."""
    scores = scores_of(frames, name)
    if len(scores) == 1:
        return None
    if stored is not None and name in stored:
        # frames have no score in a measure of whole clips: 0 is the spread of a single clip
        return stored[name] if scores else stored[name] or None
    return float(np.std(scores)) if scores and all(map(math.isfinite, scores)) else None


def _rows(scores: Sequence[_Scores], names: Sequence[str]) -> tuple[Row, ...]:
    best = {name: _best([s.means.get(name) for s in scores], name) for name in names}
    return tuple(
        Row(s.model, tuple(_cell(s.means.get(n), s.spreads.get(n), n, i in best[n]) for n in names))
        for i, s in enumerate(scores)
    )


def _cell(mean: float | None, spread: float | None, name: str, is_best: bool) -> Cell:
    digits = measure_digits(name)
    return Cell(number(mean, digits), "" if spread is None else number(spread, digits), is_best)


def _best(values: Sequence[float | None], name: str) -> set[int]:
    """Rows with the best value as it is printed; none where all are equal or the measure is not known."""
    return {i for i, place in enumerate(ranks(values, name)) if place == 1}
