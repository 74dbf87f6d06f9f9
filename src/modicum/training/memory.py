"""Memory: what a job will take, said before it is taken."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import nn

from modicum.errors import ResourceError
from modicum.nn.decoder import DecoderStack
from modicum.nn.memory import available_bytes
from modicum.training.processes import Processes
from modicum.training.sharing import layers_of


def training_bytes(
    network: nn.Module, positions: int, *, shared_by: int = 1, trained: bool = True
) -> int:
    """Estimate the memory of training: weights; gradients, two moments and a best copy of those
    that are trained; activations.

    Args:
        network: built on any device, the meta device included.
        positions: batch x length of the largest batch; at each of them a linear layer keeps about
            three times its input and output; of the layers of a stack that recomputes, one does.
        shared_by: processes among which layers are shared out; one layer at a time is whole.
        trained: count what is trained as such, and not as if it were frozen.
    """
    of_layers = [_held(network.get_submodule(name), trained) for name in layers_of(network)]
    held = _held(network, trained)
    if shared_by > 1 and of_layers:
        inside = sum(of_layers)
        held += max(of_layers) - inside + -(-inside // shared_by)
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


def require_room(
    build: Callable[[], nn.Module], positions: int, device: torch.device, purpose: str
) -> None:
    """Refuse a training that cannot fit into memory, before its network is built there.

    Counted is what is needed even if most of the network were not trained and its layers shared
    out. A network that the meta device cannot hold is let through.

    Args:
        build: returns the network, on the device that is set.
        positions: as for ``training_bytes``.
        device: where it is to be trained; it is built on the CPU.
        purpose: the training, for the message.

    Raises:
        ResourceError: it does not fit.

    >>> require_room(lambda: nn.Linear(4, 4), 1, torch.device("cpu"), "training a layer")
    """
    try:
        with torch.device("meta"):
            network = build()
    except Exception as error:  # building it in earnest will say what else is wrong
        if isinstance(error, RuntimeError) and "calculation overflowed" in str(error):
            raise ResourceError(
                f"{purpose} needs more memory than can be counted; take a smaller batch_size, "
                "length, dim or layers"
            ) from None
        return
    sizes = [x.numel() * x.element_size() for x in (*network.parameters(), *network.buffers())]
    require(sum(sizes) + max(sizes, default=0), torch.device("cpu"), purpose)
    size = Processes.join().size
    require(training_bytes(network, positions, shared_by=size, trained=False), device, purpose)


def _held(module: nn.Module, trained: bool) -> int:
    """Return the bytes of weights; five times those of them that are trained."""
    sizes = [(p.numel() * p.element_size(), p.requires_grad) for p in module.parameters()]
    return sum(size * (5 if trained and learns else 1) for size, learns in sizes)


def _free(device: torch.device) -> int | None:
    """Return the free bytes of a device; those of a machine are for all its processes."""
    free = available_bytes(device)
    if free is None or device.type == "cuda":
        return free
    return free // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
