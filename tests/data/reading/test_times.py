from datetime import UTC, date, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.data.reading import times
from modicum.errors import DataError

MOMENT = datetime(2014, 7, 23, 16, 8, 21)
SECONDS = 1_406_131_701


def convert(values, dtype=None):
    table = pl.LazyFrame({"row": range(1, len(values) + 1), "t": pl.Series(values, dtype=dtype)})
    moments, broken, notes = times.convert(table, "t", place=("file.csv", "when"))
    found = table.select(moments.alias("t"), broken.alias("broken")).collect()
    assert found.schema["t"] == pl.Datetime("us")
    assert found["broken"].to_list() == found["t"].is_null().to_list()
    return found["t"].to_list(), notes


@pytest.mark.parametrize("factor", [1, 1000, 10**6, 10**9])
def test_whole_numbers_are_read_in_the_unit_of_their_size(factor):
    assert convert([SECONDS * factor, (SECONDS + 1) * factor])[0] == [
        MOMENT,
        MOMENT + timedelta(seconds=1),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "1406131701",
        "1406131701.0",
        "1406131701000",
        "1.406131701e9",
        " 1406131701 ",
        "2014-07-23T16:08:21",
        "2014-07-23 16:08:21",
        "2014-07-23 16:08:21.000000",
        "2014-07-23T16:08:21Z",
        "2014-07-23 16:08:21 UTC",
        "2014-07-23T18:08:21+02:00",
        "2014-07-23T14:38:21.0-0130",
        "2014-07-23T21:08:21+05",
    ],
)
def test_text_notations(text):
    assert convert([text])[0] == [MOMENT]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([SECONDS], pl.Int32),
        ([SECONDS], pl.UInt64),
        ([float(SECONDS)], pl.Float64),
        ([MOMENT], pl.Datetime("ms")),
        ([MOMENT], pl.Datetime("ns")),
        ([MOMENT.replace(tzinfo=UTC)], pl.Datetime("us", "UTC")),
        ([MOMENT.replace(tzinfo=UTC)], pl.Datetime("us", "Asia/Tokyo")),
        (["2014-07-23 16:08:21"], pl.Categorical),
    ],
)
def test_column_types(values, dtype):
    assert convert(values, dtype)[0] == [MOMENT]


def test_dates_are_midnights():
    assert convert([date(2014, 7, 23)])[0] == [datetime(2014, 7, 23)]
    assert convert(["2014-07-23"])[0] == [datetime(2014, 7, 23)]


def test_fractions_are_kept_to_the_microsecond():
    expected = [MOMENT + timedelta(microseconds=123456)]
    assert convert(["2014-07-23T16:08:21.123456789"])[0] == expected
    assert convert(["1406131701.123456"])[0] == expected
    assert convert([1_406_131_701_123_456_789])[0] == expected


def test_counters_are_seconds_with_a_note():
    found, notes = convert([1, 2, 3])
    assert found[2] == datetime(1970, 1, 1, 0, 0, 3)
    assert "small numbers" in notes[0]


def test_zero_has_any_unit():
    assert convert([0, SECONDS * 1000])[0] == [datetime(1970, 1, 1), MOMENT]


@pytest.mark.parametrize(
    ("values", "row", "kinds"),
    [
        ([SECONDS, SECONDS * 1000, SECONDS], 2, ("milliseconds", "seconds")),
        ([SECONDS * 10**6, SECONDS * 10**6, 7], 3, ("seconds", "microseconds")),
        (["2014-07-23", "1406131701", "2014-07-24"], 2, ("a number", "a date")),
        (
            ["2014-07-23T16:08Z", "2014-07-23T16:08", "2014-07-23T16:09Z"],
            2,
            ("a time without a zone", "a time with a zone"),
        ),
        ([1e9, 1e12, 2e9, float("nan")], 2, ("milliseconds", "seconds")),
    ],
)
def test_mixtures_name_an_example_of_the_rarest(values, row, kinds):
    with pytest.raises(DataError, match=rf"file.csv, row {row}, column 'when'") as error:
        convert(values)
    assert all(kind in str(error.value) for kind in kinds)


@pytest.mark.parametrize(
    "text", ["", "soon", "2014-13-01", "2014-02-30T10:00", "nan", "inf", "0000-01-01", "12:30"]
)
def test_what_is_no_time_is_broken(text):
    assert convert([text, "2014-07-23T16:08:21" if "T" in text else "2014-07-23"])[0][0] is None


def test_numbers_that_are_no_time_are_broken():
    assert convert([float(SECONDS), float("nan"), float("inf"), None])[0] == [
        MOMENT,
        None,
        None,
        None,
    ]
    assert convert([-(10**11) + 1, SECONDS])[0] == [None, MOMENT]
    assert convert([None, None])[0] == [None, None]


def test_types_that_hold_no_time_are_refused():
    with pytest.raises(DataError, match="which cannot hold times"):
        convert([True])
    with pytest.raises(DataError, match="which cannot hold times"):
        convert([timedelta(seconds=1)])


@settings(max_examples=60, deadline=None)
@given(
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),
    st.integers(-23 * 60, 23 * 60),
)
def test_iso_text_with_zone_agrees_with_python(moment, minutes):
    there = moment.replace(tzinfo=UTC).astimezone(timezone(timedelta(minutes=minutes)))
    assert convert([there.isoformat()])[0] == [moment]
    assert convert([moment.isoformat(" ")])[0] == [moment]
