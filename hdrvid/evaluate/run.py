"""Scores of models on a dataset: scene by scene, resumable, a broken frame costs only itself.

A frame is reconstructed by every model in turn and scored at once; of a scene only a window of frames is in memory.
With an output folder every finished scene is kept there (`scenes/`), and the same command goes on behind the last one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from hdrvid import __version__, machine
from hdrvid.data.benchmarks import AlignedClip, Benchmark, EvalClip
from hdrvid.errors import HdrvidError, InputError, OutputError, UsageError
from hdrvid.evaluate.figure import crop_figure, figure_latex
from hdrvid.evaluate.measures import MEASURES, SceneScorer, Scores, checked_measures
from hdrvid.evaluate.predictions import PredictionError, Predictions, ScenePredictions, open_predictions, settle_scale
from hdrvid.evaluate.protocols import Protocol, find_protocol
from hdrvid.evaluate.results import PREDICTIONS_IN_LINE, csv_text, read_results, summary
from hdrvid.evaluate.samples import Sample, make_samples, read_samples
from hdrvid.evaluate.synthetic import SyntheticOptions
from hdrvid.evaluate.tables import latex_table, markdown_table
from hdrvid.io.atomic import atomic_path, make_folder
from hdrvid.io.json_files import read_object
from hdrvid.io.lock import folder_lock
from hdrvid.io.ownership import (
    OVERWRITE_ADVICE,
    PAGE,
    PAPER_TABLE,
    PICTURE,
    SCENE,
    SCORES,
    TABLE,
    Mark,
    is_own,
    replaceable_target,
)
from hdrvid.metrics.color_video_vdp import require_cvvdp
from hdrvid.options.evaluate import EvalOptions
from hdrvid.pictures import write_png
from hdrvid.predict.device import resolve_device
from hdrvid.predict.registry import load_reconstructor
from hdrvid.types import Reconstructor, Window

BASELINES = ("reference", "classical")
"""What `--baselines` scores beside the model: the reference frame alone, and the OpenCV pipeline."""

RESULT_FILES = {
    "results.json": SCORES,
    "results.csv": TABLE,
    "table.md": PAPER_TABLE,
    "table.tex": PAPER_TABLE,
    "figure.png": PICTURE,
    "figure.tex": PAPER_TABLE,
    "times.svg": PAPER_TABLE,
    "report.html": PAGE,
}
"""What an evaluation writes into its folder, beside what it needs to go on, and how its own files are told."""

PageWriter = Callable[[Mapping[str, Any], Sequence[Sample]], str]
"""Makes a page of what `results.json` holds and of the frames to be shown."""

PlotWriter = Callable[[Mapping[str, Any]], str | None]
"""Makes a drawing of what `results.json` holds; None where there is nothing to draw."""


@dataclass(frozen=True)
class FrameResult:
    """One frame of one clip, for callers that look at pictures."""

    scene: str
    """Name of the clip."""
    index: int
    """Frame."""
    model: str
    """Name of the model."""
    ldr: np.ndarray
    """(H, W, 3) the reference frame, network code."""
    estimate: np.ndarray
    """(H, W, 3) radiance as it was scored."""
    truth: np.ndarray | None
    """(H, W, 3) radiance; None where the dataset has none."""
    scores: Scores
    """The measures asked for."""


class _Frames:
    """Frames and truth of a clip, each read once; the last few are kept."""

    def __init__(self, clip: EvalClip) -> None:
        self.clip = clip
        self._ldr: dict[int, np.ndarray] = {}
        self._truth: dict[int, np.ndarray | None] = {}

    def ldr(self, index: int) -> np.ndarray:
        return self._get(self._ldr, index, self.clip.ldr)

    def truth(self, index: int) -> np.ndarray | None:
        return self._get(self._truth, index, self.clip.truth)

    def _get(self, kept: dict[int, Any], index: int, read: Callable[[int], Any]) -> Any:
        if index not in kept:
            kept[index] = read(index)
            # 3-exposure windows at the ends of a clip reach 3 frames back
            while len(kept) > 2 * (self.clip.cycle.window_radius + 2):
                kept.pop(next(iter(kept)))
        return kept[index]

    def window(self, index: int) -> Window:
        indices = self.clip.cycle.window_indices(index, self.clip.num_frames)
        frames = tuple(self.ldr(i) for i in indices)
        if len({f.shape for f in frames}) > 1:
            raise InputError(f"the frames of {self.clip.name} around {index} differ in size: all must be equal")
        if isinstance(self.clip, AlignedClip):
            frames = tuple(self.clip.aligned(f, i, index) for f, i in zip(frames, indices, strict=True))
        exposures = tuple(self.clip.cycle.exposure_at(i) for i in indices)
        return Window(index, frames, exposures, black=self.clip.black)


def evaluate(
    data: SyntheticOptions | Benchmark,
    options: EvalOptions | None = None,
    *,
    out: Path | None = None,
    page: PageWriter | None = None,
    plot: PlotWriter | None = None,
    on_frame: Callable[[FrameResult], None] | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Score a model, and what is asked for beside it, on a dataset. Returns what `results.json` holds.

    `out`: the folder for `results.json`, tables, `figure.png` and what is needed to go on after an interruption. `page`
    makes the text of `report.html` in that folder, for instance `hdrvid.html.evaluation_page.report_html`, and `plot`
    that of `times.svg`, `hdrvid.html.evaluation_times.times_svg`; without them none is written. `on_frame` gets every
    frame that is reconstructed; `on_progress` gets frames done, frames in all and the name of the scene.

    A frame or scene that cannot be scored is listed under `failures` and left out of the means. Raises UsageError,
    ModelError and OutputError, and InputError where nothing at all could be scored or a prediction is missing or bad.
    """
    options = options or EvalOptions()
    rules = find_protocol(options.protocol)
    bench = data.benchmark() if isinstance(data, SyntheticOptions) else data
    has_truth = _has_truth(bench)
    names = checked_measures(options.metrics, has_truth)
    if "cvvdp" in names:
        require_cvvdp()
    models = _loaded_models(options, bench)
    model = models[options.models[0]]
    predictions = open_predictions(options, bench, {r.name for r in models.values()}, has_truth)
    line = _protocol_line(bench, rules, has_truth, predictions)
    if out is not None and not options.overwrite:
        _keep_other_files(out, len(bench.clips))
        _keep_other_results(out, line, model.name)
    with nullcontext() if out is None else folder_lock(out, "eval", ("scenes", "pictures")):
        store = None if out is None else _Store(out, _settings(options, bench, names, models))
        run = _Run(bench, options, names, rules, (models, predictions), store)
        run.score(on_frame, on_progress)
        results = _results(run, line)
        if store:
            store.write_results(results, run.samples, page, plot)
    return results


def _protocol_line(bench: Benchmark, rules: Protocol, has_truth: bool, predictions: Sequence[Predictions]) -> str:
    """What is to be quoted with the scores."""
    line = f"hdrvid {__version__} {bench.name}: {bench.description}; protocol {rules.name}: {rules.description}"
    line = line if has_truth else f"{line}; NO GROUND TRUTH: nothing here is a fidelity"
    if not predictions:
        return line
    listed = ", ".join(p.description() for p in predictions)
    return f"{line}{PREDICTIONS_IN_LINE}{listed}; Rec. 709, negative values 0, 1 = clipping of the shortest exposure"


def _results(run: _Run, protocol: str) -> dict[str, Any]:
    """What `results.json` holds. Raises InputError where nothing could be scored."""
    bench, models = run.bench, run.models
    lead, *others = models
    if not run.scenes:
        raise InputError(f"no frame of dataset {bench.name} could be scored: {run.failures[0]['error']}")
    beside: dict[str, Any] = {}
    for key in others:
        role = "baseline" if key in BASELINES else "model"
        facts = {"role": role, "provenance": models[key].provenance}
        beside[models[key].name] = summary(run.scenes, key, run.names) | facts
    for p in run.predictions:
        facts = {"role": "predictions", "provenance": p.facts()}
        beside[p.name] = summary(run.scenes, p.name, run.names) | facts
        for name, scene in run.scenes.items():
            beside[p.name]["scenes"][name]["scale"] = scene["predictions"][p.name]["scale"]
    facts = machine.machine_facts(resolve_device(run.options.device))
    versions = {name: facts.pop(name) for name in machine.versions()}
    return {
        "format": 1,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "dataset": bench.name,
        "protocol": protocol,
        "machine": facts,
        "versions": versions,
        "model": {"name": models[lead].name, **models[lead].provenance},
        **summary(run.scenes, lead, run.names),
        "baselines": beside,
        "warnings": run.warnings,
        "failures": run.failures,
    }


def _loaded_models(options: EvalOptions, bench: Benchmark) -> dict[str, Reconstructor]:
    """The models, the one the report is about first, and the baselines, for the number of exposures of the dataset."""
    cycles = {len(clip.cycle) for clip in bench.clips}
    if len(cycles) != 1:
        raise InputError(f"dataset {bench.name} has no scenes, or scenes with 2 and with 3 exposures: score them apart")
    twice = [name for name, count in Counter(clip.name for clip in bench.clips).items() if count > 1]
    if twice:
        raise InputError(f"dataset {bench.name} has two scenes of the name {twice[0]}: rename one")
    n = cycles.pop()
    models: dict[str, Reconstructor] = {
        name: load_reconstructor(name, n, device=options.device, precision=options.precision) for name in options.models
    }
    if options.baselines:
        models |= {b: load_reconstructor(b, n, device=options.device) for b in BASELINES if b not in models}
    same = [name for name, count in Counter(r.name for r in models.values()).items() if count > 1]
    if same:
        raise UsageError(f"--model names two models that are both called {same[0]}: rename one of the files")
    return models


def _settings(
    options: EvalOptions, bench: Benchmark, names: tuple[str, ...], models: dict[str, Reconstructor]
) -> dict[str, Any]:
    """What decides the scores and times of a scene, but for files of predictions."""
    return {
        "version": __version__,
        "dataset": bench.name,
        "root": str(bench.root.resolve()),
        "description": bench.description,
        "protocol": options.protocol,
        "metrics": names,
        "models": {key: r.provenance.get("sha256", r.name) for key, r in models.items()},
        "precision": options.precision,
        "device": options.device,
        "processor": machine.processor_name(),
    }


class _Run:
    """The scenes of a dataset, scored one after another."""

    def __init__(
        self,
        bench: Benchmark,
        options: EvalOptions,
        names: tuple[str, ...],
        rules: Protocol,
        results_of: tuple[dict[str, Reconstructor], Sequence[Predictions]],
        store: _Store | None,
    ) -> None:
        self.bench, self.options, self.names, self.rules = bench, options, names, rules
        self.models, self.predictions = results_of
        self.store = store
        self.scenes: dict[str, dict[str, Any]] = {}
        """Scenes with a frame that was scored, by name."""
        self.failures: list[dict[str, Any]] = [{"scene": None, "frame": None, "error": text} for text in bench.missing]
        self.warnings: list[str] = []
        self.samples: list[Sample] = []

    def score(
        self,
        on_frame: Callable[[FrameResult], None] | None,
        on_progress: Callable[[int, int, str], None] | None,
    ) -> None:
        """Score every scene, or take what an earlier run has kept of it."""
        clips = self.bench.clips
        total, done = sum(len(clip.scored) for clip in clips), 0
        with ThreadPoolExecutor(max(1, min(len(self.models), os.cpu_count() or 1))) as pool:
            for number, clip in enumerate(clips):

                def report(frames: int, name: str = clip.name, before: int = done) -> None:
                    if on_progress:
                        on_progress(before + frames, total, name)

                files = {p.name: f"{p.scale} {p.scenes[clip.name].fingerprint()}" for p in self.predictions}
                keep = self.store is not None and not self.options.overwrite
                scene = self.store.finished(number, clip.name, files) if self.store and keep else None
                if scene is None:
                    models, facts = self._settled(clip, files)
                    scene = _score_scene(clip, models, self.names, self.rules, pool, on_frame, report)
                    scene["predictions"] = facts
                    self._keep(number, clip, models, scene)
                report(len(clip.scored))
                done += len(clip.scored)
                self._add(number, clip, scene)

    def _settled(
        self, clip: EvalClip, files: Mapping[str, str]
    ) -> tuple[dict[str, Reconstructor], dict[str, dict[str, Any]]]:
        """Models and predictions of a scene, the scale of these settled, and facts of the predictions by name."""
        models, facts = dict(self.models), {}
        for p in self.predictions:
            scene = p.scenes[clip.name]
            warning = settle_scale(scene, p.scale, clip, clip.truth)
            models[p.name] = scene
            facts[p.name] = {"files": files[p.name], "scale": scene.factor, "warning": warning}
        return models, facts

    def _keep(self, number: int, clip: EvalClip, models: dict[str, Reconstructor], scene: dict[str, Any]) -> None:
        """Write a scene and pictures of it into the output folder."""
        if self.store:
            frames, pictures = _Frames(clip), self.store.pictures(number)
            lead = next(iter(models))
            scene["samples"] = make_samples(frames.window, frames.truth, models, lead, scene["frames"], pictures)
            self.store.keep(number, clip.name, scene)

    def _add(self, number: int, clip: EvalClip, scene: dict[str, Any]) -> None:
        self.failures += scene["failures"]
        self.warnings += [p["warning"] for p in scene["predictions"].values() if p["warning"]]
        if any(scene["frames"].values()):
            self.scenes[clip.name] = scene
            if self.store:
                self.samples += read_samples(clip.name, scene["samples"], self.store.pictures(number))


def _keep_other_files(out: Path, num_scenes: int) -> None:
    """Raise OutputError where a file that an evaluation would write is there and is none of an evaluation."""
    marks: dict[Path, Mark] = {out / name: mark for name, mark in RESULT_FILES.items()}
    for number in range(num_scenes):
        marks[out / "scenes" / f"{number:04d}.json"] = SCENE
        folder = out / "pictures" / f"{number:04d}"
        marks |= {path: PICTURE for path in folder.glob("*.png") if re.fullmatch(r"\d{6}\.\d+\.png", path.name)}
    for path, mark in marks.items():
        replaceable_target(path, mark, OVERWRITE_ADVICE)


def _keep_other_results(out: Path, protocol: str, model: str) -> None:
    """Raise OutputError where a folder holds results of another dataset, protocol or model."""
    path = out / "results.json"
    try:
        before = read_results(path)
    except InputError:
        return  # none, or nothing to lose
    what = (
        f"of model {before['model']['name']}, not {model}"
        if before["model"]["name"] != model
        else f'of "{before["protocol"]}"'
        if before["protocol"] != protocol
        else None
    )
    if what:
        raise OutputError(f"{path} holds results {what}: choose another folder with --out, or give --overwrite")


def _has_truth(bench: Benchmark) -> bool:
    """Whether the dataset has ground truth, damaged or not."""
    for clip in bench.clips[:1]:
        try:
            return clip.truth(clip.scored[0]) is not None
        except (HdrvidError, OSError):
            return True
    return False


def _score_scene(
    clip: EvalClip,
    models: dict[str, Reconstructor],
    names: tuple[str, ...],
    rules: Protocol,
    pool: ThreadPoolExecutor,
    on_frame: Callable[[FrameResult], None] | None,
    report: Callable[[int], None],
) -> dict[str, Any]:
    """Frames (`frames`), figures of the whole clip (`clip`) and seconds a frame by model; `failures`."""
    frames = _Frames(clip)
    scorer = SceneScorer(clip, frames.ldr, frames.truth, names, rules, tuple(models), pool)
    rows: dict[str, list[dict[str, Any]]] = {m: [] for m in models}
    seconds: dict[str, list[float]] = {m: [] for m in models}
    failures: list[dict[str, Any]] = []
    for count, index in enumerate(clip.scored, 1):
        try:
            window = frames.window(index)
            results = {}
            for name, reconstructor in models.items():
                started = time.perf_counter()
                results[name] = reconstructor.reconstruct(window, diagnostics=scorer.wants_flow)
                seconds[name].append(time.perf_counter() - started)
            for name, (estimate, scores) in scorer.add(window, results).items():
                rows[name].append({"index": index, "exposure": clip.cycle.class_at(index), **scores})
                if on_frame:
                    truth = frames.truth(index)
                    on_frame(FrameResult(clip.name, index, name, window.reference, estimate, truth, scores))
        except PredictionError:
            raise
        except (HdrvidError, OSError) as error:
            failures.append({"scene": clip.name, "frame": index, "error": str(error)})
        report(count)
    try:
        of_clip = scorer.clip_scores()
    except HdrvidError as error:
        failures.append({"scene": clip.name, "frame": None, "error": str(error)})
        of_clip = {m: {n: None for n in names if MEASURES[n].of_clip} for m in models}
    # the first frame warms up; reading a file is no time of a model
    means = {
        m: float(np.mean(s[1:] or s)) if s and not isinstance(models[m], ScenePredictions) else None
        for m, s in seconds.items()
    }
    return {"frames": rows, "clip": of_clip, "seconds": means, "failures": failures}


class _Store:
    """The output folder: finished scenes that are used again where the settings are the same."""

    def __init__(self, out: Path, settings: dict[str, Any]) -> None:
        self.out = out
        self.key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        for folder in (out, out / "scenes", out / "pictures"):
            make_folder(folder)

    def pictures(self, number: int) -> Path:
        """Folder of the pictures of a scene, made where it is missing."""
        return make_folder(self.out / "pictures" / f"{number:04d}")

    def finished(self, number: int, name: str, files: Mapping[str, str]) -> dict[str, Any] | None:
        """The scene as an earlier run scored it, with the same settings, the same `files` of predictions, and without a
        failure.
        """
        try:
            kept = read_object(self.out / "scenes" / f"{number:04d}.json", "a scored scene")
            before = {p: facts["files"] for p, facts in kept["scores"]["predictions"].items()}
            same = kept["key"] == self.key and kept["scene"] == name and before == files
            if same and not kept["scores"]["failures"]:
                return kept["scores"]
        except (InputError, KeyError, TypeError, AttributeError):
            pass
        return None

    def keep(self, number: int, name: str, scene: dict[str, Any]) -> None:
        """Remember a scene that is done."""
        self.write(f"scenes/{number:04d}.json", json.dumps({"key": self.key, "scene": name, "scores": scene}))

    def write_results(
        self,
        results: dict[str, Any],
        samples: Sequence[Sample],
        page: PageWriter | None,
        plot: PlotWriter | None,
    ) -> None:
        """The files of RESULT_FILES; own ones of an earlier run that do not apply any more are removed."""
        figure = crop_figure(results, samples)
        texts = {
            "results.json": json.dumps(results, indent=2, allow_nan=False),
            "results.csv": csv_text(results),
            "table.md": markdown_table(results),
            "table.tex": latex_table(results),
            "figure.tex": None if figure is None else figure_latex(figure.caption),
            "times.svg": None if plot is None else plot(results),
            "report.html": None if page is None else page(results, samples),
        }
        for name, text in texts.items():
            if text is not None:
                self.write(name, text)
        if figure is not None:
            write_png(self.out / "figure.png", figure.picture)
        present = {name for name, text in texts.items() if text is not None} | ({"figure.png"} if figure else set())
        for name, mark in RESULT_FILES.items():
            if name not in present and is_own(self.out / name, mark):
                (self.out / name).unlink(missing_ok=True)

    def write(self, name: str, text: str) -> None:
        """A file of the folder, complete or not at all."""
        with atomic_path(self.out / name) as path:
            path.write_text(text, encoding="utf-8")
