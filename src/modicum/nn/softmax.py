"""Softmax cross-entropy over a whole catalogue, without the (positions x items) matrix."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

LOGITS_PER_CHUNK = 2**20


def catalogue_cross_entropy(
    states: Tensor, items: Tensor, targets: Tensor, *, bfloat16: bool = False
) -> Tensor:
    """Return the mean cross-entropy of the softmax over all items, a scalar.

    Args:
        states: (T, D) states of the positions that have a target.
        items: (N, D) item vectors; row ``j`` here is item row ``j + 1``.
        targets: (T,) item rows from 1.
        bfloat16: multiply in bfloat16; sums stay in float32.

    >>> states, items = torch.zeros(3, 2), torch.zeros(4, 2)
    >>> round(float(catalogue_cross_entropy(states, items, torch.tensor([1, 2, 4]))), 4)
    1.3863
    """
    if bfloat16:
        states, items = states.bfloat16(), items.bfloat16()
    chunk = min(max(LOGITS_PER_CHUNK // len(items), 32), 256)
    options = None
    if states.device.type == "cpu" and len(states) > states.shape[1] < len(items):
        options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=chunk, acc_policy="balanced")
    elif states.device.type != "cpu":
        options = torch.nn.LinearCrossEntropyOptions()
    return F.linear_cross_entropy(states, items, targets - 1, options=options)


@cache
def cpu_multiplies_bfloat16() -> bool:
    """Tell whether this CPU has instructions that make bfloat16 products faster than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
