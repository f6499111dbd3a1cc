"""A stranger finds things in ten seconds, and they stay findable: where what lives, and how long functions are."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "hdrvid"

PLACES = {
    "the way of a frame from decode to EXR": ("pipeline/run.py", "make_piece"),
    "the resume rule": ("pipeline/resume.py", "kept_frame"),
    "the windows": ("pipeline/windows.py", "open_windows"),
    "the settings a frame carries": ("pipeline/settings.py", "frame_settings"),
    "the merge network of default and fast": ("models/merge_net.py", "BlendNet"),
    "the flow network of default": ("models/flow_net.py", "FlowRefiner"),
    "the memo's merge network": ("models/memo/merge_net.py", "MemoMerge"),
    "the memo's flow network": ("models/memo/spynet.py", "FlowNet"),
    "the classical merge": ("models/classical.py", "candidates_and_prior"),
    "the classical flow": ("flow/dense_inverse_search.py", "DenseInverseSearch"),
    "the tiles": ("predict/tiling.py", "tiles"),
    "devices and precisions": ("predict/device.py", "resolve_precision"),
    "what a model can do": ("predict/descriptor.py", "ModelDescriptor"),
    "a model by its name": ("predict/registry.py", "load_reconstructor"),
    "the format of weights": ("weights.py", "read_weights"),
    "a camera curve": ("color/curves.py", "slog3_decode"),
    "a response": ("color/response.py", "Response"),
    "radiance from codes": ("color/radiance.py", "radiance_from_ldr"),
    "gamuts": ("color/gamuts.py", "conversion_matrix"),
    "PQ and HLG": ("color/hdr_signals.py", "pq_encode"),
    "tonemapping": ("color/tonemap.py", "Tonemapper"),
    "the warp": ("warp.py", "warp"),
    "what a clip is": ("detect/clip.py", "detect"),
    "the exposure cycle": ("detect/cycle.py", "estimate_cycle"),
    "the measured camera curve": ("detect/response.py", "estimate_response"),
    "the corrected stops": ("detect/stops.py", "measure_stops"),
    "labels of frames": ("detect/phases.py", "Labeller"),
    "exposures in files": ("detect/recorded.py", "recorded_exposures"),
    "PSNR and SSIM": ("metrics/fidelity.py", "psnr_t"),
    "HDR-VDP-2": ("metrics/hdr_vdp.py", "hdr_vdp_2"),
    "the OpenEXR writer": ("io/exr.py", "write_exr"),
    "the video reader": ("io/video.py", "VideoReader"),
    "the camera of synthetic clips": ("data/camera.py", "film"),
    "the options of reconstruct": ("options/reconstruct.py", "ReconstructOptions"),
    "the training loop": ("train/loop.py", "train"),
    "training losses": ("train/losses.py", "tone_l1"),
    "compiled functions and what they replace": ("compiled/kernels.py", "REPLACES"),
    "results of other programs": ("evaluate/predictions.py", "open_predictions"),
    "inputs for other programs": ("evaluate/export.py", "export_inputs"),
    "tables for papers": ("evaluate/tables.py", "latex_table"),
    "the page of a reconstruction": ("html/reconstruction_page.py", "report_html"),
    "the clip in motion on the page": ("html/motion.py", "make_motion"),
    "the radiance on the page": ("html/radiance_pictures.py", "packed"),
    "clipped and dark areas": ("html/areas.py", "find_areas"),
    "verdicts": ("html/verdicts.py", "verdicts"),
    "the page of an evaluation": ("html/evaluation_page.py", "report_html"),
}
"""What one looks for: the file, and a name that is defined there."""

SHORT_FUNCTIONS = ("cli", "options", "detect", "html", "pipeline", "predict", "evaluate")
"""Rooms whose functions have at most MAX_LINES lines and MAX_ARGUMENTS arguments."""
MAX_LINES, MAX_ARGUMENTS = 80, 8


def defined_names(path: Path) -> set[str]:
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize("what", PLACES)
def test_a_thing_is_where_its_name_says(what: str) -> None:
    path, name = PLACES[what]
    assert name in defined_names(PACKAGE / path)


def functions(room: str) -> Iterator[tuple[Path, ast.FunctionDef]]:
    for path in sorted((PACKAGE / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                yield path, node


@pytest.mark.parametrize("room", SHORT_FUNCTIONS)
def test_functions_are_short(room: str) -> None:
    long = []
    for path, node in functions(room):
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        arguments = len([name for name in names if name not in ("self", "cls")])
        is_record = (path.name, node.name) in (("runner.py", "__init__"), ("metadata.py", "option"))
        if lines > MAX_LINES or (arguments > MAX_ARGUMENTS and not is_record):
            long.append(f"{path.name}:{node.lineno} {node.name}: {lines} lines, {arguments} arguments")
    assert not long


CONSTANTS = (0.299, 0.587, 0.7152, 0.2627)
"""Weights of colour channels."""


def test_weights_of_the_channels_are_written_once() -> None:
    places = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and node.value in CONSTANTS:
                places.setdefault(path.relative_to(PACKAGE).as_posix(), set()).add(node.value)
    assert places == {"color/constants.py": set(CONSTANTS)}


def test_a_picture_is_warped_in_one_place() -> None:
    """Scenes and textures are rendered with OpenCV's remap; flow moves pictures with `picture_warp` alone."""
    users = {p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py") if "remap(" in p.read_text("utf-8")}
    assert users <= {"warp.py", "picture_warp.py", "opencv_filters.py", "data/scenes.py", "data/textures.py"}
