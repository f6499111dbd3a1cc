"""Shared settings of the tests: few threads, no progress bars."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")
