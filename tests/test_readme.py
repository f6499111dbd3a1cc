"""README and help cannot drift: what they show exists, what exists is in the help, and defaults do what is said."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hdrvid.cli.app import run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")


def commands():
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", f"{README}\n{EXAMPLES}", re.DOTALL | re.MULTILINE)
    shell = [text for language, text in blocks if language in ("", "sh", "bash")]
    lines = [line.split("  #")[0].strip() for block in shell for line in block.splitlines()]
    return [part for line in lines for part in line.split(" && ") if part.startswith("hdrvid ")]


def test_there_are_commands():
    assert len(commands()) >= 20


def test_the_python_of_the_readme_runs(monkeypatch):
    """On a clip of its own, in place of `shot.mov`."""
    import hdrvid
    from hdrvid.options.reconstruct import ReconstructOptions

    (code,) = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    calls = []

    def answer(name, result):
        def call(clip, *rest, **options):
            calls.append(name)
            ReconstructOptions(**options)  # what does not exist is a TypeError
            return result

        monkeypatch.setattr(hdrvid, name, call, raising=False)

    answer("inspect", SimpleNamespace(cycle="0,3"))
    answer("reconstruct", None)
    answer("frames", iter(()))
    pictures = {"short": np.full((32, 32, 3), 60, np.uint8), "long": np.full((32, 32, 3), 154, np.uint8)}
    exec(code, pictures)
    assert calls == ["inspect", "reconstruct", "frames"]
    assert pictures["radiance"].shape == (32, 32, 3)


@pytest.mark.parametrize("command", commands())
def test_options_exist(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    words = shlex.split(command)
    assert run([words[1], "--help"]) == 0
    text = capsys.readouterr().out
    for word in words[2:]:
        if word.startswith("-"):
            assert re.search(rf"(^|\s|,|/){re.escape(word)}\b", text), f"{word} is not an option of {words[1]}"


def help_of(command, capsys, monkeypatch):
    """The words of a command's help, without the frame around them."""
    monkeypatch.setenv("COLUMNS", "400")
    assert run([command, "--help"]) == 0
    return " ".join(re.sub("[^ -~]", " ", capsys.readouterr().out).split())


def choices():
    from hdrvid.color.response import RESPONSES
    from hdrvid.color.tonemap import OPERATORS
    from hdrvid.evaluate import PROTOCOLS
    from hdrvid.io.exr import COMPRESSIONS
    from hdrvid.options.evaluate import DATASETS
    from hdrvid.options.reconstruct import FORMATS
    from hdrvid.predict.device import PRECISIONS

    return [
        ("reconstruct", "--response", RESPONSES),
        ("reconstruct", "--compression", COMPRESSIONS),
        ("reconstruct", "--tonemap", OPERATORS),
        ("reconstruct", "--format", FORMATS),
        ("reconstruct", "--precision", PRECISIONS),
        ("eval", "--dataset", DATASETS),
        ("eval", "--protocol", PROTOCOLS),
        ("eval", "--precision", PRECISIONS),
    ]


@pytest.mark.parametrize(
    ("command", "option", "names"), choices(), ids=lambda value: value if str(value) == value else ""
)
def test_every_choice_is_in_the_help(command, option, names, capsys, monkeypatch):
    text = help_of(command, capsys, monkeypatch)
    said = text[text.rindex(f"{option} ") :] + " --end"
    said = said[: re.search(r" --[a-z]", said[3:]).start() + 3]
    assert [name for name in names if not re.search(rf"\b{re.escape(name)}\b", said)] == []


def test_models_of_the_readme_are_those_there_are():
    from hdrvid.predict.registry import FOR_COMPRESSED, available_models, offered_models

    table = README[README.index("| `--model` |") :].split("\n\n")[0]
    named = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    assert named == set(offered_models())
    assert f"`default{FOR_COMPRESSED}`" in README
    assert f"default{FOR_COMPRESSED}" in available_models()


def test_options_in_messages_exist(capsys, monkeypatch):
    """Advice that names an option that no command has helps nobody."""
    from hdrvid.cli.app import app

    known = " ".join(help_of(c.name, capsys, monkeypatch) for c in app.registered_commands)
    named = {}
    for path in sorted((ROOT / "hdrvid").rglob("*.py")):
        for text in re.findall(r'"[^"\n]*"', path.read_text(encoding="utf-8")):
            for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text):
                named.setdefault(option, path.name)
    foreign = {"--at", "--version", "--help", "--nproc-per-node", "--standalone", "--force-reinstall"}
    assert {o: p for o, p in named.items() if o not in foreign and not re.search(rf"{o}\b(?!-)", known)} == {}


def test_what_the_help_says_of_the_automatic_response(tmp_path, capsys, monkeypatch):
    from test_reconstruct import scene_radiance, write_frames, write_video

    from hdrvid.detect.clip import DetectOptions, inspect_clip
    from hdrvid.io.exr import write_exr

    said = help_of("reconstruct", capsys, monkeypatch)
    assert (
        "auto: linear for EXR and .hdr frames, the tag of a PQ, HLG or linear clip, else what the pixels show" in said
    )
    (tmp_path / "exr").mkdir()
    for i in range(4):
        light = scene_radiance(i, 64, 48)
        write_exr(tmp_path / "exr" / f"{i}.exr", (light * (1, 8)[i % 2]).clip(0, 1))
    frames = write_frames(tmp_path / "frames", num_frames=4)
    found = [inspect_clip([str(p)], DetectOptions(exposures="0,3")) for p in (tmp_path / "exr", frames)]
    assert (found[0].response.name, found[0].response_from) == ("linear", "linear frames")
    assert found[1].response_from in ("measured", "assumed")
    assert found[1].response_from == "measured" or found[1].response.name == "gamma2.2"
    video = inspect_clip([str(write_video(tmp_path / "plain.mkv", frames))], DetectOptions(exposures="0,3"))
    assert video.response_from != "tagged"
    tagged = write_video(tmp_path / "tagged.mkv", frames, transfer=18)  # HLG
    assert inspect_clip([str(tagged)], DetectOptions(exposures="0,3")).response_from == "tagged"


def test_the_test_command_is_the_one_ci_runs():
    assert "python -m pytest -q" in README
    assert "python -m pytest -q" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_example_is_there_and_small():
    clip = ROOT / "examples" / "clip.mp4"
    assert clip.is_file()
    assert clip.stat().st_size < 3_000_000


@pytest.mark.parametrize("command", ["reconstruct", "info", "synth", "report", "train", "eval", "bench"])
def test_no_word_of_the_help_is_broken_at_80_columns(command, capsys, monkeypatch):
    """Every word of the narrow help is one of the wide help."""

    def words(columns):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert run([command, "--help"]) == 0
        text = capsys.readouterr().out
        assert max(map(len, text.splitlines())) <= columns
        return set(re.sub("[│╭╮╰╯─]", " ", text).split())

    assert words(80) - words(2000) == set()


def test_long_choices_stand_in_the_sentence(capsys, monkeypatch):
    text = help_of("reconstruct", capsys, monkeypatch)
    assert "One of rec709, rec2020, p3d65, acescg, aces2065-1. [default: rec709]" in text
    assert "half|float" in text


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("reconstruct --primaries re", ["rec709", "rec2020"]),
        ("reconstruct --device c", ["cpu"]),
        ("reconstruct --depth ", ["half", "float"]),
        ("eval --protocol h", ["hdrflow"]),
        ("recon", ["reconstruct"]),
    ],
)
def test_a_shell_completes_commands_and_choices(words, offered, capsys, monkeypatch):
    monkeypatch.setenv("_HDRVID_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"hdrvid {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" "))))
    run([])
    assert capsys.readouterr().out.split() == offered


def test_the_completion_of_a_shell_is_shown(capsys, monkeypatch):
    monkeypatch.delenv("_HDRVID_COMPLETE", raising=False)
    # typer looks for the shell that has started it, and tests may be started by none
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    run(["--show-completion", "bash"])
    assert "_hdrvid_completion" in capsys.readouterr().out
