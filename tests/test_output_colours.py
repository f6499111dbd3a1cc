"""`--primaries` and `--depth`: what the frames hold, what their headers say, and that nothing else changes."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import OpenEXR
import pytest
from test_reconstruct import CLASSICAL, assert_same_results, exr_frames, options, video_frames, write_frames

import hdrvid
from hdrvid.color.gamuts import COLOR_INTEROP_IDS, GAMUTS, REC709, conversion_matrix, convert
from hdrvid.data.layouts import read_hdr_frame
from hdrvid.data.synth import read_hdr_image
from hdrvid.errors import OutputError, UsageError
from hdrvid.html.clip_results import find_clips
from hdrvid.html.reconstruction_report import write_report
from hdrvid.io.exr import read_exr, write_exr
from hdrvid.io.frames import read_picture
from hdrvid.io.hdr import read_hdr, read_hdr_attributes
from hdrvid.options.reconstruct import OUTPUT_PRIMARIES
from hdrvid.pipeline.options import validate_options
from hdrvid.pipeline.run import reconstruct_clip

pytestmark = pytest.mark.usefixtures("one_thread")

OCIO_NAMES = {
    "rec709": "Linear Rec.709 (sRGB)",
    "rec2020": "Linear Rec.2020",
    "p3d65": "Linear P3-D65",
    "acescg": "ACEScg",
    "aces2065-1": "ACES2065-1",
}
"""Colour spaces of OpenColorIO's studio configuration."""

OTHERS = [name for name in OUTPUT_PRIMARIES if name != "rec709"]


def test_every_choice_has_a_gamut_and_a_name_in_the_list() -> None:
    assert tuple(COLOR_INTEROP_IDS) == OUTPUT_PRIMARIES
    assert set(OUTPUT_PRIMARIES) <= set(GAMUTS)


@pytest.mark.parametrize(
    ("source", "target", "published"),
    [
        # Academy S-2014-004, ACEScg, annex A.3
        (
            "acescg",
            "aces2065-1",
            [
                [0.6954522414, 0.1406786965, 0.1638690622],
                [0.0447945634, 0.8596711185, 0.0955343182],
                [-0.0055258826, 0.0040252103, 1.0015006723],
            ],
        ),
        # Recommendation ITU-R BT.2087-0, item 2
        ("rec709", "rec2020", [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]),
    ],
)
def test_matrices_against_published_ones(source: str, target: str, published: list[list[float]]) -> None:
    digits = 1e-9 if len(str(published[0][0])) > 8 else 5e-5
    np.testing.assert_allclose(conversion_matrix(GAMUTS[source], GAMUTS[target]), published, atol=digits)


def test_headers_name_the_primaries_as_openexr_does() -> None:
    for name, interop_id in COLOR_INTEROP_IDS.items():
        found = OpenEXR.colorInteropIDToChromaticities(interop_id)
        assert found == pytest.approx(GAMUTS[name].chromaticities, abs=1e-6)


@pytest.mark.parametrize("name", OTHERS)
def test_matrices_against_opencolorio(name: str) -> None:
    ocio = pytest.importorskip("PyOpenColorIO")
    config = ocio.Config.CreateFromBuiltinConfig("studio-config-v2.1.0_aces-v1.3_ocio-v2.3")
    processor = config.getProcessor(OCIO_NAMES["rec709"], OCIO_NAMES[name]).getDefaultCPUProcessor()
    expected = np.array([processor.applyRGB(list(unit)) for unit in np.eye(3)]).T
    np.testing.assert_allclose(conversion_matrix(REC709, GAMUTS[name]), expected, atol=2e-7)


@pytest.fixture(scope="module")
def results(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs over one clip, by their primaries."""
    folder = tmp_path_factory.mktemp("colours")
    for name in OUTPUT_PRIMARIES:
        reconstruct_clip([str(clip)], folder / name, options(primaries=name))
    return {name: folder / name for name in OUTPUT_PRIMARIES}


@pytest.mark.parametrize("name", OTHERS)
def test_the_same_colours_in_other_primaries(name: str, results: dict[str, Path]) -> None:
    plain, converted = exr_frames(results["rec709"]), exr_frames(results[name])
    assert list(plain) == list(converted)
    matrix = conversion_matrix(REC709, GAMUTS[name])
    for key, pixels in plain.items():
        expected = pixels.astype(np.float64) @ matrix.T
        # both files are rounded to half floats, which have 11 bits
        bound = 2.0**-10 * (pixels.astype(np.float64) @ np.abs(matrix).T) + 1e-6
        assert (np.abs(converted[key] - expected) <= bound).all()
        assert np.abs(converted[key] - pixels).max() > 0.1


@pytest.mark.parametrize("name", OUTPUT_PRIMARIES)
def test_headers_read_back_with_openexr(name: str, results: dict[str, Path]) -> None:
    header = OpenEXR.File(str(results[name] / "clip.000003.exr")).header()
    assert header["chromaticities"] == pytest.approx(GAMUTS[name].chromaticities, abs=1e-6)
    assert header["colorInteropID"] == COLOR_INTEROP_IDS[name]
    assert header.get("acesImageContainerFlag") == (1 if name == "aces2065-1" else None)
    assert OpenEXR.checkColorMetadata(header) == OpenEXR.ColorMetadataWarning.OK
    expected = OpenEXR.NO_COMPRESSION if name == "aces2065-1" else OpenEXR.ZIP_COMPRESSION
    assert header["compression"] == expected


@pytest.mark.parametrize("name", OUTPUT_PRIMARIES)
def test_headers_read_back_with_openimageio(name: str, results: dict[str, Path]) -> None:
    oiio = pytest.importorskip("OpenImageIO")
    image = oiio.ImageBuf(str(results[name] / "clip.000003.exr"))
    spec = image.spec()
    assert spec.getattribute("colorInteropID") == COLOR_INTEROP_IDS[name]
    assert spec.getattribute("chromaticities") == pytest.approx(GAMUTS[name].chromaticities, abs=1e-6)
    assert spec.getattribute("acesImageContainerFlag") == (1 if name == "aces2065-1" else None)
    assert (str(spec.format), spec.channelnames) == ("half", ("R", "G", "B"))
    np.testing.assert_array_equal(image.get_pixels(oiio.FLOAT), exr_frames(results[name])["clip.000003.exr"])


@pytest.mark.parametrize("name", OTHERS)
def test_preview_and_flicker_stay_as_they_are(name: str, results: dict[str, Path]) -> None:
    pictures = [video_frames(results[n] / "clip.preview.mp4") for n in ("rec709", name)]
    for plain, converted in zip(*pictures, strict=True):
        # the last bits decide what the codec rounds, by several codes: --depth float alone makes 1.6 on average
        assert np.abs(plain.astype(float) - converted).mean() < 3
        assert np.abs((plain.astype(float) - converted).mean(axis=(0, 1))).max() < 1.5
    measured = [find_clips(results[n])[0].values["quality"]["flicker_stops"] for n in ("rec709", name)]
    assert measured[0] == pytest.approx(measured[1], abs=2e-3)


def test_hdr_videos_stay_as_they_are(clip: Path, tmp_path: Path) -> None:
    facts, pictures = [], []
    for name in ("rec709", "acescg"):
        run = options(primaries=name, hdr10=True, preview=False, frame_range=(0, 3))
        facts.append(reconstruct_clip([str(clip)], tmp_path / name, run).as_dict()["hdr_videos"]["hdr10"])
        with av.open(facts[-1]["path"]) as container:
            pictures.append([f.to_ndarray(format="rgb48le").astype(int) for f in container.decode(video=0)])
    for key in ("nits_per_unit", "peak_nits", "max_cll_nits", "max_fall_nits"):
        assert facts[0][key] == pytest.approx(facts[1][key], rel=2e-3)
    assert np.mean([np.abs(a - b).mean() for a, b in zip(*pictures, strict=True)]) < 0.002 * 65535


def test_the_report_page_shows_rec709(results: dict[str, Path], tmp_path: Path) -> None:
    figures = []
    for name in ("rec709", "aces2065-1"):
        page = write_report(find_clips(results[name])[0], tmp_path / f"{name}.html").as_dict()
        figures.append((page["ping_pong_stops"], page["range_stops"], page["input_range_stops"]))
    assert figures[0][0] == pytest.approx(figures[1][0], abs=2e-3)
    assert figures[0][1] == pytest.approx(figures[1][1], abs=0.1)
    assert figures[0][2] == figures[1][2]


@pytest.mark.parametrize("name", ["acescg", "aces2065-1"])
def test_finished_frames_are_kept_and_give_the_same_preview(
    name: str, clip: Path, results: dict[str, Path], tmp_path: Path
) -> None:
    reconstruct_clip([str(clip)], tmp_path, options(primaries=name, frame_range=(2, 4), preview=False))
    report = reconstruct_clip([str(clip)], tmp_path, options(primaries=name)).as_dict()
    assert report["frames"]["kept"] == 3
    assert_same_results(tmp_path, results[name])


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"primaries": "acescg"}, "output_primaries rec709, now acescg"), ({"depth": "float"}, "depth half, now float")],
)
def test_frames_of_other_files_are_not_mixed(changed: dict, words: str, clip: Path, tmp_path: Path) -> None:
    reconstruct_clip([str(clip)], tmp_path, options(frame_range=(0, 1), preview=False))
    with pytest.raises(OutputError, match=words):
        reconstruct_clip([str(clip)], tmp_path, options(**changed, frame_range=(0, 1), preview=False))


def test_float_frames_hold_what_half_floats_round(clip: Path, undisturbed: Path, tmp_path: Path) -> None:
    reconstruct_clip([str(clip)], tmp_path, options(depth="float"))
    halves, floats = exr_frames(undisturbed), exr_frames(tmp_path)
    assert all((floats[name].astype(np.float16) == halves[name]).all() for name in halves)
    assert any((floats[name] != halves[name]).any() for name in halves)
    with OpenEXR.File(str(tmp_path / "clip.000000.exr"), separate_channels=True) as file:
        assert {channel.pixels.dtype for channel in file.parts[0].channels.values()} == {np.dtype(np.float32)}
    report = reconstruct_clip([str(clip)], tmp_path, options(depth="float")).as_dict()
    assert report["frames"]["kept"] == 8


def test_float_frames_go_beyond_the_range_of_half(tmp_path: Path) -> None:
    pixels = np.full((4, 5, 3), 1e6, np.float32)
    write_exr(tmp_path / "a.exr", pixels, depth="float")
    np.testing.assert_array_equal(read_exr(tmp_path / "a.exr")[0], pixels)
    write_exr(tmp_path / "a.exr", pixels)
    assert (read_exr(tmp_path / "a.exr")[0] == 65504).all()


def test_an_aces_frame_that_is_no_container_is_not_marked_as_one(clip: Path, tmp_path: Path) -> None:
    said: list[str] = []
    run = options(primaries="aces2065-1", compression="zip", frame_range=(0, 0), preview=False)
    reconstruct_clip([str(clip)], tmp_path, run, message=said.append)
    header = OpenEXR.File(str(tmp_path / "clip.000000.exr")).header()
    assert "acesImageContainerFlag" not in header
    assert header["colorInteropID"] == "lin_ap0_scene"
    assert any("ST 2065-4" in text and text.startswith("warning") for text in said)


def test_radiance_files_name_their_primaries(clip: Path, tmp_path: Path) -> None:
    for name in ("rec709", "rec2020"):
        run = options(primaries=name, format="hdr", frame_range=(0, 1), preview=False)
        reconstruct_clip([str(clip)], tmp_path / name, run)
    path = tmp_path / "rec2020" / "clip.000001.hdr"
    values = [float(word) for word in read_hdr_attributes(path)["PRIMARIES"].split()]
    assert values == pytest.approx(GAMUTS["rec2020"].chromaticities)
    plain, wide = read_hdr(tmp_path / "rec709" / path.name), read_hdr(path)
    error = np.abs(convert(plain, REC709, GAMUTS["rec2020"]) - wide)
    assert (error <= plain.max(axis=-1, keepdims=True) / 64 + 1e-6).all()
    assert np.abs(plain - wide).max() > 0.1


def test_own_frames_come_back_in_as_what_they_are(results: dict[str, Path], tmp_path: Path) -> None:
    """A clip of results: linear, its primaries from the header; one with two exposures is made of them."""
    assert read_picture(results["acescg"] / "clip.000000.exr").gamut == GAMUTS["acescg"]
    outs = []
    for name in ("rec709", "acescg"):
        folder = tmp_path / f"{name}_clip"
        folder.mkdir()
        for i, pixels in enumerate(exr_frames(results[name]).values()):
            exposed = np.clip(convert(pixels, GAMUTS[name], REC709) * (1 / 8, 1)[i % 2], 0, 1)
            write_exr(folder / f"{i:06d}.exr", convert(exposed, REC709, GAMUTS[name]), gamut=GAMUTS[name])
        detection = hdrvid.inspect(folder, exposures="0,3")
        assert (detection.gamut, detection.gamut_from) == (GAMUTS[name], "tagged")
        outs.append(tmp_path / name)
        reconstruct_clip([str(folder)], outs[-1], CLASSICAL)
    frames = [list(exr_frames(out).values()) for out in outs]
    for plain, wide in zip(*frames, strict=True):
        # the network weighs the components of the clip's own primaries; taken as Rec. 709 they are another picture
        error = np.abs(plain - wide).mean()
        assert error < 0.06
        assert error < 0.5 * np.abs(convert(wide, REC709, GAMUTS["acescg"]) - plain).mean()


def test_pictures_for_synthetic_clips_are_converted(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).random((8, 16, 3), np.float32)
    write_exr(tmp_path / "a.exr", convert(pixels, REC709, GAMUTS["acescg"]), depth="float", gamut=GAMUTS["acescg"])
    np.testing.assert_allclose(read_hdr_image(tmp_path / "a.exr"), pixels, atol=1e-5)
    np.testing.assert_allclose(read_hdr_frame(str(tmp_path / "a.exr"), "scene"), pixels, atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"primaries": "srgb"}, "--primaries takes one of rec709, rec2020, p3d65, acescg, aces2065-1, not 'srgb'"),
        ({"depth": "double"}, "--depth takes half or float"),
        ({"depth": "float", "format": "hdr"}, "needs --format exr"),
        ({"depth": "float", "compression": "dwaa"}, "keeps no 32-bit floats"),
        ({"compression": "gzip"}, "--compression takes auto or one of"),
    ],
)
def test_what_does_not_exist_or_go_together_is_refused(changed: dict, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        validate_options(options(**changed), tmp_path)


def test_colours_outside_of_the_primaries_are_negative(tmp_path: Path) -> None:
    """A clip in BT.2020 keeps its colours in every EXR, to the sign; in its own primaries nothing is converted."""
    clip = write_frames(tmp_path / "wide", num_frames=4)
    frames = {}
    for name in ("rec709", "rec2020"):
        run = options(input_primaries="rec2020", primaries=name, depth="float", preview=False)
        reconstruct_clip([str(clip)], tmp_path / name, run)
        frames[name] = exr_frames(tmp_path / name)["wide.000001.exr"]
    assert frames["rec709"].min() < -0.01
    assert frames["rec2020"].min() >= 0
    np.testing.assert_allclose(convert(frames["rec709"], REC709, GAMUTS["rec2020"]), frames["rec2020"], atol=1e-4)
