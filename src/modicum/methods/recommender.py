"""A recommender: hyper-parameters, a network, and the three things one asks of it."""

from __future__ import annotations

import copy
import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
import torch

from modicum import __version__, bundle
from modicum.bundle import Bundle
from modicum.data.histories import Histories
from modicum.data.log import EventLog
from modicum.data.split import Queries
from modicum.errors import DataError, SettingError
from modicum.evaluation.metrics import ranking_metrics
from modicum.methods import describing
from modicum.methods.asking import Asked
from modicum.methods.fitting import Fitting, checked, events_digest, hashed, sampled
from modicum.methods.network import Catalogue, CountedNetwork, Network, weights_digest
from modicum.methods.starting import Start
from modicum.training import memory
from modicum.training.batches import Windows
from modicum.training.loop import train as run_training
from modicum.training.processes import Processes
from modicum.training.settings import WindowFields, check_types

VALIDATION_QUERIES = 5_000


@dataclasses.dataclass(kw_only=True)
class Recommender(Asked, ABC):
    """The base of all recommenders; a method adds its fields and its ``network``.

    A fitted recommender has ``vocabulary`` (the items it can recommend) and ``training_log``.
    """

    @abstractmethod
    def network(self, catalogue: Catalogue) -> Network:
        """Build the untrained network for a catalogue."""

    def check(self) -> None:
        """Raise SettingError where a field is of another type or out of range."""
        check_types(self)

    # fitting

    def fit(
        self,
        train: Histories | EventLog,
        validation: Queries | None = None,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        progress: bool = True,
        exclude_seen: bool = True,
        start: Self | str | Path | None = None,
    ) -> Self:
        """Learn from training events.

        With ``start``, the weights of an older model of the same method are where the training
        begins. Its items keep their rows and stay in the catalogue; new ones are appended, and
        their vectors begin as the method begins them. What is counted, such as popularity, is
        counted of the events given.

        Args:
            train: ``split.train``, or a whole log.
            validation: ``split.validation``; chooses the epoch by NDCG@10 and stops early.
            seed: of the random start, the order of the batches and dropout.
            folder: where checkpoints go; a training that was cut off there goes on from it.
            progress: show progress on standard error.
            exclude_seen: leave out items of the history when validating, as in the evaluation.
            start: a fitted model, or its folder, to begin with.

        Raises:
            DataError: there is nothing to learn from, or an argument is of the wrong kind.
            SettingError: a hyper-parameter is out of range, or is another than that of ``start``.
            ResourceError: the training does not fit into memory.
        """
        histories = checked(train, validation)
        place = None if folder is None else Path(folder)
        older = None if start is None else Start.of(start, self)
        fitting = Fitting(validation, seed, place, progress, exclude_seen, older)
        if older is not None:
            histories = histories.continuing(older.vocabulary)
            older.prepare(self)
        self.check()
        self.lineage: dict[str, Any] = {
            "seed": seed,
            "data": events_digest(histories),
            "modicum": __version__,
            "torch": str(torch.__version__),
        }
        if older is not None:
            self.lineage["start"] = older.described
        self.before_training(histories, fitting)
        try:
            catalogue = Catalogue.of(histories, self.predicted(histories))
            self._require_room(catalogue)
            torch.manual_seed(seed)
            self._begin(catalogue)
            self._require_weighed(histories, self._network.weighs)
            if older is not None:
                older.give(self, self._network)
            self.start(self._network)
            if isinstance(self._network, CountedNetwork):
                self._network.count(self.counted(histories))
                self.training_log: list[dict[str, Any]] = []
            else:
                fingerprint = self.fingerprint(histories, seed)
                if older is not None:
                    fingerprint = hashed([fingerprint, older.digest])
                self.training_log = self._train(histories, fitting, self, fingerprint)
        except BaseException:
            vars(self).pop("_network", None)  # half a training is not a fitted recommender
            raise
        finally:
            self.after_training()
        self._network.eval()
        self._trained_on = histories
        return self

    def before_training(self, histories: Histories, fitting: Fitting) -> None:
        """Do what must be done before the network is built; nothing here."""

    def start(self, network: Network) -> None:
        """Give the new network what it starts from besides chance; nothing here.

        In a warm start it has the weights of the older model already.
        """

    def after_training(self) -> None:
        """Drop what only training needed; nothing here. Called also when training fails."""

    def complete(self, histories: Histories) -> None:
        """Give the network what follows from its weights and the training events; nothing here.

        Called before it is judged and when it is trained.
        """

    def counted(self, histories: Histories) -> Histories:
        """Return what a network that only counts is to count of the training events."""
        return histories

    def _require_room(self, catalogue: Catalogue) -> None:
        positions, device = 0, torch.device("cpu")
        if isinstance(self, WindowFields):
            positions = self.batch_size * self.length // Processes.join().size
            device = self.torch_device
        purpose = f"training {self.name}"
        aside = copy.copy(self)  # what it keeps of this building is not to stay
        memory.require_room(lambda: aside.network(catalogue), positions, device, purpose)

    def _begin(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._network = self.network(catalogue)

    def fit_further(
        self,
        train: Histories | EventLog,
        validation: Queries | None = None,
        *,
        epochs: int,
        seed: int = 0,
        folder: str | Path | None = None,
        progress: bool = True,
        exclude_seen: bool = True,
    ) -> Self:
        """Train the fitted network on from the weights it has; a failure leaves it as it was.

        Args:
            train: ``split.train``, or a whole log, of the items that the model knows.
            validation: ``split.validation``; chooses among the new epochs.
            epochs: of this training at most.
            seed: of the order of the batches and dropout.
            folder: where checkpoints go; a training that was cut off there goes on from it.
            progress: show progress on standard error.
            exclude_seen: leave out items of the history when validating, as in the evaluation.

        Raises:
            NotFittedError: there is no network yet.
            DataError: the events are of other items, or an argument is of the wrong kind.
            SettingError: the method has nothing to train, or a hyper-parameter is out of range.
            ResourceError: the training does not fit into memory.
        """
        histories = checked(train, validation)
        place = None if folder is None else Path(folder)
        fitting = Fitting(validation, seed, place, progress, exclude_seen)
        self.require_items_of(histories)
        if not isinstance(self, WindowFields) or isinstance(self._network, CountedNetwork):
            raise SettingError(f"{self.name} only counts; fit it anew")
        settings = dataclasses.replace(self, epochs=epochs)
        settings.check()
        start = self.fitted_network
        parts = [
            self.name,
            settings.settings(),
            seed,
            events_digest(histories),
            weights_digest(start),
        ]
        self._network = copy.deepcopy(start)
        torch.manual_seed(seed)
        try:
            records = self._train(histories, fitting, settings, hashed(parts))
        except BaseException:
            self._network = start
            raise
        done = len(self.training_log)
        self.training_log += [
            record | {"epoch": done + record["epoch"], "after": done} for record in records
        ]
        self._trained_on = histories
        return self

    def _train(
        self,
        histories: Histories,
        fitting: Fitting,
        settings: Recommender,
        fingerprint: str,
    ) -> list[dict[str, Any]]:
        """Train the network in place by ``settings``, and return a record of each epoch."""
        assert isinstance(self, WindowFields) and isinstance(settings, WindowFields)
        windows = self.windows_of(histories, fitting)
        self._require_weighed(histories, windows.weight is not None)
        processes = Processes.join()
        positions = self.batch_size * self.length // processes.size
        shared_out = memory.layers_to_share(self._network, positions, self.torch_device, processes)
        needed = memory.training_bytes(
            self._network, positions, shared_by=processes.size if shared_out else 1
        )
        memory.require(needed, self.torch_device, f"training {self.name}")
        bar = fitting.bar(self.name)
        bar.say(
            f"{sum(p.numel() for p in self._network.parameters()):,} parameters, "
            f"{windows.num_targets:,} targets in {len(windows):,} batches an epoch, "
            f"{settings.epochs} epochs at most, about {needed / 2**30:.2f} GiB"
            + (f", layers shared out among {processes.size} processes" if shared_out else "")
        )

        def validate() -> float:
            assert fitting.validation is not None
            self.complete(histories)
            chosen = sampled(fitting.validation, VALIDATION_QUERIES)
            return self._validation_value(chosen, fitting.exclude_seen)

        records = run_training(
            self._network,
            windows,
            settings,
            validate=None if fitting.validation is None else validate,
            folder=fitting.folder,
            fingerprint=hashed([fingerprint, *fitting.judged_by]),
            shared_out=shared_out,
            bar=bar,
        )
        self.complete(histories)
        return records

    def _require_weighed(self, histories: Histories, weighed: bool) -> None:
        if "weight" in histories.columns and not weighed:
            raise DataError(
                f"the events have weights, which do not reach the loss of {self.name}; fit it on "
                "events without, or weigh those of a SASRec, GRU4Rec, LLMRec or SLMRec"
            )

    def windows_of(self, histories: Histories, fitting: Fitting) -> Windows:
        """Return the training batches; a method that needs more in a batch extends them."""
        assert isinstance(self, WindowFields)
        return Windows(
            histories,
            length=self.length,
            batch_size=self.batch_size,
            every=self.windows == "all",
            seed=fitting.seed,
            processes=Processes.join(),
        )

    def _validation_value(self, queries: Queries, exclude_seen: bool) -> float:
        """Return NDCG@10, each user counting once; NaN where scores are no numbers."""
        ranks = self.rank(queries, 10, exclude_seen=exclude_seen).ranks
        if np.isnan(ranks).any():
            return math.nan
        values = ranking_metrics(ranks, [10])["ndcg@10"]
        counts = np.bincount(queries.users)
        sums = np.bincount(queries.users, weights=values)
        return float(np.mean(sums[counts > 0] / counts[counts > 0]))

    def fingerprint(self, histories: Histories, seed: int) -> str:
        """Return a hash of all that decides the outcome of a training."""
        return hashed([self.name, self.settings(), seed, events_digest(histories)])

    # new items

    def add_items(self, table: pl.DataFrame | str | Path, *, progress: bool = True) -> Self:
        """Return this model with the new items of a table, known by their text; nothing is trained.

        It is a new model, so that whatever was said of this one stays true; rows of known items are
        the same in both. Items without text are not added.

        Args:
            table: of the kind that the model was fitted with: item ids, and a text or a vector for
                each; those of items that the model knows are not read again.
            progress: show progress on standard error.

        Raises:
            SettingError: the method does not read item texts, or was fitted without.
            DataError: the table cannot be read, or is of another kind.
        """
        self._require_fitted()
        network = copy.deepcopy(self._network)
        ids = self.append_items(network, table, progress)
        grown = copy.copy(self)
        grown._network = network
        counts = np.append(self._catalogue.counts, np.zeros(len(ids), dtype=np.int64))
        grown._catalogue = Catalogue(self.vocabulary.grow(ids), counts)
        added = self.lineage.get("added items", 0) + len(ids)
        grown.lineage = self.lineage | {"added items": added}
        grown.training_log = [*self.training_log]
        return grown

    def append_items(
        self, network: Network, table: pl.DataFrame | str | Path, progress: bool
    ) -> pl.Series:
        """Append to a network the items of a table that the model does not know; return their ids."""
        raise SettingError(
            f"{self.name} knows items by their events alone; to add items by their text, fit an "
            "LLMRec with items='text' or items='fused'"
        )

    # keeping

    def settings(self) -> dict[str, Any]:
        """Return the hyper-parameters as plain JSON values."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            name: vars(value).copy() if dataclasses.is_dataclass(value) else value
            for name, value in values.items()
        }

    def narrowed(self, kept: Mapping[str, int]) -> dict[str, Any]:
        """Return the settings of this model with ``kept`` units of each kind in every layer."""
        return {**self.settings(), **kept}

    def save(self, folder: str | Path) -> Path:
        """Write the fitted model into ``folder``; :func:`modicum.load` reads it."""
        return bundle.save(self.to_bundle(), Path(folder))

    def to_bundle(self) -> Bundle:
        """Return what a folder would hold."""
        self._require_fitted()
        family, _, word = type(self).__module__.removeprefix("modicum.methods.").rpartition(".")
        settings, weights = self.settings(), self._network.state_dict()
        return Bundle(
            method=f"{family}.{word}",
            settings=settings,
            tables={"vocabulary": self._catalogue.to_frame()},
            weights=weights,
            training_log=[*self.training_log],
            lineage={**self.lineage},
            purpose=describing.purpose(self._catalogue.counts),
            limits=describing.limits(settings),
            parts=describing.parts(weights),
        )

    @classmethod
    def of_bundle(cls, saved: Bundle) -> Self:
        """Rebuild a fitted recommender from what a folder holds."""
        model = cls(**saved.settings)
        catalogue = Catalogue.of_frame(saved.tables["vocabulary"])
        with torch.device("meta"):  # nothing is allocated for settings that do not fit the weights
            bundle.require_shapes(model.network(catalogue), saved.weights)
        model._begin(catalogue)
        bundle.assign(model._network, saved.weights)
        model._network.eval()
        model.training_log, model.lineage = saved.training_log, saved.lineage
        return model
