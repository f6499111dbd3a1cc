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
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hdrvid import __version__
from hdrvid.data.benchmarks import AlignedClip, Benchmark, EvalClip
from hdrvid.errors import HdrvidError, InputError, OutputError
from hdrvid.evaluate.measures import MEASURES, SceneScorer, Scores, checked_measures
from hdrvid.evaluate.protocols import Protocol, find_protocol
from hdrvid.evaluate.results import csv_text, read_results, summary
from hdrvid.evaluate.samples import Sample, make_samples, read_samples
from hdrvid.evaluate.synthetic import SyntheticOptions
from hdrvid.io.atomic import atomic_path, make_folder
from hdrvid.io.json_files import read_object
from hdrvid.io.lock import folder_lock
from hdrvid.io.ownership import OVERWRITE_ADVICE, PAGE, PICTURE, SCENE, SCORES, TABLE, Mark, replaceable_target
from hdrvid.metrics.color_video_vdp import require_cvvdp
from hdrvid.options.evaluate import EvalOptions
from hdrvid.predict.registry import load_reconstructor
from hdrvid.types import Reconstructor, Window

BASELINES = ("reference", "classical")
"""What `--baselines` scores beside the model: the reference frame alone, and the OpenCV pipeline."""

RESULT_FILES = {"results.json": SCORES, "results.csv": TABLE, "report.html": PAGE}
"""What an evaluation writes into its folder, beside what it needs to go on, and how its own files are told."""

PageWriter = Callable[[Mapping[str, Any], Sequence[Sample]], str]
"""Makes a page of what `results.json` holds and of the frames to be shown."""


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
    on_frame: Callable[[FrameResult], None] | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Score a model, and the baselines beside it, on a dataset. Returns what `results.json` holds.

    `out`: the folder for `results.json`, `results.csv` and what is needed to go on after an interruption. `page` makes
    the text of `report.html` in that folder, for instance `hdrvid.html.evaluation_page.report_html`; without it none is
    written. `on_frame` gets every frame that is reconstructed; `on_progress` gets frames done, frames in all and the
    name of the scene.

    A frame or scene that cannot be scored is listed under `failures` and left out of the means. Raises UsageError,
    ModelError and OutputError, and InputError where nothing at all could be scored.
    """
    options = options or EvalOptions()
    rules = find_protocol(options.protocol)
    bench = data.benchmark() if isinstance(data, SyntheticOptions) else data
    has_truth = _has_truth(bench)
    names = checked_measures(options.metrics, has_truth)
    if "cvvdp" in names:
        require_cvvdp()
    models = _loaded_models(options, bench)
    model = models[options.model]
    line = f"hdrvid {__version__} {bench.name}: {bench.description}; protocol {rules.name}: {rules.description}"
    line = line if has_truth else f"{line}; NO GROUND TRUTH: nothing here is a fidelity"
    if out is not None and not options.overwrite:
        _keep_other_files(out, len(bench.clips))
        _keep_other_results(out, line, model.name)
    with nullcontext() if out is None else folder_lock(out, "eval", ("scenes", "pictures")):
        store = None if out is None else _Store(out, _settings(options, bench, names, models))
        run = _Run(bench, options, names, rules, models, store)
        run.score(on_frame, on_progress)
        results = _results(run, line)
        if store:
            store.write("results.json", json.dumps(results, indent=2, allow_nan=False))
            store.write("results.csv", csv_text(results))
            if page is not None:
                store.write("report.html", page(results, run.samples))
    return results


def _results(run: _Run, protocol: str) -> dict[str, Any]:
    """What `results.json` holds. Raises InputError where nothing could be scored."""
    bench, options, models = run.bench, run.options, run.models
    model = models[options.model]
    if not run.scenes:
        raise InputError(f"no frame of dataset {bench.name} could be scored: {run.failures[0]['error']}")
    tables = {name: summary(run.scenes, name, run.names) for name in models}
    return {
        "format": 1,
        "dataset": bench.name,
        "protocol": protocol,
        "model": {"name": model.name, **model.provenance},
        **tables[options.model],
        "baselines": {name: tables[name] for name in models if name != options.model},
        "failures": run.failures,
    }


def _loaded_models(options: EvalOptions, bench: Benchmark) -> dict[str, Reconstructor]:
    """The model and the baselines, by name, for the number of exposures of the dataset."""
    cycles = {len(clip.cycle) for clip in bench.clips}
    if len(cycles) != 1:
        raise InputError(f"dataset {bench.name} has no scenes, or scenes with 2 and with 3 exposures: score them apart")
    n = cycles.pop()
    model = load_reconstructor(options.model, n, device=options.device, precision=options.precision)
    models: dict[str, Reconstructor] = {options.model: model}
    if options.baselines:
        models |= {b: load_reconstructor(b, n, device=options.device) for b in BASELINES if b != options.model}
    return models


def _settings(
    options: EvalOptions, bench: Benchmark, names: tuple[str, ...], models: dict[str, Reconstructor]
) -> dict[str, Any]:
    """What decides the scores of a scene."""
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
    }


class _Run:
    """The scenes of a dataset, scored one after another."""

    def __init__(
        self,
        bench: Benchmark,
        options: EvalOptions,
        names: tuple[str, ...],
        rules: Protocol,
        models: dict[str, Reconstructor],
        store: _Store | None,
    ) -> None:
        self.bench, self.options, self.names, self.rules = bench, options, names, rules
        self.models, self.store = models, store
        self.scenes: dict[str, dict[str, Any]] = {}
        """Scenes with a frame that was scored, by name."""
        self.failures: list[dict[str, Any]] = [{"scene": None, "frame": None, "error": text} for text in bench.missing]
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

                scene = self.store.finished(number, clip.name) if self.store and not self.options.overwrite else None
                if scene is None:
                    scene = _score_scene(clip, self.models, self.names, self.rules, pool, on_frame, report)
                    self._keep(number, clip, scene)
                report(len(clip.scored))
                done += len(clip.scored)
                self._add(number, clip, scene)

    def _keep(self, number: int, clip: EvalClip, scene: dict[str, Any]) -> None:
        """Write a scene and pictures of it into the output folder."""
        if self.store:
            frames, pictures = _Frames(clip), self.store.pictures(number)
            scene["samples"] = make_samples(
                frames.window, frames.truth, self.models, self.options.model, scene["frames"], pictures
            )
            self.store.keep(number, clip.name, scene)

    def _add(self, number: int, clip: EvalClip, scene: dict[str, Any]) -> None:
        self.failures += scene["failures"]
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
        except (HdrvidError, OSError) as error:
            failures.append({"scene": clip.name, "frame": index, "error": str(error)})
        report(count)
    try:
        of_clip = scorer.clip_scores()
    except HdrvidError as error:
        failures.append({"scene": clip.name, "frame": None, "error": str(error)})
        of_clip = {m: {n: None for n in names if MEASURES[n].of_clip} for m in models}
    means = {m: float(np.mean(s)) if s else None for m, s in seconds.items()}
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

    def finished(self, number: int, name: str) -> dict[str, Any] | None:
        """The scene as an earlier run scored it, if it did so with the same settings and without a failure."""
        try:
            kept = read_object(self.out / "scenes" / f"{number:04d}.json", "a scored scene")
            if kept["key"] == self.key and kept["scene"] == name and not kept["scores"]["failures"]:
                return kept["scores"]
        except (InputError, KeyError, TypeError):
            pass
        return None

    def keep(self, number: int, name: str, scene: dict[str, Any]) -> None:
        """Remember a scene that is done."""
        self.write(f"scenes/{number:04d}.json", json.dumps({"key": self.key, "scene": name, "scores": scene}))

    def write(self, name: str, text: str) -> None:
        """A file of the folder, complete or not at all."""
        with atomic_path(self.out / name) as path:
            path.write_text(text, encoding="utf-8")
