"""Samples of the merge that are used several times: aligning them takes longer than learning from them.

A pool holds aligned samples. A step draws some of them, each turned another way, and what was drawn so often as is
wanted leaves it (Choi et al., Faster Neural Network Training with Data Echoing, 2019, with a shuffle buffer).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from hdrvid.train.objective import Batch

POOL_BATCHES = 8
"""Batches in a full pool: samples that were made together are seldom drawn together."""
PICTURES = 4
"""Tensors of so many dimensions or more are pictures, and are turned."""


def reused(fresh: Iterator[Batch], uses: int, seed: int) -> Iterator[Batch]:
    """Batches as large as those of `fresh`, of its samples, each `uses` times but for the last ones. What is drawn
    follows from `seed`."""
    generator = torch.Generator().manual_seed(seed)
    pool: list[tuple[Batch, int]] = []
    size = 0
    for batch in fresh:
        size = len(batch["exposures"])
        pool += [({name: value[i : i + 1] for name, value in batch.items()}, uses) for i in range(size)]
        while len(pool) > (POOL_BATCHES - 1) * size:
            yield _drawn(pool, size, generator)
    while size and len(pool) >= size:
        yield _drawn(pool, size, generator)


def _drawn(pool: list[tuple[Batch, int]], count: int, generator: torch.Generator) -> Batch:
    """Some samples of the pool, which keeps them while they are to be drawn again."""
    picked = sorted(torch.randperm(len(pool), generator=generator)[:count].tolist(), reverse=True)
    samples = []
    for i in picked:
        sample, left = pool.pop(i)
        samples.append(turned(sample, int(torch.randint(8, (), generator=generator))))
        if left > 1:
            pool.append((sample, left - 1))
    return {name: torch.cat([sample[name] for sample in samples]) for name in samples[0]}


def turned(sample: Batch, way: int) -> Batch:
    """The sample in one of the 8 ways in which a square can lie."""
    return {name: _turned(value, way) if value.ndim >= PICTURES else value for name, value in sample.items()}


def _turned(pictures: torch.Tensor, way: int) -> torch.Tensor:
    pictures = pictures.transpose(-1, -2) if way & 4 else pictures
    dims = [dim for bit, dim in ((1, -1), (2, -2)) if way & bit]
    return pictures.flip(dims) if dims else pictures
