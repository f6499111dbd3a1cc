"""What a model can do, as data: the runner asks the descriptor, never the kind of network."""

from __future__ import annotations

from dataclasses import dataclass

from hdrvid.models.config import ModelConfig

_TILE_BYTES_PER_PIXEL = {"": 130, "fast": 330, "default": 430, "memo": 480}


@dataclass(frozen=True)
class ModelDescriptor:
    """What a model needs and what it can be run with."""

    preset: str
    """'default', 'fast' or 'memo'; '' for the classical merge."""
    num_exposures: int
    """Exposures of the cycles it is for."""
    search: str
    """The classical search its flow begins with, a key of `flow.dense_inverse_search.SEARCHES`; '': its own flow."""
    has_networks: bool
    """False for the classical merge alone."""
    flow_candidates: bool
    """Whether the classical flow may choose between candidates."""
    fits_fp16: bool
    """Whether its values fit fp16; where the user leaves the precision open, others take bf16 instead."""
    compiled_loops: bool
    """Whether compiled functions can do the work around its networks on a CPU (`hdrvid.compiled.bands`)."""
    tile_bytes_per_pixel: int
    """Memory of a tile by pixel and frame of the window, measured on a CPU in float32; in bands about half of it."""

    @property
    def window_frames(self) -> int:
        """Frames of a window."""
        return 2 * self.num_exposures - 1


def describe(num_exposures: int, config: ModelConfig | None) -> ModelDescriptor:
    """The descriptor of networks with this config; None: the classical merge."""
    if config is None:
        return ModelDescriptor("", num_exposures, "medium", False, False, False, False, _TILE_BYTES_PER_PIXEL[""])
    memo = config.preset == "memo"
    return ModelDescriptor(
        preset=config.preset,
        num_exposures=num_exposures,
        search=config.search,
        has_networks=True,
        flow_candidates=config.search not in ("", "fast"),
        fits_fp16=not memo,
        compiled_loops=not memo,
        tile_bytes_per_pixel=_TILE_BYTES_PER_PIXEL[config.preset],
    )
