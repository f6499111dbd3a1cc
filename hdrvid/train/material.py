"""What a run trains and validates on: labelled shots, unlabelled clips, validation windows, all brought into caches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hdrvid.data.layouts import (
    HdrWindow,
    Sources,
    fewshot_trial,
    resolve_shots,
    training_sources,
    unlabelled_windows,
    validation_shots,
)
from hdrvid.data.windows import (
    PATCH_GRID,
    PROCEDURAL,
    CacheOptions,
    LdrCacheOptions,
    build_cache,
    build_ldr_cache,
)
from hdrvid.errors import InputError
from hdrvid.options.train import TrainOptions

NUM_VALIDATION = 24
"""Validation windows where the memo's own are not at hand."""
MEMO_SHOTS = 5
PATCHES = PATCH_GRID[0] * PATCH_GRID[1]
_UNLABELLED_SEED = 10_007
_VALIDATION_SEED = 777


@dataclass(frozen=True)
class Material:
    """Folders of the caches."""

    labelled: Path
    """HDR windows to train on."""
    unlabelled: Path | None
    """LDR windows of few-shot training."""
    validation: Path
    """HDR windows that training does not see."""
    num_validation: int
    """Windows of the last."""


@dataclass(frozen=True)
class Plan:
    """What the caches will hold; nothing is rendered or read yet."""

    labelled: CacheOptions
    """Windows to train on."""
    validation: CacheOptions
    """Windows to validate on."""
    unlabelled: LdrCacheOptions | None
    """Windows without truth."""


def plan(options: TrainOptions) -> Plan:
    """Find everything that a run needs. Raises InputError with one list of what is missing."""
    roots = [Path(d) for d in options.data]
    everything = training_sources(roots) if roots else Sources((), ())
    sources = everything.without(options.hold_out)
    windows, pictures = sources.windows, (*sources.pictures, PROCEDURAL)
    size, share = options.window_size, options.procedural_share
    validation = _held_out(options, everything, pictures)
    if options.few_shot and windows:
        if _is_memo_trial(options, everything):
            windows_of = resolve_shots(roots, (*fewshot_trial(options.trial), *validation_shots()))
            files = tuple(w for shot in fewshot_trial(options.trial) for w in windows_of[shot])
            check = tuple(w for shot in validation_shots() for w in windows_of[shot])
            validation = CacheOptions(0, size, options.seed + _VALIDATION_SEED, (), 0.0, 0, files=check)
        else:
            files = _drawn_shots(windows, options)
        labelled = CacheOptions(0, size, options.seed, (), 0.0, 0, files=files)
    elif options.few_shot:
        seed = options.seed + 101 * options.trial
        labelled = CacheOptions(options.shots * PATCHES, size, seed, pictures, share, patches=True)
    else:
        count = options.windows if len(pictures) > 1 or not windows else round(options.windows * share)
        rng = np.random.default_rng([options.seed, 3])
        picked = tuple(windows[i] for i in rng.permutation(len(windows))[: options.windows])
        labelled = CacheOptions(count, size, options.seed, pictures, share, files=picked)
    unlabelled = None
    if options.uses_unlabelled:
        seed = options.seed + _UNLABELLED_SEED
        if options.unlabelled:
            clips = unlabelled_windows([Path(d) for d in options.unlabelled])
            fitting = tuple(w for w in clips if w.num_exposures == options.num_exposures)
            if not fitting:
                raise InputError(
                    f"none of the {len(clips)} unlabelled windows alternates {options.num_exposures} exposures: "
                    "give --cycle the number that they have"
                )
            order = np.random.default_rng([options.seed, 5]).permutation(len(fitting))[: options.windows]
            some = tuple(fitting[i] for i in sorted(order))
            unlabelled = LdrCacheOptions(0, size, seed, options.num_exposures, (), 0.0, some)
        else:
            unlabelled = LdrCacheOptions(options.windows, size, seed, options.num_exposures, pictures, share)
    return Plan(labelled, validation, unlabelled)


def prepare(
    planned: Plan,
    folder: Path,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> Material:
    """Build the caches below `folder`; `progress` gets windows done and windows in all of the one being built, and
    `on_warning` a sentence where one is damaged."""
    validation = folder.with_name(folder.name + "-validation")
    build_cache(folder, planned.labelled, workers, progress, on_warning)
    build_cache(validation, planned.validation, workers, None, on_warning)
    unlabelled = None
    if planned.unlabelled:
        unlabelled = folder.with_name(folder.name + "-unlabelled")
        build_ldr_cache(unlabelled, planned.unlabelled, workers, progress, on_warning)
    return Material(folder, unlabelled, validation, planned.validation.rows)


def _held_out(options: TrainOptions, everything: Sources, pictures: tuple[str, ...]) -> CacheOptions:
    """Windows of scenes that training does not see: the held-out pictures, or other seeds of the same sources."""
    images = tuple(p for p in everything.pictures if Path(p).stem in set(options.hold_out))
    sources = (*images, PROCEDURAL) if images else pictures
    share = options.procedural_share
    return CacheOptions(NUM_VALIDATION, options.window_size, options.seed + _VALIDATION_SEED, sources, share)


def _is_memo_trial(options: TrainOptions, everything: Sources) -> bool:
    """Whether the shots are the memo's own: five, two exposures, and the data holds frames of its sets."""
    if options.shots != MEMO_SHOTS or options.num_exposures != 2:
        return False
    wanted = {s.scene for s in (*fewshot_trial(options.trial), *validation_shots())}
    return any(w.scene in wanted for w in everything.windows)


def _drawn_shots(windows: tuple[HdrWindow, ...], options: TrainOptions) -> tuple[HdrWindow, ...]:
    """All patches of `shots` windows, drawn by seed and trial."""
    groups: dict[tuple[str, str], list[HdrWindow]] = {}
    for w in windows:
        shot = w.name.rsplit("_", 1)[0] if w.patch is not None else w.name
        groups.setdefault((w.scene, shot), []).append(w)
    if len(groups) < options.shots:
        raise InputError(
            f"the labelled data holds {len(groups)} windows, not {options.shots}: give --shots {len(groups)} or less"
        )
    keys = sorted(groups)
    rng = np.random.default_rng([options.seed, options.trial, 4])
    return tuple(w for i in sorted(rng.permutation(len(keys))[: options.shots]) for w in groups[keys[i]])
