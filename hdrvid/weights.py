"""Weights files: safetensors with the config and the provenance in the header, and the models known by name.

Metadata keys of a file (all strings): `format` ('hdrvid-1'), `config` (ModelConfig as JSON), `provenance` (JSON object
of strings: how the weights were made and what they measured), and `ranges` where they can be run in 8 bits (JSON object
of lowest and highest values, by `hdrvid.models.quantised.Ranges`). Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import nn

from hdrvid.errors import ModelError
from hdrvid.models.config import ModelConfig
from hdrvid.models.forward import build
from hdrvid.models.quantised import Ranges

FORMAT = "hdrvid-1"
LARGEST_RANGE = 1e6
"""Networks see values of about 1; a larger range than this has another cause."""


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def save_weights(
    path: Path,
    networks: nn.Module,
    config: ModelConfig,
    provenance: dict[str, str],
    *,
    half: bool = True,
    ranges: Ranges | None = None,
) -> None:
    """Write the networks' parameters, float16 where `half`, else float32, and the ranges that `int8` needs, unless
    networks without sense have made some that `read_ranges` would refuse."""
    dtype = torch.float16 if half else torch.float32
    tensors = {k: v.detach().to("cpu", dtype).contiguous() for k, v in networks.state_dict().items()}
    metadata = {"format": FORMAT, "config": config.to_json(), "provenance": json.dumps(provenance, sort_keys=True)}
    if ranges is not None and all(_is_range(low_high) for low_high in ranges.values()):
        metadata["ranges"] = json.dumps({name: _rounded(ranges[name]) for name in sorted(ranges)})
    path.write_bytes(serialize(tensors, metadata))  # safetensors' own writer leaves a file only its owner can read


def read_weights(path: Path) -> tuple[nn.ModuleDict, ModelConfig, dict[str, str]]:
    """The networks of a weights file in float32, its config and provenance. Strict: every tensor must fit.

    Raises ModelError for a damaged file, one that is not hdrvid's, or one that does not fit its own config.
    """
    try:
        with safe_open(str(path), "pt") as f:
            metadata = f.metadata() or {}
            stored = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{path} is damaged, incomplete or no safetensors file ({error}): copy or train it again"
        ) from error
    if metadata.get("format") != FORMAT or "config" not in metadata:
        raise ModelError(f"{path} was not written by hdrvid: a weights file carries its config in the header")
    if not all(t.is_floating_point() for t in stored.values()):
        raise ModelError(f"{path} holds tensors that are not real floating-point numbers: it is damaged")
    tensors = {k: t.float() for k, t in stored.items()}
    config = _config_of(metadata["config"], path)
    networks = _untrained(config, sum(t.numel() for t in tensors.values()), path)
    try:
        networks.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        differences = " ".join(line.strip() for line in str(error).splitlines()[1:])[:200]
        raise ModelError(f"the tensors of {path} do not fit its config ({differences}): train it again") from error
    if not all(torch.isfinite(t).all() for t in tensors.values()):
        raise ModelError(f"{path} holds numbers that are not finite: it is damaged")
    try:
        provenance = {str(k): str(v) for k, v in json.loads(metadata.get("provenance", "{}")).items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path} holds a provenance that is not a JSON object") from error
    return networks, config, provenance


def read_ranges(path: Path) -> Ranges | None:
    """The ranges in a weights file that `read_weights` takes; None where it has none. Raises ModelError for what are
    none."""
    with safe_open(str(path), "pt") as f:
        text = (f.metadata() or {}).get("ranges")
    if text is None:
        return None
    damaged = ModelError(f"{path} holds ranges that can be none of its networks: copy or train it again")
    try:
        ranges = {str(name): torch.tensor(low_high) for name, low_high in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError, RuntimeError, RecursionError, OverflowError) as error:
        raise damaged from error
    if not all(_is_range(low_high) for low_high in ranges.values()):
        raise damaged
    return ranges


def _is_range(low_high: torch.Tensor) -> bool:
    if low_high.dtype != torch.float32 or low_high.ndim != 2 or len(low_high) != 2:
        return False
    low, high = low_high
    return bool((low <= high).all() and (low_high.abs() <= LARGEST_RANGE).all() and (low < high).any())


def _rounded(low_high: torch.Tensor) -> list[list[float]]:
    """Numbers of four digits: a step need not be more exact."""
    return [[float(f"{value:.4g}") for value in values] for values in low_high.tolist()]


def _config_of(text: str, path: Path) -> ModelConfig:
    """The config in a header. Raises ModelError where it is none, or holds a value of another type or size."""
    try:
        config = ModelConfig.from_json(text)
    except RecursionError as error:
        raise ModelError(f"{path} holds a config that is not a JSON object") from error
    for field in fields(config):
        value = getattr(config, field.name)
        too_small = type(value) is int and value <= 0 and value != field.default
        if type(value) is not type(field.default) or too_small:
            raise ModelError(f"{path} holds a config with {field.name} {str(value)[:40]!r}: it is damaged")
    return config


def _untrained(config: ModelConfig, num_values: int, path: Path) -> nn.ModuleDict:
    """The networks of `config`. Raises ModelError, before memory is taken, where `num_values` are too few for them."""
    widths = (config.width, config.half_width, config.quarter_width, config.flow_half_width)
    width = config.base_width if config.preset == "memo" else max(widths)
    if 9 * width**2 > num_values:  # there is a 3x3 convolution from `width` to `width` channels
        raise ModelError(f"the tensors of {path} do not fit its config (too few for {width} channels)")
    try:
        return build(config)
    except (RuntimeError, ValueError, TypeError, ArithmeticError) as error:
        raise ModelError(f"{path} holds a config that no network can be built from: it is damaged") from error
