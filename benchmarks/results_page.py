"""Write ``benchmarks/RESULTS.md`` from ``benchmarks/results``: ``python benchmarks/results_page.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE / "RESULTS.md"

HEAD = """\
# Results of the benchmarks

Written by `python benchmarks/results_page.py` from `benchmarks/results`; do not edit. What each arm does
stands in [README](README.md). Figures are medians over the rounds; a ratio says how many times
better ours is than the peer beside it. `cpu_share` well below 1 means that the machine was busy."""


def main() -> None:
    """Write the page anew."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the page of all results."""
    records = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((HERE / "results").glob("*.json"))
    ]
    return "\n\n".join([HEAD, *map(render, records)]) + "\n"


def render(record: dict[str, Any]) -> str:
    """Return the section of one benchmark: medians by arm, then ratios."""
    rounds = 1 + max((run["round"] for run in record["runs"]), default=0)
    where = f"{record['machine']['processor']}, commit {record['commit']}, {rounds} round(s)"
    parts = [f"## {record['benchmark']}", where, table(record["medians"], "arm")]
    if record["ratios"]:
        parts.append(table(record["ratios"], "ratio"))
    return "\n\n".join(parts)


def table(rows: dict[str, dict[str, float]], first: str) -> str:
    """Return a table of named rows whose columns may differ."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = [f"| {' | '.join([first, *columns])} |", f"|{'---|' * (len(columns) + 1)}"]
    for name, row in rows.items():
        cells = [f"{row[column]:.4g}" if column in row else "" for column in columns]
        lines.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
