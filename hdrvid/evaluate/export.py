"""The frames of a dataset for other programs, in the layout of HDR_Synthetic_Test_Dataset (Chen et al., ICCV 2021).

    scenes_2expo.txt                    names of the scenes, one a line (scenes_3expo.txt of three exposures)
    Images/<scene>/img_list.txt         names of the frames, one a line
    Images/<scene>/Exposures.txt        stops of one cycle, one a line, the shortest exposure 0
    Images/<scene>/input_exp.txt        name and stops of every frame
    Images/<scene>/<name>.tif           16 bits a channel, RGB, code: clip(radiance x 2^stops, 0, 1) ^ (1 / 2.2)
    Images/<scene>/<name>.hdr           the truth of scored frames where it is asked for, 1 = shortest exposure clips
    inputs.json                         what was exported: the dataset, the frames that are scored

The loaders of DeepHDRVideo and HDRFlow (which wants the truth) read it, and so does `hdrvid eval --dataset cinematic`.
Results with the names of the frames, or one for each, are what `--predictions` takes. 8-bit codes are exact in 16 bits.
Truth in .hdr has 8 bits of mantissa; `--predictions` is scored by the truth itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hdrvid import __version__
from hdrvid.data.benchmarks import Benchmark, EvalClip, frame_names, printable
from hdrvid.errors import InputError, OutputError, UsageError
from hdrvid.io.atomic import atomic_path, make_folder
from hdrvid.io.hdr import write_hdr
from hdrvid.io.json_files import read_object
from hdrvid.io.lock import folder_lock

INDEX = "inputs.json"
"""Written first and last: a folder with it was made by an export."""


def export_inputs(
    bench: Benchmark,
    out: Path,
    *,
    with_truth: bool = False,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Write the frames of a dataset into the folder `out`; returns what `inputs.json` holds.

    `with_truth` writes that of the scored frames too. `on_progress` gets frames done, frames in all and the name of the
    scene. The same export again replaces what it wrote. Raises UsageError for a truth that the dataset does not have,
    InputError where frames are damaged or scenes missing, and OutputError where `out` holds something else.
    """
    cycles = {len(clip.cycle) for clip in bench.clips}
    if len(cycles) != 1:
        raise InputError(
            f"dataset {bench.name} has no scenes, or scenes with 2 and with 3 exposures: export them apart"
        )
    if bench.missing:
        raise InputError(f"{bench.missing[0]}: an export has every scene; get it again, or take it from the list")
    if with_truth and bench.clips[0].truth(bench.clips[0].scored[0]) is None:
        raise UsageError(f"--export-truth: {bench.name} has no ground truth: leave the option out")
    for clip in bench.clips:
        if any(re.search(r"\s", name) for name in frame_names(clip)):
            raise InputError(
                f"frames of {printable(clip.name)} have spaces in their names, where other programs split lists: "
                "rename them"
            )
    facts = _facts(bench, with_truth)
    _require_own(out, facts)
    number = cycles.pop()
    total, done = sum(clip.num_frames for clip in bench.clips), 0
    with folder_lock(out, "eval", [f"Images/{clip.name}" for clip in bench.clips]):
        _write_text(out / INDEX, json.dumps({**facts, "complete": False}, indent=2))
        for clip in bench.clips:
            for index in range(clip.num_frames):
                _write_frame(out / "Images" / clip.name, clip, index, with_truth)
                done += 1
                if on_progress:
                    on_progress(done, total, clip.name)
            _write_lists(out / "Images" / clip.name, clip)
        _write_text(out / f"scenes_{number}expo.txt", _lines([clip.name for clip in bench.clips]))
        facts["complete"] = True
        _write_text(out / INDEX, json.dumps(facts, indent=2))
    return facts


def _facts(bench: Benchmark, with_truth: bool) -> dict[str, Any]:
    return {
        "hdrvid_export": 1,
        "version": __version__,
        "dataset": bench.name,
        "description": bench.description,
        "code": "gamma 2.2, 16 bit",
        "truth": "hdr, 1 = clipping of the shortest exposure" if with_truth else None,
        "scenes": {
            clip.name: {
                "stops": list(clip.cycle.stops),
                "frames": list(frame_names(clip)),
                "scored": list(clip.scored),
            }
            for clip in bench.clips
        },
    }


def _require_own(out: Path, facts: dict[str, Any]) -> None:
    """Raise OutputError unless `out` is empty or not there, or holds an export of the same frames."""
    try:
        empty = not out.exists() or not any(out.iterdir())
    except OSError as error:
        raise OutputError(f"cannot write to {out}: {error.strerror or error}: choose another folder") from error
    if empty:
        return
    try:
        before = read_object(out / INDEX, "the list of an export")
    except InputError as error:
        raise OutputError(
            f"{out} holds files that no export of hdrvid has written: choose an empty folder for --export-inputs"
        ) from error
    same = ("hdrvid_export", "dataset", "description", "truth", "scenes")
    if before.get("truth") != facts["truth"] and all(before.get(key) == facts[key] for key in same if key != "truth"):
        kind = "with" if before.get("truth") else "without"
        raise OutputError(f"{out} holds these frames {kind} their truth: choose another folder, or remove it first")
    if any(before.get(key) != facts[key] for key in same):
        raise OutputError(f"{out} holds an export of other frames: choose another folder, or remove it first")


def _write_frame(folder: Path, clip: EvalClip, index: int, with_truth: bool) -> None:
    name = frame_names(clip)[index]
    code = clip.ldr(index)
    stored = np.rint(np.clip(code[..., ::-1], 0.0, 1.0) * 65535).astype(np.uint16)
    make_folder(folder)
    with atomic_path(folder / f"{name}.tif") as partial:
        plain = [cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_NONE]  # not every reader has LZW
        partial.write_bytes(cv2.imencode(".tif", stored, plain)[1].tobytes())
    if with_truth and index in clip.scored:
        truth = clip.truth(index)
        if truth is None:
            raise InputError(f"frame {index} of {printable(clip.name)} has no truth: get the scene again")
        write_hdr(folder / f"{name}.hdr", truth)


def _write_lists(folder: Path, clip: EvalClip) -> None:
    names = frame_names(clip)
    stops = [clip.cycle.stops_at(i) for i in range(clip.num_frames)]
    _write_text(folder / "img_list.txt", _lines(names))
    _write_text(folder / "Exposures.txt", _lines([f"{s:g}" for s in clip.cycle.stops]))
    _write_text(folder / "input_exp.txt", _lines([f"{n} {s:g}" for n, s in zip(names, stops, strict=True)]))


def _lines(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")
