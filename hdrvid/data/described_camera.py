"""A camera as its user describes it, for training that is to fit it: a JSON object.

The keys are the fields of `hdrvid.data.camera.SynthesisOptions`, each a number, a range [low, high] of what is not
known closely, or null, and `stops`, the exposures of one cycle. What is left out is as it is there. The `options` of
a `synth.json` is such an object.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

from hdrvid.data.camera import SynthesisOptions
from hdrvid.errors import ExposureError, InputError, UsageError
from hdrvid.types import ExposureCycle

WORDS: dict[str, type] = {"response": str, "h264_preset": str, "knows_levels": bool}
"""Fields that are no numbers."""


@dataclass(frozen=True)
class DescribedCamera:
    """A camera and the exposures it alternates."""

    camera: SynthesisOptions
    """How it films."""
    stops: tuple[float, ...] | None
    """Exposures of one cycle, in stops above the shortest; None: as other training samples."""


def described_camera(text: str, num_exposures: int) -> DescribedCamera:
    """The camera of a JSON text. Raises InputError where it is none, or alternates another number of exposures."""
    advice = "see the section on training in examples/README.md"
    try:
        values = json.loads(text)
    except ValueError as error:
        raise InputError(f"the --camera file is no JSON ({error}): {advice}") from error
    if not isinstance(values, dict):
        raise InputError(f"the --camera file holds no JSON object: {advice}")
    stops = values.pop("stops", None)
    known = {f.name for f in fields(SynthesisOptions)}
    if unknown := sorted(set(values) - known):
        raise InputError(
            f"the --camera file has '{unknown[0][:40]}', which no camera has: it takes stops, "
            f"{', '.join(sorted(known))}"
        )
    try:
        camera = SynthesisOptions(**{name: _value(name, value) for name, value in values.items()})
    except (TypeError, ValueError, InputError, UsageError) as error:
        raise InputError(f"the --camera file describes no camera ({error}): {advice}") from error
    return DescribedCamera(camera, None if stops is None else _stops(stops, num_exposures))


def _value(name: str, value: Any) -> Any:
    """A field as `SynthesisOptions` takes it. Raises TypeError for one of another kind."""
    if name in WORDS:
        fits = isinstance(value, WORDS[name])
    else:
        fits = value is None or isinstance(value, list) or _is_number(value)
    if not fits:
        raise TypeError(f"{name} is {json.dumps(value)[:40]}")
    if isinstance(value, list):
        if len(value) != 2 or not all(_is_number(v) for v in value):
            raise TypeError("a range is two numbers, [low, high]")
        return tuple(value)
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _stops(value: Any, num_exposures: int) -> tuple[float, ...]:
    try:
        if not isinstance(value, list) or not all(_is_number(v) for v in value):
            raise TypeError(f"{json.dumps(value)[:40]} is no list of numbers")
        stops = ExposureCycle(tuple(float(s) for s in value)).stops
    except (TypeError, ValueError, ExposureError) as error:
        raise InputError(
            f"the stops of the --camera file are no cycle of exposures, such as [0, 3]: {error}"
        ) from error
    if len(stops) != num_exposures:
        raise InputError(
            f"the --camera file alternates {len(stops)} exposures: give --cycle {len(stops)}"
            if len(stops) in (2, 3)
            else f"the --camera file has {len(stops)} stops: networks are trained for cycles of 2 or 3 exposures"
        )
    return tuple(float(s) for s in stops)
