"""IM-VAE: information-maximising variational auto-encoder for users new to a domain (UAI 2025)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from modicum.data.histories import Histories
from modicum.data.views import balanced
from modicum.data.windows import Prefixes
from modicum.errors import SettingError
from modicum.methods.crossdomain.drawn_prefixes import DrawnPrefixes
from modicum.methods.crossdomain.item_graph import graph_bytes
from modicum.methods.crossdomain.pseudo_sequences import (
    LATEST,
    PseudoSequences,
    interleave,
    table_bytes,
)
from modicum.methods.crossdomain.regularisers import Critic, cross_correlation, history_weight
from modicum.methods.encoders import BuiltAround
from modicum.methods.fitting import Fitting
from modicum.methods.network import Catalogue, LearnedNetwork, SequenceNetwork
from modicum.methods.network import Network as AnyNetwork
from modicum.nn.gaussian import Gaussian, GaussianHead, active_units, free_bits, kl_divergence
from modicum.nn.softmax import catalogue_cross_entropy
from modicum.training import memory
from modicum.training.batches import Batch
from modicum.training.processes import Processes
from modicum.training.settings import WindowFields

Generator = Literal["together", "lightgcn"]

WEIGHTS = (
    *("kl_own", "kl_shared", "kl_augmented"),
    *("informative", "disentangling", "denoising", "critic"),
)
"""Fields that weigh a regulariser."""
FIRST_LOG_VARIANCE = -4.0
"""Of every code: so little noise to begin with that the encoder learns as it does alone."""
MEASURED = 5_000
"""Training users on whom active units are counted, on the last event of each."""
ROWS = 256
"""Rows of a batch in which they are counted."""


@dataclass(kw_only=True)
class IMVAE(BuiltAround):
    """What a user likes in one domain and in all, as Gaussian codes of true and likely histories.

    Each row of a batch is a history and one target. A weight of 0 leaves its term out.

    Args:
        target: behaviour that is predicted and makes up the true history of a domain; all else that
            a user did is read as of another domain. None: any.
        latent: width of each code.
        pseudo: items that are proposed for a history at most; 0: no generator.
        generator: proposes items near those of the history: ``"together"``, which training users had
            together, or ``"lightgcn"``, by the vectors of a LightGCN of the training events.
        shared: have a code of what the domains share; of one domain and behaviour there is none.
        prefixes: targets drawn from a training window in an epoch.
        following: weight of the encoder's own loss, by which it learns the next event of the whole
            history at every place.
        kl_own, kl_shared, kl_augmented: weights of the divergences of codes from the prior.
        informative: weight of the term by which one domain foretells the shared code.
        disentangling: weight of the correlation of the own with the shared code.
        denoising: weight of the divergence of the augmented from the own code.
        critic: weight of the critic of augmented states, and of what it teaches their encoder.
        kl_warmup: steps in which these seven weights grow from 0.
        free_bits: nats that each unit of a code may say at no cost of ``kl_own`` and its kin.

    Source: IM-VAE, UAI 2025.

    >>> import modicum as mo
    >>> mo.IMVAE(encoder="gru4rec", critic=0).settings()["encoder"]["method"]
    'gru4rec'
    """

    target: str | None = None
    latent: int = 64
    pseudo: int = 20
    generator: Generator = "together"
    shared: bool = True
    prefixes: int = 2
    following: float = 1.0
    kl_own: float = 0.001
    kl_shared: float = 0.001
    kl_augmented: float = 0.001
    informative: float = 0.001
    disentangling: float = 0.001
    denoising: float = 0.001
    critic: float = 0.001
    kl_warmup: int = 1000
    free_bits: float = 0.25

    def check(self) -> None:
        super().check()
        for name in ("latent", "prefixes"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name}={getattr(self, name)} must be 1 or more")
        for name in ("pseudo", "following", *WEIGHTS, "kl_warmup", "free_bits"):
            if not getattr(self, name) >= 0:
                raise SettingError(f"{name}={getattr(self, name)} must not be negative")

    @property
    def target_behaviour(self) -> str | None:
        return self.target

    def network(self, catalogue: Catalogue) -> Network:
        return Network(self, catalogue)

    def before_training(self, histories: Histories, fitting: Fitting) -> None:
        domains = max(1, len(histories.vocabulary.domain_names))
        needed = table_bytes(histories.num_items, domains, self.pseudo)
        if self.pseudo and self.generator == "lightgcn":
            needed += graph_bytes(histories.num_users, histories.num_items)
            fitting.bar(self.name).say("learns a LightGCN of the training events first")
        memory.require(needed, torch.device("cpu"), "the neighbours of all items")
        self._training = histories

    def start(self, network: AnyNetwork) -> None:
        assert isinstance(network, Network)
        if network.generator is None:
            return
        if self.generator == "lightgcn":
            network.generator.learn(self._training)
        else:
            network.generator.count(self._training)

    def after_training(self) -> None:
        del self._training

    def _train(self, *arguments: Any, **named: Any) -> list[dict[str, Any]]:
        records = super()._train(*arguments, **named)
        for last in records[-1:]:
            last["active units"] = self.lineage["active units"]
        return records

    def windows_of(self, histories: Histories, fitting: Fitting) -> DrawnPrefixes:
        windows = DrawnPrefixes(
            histories,
            per_window=self.prefixes,
            length=self.length,
            counted=LATEST,
            batch_size=self.batch_size,
            every=self.windows == "all",
            seed=fitting.seed,
            processes=Processes.join(),
        )
        auxiliary = self._auxiliary(histories)
        if auxiliary is not None:
            windows.auxiliary = auxiliary
            windows.predict_only(~auxiliary)
        return windows

    def complete(self, histories: Histories) -> None:
        network = self._network
        assert isinstance(network, Network)
        users = np.random.default_rng(0).permutation(histories.num_users)[:MEASURED]
        at = histories.offsets[1:][users] - 1
        at = at[histories.lengths[users] > 1]
        windows = self.windows_of(histories, Fitting(None, 0, None, False, False))
        parts = np.array_split(at, -(-len(at) // ROWS))
        self.lineage["active units"] = network.active_units(map(windows.batch, parts))

    def read(self, prefixes: Prefixes) -> Prefixes:
        return balanced(prefixes, self.vocabulary, self.length)


class Codes(NamedTuple):
    """The codes of each history for the domain that is asked for; None where a model has no such.

    Args:
        lengths: (B,) events in the domain, of the target behaviour.
        both: (B,) whether there are such events and others.
        proposed: (B,) whether the generator proposed anything.
        own: q(z_d | x_d); the prior without events in the domain.
        shared: q(z_t | x, x_1, x_2) of all events, in whatever domain they are.
        foretold: r(z_t | x_d) of the domain, and of the others: what the same head says of one side.
        augmented: q(z_d^aug | a_d) of all events and the proposals; the prior without events.
    """

    lengths: Tensor
    both: Tensor
    proposed: Tensor
    own: Gaussian
    shared: Gaussian | None
    foretold: tuple[Gaussian, Gaussian] | None
    augmented: Gaussian | None


class Made(NamedTuple):
    """What a user vector is made of: codes as drawn, (B, Z), and decoded states, (B, D)."""

    own_code: Tensor
    shared_code: Tensor | None
    own: Tensor
    shared: Tensor | None
    augmented: Tensor | None


class Network(LearnedNetwork):
    """An encoder, three codes and their decoders, and a user vector u_d of all of them."""

    by_domain = True
    domains: Tensor
    steps: Tensor

    def __init__(self, settings: IMVAE, catalogue: Catalogue) -> None:
        super().__init__()
        self.settings = settings
        self.num_domains = max(1, len(catalogue.vocabulary.domain_names))
        self.register_buffer("domains", item_domains(catalogue), persistent=False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.encoder = build_encoder(settings, catalogue)
        dim, latent = self.item_vectors().shape[1], settings.latent
        self.own, self.own_decoder = coding(dim, latent)
        self.has_shared = settings.shared and (self.num_domains > 1 or settings.target is not None)
        if self.has_shared:
            self.across = Attention(dim)
            self.shared, self.shared_decoder = coding(dim, latent)
        self.generator: PseudoSequences | None = None
        if settings.pseudo:
            self.generator = PseudoSequences(len(catalogue), self.num_domains, settings.pseudo)
            self.augmented, self.augmented_decoder = coding(dim, latent)
            self.critic = Critic(dim) if settings.critic else None
        parts = 1 + self.has_shared + (self.generator is not None)
        mix = nn.Linear(parts * dim, dim)
        with torch.no_grad():  # begins as the mean of its parts
            mix.weight.copy_(torch.eye(dim).repeat(1, parts) / parts)
            mix.bias.zero_()
        self.out = nn.Sequential(mix, nn.LayerNorm(dim))
        self.base = nn.Parameter(torch.zeros(self.num_domains, dim))  # for whom nothing is known

    def item_vectors(self) -> Tensor:
        return self.encoder.item_vectors()

    def encode(self, batch: Batch) -> Tensor:
        return self.users(batch, self.codes(batch))[0]

    def codes(self, batch: Batch) -> Codes:
        """Return the codes of each history."""
        asked = self.asked(batch)
        inside = self.domains[batch.items] == asked[:, None]
        inside &= ~batch.extra.get("auxiliary", torch.zeros_like(inside))
        own, other = batch.part(inside)[0], batch.part(~inside)[0]
        there = own.real.any(1)
        both, proposed = there & other.real.any(1), torch.zeros_like(there)
        whole = self.summary(batch)
        x, x_other = self.side(own, whole, both), self.side(other, whole, both)
        code = self.own(x)
        prior = Gaussian(torch.zeros_like(code.mean), torch.zeros_like(code.mean))
        shared = foretold = augmented = None
        if self.has_shared:
            foretold = self.shared(x), self.shared(x_other)
            met = self.meeting(own, other, x, x_other, both)
            shared = self.shared(whole + met)
        if self.generator is not None:
            known = batch.extra.get("later"), batch.extra.get("counted")
            pseudo = self.generator(batch.items, asked, *known)
            proposed = (pseudo > 0).any(1)
            enriched = Batch(interleave(batch.items, pseudo))
            augmented = self.augmented(self.summary(enriched))
            augmented = augmented.where(enriched.real.any(1), prior)
        code = code.where(there, prior)
        return Codes(own.lengths, both, proposed, code, shared, foretold, augmented)

    def asked(self, batch: Batch) -> Tensor:
        """Return (B,) the code of the domain that is asked for."""
        domain = batch.extra.get("domain")
        return batch.items.new_zeros(len(batch.items)) if domain is None else domain

    def summary(self, batch: Batch) -> Tensor:
        """Return the encoder's vector of each history (B, D), 0 where it has no events."""
        there = batch.real.any(1)
        summary = self.base.new_zeros(len(there), self.base.shape[1])
        if there.any():
            longest = int(batch.lengths.max())
            known = self.encoder.encode(Batch(batch.items[there, :longest]))
            summary = summary.index_put((there,), known)
        return summary

    def side(self, part: Batch, whole: Tensor, both: Tensor) -> Tensor:
        """Return the encoder's vector of a part of each history (B, D), 0 where it has no events.

        Args:
            part: the events of one side.
            whole: (B, D) vectors of all events.
            both: (B,) where there are events on the other side too.
        """
        summary = whole * part.real.any(1, keepdim=True)
        if both.any():
            summary = summary.index_put((both,), self.summary(part.take(both)))
        return summary

    def meeting(self, own: Batch, other: Batch, x: Tensor, x_other: Tensor, both: Tensor) -> Tensor:
        """Return (B, D) what each history finds in the other, where ``both`` (B,) have events."""
        found = torch.zeros_like(x)
        if both.any():
            own, other = own.take(both), other.take(both)
            there = self.across(x[both], self.encoder.states(other), other.real)
            here = self.across(x_other[both], self.encoder.states(own), own.real)
            found = found.index_put((both,), there + here)
        return found

    def users(self, batch: Batch, codes: Codes) -> tuple[Tensor, Made]:
        """Return user vectors (B, D) and what they are made of; codes are drawn in training only."""
        there = codes.lengths > 0
        own_code = self.drawn(codes.own)
        own = self.own_decoder(own_code) * there[:, None]
        shared_code = shared = augmented = None
        if codes.shared is not None:
            shared_code = self.drawn(codes.shared)
            shared = self.shared_decoder(shared_code)
        if codes.augmented is not None:
            known = batch.real.any(1, keepdim=True)
            augmented = self.augmented_decoder(self.drawn(codes.augmented)) * known
        parts = [part for part in (own, shared, augmented) if part is not None]
        users = self.out(torch.cat(parts, dim=1)) + self.base[self.asked(batch)]
        return users, Made(own_code, shared_code, own, shared, augmented)

    def drawn(self, code: Gaussian) -> Tensor:
        return code.sample() if self.training else code.mean

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        codes = self.codes(batch)
        users, made = self.users(batch, codes)
        terms = {name: term.mean() for name, term in self.row_terms(codes, made).items()}
        if made.shared_code is not None and self.settings.disentangling:
            there = codes.lengths > 0
            terms["disentangling"] = cross_correlation(
                made.own_code[there], made.shared_code[there]
            )
        grown = min(1.0, float(self.steps + 1) / (self.settings.kl_warmup + 1))
        terms = {name: grown * getattr(self.settings, name) * x for name, x in terms.items()}
        if self.training:
            self.steps += 1
        if self.settings.following:
            terms["following"] = self.settings.following * self.following(batch)
        return {"softmax": self.softmax(users, batch)} | terms

    def following(self, batch: Batch) -> Tensor:
        """Return the encoder's loss of the events of the target behaviour in a history and after."""
        assert batch.targets is not None
        inner = batch.items.where(~batch.extra.get("auxiliary", ~batch.real), 0)
        inner = nn.functional.pad(inner[:, 1:], (0, 1))
        targets = batch.targets.where(batch.targets > 0, inner)
        return torch.stack([*self.encoder.losses(Batch(batch.items, targets)).values()]).sum()

    def softmax(self, users: Tensor, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of the targets, each among the items of its domain."""
        assert batch.targets is not None
        targets, asked, items = batch.targets.amax(1), self.asked(batch), self.item_vectors()
        losses = []
        for domain in asked.unique().tolist():
            rows, inside = asked == domain, self.domains[1:] == domain
            chosen = items if inside.all() else items.index_select(0, inside.nonzero()[:, 0])
            number = inside.cumsum(0)[targets[rows] - 1]
            loss = catalogue_cross_entropy(
                users[rows], chosen, number, bfloat16=self.settings.bfloat16_head
            )
            losses.append(loss * (rows.sum() / len(rows)))
        return torch.stack(losses).sum()

    def row_terms(self, codes: Codes, made: Made) -> dict[str, Tensor]:
        """Return the terms that belong to a row alone, (B,), by name, before their weights."""
        settings, terms = self.settings, {}
        enriched = codes.proposed & (codes.lengths > 0)
        for name in ("own", "shared", "augmented"):
            code = getattr(codes, name)
            if code is not None and getattr(settings, f"kl_{name}"):
                terms[f"kl_{name}"] = free_bits(kl_divergence(code), settings.free_bits)
        if codes.shared is not None and codes.foretold is not None and settings.informative:
            own, other = (kl_divergence(codes.shared, r).sum(1) for r in codes.foretold)
            terms["informative"] = codes.both * (own + other) / 2
        if codes.augmented is not None and settings.denoising:
            apart = kl_divergence(codes.augmented, codes.own).sum(1)
            terms["denoising"] = enriched * history_weight(codes.lengths) * apart
        if made.augmented is not None and self.critic is not None:
            terms["critic"] = enriched * self.critic(made.own, made.augmented)
        return terms

    @torch.no_grad()
    def active_units(self, batches: Iterable[Batch]) -> dict[str, int]:
        """Count the units of each code that tell one user from another."""
        means: dict[str, list[Tensor]] = {"own": [], "shared": [], "augmented": []}
        for batch in batches:
            codes = self.codes(batch.to(self.base.device))
            for name, kept in means.items():
                code = getattr(codes, name)
                if code is not None:
                    kept.append(code.mean[codes.lengths > 0])
        return {name: active_units(torch.cat(kept)) for name, kept in means.items() if kept}


class Attention(nn.Module):
    """One look at the states of a history."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(dim, dim), nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim)

    def forward(self, x: Tensor, states: Tensor, real: Tensor) -> Tensor:
        """Return (B, D) from ``x`` (B, D), ``states`` (B, L, D) and where they are ``real`` (B, L)."""
        match = torch.einsum("bd,bld->bl", self.query(x), self.key(states)) * x.shape[1] ** -0.5
        share = match.masked_fill(~real, float("-inf")).softmax(dim=1)
        return torch.einsum("bl,bld->bd", share, self.value(states))


def coding(dim: int, latent: int) -> tuple[GaussianHead, Decoder]:
    """Return a code of states and its decoder, which begins as little more than the way back."""
    head = GaussianHead(dim, latent, log_variance=FIRST_LOG_VARIANCE)
    nn.init.orthogonal_(head.mean.weight)
    nn.init.zeros_(head.mean.bias)
    return head, Decoder(head)


class Decoder(nn.Module):
    """From a code to a state: a linear way back, and what a hidden layer adds to it."""

    def __init__(self, head: GaussianHead) -> None:
        super().__init__()
        latent, dim = head.mean.weight.shape
        self.back = nn.Linear(latent, dim)
        self.inner, self.outer = nn.Linear(latent, dim), nn.Linear(dim, dim)
        with torch.no_grad():
            self.back.weight.copy_(head.mean.weight.T)
            self.back.bias.zero_()
            self.outer.weight.normal_(std=0.01)
            self.outer.bias.zero_()

    def forward(self, code: Tensor) -> Tensor:
        added: Tensor = self.outer(nn.functional.gelu(self.inner(code)))
        return self.back(code) + added


def item_domains(catalogue: Catalogue) -> Tensor:
    """Return (N + 1,) the code of each item's domain, 0 where there are none; of padding, 0."""
    codes = catalogue.vocabulary.domains
    if codes is None:
        return torch.zeros(len(catalogue) + 1, dtype=torch.int64)
    return torch.tensor([0, *codes.tolist()])


def build_encoder(settings: IMVAE, catalogue: Catalogue) -> SequenceNetwork:
    """Return the network of the encoder, for histories with their pseudo-sequences."""
    encoder = settings.built_on
    if isinstance(encoder, WindowFields):
        encoder = replace(encoder, length=settings.length + settings.pseudo)
    network = encoder.network(catalogue)
    if not isinstance(network, SequenceNetwork):
        raise SettingError(
            f"{encoder.name} has no state at each event; use sasrec, gru4rec or bert4rec"
        )
    return network
