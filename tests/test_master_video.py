"""ProRes and DNxHR masters: what the file says, and the light that comes out again."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from test_reconstruct import options, write_frames, write_video

from hdrvid.color import hdr_signals
from hdrvid.color.constants import LUMINANCE_BT709, LUMINANCE_BT2020
from hdrvid.color.gamuts import GAMUT_OF_RESPONSE, GAMUTS, REC709, convert
from hdrvid.color.hdr_signals import ycbcr_matrix
from hdrvid.color.response import LOG_RESPONSES, RESPONSES, SCENE_OF_CODE_1
from hdrvid.errors import OutputError, UsageError
from hdrvid.io.hdr_video import grade_clip
from hdrvid.io.master_video import CURVES, MasterKind, MasterWriter
from hdrvid.io.ownership import MOVIE, is_own
from hdrvid.pipeline.run import reconstruct_clip
from hdrvid.timecode import Timecode

FPS = Fraction(24000, 1001)
SIZE = (128, 256)
KINDS: tuple[MasterKind, ...] = ("prores", "dnxhr")


def scene(count: int = 3, top: float = 6.0) -> list[np.ndarray]:
    """Smooth, coloured frames over 9 stops up to `top`."""
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]].astype(np.float32)
    frames = []
    for i in range(count):
        light = top * np.exp2(-9 * (x + 2 * i) / (SIZE[1] + 2 * count))
        colour = np.stack([0.8 + 0.2 * np.sin(y / 30), 0.7 + 0.3 * np.cos(x / 40), 0.75 + 0.25 * np.sin(y / 35)], -1)
        frames.append((light[..., None] * colour).astype(np.float32))
    return frames


def decoded(path: Path, luminance: tuple[float, float, float]) -> Iterator[np.ndarray]:
    """(H, W, 3) R'G'B' of every frame; of 4:2:2 chroma is linear between samples on the left."""
    matrix = np.linalg.inv(ycbcr_matrix(luminance) * np.array([[876.0], [896.0], [896.0]]))
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            planes = [
                np.frombuffer(p, np.uint16).reshape(p.height, -1)[:, : p.width].astype(float) for p in frame.planes
            ]
            if frame.format.name.endswith("12le"):  # of ProRes 4444 the decoder gives 12 bits
                planes = [plane / 4 for plane in planes]
            columns = np.arange(frame.width)
            places = [np.arange(0, frame.width, frame.width // p.shape[1]) for p in planes]
            full = [np.stack([np.interp(columns, at, row) for row in p]) for p, at in zip(planes, places, strict=True)]
            yield (np.stack(full, -1) - np.array([64, 512, 512])) @ matrix.T


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("curve", CURVES)
def test_the_light_comes_out_again(kind, curve, tmp_path):
    frames, path = scene(), tmp_path / "clip.mov"
    grade = None
    if curve not in LOG_RESPONSES:
        grade = grade_clip(lambda: iter(frames), "hlg" if curve == "hlg" else "hdr10")
    with MasterWriter(path, SIZE[1], SIZE[0], FPS, kind, curve, grade) as writer:
        for frame in frames:
            writer.write(frame)
    shown = list(decoded(path, LUMINANCE_BT2020 if grade else LUMINANCE_BT709))
    assert len(shown) == len(frames)
    for frame, signal in zip(frames, shown, strict=True):
        if curve in LOG_RESPONSES:
            scene_light = RESPONSES[curve].linearize(signal) * SCENE_OF_CODE_1[curve]
            light, expected = convert(scene_light.astype(np.float32), GAMUTS[GAMUT_OF_RESPONSE[curve]], REC709), frame
        else:
            light = (
                hdr_signals.pq_decode(signal)
                if curve == "pq"
                else hdr_signals.hlg_scene_to_nits(hdr_signals.hlg_decode(signal))
            )
            expected = grade.display_nits(frame)
        middle = expected > 0.02 * expected.max()
        error = np.abs(np.log2(np.maximum(light[middle], 1e-6) / expected[middle]))
        assert np.median(error) < 0.02
        assert np.quantile(error, 0.99) < 0.12


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("curve", "tags"),
    [
        ("hlg", (Colorspace.BT2020, ColorPrimaries.BT2020, ColorTrc.ARIB_STD_B67)),
        ("pq", (Colorspace.BT2020, ColorPrimaries.BT2020, ColorTrc.SMPTE2084)),
        ("logc3", (Colorspace.ITU709, ColorPrimaries.UNSPECIFIED, ColorTrc.UNSPECIFIED)),
    ],
)
def test_what_the_file_says(kind, curve, tags, tmp_path):
    frames, path = scene(4), tmp_path / "clip.mov"
    grade = None if curve == "logc3" else grade_clip(lambda: iter(frames), "hlg" if curve == "hlg" else "hdr10")
    with MasterWriter(path, SIZE[1], SIZE[0], FPS, kind, curve, grade, pixel_aspect=Fraction(4, 3)) as writer:
        writer.timecode = Timecode.parse("01:02:03:04", FPS)
        for frame in frames:
            writer.write(frame)
    assert is_own(path, MOVIE)
    with av.open(str(path)) as container:
        assert "mov" in container.format.name
        stream = container.streams.video[0]
        assert stream.codec_context.name == {"prores": "prores", "dnxhr": "dnxhd"}[kind]
        assert stream.codec_context.pix_fmt == {"prores": "yuv444p12le", "dnxhr": "yuv422p10le"}[kind]
        assert (stream.average_rate, stream.sample_aspect_ratio, stream.frames) == (FPS, Fraction(4, 3), 4)
        assert stream.metadata["timecode"] == "01:02:03:04"
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_primaries, frame.color_trc) == tags
        assert frame.color_range == ColorRange.MPEG


def test_odd_sizes_are_padded(tmp_path):
    path = tmp_path / "clip.mov"
    with MasterWriter(path, 63, 47, 24, "prores", "slog3") as writer:
        writer.write(np.full((47, 63, 3), 0.18, np.float32))
    (signal,) = decoded(path, LUMINANCE_BT709)
    assert signal.shape == (48, 64, 3)
    np.testing.assert_allclose(signal, 420 / 1023, atol=2e-3)  # a grey card, S-Log3


@pytest.mark.parametrize(
    ("chosen", "text"),
    [
        ({"prores": "cineon"}, "--prores takes one of hlg, pq, slog3"),
        ({"dnxhr": "srgb"}, "--dnxhr takes one of hlg, pq"),
        ({"dnxhr": "hlg"}, "DNxHR takes pictures from 256x120 on, not 64x48"),
    ],
)
def test_what_is_refused_before_the_work(chosen, text, tmp_path):
    clip = write_video(tmp_path / "shot.mkv", write_frames(tmp_path / "frames", num_frames=6))
    with pytest.raises(UsageError, match=text):
        reconstruct_clip([str(clip)], tmp_path / "out", options(**chosen))
    assert not list((tmp_path / "out").glob("*.exr"))


def test_a_run_writes_masters(tmp_path):
    clip = write_video(tmp_path / "shot.mkv", write_frames(tmp_path / "frames", num_frames=6))
    out = tmp_path / "out"
    report = reconstruct_clip([str(clip)], out, options(prores="logc3", preview=False)).as_dict()
    assert report["outputs"]["prores"] == str(out / "shot.prores.mov")
    assert report["hdr_videos"]["prores"]["curve"] == "logc3"
    assert len(list(decoded(out / "shot.prores.mov", LUMINANCE_BT709))) == 6
    (out / "shot.prores.mov").write_bytes(b"another program's")
    with pytest.raises(OutputError, match=r"shot\.prores\.mov exists already"):
        reconstruct_clip([str(clip)], out, options(prores="logc3", preview=False))
