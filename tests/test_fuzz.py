"""Damaged input of every kind: it works, or it is refused with one sentence; nothing crashes, hangs or fills memory.

The inputs are read in processes of their own, so that a crash inside a codec is seen too. `python tests/test_fuzz.py
FOLDER FIRST LAST` is such a process; a failure names the file to look at.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

SEED = 20240607
NUM_INPUTS = 6000
NUM_IN_EVERY_RUN = 1000
SECONDS_AN_INPUT = 10
MOST_EXTRA_BYTES = 2 << 30
"""Address space a reader may take beyond what the imports did."""
MOST_RESIDENT_MEGABYTES = 1000
"""Peak of the process, of which PyTorch and the codecs are about 350."""

BOUNDARIES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)


def seed_files(folder: Path) -> list[Path]:
    """One small valid file of every kind that hdrvid reads."""
    import av
    import clips
    import scipy.io
    import torch

    from hdrvid.io.exr import write_exr
    from hdrvid.models.config import ModelConfig
    from hdrvid.models.forward import build
    from hdrvid.weights import save_weights

    folder.mkdir()
    pictures = clips.smooth_pictures(4, 32, 48)
    noise = [np.random.default_rng(i).random((32, 48, 3)) for i in range(4)]
    files = [
        clips.write_rgb_mp4(folder / "rgb.mp4", pictures, gop=2),
        clips.write_yuv(folder / "h264.mp4", noise, "libx264", "yuv420p", gop=3),
        clips.write_yuv(folder / "h264.ts", noise, "libx264", "yuv420p", gop=3),
        clips.write_yuv(folder / "hevc.mkv", pictures, "libx265", "yuv420p10le"),
        clips.write_yuv(folder / "prores.mov", pictures, "prores_ks", "yuv422p10le"),
        clips.write_yuv(folder / "mjpeg.avi", pictures, "mjpeg", "yuvj422p"),
        clips.write_yuv(folder / "av1.mp4", pictures, "libsvtav1", "yuv420p10le", options={"preset": "10"}),
        clips.write_ffv1(folder / "ffv1.mkv", pictures),
        clips.write_frames(
            folder / "png.mov",
            [av.VideoFrame.from_ndarray(clips.quantised(p, 8), format="rgb24") for p in pictures],
            "png",
        ),
        clips.write_dpx(folder / "ten.dpx", pictures[0], 10),
        clips.write_dpx(folder / "sixteen.dpx", pictures[0], 16),
        clips.write_dng(folder / "camera.dng", pictures[0]),
    ]
    for suffix, bits in ((".png", 8), (".png", 16), (".tif", 8), (".tiff", 16), (".jpg", 8), (".bmp", 8), (".hdr", 8)):
        made = clips.write_images(folder / "images", pictures[:1], suffix, bits) / f"shot.0001{suffix}"
        files.append(made.replace(folder / f"image{bits}{suffix}"))
    for compression in ("none", "zip", "piz", "b44", "dwaa", "zstd"):
        write_exr(folder / f"{compression}.exr", pictures[0], compression=compression)
        files.append(folder / f"{compression}.exr")
    curve = np.linspace(0, 1, 64)[:, None] ** np.array([2.0, 2.2, 2.4])
    scipy.io.savemat(folder / "curve.mat", {"BaslerCRF": curve})
    scipy.io.savemat(folder / "small.mat", {"BaslerCRF": curve}, do_compression=True)
    rows = [f"{i},{r:.6f},{g:.6f},{b:.6f}" for i, (r, g, b) in enumerate(curve)]
    (folder / "curve.csv").write_text("\n".join(["code,r,g,b", *rows]))
    (folder / "Exposures.txt").write_text("0\n3\n" * 20)
    torch.manual_seed(0)
    config = ModelConfig("default", 2, width=8)
    save_weights(folder / "model.safetensors", build(config), config, {"data": "none"})
    files += [folder / n for n in ("curve.mat", "small.mat", "curve.csv", "Exposures.txt", "model.safetensors")]
    files += [folder / "Exposures.txt", folder / "curve.csv", folder / "model.safetensors"]  # small kinds more often
    return files


def mutated(data: bytes, rng: random.Random) -> bytes:
    """`data` with one to four kinds of damage; half of it near the beginning, where the headers are."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        reach = max(1, len(out) if rng.random() < 0.5 else min(len(out), 600))
        at = rng.randrange(reach)
        kind = rng.randrange(8)
        if kind == 0:
            for _ in range(rng.choice((1, 3, 20))):
                position = rng.randrange(reach)
                out[position : position + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            del out[at:]
        elif kind == 2:
            out[at:at] = rng.randbytes(rng.choice((1, 4, 100)))
        elif kind == 3:
            length = rng.choice((1, 8, 200, 2000))
            out[at : at + length] = bytes(min(length, max(0, len(out) - at)))
        elif kind == 4:  # a length, size or offset field
            code = rng.choice((">H", "<H", ">I", "<I", ">Q", "<Q"))
            number = rng.choice(BOUNDARIES) & ((1 << 8 * struct.calcsize(code)) - 1)
            field = struct.pack(code, number)
            out[at : at + len(field)] = field
        elif kind == 5:
            del out[at : at + rng.choice((1, 4, 100))]
        elif kind == 6:  # a number in text
            digits = [i for i, byte in enumerate(out[:4000]) if 0x30 <= byte <= 0x39]
            if digits:
                position = rng.choice(digits)
                out[position : position + 1] = rng.choice((b"-1", b"9" * 30, b"1e999", b"nan", b"\0", b"\xff", b""))
        else:
            out[at:at] = out[rng.randrange(reach) :][: rng.choice((4, 50, 500))]
        if not out:
            return b""
    return bytes(out)


def read_input(path: Path, report_damage: bool) -> None:
    """What the command line would do with the file, as far as reading goes."""
    from hdrvid.io import open_clip
    from hdrvid.io.exposure_files import read_exposure_file
    from hdrvid.io.response_files import load_response
    from hdrvid.weights import read_weights

    if path.suffix in (".mat", ".csv"):
        response = load_response(str(path))
        assert np.isfinite(response.linearize(np.linspace(0, 1, 9, dtype=np.float32)[:, None].repeat(3, 1))).all()
    elif path.suffix == ".txt":
        read_exposure_file(path)
    elif path.suffix == ".safetensors":
        read_weights(path)
    else:
        reported: list[int] = []
        with open_clip(path) as clip:
            seen = [-1]
            for frame in clip.frames(0, 12, (lambda index, text: reported.append(index)) if report_damage else None):
                assert frame.index > seen[-1]
                assert frame.pixels.shape == (clip.info.height, clip.info.width, 3)
                assert np.isfinite(frame.pixels).all()
                seen.append(frame.index)
            assert not set(seen) & set(reported)
            if len(seen) > 2:
                next(clip.frames(seen[-1]), None)


def work(folder: Path, first: int, last: int) -> None:
    """Read inputs `first` to `last` - 1 of `folder`; a line for every one on stdout, an exception for what is wrong."""
    import scipy.io  # noqa: F401

    from hdrvid.bench.fresh import peak_resident_mib
    from hdrvid.errors import HdrvidError
    from hdrvid.io import open_clip, response_files  # noqa: F401 - imported before the limit counts
    from hdrvid.weights import read_weights  # noqa: F401

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_EXTRA_BYTES, used + MOST_EXTRA_BYTES))
    for number in range(first, last):
        (path,) = folder.glob(f"{number:05d}-*")
        print(f"begin {path.name}", flush=True)
        signal.alarm(SECONDS_AN_INPUT)  # not caught: it ends the process, also where a codec hangs
        try:
            read_input(path, report_damage=number % 2 == 1)
            result = "read"
        except HdrvidError as error:
            text = str(error)
            assert text.strip(), path.name
            assert "\n" not in text, (path.name, text)
            assert len(text) < 600, (path.name, text)
            result = f"refused {text}"
        signal.alarm(0)
        print(f"end {peak_resident_mib() or 0:.0f} {result}", flush=True)


def run_inputs(tmp_path: Path, first: int, last: int) -> dict[str, int]:
    """Write and read the inputs `first` to `last` - 1. Counts of 'read' and 'refused'."""
    files = seed_files(tmp_path / "seeds")
    folder, home, temporary, inside = (tmp_path / n for n in ("inputs", "home", "temporary", "inside"))
    for made in (folder, home, temporary, inside):
        made.mkdir()
    for number in range(first, last):
        rng = random.Random(SEED * 1_000_003 + number)
        source = files[number % len(files)]
        (folder / f"{number:05d}-{source.name}").write_bytes(mutated(source.read_bytes(), rng))
    before = {p.relative_to(tmp_path) for p in tmp_path.rglob("*")}
    environment = {
        **os.environ,
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "OPENCV_TEMP_PATH": str(temporary),
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    done = subprocess.run(
        [sys.executable, __file__, str(folder), str(first), str(last)],
        cwd=inside,
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
    )
    lines = done.stdout.splitlines()
    begun = [line for line in lines if line.startswith("begin ")]
    ended = [line.split(" ", 3) for line in lines if line.startswith("end ")]
    if done.returncode:
        reason = {-signal.SIGALRM: "hung", -signal.SIGSEGV: "crashed"}.get(done.returncode, f"exit {done.returncode}")
        pytest.fail(f"{folder}/{begun[-1][6:] if begun else '?'} {reason}: {done.stderr[-1500:]}")
    assert len(ended) == last - first
    assert max(int(line[1]) for line in ended) < MOST_RESIDENT_MEGABYTES
    left_behind = {p.relative_to(tmp_path) for p in tmp_path.rglob("*")} - before
    assert not left_behind
    return {result: sum(line[2] == result for line in ended) for result in ("read", "refused")}


def test_damaged_inputs(tmp_path: Path) -> None:
    counts = run_inputs(tmp_path, 0, NUM_IN_EVERY_RUN)
    assert counts["refused"] > NUM_IN_EVERY_RUN / 4
    assert counts["read"] > NUM_IN_EVERY_RUN / 20


@pytest.mark.slow
def test_more_damaged_inputs(tmp_path: Path) -> None:
    counts = run_inputs(tmp_path, NUM_IN_EVERY_RUN, NUM_INPUTS)
    assert counts["refused"] > counts["read"] > 0


TEXTS = ["\0", "0,3\0", "~nobody/x", "1e400,2", "9" * 5000, "0;3;\nx", "%s%n", "/", "/dev/zero"]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_hostile_arguments(tmp_path: Path, text: str) -> None:
    from hdrvid.errors import HdrvidError
    from hdrvid.io.exposure_files import parse_exposures
    from hdrvid.io.response_files import load_response

    for read in (parse_exposures, load_response):
        for argument in (text, f"{text}.csv", f"{text}.mat"):
            with pytest.raises(HdrvidError):
                read(argument)


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    from hdrvid.errors import InputError
    from hdrvid.io import open_clip
    from hdrvid.io.exposure_files import read_exposure_file
    from hdrvid.io.response_files import load_response

    for suffix, read in {
        ".txt": read_exposure_file,
        ".csv": load_response,
        ".png": open_clip,
        ".mp4": open_clip,
    }.items():
        path = tmp_path / f"pipe{suffix}"
        os.mkfifo(path)
        with pytest.raises(InputError):
            read(str(path) if suffix == ".csv" else path)


def weights_file(path: Path, changes: object) -> Path:
    """A small weights file whose config has `changes`, or is `changes` where that is no dict."""
    import torch
    from safetensors.torch import save

    from hdrvid.models.config import ModelConfig
    from hdrvid.models.forward import build

    torch.manual_seed(0)
    config = ModelConfig("default", 2, width=8)
    plain = json.loads(config.to_json())
    text = changes if isinstance(changes, str) else json.dumps({**plain, **changes} if isinstance(changes, dict) else 0)
    path.write_bytes(save(build(config).state_dict(), {"format": "hdrvid-1", "config": text, "provenance": "{}"}))
    return path


def forget_peak() -> None:
    """Let the peak of this process begin anew where the system can do that; elsewhere an earlier one hides a later."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


@pytest.mark.parametrize(
    "changes",
    [
        *({"width": v} for v in (10**9, 16000, 0, -5, 3.5, "8", None, True, [8], {})),
        *({"num_exposures": v} for v in (3, 10**9, 2.0, "2", None, [2])),
        *({"preset": "memo", "base_width": v} for v in (512, 16000, 7, -1, "x")),
        *({"refine_flow": v} for v in (True, "yes", 5, None)),
        {"preset": ["default"]},
        {"unknown": 1},
        5,
        "[" * 100_000,
        "no json",
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_hostile_config_of_weights(tmp_path: Path, changes: object) -> None:
    """A config that the tensors do not belong to is refused before memory is taken for its networks."""
    from hdrvid.bench.fresh import peak_resident_mib
    from hdrvid.errors import ModelError
    from hdrvid.weights import read_weights

    path = weights_file(tmp_path / "model.safetensors", changes)
    forget_peak()
    before = peak_resident_mib() or 0.0
    with pytest.raises(ModelError):
        read_weights(path)
    assert (peak_resident_mib() or 0.0) - before < 100


@pytest.mark.parametrize("kind", ["int32", "bool", "complex64"])
def test_weights_that_are_no_real_numbers(tmp_path: Path, kind: str) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    from hdrvid.errors import ModelError
    from hdrvid.weights import read_weights

    path = weights_file(tmp_path / "model.safetensors", {})
    networks, config, _ = read_weights(path)
    assert sum(p.numel() for p in networks.parameters()) > 0
    tensors = {k: v.to(getattr(torch, kind)) for k, v in load_file(path).items()}
    save_file(tensors, path, {"format": "hdrvid-1", "config": config.to_json(), "provenance": "{}"})
    with pytest.raises(ModelError, match="not real floating-point numbers"):
        read_weights(path)


if __name__ == "__main__":
    work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
