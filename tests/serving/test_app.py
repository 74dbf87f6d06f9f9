"""The application over HTTP."""

import asyncio
import json
import time
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from modicum.serving.app import Clock, create_app
from modicum.serving.engine import Engine
from modicum.serving.shell import Limits

HERE = "http://127.0.0.1"


@pytest.fixture
def client(live, store):
    with TestClient(create_app(live, Limits(budget_s=60)), base_url=HERE) as client:
        yield client


def event(name: str, item: str, time: float | None = None, user: str = "ann") -> dict:
    return {"id": name, "user": user, "item": item, "time": time}


def recommended(answer) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [row["item"] for row in answer.json()["items"]]


def test_a_history_in_the_request_gets_what_the_model_recommends(client, fitted):
    answer = client.post("/recommend", json={"history": ["i1", "i2"], "k": 4})
    assert recommended(answer) == fitted.recommend([["i1", "i2"]], k=4)["item"].to_list()
    told = answer.json()
    assert told["source"] == "model" and told["reason"] is None and told["model"] == "sasrec"
    assert [row["rank"] for row in told["items"]] == [1, 2, 3, 4]


def test_the_next_answer_sees_the_event_just_posted(client, fitted):
    ask = {"user": "ann", "k": 5}
    new = client.post("/recommend", json=ask)
    assert new.json()["source"] == "popularity" and new.json()["reason"] == "no known items"
    for name, item, when in (("1", "i2", 20.0), ("2", "i1", 10.0)):
        sent = client.post("/events", json={"events": [event(name, item, when)]})
        assert (sent.status_code, sent.json()) == (201, {"sent": 1, "new": 1})
    top = fitted.recommend([["i1", "i2"]], k=5)["item"].to_list()
    assert recommended(client.post("/recommend", json=ask)) == top


def test_numbers_are_users_too_and_times_may_be_written(client):
    sent = [
        event("1", "i2", "2026-01-31T12:00:01+01:00", user=7),
        event("2", "i3", "2026-01-31T11:00:00", user="7"),
        event("3", "i4", 0.5, user=7),
    ]
    assert client.post("/events", json={"events": sent}).status_code == 201
    past = client.get("/users/7/history").json()["events"]
    assert [x["item"] for x in past] == ["i4", "i3", "i2"]
    assert [x["time"] for x in past] == [0.5, 1_769_857_200.0, 1_769_857_201.0]
    asked = client.post("/recommend", json={"user": 7})
    assert asked.json()["source"] == "model"
    for wrong in ("2026-13-01", "yesterday", "20260131T11:00:00-", 1e300):
        refused = client.post("/events", json={"events": [event("4", "i2", wrong)]})
        assert refused.status_code == 422 and "time" in refused.json()["error"]


def test_an_event_sent_again_changes_nothing(client):
    body = {"events": [event("1", "i2", 20.0), event("2", "i3", 30.0)]}
    assert client.post("/events", json=body).json() == {"sent": 2, "new": 2}
    assert client.post("/events", json=body).json() == {"sent": 2, "new": 0}
    past = client.get("/users/ann/history").json()["events"]
    assert [x["item"] for x in past] == ["i2", "i3"]


def test_an_erased_user_is_new_again(client):
    client.post("/events", json={"events": [event("1", "i2")]})
    assert client.delete("/users/ann/history").json() == {"user": "ann", "erased": 1}
    assert client.get("/users/ann/history").json() == {"user": "ann", "events": []}
    assert client.post("/recommend", json={"user": "ann"}).json()["source"] == "popularity"


def test_what_is_excluded_does_not_come(client):
    body = {"history": ["i1"], "k": 30, "exclude": ["i2"]}
    assert not {"i1", "i2"} & set(recommended(client.post("/recommend", json=body)))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "either user or history"),
        ({"user": "a", "history": []}, "either user or history"),
        ({"user": ""}, "at least 1"),
        ({"user": "a" * 300}, "at most 256"),
        ({"user": ".."}, "user id"),
        ({"user": "a/../b"}, "user id"),
        ({"user": "a\nb"}, "control"),
        ({"history": [["nested"]]}, "history"),
        ({"history": ["i1"] * 2000}, "at most 1000"),
        ({"user": "a", "k": 0}, "greater than or equal to 1"),
        ({"user": "a", "k": 10**9}, "less than or equal to 1000"),
        ({"user": "a", "surprise": 1}, "Extra inputs"),
        ({"history": [2**70]}, "history"),
        ({"history": ["i1"], "domain": "sports"}, "domain"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(client, body, words):
    answer = client.post("/recommend", json=body)
    assert answer.status_code == 422
    assert words in answer.json()["error"]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"null", b'{"k": NaN}'])
def test_what_is_no_json_is_refused(client, content):
    for path in ("/recommend", "/events"):
        assert client.post(path, content=content).status_code == 422


def test_over_budget_popularity_answers_and_says_so(live, store, monkeypatch):
    prompt = Engine.answer

    def slow(self, queries):
        time.sleep(0.2)
        return prompt(self, queries)

    monkeypatch.setattr(Engine, "answer", slow)
    with TestClient(create_app(live, Limits(budget_s=0.01)), base_url=HERE) as client:
        told = client.post("/recommend", json={"history": ["i1"]}).json()
    assert told["source"] == "popularity" and told["reason"] == "over budget"


def test_too_many_at_once_are_turned_away(live, store):
    with TestClient(create_app(live, Limits(waiting=0)), base_url=HERE) as client:
        answer = client.post("/recommend", json={"history": ["i1"]})
    assert answer.status_code == 503 and "ask again later" in answer.json()["error"]


def test_a_store_that_is_down_is_said_and_recommending_from_a_history_goes_on(client, store):
    assert client.get("/readyz").status_code == 200
    store.close()
    answer = client.post("/events", json={"events": [event("1", "i2")]})
    assert answer.status_code == 503 and "store does not answer" in answer.json()["error"]
    assert client.get("/readyz").status_code == 503
    assert client.post("/recommend", json={"history": ["i1"]}).status_code == 200
    assert client.get("/healthz").json()["status"] == "ok"


@pytest.mark.parametrize(
    "user", ["..a/etc/passwd", "a'; DROP TABLE events; --", "ünï/cödé?#", "...", "a/history"]
)
def test_ids_are_only_ids(client, user):
    place = f"/users/{quote(user, safe='')}/history"
    client.post("/events", json={"events": [event("1", "i2")]})
    assert client.post("/events", json={"events": [event("1", "i3", user=user)]}).is_success
    assert [x["item"] for x in client.get(place).json()["events"]] == ["i3"]
    assert client.delete(place).json() == {"user": user, "erased": 1}
    assert [x["item"] for x in client.get("/users/ann/history").json()["events"]] == ["i2"]


def test_large_bodies_are_not_read(live, store):
    large = b'{"history": [' + b" " * 5_000
    with TestClient(create_app(live, Limits(body_bytes=1_000)), base_url=HERE) as client:
        announced = client.post("/recommend", content=large)
        streamed = client.post("/recommend", content=iter([large[:600], large[600:]]))
        small = client.post("/recommend", json={"history": ["i1"]})
    assert announced.status_code == streamed.status_code == 413
    assert "1,000 bytes" in streamed.json()["error"]
    assert small.status_code == 200


def test_a_page_that_calls_itself_another_host_gets_nothing(client):
    answer = client.get("/users/ann/history", headers={"host": "evil.example"})
    assert answer.status_code == 400


def test_the_clock_never_goes_back(monkeypatch):
    clock, times = Clock(), iter([50.0, 40.0, 60.0])
    monkeypatch.setattr(time, "time", lambda: next(times))
    assert [clock.now() for _ in range(3)] == [50.0, 50.0, 60.0]


def test_the_description_names_every_path(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {
        "/recommend",
        "/domains",
        "/events",
        "/users/{user}/history",
        "/healthz",
        "/readyz",
        "/metrics",
    }


def test_a_slow_store_leaves_popularity(live, store, monkeypatch):
    monkeypatch.setattr(type(store), "items", lambda *_: time.sleep(0.5) or [])
    with TestClient(create_app(live, Limits(budget_s=0.05)), base_url=HERE) as client:
        told = client.post("/recommend", json={"user": "ann"}).json()
    assert (told["source"], told["reason"]) == ("popularity", "over budget")


def test_a_store_that_is_down_leaves_popularity(client, store):
    store.close()
    told = client.post("/recommend", json={"user": "ann", "k": 3}).json()
    assert (told["source"], told["reason"]) == ("popularity", "no history store")
    assert len(told["items"]) == 3


def test_reasons_are_given_to_who_asks(client, fitted):
    body = {"history": ["i1", "i2", "i3"], "k": 3, "explain": True}
    told = client.post("/recommend", json=body).json()["items"]
    expected = fitted.recommend([["i1", "i2", "i3"]], k=3, explain=True)["because"].to_list()
    for row, reasons in zip(told, expected, strict=True):
        assert [x["item"] for x in row["because"]] == [x["event"] for x in reasons]
        assert [x["share"] for x in row["because"]] == pytest.approx(
            [x["share"] for x in reasons], abs=1e-4
        )


async def through(app, messages) -> tuple[int, dict]:
    """Send one POST /recommend whose body comes as it may; return what is answered."""
    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/recommend",
        "raw_path": b"/recommend",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, messages, send)
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], json.loads(body)


def test_a_body_that_drips_is_not_waited_for(live, store):
    async def drip():
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b" ", "more_body": True}

    app = create_app(live, Limits(body_s=0.1))
    status, told = asyncio.run(through(app, drip))
    assert status == 408 and "0.1 s" in told["error"]


def test_more_at_once_than_agreed_are_turned_away(live, store):
    async def both():
        ready = asyncio.Event()
        body = {"type": "http.request", "body": b'{"history": ["i1"]}', "more_body": False}

        async def late():
            await ready.wait()
            return body

        async def now():
            return body

        first = asyncio.create_task(through(app, late))
        await asyncio.sleep(0)
        second = await through(app, now)
        ready.set()
        return await first, second

    app = create_app(live, Limits(under_way=1))
    (first, _), (second, told) = asyncio.run(both())
    assert (first, second) == (200, 503) and "ask again later" in told["error"]


@pytest.mark.parametrize("user", ["a/../b", "..", "../../etc/passwd", "a\nb", "a" * 300])
def test_what_no_user_can_be_called_is_refused_in_paths_too(client, user):
    place = f"/users/{quote(user, safe='')}/history"
    assert client.get(place).status_code in (404, 422)
    assert client.delete(place).status_code in (404, 422)
