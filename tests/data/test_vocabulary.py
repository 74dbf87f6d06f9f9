from datetime import date, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.data.histories import Histories
from modicum.data.reading.readers import read_events
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


@pytest.mark.parametrize(
    "ids",
    [
        [True, False],
        np.array([True, False]),
        [b"a", b"bc"],
        [b"\xff\x00", b"\xfe"],
        [2.5e-07, 0.1],
        [date(2024, 1, 5), date(2023, 2, 1)],
        [datetime(2024, 1, 1), datetime(2024, 1, 1, 2, 3, 4, 500)],
    ],
    ids=lambda ids: type(ids[0]).__name__,
)
def test_ids_of_any_type_find_themselves(ids):
    frame = pl.DataFrame({"user_id": [*ids, *ids], "item_id": [7, 8, 8, 7]})
    histories = Histories.from_log(read_events(frame, time=None))
    assert sorted(histories.find(ids).tolist()) == [0, 1]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_times_that_are_ids_are_found_whatever_the_unit_of_their_column(unit):
    ids = [datetime(2024, 1, 1), datetime(2024, 1, 1, 2, 3, 4)]
    users = pl.Series(ids * 2).cast(pl.Datetime(unit))
    histories = Histories.from_log(
        read_events(pl.DataFrame({"user_id": users, "item_id": [7, 8, 8, 7]}), time=None)
    )
    assert sorted(histories.find(ids).tolist()) == [0, 1]


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


TWO = Vocabulary(pl.Series(["a", "b", "a"]), np.array([1, 0, 0]), ("beauty", "sports"))


def test_an_item_is_a_domain_and_an_id():
    assert TWO.rows([("sports", "a"), ("beauty", "a"), ["beauty", "b"]]).tolist() == [1, 3, 2]
    assert TWO.rows(["a", "b", "z"], domain="beauty").tolist() == [3, 2, -1]
    assert TWO.rows(pl.Series(["b", "a"]), domain="sports").tolist() == [-1, 1]
    assert TWO.rows(["b", "nowhere", None]).tolist() == [2, -1, -1]
    assert TWO.rows(pl.Series(["b", "nowhere"])).tolist() == [2, -1]
    assert TWO.rows([]).tolist() == [] and TWO.rows(pl.Series([], dtype=pl.String)).tolist() == []
    assert TWO.names(np.array([1, 3])).to_list() == ["a", "a"]
    assert TWO.domains_of(np.array([1, 3])).to_list() == ["sports", "beauty"]


@pytest.mark.parametrize("ids", [["b", "a"], pl.Series(["b", "a"])])
def test_an_id_of_two_domains_needs_one(ids):
    with pytest.raises(DataError, match=r"'a' is in the domains beauty, sports.*\('beauty', 'a'\)"):
        TWO.rows(ids)


@pytest.mark.parametrize(
    ("asked", "domain", "message"),
    [
        (["a"], "beuaty", "did you mean 'beauty'"),
        ([("beuaty", "a")], None, "did you mean 'beauty'"),
        ([("beauty", "a", 1)], None, "must be an id, or a pair"),
    ],
)
def test_domains_that_cannot_be(asked, domain, message):
    with pytest.raises(DataError, match=message):
        TWO.rows(asked, domain)


def test_domains_must_be_there_and_items_unique():
    with pytest.raises(DataError, match="have no domains"):
        Vocabulary(pl.Series(["a"])).rows(["a"], domain="beauty")
    with pytest.raises(DataError, match="unique in each domain"):
        Vocabulary(pl.Series(["a", "a"]), np.array([0, 0]), ("beauty",))
    with pytest.raises(DataError, match="name the domain"):
        TWO.grow(pl.Series(["c"]))


ITEMS = st.lists(st.tuples(st.sampled_from(["x", "y", "z"]), st.integers(0, 9)), unique=True)


def of_items(items) -> Vocabulary:
    frame = pl.DataFrame(items, schema={"domain": pl.String, "item": pl.Int64}, orient="row")
    return Vocabulary.of_frame(frame)


@given(ITEMS, ITEMS)
def test_two_vocabularies_agree_on_domain_and_id(here, there):
    found = of_items(here).rows_of(of_items(there))
    place = {item: row for row, item in enumerate(here, start=1)}
    assert found.tolist() == [place.get(item, -1) for item in there]


@given(ITEMS)
def test_pairs_columns_and_frames_say_the_same(items):
    vocabulary = of_items(items)
    assert vocabulary.rows(items).tolist() == list(range(1, len(items) + 1))
    assert Vocabulary.of_frame(vocabulary.to_frame()).equals(vocabulary)
    for name in vocabulary.domain_names:
        inside = [item for domain, item in items if domain == name]
        pairs = vocabulary.rows([(name, item) for item in inside])
        assert vocabulary.rows(pl.Series(inside), name).tolist() == pairs.tolist()
    number = {}
    for _, item in items:
        number[item] = number.get(item, 0) + 1
    alone = [item for _, item in items if number[item] == 1]
    by_one, by_column = vocabulary.rows(alone), vocabulary.rows(pl.Series(alone, dtype=pl.Int64))
    assert by_one.tolist() == by_column.tolist()


@given(ITEMS, st.lists(st.integers(0, 20), unique=True))
def test_growing_appends_to_one_domain(items, more):
    items = [("x", 0), *(item for item in items if item != ("x", 0))]
    vocabulary = of_items(items)
    grown = vocabulary.grow(pl.Series(more, dtype=pl.Int64), "x")
    assert grown.take(np.arange(len(items))).equals(vocabulary)
    known = {item for domain, item in items if domain == "x"}
    assert grown.ids[len(items) :].to_list() == [item for item in more if item not in known]
