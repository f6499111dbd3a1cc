"""The command line as its users meet it: exit codes, streams, messages."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_reconstruct import exr_frames, scene_radiance, write_frames, write_video
from training import made_in_process

from hdrvid import __version__
from hdrvid.cli import console, main, reconstruct
from hdrvid.cli.app import run
from hdrvid.cli.progress import FrameProgress
from hdrvid.color.tonemap import OPERATORS
from hdrvid.errors import UsageError
from hdrvid.io.exr import write_exr
from hdrvid.options.parse import parse_size
from hdrvid.options.reconstruct import ReconstructOptions
from hdrvid.predict.registry import load_reconstructor
from hdrvid.types import Window

CLASSICAL = ("--model", "classical", "--device", "cpu", "--exposures", "0,3")


def hdrvid(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run the command line in this process: exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as leaving:
        main([str(a) for a in arguments])
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err
    return int(leaving.value.code or 0), out, err


def sentence(err: str) -> str:
    """The one error sentence on stderr."""
    lines = [line for line in err.splitlines() if line.startswith("hdrvid: error: ")]
    assert len(lines) == 1, err
    return lines[0].removeprefix("hdrvid: error: ")


@pytest.fixture(autouse=True)
def _users_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HDRVID_DEBUG", raising=False)
    monkeypatch.setenv("COLUMNS", "120")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_frames(tmp_path_factory.mktemp("clips") / "clip", num_frames=4)


# Results


def test_results_on_stdout_and_the_rest_on_stderr(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    code, stdout, stderr = hdrvid(capfd, "reconstruct", clip, "-o", out, *CLASSICAL)
    assert code == 0
    lines = stdout.splitlines()
    assert lines[0].startswith(f"{clip}: 64x48, exposures 0,3 stops (declared), response gamma2.2 (assumed)")
    assert re.fullmatch(
        rf"{re.escape(str(out))}/clip\.000000\.exr \.\.\. 4 frame\(s\), flicker 0\.0\d\d stops(, [\d.]+ % unmeasured)?",
        lines[1],
    )
    assert lines[2:] == [f"{out}/clip.preview.mp4", f"{out}/clip.json"]
    assert "assuming the response gamma2.2" in stderr
    assert len(exr_frames(out)) == 4


def test_json_on_stdout_is_the_report(clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    code, stdout, _ = hdrvid(capfd, "reconstruct", clip, "-o", out, *CLASSICAL, "--json", "--no-preview")
    assert code == 0
    report = json.loads(stdout)
    assert report == json.loads((out / "clip.json").read_text())
    assert {"stops", "cycle", "confidence", "response"} <= set(report)
    assert report["outputs"]["preview"] is None
    assert not (out / "clip.preview.mp4").exists()


def test_several_clips_go_on_after_a_failure(clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    other = write_frames(tmp_path / "other", num_frames=2)
    junk = tmp_path / "junk.mov"
    junk.write_bytes(b"no video at all" * 100)
    code, stdout, stderr = hdrvid(capfd, "reconstruct", junk, clip, other, "-o", tmp_path / "out", *CLASSICAL, "--json")
    assert code == 1
    reports = json.loads(stdout)
    assert [r["source"] for r in reports] == [str(clip), str(other), str(junk)]
    assert [r["problem"] is None for r in reports] == [True, True, False]
    assert "junk.mov" in sentence(stderr)
    assert len(exr_frames(tmp_path / "out")) == 6


def test_an_unexpected_error_costs_its_own_clip_only(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hdrvid.pipeline import run

    others = [write_frames(tmp_path / name, num_frames=4) for name in ("a", "b")]
    reconstruct_clip = run.reconstruct_clip

    def fails(inputs, *arguments, **options):
        if inputs == [str(others[0])]:
            raise ZeroDivisionError("a fault")
        return reconstruct_clip(inputs, *arguments, **options)

    monkeypatch.setattr(run, "reconstruct_clip", fails)
    code, stdout, stderr = hdrvid(capfd, "reconstruct", *others, clip, "-o", tmp_path / "out", *CLASSICAL)
    assert code == 1
    assert sentence(stderr).startswith(f"{others[0]}: unexpected ZeroDivisionError: a fault (this is a fault of hdrvid")
    assert "b.json" in stdout
    assert "clip.json" in stdout


def test_clips_of_one_name_do_not_overwrite_each_other(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    twin = write_frames(tmp_path / "clip", num_frames=2)
    code, _, stderr = hdrvid(capfd, "reconstruct", clip, twin, "-o", tmp_path / "out", *CLASSICAL, "--no-preview")
    assert code == 1
    assert "different folders" in sentence(stderr)
    assert len(exr_frames(tmp_path / "out")) == 4


def test_options_arrive_in_the_files(clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ("--frames", "1-2", "--format", "hdr", "--white", "shortest", "--response", "srgb", "--no-preview")
    code, stdout, _ = hdrvid(capfd, "reconstruct", clip, "-o", tmp_path / "out", *CLASSICAL, *arguments, "--json")
    assert code == 0
    report = json.loads(stdout)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "clip.000001-000002.json",
        "clip.000001.hdr",
        "clip.000002.hdr",
    ]
    assert (report["scale"], report["white"], report["response"]) == (1.0, "shortest", "srgb")
    assert report["response_from"] == "declared"


# Failures: one sentence on stderr, exit code 1, nothing half-written


def one_frame(folder: Path) -> Path:
    return write_frames(folder / "one", num_frames=1)


def mixed_sizes(folder: Path) -> Path:
    clip = write_frames(folder / "mixed", num_frames=4)
    cv2.imwrite(str(clip / "f000001.png"), np.zeros((20, 30, 3), np.uint8))
    return clip


def no_frames(folder: Path) -> Path:
    (folder / "empty").mkdir()
    (folder / "empty" / "notes.txt").write_text("no frames here")
    return folder / "empty"


def not_a_video(folder: Path) -> Path:
    (folder / "letter.mp4").write_text("Dear reader, this is no video." * 50)
    return folder / "letter.mp4"


def nan_frames(folder: Path) -> Path:
    clip = folder / "nan"
    clip.mkdir()
    for i in range(4):
        pixels = np.clip(scene_radiance(i, 32, 32) * (1, 8)[i % 2], 0, 1)
        write_exr(clip / f"f{i}.exr", pixels)
    # write_exr refuses NaN, so the second frame is made without it
    import OpenEXR

    header = {"compression": OpenEXR.NO_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {"RGB": np.full((32, 32, 3), np.nan, np.float32)}).write(str(clip / "f1.exr"))
    return clip


def truncated_mp4(folder: Path) -> Path:
    import av

    path = folder / "cut.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(6):
            code = (scene_radiance(i, 64, 48).clip(0, 1) * 255).astype(np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(code, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda folder: folder / "missing.mov", "missing.mov does not exist"),
        (lambda folder: folder / "missing.%04d.png", "missing.%04d.png"),
        (no_frames, "empty holds no frames"),
        (one_frame, "only 1 frame"),
        (mixed_sizes, "f000001.png"),
        (not_a_video, "letter.mp4"),
        (nan_frames, "NaN"),
        (truncated_mp4, "cut.mp4"),
    ],
    ids=["missing", "pattern", "no-frames", "one-frame", "sizes", "not-a-video", "nan", "truncated"],
)
def test_clips_that_cannot_be_used(make, names: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = make(tmp_path)
    code, stdout, stderr = hdrvid(capfd, "reconstruct", source, "-o", tmp_path / "out", *CLASSICAL)
    assert code == 1
    assert stdout == ""
    assert names in sentence(stderr)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_video_that_ends_early_is_finished_with_a_warning(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    video = write_video(tmp_path / "cut.mkv", write_frames(tmp_path / "frames", num_frames=12))
    video.write_bytes(video.read_bytes()[: video.stat().st_size * 6 // 10])
    code, stdout, stderr = hdrvid(capfd, "reconstruct", video, "-o", tmp_path / "out", *CLASSICAL, "--json")
    report = json.loads(stdout)
    assert code == 0
    assert 2 <= report["frames"]["count"] < 12
    assert report["frames"]["count"] == len(exr_frames(tmp_path / "out"))
    assert "ends early" in stderr
    assert any("ends early" in text for text in report["warnings"])


def test_a_clip_damaged_in_the_middle_ends_with_exit_code_1(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = write_frames(tmp_path / "shot", num_frames=6)
    (source / "f000004.png").write_bytes(b"")
    code, stdout, stderr = hdrvid(capfd, "reconstruct", source, "-o", tmp_path / "out", *CLASSICAL)
    assert code == 1
    assert "f000004.png" in sentence(stderr)
    assert "5 frame(s)" in stdout
    assert len(exr_frames(tmp_path / "out")) == 5
    assert not (tmp_path / "out" / "shot.000004.exr").exists()


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("--model", "nonsense"), "nonsense"),
        (("--model", "missing.safetensors"), "missing.safetensors"),
        (("--exposures", "0"), "--exposures"),
        (("--exposures", "missing.txt"), "missing.txt"),
        (("--response", "missing.csv"), "missing.csv"),
    ],
)
def test_settings_that_cannot_work(
    arguments: tuple[str, ...], names: str, clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, _, stderr = hdrvid(capfd, "reconstruct", clip, "-o", tmp_path / "out", *CLASSICAL, *arguments)
    assert code == 1
    assert names in sentence(stderr)
    assert not (tmp_path / "out").exists()


def test_outputs_that_cannot_be_written(clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    code, _, stderr = hdrvid(capfd, "reconstruct", clip, "-o", tmp_path / "file" / "out", *CLASSICAL)
    assert code == 1
    assert "is not a folder" in sentence(stderr)
    # a folder where the first frame has to go
    (tmp_path / "out" / "clip.000000.exr").mkdir(parents=True)
    code, _, stderr = hdrvid(capfd, "reconstruct", clip, "-o", tmp_path / "out", *CLASSICAL)
    assert code == 1
    assert "clip.000000.exr" in sentence(stderr)
    assert not list((tmp_path / "out").glob(".*"))


def test_other_settings_are_refused_until_overwrite(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    base = ("reconstruct", clip, "-o", tmp_path / "out", *CLASSICAL, "--no-preview")
    assert hdrvid(capfd, *base)[0] == 0
    code, _, stderr = hdrvid(capfd, *base, "--white", "2")
    assert code == 1
    assert "--overwrite" in sentence(stderr)
    assert hdrvid(capfd, *base, "--white", "2", "--overwrite")[0] == 0


# Usage


@pytest.mark.parametrize(
    "arguments",
    [
        ("reconstruct",),
        ("reconstruct", "clip.mov"),
        ("reconstruct", "clip.mov", "-o", "out", "--nonsense"),
        ("reconstruct", "clip.mov", "-o", "out", "--frames", "9-3"),
        ("reconstruct", "clip.mov", "-o", "out", "--format", "png"),
        ("reconstruct", "clip.mov", "-o", "out", "--tonemap", "nonsense"),
        ("reconstruct", "clip.mov", "-o", "out", "--white", "-1"),
        ("synth", "-o", "out", "--size", "huge"),
        ("synth",),
        ("train", "--shots", "1", "--without", "colour"),
        ("train", "--shots", "1", "--without", "l1", "--without", "structure"),
        ("train", "--crop", "100"),
        ("train", "--crop", "128", "--window-size", "96"),
        ("train", "--preset", "huge"),
        ("train", "--stage", "last"),
        ("train", "--stage", "imitation"),
        ("train", "--preset", "memo", "--stall", "50"),
        ("train", "--preset", "memo", "--flow-crop", "40"),
        ("train", "--schedule", "flat"),
        ("train", "--precision", "fp16"),
        ("train", "--batch", "6", "--accumulate", "4"),
        ("train", "--unlabelled", "clips"),
        ("train", "--cycle", "4"),
        ("train", "--shots", "0"),
        ("train", "--device", "abacus"),
        ("info", "a.mov", "b.mov"),
        ("nonsense",),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(
    arguments: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = hdrvid(capfd, *arguments)
    assert code == 2
    assert stdout == ""
    assert stderr
    assert not list(tmp_path.iterdir())


def test_help_and_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert hdrvid(capfd, "--version") == (0, f"hdrvid {__version__}\n", "")
    for short in ("-h", "--help"):
        code, stdout, _ = hdrvid(capfd, short)
        assert code == 0
        assert all(name in stdout for name in ("reconstruct", "info", "synth"))
    code, stdout, _ = hdrvid(capfd, "reconstruct", "-h")
    assert code == 0
    for name in ("--exposures", "--response", "--frames", "--white", "--tile", "--precision", "--overwrite", "--json"):
        assert name in stdout


def test_the_defaults_of_the_command_are_those_of_the_library() -> None:
    parameters = inspect.signature(reconstruct.command).parameters
    for field in dataclasses.fields(ReconstructOptions):
        if field.name != "frame_range":
            assert parameters[field.name].default == field.default
    help_text = parameters["tonemap"].annotation.__metadata__[0].help
    assert all(name in help_text for name in OPERATORS)


def test_help_does_not_load_the_heavy_packages() -> None:
    code = (
        "import sys\nfrom hdrvid.cli import main\n"
        "try: main(['reconstruct', '--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'cv2', 'av', 'OpenEXR') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_python_m_hdrvid_is_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hdrvid", "info", str(tmp_path / "missing.mov")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HDRVID_DEBUG": ""},
    )
    assert (done.returncode, done.stdout) == (1, "")
    opening, error = done.stderr.splitlines()
    assert opening == f"hdrvid: opening {tmp_path / 'missing.mov'}"
    assert error.startswith("hdrvid: error: ")


# The other commands


def test_info_of_the_machine(capfd: pytest.CaptureFixture[str]) -> None:
    code, stdout, _ = hdrvid(capfd, "info", "--json")
    facts = json.loads(stdout)
    assert code == 0
    assert facts["version"] == __version__
    assert "classical" in [model["name"] for model in facts["models"]]
    code, stdout, _ = hdrvid(capfd, "info")
    assert code == 0
    assert "classical: 2 and 3 exposures" in stdout


def test_info_of_a_clip(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = write_frames(tmp_path / "shot", stops=(0, 2, 4), num_frames=12)
    code, stdout, _ = hdrvid(capfd, "info", source, "--json")
    facts = json.loads(stdout)
    assert code == 0
    assert facts["cycle"] == 3
    assert facts["stops"] == pytest.approx([0, 2, 4], abs=0.3)
    assert len(facts["pair_stops"]) == 11
    assert facts["response"] == "gamma2.2"
    code, stdout, _ = hdrvid(capfd, "info", source)
    assert code == 0
    assert "a cycle of 3" in stdout


def test_synth_makes_a_clip_that_can_be_reconstructed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ("-o", tmp_path / "made", "--exposures", "0,3", "--frames", "4", "--size", "64x48", "--video")
    code, stdout, _ = hdrvid(capfd, "synth", *arguments, "--json")
    assert code == 0
    video = tmp_path / "made" / json.loads(stdout)["clip"]
    code, stdout, _ = hdrvid(capfd, "reconstruct", video, "-o", tmp_path / "out", *CLASSICAL, "--response", "gamma2.2")
    assert code == 0
    assert len(exr_frames(tmp_path / "out")) == 4
    code, _, stderr = hdrvid(capfd, "synth", "-o", tmp_path / "auto", "--exposures", "auto")
    assert code == 2
    assert "--exposures auto" in sentence(stderr)


TINY_TRAINING = (
    *("--epochs", "1", "--steps-per-epoch", "2", "--batch", "2", "--crop", "32", "--window-size", "64"),
    *("--windows", "4", "--workers", "0", "--device", "cpu"),
)


def test_the_memo_trains_in_stages(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    with made_in_process():
        code, stdout, stderr = hdrvid(capfd, "train", "--preset", "memo", *TINY_TRAINING, "--epochs", 3, "-o", run)
        assert code == 0
        assert re.search(r"^imitation \d/6: .* left", stderr, re.MULTILINE)
        assert not re.search("^train: .* steps", stderr, re.MULTILINE), "the reports say it"
        more = ("--cycle", 3, "--init", run / "model.safetensors", "--stage", "merge", "-o", tmp_path / "three")
        code, stdout, _ = hdrvid(capfd, "train", "--preset", "memo", *TINY_TRAINING, *more)
    assert code == 0
    assert load_reconstructor(stdout.strip(), 3, device="cpu").num_exposures == 3


def test_train_ends_with_weights_that_reconstruct(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with made_in_process():
        code, stdout, stderr = hdrvid(capfd, "train", "--shots", "1", *TINY_TRAINING, "-o", tmp_path / "run")
    assert code == 0
    model = tmp_path / "run" / "model.safetensors"
    assert stdout == f"{model}\n"
    assert f"--model {model}" in stderr
    gained = r"^hdrvid: 2 steps in 0:\d\d: validation PSNR-T [\d.]+ dB before, [\d.]+ dB after \([+-][\d.]+ dB\)$"
    assert re.search(gained, stderr, re.MULTILINE)
    reconstructor = load_reconstructor(str(model), 2, device="cpu")
    frames = [np.full((32, 40, 3), code, np.float32) for code in (0.4, 0.2, 0.4)]
    result = reconstructor.reconstruct(Window(1, tuple(frames), (8.0, 1.0, 8.0)))
    assert result.radiance.shape == (32, 40, 3)
    assert np.isfinite(result.radiance).all()
    arguments = ("--model", model, "--device", "cpu", "--exposures", "0,3", "--no-preview")
    assert hdrvid(capfd, "reconstruct", clip, "-o", tmp_path / "out", *arguments)[0] == 0
    assert len(exr_frames(tmp_path / "out")) == 4
    code, _, stderr = hdrvid(capfd, "train", "--shots", "1", *TINY_TRAINING, "-o", tmp_path / "run")
    assert code == 1
    assert "--resume" in sentence(stderr)
    code, _, stderr = hdrvid(capfd, "train", *TINY_TRAINING, "-o", tmp_path / "run", "--resume")
    assert code == 1
    assert "other options" in sentence(stderr)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("--data", "nothing"), "nothing does not exist"),
        (("--data", "empty"), "empty holds no"),
        (("--shots", "1", "--unlabelled", "nothing"), "nothing does not exist"),
        (("--shots", "1", "--unlabelled", "empty"), "empty holds no clip"),
        (("--hold-out", "nothing"), "nothing cannot be read"),
        (("--init", "nothing.safetensors"), "there is no weights file"),
    ],
)
def test_training_that_cannot_begin(
    arguments: tuple[str, ...],
    names: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    code, stdout, stderr = hdrvid(capfd, "train", *TINY_TRAINING, *arguments)
    assert code == 1
    assert stdout == ""
    assert names in sentence(stderr)
    assert not list(tmp_path.rglob("*.npy"))


# The console


def test_unexpected_errors_become_one_sentence(capfd: pytest.CaptureFixture[str], monkeypatch) -> None:
    assert console.exit_code_of(ZeroDivisionError("division by zero")) == 1
    assert "HDRVID_DEBUG=1" in sentence(capfd.readouterr().err)
    monkeypatch.setenv("HDRVID_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        console.exit_code_of(ZeroDivisionError("division by zero"))


@pytest.mark.parametrize("command", ["reconstruct", "info", "synth", "report", "train", "eval", "bench"])
def test_ctrl_c_ends_every_command_with_a_word(command: str) -> None:
    """In a process of its own; interrupted at the first import of the command."""
    code = (
        "import sys\n"
        "from hdrvid.cli import app, main\n"
        "class Key(dict):\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name in ('numpy', 'torch') or name.startswith('hdrvid.'):\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Key())\n"
        f"main([{command!r}, *sys.argv[1:]])\n"
    )
    arguments = {"reconstruct": ["clip.mov", "-o", "out"], "info": ["clip.mov"], "synth": ["-o", "out"]}
    arguments |= {"report": ["out"], "eval": ["--scenes", "1"], "bench": ["--runs", "1"], "train": ["-o", "out"]}
    process = subprocess.run(
        [sys.executable, "-c", code, *arguments[command]], capture_output=True, text=True, check=False
    )
    assert (process.returncode, process.stdout) == (130, "")
    opening = ["hdrvid: opening clip.mov"] if command in ("reconstruct", "info") else []
    assert process.stderr.splitlines() == [*opening, "hdrvid: interrupted"]


@pytest.mark.parametrize("inputs", [["missing.mp4"], ["missing.mp4", "gone.mp4"]], ids=["one clip", "two clips"])
@pytest.mark.parametrize("options", [[], ["--white", "0"]], ids=["bad input", "bad option"])
def test_a_process_that_has_said_why_it_leaves_is_not_terminated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: list[str], options: list[str]
) -> None:
    def say(text: str) -> None:  # and torchrun sends the signal at once
        if not text.startswith("hdrvid: opening"):
            said.append(text)
            os.kill(os.getpid(), signal.SIGTERM)

    said: list[str] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "say", say)
    monkeypatch.setattr(reconstruct, "say", say)
    before = signal.getsignal(signal.SIGTERM)
    code = run(["reconstruct", *inputs, "-o", "out", *options])
    assert signal.getsignal(signal.SIGTERM) is before
    assert code == (2 if options else 1)
    assert [text.startswith("hdrvid: error: ") for text in said] == [True] * (1 if options else len(inputs))


def test_progress_speaks_in_plain_lines_without_a_terminal(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with FrameProgress("shot") as progress:
        for done in range(1, 13):
            now[0] += 1.0
            progress.update(done, 20)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "shot: 5/20 frames, 1.00 fps, 0:15 left",
        "shot: 10/20 frames, 1.00 fps, 0:10 left",
    ]


def test_progress_on_a_terminal_is_a_bar(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console.sys.stderr, "isatty", lambda: True)
    with FrameProgress("shot") as progress:
        progress.update(3, 20)
        progress.say("hdrvid: warning: [brackets] stay")
    out, err = capfd.readouterr()
    assert out == ""
    assert "3/20 frames" in err
    assert err.endswith("hdrvid: 1 warning:\n  [brackets] stay\n")


def test_sizes_have_names():
    assert [parse_size(text) for text in ("720p", " 1080P ", "2160p", "640x360")] == [
        (1280, 720),
        (1920, 1080),
        (3840, 2160),
        (640, 360),
    ]
    for text in ("721p", "0x0", "640x"):
        with pytest.raises(UsageError, match="720p"):
            parse_size(text)
