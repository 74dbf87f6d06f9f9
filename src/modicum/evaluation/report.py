"""The report of an evaluation: one value per user, and everything that can be read from it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import polars as pl

from modicum.errors import DataError
from modicum.evaluation.candidates import FULL
from modicum.evaluation.report_files import (
    checksum,
    packed,
    read_header,
    read_table,
    write_files,
)
from modicum.evaluation.shown import Shown
from modicum.evaluation.statistics import RESAMPLES, bootstrap_interval
from modicum.evaluation.strata import ALL

FORMAT = "modicum report"
VERSION = 1
TABLE, HEADER = "per_stratum.parquet", "report.json"
"""The files of a saved report."""

KEYS = ("user", "stratum", "queries")
"""Columns of ``per_stratum`` beside the metrics."""

REQUIRED = (
    "model",
    "split",
    "targets",
    "candidates",
    "exclude_seen",
    "k",
    "queries",
    "users",
    "unknown targets",
    "excluded targets",
    "seed",
    "queries digest",
)
"""What a protocol must say before a report can be shown."""

OF_THE_MODEL = ("model", "catalogue", "unknown targets", "training seeds")
"""What a protocol says of the model rather than of how it was judged."""


@dataclass(frozen=True, eq=False, repr=False)
class Report(Shown):
    """How well a model ranks, by user and stratum, with intervals over users.

    Args:
        per_stratum: one row per stratum and user: ``user``, ``stratum``, ``queries``, the metrics.
        coverage: ``coverage@k`` -> share of the catalogue that was recommended to anyone.
        protocol: how it was measured; see ``REQUIRED``.
        seed_sd: of a report averaged over training seeds, the standard deviation of each mean:
            ``metric``, ``stratum``, ``seed_sd``.

    >>> users = pl.DataFrame({"user": [1, 2], "stratum": "all", "queries": 1, "mrr": [0.25, 0.75]})
    >>> report = Report(users, coverage={}, protocol={"model": "example", "candidates": FULL})
    >>> report, report.summary["mean"].item()
    (Report(example, 2 users), 0.5)
    """

    per_stratum: pl.DataFrame
    coverage: dict[str, float]
    protocol: dict[str, Any]
    seed_sd: pl.DataFrame | None = None

    unit: ClassVar[str] = "user"
    grouped_by: ClassVar[str] = "stratum"
    smaller_is_better: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        lacking = [name for name in KEYS if name not in self.per_stratum.columns]
        if lacking or not self.metrics:
            raise DataError(
                f"a report needs the columns {', '.join(KEYS)} and metrics; it has "
                f"{', '.join(self.per_stratum.columns) or 'none'}"
            )
        wrong = [name for name in self.metrics if not self.per_stratum[name].dtype.is_float()]
        if wrong:
            raise DataError(f"the metrics of a report are floats; {', '.join(wrong)} are not")

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics that have a value for each user."""
        return [name for name in self.per_stratum.columns if name not in KEYS]

    @property
    def strata(self) -> list[str]:
        """Names of the strata that have queries."""
        return self.per_stratum["stratum"].unique(maintain_order=True).to_list()

    @property
    def groups(self) -> list[str]:
        """What the figures are apart for: the strata."""
        return self.strata

    @property
    def main_metrics(self) -> tuple[str, ...]:
        """Metrics that are compared unless others are named: those of the longest list."""
        longest = max(self.protocol.get("k", [10]))
        return f"ndcg@{longest}", f"hr@{longest}"

    @property
    def sampled(self) -> bool:
        """Whether targets were ranked among sampled candidates."""
        return self.protocol.get("candidates") != FULL

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before the figures."""
        if not self.sampled:
            return []
        few = self.protocol.get("fewer candidates", 0)
        capped = f"; for {100 * few:.3g} % of the queries fewer items were left, all taken"
        return [
            f"SAMPLED RANKING ({self.protocol['candidates']}{capped if few else ''}): each target was ranked among a few "
            "random items instead of the catalogue. These figures flatter every model, can reverse "
            "the order of models, and must not be set beside full-catalogue figures."
        ]

    @property
    def method(self) -> str:
        """How the figures were computed."""
        return (
            "Metrics are averaged over each user's queries first, then over users; n counts users. "
            f"Intervals are 95 % percentile bootstrap intervals over users ({RESAMPLES:,} "
            "resamples)."
        )

    @cached_property
    def per_user(self) -> pl.DataFrame:
        """One row per user, over all the user's queries."""
        return self.values(ALL).drop("stratum")

    def values(self, group: str) -> pl.DataFrame:
        """Return the rows of one stratum."""
        return self.per_stratum.filter(pl.col("stratum") == group)

    @cached_property
    def summary(self) -> pl.DataFrame:
        """Mean over users with its 95 % bootstrap interval: metric, stratum, mean, low, high, n.

        ``n`` counts users. There is no interval for coverage, nor for a single user. Reports over
        seeds have ``seed_sd`` beside, sampled ones ``candidates``.
        """
        rows = []
        for stratum in self.strata:
            values = self.values(stratum).select(self.metrics).to_numpy()
            low, high = bootstrap_interval(values, seed=self.protocol.get("seed", 0))
            rows.append(
                pl.DataFrame(
                    {
                        "metric": self.metrics,
                        "stratum": [stratum] * len(self.metrics),
                        "mean": values.mean(axis=0),
                        "low": low,
                        "high": high,
                        "n": [len(values)] * len(self.metrics),
                    }
                )
            )
        everyone = rows[0]["n"][0]
        shares = [
            {"metric": name, "stratum": ALL, "mean": share, "n": everyone}
            for name, share in self.coverage.items()
        ]
        summary = pl.concat([rows[0], pl.DataFrame(shares, schema=rows[0].schema), *rows[1:]])
        summary = summary.with_columns(pl.col("low", "high").fill_nan(None))
        if self.seed_sd is not None:
            keys = ["metric", "stratum"]
            summary = summary.join(self.seed_sd, on=keys, how="left", maintain_order="left")
        if self.sampled:
            summary = summary.with_columns(candidates=pl.lit(self.protocol.get("candidates")))
        return summary

    def differences(self, other: Report) -> list[str]:
        """Say how another report was measured differently; nothing where both can be compared."""
        ignored = set(OF_THE_MODEL) if self.sampled else {*OF_THE_MODEL, "seed"}
        found = [
            f"{key}: {self.protocol.get(key)} and {other.protocol.get(key)}"
            for key in dict.fromkeys([*self.protocol, *other.protocol])
            if key not in ignored and self.protocol.get(key) != other.protocol.get(key)
        ]
        if not found and not self.per_stratum[KEYS].equals(other.per_stratum[KEYS]):
            found = ["users, or the number of queries of a user"]
        return found

    def require_renderable(self) -> None:
        """Raise a ``DataError`` unless there are n, intervals and the whole protocol to show."""
        lacking = [key for key in REQUIRED if key not in self.protocol]
        if lacking:
            raise DataError(
                f"this report is not shown: its protocol does not say {', '.join(lacking)}; "
                "reports made by evaluate from the queries of a split do"
            )
        if len(self.per_user) < 2:
            raise DataError(
                f"this report is not shown: it is over {len(self.per_user)} user, and there is no "
                "interval for fewer than two; evaluate more users, or read .per_user"
            )

    def __repr__(self) -> str:
        marked = ", sampled" if self.sampled else ""
        return f"Report({self.protocol.get('model')}, {len(self.per_user):,} users{marked})"

    @property
    def rendering(self) -> ModuleType:
        from modicum.evaluation import rendering

        return rendering

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``per_stratum.parquet`` and ``report.json`` into a folder; return the folder.

        Raises:
            ResourceError: the folder cannot be made or written to.
        """
        table = packed(self.per_stratum)
        header = {
            "format": FORMAT,
            "version": VERSION,
            "protocol": self.protocol,
            "coverage": self.coverage,
            "seed_sd": None if self.seed_sd is None else self.seed_sd.to_dicts(),
            "sha256": checksum(table),
        }
        text = json.dumps(header, indent=2).encode()
        return write_files(folder, {TABLE: table, HEADER: text})

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Report:
        """Read a saved report.

        Raises:
            DataError: a file is missing, damaged, or of another format.
        """
        folder = Path(folder)
        wanted = {"protocol": dict, "coverage": dict, "seed_sd": list | None, "sha256": str}
        header = read_header(folder / HEADER, format_=FORMAT, version=VERSION, wanted=wanted)
        spread = header["seed_sd"]
        return cls(
            per_stratum=read_table(folder / TABLE, header["sha256"]),
            coverage=header["coverage"],
            protocol={key: _whole_seconds(value) for key, value in header["protocol"].items()},
            seed_sd=None if spread is None else pl.DataFrame(spread),
        )


def _whole_seconds(value: Any) -> Any:
    """Drop the empty fraction of a cut time, which earlier reports have and splits now leave out."""
    return value.removesuffix(".000000") if isinstance(value, str) else value
