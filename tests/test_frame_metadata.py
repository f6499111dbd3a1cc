"""Time code, reel, date, exposure and the shape of pixels: read from clips, written into EXR, .hdr and videos."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
import clips
import cv2
import numpy as np
import OpenEXR
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational
from test_reconstruct import options, scene_radiance

from hdrvid.io import open_clip
from hdrvid.io.exr import read_exr, write_exr
from hdrvid.io.frame_metadata import aspect_of, date_and_offset, later, read_frame_metadata
from hdrvid.io.hdr import read_hdr_attributes
from hdrvid.pipeline.run import reconstruct_clip
from hdrvid.timecode import Timecode
from hdrvid.types import FrameMetadata

pytestmark = pytest.mark.usefixtures("one_thread")

NTSC = Fraction(30000, 1001)


def coded(index: int) -> np.ndarray:
    """(48, 64, 3) uint8 RGB: the moving scene, exposed in turn."""
    linear = scene_radiance(index, 64, 48) * (1, 8)[index % 2]
    return np.round(np.clip(linear, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)


def write_clip(
    path: Path, *, rate: Fraction | int = 24, tags: Mapping[str, str] | None = None, aspect: Fraction | None = None
) -> Path:
    """A lossless video of 8 frames, MOV or MP4; `timecode` and `reel_name` among the tags make a track of codes."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=rate, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for name, value in (tags or {}).items():
            (stream if name in ("timecode", "reel_name") else container).metadata[name] = value
        for i in range(8):
            for packet in stream.encode(av.VideoFrame.from_ndarray(coded(i), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def codes(out: Path) -> list[str]:
    """The time codes in the headers of all EXR frames, in order."""
    result = []
    for path in sorted(out.glob("*.exr")):
        stored = OpenEXR.File(str(path), header_only=True).header()["timeCode"]
        mark = ";" if stored.dropFrame else ":"
        result.append(f"{stored.hours:02d}:{stored.minutes:02d}:{stored.seconds:02d}{mark}{stored.frame:02d}")
    return result


def video_facts(path: Path) -> tuple[str, Fraction | None]:
    """Time code and shape of a pixel."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.metadata.get("timecode", ""), stream.sample_aspect_ratio


# Codes


@pytest.mark.parametrize(("rate", "dropped"), [(NTSC, 2), (2 * NTSC, 4)])
def test_dropped_numbers_over_a_day(rate: Fraction, dropped: int) -> None:
    """Against a list of every number of two hours, made minute by minute."""
    counted = round(rate)
    listed = [
        (minute // 60, minute % 60, second, frame)
        for minute in range(120)
        for second in range(60)
        for frame in range(dropped if minute % 10 and second == 0 else 0, counted)
    ]
    first = Timecode(0, 0, 0, 0, counted, True)
    for index in (*range(0, len(listed), 997), 1799, 1800, 17981, 17982, 107891, 107892, 3599, 3600):
        code = first.plus(index)
        assert (code.hours, code.minutes, code.seconds, code.frames) == listed[index]
        assert code.plus(-index) == first
    # at the end of an hour the code is within a tenth of a second of the clock
    hour = first.plus(round(3600 * rate))
    assert abs(hour.hours * 3600 + hour.minutes * 60 + hour.seconds + hour.frames / counted - 3600) < 0.1


def test_codes_begin_again_after_a_day() -> None:
    code = Timecode.parse("23:59:59:23", Fraction(24))
    assert code is not None
    assert str(code.plus(1)) == "00:00:00:00"
    assert str(code.plus(1).plus(-1)) == "23:59:59:23"


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("", Fraction(24)),
        ("1:2:3:4", Fraction(24)),
        ("25:00:00:00", Fraction(24)),
        ("00:60:00:00", Fraction(24)),
        ("00:00:00:24", Fraction(24)),
        ("00:01:00;00", NTSC),
        ("00:00:00:00", Fraction(1000)),
    ],
)
def test_what_is_no_code(text: str, rate: Fraction) -> None:
    assert Timecode.parse(text, rate) is None


def test_numbers_are_dropped_where_the_rate_does_so_alone() -> None:
    assert [Timecode.parse("01:00:00;00", rate).drop for rate in (NTSC, 2 * NTSC, Fraction(25), Fraction(30))] == [
        True,
        True,
        False,
        False,
    ]


# From videos


@pytest.mark.parametrize(
    ("rate", "start", "expected"),
    [
        (24, "01:02:03:22", ["01:02:03:22", "01:02:03:23", "01:02:04:00"]),
        (NTSC, "00:59:59;28", ["00:59:59;28", "00:59:59;29", "01:00:00;00"]),
        (NTSC, "01:00:59;29", ["01:00:59;29", "01:01:00;02", "01:01:00;03"]),
        (50, "10:00:00:48", ["10:00:00:24", "10:00:00:24", "10:00:01:00"]),  # pairs of frames are counted
    ],
)
def test_every_frame_has_its_own_code(rate: Fraction | int, start: str, expected: list[str], tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mov", rate=rate, tags={"timecode": start})
    reconstruct_clip([str(clip)], tmp_path / "out", options(regular=True))
    assert codes(tmp_path / "out")[:3] == expected
    assert video_facts(tmp_path / "out" / "a.preview.mp4")[0] == start
    if rate == 50:
        phases = [read_exr(path)[1]["timeCode"].fieldPhase for path in sorted((tmp_path / "out").glob("*.exr"))[:3]]
        assert phases == [False, True, False]


def test_the_reel_of_a_camera_file(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mov", tags={"timecode": "01:00:00:00", "reel_name": "A001C012"})
    reconstruct_clip([str(clip)], tmp_path / "out", options(frame_range=(1, 1), regular=True, preview=False))
    assert read_exr(tmp_path / "out" / "a.000001.exr")[1]["reelName"] == "A001C012"


def test_openimageio_reads_the_code(tmp_path: Path) -> None:
    oiio = pytest.importorskip("OpenImageIO")
    write_exr(
        tmp_path / "a.exr",
        np.zeros((4, 4, 3), np.float32),
        attributes={"timeCode": Timecode(23, 59, 58, 29, 30, True), "framesPerSecond": NTSC, "pixelAspectRatio": 1.5},
    )
    spec = oiio.ImageBuf(str(tmp_path / "a.exr")).spec()
    # BCD of SMPTE ST 12-1: hours, minutes, seconds, frames; bit 6 of the frames is the drop flag
    assert spec.getattribute("smpte:TimeCode")[0] == 0x23595829 | 0x40
    assert spec.get_float_attribute("PixelAspectRatio") == 1.5


def test_a_part_of_a_clip_begins_with_its_own_code(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mov", tags={"timecode": "01:00:00:00"}, aspect=Fraction(4, 3))
    run = options(frame_range=(3, 5), regular=True, hlg=True)
    reconstruct_clip([str(clip)], tmp_path / "out", run)
    assert codes(tmp_path / "out") == ["01:00:00:03", "01:00:00:04", "01:00:00:05"]
    for kind in ("preview", "hlg"):
        facts = video_facts(tmp_path / "out" / f"a.000003-000005.{kind}.mp4")
        assert facts == ("01:00:00:03", Fraction(4, 3))
    header = read_exr(tmp_path / "out" / "a.000003.exr")[1]
    assert header["pixelAspectRatio"] == pytest.approx(4 / 3)


def test_a_video_of_every_second_frame_counts_its_own_rate(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mov", tags={"timecode": "01:00:00:10"})
    reconstruct_clip([str(clip)], tmp_path / "out", options(only="long", regular=True))
    # of the 24 frames a second it has 12: the first long frame, number 11, is the sixth of them
    assert video_facts(tmp_path / "out" / "a.preview.mp4")[0] == "01:00:00:05"
    assert codes(tmp_path / "out")[:2] == ["01:00:00:11", "01:00:00:13"]


def test_pixels_stay_square_where_nothing_is_said(clip: Path, undisturbed: Path) -> None:
    header = read_exr(undisturbed / "clip.000000.exr")[1]
    assert header["pixelAspectRatio"] == 1
    assert not {"timeCode", "reelName", "capDate", "expTime", "isoSpeed"} & set(header)
    assert video_facts(undisturbed / "clip.preview.mp4") in [("", None), ("", Fraction(1))]


def test_the_date_moves_on_with_the_clip(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mov", rate=4, tags={"creation_time": "2026-02-28T23:59:59Z"})
    with open_clip(clip) as reader:
        first, last = reader.metadata(3), reader.metadata(7)
    assert (first.captured, first.utc_offset_seconds) == ("2026:02:28 23:59:59", 0.0)
    assert last.captured == "2026:03:01 00:00:00"
    reconstruct_clip([str(clip)], tmp_path / "out", options(frame_range=(7, 7), preview=False))
    header = read_exr(tmp_path / "out" / "a.000007.exr")[1]
    assert (header["capDate"], header["utcOffset"]) == ("2026:03:01 00:00:00", 0.0)


@pytest.mark.parametrize("text", ["", "yesterday", "1970-01-01T00:00:00Z", "2026-13-01"])
def test_dates_that_are_none(text: str) -> None:
    assert date_and_offset(text) == ("", None)


@pytest.mark.parametrize(
    ("width", "height", "aspect"),
    [(4, 3, Fraction(4, 3)), (1.3333333, 1, Fraction(4, 3)), (0, 1, 1), (1, 0, 1), (None, 1, 1), (2**32 - 1, 1, 1)],
)
def test_shapes_of_pixels(width: object, height: object, aspect: Fraction) -> None:
    assert aspect_of(width, height) == aspect


def test_a_turned_picture_has_turned_pixels(tmp_path: Path) -> None:
    """A display matrix of a quarter turn, written into the track header of the file."""
    clip = write_clip(tmp_path / "a.mov", aspect=Fraction(4, 3))
    data = bytearray(clip.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    assert struct.unpack(">9i", data[at : at + 36]) == (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    data[at : at + 36] = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 48 << 16, 0, 1 << 30)
    clip.write_bytes(data)
    with open_clip(clip) as reader:
        assert (reader.info.width, reader.info.height) == (48, 64)
        assert reader.info.first.pixel_aspect == Fraction(3, 4)


# From the files of a sequence


def write_dpx_clip(folder: Path, code_of_frame: Mapping[int, int], num_frames: int = 4) -> Path:
    folder.mkdir()
    for i in range(num_frames):
        path = clips.write_dpx(folder / f"d.{i:04d}.dpx", coded(i) / 255, 10)
        data = bytearray(path.read_bytes())
        order = ">" if data[:4] == b"SDPX" else "<"
        data[136:160] = b"2026:05:06:07:08:09:UTC\0"
        data[1628:1636] = struct.pack(f"{order}II", 2, 1)
        data[1920:1924] = struct.pack(f"{order}I", code_of_frame[i])
        path.write_bytes(data)
    return folder


def test_dpx_headers(tmp_path: Path) -> None:
    # 0x40 above the tens of frames is the drop flag of SMPTE ST 12-1
    codes_of_frames = {0: 0x01020328 | 0x40, 1: 0x01020329 | 0x40, 2: 0x01020400 | 0x40, 3: 0x01030000}
    folder = write_dpx_clip(tmp_path / "d", codes_of_frames)
    reconstruct_clip([str(folder)], tmp_path / "out", options(fps=NTSC, regular=True))
    assert codes(tmp_path / "out") == ["01:02:03;28", "01:02:03;29", "01:02:04;00", "01:03:00:00"]
    header = read_exr(tmp_path / "out" / "d.0002.exr")[1]
    assert (header["capDate"], header["pixelAspectRatio"]) == ("2026:05:06 07:08:09", 2.0)
    assert video_facts(tmp_path / "out" / "d.preview.mp4") == ("01:02:03;28", Fraction(2))


@pytest.mark.parametrize("code", [0xFFFFFFFF, 0, 0x99999999, 0x01020304])
def test_dpx_headers_without_a_code(code: int, tmp_path: Path) -> None:
    """Undefined, no code at all, or one that stands still."""
    folder = write_dpx_clip(tmp_path / "d", dict.fromkeys(range(4), code))
    with open_clip(folder) as reader:
        assert [reader.metadata(i).timecode for i in range(4)] == [None] * 4
        assert reader.metadata(3).captured


def test_exif_of_every_frame(tmp_path: Path) -> None:
    folder = tmp_path / "j"
    folder.mkdir()
    for i in range(4):
        exif = Image.Exif()
        own = exif.get_ifd(0x8769)
        own |= {
            0x829A: IFDRational(1, (500, 60)[i % 2]),
            0x8827: 400,
            0x829D: 2.8,
            0x9003: f"2026:05:06 07:08:{i:02d}",
        }
        Image.fromarray(coded(i)).save(folder / f"IMG_{i + 7:04d}.jpg", quality=98, exif=exif)
    reconstruct_clip([str(folder)], tmp_path / "out", options(exposures="0,3", preview=False, regular=True))
    headers = [read_exr(path)[1] for path in sorted((tmp_path / "out").glob("*.exr"))]
    assert [h["expTime"] for h in headers] == pytest.approx([1 / 500, 1 / 60] * 2)
    assert [h["capDate"] for h in headers] == [f"2026:05:06 07:08:{i:02d}" for i in range(4)]
    assert (headers[0]["isoSpeed"], headers[0]["aperture"]) == (400.0, pytest.approx(2.8))


def test_entries_of_exr_frames_are_handed_on(tmp_path: Path) -> None:
    folder = tmp_path / "e"
    folder.mkdir()
    for i in range(4):
        linear = np.clip(scene_radiance(i, 64, 48) * (1, 8)[i % 2], 0, 1)
        entries = {
            "timeCode": Timecode(1, 2, 3, 4, 24).plus(5 * i),
            "reelName": "A012",
            "capDate": "2026:05:06 07:08:09",
            "utcOffset": -7200.0,
            "expTime": 1 / 48,
            "isoSpeed": 800.0,
            "pixelAspectRatio": 2.0,
        }
        write_exr(folder / f"e.{i:04d}.exr", linear, attributes=entries)
    with open_clip(folder) as reader:
        assert reader.info.details["timecode"] == "01:02:03:04"
        assert reader.info.details["pixel_aspect_ratio"] == "2"
    reconstruct_clip([str(folder)], tmp_path / "out", options(preview=False, regular=True))
    assert codes(tmp_path / "out") == ["01:02:03:04", "01:02:03:09", "01:02:03:14", "01:02:03:19"]
    header = read_exr(tmp_path / "out" / "e.0003.exr")[1]
    for name in ("reelName", "capDate", "utcOffset", "isoSpeed", "pixelAspectRatio"):
        assert header[name] == entries[name]


def test_codes_of_pairs_come_back(tmp_path: Path) -> None:
    code = Timecode(1, 2, 3, 45, 50)
    write_exr(tmp_path / "a.exr", np.zeros((4, 4, 3), np.float32), attributes={"timeCode": code})
    assert read_frame_metadata(tmp_path / "a.exr", Fraction(50)).timecode == code


def test_radiance_files_say_the_shape_of_pixels(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mov", tags={"timecode": "01:00:00:00"}, aspect=Fraction(2))
    run = options(frame_range=(1, 1), regular=True, format="hdr", preview=False)
    reconstruct_clip([str(clip)], tmp_path / "out", run)
    lines = read_hdr_attributes(tmp_path / "out" / "a.000001.hdr")
    assert (lines["timeCode"], lines["PIXASPECT"]) == ("01:00:00:01", "0.5")
    assert cv2.imread(str(tmp_path / "out" / "a.000001.hdr"), cv2.IMREAD_UNCHANGED).shape == (48, 64, 3)


@pytest.mark.parametrize("name", ["a.dpx", "a.exr", "a.jpg", "a.png", "missing.exr"])
def test_damaged_headers_say_nothing(name: str, tmp_path: Path) -> None:
    if name != "missing.exr":
        (tmp_path / name).write_bytes(b"SDPX" + bytes(100) if name.endswith("dpx") else b"\x76\x2f\x31\x01nonsense")
    assert read_frame_metadata(tmp_path / name, Fraction(24)) == FrameMetadata()


def test_a_damaged_frame_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """OpenEXR reports on stdout, where results for machines go."""
    for i in range(3):
        write_exr(tmp_path / f"{i:04d}.exr", np.zeros((40, 40, 3), np.float32))
    whole = (tmp_path / "0001.exr").read_bytes()
    for data in (whole[:-9], whole[:300], whole[:100] + b"\xff" * 200 + whole[300:]):
        (tmp_path / "0001.exr").write_bytes(data)
        with open_clip(tmp_path) as reader:
            assert reader.metadata(1).timecode is None
    assert capfd.readouterr().out == ""


def test_metadata_without_code_and_date_moves_on_unchanged() -> None:
    assert later(FrameMetadata(reel="A"), 1000, Fraction(24)) == FrameMetadata(reel="A")
