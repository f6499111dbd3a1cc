"""What a reconstruction costs on this machine: `hdrvid bench`."""

from hdrvid.bench.fresh import YARDSTICK
from hdrvid.bench.run import BenchResult, bench, default_precisions
from hdrvid.bench.yardstick import Yardstick, count_macs
from hdrvid.options.bench import SIZES, BenchOptions

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
