"""The fit loop: any network with named losses, any batches, one or many processes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from modicum.errors import SettingError
from modicum.training import checkpoint, sharing
from modicum.training.interrupts import Interrupts
from modicum.training.processes import Processes
from modicum.training.progress import ProgressBar
from modicum.training.settings import TrainingFields

CHECKPOINT_EVERY_S = 30.0


class Batch(Protocol):
    """What a loss reads at once; the loss is a mean over its ``num_targets``."""

    @property
    def num_targets(self) -> int: ...

    def to(self, device: torch.device) -> Self: ...


class Batches(Protocol):
    """The batches of each epoch, as many in every epoch, the same ones when asked again."""

    def __len__(self) -> int: ...

    def epoch(self, epoch: int, *, skip: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, without the first ``skip``."""


def train(
    network: nn.Module,
    batches: Batches,
    settings: TrainingFields,
    *,
    validate: Callable[[], float] | None = None,
    folder: Path | None = None,
    fingerprint: str = "",
    shared_out: Sequence[str] = (),
    bar: ProgressBar,
) -> list[dict[str, Any]]:
    """Train ``network`` in place and leave it with the weights of the best epoch.

    The loss of a batch is the mean over its targets, whatever the number of processes. With a
    ``folder``, a checkpoint is written every half minute, at each epoch's end and on Ctrl-C; the
    next call with the same settings goes on from it and ends with the same weights, bit for bit on
    one machine and thread count.

    Args:
        network: has ``losses(batch)``; every term of it is added and logged.
        batches: what it learns from.
        settings: epochs, patience and the optimiser's fields.
        validate: gives the value to be maximised, called after each epoch.
        folder: where the checkpoint stands.
        fingerprint: of method, settings, data and seed; guards against a foreign checkpoint.
        shared_out: names of layers of which each process keeps a part only.
        bar: shows progress.

    Returns:
        One record for each epoch: mean of each loss, validation value, seconds, targets.

    Raises:
        BundleError: the checkpoint in ``folder`` is damaged or belongs to something else.
        SettingError: the training diverged: a loss or the validation value is not finite.
    """
    processes = Processes.join()
    device = settings.torch_device
    shared = sharing.Shared(network, shared_out, device) if shared_out else None
    network.to(device).train()
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        [{"params": group} for group in sharing.split(parameters)],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        foreach=True,
    )
    progress = checkpoint.Progress(settings=fingerprint)
    best: dict[str, Tensor] = {}
    if folder is not None:
        found = checkpoint.restore(folder, fingerprint, network, optimiser)
        if found is not None:
            progress, best = found

    def keep() -> None:
        if folder is not None and (processes.leads or shared):
            checkpoint.save(folder, progress, network, optimiser, best, writes=processes.leads)

    newest: Batch | None = None
    agreed = False
    bar.start(len(batches), settings.epochs, progress)
    try:
        # Held through validation too: a batch's end or an epoch's is where all processes stop.
        with Interrupts() as interrupts:
            while progress.epoch < settings.epochs and not _exhausted(progress, settings):
                resumed = time.perf_counter()
                kept = resumed
                for batch in batches.epoch(progress.epoch, skip=progress.step):
                    newest = batch.to(device)
                    _step(network, newest, optimiser, parameters, settings, progress, processes)
                    bar.advance(progress)
                    now = time.perf_counter()
                    due = processes.leads and now - kept > CHECKPOINT_EVERY_S
                    # All stop and all keep at the same batch, or the others would wait for them.
                    agreed, due = processes.any(interrupts.held, due)
                    if agreed:
                        raise KeyboardInterrupt
                    if due:
                        progress.seconds += now - resumed
                        resumed = kept = now
                        keep()
                progress.seconds += time.perf_counter() - resumed
                value = None
                if validate is not None:
                    value = _validated(network, validate)
                    (value,) = processes.total([value if processes.leads else 0.0])
                    _require_finite({"validation": value}, progress, settings)
                if value is not None and (progress.best is None or value > progress.best):
                    progress.best, progress.best_epoch = value, progress.epoch + 1
                    trained = checkpoint.trained_state(network)
                    best = {name: _copied(x) for name, x in trained.items()}
                _close_epoch(progress, value)
                bar.epoch(progress)
                keep()
                (agreed,) = processes.any(interrupts.held)
                if agreed:
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        if agreed or not shared:  # parts are put together by all processes or by none
            keep()
        if agreed:  # none is gone before the checkpoint stands
            processes.wait()
        raise
    finally:
        bar.stop()
    network.eval()
    if best:
        network.load_state_dict(network.state_dict() | best)
    elif newest is not None:  # no loss has been taken since the last step
        _require_finite(_losses(network, newest, processes), progress, settings)
    if shared:
        shared.put_together()
    return progress.log


def _step(
    network: Any,
    batch: Batch,
    optimiser: torch.optim.Optimizer,
    parameters: list[nn.Parameter],
    settings: TrainingFields,
    progress: checkpoint.Progress,
    processes: Processes,
) -> None:
    own = float(batch.num_targets)
    (targets,) = processes.total([own])
    terms = network.losses(batch)
    loss = torch.stack(list(terms.values())).sum() * (own / targets)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    processes.add_gradients(parameters)
    if settings.clip_norm:
        _clip(parameters, settings.clip_norm, processes)
    progress.steps += 1
    for group in optimiser.param_groups:
        group["lr"] = settings.learning_rate * min(
            1.0, progress.steps / (settings.warmup_steps or 1)
        )
    optimiser.step()
    progress.step += 1
    progress.targets += targets
    sums = _sums(terms, batch, processes)
    _require_finite(sums, progress, settings)
    for name, value in sums.items():
        progress.totals[name] = progress.totals.get(name, 0.0) + value


@torch.no_grad()
def _losses(network: Any, batch: Batch, processes: Processes) -> dict[str, float]:
    return _sums(network.losses(batch), batch, processes)


def _sums(terms: dict[str, Tensor], batch: Batch, processes: Processes) -> dict[str, float]:
    """Return each term over the targets of all processes."""
    own = float(batch.num_targets)
    sums = processes.total([float(term.detach()) * own for term in terms.values()])
    return dict(zip(terms, sums, strict=True))


def _require_finite(
    values: dict[str, float], progress: checkpoint.Progress, settings: TrainingFields
) -> None:
    broken = ", ".join(f"{name} is {x}" for name, x in values.items() if not math.isfinite(x))
    best = f", or stop at the best epoch with epochs={progress.best_epoch}"
    if broken:
        raise SettingError(
            f"the training diverged in epoch {min(progress.epoch + 1, settings.epochs)}, after "
            f"{progress.steps} steps: {broken}; lower learning_rate={settings.learning_rate:g}, or "
            f"raise warmup_steps={settings.warmup_steps}{best if progress.best_epoch else ''}"
        )


def _clip(parameters: list[nn.Parameter], most: float, processes: Processes) -> None:
    """Shorten the gradient to a norm at most, that over all processes where it is shared out."""
    if not any(map(sharing.is_part, parameters)):
        nn.utils.clip_grad_norm_(parameters, most, foreach=True)
        return
    square = 0.0
    for group in sharing.split(parameters):
        norm = nn.utils.get_total_norm([sharing.own(p.grad) for p in group if p.grad is not None])
        of_group = float(norm) ** 2
        square += processes.total([of_group])[0] if sharing.is_part(group[0]) else of_group
    shorter = min(1.0, most / (math.sqrt(square) + 1e-6))
    for parameter in parameters:
        if parameter.grad is not None:
            sharing.own(parameter.grad).mul_(shorter)


def _copied(tensor: Tensor) -> Tensor:
    """Return a copy on the CPU; of what is shared out, of this process's part where it is."""
    if sharing.is_part(tensor):
        return tensor.detach().clone()
    return tensor.detach().cpu().clone()


def _validated(network: nn.Module, validate: Callable[[], float]) -> float:
    network.eval()
    try:
        return validate()
    finally:
        network.train()


def _close_epoch(progress: checkpoint.Progress, value: float | None) -> None:
    record = {name: total / progress.targets for name, total in progress.totals.items()}
    progress.epoch += 1
    progress.log.append(
        {
            "epoch": progress.epoch,
            "losses": record,
            "validation": value,
            "seconds": round(progress.seconds, 3),
            "targets": int(progress.targets),
        }
    )
    progress.step, progress.targets, progress.seconds, progress.totals = 0, 0.0, 0.0, {}


def _exhausted(progress: checkpoint.Progress, settings: TrainingFields) -> bool:
    waited = progress.epoch - progress.best_epoch
    return progress.best is not None and 0 < settings.patience <= waited
