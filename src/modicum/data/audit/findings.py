"""What an audit found and measured: a value that prints, saves and draws itself."""

from __future__ import annotations

import json
import os
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import polars as pl

from modicum.errors import ResourceError

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing to know before a number from this log is believed.

    Args:
        code: short name of the kind of finding, stable between versions.
        severity: ``"error"``: results would be wrong; ``"warning"``: they may mislead;
            ``"note"``: worth a sentence in the report.
        message: what was measured, why it matters, what to do.
        figures: the measurements behind the message.

    >>> Finding("no-time", "warning", "There is no time.").severity
    'warning'
    """

    code: str
    severity: Severity
    message: str
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Audit:
    """The findings about a log, worst first, and everything that was measured.

    Args:
        source: where the events came from.
        findings: see :class:`Finding`.
        figures: subject -> name -> measurement.
        tables: small frames behind the pictures of the page.

    >>> audit = Audit("example", (Finding("no-time", "warning", "There is no time."),), {})
    >>> audit.ok, audit.verdict
    (True, '1 warning, no errors: read it before trusting a number from this log.')
    """

    source: str
    findings: tuple[Finding, ...]
    figures: dict[str, dict[str, Any]]
    tables: dict[str, pl.DataFrame] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """No finding is an error."""
        return not any(finding.severity == "error" for finding in self.findings)

    @property
    def verdict(self) -> str:
        """The audit in one sentence."""
        count = {s: sum(f.severity == s for f in self.findings) for s in SEVERITIES}
        errors, warnings = (_plural(count[s], s) for s in ("error", "warning"))
        if count["error"]:
            codes = ", ".join(f.code for f in self.findings if f.severity == "error")
            return f"{errors} ({codes}): results from this log would be wrong as it stands."
        if count["warning"]:
            them = "it" if count["warning"] == 1 else "them"
            return f"{warnings}, no errors: read {them} before trusting a number from this log."
        return "No errors, no warnings: nothing found that would make results misleading."

    @property
    def brief(self) -> str:
        """The verdict and the findings, without the figures."""
        lines = [f"Audit of {self.source}", self.verdict]
        for finding in self.findings:
            lines += ["", f"{finding.severity.upper()} {finding.code}"]
            lines += textwrap.wrap(finding.message, 96, initial_indent="  ", subsequent_indent="  ")
        return "\n".join(lines)

    def __str__(self) -> str:
        lines = [self.brief]
        for subject, measured in self.figures.items():
            if not measured:
                continue
            lines += ["", subject]
            width = max(map(len, measured))
            lines += [f"  {name:<{width}}  {shown(value)}" for name, value in measured.items()]
        return "\n".join(lines)

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the audit as JSON text, and write it to ``path`` where one is given.

        Raises:
            ResourceError: the file cannot be written.
        """
        content = {
            "source": self.source,
            "ok": self.ok,
            "verdict": self.verdict,
            "findings": [
                {"code": f.code, "severity": f.severity, "message": f.message, "figures": f.figures}
                for f in self.findings
            ],
            "figures": self.figures,
            "tables": {name: table.to_dict(as_series=False) for name, table in self.tables.items()},
        }
        text = json.dumps(content, indent=2, default=str, ensure_ascii=False)
        if path is not None:
            try:
                Path(path).write_text(text + "\n", encoding="utf-8")
            except OSError as problem:
                raise ResourceError(
                    f"the audit cannot be written to {path}: {problem}; choose another path"
                ) from problem
        return text

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write a page with the verdict, the findings and the pictures; return its path.

        Raises:
            ResourceError: the page cannot be written.
        """
        from modicum.data.audit.page import draw

        return draw(self).write(path)


def share(x: float) -> str:
    """Return a share as a percentage that does not round to nothing or to all.

    >>> share(0.1234), share(0.00004), share(0.99999), share(1)
    ('12.3 %', 'under 0.1 %', 'over 99.9 %', '100 %')
    """
    if x in (0, 1):
        return f"{x:.0%}".replace("%", " %")
    if x < 0.001:
        return "under 0.1 %"
    if x > 0.999:
        return "over 99.9 %"
    return f"{100 * x:.1f} %"


def shown(value: Any) -> str:
    """Return a measurement as text for people.

    >>> shown(1234567), shown(0.123456), shown("day"), shown(None)
    ('1,234,567', '0.1235', 'day', 'not measured')
    """
    if value is None:
        return "not measured"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


def _plural(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
