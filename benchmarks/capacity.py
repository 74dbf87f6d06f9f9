"""Write the capacity plan of ``docs/guides/scale.md``: ``python benchmarks/capacity.py``.

Its figures are those of ``benchmarks/results/scoring.json``, measured by
``python benchmarks/run.py scoring``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "guides" / "scale.md"
RECORD = HERE / "results" / "scoring.json"
BEGIN, END = "<!-- written by benchmarks/capacity.py -->\n", "<!-- to here -->\n"

EVENTS = 1_000_000_000
USERS = 50_000_000
HOURS = 4
BUSY = 0.7
"""Share of the time that processors are taken to work: the rest is starting, waiting, repeating."""

COLUMNS = (
    ("catalogue", "catalogue"),
    ("split, events/s", "a core splits, events/s"),
    ("score, users/s", "a core scores, users/s"),
    ("core-hours", "core-hours a day"),
    ("cores", f"cores for {HOURS} hours"),
    ("shards", "disk for shards, GB"),
    ("scores", "disk for scores, GB"),
)


def main() -> None:
    """Write the plan into the page."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), record()), encoding="utf-8")


def record() -> dict[str, Any] | None:
    """Return what was measured; None: nothing yet."""
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else None


def page(text: str, measured: dict[str, Any] | None) -> str:
    """Return the page with the plan between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{plan(measured)}\n\n{END}{after}"


def plan(measured: dict[str, Any] | None) -> str:
    """Return the table of the plan, a row for each size of the catalogue that was measured."""
    if measured is None:
        return (
            "Not measured yet: `python benchmarks/run.py scoring` on a quiet machine, then "
            "`python benchmarks/capacity.py`, write the table here."
        )
    k = json.loads(next(iter(measured["arms"].values()))[-1])["k"]
    rows = [
        needed(name.removeprefix("modicum "), figures, k)
        for name, figures in measured["medians"].items()
    ]
    lines = [f"| {' | '.join(title for _, title in COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    lines += [f"| {' | '.join(row[key] for key, _ in COLUMNS)} |" for row in rows]
    where = f"{measured['machine']['processor']}, commit {measured['commit']}"
    return f"Measured on one thread of {where}:\n\n" + "\n".join(lines)


def needed(catalogue: str, figures: dict[str, float], k: int) -> dict[str, str]:
    """Return what a day takes, from what one core does in a second."""
    seconds = EVENTS / figures["split_events_per_s"] + USERS / figures["scored_users_per_s"]
    return {
        "catalogue": catalogue,
        "split, events/s": f"{figures['split_events_per_s']:,.0f}",
        "score, users/s": f"{figures['scored_users_per_s']:,.0f}",
        "core-hours": f"{seconds / 3600:,.0f}",
        "cores": f"{-(-seconds // (3600 * HOURS * BUSY)):,.0f}",
        "shards": f"{EVENTS * figures['shard_bytes_per_event'] / 1e9:,.0f}",
        "scores": f"{USERS * k * figures['score_bytes_per_row'] / 1e9:,.0f}",
    }


if __name__ == "__main__":
    main()
