"""What a reconstruction costs on this machine: `hdrvid bench`."""

from hdrvid.bench.fresh import YARDSTICK
from hdrvid.bench.run import SIZES, BenchOptions, BenchResult, bench, default_precisions
from hdrvid.bench.yardstick import Yardstick, count_macs

__all__ = [
    "SIZES",
    "YARDSTICK",
    "BenchOptions",
    "BenchResult",
    "Yardstick",
    "bench",
    "count_macs",
    "default_precisions",
]
