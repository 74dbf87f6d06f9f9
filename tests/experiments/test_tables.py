import json
import shutil

import numpy as np
import pytest
import tables
import units
from comparisons import FILE, write_comparison
from recipes import HERE, Recipe

from modicum.errors import DataError
from modicum.evaluation.report import Report

ARMS = ("popularity", "teacher", "slmrec")


@pytest.fixture(scope="module")
def recipe(write_recipe, tmp_path_factory):
    """The toy recipe with all arms but one recorded and compared."""
    recipe = Recipe.read(write_recipe(), runs=tmp_path_factory.mktemp("runs"))
    for unit in recipe.units():
        if unit.arm.name in ARMS:
            units.run(unit)
    assert write_comparison(recipe) == []
    return recipe


def records(recipe):
    return {unit.name: record for unit in recipe.units() if (record := unit.record())}


def test_levels_are_means_over_users_of_seed_averages(recipe):
    comparison = json.loads((recipe.results / FILE).read_text())
    seeds = [Report.load(recipe.results / "reports" / f"slmrec-{seed}") for seed in (0, 1)]
    values = [report.per_user["ndcg@10"].to_numpy() for report in seeds]
    level = tables._level(comparison, "slmrec", "ndcg@10", "all")
    assert level["mean"] == pytest.approx(np.mean(values))
    assert level["seed_sd"] == pytest.approx(np.std([v.mean() for v in values], ddof=1))
    assert level["low"] <= level["mean"] <= level["high"]


def test_the_section_shows_every_arm_every_stratum_and_the_questions(recipe):
    text = tables.render(recipe)
    assert text.startswith("## Simulated\n\nA Markov chain.\n\nNot run yet: long.")
    assert "| slmrec | 0, 1 | 0." in text
    assert "NDCG@10 by stratum" in text and "warm item, n = " in text
    comparison = json.loads((recipe.results / FILE).read_text())
    assert [(x["a"], x["b"], x["stratum"]) for x in comparison["tests"]] == [
        ("teacher", "slmrec", "all"),
        ("popularity", "slmrec", "all"),
    ] * 2
    test = comparison["tests"][1]
    assert test["mean_b"] - test["mean_a"] == pytest.approx(-test["difference"])
    figures = [-test[name] for name in ("difference", "high", "low")]
    shown = "{:+.4f} [{:+.4f}, {:+.4f}]".format(*figures)
    assert f"| slmrec - popularity | NDCG@10 | all | {test['n']:,} | {shown} |" in text


def test_a_record_says_what_was_done_and_what_it_took(recipe):
    found = records(recipe)
    popularity, student = found["popularity-0"], found["slmrec-1"]
    assert student["models"] == {"teacher": "teacher-0"} and popularity["models"] == {}
    assert student["training"]["epochs"] == len(student["training"]["log"]) == 2
    assert popularity["training"]["epochs"] == popularity["parameters"]["trained"] == 0
    assert {record["data"]["digest"] for record in found.values()} == {student["data"]["digest"]}
    for record in found.values():
        assert record["protocol"]["queries"] > 0 and record["inference"]["seconds_per_1000"] > 0
        assert {"torch", "polars", "modicum", "python"} <= set(record["versions"])
        assert record["machine"]["device"] == "cpu"


def test_parameters_are_counted_as_stored_and_as_trained(recipe):
    found = records(recipe)
    teacher, student = (found[name]["parameters"] for name in ("teacher-0", "slmrec-0"))
    items = found["teacher-0"]["protocol"]["catalogue"]
    assert teacher["trained"] == teacher["stored"]
    for count in (teacher, student):
        assert count["stored"] - count["backbone"] == items * 8
    # While it learns, the student has a head from width 8 to dim 8 for its one inner block.
    assert student["trained"] - student["stored"] == 8 * 8 + 8
    assert student["backbone"] < teacher["backbone"]


def test_figures_of_other_settings_are_not_shown(recipe):
    path = recipe.path
    text = path.read_text()
    try:
        path.write_text(text.replace("epochs = 2", "epochs = 3"))
        with pytest.raises(DataError, match=r"run experiments/run\.py toy\.toml again"):
            tables.render(Recipe.read(path, runs=recipe.runs))
    finally:
        path.write_text(text)


def test_an_arm_whose_report_is_gone_stays_as_it_was_compared(recipe, tmp_path):
    copy = tmp_path / "toy.toml"
    copy.write_text(recipe.path.read_text())
    shutil.copytree(recipe.results.parent, tmp_path / "results")
    other = Recipe.read(copy, runs=tmp_path)
    before = json.loads((other.results / FILE).read_text())
    shutil.rmtree(other.results / "reports" / "slmrec-1")
    assert write_comparison(other) == ["slmrec-1"]
    after = json.loads((other.results / FILE).read_text())
    assert tables.render(other) == tables.render(recipe)
    assert after == before

    (other.results / "slmrec-1.json").unlink()  # the arm is another one now
    assert write_comparison(other) == []
    after = json.loads((other.results / FILE).read_text())
    assert {name: key for name, key in before["units"].items() if name != "slmrec-1"} == after[
        "units"
    ]
    levels = {
        (level["arm"], level["metric"]): level["mean"]
        for level in after["levels"]
        if level["stratum"] == "all"
    }
    alone = Report.load(other.results / "reports" / "slmrec-0").per_user["ndcg@10"].mean()
    assert levels["slmrec", "ndcg@10"] == pytest.approx(alone)
    assert all(test["mean_b"] == levels["slmrec", test["metric"]] for test in after["tests"])


def test_a_seed_that_comes_after_its_arms_reports_are_gone_is_told_and_waits(recipe, tmp_path):
    copy = tmp_path / "toy.toml"
    copy.write_text(recipe.path.read_text())
    shutil.copytree(recipe.results.parent, tmp_path / "results")
    other = Recipe.read(copy, runs=tmp_path)
    later = (other.results / "slmrec-1.json").rename(tmp_path / "later.json")
    assert write_comparison(other) == []
    first = json.loads((other.results / FILE).read_text())
    shutil.rmtree(other.results / "reports" / "slmrec-0")
    later.rename(other.results / "slmrec-1.json")
    assert write_comparison(other) == ["slmrec-0"]
    assert json.loads((other.results / FILE).read_text()) == first
    assert "| slmrec | 0, 1 |" not in tables.render(other)


def altered(recipe, name, change):
    """Change a record as another measurement would."""
    path = recipe.results / f"{name}.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def test_a_unit_that_was_measured_again_leaves_nothing_of_what_was_compared_before(
    recipe, tmp_path
):
    copy = tmp_path / "toy.toml"
    copy.write_text(recipe.path.read_text())
    shutil.copytree(recipe.results.parent, tmp_path / "results")
    other = Recipe.read(copy, runs=tmp_path)
    shutil.rmtree(other.results / "reports" / "slmrec-0")
    altered(other, "slmrec-1", lambda record: record.update(measured="later"))
    assert write_comparison(other) == ["slmrec-0"]
    after = json.loads((other.results / FILE).read_text())
    assert set(after["units"]) == {"popularity-0", "teacher-0"} and after["tests"] == []
    assert {level["arm"] for level in after["levels"]} == {"popularity", "teacher"}


def test_units_that_were_judged_by_other_queries_are_named(recipe, tmp_path):
    copy = tmp_path / "toy.toml"
    copy.write_text(recipe.path.read_text())
    shutil.copytree(recipe.results.parent, tmp_path / "results")
    other = Recipe.read(copy, runs=tmp_path)
    shutil.rmtree(other.results / "reports" / "teacher-0")
    altered(other, "teacher-0", lambda x: x["protocol"].update({"queries digest": "another"}))
    with pytest.raises(DataError, match="teacher-0 were judged by other queries than the rest"):
        write_comparison(other)


def test_the_published_page_is_what_the_records_say():
    published = tables.page(map(Recipe.read, sorted(HERE.glob("*.toml"))))
    assert tables.PAGE.read_text(encoding="utf-8") == published
