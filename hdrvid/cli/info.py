"""`hdrvid info`: this machine, the models, and what a clip is."""

from __future__ import annotations

import math
import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hdrvid.cli.console import opening, print_json, printable, say
from hdrvid.cli.options import fields_as_options
from hdrvid.errors import UsageError
from hdrvid.options.reconstruct import ClipOptions, DetectOptions

if TYPE_CHECKING:
    from hdrvid.detect.clip import Detection
    from hdrvid.detect.response import RatioByLevel

HELP = """What hdrvid finds on this machine, and in a clip.

Without CLIP: the version, the device the networks would run on, and the models with their checksums. With CLIP: what
the file is, and the exposure cycle and response that `hdrvid reconstruct` would use. Look here before a long run.

The check of both: linearised frames of two exposures differ by the stops between them, at every level. A ratio that
rises or falls with the level shows a wrong response, one that is off everywhere wrong stops. `--plot` draws it.

[bold]Examples[/bold]

    hdrvid info

    hdrvid info shot.mov

    hdrvid info shot.mov --plot ratio.png

    hdrvid info shot.mov --exposures 0,3     (the curve that these stops mean)

    hdrvid info frames/ --response rec709 --json
"""


@fields_as_options
def command(
    options: ClipOptions,
    clip: Annotated[
        list[str] | None,
        typer.Argument(metavar="CLIP", help="A video file, a folder of frames, or a pattern.", show_default=False),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw the ratio of linearised frames against level.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    if plot is not None and plot.suffix.lower() != ".png":
        raise UsageError(f"--plot writes a PNG file, but '{plot.name}' does not end in .png")
    if clip:
        opening(clip)
        _inspect(clip, options, plot, json)
        return
    if plot is not None:
        raise UsageError("--plot draws the check of a clip: name one, as in hdrvid info shot.mov --plot ratio.png")
    facts = machine()
    if json:
        print_json(facts)
    else:
        _print_machine(facts)


command.__doc__ = HELP


def _inspect(clip: list[str], options: ClipOptions, plot: Path | None, as_json: bool) -> None:
    from hdrvid.detect.clip import inspect_clip
    from hdrvid.io import split_inputs
    from hdrvid.io.atomic import remove_abandoned
    from hdrvid.io.ownership import PICTURE, replaceable_target, require_unread
    from hdrvid.pipeline.options import check_folder

    if plot is not None:
        check_folder(plot.parent)
        require_unread([plot], clip, "choose another path for --plot")
        remove_abandoned(replaceable_target(plot, PICTURE, "choose another path for --plot"))
    groups = [clip] if options.tracks is not None else split_inputs(clip)
    if len(groups) != 1:
        raise UsageError(f"hdrvid info looks at one clip at a time, but {len(groups)} were given")
    detection = inspect_clip(groups[0], DetectOptions(**asdict(options), regular=True))
    tables = _ratios(detection)
    if as_json:
        print_json({**detection.as_dict(), "ratio_by_level": [table.as_dict() for table in tables]})
    else:
        _print_clip(detection)
        _print_ratios(tables)
    if plot is not None:
        _plot(plot, tables, detection)


def machine() -> dict[str, Any]:
    """Version, device, threads and models, ready for JSON."""
    import torch

    from hdrvid import __version__
    from hdrvid.predict import int8
    from hdrvid.predict.device import resolve_device, resolve_precision
    from hdrvid.predict.registry import BUILT_IN, shipped_weights
    from hdrvid.weights import sha256_of

    device = resolve_device("auto")
    models: list[dict[str, Any]] = [{"name": name, "num_exposures": [2, 3], "sha256": None} for name in BUILT_IN]
    for name, num_exposures, path in shipped_weights():
        models.append({"name": name, "num_exposures": [num_exposures], "sha256": sha256_of(path)})
    return {
        "version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "precision": resolve_precision("auto", device) if int8.lacking(device) else "int8",
        "threads": torch.get_num_threads(),
        "cpu_cores": os.cpu_count(),
        "bf16": _has_bf16(device),
        "models": sorted(models, key=lambda m: (m["name"] != "default", m["name"], m["num_exposures"])),
    }


def _has_bf16(device: Any) -> bool:
    """Whether the device computes bf16 in hardware."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    known: Any = getattr(torch.cpu, "get_capabilities", dict)()  # newer torch only
    return any("bf16" in name and value is True for name, value in known.items())


def _print_machine(facts: dict[str, Any]) -> None:
    typer.echo(f"hdrvid {facts['version']}, Python {facts['python']}, torch {facts['torch']}, {facts['platform']}")
    bf16 = "in hardware" if facts["bf16"] else "not in hardware"
    typer.echo(
        f"device: {facts['device']} ({facts['device_name']}), precision {facts['precision']}, bf16 {bf16}, "
        f"{facts['threads']} threads on {facts['cpu_cores']} cores"
    )
    typer.echo("models:")
    for model in facts["models"]:
        exposures = " and ".join(str(n) for n in model["num_exposures"])
        checksum = f"sha256 {model['sha256']}" if model["sha256"] else "needs no weights"
        typer.echo(f"  {model['name']}: {exposures} exposures, {checksum}")


def _print_clip(detection: Detection) -> None:
    info = detection.info
    frames = "unknown number of" if info.num_frames is None else info.num_frames
    rate = float(info.frames_per_second)
    kind = "video" if info.kind == "video" else "image sequence"
    kinds = {"scene-linear": info.linear, "grey": info.one_channel, "compressed": info.compressed}
    depth = ", ".join([f"{info.bit_depth} bits", *(name for name, holds in kinds.items() if holds)])
    typer.echo(f"{printable(info.source)}: {kind}, {info.width}x{info.height}, {frames} frames, {rate:g} fps, {depth}")
    for name, value in info.details.items():
        typer.echo(f"  {name}: {value}")
    if detection.cycle is None:
        typer.echo(f"exposures: not found ({detection.reason})")
    else:
        sure = detection.reason if detection.confidence is None else f"confidence {detection.confidence:.2f}"
        if detection.cycle_confidence is not None:
            sure += f" (of the cycle {detection.cycle_confidence:.2f}, of the stops {detection.stops_confidence:.2f})"
        period = detection.cycle.period
        kind = f"a cycle of {period}" if period else f"of {len(detection.cycle.stops)} frames, no cycle"
        typer.echo(f"exposures: {detection.cycle} stops, {kind}, {sure}")
        if detection.measured and detection.measured.corrected:
            typer.echo(f"  {detection.measured.reason}: corrected")
    steps = " ".join(f"{s:+.2f}" if s == s else "?" for s in detection.pair_stops)
    if steps:
        typer.echo(f"from frame to frame: {steps} stops")
    why = f": {detection.response_reason}" if detection.response_reason else ""
    typer.echo(f"response: {detection.response.name} ({detection.response_from}){why}")
    typer.echo(f"primaries: {'none' if info.one_channel else detection.gamut.name} ({detection.gamut_from})")
    for text in detection.warnings:
        typer.echo(f"warning: {text}")


def _ratios(detection: Detection) -> tuple[RatioByLevel, ...]:
    """The check of the response and the exposures, from the frames that the exposures were measured from."""
    from hdrvid.detect.response import ratio_by_level

    levels = detection.frame_levels
    if detection.cycle is None or len(levels) < (detection.cycle.period or 2):
        return ()
    return ratio_by_level(levels, detection.cycle.stops[: len(levels)], detection.response)


def _print_ratios(tables: tuple[RatioByLevel, ...]) -> None:
    for table in tables:
        typer.echo(f"ratio of linearised frames, expected {table.expected_stops:.2f} stops at every level:")
        typer.echo("  level of the shorter frame    measured  half of them")
        rows = zip(
            table.level_linear, table.level_code, table.median_stops, table.lower_stops, table.upper_stops, strict=True
        )
        for linear, code, median, lower, upper in rows:
            typer.echo(
                f"  {math.log2(linear):6.1f} stops, code {code:.2f}    {median:8.2f}  {lower:.2f} to {upper:.2f}  "
                f"{_deviation_bar(median - table.expected_stops)}"
            )


def _deviation_bar(stops: float) -> str:
    """A dot left or right of a line, 0.1 stops a place; at the end of the scale beyond 1 stop.

    >>> _deviation_bar(0.32)
    '          |  o       '
    """
    places = ["|" if i == 10 else " " for i in range(21)]
    places[10 + max(-10, min(10, round(10 * stops)))] = "o"
    return "".join(places)


def _plot(path: Path, tables: tuple[RatioByLevel, ...], detection: Detection) -> None:
    from hdrvid.io.atomic import make_folder
    from hdrvid.pictures import ratio_plot, write_png

    if not tables:
        say(f"hdrvid: warning: the frames share nothing that could be compared, so {path} was not written")
        return
    make_folder(path.parent)
    write_png(path, ratio_plot(tables, f"{detection.info.stem}: response {detection.response.name}"))
