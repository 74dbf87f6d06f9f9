import gzip
import json
import uuid
import warnings
from datetime import date, datetime, timedelta
from decimal import Decimal

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import modicum as mo
from modicum.data.histories import Histories
from modicum.data.log import REJECTED
from modicum.data.reading import tables
from modicum.data.reading.readers import read_events
from modicum.data.reading.roles import GuessWarning
from modicum.errors import DataError, ModicumError

FRAME = pl.DataFrame(
    {
        "user_id": [7, 7, 10],
        "item_id": ["b", "a", "b"],
        "timestamp": [1_406_131_701, 1_406_131_702, 1_406_131_703],
    }
)
EVENTS = [
    (7, "b", datetime(2014, 7, 23, 16, 8, 21)),
    (7, "a", datetime(2014, 7, 23, 16, 8, 22)),
    (10, "b", datetime(2014, 7, 23, 16, 8, 23)),
]
CSV = "user_id,item_id,timestamp\n7,b,1406131701\n7,a,1406131702\n10,b,1406131703\n"
GOOD = "1,a,1406131701"


@pytest.fixture
def write(tmp_path):
    def writer(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return writer


def csv_of(*rows, header="user_id,item_id,timestamp"):
    return "\n".join([header, *rows]) + "\n"


# --- formats ---------------------------------------------------------------------------------


def packed(content: bytes, suffix: str) -> bytes:
    if suffix == ".gz":
        return gzip.compress(content, mtime=0)
    if suffix == ".zst":
        return pa.Codec("zstd").compress(content, asbytes=True) if content else content
    return content


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "ndjson", "parquet"])
def test_every_format_gives_the_same_log(kind, suffix, tmp_path):
    path = tmp_path / f"events.{kind}"
    match kind:
        case "csv":
            FRAME.write_csv(path)
        case "tsv":
            FRAME.write_csv(path, separator="\t")
        case "parquet":
            FRAME.write_parquet(path)
        case _:
            FRAME.write_ndjson(path)
    named = tmp_path / f"events.{kind}{suffix}"
    content = path.read_bytes()
    if suffix == ".zst":
        with pa.output_stream(str(named), compression="zstd") as file:
            file.write(content)
    else:
        named.write_bytes(packed(content, suffix))
    log = mo.read_events(named)
    assert log.frame.rows() == EVENTS
    assert log.schema == {"user": pl.Int64, "item": pl.String, "time": pl.Datetime("us")}
    assert log.columns == {"user": "user_id", "item": "item_id", "time": "timestamp"}
    assert log.source == named.name
    assert log.notes == ()
    assert log.rejected.schema == REJECTED and log.rejected.is_empty()


@pytest.mark.parametrize("frame", [FRAME, FRAME.lazy(), FRAME.to_pandas()])
def test_frames(frame):
    assert read_events(frame).frame.rows() == EVENTS


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_large_text_files_go_through_a_temporary_file_that_lives_as_long_as_the_log(
    kind, tmp_path, monkeypatch
):
    monkeypatch.setattr(tables, "IN_MEMORY", 2)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tables.tempfile, "tempdir", str(tmp_path / "scratch"))
    path = tmp_path / f"events.{kind}"
    FRAME.write_csv(path) if kind == "csv" else FRAME.write_ndjson(path)
    log = read_events(path)
    path.unlink()
    assert len(list((tmp_path / "scratch").glob("*/*"))) == 1
    assert log.scan.collect().rows() == EVENTS
    del log
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff" + CSV,
        CSV.replace("\n", "\r\n"),
        CSV.rstrip("\n"),
        CSV + "\n\n",
        CSV.replace("\n7,a", "\n\n7,a"),
        CSV.replace(",", ";"),
        CSV.replace(",", "\t"),
        CSV.replace("b", '"b"'),
        '"user_id","item_id","timestamp"' + CSV[CSV.index("\n") :],
    ],
)
def test_variants_of_csv(content, write):
    assert read_events(write("events.csv", content)).frame.rows() == EVENTS


def test_quoted_fields_may_hold_separators_quotes_and_newlines(write):
    rows = ['1,"a,b",5', '1,"say ""hi""",6', '1,"two\n\nlines",7']
    log = read_events(write("events.csv", csv_of(*rows)))
    assert log.frame["item"].to_list() == ["a,b", 'say "hi"', "two\n\nlines"]


def test_stray_quotes_are_text_where_each_line_has_its_fields(write):
    log = read_events(write("events.csv", csv_of('1,5" screen,5', "1,b,6")))
    assert log.frame["item"].to_list() == ['5" screen', "b"]


@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("end", ["\n", ""])
@pytest.mark.parametrize("row", ['"2,b', '2,"b', '2","b', '"2"",b'])
def test_a_quote_that_is_not_closed_joins_no_rows(row, end, quoted, write):
    rows = ["1,a", row, "3,c", "4,d"]
    if quoted:
        rows = [line if line == row else '"{}","{}"'.format(*line.split(",")) for line in rows]
    path = write("events.csv", csv_of(*rows, header="item_id,user_id").rstrip("\n") + end)
    with pytest.raises(DataError, match=r"events\.csv, row 2.* quotes? "):
        read_events(path)
    assert read_events(path, on_error="skip").frame["user"].to_list() == ["a", "c", "d"]


def test_a_few_quotes_in_whole_lines_are_text_and_lose_no_rows(write):
    titles = ["fine"] * 40
    titles[3], titles[20], titles[30] = '"Loved it', '5" and 7" too', 'would buy again"'
    rows = [f"{at},{at},5,{title}" for at, title in enumerate(titles)]
    path = write("events.csv", csv_of(*rows, header="user_id,item_id,timestamp,title"))
    assert read_events(path).frame["user"].to_list() == [*range(40)]


def test_rows_between_two_stray_quotes_are_no_id(write):
    rows = ['1,"two\nlines",5', '"2,b,6', "3,c,7", '4",d,8', "5,e,9"]
    path = write("events.csv", csv_of(*rows))
    with pytest.raises(DataError, match=r"row 2, column 'user_id': .* rows that one joined"):
        read_events(path)
    assert read_events(path, on_error="skip").frame["user"].to_list() == [1, 5]


def test_a_header_with_an_open_quote_is_refused(write):
    path = write("events.csv", csv_of(GOOD, GOOD, header='user_id,"item_id,timestamp'))
    with pytest.raises(DataError, match=r"events\.csv has no readable header: .* close quotes"):
        read_events(path)


# --- roles -----------------------------------------------------------------------------------


def test_known_names_are_guessed_with_a_warning_and_a_note():
    frame = pl.DataFrame({"reviewerID": ["u"], "asin": ["i"], "unixReviewTime": [1_400_000_000]})
    with pytest.warns(GuessWarning) as caught:
        log = read_events(frame)
    assert log.columns == {"user": "reviewerID", "item": "asin", "time": "unixReviewTime"}
    assert len(log.notes) == 3 and "'asin' was taken for item" in log.notes[1]
    assert [log.notes[1] in str(warning.message) for warning in caught] == [False, True, False]
    assert caught[0].filename == __file__


def test_typed_headers(write):
    path = write("ml.inter", "user_id:token\titem_id:token\ttimestamp:float\n1\ta\t881250949\n")
    with pytest.warns(GuessWarning):
        assert read_events(path).frame.rows() == [(1, "a", datetime(1997, 12, 4, 15, 55, 49))]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"item": "item_di"}, "did you mean 'item_id'"),
        ({"time": "time"}, "no column 'time'"),
        ({"domain": "shop"}, "asked for as domain"),
        ({"user": "item_id"}, "is used for user and for item"),
        ({"on_error": "ignore"}, "use 'raise' or 'skip'"),
        ({"user": 3}, "must be the name of a column"),
        ({"user": None}, "user=None must be the name of .*; columns: user_id, item_id, timestamp"),
        ({"item": None}, "item=None must be the name of a column"),
        ({"item": ["item_id", "timestamp"], "time": None}, "must hold lists"),
    ],
)
def test_roles_that_cannot_be(asked, message):
    with pytest.raises(DataError, match=message):
        read_events(FRAME, **asked)


def test_nothing_to_guess_lists_the_columns():
    with pytest.raises(DataError, match=r"no column 'user_id' .*; columns: a, b"):
        read_events(pl.DataFrame({"a": [1], "b": [1]}))


def test_a_name_that_occurs_twice_is_refused_only_where_it_is_used(write):
    path = write("events.csv", csv_of("1,a,2,3,4", header="user_id,item_id,timestamp,x,x"))
    assert len(read_events(path)) == 1
    with pytest.raises(DataError, match="2 columns named 'x'"):
        read_events(path, value="x")


def test_no_time():
    frame = FRAME.drop("timestamp")
    assert "taken to be in order" in read_events(frame).notes[0]
    log = read_events(FRAME, time=None)
    assert list(log.schema) == ["user", "item"]


def test_domain_behaviour_and_value():
    frame = FRAME.with_columns(shop=pl.Series([1, 2, 2]), deed=pl.lit("buy"), stars=pl.lit("4.5"))
    log = read_events(frame, domain="shop", behaviour="deed", value="stars")
    assert log.frame.select("domain", "behaviour", "value").rows()[0] == ("1", "buy", 4.5)


# --- ids -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "ids"),
    [
        (["1", "-20"], [1, -20]),
        (["1", "02"], ["1", "02"]),
        (["1", "+2"], ["1", "+2"]),
        (["1", "9223372036854775808"], ["1", "9223372036854775808"]),
        (["9223372036854775807", "0"], [9223372036854775807, 0]),
        (["1.0", "2"], ["1.0", "2"]),
        (["true", "null"], ["true", "null"]),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_text_ids_become_numbers_only_where_nothing_is_lost(texts, ids, kind, write):
    if kind == "csv":
        content = csv_of(*[f"{text},a,5" for text in texts])
    else:
        rows = [{"user_id": text, "item_id": "a", "timestamp": 5} for text in texts]
        content = "\n".join(map(json.dumps, rows))
    assert read_events(write(f"events.{kind}", content)).frame["user"].to_list() == ids


NAME = uuid.UUID("12345678123456781234567812345678")


@pytest.mark.parametrize(
    ("series", "ids"),
    [
        (pl.Series([1, 2], dtype=pl.UInt8), [1, 2]),
        (pl.Series([1, 2], dtype=pl.UInt64), [1, 2]),
        (pl.Series([1, 2**63], dtype=pl.UInt64), ["1", "9223372036854775808"]),
        (pl.Series([1.0, 2.0]), [1, 2]),
        (pl.Series([1.5, 2.0]), ["1.5", "2.0"]),
        (pl.Series([Decimal("1"), Decimal("2")]), [1, 2]),
        (pl.Series([Decimal("1.5"), Decimal("2")]), ["1.5", "2.0"]),
        (pl.Series(["1", "2"]), ["1", "2"]),
        (pl.Series([True, False]), ["true", "false"]),
        (pl.Series([date(2024, 1, 1)] * 2), ["2024-01-01"] * 2),
        (pl.Series(["x", "y"], dtype=pl.Categorical), ["x", "y"]),
        (pl.Series(["x", "y"], dtype=pl.Enum(["x", "y"])), ["x", "y"]),
        (pl.Series([b"x", b"y"]), ["x", "y"]),
        (pl.Series([NAME.bytes, b"\xff"]), [NAME.hex, "ff"]),
    ],
)
def test_ids_of_any_type(series, ids):
    frame = pl.DataFrame({"user_id": series, "item_id": ["a", "b"]})
    assert read_events(frame).frame["user"].to_list() == ids


def test_ids_of_pandas_objects():
    frame = pd.DataFrame({"user_id": [NAME, 3], "item_id": ["a", "b"]})
    assert read_events(frame).frame["user"].to_list() == [str(NAME), "3"]
    with pytest.raises(DataError, match="pandas frame, row 2, column 'user_id'"):
        read_events(pd.DataFrame({"user_id": [NAME, None], "item_id": ["a", "b"]}))


def test_types_that_hold_no_ids_are_refused():
    with pytest.raises(DataError, match="which cannot hold ids"):
        read_events(pl.DataFrame({"user_id": [{"a": 1}], "item_id": [1]}))


# --- broken rows -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "place"),
    [
        ("1,a", "row 2: the row must have 3 fields"),
        ("1,a,5,6", "row 2: the row must have 3 fields"),
        (',"",5', "row 2, column 'user_id': the id is missing"),
        ("1, ,5", "row 2, column 'item_id': the id is missing"),
        ("1,a,", "row 2, column 'timestamp': this is no time"),
        ("1,a,soon", "row 2, column 'timestamp': this is no time .*'soon'"),
        ('1,a"b,5,6', "row 2: the row must have 3 fields"),
        ('1,"a"b,5', "row 2: the row must have 3 fields"),
    ],
)
def test_a_broken_row_is_named_or_kept_aside(row, place, write):
    path = write("events.csv", csv_of(GOOD, row, GOOD))
    with pytest.raises(DataError, match=f"events.csv, {place}"):
        read_events(path)
    log = read_events(path, on_error="skip")
    assert len(log) == 2
    assert log.rejected["row"].unique().to_list() == [2]
    assert log.rejected["file"][0] == "events.csv"
    assert log.notes[-1] == "1 broken rows were skipped; they are in log.rejected"


def test_rows_that_are_not_utf8(write):
    path = write("events.csv", csv_of(GOOD, "2,b,1406131702", GOOD).encode().replace(b"b", b"\xff"))
    with pytest.raises(DataError, match=r"events.csv, row 2: .* UTF-8"):
        read_events(path)
    assert read_events(path, on_error="skip").frame["item"].to_list() == ["a", "a"]


@pytest.mark.parametrize(
    "line",
    ["{bad", "[1]", "1", '{"user_id": 1}', '{"user_id": null, "item_id": 1, "timestamp": 1}'],
)
def test_broken_json_lines(line, write):
    good = json.dumps({"user_id": 1, "item_id": 2, "timestamp": 1_406_131_701})
    path = write("events.jsonl", f"{good}\n\n{line}\n{good}\n")
    with pytest.raises(DataError, match=r"events.jsonl, row 3"):
        read_events(path)
    log = read_events(path, on_error="skip")
    assert len(log) == 2
    assert set(log.rejected["row"]) == {3}


@pytest.mark.parametrize("null", [None, float("nan"), float("inf")])
def test_broken_rows_of_frames(null):
    frame = pl.DataFrame({"user_id": [1.0, null], "item_id": [1, 2], "timestamp": [1, 2]})
    with pytest.raises(DataError, match="polars frame, row 2, column 'user_id'"):
        read_events(frame)
    assert read_events(frame, on_error="skip").frame["user"].to_list() == [1]


def test_values_may_be_absent_but_not_unreadable(write):
    header = "user_id,item_id,timestamp,rating"
    path = write("events.csv", csv_of(GOOD + ",4", GOOD + ",", GOOD + ",nan", header=header))
    assert read_events(path, value="rating").frame["value"].to_list() == [4, None, None]
    path = write("events.csv", csv_of(GOOD + ",4", GOOD + ",good", header=header))
    with pytest.raises(DataError, match="row 2, column 'rating': this is not a finite number"):
        read_events(path, value="rating")


def test_mixed_units_are_refused_even_when_skipping(write):
    path = write("events.csv", csv_of("1,a,1406131701", "1,a,1406131701000", "1,a,1406131702"))
    with pytest.raises(DataError, match=r"events\.csv, row 2, column 'timestamp'"):
        read_events(path, on_error="skip")


# --- whole files -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("events.csv", "", "is empty"),
        ("events.csv", "user_id,item_id,timestamp\n", "no data rows"),
        ("events.csv", "\n\n", "no columns: it is empty, or its first line is blank"),
        ("events.csv.gz", gzip.compress(b"", mtime=0), "no columns"),
        ("events.jsonl", "\n", "no JSON object"),
        ("events.json", '[{"user_id": 1}]', "one object a line"),
        ("events.parquet", CSV, "not a parquet file"),
        ("events.parquet", b"PAR1 and nothing else", "cannot be read"),
        ("events.csv.gz", gzip.compress(CSV.encode() * 99, mtime=0)[:60], "cannot be read"),
        ("events.csv", CSV.encode("utf-16"), "UTF-16"),
        ("events.csv", CSV.replace("\n", "\r"), "bare CR"),
        ("events.parquet.gz", gzip.compress(b"PAR1" * 99, mtime=0)[:60], "cannot be read"),
        ("events.csv", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "a PNG image"),
        ("events.parquet", b"PK\x03\x04\x14\x00\x00\x00", "a zip archive or an Excel workbook"),
        ("events.csv", b"%PDF-1.7\n1 0 obj\n", "a PDF"),
        ("events.csv", b"user_id,item_id\x00\x01\n1,a\n", "null bytes"),
        ("events.csv.gz", gzip.compress(b"\x89PNG\n\x00\x00", mtime=0), "null bytes"),
        ("events.tsv", CSV.encode("utf-16-le"), "null bytes"),
    ],
)
def test_files_that_cannot_be_read(name, content, message, write):
    with pytest.raises(DataError, match=message) as error:
        read_events(write(name, content))
    assert name in str(error.value)


@pytest.mark.parametrize("frame", [pl.DataFrame(), pd.DataFrame()])
def test_a_frame_without_columns_is_empty(frame):
    with pytest.raises(DataError, match="frame has no columns: it is empty"):
        read_events(frame)


def test_paths_that_lead_nowhere(tmp_path):
    with pytest.raises(DataError, match=r"^there is no file"):
        read_events(tmp_path / "events.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_events(tmp_path)
    with pytest.raises(DataError, match="cannot be read from int"):
        read_events(3)


def test_the_content_of_a_parquet_file_decides(tmp_path):
    FRAME.write_parquet(tmp_path / "events.csv")
    assert len(read_events(tmp_path / "events.csv")) == 3


# --- lists -----------------------------------------------------------------------------------


def test_lists_become_events_in_their_order():
    frame = pl.DataFrame({"user_id": [1, 2, 3], "item_id": [[3, 1], [], [2]]})
    log = read_events(frame)
    assert log.frame.rows() == [(1, 3), (1, 1), (3, 2)]


@pytest.mark.parametrize("text", ["[3, 1]", "['3', '1']", '["3","1"]', "[ 3 ,1 ]"])
def test_text_of_lists(text, write):
    quoted = text.replace('"', '""')
    path = write("events.csv", csv_of(f'1,"{quoted}"', '2,"[]"', header="user_id,item_id"))
    assert read_events(path).frame.rows() == [(1, 3), (1, 1)]


def test_several_lists_are_domains():
    frame = pl.DataFrame({"user_id": [1, 2], "a": ["[5]", "[]"], "b": ["[7, 6]", "[6]"]})
    log = read_events(frame, item=["a", "b"])
    assert log.frame.rows() == [(1, 5, "a"), (1, 7, "b"), (1, 6, "b"), (2, 6, "b")]
    assert log.columns["item"] == "a, b"
    with pytest.raises(DataError, match="are the domains"):
        read_events(frame.with_columns(d=1), item=["a", "b"], domain="d")


@pytest.mark.parametrize("text", ["[1, [2]]", '[{"a": 1}]', "[1", "[1, null]"])
def test_broken_lists(text):
    frame = pl.DataFrame({"user_id": [1, 2], "item_id": ["[1]"] * 1 + [text]})
    if text == "[1":
        frame = pl.concat([frame.head(1)] * 100 + [frame.tail(1)])
    with pytest.raises(DataError, match=r"row (2|101), column 'item_id'"):
        read_events(frame)
    assert set(read_events(frame, on_error="skip").frame["item"]) == {1}


def test_real_lists_without_order(shared_data):
    path = shared_data / "unordered" / "imvae_cloth_sport_test_csu.csv.gz"
    log = read_events(path, item=["seq_d1", "seq_d2"])
    assert log.schema == {"user": pl.Int64, "item": pl.Int64, "domain": pl.String}
    assert log.frame["domain"].unique().sort().to_list() == ["seq_d1", "seq_d2"]


def test_real_events(shared_data):
    log = read_events(shared_data / "crossdomain" / "beauty_5core.csv.gz", item="asin")
    assert len(log) == 198_502
    assert log.frame["user"].n_unique() == 22_363
    assert log.frame["item"].n_unique() == 12_101


# --- any input -------------------------------------------------------------------------------


def result_or_intended_error(source, **settings):
    """Read; anything but a log, an error of ours or a warning of ours fails the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", GuessWarning)
        try:
            log = read_events(source, **settings)
        except ModicumError:
            return
        assert len(log) == len(log.frame)
        assert log.frame.select("user", "item").null_count().row(0) == (0, 0)
        if log.has("time"):
            assert log.frame["time"].null_count() == 0
            log.frame["time"].to_list()
        if settings.get("on_error") == "raise":
            assert log.rejected.is_empty()


FUZZ = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PIECES = st.sampled_from(
    [
        *(
            "1",
            "a",
            ",",
            ",",
            "\n",
            "\n",
            '"',
            "\t",
            "1406131701",
            "2014-07-23",
            "[1, 2]",
            "[",
            "{",
        ),
        *(
            "}",
            '{"user_id":1,"item_id":',
            ":",
            "\r\n",
            "\r",
            "\ufeff",
            "\x00",
            " ",
            "null",
            "é",
            "'",
        ),
    ]
)
TEXT = st.lists(PIECES, max_size=40).map("".join).map(str.encode)
HEADER = b"user_id,item_id,timestamp\n"
BYTES = st.one_of(
    st.binary(max_size=80),
    TEXT,
    TEXT.map(HEADER.__add__),
    st.binary(max_size=40).map(HEADER.__add__),
)
NAMES = st.sampled_from(["e.csv", "e.tsv", "e.jsonl", "e.parquet", "e.csv.gz", "e.jsonl.zst", "e"])
ON_ERROR = st.sampled_from(["raise", "skip"])


@FUZZ
@given(content=BYTES, name=NAMES, on_error=ON_ERROR)
def test_any_bytes(content, name, on_error, tmp_path):
    (tmp_path / name).write_bytes(content)
    result_or_intended_error(tmp_path / name, on_error=on_error)


@FUZZ
@given(content=TEXT, name=st.sampled_from(["e.csv", "e.jsonl"]), on_error=ON_ERROR)
def test_any_compressed_text(content, name, on_error, tmp_path):
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(HEADER + content))
    result_or_intended_error(tmp_path / f"{name}.gz", on_error=on_error)


@FUZZ
@given(data=st.data(), on_error=ON_ERROR)
def test_any_damage_to_a_parquet_file(data, on_error, tmp_path):
    path = tmp_path / "e.parquet"
    FRAME.write_parquet(path)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))] if at % 2 else content)
    try:
        log = read_events(path, on_error=on_error)
        Histories.from_log(log)
    except ModicumError:
        return


VALUES = st.one_of(
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3),
    st.lists(st.none() | st.floats(), min_size=3, max_size=3),
    st.lists(st.none() | st.text(max_size=4), min_size=3, max_size=3),
    st.lists(st.none() | st.booleans(), min_size=3, max_size=3),
    st.lists(st.none() | st.binary(max_size=3), min_size=3, max_size=3),
    st.lists(st.none() | st.datetimes(), min_size=3, max_size=3),
    st.lists(st.none() | st.dates(), min_size=3, max_size=3),
    st.lists(st.none() | st.timedeltas(timedelta(-9999), timedelta(9999)), min_size=3, max_size=3),
    st.lists(
        st.none() | st.lists(st.none() | st.integers(0, 9), max_size=2), min_size=3, max_size=3
    ),
    st.lists(st.sampled_from(["[1]", "[]", "['a']", "[[1]]", "x", None]), min_size=3, max_size=3),
    st.lists(st.just({"a": 1}), min_size=3, max_size=3),
)


@settings(FUZZ, max_examples=120)
@given(
    users=VALUES,
    items=VALUES,
    moments=VALUES,
    numbers=VALUES,
    kind=st.sampled_from(["frame", "parquet", "csv", "pandas"]),
    on_error=ON_ERROR,
)
def test_any_table(users, items, moments, numbers, kind, on_error, tmp_path):
    frame = pl.DataFrame(
        {"user_id": users, "item_id": items, "timestamp": moments, "value": numbers}
    )
    source = frame
    if kind == "parquet":
        source = tmp_path / "e.parquet"
        frame.write_parquet(source)
    elif kind == "csv":
        source = tmp_path / "e.csv"
        written = pl.exclude(pl.Binary, pl.Duration, pl.List, pl.Struct)
        frame.select(written).write_csv(source)
    elif kind == "pandas":
        source = pd.DataFrame({"user_id": users, "item_id": items, "timestamp": moments})
    columns = {} if kind == "pandas" else {"value": "value", "domain": None}
    result_or_intended_error(source, on_error=on_error, **columns)
