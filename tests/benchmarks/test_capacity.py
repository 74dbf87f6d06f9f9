"""The capacity plan in the documentation is worked out from what was measured."""

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "capacity.py"


@pytest.fixture(scope="module")
def script():
    spec = spec_from_file_location("capacity", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_holds_the_plan_of_the_record(script):
    text = script.PAGE.read_text(encoding="utf-8")
    assert script.BEGIN in text and script.END in text
    assert script.page(text, script.record()) == text


def test_the_plan_is_core_seconds_over_the_hours_there_are(script):
    figures = {
        "split_events_per_s": 1_000_000.0,  # 1,000 core-seconds for a billion events
        "scored_users_per_s": 500.0,  # 100,000 for 50 million users
        "shard_bytes_per_event": 9.0,
        "score_bytes_per_row": 6.0,
    }
    measured = {
        "machine": {"processor": "some processor"},
        "commit": "abc",
        "arms": {"modicum 10,000 items": ["scoring.py", json.dumps({"k": 10})]},
        "medians": {"modicum 10,000 items": figures},
    }
    row = script.plan(measured).splitlines()[-1]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    # 101,000 s are 28 core-hours; 4 hours at 70 % are 10,080 s of a core, so 11 cores.
    assert cells == ["10,000 items", "1,000,000", "500", "28", "11", "9", "3"]
