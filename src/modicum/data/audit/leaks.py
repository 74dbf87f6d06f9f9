"""What training and inputs know of the targets, and of what came after them."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from modicum.data.audit.findings import Finding, share
from modicum.data.split import AS_GIVEN, Queries, Split

KEY = ["user", "item", "time"]


def check(split: Split) -> tuple[list[Finding], dict[str, Any]]:
    """Test a split: each event on one side only, nothing of the future on the other.

    An event is user, item and time; in a log without time, its place in the source.
    """
    findings: list[Finding] = []
    measured: dict[str, Any] = dict(split.protocol)
    training = _training(split)
    measured["training_events"] = len(training)
    targets = {"validation": _targets(split.validation), "test": _targets(split.test)}
    for part, frame in targets.items():
        known = len(frame.join(training, on=KEY, how="semi", nulls_equal=True))
        measured |= {f"{part}_targets": len(frame), f"{part}_targets_in_training": known}
        measured[f"{part}_users_in_training"] = _share_in(frame, training["user"])
        if known:
            findings.append(
                Finding(
                    "target-in-training",
                    "error" if known >= 0.001 * len(frame) else "warning",
                    f"{known:,} of {len(frame):,} {part} targets ({share(known / len(frame))}) are "
                    "also training events: same user, item and time. The model has seen the "
                    "answer, and the figures reward memory. Remove them from training, or drop "
                    "duplicates before splitting.",
                    {"part": part, "targets": known},
                )
            )
    both = len(targets["test"].join(targets["validation"], on=KEY, how="semi", nulls_equal=True))
    if both:
        findings.append(
            Finding(
                "target-in-validation",
                "error" if both >= 0.001 * len(split.test) else "warning",
                f"{both:,} test targets are validation targets too: what was chosen on validation "
                "has seen the test. Give each event to one part.",
                {"targets": both},
            )
        )
    for part, queries in (("validation", split.validation), ("test", split.test)):
        found, figures = _inputs(queries, part)
        findings += found
        measured |= figures
    if "made cold" in split.protocol:
        findings.append(_made_cold(split))
    if split.protocol.get("split") == AS_GIVEN and not split.log.has("time"):
        for part, frame in targets.items():
            found, figures = _met_before(frame, training, part)
            findings += found
            measured |= figures
    if split.log.has("time"):
        found, figures = _future(split, training["time"].to_numpy())
        findings += found
        measured |= figures
    return findings, measured


def _made_cold(split: Split) -> Finding:
    cold = int(split.test.strata["cold in the target domain"].sum())
    return Finding(
        "made-cold",
        "note",
        f"Users were made cold: {split.protocol['made cold']}. So {cold:,} of {len(split.test):,} "
        "test targets are of users cold in the target domain, more than in the log as it is. Say "
        "so beside the figures: the mean over all users is that of this mixture.",
        {"cold_test_targets": cold},
    )


def _training(split: Split) -> pl.DataFrame:
    train = split.train
    users = split.test.histories.find(train.user_ids)[train.event_users]
    items = split.test.histories.vocabulary.rows_of(train.vocabulary)[train.item_rows - 1]
    return pl.DataFrame({"user": users, "item": items.astype(np.int64), "time": train.times})


def _targets(queries: Queries) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user": queries.users.astype(np.int64),
            "item": queries.target_rows.astype(np.int64),
            "time": queries.histories.times[queries.targets],
        }
    )


def _share_in(frame: pl.DataFrame, users: pl.Series) -> float | None:
    own = frame["user"].unique()
    return float(own.is_in(users.unique().implode()).mean()) if len(own) else None  # type: ignore[arg-type]


def _met_before(
    targets: pl.DataFrame, training: pl.DataFrame, part: str
) -> tuple[list[Finding], dict[str, Any]]:
    """Look for targets whose item the same user has in training, where no time tells events apart."""
    if not len(targets):
        return [], {}
    again = len(targets.join(training, on=["user", "item"], how="semi"))
    wide = again / len(targets)
    measured = {f"{part}_targets_of_items_in_own_training": again}
    if not again:
        return [], measured
    finding = Finding(
        "target-in-training",
        "error" if wide >= 0.01 else "warning",
        f"{again:,} of {len(targets):,} {part} targets ({share(wide)}) stand in the same user's "
        "training row. Without times nobody can tell a repeat from the answer itself, and a model "
        "that recalls what a user had is paid for it. Take these users out of training, or give "
        "the events times and split them anew.",
        {"part": part, "targets": again},
    )
    return [finding], measured


def _inputs(queries: Queries, part: str) -> tuple[list[Finding], dict[str, Any]]:
    """Look for the target itself, or its time, in the input just before it."""
    if not len(queries):
        return [], {}
    events = queries.histories
    tied = np.zeros(events.num_events, dtype=bool)
    tied[1:] = (events.times[1:] == events.times[:-1]) & (
        events.event_users[1:] == events.event_users[:-1]
    )
    moment = np.cumsum(~tied) * (events.num_items + 1) + events.item_rows
    copy = ~pl.Series(moment).is_first_distinct().to_numpy()
    copies = int(copy[queries.targets].sum())
    ties = float(tied[queries.targets].mean())
    measured = {f"{part}_targets_in_own_input": copies, f"{part}_targets_tied_with_input": ties}
    wide = copies / len(queries)
    if not copies:
        return [], measured
    finding = Finding(
        "target-in-input",
        "error" if wide >= 0.01 else "warning" if wide >= 0.001 else "note",
        f"{copies:,} {part} targets ({share(wide)}) stand in their own input: the "
        "same user, item and time came just before, as a duplicate. Repeating the last item wins "
        "there. Drop duplicate events before splitting.",
        {"part": part, "targets": copies},
    )
    return [finding], measured


def _future(split: Split, training: np.ndarray) -> tuple[list[Finding], dict[str, Any]]:
    """Measure how much of training lies after the test targets."""
    times = split.test.histories.times[split.test.targets]
    if not len(times) or not len(training):
        return [], {}
    ordered = np.sort(training)
    after = float((training > times.min()).mean())
    known = 1 - np.searchsorted(ordered, times, side="right") / len(ordered)
    measured = {
        "training_after_first_test_target": after,
        "test_targets_before_end_of_training": float((times < ordered[-1]).mean()),
        "training_after_a_test_target_on_average": float(known.mean()),
    }
    if after == 0:
        return [], measured
    by_name = "last item" in split.protocol.get("split", "")
    finding = Finding(
        "future-in-training",
        "warning" if by_name else "error",
        f"{share(measured['test_targets_before_end_of_training'])} of the test targets lie before "
        f"the end of training, and {share(after)} of the training events come after the earliest "
        f"of them (for the average target: {share(float(known.mean()))}). Popularity and "
        "transitions of the future leak into training, so figures are flattered. "
        + (
            "Use this protocol only beside published numbers, and a split by global time to decide."
            if by_name
            else "Cut all users at the same time."
        ),
        measured,
    )
    return [finding], measured
