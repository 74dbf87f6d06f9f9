"""Ratings: read from any table, each pair once, parts and threshold as the user names them."""

import gzip

import numpy as np
import polars as pl
import pytest

import modicum as mo
from modicum.data.reading.roles import GuessWarning
from modicum.errors import DataError

ROWS = {
    "user_id": ["u", "v", "u", "w"],
    "item_id": [7, 7, 9, 8],
    "rating": [5, 3, 4, 1],
    "chance": [0.5, 0.1, 0.25, 1.0],
    "shown": [False, False, True, True],
}
FRAME = pl.DataFrame(ROWS)


def test_a_frame_becomes_ratings():
    ratings = mo.read_ratings(FRAME, propensity="chance", randomised="shown", positive=4)
    assert len(ratings) == 4
    assert ratings.frame.columns == ["user", "item", "value", "propensity", "randomised"]
    np.testing.assert_array_equal(ratings.user_rows, [1, 2, 1, 3])
    np.testing.assert_array_equal(ratings.item_rows, [1, 1, 2, 3])
    np.testing.assert_array_equal(ratings.values, [5.0, 3, 4, 1])
    np.testing.assert_array_equal(ratings.labels, [True, False, True, False])
    np.testing.assert_array_equal(ratings.propensities, [0.5, 0.1, 0.25, 1])
    assert repr(ratings) == (
        "Ratings(4 by 3 users of 3 items from polars frame, 2 of them randomised; "
        "positive: value >= 4 (2))"
    )


def test_parts_are_what_the_user_says():
    ratings = mo.read_ratings(FRAME, randomised="shown")
    assert ratings.self_selected.frame["user"].to_list() == ["u", "v"]
    assert ratings.randomised.frame["user"].to_list() == ["u", "w"]
    assert len(mo.read_ratings(FRAME).randomised) == 0
    assert len(mo.read_ratings(FRAME, randomised=True).self_selected) == 0


@pytest.mark.parametrize("kind", ["csv", "tsv.gz", "parquet", "jsonl", "pandas", "lazy"])
def test_every_kind_of_table_gives_the_same(tmp_path, kind):
    path = tmp_path / f"ratings.{kind}"
    if kind == "csv":
        FRAME.write_csv(path)
    elif kind == "tsv.gz":
        path.write_bytes(gzip.compress(FRAME.write_csv(separator="\t").encode()))
    elif kind == "parquet":
        FRAME.write_parquet(path)
    elif kind == "jsonl":
        FRAME.write_ndjson(path)
    source = {"pandas": FRAME.to_pandas, "lazy": FRAME.lazy}.get(kind, lambda: path)()
    found = mo.read_ratings(source, propensity="chance", randomised="shown")
    expected = mo.read_ratings(FRAME, propensity="chance", randomised="shown")
    assert found.frame.equals(expected.frame)


def test_a_known_column_name_is_taken_with_a_warning():
    frame = FRAME.rename({"user_id": "uid"})
    with pytest.warns(GuessWarning, match="'uid' was taken for user"):
        ratings = mo.read_ratings(frame)
    assert "'uid' was taken for user" in ratings.notes[0]


TWICE = pl.DataFrame({"user_id": [1, 1, 2], "item_id": ["a", "a", "a"], "rating": [2, 5, 3]})


def test_duplicates_are_refused_or_dropped_by_name_and_counted():
    with pytest.raises(
        DataError, match=r"row 2: user 1 rated item 'a' before, in row 1; 1 ratings"
    ):
        mo.read_ratings(TWICE)
    for duplicates, kept in (("first", [2.0, 3.0]), ("last", [5.0, 3.0])):
        ratings = mo.read_ratings(TWICE, duplicates=duplicates)
        assert ratings.values.tolist() == kept
        assert ratings.notes == (
            f"1 ratings were dropped; the {duplicates} one of each pair was kept",
        )


def test_a_pair_in_both_parts_is_no_duplicate():
    frame = TWICE.with_columns(shown=pl.Series([0, 1, 0]))
    ratings = mo.read_ratings(frame, randomised="shown")
    assert len(ratings) == 3
    chosen = ratings.self_selected.without(ratings.randomised)
    assert chosen.frame["user"].to_list() == [2]
    assert chosen.notes == ("1 ratings of pairs that are in polars frame, too, were left out",)


def test_pairs_are_compared_across_types_of_ids():
    text = TWICE.with_columns(pl.col("user_id").cast(pl.String))
    left = mo.read_ratings(TWICE, duplicates="first").without(
        mo.read_ratings(text[:1], duplicates="first")
    )
    assert left.frame["user"].to_list() == [2]


def test_a_random_share_is_held_out_and_nothing_is_lost():
    frame = pl.DataFrame({"user_id": range(50), "item_id": [1] * 50, "rating": [3] * 50})
    ratings = mo.read_ratings(frame)
    rest, held = ratings.hold_out(0.2, seed=3)
    assert (len(rest), len(held)) == (40, 10)
    assert sorted([*rest.frame["user"], *held.frame["user"]]) == list(range(50))
    assert held.frame["user"].is_sorted()
    assert held.frame.equals(ratings.hold_out(0.2, seed=3)[1].frame)
    assert not held.frame.equals(ratings.hold_out(0.2, seed=4)[1].frame)
    for share in (0, 1, 0.001, -1):
        with pytest.raises(DataError, match="cannot be held out"):
            ratings.hold_out(share, seed=0)


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("user_id", None, "row 2, column 'user_id': the id is missing"),
        ("rating", None, "row 2, column 'rating': this is not a finite number"),
        ("rating", "good", "not a finite number .'good'."),
        ("rating", "inf", "not a finite number"),
        ("chance", "0", "row 2, column 'chance': this is not a probability above 0"),
        ("chance", "1.5", "not a probability"),
        ("shown", "maybe", "neither true nor false, 1 nor 0 .'maybe'."),
    ],
)
def test_broken_rows_are_named_or_kept_aside(column, value, told):
    values = [None if x is None else str(x) for x in ROWS[column]]
    values[1] = value
    frame = FRAME.with_columns(pl.Series(column, values))
    options = {"propensity": "chance", "randomised": "shown"}
    with pytest.raises(DataError, match=told):
        mo.read_ratings(frame, **options)
    ratings = mo.read_ratings(frame, **options, on_error="skip")
    assert (len(ratings), ratings.rejected["row"].to_list()) == (3, [2])
    assert "1 broken rows were skipped" in ratings.notes[0]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"value": "ratings"}, "did you mean 'rating'"),
        ({"duplicates": "mean"}, "'mean' is not known"),
        ({"on_error": "ignore"}, "'ignore' is not known"),
        ({"propensity": "rating"}, "used for value and for propensity"),
    ],
)
def test_wrong_arguments_are_refused(options, told):
    with pytest.raises(DataError, match=told):
        mo.read_ratings(FRAME, **options)


def test_labels_need_a_threshold_and_a_table_needs_rows():
    with pytest.raises(DataError, match="positive="):
        mo.read_ratings(FRAME).labels  # noqa: B018
    with pytest.raises(DataError, match="has no ratings"):
        mo.read_ratings(FRAME.clear())


def test_the_source_leaves_no_temporary_files(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    path = tmp_path / "ratings.csv"
    FRAME.write_csv(path)
    mo.read_ratings(path)
    assert not list((tmp_path / "scratch").iterdir())


def test_coat_has_pairs_in_both_parts(shared_data):
    def read(part: str, randomised: bool) -> mo.Ratings:
        with gzip.open(shared_data / "ratings" / "coat" / f"{part}.ascii.gz", "rt") as file:
            values = np.loadtxt(file)
        users, items = np.nonzero(values)
        table = {"user_id": users, "item_id": items, "rating": values[users, items]}
        return mo.read_ratings(pl.DataFrame(table), randomised=randomised, positive=4)

    train, test = read("train", randomised=False), read("test", randomised=True)
    assert (len(train), len(test)) == (6_960, 4_640)
    assert len(train) - len(train.without(test)) == 366


def test_a_column_of_values_is_guessed_by_its_name():
    frame = pl.DataFrame({"user_id": [1, 2], "item_id": [7, 8], "stars": [5, 3]})
    with pytest.warns(GuessWarning, match="'stars' was taken for value"):
        assert mo.read_ratings(frame).values.tolist() == [5, 3]


@pytest.mark.parametrize("role", ["user", "item", "value"])
def test_a_rating_has_a_user_an_item_and_a_value(role):
    with pytest.raises(DataError, match=f"{role}=None must be the name of a column"):
        mo.read_ratings(FRAME, **{role: None})


def test_the_least_positive_value_is_a_number():
    with pytest.raises(DataError, match="positive='4' must be a number"):
        mo.read_ratings(FRAME, positive="4")
    assert mo.read_ratings(FRAME, positive=np.int64(4)).labels.sum() == 2
