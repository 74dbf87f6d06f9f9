"""Windows: which events are inputs and targets, against a loop written out."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modicum.data.histories import Histories
from modicum.data.vocabulary import Vocabulary
from modicum.data.windows import Prefixes, flat_ranges, input_starts, padded, training_windows

lengths_of_users = st.lists(st.integers(1, 30), min_size=1, max_size=8)


def histories(lengths: list[int]) -> Histories:
    events = np.arange(1, sum(lengths) + 1, dtype=np.int32)
    return Histories(
        user_ids=pl.Series(range(len(lengths))),
        vocabulary=Vocabulary(pl.Series(events)),
        item_rows=events,
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        times=events.astype(np.int64),
    )


@given(lengths_of_users, st.integers(1, 12))
def test_windows_cover_every_target_once(lengths, length):
    made = histories(lengths)
    starts, ends = training_windows(made, length, every=True)
    assert (ends - starts >= 2).all() and (ends - starts <= length + 1).all()
    targets = np.sort(flat_ranges(starts + 1, ends))
    expected = np.setdiff1d(np.arange(sum(lengths)), made.offsets[:-1])
    np.testing.assert_array_equal(targets, expected)
    owner = made.event_users
    np.testing.assert_array_equal(owner[starts], owner[ends - 1])


@given(lengths_of_users, st.integers(1, 12))
def test_the_latest_window_is_the_first_of_all(lengths, length):
    made = histories(lengths)
    starts, ends = training_windows(made, length, every=False)
    expected = [
        (max(start, end - length - 1), end)
        for start, end in zip(made.offsets[:-1], made.offsets[1:], strict=True)
        if end - start > 1
    ]
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == expected


@given(st.integers(0, 50), st.integers(0, 200), st.integers(1, 40))
def test_inputs_are_at_most_length_and_at_least_three_quarters(start, surplus, length):
    end = start + surplus
    (begin,) = input_starts(np.array([start]), np.array([end]), length)
    assert start <= begin <= end and end - begin <= length
    assert begin == start or end - begin > length - max(1, length // 4)
    assert surplus > length or begin == start


def test_queries_that_follow_each_other_share_a_window():
    ends = np.arange(1, 41)
    begins = input_starts(np.zeros(40, dtype=int), ends, 16)
    assert len(np.unique(begins)) == 1 + 24 // 4
    assert (np.diff(begins) >= 0).all()


@pytest.mark.parametrize("every", [True, False])
def test_single_events_make_no_window(every):
    starts, ends = training_windows(histories([1, 1]), 4, every=every)
    assert len(starts) == len(ends) == 0


def test_unknown_events_fall_out_of_prefixes():
    rows = np.array([1, -1, 2, 3, -1, -1, 4])
    known = Prefixes.of(rows, np.array([0, 0, 3, 4]), np.array([2, 4, 7, 6]))
    query, item = known.events()
    assert list(zip(query.tolist(), item.tolist(), strict=True)) == [
        (0, 1), (1, 1), (1, 2), (1, 3), (2, 3), (2, 4),
    ]  # fmt: skip
    np.testing.assert_array_equal(known.ends - known.starts, [1, 3, 2, 0])
    np.testing.assert_array_equal(known.take(np.array([2])).events()[1], [3, 4])


def test_padding_of_nothing_is_nothing():
    rows = np.array([5, 6], dtype=np.int32)
    assert padded(rows, np.array([0, 1]), np.array([0, 1])).shape == (2, 0)
    assert padded(rows, np.array([], dtype=int), np.array([], dtype=int)).shape == (0, 0)
