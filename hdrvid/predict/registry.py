"""The models known by name, and how one becomes ready to run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hdrvid import machine
from hdrvid.errors import ModelError
from hdrvid.predict.device import resolve_device

if TYPE_CHECKING:
    from hdrvid.types import Reconstructor

BUILT_IN = ("classical", "reference")
"""Models without weights: the OpenCV pipeline, and the reference frame alone."""

FOR_COMPRESSED = "-compressed"
"""What the name of a model for compressed clips ends in."""


def weights_folder() -> Path:
    """The folder of the shipped weights: inside the installed package, else beside the source tree."""
    package = Path(__file__).resolve().parents[1]
    packaged = package / "_weights"
    return packaged if packaged.is_dir() else package.parent / "weights"


def shipped_weights() -> list[tuple[str, int, Path]]:
    """Name of the model, number of exposures and file of all shipped weights, sorted."""
    files = weights_folder().glob("*-[23]exp.safetensors")
    named = ((path.stem.rsplit("-", 1), path) for path in files)
    return sorted((name, int(exposures[0]), path) for (name, exposures), path in named)


def available_models() -> list[str]:
    """Names that `--model` takes, the default first."""
    names = {name for name, _, _ in shipped_weights()}
    return sorted(names, key=lambda n: (n != "default", n)) + list(BUILT_IN)


def offered_models() -> list[str]:
    """Those of them that a user chooses between: weights for compressed clips go with these."""
    return [name for name in available_models() if not name.endswith(FOR_COMPRESSED)]


def find_weights(model: str, num_exposures: int) -> Path:
    """The weights file of a model name or path. Raises ModelError with the names there are."""
    path = Path(model)
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise ModelError(f"there is no weights file {model}")
        return path
    shipped = _shipped_file(model, num_exposures)
    if shipped.is_file():
        return shipped
    if model in available_models():
        raise ModelError(
            f"model '{model}' has no weights for {num_exposures} exposures: "
            "use --model classical or a .safetensors file"
        )
    raise ModelError(f"unknown model '{model}': use one of {', '.join(offered_models())} or a .safetensors file")


def weights_for(model: str, num_exposures: int, compressed: bool) -> str:
    """The model that a clip gets where `model` is asked for: that for compressed clips, where there is one."""
    other = f"{model}{FOR_COMPRESSED}"
    return other if compressed and _shipped_file(other, num_exposures).is_file() else model


def _shipped_file(model: str, num_exposures: int) -> Path:
    """Where the weights of a name are, if they are shipped."""
    return weights_folder() / f"{model}-{num_exposures}exp.safetensors"


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

    `align` False leaves the flow of `default` without its candidates (`hdrvid.flow.dense_inverse_search`). `compiled`:
    see `hdrvid.predict.graphs`.
    Raises ModelError (unknown, damaged, wrong number of exposures) and UsageError (device, precision, tile).
    """
    from hdrvid.predict.runner import ModelRunner, ReferenceOnly
    from hdrvid.weights import read_ranges, read_weights, sha256_of

    # what is process-wide is settled here, before frames are made, and not in a constructor
    machine.hold_opencv_to_one_thread()
    if resolve_device(device).type == "cpu":
        machine.keep_memory()
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
        ranges=read_ranges(path),
    )
