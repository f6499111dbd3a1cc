"""What a model is built from. A weights file carries this as JSON; nothing else decides the shape of a network."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Self

from hdrvid.errors import ModelError
from hdrvid.types import NETWORK_EXPOSURES

PRESETS = ("default", "fast", "memo")
"""Networks that can be built and trained."""


@dataclass(frozen=True)
class ModelConfig:
    """Every hyperparameter of a model."""

    preset: str = "default"
    """'memo': SPyNet flow and the memo's merging network. 'default': corrections to the classical merge. 'fast': the
    same with a quicker flow search and one weight a candidate instead of three."""
    num_exposures: int = 2
    """Exposures in a cycle, 2 or 3."""
    width: int = 48
    """'default', 'fast': channels at half resolution, more at lower ones. 'memo': unused."""
    half_width: int = 0
    """'default', 'fast': channels at half resolution where they are fewer than `width`; 0: `width`. 'memo': unused."""
    quarter_width: int = 0
    """'default', 'fast': channels at a quarter where they are fewer than 4/3 of `width`; 0: so many. 'memo': unused."""
    stem_kernel: int = 3
    """'default', 'fast': side of the merge's first convolution, 3 or 1 pixels of half resolution. 'memo': unused."""
    base_width: int = 512
    """'memo': channels at the bottom of the encoder-decoder. Otherwise unused."""
    refine_flow: bool = False
    """'default': a network refines the classical flow. Otherwise unused."""
    flow_half_width: int = 16
    """Channels of that network at half resolution."""
    flow_finest: str = "half"
    """'memo': resolution of the last flow level, 'full' or 'half' (upsampled; costs 60 instead of 241 kMAC/pixel)."""

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ModelError(f"unknown preset '{self.preset}': use one of {', '.join(PRESETS)}")
        if self.num_exposures not in NETWORK_EXPOSURES:
            raise ModelError(f"a model has 2 or 3 exposures, not {self.num_exposures}")
        if self.stem_kernel not in (1, 3):
            raise ModelError(f"stem_kernel is 3 or 1, not {self.stem_kernel}")
        if self.flow_finest not in ("full", "half"):
            raise ModelError(f"flow_finest is 'full' or 'half', not '{self.flow_finest}'")

    @property
    def search(self) -> str:
        """The classical flow search (`hdrvid.flow.dense_inverse_search`), '' for networks that find their own flow."""
        return {"default": "short" if self.refine_flow else "medium", "fast": "fast", "memo": ""}[self.preset]

    @property
    def num_neighbours(self) -> int:
        """Frames of a window besides the reference: 2 or 4."""
        return 2 * (self.num_exposures - 1)

    def to_json(self) -> str:
        """The config as one JSON object."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Inverse of `to_json`. Raises ModelError on anything that is not such an object."""
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise ModelError(f"the weights file holds a config that this version cannot read ({error})") from error
