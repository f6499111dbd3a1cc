"""The README cannot drift: every command and option it shows exists, and every option of a command is in its help."""

import re
import shlex
from pathlib import Path

import pytest

from hdrvid.cli.app import run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands():
    blocks = re.findall(r"```\n(.*?)```", README, re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [part for line in lines for part in line.split(" && ") if part.startswith("hdrvid ")]


def test_there_are_commands():
    assert len(commands()) >= 10


@pytest.mark.parametrize("command", commands())
def test_options_exist(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    words = shlex.split(command)
    assert run([words[1], "--help"]) == 0
    text = capsys.readouterr().out
    for word in words[2:]:
        if word.startswith("-"):
            assert re.search(rf"(^|\s|,|/){re.escape(word)}\b", text), f"{word} is not an option of {words[1]}"


def test_the_test_command_is_the_one_ci_runs():
    assert "python -m pytest -q" in README
    assert "python -m pytest -q" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_example_is_there_and_small():
    clip = ROOT / "examples" / "clip.mp4"
    assert clip.is_file()
    assert clip.stat().st_size < 3_000_000
