"""Write ``docs/results.md`` from the records: ``python experiments/tables.py``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from statistics import median
from typing import Any

from comparisons import FILE
from recipes import HERE, Recipe
from records import write_text

from modicum.errors import DataError
from modicum.evaluation.strata import ALL

PAGE = HERE.parent / "docs" / "results.md"

HEAD = """\
# Results

Written by `python experiments/tables.py` from `experiments/results`; do not edit. How the figures
come about is in [experiments](../experiments/README.md). Metrics are averaged over each user's
queries, then over users, then over training seeds; targets are ranked among the full catalogue.
Brackets hold 95 % bootstrap intervals over users; "sd" is the standard deviation of the means of
the training seeds. Tests are paired by user on seed averages and corrected by Holm's method over
the rows of their table."""


def main() -> None:
    """Write the page anew."""
    write_text(PAGE, page(map(Recipe.read, sorted(HERE.glob("*.toml")))))


def page(recipes: Iterable[Recipe]) -> str:
    """Return the whole page of results."""
    return "\n\n".join([HEAD, *map(render, recipes)]) + "\n"


def render(recipe: Recipe) -> str:
    """Return the section of one recipe, as far as it was compared: levels, strata, tests, costs.

    Raises:
        DataError: the comparison was made from other records than those that are there.
    """
    parts = [f"## {recipe.title}", recipe.note]
    path = recipe.results / FILE
    if not path.exists():
        return "\n\n".join([*filter(None, parts), "Not run yet."])
    comparison = json.loads(path.read_text(encoding="utf-8"))
    arms = _records(recipe, comparison["units"])
    missing = [name for name in recipe.arms if name not in arms]
    if missing:
        parts.append(f"Not run yet: {', '.join(missing)}.")
    parts += [_protocol(arms), _overall(arms, comparison)]
    asked = {stratum for question in recipe.questions for stratum in question.strata}
    parts += [_strata(arms, comparison, metric, asked) for metric in comparison["metrics"]]
    if comparison["tests"]:
        parts.append(_tests(comparison))
    parts.append(_costs(arms))
    return "\n\n".join(filter(None, parts))


def _records(recipe: Recipe, compared: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """Return arm -> the records that were compared."""
    arms: dict[str, list[dict[str, Any]]] = {}
    for unit in recipe.units():
        record = unit.record()
        if record is not None and compared.get(unit.name) == record["measured"]:
            arms.setdefault(unit.arm.name, []).append(record)
    if sum(map(len, arms.values())) != len(compared):
        raise DataError(
            f"{recipe.results / FILE} compares records that are not there any more, or were made "
            f"with other settings than those of {recipe.path.name}; run experiments/run.py "
            f"{recipe.path.name} again"
        )
    return {name: arms[name] for name in recipe.arms if name in arms}


def _protocol(arms: dict[str, Any]) -> str:
    first = next(iter(arms.values()))[0]
    protocol, data = first["protocol"], first["data"]
    told = [
        f"{data['events']:,} events of {data['users']:,} users and {data['items']:,} items "
        f"(digest `{data['digest']}`)",
        f"split: {protocol['split']}",
        *(
            f"{name} {protocol[name].removesuffix('.000000')}"
            for name in ("validation from", "test from")
            if name in protocol
        ),
        f"targets: {protocol['targets']}",
        f"{protocol['queries']:,} test queries of {protocol['users']:,} users",
        f"{protocol['catalogue']:,} items ranked ({protocol['candidates']})",
        f"items of the history {'left out' if protocol['exclude_seen'] else 'ranked too'}",
        f"{protocol['unknown targets']:.1%} of the targets unknown to the models",
    ]
    told += [
        f"{name}: {protocol[name]}"
        for name in ("target behaviour", "made cold", "overlap")
        if name in protocol
    ]
    if protocol["exclude_seen"]:
        told.append(f"{protocol['excluded targets']:.1%} of them in the history")
    return f"{'; '.join(told)}."


def _overall(arms: dict[str, Any], comparison: dict[str, Any]) -> str:
    metrics = comparison["metrics"]
    head = ["", "seeds", *(name for metric in metrics for name in (metric.upper(), "sd"))]
    rows = []
    for arm, records in arms.items():
        levels = [_level(comparison, arm, metric, ALL) for metric in metrics]
        seeds = ", ".join(str(seed) for seed in sorted(record["seed"] for record in records))
        figures = [
            text
            for level in levels
            for text in (_interval(level), _number(level.get("seed_sd"), ".4f"))
        ]
        rows.append([arm, seeds, *figures])
    users = _level(comparison, next(iter(arms)), metrics[0], ALL)["n"]
    return f"All users, n = {users:,}\n\n{_table(head, rows)}"


def _strata(arms: dict[str, Any], comparison: dict[str, Any], metric: str, asked: set[str]) -> str:
    """Show the strata that questions ask about; all, where they ask about none."""
    levels = [
        level
        for level in comparison["levels"]
        if level["metric"] == metric and (asked <= {ALL} or level["stratum"] in asked)
    ]
    sizes = {level["stratum"]: level["n"] for level in levels if level["stratum"] != ALL}
    head = ["", *(f"{stratum}, n = {size:,}" for stratum, size in sizes.items())]
    rows = [
        [arm, *(_interval(_level(comparison, arm, metric, stratum)) for stratum in sizes)]
        for arm in arms
    ]
    return f"{metric.upper()} by stratum\n\n{_table(head, rows)}"


def _tests(comparison: dict[str, Any]) -> str:
    head = [
        "difference",
        "metric",
        "stratum",
        "n",
        "mean",
        "p",
        "p (Holm)",
        "effect d_z",
        "verdict",
    ]
    rows = []
    for test in comparison["tests"]:
        turned = {
            "mean": _negative(test["difference"]),
            "low": _negative(test["high"]),
            "high": _negative(test["low"]),
        }
        rows.append(
            [
                f"{test['b']} - {test['a']}",
                test["metric"].upper(),
                test["stratum"],
                f"{test['n']:,}",
                _interval(turned, "+.4f"),
                _number(test["p"], ".2g"),
                _number(test["p_holm"], ".2g"),
                _number(_negative(test["effect"]), "+.3f"),
                test["verdict"],
            ]
        )
    return f"Paired tests\n\n{_table(head, rows)}"


def _costs(arms: dict[str, Any]) -> str:
    head = ["", "stored", "without item table", "trained", "epochs", "training, min"]
    head += ["s / epoch", "processor share", "inference, s / 1,000 queries", "peak memory, MiB"]
    rows = []
    for arm, records in arms.items():
        count = records[0]["parameters"]
        training = [record["training"] for record in records]
        epoch = [x["seconds"] / x["epochs"] for x in training if x["epochs"]]
        rows.append(
            [
                arm,
                *(f"{count[name]:,}" for name in ("stored", "backbone", "trained")),
                f"{median(x['epochs'] for x in training):g}",
                f"{median(x['seconds'] for x in training) / 60:.1f}",
                f"{median(epoch):.1f}" if epoch else "",
                f"{median(x['cpu_share'] for x in training):.2f}" if epoch else "",
                f"{median(r['inference']['seconds_per_1000'] for r in records):.3f}",
                f"{median(r['peak_mb'] for r in records):,.0f}",
            ]
        )
    every = [record for records in arms.values() for record in records]
    machines = sorted({_machine(record["machine"]) for record in every})
    hours = sum(record["training"]["seconds"] for record in every) / 3600
    commits = sorted({record["commit"] for record in every})
    queries = every[0]["inference"]["queries"]
    text = (
        f"Parameters and costs, medians over seeds. Training time is without validation; a processor "
        f"share well below 1 means that the machine was busy with something else. Inference ranks "
        f"the catalogue for the last query of {queries:,} users, in batches of like length. "
        f"Measured on {'; '.join(machines)}; {hours:.1f} hours of training in all; commits "
        f"{', '.join(commits)}."
    )
    return f"{text}\n\n{_table(head, rows)}"


def _machine(machine: dict[str, Any]) -> str:
    threads = "1 thread" if machine["threads"] == 1 else f"{machine['threads']} threads"
    return f"{machine['processor']}, {threads}" if machine["device"] == "cpu" else machine["device"]


def _level(comparison: dict[str, Any], arm: str, metric: str, stratum: str) -> dict[str, Any]:
    wanted = {"arm": arm, "metric": metric, "stratum": stratum}
    return next(level for level in comparison["levels"] if wanted.items() <= level.items())


def _interval(level: dict[str, Any], form: str = ".4f") -> str:
    mean = _number(level["mean"], form)
    if level["low"] is None:
        return mean
    return f"{mean} [{level['low']:{form}}, {level['high']:{form}}]"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
