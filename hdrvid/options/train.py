"""Options of `hdrvid train`: what decides the weights, and how the run goes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from hdrvid.errors import UsageError
from hdrvid.options.metadata import CYCLE, DEVICE, option
from hdrvid.options.parse import read_json_text, read_names

PRESETS = "default|fast|memo"
"""Those of `hdrvid.models.config`, which loads NumPy."""
TERMS = ("l1", "structure", "self", "smoothness")
"""The four terms of the few-shot loss, by the name that `without` takes."""
STAGES = {"flow": 0.45, "merge": 0.45, "joint": 0.1}
"""Share of the steps that each stage has where all three are trained."""
MEMO_STAGES = {"flow": 0.45, "imitation": 0.2, "merge": 0.2, "joint": 0.15}
"""The same for supervised training of preset 'memo'."""
CAMERA_SHARE = 0.7
"""Share of the samples that a described camera films."""
CLASSICAL_ONLY = ("width", "half_width", "quarter_width", "stem_kernel", "flow_half_width", "real")
"""Options of the presets that correct the classical merge."""
MEMO_ONLY = ("plain", "flow_crop")
FEW_SHOT_ONLY = ("trial", "without")
STALL_WINDOW = 200
"""Steps whose mean is compared to tell whether a stage has improved on its start."""


@dataclass(frozen=True)
class TrainOptions:
    """Everything that decides a run. A resumed run must have the same options. Raises UsageError for a bad one."""

    shots: int = field(
        default=0, metadata=option("Labelled windows; few-shot training.", metavar="N", minimum=1, default="")
    )
    """0: all there are, supervised training."""
    trial: int = field(
        default=1,
        metadata=option("Which shots: the memo's list where --data holds its sets.", metavar="1..5", minimum=1),
    )
    """Where `data` does not hold the memo's sets every number is another draw."""
    data: tuple[str, ...] = field(
        default=(), metadata=option("Labelled data; may be given again.", metavar="FOLDER", repeated=True)
    )
    """Empty: hdrvid's own scenes alone."""
    unlabelled: tuple[str, ...] = field(
        default=(),
        metadata=option("Clips without truth, few-shot; may be given again.", metavar="CLIP|FOLDER", repeated=True),
    )
    """Empty: hdrvid's own scenes, or pictures of `data`, filmed once."""
    hold_out: tuple[str, ...] = field(
        default=(),
        metadata=option(
            "Names of pictures or scenes not to train on, one a line.", metavar="FILE", parse=read_names, default=""
        ),
    )
    """Stems of pictures, windows or scenes."""
    preset: str = field(default="default", metadata=option("Network.", metavar=PRESETS))
    num_exposures: int = field(default=2, metadata=CYCLE)
    refine_flow: bool = field(
        default=False,
        metadata=option(
            "Preset default: train a network that refines the flow too.",
            flag="--refine/--no-refine",
            default="as --init has it, else only without --shots",
        ),
    )
    init: str = field(default="", metadata=option("Weights to start from.", metavar="NAME|FILE", default=""))
    """Weights for 2 exposures may start a network for 3."""
    leg: int = field(
        default=0,
        metadata=option("Number of a training that goes on with --init: draws other samples.", metavar="N", minimum=0),
    )
    distill: str = field(
        default="",
        metadata=option("Weights of preset default to learn from beside the truth.", metavar="NAME|FILE", default=""),
    )
    width: int = field(
        default=0,
        metadata=option(
            "Presets default and fast: channels of the merge.", metavar="CHANNELS", minimum=8, default="48 and 32"
        ),
    )
    """Channels at half resolution; 0: `hdrvid.train.options.WIDTHS`."""
    half_width: int = field(
        default=0,
        metadata=option(
            "Presets default and fast: fewer channels at half resolution. Of --init the strongest stay; weights of "
            "preset default teach the rest (--distill).",
            metavar="CHANNELS",
            minimum=8,
            default="those of --width",
        ),
    )
    quarter_width: int = field(
        default=0,
        metadata=option(
            "The same at a quarter of the size.", metavar="CHANNELS", minimum=8, default="4/3 of those of --width"
        ),
    )
    stem_kernel: int = field(
        default=0,
        metadata=option(
            "Presets default and fast: side of the merge's first convolution, 3 or 1 pixels of half resolution. With 3 "
            "it takes a fifth of the merge's time.",
            metavar="PX",
            default="3",
        ),
    )
    flow_half_width: int = field(
        default=0,
        metadata=option(
            "The same of the network that refines the flow, at half resolution.",
            metavar="CHANNELS",
            minimum=8,
            default="16",
        ),
    )
    epochs: int = field(default=30, metadata=option("Epochs.", metavar="N", minimum=1))
    steps_per_epoch: int = field(default=200, metadata=option("Optimiser steps in an epoch.", metavar="N", minimum=1))
    batch: int = field(default=6, metadata=option("Crops in a step, over all processes.", metavar="N", minimum=1))
    accumulate: int = field(default=1, metadata=option("Pieces of a batch, for less memory.", metavar="N", minimum=1))
    """Each process cuts its part of a batch into as many."""
    reuse: int = field(
        default=1,
        metadata=option(
            "Presets default and fast, --stage merge: steps that use a sample, turned another way in each. Aligning a "
            "sample takes longer than learning from it: 3 or 4 make two or three times as many steps an hour.",
            metavar="N",
            minimum=1,
            maximum=16,
        ),
    )
    crop: int = field(default=128, metadata=option("Side of a crop, a multiple of 16.", metavar="PIXELS", minimum=32))
    learning_rate: float = field(default=6e-4, metadata=option("Peak learning rate.", metavar="RATE", minimum=0.0))
    schedule: str = field(default="cosine", metadata=option("How the rate falls.", metavar="cosine|halve"))
    """'cosine': a short warm-up, then half a cosine to 2 % at the end of a stage. 'halve': halved every 10 epochs."""
    ema: float = field(
        default=0.998,
        metadata=option(
            "Decay of the averaged weights, which are kept.", metavar="DECAY", minimum=0.0, maximum=0.99999
        ),
    )
    precision: str = field(default="fp32", metadata=option("Arithmetic of the networks.", metavar="fp32|bf16"))
    without: tuple[str, ...] = field(
        default=(),
        metadata=option(
            "Few-shot: a term of the loss to leave out; may be given again.", metavar="|".join(TERMS), repeated=True
        ),
    )
    """Without the last two of TERMS nothing unlabelled is needed."""
    patience: int = field(
        default=0,
        metadata=option(
            "Stop when validation has not improved for this long; 0: never.",
            metavar="EPOCHS",
            minimum=0,
            default="10 with --shots, else 0",
        ),
    )
    """Epochs; the best weights are kept. 0 keeps the last ones."""
    windows: int = field(
        default=1500,
        metadata=option("Windows to render.", metavar="N", minimum=1, default="1500, with --shots 300"),
    )
    """The labelled ones, or in few-shot training the unlabelled ones."""
    window_size: int = field(default=192, metadata=option("Side of a rendered window.", metavar="PIXELS", minimum=64))
    stages: tuple[str, ...] = field(
        default=(),
        metadata=option(
            "Train this stage only; may be given again. Stage imitation is for preset memo without --shots.",
            flag="--stage",
            metavar="|".join(MEMO_STAGES),
            repeated=True,
        ),
    )
    """Empty: all that the preset has."""
    flow_crop: int = field(
        default=0,
        metadata=option(
            "Preset memo: side of a crop in stage flow.",
            metavar="PIXELS",
            minimum=0,
            default="160, or what a window holds",
        ),
    )
    """0: the largest multiple of 16 that a window holds, 160 at the most."""
    plain: float = field(
        default=0.75,
        metadata=option(
            "Preset memo: share of samples without codec and wide brackets.",
            metavar="SHARE",
            minimum=0.0,
            maximum=1.0,
        ),
    )
    """Supervised training; all samples are plain while levels are shared."""
    real: float = field(
        default=0.5,
        metadata=option(
            "Presets default and fast: share of samples of cameras with crushed blacks, unknown curves, inexact "
            "exposures, sharpening and codecs, and with objects in one frame alone.",
            metavar="SHARE",
            minimum=0.0,
            maximum=1.0,
        ),
    )
    """Supervised training."""
    camera: str = field(
        default="",
        metadata=option(
            "JSON file that describes a camera, to train for it: its noise, curve, codec and stops.",
            metavar="FILE",
            parse=read_json_text,
            default="",
        ),
    )
    """The text of the file. Validation is filmed by this camera too."""
    camera_share: float = field(
        default=CAMERA_SHARE,
        metadata=option(
            "Share of the samples that the camera of --camera films; the others keep the network what it was.",
            metavar="SHARE",
            minimum=0.0,
            maximum=1.0,
        ),
    )
    agree: float = field(
        default=0.0,
        metadata=option(
            "Presets default and fast: weight of a term that asks for the same result of a moment, whichever exposure "
            "it was filmed with. 0.1 or so; samples then come in pairs.",
            metavar="WEIGHT",
            minimum=0.0,
            maximum=10.0,
        ),
    )
    """Supervised training of the merge."""
    stall_steps: int = field(
        default=0,
        metadata=option(
            "Stop a stage that has not improved on its start after so many steps; 0: never.",
            flag="--stall",
            metavar="STEPS",
            minimum=0,
            default="1000 for preset memo without --shots and --init, else 0",
        ),
    )
    """The start is the first STALL_WINDOW steps."""
    seed: int = field(default=0, metadata=option("Seed of everything random.", metavar="N", minimum=0))
    procedural_share: float = 0.3
    """Share of the windows made from nothing when there are pictures."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    shared_levels: bool = True
    """'memo': begin the flow stage with one set of weights for the coarsest levels, as flow without `init` should."""

    def __post_init__(self) -> None:
        if self.preset not in PRESETS.split("|"):
            raise UsageError(f"--preset takes {PRESETS.replace('|', ', ')}, not '{self.preset}'")
        unknown = [t for t in self.without if t not in TERMS]
        if unknown:
            raise UsageError(f"unknown term '{', '.join(unknown)}' of the loss: --without takes {', '.join(TERMS)}")
        if self.schedule not in ("cosine", "halve"):
            raise UsageError(f"--schedule takes cosine or halve, not '{self.schedule}'")
        if self.precision not in ("fp32", "bf16"):
            raise UsageError(f"training runs in fp32 or bf16, not '{self.precision}'")
        if not self.crop or self.crop % 16:
            raise UsageError(f"--crop is a multiple of 16, not {self.crop}")
        if self.flow_crop % 16 or self.flow_crop > self.window_size:
            raise UsageError(f"the crop of the flow stage is a multiple of 16 that fits a window, not {self.flow_crop}")
        if self.stall_steps and self.stall_steps < 2 * STALL_WINDOW:
            raise UsageError(f"--stall takes 0 or at least {2 * STALL_WINDOW} steps, not {self.stall_steps}")
        if self.crop + 2 * self.margin > self.window_size:
            raise UsageError(
                f"a crop of {self.crop} px needs windows of {self.crop + 2 * self.margin} px, not "
                f"{self.window_size}: give a larger --window-size or a smaller --crop"
            )
        wrong = [s for s in self.stages if s not in self.stage_shares]
        if wrong:
            raise UsageError(
                f"stage '{', '.join(wrong)}' does not exist here: --stage takes {', '.join(self.stage_shares)}"
            )
        if self.stem_kernel not in (0, 1, 3):
            raise UsageError(f"--stem-kernel is 3 or 1, not {self.stem_kernel}")
        if self.flow_half_width and not self.refine_flow:
            raise UsageError("--flow-half-width belongs to a network that refines the flow: give --refine, too")
        if self.distill and (self.few_shot or self.preset == "memo"):
            raise UsageError("--distill is for supervised training of the presets default and fast")
        if self.camera and self.preset == "memo" and not self.few_shot:
            raise UsageError("--camera is for the presets default and fast, and for --shots")
        if self.camera_share != CAMERA_SHARE and not self.camera:
            raise UsageError("--camera-share is the share of --camera: give that too, or leave it out")
        if self.agree and (self.few_shot or self.preset == "memo"):
            raise UsageError("--agree is for supervised training of the presets default and fast")
        if self.agree and self.batch % (2 * self.accumulate):
            raise UsageError(f"--agree needs pairs: --batch is a multiple of {2 * self.accumulate}, not {self.batch}")
        if self.reuse > 1 and (self.few_shot or self.preset == "memo" or self.stages != ("merge",)):
            raise UsageError("--reuse is for --stage merge of the presets default and fast, without --shots")
        if self.reuse > 1 and (self.agree or self.accumulate > 1):
            raise UsageError("--reuse does not go with --agree or --accumulate: leave them out")
        if {"l1", "structure"} <= set(self.without):
            raise UsageError("without both l1 and structure nothing is learnt from the labelled windows: keep one")
        self._require_effect()

    def _require_effect(self) -> None:
        """Raise UsageError for an option that would change nothing."""
        unchanged = {field.name: field.default for field in fields(self)}
        groups = (
            (self.preset == "memo", CLASSICAL_ONLY, "is for the presets default and fast"),
            (self.preset != "memo", MEMO_ONLY, "is for preset memo"),
            (not self.few_shot, FEW_SHOT_ONLY, "belongs to few-shot training: give --shots, too"),
            (bool(self.init), ("width",), "is for networks from nothing: beside --init give --half-width"),
        )
        for concerned, names, reason in groups:
            for name in names if concerned else ():
                value = getattr(self, name)
                if value and value != unchanged[name]:  # 0 leaves out what is left out anyway
                    raise UsageError(f"--{name.replace('_', '-')} {reason}")

    @property
    def narrower(self) -> dict[str, Any]:
        """Channels and sizes that were asked for, by their names in a config."""
        names = ("half_width", "quarter_width", "flow_half_width", "stem_kernel")
        return {name: value for name in names if (value := getattr(self, name))}

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    @property
    def margin(self) -> int:
        """Pixels on every side of a crop that only the alignment sees ('default')."""
        return 0 if self.preset == "memo" else 16

    @property
    def few_shot(self) -> bool:
        """Whether the loss is the memo's."""
        return self.shots > 0

    @property
    def uses_unlabelled(self) -> bool:
        """Whether a step takes an unlabelled batch as well."""
        return self.few_shot and not {"self", "smoothness"} <= set(self.without)

    @property
    def imitates(self) -> bool:
        """Whether the stages and losses are those of `hdrvid.train.objective.MemoObjective`."""
        return self.preset == "memo" and not self.few_shot

    @property
    def stage_shares(self) -> dict[str, float]:
        """Share of the steps by stage, where all that the preset has are trained."""
        if self.imitates:
            return MEMO_STAGES
        return STAGES if self.preset == "memo" or self.refine_flow else {"merge": 1.0}

    def side(self, stage: str) -> int:
        """Side of a crop in a stage, in pixels, without the margin."""
        if stage == "flow" and self.imitates:
            return self.flow_crop or min(self.window_size, 160) // 16 * 16
        return self.crop


@dataclass(frozen=True)
class RunOptions:
    """How a training runs: nothing here changes the weights of a step."""

    resume: bool = field(default=False, metadata=option("Continue the run in the output folder."))
    cache: Path | None = field(
        default=None, metadata=option("Rendered windows.", metavar="FOLDER", default="OUT/cache")
    )
    """Validation windows and unlabelled ones lie beside it."""
    workers: int | None = field(
        default=None,
        metadata=option(
            "Processes that prepare data.",
            metavar="N",
            minimum=0,
            default="1 on a CPU, else one less than there are cores",
        ),
    )
    minutes: float = field(
        default=math.inf, metadata=option("Stop after this long, ready to be resumed.", metavar="N", default="")
    )
    device: str = field(default="auto", metadata=DEVICE)
    checkpoint_seconds: float = 120.0
    """Between two checkpoints, at least."""
    validate_every: int = 500
    """Steps between two validations; with `TrainOptions.patience` validation is done after every epoch instead."""
