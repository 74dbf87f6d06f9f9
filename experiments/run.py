"""Run experiments: ``python experiments/run.py [RECIPE.toml ...] [--only ARM,..] [--seeds 0,1]``.

Every arm and seed of a recipe is a unit of work in a process of its own. Units that are recorded
with the same settings are skipped, one that was cut off goes on from its checkpoint, and one that
another runner has under way is left to it, so several runners can share a recipe.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

from comparisons import write_comparison
from recipes import HERE, RUNS, Recipe, Unit
from tables import main as write_page
from tables import render

from modicum.errors import ModicumError, SettingError, nearest

BUSY = "under way in another process"
NO_SOURCE = "a model that it learns from is not there yet"


def main() -> None:
    parser = argparse.ArgumentParser(description="Fit, judge and record the arms of recipes.")
    everything = sorted(HERE.glob("*.toml"))
    parser.add_argument("recipes", nargs="*", type=Path, default=everything, metavar="RECIPE")
    parser.add_argument("--only", type=_words, help="these arms, separated by commas")
    parser.add_argument("--seeds", type=_words, help="these seeds, separated by commas")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the users, for a try")
    parser.add_argument("--runs", type=Path, default=RUNS, help="for checkpoints and models")
    chosen = parser.parse_args()
    failed = []
    try:
        for path in chosen.recipes:
            recipe = Recipe.read(path.resolve(), runs=chosen.runs.resolve(), scale=chosen.scale)
            failed += run(recipe, chosen.only, chosen.seeds)
    except ModicumError as problem:
        sys.exit(str(problem))
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from here")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def run(recipe: Recipe, only: list[str] | None, seeds: list[str] | None) -> list[str]:
    """Run the units of a recipe that are chosen and not yet recorded; return those that failed.

    Those that must wait for another runner are tried again as long as others get done.
    """
    for arm in only or ():
        if arm not in recipe.arms:
            raise SettingError(
                f"--only {arm}: {recipe.path} has no such arm; {nearest(arm, recipe.arms)}"
            )
    units = [
        unit
        for unit in recipe.units()
        if (not only or unit.arm.name in only) and (not seeds or str(unit.seed) in seeds)
    ]
    problems: dict[str, str] = {}
    waiting = units
    while waiting:
        for unit in waiting:
            number = units.index(unit) + 1
            title = f"{recipe.name} {unit.name} ({number} of {len(units)})"
            problems[unit.name] = attempt(unit, title)
        still = [unit for unit in waiting if problems[unit.name] in (BUSY, NO_SOURCE)]
        waiting = still if len(still) < len(waiting) else []
    failed = [f"{recipe.name} {name} ({why})" for name, why in problems.items() if why]
    absent = write_comparison(recipe)
    if absent:
        say(
            f"{recipe.name}: compared as before, if at all, since these have no report; delete the "
            f"records of all seeds of their arms to measure them again: {', '.join(absent)}"
        )
    print(render(recipe), flush=True)
    if recipe.results.parent == HERE / "results":
        write_page()
    return failed


def attempt(unit: Unit, title: str) -> str:
    """Run one unit unless it is done; return what went wrong, nothing if all is well."""
    if unit.record() is not None:
        say(f"{title}: recorded already")
        return ""
    sources = unit.sources.values()
    absent = [x.name for x in sources if x.record() is None or not (x.folder / "model").exists()]
    if absent:
        say(f"{title}: left out, {' and '.join(absent)} not there to learn from")
        return NO_SOURCE
    unit.folder.mkdir(parents=True, exist_ok=True)
    with (unit.folder / "lock").open("w") as lock:
        # The unit's process inherits the lock and keeps it if this one is killed.
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{title}: {BUSY}")
            return BUSY
        say(title)
        recipe = unit.recipe
        where = (str(recipe.path), str(recipe.runs), str(recipe.scale))
        command = [sys.executable, str(HERE / "units.py"), *where, unit.arm.name, str(unit.seed)]
        done = subprocess.run(command, env=_one_thread(), pass_fds=[lock.fileno()], check=False)
    if done.returncode == 130:
        raise KeyboardInterrupt
    return f"exit code {done.returncode}" if done.returncode else ""


def say(line: str) -> None:
    print(f"{datetime.now():%m-%d %H:%M:%S} {line}", file=sys.stderr, flush=True)


def _one_thread() -> dict[str, str]:
    """Return the environment with as many threads as OMP_NUM_THREADS says, one unless told."""
    count = os.environ.get("OMP_NUM_THREADS", "1")
    return os.environ | {f"{name}_THREADS": count for name in ("OMP_NUM", "POLARS_MAX")}


def _words(text: str) -> list[str]:
    return text.split(",")


if __name__ == "__main__":
    main()
