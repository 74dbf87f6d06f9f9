"""Checkpoints: all that an interrupted training needs to go on exactly, in one safetensors file."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from modicum.errors import BundleError
from modicum.training import sharing

NAME = "checkpoint.safetensors"


@dataclass
class Progress:
    """Where a training stands.

    Args:
        settings: fingerprint of method, settings, data and seed; a checkpoint of another is refused.
        epoch: epochs done.
        step: batches done in the epoch under way.
        steps: batches done in all.
        best: best validation value so far, and the epoch that gave it.
        totals: sums of this epoch's losses so far, by name.
        targets: targets seen this epoch so far.
        log: one record for each epoch done.
    """

    settings: str
    epoch: int = 0
    step: int = 0
    steps: int = 0
    best: float | None = None
    best_epoch: int = 0
    totals: dict[str, float] = field(default_factory=dict)
    targets: float = 0.0
    seconds: float = 0.0
    log: list[dict[str, Any]] = field(default_factory=list)


def save(
    folder: Path,
    progress: Progress,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    best: dict[str, Tensor],
    *,
    writes: bool = True,
) -> None:
    """Write a checkpoint aside and rename it, so that a crash leaves the former one whole.

    Frozen parameters are not in it: a new start gives them again. A process that does not write
    only gives its parts of what is shared out.
    """
    tensors = {f"network.{name}": tensor for name, tensor in trained_state(network).items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for at, parameter in enumerate(_trained(network)):
        state = optimiser.state.get(parameter, {})
        tensors |= {f"optimiser.{at}.{name}": tensor for name, tensor in state.items()}
    if not writes:
        for tensor in tensors.values():
            sharing.whole(tensor)
        return
    tensors["random"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{NAME}.{os.getpid()}"
    unique = {
        name: sharing.whole(tensor).detach().cpu().contiguous().clone()
        for name, tensor in tensors.items()
    }
    save_file(unique, aside, metadata={"progress": json.dumps(vars(progress))})
    aside.replace(folder / NAME)


def restore(
    folder: Path, settings: str, network: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[Progress, dict[str, Tensor]] | None:
    """Load the checkpoint of ``folder`` into network and optimiser; None where there is none.

    Raises:
        BundleError: the checkpoint is damaged, or belongs to other settings, data or seed.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            progress = Progress(**json.loads(file.metadata()["progress"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise BundleError(f"{path} is damaged ({error}); delete it to start anew") from error
    if progress.settings != settings:
        raise BundleError(
            f"{path} belongs to a training with other settings, data or seed; "
            "choose another folder, or delete it to start anew"
        )
    now = network.state_dict()
    network.load_state_dict(now | sharing.parts(_below("network.", tensors), like=now))
    trained = _trained(network)
    at_of = {p: at for at, p in enumerate(p for g in optimiser.param_groups for p in g["params"])}
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _below("optimiser.", tensors).items():
        number, _, key = name.partition(".")
        parameter = trained[int(number)]
        state.setdefault(at_of[parameter], {})[key] = sharing.part(tensor, like=parameter)
    optimiser.load_state_dict(
        {"state": state, "param_groups": optimiser.state_dict()["param_groups"]}
    )
    torch.set_rng_state(tensors["random"])
    if "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"])
    return progress, sharing.parts(_below("best.", tensors), like=now)


def trained_state(network: nn.Module) -> dict[str, Tensor]:
    """Return the state of a network without its frozen parameters."""
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    return {name: x for name, x in network.state_dict().items() if name not in frozen}


def _trained(network: nn.Module) -> list[nn.Parameter]:
    return [p for p in network.parameters() if p.requires_grad]


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
