"""SLMRec: a small decoder distilled block by block from a large one (ICLR 2025)."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modicum.bundle import load
from modicum.data.histories import Histories
from modicum.data.vocabulary import UNKNOWN, Vocabulary
from modicum.errors import DataError, SettingError
from modicum.methods.fitting import Fitting
from modicum.methods.network import Catalogue, weights_digest
from modicum.methods.recommender import Recommender
from modicum.methods.sequential.item_decoder import DecoderFields, ItemDecoder, layer_influence
from modicum.methods.sequential.item_towers import (
    Items,
    append_items,
    build_tower,
    require_known,
)
from modicum.methods.sequential.llmrec import LLMRec
from modicum.methods.sequential.teacher_states import TeacherStates
from modicum.nn.text_table import TextTable
from modicum.training.batches import Batch, Windows
from modicum.training.processes import Processes


@dataclass(kw_only=True)
class SLMRec(DecoderFields, Recommender):
    """A student of few decoder layers that follows its teacher's states at the end of each block.

    Teacher and student are cut into as many blocks; block ``k`` of ``B`` ends at layer ``k M / B``.
    The loss is ``softmax + λ1 D_cos + λ2 D_norm + λ3 L_ms`` (section 4 of the paper; defaults of
    its published code), and on request the divergence from the teacher's highest logits (ours).

    Args:
        teacher: a fitted :class:`LLMRec`, the folder of a saved one, or None: an ``LLMRec`` with
            its default decoder, trained as this student, comes first, and is kept in ``teacher`` of
            the folder given to ``fit``, beside its states in ``states``.
        layers: decoder layers of the student.
        blocks: B, at most ``layers``.
        keep: which of the teacher's layers the student starts from: its ``"first"`` (the paper),
            ``"last"``, evenly ``"spaced"``, those of most ``"influence"``, or ``"none"``: a random
            start throughout.
        distillation: ``"offline"``: the teacher is fixed and its states are computed once;
            ``"online"``: teacher and student train together; ``"none"``: the softmax alone.
        cosine: λ1, weight of the mean of 1 - cosine between the states.
        norm: λ2, weight of the mean distance between the states.
        supervision: λ3, weight of a softmax of its own at each inner block.
        logits: weight of the divergence from the teacher's highest logits.
        top_logits: how many of them.
        temperature: of that divergence.
        dim: width of its item vectors; filled in from the teacher.
        items: what they are; filled in from the teacher, whose frozen vectors or texts they keep.

    >>> import modicum as mo
    >>> mo.SLMRec(layers=2, blocks=2).cosine
    1.0
    """

    teacher: LLMRec | str | Path | None = None
    layers: int = 4
    blocks: int = 4
    keep: Literal["first", "last", "spaced", "influence", "none"] = "first"
    distillation: Literal["offline", "online", "none"] = "offline"
    cosine: float = 1.0
    norm: float = 0.1
    supervision: float = 1.0
    logits: float = 0.0
    top_logits: int = 64
    temperature: float = 2.0
    dim: int = field(default=64, metadata={"derived": True})
    items: Items = field(default="trained", metadata={"derived": True})

    def check(self) -> None:
        super().check()
        if not 1 <= self.blocks <= self.layers:
            raise SettingError(
                f"blocks={self.blocks} must be 1 or more, and at most layers={self.layers}, "
                "so that every block has a layer"
            )
        for name in ("cosine", "norm", "supervision", "logits"):
            if getattr(self, name) < 0:
                raise SettingError(f"{name}={getattr(self, name)} must not be negative")
        if self.top_logits < 1 or not self.temperature > 0:
            raise SettingError("top_logits must be 1 or more, temperature above 0")

    def before_training(self, histories: Histories, fitting: Fitting) -> None:
        teacher = self._find_teacher(histories, fitting)
        self._known = 0 if fitting.start is None else len(fitting.start.vocabulary)
        shape = teacher.shape
        if self.layers > shape.layers:
            raise SettingError(
                f"layers={self.layers} is more than the teacher's {shape.layers} layers"
            )
        self._taught_by, self.dim = teacher, teacher.dim
        self._start_layers = choose_layers(self.keep, teacher, self.layers, histories)
        self.decoder = replace(shape, layers=self.layers)
        self.prompt_tokens = teacher.prompt_tokens
        self.items, self.text_dim = teacher.items, teacher.text_dim
        self.lineage["teacher"] = {
            "layers": shape.layers,
            "width": shape.width,
            "lineage": teacher.lineage,
        }
        if "texts" in teacher.lineage:
            self.lineage["texts"] = teacher.lineage["texts"]

    def network(self, catalogue: Catalogue) -> Student:
        return Student(self, catalogue)

    def start(self, network: nn.Module) -> None:
        assert isinstance(network, Student)
        if self._known:
            network.meet_again(self._taught_by, self._known, self.catalogue)
        else:
            network.begin_as(self._taught_by, self._start_layers, self.catalogue)
        network.be_taught_by(self._taught_by, self.catalogue)
        network.adapt()

    def after_training(self) -> None:
        del self._taught_by, self._start_layers, self._known
        if isinstance(network := vars(self).get("_network"), Student):
            network.leave_teacher()
            network.merge()

    def asked_logits(self, num_items: int) -> int:
        """Return how many of the teacher's logits are needed at each position."""
        return min(self.top_logits, num_items) if self.logits else 0

    def windows_of(self, histories: Histories, fitting: Fitting) -> Windows:
        windows = super().windows_of(histories, fitting)
        windows.last_only = self.positions == "last"
        if self.distillation != "offline":
            return windows
        assert isinstance(self._network, Student)
        teacher = for_vocabulary(self._taught_by, histories.vocabulary)
        ends = block_ends(teacher.decoder.shape.layers, self.blocks)
        asked = self.asked_logits(histories.num_items)
        folder = None if fitting.folder is None else fitting.folder / "states"
        say = fitting.bar(self.name).say
        states = TeacherStates(windows, teacher, ends, asked, folder, say)
        windows.extra = states.of
        return windows

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"teacher": None}

    def narrowed(self, kept: Mapping[str, int]) -> dict[str, Any]:
        decoder = self.shape.narrowed(**kept).to_dict()
        return self.settings() | {"decoder": decoder, "distillation": "none"}

    def fingerprint(self, histories: Histories, seed: int) -> str:
        teacher = weights_digest(self._taught_by.fitted_network)
        return hashlib.sha256((super().fingerprint(histories, seed) + teacher).encode()).hexdigest()

    def append_items(
        self, network: nn.Module, table: pl.DataFrame | str | Path, progress: bool
    ) -> pl.Series:
        assert isinstance(network, Student)
        return append_items(self, network.items, table, progress)

    def _find_teacher(self, histories: Histories, fitting: Fitting) -> LLMRec:
        if self.teacher is None:
            return self._own_teacher(histories, fitting)
        given = self.teacher
        teacher = load(given) if isinstance(given, str | Path) else given
        if not isinstance(teacher, LLMRec):
            raise SettingError(f"the teacher must be an LLMRec, not {type(teacher).__name__}")
        teacher._require_fitted()
        return teacher

    def _own_teacher(self, histories: Histories, fitting: Fitting) -> LLMRec:
        """Train a teacher with the settings that it has in common with the student, or find it kept."""
        common = [x.name for x in fields(DecoderFields) if not x.metadata.get("derived")]
        trained = {name: getattr(self, name) for name in common}
        kept = None if fitting.folder is None else fitting.folder / "teacher"
        if kept is not None and (kept / "config.json").exists():
            teacher = load(kept)
            other = [x for x in common if x != "device" and getattr(teacher, x, None) != trained[x]]
            if isinstance(teacher, LLMRec) and not other:
                return teacher
            raise SettingError(
                f"{kept} holds a teacher that was trained with other {', '.join(other)}; delete it, "
                f"or keep it with teacher={str(kept)!r}"
            )
        teacher = LLMRec(**trained)
        teacher.fit(histories, **vars(replace(fitting, folder=kept, start=None)))
        if kept is not None and Processes.join().leads:
            teacher.save(kept)
        return teacher


class Student(ItemDecoder):
    """The network of LLMRec and, while it learns, a head for each inner block."""

    def __init__(self, settings: SLMRec, catalogue: Catalogue) -> None:
        super().__init__(
            settings,
            build_tower(settings.items, len(catalogue), settings.dim, settings.text_dim),
        )
        self.settings = settings
        self.ends = block_ends(settings.layers, settings.blocks)
        self.heads = nn.ModuleList()
        self.teacher: ItemDecoder | None = None
        self.teacher_ends: list[int] = []

    def begin_as(self, teacher: LLMRec, layers: Sequence[int], catalogue: Catalogue) -> None:
        """Start from some of the teacher's layers and from its item vectors."""
        network, settings = teacher.fitted_network, self.settings
        assert isinstance(network, ItemDecoder)
        rows = torch.from_numpy(teacher.vocabulary.rows_of(catalogue.vocabulary))
        require_known(settings.items, rows, "the teacher")
        self.items.take(network.items, rows, learnt=settings.keep != "none")
        if settings.keep != "none":
            self.decoder.load_state_dict(network.decoder.truncated(layers).state_dict())
            self.into.load_state_dict(network.into.state_dict())
            self.out.load_state_dict(network.out.state_dict())
        if self.prompt is not None and network.prompt is not None:
            self.prompt.copy_(network.prompt)

    def meet_again(self, teacher: LLMRec, known: int, catalogue: Catalogue) -> None:
        """Keep what an older student knew, and start new items as the teacher has them.

        Args:
            teacher: knows them.
            known: items of the catalogue that the older student knew.
            catalogue: all items.

        Raises:
            SettingError: the teacher reads texts in another way than the older student's did.
        """
        network = teacher.fitted_network
        assert isinstance(network, ItemDecoder)
        theirs = network.items
        rows = torch.from_numpy(teacher.vocabulary.rows_of(catalogue.vocabulary))
        require_known(self.settings.items, rows[known:], "the teacher")
        rows[:known] = UNKNOWN
        if isinstance(self.items, TextTable):
            assert isinstance(theirs, TextTable)
            if not torch.equal(self.items.whitening, theirs.whitening.to(self.items.whitening)):
                raise SettingError(
                    "start=...: this teacher reads item texts in another way than that of the older "
                    "student; give fit of the teacher the older teacher as its start"
                )
        self.items.take(theirs, rows, learnt=not isinstance(self.items, TextTable))

    def be_taught_by(self, teacher: LLMRec, catalogue: Catalogue) -> None:
        """Grow what distillation needs."""
        settings = self.settings
        if settings.distillation != "none":
            width, dim = self.out.in_features, self.out.out_features
            self.heads.extend(nn.Linear(width, dim) for _ in range(settings.blocks - 1))
        if settings.distillation == "online":
            self.teacher = for_vocabulary(teacher, catalogue.vocabulary)
            self.teacher_ends = block_ends(teacher.shape.layers, settings.blocks)

    def leave_teacher(self) -> None:
        """Drop what only learning needed."""
        self.heads = nn.ModuleList()
        self.teacher = None

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        settings, items = self.settings, self.items.vectors()
        users, blocks = self.target_states(batch, items, self.ends)
        terms = {"softmax": self.softmax(users, items, batch)}
        if settings.distillation == "none":
            return terms
        taught = batch.extra
        if self.teacher is not None:
            terms["teacher"] = self.teacher.losses(batch)["softmax"]
            taught = self.teacher.lesson(
                batch, self.teacher_ends, settings.asked_logits(len(items))
            )
        if "states" not in taught:
            raise DataError("a batch came without the teacher's states; SLMRec learns nothing so")
        own = torch.stack(blocks, dim=1)  # (T, B, H)
        terms |= state_terms(own, taught["states"].to(own.dtype), settings.cosine, settings.norm)
        if settings.supervision and len(self.heads):
            inner = [
                self.softmax(head(block), items, batch)
                for head, block in zip(self.heads, blocks[:-1], strict=True)
            ]
            terms["supervision"] = settings.supervision * torch.stack(inner).mean()
        if settings.logits:
            terms["logits"] = settings.logits * logit_divergence(
                users, items, taught["top"], taught["top_logits"], settings.temperature
            )
        return terms


def for_vocabulary(teacher: LLMRec, vocabulary: Vocabulary) -> ItemDecoder:
    """Return a copy of the teacher's network whose item rows are those of ``vocabulary``.

    Raises:
        DataError: the teacher does not know all of its items.
    """
    rows = torch.from_numpy(teacher.vocabulary.rows_of(vocabulary))
    if (rows < 1).any():
        raise DataError(
            f"the teacher does not know {int((rows < 1).sum())} of the training items; "
            "train it on the same events"
        )
    network = copy.deepcopy(teacher.fitted_network)
    assert isinstance(network, ItemDecoder)
    network.items = network.items.select(rows)
    return network


def block_ends(layers: int, blocks: int) -> list[int]:
    """Return after how many layers each block ends.

    >>> block_ends(30, 4), block_ends(4, 4)
    ([8, 15, 23, 30], [1, 2, 3, 4])
    """
    ends = [(2 * k * layers + blocks) // (2 * blocks) for k in range(1, blocks + 1)]
    if not all(a < b for a, b in pairwise([0, *ends])):
        raise SettingError(f"{layers} layers cannot be cut into {blocks} blocks")
    return ends


def choose_layers(keep: str, teacher: LLMRec, layers: int, histories: Histories) -> list[int]:
    """Return which of the teacher's layers, from 0, the student starts from.

    Their influence is measured on the latest events of training users.
    """
    depth = teacher.shape.layers
    if keep == "last":
        return list(range(depth - layers, depth))
    if keep == "spaced":
        return [end - 1 for end in block_ends(depth, layers)]
    if keep == "influence":
        starts, ends = histories.offsets[:-1], histories.offsets[1:]
        influence = layer_influence(teacher, histories, starts, ends)
        return sorted(influence.topk(layers).indices.tolist())
    return list(range(layers))


def state_terms(own: Tensor, taught: Tensor, cosine: float, norm: float) -> dict[str, Tensor]:
    """Return the weighted distances between the states of student and teacher.

    Args:
        own, taught: (T, B, H) states at the ends of B blocks.
        cosine, norm: λ1 and λ2; a term of weight 0 is left out.

    Source: SLMRec, equations for D_cos and D_norm; the plain norm is that of the published code.

    >>> same = torch.ones(1, 2, 4)
    >>> {name: float(term) for name, term in state_terms(same, same, 1.0, 0.1).items()}
    {'cosine': 0.0, 'norm': 0.0}
    """
    terms = {}
    if cosine:
        terms["cosine"] = cosine * (1 - F.cosine_similarity(own, taught, dim=-1)).mean()
    if norm:
        terms["norm"] = norm * (own - taught).norm(dim=-1).mean()
    return terms


def logit_divergence(
    states: Tensor, items: Tensor, top: Tensor, top_logits: Tensor, temperature: float
) -> Tensor:
    """Return the divergence from the teacher's softmax to the student's, over the teacher's best.

    Args:
        states: (T, d) the student's user vectors.
        items: (N, d) its item vectors.
        top: (T, K) item rows of the teacher's highest logits.
        top_logits: (T, K) those logits.
        temperature: both softmaxes are flattened by it; the result is scaled by its square.
    """
    own = torch.einsum("td,tkd->tk", states, F.embedding(top - 1, items)) / temperature
    taught = F.log_softmax(top_logits.to(own.dtype) / temperature, dim=-1)
    own = F.log_softmax(own, dim=-1)
    return F.kl_div(own, taught, reduction="batchmean", log_target=True) * temperature**2
