"""What a server tells of itself: counts by route and lines of log, and nobody's name."""

import json
import logging
import sys

import pytest
from starlette.testclient import TestClient

from modicum.serving.app import create_app
from modicum.serving.observing import JsonLines, log_to_stderr, logger

SECRET = "ann-of-green-gables"


@pytest.fixture
def client(live, store):
    with TestClient(create_app(live), base_url="http://127.0.0.1") as client:
        yield client


def value(text: str, line: str) -> float:
    return next((float(x.split()[-1]) for x in text.splitlines() if x.startswith(line)), 0.0)


def test_requests_answers_events_and_batches_are_counted(client):
    event = {"id": "1", "user": SECRET, "item": "i1"}
    for _ in range(2):
        client.post("/events", json={"events": [event]})
    client.post("/recommend", json={"user": SECRET})
    client.post("/recommend", json={"user": "nobody"})
    client.post("/recommend", json={})
    client.get(f"/users/{SECRET}/history")
    client.get(f"/nowhere/{SECRET}")
    text = client.get("/metrics").text
    asked = 'modicum_requests_total{method="POST",path="/recommend"'
    assert value(text, asked + ',status="200"}') == 2
    assert value(text, asked + ',status="422"}') == 1
    assert value(text, 'modicum_answers_total{reason="",source="model"}') == 1
    assert value(text, 'modicum_answers_total{reason="no known items",source="popularity"}') == 1
    assert value(text, "modicum_events_total") == 1
    assert value(text, "modicum_batch_requests_count") == 2
    assert value(text, "modicum_requests_under_way") == 1  # this one
    assert 'path="none",status="404"' in text and 'path="/users/{user:path}/history"' in text
    assert SECRET not in text and "nowhere" not in text


def test_methods_made_up_by_callers_make_no_series(client):
    counts = []
    for number in range(3):
        for path in (f"/{number}", "/recommend", f"/users/{number}/history"):
            client.request(f"X{number}", path)
        counts.append(len(client.get("/metrics").text.splitlines()))
    assert counts[1] == counts[2]


def test_a_line_of_log_is_json_and_names_nobody(client, caplog):
    caplog.set_level(logging.INFO, logger.name)
    client.post("/events", json={"events": [{"id": "1", "user": SECRET, "item": "i1"}]})
    client.get(f"/users/{SECRET}/history", headers={"authorization": f"Bearer {SECRET}"})
    lines = [JsonLines().format(record) for record in caplog.records]
    told = [json.loads(line) for line in lines if '"request"' in line]
    assert [x["status"] for x in told] == [201, 200] and all(x["seconds"] > 0 for x in told)
    assert told[0]["path"] == "/events" and told[0]["level"] == "info"
    assert not any(SECRET in line for line in lines)


def test_an_error_is_one_line_with_its_trace():
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.makeLogRecord(
            {"msg": "it %s", "args": ("broke",), "exc_info": sys.exc_info()}
        )
    line = JsonLines().format(record)
    assert "\n" not in line and json.loads(line)["said"] == "it broke"
    assert "ValueError" in json.loads(line)["error"]


def test_requests_are_logged_only_if_asked_for(capsys):
    kept = [
        (log, log.handlers[:], log.level, log.propagate)
        for log in map(logging.getLogger, ("uvicorn", logger.name))
    ]
    try:
        for asked in (False, True):
            log_to_stderr(requests=asked)
            logger.info("request")
            assert ('"request"' in capsys.readouterr().err) is asked
    finally:
        for log, handlers, level, propagate in kept:
            log.handlers[:], log.propagate = handlers, propagate
            log.setLevel(level)
