import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.data.vocabulary import Vocabulary, positions
from modicum.errors import DataError


def test_rows_start_at_one_and_unknown_is_minus_one():
    vocabulary = Vocabulary(pl.Series(["b", "a"]))
    assert vocabulary.rows(["a", "b", "z", None]).tolist() == [2, 1, -1, -1]
    assert vocabulary.names(np.array([[2, 1], [1, 1]])).to_list() == ["a", "b", "b", "b"]


def test_ids_typed_as_text_find_numbers():
    ids = pl.Series([10, 20])
    assert positions(ids, ["20", 10, "x", 10.5, True, None]).tolist() == [1, 0, -1, -1, -1, -1]
    assert positions(ids, [10**30]).tolist() == [-1]


def test_duplicates_and_nulls_are_refused():
    with pytest.raises(DataError, match="unique"):
        Vocabulary(pl.Series(["a", "a"]))
    with pytest.raises(DataError, match="not null"):
        Vocabulary(pl.Series(["a", None]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(), unique=True, max_size=20), st.lists(st.integers(0, 30), max_size=20))
def test_growing_renumbers_nothing(first, more):
    first = [number for number in first if -(2**63) <= number < 2**63]
    vocabulary = Vocabulary(pl.Series(first, dtype=pl.Int64))
    grown = vocabulary.grow(pl.Series(more, dtype=pl.Int64))
    assert grown.ids.to_list()[: len(first)] == first
    assert set(grown.ids) == set(first) | set(more)
    assert grown.rows(grown.ids).tolist() == list(range(1, len(grown) + 1))
