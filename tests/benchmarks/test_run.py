"""A long benchmark that was cut off goes on where it stopped."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "benchmarks"
CLEAN, CHANGED = {"commit": "1234", "data": "ab"}, {"commit": "1234-dirty", "data": "ab"}
ABOUT = {"arm": "modicum", "round": 0, "threads": 1}


@pytest.fixture
def kept(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    for name in ("run", "data", "arms", "suite"):  # names that other folders of scripts have too
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield import_module("run").Kept
    for name in ("run", "data", "arms", "suite"):
        sys.modules.pop(name, None)


def test_a_run_is_found_by_another_process_of_the_same_commit_and_data(kept, tmp_path):
    kept(tmp_path / "runs.json", CLEAN).add(ABOUT, {"ndcg": 0.5})
    assert kept(tmp_path / "runs.json", CLEAN).find(ABOUT) == {"ndcg": 0.5}
    assert kept(tmp_path / "runs.json", CLEAN).find(ABOUT | {"round": 1}) is None
    for other in (CLEAN | {"commit": "5678"}, CLEAN | {"data": "cd"}):
        assert kept(tmp_path / "runs.json", other).find(ABOUT) is None


def test_runs_of_a_changed_working_tree_are_not_kept(kept, tmp_path):
    kept(tmp_path / "runs.json", CHANGED).add(ABOUT, {"ndcg": 0.5})
    assert kept(tmp_path / "runs.json", CHANGED).find(ABOUT) is None


def test_runs_of_before_make_way_for_those_of_another_commit(kept, tmp_path):
    kept(tmp_path / "runs.json", CLEAN).add(ABOUT, {"ndcg": 0.5})
    now = CLEAN | {"commit": "5678"}
    kept(tmp_path / "runs.json", now).add(ABOUT, {"ndcg": 0.6})
    assert kept(tmp_path / "runs.json", now).find(ABOUT) == {"ndcg": 0.6}
    assert kept(tmp_path / "runs.json", CLEAN).find(ABOUT) is None
