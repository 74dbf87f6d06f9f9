from __future__ import annotations

import json
import subprocess
import sys

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import modicum as mo
from modicum.data import audit as room
from modicum.data.audit import Audit, audit
from modicum.data.log import EventLog
from modicum.data.split import split
from modicum.errors import ResourceError


def test_a_clean_log_has_no_finding_above_note(frame, log_of, severities):
    report = audit(log_of(frame))
    assert report.ok and severities(report) == {}
    assert report.verdict.startswith("No errors, no warnings")
    assert report.figures["sizes"]["events"] == 6_000
    assert report.tables["floors"]["floor"].n_unique() == 3


def test_findings_stand_worst_first(frame, log_of):
    report = audit(log_of(frame.drop("time").sort("user", "item")))
    order = [("error", "warning", "note").index(f.severity) for f in report.findings]
    assert order == sorted(order) and not report.ok
    assert "order-lost" in report.verdict


def test_the_audit_of_a_split_is_the_audit_of_its_log_with_it(frame, log_of):
    parts = split(log_of(frame))
    assert audit(parts).to_json() == audit(parts.log, parts).to_json() == parts.audit.to_json()
    assert mo.audit(parts).to_json() == audit(parts.log).to_json()


def test_the_same_log_gives_the_same_bytes(frame, log_of, tmp_path):
    first, second = audit(log_of(frame)), audit(log_of(frame))
    assert first.to_json() == second.to_json() and str(first) == str(second)
    pages = [r.to_html(tmp_path / f"{n}.html").read_bytes() for n, r in enumerate((first, second))]
    assert pages[0] == pages[1]


def test_json_says_what_the_audit_says(frame, log_of, tmp_path):
    report = audit(log_of(frame.drop("time").sort("user", "item")))
    text = report.to_json(tmp_path / "audit.json")
    content = json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))
    assert content == json.loads(text)
    assert content["ok"] is False
    assert [f["code"] for f in content["findings"]] == [f.code for f in report.findings]
    assert content["figures"]["order"]["pairs_in_both_orders"] == 0


def test_text_and_page_hold_verdict_findings_and_figures(frame, log_of, tmp_path):
    report = audit(log_of(frame.with_columns(value=pl.lit(1))))
    text = str(report)
    page = report.to_html(tmp_path / "audit.html").read_text(encoding="utf-8")
    for place in (text, page):
        assert report.verdict in place and "column-constant" in place
    assert "NDCG@10 of popularity, seen left out" in text
    assert "\ndomains" not in text  # a log of one domain has nothing to say of them
    assert page.index(report.verdict) < page.index("Worst first") < page.index("popularity")


def test_large_logs_are_sampled_by_whole_users(frame, log_of, monkeypatch):
    monkeypatch.setattr(room, "MAX_EVENTS", 2_000)
    report = audit(log_of(frame))
    assert report.figures["rows"]["sampled_users"] == "1 in 3"
    measured = report.figures["sizes"]
    assert measured["events"] == 20 * measured["users"] < 6_000


@pytest.mark.parametrize(
    ("rows", "codes"),
    [
        ({"user": [], "item": []}, {"empty"}),
        ({"user": [None], "item": ["a"]}, {"empty", "rows-incomplete"}),
        ({"user": [1], "item": ["a"]}, {"no-time", "too-little"}),
        ({"user": [1, 2], "item": ["a", "b"]}, {"no-time", "too-little"}),
        ({"user": [1, 1], "item": ["a", "a"]}, {"no-time", "repeats", "too-little"}),
        ({"user": [1, 1], "item": ["a", "b"]}, {"no-time"}),
        ({"user": [1, 1, 1], "item": ["a", "b", "a"]}, {"no-time", "repeats"}),
    ],
)
def test_hardly_anything_is_an_outcome(rows, codes):
    report = audit(EventLog(pl.LazyFrame(rows), "tiny"))
    assert {finding.code for finding in report.findings} == codes


def test_a_log_of_one_item_is_no_log_to_learn_from(frame, log_of):
    report = audit(log_of(frame.with_columns(item=pl.lit("a"))))
    (found,) = [finding for finding in report.findings if finding.code == "too-little"]
    assert not report.ok and found.severity == "error"
    assert "6,000 events of 300 users on 1 items" in found.message


def test_an_audit_that_cannot_be_written_says_so(frame, log_of, tmp_path):
    (tmp_path / "file").write_text("in the way")
    report = audit(log_of(frame.head(40)))
    for write in (report.to_json, report.to_html):
        with pytest.raises(ResourceError, match=r"cannot be written to .*; choose another path"):
            write(tmp_path / "file" / "audit")


events = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from("abcd"),
        st.integers(-(2**50), 2**52) | st.integers(0, 3),
        st.sampled_from(["x", "y", None]),
        st.floats(allow_nan=True) | st.none(),
    ),
    max_size=130,
)


@settings(max_examples=40, deadline=None)
@given(events, st.sets(st.sampled_from(["time", "domain", "value"])))
def test_no_valid_log_breaks_the_audit(rows, roles):
    schema = {
        "user": pl.Int64,
        "item": pl.String,
        "time": pl.Int64,
        "domain": pl.String,
        "value": pl.Float64,
    }
    table = pl.DataFrame(rows, schema=schema, orient="row").cast({"time": pl.Datetime("us")})
    report = audit(EventLog(table.select("user", "item", *sorted(roles)).lazy(), "random"))
    assert isinstance(report, Audit)
    json.loads(report.to_json())
    assert report.verdict in str(report)


def test_pages_of_odd_logs_draw(tmp_path, log_of):
    for n, rows in enumerate(
        (
            {"user": [], "item": []},
            {"user": [1], "item": ["a"]},
            {"user": [1, 2], "item": ["a", "b"], "time": [0, 10**15]},
        )
    ):
        frame = pl.DataFrame(rows)
        if "time" in rows:
            frame = frame.cast({"time": pl.Datetime("us")})
        assert audit(log_of(frame)).to_html(tmp_path / f"{n}.html").exists()


def test_the_audit_loads_neither_torch_nor_matplotlib():
    code = (
        "import sys, polars as pl; from modicum.data.log import EventLog; import modicum as mo;"
        "mo.audit(EventLog(pl.LazyFrame({'user': [1], 'item': [2]}), 'x')).to_json();"
        "assert not {'torch', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
