"""Options of `hdrvid eval`: what is scored, and how."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

from hdrvid.options.metadata import CYCLE, DEVICE, MODEL, PRECISION, option
from hdrvid.options.parse import parse_list, parse_size

DATASETS = ("synthetic", "kalantari", "cinematic", "deephdrvideo-dynamic", "deephdrvideo-static")
CAMERA_NAMES = ("clean", "crushed", "wide", "codec", "mismatch")
"""Cameras of the dataset synthetic, see `hdrvid.evaluate.synthetic.CAMERAS`."""
NUM_SCENES = 12
"""Own scenes of the dataset synthetic."""
NUM_FRAMES = 8
"""Frames of a clip of the dataset synthetic."""
SIZE = (448, 256)
"""Width and height of the clips of the dataset synthetic, in pixels."""


@dataclass(frozen=True)
class SyntheticChoices:
    """What the user may choose of the dataset synthetic; None leaves it to `hdrvid.evaluate.SyntheticOptions`."""

    exposures: str | None = field(
        default=None,
        metadata=option("Synthetic: stops of one cycle.", metavar="0,3|0,2,4", default="0,3 or 0,2,4"),
    )
    scenes: int | None = field(
        default=None,
        metadata=option("Synthetic: own scenes.", metavar="N", minimum=1, default=str(NUM_SCENES)),
    )
    frames: int | None = field(
        default=None,
        metadata=option("Synthetic: frames of a clip.", metavar="N", minimum=3, default=str(NUM_FRAMES)),
    )
    size: tuple[int, int] | None = field(
        default=None,
        metadata=option(
            "Synthetic: size of the clips.", metavar="WxH", parse=parse_size, default=f"{SIZE[0]}x{SIZE[1]}"
        ),
    )
    """Width and height in pixels."""
    camera: str | None = field(
        default=None,
        metadata=option(
            "Synthetic: how the clips are filmed, and at which stops.",
            metavar="|".join(CAMERA_NAMES),
            default=CAMERA_NAMES[0],
        ),
    )
    jpeg: int | None = field(
        default=None,
        metadata=option("Synthetic: code every frame as JPEG.", metavar="QUALITY", minimum=1, maximum=100),
    )
    crf: float | None = field(
        default=None,
        metadata=option("Synthetic: code the clips as H.264 of this CRF.", metavar="CRF", minimum=1, maximum=51),
    )

    def chosen(self) -> tuple[str, ...]:
        """Names of the fields that are not left open."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) is not None)


@dataclass(frozen=True)
class DatasetOptions:
    """Which dataset is scored."""

    dataset: str = field(default="synthetic", metadata=option(f"One of {', '.join(DATASETS)}.", metavar="NAME"))
    root: Path | None = field(
        default=None,
        metadata=option(
            "Where it lies.",
            metavar="FOLDER",
            default="$HDRVID_DATA/NAME, else ~/.cache/hdrvid/NAME; synthetic: own scenes",
        ),
    )
    num_exposures: int = field(default=2, metadata=CYCLE)
    align: bool = field(
        default=False,
        metadata=option("kalantari: move the neighbours by the set's global alignment first."),
    )


@dataclass(frozen=True)
class EvalOptions:
    """How a model is scored."""

    model: str = field(default="default", metadata=MODEL)
    baselines: bool = field(
        default=False, metadata=option("Score the reference frame alone and the classical pipeline too.")
    )
    metrics: tuple[str, ...] | None = field(
        default=None,
        metadata=option(
            "Measures, separated by commas, or 'all'.",
            metavar="LIST",
            parse=parse_list,
            default="those that need no extra package",
        ),
    )
    """Names of `hdrvid.evaluate.measures.MEASURES`, or ('all',)."""
    protocol: str = field(
        default="deephdrvideo", metadata=option("Whose way to score.", metavar="deephdrvideo|hdrflow")
    )
    device: str = field(default="auto", metadata=DEVICE)
    precision: str = field(default="auto", metadata=PRECISION)
    overwrite: bool = field(
        default=False,
        metadata=option("Score anew what an earlier run has scored with the same settings."),
    )
