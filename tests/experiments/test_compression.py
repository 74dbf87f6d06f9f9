"""The study of compression: all variants of all seeds are judged, and shown as recorded."""

import dataclasses
import json

import compression
import pytest
from recipes import Recipe
from records import filled

import modicum as mo


@pytest.fixture
def recipe(write_recipe, tmp_path):
    """A recipe whose student has been trained with two seeds."""
    found = Recipe.read(write_recipe(), runs=tmp_path / "runs")
    found = dataclasses.replace(found, evaluation={"k": 10})
    for unit in found.units():
        if unit.arm.name in ("teacher", "slmrec"):
            parts = found.load_split(unit.arm)
            unit.model().fit(parts.train, seed=unit.seed, progress=False).save(
                unit.folder / "model"
            )
    return found


def test_a_study_is_recorded_and_goes_on(recipe, monkeypatch):
    monkeypatch.setattr(compression, "CALLS", 2)
    record = compression.study(recipe, ("slmrec",))
    arm = record["arms"]["slmrec"]
    assert arm["seeds"] == [0, 1] and len(record["keys"]) == 2
    assert [level["report"] for level in arm["levels"]] == list(compression.VARIANTS)
    sizes = arm["sizes"]
    whole = sizes["whole"]["backbone"]
    assert sizes["pruned"]["backbone"] <= compression.KEEP * whole
    assert sizes["trained on"]["backbone"] == sizes["whole, int8"]["backbone"] == whole
    assert sizes["pruned, int8"]["backbone"] == sizes["pruned"]["backbone"]
    assert {test["b"] for test in arm["tests"]} == {"whole"} and len(arm["tests"]) == 4
    unit = next(unit for unit in recipe.units() if unit.arm.name == "slmrec")
    folder = compression.folder_of(unit)
    exported = mo.Report.load(folder / "whole" / "report").summary
    model = mo.load(unit.folder / "model")
    parts = recipe.load_split(unit.arm)
    own = mo.evaluate(model, parts.test, k=10, progress=False).summary
    assert exported["mean"].to_list() == pytest.approx(own["mean"].to_list())
    text = compression.section(json.loads(json.dumps(record)))
    assert "**slmrec**, 2 seeds" in text and "| pruned, int8 |" in text
    monkeypatch.setattr(compression, "make", lambda *_: pytest.fail("made twice"))
    assert compression.study(recipe, ("slmrec",))["arms"] == record["arms"]


def test_a_difference_is_told_relative_to_the_whole_model():
    test = {"difference": -0.002, "low": -0.004, "high": 0.001, "mean_b": 0.02}
    assert compression.relative(test) == "-10.0% [-20.0%, +5.0%]"


def test_the_guide_shows_the_record_and_nothing_else():
    guide = compression.GUIDE.read_text(encoding="utf-8")
    record = None
    if compression.RECORD.exists():
        record = json.loads(compression.RECORD.read_text(encoding="utf-8"))
        keys = {unit.name: unit.key for unit in Recipe.read(compression.RECIPE).units()}
        assert record["keys"].items() <= keys.items()
    assert filled(guide, "study", compression.section(record)) == guide
