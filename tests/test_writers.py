"""One contract over the frame writers, then what is special to EXR, .hdr, the sequence and the preview."""

from __future__ import annotations

import ctypes
import os
import socket
import stat
import threading
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import clips
import numpy as np
import OpenEXR
import pytest
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

import hdrvid.io.exr
import hdrvid.io.hdr
import hdrvid.io.preview
import hdrvid.io.writers
from hdrvid.color.gamuts import REC709
from hdrvid.errors import InputError, OutputError
from hdrvid.io import open_clip
from hdrvid.io.atomic import atomic_path, partial_path
from hdrvid.io.exr import COMPRESSIONS, read_exr, write_exr
from hdrvid.io.hdr import read_hdr, read_hdr_attributes, write_hdr
from hdrvid.io.preview import PreviewWriter
from hdrvid.io.writers import SequenceWriter


def radiance(height: int = 13, width: int = 17, seed: int = 0) -> np.ndarray:
    """Values over ten stops, black included."""
    rng = np.random.default_rng(seed)
    pixels = np.exp2(rng.uniform(-6, 4, (height, width, 3))).astype(np.float32)
    pixels[0, 0] = 0
    return pixels


def read_attributes(path: Path) -> Mapping[str, object]:
    return read_exr(path)[1] if path.suffix == ".exr" else read_hdr_attributes(path)


def read(path: Path) -> np.ndarray:
    return read_exr(path)[0] if path.suffix == ".exr" else read_hdr(path)


def step(pixels: np.ndarray, suffix: str) -> np.ndarray:
    """Half a step of the format: 11 bits a channel for half floats, 8 bits of the largest channel for RGBE."""
    if suffix == ".exr":
        return np.abs(pixels) / 2048
    return np.repeat(pixels.max(axis=-1, keepdims=True) / 256, 3, axis=-1)


Writer = Callable[..., None]


def write_preview(path: Path, pixels: np.ndarray) -> None:
    with PreviewWriter(path, pixels.shape[1], pixels.shape[0], 24) as video:
        video.write(np.zeros(pixels.shape, np.uint8))


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(path.parent)  # the address of a socket is short
        try:
            server.bind(path.name)
        finally:
            os.chdir(before)


def a_device(path: Path) -> None:
    """A node of its own with the numbers of /dev/null."""
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


def a_circle(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize(("write", "suffix"), [(write_exr, ".exr"), (write_hdr, ".hdr")])
class TestEveryFrameWriter:
    @pytest.mark.parametrize("size", [(13, 17), (1, 1), (1, 9), (64, 3), (8, 40)])
    def test_round_trip(self, tmp_path: Path, write: Writer, suffix: str, size: tuple[int, int]) -> None:
        pixels = radiance(*size)
        path = tmp_path / f"f{suffix}"
        write(path, pixels)
        back = read(path)
        assert back.shape == pixels.shape
        assert back.dtype == np.float32
        assert (np.abs(back - pixels) <= step(pixels, suffix) + 1e-12).all()

    def test_no_bias(self, tmp_path: Path, write: Writer, suffix: str) -> None:
        pixels = radiance(100, 100)
        write(tmp_path / f"f{suffix}", pixels)
        assert read(tmp_path / f"f{suffix}").mean() == pytest.approx(pixels.mean(), rel=2e-4)

    @pytest.mark.parametrize("view", ["transposed", "flipped", "cropped", "float64", "fortran", "big-endian"])
    def test_memory_layouts(self, tmp_path: Path, write: Writer, suffix: str, view: str) -> None:
        pixels = radiance()
        views = {
            "transposed": np.ascontiguousarray(pixels.transpose(2, 0, 1)).transpose(1, 2, 0),
            "flipped": np.ascontiguousarray(pixels[..., ::-1])[..., ::-1],
            "cropped": np.pad(pixels, ((3, 2), (4, 1), (0, 0)))[3:-2, 4:-1],
            "float64": pixels.astype(np.float64),
            "fortran": np.asfortranarray(pixels),
            "big-endian": pixels.astype(">f4"),
        }
        write(tmp_path / f"a{suffix}", pixels)
        write(tmp_path / f"b{suffix}", views[view])
        assert np.array_equal(read(tmp_path / f"a{suffix}"), read(tmp_path / f"b{suffix}"))

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_non_finite_is_refused(self, tmp_path: Path, write: Writer, suffix: str, bad: float) -> None:
        pixels = radiance()
        pixels[2, 3, 1] = bad
        with pytest.raises(ValueError, match=r"1 pixel\(s\) are NaN"):
            write(tmp_path / f"f{suffix}", pixels)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("shape", [(4, 5), (4, 5, 4), (0, 5, 3)])
    def test_wrong_shapes(self, tmp_path: Path, write: Writer, suffix: str, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match="shape"):
            write(tmp_path / f"f{suffix}", np.zeros(shape, np.float32))
        with pytest.raises(ValueError, match="uint8"):
            write(tmp_path / f"f{suffix}", np.zeros((4, 5, 3), np.uint8))

    def test_attributes_come_back(self, tmp_path: Path, write: Writer, suffix: str) -> None:
        path = tmp_path / f"f{suffix}"
        write(path, radiance(), attributes={"hdrvid:model": "classical", "hdrvid:frame": 7, "owner": "né"})
        found = read_attributes(path)
        assert (str(found["hdrvid:model"]), str(found["hdrvid:frame"]), found["owner"]) == ("classical", "7", "né")
        assert read(path).shape == (13, 17, 3)

    def test_failure_leaves_the_old_file(
        self, tmp_path: Path, write: Writer, suffix: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / f"f{suffix}"
        write(path, radiance())
        before = path.read_bytes()

        def refuse(*args: object) -> None:
            raise OSError(28, os.strerror(28))

        monkeypatch.setattr(os, "replace", refuse)
        with pytest.raises(OutputError, match=f"f{suffix}: the disk is full"):
            write(path, radiance(seed=1))
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]

    def test_missing_folder(self, tmp_path: Path, write: Writer, suffix: str) -> None:
        with pytest.raises(OutputError, match="the folder does not exist"):
            write(tmp_path / "none" / f"f{suffix}", radiance())

    def test_folder_in_the_way(self, tmp_path: Path, write: Writer, suffix: str) -> None:
        (tmp_path / f"f{suffix}").mkdir()
        with pytest.raises(OutputError, match="a folder of that name is in the way"):
            write(tmp_path / f"f{suffix}", radiance())
        assert len(list(tmp_path.iterdir())) == 1

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
    def test_full_disk(self, tmp_path: Path, write: Writer, suffix: str) -> None:
        partial_path(tmp_path / f"f{suffix}").symlink_to("/dev/full")
        with pytest.raises(OutputError, match="the disk is full"):
            write(tmp_path / f"f{suffix}", radiance())
        assert list(tmp_path.iterdir()) == []


class TestExr:
    @pytest.mark.parametrize("compression", sorted(COMPRESSIONS))
    def test_compressions(self, tmp_path: Path, compression: str) -> None:
        pixels = np.full((40, 70, 3), 0.5, np.float32) * np.linspace(0.5, 2, 70, dtype=np.float32)[None, :, None]
        path = tmp_path / "f.exr"
        write_exr(path, pixels, compression=compression)
        back, attributes = read_exr(path)
        assert attributes["compression"] == compression
        lossy = compression in ("b44", "b44a", "dwaa", "dwab")
        assert np.abs(back - pixels).max() <= (0.02 if lossy else 1 / 2048)
        assert not hdrvid.io.exr.exr_is_truncated(path)
        with pytest.raises(ValueError, match="unknown EXR compression"):
            write_exr(path, pixels, compression="lzw")

    def test_zip_is_quick(self, tmp_path: Path) -> None:
        library, level = ctypes.CDLL(OpenEXR.__file__), ctypes.c_int()
        if not hasattr(library, "exr_get_default_zip_compression_level"):
            pytest.skip("this OpenEXR hides the level")
        write_exr(tmp_path / "f.exr", np.ones((4, 4, 3), np.float32))
        library.exr_get_default_zip_compression_level(ctypes.byref(level))
        assert level.value == hdrvid.io.exr.ZIP_LEVEL

    @pytest.mark.parametrize("compression", ["zip", "dwaa"])
    def test_clamped_to_half(self, tmp_path: Path, compression: str) -> None:
        pixels = np.full((32, 32, 3), 1e9, np.float32)
        write_exr(tmp_path / "f.exr", pixels, compression=compression)
        back = read_exr(tmp_path / "f.exr")[0]
        assert np.isfinite(back).all()
        assert back.max() == pytest.approx(65504 if compression == "zip" else 60000, rel=0.05)

    def test_stored_as_half_rgb(self, tmp_path: Path) -> None:
        write_exr(tmp_path / "f.exr", radiance())
        channels = OpenEXR.File(str(tmp_path / "f.exr"), separate_channels=True).channels()
        assert {name: channel.pixels.dtype for name, channel in channels.items()} == dict.fromkeys("RGB", np.float16)

    def test_default_and_own_attributes(self, tmp_path: Path) -> None:
        path = tmp_path / "f.exr"
        own = {
            "framesPerSecond": Fraction(24000, 1001),
            "expTime": np.float32(0.5),
            "hdrvid:stops": (0, 3),
            "hdrvid:names": ["a", "b"],
            "hdrvid:scale": np.array([1.5, 2.5], np.float32),
            "hdrvid:frame": np.int64(5),
            "hdrvid:preview": True,
        }
        write_exr(path, radiance(), attributes=own)
        found = read_exr(path)[1]
        assert found["chromaticities"] == pytest.approx(REC709.chromaticities)
        assert found["colorInteropID"] == "lin_rec709_scene"
        assert found["framesPerSecond"] == Fraction(24000, 1001)
        assert found["expTime"] == 0.5
        assert found["hdrvid:stops"] == [0.0, 3.0]
        assert found["hdrvid:names"] == ["a", "b"]
        assert found["hdrvid:scale"] == [1.5, 2.5]
        assert found["hdrvid:frame"] == 5
        assert found["hdrvid:preview"] == 1
        write_exr(path, radiance(), attributes={"chromaticities": [0.1] * 8, "colorInteropID": "data"})
        found = read_exr(path)[1]
        assert found["chromaticities"] == pytest.approx([0.1] * 8)
        assert found["colorInteropID"] == "data"

    @pytest.mark.parametrize("value", [None, {"a": 1}, [], 2**31, ["a", 1], object()])
    def test_attributes_that_exr_cannot_hold(self, tmp_path: Path, value: object) -> None:
        with pytest.raises(ValueError, match="hdrvid:x"):
            write_exr(tmp_path / "f.exr", radiance(), attributes={"hdrvid:x": value})


class TestHdr:
    def test_extremes(self, tmp_path: Path) -> None:
        pixels = np.array(
            [[[-1, 0.5, 0.25], [1e38, 0, 1], [0, 0, 0], [255.9, 1, 0.001], [1e-20, 2e-20, 0]]], np.float64
        )
        write_hdr(tmp_path / "f.hdr", pixels)
        back = read_hdr(tmp_path / "f.hdr")[0]
        assert back[0].tolist() == [0, 0.5, 0.25]
        assert back[1, 0] == pytest.approx(2.0**126, rel=0.01)
        assert back[2].tolist() == [0, 0, 0]
        assert back[3, 0] == 256
        assert back[4] == pytest.approx([1e-20, 2e-20, 0], rel=0.01)

    def test_header(self, tmp_path: Path) -> None:
        write_hdr(tmp_path / "f.hdr", radiance(), attributes={"note": "two\nlines"})
        lines = (tmp_path / "f.hdr").read_bytes().split(b"\n\n")[0].split(b"\n")
        assert lines[0] == b"#?RADIANCE"
        assert b"note=two lines" in lines
        assert lines[-1] == b"FORMAT=32-bit_rle_rgbe"
        assert read_hdr_attributes(tmp_path / "f.hdr")["PRIMARIES"].startswith("0.64 0.33")

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="cannot be opened"):
            read_hdr(tmp_path / "none.hdr")


class TestAtomicPath:
    def test_appears_at_the_end(self, tmp_path: Path) -> None:
        with atomic_path(tmp_path / "a.txt", durable=True) as partial:
            partial.write_text("x")
            assert partial.suffix == ".txt"
            assert partial.name.startswith(".")
            assert not (tmp_path / "a.txt").exists()
        assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError("other"), ZeroDivisionError])
    def test_any_exception_cleans_up(self, tmp_path: Path, error: BaseException) -> None:
        def run() -> None:
            with atomic_path(tmp_path / "a.txt") as partial:
                partial.write_text("x")
                raise error

        with pytest.raises(error if isinstance(error, type) else type(error)):
            run()
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (OSError(28, "x"), "disk is full"),
            (PermissionError(13, "x"), "permission denied"),
            (OSError(30, "x"), "read-only"),
            (OSError(5, "Input/output error"), "Input/output error"),
            (RuntimeError("write failed: No space left on device."), "disk is full"),
        ],
    )
    def test_disk_errors_become_one_sentence(self, tmp_path: Path, error: Exception, text: str) -> None:
        with pytest.raises(OutputError, match=text) as caught, atomic_path(tmp_path / "a.txt"):
            raise error
        assert str(caught.value).startswith(f"cannot write {tmp_path / 'a.txt'}: ")
        assert caught.value.__cause__ is error

    def test_a_link_stays_and_its_file_is_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "real.txt").write_text("before")
        (tmp_path / "a.txt").symlink_to(tmp_path / "b" / "real.txt")
        with atomic_path(tmp_path / "a.txt") as partial:
            partial.write_text("after")
        assert (tmp_path / "a.txt").is_symlink()
        assert (tmp_path / "b" / "real.txt").read_text() == "after"
        assert [p.name for p in (tmp_path / "b").iterdir()] == ["real.txt"]

    def test_a_link_to_nothing_is_written_through(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").symlink_to(tmp_path / "real.txt")
        with atomic_path(tmp_path / "a.txt") as partial:
            partial.write_text("x")
        assert (tmp_path / "a.txt").is_symlink()
        assert (tmp_path / "real.txt").read_text() == "x"

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
    @pytest.mark.parametrize("through_a_link", [False, True])
    @pytest.mark.parametrize("make", [a_pipe, a_socket, a_device, Path.mkdir, a_circle], ids=lambda m: m.__name__)
    def test_what_is_no_file_is_never_replaced(
        self, tmp_path: Path, make: Callable[[Path], object], through_a_link: bool
    ) -> None:
        target = tmp_path / "a.txt"
        make(tmp_path / "node" if through_a_link else target)
        if through_a_link:
            target.symlink_to("node")
        before = {p.name: os.lstat(p).st_mode for p in tmp_path.iterdir()}
        entered = False
        said = r"^cannot write .*a\.txt: a .* in the way"
        with pytest.raises(OutputError, match=said) as caught, atomic_path(target):
            entered = True
        assert not entered
        assert "\n" not in str(caught.value)
        assert {p.name: os.lstat(p).st_mode for p in tmp_path.iterdir()} == before

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
    def test_what_came_meanwhile_is_not_replaced(self, tmp_path: Path) -> None:
        def run() -> None:
            with atomic_path(tmp_path / "a.txt") as partial:
                partial.write_text("x")
                os.mkfifo(tmp_path / "a.txt")

        with pytest.raises(OutputError, match="pipe"):
            run()
        assert [(p.name, p.is_fifo()) for p in tmp_path.iterdir()] == [("a.txt", True)]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
@pytest.mark.parametrize(("write", "suffix"), [(write_exr, ".exr"), (write_hdr, ".hdr"), (write_preview, ".mp4")])
def test_no_writer_replaces_a_pipe(tmp_path: Path, write: Writer, suffix: str) -> None:
    os.mkfifo(tmp_path / f"a{suffix}")
    with pytest.raises(OutputError, match="pipe"):
        write(tmp_path / f"a{suffix}", radiance())
    assert [(p.name, p.is_fifo()) for p in tmp_path.iterdir()] == [(f"a{suffix}", True)]


@pytest.mark.parametrize("kind", ["exr", "hdr"])
class TestSequenceWriter:
    def test_frames_are_on_the_disk(self, tmp_path: Path, kind: str) -> None:
        folder = tmp_path / "new" / "out"
        with SequenceWriter(folder, "shot", kind) as writer:
            pixels = np.empty((13, 17, 3), np.float32)
            for index in range(12):
                pixels[:] = radiance(seed=index)  # the caller's buffer may be used again at once
                writer.submit(index, pixels, {"hdrvid:frame": index})
        assert sorted(p.name for p in folder.iterdir()) == [f"shot.{i:06d}.{kind}" for i in range(12)]
        for index in range(12):
            expected = radiance(seed=index)
            path = writer.path_for(index)
            assert (np.abs(read(path) - expected) <= step(expected, path.suffix) + 1e-12).all()
            assert int(str(read_attributes(path)["hdrvid:frame"])) == index
        with pytest.raises(ValueError, match="closed"):
            writer.submit(12, pixels)

    def test_reads_back_as_a_clip(self, tmp_path: Path, kind: str) -> None:
        with SequenceWriter(tmp_path, "shot", kind) as writer:
            for index in range(3):
                writer.submit(index, radiance(seed=index))
        with open_clip(tmp_path / f"shot.%06d.{kind}") as clip:
            assert clip.info.linear
            assert len(list(clip.frames())) == 3

    def test_is_complete(self, tmp_path: Path, kind: str) -> None:
        with SequenceWriter(tmp_path, "shot", kind) as writer:
            writer.submit(0, radiance(40, 50))
            writer.close()
            assert writer.is_complete(0)
            assert not writer.is_complete(1)
            data = writer.path_for(0).read_bytes()
            for damaged in (data[:-1], data[: len(data) // 2], data[:10], b"", b"junk" * 1000):
                writer.path_for(1).write_bytes(damaged)
                assert not writer.is_complete(1)
            writer.path_for(2).mkdir()
            assert not writer.is_complete(2)

    def test_body_failure_keeps_submitted_frames(self, tmp_path: Path, kind: str) -> None:
        def interrupted() -> None:
            with SequenceWriter(tmp_path, "shot", kind) as writer:
                for index in range(4):
                    writer.submit(index, radiance(seed=index))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert sorted(p.name for p in tmp_path.iterdir()) == [f"shot.{i:06d}.{kind}" for i in range(4)]

    def test_first_error_is_raised(self, tmp_path: Path, kind: str) -> None:
        (tmp_path / f"shot.000001.{kind}").mkdir()
        writer = SequenceWriter(tmp_path, "shot", kind, workers=1)
        writer.submit(0, radiance())
        writer.submit(1, radiance())
        with pytest.raises(OutputError, match="in the way"):
            writer.close()
        writer.close()
        assert sorted(p.name for p in tmp_path.iterdir()) == [f"shot.{i:06d}.{kind}" for i in range(2)]

    def test_submit_raises_an_earlier_error(self, tmp_path: Path, kind: str) -> None:
        def run() -> None:
            bad = radiance()
            bad[0, 0] = np.nan
            with SequenceWriter(tmp_path, "shot", kind, workers=1) as writer:
                writer.submit(0, bad)
                for index in range(1, 100):
                    writer.submit(index, radiance())

        with pytest.raises(ValueError, match="NaN"):
            run()
        assert not (tmp_path / f"shot.000099.{kind}").exists()

    def test_queue_is_bounded(self, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        gate = threading.Event()
        name = f"write_{kind}"
        real = getattr(hdrvid.io.writers, name)

        def slow(*args: object, **settings: object) -> None:
            gate.wait(30)
            real(*args, **settings)

        monkeypatch.setattr(hdrvid.io.writers, name, slow)
        submitted: list[int] = []

        with SequenceWriter(tmp_path, "shot", kind, workers=2) as writer:

            def produce() -> None:
                for index in range(9):
                    writer.submit(index, radiance())
                    submitted.append(index)

            thread = threading.Thread(target=produce)
            thread.start()
            thread.join(0.5)
            waiting = list(submitted)
            gate.set()
            thread.join(30)
        assert waiting == [0, 1, 2, 3]
        assert len(list(tmp_path.iterdir())) == 9

    def test_bad_folder_and_settings(self, tmp_path: Path, kind: str) -> None:
        (tmp_path / "file").write_text("x")
        for folder in (tmp_path / "file", tmp_path / "file" / "out"):
            with pytest.raises(OutputError, match="not a folder"):
                SequenceWriter(folder, "shot", kind)
        with pytest.raises(ValueError, match="workers"):
            SequenceWriter(tmp_path, "shot", kind, workers=0)
        with pytest.raises(ValueError, match="format"):
            SequenceWriter(tmp_path, "shot", kind + "x")


class TestPreviewWriter:
    COLOURS = np.array(
        [[0, 0, 0], [255, 255, 255], [128, 128, 128], [200, 60, 60], [60, 180, 70], [50, 70, 190], [210, 190, 40]],
        np.uint8,
    )

    @pytest.mark.parametrize("size", [(48, 224), (49, 225)])
    def test_colours(self, tmp_path: Path, size: tuple[int, int]) -> None:
        """Decoded again, flat patches are within 3 codes, the odd last column and row included."""
        bars = np.repeat(self.COLOURS, 32, axis=0)
        picture = np.repeat(np.pad(bars, ((0, size[1] - 224), (0, 0)), mode="edge")[None], size[0], axis=0)
        path = tmp_path / "p.mp4"
        with PreviewWriter(path, size[1], size[0], Fraction(24)) as preview:
            for _ in range(3):
                preview.write(picture)
        with open_clip(path) as clip:
            frames = list(clip.frames())
            info = clip.info
        assert (info.width, info.height) == (size[1] + size[1] % 2, size[0] + size[0] % 2)
        assert len(frames) == 3
        decoded = frames[1].pixels * 255
        for i, colour in enumerate(self.COLOURS):
            patch = decoded[:, 32 * i + 8 : 32 * i + 24]  # the codec rings at the edges
            assert np.abs(patch - colour).max() <= 3, colour
        assert np.abs(decoded[-1, -1] - self.COLOURS[-1]).max() <= 3

    def test_the_matrix_is_bt709(self, tmp_path: Path) -> None:
        """The stored luma and chroma are those of BT.709, limited range, whatever the tags say."""
        path = tmp_path / "p.mp4"
        colour = np.array([200, 60, 60]) / 255
        with PreviewWriter(path, 32, 32, Fraction(24)) as preview:
            preview.write(np.broadcast_to(self.COLOURS[3], (32, 32, 3)))
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
        expected = [p[0, 0] for p in clips.yuv_planes(np.broadcast_to(colour, (2, 2, 3)), 8, clips.BT709)]
        stored = [np.frombuffer(plane, np.uint8)[0] for plane in frame.planes]
        assert np.abs(np.array(stored, int) - np.array(expected, int)).max() <= 1

    def test_tags_and_format(self, tmp_path: Path) -> None:
        path = tmp_path / "p.mp4"
        with PreviewWriter(path, 32, 32, Fraction(24000, 1001)) as preview:
            for i in range(5):
                preview.write(np.full((32, 32, 3), 40 * i, np.uint8))
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            context = stream.codec_context
            assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
            assert context.colorspace == Colorspace.ITU709
            assert context.color_range == ColorRange.MPEG
            assert context.color_primaries == ColorPrimaries.BT709
            assert context.color_trc == ColorTrc.BT709
            assert stream.average_rate == Fraction(24000, 1001)
            assert stream.frames == 5
            assert float(stream.duration * stream.time_base) == pytest.approx(5 * 1001 / 24000, abs=1e-4)
        data = path.read_bytes()
        assert data.index(b"moov") < data.index(b"mdat")

    def test_variable_times_are_kept(self, tmp_path: Path) -> None:
        times = [2.0, 2.04, 2.09, 2.1, 2.35, 2.35, 2.4]
        with PreviewWriter(tmp_path / "p.mp4", 32, 32, Fraction(30)) as preview:
            for i, seconds in enumerate(times):
                preview.write(np.full((32, 32, 3), 30 * i, np.uint8), seconds)
        with open_clip(tmp_path / "p.mp4") as clip:
            found = [f.pts_seconds for f in clip.frames()]
        assert found == pytest.approx([t - 2 for t in times], abs=5e-5)
        assert len(set(found)) == len(times)

    def test_appears_complete_or_not_at_all(self, tmp_path: Path) -> None:
        def interrupted() -> None:
            with PreviewWriter(tmp_path / "p.mp4", 32, 32, Fraction(24)) as preview:
                preview.write(np.zeros((32, 32, 3), np.uint8))
                assert not (tmp_path / "p.mp4").exists()
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        with PreviewWriter(tmp_path / "p.mp4", 32, 32, Fraction(24)):
            pass
        assert list(tmp_path.iterdir()) == []

    def test_full_disk_at_the_end(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*args: object) -> None:
            raise OSError(28, "x")

        def run() -> None:
            with PreviewWriter(tmp_path / "p.mp4", 32, 32, Fraction(24)) as preview:
                preview.write(np.zeros((32, 32, 3), np.uint8))

        monkeypatch.setattr(os, "replace", refuse)
        with pytest.raises(OutputError, match="disk is full"):
            run()
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
    def test_full_disk_while_writing(self, tmp_path: Path) -> None:
        partial_path(tmp_path / "p.mp4").symlink_to("/dev/full")
        rng = np.random.default_rng(0)

        def run() -> None:
            with PreviewWriter(tmp_path / "p.mp4", 128, 128, Fraction(24), crf=0) as preview:
                for _ in range(60):
                    preview.write(rng.integers(0, 255, (128, 128, 3), dtype=np.uint8))

        with pytest.raises(OutputError, match=r"p\.mp4: the disk is full"):
            run()
        assert list(tmp_path.iterdir()) == []

    def test_missing_folder_and_bad_arguments(self, tmp_path: Path) -> None:
        def run() -> None:
            with PreviewWriter(tmp_path / "none" / "p.mp4", 32, 32, Fraction(24)) as preview:
                preview.write(np.zeros((32, 32, 3), np.uint8))

        with pytest.raises(OutputError, match="the folder does not exist"):
            run()
        with pytest.raises(ValueError, match="size"):
            PreviewWriter(tmp_path / "p.mp4", 0, 32, Fraction(24))
        with pytest.raises(ValueError, match="frame rate"):
            PreviewWriter(tmp_path / "p.mp4", 32, 32, Fraction(0))
        preview = PreviewWriter(tmp_path / "p.mp4", 32, 32, Fraction(24))
        with preview, pytest.raises(ValueError, match="uint8"):
            preview.write(np.zeros((16, 32, 3), np.uint8))
