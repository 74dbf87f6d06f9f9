"""From the reports of all seeds to levels with intervals and paired tests, kept as JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
from recipes import Recipe, Unit
from records import write_json

from modicum.errors import DataError
from modicum.evaluation.compare import ALPHA, compare
from modicum.evaluation.report import HEADER, Report
from modicum.evaluation.seeds import average_over_seeds
from modicum.evaluation.statistics import holm

FILE = "comparison.json"
EMPTY: dict[str, Any] = {"units": {}, "metrics": [], "levels": [], "tests": []}


def write_comparison(recipe: Recipe) -> list[str]:
    """Compare all that is recorded and write it beside the records.

    An arm with a record whose report is gone stays as it was compared before, seeds of that time
    alone, and is tested against no other arm anew.

    Returns:
        Names of the units whose report is gone.

    Raises:
        DataError: the arms were judged by different queries.
    """
    recorded = {
        arm: [unit for unit in recipe.units() if unit.arm.name == arm and unit.record() is not None]
        for arm in recipe.arms
    }
    before = _before(recipe)
    whole = [arm for arm, units in recorded.items() if units and not _without_report(units)]
    compared = {unit.name for arm in whole for unit in recorded[arm]} | set(before["units"])
    units = [unit for arm in recorded.values() for unit in arm if unit.name in compared]
    _require_one_measure(units)
    reports = {arm: _averaged(recorded[arm]) for arm in whole}
    cut = max([k for report in reports.values() for k in report.protocol["k"]], default=0)
    metrics = [f"ndcg@{cut}", f"hr@{cut}"] if cut else before["metrics"]
    stamps = {unit.name: stamp_of(unit) for unit in recipe.units() if unit.name in compared}
    same = {arm for arm in recipe.arms if _of(arm, stamps) == _of(arm, before["units"])}
    levels = [
        row
        for arm in recipe.arms
        for row in (
            _levels(arm, reports[arm], metrics)
            if arm in reports
            else [level for level in before["levels"] if level["arm"] == arm]
        )
    ]
    kept = [test for test in before["tests"] if {test["a"], test["b"]} <= same]
    if units:
        tests = _tests(recipe, reports, metrics, kept)
        found = {"units": stamps, "metrics": metrics, "levels": levels, "tests": tests}
        write_json(recipe.results / FILE, found)
    return [name for units in recorded.values() for name in _without_report(units)]


def stamp_of(unit: Unit) -> str | None:
    """Return when a unit was measured with the recipe's settings; null if it was not."""
    record = unit.record()
    return None if record is None else str(record["measured"])


def _before(recipe: Recipe) -> dict[str, Any]:
    """Return the last comparison, without arms of which a unit was measured anew or is gone."""
    path = recipe.results / FILE
    if not path.exists():
        return EMPTY
    found = json.loads(path.read_text(encoding="utf-8"))
    now = {unit.name: stamp_of(unit) for unit in recipe.units()}
    gone = {_arm(name) for name, stamp in found["units"].items() if now.get(name) != stamp}
    return {
        "units": {name: stamp for name, stamp in found["units"].items() if _arm(name) not in gone},
        "metrics": found["metrics"],
        "levels": [level for level in found["levels"] if level["arm"] not in gone],
        "tests": [test for test in found["tests"] if not {test["a"], test["b"]} & gone],
    }


def _require_one_measure(units: list[Unit]) -> None:
    """Raise DataError unless all units of the recipe's own split were judged by the same queries."""
    queries: dict[str, list[str]] = {}
    for unit in units:
        record = unit.record()
        if record is not None and not unit.arm.split:
            queries.setdefault(record["protocol"]["queries digest"], []).append(unit.name)
    if len(queries) > 1:
        odd = min(queries.values(), key=len)
        raise DataError(
            f"{', '.join(odd)} were judged by other queries than the rest of {units[0].recipe.name}; "
            "delete their records to measure them again"
        )


def _arm(name: str) -> str:
    return name.rpartition("-")[0]


def _of(arm: str, units: dict[str, Any]) -> dict[str, Any]:
    return {name: stamp for name, stamp in units.items() if _arm(name) == arm}


def _without_report(units: list[Unit]) -> list[str]:
    return [unit.name for unit in units if not (unit.report_path / HEADER).exists()]


def _averaged(units: list[Unit]) -> Report:
    reports = [Report.load(unit.report_path) for unit in units]
    return average_over_seeds(reports) if len(reports) > 1 else reports[0]


def _levels(arm: str, report: Report, metrics: list[str]) -> list[dict[str, Any]]:
    wanted = report.summary.filter(pl.col("metric").is_in(metrics))
    return wanted.select(pl.lit(arm).alias("arm"), pl.all()).to_dicts()


def _tests(
    recipe: Recipe, reports: dict[str, Report], metrics: list[str], kept: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Test the subject of each question against each arm it is asked about.

    ``a`` is the other arm and ``b`` the subject, as in the table that ``compare`` returns. Where
    either has no report, a kept test answers. Holm's correction covers all questions of the recipe.
    """
    found = []
    former = {(test["a"], test["b"], test["metric"], test["stratum"]): test for test in kept}
    for question in recipe.questions:
        subject, strata = question.subject, question.strata
        asked = [name for name in question.against if {name, subject} <= set(reports)]
        rest = set(question.against) - set(asked)
        answers = [
            dict(test)
            for test in former.values()
            if test["b"] == subject and test["a"] in rest and test["stratum"] in strata
        ]
        if asked:
            chosen = {name: reports[name] for name in (*asked, subject)}
            table = compare(chosen, metrics=metrics, strata=strata, reference=subject).table
            answers += table.to_dicts()
        found += sorted(
            answers,
            key=lambda test, order=(metrics, strata, question.against): [
                names.index(test[column])
                for names, column in zip(order, ("metric", "stratum", "a"), strict=True)
            ],
        )
    p = np.array([np.nan if test["p"] is None else test["p"] for test in found])
    for test, corrected in zip(found, holm(p), strict=True):
        if not np.isnan(corrected):
            better = test["a"] if test["difference"] > 0 else test["b"]
            test["p_holm"] = float(corrected)
            test["verdict"] = f"{better} is better" if corrected < ALPHA else "open"
    return found
