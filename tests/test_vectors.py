"""Wide vectors are for hdrvid's own processes: what Numba compiles for others stays as it was."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from hdrvid.compiled.vectors import OWN_PROCESS

llvm = pytest.importorskip("llvmlite.binding", exc_type=ImportError)
has_wide = pytest.mark.skipif(not llvm.get_host_cpu_features().get("avx512fp16"), reason="needs AVX512-FP16")

SHOW = "from hdrvid.compiled import availability; availability.loaded(); import numba; print(numba.config.CPU_FEATURES)"


def features(code: str = SHOW, own: bool = True, **variables: str) -> str:
    """Numba's CPU_FEATURES in a fresh process."""
    environment = {name: value for name, value in os.environ.items() if name not in (OWN_PROCESS, "NUMBA_CPU_FEATURES")}
    environment |= variables | ({OWN_PROCESS: "1"} if own else {})
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return run.stdout.strip()


@has_wide
def test_the_command_uses_wide_vectors() -> None:
    assert features().endswith("-prefer-256-bit")
    code = (
        "import sys; from hdrvid.cli import main\nsys.argv = ['hdrvid', '--version']\ntry: main()\nexcept SystemExit:"
    )
    assert features(f"{code} {SHOW}", own=False).splitlines()[-1].endswith("-prefer-256-bit")


def test_a_program_that_imports_hdrvid_keeps_its_own() -> None:
    assert features(own=False) == "None"
    assert features(f"import numba; {SHOW}") == "None"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("NUMBA_CPU_FEATURES", "+sse2", "+sse2"), ("NUMBA_ENABLE_AVX", "0", "None"), ("NUMBA_CPU_NAME", "generic", "")],
)
def test_what_the_user_says_counts(name: str, value: str, expected: str) -> None:
    assert features(**{name: value}) == expected


def test_a_cpu_that_cannot_be_asked_is_no_harm() -> None:
    broken = (
        "import llvmlite.binding as llvm\n"
        "def fails(): raise RuntimeError('no features')\n"
        "llvm.get_host_cpu_features = fails\n"
        "from hdrvid.compiled import vectors; vectors.widen(); import os; print('NUMBA_CPU_FEATURES' in os.environ)"
    )
    assert features(broken) == "False"
