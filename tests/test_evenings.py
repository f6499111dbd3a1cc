"""Three evenings from start to end: a DSLR clip, a sensor's folder and a photographer's brackets.

Each is what a user has and does, by the command line, and what another program then reads in the results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from test_cli import hdrvid

from hdrvid.data.camera import clipping_level
from hdrvid.data.scenes import procedural_scene
from hdrvid.io.exr import read_exr
from hdrvid.metrics.fidelity import psnr_t

pytestmark = pytest.mark.slow

WIDTH, HEIGHT = 320, 192
RATE = Fraction(24000, 1001)


@pytest.fixture(scope="module")
def truth() -> list[np.ndarray]:
    """(H, W, 3) of 24 moments, 1.0 where the shortest exposure clips."""
    scene = procedural_scene(11, WIDTH, HEIGHT, 26, motion=1.0)
    frames = [scene.render(t) for t in range(24)]
    level = np.float32(clipping_level(frames[12], 99.7))
    return [f / level for f in frames]


def sensor(truth: np.ndarray, stops: float, seed: int) -> np.ndarray:
    """Linear values in [0, 1] with the noise of a sensor."""
    light = truth * 2.0**stops
    rng = np.random.default_rng(seed)
    return np.clip(light + rng.standard_normal(light.shape) * np.sqrt(light / 30_000 + 5e-4**2), 0, 1)


def scores(out: Path, truth: Sequence[np.ndarray], indices: dict[str, int], scale: float) -> list[float]:
    """PSNR-T of result files against their moments."""
    return [psnr_t(read_exr(out / name)[0] / np.float32(scale), np.clip(truth[i], 0, 1)) for name, i in indices.items()]


def openimageio(path: Path) -> Callable[[str], object]:
    """A reader of header entries that is not ours."""
    oiio = pytest.importorskip("OpenImageIO")
    spec = oiio.ImageInput.open(str(path)).spec()
    return spec.getattribute


def write_clip(path: Path, frames: Sequence[np.ndarray], start: str) -> None:
    """An H.264 clip with sound and a track of time codes."""
    with av.open(str(path), "w", format="mov") as container:
        video = container.add_stream("libx264", rate=RATE, options={"crf": "14"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.metadata["timecode"] = start
        sound = container.add_stream("aac", rate=48_000)
        for codes in frames:
            frame = av.VideoFrame.from_ndarray(np.round(codes * 255).astype(np.uint8), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        samples = (8000 * np.sin(np.arange(48_000) / 20)).astype(np.int16)
        for first in range(0, 48_000 - 1024, 1024):
            part = av.AudioFrame.from_ndarray(samples[None, first : first + 1024], format="s16", layout="mono")
            part.sample_rate, part.pts = 48_000, first
            container.mux(sound.encode(part))
        container.mux(sound.encode(None))


def test_a_dslr_clip_with_time_code_and_sound(truth, tmp_path, capfd):
    clip, out = tmp_path / "A001C003.mov", tmp_path / "out"
    codes = [sensor(truth[i], 3.0 * (i % 2), i) ** (1 / 2.2) for i in range(24)]
    write_clip(clip, codes, "01:02:03:20")
    code, _, err = hdrvid(
        capfd,
        "reconstruct",
        clip,
        "-o",
        out,
        "--exposures",
        "0,3",
        "--hlg",
        "--prores",
        "logc3",
        "--start-number",
        "1001",
    )
    assert code == 0, err
    names = [f"A001C003.{1001 + i}.exr" for i in range(24)]
    assert sorted(p.name for p in out.glob("*.exr")) == names
    header = openimageio(out / names[5])
    assert header("smpte:TimeCode") == (0x01020401, 0)
    assert header("oiio:ColorSpace") in ("lin_rec709", "lin_rec709_scene", "Linear", None)
    for video in ("A001C003.hlg.mp4", "A001C003.prores.mov"):
        with av.open(str(out / video)) as container:
            assert container.streams.video[0].metadata.get("timecode", "01:02:03:20") == "01:02:03:20"
            assert container.streams.video[0].average_rate == RATE
            assert container.streams.audio
            assert sum(1 for _ in container.decode(video=0)) == 24
    found = scores(out, truth, {name: i for i, name in enumerate(names)}, 8.0)
    assert min(found) > 30
    assert abs(np.mean(found[::2]) - np.mean(found[1::2])) < 4


def test_brackets_of_five_by_their_exif(truth, tmp_path, capfd):
    folder, out = tmp_path / "brackets", tmp_path / "out"
    folder.mkdir()
    order = (2, 0, 4, 1, 3)
    for i in range(20):
        stops = order[i % 5]
        exif = Image.Exif()
        exif.get_ifd(0x8769).update({0x829A: 2.0**stops / 1000, 0x829D: 4.0, 0x8827: 100})
        codes = sensor(truth[i // 5], stops, i) ** (1 / 2.2)  # a tripod: one moment a bracket
        Image.fromarray(np.round(codes * 255).astype(np.uint8)).save(
            folder / f"IMG_{2001 + i}.jpg", quality=95, exif=exif
        )
    code, _, err = hdrvid(capfd, "reconstruct", folder, "-o", out, "--every", "bracket", "--fps", "25")
    assert code == 0, err
    results = sorted(out.glob("*.exr"))
    assert [int(p.name.split(".")[-2]) for p in results] == [2001, 2006, 2011, 2016]  # 2 stops: the middle of the five
    found = scores(out, truth, {p.name: i for i, p in enumerate(results)}, 16.0)
    assert min(found) > 34
    with av.open(str(next(out.glob("*.preview.mp4")))) as container:
        assert container.streams.video[0].average_rate == 5
        assert sum(1 for _ in container.decode(video=0)) == 4


def test_a_12_bit_mosaic_with_a_log_of_times(truth, tmp_path, capfd):
    """12 bits and a black level cost next to nothing against the same mosaic of 16 bits; a mosaic costs detail."""
    found = {}
    for kind, bits, black in (("mosaic12", 12, 64), ("mosaic16", 16, 0)):
        folder, out = tmp_path / kind, tmp_path / f"out_{kind}"
        folder.mkdir()
        for i in range(16):
            linear = sensor(truth[i], 3.0 * (i % 2), i)
            codes = np.round(black + linear * (2**bits - 1 - black)).astype(np.uint16)
            picture = np.empty((HEIGHT, WIDTH), np.uint16)
            for (y, x), c in {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 2}.items():
                picture[y::2, x::2] = codes[y::2, x::2, c]
            cv2.imwrite(str(folder / f"cam_{i:06d}.png"), picture)
        log = tmp_path / f"{kind}.csv"
        times = (0.998, 8.001, 1.001, 7.999)
        rows = [f"{i},{33_000_000 * i},{times[i % 4]},0.0" for i in range(16)]
        log.write_text("frame,timestamp_ns,exposure_ms,gain_db\n" + "\n".join(rows) + "\n")
        more = ("--response", "linear") if black == 0 else ()
        command = ("reconstruct", folder, "-o", out, "--exposures", log, "--bayer", "rggb", "--no-preview")
        code, _, err = hdrvid(capfd, *command, *more)
        assert code == 0, err
        names = sorted(p.name for p in out.glob("*.exr"))
        assert len(names) == 16
        found[kind] = float(np.mean(scores(out, truth, {name: i for i, name in enumerate(names)}, 8.0)))
    assert found["mosaic16"] > 30, found
    assert abs(found["mosaic12"] - found["mosaic16"]) < 0.5, found
