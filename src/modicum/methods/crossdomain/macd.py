"""MACD: contrastive denoising around any encoder, for users with little in a domain (ECML-PKDD 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modicum.bundle import Bundle
from modicum.data.histories import Histories
from modicum.data.views import balanced
from modicum.data.vocabulary import UNKNOWN
from modicum.data.windows import Prefixes
from modicum.errors import SettingError
from modicum.methods.crossdomain.neighbour_search import Neighbours
from modicum.methods.encoders import BuiltAround, share_items
from modicum.methods.fitting import Fitting
from modicum.methods.network import Catalogue, CausalNetwork, LearnedNetwork, SequenceNetwork
from modicum.methods.scoring import encoded
from modicum.nn.attention import SelfAttention
from modicum.nn.softmax import catalogue_cross_entropy
from modicum.nn.table import ItemTable, look_up
from modicum.training.batches import Batch, Windows

Pooling = Literal["last", "mean"]
Form = Literal["infonce", "critic"]

KEPT = 4.0
"""Added to the fusion's gate: it begins by keeping nearly all of the state, as the encoder has it."""
INDEX = "neighbours."
"""Begins the names of the neighbours' tensors in a bundle."""
DRAWN = 0.2
"""Share of the targets that an encoder which looks both ways learns in an epoch."""


@dataclass(kw_only=True)
class MACD(BuiltAround):
    """A user's state in a domain, fused by turns with the interests that other events show.

    The target history are the events of the domain asked for, of the target behaviour. The interest
    within the domain is read from its auxiliary behaviour, the interest across from all events of
    the other domains. A user without target history borrows from training users who are alike in
    everything else.

    Args:
        target: behaviour that is predicted and makes up the target history; the others are
            auxiliary. None: any, and what is auxiliary within the domain are all its events.
        history: that the user's state is read from: the ``"merged"`` one of all events, or the
            ``"target"`` history alone (the paper), in which a newcomer has none.
        shared: one encoder for all, or (the paper) two in each domain, for the history and for what
            is auxiliary. Item vectors are shared anyway.
        pooling: the user's state is the ``"last"`` of the history, or the ``"mean"``.
        heads: of the attention to auxiliary events, a divisor of the encoder's width.
        intra: read the interest within the domain.
        cross: read the interest across domains, where there are several.
        contrast: weight of the contrast of the two interests; 0 leaves it out.
        form: of the contrast: ``"infonce"``, or the published binary ``"critic"``.
        sharpness: what cosines are multiplied by in InfoNCE, the inverse of its temperature.
        neighbours: training users that one without target history borrows from; 0: from nobody.
        temperature: of the weights of neighbours, a softmax over cosines.
        borrowed: share of what is borrowed in such a user's vector, in [0, 1].

    >>> import modicum as mo
    >>> mo.MACD(encoder="gru4rec", target="buy").settings()["encoder"]["method"]
    'gru4rec'
    """

    target: str | None = None
    history: Literal["merged", "target"] = "merged"
    shared: bool = True
    pooling: Pooling = "last"
    heads: int = 2
    intra: bool = True
    cross: bool = True
    contrast: float = 0.1
    form: Form = "infonce"
    sharpness: float = 5.0
    neighbours: int = 20
    temperature: float = 0.1
    borrowed: float = 0.5

    def check(self) -> None:
        super().check()
        for name in ("contrast", "neighbours"):
            if not getattr(self, name) >= 0:
                raise SettingError(f"{name}={getattr(self, name)} must not be negative")
        for name in ("sharpness", "temperature"):
            if not getattr(self, name) > 0:
                raise SettingError(f"{name}={getattr(self, name)} must be above 0")
        if not 0 <= self.borrowed <= 1:
            raise SettingError(f"borrowed={self.borrowed} must be in [0, 1]")

    def narrowed(self, kept: Mapping[str, int]) -> dict[str, Any]:
        raise SettingError(
            "macd cannot be pruned: its encoders and its interests would need shapes of their own; "
            "fit it around a smaller encoder"
        )

    @property
    def target_behaviour(self) -> str | None:
        return self.target

    def network(self, catalogue: Catalogue) -> Network:
        return Network(self, catalogue)

    def windows_of(self, histories: Histories, fitting: Fitting) -> Windows:
        windows = super().windows_of(histories, fitting)
        auxiliary = self._auxiliary(histories)
        if auxiliary is not None:
            windows.auxiliary = auxiliary
            windows.predict_only(~auxiliary)
        return windows

    def read(self, prefixes: Prefixes) -> Prefixes:
        return balanced(prefixes, self.vocabulary, self.length)

    def complete(self, histories: Histories) -> None:
        """Keep who may lend: training users with target history in a domain and other events."""
        network = self.fitted_network
        assert isinstance(network, Network)
        network.neighbours.forget()
        for domain in range(network.num_domains if self.neighbours else 0):
            whole, elsewhere = self.lenders(histories, domain)
            if len(whole):
                keys, vectors = self._vectors(elsewhere), self._vectors(whole)
                network.neighbours.keep(domain, keys, vectors)

    def lenders(self, histories: Histories, domain: int) -> tuple[Prefixes, Prefixes]:
        """Return the histories of who may lend in a domain: whole, and without target history."""
        auxiliary = self._auxiliary(histories)
        aimed = np.ones(histories.num_events, dtype=bool) if auxiliary is None else ~auxiliary
        if histories.domains is not None:
            aimed &= histories.domains == domain
        before = np.concatenate([[0], np.cumsum(aimed)])
        own = np.diff(before[histories.offsets])
        users = np.flatnonzero((own > 0) & (own < histories.lengths))
        asked = None if histories.domains is None else np.full(len(users), domain)
        bounds = histories.offsets[users], histories.offsets[users + 1]
        others = np.where(aimed, UNKNOWN, histories.item_rows)
        return (
            Prefixes(histories.item_rows, *bounds, auxiliary, asked),
            Prefixes.of(others, *bounds, auxiliary, asked),
        )

    @torch.no_grad()
    def _vectors(self, prefixes: Prefixes) -> Tensor:
        network = self.fitted_network
        device = network.item_vectors().device
        vectors = torch.empty(len(prefixes), network.item_vectors().shape[1], device=device)
        for which, found in encoded(network, self.read(prefixes), self.length):
            vectors[torch.from_numpy(which).to(device)] = found
        return vectors

    def to_bundle(self) -> Bundle:
        saved, network = super().to_bundle(), self.fitted_network
        assert isinstance(network, Network)
        index = {INDEX + name: tensor for name, tensor in network.neighbours.tensors().items()}
        return replace(saved, weights={**saved.weights, **index})

    @classmethod
    def of_bundle(cls, saved: Bundle) -> Self:
        weights = {k: v for k, v in saved.weights.items() if not k.startswith(INDEX)}
        model = super().of_bundle(replace(saved, weights=weights))
        network = model.fitted_network
        assert isinstance(network, Network)
        index = {k.removeprefix(INDEX): v for k, v in saved.weights.items() if k not in weights}
        network.neighbours.load(index)
        return model


class Interests(NamedTuple):
    """What is known of users after some of their events, at (B, Q) places.

    Args:
        users: (B, Q, D) the fused vectors.
        new: (B, Q) true where there is no target history.
        intra, cross: (B, Q, D) interests within the domain and across, None where not read.
        both: (B, Q) true where there are events for either.
    """

    users: Tensor
    new: Tensor
    intra: Tensor | None
    cross: Tensor | None
    both: Tensor


class Network(LearnedNetwork):
    """Encoders of target and auxiliary histories, interests, fusion (section 3 of the paper)."""

    by_domain = True
    domain_of: Tensor
    """(N + 1,) domain of each item row; -1 of padding."""

    def __init__(self, settings: MACD, catalogue: Catalogue) -> None:
        super().__init__()
        self.settings = settings
        self.num_domains = max(1, len(catalogue.vocabulary.domain_names))
        encoders = [
            _encoder(settings, catalogue)
            for _ in range(1 if settings.shared else 2 * self.num_domains)
        ]
        self.causal = isinstance(encoders[0], CausalNetwork)
        items = encoders[0].items
        assert isinstance(items, ItemTable)
        self.items = items
        for encoder in encoders:
            share_items(encoder, self.items)
        self.encoders = nn.ModuleList(encoders)
        dim, several = self.items.dim, self.num_domains > 1
        self.intra = Interest(dim, settings.heads) if settings.intra else None
        self.cross = Interest(dim, settings.heads) if settings.cross and several else None
        contrasts = settings.contrast > 0 and self.intra is not None and self.cross is not None
        self.contrast = Contrast(settings, dim) if contrasts else None
        self.neighbours = Neighbours(
            self.num_domains, dim, k=settings.neighbours, temperature=settings.temperature
        )
        domains = np.zeros(len(catalogue), dtype=np.int64)
        if catalogue.vocabulary.domains is not None:
            domains = catalogue.vocabulary.domains.astype(np.int64)
        of_items = torch.from_numpy(np.concatenate([[-1], domains]))
        self.register_buffer("domain_of", of_items, persistent=False)

    def interests(self, batch: Batch, domain: int, at: Tensor) -> Interests:
        """Return what is known in a domain after the event at each of the places ``at`` (B, Q).

        No later event is read, whatever its domain and behaviour.
        """
        domains = self.domain_of[batch.items]
        auxiliary = batch.extra.get("auxiliary", torch.zeros_like(batch.real))
        inside, outside = domains == domain, batch.real & (domains != domain)
        aimed = inside & ~auxiliary
        beside = inside if self.settings.target is None else inside & auxiliary
        merged = self.settings.history == "merged"
        states, places = self.states(domain, batch, batch.real if merged else aimed)
        number = (places[:, None] <= at[..., None]).sum(2)  # (B, Q) events so far
        user = query = self.pooled(states, number)
        intra = cross = None
        if self.intra is not None:
            read = self.states(self.num_domains + domain, batch, beside)
            intra, user = self.intra(query, user, *read, at)
        if self.cross is not None:
            others = [
                self.states(self.num_domains + other, batch, domains == other)
                for other in range(self.num_domains)
                if other != domain
            ]
            states, places = (torch.cat(parts, dim=1) for parts in zip(*others, strict=True))
            cross, user = self.cross(query, user, states, places, at)
        both = _reached(beside, at) & _reached(outside, at)
        return Interests(user, ~_reached(aimed, at), intra, cross, both)

    def states(self, encoder: int, batch: Batch, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Return states (B, L', D) of the events ``chosen`` (B, L), read as histories of their own,
        and (B, L') their places in the batch."""
        part, places = batch.part(chosen)
        there = part.lengths > 0
        states = self.items.weight.new_zeros(*places.shape, self.items.dim)
        if there.any():
            network = self.encoders[0 if self.settings.shared else encoder]
            assert isinstance(network, SequenceNetwork)
            states[there] = network.states(Batch(part.items[there]))
        return states, places

    def pooled(self, states: Tensor, number: Tensor) -> Tensor:
        """Return (B, Q, D) the pooled first ``number`` (B, Q) of ``states``, zeros of none."""
        if self.settings.pooling == "mean":
            count = torch.arange(1, states.shape[1] + 1, device=states.device)
            states = states.cumsum(1) / count[:, None]
        states = F.pad(states, (0, 0, 1, 0))
        return states.gather(1, number[..., None].expand(-1, -1, states.shape[2]))

    def encode(self, batch: Batch) -> Tensor:
        asked = batch.extra.get("domain", batch.lengths.new_zeros(len(batch.items)))
        users = self.items.weight.new_empty(len(asked), self.items.dim)
        for domain in asked.unique().tolist():
            part = batch.take(asked == domain)
            found = self.interests(part, domain, part.lengths[:, None] - 1)
            own, new = found.users[:, 0], found.new[:, 0]
            if self.neighbours.size(domain) and new.any():
                lent = self.neighbours.lent(domain, own[new])
                own = own.index_put((new,), own[new].lerp(lent, self.settings.borrowed))
            users[asked == domain] = own
        return users

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.targets is not None
        batch = batch if self.causal else _cut(batch)
        softmax, contrast = [self.items.weight.sum() * 0], [self.items.weight.sum() * 0]
        num_targets = num_pairs = 0
        for domain in range(self.num_domains):
            aimed = self.domain_of[batch.targets] == domain
            rows = aimed.any(1)
            if not rows.any():
                continue
            part = batch.take(rows)
            assert part.targets is not None
            targets, at = Batch(part.targets).part(aimed[rows])
            found = self.interests(part, domain, at)
            loss = self.softmax(found.users[targets.real], targets.items[targets.real], domain)
            softmax.append(loss * int(targets.lengths.sum()))
            num_targets += int(targets.lengths.sum())
            if self.contrast is not None:
                newest = torch.arange(len(at)), targets.lengths - 1
                pairs = found.both[newest]
                assert found.intra is not None and found.cross is not None
                intra, cross = found.intra[newest][pairs], found.cross[newest][pairs]
                contrast.append(self.contrast(intra, cross) * len(intra))
                num_pairs += len(intra)
        terms = {"softmax": torch.stack(softmax).sum() / max(1, num_targets)}
        if self.contrast is not None:
            mean = torch.stack(contrast).sum() / max(1, num_pairs)
            terms["contrast"] = self.settings.contrast * mean
        return terms

    def softmax(self, users: Tensor, targets: Tensor, domain: int) -> Tensor:
        """Return the mean cross-entropy of target rows (T,) over the catalogue of a domain."""
        items: Tensor = self.items.weight
        if self.num_domains > 1:
            members = self.domain_of.eq(domain)
            items = look_up(items, members.nonzero()[:, 0])
            targets = members.cumsum(0)[targets]
        return catalogue_cross_entropy(users, items, targets, bfloat16=self.settings.bfloat16_head)

    def item_vectors(self) -> Tensor:
        return self.items.weight


class Interest(nn.Module):
    """What other events say, attended to by the user's state, and fused into it.

    Beside the events stands a vector for nothing, which is all there is to attend to without them.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.randn(dim) * 0.02)
        self.attention = SelfAttention(dim, heads, causal=False)
        self.fusion = nn.GRUCell(dim, dim)
        with torch.no_grad():
            self.fusion.bias_hh[dim : 2 * dim] += KEPT

    def forward(
        self, query: Tensor, user: Tensor, states: Tensor, places: Tensor, at: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the interest and the fused user, both (B, Q, D).

        Args:
            query, user: (B, Q, D) what attends, and what the interest is fused into.
            states: (B, L', D) of the other events.
            places: (B, L') of these events.
            at: (B, Q) the place up to which each query may read.
        """
        keys = torch.cat([self.nothing.expand(len(states), 1, -1), states], dim=1)
        may = F.pad(places[:, None] <= at[..., None], (1, 0), value=True)
        interest = self.attention(query, keys, may)
        fused = self.fusion(interest.flatten(0, 1), user.flatten(0, 1))
        return interest, fused.view_as(user)


class Contrast(nn.Module):
    """The two interests of one user belong together, those of two users do not."""

    def __init__(self, settings: MACD, dim: int) -> None:
        super().__init__()
        self.sharpness = settings.sharpness
        self.critic: nn.Module | None = None
        if settings.form == "critic":
            self.critic = nn.Sequential(nn.Linear(2 * dim, dim), nn.ReLU(), nn.Linear(dim, 1))

    def forward(self, intra: Tensor, cross: Tensor) -> Tensor:
        """Return the mean over users, whose interests are the rows of (R, D) and (R, D)."""
        if len(intra) < 2:
            return (intra.sum() + cross.sum()) * 0
        if self.critic is not None:
            true = self.critic(torch.cat([intra, cross], dim=1))
            false = self.critic(torch.cat([intra, cross.roll(1, 0)], dim=1))
            return (F.softplus(-true) + F.softplus(false)).mean() / 2
        alike = self.sharpness * F.normalize(intra, dim=1) @ F.normalize(cross, dim=1).T
        own = torch.arange(len(alike), device=alike.device)
        return (F.cross_entropy(alike, own) + F.cross_entropy(alike.T, own)) / 2


def _encoder(settings: MACD, catalogue: Catalogue) -> SequenceNetwork:
    network = settings.built_on.network(catalogue)
    if not isinstance(network, SequenceNetwork):
        raise SettingError(
            f"{settings.built_on.name} has no state at each event; use sasrec, gru4rec or bert4rec"
        )
    return network


def _reached(chosen: Tensor, at: Tensor) -> Tensor:
    """Return (B, Q) whether any of the events ``chosen`` (B, L) stands at or before each place."""
    return (chosen.cumsum(1) > 0).gather(1, at.clamp(max=chosen.shape[1] - 1))


def _cut(batch: Batch) -> Batch:
    """Return rows that end before one target each, a share of the targets drawn at random.

    What looks both ways would otherwise see what came after a target.
    """
    assert batch.targets is not None
    there = batch.targets > 0
    draws = torch.rand(there.shape, device=there.device).masked_fill(~there, 2.0)
    chosen = there & ((draws < DRAWN) | (draws == draws.amin(1, keepdim=True)))
    row, newest = chosen.nonzero(as_tuple=True)
    cut = batch.take(row)
    assert cut.targets is not None
    place = torch.arange(there.shape[1], device=there.device)
    cut.items[place > newest[:, None]] = 0
    cut.targets[place != newest[:, None]] = 0
    return cut
