"""The verbs on one small table of impressions, from the file to the predicted rows."""

from pathlib import Path

import polars as pl
import pytest

import modicum as mo
from modicum.cli.app import main
from modicum.cli.funnel_runs import FunnelRun
from modicum.data.simulate_funnel import simulate_funnel

SMALL = ["--epochs", "1", "--dim", "4", "--hidden", "8", "--layers", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "rows.csv"
    frame = simulate_funnel(900, rates=(0.4, 0.4), seed=0).frame
    frame.with_columns(spend=pl.col("conversion") * 9.99).write_csv(path)
    return path


def fit(table: Path, out: Path, method: str = "mmoe", *more: str) -> int:
    steps = ["--steps", "click,conversion", "--ignore", "spend", "--out", str(out)]
    return main(["fit", method, str(table), *steps, *SMALL, *more])


@pytest.fixture(scope="module")
def run(table, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "a"
    assert fit(table, out) == 0
    return out


def test_fit_saves_a_model_and_what_it_was_fitted_on(run, table):
    assert mo.load(run).funnel == mo.Funnel("click", "conversion")
    kept = FunnelRun.read(run)
    assert kept.table == str(table) and kept.steps == ["click", "conversion"]
    train, validation, test = kept.load_parts()
    sizes = [len(part.collect()) for part in (train, validation, test)]
    assert sizes == [720, 90, 90] and not (run / "checkpoint").exists()


def test_the_same_fit_again_does_nothing_and_another_is_refused(run, table, capsys):
    before = (run / "config.json").read_bytes()
    assert fit(table, run) == 0
    assert (run / "config.json").read_bytes() == before
    assert fit(table, run, "mmoe", "--by", "order") == 2
    assert "by: random there, order here" in capsys.readouterr().err


def test_a_run_is_judged_and_compared_on_its_test_rows(run, table, tmp_path, capsys):
    assert main(["evaluate", str(run), "--k", "10", "--html", str(tmp_path / "page.html")]) == 0
    said = capsys.readouterr().out
    assert "lift@10%" in said and "for 90 rows" in said
    assert "Not judged yet" not in (run / "card.md").read_text()
    assert fit(table, tmp_path / "b", "singletask") == 0
    capsys.readouterr()
    assert main(["compare", str(run), str(tmp_path / "b")]) == 0
    assert "auc of p(conversion)" in capsys.readouterr().out


def test_predict_puts_the_probabilities_behind_the_rows(run, table, tmp_path):
    out = tmp_path / "out" / "predicted.parquet"
    assert main(["predict", str(run), str(table), "--out", str(out)]) == 0
    rows = pl.read_parquet(out)
    assert rows.columns[-3:] == ["p(click)", "p(conversion|click)", "p(conversion)"]
    assert len(rows) == 900 and "spend" in rows.columns


def test_tasks_beside_the_steps_and_parts_by_order(table, tmp_path):
    rows = pl.read_csv(table).with_columns(like=pl.col("click"))
    rows.write_parquet(tmp_path / "t.parquet")
    more = ["--after", "like=click", "--by", "order"]
    assert fit(tmp_path / "t.parquet", tmp_path / "run", "sharedbottom", *more) == 0
    assert mo.load(tmp_path / "run").funnel.after == {"like": "click"}
    *_, test = FunnelRun.read(tmp_path / "run").load_parts()
    assert test.collect().equals(rows.tail(90))


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (["--steps", "click,bought"], "no column 'bought'"),
        (["--steps", "click,conversion"], "'spend' tells the labels of 'conversion'"),
        (["--steps", "click,click"], "occurs twice"),
    ],
)
def test_what_cannot_be_done_is_said(table, tmp_path, capsys, tokens, said):
    assert main(["fit", "mmoe", str(table), *tokens, "--out", str(tmp_path / "x"), *SMALL]) == 2
    assert said in capsys.readouterr().err


def test_another_table_than_that_of_the_run_is_refused(run, tmp_path, capsys):
    pl.DataFrame({"click": [1]}).write_csv(tmp_path / "other.csv")
    assert main(["evaluate", str(run), "--events", str(tmp_path / "other.csv")]) == 2
    assert "its content has changed" in capsys.readouterr().err


def test_predict_refuses_other_models_and_files(run, table, tmp_path, capsys):
    assert main(["predict", str(run), str(table), "--out", str(tmp_path / "x.txt")]) == 2
    assert ".parquet or .csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    "verb",
    [
        ["recommend", "--history", "i1"],
        ["export"],
        ["add-items", "items.csv", "--out", "more"],
        ["score", "events.csv", "--out", "scores"],
        ["prune", "--out", "narrower"],
    ],
    ids=lambda verb: verb[0],
)
def test_what_recommenders_are_asked_is_refused_of_a_funnel(run, verb, capsys):
    assert main([verb[0], str(run), *verb[1:]]) == 2
    assert "holds no recommender" in " ".join(capsys.readouterr().err.split())


def test_a_seed_that_no_generator_takes_is_refused(table, tmp_path, capsys):
    assert fit(table, tmp_path / "run", "mmoe", "--seed", "-1") == 2
    assert "--seed -1 must be" in capsys.readouterr().err


def test_a_funnel_is_not_watched_and_not_called_damaged(run, tmp_path, capsys):
    (tmp_path / "current").symlink_to(run)
    assert main(["watch", str(tmp_path / "current")]) == 2
    assert "watch handles recommenders alone" in (said := capsys.readouterr().err)
    assert main(["recommend", str(run), "--user", "1"]) == 2
    assert "holds no recommender but MMoE" in (more := capsys.readouterr().err)
    assert "damaged" not in said + more


def test_predict_says_how_other_models_are_asked(table, tmp_path, capsys):
    frame = pl.DataFrame({"user": [1, 1, 2, 2], "item": [1, 2, 1, 3], "value": [5, 1, 4, 2]})
    ratings = mo.read_ratings(frame, user="user", item="item", value="value", positive=4)
    mo.Naive(epochs=1).fit(ratings, progress=False).save(tmp_path / "rater")
    asked = [str(tmp_path / "rater"), str(table), "--out", str(tmp_path / "x.csv")]
    assert main(["predict", *asked]) == 2
    said = capsys.readouterr().err
    assert "Naive, a model of ratings: ask it by 'modicum serve'" in said
    assert "modicum recommend" not in said
    assert main(["recommend", asked[0], "--history", "1"]) == 2
    assert "modicum predict" not in capsys.readouterr().err


def test_steps_without_a_name_are_refused_in_the_words_of_the_command_line(table, tmp_path, capsys):
    asked = ["fit", "mmoe", str(table), "--out", str(tmp_path / "x")]
    for steps in (["--steps", "click,"], ["--steps", "click", "--after", "=click"]):
        assert main([*asked, *steps]) == 2
        said = capsys.readouterr().err
        assert "--steps click,conversion --after like=click,hide" in said and "Funnel(" not in said
    broken = pl.read_csv(table).with_columns(click=0)
    broken.write_csv(tmp_path / "broken.csv")
    asked[2] = str(tmp_path / "broken.csv")
    assert main([*asked, "--steps", "click,conversion"]) == 2
    assert "independent with --after conversion" in capsys.readouterr().err
