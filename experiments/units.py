"""One unit of work in a process of its own: fit, judge, record. Started by ``run.py``."""

from __future__ import annotations

import io
import os
import resource
import shutil
import sys
import time
from contextlib import redirect_stderr
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from recipes import Recipe, Unit
from records import origin, write_json
from safetensors import safe_open
from shuffling import read_shuffled, shuffled

import modicum as mo
from modicum.data.histories import Histories
from modicum.data.log import EventLog
from modicum.data.split import Queries
from modicum.evaluation.report import KEYS, Report
from modicum.methods.recommender import Recommender
from modicum.training.checkpoint import NAME as CHECKPOINT

TIMED_QUERIES = 1_000
TIMED_ROUNDS = 3


def run(unit: Unit) -> None:
    """Fit the unit, going on from its checkpoint if there is one, and write its record."""
    recipe, folder = unit.recipe, unit.folder
    parts = recipe.load_split(unit.arm)
    model, checkpoint = unit.model(), folder / "checkpoint" / unit.key
    train = parts.train
    if unit.arm.shuffled:
        train = shuffled(train, unit.seed)
        read_shuffled(model, unit.seed)
    resumed = (checkpoint / CHECKPOINT).exists()
    with stopwatch() as fitting:
        exclude_seen = recipe.evaluation.get("exclude_seen", True)
        model.fit(
            train,
            parts.validation,
            seed=unit.seed,
            folder=checkpoint,
            exclude_seen=exclude_seen,
        )
    model.save(folder / "model")
    stamp("evaluating")
    with stopwatch() as judging:
        report = mo.evaluate(model, parts.test, **recipe.evaluation)
    unit.record_path.unlink(missing_ok=True)  # of other settings, and no word on this report
    compared(report).save(unit.report_path)
    record = {
        "recipe": recipe.name,
        "arm": unit.arm.name,
        "seed": unit.seed,
        "key": unit.key,
        "models": {setting: source.name for setting, source in unit.sources.items()},
        "texts": unit.arm.texts,
        **origin(),
        "data": describe(parts.log),
        "protocol": report.protocol,
        "method": unit.arm.method,
        "settings": model.settings(),
        "parameters": parameters(model, checkpoint / CHECKPOINT),
        "training": training(model)
        | {
            "fit_s": None if resumed else round(fitting.seconds, 3),
            "cpu_share": round(fitting.cpu_share, 3),
        },
        "inference": inference(model, parts.test) | {"evaluate_s": round(judging.seconds, 3)},
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "figures": report.summary.to_dicts(),
    }
    write_json(unit.record_path, record)
    shutil.rmtree(checkpoint.parent, ignore_errors=True)


def compared(report: Report) -> Report:
    """Return the metrics that tests will compare, without the others: it is to be committed."""
    columns = report.per_stratum.select(*KEYS, *report.main_metrics)
    return replace(report, per_stratum=columns)


def training(model: Recommender) -> dict[str, Any]:
    """Return the training log and what it sums up to."""
    log = model.training_log
    values = [epoch["validation"] for epoch in log]
    return {
        "epochs": len(log),
        "best_epoch": values.index(max(values)) + 1 if values else 0,
        "seconds": round(sum(epoch["seconds"] for epoch in log), 3),
        "log": log,
    }


def parameters(model: Recommender, checkpoint: Path) -> dict[str, int]:
    """Count what is stored, what of it is not the item table, and what was trained.

    Trained are those that the optimiser kept moments of, heads that are dropped later included.
    """
    stored = {name: x.numel() for name, x in model.fitted_network.state_dict().items()}
    backbone = sum(size for name, size in stored.items() if "items" not in name.split("."))
    trained = 0
    if checkpoint.exists():
        with safe_open(checkpoint, framework="np") as file:
            names = [name for name in file.keys() if name.endswith(".exp_avg")]  # noqa: SIM118
            trained = sum(int(np.prod(file.get_slice(name).get_shape())) for name in names)
    return {"stored": sum(stored.values()), "backbone": backbone, "trained": trained}


def inference(model: Recommender, queries: Queries) -> dict[str, Any]:
    """Time the ranking of the whole catalogue for the last query of up to 1,000 users."""
    last = np.flatnonzero(np.diff(queries.users, append=-1))
    chosen = np.random.default_rng(0).permutation(last)[:TIMED_QUERIES]
    sample = queries.take(np.sort(chosen))
    model.rank(sample, 10)
    seconds = []
    for _ in range(TIMED_ROUNDS):
        with stopwatch() as clock:
            model.rank(sample, 10)
        seconds.append(clock.seconds)
    return {
        "queries": len(sample),
        "seconds_per_1000": round(median(seconds) / len(sample) * 1_000, 5),
    }


def describe(log: EventLog) -> dict[str, Any]:
    """Say which events were used, by number and by hash."""
    events, digest = Histories.from_log(log), sha256()
    for array in (events.item_rows, events.offsets, events.times):
        digest.update(np.ascontiguousarray(array).tobytes())
    return {
        "source": Path(log.source).name,
        "events": events.num_events,
        "users": events.num_users,
        "items": events.num_items,
        "digest": digest.hexdigest()[:16],
    }


class stopwatch:
    """Seconds of a block, and the processor's share of them: below 1, something else ran too."""

    def __enter__(self) -> stopwatch:
        self._begin, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._begin
        self.cpu_share = (time.process_time() - self._cpu) / self.seconds


class Stamped(io.TextIOBase):
    """Puts the time before each line, so that a log of many hours can be read."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.fresh = stream, True

    def write(self, text: str) -> int:
        for line in text.splitlines(keepends=True):
            now = f"{datetime.now():%m-%d %H:%M:%S}    " if self.fresh else ""
            self.stream.write(now + line)
            self.fresh = line.endswith("\n")
        return len(text)

    def flush(self) -> None:
        self.stream.flush()


def stamp(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    path, runs, scale, arm, seed = sys.argv[1:]
    os.nice(10)
    recipe = Recipe.read(Path(path), runs=Path(runs), scale=float(scale))
    with redirect_stderr(Stamped(sys.stderr)):
        try:
            run(Unit(recipe, recipe.arms[arm], int(seed)))
        except KeyboardInterrupt:
            stamp("stopped; the next start goes on from the checkpoint")
            sys.exit(130)


if __name__ == "__main__":
    main()
