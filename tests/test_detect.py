"""Cameras that nobody named: curves, levels, colours, repeats, wrong declarations. Right, or one clear sentence.

Every clip is the same small moving scene, whose truth is known, filmed by another camera.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from hdrvid.color.gamuts import GAMUTS, REC709, Gamut, conversion_matrix, to_white
from hdrvid.color.hdr_signals import hlg_encode, pq_encode
from hdrvid.color.radiance import mu_law
from hdrvid.color.response import (
    RESPONSES,
    contrast_response,
    gamma_response,
    levelled_response,
    measured_response,
    sigmoid_response,
)
from hdrvid.data.scenes import procedural_scene
from hdrvid.detect.clip import Detection, DetectOptions, inspect_clip, required_exposures
from hdrvid.errors import ExposureError, InputError, UsageError
from hdrvid.html.clip_results import find_clips
from hdrvid.html.reconstruction_report import write_report
from hdrvid.io.exr import read_exr, write_exr
from hdrvid.options.report import ReportOptions
from hdrvid.pipeline.options import ReconstructOptions
from hdrvid.pipeline.run import reconstruct_clip

WIDTH, HEIGHT, FRAMES = 320, 192, 12
CLASSICAL = ReconstructOptions(model="classical", preview=False)

pytestmark = pytest.mark.usefixtures("one_thread")


@lru_cache(maxsize=1)
def truth() -> tuple[np.ndarray, ...]:
    """(H, W, 3) radiance of every frame, 1.0 = the shortest exposure clips."""
    scene = procedural_scene(3, WIDTH, HEIGHT, FRAMES, motion=2.0)
    frames = [scene.render(t) for t in range(FRAMES)]
    return tuple((f / np.percentile(frames[0].max(-1), 99.5)).astype(np.float64) for f in frames)


def exposed(stops: Sequence[float] = (0, 3), noise: float = 3e-4) -> Iterator[np.ndarray]:
    """Linear sensor values in [0, 1]."""
    rng = np.random.default_rng(0)
    for frame, s in zip(truth(), itertools.cycle(stops), strict=False):
        light = frame * 2.0**s
        yield np.clip(light + rng.normal(0, 1, light.shape) * np.sqrt(light * 2e-5 + noise**2), 0, 1)


def write_codes(folder: Path, codes: Iterator[np.ndarray], bits: int = 8, suffix: str = ".png") -> Path:
    folder.mkdir()
    kind = np.uint8 if bits == 8 else np.uint16
    for i, code in enumerate(codes):
        stored = np.round(np.clip(code, 0, 1) * (2**bits - 1)).astype(kind)
        cv2.imwrite(str(folder / f"{i:06d}{suffix}"), stored[..., ::-1] if stored.ndim == 3 else stored)
    return folder


def detected(clip: Path, exposures: str = "auto", response: str = "auto", **more) -> Detection:
    return inspect_clip([str(clip)], DetectOptions(exposures, response, **more))


def curve_error(found, true, low: float = 0.08) -> float:
    """Largest error of a response, in stops, over codes from `low` to 0.95."""
    codes = np.linspace(low, 0.95, 100)[:, None]
    return float(np.abs(np.log2(found.linearize(codes)) - np.log2(true.linearize(codes))).max())


def psnr_t(folder: Path, max_stops: float) -> float:
    """Mean PSNR of the mu-law of the results against the truth, in dB."""
    values = []
    for path, true in zip(sorted(folder.glob("*.exr")), truth(), strict=True):
        result = read_exr(path)[0] / 2.0**max_stops
        error = mu_law(np.clip(result, 0, 1)) - mu_law(np.clip(true, 0, 1))
        values.append(-10 * np.log10(float(np.square(error).mean())))
    return float(np.mean(values))


# curves that nobody named

CURVES = {
    "srgb": RESPONSES["srgb"],
    "rec709": RESPONSES["rec709"],
    "gamma1.8": gamma_response(1.8),
    "gamma2.5": gamma_response(2.5),
    "contrast2.2,0.45": contrast_response(2.2, 0.45),
    "sigmoid0.9,0.6": sigmoid_response(0.9, 0.6),
    "crushed": levelled_response(gamma_response(2.2), -0.087, 1.0),
    "raised": levelled_response(gamma_response(2.2), 0.06, 1.0),
    "linear": RESPONSES["linear"],
}


@pytest.mark.parametrize("name", CURVES)
def test_declared_stops_tell_the_curve(tmp_path: Path, name: str) -> None:
    true = CURVES[name]
    clip = write_codes(tmp_path / "shot", (true.encode(x) for x in exposed()))
    found = detected(clip, "0,3")
    assert found.cycle is not None
    assert found.cycle.stops == (0, 3)  # and are not corrected away
    assert found.warnings == ()
    assert curve_error(found.response, true) < 0.15, found.response_reason


def test_a_curve_of_no_family_is_refined(tmp_path: Path) -> None:
    codes = np.linspace(0, 1, 1024)
    shoulder = measured_response("film", np.interp(codes, codes**0.45 + 0.06 * np.sin(2 * np.pi * codes**0.45), codes))
    clip = write_codes(tmp_path / "shot", (shoulder.encode(x) for x in exposed()), 16)
    found = detected(clip, "0,3")
    assert found.response.name == "measured"
    assert curve_error(found.response, shoulder, 0.15) < 0.35
    assert curve_error(found.response, shoulder, 0.15) < 0.5 * curve_error(RESPONSES["gamma2.2"], shoulder, 0.15)


@pytest.mark.parametrize("name", ["gamma1.8", "contrast2.2,0.45", "srgb"])
def test_declared_is_as_good_as_the_known_curve(tmp_path: Path, name: str) -> None:
    clip = write_codes(tmp_path / "shot", (CURVES[name].encode(x) for x in exposed()))
    scores = {}
    for case, exposures, response in (("known", "0,3", name), ("declared", "0,3", "auto"), ("auto", "auto", "auto")):
        options = ReconstructOptions(exposures, response, model="classical", preview=False)
        report = reconstruct_clip([str(clip)], tmp_path / case, options).as_dict()
        scores[case] = psnr_t(tmp_path / case, max(report["stops"]))
        if case != "auto":
            assert report["quality"]["flicker_stops"] < 0.1
    assert scores["declared"] > scores["known"] - 1.5
    assert scores["declared"] > scores["auto"] - 0.1


@pytest.mark.parametrize("name", ["srgb", "contrast2.2,0.45"])
def test_the_shape_of_a_curve_is_measured_without_known_stops(tmp_path: Path, name: str) -> None:
    clip = write_codes(tmp_path / "shot", (CURVES[name].encode(x) for x in exposed()))
    found = detected(clip)
    assert found.response_from == "measured"
    assert required_exposures(found).stops == (0, 3)
    assert curve_error(found.response, CURVES[name]) < 0.15


def test_a_power_is_assumed_and_what_would_settle_it_is_said(tmp_path: Path) -> None:
    found = detected(write_codes(tmp_path / "shot", (CURVES["gamma1.8"].encode(x) for x in exposed())))
    assert (found.response.name, found.response_from) == ("gamma2.2", "assumed")
    assert "--exposures 0,3 means gamma1.8" in found.response_reason


def test_a_wrong_declared_curve_is_contradicted(tmp_path: Path) -> None:
    clip = write_codes(tmp_path / "shot", (CURVES["srgb"].encode(x) for x in exposed()))
    found = detected(clip, "0,3", "gamma2.2")
    assert found.cycle is not None
    assert found.cycle.stops == (0, 3)
    (warning,) = found.warnings
    assert "changes by 0.2" in warning
    assert "srgb makes it the same" in warning


# declarations that cannot be


def test_exposure_times_are_not_taken_for_stops(tmp_path: Path) -> None:
    clip = write_codes(tmp_path / "shot", (x ** (1 / 2.2) for x in exposed()))
    with pytest.raises(ExposureError, match=r"stops 0,7 are declared, but 0,3 were measured: .* not times"):
        detected(clip, "1,8")
    assert detected(clip, "1,8", regular=True).warnings
    with pytest.raises(ExposureError, match="less than half a stop apart"):
        detected(clip, "0.998,1.2")


@pytest.mark.parametrize(
    ("name", "stops", "declared"),
    [
        ("contrast2.2,0.45", (0, 3), "0,5"),
        ("contrast2.2,0.45", (0, 1), "0,2"),
        ("srgb", (0, 2, 4), "0,1,2"),
        ("srgb", (0, 3), "0,5"),
        ("gamma2.2", (0, 3), "0,5"),
        ("gamma2.2", (0, 3), "3,0"),
    ],
)
def test_no_curve_is_bent_to_wrong_stops(tmp_path: Path, name: str, stops: tuple[float, ...], declared: str) -> None:
    true = CURVES.get(name) or RESPONSES[name]
    clip = write_codes(tmp_path / "shot", (true.encode(x) for x in exposed(stops)))
    with pytest.raises(ExposureError):
        detected(clip, declared)


@pytest.mark.parametrize("name", ["gamma2.2", "srgb", "contrast2.2,0.45"])
@pytest.mark.parametrize("kind", ["dropped", "doubled"])
@pytest.mark.parametrize("at", [1, 3, 6])
def test_a_slip_harms_neither_the_curve_nor_declared_stops(tmp_path: Path, name: str, kind: str, at: int) -> None:
    true = CURVES.get(name) or RESPONSES[name]
    codes = [true.encode(x) for x in exposed()]
    codes = codes[:at] + codes[at + 1 :] if kind == "dropped" else [*codes[:at], codes[at - 1], *codes[at:]]
    found = detected(write_codes(tmp_path / "shot", iter(codes)), "0,3")
    assert required_exposures(found).stops == (0, 3)
    assert found.warnings == ()
    assert curve_error(found.response, true) < 0.2


def test_few_frames_contradict_nobody(tmp_path: Path) -> None:
    clip = write_codes(tmp_path / "shot", (CURVES["gamma1.8"].encode(x) for x in itertools.islice(exposed(), 5)))
    found = detected(clip, "0,3")
    assert found.cycle is not None
    assert found.cycle.stops == (0, 3)


def test_a_palette_does_not_move_the_stops(tmp_path: Path) -> None:
    def dithered(code: np.ndarray) -> np.ndarray:
        noise = np.random.default_rng(1).uniform(-0.5, 0.5, code.shape)
        return np.clip(np.round(code * np.array([7, 7, 3]) + noise), 0, [7, 7, 3]) / np.array([7, 7, 3])

    clip = write_codes(tmp_path / "shot", (dithered(x ** (1 / 2.2)) for x in exposed()))
    found = detected(clip, "0,3")
    assert found.cycle is not None
    assert found.cycle.stops == (0, 3)
    assert found.measured is not None
    assert not found.measured.corrected


# levels


@pytest.mark.parametrize("exposures", ["auto", "0,3"])
@pytest.mark.parametrize(("shift", "mono"), [(0, False), (4, False), (0, True)])
def test_twelve_bits_in_sixteen(tmp_path: Path, shift: int, mono: bool, exposures: str) -> None:
    codes = (np.round(64 + x * (4095 - 64)) / 4095 for x in exposed())
    scaled = (np.round(c * 4095) * 2**shift / 65535 for c in codes)
    clip = write_codes(tmp_path / "shot", (c[..., 1] if mono else c for c in scaled), 16, ".tif")
    found = detected(clip, exposures)
    assert (found.info.bit_depth, found.white_code) == (12, 4095 << shift)
    assert required_exposures(found).stops == (0, 3)
    black = float(found.response.name.removeprefix("linear@").split(",")[0])
    assert black == pytest.approx(64 / 4095, abs=2e-4)


@pytest.mark.parametrize("name", ["gamma2.2", "srgb"])
@pytest.mark.parametrize("exposures", ["auto", "0,3"])
def test_display_codes_of_ten_bits_in_sixteen_are_not_linear(tmp_path: Path, name: str, exposures: str) -> None:
    codes = (np.round(RESPONSES[name].encode(x) * 1023) * 64 / 65535 for x in exposed())
    found = detected(write_codes(tmp_path / "shot", codes, 16), exposures)
    assert found.info.bit_depth == 10
    assert required_exposures(found).stops == (0, 3)
    assert curve_error(found.response, RESPONSES[name]) < 0.15


def test_a_sensor_that_clips_early(tmp_path: Path) -> None:
    codes = (np.minimum(np.round(64 + x * (4095 - 64)), 3800) / 65535 for x in exposed((0, 4)))
    found = detected(write_codes(tmp_path / "shot", codes, 16))
    assert (found.info.bit_depth, found.white_code) == (12, 3800)


def test_sixteen_bits_stay_sixteen(tmp_path: Path) -> None:
    found = detected(write_codes(tmp_path / "shot", (x ** (1 / 2.2) for x in exposed()), 16))
    assert (found.info.bit_depth, found.white_code) == (16, None)


@pytest.mark.parametrize("name", ["gamma2.2", "srgb", "rec709"])
def test_limited_range_read_as_full(tmp_path: Path, name: str) -> None:
    codes = ((16 + 219 * RESPONSES[name].encode(x)) / 255 for x in exposed(noise=1e-4))
    found = detected(write_codes(tmp_path / "shot", codes))
    assert found.response.name.startswith(f"{name}@0.0627")
    assert required_exposures(found).stops == (0, 3)


# repeated frames


@pytest.mark.parametrize("lead", [0, 1])
@pytest.mark.parametrize("exposures", ["auto", "0,3"])
def test_every_frame_twice(tmp_path: Path, lead: int, exposures: str) -> None:
    codes = [x ** (1 / 2.2) for x in exposed()]
    twice = [codes[i // 2] for i in range(lead, 2 * FRAMES)]
    clip = write_codes(tmp_path / "shot", iter(twice))
    found = detected(clip, exposures)
    assert found.repeats == (2, lead)
    assert required_exposures(found).stops == (0, 3)
    report = reconstruct_clip([str(clip)], tmp_path / "out", ReconstructOptions(exposures, model="classical"))
    assert report.as_dict()["frames"]["count"] == len(twice)
    assert report.as_dict()["events"] == []
    results = [read_exr(p)[0] for p in sorted((tmp_path / "out").glob("*.exr"))]
    for i, result in enumerate(results):
        true = truth()[(i + lead) // 2] * 8
        seen = (true > 0.05) & (true < 7)
        assert np.median(np.abs(np.log2(np.maximum(result[seen], 1e-3) / true[seen]))) < 0.1
        if i and (i + lead) % 2:
            assert np.array_equal(result, results[i - 1])


# colours


def saturation(rgb: np.ndarray) -> float:
    seen = rgb[(rgb.max(-1) > 0.05) & (rgb.max(-1) < 0.9)]
    return float(np.mean(1 - seen.min(-1) / seen.max(-1)))


@pytest.mark.parametrize(
    ("name", "transfer", "encode"),
    [("hlg", 18, hlg_encode), ("pq", 16, lambda v: pq_encode(v * 1000.0))],
)
def test_hlg_and_pq_clips_are_read_by_their_tags(
    tmp_path: Path, name: str, transfer: int, encode: Callable[[np.ndarray], np.ndarray]
) -> None:
    to_bt2020 = conversion_matrix(REC709, GAMUTS["rec2020"])
    pictures = [np.clip(encode(np.clip(x @ to_bt2020.T, 0, 1)), 0, 1) for x in exposed()]
    clip = tmp_path / f"{name}.mkv"
    tagged_video(clip, pictures, primaries=9, transfer=transfer)
    found = detected(clip)
    assert found.response.name.split(":")[0] == name
    assert (found.response_from, found.gamut.name, found.gamut_from) == ("tagged", "rec2020", "tagged")
    assert required_exposures(found).stops == (0, 3)
    reconstruct_clip([str(clip)], tmp_path / "out", CLASSICAL)
    results = [read_exr(p) for p in sorted((tmp_path / "out").glob("*.exr"))]
    assert results[0][1]["hdrvid:input_primaries"] == "rec2020"
    result, true = results[4][0] / 8, truth()[4]
    assert saturation(result) == pytest.approx(saturation(true), abs=0.06)
    bright = (true.min(-1) > 0.02) & (true.max(-1) < 0.5)
    assert np.median(np.abs(np.log2(np.maximum(result[bright], 1e-4) / true[bright]))) < 0.12


def tagged_video(path: Path, pictures: Sequence[np.ndarray], primaries: int, transfer: int) -> None:
    """10-bit lossless 4:4:4 with BT.2020 matrix and these tags."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "gbrp10le"
        stream.codec_context.color_primaries = primaries
        stream.codec_context.color_trc = transfer
        for picture in pictures:
            stored = np.round(picture * 1023).astype(np.uint16)
            frame = av.VideoFrame(stored.shape[1], stored.shape[0], "gbrp10le")
            for plane, channel in zip(frame.planes, (1, 2, 0), strict=True):
                rows = np.zeros((stored.shape[0], plane.line_size // 2), np.uint16)
                rows[:, : stored.shape[1]] = stored[..., channel]
                plane.update(rows.tobytes())
            frame.color_primaries, frame.color_trc = primaries, transfer
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def test_a_log_curve_comes_with_its_gamut(tmp_path: Path) -> None:
    to_camera = conversion_matrix(REC709, GAMUTS["sgamut3cine"])
    codes = (RESPONSES["slog3"].encode(np.clip(x @ to_camera.T, 0, 1)) for x in exposed(noise=1e-4))
    clip = write_codes(tmp_path / "shot", codes, 16)
    found = detected(clip, "0,3", "slog3")
    assert (found.gamut.name, found.gamut_from) == ("sgamut3cine", "response")
    other = detected(clip, "0,3", "slog3", input_primaries="sgamut3")
    assert (other.gamut.name, other.gamut_from) == ("sgamut3", "declared")
    with pytest.raises(UsageError, match="--input-primaries takes auto or one of rec709"):
        detected(clip, "0,3", "slog3", input_primaries="nonsense")
    reconstruct_clip(
        [str(clip)], tmp_path / "out", ReconstructOptions("0,3", "slog3", model="classical", preview=False)
    )
    result = read_exr(sorted((tmp_path / "out").glob("*.exr"))[4])[0] / 8
    assert saturation(result) == pytest.approx(saturation(truth()[4]), abs=0.05)


def test_chromaticities_of_exr_frames(tmp_path: Path) -> None:
    (tmp_path / "shot").mkdir()
    gamut = GAMUTS["acescg"]
    matrix = conversion_matrix(REC709, gamut)
    for i, x in enumerate(exposed()):
        pixels = (x @ matrix.T).astype(np.float32)
        write_exr(tmp_path / "shot" / f"{i:04d}.exr", pixels, attributes={"chromaticities": gamut.chromaticities})
    found = detected(tmp_path / "shot", "0,3")
    assert (found.gamut.name, found.gamut_from) == ("acescg", "tagged")
    assert found.to_output is not None
    assert found.to_output == pytest.approx(np.linalg.inv(matrix), abs=1e-6)


def icc_profile(gamut: Gamut, gamma: float) -> bytes:
    """A version 2 matrix profile (ICC.1:2001-04) with one power curve."""
    d50 = to_white(gamut, (0.34567, 0.35850)).to_xyz() * 1.0

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def xyz(values: Sequence[float]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(fixed(float(v)) for v in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    name = b"test gamut\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + b"\0" * (79 + (-len(name) % 4))
    tags = [(b"desc", description), (b"cprt", b"text\0\0\0\0none\0\0\0\0"), (b"wtpt", xyz((0.9642, 1.0, 0.8249)))]
    tags += [(tag, xyz(d50[:, k])) for k, tag in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))]
    tags += [(tag, curve) for tag in (b"rTRC", b"gTRC", b"bTRC")]
    offset = 128 + 4 + 12 * len(tags)
    table, data = struct.pack(">I", len(tags)), b""
    for tag, value in tags:
        value += b"\0" * (-len(value) % 4)
        table += tag + struct.pack(">II", offset + len(data), len(value))
        data += value
    header = struct.pack(">I4sI4s4s4s", 128 + len(table) + len(data), b"\0" * 4, 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28
    header += fixed(0.9642) + fixed(1.0) + fixed(0.8249)
    return header.ljust(128, b"\0") + table + data


def test_icc_profiles_are_read(tmp_path: Path) -> None:
    gamut = GAMUTS["p3d65"]
    matrix = conversion_matrix(REC709, gamut)
    (tmp_path / "shot").mkdir()
    for i, x in enumerate(exposed()):
        code = np.clip(x @ matrix.T, 0, 1) ** (1 / 2.2)
        picture = Image.fromarray(np.round(code * 255).astype(np.uint8))
        picture.save(tmp_path / "shot" / f"{i:04d}.png", icc_profile=icc_profile(gamut, 2.2))
    found = detected(tmp_path / "shot", "0,3")
    assert (found.gamut.name, found.gamut_from) == ("p3d65", "tagged")
    assert found.info.details["icc_profile"] == "test gamut"
    assert found.info.transfer == "gamma22"


def test_a_damaged_profile_is_no_profile(tmp_path: Path) -> None:
    (tmp_path / "shot").mkdir()
    for i, x in enumerate(exposed()):
        picture = Image.fromarray(np.round(x ** (1 / 2.2) * 255).astype(np.uint8))
        picture.save(tmp_path / "shot" / f"{i:04d}.png", icc_profile=b"\0" * 200)
    found = detected(tmp_path / "shot", "0,3")
    assert (found.gamut.name, found.gamut_from) == ("rec709", "assumed")


# what a run says


def test_flicker_is_measured_and_said(tmp_path: Path) -> None:
    clip = write_codes(tmp_path / "shot", (x ** (1 / 2.2) for x in exposed()))
    said: list[str] = []
    wrong = ReconstructOptions("0,2", "gamma2.2", model="reference", preview=False, regular=True, deflicker=False)
    report = reconstruct_clip([str(clip)], tmp_path / "out", wrong, message=said.append).as_dict()
    assert report["quality"]["flicker_stops"] > 0.5
    assert any("the results flicker: those of the long exposure are" in text for text in said)
    right = ReconstructOptions("0,3", model="classical", preview=False)
    report = reconstruct_clip([str(clip)], tmp_path / "right", right, message=said.append).as_dict()
    assert report["quality"]["flicker_stops"] < 0.05


def test_a_mosaic_is_refused(tmp_path: Path) -> None:
    def mosaic(x: np.ndarray) -> np.ndarray:
        grey = x[..., 1].copy()
        grey[::2, ::2], grey[1::2, 1::2] = x[::2, ::2, 0], x[1::2, 1::2, 2]
        return grey * (4095 - 64) / 65535 + 64 / 65535

    clip = write_codes(tmp_path / "shot", (mosaic(x) for x in exposed()), 16)
    with pytest.raises(InputError, match=r"mosaic of a colour sensor.*--bayer rggb or --bayer bggr"):
        detected(clip)


def test_portable_grey_maps_are_read(tmp_path: Path) -> None:
    (tmp_path / "shot").mkdir()
    for i, x in enumerate(exposed()):
        code = np.round(64 + x[..., 1] * (4095 - 64)).astype(">u2")
        (tmp_path / "shot" / f"{i:04d}.pgm").write_bytes(f"P5 {WIDTH} {HEIGHT} 4095\n".encode() + code.tobytes())
    found = detected(tmp_path / "shot")
    assert found.white_code == 4095
    assert required_exposures(found).stops == (0, 3)


def test_interlaced_video_is_said(tmp_path: Path) -> None:
    import av

    path = tmp_path / "fields.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=24, options={"crf": "10", "flags": "+ildct", "x264-params": "tff=1"}
        )
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for x in exposed():
            code = np.round(x ** (1 / 2.2) * 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(code, format="rgb24")))
        container.mux(stream.encode())
    found = detected(path)
    assert any("is interlaced" in text and "--deinterlace" in text for text in found.warnings)


def test_the_report_shows_a_wide_gamut_clip_in_the_colours_of_the_results(tmp_path: Path) -> None:
    to_bt2020 = conversion_matrix(REC709, GAMUTS["rec2020"])
    red = np.array([1.0, 0.1, 0.05])  # a grey or pale scene has the same luminance in both
    pictures = [np.clip(hlg_encode(np.clip((x * red) @ to_bt2020.T, 0, 1)), 0, 1) for x in exposed()]
    clip = tmp_path / "shot.mkv"
    tagged_video(clip, pictures, primaries=9, transfer=18)
    reconstruct_clip([str(clip)], tmp_path / "out", CLASSICAL)
    (results,) = find_clips(tmp_path / "out")
    written = write_report(results, tmp_path / "page.html", ReportOptions(device="cpu", frames="3-6"))
    assert not [note for note in written.notes if "differs" in note]


# what is no pattern of exposures: one sentence says so, from the pixels and from a file of stops


@pytest.mark.parametrize(
    ("stops", "measured"),
    [
        ((1, 1, 1), "does not alternate"),
        ((1, 1.1), "cannot be told from flicker|does not alternate"),
    ],
)
def test_what_is_no_bracket_is_refused(tmp_path: Path, stops: tuple[float, ...], measured: str) -> None:
    clip = write_codes(tmp_path / "shot", (x ** (1 / 2.2) for x in exposed(stops)), 16)
    with pytest.raises(ExposureError, match=measured):
        required_exposures(detected(clip))
    listed = tmp_path / "stops.txt"
    listed.write_text("".join(f"{s}\n" for s, _ in zip(itertools.cycle(stops), range(FRAMES), strict=False)))
    with pytest.raises(ExposureError):
        detected(clip, str(listed))


def test_a_table_of_times_is_read_and_plain_times_are_refused(tmp_path: Path) -> None:
    clip = write_codes(tmp_path / "shot", (x ** (1 / 2.2) for x in exposed()))
    table = tmp_path / "times.csv"
    table.write_text("frame,exposure_ms\n" + "".join(f"{i},{(1, 8)[i % 2]}\n" for i in range(FRAMES)))
    cycle = detected(clip, str(table)).cycle
    assert cycle is not None
    assert cycle.stops == pytest.approx((0, 3), abs=0.02)
    plain = tmp_path / "times.txt"
    plain.write_text("".join(f"{(1, 8)[i % 2]}\n" for i in range(FRAMES)))
    with pytest.raises(ExposureError, match="stops 0,7 are declared, but 0,3 were measured"):
        detected(clip, str(plain))
