"""Is a new model at most a little worse than the one in use? A one-sided answer, user by user."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from modicum.errors import SettingError
from modicum.evaluation.compare import compare
from modicum.evaluation.report import Report
from modicum.evaluation.statistics import bootstrap_interval
from modicum.evaluation.strata import ALL

FEWEST_USERS = 100
"""With fewer users the answer is no: bootstrap intervals of a few values are too narrow."""


@dataclass(frozen=True)
class NotWorse:
    """What is known of a new model beside an old one, on the same queries.

    Args:
        metric: what was compared.
        old, new: means over users.
        difference, low, high: ``new - old`` with its 95 % interval over users.
        p: of the paired test that they do not differ.
        margin: share of the old model's mean that may be lost.
        bound: lower end of the 95 % interval of ``new - (1 - margin) * old``.
        n: users.
    """

    metric: str
    old: float
    new: float
    difference: float
    low: float | None
    high: float | None
    p: float | None
    margin: float
    bound: float
    n: int

    @property
    def enough(self) -> bool:
        """Whether there are users enough to say anything."""
        return self.n >= FEWEST_USERS

    @property
    def ok(self) -> bool:
        """Whether the new model is shown not to be worse by the margin or more."""
        return self.enough and self.bound > 0

    @property
    def figures(self) -> dict[str, Any]:
        """The fields, as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        interval = "" if self.low is None else f" (95 % {self.low:+.4f} to {self.high:+.4f})"
        least = "above" if self.ok else "not above"
        return (
            f"{self.metric} {self.new:.4f}, in use {self.old:.4f}: {self.difference:+.4f}{interval}"
            f" on {self.n:,} users; {least} {1 - self.margin:.0%} of what is in use, 97.5 % sure"
        )


def not_worse(new: Report, old: Report, *, margin: float, seed: int = 0) -> NotWorse:
    """Test whether a new model loses less than a share of the old one's mean.

    The hypothesis is ``mean(new) <= (1 - margin) * mean(old)``. It is rejected where the lower end of
    the 95 % bootstrap interval of ``new - (1 - margin) * old`` over users is above 0: a model that is
    worse by the margin passes in 2.5 % of the tests with many users, in 4 % with 100. A model as good as the old one passes
    only where there are users enough; with too few the answer is no.

    Args:
        new, old: reports on the same queries.
        margin: in [0, 1); with 0 only a model shown to be better passes.
        seed: of the intervals and of the paired test.

    Raises:
        DataError: the reports differ in protocol, queries or users.
        SettingError: the margin is out of range.

    >>> import polars as pl
    >>> users = pl.select(user=pl.int_range(200), stratum=pl.lit("all"), queries=1)
    >>> ranked = pl.when(pl.col("user") % 4 == 0).then(1.0).otherwise(0.0).alias("ndcg@10")
    >>> report = Report(users.with_columns(ranked), coverage={}, protocol={})
    >>> not_worse(report, report, margin=0.02).ok, not_worse(report, report, margin=0.0).ok
    (True, False)
    """
    if not 0 <= margin < 1:
        raise SettingError(f"margin={margin} is a share that may be lost, in [0, 1)")
    metric = new.main_metrics[0]
    found = compare({"new": new, "old": old}, metrics=[metric], strata=[ALL], seed=seed)
    row = found.table.row(0, named=True)
    a, b = (report.values(ALL)[metric].to_numpy() for report in (new, old))
    low, _ = bootstrap_interval((a - (1 - margin) * b)[:, None], seed=seed)
    return NotWorse(
        metric=metric,
        old=row["mean_b"],
        new=row["mean_a"],
        difference=row["difference"],
        low=row["low"],
        high=row["high"],
        p=row["p"],
        margin=margin,
        bound=float(low[0]),
        n=row["n"],
    )
