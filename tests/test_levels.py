"""Levels of stored codes, mosaics, clips with one channel, fields: what they become in light, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import clips
import cv2
import numpy as np
import OpenEXR
import pytest

from hdrvid.cli.app import run
from hdrvid.detect.clip import Detection, DetectOptions, inspect_clip
from hdrvid.errors import ExposureError, InputError, OutputError, UsageError
from hdrvid.io import open_clip
from hdrvid.io.exr import read_exr, read_exr_picture, write_exr
from hdrvid.io.frames import read_picture
from hdrvid.io.samples import BAYER_PATTERNS, Levels, SampleFormat, demosaiced
from hdrvid.pipeline.options import ReconstructOptions
from hdrvid.pipeline.run import reconstruct_clip

WIDTH, HEIGHT, FRAMES = 96, 64, 8
STOPS = (0, 3)
BLACK, WHITE = 64, 4095

pytestmark = pytest.mark.usefixtures("one_thread")


def radiance(index: int, colour: Sequence[float] = (1.0, 0.7, 0.4)) -> np.ndarray:
    """A smooth scene that moves, (H, W, 3), 1.0 where the shortest exposure clips; its lights reach 0.9."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    phase = (x - 2 * index) / 9
    lamp = 0.7 * np.exp(-((x - 48) ** 2 + (y - 32) ** 2) / 60)
    light = 0.01 + 0.04 * (1 + np.sin(phase)) * (1 + np.cos(y / 7)) + lamp
    return light[..., None] * np.array(colour)


def linear(index: int) -> np.ndarray:
    """What the sensor gets, (H, W, 3) in [0, 1]."""
    return np.clip(radiance(index) * 2.0 ** STOPS[index % 2], 0, 1)


def mosaic(picture: np.ndarray, pattern: str) -> np.ndarray:
    """(H, W) samples behind the filters of a pattern."""
    result = np.empty(picture.shape[:2])
    for place, name in enumerate(pattern):
        y, x = divmod(place, 2)
        result[y::2, x::2] = picture[y::2, x::2, "rgb".index(name)]
    return result


def sensor_codes(light: np.ndarray, black: float = BLACK, white: float = WHITE) -> np.ndarray:
    return np.rint(black + light * (white - black)).astype(np.uint16)


def write(folder: Path, codes: Sequence[np.ndarray], suffix: str = ".tif") -> Path:
    folder.mkdir()
    for i, code in enumerate(codes):
        assert cv2.imwrite(str(folder / f"{i:04d}{suffix}"), code[..., ::-1] if code.ndim == 3 else code)
    return folder


def detected(clip: Path, **options: object) -> Detection:
    return inspect_clip([str(clip)], DetectOptions(exposures="0,3", **options))


def light_of(clip: Path, detection: Detection) -> list[np.ndarray]:
    """Linear light of all frames, as a reconstruction gets it."""
    with open_clip(clip, samples=detection.samples) as reader:
        if detection.levels is not None:
            reader.set_levels(detection.levels)
        return [np.asarray(detection.response.linearize(frame.pixels)) for frame in reader.frames()]


# levels that are given


@pytest.mark.parametrize("shift", [0, 4])
@pytest.mark.parametrize("white", [4095, 4000, 2900])
def test_declared_levels_decide(tmp_path: Path, shift: int, white: int) -> None:
    """Also where the codes would say otherwise: 2900 is the white of no depth."""
    codes = [sensor_codes(linear(i), white=white) << shift for i in range(FRAMES)]
    clip = write(tmp_path / "shot", codes)
    levels = {"black_level": BLACK << shift, "white_level": white << shift}
    found = detected(clip, response="linear", bits=12, **levels)
    assert (found.levels, found.info.bit_depth) == (Levels(65535, white << shift, BLACK << shift, 12), 12)
    assert found.info.details["levels"] == (
        f"12 bits in 16, white at code {white << shift}, black level {BLACK << shift}"
    )
    for index, light in enumerate(light_of(clip, found)):
        assert np.abs(light - linear(index)).max() <= 0.51 / (white - BLACK)


def test_a_linear_curve_without_the_black_level_is_told_of_it(tmp_path: Path) -> None:
    codes = [sensor_codes(0.2 * linear(i), black=400) for i in range(FRAMES)]
    clip = write(tmp_path / "shot", codes)
    with pytest.raises(ExposureError, match=r"--black-level \(the darkest code is 4\d\d\)"):
        detected(clip, response="linear")
    assert detected(clip, response="linear", black_level=400).cycle is not None


@pytest.mark.parametrize("kind", ["low", "high", "repeated"])
def test_bits_alone(tmp_path: Path, kind: str) -> None:
    codes = [np.rint(linear(i) * 1023).astype(np.uint16) for i in range(FRAMES)]
    stored = {"low": codes, "high": [c << 6 for c in codes], "repeated": [(c << 6) | (c >> 4) for c in codes]}[kind]
    clip = write(tmp_path / "shot", stored, ".png")
    found = detected(clip, response="linear", bits=10)
    assert found.info.bit_depth == 10
    for index, light in enumerate(light_of(clip, found)):
        assert np.abs(light - linear(index)).max() <= 0.6 / 1023


def test_levels_of_eight_bits(tmp_path: Path) -> None:
    """Limited range that was stored as full."""
    codes = [np.rint(16 + 219 * linear(i) ** (1 / 2.2)).astype(np.uint8) for i in range(FRAMES)]
    clip = write(tmp_path / "shot", codes, ".png")
    found = detected(clip, response="gamma2.2", black_level=16, white_level=235)
    assert found.info.details["levels"] == "8 bits, white at code 235, black level 16"
    for index, light in enumerate(light_of(clip, found)):
        assert np.abs(light ** (1 / 2.2) - linear(index) ** (1 / 2.2)).max() <= 0.51 / 219


@pytest.mark.parametrize("pixel_format", ["gray12le", "gbrp12le"])
def test_levels_of_a_video_of_raw_codes(tmp_path: Path, pixel_format: str) -> None:
    frames = []
    for i in range(FRAMES):
        code = sensor_codes(linear(i), white=4000)
        planes = [code[..., 1]] if pixel_format == "gray12le" else [code[..., 1], code[..., 2], code[..., 0]]
        frames.append(clips.frame_of_planes(planes, pixel_format))
    clip = clips.write_frames(tmp_path / "shot.mkv", frames, "ffv1", matrix=0, color_range=2)
    found = detected(clip, response="linear", black_level=BLACK, white_level=4000)
    assert found.info.one_channel == (pixel_format == "gray12le")
    for index, light in enumerate(light_of(clip, found)):
        true = linear(index)[..., 1:2] if found.info.one_channel else linear(index)
        assert np.abs(light - true).max() <= 0.6 / (4000 - BLACK)


def test_a_pgm_says_its_white(tmp_path: Path) -> None:
    """No code is near it, but the header has it; of a TIFF with the same codes --bits does."""
    (tmp_path / "shot").mkdir()
    codes = [np.rint(radiance(i)[..., 1] * 2.0 ** STOPS[i % 2] / 8 * 2500).astype(np.uint16) for i in range(FRAMES)]
    for i, code in enumerate(codes):
        data = f"P5 {WIDTH} {HEIGHT} 4095\n".encode() + code.astype(">u2").tobytes()
        (tmp_path / "shot" / f"{i:04d}.pgm").write_bytes(data)
    found = detected(tmp_path / "shot", response="linear")
    assert (found.white_code, found.info.bit_depth, found.warnings) == (4095, 12, ())
    tiff = write(tmp_path / "tiff", codes)
    assert any("give --bits 12" in text for text in detected(tiff, response="linear").warnings)
    assert detected(tiff, response="linear", bits=12).white_code == 4095


def test_levels_that_are_found_are_said(tmp_path: Path) -> None:
    clip = write(tmp_path / "shot", [sensor_codes(linear(i) * 0.999) for i in range(FRAMES)])
    levels = detected(clip).info.details["levels"]
    assert levels.startswith("12 bits in 16, white at code 4095, black level ")


# levels that cannot be


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"black_level": 5000, "white_level": 4095}, UsageError, "--white-level 4095 is not above --black-level 5000"),
        ({"black_level": 4500, "bits": 12}, InputError, "--black-level 4500 is not above 0 and below the white level"),
        ({"bits": 10}, InputError, "the codes of .* reach 4095, and 10 bits end at 1023"),
        ({"white_level": 3000}, InputError, r"% of the codes of .* are above the white level 3000, up to 4095"),
        ({"black_level": 3500}, InputError, "of the codes of the brightest frame of .* are below the black level 3500"),
        ({"black_level": -1}, UsageError, "--black-level takes a stored code"),
        ({"white_level": float("nan")}, UsageError, "--white-level takes a stored code"),
        ({"bits": 17}, UsageError, "--bits takes 8 to 16"),
        ({"bayer": "rgbg"}, UsageError, "--bayer takes auto, none, rggb"),
        ({"bayer": "rggb"}, InputError, "holds colour pictures, but --bayer is for"),
        ({"white_balance": (2, 1, 2)}, UsageError, "it needs --bayer"),
        ({"bayer": "rggb", "white_balance": (2, 1, 2)}, UsageError, "it needs --black-level"),
        ({"deinterlace": True}, UsageError, "--deinterlace is for video"),
    ],
)
def test_contradictions_are_one_sentence(tmp_path: Path, options: dict, kind: type, text: str) -> None:
    clip = write(tmp_path / "shot", [sensor_codes(linear(i)) for i in range(FRAMES)])
    with pytest.raises(kind, match=text):
        detected(clip, response="linear", **options)


def test_defect_pixels_contradict_nothing(tmp_path: Path) -> None:
    codes = [sensor_codes(linear(i), white=3500) for i in range(FRAMES)]
    for code in codes:
        code[5, 7, 1] = 4095
    clip = write(tmp_path / "shot", codes)
    assert detected(clip, response="linear", black_level=BLACK, white_level=3500).white_code == 3500


def test_levels_of_what_has_none(tmp_path: Path) -> None:
    floats = clips.write_images(tmp_path / "exr", [linear(i) for i in range(4)], ".exr")
    with pytest.raises(UsageError, match="scene-linear, so it has no levels"):
        detected(floats, black_level=64)
    video = clips.write_yuv(tmp_path / "shot.mp4", [linear(i) for i in range(4)], "libx264", "yuv420p")
    with pytest.raises(UsageError, match="video of limited range, whose black and white are given by its tag"):
        detected(video, black_level=16)
    eight = clips.write_images(tmp_path / "png", [linear(i) for i in range(4)], ".png")
    with pytest.raises(UsageError, match="has 8 bits a sample, so --bits 12 cannot be"):
        detected(eight, bits=12)
    with pytest.raises(UsageError, match=r"--white-level 4095 is no code of .*: its largest one is 255"):
        detected(eight, white_level=4095)
    animation = clips.write_animation(tmp_path / "shot.webp", [linear(i) for i in range(4)], lossless=True)
    with pytest.raises(UsageError, match="animated picture"):
        detected(animation, black_level=16)


def test_levels_of_shifted_codes_that_were_not_shifted(tmp_path: Path) -> None:
    clip = write(tmp_path / "shot", [sensor_codes(linear(i)) << 4 for i in range(FRAMES)])
    found = inspect_clip([str(clip)], DetectOptions("auto", "linear", black_level=BLACK))
    assert any("shifted by 4 bits" in text and "it may be 1024" in text for text in found.warnings)


# mosaics


@pytest.mark.parametrize("pattern", BAYER_PATTERNS)
def test_a_flat_colour_comes_back_in_every_pattern(pattern: str) -> None:
    """Everywhere, borders included; odd sizes too."""
    for height, width in ((12, 16), (11, 13)):
        picture = np.broadcast_to(np.array([0.6, 0.3, 0.1]), (height, width, 3))
        result = demosaiced(mosaic(picture, pattern).astype(np.float32), pattern)
        assert np.abs(result - picture).max() < 2 / 65535


@pytest.mark.parametrize("pattern", BAYER_PATTERNS)
def test_demosaiced_pictures_are_close(pattern: str) -> None:
    """Closer than OpenCV's own red and blue, which are interpolated without a look at green."""
    picture = np.clip(radiance(0), 0, 1)
    samples = mosaic(picture, pattern).astype(np.float32)
    stored = np.rint(samples * 65535).astype(np.uint16)
    plain = cv2.demosaicing(stored, getattr(cv2, f"COLOR_Bayer{pattern.upper()}2RGB_EA")) / 65535
    inner = (slice(2, -2), slice(2, -2))
    error = np.square(demosaiced(samples, pattern) - picture)[inner].mean()
    assert error < 0.7 * np.square(plain - picture)[inner].mean()
    assert error < 1e-6


def test_what_clips_is_white_after_white_balance() -> None:
    """The sensor's clipping is neutral with factors, whatever they are; below it they multiply."""
    picture = np.ones((16, 16, 3))
    picture[:, :8] = (0.2, 0.4, 0.25)
    result = demosaiced(mosaic(picture, "rggb").astype(np.float32), "rggb", (4.0, 2.0, 3.2))
    assert np.array_equal(result[:, 11:], np.ones((16, 5, 3), np.float32))
    assert result[:, 3] == pytest.approx(np.broadcast_to([0.4, 0.4, 0.4], (16, 3)), abs=1e-4)


@pytest.mark.parametrize("black", [True, False])
def test_a_mosaic_becomes_pictures(tmp_path: Path, black: bool) -> None:
    clip = write(tmp_path / "shot", [sensor_codes(mosaic(linear(i), "gbrg")) for i in range(FRAMES)], ".png")
    with pytest.raises(InputError, match=r"mosaic of a colour sensor.*--bayer grbg or --bayer gbrg; .*--bayer none"):
        detected(clip)
    assert detected(clip, bayer="none", response="linear").info.one_channel
    levels = {"bits": 12, "black_level": BLACK} if black else {}
    found = detected(clip, bayer="gbrg", response="linear" if black else "auto", **levels)
    assert not found.info.one_channel
    assert not any("greens" in text for text in found.warnings)
    if black:
        for index, light in enumerate(light_of(clip, found)):
            assert np.sqrt(np.square(light - linear(index)).mean()) < 0.01


def test_a_wrong_pattern_is_noticed(tmp_path: Path) -> None:
    clip = write(tmp_path / "shot", [sensor_codes(mosaic(linear(i), "rggb")) for i in range(FRAMES)], ".png")
    texts = detected(clip, bayer="grbg", bits=12, black_level=BLACK, response="linear").warnings
    assert any("the two greens of --bayer grbg differ" in t and "rggb or bggr" in t for t in texts)
    even = [np.repeat(np.repeat(linear(i)[::4, ::4, 1], 4, axis=0), 4, axis=1) for i in range(FRAMES)]
    flat = write(tmp_path / "grey", [sensor_codes(light) for light in even], ".png")
    texts = detected(flat, bayer="rggb", bits=12, black_level=BLACK, response="linear").warnings
    assert any("if it is no mosaic, leave out --bayer" in text for text in texts)


def test_a_grey_picture_with_a_few_lights_is_no_mosaic(tmp_path: Path) -> None:
    """The means of the four places differ, because a light falls on one of them."""
    frames = [np.full((HEIGHT, WIDTH), 0.002 * 2.0 ** STOPS[i % 2]) for i in range(FRAMES)]
    for i, frame in enumerate(frames):
        frame[(10, 30, 52), (40, 12, 80)] = 0.1 * 2.0 ** STOPS[i % 2]
    clip = write(tmp_path / "shot", [sensor_codes(frame, 0) for frame in frames])
    assert detected(clip, bits=12, response="linear", regular=True).info.one_channel


# one channel


@pytest.fixture(scope="module")
def grey_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grey") / "shot"
    codes = [np.rint(linear(i)[..., 1] ** (1 / 2.2) * 255).astype(np.uint8) for i in range(FRAMES)]
    return write(folder, codes, ".png")


GREY = ReconstructOptions("0,3", "gamma2.2", model="classical", compression="zip")


def test_a_grey_clip_gives_grey_frames(tmp_path: Path, grey_clip: Path) -> None:
    said: list[str] = []
    report = reconstruct_clip([str(grey_clip)], tmp_path, GREY, message=said.append)
    paths = sorted(tmp_path.glob("*.exr"))
    assert len(paths) == FRAMES
    for index, path in enumerate(paths):
        part = OpenEXR.File(str(path), separate_channels=True).parts[0]
        assert list(part.channels) == ["Y"]
        assert not {"chromaticities", "colorInteropID"} & set(part.header)
        pixels, header = read_exr(path)
        assert np.array_equal(pixels[..., 0], pixels[..., 2])
        result, true = pixels[..., 1] / float(header["hdrvid:scale"]), radiance(index)[..., 1]
        seen = true > 0.02
        assert np.median(np.abs(np.log2(result[seen] / true[seen]))) < 0.05
    assert report.as_dict()["settings"]["one_channel"] is True
    assert not any("primaries" in text for text in said)
    with av.open(str(tmp_path / "shot.preview.mp4")) as video:
        shown = [frame.to_ndarray() for frame in video.decode(video=0)]
    assert len(shown) == FRAMES
    height = read_exr(paths[0])[0].shape[0]
    assert all((planes[height:] == 128).all() for planes in shown), "the preview has no colour"


def test_grey_frames_are_kept_read_and_shown(tmp_path: Path, grey_clip: Path) -> None:
    """Resume, --hdr10 and the page read the frames back; reconstruct takes them as a clip; eval sees grey."""
    first = reconstruct_clip([str(grey_clip)], tmp_path / "out", GREY)
    again = ReconstructOptions("0,3", "gamma2.2", model="classical", hdr10=True, hlg=True)
    second = reconstruct_clip([str(grey_clip)], tmp_path / "out", again)
    assert (first.as_dict()["frames"]["kept"], second.as_dict()["frames"]["kept"]) == (0, FRAMES)
    with av.open(str(tmp_path / "out" / "shot.hdr10.mp4")) as video:
        frame = next(video.decode(video=0)).to_ndarray(format="gbrp16le")
        assert np.abs(frame[..., 0].astype(int) - frame[..., 2]).max() < 600  # no colours but those of coding
    assert run(["report", str(tmp_path / "out")]) == 0
    picture = read_picture(tmp_path / "out" / "shot.0000.exr")
    assert picture.one_channel
    assert picture.linear
    page = next((tmp_path / "out").glob("*.html")).read_text()
    assert "shot" in page


def test_grey_exr_is_a_clip(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i in range(FRAMES):
        write_exr(
            tmp_path / "in" / f"a.{i:04d}.exr", linear(i)[..., 1:2].repeat(3, 2).astype(np.float32), one_channel=True
        )
    reconstruct_clip([str(tmp_path / "in")], tmp_path / "out", ReconstructOptions("0,3", model="classical"))
    result = read_exr_picture(next(iter(sorted((tmp_path / "out").glob("*.exr")))))
    assert result.one_channel
    assert result.pixels.shape == (HEIGHT, WIDTH, 3)


def test_radiance_frames_of_a_grey_clip_are_rgb_and_it_is_said(tmp_path: Path, grey_clip: Path) -> None:
    said: list[str] = []
    options = ReconstructOptions("0,3", "gamma2.2", model="classical", format="hdr", preview=False)
    reconstruct_clip([str(grey_clip)], tmp_path, options, message=said.append)
    assert any("Radiance .hdr has no kind with one channel" in text for text in said)
    pixels = read_picture(tmp_path / "shot.0000.hdr").pixels
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


def test_primaries_of_grey_are_refused(tmp_path: Path, grey_clip: Path) -> None:
    options = ReconstructOptions("0,3", "gamma2.2", model="classical", primaries="acescg")
    with pytest.raises(UsageError, match="is grey, so --primaries acescg has no meaning"):
        reconstruct_clip([str(grey_clip)], tmp_path / "out", options)
    with pytest.raises(UsageError, match="is grey, so --input-primaries rec2020 has no meaning"):
        detected(grey_clip, input_primaries="rec2020")
    assert not list(tmp_path.rglob("*.exr"))


def test_grey_and_colour_do_not_mix(tmp_path: Path) -> None:
    clip = write(tmp_path / "shot", [np.full((HEIGHT, WIDTH), 40, np.uint8)] * 3, ".png")
    cv2.imwrite(str(clip / "0003.png"), np.full((HEIGHT, WIDTH, 3), 40, np.uint8))
    with open_clip(clip) as reader, pytest.raises(InputError, match=r"0003\.png is in colour but 0000\.png is grey"):
        list(reader.frames())


# settings that decide pixels


@pytest.mark.parametrize(
    "change", [{"white_level": 4000}, {"black_level": 60}, {"bayer": "bggr"}, {"white_balance": (2.0, 1.0, 1.0)}]
)
def test_a_run_with_other_levels_does_not_go_on(tmp_path: Path, change: dict) -> None:
    codes = [sensor_codes(mosaic(linear(i), "rggb"), white=3990) for i in range(4)]
    clip = write(tmp_path / "shot", codes, ".png")
    options = {"response": "linear", "model": "classical", "preview": False, "black_level": 64, "white_level": 3990}
    options |= {"bayer": "rggb", "regular": True, "deflicker": False, "exposures": "0,3"}
    reconstruct_clip([str(clip)], tmp_path / "out", ReconstructOptions(**options))
    report = reconstruct_clip([str(clip)], tmp_path / "out", ReconstructOptions(**options))
    assert report.as_dict()["frames"]["kept"] == 4
    with pytest.raises(OutputError, match="was made with other settings"):
        reconstruct_clip([str(clip)], tmp_path / "out", ReconstructOptions(**options | change))


# fields


def interlaced_video(path: Path, fields: Sequence[np.ndarray], order: str = "tff") -> Path:
    """Lossless video whose frames hold two moments each; `order` says which field is the first, as FFmpeg names it."""
    marking = av.filter.Graph()
    source = marking.add_buffer(width=WIDTH, height=HEIGHT, format="yuv420p", time_base=Fraction(1, 24))
    marked, sink = marking.add("setfield", f"mode={order}"), marking.add("buffersink")
    source.link_to(marked)
    marked.link_to(sink)
    marking.configure()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"qp": "0", "flags": "+ildct+ilme"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for i, (first, second) in enumerate(zip(fields[::2], fields[1::2], strict=True)):
            woven, rows = first.copy(), slice(1 if order == "tff" else 0, None, 2)
            woven[rows] = second[rows]
            frame = clips.frame_of_planes([woven, *[np.full((HEIGHT // 2, WIDTH // 2), 128, np.uint8)] * 2], "yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, 24)
            marking.vpush(frame)
            container.mux(stream.encode(marking.vpull()))
        container.mux(stream.encode())
    return path


def stripes(index: int) -> np.ndarray:
    """A bar that jumps from one field to the next, alternating in exposure every two of them."""
    picture = np.full((HEIGHT, WIDTH), 40 if index // 2 % 2 else 90, np.uint8)
    picture[:, 10 + 6 * index : 22 + 6 * index] = 200
    return picture


@pytest.mark.parametrize("order", ["tff", "bff"])
def test_fields_become_whole_frames(tmp_path: Path, order: str) -> None:
    """Each of its first field's moment alone: no rows of the second, none of neighbours, which have other exposures."""
    fields = [stripes(i) for i in range(12)]
    path = interlaced_video(tmp_path / "shot.mkv", fields, order)
    with open_clip(path) as plain, open_clip(path, samples=SampleFormat(deinterlace=True)) as clip:
        assert plain.info.details["scan"] == "interlaced"
        assert clip.info.details["scan"] == "interlaced, deinterlaced"
        before, after = list(plain.frames()), list(clip.frames())
        assert [f.pts_seconds for f in after] == [f.pts_seconds for f in before]
        for index, frame in enumerate(after):
            expected = (fields[2 * index].astype(float) - 16) / 219
            assert np.abs(frame.pixels[..., 1] - expected).max() < 0.01
            alone = next(clip.frames(index, index + 1))
            assert np.array_equal(alone.pixels, frame.pixels)
        assert np.abs(before[2].pixels - after[2].pixels).max() > 0.2


def test_fields_are_said(tmp_path: Path) -> None:
    path = interlaced_video(tmp_path / "shot.mkv", [stripes(i) for i in range(12)])
    assert any("give --deinterlace" in text for text in detected(path, regular=True).warnings)
    assert not any("deinterlace" in text for text in detected(path, regular=True, deinterlace=True).warnings)
    uneven = [np.full((HEIGHT, WIDTH), 60 + 120 * (i % 2), np.uint8) for i in range(12)]
    path = interlaced_video(tmp_path / "uneven.mkv", uneven)
    for deinterlace in (True, False):
        texts = detected(path, regular=True, deinterlace=deinterlace).warnings
        assert any("fields of its frames are" in text and "separatefields" in text for text in texts)
    whole = clips.write_ffv1(tmp_path / "whole.mkv", [linear(i) for i in range(4)])
    assert any("is not marked as interlaced" in text for text in detected(whole, deinterlace=True).warnings)


# the command line


def test_info_says_the_levels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = write(tmp_path / "shot", [sensor_codes(linear(i), white=4000) for i in range(FRAMES)])
    levels = ["--bits", "12", "--black-level", "64", "--white-level", "4000"]
    assert run(["info", str(clip), "--exposures", "0,3", "--response", "linear", *levels, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["levels"] == {"top": 65535.0, "white": 4000.0, "black": 64.0, "bits": 12}
    assert run(["info", str(clip), "--exposures", "0,3", "--response", "linear", *levels]) == 0
    assert "levels: 12 bits in 16, white at code 4000, black level 64" in capsys.readouterr().out
    assert run(["info", str(clip), "--bits", "10"]) == 1
    assert run(["info", str(clip), "--bits", "7"]) == 2
    assert run(["info", str(clip), "--white-balance", "1,2"]) == 2


def test_a_mosaic_is_not_called_grey(tmp_path: Path) -> None:
    clip = write(tmp_path / "shot", [sensor_codes(mosaic(linear(i), "rggb")) for i in range(FRAMES)], ".png")
    found = detected(clip, bayer="rggb", bits=12, black_level=BLACK, response="linear")
    assert "grey" not in found.info.details
    assert "grey" in detected(clip, bayer="none", bits=12, black_level=BLACK, response="linear").info.details
