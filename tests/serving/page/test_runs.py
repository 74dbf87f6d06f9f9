"""What the page reads, over HTTP: its own files, reports of runs, and nothing beside them."""

import json
import shutil
from pathlib import Path
from urllib.parse import quote

import polars as pl
import pytest
from starlette.testclient import TestClient

import modicum as mo
from modicum.cli.evaluate import REPORT
from modicum.cli.fit import AUDIT
from modicum.evaluation.compare import compare
from modicum.evaluation.prediction_report import judge_predictions
from modicum.evaluation.saved import load_report
from modicum.serving.app import create_app
from modicum.serving.pages import FOLDER, add_page

HERE = "http://127.0.0.1"


@pytest.fixture
def folder_of_runs(runs, tmp_path) -> Path:
    return shutil.copytree(runs, tmp_path / "runs")


@pytest.fixture
def client(live, folder_of_runs):
    app = create_app(live)
    add_page(app, runs=folder_of_runs)
    with TestClient(app, base_url=HERE) as client:
        yield client


def listed(client) -> list[str]:
    return [run["name"] for run in client.get("/runs").json()["runs"]]


def test_the_page_comes_with_a_strict_policy(client):
    for name in ("", *(f"page/{path.name}" for path in FOLDER.iterdir())):
        answer = client.get(f"/{name}")
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "text/plain" not in answer.headers["content-type"]
    html = client.get("/").text
    assert "<style" not in html and " style=" not in html and " on" not in html.replace(" one ", "")
    assert html.count("<script") == html.count('<script type="module" src=') == 1


@pytest.mark.parametrize("name", ["../pages.py", "..%2fpages.py", "nothing.js"])
def test_no_other_file_is_served(client, name):
    assert client.get(f"/page/{name}").status_code == 404


def test_runs_with_a_report_are_listed(client):
    told = client.get("/runs").json()["runs"]
    assert [run["name"] for run in told] == ["other split <b>", "popularity", "sasrec"]
    assert [run["audit"] for run in told] == [False, False, True]
    assert told[2]["model"] == "sasrec" and told[2]["judged_by"].endswith("users, k = 1, 5, 10")


def test_figures_are_those_of_the_report(client, runs):
    told = client.get("/runs/sasrec").json()
    summary = load_report(runs / "sasrec" / REPORT).summary.rename({"stratum": "group"})
    assert pl.DataFrame(told["figures"]).equals(summary.select(told["figures"][0].keys()))
    assert told["grouped_by"] == "stratum" and told["main_metrics"] == ["ndcg@10", "hr@10"]
    assert "95 %" in told["method"] and told["protocol"]["candidates"] == "full catalogue"


def test_a_comparison_is_the_paired_test(client, runs):
    told = client.get("/comparison", params={"a": "popularity", "b": "sasrec"}).json()
    pair = {name: load_report(runs / name / REPORT) for name in ("popularity", "sasrec")}
    table = compare(pair).table
    assert [row["p_holm"] for row in told["tests"]] == table["p_holm"].to_list()
    assert [row["verdict"] for row in told["tests"]] == table["verdict"].to_list()
    assert told["findings"][0].startswith("ndcg@10: ")


def test_the_audit_is_the_one_that_is_kept(client, folder_of_runs):
    told = client.get("/runs/sasrec/audit").json()
    kept = json.loads((folder_of_runs / "sasrec" / AUDIT).read_text(encoding="utf-8"))
    assert told["verdict"] == kept["verdict"]
    assert [x["code"] for x in told["findings"]] == [x["code"] for x in kept["findings"]]
    assert client.get("/runs/popularity/audit").status_code == 404


def test_a_report_of_probabilities_is_shown_by_task(client, folder_of_runs):
    said = pl.DataFrame({"click": [0.9, 0.2, 0.6, 0.1] * 10})
    came = pl.DataFrame({"click": [1, 0, 1, 0] * 10})
    report = judge_predictions("funnel", mo.Predictions(said, came))
    report.save(folder_of_runs / "funnel" / REPORT)
    assert "funnel" in listed(client)
    told = client.get("/runs/funnel").json()
    assert told["grouped_by"] == "task" and {x["group"] for x in told["figures"]} == {"click"}
    mixed = client.get("/comparison", params={"a": "funnel", "b": "sasrec"})
    assert mixed.status_code == 422 and "cannot be compared" in mixed.json()["error"]


def test_a_report_that_is_written_anew_is_read_anew(client, folder_of_runs):
    before = client.get("/runs/sasrec").json()["figures"]
    shutil.copytree(
        folder_of_runs / "popularity" / REPORT,
        folder_of_runs / "sasrec" / REPORT,
        dirs_exist_ok=True,
    )
    (folder_of_runs / "sasrec" / REPORT / "report.json").touch()
    assert client.get("/runs/sasrec").json()["figures"] != before


@pytest.mark.parametrize(
    "name", ["../runs", "sasrec/..", "empty", "sasrec/report", "/etc", "a\0b", "ü" * 200]
)
def test_only_what_is_listed_is_read(client, name):
    for path in (f"/runs/{quote(name, safe='')}", f"/runs/{quote(name, safe='')}/audit"):
        assert client.get(path).status_code == 404
    for pair in ((name, "sasrec"), ("sasrec", ".."), ("..", name)):
        asked = client.get("/comparison", params=dict(zip("ab", pair, strict=True)))
        assert asked.status_code == 404


def test_links_out_of_the_folder_are_not_followed(client, folder_of_runs, tmp_path):
    shutil.move(folder_of_runs / "popularity", tmp_path / "elsewhere")
    (folder_of_runs / "popularity").symlink_to(tmp_path / "elsewhere")
    assert "popularity" not in listed(client)
    assert client.get("/runs/popularity").status_code == 404


def test_what_is_damaged_is_said_without_its_place(client, folder_of_runs):
    (folder_of_runs / "popularity" / REPORT / "per_stratum.parquet").write_bytes(b"no parquet")
    (folder_of_runs / "sasrec" / AUDIT).write_text("[]")
    for path in ("/runs/popularity", "/runs/sasrec/audit"):
        answer = client.get(path)
        assert answer.status_code == 422 and "damaged" in answer.json()["error"]
        assert str(folder_of_runs) not in answer.text
    (folder_of_runs / "popularity" / REPORT / "report.json").write_text("{")
    assert listed(client) == ["other split <b>", "sasrec"]
    shutil.rmtree(folder_of_runs)
    assert listed(client) == []


def test_without_runs_the_page_is_told_so(live):
    app = create_app(live)
    add_page(app)
    with TestClient(app, base_url=HERE) as client:
        told = client.get("/page/about.json").json()
        assert told["runs"] is False and told["recommends"] is True
        assert client.get("/runs").status_code == 404
        assert client.get("/").status_code == 200
