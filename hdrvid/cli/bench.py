"""`hdrvid bench`: what a reconstruction costs on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hdrvid.cli.console import say
from hdrvid.cli.options import fields_as_options
from hdrvid.options.bench import BenchOptions

if TYPE_CHECKING:
    from rich.table import Table

HELP = """Measure what a reconstruction costs on this machine: time by stage, memory, arithmetic, end to end.

Every model is timed beside the yardstick, an untrained network of 94 kMAC a pixel, the cost that HDRFlow (2024)
publishes. Times are of whole cycles of consecutive windows, the median over --runs after a warm-up. Nothing else
should run on the machine; the load it had is in the JSON.

[bold]Examples[/bold]

    hdrvid bench

    hdrvid bench --size 1280x720 --model fast --model default --json bench.json

    hdrvid bench --size 3840x2160 --precision fp32,int8 --no-end-to-end
"""

WIDTH = 120
"""Columns of the tables where stdout is no terminal."""


@fields_as_options
def command(
    options: BenchOptions,
    json: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write all figures as JSON, after every size.", show_default=False),
    ] = None,
) -> None:
    from hdrvid.bench import bench
    from hdrvid.io.atomic import remove_abandoned
    from hdrvid.io.ownership import BENCHMARK, replaceable_target
    from hdrvid.pipeline.options import check_folder

    if json is not None:
        check_folder(json.parent)
        remove_abandoned(replaceable_target(json, BENCHMARK, "choose another path for --json"))
    results = bench(
        options,
        lambda text: say(f"hdrvid: {text}"),
        lambda so_far: None if json is None else _write(so_far, json),
    )
    print_results(results)
    if json is not None:
        say(f"hdrvid: wrote {json}")


command.__doc__ = HELP


def _write(results: dict[str, Any], path: Path) -> None:
    import json

    from hdrvid.io.atomic import atomic_path, make_folder

    make_folder(path.parent)
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(results, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def print_results(results: dict[str, Any]) -> None:
    """The machine and three tables on stdout."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    machine = results["machine"]
    peaks = ", ".join(f"{p} {v:.0f}" for p, v in machine["peak_gflops"].items() if v)
    console.print(
        f"{machine['gpu'] or machine['cpu']}, {machine['threads']} threads of {machine['cores']} cores; "
        f"measured peak, GFLOP/s: {peaks}; hdrvid {machine['hdrvid']}, torch {machine['torch']}",
        markup=False,
    )
    for table in (_networks(results["results"]), _stages(results["results"]), _end_to_end(results["results"])):
        if table.row_count:
            console.print(table)
    for row in results["results"]:
        if row["problem"]:
            console.print(f"{_name(row)}: {row['problem']}", markup=False)


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=not index)
    return table


def _networks(rows: list[dict[str, Any]]) -> Table:
    table = _table(
        "Networks; time relative to the yardstick of the same precision, and of fp32; PSNR-T to fp32 in dB", "",
        "ms a frame", "quartiles", "relative", "to fp32", "kMAC/px", "GFLOP/s", "of peak", "peak MiB", "PSNR-T",
        )  # fmt: skip
    for row in rows:
        if row["network_ms"] is None:
            table.add_row(_name(row), "-")
            continue
        low, high = row["network_ms_spread"]
        table.add_row(
            _name(row),
            _number(row["network_ms"]),
            f"{_number(low)}-{_number(high)}",
            _number(row["relative_to_yardstick"], 2),
            _number(row["relative_to_fp32_yardstick"], 2),
            _number(row["kmac_per_pixel"], 1),
            _number(row["gflops"], 0),
            _percent(row["peak_share"]),
            _number(row["peak_memory_mib"], 0),
            _number(row["psnr_t_to_fp32"], 1),
        )
    return table


def _stages(rows: list[dict[str, Any]]) -> Table:
    from hdrvid.predict.clock import STAGES

    names = ("decode", "linearise", *STAGES, "tonemap", "preview", "write")
    table = _table("Stages, ms a frame, each alone", "", *names)
    for row in rows:
        if row["stage_ms"]:
            table.add_row(_name(row), *(_number(row["stage_ms"].get(name)) for name in names))
    return table


def _end_to_end(rows: list[dict[str, Any]]) -> Table:
    table = _table(
        "End to end", "", "frames", "fps", "in network", "start s", "ms a frame", "slowest stage", "its ms", "ratio",
        "finish s", "peak MiB",
    )  # fmt: skip
    for row in rows:
        if row["end_to_end_fps"] is not None:
            table.add_row(
                _name(row),
                str(row["end_to_end_frames"]),
                _number(row["end_to_end_fps"], 3),
                _percent(row["network_share"]),
                _number(row["end_to_end_start_seconds"], 1),
                _number(row["end_to_end_ms"]),
                row["slowest_stage"],
                _number(row["slowest_stage_ms"]),
                _number(row["end_to_end_over_slowest"], 2),
                _number(row["end_to_end_finish_seconds"], 1),
                _number(row["end_to_end_memory_mib"], 0),
            )
    return table


def _name(row: dict[str, Any]) -> str:
    width, height = row["size"]
    return f"{width}x{height} {Path(row['model']).stem} {row['precision']}{' compiled' if row['compiled'] else ''}"


def _number(value: float | None, digits: int | None = None) -> str:
    """A dash for nothing; without `digits`, as many as a time in milliseconds deserves."""
    if value is None:
        return "-"
    return f"{value:.{digits if digits is not None else 0 if value >= 100 else 1 if value >= 1 else 2}f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
