"""What a run loads, opens and computes before its first frame: nothing that it does not need."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hdrvid import threads
from hdrvid.color.curves import is_tensor
from hdrvid.detect import stops
from hdrvid.detect.cycle import PROBE_FRAMES
from hdrvid.detect.probe import _histogram512
from hdrvid.io import video
from hdrvid.options.reconstruct import ReconstructOptions
from hdrvid.pipeline import setup
from hdrvid.pipeline.run import reconstruct_clip
from hdrvid.types import ExposureCycle

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "numba", "scipy.interpolate", "scipy.linalg", "safetensors", "jinja2", "matplotlib")


def printed(code: str, **environment: str) -> str:
    """What a fresh Python prints last."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )
    return done.stdout.splitlines()[-1]


def loaded(code: str) -> str:
    """Which heavy packages a fresh Python has loaded behind `code`."""
    return printed(f"import sys\n{code}\nprint([m for m in {HEAVY} if m in sys.modules])")


@pytest.mark.parametrize("module", ["hdrvid.cli.app", "hdrvid.detect.clip", "hdrvid.pipeline.run", "hdrvid.ranks"])
def test_nothing_heavy_is_imported_before_it_is_needed(module: str) -> None:
    assert loaded(f"import {module}") == "[]"


def test_a_clip_is_looked_at_without_pytorch(clip: Path) -> None:
    """`clip` has exposures near enough to be measured on aligned frames."""
    code = f"from hdrvid.detect.clip import inspect_clip\nassert inspect_clip([{str(clip)!r}]).measured is not None"
    assert loaded(code) == "[]"


def test_functions_are_compiled_without_pytorch() -> None:
    assert "torch" not in loaded("import hdrvid.compiled.helper")


def test_a_run_loads_no_linear_algebra_and_leaves_it_to_others(clip: Path, tmp_path: Path) -> None:
    pytest.importorskip("numba", exc_type=ImportError)
    code = (
        "from hdrvid.cli import main\n"
        f"sys.argv = ['hdrvid', 'reconstruct', {str(clip)!r}, '-o', {str(tmp_path / 'out')!r}, '--model', 'fast']\n"
        "try: main()\n"
        "except SystemExit: pass"
    )
    assert loaded(code) == "['torch', 'numba', 'safetensors']"
    code += "\nimport scipy.linalg.cython_blas, scipy.stats\nprint(scipy.linalg.det([[2.0]]))"
    assert printed(f"import sys\n{code}") == "2.0"


def test_threads_are_counted_without_pytorch() -> None:
    code = "import sys\nfrom hdrvid import threads\nn = threads.num_threads()\nassert 'torch' not in sys.modules\n"
    assert printed(f"{code}print(n)", OMP_NUM_THREADS="3") == "3"
    assert int(printed(f"{code}print(n)", OMP_NUM_THREADS="")) >= 1
    assert printed(f"{code}import torch\ntorch.set_num_threads(2)\nprint(threads.num_threads())") == "2"


def test_threads_are_counted_while_another_thread_loads_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", object())  # as long as it has no functions
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert threads.num_threads() == 5


def test_tensors_are_told_from_arrays_and_numbers() -> None:
    import torch

    assert is_tensor(torch.zeros(2))
    assert is_tensor(torch.nn.Parameter(torch.zeros(2)))
    assert not any(is_tensor(x) for x in (np.zeros(2), np.float32(1), np.bool_(True), 1.0, 1, True))


def test_a_run_opens_its_clip_and_decodes_its_first_frames_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()

    def count(name: str) -> None:
        call = getattr(video, name)
        monkeypatch.setattr(video, name, lambda *given, **named: calls.update([name]) or call(*given, **named))

    count("open_media")
    count("frame_codes")
    options = ReconstructOptions(model="reference", frame_range=(0, 1), preview=False)
    reconstruct_clip([str(ROOT / "examples" / "clip.mp4")], tmp_path, options)
    assert calls["open_media"] <= 3  # its tags, the frames looked at, the frames of the range
    assert PROBE_FRAMES < calls["frame_codes"] < 2 * PROBE_FRAMES, "frames are looked at once, then come the windows"


def test_an_error_of_the_libraries_reaches_the_caller(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no room for PyTorch")

    monkeypatch.setattr(setup, "_load_libraries", fail)
    with pytest.raises(MemoryError, match="no room for PyTorch"):
        reconstruct_clip([str(clip)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Exposures on aligned frames


def test_a_broken_pytorch_is_one_sentence(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('libtorch_cpu.so: cannot open shared object file')")
    command = [sys.executable, "-m", "hdrvid", "reconstruct", str(clip), "-o", str(tmp_path / "out"), "--model", "fast"]
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": paths})
    assert done.returncode == 1
    assert "libtorch_cpu.so" in done.stderr
    assert "install torch again" in done.stderr
    assert "fault of hdrvid" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_frames_that_cannot_tell_the_stops_are_not_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two exposures too far apart only frames of equal exposure are compared, and these say nothing of the stops."""
    monkeypatch.setattr(stops, "DenseInverseSearch", None)
    found = stops.measure_stops(iter([]), ExposureCycle((0, 4)))
    assert (found.corrected, found.cycle.stops, found.standard_error) == (False, (0, 4), float("inf"))
    with pytest.raises(TypeError):  # others are
        stops.measure_stops([np.full((64, 64, 3), 0.5, np.float32)] * 6, ExposureCycle((0, 3)))
    with pytest.raises(TypeError):  # one step may be missing
        stops.measure_stops([np.full((64, 64, 3), 0.5, np.float32)] * 6, ExposureCycle((0, 4, 2)))


# Where the codes pile up


@pytest.mark.parametrize("largest", [255, 1023, 65535, 511])
def test_the_histogram_is_that_of_numpy(largest: int) -> None:
    random = np.random.default_rng(largest)
    pixels = (np.round(random.random((61, 47, 3)) * largest) / largest).astype(np.float32)
    pixels[0, :9, 0] = [0, 1, -1e-9, 1 + 1e-6, 511 / 512, np.nextafter(np.float32(0.5), np.float32(0)), 0.5, -1, 7]
    for picture in (pixels, pixels[::2, ::2]):
        for channel in range(3):
            expected = np.histogram(picture[..., channel], 512, (0.0, 1.0))[0]
            assert np.array_equal(_histogram512(picture, channel), expected)
    pixels[1, :3, 1] = [np.nan, np.inf, -np.inf]
    assert np.array_equal(_histogram512(pixels, 1), np.histogram(pixels[..., 1], 512, (0.0, 1.0))[0])
