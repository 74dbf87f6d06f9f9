import warnings

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.data.audit import audit
from modicum.data.log import EventLog
from modicum.data.split import TAIL_EVENTS, LeakWarning, split
from modicum.errors import DataError


def log_of(events) -> EventLog:
    users, items, times = zip(*events, strict=True)
    time = pl.Series(times, dtype=pl.Int64).cast(pl.Datetime("us"))
    return EventLog(pl.LazyFrame({"user": users, "item": items, "time": time}), source="events")


TEN = [(1 + day % 2, "abcdefghij"[day], day) for day in range(10)]


def described(queries):
    """(user, history, target) of each query, in ids."""
    histories = queries.histories
    names = histories.vocabulary.names
    return [
        (
            histories.user_ids[int(user)],
            names(histories.item_rows[start:target]).to_list(),
            names(histories.item_rows[target : target + 1]).item(),
        )
        for user, start, target in zip(queries.users, queries.starts, queries.targets, strict=True)
    ]


def test_cuts_lie_at_the_quantile_events():
    parts = split(log_of(TEN))
    assert parts.train.num_events == 8
    assert described(parts.validation) == [(1, ["a", "c", "e", "g"], "i")]
    assert described(parts.test) == [(2, ["b", "d", "f", "h"], "j")]


def test_the_protocol_writes_whole_seconds_without_a_fraction():
    whole = split(log_of([(1, "a", second * 1_000_000) for second in range(10)])).protocol
    assert whole["validation from"] == "1970-01-01T00:00:08"
    assert split(log_of(TEN)).protocol["test from"] == "1970-01-01T00:00:00.000009"


def test_ties_at_a_cut_belong_to_the_later_part():
    times = [0, 1, 2, 3, 4, 5, 8, 8, 8, 9]  # the 80 % event has time 8
    parts = split(log_of([(1, "a", time) for time in times]))
    assert parts.train.times.max() == 5
    assert len(parts.validation) == 3
    assert len(parts.test) == 1


def test_targets_first_and_last_keep_one_query_a_user():
    events = (
        [(1, "a", 0)] * 14
        + [(1, "b", 1), (2, "c", 2)]
        + [
            (1, "d", 10),
            (1, "e", 11),
            (2, "f", 12),
            (2, "g", 13),
        ]
    )
    every = split(log_of(events), validation=0.1, test=0.2).test
    assert [target for _, _, target in described(every)] == ["d", "e", "f", "g"]
    first = split(log_of(events), validation=0.1, test=0.2, targets="first").test
    assert described(first) == [(1, ["a"] * 14 + ["b"], "d"), (2, ["c"], "f")]
    last = split(log_of(events), validation=0.1, test=0.2, targets="last").test
    assert described(last) == [(1, ["a"] * 14 + ["b", "d"], "e"), (2, ["c", "f"], "g")]


LOGS = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from("abcdefg"), st.integers(0, 60)),
    min_size=12,
    max_size=120,
)


@settings(max_examples=150, deadline=None)
@given(LOGS, st.sampled_from(["all", "first", "last"]))
def test_no_query_or_training_event_crosses_a_cut(events, targets):
    try:
        parts = split(log_of(events), targets=targets)
    except DataError as error:
        assert "is empty" in str(error)
        return
    begin, end = (
        int(np.datetime64(parts.protocol[f"{part} from"], "us").astype(np.int64))
        for part in ("validation", "test")
    )
    times = sorted(time for _, _, time in events)
    assert begin == times[round(0.8 * len(times))]
    assert parts.train.num_events == sum(time < begin for time in times)
    assert parts.train.times.max() < begin
    assert len(parts.train.vocabulary) == len({item for _, item, time in events if time < begin})
    for queries, low, high in ((parts.validation, begin, end), (parts.test, end, 10**9)):
        chosen = queries.histories.times[queries.targets]
        assert ((chosen >= low) & (chosen < high)).all()
        assert (np.diff(queries.targets) > 0).all()
        if targets == "all":
            assert len(queries) == sum(low <= time < high for time in times)
        else:
            users = {user for user, _, time in events if low <= time < high}
            assert sorted(queries.histories.user_ids.gather(queries.users)) == sorted(users)
        assert queries.histories.num_events == len(events)
        assert queries.histories.num_users == len({user for user, _, _ in events})
        ids = queries.histories.vocabulary.ids
        assert ids.head(len(parts.train.vocabulary)).equals(parts.train.vocabulary.ids)
        assert queries.item_events[1:].tolist() == [
            sum(item == other and time < begin for _, other, time in events) for item in ids
        ]
        assert queries.user_events.tolist() == [
            sum(user == other and time < begin for other, _, time in events)
            for user in queries.histories.user_ids
        ]
        strata = list(queries.strata.values())
        assert (np.sum(strata[:4], axis=0) == 1).all()
        assert (np.sum(strata[4:], axis=0) == 1).all()


def test_strata():
    warm = [(1, "w", time) for time in range(TAIL_EVENTS)]
    tail = [(2, "t", TAIL_EVENTS)]
    train = warm + tail + [(9, "w", 11)] * 5
    later = [(1, "w", 20), (2, "t", 21), (3, "new", 30), (3, "w", 31)]
    parts = split(log_of(train + later), validation=0.1, test=0.1)
    assert parts.protocol["split"] == "global time"
    found = {name: mask.tolist() for name, mask in parts.test.strata.items()}
    assert found == {
        "warm": [False, False],
        "tail": [False, False],
        "cold": [False, True],
        "no history": [True, False],
        "warm item": [False, True],
        "tail item": [False, False],
        "unseen item": [True, False],
    }
    assert parts.validation.strata["warm"].tolist() == [True, False]
    assert parts.validation.strata["tail"].tolist() == [False, True]
    assert parts.validation.strata["tail item"].tolist() == [False, True]


def test_last_item_warns_of_its_leak():
    with pytest.warns(LeakWarning, match="after other users' test events"):
        parts = split(log_of(TEN), by="last-item")
    assert described(parts.validation) == [
        (1, ["a", "c", "e"], "g"),
        (2, ["b", "d", "f"], "h"),
    ]
    assert described(parts.test) == [
        (1, ["a", "c", "e", "g"], "i"),
        (2, ["b", "d", "f", "h"], "j"),
    ]
    assert parts.train.num_events == 6
    assert parts.train.num_items == 6


def test_by_time_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split(log_of(TEN))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation": 0}, "shares of the events"),
        ({"validation": 0.5, "test": 0.5}, "shares of the events"),
        ({"validation": "0.1"}, "validation='0.1'"),
        ({"test": None}, "test=None"),
        ({"targets": "frist"}, "did you mean 'first'"),
        ({"targets": None}, "targets=None is not known"),
        ({"by": "user"}, "use 'time' or 'last-item'"),
        ({"by": "last-item", "targets": "first"}, "one target for each user"),
    ],
)
def test_arguments_out_of_range(settings, message):
    with pytest.raises(DataError, match=message):
        split(log_of(TEN), **settings)


def test_what_cannot_be_split_by_time():
    with pytest.raises(DataError, match="no time column"):
        split(EventLog(pl.LazyFrame({"user": [1], "item": [1]}), source="events"))
    with pytest.raises(DataError, match=r"training part of events .* is empty"):
        split(log_of([(1, "a", 0)] * 10))


@pytest.mark.parametrize("call", [split, audit])
def test_what_is_no_log_is_refused(call):
    for wrong in (pl.DataFrame({"user": [1], "item": [2]}), None):
        with pytest.raises(DataError, match="read_events returns it"):
            call(wrong)


def test_what_a_prompt_shows_of_a_split_is_a_line():
    shown = (
        "Split(train=Histories(8 events of 2 users; 8 items), "
        "validation=Queries(1 of 1 users; global time), test=Queries(1 of 1 users; global time))"
    )
    assert repr(split(log_of(TEN))) == shown
