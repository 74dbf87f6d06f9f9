"""A table from the command line, made longer."""

import numpy as np
import polars as pl
import pytest

from modicum.cli.app import main


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "heat": pl.Series(rng.normal(size=60).round(3)).set(
                pl.Series(rng.random(60) < 0.2), None
            ),
            "plant": rng.choice(["north", "south"], 60),
            "failed": ["yes"] * 8 + ["no"] * 52,
        }
    )
    frame.write_csv(tmp_path / "in.csv")
    return tmp_path / "in.csv"


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_classes_become_as_frequent(table, suffix, capsys):
    out = table.with_name(f"out{suffix}")
    assert main(["resample", "ewmote", str(table), "--target", "failed", "--out", str(out)]) == 0
    found = pl.read_parquet(out) if suffix == ".parquet" else pl.read_csv(out)
    before = pl.read_csv(table)
    assert found[:60].equals(before)
    assert found["failed"].value_counts().sort("failed")["count"].to_list() == [52, 52]
    assert found[60:].null_count().sum_horizontal().item() == 0
    assert "failed yes: 8 rows, now 52" in capsys.readouterr().out


def test_ratio_and_report(table):
    out, page = table.with_name("out.csv"), table.with_name("report.html")
    ask = ["resample", "ewmote", str(table), "--target", "failed", "--out", str(out)]
    assert main([*ask, "--ratio", "0.5", "--html", str(page)]) == 0
    assert pl.read_csv(out)["failed"].value_counts().sort("failed")["count"].to_list() == [52, 26]
    assert "What EWMOTE makes" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--target", "faild", "--out", "out.csv"], "did you mean 'failed'"),
        (["--target", "failed", "--out", "out.xls"], ".parquet or .csv"),
    ],
)
def test_what_cannot_be_done_is_said(table, flags, says, capsys):
    assert main(["resample", "ewmote", str(table), *flags]) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_mwmote_takes_numbers_alone(table, capsys):
    ask = ["resample", "mwmote", str(table), "--target", "failed", "--out", "out.csv"]
    assert main(ask) == 2
    assert "'plant' is a category" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--ratio", "5"], ["--ratio", "0"], ["--target", "heat"]])
def test_what_the_sampler_refuses_is_told_of_the_table(table, flags, capsys):
    ask = ["resample", "ewmote", str(table), "--out", "out.csv"]
    ask += flags if "--target" in flags else [*flags, "--target", "failed"]
    assert main(ask) == 2
    assert "in.csv" in capsys.readouterr().err


def test_settings_of_the_sampler_are_flags(tmp_path, capsys):
    table = pl.DataFrame(np.random.default_rng(0).normal(size=(40, 6)))
    table = table.with_columns(failed=pl.int_range(40) % 5 == 0)
    table.write_parquet(tmp_path / "in.parquet")

    def resample(method, *flags):
        out = tmp_path / "out.parquet"
        out.unlink(missing_ok=True)
        ask = ["resample", method, str(tmp_path / "in.parquet"), "--target", "failed"]
        code = main([*ask, "--out", str(out), *flags])
        return pl.read_parquet(out) if code == 0 else capsys.readouterr().err

    for method in ("ewmote", "mwmote"):
        default = resample(method)
        assert default.equals(resample(method, "--k-border", "3"))
        assert not default.equals(resample(method, "--k-border", "1"))
        assert "--k-border 0 must be above 0" in resample(method, "--k-border", "0")
    default = resample("ewmote")
    assert default.equals(resample("ewmote", "--deleted-share", "0.8"))
    assert not default.equals(resample("ewmote", "--deleted-share", "0.2"))
    assert "--deleted-share 1.0 must be between" in resample("ewmote", "--deleted-share", "1")
    assert "mwmote deletes nothing" in resample("mwmote", "--deleted-share", "0.5")
