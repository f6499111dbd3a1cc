"""Frames shared between processes and machines: the files of one process, whatever happens to the others."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import av
import numpy as np
import pytest
from test_reconstruct import CLASSICAL, assert_same_results, options, write_frames, write_video
from test_response_estimate import clip as coded_clip

from hdrvid.cli.app import run
from hdrvid.color.response import LOG_RESPONSES, RESPONSES
from hdrvid.detect.clip import LOG_BLACK_CODE, inspect_clip
from hdrvid.errors import InputError, UsageError
from hdrvid.io.atomic import machine_id
from hdrvid.io.lock import frames_lock
from hdrvid.pipeline import distributed
from hdrvid.pipeline.distributed import count_frames, split_range
from hdrvid.pipeline.job import part_name
from hdrvid.pipeline.run import reconstruct_clip
from hdrvid.ranks import Ranks, joined
from hdrvid.types import ClipReader

pytestmark = pytest.mark.usefixtures("one_thread")

ARGUMENTS = ("--model", "classical", "--device", "cpu", "--exposures", "0,3")

STOP_A_RANK = """
import os, signal, sys
import hdrvid.pipeline.setup as engine
from hdrvid.errors import OutputError
number, at = int(sys.argv[1]), int(sys.argv[2])
load = engine.load_reconstructor
def load_and_stop(*args, **kwargs):
    model = load(*args, **kwargs)
    reconstruct = model.reconstruct
    def stopping(window, diagnostics=False):
        if window.index == at:
            if not number:
                raise OutputError("the disk is full")
            os.kill(os.getpid(), number)
        return reconstruct(window, diagnostics)
    model.reconstruct = stopping
    return model
engine.load_reconstructor = load_and_stop
from hdrvid.cli import main
main(sys.argv[3:])
"""


def start(processes: int, *arguments: object, script: Path | None = None) -> subprocess.Popen[str]:
    """`hdrvid reconstruct` in several processes of one thread each; `script` stands for `-m hdrvid`."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    program = ["-m", "hdrvid", "reconstruct"] if script is None else [str(script)]
    hidden = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HDRVID_DEBUG": ""}
    root = str(Path(distributed.__file__).resolve().parents[2])
    paths = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p)
    return subprocess.Popen(
        [sys.executable, *launch, *program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | hidden | {"PYTHONPATH": paths},
    )


def finished(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def ours(text: str) -> list[str]:
    """Lines of hdrvid in what the launcher and the processes print."""
    return [line for line in text.splitlines() if line.startswith("hdrvid: ")]


def assert_same_files(a: Path, b: Path) -> None:
    """Every file but the reports, which hold times, to the byte."""
    names = sorted(p.name for p in a.iterdir())
    assert names == sorted(p.name for p in b.iterdir())
    for name in names:
        assert name.endswith(".json") or (a / name).read_bytes() == (b / name).read_bytes(), name


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    return write_video(folder / "clip.mkv", write_frames(folder / "frames", num_frames=9))


# Several processes


@pytest.mark.parametrize(
    "settings",
    [("--model", "classical", "--exposures", "auto", "--hlg"), ("--model", "default", "--frames", "1-7", "--json")],
    ids=["classical", "default"],
)
def test_two_processes_write_the_files_of_one(clip: Path, tmp_path: Path, settings: Sequence[str], capfd) -> None:
    arguments = (str(clip), "--device", "cpu", *settings)
    assert run(["reconstruct", *arguments, "-o", str(tmp_path / "one")]) == 0
    alone = capfd.readouterr()
    done = finished(start(2, *arguments, "-o", tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    assert_same_files(tmp_path / "one", tmp_path / "two")
    # every line once, and the same lines
    # the first one may have had to compile
    assert ours(done.stderr) == [line for line in ours(alone.err) if "compiling" not in line]
    (report,) = (tmp_path / "two").glob("*.json")
    two = json.loads(report.read_text())
    one = json.loads((tmp_path / "one" / report.name).read_text())
    assert (one["timings"].pop("processes"), two["timings"].pop("processes")) == (1, 2)
    for values in (one, two):
        values.pop("timings")
        values.pop("outputs")
        for video in values["hdr_videos"].values():
            video.pop("path")
    assert one == two
    if "--json" in settings:
        assert json.loads(done.stdout)["frames"] == {"first": 1, "last": 7, "count": 7, "new": 7, "kept": 0}
    else:
        assert done.stdout.replace(f"{tmp_path}/two", f"{tmp_path}/one") == alone.out


@pytest.mark.parametrize("at", [2, pytest.param(6, marks=pytest.mark.slow)], ids=["first process", "second process"])
def test_a_killed_process_costs_only_its_missing_frames(clip: Path, undisturbed: Path, tmp_path: Path, at: int) -> None:
    script, out = tmp_path / "stop.py", tmp_path / "out"
    script.write_text(STOP_A_RANK)
    arguments = (clip, "-o", out, *ARGUMENTS)
    killed = finished(start(2, int(signal.SIGKILL), at, "reconstruct", *arguments, script=script))
    assert killed.returncode != 0
    assert "unexpected" not in killed.stderr
    # the clip, its exposures and curve, the assumed response, the size, and at most one reason
    assert len(ours(killed.stderr)) <= 6, killed.stderr
    there = {p.name for p in out.glob("clip.*.exr")}
    assert f"clip.{at:06d}.exr" not in there
    assert not list(out.glob("*.json"))
    again = finished(start(2, *arguments, "--json"))
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["frames"]["kept"] == len(there)
    assert_same_files(undisturbed, out)


def test_a_process_that_fails_says_so_once_and_the_others_finish(clip: Path, undisturbed: Path, tmp_path: Path) -> None:
    script, out = tmp_path / "stop.py", tmp_path / "out"
    script.write_text(STOP_A_RANK)
    failed = finished(start(2, 0, 6, "reconstruct", clip, "-o", out, *ARGUMENTS, script=script))
    assert failed.returncode == 1
    assert ours(failed.stderr)[-1] == "hdrvid: error: process 1 of 0-1: the disk is full"
    assert failed.stderr.count("the disk is full") == 1
    assert [p.name for p in sorted(out.iterdir())] == [f"clip.{i:06d}.exr" for i in range(6)]
    # one process completes what two began
    report = reconstruct_clip([str(clip)], out, CLASSICAL).as_dict()
    assert report["frames"]["kept"] == 6
    assert_same_files(undisturbed, out)


def test_more_processes_than_frames_and_a_second_job(clip: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = (clip, "-o", out, *ARGUMENTS)
    with frames_lock(out, "clip", 8, None):
        refused = finished(start(3, *arguments))
    assert refused.returncode == 1
    (line,) = [line for line in ours(refused.stderr) if "error" in line]
    assert line.startswith("hdrvid: error: another run is writing frames of clip")
    done = finished(start(3, *arguments, "--frames", "4-5", "--no-preview"))
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in out.iterdir()) == [
        "clip.000004-000005.json",
        "clip.000004.exr",
        "clip.000005.exr",
    ]
    for i in (4, 5):
        name = f"clip.{i:06d}.exr"
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--exposures", "0,x"), 1, "hdrvid: error: "),
        (("--frames", "40-50"), 1, "hdrvid: error: "),
        (("--tile", "3"), 2, "hdrvid: error: --tile takes"),
    ],
)
def test_what_is_wrong_is_said_once(clip: Path, tmp_path: Path, arguments, code: int, said: str) -> None:
    done = finished(start(2, clip, "-o", tmp_path / "out", *ARGUMENTS, *arguments))
    assert done.returncode == 1  # the launcher's own
    assert f"exitcode  : {code}" in done.stderr
    (line,) = [line for line in ours(done.stderr) if "error" in line]
    assert line.startswith(said)


# How the work is cut


@pytest.mark.parametrize(
    ("first", "last", "known", "world", "pieces"),
    [
        (0, None, 48, 1, [(0, None)]),
        (0, None, 48, 2, [(0, 23), (24, None)]),
        (0, None, 10, 3, [(0, 2), (3, 5), (6, None)]),
        (5, 9, 48, 2, [(5, 6), (7, 9)]),
        (5, 90, 9, 2, [(5, 6), (7, 90)]),
        (5, 9, None, 2, [(5, 6), (7, 9)]),
        (3, 3, 48, 3, [None, None, (3, 3)]),
        (60, 70, 48, 2, [None, (60, 70)]),
    ],
)
def test_pieces_follow_one_another_to_the_open_end(first, last, known, world, pieces) -> None:
    assert split_range(first, last, known, world) == pieces


def test_a_clip_of_unknown_length_is_counted() -> None:
    frames = [SimpleNamespace(index=i) for i in range(8)]
    reader = cast(ClipReader, SimpleNamespace(frames=lambda *_: iter(frames)))
    assert split_range(0, None, count_frames(reader, regular=False), 4) == [(0, 1), (2, 3), (4, 5), (6, None)]


def test_a_container_that_lies_about_its_length_costs_no_frame(
    clip: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces cut for 4 frames of 9, made one after the other as two processes would."""
    ranks = Ranks(0, 1)
    monkeypatch.setattr(
        Ranks, "each", lambda self, call, meanwhile=None: [distributed.Piece(), call()] if meanwhile else [call()]
    )
    for pieces in ([(0, 1)], [(2, None)]):
        monkeypatch.setattr("hdrvid.pipeline.run.split_job", lambda job, pieces=pieces: pieces)
        reconstruct_clip([str(clip)], tmp_path / "out", options(preview=False), ranks=ranks)
    for path in undisturbed.glob("*.exr"):
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_process_that_waits_for_others_can_be_stopped(clip: Path, tmp_path: Path, number: int, code: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    told = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-m", "hdrvid", "reconstruct", str(clip), "-o", str(tmp_path / "out"), "--exposures=0,3"]
    waiting = subprocess.Popen(
        command,
        env=os.environ | told,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # a job in the background starts with SIGINT ignored
    )
    for _ in range(300):  # until it listens for the others
        with socket.socket() as other:
            if other.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    waiting.send_signal(number)
    _, said = waiting.communicate(timeout=30)
    assert waiting.returncode == code, said
    assert "Traceback" not in said


def test_one_process_needs_no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cpu") as ranks:
        assert (ranks.rank, ranks.world, ranks.is_main) == (0, 1, True)
        assert ranks.each(lambda: "a") == ["a"]
        assert ranks.counter()(7) == 7
        with pytest.raises(InputError, match="as it was"):
            ranks.from_main(fail)


def fail() -> None:
    raise InputError("as it was")


def test_a_world_without_addresses_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(UsageError, match="MASTER_ADDR"), joined("cpu"):
        pass


# Machines of a render farm


def test_parts_made_at_once_leave_each_other_alone(clip: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "hdrvid", "reconstruct", str(clip), "-o", str(out), *ARGUMENTS]
    machines = [
        subprocess.Popen([*command, "--frames", part], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for part in ("0-3", "4-8")
    ]
    said = [finished(machine) for machine in machines]
    assert [done.returncode for done in said] == [0, 0], said
    for first, last in ((0, 3), (4, 8)):
        name = part_name("clip", (first, last))
        report = json.loads((out / f"{name}.json").read_text())
        assert report["outputs"]["preview"] == str(out / f"{name}.preview.mp4")
        assert report["frames"]["count"] == last - first + 1
        with av.open(report["outputs"]["preview"]) as video:
            assert sum(1 for _ in video.decode(video=0)) == last - first + 1
    assert not (out / "clip.json").exists()
    report = reconstruct_clip([str(clip)], out, CLASSICAL).as_dict()
    assert report["frames"] == {"first": 0, "last": 8, "count": 9, "new": 0, "kept": 9}
    assert_same_results(out, undisturbed)  # the files of the parts are gone


def test_only_files_of_parts_that_the_whole_clip_replaces_are_removed(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    reconstruct_clip([str(clip)], out, options(frame_range=(0, 1), hlg=True))
    # a clip that is called like a part of this one
    other = out / f"{part_name('clip', (2, 3))}.json"
    other.write_text(json.dumps({"outputs": {"frames": str(out / "clip.000002-000003.%06d.exr")}}))
    foreign = out / f"{part_name('clip', (4, 5))}.json"
    foreign.write_text("[]")
    (out / "clip.000002-000003.preview.mp4").write_bytes(b"")
    reconstruct_clip([str(clip)], out, CLASSICAL)
    assert {p.name for p in out.iterdir() if p.suffix != ".exr"} == {
        "clip.json",
        "clip.preview.mp4",
        "clip.000000-000001.hlg.mp4",  # the whole clip has no such video
        other.name,
        "clip.000002-000003.preview.mp4",
        foreign.name,
    }


def test_leftovers_of_a_part_are_removed_by_the_same_part_only(clip: Path, tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    out = tmp_path / "out"
    out.mkdir()
    own, others = part_name("clip", (0, 1)), part_name("clip", (2, 3))
    for name in (f"{own}.preview", own, others, f"{others}.preview", "clip.preview"):
        (out / f".{name}.partial-{machine_id()}-{process.pid}.mp4").write_bytes(b"half")
    reconstruct_clip([str(clip)], out, options(frame_range=(0, 1), preview=False))
    assert sorted(p.name for p in out.iterdir() if p.name.startswith(".")) == [
        f".clip.000002-000003.partial-{machine_id()}-{process.pid}.mp4",
        f".clip.000002-000003.preview.partial-{machine_id()}-{process.pid}.mp4",
        f".clip.preview.partial-{machine_id()}-{process.pid}.mp4",
    ]


# Clips in a log curve whose exposures are not declared


def write_coded(folder: Path, name: str, stops: Sequence[float], seed: int) -> Path:
    import cv2

    folder.mkdir(parents=True)
    for i, codes in enumerate(coded_clip(RESPONSES[name], tuple(stops), 12, seed, noise=0.0001)):
        cv2.imwrite(str(folder / f"f{i:06d}.png"), np.round(codes[..., ::-1] * 255).astype(np.uint8))
    return folder


@pytest.mark.parametrize(("name", "stops"), [("slog3", (0.0, 3.0)), ("vlog", (0.0, 3.0)), ("logc3", (0.0, 2.0, 4.0))])
def test_exposures_and_curve_of_a_log_clip_are_found_together(
    name: str, stops: tuple[float, ...], tmp_path: Path
) -> None:
    found = inspect_clip([str(write_coded(tmp_path / "log", name, stops, seed=1))])
    assert (found.response_from, found.response.name) == ("measured", name)
    assert found.cycle is not None
    assert np.allclose(found.cycle.stops, stops, atol=0.15)


def test_curves_that_may_be_log_have_no_code_near_zero() -> None:
    for name in LOG_RESPONSES:
        assert float(RESPONSES[name].encode(np.zeros(1, np.float32))[0]) > LOG_BLACK_CODE
