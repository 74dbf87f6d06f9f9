"""Rows that stand for the same thing, or for nothing: duplicates, rejected rows, shared ids."""

from __future__ import annotations

from typing import Any

import polars as pl

from modicum.data.audit.columns import as_text
from modicum.data.audit.findings import Finding, share
from modicum.data.histories import Histories
from modicum.data.log import EventLog


def rejected(log: EventLog, missing: int) -> tuple[list[Finding], dict[str, Any]]:
    """Count the rows that the reader kept aside, by problem, and rows without user, item or time.

    Args:
        log: the log with its rejected rows.
        missing: rows of the log that lack an id or a time.
    """
    kept = len(log)
    aside = len(log.rejected)
    measured: dict[str, Any] = {"rows_rejected": aside, "rows_incomplete": missing}
    findings = []
    if aside:
        problems = {
            str(problem): int(n)
            for problem, n in log.rejected.group_by("problem").len().sort("problem").iter_rows()
        }
        fraction = aside / (aside + kept)
        worst = max(problems, key=lambda problem: problems[problem])
        findings.append(
            Finding(
                "rows-rejected",
                "warning" if fraction >= 0.01 else "note",
                f"{aside:,} rows ({share(fraction)}) could not be read and are not in the log; the "
                f"most frequent problem: {worst} ({problems[worst]:,}). If they share a cause they "
                "bias what is left. Look at log.rejected, and repair the source.",
                {"share": fraction, "by_problem": problems},
            )
        )
    if missing:
        fraction = missing / kept
        findings.append(
            Finding(
                "rows-incomplete",
                "error" if fraction >= 0.01 else "warning",
                f"{missing:,} rows ({share(fraction)}) have no user, no item or no time; the audit "
                "leaves them out. Drop them, or find what they lack.",
                {"rows": missing, "share": fraction},
            )
        )
    return findings, measured


def duplicates(events: Histories, timed: bool) -> tuple[list[Finding], dict[str, Any]]:
    """Count events that occur twice in all roles but the value, and items met again by a user."""
    roles = {
        name: as_text(events.columns[name])
        for name in ("domain", "behaviour")
        if name in events.columns
    }
    user_item = pl.Series(events.event_users * (events.num_items + 1) + events.item_rows)
    total = len(user_item)
    again = 1 - user_item.n_unique() / total
    measured: dict[str, Any] = {"repeated_user_item": again}
    findings = []
    if timed:
        frame = pl.DataFrame({"user and item": user_item, "time": events.times} | roles)
        exact = total - frame.n_unique()
        measured["duplicate_events"] = exact
        if exact:
            findings.append(
                Finding(
                    "duplicate-events",
                    "warning" if exact >= 0.01 * total else "note",
                    f"{exact:,} events ({share(exact / total)}) repeat another one exactly: same "
                    f"{', '.join(frame.columns)}. They count twice in popularity and make the next "
                    "item equal to the last. Drop them unless they are real quantities.",
                    {"events": exact, "share": exact / total},
                )
            )
    if again > 0.01:
        findings.append(
            Finding(
                "repeats",
                "note",
                f"{share(again)} of the events are on an item that the user already had. Models "
                "that leave out seen items cannot hit such targets; models that repeat the last "
                "item may look strong. Report with exclude_seen both on and off.",
                {"share": again},
            )
        )
    return findings, measured


def domains(events: Histories) -> tuple[list[Finding], dict[str, Any]]:
    """Look for item ids that occur in two domains.

    Ids that merely restart in each domain make the smaller catalogue nearly a part of the larger
    one; real shared items seldom do.
    """
    if "domain" not in events.columns:
        return [], {}
    sides = (
        pl.DataFrame(
            {
                "domain": as_text(events.columns["domain"]),
                "user": events.event_users,
                "item": events.item_rows,
            }
        )
        .group_by("domain")
        .agg(pl.col("item").unique(), pl.col("user").unique())
        .sort("domain")
    )
    sizes = sides["item"].list.len()
    shared = int((sides.explode("item").group_by("item").len()["len"] > 1).sum())
    users = sides.explode("user").group_by("user").len()["len"]
    measured: dict[str, Any] = {
        "domains": len(sides),
        "items_in_two_domains": shared,
        "users_in_two_domains": int((users > 1).sum()),
    }
    if len(sides) < 2 or not shared:
        return [], measured
    second = int(sizes.sort(descending=True)[1])
    restart = second > 1 and shared >= 0.5 * second
    cause = (
        "That is what ids give that restart in each domain: unrelated items become one, and "
        "everything learnt about them is wrong. Put the domain in front of the id."
        if restart
        else "If they are the same product, say so in the report; if not, put the domain in "
        "front of the id, or their events are mixed."
    )
    finding = Finding(
        "item-in-two-domains",
        "error" if restart else "warning",
        f"{shared:,} item ids occur in more than one domain, {share(min(1.0, shared / second))} of "
        f"the second-largest catalogue. {cause}",
        measured,
    )
    return [finding], measured
