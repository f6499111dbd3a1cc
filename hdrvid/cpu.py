"""Two filters that OpenCV does many times faster on a CPU than PyTorch does, and half floats, which PyTorch makes many
times faster than NumPy; what the CPU can do; freed memory.

Only where no gradient is wanted; filtered pictures are those of PyTorch but for the last bits, half floats to the bit.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

LARGEST_SIDE_PX = 32_000
"""OpenCV counts the positions of a remap in 16 bits."""
HALF_MAX = 65504.0
"""The largest half float."""
CONVERTED_AT_ONCE = 30_000
"""Values. More of them PyTorch converts by a team of threads for each thread that asks; teams wait at full speed."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

Item = TypeVar("Item")
Made = TypeVar("Made")


@cache
def opencv() -> Any:
    """OpenCV where its remap interpolates in floating point (5.0 on), else None: before, in 1/32 of a pixel."""
    try:
        import cv2
    except ImportError:
        return None
    return cv2 if int(cv2.__version__.split(".")[0]) >= 5 else None


_thread = threading.local()
"""Of every thread, whether it belongs to `_pool`."""


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="hdrvid-filter")


def each(function: Callable[[Item], Made], items: Sequence[Item]) -> list[Made]:
    """[function(i) for i in items], over as many threads as PyTorch uses.

    One after the other where `function` itself was called so: threads that wait for threads of one pool wait for ever.
    """
    workers = torch.get_num_threads()
    if workers == 1 or len(items) == 1 or getattr(_thread, "of_pool", False):
        return [function(i) for i in items]

    def in_pool(item: Item) -> Made:
        _thread.of_pool = True
        return function(item)

    return list(_pool(workers).map(in_pool, items))


def row_blocks(rows: slice, width: int, pixels: int, least: int = 1) -> list[slice]:
    """Rows cut into blocks of about so many pixels, which fit the caches, and of `least` rows; the last may be less."""
    height = max(pixels // max(width, 1), least)
    return [slice(top, min(top + height, rows.stop)) for top in range(rows.start, rows.stop, height)]


def usable(*tensors: torch.Tensor) -> bool:
    """Whether these tensors can be filtered here: float32, on the CPU, no gradient wanted, OpenCV new enough."""
    return (
        all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors)
        and not (torch.is_grad_enabled() and any(t.requires_grad for t in tensors))
        and max(tensors[0].shape[-2:]) <= LARGEST_SIDE_PX
        and opencv() is not None
    )


def remap(image: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """`image` (B, C, H, W) at the positions x, y (B, h, w) in pixels, bilinear, border replicated: (B, C, h, w)."""
    cv2 = opencv()
    batch, channels = image.shape[:2]
    result = torch.empty((batch, channels, *x.shape[1:]))
    planes, out = image.contiguous().numpy(), result.numpy()
    xs, ys = x.contiguous().numpy(), y.contiguous().numpy()

    def one(plane: tuple[int, int]) -> None:
        b = plane[0]
        cv2.remap(planes[plane], xs[b], ys[b], cv2.INTER_LINEAR, dst=out[plane], borderMode=cv2.BORDER_REPLICATE)

    each(one, [(b, c) for b in range(batch) for c in range(channels)])
    return result


def separable(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) under the symmetric kernel (n,), rows and columns, border replicated: (B, C, H, W)."""
    cv2 = opencv()
    taps = kernel.numpy().astype(np.float32)
    planes = x.contiguous().reshape(-1, *x.shape[-2:]).numpy()
    result = torch.empty(planes.shape)
    out = result.numpy()

    def one(k: int) -> None:
        cv2.sepFilter2D(planes[k], -1, taps, taps, dst=out[k], borderType=cv2.BORDER_REPLICATE)

    each(one, range(len(planes)))
    return result.reshape(x.shape)


def to_half(values: np.ndarray) -> np.ndarray:
    """float32 values of any shape as float16, to the nearest even; infinite beyond HALF_MAX."""
    return _converted(values, np.float16)


def from_half(values: np.ndarray) -> np.ndarray:
    """float16 values of any shape as float32."""
    return _converted(values, np.float32)


def _converted(values: np.ndarray, dtype: type[np.floating]) -> np.ndarray:
    result = np.empty(values.shape, dtype)
    source, target = torch.from_numpy(np.ascontiguousarray(values)).reshape(-1), torch.from_numpy(result).reshape(-1)
    for some in zip(source.split(CONVERTED_AT_ONCE), target.split(CONVERTED_AT_ONCE), strict=True):
        some[1].copy_(some[0])
    return result


@cache
def has_bf16() -> bool:
    """Whether the CPU multiplies in bfloat16 (AVX512-BF16, AMX); elsewhere it is slower than float32. Linux only."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore").split()
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)


def available_memory() -> int | None:
    """Bytes of memory that a process can still have, within the limits of its control group. Linux only, else None."""
    found = []
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found.append(1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")))
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError, StopIteration):  # "max": no limit
        limit = int((group / "memory.max").read_text())
        lines = (group / "memory.stat").read_text().splitlines()
        reusable = next(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
        found.append(limit - int((group / "memory.current").read_text()) + reusable)
    return min(found, default=None)


@cache
def keep_memory() -> None:
    """Let the process keep the memory that it frees: frames are large, and the kernel clears every page it hands out.

    Half of the time of a 1280x720 frame went there. glibc only; does nothing elsewhere.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
        mallopt(option, 2**31 - 1)


def release_memory() -> None:
    """Give freed memory back all the same. glibc only; does nothing elsewhere."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
