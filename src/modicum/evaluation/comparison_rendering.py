"""Comparisons as text, and as pages with pictures."""

from __future__ import annotations

from typing import Any

import polars as pl

from modicum.evaluation.compare import ALPHA, FEWEST_USERS, AnyReport, Comparison
from modicum.evaluation.layout import (
    INTERVAL,
    aligned,
    counts,
    intervals,
    numbers,
    picture,
    protocol_section,
    protocol_text,
    wrapped,
)
from modicum.evaluation.report import OF_THE_MODEL
from modicum.evaluation.strata import ALL
from modicum.page import Page


def comparison_text(comparison: Comparison) -> str:
    """Return a comparison as text: findings in words, models side by side, tests, protocol."""
    first = _renderable(comparison)
    levels, tests = comparison.levels, comparison.table
    by = comparison.grouped_by
    side_by_side = {name: levels[name].to_list() for name in ("metric", by, "report")} | {
        "mean": numbers(levels["mean"]),
        INTERVAL: intervals(levels),
        "n": counts(levels["n"]),
    }
    tested = {name: tests[name].to_list() for name in ("metric", by, "a", "b")} | {
        "a - b": numbers(tests["difference"], "+.4f"),
        INTERVAL: intervals(tests),
        "p (Holm)": numbers(tests["p_holm"]),
        "effect": numbers(tests["effect"], "+.2f"),
        "n": counts(tests["n"]),
        "verdict": tests["verdict"].to_list(),
    }
    return "\n\n".join(
        [
            wrapped("\n".join([f"{' / '.join(comparison.reports)}", *first.warnings])),
            wrapped("\n".join(findings(comparison))),
            f"Side by side\n{aligned(side_by_side)}",
            f"Tests by {first.unit}\n{aligned(tested)}",
            wrapped(protocol_text(first.protocol, without=OF_THE_MODEL)),
            wrapped(f"{first.method} {tests_text(comparison)}"),
        ]
    )


def comparison_page(comparison: Comparison) -> Page:
    """Return a comparison as a page: findings in words, pictures side by side, tests."""
    first = _renderable(comparison)
    names = list(comparison.reports)
    page = Page(
        " / ".join(names),
        f"{len(names)} models judged by the same rows and compared by {first.unit}.",
    )
    for paragraph in (*first.warnings, *findings(comparison)):
        page.text(paragraph)
    page.section("Side by side")
    levels = comparison.levels
    for metric in comparison.metrics:
        part = levels.filter(pl.col("metric") == metric)
        picture(page, part, metric, by=comparison.grouped_by, over=first.unit)
    page.table(levels, f"Means over n {first.unit}s, with 95 % intervals from low to high")
    page.section("Tests")
    page.text(tests_text(comparison))
    page.table(comparison.table, "Differences are a - b, with 95 % intervals from low to high")
    protocol_section(page, first.protocol, without=OF_THE_MODEL)
    return page


def findings(comparison: Comparison) -> list[str]:
    """Say in words what the tests over all queries found, then what those of the strata did; or
    what those of each task found."""
    first = next(iter(comparison.reports.values()))
    by, unit = comparison.grouped_by, first.unit
    table = comparison.table
    if by == "task":
        return [
            _finding(row | {"metric": f"{row['metric']} of {row[by]}"}, unit)
            for row in table.to_dicts()
        ]
    sentences = [_finding(row, unit) for row in table.filter(pl.col(by) == ALL).to_dicts()]
    strata = table.filter(pl.col(by) != ALL)
    found = strata.filter(pl.col("p_holm") < ALPHA)
    if len(strata):
        tested = strata["p"].count()
        sentences.append(f"Strata: {len(found)} of {tested} differences are beyond chance.")
    few = strata.filter(pl.col("p").is_null()).unique(by, maintain_order=True)
    if len(few):
        named = ", ".join(f"{row[by]} ({row['n']})" for row in few.to_dicts())
        sentences.append(f"Too few users to test: {named}.")
    return sentences


def _finding(row: dict[str, Any], unit: str) -> str:
    if row["p"] is None:
        return (
            f"{row['metric']}: {row['a']} and {row['b']} were not compared, {row['n']} {unit}s are "
            "too few."
        )
    swap = row["verdict"] == f"{row['b']} is better" or (
        row["verdict"] == "open" and row["difference"] < 0
    )
    names = (row["b"], row["a"]) if swap else (row["a"], row["b"])
    means = (row["mean_b"], row["mean_a"]) if swap else (row["mean_a"], row["mean_b"])
    low, high = (-row["high"], -row["low"]) if swap else (row["low"], row["high"])
    better = row["p_holm"] < ALPHA
    claim = "{} is better than {}" if better else "no difference is shown between {} and {}"
    effect = "" if row["effect"] is None else f"effect {abs(row['effect']):.2f}, "
    return (
        f"{row['metric']}: {claim.format(*names)}, {means[0]:.4f} against {means[1]:.4f}; "
        f"difference {-row['difference'] if swap else row['difference']:+.4f} [{low:+.4f}, {high:+.4f}], "
        f"p = {row['p_holm']:.4f} after correction, {effect}n = {row['n']:,}."
    )


def tests_text(comparison: Comparison) -> str:
    """Say how the tests were made."""
    unit = next(iter(comparison.reports.values())).unit
    groups = "Strata" if comparison.grouped_by == "stratum" else "Tasks"
    return (
        f"Tests are paired sign-flip tests by {unit} ({comparison.flips:,} flips), two-sided; p is corrected "
        f"for the {comparison.table['p'].count()} tests made here by Holm's method, and below "
        f"{ALPHA} one model is called better. The effect is Cohen's d_z, the mean difference by "
        f"the standard deviation of the differences. {groups} of fewer than {FEWEST_USERS} {unit}s "
        "are not tested."
    )


def _renderable(comparison: Comparison) -> AnyReport:
    for report in comparison.reports.values():
        report.require_renderable()
    return next(iter(comparison.reports.values()))
