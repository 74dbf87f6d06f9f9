"""``modicum serve`` in a process of its own, on a port of this machine."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import modicum as mo
from modicum.data.simulate import simulate_markov
from modicum.serving.store import open_store

MODICUM = Path(sys.executable).with_name("modicum")
PATIENCE_S = 60.0
REQUESTS, AT_ONCE = 200, 50


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    log = simulate_markov(30, 20, events_per_user=6, seed=0).log
    return mo.Popularity().fit(log, progress=False).save(tmp_path_factory.mktemp("model"))


@pytest.fixture(params=["sqlite", "redis"])
def store(request, tmp_path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "history.sqlite")
    return request.getfixturevalue("redis_server").url


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def serving(model: Path, store: str):
    port = free_port()
    command = ["serve", str(model), "--port", str(port), "--store", store]
    server = subprocess.Popen([MODICUM, *command])
    try:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and server.poll() is None:
            try:
                if ask(port, "GET", "/readyz")[0] == 200:
                    break
            except OSError:
                time.sleep(0.1)
        yield server, port
    finally:
        server.kill()
        server.wait()


def ask(port: int, method: str, path: str, body: object = None) -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def burst(number: int) -> dict:
    return {
        "events": [
            {"id": f"{number}-{at}", "user": f"u{number % 17}", "item": at, "time": 1.0 * number}
            for at in range(AT_ONCE)
        ]
    }


def kept(store: str) -> list[str]:
    with open_store(store, timeout_s=PATIENCE_S) as opened:
        return [event.id for event in opened.events()]


def test_no_acknowledged_event_is_lost_or_doubled_by_a_kill(saved, store):
    acknowledged = []

    def send(port: int, number: int) -> None:
        try:
            status, told = ask(port, "POST", "/events", burst(number))
        except (OSError, http.client.HTTPException):
            return
        if status == 201:
            assert told["sent"] == AT_ONCE
            acknowledged.append(number)

    with serving(saved, store) as (server, port), ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(send, port, number) for number in range(REQUESTS)]
        while len(acknowledged) < REQUESTS // 4 and not all(done.done() for done in sent):
            time.sleep(0.005)
        server.send_signal(signal.SIGKILL)
        for done in sent:
            done.result()
    assert REQUESTS // 4 <= len(acknowledged) < REQUESTS
    expected = {f"{number}-{at}" for number in acknowledged for at in range(AT_ONCE)}
    assert expected <= set(kept(store))

    with serving(saved / "onnx", store) as (_, port):
        for number in range(REQUESTS):
            send_until_kept(port, number)
    assert len(kept(store)) == len(set(kept(store))) == REQUESTS * AT_ONCE


def send_until_kept(port: int, number: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while (status := ask(port, "POST", "/events", burst(number))[0]) != 201:
        assert status == 503 and time.monotonic() < deadline
        time.sleep(0.02)


def test_kills_of_the_stores_server_are_got_over_by_sending_again(saved, redis_server):
    with serving(saved, redis_server.url) as (_, port), ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(send_until_kept, port, number) for number in range(REQUESTS)]
        for share in (0.25, 0.5):
            while sum(done.done() for done in sent) < share * REQUESTS:
                time.sleep(0.005)
            redis_server.kill()
            assert ask(port, "GET", "/readyz")[0] == 503
            assert ask(port, "POST", "/recommend", {"history": [1]})[0] == 200
            redis_server.start()
        for done in sent:
            done.result()
        assert ask(port, "GET", "/readyz")[0] == 200
    found = kept(redis_server.url)
    assert len(found) == len(set(found)) == REQUESTS * AT_ONCE


def test_only_this_machine_is_served(saved):
    command = [MODICUM, "serve", str(saved), "--host", "0.0.0.0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "--host 0.0.0.0 is reached from other machines" in done.stderr
