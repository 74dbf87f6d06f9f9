"""Memory: what a job will take, said before it is taken."""

from __future__ import annotations

import os

import torch
from torch import nn

from modicum.errors import ResourceError
from modicum.nn.decoder import DecoderStack
from modicum.nn.memory import available_bytes
from modicum.training.processes import Processes
from modicum.training.sharing import layers_of


def training_bytes(network: nn.Module, positions: int, *, shared_by: int = 1) -> int:
    """Estimate the memory of training: weights; gradients, two moments and a best copy of those
    that are trained; activations.

    Args:
        network: built on any device, the meta device included.
        positions: batch x length of the largest batch; at each of them a linear layer keeps about
            three times its input and output; of the layers of a stack that recomputes, one does.
        shared_by: processes among which layers are shared out; one layer at a time is whole.
    """
    layers = [network.get_submodule(name) for name in layers_of(network)]
    held = _held(network)
    if shared_by > 1 and layers:
        inside = sum(map(_held, layers))
        held += max(map(_held, layers)) - inside + -(-inside // shared_by)
    linear = {m for m in network.modules() if isinstance(m, nn.Linear)}
    for stack in network.modules():
        if isinstance(stack, DecoderStack) and stack.recompute:
            linear.difference_update(*(layer.modules() for layer in stack.layers[1:]))
    kept = sum(m.in_features + m.out_features for m in linear)
    return held + positions * kept * 3 * 4


def layers_to_share(
    network: nn.Module, positions: int, device: torch.device, processes: Processes
) -> list[str]:
    """Return the layers to share out: none where every process can train the network whole."""
    if processes.size == 1:
        return []
    whole = fits(training_bytes(network, positions), device)
    (holding,) = processes.total([float(whole)])
    return [] if holding == processes.size else layers_of(network)


def fits(needed: int, device: torch.device) -> bool:
    """Tell whether a device has so many bytes free for this process, as far as can be known."""
    free = _free(device)
    return free is None or needed <= free


def require(needed: int, device: torch.device, purpose: str) -> None:
    """Refuse a job that does not fit.

    Raises:
        ResourceError: ``needed`` bytes are more than ``device`` has free.

    >>> require(1024, torch.device("cpu"), "a kilobyte")
    """
    if not fits(needed, device):
        free = _free(device) or 0
        raise ResourceError(
            f"{purpose} needs about {needed / 2**30:.1f} GiB, and {device} has "
            f"{free / 2**30:.1f} GiB free; take a smaller batch_size, length, dim or layers"
        )


def _held(module: nn.Module) -> int:
    """Return the bytes of weights, and four times those that are trained."""
    sizes = [(p.numel() * p.element_size(), p.requires_grad) for p in module.parameters()]
    return sum(size * (5 if trained else 1) for size, trained in sizes)


def _free(device: torch.device) -> int | None:
    """Return the free bytes of a device; those of a machine are for all its processes."""
    free = available_bytes(device)
    if free is None or device.type == "cuda":
        return free
    return free // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
