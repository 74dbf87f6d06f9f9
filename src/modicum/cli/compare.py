"""``modicum compare``: paired tests between runs, user by user."""

from __future__ import annotations

from pathlib import Path

import modicum as mo
from modicum.cli.evaluate import REPORT, judge


def compare(*runs: Path, events: str | None = None) -> None:
    """Compare runs by paired tests over the users that all of them were judged on.

    A run that has no report yet is evaluated first.

    Args:
        runs: two or more folders that ``modicum fit`` has written.
        events: where the events are now, if not where they were.
    """
    from modicum.evaluation.report import Report

    reports = {}
    for run in runs:
        kept = run / REPORT
        reports[str(run)] = Report.load(kept) if kept.exists() else judge(run, events=events)
    print(mo.compare(reports))
