"""Reports of predicted probabilities as text, and as pages with pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from modicum.card import escaped, table
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
from modicum.evaluation.prediction_report import PredictionReport
from modicum.page import Page


def report_text(report: PredictionReport) -> str:
    """Return a report as text: headline, levels, all metrics by task, other tables, protocol."""
    report.require_renderable()
    summary, levels = report.summary, report.levels
    figures = {name: summary[name].to_list() for name in ("task", "metric")} | {
        "mean": numbers(summary["mean"]),
        INTERVAL: intervals(summary),
    }
    if "seed_sd" in summary.columns:
        figures["sd of seeds"] = numbers(summary["seed_sd"])
    said = {
        "task": levels["task"].to_list(),
        "rows": counts(levels["rows"]),
        "positive": counts(levels["positive"]),
        "observed": numbers(levels["observed"]),
        "predicted": numbers(levels["predicted"]),
    }
    return "\n\n".join(
        [
            wrapped("\n".join([headline(report), *report.warnings])),
            aligned(said),
            aligned(figures),
            *(f"{title}\n{aligned(_cells(frame))}" for title, frame in report.tables.items()),
            wrapped(protocol_text(report.protocol)),
            wrapped(report.method),
        ]
    )


def report_page(report: PredictionReport) -> Page:
    """Return a report as a page: pictures of the funnel and of calibration, metrics by task."""
    report.require_renderable()
    page = Page(f"{report.protocol['model']}: evaluation", headline(report))
    for paragraph in (*report.warnings, report.method):
        page.text(paragraph)
    page.section("How many, and how many were expected")
    seen = "; ".join(
        f"{row['task']}: observed {row['observed']:.4f}, predicted {row['predicted']:.4f}"
        for row in report.levels.to_dicts()
    )
    page.figure(
        _levels_drawing(report.levels),
        caption="Share of positive rows, observed and predicted, on a logarithmic scale",
        alt=seen,
        size=(7.0, 1.2 + 0.45 * len(report.groups)),
    )
    page.table(report.levels, "Rows, positive rows, and mean outcome and probability of each task")
    page.section("Calibration")
    for task in report.groups:
        bins = report.calibration.filter(pl.col("task") == task)
        page.figure(
            _calibration_drawing(bins, task),
            caption=f"{task}: outcomes in bins of about equally many rows, with 95 % intervals; "
            "on the line a probability means what it says",
            alt=f"{task}: "
            + "; ".join(
                f"predicted {row['predicted']:.4f}, observed {row['observed']:.4f}"
                for row in bins.to_dicts()
            ),
            size=(5.0, 3.6),
        )
    page.section("By task")
    levels = report.summary.with_columns(report=pl.lit(report.protocol["model"]))
    for metric in report.main_metrics:
        part = levels.filter(pl.col("metric") == metric).drop_nulls("mean")
        if len(part):
            picture(page, part, metric, by="task", over=report.unit)
    page.table(report.summary, "Metrics by task, with 95 % intervals from low to high")
    for title, frame in report.tables.items():
        page.section(title)
        page.table(frame)
    protocol_section(page, report.protocol)
    return page


def report_markdown(report: PredictionReport) -> str:
    """Return a report for a model card: headline, figures by task, protocol; no headings."""
    report.require_renderable()
    columns: dict[str, list[str]] = {
        "task": report.groups,
        "rows": counts(report.levels["rows"]),
        "positive": counts(report.levels["positive"]),
    }
    for metric in (*report.main_metrics, "calibration error"):
        rows = report.summary.filter(pl.col("metric") == metric)
        pairs = zip(numbers(rows["mean"]), intervals(rows), strict=True)
        columns[metric] = [" ".join(pair) for pair in pairs]
    parts = [*map(escaped, (headline(report), *report.warnings)), table(columns)]
    return "\n\n".join([*parts, escaped(protocol_text(report.protocol)), escaped(report.method)])


def headline(report: PredictionReport) -> str:
    """Say in a sentence what was judged, and how."""
    return (
        f"{report.protocol['model']}: probabilities of {', '.join(report.groups)} for "
        f"{report.protocol['rows']:,} rows, judged by what came of them."
    )


def _cells(frame: pl.DataFrame) -> dict[str, list[str]]:
    return {
        column.name: numbers(column) if column.dtype.is_float() else [str(x) for x in column]
        for column in frame
    }


def _levels_drawing(levels: pl.DataFrame) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        places = range(len(levels))
        axes.barh(places, levels["observed"].to_list(), height=0.6, alpha=0.75, label="observed")
        axes.plot(levels["predicted"].to_list(), places, "D", color="C1", label="predicted")
        axes.set_yticks(places, [f"{r['task']} (n = {r['rows']:,})" for r in levels.to_dicts()])
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.set_xlabel("share of positive rows")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))

    return draw


def _calibration_drawing(bins: pl.DataFrame, task: str) -> Callable[[Any], None]:
    observed, predicted, n = (bins[name].to_numpy() for name in ("observed", "predicted", "rows"))
    low, high = wilson_interval(observed, n)

    def draw(axes: Any) -> None:
        most = 1.05 * max(predicted.max(), high.max())
        axes.plot([0, most], [0, most], "--", linewidth=1, alpha=0.6, color="C5")
        spread = np.maximum([observed - low, high - observed], 0)
        axes.errorbar(predicted, observed, yerr=spread, fmt="o", markersize=4, capsize=2.5)
        axes.set_xlim(0, most)
        axes.set_ylim(0, most)
        axes.set_xlabel(f"predicted {task}")
        axes.set_ylabel("observed")

    return draw


def wilson_interval(share: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 % interval (low, high) of shares of n rows each.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, 1927.

    >>> low, high = wilson_interval(np.array([0.0]), np.array([10]))
    >>> low.round(4), high.round(4)
    (array([0.]), array([0.2775]))
    """
    z = 1.959964
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return middle - half, middle + half
