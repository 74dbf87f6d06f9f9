"""``modicum fit METHOD`` for the steps of a funnel: from a table of impressions to a saved model."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import modicum as mo
from modicum.cli.fit import PAGE
from modicum.cli.funnel_runs import By, FunnelRun, tasks_beside
from modicum.cli.methods import with_settings_of
from modicum.cli.runs import CHECKPOINT, MODEL, fingerprint
from modicum.errors import SettingError
from modicum.methods.finding import CONVERSION, find_methods


def fit_funnel(
    method: str,
    table: str,
    *,
    steps: str,
    out: Path,
    after: str | None = None,
    by: By = "random",
    seed: int = 0,
    config: Path | None = None,
    **settings: Any,
) -> None:
    """Fit a method and save it with what it was fitted on.

    Four fifths of the rows are learnt from, a tenth chooses the epoch, a tenth is for the test.

    Args:
        table: csv, tsv, jsonl or parquet, also .gz or .zst: features, and a column for each step.
        steps: columns of labels in the order in which they happen, separated by commas.
        out: folder of the run; a run that was stopped there goes on.
        after: tasks beside the steps and what each can only follow, as in like=click,hide.
        by: rows are parted at random, or by their order: the last are the test. By order, a parquet
            file of any length is read piece by piece.
        seed: of everything random in the training.
        config: TOML file with any of these options; those of the command line win.
    """
    from modicum.training.drawing import training_page

    names, beside = steps.split(","), tasks_beside(after)
    if not all((*names, *beside)):
        raise SettingError(
            "--steps and --after name columns, separated by commas: --steps click,conversion "
            "--after like=click,hide"
        )
    funnel = mo.Funnel(*names, after=beside)
    model = find_methods(*CONVERSION)[method].load()(funnel=funnel, **settings)
    model.check()
    run = FunnelRun(method, settings, seed, table, [*funnel.steps], beside, by, fingerprint(table))
    run.enter(out)
    if (out / MODEL).exists():
        print(f"{out} holds this very run, fitted; judge it with: modicum evaluate {out}")
        return
    train, validation, _ = run.load_parts()
    checkpoint = out / CHECKPOINT
    try:
        model.fit(train, validation=validation, seed=seed, folder=checkpoint)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"what was learnt is kept in {out}; the same command goes on from there"
        ) from None
    model.save(out)
    if find_spec("matplotlib"):
        training_page(model.name, model.training_log).write(out / PAGE)
    shutil.rmtree(checkpoint, ignore_errors=True)
    print(f"saved in {out}; judge it with: modicum evaluate {out}")


def command(method: str) -> Callable[..., None]:
    """Return ``fit_funnel`` for one method, its fields standing in the signature as flags."""
    return with_settings_of(find_methods(*CONVERSION)[method].load(), fit_funnel, method=method)


def __getattr__(name: str) -> Any:
    """Make ``modicum.cli.fit_funnel:METHOD`` an import path, so that a method loads when called."""
    if name not in find_methods(*CONVERSION):
        raise AttributeError(f"module 'modicum.cli.fit_funnel' has no attribute {name!r}")
    return command(name)
