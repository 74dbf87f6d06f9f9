"""Compare reports unit by unit: differences, intervals and corrected paired tests."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import polars as pl

from modicum.errors import DataError, SettingError, nearest
from modicum.evaluation.prediction_report import PredictionReport
from modicum.evaluation.report import Report
from modicum.evaluation.statistics import (
    FLIPS,
    bootstrap_interval,
    effect_size,
    holm,
    sign_flip_test,
)

FEWEST_USERS = 20
"""A stratum with fewer users, or a task with fewer rows, is shown but not tested."""

ALPHA = 0.05
"""A difference with a corrected p-value below this is called one."""

FLIPS_PER_TEST = 100
"""More tests need finer p-values: the least one, 1 / flips, must survive the correction."""

SCHEMA = {
    "metric": pl.String,
    "group": pl.String,
    "a": pl.String,
    "b": pl.String,
    "mean_a": pl.Float64,
    "mean_b": pl.Float64,
    "difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "p": pl.Float64,
    "p_holm": pl.Float64,
    "effect": pl.Float64,
    "n": pl.Int64,
    "verdict": pl.String,
}


AnyReport: TypeAlias = Report | PredictionReport
"""A ``Report`` or a ``PredictionReport``; all of a comparison are of one kind."""


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Which of several models is better, for whom, and how sure that is.

    Args:
        table: one row per metric, stratum (or task) and pair: means of ``a`` and ``b``,
            ``difference`` (``a - b``) with its 95 % interval, ``p`` of the paired test by user (or
            row, or cluster) and ``p_holm`` corrected over the table, ``effect`` (Cohen's d_z),
            ``n`` users, ``verdict``: which is better, ``"open"``, or ``"too few users"`` where
            nothing was tested.
        reports: the reports compared, by name.
        metrics: names of the metrics compared.
        groups: names of the strata, or tasks, compared.
        flips: random sign patterns of each test.

    >>> users = pl.select(user=pl.int_range(30), stratum=pl.lit("all"), queries=1)
    >>> good, bad = (
    ...     Report(users.with_columns(pl.lit(hit).alias("hr@10")), coverage={}, protocol={})
    ...     for hit in (1.0, 0.0)
    ... )
    >>> compare({"good": good, "bad": bad}, metrics=["hr@10"])
    Comparison(good, bad: 1 tests)
    """

    table: pl.DataFrame
    reports: dict[str, AnyReport]
    metrics: list[str]
    groups: list[str]
    flips: int

    @property
    def grouped_by(self) -> str:
        """What the figures are apart for: ``"stratum"``, or ``"task"``."""
        return next(iter(self.reports.values())).grouped_by

    @property
    def levels(self) -> pl.DataFrame:
        """The models side by side: metric, stratum or task, report, mean, low, high, n."""
        named = [
            report.summary.select(pl.lit(name).alias("report"), pl.all())
            for name, report in self.reports.items()
        ]
        wanted = pl.DataFrame({"metric": self.metrics}).join(
            pl.DataFrame({self.grouped_by: self.groups}),
            how="cross",
            maintain_order="left_right",
        )
        return wanted.join(
            pl.concat(named, how="diagonal"),
            on=["metric", self.grouped_by],
            maintain_order="left_right",
        )

    def __repr__(self) -> str:
        return f"Comparison({', '.join(self.reports)}: {len(self.table)} tests)"

    def __str__(self) -> str:
        from modicum.evaluation.comparison_rendering import comparison_text

        return comparison_text(self)

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the models side by side, and the tests in words, as one page; return its path.

        Raises:
            DataError: a report has no n, interval or protocol to show.
            ResourceError: the page cannot be written.
        """
        from modicum.evaluation.comparison_rendering import comparison_page

        return comparison_page(self).write(path)


def compare(
    reports: Mapping[str, Report] | Mapping[str, PredictionReport],
    *,
    metrics: Sequence[str] | None = None,
    strata: Sequence[str] | None = None,
    reference: str | None = None,
    seed: int = 0,
) -> Comparison:
    """Test the differences between models, paired by user and corrected for their number.

    Each pair is compared by a sign-flip test of the users' differences; Holm's correction covers
    all tests of the table. Strata of fewer than ``FEWEST_USERS`` users are not tested. Reports of
    predicted probabilities are compared alike, by row or cluster and task.

    Args:
        reports: name -> report, of the same queries or rows under the same protocol; two or more.
        metrics: names of metrics; NDCG and HR of the longest lists by default, AUC and log loss of
            predicted probabilities.
        strata: names of strata, or of tasks; all by default.
        reference: compare every other report with this one only, instead of all pairs.
        seed: of the intervals and tests.

    Raises:
        DataError: these are no reports by name, they differ in protocol, queries or users, or are
            fewer than two.
        SettingError: a metric, stratum or reference is unknown.

    >>> users = pl.select(user=pl.int_range(30), stratum=pl.lit("all"), queries=1)
    >>> one, two = (
    ...     Report(users.with_columns(pl.lit(hit).alias("hr@10")), coverage={}, protocol={})
    ...     for hit in (1.0, 0.0)
    ... )
    >>> compare({"one": one, "two": two}, metrics=["hr@10"]).table["verdict"].to_list()
    ['one is better']
    """
    named = _by_name(reports)
    first = _require_comparable(named)
    metrics = _several("metrics", metrics) or list(first.main_metrics)
    groups = _several("strata", strata) or first.groups
    _require_known("metric", metrics, first.metrics)
    _require_known(first.grouped_by, groups, first.groups)
    if reference is None:
        pairs = list(combinations(named, 2))
    else:
        reference = str(reference)
        _require_known("reference", [reference], list(named))
        pairs = [(name, reference) for name in named if name != reference]
    flips = max(FLIPS, FLIPS_PER_TEST * len(pairs) * len(metrics) * len(groups))
    rows = [
        row for group in groups for row in _group_rows(named, pairs, metrics, group, flips, seed)
    ]
    order = {metric: place for place, metric in enumerate(metrics)}
    rows.sort(key=lambda row: order[str(row["metric"])])
    table = pl.DataFrame(rows, schema=SCHEMA)
    corrected = holm(table["p"].cast(pl.Float64).fill_null(np.nan).to_numpy())
    table = table.with_columns(p_holm=pl.Series(corrected).fill_nan(None))
    sign = pl.when(pl.col("metric").is_in(list(first.smaller_is_better))).then(-1).otherwise(1)
    better = pl.when(pl.col("difference") * sign > 0).then("a").otherwise("b")
    verdict = (
        pl.when(pl.col("p").is_null())
        .then(pl.lit(f"too few {first.unit}s"))
        .when(pl.col("p_holm") < ALPHA)
        .then(pl.format("{} is better", better))
        .otherwise(pl.lit("open"))
    )
    table = table.with_columns(verdict=verdict).rename({"group": first.grouped_by})
    return Comparison(table, named, metrics, groups, flips)


def _group_rows(
    reports: dict[str, AnyReport],
    pairs: list[tuple[str, str]],
    metrics: list[str],
    group: str,
    flips: int,
    seed: int,
) -> list[dict[str, object]]:
    """Return a row for each pair and metric; one draw of units and signs serves them all."""
    values = {
        name: report.values(group).select(metrics).to_numpy() for name, report in reports.items()
    }
    first = np.hstack([values[a] for a, _ in pairs])
    second = np.hstack([values[b] for _, b in pairs])
    differences = first - second
    figures: dict[str, np.ndarray] = {
        "mean_a": first.mean(axis=0),
        "mean_b": second.mean(axis=0),
        "difference": differences.mean(axis=0),
    }
    if len(differences) >= FEWEST_USERS:
        figures["low"], figures["high"] = bootstrap_interval(differences, seed=seed)
        tested = sign_flip_test(differences, seed=seed, flips=flips)
        figures["p"] = np.where(np.isnan(figures["difference"]), np.nan, tested)
        figures["effect"] = effect_size(differences)
    names = [(a, b, metric) for a, b in pairs for metric in metrics]
    return [
        {"metric": metric, "group": group, "a": a, "b": b, "n": len(differences)}
        | {
            name: None if np.isnan(column[place]) else float(column[place])
            for name, column in figures.items()
        }
        for place, (a, b, metric) in enumerate(names)
    ]


def _by_name(reports: Any) -> dict[str, AnyReport]:
    """Return the reports by name as text; refuse what are none."""
    if not isinstance(reports, Mapping):
        raise DataError(
            f"compare got a {type(reports).__name__}; pass reports by name, as "
            "mo.compare({'a': report_a, 'b': report_b})"
        )
    for name, report in reports.items():
        if not isinstance(report, AnyReport):
            raise DataError(
                f"{name!r} is a {type(report).__name__} where a report belongs; pass what "
                "mo.evaluate returned, or mo.Report.load(folder)"
            )
    named = {str(name): report for name, report in reports.items()}
    if len(named) < len(reports):
        raise DataError(
            f"names that read alike: {', '.join(map(repr, reports))}; give each report its own"
        )
    return named


def _several(what: str, names: Sequence[str] | None) -> list[str]:
    if isinstance(names, str):
        raise SettingError(f"{what}={names!r} must be a list of names: {what}=[{names!r}]")
    return list(names or [])


def _require_comparable(reports: dict[str, AnyReport]) -> AnyReport:
    if len(reports) < 2:
        there = f"only {next(iter(reports))!r}, however often it is named" if reports else "none"
        raise DataError(f"a comparison needs two reports or more; there is {there}")
    (name, first), *others = reports.items()
    for other_name, other in others:
        if type(first) is type(other):
            found = first.differences(other)  # type: ignore[arg-type]
        else:
            found = ["what they are of: a ranking, and predicted probabilities"]
        if found:
            raise DataError(
                f"reports {name!r} and {other_name!r} cannot be compared, they differ in "
                f"{'; '.join(found)}; evaluate both models by the same queries and settings"
            )
    return first


def _require_known(what: str, names: list[str], known: list[str]) -> None:
    for name in names:
        if name not in known:
            raise SettingError(f"{what} {name!r} is not in the reports; {nearest(name, known)}")
