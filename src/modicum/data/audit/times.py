"""Whether the times are plausible, and what happens where they are equal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from modicum.data.audit.findings import Finding, share
from modicum.data.histories import Histories

SECOND = 1_000_000
DAY = 86_400 * SECOND
YEAR = 365 * DAY
PLAUSIBLE_FROM = 631_152_000 * SECOND
"""1990-01-01: hardly any event log on a computer is older."""
RESOLUTIONS = (
    ("day", DAY),
    ("hour", 3_600 * SECOND),
    ("minute", 60 * SECOND),
    ("second", SECOND),
    ("millisecond", 1_000),
)
UNITS = {
    1_000.0: "seconds among milliseconds",
    1_000_000.0: "seconds among microseconds",
    0.001: "milliseconds among seconds",
    0.000001: "microseconds among seconds",
}


def check(events: Histories, now: datetime | None = None) -> tuple[list[Finding], dict[str, Any]]:
    """Look at the times as times: range, unit, resolution, how many a user has.

    Args:
        events: histories of a log with time, in microseconds since 1970.
        now: the present; a day of grace is given for time zones.
    """
    times = events.times
    latest = int((now or datetime.now(UTC)).timestamp()) * SECOND + DAY
    measured = {
        "first": _date(times.min()),
        "last": _date(times.max()),
        "span_days": float((float(times.max()) - float(times.min())) / DAY),
        "distinct_times": pl.Series(times).n_unique(),
        "resolution": resolution(times),
    }
    findings = _implausible(times, latest)
    if len(times) > 1 and measured["distinct_times"] == 1:
        findings.append(
            Finding(
                "time-constant",
                "error",
                f"All {len(times):,} events carry the same time, {measured['first']}: it is the "
                "time of an export, not of the events. Nothing can be ordered or split by it; "
                "find the column with the time of the event.",
                {"time": measured["first"]},
            )
        )
        return findings, measured
    lengths = events.lengths
    several = lengths >= 3
    one = times[events.offsets[:-1]] == times[events.offsets[1:] - 1]
    bulk = float(one[several].mean()) if several.any() else 0.0
    measured["users_with_one_time"] = bulk
    if bulk > 0.01:
        findings.append(
            Finding(
                "time-one-per-user",
                "warning" if bulk > 0.1 else "note",
                f"{share(bulk)} of the users with three events or more have all of them at one "
                "time: imported in bulk, or recorded too coarsely. Their histories have no order, "
                "so next-item prediction on them is chance. Leave them out of the queries, or "
                "report them apart.",
                {"users_with_one_time": bulk},
            )
        )
    if measured["resolution"] in ("day", "hour") and len(times) > 1:
        findings.append(
            Finding(
                "time-coarse",
                "note",
                f"Times are whole {measured['resolution']}s: the order of events inside a "
                f"{measured['resolution']} is unknown. See the share of tied events before "
                "reading much into the last item.",
                {"resolution": measured["resolution"]},
            )
        )
    return findings, measured


def _implausible(times: np.ndarray, latest: int) -> list[Finding]:
    """Find times before 1990 or in the future, and the unit that would explain them."""
    early, late = times < PLAUSIBLE_FROM, times > latest
    wrong = early | late
    if not wrong.any():
        return []
    fraction = float(wrong.mean())
    figures: dict[str, Any] = {
        "events": int(wrong.sum()),
        "share": fraction,
        "before_1990": int(early.sum()),
        "in_the_future": int(late.sum()),
        "first": _date(times.min()),
        "last": _date(times.max()),
    }
    good = times[~wrong]
    begin = int(good.min()) - YEAR if len(good) else PLAUSIBLE_FROM
    end = int(good.max()) + YEAR if len(good) else latest
    moved = times[wrong].astype(np.float64)
    explained = {
        factor: float(((moved * factor >= begin) & (moved * factor <= end)).mean())
        for factor in UNITS
    }
    factor = max(explained, key=lambda f: explained[f])
    unit = explained[factor] >= 0.5
    if unit and len(good):
        figures |= {"factor": factor, "explained_by_factor": explained[factor]}
        return [
            Finding(
                "time-units-mixed",
                "error",
                f"{share(fraction)} of the events lie before 1990 or in the future, and "
                f"{share(explained[factor])} of those fall among the others when multiplied by "
                f"{factor:g}: two units in one column ({UNITS[factor]}). Their order against all "
                "other events is wrong, and so is every split by time. Convert the column to one "
                "unit before reading it.",
                figures,
            )
        ]
    if len(good) == 0:
        remedy = (
            f"Multiplied by {factor:g} they would be plausible: the unit was misread. Read the "
            "column in its unit."
            if unit
            else "They may be a counter instead of a clock: order and splits hold, dates and "
            "spans do not."
        )
        return [
            Finding(
                "time-implausible",
                "warning",
                f"All events lie before 1990 or in the future ({figures['first']} to "
                f"{figures['last']}). {remedy}",
                figures,
            )
        ]
    return [
        Finding(
            "time-impossible",
            "error" if fraction >= 0.001 else "warning",
            f"{figures['before_1990']:,} events lie before 1990 and {figures['in_the_future']:,} "
            f"in the future ({share(fraction)} of all; the log runs from {figures['first']} to "
            f"{figures['last']}). Such times stand for missing ones; those in the future end up "
            "among the test targets. Drop these rows, or repair their times.",
            figures,
        )
    ]


def resolution(times: np.ndarray) -> str:
    """Return the coarsest unit that 99.9 % of the distances to the middle time share.

    >>> resolution(np.array([0, 2, 5]) * DAY + 7)
    'day'
    """
    apart = times - np.partition(times, len(times) // 2)[len(times) // 2]
    for name, unit in RESOLUTIONS:
        if (apart % unit == 0).mean() >= 0.999:
            return name
    return "microsecond"


def ties(events: Histories) -> tuple[list[Finding], dict[str, Any]]:
    """Measure the events of one user at one time, and what their order decides.

    The order inside a tie is the order of the source. The last item of a user depends on that
    where another item stands at the same, last time.
    """
    same = (events.times[1:] == events.times[:-1]) & (
        events.event_users[1:] == events.event_users[:-1]
    )
    tied = np.zeros(events.num_events, dtype=bool)
    tied[1:] |= same
    tied[:-1] |= same
    last = events.offsets[1:] - 1
    at_last = events.times == np.repeat(events.times[last], events.lengths)
    other = events.item_rows != np.repeat(events.item_rows[last], events.lengths)
    open_ended = float(np.logical_or.reduceat(at_last & other, events.offsets[:-1]).mean())
    measured = {"tied_events": float(tied.mean()), "users_whose_last_item_is_tied": open_ended}
    if measured["tied_events"] < 0.01 and open_ended < 0.01:
        return [], measured
    finding = Finding(
        "ties",
        "warning" if open_ended > 0.1 else "note",
        f"{share(measured['tied_events'])} of the events share user and time with another one, and "
        f"for {share(open_ended)} of the users the last item depends on how such ties are ordered "
        "(here: as in the source). Two tools that sort differently evaluate different targets. "
        "State the tie policy, keep the source order fixed, and prefer all events after a cut as "
        "targets over the last item alone.",
        measured,
    )
    return [finding], measured


def _date(time: int) -> str:
    return str(np.datetime64(int(time), "us").astype("datetime64[s]")).replace("T", " ")
