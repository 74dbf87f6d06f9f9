import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.data.sorting import sort_events


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_users=st.integers(1, 40),
    span=st.sampled_from([1, 10**3, 10**9, 2**45, 2**63 - 1]),
    unit=st.sampled_from([1, 10**6]),
)
def test_any_span_of_times_sorts_as_python_does(seed, num_users, span, unit):
    rng = np.random.default_rng(seed)
    users = np.sort(rng.integers(0, num_users, 200))[rng.permutation(200)].astype(np.int32)
    users[:num_users] = np.arange(num_users)
    pool = rng.integers(-span, span, 60, endpoint=True) // unit * unit
    columns = {"time": rng.choice(pool, 200), "row": np.arange(200)}
    offsets = np.concatenate([[0], np.cumsum(np.bincount(users, minlength=num_users))])
    found = sort_events(users, offsets, columns)
    order = np.lexsort((columns["time"], users))
    assert np.array_equal(found["row"], order)
    assert np.array_equal(found["time"], columns["time"][order])


@pytest.mark.parametrize("events", [1, 2])
def test_few_events(events):
    columns = {"time": np.full(events, 5), "item": np.arange(events)}
    found = sort_events(np.zeros(events, np.int32), np.array([0, events]), columns)
    assert found["item"].tolist() == list(range(events))
