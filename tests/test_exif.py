"""Exposure settings in JPEG and TIFF files: right where they are written, None where they are not, never an error."""

from __future__ import annotations

import math
import random
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from hdrvid.cli import main
from hdrvid.data.camera import expose, normalise
from hdrvid.data.scenes import procedural_scene
from hdrvid.detect.clip import inspect_clip
from hdrvid.detect.recorded import exif_stops, recorded_by_frames
from hdrvid.io.exif import CameraSettings, read_settings

Rational = tuple[int, int]

EXPOSURE_TIME, F_NUMBER, EXIF_DIRECTORY, ISO = 0x829A, 0x829D, 0x8769, 0x8827
"""Tags, in Exif section 4.6.3 and 4.6.5."""


def tiff(seconds: Rational | None, iso: int | None, f_number: Rational | None, order: str = "<") -> bytes:
    """A TIFF structure whose first directory only points to an Exif directory with these settings."""
    entries: list[tuple[int, int, bytes]] = []
    tail = b""
    count = sum(v is not None for v in (seconds, iso, f_number))
    data_at = 8 + 18 + 2 + 12 * count + 4
    for tag, value in ((EXPOSURE_TIME, seconds), (F_NUMBER, f_number), (ISO, iso)):
        if isinstance(value, tuple):
            entries.append((tag, 5, struct.pack(order + "I", data_at + len(tail))))
            tail += struct.pack(order + "II", *value)
        elif value is not None:
            entries.append((tag, 3, struct.pack(order + "HH", value, 0)))
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    first = struct.pack(order + "HHHIII", 1, EXIF_DIRECTORY, 4, 1, 26, 0)
    body = struct.pack(order + "H", count)
    for tag, kind, field in sorted(entries):
        body += struct.pack(order + "HHI", tag, kind, 1) + field
    return head + first + body + struct.pack(order + "I", 0) + tail


def jpeg(structure: bytes) -> bytes:
    """A small JPEG with an Exif segment after its JFIF segment."""
    _, encoded = cv2.imencode(".jpg", np.full((16, 16, 3), 128, np.uint8))
    plain = encoded.tobytes()
    (jfif,) = struct.unpack(">H", plain[4:6])
    payload = b"Exif\0\0" + structure
    return plain[: 4 + jfif] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + plain[4 + jfif :]


def files(folder: Path, contents: list[bytes], suffix: str = ".jpg") -> list[Path]:
    paths = [folder / f"{i}{suffix}" for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("wrap", [jpeg, bytes], ids=["jpeg", "tiff"])
def test_settings_are_read_in_either_byte_order(tmp_path, order, wrap):
    (path,) = files(tmp_path, [wrap(tiff((1, 250), 400, (28, 10), order))])
    assert read_settings(path) == CameraSettings(pytest.approx(1 / 250), 400.0, pytest.approx(2.8))


def test_stops_of_a_bracket(tmp_path):
    bracket = [((1, 1000), 100, (4, 1)), ((1, 250), 200, (4, 1)), ((1, 250), 200, (2, 1))]
    assert exif_stops(files(tmp_path, [jpeg(tiff(*b)) for b in bracket])) == pytest.approx([0, 3, 5])


def test_iso_and_f_number_may_be_missing_from_all(tmp_path):
    paths = files(tmp_path, [tiff((1, 30), None, None), tiff((1, 240), None, None)], ".tif")
    assert exif_stops(paths) == pytest.approx([3, 0])


def test_pillow_writes_what_is_read(tmp_path):
    image = pytest.importorskip("PIL.Image")
    paths = []
    for seconds in (1 / 500, 1 / 60):  # a float becomes a double, which is not what the standard has
        exif = image.Exif()
        exif.get_ifd(EXIF_DIRECTORY).update({EXPOSURE_TIME: seconds, F_NUMBER: 5.6, ISO: 100})
        paths.append(tmp_path / f"{len(paths)}.jpg")
        image.new("RGB", (16, 16)).save(paths[-1], exif=exif)
    assert exif_stops(paths) == pytest.approx([0, math.log2(500 / 60)], abs=1e-9)


@pytest.mark.parametrize(
    "other",
    [
        jpeg(tiff(None, 100, (4, 1))),
        jpeg(tiff((0, 1), 100, (4, 1))),
        jpeg(tiff((1, 0), 100, (4, 1))),
        jpeg(tiff((1, 30), None, (4, 1))),
        jpeg(tiff((1, 30), 65535, (4, 1))),
        jpeg(tiff((1, 30), 100, None)),
        b"",
        b"\xff\xd8",
        b"\x89PNG\r\n\x1a\n",
        jpeg(tiff((1, 30), 100, (4, 1)))[:60],
    ],
)
def test_one_frame_without_settings_leaves_it_to_the_pixels(tmp_path, other):
    assert exif_stops(files(tmp_path, [jpeg(tiff((1, 30), 100, (4, 1))), other])) is None


def test_no_frames_and_no_file(tmp_path):
    assert exif_stops([]) is None
    assert exif_stops([tmp_path / "missing.jpg"]) is None
    assert exif_stops([tmp_path]) is None


def test_a_directory_that_points_to_itself_ends(tmp_path):
    circle = b"II*\0" + struct.pack("<I", 8) + struct.pack("<HHHIII", 1, EXIF_DIRECTORY, 4, 1, 8, 8)
    assert exif_stops(files(tmp_path, [circle], ".tif")) is None


def test_damaged_files_never_raise(tmp_path):
    rng = random.Random(5)
    seeds = [wrap(tiff((1, 60), 200, (56, 10), order)) for wrap in (jpeg, bytes) for order in "<>"]
    path = tmp_path / "damaged"
    readable = 0
    for k in range(500):
        data = bytearray(seeds[k % 4])
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(min(len(data), 200))
            data[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        path.write_bytes(data)
        stops = exif_stops([path, path])
        assert stops is None or stops == [0, 0]
        readable += stops is not None
    assert 50 < readable < 450


def filmed_jpegs(folder: Path, times: list[Rational]) -> None:
    """12 frames, 3 stops apart, that record `times`."""
    folder.mkdir()
    picture = procedural_scene(102, 256, 160, 12, motion=1)
    truth, _ = normalise([picture.render(t) for t in range(12)], 99.5)
    for k, frame in enumerate(truth):
        codes = expose(frame, 8.0 ** (k % 2), np.random.default_rng(k))
        _, picture_bytes = cv2.imencode(".jpg", np.round(codes[..., ::-1] * 255).astype(np.uint8))
        structure = tiff(times[k % len(times)], 100, None)
        data = picture_bytes.tobytes()
        segment = b"\xff\xe1" + struct.pack(">H", len(structure) + 8) + b"Exif\0\0" + structure
        (folder / f"shot_{k:03}.jpg").write_bytes(data[:2] + segment + data[2:])


def test_a_sequence_is_taken_at_its_word_where_the_pixels_agree(tmp_path, capsys):
    filmed_jpegs(tmp_path / "true", [(1, 240), (1, 30)])
    detection = inspect_clip([str(tmp_path / "true")])
    assert (detection.cycle_from, detection.confidence) == ("recorded", None)
    assert detection.cycle is not None
    assert detection.cycle.stops == pytest.approx((0, 3), abs=0.1)
    assert detection.warnings == ()
    with pytest.raises(SystemExit) as ended:
        main(["info", str(tmp_path / "true")])
    assert not ended.value.code
    assert "a cycle of 2, the files record their exposures" in capsys.readouterr().out

    filmed_jpegs(tmp_path / "false", [(1, 60), (1, 30)])
    detection = inspect_clip([str(tmp_path / "false")])
    assert detection.cycle_from == "measured"
    assert detection.cycle is not None
    assert detection.cycle.stops == pytest.approx((0, 3), abs=0.1)
    assert "the files record their exposures, 0,1 stops, but that is not what" in detection.warnings[0]


def test_exposures_beside_the_frames_are_found(tmp_path):
    folder = tmp_path / "shot"
    filmed_jpegs(folder, [(1, 60), (1, 60)])  # metadata that does not tell
    rows = [f"{k},{(0.998, 8.001)[k % 2]}" for k in range(12)]
    (folder / "Exposures.csv").write_text("\n".join(["frame,exposure_ms", *rows]))
    detection = inspect_clip([str(folder)])
    assert detection.cycle_from == "recorded"
    assert detection.cycle is not None
    assert detection.cycle.stops == pytest.approx((0, 3), abs=0.02)
    assert detection.warnings == ()

    (folder / "Exposures.csv").write_text("exposure\n1\n8\n")
    detection = inspect_clip([str(folder)])
    assert detection.cycle_from == "measured"
    assert "the exposures beside the frames are not used: " in detection.warnings[0]
    assert "does not say the unit of 'exposure'" in detection.warnings[0]

    (folder / "Exposures.csv").write_text("exposure_ms\n8\n1\n")  # in the wrong order
    detection = inspect_clip([str(folder)])
    assert detection.cycle_from == "measured"
    assert (
        "Exposures.csv records the exposures, 3,0 stops, but that is not what the pixels show" in detection.warnings[0]
    )


@pytest.mark.parametrize(
    ("times", "stops"),
    [
        ([(1, 500), (1, 60)], (0.0, math.log2(500 / 60))),
        ([(1, 32), (1, 256), (1, 32)], (3.0, 0.0, 3.0)),
        ([(1, 240), (1, 60), (1, 15)], (0.0, 2.0, 4.0)),
        ([(1, 60), (1, 64)], None),
        ([(1, 60)], None),
        ([(1, 480), (1, 60), (1, 480), (1, 240)], (0.0, 3.0, 0.0, 1.0)),
    ],
)
def test_the_cycle_that_a_sequence_records(tmp_path, times, stops):
    repeats = 4 if len(times) <= 3 else 1
    paths = []
    for k in range(repeats * len(times)):
        paths.append(tmp_path / f"{k:03}.jpg")
        paths[-1].write_bytes(jpeg(tiff(times[k % len(times)], None, None)))
    cycle = recorded_by_frames(paths)
    if stops is None:
        assert cycle is None
    else:
        assert cycle is not None
        assert cycle.stops == pytest.approx(stops, abs=1e-6)
    assert recorded_by_frames(paths[:1]) is None
