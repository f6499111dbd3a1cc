"""What this machine is and can do, and the memory of this process."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Collection
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdrvid import __version__

if TYPE_CHECKING:
    import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def machine_facts(device: torch.device) -> dict[str, Any]:
    """What a figure belongs to: processors, threads, load at the start, system, `versions`. No host name."""
    import torch

    return {
        "cpu": processor_name(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "device": str(device),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        **versions(),
    }


def versions() -> dict[str, str]:
    """Versions of hdrvid, Python and the packages that compute."""
    import cv2
    import numpy
    import torch

    return {
        "hdrvid": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "opencv": cv2.__version__,
    }


def _cpuinfo() -> str:
    """What Linux says of the processors; empty elsewhere."""
    with suppress(OSError):
        return Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    return ""


def processor_name() -> str:
    """The model of the CPU, as the system names it."""
    for line in _cpuinfo().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


@cache
def has_bf16() -> bool:
    """Whether the CPU multiplies faster in bfloat16 than in float32: one with AMX, or AMD's with AVX512-BF16.

    Intel's with AVX512-BF16 and without AMX, as virtual machines hide it, take 1.3 to 1.9 times as long in bfloat16
    (measured on convolutions and on `default`). Linux only.
    """
    return bf16_pays(_cpuinfo().split())


def bf16_pays(cpuinfo: Collection[str]) -> bool:
    """What `has_bf16` says of a CPU with these words in its /proc/cpuinfo."""
    return "amx_bf16" in cpuinfo or ("avx512_bf16" in cpuinfo and "AuthenticAMD" in cpuinfo)


@cache
def has_vnni() -> bool:
    """Whether the CPU has instructions that multiply and add bytes (VNNI, AVX-512 or AVX). Linux only."""
    return not {"avx512_vnni", "avx_vnni"}.isdisjoint(_cpuinfo().split())


@cache
def has_avx512_vnni() -> bool:
    """Whether those of AVX-512 are among them, and oneDNN is not told to do without. Linux only."""
    limited = any(name in os.environ for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"))
    return "avx512_vnni" in _cpuinfo().split() and not limited


def available_memory() -> int | None:
    """Bytes of memory that a process can still have, within the limits of its control group. Linux only, else None."""
    limits = []
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        limits.append(1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")))
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError, StopIteration):  # "max": no limit
        limit = int((group / "memory.max").read_text())
        lines = (group / "memory.stat").read_text().splitlines()
        reusable = next(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
        limits.append(limit - int((group / "memory.current").read_text()) + reusable)
    return min(limits, default=None)


@cache
def hold_opencv_to_one_thread() -> None:
    """Let OpenCV use one thread: its flow depends on their number, and others run beside it. Nothing without OpenCV."""
    with suppress(ImportError):
        import cv2

        cv2.setNumThreads(1)


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
