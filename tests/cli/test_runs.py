"""The verbs on one small event log, from the file to the recommendation."""

import json
from pathlib import Path

import polars as pl
import pytest

import modicum as mo
from modicum.cli.app import main
from modicum.cli.runs import Run
from modicum.errors import BundleError


def fit(events: Path, out: Path, method: str = "transitions", *more: str) -> int:
    roles = ["--user", "uid", "--item", "sku", "--time", "ts"]
    return main(["fit", method, str(events), *roles, "--out", str(out), *more])


@pytest.fixture(scope="module")
def run(events, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "a"
    assert fit(events, out) == 0
    return out


def test_fit_saves_a_model_and_what_it_was_fitted_on(run, events):
    assert mo.load(run).vocabulary.ids.to_list()
    kept = Run.read(run)
    assert kept.events == str(events)
    assert kept.columns == {"user": "uid", "item": "sku", "time": "ts"}
    assert kept.split == {"by": "time", "targets": "all"}
    assert not (run / "checkpoint").exists()


def test_the_same_fit_again_does_nothing_and_another_is_refused(events, run, capsys):
    before = (run / "config.json").read_bytes()
    assert fit(events, run) == 0
    assert (run / "config.json").read_bytes() == before
    assert fit(events, run, "transitions", "--seed", "1") == 2
    assert "seed: 0 there, 1 here" in capsys.readouterr().err


def test_a_fit_that_failed_leaves_the_folder_free_for_another(events, tmp_path):
    assert fit(events, tmp_path, "sasrec", "--epochs", "0") == 2
    assert fit(events, tmp_path, "transitions") == 0


def test_evaluate_keeps_a_report_and_compare_takes_it(events, run, tmp_path, capsys):
    assert main(["evaluate", str(run), "--k", "1,10", "--html", str(tmp_path / "page.html")]) == 0
    report = capsys.readouterr().out
    assert "ndcg@10" in report.lower()
    assert (run / "report").is_dir()
    card = (run / "card.md").read_text()
    assert "| stratum | n | hr@10 | ndcg@10 | mrr |" in card and "Not judged yet" not in card
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    main(["evaluate", str(run)])
    assert fit(events, tmp_path / "b", "popularity") == 0
    capsys.readouterr()
    assert main(["compare", str(run), str(tmp_path / "b")]) == 0
    assert str(tmp_path / "b") in capsys.readouterr().out
    assert (tmp_path / "b" / "report").is_dir()


def test_compare_judges_at_the_k_of_the_reports_that_are_there(events, run, tmp_path, capsys):
    other = tmp_path / "b"
    assert fit(events, other, "popularity") == 0
    assert main(["evaluate", str(run), "--k", "2,3"]) == 0
    assert main(["compare", str(other), str(run)]) == 0
    assert "ndcg@3" in capsys.readouterr().out
    assert main(["evaluate", str(other), "--k", "4"]) == 0
    assert main(["compare", str(run), str(other)]) == 2
    told = capsys.readouterr().err
    assert "k = 2,3" in told and f"modicum evaluate {other} --k 2,3" in told
    assert main(["compare"]) == 2


def test_evaluate_refuses_events_that_have_changed(run, events, tmp_path, capsys):
    other = tmp_path / "other.csv"
    other.write_text(events.read_text() + "1,sku-1,1700000000\n")
    assert main(["evaluate", str(run), "--events", str(other)]) == 2
    assert "its content has changed" in capsys.readouterr().err


def test_events_that_have_moved_are_named_with_a_flag(events, tmp_path, capsys):
    moved = tmp_path / "events.csv"
    moved.write_bytes(events.read_bytes())
    assert fit(moved, tmp_path / "run", "popularity") == 0
    moved.unlink()
    for asked in (["evaluate"], ["recommend", "--user", "1"]):
        capsys.readouterr()
        assert main([*asked, str(tmp_path / "run")]) == 2
        assert "--events" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "run"), "--events", str(events)]) == 0


def test_recommend_for_a_history_and_for_a_user(run, events, capsys):
    asked = ["recommend", str(run), "-k", "3", "--json"]
    assert main([*asked, "--history", "sku-1,sku-2"]) == 0
    top = json.loads(capsys.readouterr().out)
    assert top[0]["item"] == "sku-3"
    assert [row["rank"] for row in top] == [1, 2, 3]
    histories = pl.read_csv(events).sort("ts").group_by("uid").agg("sku").sort("uid")["sku"]
    following = [f"sku-{(int(items[-1].removeprefix('sku-')) + 1) % 30}" for items in histories]
    user = next(u for u, item in enumerate(following) if item not in histories[u])
    assert main([*asked, "--user", str(user)]) == 0
    assert json.loads(capsys.readouterr().out)[0]["item"] == following[user]
    assert main([*asked, "--user", "nobody"]) == 2
    assert main(asked) == 2


def test_settings_come_from_a_file_and_flags_win(events, tmp_path):
    config = tmp_path / "settings.toml"
    config.write_text('user = "uid"\nitem = "sku"\ntime = "ts"\ndim = 8\nepochs = 1\nlayers = 1\n')
    options = ["--config", str(config), "--out", str(tmp_path / "run"), "--dim", "4"]
    assert main(["fit", "sasrec", str(events), *options]) == 0
    settings = mo.load(tmp_path / "run").settings()
    assert (settings["dim"], settings["layers"], settings["epochs"]) == (4, 1, 1)
    page = (tmp_path / "run" / "training.html").read_text()
    assert "Loss: softmax" in page and "<svg" in page


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("layer = 1", "'layer'; did you mean 'layers'?"),
        ("learning_rat = 1", "'learning_rat'; did you mean 'learning-rate'?"),
        ("[fit.sasrec]\nlayer = 1", "'fit.sasrec.layer'; did you mean 'layers'?"),
        ("[fit.sasrec]\nlayers = 1", "'fit.sasrec.layers'; did you mean 'layers'?"),
        ("[layer]", "'layer'; did you mean 'layers'?"),
        ("[nonsense]\nzzz = 1", "'nonsense.zzz'; known: attention-dropout, batch-size"),
        ("config = 'other.toml'", "'config'; known:"),
    ],
)
def test_an_unknown_key_of_the_file_names_the_nearest(events, tmp_path, capsys, content, said):
    config = tmp_path / "settings.toml"
    config.write_text(content)
    options = ["--config", str(config), "--out", str(tmp_path / "run")]
    assert main(["fit", "sasrec", str(events), *options]) == 2
    assert f"no option is called {said}" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_table_of_the_file_has_keys_of_its_own_and_numbers_are_not_rounded(
    events, tmp_path, capsys
):
    config = tmp_path / "settings.toml"
    options = ["--config", str(config), "--out", str(tmp_path / "run")]
    config.write_text("[backbone]\nlayer = 1\n")
    assert main(["fit", "llmrec", str(events), *options]) == 2
    assert "'backbone.layer'; did you mean 'backbone.layers'?" in capsys.readouterr().err
    config.write_text("layers = 2.9\n")
    assert main(["fit", "sasrec", str(events), *options]) == 2
    assert 'unable to convert "2.9"' in capsys.readouterr().err


def test_a_model_that_does_not_fit_into_memory_is_refused(events, tmp_path, capsys):
    for size in (["--dim", str(10**8)], ["--length", str(10**8)], ["--dim", str(10**10)]):
        assert fit(events, tmp_path / "run", "sasrec", *size) == 2
        assert "error: training sasrec needs" in capsys.readouterr().err


def test_ctrl_c_keeps_what_was_learnt_and_the_same_command_goes_on(events, tmp_path, monkeypatch):
    from modicum.methods.sequential.sasrec import SASRec

    small = ["--dim", "4", "--layers", "1", "--heads", "1", "--epochs", "2", "--seed", "3"]
    assert fit(events, tmp_path / "whole", "sasrec", *small) == 0

    def interrupted(self, queries, *rest, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(SASRec, "rank", interrupted)
        assert fit(events, tmp_path / "cut", "sasrec", *small) == 130
    assert fit(events, tmp_path / "cut", "sasrec", *small) == 0
    weights = [tmp_path / name / "weights.safetensors" for name in ("whole", "cut")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_audit_makes_findings_of_broken_rows(events, tmp_path, capsys):
    options = ["--user", "uid", "--item", "sku", "--time", "ts"]
    pages = ["--html", str(tmp_path / "audit.html"), "--json", str(tmp_path / "audit.json")]
    assert main(["audit", str(events), *options, *pages]) == 0
    assert (tmp_path / "audit.html").exists()
    assert json.loads((tmp_path / "audit.json").read_text())
    broken = tmp_path / "broken.csv"
    broken.write_text(events.read_text() + "1,sku-1,never\n")
    capsys.readouterr()
    main(["audit", str(broken), *options])
    assert "rows-rejected" in capsys.readouterr().out


def test_settings_out_of_range_are_refused_before_the_events_are_read(events, tmp_path, capsys):
    assert fit(events, tmp_path / "run", "sasrec", "--epochs", "0") == 2
    told = capsys.readouterr()
    assert "--epochs 0 must be 1 or more" in told.err and not told.out
    assert not (tmp_path / "run").exists()


def test_a_settings_file_that_is_no_toml_is_named(events, tmp_path, capsys):
    config = tmp_path / "settings.toml"
    config.write_text("[[[")
    assert fit(events, tmp_path / "run", "sasrec", "--config", str(config)) == 2
    assert f"{config}: this is no TOML" in capsys.readouterr().err


def test_recommend_says_why(run, capsys):
    asked = ["recommend", str(run), "--history", "sku-1,sku-2", "-k", "1", "--explain"]
    assert main([*asked, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert [x["event"] for x in row["because"]] == ["sku-2", "sku-1"]
    assert main(asked) == 0
    assert "sku-2 (+" in capsys.readouterr().out


def test_recommend_knows_views_from_purchases(tmp_path, capsys):
    rows = [
        (user, f"i{(user + 3 * step) % 12}", 10 * step + user % 3, "view" if step % 2 else "buy")
        for user in range(60)
        for step in range(8)
    ]
    events = tmp_path / "deeds.csv"
    pl.DataFrame(rows, schema=["user", "item", "time", "did"], orient="row").with_columns(
        pl.col("time") + 1_600_000_000
    ).write_csv(events)
    roles = ["--user", "user", "--item", "item", "--time", "time", "--behaviour", "did"]
    out = tmp_path / "run"
    small = ["--target", "buy", "--epochs", "1", "--out", str(out)]
    assert main(["fit", "macd", str(events), *roles, *small]) == 0
    asked = ["recommend", str(out), "-k", "12", "--json"]
    capsys.readouterr()
    assert main([*asked, "--user", "5"]) == 0
    found = {row["item"] for row in json.loads(capsys.readouterr().out)}
    deeds = pl.read_csv(events).filter(user=5).sort("time")
    bought = set(deeds.filter(did="buy")["item"])
    assert found.isdisjoint(bought) and set(deeds["item"]) - bought <= found
    history = ["--history", ",".join(deeds["item"]), "--behaviours", ", ".join(deeds["did"])]
    assert main([*asked, *history]) == 0
    assert {row["item"] for row in json.loads(capsys.readouterr().out)} == found
    assert main([*asked, "--user", "5", "--behaviours", "view"]) == 2


def test_behaviours_are_refused_where_they_are_all_alike(run, capsys):
    assert main(["recommend", str(run), "--history", "sku-1", "--behaviours", "view"]) == 2
    assert "has no target behaviour" in capsys.readouterr().err


@pytest.mark.filterwarnings("default:.*not in the model")
def test_recommend_names_the_items_that_the_model_does_not_know(run, capsys):
    assert main(["recommend", str(run), "--history", "sku-1,sku-x,sku-y", "-k", "1"]) == 0
    assert "2 of 3 items" in (told := capsys.readouterr().err) and "sku-x, sku-y" in told


def test_recommend_says_when_the_history_holds_every_item(run, capsys):
    everything = ",".join(mo.load(run).vocabulary.ids)
    assert main(["recommend", str(run), "--history", everything]) == 0
    assert "nothing is left to recommend" in capsys.readouterr().out


def test_more_items_than_there_are_can_be_asked_for(run, capsys):
    for k in (31, 10**30):
        assert main(["recommend", str(run), "--history", "sku-1", "-k", str(k), "--json"]) == 0
        assert len(json.loads(capsys.readouterr().out)) == 29


def test_a_run_that_is_not_finished_says_how_it_goes_on(run, tmp_path, capsys):
    (tmp_path / "run.json").write_bytes((run / "run.json").read_bytes())
    for asked in (["evaluate", str(tmp_path)], ["recommend", str(tmp_path), "--history", "sku-1"]):
        assert main(asked) == 2
        assert "not finished" in capsys.readouterr().err


def test_a_run_of_unknown_arguments_is_damaged(run, tmp_path):
    kept = json.loads((run / "run.json").read_text())
    for wrong in ({"columns": {"usr": "uid"}}, {"split": {"by": "time", "seed": 1}}):
        (tmp_path / "run.json").write_text(json.dumps(kept | wrong))
        with pytest.raises(BundleError, match="is damaged"):
            Run.read(tmp_path)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"method": "sasrec"}'])
def test_a_folder_that_is_no_run_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(BundleError):
        Run.read(tmp_path)


def test_a_file_is_no_run(events, capsys):
    assert main(["evaluate", str(events)]) == 2
    assert f"{events} is not a run" in capsys.readouterr().err


def test_doctor_tries_a_model_and_names_what_extras_lack(capsys):
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "[serve]" in text
    assert "trial: fit, saved, loaded and recommended" in text


def test_add_items_makes_a_run_that_knows_them(events, tmp_path, capsys):
    vectors = pl.DataFrame({"sku": [f"sku-{n}" for n in range(30)], "a": range(30), "b": 7})
    vectors.write_csv(tmp_path / "items.csv")
    pl.DataFrame({"sku": ["sku-1", "fresh"], "a": [0, 3], "b": 7}).write_csv(tmp_path / "new.csv")
    small = ["--dim", "8", "--epochs", "1", "--device", "cpu", "--length", "8"]
    small += ["--backbone.layers", "1", "--backbone.width", "8", "--backbone.heads", "2"]
    by_text = ["--items", "text", "--texts", str(tmp_path / "items.csv")]
    out, grown = tmp_path / "run", tmp_path / "grown"
    assert fit(events, out, "llmrec", *small, *by_text) == 0
    added = ["add-items", str(out), str(tmp_path / "new.csv"), "--out"]
    assert main([*added, str(grown)]) == 0
    assert "1 new items beside 30" in capsys.readouterr().out
    assert main(["recommend", str(grown), "--history", "fresh", "-k", "31"]) == 0
    assert main(["evaluate", str(grown)]) == 0
    assert "31" in capsys.readouterr().out
    assert main([*added, str(out)]) == 2
    assert "is the model itself" in capsys.readouterr().err
