"""Shared settings of the tests: few threads, no progress bars."""

import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "2")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Frames of a few thousand pixels are slower on several threads. For modules that use only such."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
