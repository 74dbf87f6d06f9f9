"""``modicum watch``: refit on newer events, judge beside the live model, promote if not worse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import modicum as mo
from modicum.cli.evaluate import REPORT
from modicum.cli.events import source_of
from modicum.cli.fit import built, learn
from modicum.cli.funnel_runs import FunnelRun
from modicum.cli.life import Life
from modicum.cli.runs import MODEL, Run, fingerprint, load_model, origin
from modicum.errors import BundleError, ModicumError, SettingError

if TYPE_CHECKING:
    from modicum.data.log import EventLog
    from modicum.data.split import Split

UNSOUND, NOT_PROMOTED, BUSY = 1, 3, 4
"""Exit codes beside 0, and 2 of an error."""

REPORT_OF_LIVE = "report-of-live"
"""Name of the folder in a new run that holds the live model's report on the same events."""

GIVEN_ANEW = ("texts", "teacher")
"""Settings that are files, which a saved model does not hold."""


def watch(
    live: Path,
    *,
    events: str | None = None,
    anew: bool = False,
    margin: float = 0.02,
    keep: int = 5,
) -> int:
    """Refit the live model on newer events, and promote the new one if it is shown not to be worse.

    Of the events that the live model was not made with, the newer half judges both models. The new
    one begins with the weights of the live one and learns from all that was before; the last
    quarter before the judged half chooses the epoch. The new one is promoted, by switching the link,
    if at 97.5 % it loses less than the margin of NDCG@10. One call does this once: let cron or a
    timer call it. A call that was killed is taken up by the next.

    Exit codes: 0 promoted, or nothing to do yet; 1 the audit of the events found errors, and nothing
    was fitted; 2 it could not be done; 3 not promoted; 4 another watch is at work here.

    Args:
        live: symbolic link to the run that is live, such as runs/current; new runs go beside it,
            and a line for each call into watch.jsonl there.
        events: the whole log to date, if not where the live run's events were.
        anew: let the new model begin with nothing, in place of the live one's weights.
        margin: share of the live model's NDCG@10 that may be lost; with 0, only a model that is
            shown to be better is promoted.
        keep: finished runs of this command that stay in the folder, besides the live one.
    """
    if not 0 <= margin < 1:
        raise SettingError(f"margin={margin} is a share that may be lost, in [0, 1)")
    if keep < 1:
        raise SettingError(f"keep={keep} must be 1 or more")
    life = Life(live)
    with life.locked() as alone:
        if not alone:
            print(f"another watch is at work in {life.folder}")
            return BUSY
        try:
            return _watched(life, events, anew, margin, keep)
        except ModicumError as error:
            life.record("failed", reason=str(error))
            raise


def _watched(life: Life, given: str | None, anew: bool, margin: float, keep: int) -> int:
    import numpy as np

    from modicum.evaluation.noninferiority import FEWEST_USERS

    at = life.live
    if FunnelRun.is_in(at):
        raise SettingError(
            f"{life.link} is a run of a funnel, and watch handles recommenders alone; fit it anew "
            "with modicum fit, and judge both with modicum compare"
        )
    run = Run.read(at)
    events = given or run.events
    digest = fingerprint(events)
    asked = {"events": digest, "anew": anew, "margin": margin}
    if digest == run.sha256 or life.was_judged(asked):
        return _waits(life, f"nothing is new in {events}", **asked)
    log = mo.read_events(source_of(events), **run.columns, on_error="skip")
    audit = mo.audit(log)
    figures = asked | {"audit": {x.code: x.severity for x in audit.findings}}
    if not audit.ok:
        print(audit.brief)
        life.record("unsound", **figures)
        return UNSOUND
    model = load_model(at)
    shares = judged_shares(log, run, model)
    if shares is None:
        return _waits(life, "too few events are new to judge by", **figures)
    older = None if anew or _only_counts(model) else model
    begun = None if older is None else origin(at, older)
    settled = {"events": events, "sha256": digest, "split": run.split | shares, "start": begun}
    new = Run(**vars(run) | settled)
    parts = new.load_split()
    if (users := len(np.unique(parts.test.users))) < FEWEST_USERS:
        return _waits(life, f"{users} users are too few to judge by", **figures)
    out = life.place(log.frame["time"].max(), digest)
    if out.exists() and not new.is_in(out):
        shutil.rmtree(out)
    life.sweep(keep, coming=out)
    new.enter(out)
    if not (out / MODEL).exists():
        settings = {name: run.settings[name] for name in GIVEN_ANEW if name in run.settings}
        learn(new, built(run.method, settings, model), parts, out, older)
    promoted = _judged(life, out, model, parts, margin, figures)
    life.sweep(keep)
    return 0 if promoted else NOT_PROMOTED


def _waits(life: Life, reason: str, **figures: Any) -> int:
    print(f"{reason}: {life.live.name} stays live")
    life.record("waiting", reason=reason, **figures)
    return 0


def _judged(
    life: Life, out: Path, live: Any, parts: Split, margin: float, figures: dict[str, Any]
) -> bool:
    """Judge a new run beside the live model, promote it or not, and return which."""
    from modicum.evaluation.noninferiority import not_worse

    new = load_model(out)
    mine, theirs = (mo.evaluate(model, parts.test, progress=False) for model in (new, live))
    mine.save(out / REPORT)
    mine.to_card(out)
    theirs.save(out / REPORT_OF_LIVE)
    verdict = not_worse(mine, theirs, margin=margin)
    print(verdict)
    figures |= {"new": out.name, "judged from": parts.protocol["test from"]}
    figures |= {"epochs": len(new.training_log), "judged": verdict.figures}
    before = life.live
    if verdict.ok:
        _export_alike(before, new, out)
        life.switch(out)
    life.record("promoted" if verdict.ok else "kept", before=before.name, **figures)
    print(f"{life.live.name} is live" if verdict.ok else f"{before.name} stays live")
    return verdict.ok


def judged_shares(log: EventLog, run: Run, model: Any) -> dict[str, float] | None:
    """Return the shares of the log that choose the epoch and judge; None where too little is new.

    What a live model was neither fitted nor chosen on begins with the test events of its own split.
    The newer half of that judges, and half of the rest, just before, chooses the epoch.

    Raises:
        SettingError: the live model knows events of all times.
        BundleError: it is not known which it knows.
    """
    import numpy as np

    if run.split.get("by") != "time":
        raise SettingError(
            "the live run was split with --by last-item, so that it knows events of all times and "
            "nothing can judge it; fit one with --by time"
        )
    since = model.lineage.get("split", {}).get("test from")
    if since is None:
        raise BundleError(
            "the live model does not say up to when it knows events; fit one with modicum fit"
        )
    times = log.frame["time"].to_physical().to_numpy()
    new = int((times >= np.datetime64(since, "us").astype(np.int64)).sum())
    if new < 4:
        return None
    return {"validation": new // 4 / len(times), "test": new // 2 / len(times)}


def _only_counts(model: Any) -> bool:
    from modicum.methods.network import CountedNetwork

    return isinstance(model.fitted_network, CountedNetwork)


def _export_alike(live: Path, model: Any, out: Path) -> None:
    """Export a model in the ways in which the live one is exported."""
    from modicum import exported

    for config in live.glob(f"*/{exported.CONFIG}"):
        from modicum.compression.onnx import export

        precision = json.loads(config.read_text(encoding="utf-8"))["precision"]
        export(model, out / config.parent.name, precision=precision)
