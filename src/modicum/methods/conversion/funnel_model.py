"""A model of a funnel: hyper-parameters, a network, and the probability of each task."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
import torch
from torch import Tensor

from modicum import __version__, bundle
from modicum.bundle import Bundle
from modicum.data.features import Features
from modicum.data.funnel import Funnel
from modicum.data.impressions import Impressions
from modicum.data.reading.typed import pieces, scan_table
from modicum.errors import NotFittedError, SettingError
from modicum.evaluation.predictions import Predictions
from modicum.evaluation.probability_metrics import log_loss
from modicum.methods.conversion import describing
from modicum.methods.conversion.calibration import (
    Calibration,
    calibrated,
    fit_calibration,
)
from modicum.methods.conversion.network import FunnelNetwork
from modicum.methods.fitting import check_seed, hashed
from modicum.training import memory
from modicum.training.loop import train as run_training
from modicum.training.processes import Processes
from modicum.training.progress import ProgressBar
from modicum.training.rows import RowBatch, Rows
from modicum.training.settings import TrainingFields
from modicum.training.streamed import StreamedRows

FITTED_ROWS = 1_000_000
"""Features are fitted on an even sample of this many training rows."""

IN_MEMORY = 2_000_000
"""A table of more training rows is read piece by piece."""

ROWS_AT_ONCE = 65_536
"""Rows predicted at a time."""


@dataclasses.dataclass(kw_only=True)
class FunnelModel(TrainingFields, ABC):
    """The base of all methods of the family; a method adds its fields and its ``network``.

    Every column that is neither a task nor ignored is a feature: text is a category, whole and
    other numbers are numbers. A fitted model has ``features`` and ``training_log``.

    Args:
        funnel: the tasks.
        ignore: columns that are no features, such as what is only known after the fact.
        categories: columns of whole numbers that are names rather than amounts.
        product: learn each task given the one before it, by the likelihood of the stages reached;
            if not, each for any row, by its own cross-entropy.
        dim: width of a field's vector.
        bins: of a number's piecewise-linear encoding, at most.
        hidden: units of a layer.
        layers: of each perceptron.
        dropout: rate behind each layer.
        calibration: of each task given the one before it, on the validation rows: ``"isotonic"``,
            any rising map, ``"temperature"``, one number that log-odds are divided by, or
            ``"none"``.
    """

    funnel: Funnel
    ignore: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    product: bool = True
    dim: int = 16
    bins: int = 32
    hidden: int = 64
    layers: int = 2
    dropout: float = 0.1
    calibration: Calibration = "none"
    batch_size: int = 1024
    epochs: int = 50
    patience: int = 3
    warmup_steps: int = 20

    def __post_init__(self) -> None:
        if not isinstance(self.funnel, Funnel):
            raise SettingError(
                f"funnel={self.funnel!r} must be a funnel: mo.Funnel('click', 'conversion')"
            )
        for name in ("ignore", "categories"):
            if isinstance(getattr(self, name), str):
                raise SettingError(f"{name} is a list of columns, not {getattr(self, name)!r}")

    @abstractmethod
    def network(self, features: Features) -> FunnelNetwork:
        """Build the untrained network for the features of a table."""

    @property
    def name(self) -> str:
        """The method's published name in lower case, as on the command line."""
        return type(self).__name__.lower()

    def check(self) -> None:
        super().check()
        if self.bins < 1:
            raise SettingError(f"bins={self.bins} must be 1 or more")
        if not 0 <= self.dropout < 1:
            raise SettingError(f"dropout={self.dropout} must be in [0, 1)")

    # fitting

    def fit(
        self,
        train: Any,
        validation: Any = None,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        progress: bool = True,
    ) -> Self:
        """Learn from a table of impressions.

        Args:
            train: path to csv, tsv, jsonl or parquet, or a polars or pandas frame: features, and a
                column of labels for each task: 1, 0, or null where unknown.
            validation: such a table of other rows; chooses the epoch and stops early, by the log
                loss of each task relative to that of its base rate, averaged over tasks.
            seed: of the random start, the order of the batches and dropout.
            folder: where checkpoints go; a training that was cut off there goes on from it.
            progress: show progress on standard error.

        Raises:
            DataError: the table cannot be read, its labels are not those of the funnel, a task
                never happened, or a feature is a copy of a label or of no usable kind.
            SettingError: a hyper-parameter is out of range, or there are no validation rows to
                calibrate on.
            ResourceError: the training does not fit into memory.
        """
        self.check()
        check_seed(seed)
        if self.calibration != "none" and validation is None:
            raise SettingError(
                f"calibration={self.calibration!r} needs rows that training does not see: pass "
                "validation"
            )
        table = Impressions.read(train, self.funnel, self.ignore)
        self.funnel.check_reached(table.scan)
        sample = table.sample(FITTED_ROWS)
        sample.check_features()
        features = Features.fit(sample.features(), categories=self.categories, bins=self.bins)
        held_out = None if validation is None else self._read(validation, features)
        device, purpose = self.torch_device, f"training {self.name}"
        memory.require_room(lambda: self.network(features), self.batch_size, device, purpose)
        torch.manual_seed(seed)
        network = self.network(features)
        network.start_at(self._base_rates(sample))
        processes = Processes.join()
        rows = self._rows(table, features, seed, processes)
        needed = memory.training_bytes(network, self.batch_size)
        memory.require(needed, device, purpose)
        digest = sample.digest(features)
        judged_by = [] if held_out is None else [held_out.digest(features)]
        bar = ProgressBar(self.name, shown=progress and processes.leads)
        bar.say(
            f"{sum(p.numel() for p in network.parameters()):,} parameters, {len(table):,} rows of "
            f"{len(features.names)} features in {len(rows):,} batches an epoch, {self.epochs} "
            "epochs at most"
        )
        self.features, self._network = features, network
        self._calibration: dict[str, pl.DataFrame] = {}
        self.lineage: dict[str, Any] = {
            "seed": seed,
            "data": digest,
            "rows": len(table),
            "modicum": __version__,
            "torch": str(torch.__version__),
        }
        try:
            self.training_log = run_training(
                network,
                rows,
                self,
                validate=None if held_out is None else lambda: self._value(held_out),
                folder=None if folder is None else Path(folder),
                fingerprint=hashed([self.name, self.settings(), seed, digest, *judged_by]),
                bar=bar,
            )
        except BaseException:
            del self._network  # half a training is not a fitted model
            raise
        if held_out is not None and self.calibration != "none":
            self._calibrate(held_out)
        return self

    def _base_rates(self, table: Impressions) -> list[float]:
        """Return the rate of each task, given the one before it if ``product``; never 0 nor 1."""
        outcomes = self.funnel.outcomes(table.labels())
        rates = []
        for task, name in enumerate(self.funnel.tasks):
            came = outcomes[self.funnel.given(task) if self.product else f"p({name})"].drop_nulls()
            rates.append(float(came.to_numpy().sum() + 0.5) / (len(came) + 1))
        return rates

    def _rows(
        self, table: Impressions, features: Features, seed: int, processes: Processes
    ) -> Rows | StreamedRows:
        """Return the training batches: from memory, or read piece by piece where they are many."""
        how: dict[str, Any] = {"batch_size": self.batch_size, "seed": seed, "processes": processes}
        if len(table) > IN_MEMORY:
            return StreamedRows(
                len(table), lambda at, length: table.part(at, length).encoded(features), **how
            )
        columns = table.encoded(features)
        return Rows({name: torch.from_numpy(column) for name, column in columns.items()}, **how)

    def _calibrate(self, held_out: Impressions) -> None:
        """Fit the map of each task's probability given the one before it, where it was reached."""
        given, labels = self._given(held_out.scan), held_out.labels()
        outcomes = self.funnel.outcomes(labels)
        for task, name in enumerate(self.funnel.tasks):
            came = outcomes[self.funnel.given(task)].to_numpy()
            known = ~np.isnan(came)
            if 0 < came[known].sum() < known.sum():
                knots = fit_calibration(self.calibration, came[known], given[known, task])
                self._calibration[name] = knots

    def _read(self, data: Any, features: Features) -> Impressions:
        """Open a labelled table whose columns are those of training."""
        table = Impressions.read(data, self.funnel, self.ignore)
        features.require_columns(table.columns, {*self.funnel.tasks, *self.ignore})
        return table

    def _value(self, table: Impressions) -> float:
        """Return the negative mean over tasks of log loss by that of the base rate."""
        labels = table.labels()
        reached = self.funnel.reach(self._given(table.scan))
        values = []
        for task in range(len(self.funnel.tasks)):
            known = ~np.isnan(labels[:, task])
            rate = labels[known, task].mean() if known.any() else 0.0
            if 0 < rate < 1:
                loss = log_loss(labels[known, task], reached[known, task]).mean()
                values.append(loss / log_loss(labels[known, task], rate).mean())
        return -float(np.mean(values)) if values else 0.0

    # predicting

    def predict(self, data: Any) -> pl.DataFrame:
        """Return the probability of each task for each row, in the order of the rows.

        Args:
            data: a table as for ``fit``, with the same features; labels may be there and are not
                read.

        Returns:
            the columns ``funnel.outputs``, such as ``p(click)``, ``p(conversion|click)`` and
            ``p(conversion)``; the last is the product of the first two.

        Raises:
            NotFittedError: there is no network yet.
            DataError: a column is missing, unknown, or holds values of another type.
        """
        self._require_fitted()
        scan = scan_table(data)
        columns = scan.collect_schema().names()
        self.features.require_columns(columns, {*self.funnel.tasks, *self.ignore})
        return self.funnel.probabilities(self._given(scan))

    def predictions(self, data: Any) -> Predictions:
        """Return predicted probabilities beside the outcomes, for ``mo.evaluate``."""
        self._require_fitted()
        table = self._read(data, self.features)
        return Predictions(
            probabilities=self.funnel.probabilities(self._given(table.scan)),
            outcomes=self.funnel.outcomes(table.labels()),
            tables=self._used(table),
        )

    def _given(self, scan: pl.LazyFrame) -> np.ndarray:
        """Return (R, T) probabilities of each task given the one before it."""
        training = self._network.training
        self._network.eval()
        with torch.inference_mode():
            parts = [
                self._network.probabilities(batch).cpu().numpy() for batch in self._batches(scan)
            ]
        self._network.train(training)
        given = np.concatenate(parts) if parts else np.empty((0, len(self.funnel.tasks)))
        for name, knots in self._calibration.items():
            task = self.funnel.tasks.index(name)
            given[:, task] = calibrated(given[:, task], knots)
        return given

    def _used(self, table: Impressions) -> dict[str, pl.DataFrame]:
        """Return what each task used on average: the mean of the network's ``weights``."""
        sums: dict[str, Tensor] = {}
        with torch.inference_mode():
            for batch in self._batches(table.sample(ROWS_AT_ONCE).scan):
                for name, weights in self._network.weights(batch).items():
                    sums[name] = sums.get(name, 0) + weights.double().sum(0).cpu()
        tables = {}
        for name, total in sums.items():
            shares = (total / total.sum(1, keepdim=True)).numpy()
            parts = self.features.names if name == "fields" else range(1, shares.shape[1] + 1)
            part = pl.Series(name.removesuffix("s"), list(parts))
            columns = [
                pl.Series(task, x) for task, x in zip(self.funnel.tasks, shares, strict=True)
            ]
            tables[f"Share of the {name} in what a task used"] = pl.DataFrame([part, *columns])
        return tables

    def _batches(self, scan: pl.LazyFrame) -> Iterator[RowBatch]:
        """Yield the rows of a table, encoded, in their order."""
        device = next(self._network.parameters()).device
        for part in pieces(scan.select(self.features.names), ROWS_AT_ONCE):
            columns = self.features.encode(part)
            tensors: dict[str, Tensor] = {n: torch.from_numpy(x) for n, x in columns.items()}
            yield RowBatch(tensors).to(device)

    def _require_fitted(self) -> None:
        if not hasattr(self, "_network"):
            raise NotFittedError(f"{self.name} is not fitted yet; call fit, or mo.load a saved one")

    # keeping

    def settings(self) -> dict[str, Any]:
        """Return the hyper-parameters as plain JSON values."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        lists = {name: list(value) for name, value in values.items() if isinstance(value, tuple)}
        return values | lists | {"funnel": self.funnel.settings}

    def save(self, folder: str | Path) -> Path:
        """Write the fitted model into ``folder``; :func:`modicum.load` reads it."""
        self._require_fitted()
        family, _, word = type(self).__module__.removeprefix("modicum.methods.").rpartition(".")
        saved = Bundle(
            method=f"{family}.{word}",
            settings=self.settings(),
            tables=self.features.tables() | self._calibration_table(),
            weights=self._network.state_dict(),
            training_log=[*self.training_log],
            lineage={**self.lineage},
            purpose=describing.purpose(self.funnel, self.lineage["rows"]),
            limits=describing.LIMITS,
        )
        return bundle.save(saved, Path(folder))

    def _calibration_table(self) -> dict[str, pl.DataFrame]:
        maps = [
            pl.select(task=pl.lit(n)).join(x, how="cross") for n, x in self._calibration.items()
        ]
        return {"calibration": pl.concat(maps)} if maps else {}

    @classmethod
    def of_bundle(cls, saved: Bundle) -> Self:
        """Rebuild a fitted model from what a folder holds."""
        lists = {name: tuple(x) for name, x in saved.settings.items() if isinstance(x, list)}
        funnel = Funnel.of_settings(saved.settings["funnel"])
        model = cls(**saved.settings | lists | {"funnel": funnel})
        model.features = Features.of_tables(saved.tables)
        with torch.device("meta"):  # nothing is allocated for settings that do not fit the weights
            bundle.require_shapes(model.network(model.features), saved.weights)
        model._network = model.network(model.features)
        maps = saved.tables.get("calibration", pl.DataFrame({"task": []}))
        model._calibration = {str(key[0]): part for key, part in maps.group_by("task")}
        bundle.assign(model._network, saved.weights)
        model._network.eval()
        model.training_log, model.lineage = saved.training_log, saved.lineage
        return model
