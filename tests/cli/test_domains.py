"""Two domains on the command line: from two files to a recommendation in one of them."""

import json
from pathlib import Path

import polars as pl
import pytest

import modicum as mo
from modicum.cli.app import main
from modicum.cli.runs import Run
from modicum.data.simulate import simulate_domains

ROLES = ["--user", "user", "--item", "item", "--time", "time"]


@pytest.fixture(scope="module")
def events(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("events")
    frame = simulate_domains(80, 12, seed=0).log.frame.with_columns(pl.col("time").dt.epoch("ms"))
    for name in ("d0", "d1"):
        frame.filter(pl.col("domain") == name).drop("domain").write_csv(folder / f"{name}.csv")
    return f"d0={folder / 'd0.csv'},d1={folder / 'd1.csv'}"


@pytest.fixture(scope="module")
def run(events, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "a"
    asked = ["--target-domain", "d1", "--keep-overlap", "0.5"]
    assert main(["fit", "transitions", events, *ROLES, *asked, "--out", str(out)]) == 0
    return out


def test_fit_and_evaluate_on_one_file_for_each_domain(run, events, capsys):
    kept = Run.read(run)
    assert kept.split == {
        "by": "time",
        "targets": "all",
        "target_domain": "d1",
        "keep_overlap": 0.5,
    }
    assert mo.load(run).vocabulary.domain_names == ("d0", "d1")
    assert main(["evaluate", str(run)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "target domain: d1" in said and "50 % of the users" in said and "items of d1" in said
    with Path(events.rpartition("=")[2]).open("a", encoding="utf-8") as file:
        file.write("1,2,1600000000000\n")
    assert main(["evaluate", str(run)]) == 2
    assert "has changed" in capsys.readouterr().err


def test_recommend_in_a_domain(run, capsys):
    asked = ["recommend", str(run), "--domain", "d1", "-k", "3", "--json"]
    assert main([*asked, "--history", "d0=1,d1=4"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["domain"] for row in rows] == ["d1"] * 3
    assert 4 not in [row["item"] for row in rows]
    assert main([*asked, "--user", "1"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3
    assert main([*asked, "--history", "1,4"]) == 2
    assert "say which: ('d0', 1)" in capsys.readouterr().err


def test_audit_takes_a_file_for_each_domain(events, capsys):
    main(["audit", events, *ROLES])
    assert "users_in_two_domains" in capsys.readouterr().out


def test_score_names_its_own_flag_where_a_domain_must_be_asked_for(events, tmp_path, capsys):
    run, out = tmp_path / "run", tmp_path / "scores"
    how = ["--encoder", "popularity", "--history", "target", "--out", str(run)]
    assert main(["fit", "merged", events, *ROLES, *how]) == 0
    asked = ["score", str(run), events, "--out", str(out)]
    assert main(asked) == 2
    assert "name it with --target-domain, one of d0, d1" in capsys.readouterr().err
    assert not out.exists()
    assert main([*asked, "--target-domain", "d1"]) == 0
