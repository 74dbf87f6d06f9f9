"""The runs that a server can show: their saved reports and audits, read and compared."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from modicum.data.audit.findings import shown
from modicum.data.audit.page import SUBJECTS
from modicum.data.strata import DEFINITIONS
from modicum.errors import DataError
from modicum.evaluation.compare import AnyReport, compare
from modicum.evaluation.comparison_rendering import findings, tests_text
from modicum.evaluation.layout import in_words
from modicum.evaluation.report import HEADER
from modicum.evaluation.saved import load_report

logger = logging.getLogger("modicum.serving")

REPORT, AUDIT = "report", "audit.json"
"""What ``modicum evaluate`` and ``modicum fit`` leave in the folder of a run."""

REMEMBERED = 16
"""Reports, and comparisons, that are kept in memory."""


class ListedRun(BaseModel):
    name: str
    model: str
    judged_by: str
    audit: bool


class RunList(BaseModel):
    runs: list[ListedRun]


class Figure(BaseModel):
    metric: str
    group: str
    mean: float | None
    low: float | None
    high: float | None
    n: int


class RunReport(BaseModel):
    """A saved report: figures by group (stratum, or task), and how they came about."""

    name: str
    headline: str
    warnings: list[str]
    grouped_by: str
    unit: str
    main_metrics: list[str]
    figures: list[Figure]
    definitions: dict[str, str]
    protocol: dict[str, str]
    method: str


class Measured(BaseModel):
    what: str
    value: str


class Subject(BaseModel):
    subject: str
    measured: list[Measured]


class AuditFinding(BaseModel):
    code: str
    severity: str
    message: str


class RunAudit(BaseModel):
    source: str
    verdict: str
    findings: list[AuditFinding]
    figures: list[Subject]


class PairedTest(BaseModel):
    metric: str
    group: str
    difference: float
    low: float | None
    high: float | None
    p_holm: float | None
    effect: float | None
    n: int
    verdict: str


class RunComparison(BaseModel):
    """Two runs, compared by paired tests; differences are ``a - b``."""

    a: str
    b: str
    grouped_by: str
    findings: list[str]
    tests: list[PairedTest]
    method: str


class Runs:
    """Reads the folders below one folder, and nothing else: a name is one that was listed.

    Args:
        folder: its folders are runs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._one_at_a_time = threading.Lock()

    def list(self) -> RunList:
        """Return the runs that have a report, by name."""
        listed = []
        for name, run in self._found().items():
            try:
                protocol = json.loads((run / REPORT / HEADER).read_bytes())["protocol"]
                model, k = str(protocol["model"]), ", ".join(map(str, protocol["k"]))
            except (OSError, ValueError, LookupError, TypeError) as error:
                logger.warning("the report of run %s is left out: %s", name, error)
                continue
            judged = f"{_judged(protocol)}, k = {k}"
            audit = (run / AUDIT).is_file()
            listed.append(ListedRun(name=name, model=model, judged_by=judged, audit=audit))
        return RunList(runs=listed)

    def report(self, name: str) -> RunReport | None:
        """Return the saved report of a run, None where no such run is listed.

        Raises:
            DataError: its report is damaged, or has no interval to show.
        """
        run = self._found().get(name)
        if run is None:
            return None
        with self._one_at_a_time:
            report = _read(run, _stamp(run))
            report.require_renderable()
            summary = report.summary.rename({report.grouped_by: "group"})
        return RunReport(
            name=name,
            headline=report.rendering.headline(report),
            warnings=report.warnings,
            grouped_by=report.grouped_by,
            unit=report.unit,
            main_metrics=[metric for metric in report.main_metrics if metric in report.metrics],
            figures=[Figure(**row) for row in summary.select(*Figure.model_fields).to_dicts()],
            definitions={x: DEFINITIONS[x] for x in report.groups if x in DEFINITIONS},
            protocol=in_words(report.protocol, without=()),
            method=report.method,
        )

    def audit(self, name: str) -> RunAudit | None:
        """Return the audit of the data that a run was fitted on, None where there is none.

        Raises:
            DataError: the audit is damaged.
        """
        run = self._found().get(name)
        if run is None or not (run / AUDIT).is_file():
            return None
        try:
            kept = json.loads((run / AUDIT).read_bytes())
            return RunAudit(
                source=kept["source"],
                verdict=kept["verdict"],
                findings=[AuditFinding(**_part(found)) for found in kept["findings"]],
                figures=[
                    Subject(subject=SUBJECTS.get(subject, subject), measured=_measured(measured))
                    for subject, measured in kept["figures"].items()
                    if measured
                ],
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            logger.error("audit of run %s: %s", name, error)
            raise DataError(
                f"the audit of run {name!r} is damaged; audit the events again"
            ) from None

    def compare(self, a: str, b: str) -> RunComparison | None:
        """Return the paired tests between two runs, None where one of them is not listed.

        Raises:
            DataError: they cannot be compared, or a report is damaged.
        """
        found = self._found()
        if a not in found or b not in found:
            return None
        runs = found[a], found[b]
        with self._one_at_a_time:
            return _compared(runs, (_stamp(runs[0]), _stamp(runs[1])))

    def _found(self) -> dict[str, Path]:
        """Return the folders that hold a report, none that a link takes elsewhere."""
        root = self.folder.resolve()
        try:
            runs = sorted(path for path in root.iterdir() if (path / REPORT / HEADER).is_file())
        except OSError as error:
            logger.error("%s cannot be listed: %s", self.folder, error)
            return {}
        return {path.name: path for path in runs if path.resolve().parent == root}


def _stamp(run: Path) -> int:
    """Return what changes where a report is written anew; 0 where it has just gone."""
    try:
        return (run / REPORT / HEADER).stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(REMEMBERED)
def _read(run: Path, _: int) -> AnyReport:
    try:
        return load_report(run / REPORT)
    except DataError as error:
        logger.error("%s", error)  # it names the file, which is nobody's business outside
        raise DataError(
            f"the report of run {run.name!r} is damaged; judge it again: modicum evaluate"
        ) from None


@lru_cache(REMEMBERED)
def _compared(runs: tuple[Path, Path], stamps: tuple[int, int]) -> RunComparison:
    reports = {run.name: _read(run, at) for run, at in zip(runs, stamps, strict=True)}
    compared = compare(reports)  # type: ignore[arg-type]
    for report in reports.values():
        report.require_renderable()
    tests = compared.table.rename({compared.grouped_by: "group"})
    return RunComparison(
        a=runs[0].name,
        b=runs[1].name,
        grouped_by=compared.grouped_by,
        findings=findings(compared),
        tests=[PairedTest(**row) for row in tests.select(*PairedTest.model_fields).to_dicts()],
        method=tests_text(compared),
    )


def _judged(protocol: Mapping[str, Any]) -> str:
    """Return how many were judged, as the list of runs says it."""
    for what in ("users", "rows"):
        if what in protocol:
            return f"{protocol[what]:,} {what}"
    return "no protocol"


def _part(found: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(found[key]) for key in AuditFinding.model_fields}


def _measured(measured: Mapping[str, Any]) -> list[Measured]:
    return [
        Measured(what=what.replace("_", " "), value=shown(value))
        for what, value in measured.items()
    ]
