"""How wide the vectors of compiled functions are."""

from __future__ import annotations

import os
import sys

OWN_PROCESS = "HDRVID_OWN_PROCESS"
"""Variable of the environment: whether this process and those that it starts are hdrvid's own. The command sets it."""


def own_process() -> bool:
    """Whether this process is hdrvid's own."""
    return OWN_PROCESS in os.environ


def widen() -> None:
    """Let Numba use vectors of 512 bits on Intel's CPUs since Sapphire Rapids: a tenth of the time of `merge_input`.

    LLVM keeps to 256 bits on all of them, for the sake of older ones, whose clock falls. It counts for all that Numba
    compiles, so it is for processes of hdrvid's own alone, before Numba is loaded; those that they start do the same.
    Nothing where the user has told Numba about the CPU.
    """
    told = any(name in os.environ for name in ("NUMBA_CPU_FEATURES", "NUMBA_CPU_NAME", "NUMBA_ENABLE_AVX"))
    if not own_process() or told or "numba" in sys.modules:
        return
    try:
        import llvmlite.binding as llvm

        features = llvm.get_host_cpu_features()
    except (ImportError, OSError, RuntimeError):  # Numba says what is wrong
        return
    if features.get("avx512fp16"):
        os.environ["NUMBA_CPU_FEATURES"] = f"{features.flatten()},-prefer-256-bit"
