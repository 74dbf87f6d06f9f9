"""Averages over training seeds, so that tests compare methods rather than lucky seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from modicum.errors import DataError
from modicum.evaluation.report import KEYS, Report
from modicum.evaluation.strata import ALL


def average_over_seeds(reports: Sequence[Report]) -> Report:
    """Average each user's values over the training seeds of one method.

    How much the seeds differ stays in the summary as ``seed_sd``, the standard deviation of the
    seeds' means.

    Args:
        reports: of the same method by the same queries, at least two.

    Raises:
        DataError: there are fewer than two reports, or they differ in more than the seed.

    >>> users = pl.DataFrame({"user": [1, 2], "stratum": ALL, "queries": 1})
    >>> seeds = [
    ...     Report(users.with_columns(pl.Series("hr@10", hits)), coverage={}, protocol={})
    ...     for hits in ([1.0, 0.0], [1.0, 1.0])
    ... ]
    >>> average_over_seeds(seeds).per_user["hr@10"].to_list()
    [1.0, 0.5]
    """
    if len(reports) < 2:
        raise DataError(f"an average over seeds needs two reports or more, not {len(reports)}")
    first = reports[0]
    for number, other in enumerate(reports[1:], start=2):
        _require_same_method(first, other, number)
    metrics = first.metrics
    values = np.mean([report.per_stratum.select(metrics).to_numpy() for report in reports], axis=0)
    means = pl.concat([_means(report) for report in reports])
    spread = means.group_by("metric", "stratum", maintain_order=True).agg(
        seed_sd=pl.col("mean").std(ddof=1)
    )
    return Report(
        per_stratum=first.per_stratum.select(KEYS).hstack(pl.DataFrame(values, schema=metrics)),
        coverage={
            name: float(np.mean([report.coverage[name] for report in reports]))
            for name in first.coverage
        },
        protocol=first.protocol | {"training seeds": len(reports)},
        seed_sd=spread,
    )


def _require_same_method(first: Report, other: Report, number: int) -> None:
    found = first.differences(other)
    methods = first.protocol.get("model"), other.protocol.get("model")
    if methods[0] != methods[1]:
        found.append("model: {} and {}".format(*methods))
    if found:
        raise DataError(
            f"reports 1 and {number} are not two seeds of one method; {'; '.join(found)}"
        )


def _means(report: Report) -> pl.DataFrame:
    """Return the mean of each metric and stratum: metric, stratum, mean."""
    means = (
        report.per_stratum.group_by("stratum", maintain_order=True)
        .agg(pl.col(report.metrics).mean())
        .unpivot(index="stratum", variable_name="metric", value_name="mean")
    )
    shares = {"metric": list(report.coverage), "mean": list(report.coverage.values())}
    coverage = pl.DataFrame(shares, schema={"metric": pl.String, "mean": pl.Float64})
    return pl.concat([means, coverage.with_columns(stratum=pl.lit(ALL))], how="diagonal")
