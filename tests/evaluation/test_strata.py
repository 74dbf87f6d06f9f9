"""Averages by user against a plain loop."""

from collections import defaultdict

import numpy as np
import pytest

from modicum.evaluation.strata import ALL, average_by_user


def test_averages_equal_those_of_a_loop(parts):
    queries = parts.test
    values = np.random.default_rng(0).random(len(queries))
    frame = average_by_user(queries, {"metric": values})

    expected = defaultdict(list)
    for stratum, mask in {ALL: np.ones(len(queries), bool), **queries.strata}.items():
        for query in range(len(queries)):
            if mask[query]:
                user = queries.histories.user_ids[int(queries.users[query])]
                expected[stratum, user].append(values[query])

    assert len(frame) == len(expected)
    for user, stratum, count, mean in frame.iter_rows():
        assert count == len(expected[stratum, user])
        assert mean == pytest.approx(np.mean(expected[stratum, user]))


def test_users_come_in_order_within_each_stratum(parts):
    frame = average_by_user(parts.test, {"metric": np.zeros(len(parts.test))})
    assert frame.columns == ["user", "stratum", "queries", "metric"]
    strata = frame["stratum"].unique(maintain_order=True).to_list()
    there = [name for name, mask in parts.test.strata.items() if mask.any()]
    assert strata == [ALL, *there]
    for _, rows in frame.group_by("stratum"):
        assert rows["user"].is_sorted() and rows["user"].is_unique().all()
