"""Options of the commands: each is a field of a dataclass in `hdrvid.options`, or one of a few named here."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest
import typer
from typer.main import get_command

from hdrvid.cli.app import app, run
from hdrvid.cli.options import fields_as_options, offered_fields
from hdrvid.errors import UsageError
from hdrvid.options.metadata import option
from hdrvid.options.parse import parse_cycle, parse_list, parse_size, read_names
from hdrvid.options.train import RunOptions, TrainOptions

BY_HAND = {
    "reconstruct": {"inputs", "out", "json"},
    "info": {"clip", "plot", "json"},
    "synth": {"source", "out", "json"},
    "report": {"results", "out", "json"},
    "train": {"out"},
    "eval": {"out", "compare", "json"},
    "bench": {"json"},
}
"""What a command reads and writes: parameters that are no field of a dataclass."""

PYTHON_ONLY = {
    TrainOptions: {"procedural_share", "gradient_clip", "shared_levels"},
    RunOptions: {"checkpoint_seconds", "validate_every"},
}
"""Fields that no command offers."""

CALLBACKS: dict[str, Callable[..., None]] = {
    command.name or "": command.callback for command in app.registered_commands if command.callback
}


def option_classes(command: Callable[..., None]) -> list[type]:
    """The dataclasses among the parameters of a command's function."""
    annotations = [p.annotation for p in inspect.signature(inspect.unwrap(command), eval_str=True).parameters.values()]
    classes = [get_args(a)[0] if get_origin(a) is partial else a for a in annotations]
    return [cls for cls in classes if is_dataclass(cls)]


CLASSES = sorted(
    {cls for command in CALLBACKS.values() for cls in option_classes(command)}, key=lambda cls: cls.__name__
)


@pytest.mark.parametrize("name", CALLBACKS)
def test_every_option_is_a_field_or_named_here(name: str) -> None:
    offered = {f.name for cls in option_classes(CALLBACKS[name]) for f in offered_fields(cls)}
    parameters = {p.name for p in get_command(app).commands[name].params} - {"help"}
    assert parameters == offered | BY_HAND[name]
    assert not offered & BY_HAND[name]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_field_has_a_help_text(cls: type) -> None:
    texts = {f.name: f.metadata["help"] for f in offered_fields(cls)}
    assert {f.name for f in fields(cls)} - set(texts) == PYTHON_ONLY.get(cls, set())
    assert all(text[0].isupper() or text.startswith(("auto:", "kalantari:", "--")) for text in texts.values())
    assert all(text.endswith(".") for text in texts.values())


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_command_without_options_has_the_defaults_of_the_library(cls: type) -> None:
    received = []

    def command(options: Any) -> None:
        received.append(options)

    command.__annotations__["options"] = cls
    derived = fields_as_options(command)
    derived(**{p.name: p.default for p in inspect.signature(derived).parameters.values()})
    assert received == [cls()]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_default_that_the_help_tells_is_the_default(cls: type) -> None:
    for f in offered_fields(cls):
        text, parse = f.metadata["default"], f.metadata["parse"]
        if text and parse is parse_size and not f.metadata["repeated"] and f.default is not None:
            assert parse(text) == f.default


# The mechanism


@dataclass(frozen=True)
class Options:
    text: str = field(default="a", metadata=option("Text.", metavar="TEXT"))
    count: int | None = field(default=None, metadata=option("Count.", flag="--number", minimum=1, maximum=3))
    words: tuple[str, ...] = field(default=(), metadata=option("Words.", repeated=True))
    names: tuple[str, ...] = field(default=("x",), metadata=option("Names.", parse=parse_list, default="x"))
    level: int = field(default=0, metadata=option("Level.", minimum=5, default="as it is"))
    switch: bool = field(default=True, metadata=option("Switch.", flag="--switch/--no-switch"))
    only_in_python: float = 0.5


def run_command(annotation: Any, arguments: list[str], **settings: bool) -> Any:
    """What a command with a parameter of this annotation receives."""
    received: list[Any] = []

    def command(options: Any, plain: bool = False) -> None:
        received.append(options)

    command.__annotations__ = {"options": annotation, "plain": Annotated[bool, typer.Option("--plain")]}
    single = typer.Typer(add_completion=False)
    single.command()(fields_as_options(command))
    single(arguments, **({"standalone_mode": False} | settings))
    return received[0]


def test_options_become_an_instance() -> None:
    assert run_command(Options, []) == Options()
    arguments = ["--text", "b", "--number", "2", "--words", "c", "--words", "d", "--names", "e,f", "--no-switch"]
    assert run_command(Options, [*arguments, "--level", "7", "--plain"]) == Options(
        "b", 2, ("c", "d"), ("e", "f"), 7, False
    )


def test_a_partial_tells_what_was_given() -> None:
    make = run_command(partial[Options], ["--names", "e"])
    assert make.keywords == {"text": "a", "names": ("e",), "switch": True}
    assert make(level=9) == Options(names=("e",), level=9)


@pytest.mark.parametrize(
    "arguments", [["--number", "4"], ["--level", "0"], ["--only-in-python", "1"], ["--count", "1"]]
)
def test_values_out_of_range_and_unknown_options_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        run_command(Options, arguments, standalone_mode=True)
    assert leaving.value.code == 2


def test_help_shows_the_default(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["train", "--help"]) == 0
    text = capsys.readouterr().out
    assert "[default: 10 with --shots, else 0]" in text
    assert "[default: 128]" in text


def test_nothing_slow_is_imported_for_the_help() -> None:
    code = (
        "import pkgutil, importlib, sys, hdrvid.cli.app, hdrvid.options\n"
        "for module in pkgutil.iter_modules(hdrvid.options.__path__, 'hdrvid.options.'):\n"
        "    importlib.import_module(module.name)\n"
        "print([m for m in ('torch', 'numpy', 'cv2', 'av', 'OpenEXR') if m in sys.modules])"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == "[]\n"


# Values


def test_exposures_of_one_cycle() -> None:
    assert parse_cycle("0,3").stops == (0, 3)
    with pytest.raises(UsageError, match="--exposures auto has no meaning"):
        parse_cycle("auto")


def test_names_are_the_lines_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("a\n\n# a comment\n b \n")
    assert read_names(str(tmp_path / "names.txt")) == ("a", "b")
