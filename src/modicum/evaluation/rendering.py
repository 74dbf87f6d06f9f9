"""Reports of rankings as text, and as pages with pictures."""

from __future__ import annotations

import polars as pl

from modicum.card import escaped, table
from modicum.data.strata import DEFINITIONS
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
from modicum.evaluation.report import Report
from modicum.evaluation.strata import ALL
from modicum.page import Page


def report_text(report: Report) -> str:
    """Return a report as text: headline, protocol, all metrics, and the strata."""
    report.require_renderable()
    summary = report.summary
    overall = summary.filter(pl.col("stratum") == ALL)
    figures = {
        "metric": overall["metric"].to_list(),
        "mean": numbers(overall["mean"]),
        INTERVAL: intervals(overall),
    }
    if "seed_sd" in overall.columns:
        figures["sd of seeds"] = numbers(overall["seed_sd"])
    parts = [
        wrapped("\n".join([headline(report), *report.warnings])),
        wrapped(protocol_text(report.protocol)),
        f"All users, n = {overall['n'][0]:,}\n{aligned(figures)}",
    ]
    if len(report.strata) > 1:
        parts.append(f"By stratum\n{aligned(_by_stratum(report))}")
        parts.append("\n".join(f"  {name}: {text}" for name, text in _defined(report).items()))
    return "\n\n".join([*parts, wrapped(report.method)])


def report_page(report: Report) -> Page:
    """Return a report as a page: headline, pictures of the metrics by stratum, tables."""
    report.require_renderable()
    page = Page(f"{report.protocol['model']}: evaluation", headline(report))
    for paragraph in (*report.warnings, report.method):
        page.text(paragraph)
    page.section("By stratum")
    levels = report.summary.with_columns(report=pl.lit(report.protocol["model"]))
    for metric in _main_metrics(report):
        picture(page, levels.filter(pl.col("metric") == metric), metric, by="stratum", over="user")
    if defined := _defined(report):
        strata = pl.DataFrame({"stratum": list(defined), "its queries": list(defined.values())})
        page.table(strata, "What the strata are")
    page.section("All figures")
    page.table(report.summary, "Means over n users, with 95 % intervals from low to high")
    protocol_section(page, report.protocol)
    return page


def report_markdown(report: Report) -> str:
    """Return a report for a model card: headline, figures by stratum, protocol; no headings."""
    report.require_renderable()
    paragraphs = [headline(report), *report.warnings]
    parts = [*map(escaped, paragraphs), table(_by_stratum(report))]
    return "\n\n".join([*parts, escaped(protocol_text(report.protocol)), escaped(report.method)])


def headline(report: Report) -> str:
    """Say in a sentence what was judged, and how."""
    protocol = report.protocol
    ranked = (
        f"{protocol['candidates']} candidates"
        if report.sampled
        else f"the full catalogue of {protocol['catalogue']:,} items"
    )
    if "catalogue of" in protocol:
        ranked += f" of {protocol['catalogue of']}"
    return (
        f"{protocol['model']}: {protocol['queries']:,} queries of {protocol['users']:,} users, "
        f"ranked among {ranked}."
    )


def _main_metrics(report: Report) -> list[str]:
    longest = max(report.protocol["k"])
    return [name for name in (f"hr@{longest}", f"ndcg@{longest}", "mrr") if name in report.metrics]


def _by_stratum(report: Report) -> dict[str, list[str]]:
    """Return the columns of a table with a row for each stratum."""
    columns: dict[str, list[str]] = {"stratum": report.strata}
    for metric in _main_metrics(report):
        rows = report.summary.filter(pl.col("metric") == metric)
        columns["n"] = counts(rows["n"])
        pairs = zip(numbers(rows["mean"]), intervals(rows), strict=True)
        columns[metric] = [" ".join(pair) for pair in pairs]
    return columns


def _defined(report: Report) -> dict[str, str]:
    """Return what the strata are."""
    return {name: DEFINITIONS[name] for name in report.strata if name in DEFINITIONS}
