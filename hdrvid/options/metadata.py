"""Metadata of the fields that a command line offers, and those that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def option(
    help: str,
    *,
    flag: str | None = None,
    metavar: str | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    repeated: bool = False,
    parse: Callable[[str], Any] | None = None,
    default: str | None = None,
    panel: str | None = None,
) -> dict[str, Any]:
    """Metadata of a dataclass field, for `dataclasses.field(metadata=...)`.

    help: the sentence behind the option.
    flag: the option's name, with a slash before its negation; None: `--` and the name of the field.
    metavar: what stands for the value in the help.
    minimum, maximum: range of a number, both included.
    repeated: the option may be given several times; the field is a tuple.
    parse: makes the value from the text that the user gives. Raises HdrvidError.
    default: what the help says of the default instead of its value, '' for nothing.
    panel: the group of options in the help that it belongs to.
    """
    return {
        "help": help,
        "flag": flag,
        "metavar": metavar,
        "minimum": minimum,
        "maximum": maximum,
        "repeated": repeated,
        "parse": parse,
        "default": default,
        "panel": panel,
    }


CAMERA, OUTPUT, VIEWING, MACHINE = "Camera", "Output", "Viewing", "Model and machine"
"""Groups of options in the help of `hdrvid reconstruct`."""

DATASET, SYNTHETIC, OTHERS = "Dataset", "Dataset synthetic", "Other programs"
"""Groups of options in the help of `hdrvid eval`, which has MACHINE too."""

CYCLE = option("Exposures in a cycle.", flag="--cycle", metavar="2|3", minimum=2, maximum=3)
CYCLE_STOPS = option("Stops of one cycle, beginning with the first frame.", metavar="0,3|0,2,4")
DEVICE = option("Where the networks run.", metavar="auto|cpu|cuda[:i]|mps")
MODEL = option("A model that `hdrvid info` lists, or a .safetensors file from `hdrvid train`.", metavar="NAME|FILE")
PRECISION = option("Arithmetic of the networks; auto takes the fastest safe.", metavar="auto|fp32|bf16|fp16|int8")
TONEMAP = option("Display transform for viewing: neutral, reinhard, drago, mantiuk, filmic or mulaw.", metavar="NAME")
