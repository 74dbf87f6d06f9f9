"""APEM: groups of fields by set attention, excited, and the patterns that each task selects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from modicum.data.features import Features
from modicum.data.funnel import ROOT
from modicum.errors import SettingError
from modicum.methods.conversion.entire_space import (
    dynamic_weight,
    inverse_weight,
    product_losses,
    reweighted_losses,
)
from modicum.methods.conversion.fields import SPREAD, FieldVectors, perceptron
from modicum.methods.conversion.funnel_model import FunnelModel
from modicum.methods.conversion.network import FunnelNetwork
from modicum.methods.conversion.set_attention import (
    Excitation,
    InducedAttention,
    Patterns,
    PlainAttention,
    Selector,
)
from modicum.training.rows import RowBatch

Attention = Literal["induced", "plain"]
Indicators = Literal["adaptive", "static"]
Loss = Literal["stages", "products", "ips", "dr"]
Weighting = Literal["dynamic", "inverse"]


@dataclass(kw_only=True)
class APEM(FunnelModel):
    """Fields in groups by set attention, excited; each task selects patterns of them.

    **Reconstructed from the abstract of the paper** (arXiv 2301.02494, 2023), which names the
    parts; its equations, tables and code could not be had, so all formulas here are ours.

    Set attention has feed-forward parts of width 2 D; ``hidden`` and ``layers`` are of the towers.

    Args:
        groups: G ways in which fields attend to each other; each field is shared out among them.
        points: m points through which fields attend: cost O(F m).
        attention: ``"induced"`` through points, ``"plain"`` from every field to every field.
        temperature: of the shares in the groups; the lower, the nearer to one group a field.
        excitation: weigh the fields of each row.
        patterns: K poolings of the fields, from which tasks select.
        reads: selections of a task, side by side.
        selector: tasks select patterns; if not, all read the mean of the fields.
        indicators: a task selects by its indicator and the row, ``"adaptive"``, or by the indicator
            alone, ``"static"``.
        loss: ``"stages"``, the likelihood of the furthest step; ``"products"``, of each step over
            all rows; ``"ips"`` or ``"dr"``, each step given the one before, by inverse propensities
            or doubly robust, the propensity being the predicted reach of the step before.
        weighting: of ``"ips"`` and ``"dr"``: ``"dynamic"`` weights, or ``"inverse"`` propensities.
        ratio: weight of the variance relative to that of the bias in a dynamic weight.

    >>> import modicum as mo
    >>> mo.APEM(funnel=mo.Funnel("click", "conversion")).patterns
    8
    """

    groups: int = 2
    points: int = 4
    attention: Attention = "induced"
    temperature: float = 1.0
    excitation: bool = True
    patterns: int = 8
    reads: int = 4
    selector: bool = True
    indicators: Indicators = "adaptive"
    loss: Loss = "stages"
    weighting: Weighting = "dynamic"
    ratio: float = 0.1

    def check(self) -> None:
        super().check()
        for name in ("groups", "points", "patterns", "reads"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name}={getattr(self, name)} must be 1 or more")
        if not self.temperature > 0:
            raise SettingError(f"temperature={self.temperature} must be above 0")
        if not self.ratio >= 0:
            raise SettingError(f"ratio={self.ratio} must not be negative")
        if self.loss != "stages" and not self.product:
            raise SettingError(
                f"loss={self.loss!r} is of tasks given the one before; leave product at true"
            )

    def network(self, features: Features) -> FunnelNetwork:
        return Network(self, features)


class Network(FunnelNetwork):
    """Fields -> groups -> excitation -> patterns -> what each task selects -> towers."""

    def __init__(self, settings: APEM, features: Features) -> None:
        super().__init__(settings.funnel, settings.product)
        self.settings = settings
        dim, hidden, tasks = settings.dim, settings.hidden, len(self.funnel.tasks)
        self.fields = FieldVectors(features, dim)
        inner: dict[str, Any] = {"hidden": 2 * dim, "dropout": settings.dropout}
        self.groups = nn.ModuleList(
            InducedAttention(dim, points=settings.points, **inner)
            if settings.attention == "induced"
            else PlainAttention(dim, **inner)
            for _ in range(settings.groups)
        )
        self.shares = nn.Linear(dim, settings.groups)
        if settings.excitation:
            self.excitation = Excitation(dim, self.fields.num_fields)
        width = dim
        if settings.selector:
            static = settings.indicators == "static"
            self.patterns = Patterns(dim, settings.patterns)
            self.select = Selector(dim, tasks * settings.reads, static=static)
            width = settings.reads * dim
        layers, dropout = settings.layers, settings.dropout
        inputs = [width if parent == ROOT else 2 * width for parent in self.funnel.parents]
        self.gates = nn.ModuleList(
            nn.Identity() if parent == ROOT else nn.Linear(2 * width, width)
            for parent in self.funnel.parents
        )
        self.towers = nn.ModuleList(perceptron(size, hidden, layers, dropout) for size in inputs)
        self.outs = nn.ModuleList(nn.Linear(hidden, 1) for _ in inputs)
        if settings.loss == "dr":
            self.imputations = nn.ModuleList(nn.Linear(hidden, 1) for _ in inputs)

    @property
    def heads(self) -> nn.ModuleList:
        return self.outs

    def logits(self, batch: RowBatch) -> Tensor:
        return _heads(self.outs, self.states(batch))

    def start_at(self, rates: Sequence[float]) -> None:
        super().start_at(rates)
        if self.settings.loss == "dr":
            self.imputations.load_state_dict(
                {name: x for name, x in self.outs.state_dict().items() if name.endswith("bias")},
                strict=False,
            )

    def losses(self, batch: RowBatch) -> dict[str, Tensor]:
        states, labels = self.states(batch), batch["labels"]
        logits = _heads(self.outs, states)
        if self.settings.loss == "dr":
            return self._reweighted(logits, labels, _heads(self.imputations, states))
        if self.settings.loss == "ips":
            return self._reweighted(logits, labels)
        if self.settings.loss == "products":
            return self.by_task(product_losses(logits, labels, self.funnel.parents))
        return self.terms(logits, labels)

    def _reweighted(
        self, logits: Tensor, labels: Tensor, imputed: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the losses of tasks given the one before, by inverse propensities or robust."""
        dynamic = self.settings.weighting == "dynamic"
        weight = partial(dynamic_weight, ratio=self.settings.ratio) if dynamic else inverse_weight
        found = reweighted_losses(logits, labels, self.funnel.parents, weight, imputed)
        terms = self.by_task(found.tasks)
        return terms if imputed is None else terms | {"imputation": found.imputations.sum(1).mean()}

    def states(self, batch: RowBatch) -> list[Tensor]:
        """Return what the tower of each task makes of the row, (B, H) for each."""
        read, _ = self._read(self._excited(batch)[0])
        states = []
        for task, (parent, gate, tower) in enumerate(
            zip(self.funnel.parents, self.gates, self.towers, strict=True)
        ):
            own = read[:, task]
            if parent != ROOT:
                earlier = read[:, parent]
                opened = torch.sigmoid(gate(torch.cat([own, earlier], 1)))
                own = torch.cat([own, opened * earlier], 1)
            states.append(tower(own))
        return states

    def weights(self, batch: RowBatch) -> dict[str, Tensor]:
        """Return how each task weighs the patterns (B, T, K), and through them the fields."""
        z, excited = self._excited(batch)
        _, selected = self._read(z)
        if selected is None:
            even = torch.full_like(excited, 1 / z.shape[1])
            used = even[:, None].expand(-1, len(self.funnel.tasks), -1)
            return {"fields": _normalized(used * excited[:, None])}
        _, of_fields = self.patterns(z)
        fields = _normalized(selected @ of_fields * excited[:, None])
        return {"fields": fields, "patterns": selected}

    def _excited(self, batch: RowBatch) -> tuple[Tensor, Tensor]:
        """Return the fields (B, F, D) after attention, and their weights (B, F)."""
        x = self.fields(batch) / SPREAD  # of unit size at the start, as what attention adds to it
        shares = (self.shares(x) / self.settings.temperature).softmax(-1)
        z = torch.stack([group(x) for group in self.groups], -1) @ shares.unsqueeze(-1)
        z = z.squeeze(-1)
        if not self.settings.excitation:
            return z, torch.ones_like(z[..., 0])
        weights = self.excitation(z)
        return z * weights.unsqueeze(-1), weights

    def _read(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return what each task reads (B, T, W), and its mean weights on the patterns (B, T, K)."""
        summary, tasks = z.mean(1), len(self.funnel.tasks)
        if not self.settings.selector:
            return summary[:, None].expand(-1, tasks, -1), None
        patterns, _ = self.patterns(z)
        read, weights = self.select(patterns, summary)
        by_task = (tasks, self.settings.reads)
        return read.unflatten(1, by_task).flatten(2), weights.unflatten(1, by_task).mean(2)


def _heads(heads: nn.ModuleList, states: list[Tensor]) -> Tensor:
    """Return (B, T) logits, each task's from its state."""
    return torch.cat([head(state) for head, state in zip(heads, states, strict=True)], 1)


def _normalized(weights: Tensor) -> Tensor:
    return weights / weights.sum(-1, keepdim=True)
