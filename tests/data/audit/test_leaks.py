from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from modicum.data.audit import audit, leaks
from modicum.data.histories import Histories
from modicum.data.log import EventLog
from modicum.data.split import LeakWarning, Split, split


def codes(findings) -> dict[str, str]:
    return {finding.code: finding.severity for finding in findings}


def test_a_split_by_time_holds(frame, log_of):
    findings, measured = leaks.check(split(log_of(frame)))
    assert findings == []
    assert measured["test_targets"] == 600
    assert measured["training_after_first_test_target"] == 0


def test_last_items_learn_from_the_future(frame, log_of):
    with pytest.warns(LeakWarning):
        parts = split(log_of(frame), by="last-item")
    findings, measured = leaks.check(parts)
    assert codes(findings) == {"future-in-training": "warning"}
    targets = parts.test.histories.times[parts.test.targets]
    assert measured["training_after_first_test_target"] == np.mean(
        parts.train.times > targets.min()
    )
    assert measured["test_users_in_training"] == 1


def test_the_future_in_a_split_that_does_not_name_it_is_an_error(frame, log_of):
    with pytest.warns(LeakWarning):
        parts = split(log_of(frame), by="last-item")
    parts = replace(parts, protocol={"split": "my own"})
    assert codes(leaks.check(parts)[0]) == {"future-in-training": "error"}


def test_targets_in_training(frame, log_of):
    parts = split(log_of(frame))
    leaky = replace(parts, train=Histories.from_log(log_of(frame)))
    report = audit(leaky)
    assert not report.ok
    assert codes(report.findings)["target-in-training"] == "error"
    assert report.figures["split"]["test_targets_in_training"] == 600


def test_targets_on_both_sides_of_the_choice(frame, log_of):
    parts = split(log_of(frame))
    findings, _ = leaks.check(replace(parts, validation=parts.test))
    assert codes(findings)["target-in-validation"] == "error"


def test_the_target_in_its_own_input(frame, log_of):
    twice = pl.concat([frame, frame])
    findings, measured = leaks.check(split(log_of(twice)))
    assert codes(findings)["target-in-input"] == "error"
    assert measured["test_targets_in_own_input"] == 600
    assert measured["test_targets_tied_with_input"] == 0.5


def test_rows_without_time_are_told_apart_by_their_place(frame, log_of):
    with pytest.warns(LeakWarning):
        parts = split(log_of(frame.drop("time")), by="last-item")
    findings, measured = leaks.check(parts)
    assert findings == []
    assert "training_after_first_test_target" not in measured


def part(user: list[int], item: list[str]) -> EventLog:
    return EventLog(pl.LazyFrame({"user": user, "item": item}), "part")


def test_given_parts_without_times_hold_their_answers_in_training():
    train = part([1, 1, 2, 2], ["a", "b", "a", "c"])
    parts = Split.given(train, part([3, 3], ["a", "b"]), part([1, 1, 2, 2], ["c", "b", "c", "b"]))
    findings, measured = leaks.check(parts)
    assert codes(findings) == {"target-in-training": "error"}
    assert "1 of 2 test targets" in findings[0].message
    assert measured["test_targets_of_items_in_own_training"] == 1
    assert measured["validation_targets_of_items_in_own_training"] == 0


def test_given_parts_with_times_may_repeat():
    timed = [
        EventLog(
            pl.LazyFrame({"user": 1, "item": ["a", "b"], "time": [day, day + 1]}).with_columns(
                pl.from_epoch("time", time_unit="d").cast(pl.Datetime("us"))
            ),
            "part",
        )
        for day in (0, 2, 4)
    ]
    assert leaks.check(Split.given(*timed))[0] == []
