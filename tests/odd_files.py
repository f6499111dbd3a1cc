"""Files and folders that a user may hand to a command by mistake, for the table of situations."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import clips
import cv2
import numpy as np
import OpenEXR
import scipy.io
import torch
from safetensors.torch import save
from test_reconstruct import scene_radiance, write_frames

from hdrvid.color.curves import gamma_encode
from hdrvid.io.exr import write_exr
from hdrvid.models.config import ModelConfig
from hdrvid.models.forward import build

HEIGHT, WIDTH = 48, 64


def coded(index: int, stops: float, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """(H, W, 3) uint8 BGR of a frame."""
    linear = scene_radiance(index, width, height) * 2.0**stops
    return np.rint(255 * gamma_encode(np.clip(linear, 0, 1)))[..., ::-1].astype(np.uint8)


def shot(folder: Path, count: int = 4, suffix: str = ".png", height: int = HEIGHT, width: int = WIDTH) -> Path:
    """Frames of 0 and 3 stops in turn."""
    folder.mkdir(parents=True)
    for i in range(count):
        cv2.imwrite(str(folder / f"f{i:03d}{suffix}"), coded(i, 3.0 * (i % 2), height, width))
    return folder


def cut(path: Path, length: float) -> None:
    """Keep the first `length` bytes of a file, or this share of it where that is below 1."""
    data = path.read_bytes()
    path.write_bytes(data[: int(length if length >= 1 else length * len(data))])


def flat(folder: Path, codes: list[int], height: int = HEIGHT, width: int = WIDTH) -> Path:
    """Frames of one colour."""
    folder.mkdir(parents=True)
    for i, code in enumerate(codes):
        cv2.imwrite(str(folder / f"f{i:03d}.png"), np.full((height, width, 3), code, np.uint8))
    return folder


def make_image_folders(root: Path) -> None:
    """Folders of frames with something wrong in them."""
    for name in ("empty", "hidden", "texts", "nested"):
        (root / name).mkdir(parents=True)
    (root / "hidden" / ".f000.png").write_bytes(b"")
    (root / "texts" / "readme.txt").write_text("text")
    shot(root / "nested" / "shot")
    shot(root / "one", 1)
    shot(root / "two", 2)
    shot(root / "three", 3)
    shot(root / "tiny", 4, height=8, width=8)
    shot(root / "dot", 4, height=1, width=1)
    shot(root / "line", 4, height=1, width=64)
    shot(root / "odd", 4, height=47, width=63)
    flat(root / "black", [0] * 4)
    flat(root / "white", [255] * 4)
    flat(root / "same", [128] * 4)
    shot(root / "mixed", 4)
    shot(root / "mixed2", 4, ".jpg")
    for path in (root / "mixed2").iterdir():
        path.rename(root / "mixed" / path.name)
    shot(root / "sizes", 4)
    cv2.imwrite(str(root / "sizes" / "f002.png"), coded(2, 0, 40, 60))
    shot(root / "depths", 4)
    cv2.imwrite(str(root / "depths" / "f002.png"), coded(2, 0).astype(np.uint16) * 257)
    shot(root / "greys", 4)
    for path in (root / "greys").iterdir():
        cv2.imwrite(str(path), cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2GRAY))
    shot(root / "palette", 4)
    shot(root / "gap", 6)
    (root / "gap" / "f003.png").unlink()
    shot(root / "zeros", 4)
    (root / "zeros" / "f002.png").write_bytes(bytes(5000))
    shot(root / "void", 4)
    (root / "void" / "f000.png").write_bytes(b"")
    shot(root / "liar", 4)
    (root / "liar" / "f001.png").write_text("not a picture")
    shot(root / "renamed", 4, ".jpg")
    for path in (root / "renamed").iterdir():
        path.rename(path.with_suffix(".png"))
    shot(root / "asdir", 4)
    (root / "asdir" / "f002.png").unlink()
    (root / "asdir" / "f002.png").mkdir()
    shot(root / "loops", 4)
    (root / "loops" / "f002.png").unlink()
    (root / "loops" / "f002.png").symlink_to("f002.png")
    shot(root / "dangling", 4)
    (root / "dangling" / "f002.png").unlink()
    (root / "dangling" / "f002.png").symlink_to("/nowhere/f002.png")
    for share in ("8", "30", "0.5", "0.98"):
        folder = shot(root / f"cut{share.replace('.', '')}", 4)
        cut(folder / "f002.png", float(share))


def make_other_images(root: Path) -> None:
    """Files of every kind of picture that end early."""
    root.mkdir()
    linear = scene_radiance(0, WIDTH, HEIGHT).astype(np.float32)
    for suffix in (".png", ".jpg", ".tif", ".bmp", ".webp", ".ppm", ".hdr"):
        picture = linear[..., ::-1] if suffix == ".hdr" else coded(0, 3)
        for name, share in (("begin", 3), ("head", 20), ("half", 0.5), ("nothing", 0)):
            path = root / f"{name}{suffix}"
            cv2.imwrite(str(path), np.ascontiguousarray(picture))
            if share:
                cut(path, share)
            else:
                path.write_bytes(b"")
    for compression in ("none", "zip", "piz", "dwaa"):
        write_exr(root / f"{compression}.exr", linear, compression=compression)
        cut(root / f"{compression}.exr", 0.6)
    write_exr(root / "head.exr", linear)
    cut(root / "head.exr", 12)
    (root / "nothing.exr").write_bytes(b"")
    clips.write_dpx(root / "half.dpx", linear / linear.max(), 10)
    cut(root / "half.dpx", 0.5)
    clips.write_dng(root / "half.dng", linear / linear.max())
    cut(root / "half.dng", 0.5)
    cv2.imwrite(str(root / "real.png"), coded(0, 3))
    for suffix in (".exr", ".hdr", ".dpx", ".dng", ".mp4"):
        shutil.copy(root / "real.png", root / f"png{suffix}")
    write_exr(root / "whole.exr", linear)
    shutil.copy(root / "whole.exr", root / "exr.png")
    bad = linear.copy()
    bad[::2] = np.nan
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {"RGB": bad}).write(str(root / "nan.exr"))


def make_videos(root: Path) -> None:
    """Videos that are none, or hardly any."""
    root.mkdir()
    pictures = [clips.quantised(np.clip(scene_radiance(i, WIDTH, HEIGHT), 0, 1), 8) / 255 for i in range(8)]
    for name, count in (("one", 1), ("two", 2), ("three", 3)):
        clips.write_rgb_mp4(root / f"{name}.mp4", pictures[:count])
    whole = clips.write_rgb_mp4(root / "whole.mp4", pictures)
    clips.write_rgb_mp4(root / "whole.mkv", pictures)
    clips.write_yuv(root / "whole.ts", pictures, "libx264", "yuv420p")
    for name, length in (("begin", 10), ("half", 0.5), ("late", 0.97)):
        for suffix in (".mp4", ".mkv", ".ts"):
            shutil.copy(root / f"whole{suffix}", root / f"{name}{suffix}")
            cut(root / f"{name}{suffix}", length)
    (root / "nothing.mp4").write_bytes(b"")
    (root / "zeros.mov").write_bytes(bytes(10_000))
    (root / "text.mkv").write_text("this is no video\n" * 100)
    (root / "list.m3u8").write_text(f"#EXTM3U\n#EXTINF:1,\n{whole}\n")
    (root / "list.ffconcat").write_text(f"ffconcat version 1.0\nfile {whole}\n")
    (root / "page.html").write_text("<html></html>")
    (root / "archive.zip").write_bytes(b"PK\3\4" + bytes(100))
    (root / "subtitles.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    with av.open(str(root / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        sound = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        sound.sample_rate, sound.pts, sound.time_base = 48000, 0, Fraction(1, 48000)
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    (root / "folder.mp4").mkdir()
    (root / "loop.mp4").symlink_to("loop.mp4")
    (root / "link.mp4").symlink_to("/nowhere/clip.mp4")
    os.mkfifo(root / "pipe.mp4")
    (root / "null.mp4").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as unix:
        before = os.getcwd()
        os.chdir(root)  # the name of a socket is short
        try:
            unix.bind("socket.mp4")
        finally:
            os.chdir(before)
    grey = [clips.frame_of_planes([np.ascontiguousarray(coded(i, 3 * (i % 2))[..., 1])], "gray") for i in range(6)]
    clips.write_frames(root / "grey.mkv", grey, "libx264", options={"qp": "0"})


NAMES = {
    "spaces": "a clip of mine",
    "newline": "a\nclip",
    "bytes": os.fsdecode(b"clip\xff\xfe"),
    "umlaut": "über 映画",
    "percent": "take%04d 100%",
    "brackets": "take[1]*?",
    "quotes": 'it\'s "mine"',
    "dollar": "$HOME `id` $(id)",
    "tab": "tab\tand\x1b[31mred",
    "dot": "clip.v1.final",
    "tilde": "~root",
    "protocol": "http:shot",
}
"""Names of folders with a good clip."""


EXPOSURES: dict[str, bytes | str] = {
    "lines.txt": "0\n3\n0\n3\n",
    "bom.txt": "\ufeff0\n3\n0\n3\n",
    "utf16.txt": "0\n3\n0\n3\n".encode("utf-16"),
    "crlf.txt": "0\r\n3\r\n0\r\n3\r\n",
    "comments.txt": "# stops\n0  # short\n3\n\n0\n3\n",
    "comma.txt": "0,0\n3,0\n0,0\n3,0\n",
    "semicolon.csv": "frame;stops\n0;0,0\n1;3,0\n2;0,0\n3;3,0\n",
    "tabs.tsv": "frame\tstops\n0\t0\n1\t3\n",
    "times.csv": "frame,exposure_ms\n0,1\n1,8\n2,1\n3,8\n",
    "missing.csv": "frame,stops\n0,0\n1,3\n3,3\n",
    "doubled.csv": "frame,stops\n0,0\n1,3\n1,0\n",
    "empty cell.csv": "frame,stops\n0,0\n1,\n2,0\n3,3\n",
    "ragged.csv": "frame,stops\n0,0\n1\n2,0\n",
    "no heading.csv": "frame,colour\n0,red\n1,blue\n",
    "words.txt": "short\nlong\nshort\nlong\n",
    "nan.txt": "0\nnan\n",
    "inf.txt": "0\ninf\n",
    "negative.txt": "-3\n0\n-3\n0\n",
    "negative times.csv": "frame,exposure_ms\n0,-1\n1,8\n2,-1\n3,8\n",
    "zero times.csv": "frame,exposure_ms\n0,0\n1,8\n",
    "same.txt": "2\n2\n2\n2\n",
    "four.txt": "0\n1\n2\n3\n",
    "irregular.txt": "0\n3\n3\n0\n",
    "single.txt": "0\n",
    "empty.txt": "",
    "blank.txt": "\n\n  \n",
    "far.txt": "0\n15\n",
    "near.txt": "0\n0.2\n",
    "binary.txt": bytes(range(256)),
    "list.json": "[0, 3]",
    "units.json": '["1/500", "1/60"]',
    "table.json": '[{"frame": 0, "stops": 0}, {"frame": 1, "stops": 3}]',
    "nested.json": '{"camera": {"exposures": [0, 3]}}',
    "cut.json": "[0, 3",
    "deep.json": "[" * 100_000,
    "words.json": '["a", "b"]',
    "null.json": "[null, 3]",
    "text.json": '"0,3"',
    "zip.xlsx": b"PK\3\4" + bytes(200),
    "large.txt": "0\n3\n" * 3_000_000,
}


def make_exposures(root: Path) -> None:
    """Files of exposures."""
    root.mkdir()
    for name, content in EXPOSURES.items():
        data = content.encode() if isinstance(content, str) else content
        (root / name.replace(" ", "_")).write_bytes(data)
    (root / "folder.txt").mkdir()
    (root / "loop.txt").symlink_to("loop.txt")


def curve_rows(function: Callable[[np.ndarray], np.ndarray], count: int = 16) -> str:
    """A table of a camera curve."""
    code = np.linspace(0, 1, count)
    return "\n".join(f"{i},{v:.6f}" for i, v in enumerate(function(code)))


def make_responses(root: Path) -> None:
    """Files of camera curves."""
    root.mkdir()
    texts = {
        "good.csv": curve_rows(lambda x: x**2.2),
        "falling.csv": curve_rows(lambda x: (1 - x) ** 2),
        "flat.csv": curve_rows(lambda x: 0 * x + 0.5),
        "wavy.csv": curve_rows(lambda x: x + 0.5 * np.sin(20 * x)),
        "nan.csv": curve_rows(lambda x: np.where(x > 0.5, np.nan, x)),
        "negative.csv": curve_rows(lambda x: x - 0.5),
        "huge.csv": curve_rows(lambda x: 1e30 * x),
        "words.csv": "code,value\na,b\n",
        "empty.csv": "",
        "row.csv": "0,0\n",
        "two.csv": "0,0\n1,1\n",
        "four columns.csv": "0,0,0,0,0\n1,1,1,1,1\n2,2,2,2,2\n",
        "semicolon.csv": curve_rows(lambda x: x**2.2).replace(",", ";"),
        "commas.csv": curve_rows(lambda x: x**2.2).replace(",", ";").replace(".", ","),
        "curve.txt": curve_rows(lambda x: x**2.2),
        "curve.cube": "LUT_1D_SIZE 2\n0 0 0\n1 1 1\n",
    }
    for name, text in texts.items():
        (root / name.replace(" ", "_")).write_text(text)
    curve = np.linspace(0, 1, 64)[:, None] ** np.array([2.0, 2.2, 2.4])
    scipy.io.savemat(root / "good.mat", {"BaslerCRF": curve})
    scipy.io.savemat(root / "other.mat", {"words": np.array(["a", "b"])})
    scipy.io.savemat(root / "shape.mat", {"curve": np.zeros((3, 3, 3))})
    shutil.copy(root / "good.mat", root / "half.mat")
    cut(root / "half.mat", 0.5)
    (root / "empty.mat").write_bytes(b"")
    (root / "text.mat").write_text("no MATLAB file")
    (root / "folder.csv").mkdir()


def make_weights(root: Path) -> None:
    """Files of weights."""
    root.mkdir()
    torch.manual_seed(0)
    for exposures in (2, 3):
        config = ModelConfig("default", exposures, width=8)
        state = {"format": "hdrvid-1", "config": config.to_json(), "provenance": "{}"}
        network = build(config).state_dict()
        (root / f"good{exposures}.safetensors").write_bytes(save(network, state))
    good = root / "good2.safetensors"
    for name, length in (("begin", 4), ("head", 200), ("half", 0.5)):
        shutil.copy(good, root / f"{name}.safetensors")
        cut(root / f"{name}.safetensors", length)
    (root / "nothing.safetensors").write_bytes(b"")
    (root / "text.safetensors").write_text("weights")
    (root / "foreign.safetensors").write_bytes(save({"conv.weight": torch.zeros(3, 3)}))
    state = {"format": "hdrvid-1", "provenance": "{}"}
    config = ModelConfig("default", 2, width=8)
    network = build(config).state_dict()
    (root / "unnamed.safetensors").write_bytes(save(network, state))
    state |= {"config": config.to_json()}
    (root / "future.safetensors").write_bytes(save(network, state | {"format": "hdrvid-9"}))
    smaller = dict(network)
    smaller.popitem()
    (root / "lacking.safetensors").write_bytes(save(smaller, state))
    (root / "surplus.safetensors").write_bytes(save(network | {"more": torch.zeros(3)}, state))
    (root / "nan.safetensors").write_bytes(save({k: torch.full_like(v, torch.nan) for k, v in network.items()}, state))
    torch.save(network, root / "checkpoint.pth")
    (root / "folder.safetensors").mkdir()


def make_results(root: Path, out: Path) -> None:
    """Results of reconstruct that somebody has edited, moved or lost parts of; `out` are good ones."""

    def copy(name: str) -> Path:
        shutil.copytree(out, root / name)
        return root / name

    def edited(name: str, **changes: object) -> None:
        path = copy(name) / "clip.json"
        values = json.loads(path.read_text())
        for key, value in changes.items():
            first, _, rest = key.partition("__")
            if rest:
                values[first][rest] = value
            elif value is None:
                values.pop(first)
            else:
                values[first] = value
        path.write_text(json.dumps(values))

    root.mkdir()
    for path in copy("no_frames").glob("*.exr"):
        path.unlink()
    (copy("frame_gone") / "clip.000001.exr").unlink()
    cut(copy("frame_cut") / "clip.000001.exr", 0.5)
    (copy("frame_text") / "clip.000001.exr").write_text("no picture")
    for path in copy("all_cut").glob("*.exr"):
        cut(path, 0.5)
    write_exr(copy("frame_size") / "clip.000001.exr", np.ones((8, 8, 3), np.float32))
    cut(copy("json_cut") / "clip.json", 0.5)
    (copy("json_gone") / "clip.json").unlink()
    (copy("two") / "clip2.json").write_text((out / "clip.json").read_text())
    edited("no_stops", stops=None)
    edited("no_outputs", outputs=None)
    edited("odd_stops", stops="0,3")
    edited("one_stop", stops=[0])
    edited("odd_frames", frames=7)
    edited("far_frames", frames__last=10**9)
    edited("odd_pattern", outputs__frames=7)
    edited("odd_model", model="default")
    edited("odd_curve", response_curve="x")
    edited("odd_scale", scale="x")
    edited("odd_size", size=[1])
    edited("odd_source", source=7)
    edited("moved_source", source="/nowhere/clip")
    edited("odd_events", events=7)
    edited("odd_quality", quality=[])
    edited("odd_settings", settings=None)


def make_datasets(root: Path) -> None:
    """Folders that lack a piece of what a benchmark consists of."""
    for name in ("cinematic", "dynamic", "static", "kalantari"):
        (root / name).mkdir(parents=True)
    (root / "file").write_text("text")
    for name in ("cinematic", "dynamic", "static", "kalantari"):
        (root / f"{name}2" / "Scene1").mkdir(parents=True)
        (root / f"{name}2" / "Scene1" / "readme.txt").write_text("text")
    cv2.imwrite(str(root / "kalantari2" / "Scene1" / "Img_000_E1.tif"), coded(0, 0).astype(np.uint16) * 257)
    hdr = root / "hdr"
    hdr.mkdir()
    write_exr(hdr / "half.exr", scene_radiance(0, WIDTH, HEIGHT).astype(np.float32))
    cut(hdr / "half.exr", 0.5)
    shot(root / "ldr")


def make_everything(root: Path, out: Path) -> None:
    """All of it, below `root`; `out` holds results of a clip."""
    root.mkdir()
    make_image_folders(root / "images")
    make_other_images(root / "pictures")
    make_videos(root / "videos")
    (root / "named").mkdir()
    plain = write_frames(root / "plain", num_frames=4)
    for name in NAMES.values():
        shutil.copytree(plain, root / "named" / name)  # OpenCV cannot write below every name
    make_exposures(root / "exposures")
    make_responses(root / "responses")
    make_weights(root / "weights")
    make_results(root / "results", out)
    make_datasets(root / "datasets")
