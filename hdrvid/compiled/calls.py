"""Which compiled functions a run calls. Numba is not needed to say so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Calls:
    """Which functions a run calls. Fields decide the types of their arguments."""

    search: bool = False
    """The classical search of the flow."""
    candidates: bool = False
    """The choice between several flows."""
    merge: bool = False
    """The candidates, and what the merging network makes of them."""
    refine: bool = False
    """What the network sees that refines the flow."""
    neighbours: int = 2
    """Neighbours of a window."""
    half: bool = False
    """Whether the networks take bfloat16."""
    quantised: bool = False
    """Whether the networks take bytes."""
    display: bool = False
    """The display transform of the preview."""
    half_between: bool = False
    """Whether their convolutions give bfloat16 then."""
