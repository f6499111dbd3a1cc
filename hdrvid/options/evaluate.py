"""Options of `hdrvid eval`: what is scored, and how."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, fields
from pathlib import Path

from hdrvid.errors import UsageError
from hdrvid.options.metadata import CYCLE, DATASET, DEVICE, MACHINE, OTHERS, PRECISION, SYNTHETIC, option
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
MAX_NAME = 40
"""Letters of the name of predictions: it heads columns."""
SCALE_RANGE = (1e-6, 1e6)
"""Factors that --predictions-scale takes."""
SCALES = ("shortest", "longest", "fit")
"""Words that it takes: the exposure that clips at 1, or one factor a scene, fitted to the truth."""
BY_HEADER = "header"
"""Without --predictions-scale: what the header of hdrvid's own files says, else 'shortest'."""


@dataclass(frozen=True)
class PredictionFolder:
    """Results of another program."""

    name: str
    """What it is called in tables and files."""
    folder: Path
    """Where its HDR frames lie: a folder a scene."""


@dataclass(frozen=True)
class PredictionScale:
    """What the pixels of predictions are multiplied by, so that 1 is the clipping of the shortest exposure."""

    name: str | None
    """Name of the predictions; None: all of them that no other scale names."""
    factor: float | str
    """A factor, or a word of SCALES."""


def parse_prediction(text: str) -> PredictionFolder:
    """The predictions 'NAME=FOLDER'. Raises UsageError.

    >>> parse_prediction("HDRFlow=out/hdr").folder.as_posix()
    'out/hdr'
    """
    name, equals, folder = (part.strip() for part in text.partition("="))
    if not (equals and name and folder):
        raise UsageError(f"--predictions takes NAME=FOLDER, like HDRFlow=results/hdrflow, not '{text[:60]}'")
    if len(name) > MAX_NAME or not name.isprintable():
        raise UsageError(f"the name of --predictions heads columns: give at most {MAX_NAME} letters before the =")
    return PredictionFolder(name, Path(folder))


def parse_prediction_scale(text: str) -> PredictionScale:
    """A word of SCALES or a factor, or either behind 'NAME='. Raises UsageError.

    >>> parse_prediction_scale("0.125"), parse_prediction_scale("HDRFlow=fit")
    (PredictionScale(name=None, factor=0.125), PredictionScale(name='HDRFlow', factor='fit'))
    """
    before, equals, value = (part.strip() for part in text.rpartition("="))
    name = before if equals else None
    if value in SCALES:
        return PredictionScale(name, value)
    try:
        factor = float(value)
    except ValueError:
        factor = math.nan
    if not SCALE_RANGE[0] <= factor <= SCALE_RANGE[1]:
        raise UsageError(
            f"--predictions-scale takes {', '.join(SCALES)} or a factor above 0, or NAME= before it, not '{text[:60]}'"
        )
    return PredictionScale(name, factor)


@dataclass(frozen=True)
class SyntheticChoices:
    """What the user may choose of the dataset synthetic; None leaves it to `hdrvid.evaluate.SyntheticOptions`."""

    exposures: str | None = field(
        default=None,
        metadata=option("Stops of one cycle.", metavar="0,3|0,2,4", default="0,3 or 0,2,4", panel=SYNTHETIC),
    )
    scenes: int | None = field(
        default=None,
        metadata=option("Own scenes.", metavar="N", minimum=1, default=str(NUM_SCENES), panel=SYNTHETIC),
    )
    frames: int | None = field(
        default=None,
        metadata=option("Frames of a clip.", metavar="N", minimum=3, default=str(NUM_FRAMES), panel=SYNTHETIC),
    )
    size: tuple[int, int] | None = field(
        default=None,
        metadata=option(
            "Size of the clips.",
            metavar="WxH",
            parse=parse_size,
            default=f"{SIZE[0]}x{SIZE[1]}",
            panel=SYNTHETIC,
        ),
    )
    """Width and height in pixels."""
    camera: str | None = field(
        default=None,
        metadata=option(
            "How the clips are filmed, and at which stops.",
            metavar="|".join(CAMERA_NAMES),
            default=CAMERA_NAMES[0],
            panel=SYNTHETIC,
        ),
    )
    jpeg: int | None = field(
        default=None,
        metadata=option("Code every frame as JPEG.", metavar="QUALITY", minimum=1, maximum=100, panel=SYNTHETIC),
    )
    crf: float | None = field(
        default=None,
        metadata=option("Code the clips as H.264 of this CRF.", metavar="CRF", minimum=1, maximum=51, panel=SYNTHETIC),
    )
    inner: bool | None = field(
        default=None,
        metadata=option(
            "Do not score the first and last 2 frames (3 of 3 exposures): other programs have no result there.",
            flag="--inner",
            panel=SYNTHETIC,
        ),
    )

    def chosen(self) -> tuple[str, ...]:
        """Names of the fields that are not left open."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) is not None)


@dataclass(frozen=True)
class DatasetOptions:
    """Which dataset is scored."""

    dataset: str = field(
        default="synthetic", metadata=option(f"One of {', '.join(DATASETS)}.", metavar="NAME", panel=DATASET)
    )
    root: Path | None = field(
        default=None,
        metadata=option(
            "Where it lies.",
            metavar="FOLDER",
            default="$HDRVID_DATA/NAME, else ~/.cache/hdrvid/NAME; synthetic: own scenes",
            panel=DATASET,
        ),
    )
    num_exposures: int = field(default=2, metadata={**CYCLE, "panel": DATASET})
    align: bool = field(
        default=False,
        metadata=option("kalantari: move the neighbours by the set's global alignment first.", panel=DATASET),
    )


@dataclass(frozen=True)
class EvalOptions:
    """How a model is scored."""

    model: str = field(
        default="default",
        metadata=option(
            "A model that `hdrvid info` lists, or a .safetensors file; several with commas between them.",
            metavar="NAME|FILE",
            panel=MACHINE,
        ),
    )
    """The first is the one that the report is about."""
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
    device: str = field(default="auto", metadata={**DEVICE, "panel": MACHINE})
    precision: str = field(default="auto", metadata={**PRECISION, "panel": MACHINE})
    overwrite: bool = field(
        default=False,
        metadata=option("Score anew what an earlier run has scored with the same settings."),
    )
    predictions: tuple[PredictionFolder, ...] = field(
        default=(),
        metadata=option(
            "Score the EXR or .hdr frames of another program too: FOLDER/SCENE/, named as the input frames, or as many "
            "as there are. May be given several times.",
            metavar="NAME=FOLDER",
            repeated=True,
            parse=parse_prediction,
            panel=OTHERS,
        ),
    )
    predictions_scale: tuple[PredictionScale, ...] = field(
        default=(),
        metadata=option(
            "Which exposure clips at 1 in them: shortest or longest; 'fit' finds one factor a scene from the truth, a "
            "number multiplies. NAME= before it: of these alone.",
            metavar="SCALE|NAME=SCALE",
            repeated=True,
            parse=parse_prediction_scale,
            default="shortest; frames of hdrvid: as their header says",
            panel=OTHERS,
        ),
    )

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models, the one that the report is about first. Raises UsageError where there is none."""
        is_file = "," in self.model and os.path.isfile(self.model)
        parts = [self.model] if is_file else self.model.split(",")
        names = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
        if not names:
            raise UsageError("--model names no model: give one that hdrvid info lists, or a .safetensors file")
        return names

    def scale_of(self, name: str) -> float | str:
        """The factor of the predictions of that name, a word of SCALES, or BY_HEADER where none was given."""
        own = [s for s in self.predictions_scale if s.name == name]
        of_all = [s for s in self.predictions_scale if s.name is None]
        return [PredictionScale(None, BY_HEADER), *of_all, *own][-1].factor


@dataclass(frozen=True)
class ExportOptions:
    """What is written for other programs, instead of scoring."""

    export_inputs: Path | None = field(
        default=None,
        metadata=option(
            "Do nothing but write the frames of the dataset and their exposures here, for other programs.",
            metavar="FOLDER",
            panel=OTHERS,
        ),
    )
    export_truth: bool = field(
        default=False, metadata=option("--export-inputs: write the truth too, as .hdr.", panel=OTHERS)
    )
