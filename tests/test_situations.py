"""What users run into, as one table: a command, its exit code and what it says. The worst harm comes first.

A wrong picture with exit code 0 is the worst, then a file that is lost, then a run without end, then a fault that is
shown as one of hdrvid. Every row runs in this process through the entry point, except those at the end that need one
of their own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import odd_files
import OpenEXR
import pytest
import situations
import tifffile
from PIL import Image
from test_cli import CLASSICAL, hdrvid, sentence
from test_reconstruct import write_frames

from hdrvid.color.response import RESPONSES
from hdrvid.errors import InputError
from hdrvid.io.atomic import atomic_path, machine_id
from hdrvid.io.exr import read_exr, write_exr
from hdrvid.io.frames import read_picture
from hdrvid.io.hdr import read_hdr, write_hdr
from hdrvid.io.lock import folder_lock
from hdrvid.pipeline.encode import encode_frame
from hdrvid.types import Frame

pytestmark = pytest.mark.usefixtures("one_thread")

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs pipes, signals or permissions of POSIX")

HEIGHT, WIDTH = 48, 64
RNG = np.random.default_rng(5)
SMOOTH = cv2.GaussianBlur(RNG.random((HEIGHT, WIDTH, 3)), (0, 0), 3)
PICTURE = (SMOOTH - SMOOTH.min()) / (SMOOTH.max() - SMOOTH.min())


@pytest.fixture(autouse=True)
def _users_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HDRVID_DEBUG", raising=False)
    monkeypatch.setenv("COLUMNS", "120")


# ---- 1. The wrong picture -------------------------------------------------------------------------------------------


def codes(bits: int) -> np.ndarray:
    return np.round(PICTURE * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)


@dataclass(frozen=True)
class Picture:
    """A file of PICTURE, or one that is refused."""

    name: str
    write: Callable[[Path], object]
    refused: str = ""
    """What the error says; '' where the file is read."""
    is_grey: bool = False
    size: tuple[int, int] = (HEIGHT, WIDTH)
    expected: Callable[[], np.ndarray] | None = None
    """The pixels, where they are not those of PICTURE."""
    tolerance: float = 1 / 500


def tiff_rows() -> list[Picture]:
    rows = []
    for bits in (8, 16):
        full = codes(bits)
        alpha = np.full((HEIGHT, WIDTH, 1), 2**bits - 1, full.dtype)
        for planar in ("contig", "separate"):
            for tile in (None, (32, 32)):
                for order in "<>":

                    def plain(path: Path, full=full, planar=planar, tile=tile, order=order) -> None:
                        data = full if planar == "contig" else np.moveaxis(full, 2, 0)
                        tifffile.imwrite(path, data, photometric="rgb", planarconfig=planar, tile=tile, byteorder=order)

                    rows.append(Picture(f"{bits} bit, {planar}, {'tiles' if tile else 'strips'}, {order}.tif", plain))
            for kind, value in (("unassalpha", 2), ("assocalpha", 2), ("assocalpha", 1), ("unspecified", 2)):

                def with_alpha(path: Path, full=full, alpha=alpha, planar=planar, kind=kind, value=value) -> None:
                    data = np.concatenate([full, alpha // value], 2)
                    data = data if planar == "contig" else np.moveaxis(data, 2, 0)
                    tifffile.imwrite(path, data, photometric="rgb", planarconfig=planar, extrasamples=[kind])

                refused = "multiplied by its alpha" if (kind, value) == ("assocalpha", 2) else ""
                rows.append(Picture(f"{bits} bit, {planar}, {kind} of 1 over {value}.tif", with_alpha, refused))

            def compressed(path: Path, full=full, planar=planar) -> None:
                data = full if planar == "contig" else np.moveaxis(full, 2, 0)
                tifffile.imwrite(
                    path, data, photometric="rgb", planarconfig=planar, compression="deflate", predictor=True
                )

            rows.append(Picture(f"{bits} bit, {planar}, deflate and predictor.tif", compressed))

            def big(path: Path, full=full, planar=planar) -> None:
                data = full if planar == "contig" else np.moveaxis(full, 2, 0)
                tifffile.imwrite(path, data, photometric="rgb", planarconfig=planar, bigtiff=True)

            rows.append(Picture(f"{bits} bit, {planar}, BigTIFF.tif", big))

        def inverted(path: Path, full=full, bits=bits) -> None:
            tifffile.imwrite(path, 2**bits - 1 - full[..., 1], photometric="miniswhite")

        def grey(path: Path, full=full) -> None:
            tifffile.imwrite(path, full[..., 1], photometric="minisblack")

        rows.append(Picture(f"{bits} bit grey, zero is white.tif", inverted, is_grey=True))
        rows.append(Picture(f"{bits} bit grey, zero is black.tif", grey, is_grey=True))
        for model, says in (("cielab", "Lab"), ("icclab", "Lab"), ("ycbcr", "YCbCr")):

            def other_model(path: Path, full=full, model=model) -> None:
                tifffile.imwrite(path, full, photometric=model)

            rows.append(Picture(f"{bits} bit {model}.tif", other_model, says))

        def cmyk(path: Path, full=full) -> None:
            tifffile.imwrite(path, np.concatenate([full, full[..., :1]], 2), photometric="separated")

        def five(path: Path, full=full) -> None:
            data = np.concatenate([full, full[..., :2]], 2)
            tifffile.imwrite(path, data, photometric="rgb", extrasamples=["unspecified"] * 2)

        rows += [
            Picture(f"{bits} bit cmyk.tif", cmyk, "CMYK"),
            Picture(f"{bits} bit, 5 samples.tif", five, "5 samples"),
        ]
    for kind in ("int8", "int16", "uint32", "float32", "float64"):

        def of_type(path: Path, kind=kind) -> None:
            tifffile.imwrite(path, (PICTURE * 100).astype(kind), photometric="rgb")

        rows.append(Picture(f"{kind}.tif", of_type, f"{kind} samples"))
    return rows


def hdr_with(lines: bytes, old: bytes = b"", new: bytes = b"") -> Callable[[Path], None]:
    def write(path: Path) -> None:
        write_hdr(path, PICTURE)
        signature, _, rest = path.read_bytes().partition(b"\n")
        path.write_bytes(signature + b"\n" + lines + (rest.replace(old, new) if old else rest))

    return write


def exr_window(data: tuple[int, int], shown: tuple[int, int, int, int]) -> Callable[[Path], None]:
    """An EXR whose pixels begin at `data` (x, y); `shown` is the display window (left, top, right, bottom)."""

    def write(path: Path) -> None:
        x, y = data
        header = {
            "compression": OpenEXR.ZIP_COMPRESSION,
            "type": OpenEXR.scanlineimage,
            "dataWindow": (np.array([x, y], np.int32), np.array([x + WIDTH - 1, y + HEIGHT - 1], np.int32)),
            "displayWindow": (np.array(shown[:2], np.int32), np.array(shown[2:], np.int32)),
        }
        OpenEXR.File(header, {"RGB": PICTURE.astype(np.float16)}).write(str(path))

    return write


def framed() -> np.ndarray:
    picture = np.zeros((HEIGHT + 16, WIDTH + 16, 3))
    picture[8:-8, 8:-8] = PICTURE
    return picture


def png_of_size(width: int, height: int) -> Callable[[Path], None]:
    """A PNG that is complete: rows of one bit, all black, compressed to a few kilobytes."""

    def write(path: Path) -> None:
        def chunk(name: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

        packer = zlib.compressobj(9)
        row = bytes(1 + (width + 7) // 8)
        body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
        header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))

    return write


def patched(write: Callable[[Path], object], at: int, code: str, *values: int) -> Callable[[Path], None]:
    """A file with other numbers in its header."""

    def write_patched(path: Path) -> None:
        write(path)
        data = bytearray(path.read_bytes())
        struct.pack_into(code, data, at, *values)
        path.write_bytes(bytes(data))

    return write_patched


def written_by_opencv(path: Path) -> None:
    cv2.imwrite(str(path), codes(8)[..., ::-1])


def rgba_png(path: Path) -> None:
    Image.fromarray(np.dstack([codes(8), np.full((HEIGHT, WIDTH), 128, np.uint8)])).save(path)


PICTURES = [
    *tiff_rows(),
    Picture("straight alpha.png", rgba_png),
    Picture("exposure.hdr", hdr_with(b"EXPOSURE=2.0\n"), expected=lambda: PICTURE / 2, tolerance=5e-3),
    Picture("exposures.hdr", hdr_with(b"EXPOSURE=2.0\nEXPOSURE=0.25\n"), expected=lambda: PICTURE * 2, tolerance=1e-2),
    Picture("colours.hdr", hdr_with(b"COLORCORR=1 2 4\n"), expected=lambda: PICTURE / (1, 2, 4), tolerance=5e-3),
    Picture("plain.hdr", hdr_with(b"# a comment\n"), tolerance=5e-3),
    Picture("word.hdr", hdr_with(b"EXPOSURE=abc\n"), "EXPOSURE=abc"),
    Picture("zero.hdr", hdr_with(b"EXPOSURE=0\n"), "EXPOSURE=0"),
    Picture("two.hdr", hdr_with(b"EXPOSURE=1 2\n"), "EXPOSURE=1 2"),
    Picture("nan.hdr", hdr_with(b"COLORCORR=1 nan 1\n"), "COLORCORR"),
    Picture("xyz.hdr", hdr_with(b"", b"rle_rgbe", b"rle_xyze"), "cannot be read"),
    Picture("upside down.hdr", hdr_with(b"", b"-Y 48", b"+Y 48"), "cannot be read"),
    Picture("same windows.exr", exr_window((0, 0), (0, 0, WIDTH - 1, HEIGHT - 1))),
    Picture("moved windows.exr", exr_window((9, 9), (9, 9, WIDTH + 8, HEIGHT + 8))),
    Picture("display larger.exr", exr_window((8, 8), (0, 0, WIDTH + 15, HEIGHT + 15)), expected=framed),
    Picture("overscan.exr", exr_window((-4, -2), (0, 0, 49, 39)), expected=lambda: PICTURE[2:42, 4:54]),
    Picture("apart.exr", exr_window((1000, 0), (0, 0, 63, 47)), "outside of its display window"),
    Picture("display huge.exr", exr_window((0, 0), (0, 0, 99999, 99999)), "million"),
    Picture("20000.png", png_of_size(20000, 20000), "20000x20000 pixels, more than"),
    Picture("huge.bmp", patched(written_by_opencv, 18, "<ii", 60000, 60000), "60000x60000 pixels, more than"),
    Picture("huge.ppm", lambda path: path.write_bytes(b"P6 99999 99999 255\n" + bytes(300)), "99999x99999"),
    Picture("digits.ppm", lambda path: path.write_bytes(b"P6 %s 9 255\n" % (b"9" * 5000)), "cannot be read"),
    Picture("huge text.pgm", lambda path: path.write_bytes(b"P2 99999 99999 77\n1 2"), "99999x99999"),
    Picture("huge.hdr", hdr_with(b"", b"-Y 48 +X 64", b"-Y 99999 +X 99999"), "99999x99999"),
]


@pytest.mark.parametrize("row", PICTURES, ids=[row.name for row in PICTURES])
def test_picture_is_read_right_or_refused(row: Picture, tmp_path: Path) -> None:
    path = tmp_path / row.name
    row.write(path)
    if row.refused:
        with pytest.raises(InputError, match=re.escape(row.refused)) as caught:
            read_picture(path)
        assert "\n" not in str(caught.value)
        return
    expected = PICTURE if row.expected is None else row.expected()
    if row.is_grey:
        expected = np.repeat(expected[..., 1:2], 3, axis=2)
    pixels = read_picture(path).pixels
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).max() < row.tolerance


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize(("y", "x"), [(0, 1), (7, 7), (HEIGHT - 1, WIDTH - 1)])
def test_checksum_covers_every_pixel(linear: bool, y: int, x: int) -> None:
    pixels = PICTURE.astype(np.float32)
    changed = pixels.copy()
    changed[y, x] = 1 - changed[y, x]
    before, after = (encode_frame(Frame(0, p, 0.0), RESPONSES["gamma2.2"], linear).checksum for p in (pixels, changed))
    assert before != after


def test_last_bit_of_a_decoder_does_not_count() -> None:
    exact = (codes(8) / 255).astype(np.float32)
    other = exact + np.float32(1e-5)
    sums = {encode_frame(Frame(0, p, 0.0), RESPONSES["gamma2.2"], False).checksum for p in (exact, other)}
    assert len(sums) == 1


# ---- 2. Lost files, 3. runs without end, 4. faults ------------------------------------------------------------------


@dataclass(frozen=True)
class Situation:
    """A command and what becomes of it."""

    command: str
    """Words of the command line; {x} stands for the path x in the workplace."""
    code: int
    says: str
    """Part of the error sentence, or of what the parser prints."""
    kept: str = ""
    """A file of the workplace that must not change."""


LONG = "a" * 300
DIGITS = "9" * 5000

SITUATIONS = [
    # a file of the user is lost
    Situation(
        "info {clip} --exposures 0,3 --plot {clip}/f000000.png",
        1,
        "was not written by this command",
        "clip/f000000.png",
    ),
    Situation(
        "info {clip}/f000000.png {clip}/f000001.png --exposures 0,3 --plot {clip}/f000001.png",
        1,
        "is read by",
        "clip/f000001.png",
    ),
    Situation(
        "info {clip} --exposures 0,3 --plot {user}/photo.png", 1, "was not written by this command", "user/photo.png"
    ),
    Situation("report {out} -o {out}/clip.000000.exr", 1, "was not written by this command", "out/clip.000000.exr"),
    Situation("report {out} -o {out}/clip.json", 1, "was not written by this command", "out/clip.json"),
    Situation("report {out} -o {out}/clip.preview.mp4", 1, "was not written by this command", "out/clip.preview.mp4"),
    Situation("report {out} -o {user}/page.html", 1, "was not written by this command", "user/page.html"),
    Situation("report {out} -o {user}/notes.txt", 1, "was not written by this command", "user/notes.txt"),
    Situation("report {out} -o {clip}/f000000.png", 1, "was not written by this command", "clip/f000000.png"),
    Situation(
        "synth {synth}/truth -o {synth} --frames 3 --size 32x32",
        1, "choose another folder", "synth/truth/truth.000000.exr",
    ),
    Situation(
        "synth {synth}/truth/truth.000000.exr -o {synth} --frames 3 --size 32x32",
        1, "choose another folder", "synth/truth/truth.000000.exr",
    ),
    Situation("synth -o {user} --frames 3 --size 32x32", 1, "was not made by hdrvid synth", "user/Exposures.txt"),
    Situation(
        "synth -o {user}/a --frames 3 --size 32x32", 1, "was not made by hdrvid synth", "user/a/frames/000000.png"
    ),
    Situation(
        "synth -o {user}/b --frames 3 --size 32x32 --video", 1, "was not made by hdrvid synth", "user/b/clip.mp4"
    ),
    Situation("synth -o {user}/c --frames 3 --size 32x32", 1, "was not made by hdrvid synth", "user/c/synth.json"),
    Situation("reconstruct {clip} -o {beside} CLASSICAL", 1, "give --overwrite", "beside/clip.json"),
    Situation("reconstruct {clip} -o {beside2} CLASSICAL", 1, "give --overwrite", "beside2/clip.preview.mp4"),
    Situation(
        "reconstruct {clip} -o {beside3} CLASSICAL --no-preview", 1, "give --overwrite", "beside3/clip.000002.exr"
    ),
    Situation(
        "reconstruct {clip} -o {beside4} CLASSICAL --no-preview", 1, "give --overwrite", "beside4/clip.000001.exr"
    ),
    Situation(
        "reconstruct {clip} -o {beside5} CLASSICAL --no-preview --format hdr",
        1, "give --overwrite", "beside5/clip.000001.hdr",
    ),
    Situation(
        "reconstruct {clip} -o {beside6} CLASSICAL --no-preview --hdr10",
        1, "give --overwrite", "beside6/clip.hdr10.mp4",
    ),
    Situation(
        "reconstruct {clip} -o {beside7} CLASSICAL --no-preview --hlg", 1, "give --overwrite", "beside7/clip.hlg.mp4"
    ),
    Situation(
        "reconstruct {clip} -o {stops} --model classical --exposures {stops}/clip.json --overwrite",
        1, "is read by", "stops/clip.json",
    ),
    Situation("reconstruct {clip} -o {clip} CLASSICAL", 1, "holds the frames of", "clip/f000000.png"),
    Situation("reconstruct {clip}/f%06d.png -o {clip} CLASSICAL", 1, "holds the frames of", "clip/f000000.png"),
    Situation("eval -o {scores} EVAL", 1, "give --overwrite", "scores/results.json"),
    Situation("eval -o {scores2} EVAL", 1, "give --overwrite", "scores2/report.html"),
    Situation("eval -o {scores3} EVAL", 1, "give --overwrite", "scores3/results.csv"),
    Situation("eval -o {scores4} EVAL", 1, "give --overwrite", "scores4/results.json"),
    Situation("bench --json {out}/clip.json", 1, "was not written by this command", "out/clip.json"),
    Situation("bench --json {user}/data.json", 1, "was not written by this command", "user/data.json"),
    Situation("bench --json {user}/notes.txt", 1, "was not written by this command", "user/notes.txt"),
    Situation(
        "train --shots 1 -o {weights} --device cpu", 1, "was not written by this command", "weights/model.safetensors"
    ),
    # a folder, a pipe or a lock is in the way
    Situation("reconstruct {clip} -o {named} CLASSICAL", 1, "a folder of that name is in the way"),
    Situation("reconstruct {clip} -o {named2} CLASSICAL --no-preview", 1, "a folder of that name is in the way"),
    Situation("reconstruct {clip} -o {named3} CLASSICAL", 1, "a folder of that name is in the way"),
    Situation("report {out} -o {user}", 1, "a folder of that name is in the way"),
    Situation("info {clip} --exposures 0,3 --plot {user}/folder.png", 1, "a folder of that name is in the way"),
    Situation("bench --json {user}", 1, "a folder of that name is in the way"),
    Situation("report {out} -o {user}/fifo", 1, "a pipe of that name is in the way"),
    Situation("bench --json {user}/fifo", 1, "a pipe of that name is in the way"),
    Situation("synth -o {user}/notes.txt --frames 3", 1, "is not a folder", "user/notes.txt"),
    Situation("eval -o {user}/notes.txt EVAL", 1, "is not a folder|a part of the path", "user/notes.txt"),
    Situation("reconstruct {clip} -o {user}/notes.txt CLASSICAL", 1, "is not a folder", "user/notes.txt"),
    Situation("reconstruct {clip} -o {user}/notes.txt/deeper CLASSICAL", 1, "is not a folder", "user/notes.txt"),
    Situation("info {clip} --exposures 0,3 --plot {user}/notes.txt/x.png", 1, "is not a folder", "user/notes.txt"),
    # without end
    Situation("eval --compare {user}/fifo {user}/fifo", 1, "is no file"),
    Situation("eval --compare {user}/zero {user}/zero", 1, "is no file"),
    Situation("train --hold-out {user}/fifo -o {new}", 1, "is no file"),
    Situation("train --hold-out {user}/zero -o {new}", 1, "is no file"),
    Situation("info {clip} --exposures {user}/fifo", 1, "is no file"),
    Situation("info {clip} --exposures {user}/zero", 1, "is no file"),
    Situation("train --workers 100000 -o {new}", 2, "--workers takes numbers up to"),
    Situation("eval --frames 1000000 --size 1280x720 -o {new}", 1, "give a smaller --frames or --size"),
    Situation("eval --frames 8 --size 16384x16384 -o {new}", 1, "give a smaller --frames or --size"),
    Situation("eval --frames 1000001 -o {new}", 2, "--frames takes numbers up to"),
    Situation("eval --scenes 1000001 -o {new}", 2, "--scenes takes numbers up to"),
    Situation("synth --frames 100000000 -o {new}", 2, "--frames takes numbers up to"),
    Situation("info {user}/20000.png", 1, "20000x20000 pixels, more than"),
    # numbers
    Situation(f"report {{out}} --frames {DIGITS}", 2, "--frames takes two frame numbers"),
    Situation(f"report {{out}} --frames 0,{DIGITS}", 2, "--frames takes two frame numbers"),
    Situation(f"reconstruct {{clip}} -o {{new}} CLASSICAL --frames {DIGITS}", 2, "--frames takes two frame numbers"),
    Situation(f"reconstruct {{clip}} -o {{new}} CLASSICAL --frames 0-{DIGITS}", 2, "--frames takes two frame numbers"),
    Situation(f"reconstruct {{clip}} -o {{new}} CLASSICAL --white {DIGITS}", 2, "--white takes"),
    Situation(f"reconstruct {{clip}} -o {{new}} CLASSICAL --tile {DIGITS}", 2, "--tile"),
    Situation(f"reconstruct {{clip}} -o {{new}} --exposures 0,{DIGITS}", 1, "neither a list of stops nor a file"),
    Situation(f"reconstruct {{clip}} -o {{new}} --exposures {DIGITS}", 1, "neither a list of stops nor a file"),
    Situation(f"reconstruct {{clip}} -o {{new}} CLASSICAL --response gamma{DIGITS}", 1, ""),
    Situation(f"synth -o {{new}} --size {DIGITS}x100", 2, "--size takes WIDTHxHEIGHT"),
    Situation("synth -o {new} --size 99999x16", 2, "--size takes WIDTHxHEIGHT"),
    Situation(f"synth -o {{new}} --seed {DIGITS}", 2, "seed"),
    Situation("synth -o {new} --seed 99999999999999999999", 2, "--seed takes numbers up to 9223372036854775807"),
    Situation("train -o {new} --seed 99999999999999999999", 2, "--seed takes numbers up to 9223372036854775807"),
    Situation("train -o {new} --shots 100000000", 2, "--shots takes numbers up to"),
    Situation("train -o {new} --width 1000000", 2, "--width takes numbers up to"),
    Situation("train -o {new} --half-width 200000", 2, "--half-width takes numbers up to 1024"),
    Situation("train -o {new} --quarter-width 200000", 2, "--quarter-width takes numbers up to 1024"),
    Situation("train -o {new} --flow-half-width 200000", 2, "--flow-half-width takes numbers up to 1024"),
    Situation("train -o {new} --init fast --preset fast --width 20", 2, "--width is for networks from nothing"),
    Situation("train -o {new} --batch 100000000", 2, "--batch takes numbers up to"),
    Situation("train -o {new} --crop 1600000", 2, "--crop takes numbers up to"),
    Situation("train -o {new} --window-size 1000000", 2, "--window-size takes numbers up to"),
    Situation("train -o {new} --epochs 99999999999", 2, "--epochs takes numbers up to"),
    Situation("train -o {new} --learning-rate nan", 2, "learning-rate"),
    Situation("train -o {new} --learning-rate inf", 2, "learning-rate"),
    Situation("train -o {new} --minutes nan", 2, "minutes"),
    Situation("train -o {new} --ema nan", 2, "ema"),
    Situation("eval -o {new} --crf nan", 2, "crf"),
    Situation("reconstruct {clip} -o {new} CLASSICAL --hdr10 --peak-nits nan", 2, "peak-nits"),
    Situation("info {clip}/%099999999999d.png", 1, "is too wide"),
    Situation("info {clip}/%9999d.png", 1, "is too wide"),
    Situation(f"info {{clip}}/%0{DIGITS}d.png", 1, "is too wide"),
    Situation("info {clip}/f%0255d.png", 1, "matches nothing"),
    # names
    Situation("reconstruct {clip} -o EMPTY CLASSICAL", 2, "-o is empty"),
    Situation("reconstruct {clip} --out= CLASSICAL", 2, "--out is empty"),
    Situation("reconstruct EMPTY -o {new} CLASSICAL", 2, "an argument is empty"),
    Situation("synth -o EMPTY", 2, "-o is empty"),
    Situation("eval -o EMPTY", 2, "-o is empty"),
    Situation("train -o EMPTY", 2, "-o is empty"),
    Situation("report EMPTY", 2, "an argument is empty"),
    Situation("report {out} -o EMPTY", 2, "-o is empty"),
    Situation("info EMPTY", 2, "an argument is empty"),
    Situation("info {clip} --plot EMPTY", 2, "--plot is empty"),
    Situation("bench --json EMPTY", 2, "--json is empty"),
    Situation("info {clip} --exposures EMPTY", 2, "--exposures is empty"),
    Situation("info ZERO", 2, "holds a zero byte"),
    Situation("info {clip} --exposures ZERO", 2, "holds a zero byte"),
    Situation("reconstruct {clip} -o ZERO", 2, "holds a zero byte"),
    Situation("synth -o ZERO", 2, "holds a zero byte"),
    Situation("eval --compare ZERO ZERO", 2, "holds a zero byte"),
    Situation(f"info {LONG}", 1, "name is too long|too long"),
    Situation(f"info {LONG}.png", 1, "too long"),
    Situation(f"reconstruct {{clip}} -o {{new}}/{LONG} CLASSICAL", 1, "too long"),
    Situation(f"synth -o {{new}}/{LONG}", 1, "too long"),
    Situation(f"report {LONG}", 1, "too long"),
    Situation(f"eval -o {{new}}/{LONG} EVAL", 1, "too long"),
    Situation(f"eval --compare {LONG} {LONG}", 1, "too long"),
    Situation(f"reconstruct {{clip}} -o {{new}} --exposures 0,3 --model {LONG}", 1, "too long"),
    Situation(f"train --hold-out {LONG} -o {{new}}", 1, "too long"),
    Situation(f"info {{clip}} --exposures 0,3 --plot {{user}}/{LONG}.png", 1, "too long"),
    # files that are something else
    *(
        Situation(f"eval --compare {{json}}/{name}.json {{json}}/{name}.json", 1, "is not a results.json")
        for name in ("deep", "list", "number", "word", "nothing", "binary", "scenes")
    ),
    *(
        Situation(f"eval --compare {{json}}/{name}.json {{json}}/{name}.json", 1, "is not a results.json")
        for name in ("frames", "index", "infinite", "text")
    ),
    Situation("eval --compare {user}/absent.json {user}/absent.json", 1, "cannot be read"),
    Situation("eval --compare {user} {user}", 1, "is no file"),
    Situation("report {json}/deep.json", 1, "was not written by hdrvid reconstruct"),
    Situation("report {json}/list.json", 1, "was not written by hdrvid reconstruct"),
    Situation("train --hold-out {user}/photo.png -o {new}", 1, "is not a text file"),
    Situation("info {clip} --exposures {user}/photo.png", 1, "is not a text file"),
]  # fmt: skip


def results_json(**changed: object) -> str:
    scene = {"overall": {"psnr_t": 30.0}, "frames": [{"index": 0, "exposure": "short", "psnr_t": 30.0}]}
    values = {"protocol": "hdrvid", "model": {"name": "x"}, "overall": {"psnr_t": 30.0}, "scenes": {"a": scene}}
    return json.dumps(values | changed)


ODD_JSON = {
    "deep": "[" * 100_000,
    "list": "[1, 2]",
    "number": DIGITS,
    "word": "hello",
    "nothing": "",
    "scenes": results_json(scenes=[1]),
    "frames": results_json(scenes={"a": {"overall": {}, "frames": 7}}),
    "index": results_json(scenes={"a": {"overall": {}, "frames": [{"index": {}}]}}),
    "infinite": results_json(overall={"psnr_t": 1e999}),
    "text": results_json(scenes={"a": {"overall": {"psnr_t": "30"}, "frames": []}}),
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips and results of hdrvid, and files of the user where these would be written."""
    root = tmp_path_factory.mktemp("workplace")
    write_frames(root / "clip", num_frames=4)
    from hdrvid.data.synth import synth_to_folder
    from hdrvid.options.synth import SynthOptions
    from hdrvid.pipeline.options import ReconstructOptions
    from hdrvid.pipeline.run import reconstruct_clip

    chosen = ReconstructOptions(model="classical", device="cpu", exposures="0,3")
    reconstruct_clip([str(root / "clip")], root / "out", chosen)
    synth_to_folder(root / "synth", SynthOptions(frames=3, size=(32, 32)))
    users = {
        "beside/clip.json": '{"camera": "mine"}',
        "beside2/clip.preview.mp4": "not a video of hdrvid",
        "beside3/clip.000002.exr": "not a picture",
        "beside5/clip.000001.hdr": "not a picture",
        "beside6/clip.hdr10.mp4": "not a video of hdrvid",
        "beside7/clip.hlg.mp4": "not a video of hdrvid",
        "stops/clip.json": "0\n3\n",
        "scores/results.json": '{"results": "of another program"}',
        "scores2/report.html": "<html>a page</html>",
        "scores3/results.csv": "a,b\n1,2\n",
        "scores4/results.json": results_json(protocol="another dataset"),
        "weights/model.safetensors": "weights of another program",
        "user/page.html": "<html>a page about hdrvid</html>",
        "user/notes.txt": "notes",
        "user/Exposures.txt": "0\n3\n",
        "user/data.json": '{"version": 1}',
        "user/a/frames/000000.png": "a frame",
        "user/b/clip.mp4": "a video",
        "user/c/synth.json": '{"seed": 1}',
    }
    for name, text in users.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "beside4").mkdir()
    write_exr(root / "beside4" / "clip.000001.exr", PICTURE.astype(np.float32))
    cv2.imwrite(str(root / "user" / "photo.png"), codes(8))
    png_of_size(20000, 20000)(root / "user" / "20000.png")
    for folder in ("named/clip.json", "named2/clip.000001.exr", "named3/clip.preview.mp4", "user/folder.png"):
        (root / folder).mkdir(parents=True)
    (root / "json").mkdir()
    for name, text in ODD_JSON.items():
        (root / "json" / f"{name}.json").write_text(text)
    (root / "json" / "binary.json").write_bytes(bytes(range(256)))
    if os.name == "posix":
        os.mkfifo(root / "user" / "fifo")
        os.symlink("/dev/zero", root / "user" / "zero")
        odd_files.make_everything(root / "odd", root / "out")
    return root


EVAL = "--dataset synthetic --model classical --device cpu --scenes 1 --frames 3 --size 32x32 --metrics psnr_t"


def words(command: str, root: Path) -> list[str]:
    text = command.replace("CLASSICAL", " ".join(CLASSICAL)).replace("EVAL", EVAL)
    text = text.replace("SMALL", "--frames 3 --size 32x32")
    text = text.replace("NETWORK", "--device cpu --exposures 0,3 --no-preview")
    text = re.sub(r"\{n:(\w+)\}", r"{odd}/named/{n:\1}", text)
    given = {"EMPTY": "", "ZERO": "a\0b"}

    def filled(word: str) -> str:
        word = re.sub(r"\{(\w+)\}", lambda m: str(root / m[1]), word)
        return re.sub(r"\{n:(\w+)\}", lambda m: odd_files.NAMES[m[1]], word)

    return [given.get(word, filled(word)) for word in text.split()]


@posix_only
@pytest.mark.parametrize("row", SITUATIONS, ids=[f"{i:03d} {row.command[:60]}" for i, row in enumerate(SITUATIONS)])
def test_situation(row: Situation, workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = (workplace / row.kept).read_bytes() if row.kept else b""
    code, _, stderr = hdrvid(capfd, *words(row.command, workplace))
    assert code == row.code, stderr
    assert "unexpected" not in stderr
    if "hdrvid: error:" in stderr:
        assert re.search(row.says, sentence(stderr)), stderr
    else:
        assert code == 2
        assert re.search(row.says, stderr), stderr
    if row.kept:
        assert (workplace / row.kept).read_bytes() == before
    assert not (workplace / "new").exists()
    assert not list(workplace.rglob(".*.partial-*"))


ODD = [(*row, kind) for kind, rows in situations.KINDS.items() for row in rows]


@posix_only
@pytest.mark.parametrize(
    ("command", "code", "says", "kind"), ODD, ids=[f"{i:03d} {row[0][:60]}" for i, row in enumerate(ODD)]
)
def test_odd_situation(
    command: str, code: int, says: str, kind: str, workplace: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("HDRVID_DATA", str(workplace / "nowhere"))
    shutil.rmtree(workplace / "new", ignore_errors=True)
    result, stdout, stderr = hdrvid(capfd, *words(command, workplace))
    assert result == code, stderr
    assert "fault of hdrvid" not in stderr
    assert says in " ".join((stdout + stderr).split()), stdout + stderr
    if code == 1:
        assert "hdrvid: error: " in stderr
    if code == 0 and command.startswith("reconstruct"):
        require_whole(workplace / "new")
    assert not list(workplace.rglob(".*.partial-*"))
    shutil.rmtree(workplace / "new", ignore_errors=True)
    (workplace / "new.html").unlink(missing_ok=True)


@posix_only
def test_leftovers_of_a_dead_plot_and_page_are_removed(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    folder = workplace / "leftovers"
    folder.mkdir()
    running = folder / f".plot.partial-{machine_id()}-{os.getppid()}.png"
    dead = [folder / f".{name}.partial-{machine_id()}-{process.pid}.{suffix}" for name, suffix in
            (("plot", "png"), ("clip.report", "html"))]  # fmt: skip
    for path in (*dead, running):
        path.write_bytes(b"half")
    assert hdrvid(capfd, *words("info {clip} --exposures 0,3 --plot {leftovers}/plot.png", workplace))[0] == 0
    assert hdrvid(capfd, *words("report {out} -o {leftovers}/clip.report.html", workplace))[0] == 0
    assert not any(path.exists() for path in dead)
    assert running.exists()
    running.unlink()


@posix_only
@pytest.mark.parametrize("name", ["scenes/0000.json", "pictures/0000/000001.0.png"])
def test_eval_keeps_scenes_and_pictures_of_others(
    name: str, workplace: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text('{"of": "another program"}')
    code, _, stderr = hdrvid(capfd, *words(f"eval -o {tmp_path} EVAL", workplace))
    assert code == 1
    assert "was not written by this command: give --overwrite" in sentence(stderr)
    assert path.read_text() == '{"of": "another program"}'
    assert hdrvid(capfd, *words(f"eval -o {tmp_path} EVAL --overwrite", workplace))[0] == 0
    assert hdrvid(capfd, *words(f"eval -o {tmp_path} EVAL", workplace))[0] == 0


def require_whole(folder: Path) -> None:
    """Every frame that a report counts is there, complete and finite."""
    reports = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    paths = list(folder.glob("*.[eh][xd]r"))
    assert len(paths) == sum(report["frames"]["count"] for report in reports) > 0
    for path in paths:
        pixels = read_exr(path)[0] if path.suffix == ".exr" else read_hdr(path)
        assert np.isfinite(pixels).all()


# ---- 5. What hdrvid wrote may be written again ----------------------------------------------------------------------

AGAIN = [
    "reconstruct {clip} -o {again} CLASSICAL --hdr10",
    "report {again}",
    "info {clip} --exposures 0,3 --plot {again}/plot.png",
    "synth -o {again}/synth --frames 3 --size 32x32",
    "synth -o {again}/video --frames 3 --size 32x32 --video",
    "eval -o {again}/scores EVAL",
]


@posix_only
def test_own_files_are_replaced(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for command in AGAIN:
        for _ in range(2):
            code, _, stderr = hdrvid(capfd, *words(command, workplace))
            assert code == 0, stderr
    code, _, stderr = hdrvid(capfd, *words("reconstruct {clip} -o {beside} CLASSICAL --overwrite", workplace))
    assert code == 0, stderr


def test_shorter_synthetic_clip_leaves_no_frames_of_the_longer_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for frames in (5, 3):
        assert hdrvid(capfd, "synth", "-o", tmp_path / "c", "--frames", frames, "--size", "32x32")[0] == 0
    assert len(list((tmp_path / "c" / "frames").iterdir())) == 3
    assert len(list((tmp_path / "c" / "truth").iterdir())) == 3
    assert hdrvid(capfd, "synth", "-o", tmp_path / "c", "--frames", "3", "--size", "32x32", "--video")[0] == 0
    assert not list((tmp_path / "c" / "frames").iterdir())


def test_frames_removed_during_a_run(workplace: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from hdrvid.errors import OutputError
    from hdrvid.pipeline.options import ReconstructOptions
    from hdrvid.pipeline.run import reconstruct_clip

    out = tmp_path / "out"
    chosen = ReconstructOptions(model="classical", device="cpu", exposures="0,3", preview=False)

    def progress(done: int, total: int | None) -> None:
        if done == 4:
            for _ in range(100):
                if (out / "clip.000000.exr").exists():
                    break
                time.sleep(0.05)
            (out / "clip.000000.exr").unlink()

    with pytest.raises(OutputError, match="1 of 4 finished frames"):
        reconstruct_clip([str(workplace / "clip")], out, chosen, progress=progress)
    assert not (out / "clip.json").exists()
    assert reconstruct_clip([str(workplace / "clip")], out, chosen).as_dict()["frames"]["new"] == 1


def test_frames_with_another_checksum_are_not_kept(workplace: Path, tmp_path: Path) -> None:
    from hdrvid.errors import OutputError
    from hdrvid.pipeline.options import ReconstructOptions
    from hdrvid.pipeline.run import reconstruct_clip

    out = tmp_path / "out"
    chosen = ReconstructOptions(model="classical", device="cpu", exposures="0,3", preview=False)
    reconstruct_clip([str(workplace / "clip")], out, chosen)
    path = out / "clip.000001.exr"
    pixels, header = read_exr(path)
    entries = {k: v for k, v in header.items() if k.startswith("hdrvid:")}
    write_exr(path, pixels, attributes=entries | {"hdrvid:source": "0123abcd"})
    with pytest.raises(OutputError, match="made by an older hdrvid"):
        reconstruct_clip([str(workplace / "clip")], out, chosen)


@posix_only
def test_permissions_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    before = os.umask(0o027)
    try:
        with atomic_path(path) as partial:
            partial.write_text("a")
        assert path.stat().st_mode & 0o777 == 0o640
        path.chmod(0o600)
        with atomic_path(path) as partial:
            partial.write_text("b")
        assert path.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


@pytest.mark.parametrize("command", ["synth", "eval"])
def test_two_runs_in_one_folder(
    command: str, workplace: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rest = "--frames 3 --size 32x32" if command == "synth" else "EVAL"
    with folder_lock(tmp_path, command):
        code, _, stderr = hdrvid(capfd, *words(f"{command} -o {tmp_path} {rest}", workplace))
    assert code == 1
    assert f"another hdrvid {command} is writing to" in sentence(stderr)
    assert list(tmp_path.iterdir()) == []


@posix_only
def test_leftovers_of_a_dead_synth_are_removed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    leftovers = [f".synth.partial-{machine_id()}-{process.pid}.json"]
    leftovers += [f"frames/.000000.partial-{machine_id()}-{process.pid}.png"]
    assert hdrvid(capfd, "synth", "-o", tmp_path, "--frames", "3", "--size", "32x32")[0] == 0
    for name in leftovers:
        (tmp_path / name).write_bytes(b"half")
    assert hdrvid(capfd, "synth", "-o", tmp_path, "--frames", "3", "--size", "32x32")[0] == 0
    assert not [p for p in tmp_path.rglob(".*") if "partial" in p.name]


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"WORLD_SIZE": "y"}, "WORLD_SIZE of the environment is 'y'"),
        ({"WORLD_SIZE": "2", "RANK": "y", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}, "RANK of the environment"),
        ({"WORLD_SIZE": "2", "RANK": "7", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}, "RANK is 7"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "x"}, "MASTER_PORT"),
        ({"WORLD_SIZE": "9" * 5000}, "WORLD_SIZE of the environment"),
    ],
)
def test_environment(
    variables: dict[str, str], says: str, workplace: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    code, _, stderr = hdrvid(capfd, "reconstruct", workplace / "clip", "-o", tmp_path / "out", *CLASSICAL)
    assert code == 2
    assert says in sentence(stderr)


# ---- 6. Processes of their own: streams, signals, memory ------------------------------------------------------------

HDRVID = f"{sys.executable} -m hdrvid"

PROCESSES = [
    ("{hdrvid} info --json > {full}", 1, "the disk is full"),
    ("{hdrvid} --version > {full}", 1, "the disk is full"),
    ("{hdrvid} info {clip} --exposures 0,3 >&-", 0, ""),
    ("{hdrvid} reconstruct {clip} -o {tmp}/a CLASSICAL <&- >&- 2>&-", 0, ""),
    ("ulimit -v 300000; {hdrvid} info", 1, "out of memory"),
    ("NUMBA_DISABLE_JIT=1 {hdrvid} reconstruct {clip} -o {tmp}/b --exposures 0,3 --no-preview", 0, "NUMBA_DISABLE_JIT"),
    ("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 {hdrvid} info {tmp}/été", 2, "LC_ALL=C.UTF-8"),
    ("LC_ALL=C {hdrvid} info {tmp}/été", 1, "does not exist|cannot"),
]


@posix_only
@pytest.mark.parametrize(("command", "code", "says"), PROCESSES, ids=[row[0][:50] for row in PROCESSES])
def test_process(command: str, code: int, says: str, workplace: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    if "{full}" in command:
        if not Path("/dev/full").exists() or os.geteuid() != 0:
            pytest.skip("needs a device of its own")
        os.mknod(full, 0o666 | 0o020000, os.makedev(1, 7))
    text = command.replace("CLASSICAL", " ".join(CLASSICAL))
    text = text.format(hdrvid=HDRVID, clip=workplace / "clip", tmp=tmp_path, full=full)
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=240)
    assert done.returncode == code, done.stderr
    assert re.search(says, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert "unexpected" not in done.stderr


def default_signals() -> None:
    """Undo what nohup and background jobs set: a signal that is ignored stays ignored."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def catches_hangup(process: int) -> bool:
    """Whether a process has begun to look after its signals; Python itself leaves this one alone."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:  # not Linux
        time.sleep(0.6)
        return True
    return bool(int(status.split("SigCgt:")[1].split()[0], 16) & 1 << signal.SIGHUP - 1)


@posix_only
def test_an_interrupt_in_an_exec_ends_with_its_code(tmp_path: Path) -> None:
    script = tmp_path / "interrupted.py"
    script.write_text(
        "import hdrvid.cli.app\n"
        "hdrvid.cli.app.run = lambda arguments: exec('raise KeyboardInterrupt')\n"
        "hdrvid.cli.main()\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "interrupted"]  # as `python -m hdrvid`
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (process.returncode, process.stderr) == (130, "hdrvid: interrupted\n")


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGHUP, 143), (signal.SIGTERM, 143), (signal.SIGQUIT, 143), (signal.SIGINT, 130)],
    ids=["SIGHUP", "SIGTERM", "SIGQUIT", "SIGINT"],
)
@pytest.mark.parametrize("begun", [False, True], ids=["in the imports", "in the frames"])
def test_signals(number: signal.Signals, code: int, begun: bool, workplace: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hdrvid", "synth", "-o", str(tmp_path / "c"), "--frames", "2000", "--video"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=default_signals)
    folder = tmp_path / "c" / "truth"
    deadline = time.monotonic() + 120
    while begun and time.monotonic() < deadline and not (folder.is_dir() and any(folder.iterdir())):
        time.sleep(0.05)
    while not begun and time.monotonic() < deadline and not catches_hangup(process.pid):
        time.sleep(0.02)
    process.send_signal(number)
    if begun:
        time.sleep(0.02)
        process.send_signal(number)  # the second one does not disturb the clean-up
    try:
        _, stderr = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    assert not list(tmp_path.rglob(".*.partial-*"))
