"""From the reports of all seeds to levels with intervals and paired tests, kept as JSON."""

from __future__ import annotations

from typing import Any

import polars as pl
from recipes import Recipe, Unit, write_json

from modicum.evaluation.compare import compare
from modicum.evaluation.report import Report
from modicum.evaluation.seeds import average_over_seeds
from modicum.evaluation.strata import ALL

FILE = "comparison.json"


def write_comparison(recipe: Recipe) -> list[str]:
    """Compare all that is recorded and write it beside the records.

    Returns:
        Names of the units whose report is not in ``runs``, on another machine perhaps; if there
        are any, nothing is written.
    """
    units = [unit for unit in recipe.units() if unit.record() is not None]
    absent = [unit.name for unit in units if not (unit.folder / "report").exists()]
    if absent or not units:
        return absent
    own = {arm: [unit for unit in units if unit.arm.name == arm] for arm in recipe.arms}
    reports = {arm: _averaged(seeds) for arm, seeds in own.items() if seeds}
    cut = max(next(iter(reports.values())).protocol["k"])
    metrics = [f"ndcg@{cut}", f"hr@{cut}"]
    write_json(
        recipe.results / FILE,
        {
            "units": {unit.name: unit.key for unit in units},
            "metrics": metrics,
            "levels": [
                row for arm, report in reports.items() for row in _levels(arm, report, metrics)
            ],
            "tests": _tests(recipe, reports, metrics),
        },
    )
    return []


def _averaged(units: list[Unit]) -> Report:
    reports = [Report.load(unit.folder / "report") for unit in units]
    return average_over_seeds(reports) if len(reports) > 1 else reports[0]


def _levels(arm: str, report: Report, metrics: list[str]) -> list[dict[str, Any]]:
    wanted = report.summary.filter(pl.col("metric").is_in(metrics))
    return wanted.select(pl.lit(arm).alias("arm"), pl.all()).to_dicts()


def _tests(recipe: Recipe, reports: dict[str, Report], metrics: list[str]) -> list[dict[str, Any]]:
    """Test the subject against each arm it is asked about, over all queries.

    ``a`` is the other arm and ``b`` the subject, as in the table that ``compare`` returns.
    """
    asked = [name for name in recipe.against if name in reports]
    if recipe.subject not in reports or not asked:
        return []
    chosen = {name: reports[name] for name in (*asked, recipe.subject)}
    found = compare(chosen, metrics=metrics, strata=[ALL], reference=recipe.subject)
    return found.table.to_dicts()
