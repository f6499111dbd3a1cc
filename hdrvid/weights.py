"""Weights files: safetensors with the config and the provenance in the header, and the models known by name.

Metadata keys of a file (all strings): `format` ('hdrvid-1'), `config` (ModelConfig as JSON), `provenance` (JSON object
of strings: how the weights were made and what they measured). Nothing is ever unpickled.
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
from hdrvid.models.runner import ModelRunner, ReferenceOnly, build
from hdrvid.types import Reconstructor

FORMAT = "hdrvid-1"
BUILT_IN = ("classical", "reference")
"""Models without weights: the OpenCV pipeline, and the reference frame alone."""


def weights_folder() -> Path:
    """The folder of the shipped weights: inside the installed package, else beside the source tree."""
    package = Path(__file__).resolve().parent
    packaged = package / "_weights"
    return packaged if packaged.is_dir() else package.parent / "weights"


def available_models() -> list[str]:
    """Names that `--model` takes, the default first."""
    names = {p.stem.rsplit("-", 1)[0] for p in weights_folder().glob("*-[23]exp.safetensors")}
    return sorted(names, key=lambda n: (n != "default", n)) + list(BUILT_IN)


def find_weights(model: str, num_exposures: int) -> Path:
    """The weights file of a model name or path. Raises ModelError with the names there are."""
    path = Path(model)
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise ModelError(f"there is no weights file {model}")
        return path
    shipped = weights_folder() / f"{model}-{num_exposures}exp.safetensors"
    if shipped.is_file():
        return shipped
    if model in available_models():
        raise ModelError(
            f"model '{model}' has no weights for {num_exposures} exposures: "
            "use --model classical or a .safetensors file"
        )
    raise ModelError(f"unknown model '{model}': use one of {', '.join(available_models())} or a .safetensors file")


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def save_weights(
    path: Path, networks: nn.Module, config: ModelConfig, provenance: dict[str, str], *, half: bool = True
) -> None:
    """Write the networks' parameters, float16 where `half`, else float32."""
    dtype = torch.float16 if half else torch.float32
    tensors = {k: v.detach().to("cpu", dtype).contiguous() for k, v in networks.state_dict().items()}
    metadata = {"format": FORMAT, "config": config.to_json(), "provenance": json.dumps(provenance, sort_keys=True)}
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
        raise ModelError(f"{path} is not a readable safetensors file ({error})") from error
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
        raise ModelError(f"the tensors of {path} do not fit its config ({str(error).splitlines()[0]})") from error
    if not all(torch.isfinite(t).all() for t in tensors.values()):
        raise ModelError(f"{path} holds numbers that are not finite: it is damaged")
    try:
        provenance = {str(k): str(v) for k, v in json.loads(metadata.get("provenance", "{}")).items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path} holds a provenance that is not a JSON object") from error
    return networks, config, provenance


def _config_of(text: str, path: Path) -> ModelConfig:
    """The config in a header. Raises ModelError where it is none, or holds a value of another type or size."""
    try:
        config = ModelConfig.from_json(text)
    except RecursionError as error:
        raise ModelError(f"{path} holds a config that is not a JSON object") from error
    for field in fields(config):
        value = getattr(config, field.name)
        if type(value) is not type(field.default) or (type(value) is int and value <= 0):
            raise ModelError(f"{path} holds a config with {field.name} {str(value)[:40]!r}: it is damaged")
    return config


def _untrained(config: ModelConfig, num_values: int, path: Path) -> nn.ModuleDict:
    """The networks of `config`. Raises ModelError, before memory is taken, where `num_values` are too few for them."""
    width = config.base_width if config.preset == "memo" else config.width
    if 9 * width**2 > num_values:  # both presets have a 3x3 convolution from `width` to `width` channels
        raise ModelError(f"the tensors of {path} do not fit its config (too few for {width} channels)")
    try:
        return build(config)
    except (RuntimeError, ValueError, TypeError, ArithmeticError) as error:
        raise ModelError(f"{path} holds a config that no network can be built from: it is damaged") from error


def load_reconstructor(
    model: str,
    num_exposures: int,
    *,
    device: str = "auto",
    precision: str = "auto",
    tile: str | int = "auto",
    align: bool = True,
    compiled: bool = False,
) -> Reconstructor:
    """A model ready to run: a shipped name, 'classical', 'reference', or a .safetensors file.

    `align` False leaves the flow of `default` without its candidates (`hdrvid.models.alignment`). `compiled`: see
    `hdrvid.models.compiled`.
    Raises ModelError (unknown, damaged, wrong number of exposures) and UsageError (device, precision, tile).
    """
    if model == "reference":
        return ReferenceOnly(num_exposures)
    if model == "classical":
        return ModelRunner("classical", num_exposures, device=device, precision=precision, tile=tile, align=align)
    path = find_weights(model, num_exposures)
    networks, config, provenance = read_weights(path)
    if config.num_exposures != num_exposures:
        raise ModelError(f"{path} is for {config.num_exposures} exposures, but the clip has a cycle of {num_exposures}")
    name = model if path.parent == weights_folder() else path.stem
    return ModelRunner(
        name,
        num_exposures,
        config,
        networks,
        device=device,
        precision=precision,
        tile=tile,
        align=align,
        compiled=compiled,
        provenance={"sha256": sha256_of(path), "preset": config.preset, **provenance},
    )
