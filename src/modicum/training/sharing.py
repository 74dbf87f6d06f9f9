"""Layers shared out: of a network that no device holds whole, each process keeps a part (FSDP2)."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
import torch.distributed as distributed
from torch import Tensor, nn

from modicum.errors import SettingError
from modicum.nn.decoder import DecoderStack

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def layers_of(network: nn.Module) -> list[str]:
    """Return the names of the layers that can be shared out: those of decoders.

    >>> from modicum.nn.decoder import Decoder
    >>> layers_of(nn.ModuleDict({"decoder": DecoderStack(Decoder(layers=2, width=4, heads=1))}))
    ['decoder.layers.0', 'decoder.layers.1']
    """
    return [
        f"{name}.layers.{at}".removeprefix(".")
        for name, stack in network.named_modules()
        if isinstance(stack, DecoderStack)
        for at in range(len(stack.layers))
    ]


class Shared:
    """Layers of which each process keeps a part of every weight, gradient and moment.

    A layer is whole on a device only while it is worked on; gradients are sums over all processes.
    Every process must run the network as often as the others do.

    Args:
        network: its layers are replaced in place.
        names: of the layers.
        device: where the parts are.

    Raises:
        SettingError: the network reads a prompt, whose keys and values are computed beside layers.

    Source: Zhao et al. 2023 (PyTorch FSDP), in its second form, by parameter.
    """

    def __init__(self, network: nn.Module, names: Sequence[str], device: torch.device) -> None:
        if any(getattr(module, "prompt", None) is not None for module in network.modules()):
            raise SettingError(
                "the network does not fit into memory whole, and one that reads a prompt cannot be "
                "shared out; leave the prompt out, or take fewer layers"
            )
        # Here, because these take half as long to import as torch.
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard, share_comm_ctx

        self._network, self._from = network, next(network.parameters()).device
        # Without their weights, which come back from the parts.
        self._whole = {
            name: copy.deepcopy(network.get_submodule(name)).to("meta") for name in names
        }
        mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
        layers: list[Any] = [network.get_submodule(name) for name in names]
        for layer in layers:
            fully_shard(layer, mesh=mesh, reshard_after_forward=True)
            layer.set_gradient_divide_factor(1.0)
            layer.set_force_sum_reduction_for_comms(True)  # gloo knows no other
        # One whole gradient at a time; layers that know nothing of each other would keep all.
        share_comm_ctx(layers)

    def put_together(self) -> None:
        """Give the network its layers back whole, in every process, where they were before."""
        self._network.to(self._from)
        for name, layer in self._whole.items():
            shared = self._network.get_submodule(name).state_dict()
            state = {key: whole(tensor).to(self._from) for key, tensor in shared.items()}
            layer.load_state_dict(state, assign=True)
            self._network.set_submodule(name, layer)


def is_part(tensor: Tensor) -> TypeGuard[DTensor]:
    """Tell whether a tensor is shared out."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor put together from the parts of all processes, which all must ask for it."""
    return tensor.full_tensor() if is_part(tensor) else tensor


def own(tensor: Tensor) -> Tensor:
    """Return what this process has of a tensor; writing to it changes the tensor."""
    return tensor.to_local() if is_part(tensor) else tensor


def part(tensor: Tensor, like: Tensor) -> Tensor:
    """Return this process's part of a whole tensor, as it has one of another of that shape."""
    if not is_part(like) or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


def parts(tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return this process's part of each tensor, by name."""
    return {name: part(tensor, like[name]) for name, tensor in tensors.items()}


def split(parameters: Iterable[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Return the parameters that every process has whole, and those that are shared out, if any."""
    every = list(parameters)
    groups = [[p for p in every if is_part(p) is shared] for shared in (False, True)]
    return [group for group in groups if group]
