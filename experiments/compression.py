"""Make the study of compression: ``python experiments/compression.py``, half an hour on one thread.

It takes the models that ``beauty.toml`` has trained, exports them at float32 and int8, prunes them,
and trains them on for as long as what was pruned, for comparison. Every export is judged as it
would be served. A unit is an arm with a seed; units that are done are skipped.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import redirect_stderr
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from recipes import HERE, Recipe, Unit
from records import filled, origin, write_json, write_text
from units import Stamped, describe

import modicum as mo
from modicum.compression.onnx import OnnxRecommender, export, load_onnx
from modicum.compression.pruning import backbone_size, divisible, prune
from modicum.data.split import Split
from modicum.errors import ModicumError
from modicum.evaluation.compare import compare
from modicum.evaluation.report import Report
from modicum.evaluation.seeds import average_over_seeds
from modicum.exported import FILES, Precision
from modicum.methods.recommender import Recommender
from modicum.training.batches import Batch

RECIPE = HERE / "beauty.toml"
RECORD = HERE / "results" / "compression.json"
GUIDE = HERE.parent / "docs" / "guides" / "pruning.md"

ARMS = ("slmrec", "sasrec")
KEEP, EPOCHS = 0.7, 2
CALLS = 300
VARIANTS: dict[str, tuple[str, Precision]] = {
    "whole": ("whole", "float32"),
    "whole, int8": ("whole", "int8"),
    "pruned": ("pruned", "float32"),
    "pruned, int8": ("pruned", "int8"),
    "trained on": ("trained on", "float32"),
}
"""What the guide calls it -> which model, exported at which precision."""
METRIC = "ndcg@10"


def main() -> None:
    os.nice(10)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    with redirect_stderr(Stamped(sys.stderr)):
        try:
            record = study(Recipe.read(RECIPE), ARMS)
        except ModicumError as problem:
            sys.exit(str(problem))
        except KeyboardInterrupt:
            sys.exit("stopped; the same command goes on from here")
    write_json(RECORD, record)
    write_text(GUIDE, filled(GUIDE.read_text(encoding="utf-8"), "study", section(record)))


def study(recipe: Recipe, names: tuple[str, ...]) -> dict[str, Any]:
    """Compress the models of some arms of a recipe, and return the record of all."""
    units = [unit for unit in recipe.units() if unit.arm.name in names]
    parts = recipe.load_split(units[0].arm)
    for unit in units:
        if not (folder_of(unit) / "sizes.json").exists():
            print(unit.name, file=sys.stderr, flush=True)
            make(unit, parts)
    return {
        **origin("onnxruntime"),
        "recipe": recipe.name,
        "keys": {unit.name: unit.key for unit in units},
        "data": describe(parts.log),
        "keep": KEEP,
        "recovery epochs": EPOCHS,
        "arms": {name: summed([x for x in units if x.arm.name == name]) for name in names},
    }


def make(unit: Unit, parts: Split) -> None:
    """Make, judge and time all variants of one trained model."""
    folder = folder_of(unit)
    whole = mo.load(unit.folder / "model")
    assert isinstance(whole, Recommender)

    def trained_on(keep: float) -> Recommender:
        return prune(
            whole,
            parts.train,
            keep=keep,
            validation=parts.validation,
            epochs=EPOCHS,
            seed=unit.seed,
            folder=folder / f"kept-{keep:g}",
        )

    models = {"whole": whole, "pruned": trained_on(KEEP), "trained on": trained_on(1.0)}
    exports: dict[str, OnnxRecommender] = {}
    sizes: dict[str, dict[str, float]] = {}
    for variant, (name, precision) in VARIANTS.items():
        place = export(models[name], folder / variant / "export", precision)
        exports[variant] = load_onnx(place)
        mo.evaluate(exports[variant], parts.test, **unit.recipe.evaluation).save(
            folder / variant / "report"
        )
        network = models[name].fitted_network
        layers = divisible(network)
        counts = {units.kind: units.count for units in layers}
        sizes[variant] = {
            "backbone": backbone_size(network, layers, counts),
            "bytes": sum((place / x).stat().st_size for x in FILES if (place / x).exists()),
        }
    for variant, milliseconds in latencies(exports).items():
        sizes[variant]["ms"] = milliseconds
    write_json(folder / "sizes.json", sizes)


def latencies(exports: dict[str, OnnxRecommender]) -> dict[str, float]:
    """Return the median time from one full history to its user vector; all take turns."""
    length, items = next((x.length, len(x.vocabulary)) for x in exports.values())
    rows = np.random.default_rng(0).integers(1, items + 1, (1, length))
    batch = Batch(torch.from_numpy(rows))
    seconds: dict[str, list[float]] = {variant: [] for variant in exports}
    for _ in range(CALLS):
        for variant, model in exports.items():
            begun = perf_counter()
            model.fitted_network.encode(batch)
            seconds[variant].append(perf_counter() - begun)
    return {variant: 1e3 * median(own) for variant, own in seconds.items()}


def summed(units: list[Unit]) -> dict[str, Any]:
    """Return sizes, levels and tests against the whole model, over the seeds of an arm."""
    folders = [folder_of(unit) for unit in units]
    sizes = [json.loads((folder / "sizes.json").read_text(encoding="utf-8")) for folder in folders]
    reports = {}
    for variant in VARIANTS:
        own = [Report.load(folder / variant / "report") for folder in folders]
        reports[variant] = average_over_seeds(own) if len(own) > 1 else own[0]
    found = compare(reports, metrics=[METRIC], strata=["all"], reference="whole")
    return {
        "seeds": [unit.seed for unit in units],
        "sizes": {
            variant: {kind: median(own[variant][kind] for own in sizes) for kind in told}
            for variant, told in sizes[0].items()
        },
        "levels": found.levels.select("report", "mean", "low", "high", "n").to_dicts(),
        "tests": found.table.drop("metric", "stratum").to_dicts(),
    }


def folder_of(unit: Unit) -> Path:
    return unit.recipe.runs / "compression" / f"{unit.name}-{unit.key}"


def section(record: dict[str, Any] | None) -> str:
    """Return what the guide says of a record."""
    if record is None:
        return "Not measured yet."
    about = record["data"]
    parts = [
        f"Amazon Beauty, {about['events']:,} events (digest `{about['digest']}`), the models of "
        f"[beauty.toml](../../experiments/beauty.toml), each exported and judged as it would be "
        f"served; {record['keep']:.0%} of the backbone kept at most, {record['recovery epochs']} "
        "epochs of recovery, and as many more for the whole model (*trained on*). Bytes are those "
        "of encoder and item vectors, milliseconds from one history of full length to its user "
        "vector, one thread, medians in turn. The difference in NDCG@10 is relative to the whole "
        f"model's; p is corrected over the four of a table. Commit {record['commit']}; "
        "`python experiments/compression.py`."
    ]
    for name, arm in record["arms"].items():
        parts += [f"**{name}**, {len(arm['seeds'])} seeds", table(arm)]
    return "\n\n".join(parts)


def table(arm: dict[str, Any]) -> str:
    """Return the variants of one arm, a row each."""
    tests = {test["a"]: test for test in arm["tests"]}
    whole = arm["sizes"]["whole"]["bytes"]
    rows = [
        "| | backbone | bytes | | ms | NDCG@10 | difference | p |",
        "|---|---:|---:|---:|---:|---|---|---:|",
    ]
    for level in arm["levels"]:
        variant, test = level["report"], tests.get(level["report"])
        size = arm["sizes"][variant]
        cells = [
            variant,
            f"{size['backbone']:,.0f}",
            f"{size['bytes']:,.0f}",
            f"{size['bytes'] / whole:.1%}",
            f"{size['ms']:.3f}",
            f"{level['mean']:.5f} [{level['low']:.5f}, {level['high']:.5f}]",
            relative(test) if test else "",
            f"{test['p_holm']:.3f}" if test else "",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def relative(test: dict[str, Any]) -> str:
    share = [test[part] / test["mean_b"] for part in ("difference", "low", "high")]
    return "{:+.1%} [{:+.1%}, {:+.1%}]".format(*share)


if __name__ == "__main__":
    main()
