"""Warm against cold: a SASRec refitted as a log grows, from the older model and from nothing.

    python experiments/warm_starts.py EVENTS OUT.json [key=value of SASRec ...]

The log is cut off at 70, 85 and 100 % of its events; the last 10 % of each part are the test, the 10 %
before them choose the epoch. From the second stage on three models are judged on the same test: the
one of the stage before as it was ("stale"), one fitted from nothing ("cold"), and one fitted from the
warm one of the stage before ("warm"; the first begins with the cold model of 70 %).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import modicum as mo
from modicum.data.log import EventLog
from modicum.data.samples import SAMPLES

STAGES = (0.7, 0.85, 1.0)
SHARE = 0.1
"""Of the events so far: those that choose the epoch, and those that judge."""


def run(log: EventLog, seeds: list[int], settings: dict[str, Any]) -> list[dict[str, Any]]:
    times = np.sort(log.frame["time"].to_physical().to_numpy())
    records = []
    for seed in seeds:
        last: mo.SASRec | None = None
        for stage in STAGES:
            until = times[min(round(stage * len(times)), len(times) - 1)]
            part = log.scan.filter(pl.col("time").to_physical() <= int(until))
            split = mo.split(EventLog(part, log.source), validation=SHARE, test=SHARE)
            arms = {"cold": None} if last is None else {"cold": None, "warm": last}
            reports = {}
            for arm, start in arms.items():
                begun = time.perf_counter()
                model = mo.SASRec(**settings).fit(
                    split.train, split.validation, seed=seed, start=start, progress=False
                )
                seconds = time.perf_counter() - begun
                reports[arm] = mo.evaluate(model, split.test, k=10, progress=False)
                best = max(model.training_log, key=lambda record: record["validation"])["epoch"]
                records.append(
                    {
                        "stage": stage,
                        "seed": seed,
                        "arm": arm,
                        "epochs": len(model.training_log),
                        "best epoch": best,
                        "seconds": round(seconds, 1),
                    }
                    | figures(reports[arm])
                )
                if arm == "warm" or last is None:
                    following = model
            if last is not None:
                reports["stale"] = mo.evaluate(last, split.test, k=10, progress=False)
                records.append(
                    {"stage": stage, "seed": seed, "arm": "stale"} | figures(reports["stale"])
                )
                found = mo.compare(reports, metrics=["ndcg@10"], strata=["all"], reference="cold")
                records += [
                    {"stage": stage, "seed": seed, "arm": f"{row['a']} - cold"}
                    | {name: row[name] for name in ("difference", "low", "high", "n")}
                    for row in found.table.iter_rows(named=True)
                ]
            last = following
            print(json.dumps(records[-1]), flush=True)
    return records


def figures(report: mo.Report) -> dict[str, Any]:
    summary = report.summary.filter(pl.col("metric") == "ndcg@10", pl.col("stratum") == "all")
    return {name: summary[name].item() for name in ("mean", "low", "high", "n")}


def read(source: str) -> EventLog:
    return mo.load_sample(source) if source in SAMPLES else mo.read_events(source)


def main() -> None:
    source, out, *given = sys.argv[1:]
    settings = {
        name: json.loads(value) for name, _, value in (pair.partition("=") for pair in given)
    }
    seeds = settings.pop("seeds", [0])
    records = run(read(source), seeds, settings)
    found = {"source": Path(source).name, "settings": settings, "records": records}
    Path(out).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
