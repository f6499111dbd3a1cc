"""A process that compiles functions for the run that started it: `python -m hdrvid.compiled.helper TASK`."""

from __future__ import annotations

import gc
import json
import sys

from hdrvid.compiled.calls import Calls
from hdrvid.compiled.signatures import signatures


def compile_named(task: str) -> None:
    """Compile functions and leave them in Numba's cache. `task` is JSON: the fields of `Calls`, and names of
    signatures."""
    given = json.loads(task)
    for signature in signatures(Calls(**given["calls"])):
        if signature.name in given["names"]:
            signature.compile()


if __name__ == "__main__":
    gc.disable()  # a twentieth of the time, and the process is short
    compile_named(sys.argv[1])
