"""What the user sees while a command runs: parts of the work, rates, warnings, lines that fit the terminal."""

from __future__ import annotations

import io
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hdrvid.cli import console, progress
from hdrvid.cli.progress import FrameProgress, Rate
from hdrvid.cli.train import result_line, step_line
from hdrvid.train import Progress as TrainingProgress

ROOT = Path(__file__).resolve().parent.parent


class Terminal(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, errors="backslashreplace", write_through=True)

    def isatty(self) -> bool:
        return True

    def text(self) -> str:
        """What it shows, without the control sequences."""
        assert isinstance(self.buffer, io.BytesIO)
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.buffer.getvalue().decode(self.encoding))


def on_terminal(monkeypatch: pytest.MonkeyPatch, encoding: str = "utf-8") -> Terminal:
    """The stderr of a terminal of 60 columns. No fixture: pytest sets stderr again before a test begins."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal(encoding)
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


OPENING = """
import sys
from hdrvid.cli import console, main
say = console.say
def listen(text):
    say(text + " " + ",".join(name for name in ("torch", "numpy", "cv2", "av", "rich") if name in sys.modules))
console.say = listen
main(sys.argv[1:])
"""


@pytest.mark.parametrize("command", [["reconstruct", "missing.mp4", "-o", "out"], ["info", "missing.mp4"]])
def test_the_first_line_comes_before_the_libraries_are_loaded(command: list[str], tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", OPENING, *command], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "hdrvid: opening missing.mp4 "


def test_of_several_processes_one_says_what_it_opens(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    console.opening(["a.mp4"])
    monkeypatch.setenv("RANK", "0")
    console.opening(["a.mp4", "b.mp4", "c.mp4"])
    assert capfd.readouterr().err == "hdrvid: opening a.mp4 and 2 more\n"


def test_the_rate_has_no_part_in_what_precedes_the_first_frame() -> None:
    rate = Rate()
    rate.add(1, 300.0)  # after five minutes of compiling
    assert rate.per_second is None
    rate.add(2, 301.0)
    assert rate.per_second == 1.0
    assert "1:58 left" in progress.progress_line("shot", 2, 120, rate.per_second)


def test_the_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate()
    for frame in range(1000):  # kept frames of an earlier run
        rate.add(frame, frame * 0.001)
    for frame in range(1000, 1100):
        rate.add(frame, 1.0 + (frame - 999) * 2.0)
    assert rate.per_second == pytest.approx(0.5)


def test_a_slow_frame_leaves_two_times_to_measure_from() -> None:
    rate = Rate()
    for frame in range(4):
        rate.add(frame, frame * 100.0)
    assert rate.per_second == pytest.approx(0.01)


def test_warnings_come_last_and_counted_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with FrameProgress("shot") as shown:
        shown.say("hdrvid: warning: first [of two]")
        shown.update(1, 2)
        shown.say("hdrvid: a remark")
        shown.say("hdrvid: warning: second")
        shown.update(2, 2)
        shown.stop()
        console.say("the result")
    text = terminal.text()
    tail = text[text.index("the result") :].splitlines()
    assert tail == ["the result", "hdrvid: 2 warnings:", "  first [of two]", "  second"]
    assert text.index("a remark") < text.index("2/2 frames")
    assert text.count("first") == 1


def test_no_warning_is_lost_where_the_work_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)

    def fails() -> None:
        with FrameProgress("shot") as shown:
            shown.say("hdrvid: warning: the only one")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fails()
    assert terminal.text().endswith("hdrvid: 1 warning:\n  the only one\n")


def test_without_a_terminal_everything_is_said_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    with FrameProgress("shot") as shown:
        shown.phase("exposures", None)
        shown.phase("exposures", "0,3 stops")
        shown.phase("compiling", None)
        shown.say("hdrvid: warning: at once")
        assert capfd.readouterr().err.splitlines() == [
            "hdrvid: exposures: 0,3 stops",
            "hdrvid: compiling for this CPU, which only the first run on a machine does",
            "hdrvid: warning: at once",
        ]
        shown.phase("compiling", "21 s")
    assert capfd.readouterr().err == "hdrvid: compiling: 21 s\n"


def test_parts_of_the_work_have_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with FrameProgress("shot") as shown:
        shown.phase("exposures", None)
        shown.phase("compiling", None)
        shown.phase("exposures", "0,3 stops")
        shown.phase("curve", "gamma2.2")
        now[0] += 21
        assert shown.lines(120) == ["shot: exposures ✓ 0,3 stops · curve ✓ gamma2.2 · compiling … 21 s"]
        assert shown.lines(50) == ["shot: exposures ✓ 0,3 stops · curve ✓ gamma2.2", "  compiling … 21 s"]
        shown.phase("compiling", "21 s")
        shown.update(1, 48)
        assert shown.lines(120)[1] == f"frames {'─' * 24} 1/48 frames"
        now[0] += 0.5
        shown.update(24, 48)
        bar = shown.lines(120)[1]
        assert bar == f"frames {'━' * 12}{'─' * 12} 24/48 frames, 46.00 fps, 0:01 left"
    assert "compiling ✓ 21 s" in terminal.text()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_lacks_the_characters_gets_ascii(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = on_terminal(monkeypatch, encoding)
    with FrameProgress("shot") as shown:
        shown.phase("curve", "gamma2.2")
        shown.phase("compiling", None)
        shown.update(1, 2)
    text = stream.text()
    assert text.isascii()
    assert "\\u" not in text
    assert "shot: curve ok gamma2.2, compiling ... 0 s" in text
    assert "############------------ 1/2 frames" in text


def test_text_wraps_between_words_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    text = f"hdrvid: error: {'several words of advice ' * 5}in /{'long' * 20}/clip.mp4"
    console.say(text)
    assert capfd.readouterr().err == f"{text}\n"
    stream = on_terminal(monkeypatch)
    console.say(text)
    lines = stream.text().splitlines()
    assert " ".join(line.strip() for line in lines) == text
    assert f"  /{'long' * 20}/clip.mp4" in lines, "a path can be copied"
    assert all(len(line) <= 60 for line in lines if "/long" not in line)
    assert len(lines) == 4


def test_no_line_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with FrameProgress("a_clip_with_a_very_long_name_" * 4) as shown:
        shown.phase("exposures", "0,2,4 stops")
        shown.update(1, 100_000)
    assert all(len(line) <= 60 for line in terminal.text().replace("\r", "\n").splitlines())


def training_step(**changes: object) -> TrainingProgress:
    given = {
        "step": 100,
        "total": 1000,
        "stage": "flow",
        "losses": {"loss": 0.0213, "l1": 0.02, "structure": 0.0013},
        "stage_stop": 400,
        "steps_per_second": 2.0,
        "data_samples_per_second": 100.0,
        "validation_psnr_t": None,
        "before_psnr_t": 22.1,
        "kept_psnr_t": math.nan,
        "stopped": "",
    }
    return TrainingProgress(**{**given, **changes})


def test_a_report_of_a_training_is_one_short_line() -> None:
    assert step_line(training_step(), 6) == (
        "flow 100/1000: loss 0.0213, 12.0 samples/s, 2:30 left in flow, about 7:30 in all"
    )
    last = training_step(stage="merge", stage_stop=1000, validation_psnr_t=31.204)
    assert step_line(last, 6) == "merge 100/1000: loss 0.0213, PSNR-T 31.20 dB, 12.0 samples/s, 7:30 left"
    assert "12.0 samples/s (waiting for data)," in step_line(training_step(data_samples_per_second=12.5), 6)


def test_the_last_line_of_a_training_says_what_was_gained() -> None:
    assert result_line(training_step(kept_psnr_t=28.35), 75.0) == (
        "100 steps in 1:15: validation PSNR-T 22.10 dB before, 28.35 dB after (+6.25 dB)"
    )
    assert "(-2.00 dB)" in result_line(training_step(kept_psnr_t=20.1), 75.0)
    assert result_line(training_step(), 75.0) == "100 steps in 1:15, not validated"
