"""``modicum fit METHOD``: from an event log to a saved model, resumed where it was stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from modicum.cli.events import Roles, Targets
from modicum.cli.methods import with_settings_of
from modicum.cli.runs import CHECKPOINT, MODEL, Run, fingerprint, load_model, origin
from modicum.cli.workers import run_again, starts_others
from modicum.errors import SettingError
from modicum.methods.finding import CONVERSION, RECOMMENDERS, find_methods

if TYPE_CHECKING:
    from modicum.data.split import Split

AUDIT = "audit.json"
"""What was found in the data that a run was fitted on, in its folder."""

PAGE = "training.html"
"""What shows the losses by epoch in the folder of a run; only the ``plots`` extra can draw it."""


def fit_method(
    method: str,
    events: str,
    *,
    out: Path,
    start: Annotated[Path | None, Parameter(name="--from")] = None,
    roles: Roles | None = None,
    aim: Targets | None = None,
    by: Literal["time", "last-item"] = "time",
    targets: Literal["all", "first", "last"] = "all",
    on_error: Literal["raise", "skip"] = "raise",
    seed: int = 0,
    workers: int = 1,
    config: Path | None = None,
    **settings: Any,
) -> int:
    """Fit a method and save it with what it was fitted on.

    Args:
        events: csv, tsv, jsonl or parquet, also .gz or .zst; or one for each domain, as in
            beauty=b.csv,sports=s.csv.
        out: folder of the run; a run that was stopped there goes on.
        start: folder of an older model of the method: training begins with its weights, its items
            stay, and settings that are not given are its.
        by: split at points of time, or by the last item of each user (which leaks the future).
        targets: which of the later events of a user are predicted.
        on_error: stop at a broken row, or count it and keep it aside.
        seed: of everything random.
        workers: processes that train together, started by torchrun; a batch is that of all of
            them, so that what is learnt does not depend on their number.
        config: TOML file with any of these options; those of the command line win.
    """
    from modicum.training.processes import Processes

    again = starts_others(workers)
    processes = Processes.join()
    older = None if start is None else load_model(start)
    model = built(method, settings, older)
    named = (roles or Roles()).named()
    split: dict[str, Any] = {"by": by} | ({"targets": targets} if by == "time" else {})
    split |= (aim or Targets()).named()
    begun = None if older is None else origin(Path(str(start)), older)
    run = Run(method, settings, seed, events, named, on_error, split, fingerprint(events), begun)
    if processes.leads:
        run.enter(out)
    if (out / MODEL).exists():
        print(f"{out} holds this very run, fitted; judge it with: modicum evaluate {out}")
        return 0
    if again:
        return run_again(workers)
    parts = run.load_split()
    print(parts.audit.brief)
    learn(run, model, parts, out, older)
    processes.leave()
    print(f"saved in {out}; judge it with: modicum evaluate {out}")
    return 0


def built(method: str, settings: dict[str, Any], older: Any = None) -> Any:
    """Return an unfitted model; settings that are not given are those of an older one.

    Raises:
        SettingError: a setting is out of range, or the older model is of another method.
    """
    made: Any = find_methods(*RECOMMENDERS)[method].load()
    if older is not None and type(older) is not made:
        raise SettingError(
            f"the model to start from is a {type(older).__name__}, and this is to be a "
            f"{made.__name__}; begin with a model of the same method"
        )
    model = made(**(settings if older is None else older.settings() | settings))
    model.check()
    return model


def learn(run: Run, model: Any, parts: Split, out: Path, older: Any = None) -> None:
    """Fit a model in the folder of its run, from where that was stopped, and save it there."""
    from modicum.training.drawing import training_page
    from modicum.training.processes import Processes

    train, checkpoint = parts.train, out / CHECKPOINT
    print(
        f"\nfit {run.method} on {train.num_events:,} events of {train.num_users:,} users with "
        f"{train.num_items:,} items"
    )
    try:
        model.fit(train, validation=parts.validation, seed=run.seed, folder=checkpoint, start=older)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"what was learnt is kept in {out}; the same command goes on from there"
        ) from None
    if not Processes.join().leads:
        return
    parts.audit.to_json(out / AUDIT)
    model.lineage["split"] = parts.protocol
    model.save(out)
    if model.training_log and find_spec("matplotlib"):
        training_page(model.name, model.training_log).write(out / PAGE)
    for trained_first in checkpoint.glob(f"*/{MODEL}"):  # a teacher is a model of its own
        shutil.move(trained_first.parent, out / trained_first.parent.name)
    shutil.rmtree(checkpoint, ignore_errors=True)


def command(method: str) -> Callable[..., None]:
    """Return ``fit_method`` for one method, its fields standing in the signature as flags."""
    return with_settings_of(find_methods(*RECOMMENDERS)[method].load(), fit_method, method=method)


def __getattr__(name: str) -> Any:
    """Make ``modicum.cli.fit:METHOD`` an import path, so that a method loads when it is called."""
    if name not in find_methods(*RECOMMENDERS):
        raise AttributeError(f"module 'modicum.cli.fit' has no attribute {name!r}")
    return command(name)


fit = App(name="fit", help="Fit a method and save it.")
for families, file in ((RECOMMENDERS, "fit"), (CONVERSION, "fit_funnel")):
    for word, found in find_methods(*families).items():
        fit.command(f"modicum.cli.{file}:{word}", name=word, help=found.doc)
