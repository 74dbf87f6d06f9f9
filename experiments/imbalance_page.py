"""Ranks of samplers from the records, and the section of the guide that shows them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from recipes import HERE
from records import filled, write_json, write_text

from modicum.methods.imbalance.ranks import Ranking, rank
from modicum.page import picture

SUMMARY = HERE / "results" / "imbalance.json"
GUIDE = HERE.parent / "docs" / "guides" / "rare-classes.md"
MARK = "imbalance"
RANKED = ("average precision", "mcc", "macro f1")
SUBJECT = "EWMOTE"

MIN_SETS = 20
"""Ranks over fewer sets say nothing."""


def publish(results: Path) -> None:
    """Write the summary of all records, the pictures, and the figures in the guide."""
    records = [json.loads(path.read_text("utf-8")) for path in sorted(results.glob("*/*.json"))]
    summary = summarise(records)
    write_json(SUMMARY, summary)
    for learner, ranking in rankings(records, "mcc").items():
        height = 1.0 + 0.28 * len(ranking.frame)
        drawn = picture(ranking.draw, f"mean ranks of MCC with {learner}", (7.0, height))
        write_text(GUIDE.with_name(f"rare-classes-{learner}.svg"), drawn)
    write_text(GUIDE, filled(GUIDE.read_text("utf-8"), MARK, section(summary)))


def rankings(records: Iterable[dict[str, Any]], metric: str) -> dict[str, Ranking]:
    """Return learner -> ranking over the KEEL sets that settled no default, if there are enough."""
    found: dict[str, list[dict[str, float]]] = {}
    for record in records:
        if record["part"] == "keel" and not record["settings"]["held out"]:
            row = {arm: _mean(own[metric]) for arm, own in record["figures"].items()}
            found.setdefault(record["learner"], []).append(row)
    enough = {learner: rows for learner, rows in found.items() if len(rows) >= MIN_SETS}
    return {learner: rank(pl.DataFrame(rows)) for learner, rows in enough.items()}


def summarise(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return ranks over KEEL, and the means of the other parts."""
    keel: dict[str, dict[str, Any]] = {}
    for metric in RANKED:
        for learner, ranking in rankings(records, metric).items():
            own = ranking.pairs.filter((pl.col("arm") == SUBJECT) | (pl.col("against") == SUBJECT))
            keel.setdefault(learner, {})[metric] = {
                "sets": ranking.num_sets,
                "friedman p": ranking.p,
                "critical difference": round(ranking.critical_difference, 4),
                "arms": {
                    row["arm"]: {"mean": round(row["mean"], 5), "rank": round(row["rank"], 4)}
                    for row in ranking.frame.iter_rows(named=True)
                },
                "EWMOTE against": {
                    row["against"] if row["arm"] == SUBJECT else row["arm"]: round(row["p"], 5)
                    for row in own.iter_rows(named=True)
                },
            }
    faults = {
        f"{record['set']}, {record['learner']}": {
            arm: {metric: _mean(value) for metric, value in own.items()}
            for arm, own in record["figures"].items()
        }
        for record in records
        if record["part"] == "faults"
    }
    return {
        "keel": keel,
        "faults": faults,
        "sweeps": _means(records, "sweeps", "ratio"),
        "gaps": _means(records, "gaps", "missing"),
        "cpu_s": round(sum(record["cpu_s"] for record in records), 1),
        "not applicable": sum(record["not applicable"] for record in records),
        "records": len(records),
    }


def _means(records: list[dict[str, Any]], part: str, level: str) -> dict[str, Any]:
    """Return learner -> level -> arm -> mean of each ranked metric over the sets of a part."""
    values: dict[tuple[str, str, str], list[list[float]]] = {}
    for record in records:
        if record["part"] == part:
            at = f"{record['settings'][level]:g}"
            for arm, own in record["figures"].items():
                figures = [_mean(own[metric]) for metric in RANKED]
                values.setdefault((record["learner"], at, arm), []).append(figures)
    found: dict[str, Any] = {}
    by_level = sorted(values.items(), key=lambda found: (found[0][0], float(found[0][1])))
    for (learner, at, arm), rows in by_level:
        means = dict(zip(RANKED, np.mean(rows, axis=0).round(5).tolist(), strict=True))
        found.setdefault(learner, {}).setdefault(at, {})[arm] = means
    return found


def section(summary: dict[str, Any]) -> str:
    """Return what the guide says of the experiments."""
    parts = []
    for learner, metrics in summary["keel"].items():
        first = metrics[RANKED[0]]
        head = f"{first['sets']} KEEL sets, {learner}: mean, and mean rank (1 is best)"
        differences = ", ".join(
            f"{metric} {found['critical difference']:.2f}" for metric, found in metrics.items()
        )
        rows = [
            [arm]
            + [
                f"{metrics[metric]['arms'][arm][figure]:.{3 if figure == 'mean' else 2}f}"
                for metric in RANKED
                for figure in ("mean", "rank")
            ]
            for arm in metrics["mcc"]["arms"]
        ]
        columns = ["", *(name for metric in RANKED for name in (metric, "rank"))]
        parts += [
            f"**{head}.** Critical differences of ranks: {differences}.",
            _table(columns, rows),
            f"![Mean ranks of MCC with {learner}](rare-classes-{learner}.svg)",
        ]
    if summary["faults"]:
        columns = ["", *summary["faults"]]
        arms = dict.fromkeys(arm for own in summary["faults"].values() for arm in own)
        for metric in ("mcc", "average precision"):
            rows = [
                [arm] + [_figure(own.get(arm), metric) for own in summary["faults"].values()]
                for arm in arms
            ]
            parts += [f"**Fault sets, {metric}.**", _table(columns, rows)]
    for part, what in (
        ("sweeps", "Steel plates, Bumps against the rest, MCC by how many times rarer"),
        ("gaps", "Values missing at random, MCC by share, means over sets"),
    ):
        for learner, levels in summary[part].items():
            arms = list(next(iter(levels.values())))
            rows = [
                [arm, *(_figure(own.get(arm), "mcc") for own in levels.values())] for arm in arms
            ]
            parts += [f"**{what}; {learner}.**", _table(["", *levels], rows)]
    return "\n\n".join(parts) if parts else "Not measured yet."


def _mean(interval: str) -> float:
    """Return the first of mean, low and high."""
    return float(interval.split()[0])


def _figure(own: dict[str, float] | None, metric: str) -> str:
    return f"{own[metric]:.3f}" if own else ""


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    publish(HERE / "results" / "imbalance")
