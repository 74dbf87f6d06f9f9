"""Memory: what a job will take, said before it is taken."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from modicum.errors import ResourceError


def available_bytes(device: torch.device) -> int | None:
    """Return the free memory of ``device``, or None where it cannot be told."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else None


def training_bytes(network: nn.Module, positions: int) -> int:
    """Estimate the memory of training: weights, gradients, two moments, best copy, activations.

    Args:
        network: built on any device, the meta device included.
        positions: batch x length of the largest batch; at each of them a linear layer keeps about
            three times its input and output.
    """
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    trained = sum(p.numel() * p.element_size() for p in network.parameters() if p.requires_grad)
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
    kept = sum(m.in_features + m.out_features for m in linear)
    return 2 * weights + 3 * trained + positions * kept * 3 * 4


def require(needed: int, device: torch.device, purpose: str) -> None:
    """Refuse a job that does not fit.

    Raises:
        ResourceError: ``needed`` bytes are more than ``device`` has free.

    >>> require(1024, torch.device("cpu"), "a kilobyte")
    """
    free = available_bytes(device)
    if free is not None and needed > free:
        raise ResourceError(
            f"{purpose} needs about {needed / 2**30:.1f} GiB, and {device} has "
            f"{free / 2**30:.1f} GiB free; take a smaller batch_size, length, dim or layers"
        )
