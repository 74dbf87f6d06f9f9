"""Reports: summary, text, pages, files."""

import hashlib
import json

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from modicum.errors import DataError, ResourceError
from modicum.evaluation.evaluate import evaluate
from modicum.evaluation.report import REQUIRED, Report
from modicum.page import NOTHING


@pytest.fixture(scope="module")
def report(parts, popular):
    return evaluate(popular, parts.test)


def _changed(report, **protocol):
    return Report(report.per_stratum, report.coverage, report.protocol | protocol)


def test_summary_averages_over_users(report):
    assert report.summary.columns == ["metric", "stratum", "mean", "low", "high", "n"]
    for metric, stratum, mean, low, high, n in report.summary.iter_rows():
        if metric.startswith("coverage"):
            assert (low, high, stratum) == (None, None, "all")
            assert mean == report.coverage[metric]
            continue
        values = report.values(stratum)[metric]
        assert n == len(values)
        assert mean == pytest.approx(values.mean())
        assert low <= mean + 1e-12 and mean <= high + 1e-12


def test_summary_has_every_metric_in_every_stratum(report):
    rows = report.summary.filter(~pl.col("metric").str.starts_with("coverage"))
    assert len(rows) == len(report.metrics) * len(report.strata)
    assert report.strata[0] == "all"


def test_per_user_has_one_row_a_user(report, parts):
    assert report.per_user.columns[:3] == ["user", "queries", "hr@1"]
    assert report.per_user["queries"].sum() == len(parts.test)
    assert report.per_user["user"].is_unique().all()


def test_text_shows_n_intervals_and_protocol(report):
    text = str(report)
    users = report.protocol["users"]
    assert f"n = {users}" in text
    low, high = report.summary.row(0)[3:5]
    assert f"[{low:.4f}, {high:.4f}]" in text
    assert "split: global time" in text and "full catalogue" in text
    assert all(stratum in text for stratum in report.strata)
    assert max(map(len, text.splitlines())) <= 100


def test_page_shows_pictures_figures_and_protocol(report, tmp_path):
    page = report.to_html(tmp_path / "deep" / "report.html").read_text()
    assert page.count("<svg") == 3
    assert "ndcg@10 by stratum" in page and "global time" in page
    assert f"n = {report.protocol['users']}" in page


@pytest.mark.parametrize("key", REQUIRED)
def test_without_protocol_nothing_is_shown(report, tmp_path, key):
    protocol = {name: value for name, value in report.protocol.items() if name != key}
    bare = Report(report.per_stratum, report.coverage, protocol)
    with pytest.raises(DataError, match=f"does not say {key}"):
        str(bare)
    with pytest.raises(DataError, match="not shown"):
        bare.to_html(tmp_path / "report.html")


def test_without_interval_nothing_is_shown(report):
    one = Report(report.per_stratum.head(1), {}, report.protocol)
    assert one.summary["low"].null_count() == len(one.summary)
    with pytest.raises(DataError, match="no interval"):
        str(one)


def test_a_stratum_of_one_user_is_shown_without_interval(report, tmp_path):
    alone = report.values("warm").head(1).with_columns(stratum=pl.lit("alone"))
    other = Report(pl.concat([report.values("all"), alone]), {}, report.protocol)
    row = next(line for line in str(other).splitlines() if line.startswith("  alone"))
    assert row.split()[1] == "1" and NOTHING in row and "[" not in row
    assert "alone (n = 1)" in other.to_html(tmp_path / "report.html").read_text()


def test_metrics_must_be_there_and_floats(report):
    with pytest.raises(DataError, match="needs the columns"):
        Report(report.per_stratum.select("user", "hr@1"), {}, report.protocol)
    with pytest.raises(DataError, match=r"hr@1 are not|are floats"):
        Report(report.per_stratum.cast({"hr@1": pl.String}), {}, report.protocol)


def test_a_saved_report_comes_back_the_same(report, tmp_path):
    loaded = Report.load(report.save(tmp_path / "run"))
    assert_frame_equal(loaded.per_stratum, report.per_stratum, check_exact=True)
    assert_frame_equal(loaded.summary, report.summary, check_exact=True)
    assert (loaded.protocol, loaded.coverage) == (report.protocol, report.coverage)
    assert str(loaded) == str(report)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "per_stratum.parquet",
        "report.json",
    ]


def test_saving_again_replaces_the_files(report, tmp_path):
    _changed(report, model="other").save(tmp_path)
    report.save(tmp_path)
    assert Report.load(tmp_path).protocol["model"] == "popular"


def test_a_report_of_cut_times_with_an_empty_fraction_compares_with_one_without(report, tmp_path):
    earlier = _changed(report, **{"test from": "2014-05-13T00:00:00.000000"})
    later = _changed(report, **{"test from": "2014-05-13T00:00:00"})
    assert Report.load(earlier.save(tmp_path)).differences(later) == []


def test_a_report_that_cannot_be_saved_says_so(report, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="cannot be saved"):
        report.save(tmp_path / "file")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("report.json", None, "cannot be read"),
        ("per_stratum.parquet", None, "cannot be read"),
        ("report.json", "{", "damaged"),
        ("report.json", "\udcff", "damaged"),
        ("report.json", "[]", "not a modicum report"),
        ("report.json", '{"format": "other"}', "not a modicum report"),
        ("report.json", '{"format": "modicum report", "version": 99}', "version 99"),
        ("report.json", '{"format": "modicum report", "version": 1}', "protocol, coverage"),
        ("per_stratum.parquet", "PAR1", "checksum"),
    ],
)
def test_broken_folders_are_refused_with_a_reason(report, tmp_path, name, content, message):
    report.save(tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=message):
        Report.load(tmp_path)


def test_a_table_without_metrics_is_refused(report, tmp_path):
    report.save(tmp_path)
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "per_stratum.parquet")
    header = json.loads((tmp_path / "report.json").read_text())
    content = (tmp_path / "per_stratum.parquet").read_bytes()
    header["sha256"] = hashlib.sha256(content).hexdigest()
    (tmp_path / "report.json").write_text(json.dumps(header))
    with pytest.raises(DataError, match="needs the columns"):
        Report.load(tmp_path)
