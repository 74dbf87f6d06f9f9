"""``modicum serve`` in a process of its own, on a port of this machine."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest

import modicum as mo
from modicum.compression.onnx import export
from modicum.data.simulate import simulate_markov
from modicum.errors import SettingError
from modicum.serving.processes import _free, _Port
from modicum.serving.store import open_store

MODICUM = Path(sys.executable).with_name("modicum")
PATIENCE_S = 180.0
"""No test waits so long, however busy the machine, unless it has failed."""

REQUESTS, AT_ONCE = 200, 50


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    log = simulate_markov(30, 20, events_per_user=6, seed=0).log
    return mo.Popularity().fit(log, progress=False).save(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def exported(saved) -> Path:
    return export(mo.load(saved), saved / "export")


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
def serving(model: Path, store: str, *options: str):
    port = free_port()
    command = ["serve", str(model), "--port", str(port), "--store", store, *options]
    server = subprocess.Popen([MODICUM, *command])
    try:
        await_ready(server, port)
        yield server, port
    finally:
        server.kill()
        server.wait()


def await_ready(server: subprocess.Popen, port: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if ask(port, "GET", "/readyz")[0] == 200:
                return
        except OSError:
            time.sleep(0.1)


def ask(port: int, method: str, path: str, body: object = None) -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def measured(port: int) -> list[str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return lines


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


def send(port: int, number: int) -> None:
    """Send events until they are acknowledged."""
    deadline = time.monotonic() + PATIENCE_S
    while (answer := ask(port, "POST", "/events", burst(number)))[0] != 201:
        assert answer[0] == 503 and time.monotonic() < deadline
        time.sleep(0.02)
    assert answer[1]["sent"] == AT_ONCE


def test_no_acknowledged_event_is_lost_or_doubled_by_a_kill(exported, store):
    acknowledged = []

    def try_to_send(port: int, number: int) -> None:
        with suppress(OSError, http.client.HTTPException):
            send(port, number)
            acknowledged.append(number)

    with serving(exported, store) as (server, port), ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(try_to_send, port, number) for number in range(REQUESTS)]
        while len(acknowledged) < REQUESTS // 4 and not all(done.done() for done in sent):
            time.sleep(0.005)
        server.send_signal(signal.SIGKILL)
        for done in sent:
            done.result()
    assert REQUESTS // 4 <= len(acknowledged) < REQUESTS
    expected = {f"{number}-{at}" for number in acknowledged for at in range(AT_ONCE)}
    assert expected <= set(kept(store))

    with serving(exported, store) as (_, port):
        for number in range(REQUESTS):
            send(port, number)
    assert len(kept(store)) == len(set(kept(store))) == REQUESTS * AT_ONCE


def test_kills_of_the_stores_server_are_got_over_by_sending_again(saved, redis_server):
    with serving(saved, redis_server.url) as (_, port), ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(send, port, number) for number in range(REQUESTS)]
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


@pytest.fixture
def several(saved, store):
    """A server of two processes, both of which answer."""
    with serving(saved, store, "--workers", "2") as (server, port):
        until(lambda: listening(port) == 2)
        yield server, port, store


def processes_of(server: subprocess.Popen) -> list[int]:
    """Return the processes of a server that answer."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    lines = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
    return [child for child, line in lines.items() if b"spawn_main" in line]


def listening(port: int) -> int:
    """Return how many processes listen on a port of this machine."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_what_one_process_keeps_all_of_them_see_and_count(several):
    _, port, _ = several
    for number in range(16):  # each over a connection of its own, which the system deals out
        send(port, number)
        _, told = ask(port, "GET", f"/users/u{number}/history")
        assert {event["id"] for event in told["events"]} >= {f"{number}-{at}" for at in range(5)}
    until(lambda: "modicum_requests_under_way 1.0" in measured(port))  # all answered but this one
    lines = measured(port)
    assert f"modicum_events_total {16.0 * AT_ONCE}" in lines
    assert 'modicum_requests_total{method="POST",path="/events",status="201"} 16.0' in lines
    assert any(line.startswith("modicum_model_info{") for line in lines)


def test_a_process_that_is_killed_is_replaced_and_loses_nothing(several):
    server, port, store = several

    def send_at_last(number: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                return send(port, number)
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)
        raise AssertionError("never acknowledged")

    first = processes_of(server)
    assert len(first) == 2
    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(send_at_last, number) for number in range(REQUESTS)]
        while sum(done.done() for done in sent) < REQUESTS // 4:
            time.sleep(0.005)
        os.kill(first[0], signal.SIGKILL)
        for done in sent:
            done.result()
    assert len(kept(store)) == len(set(kept(store))) == REQUESTS * AT_ONCE
    until(lambda: first[0] not in processes_of(server) and len(processes_of(server)) == 2)


def test_a_process_that_dies_while_the_store_is_down_comes_back_with_it(saved, redis_server):
    with serving(saved, redis_server.url, "--workers", "2") as (server, port):
        until(lambda: listening(port) == 2)
        first = processes_of(server)
        redis_server.kill()
        os.kill(first[0], signal.SIGKILL)
        until(lambda: first[0] not in processes_of(server))
        time.sleep(5)  # its successor has tried to begin
        assert server.poll() is None
        assert ask(port, "POST", "/recommend", {"history": [1]})[0] == 200
        redis_server.start()
        until(lambda: len(processes_of(server)) == 2)
        for number in range(8):
            send(port, number)


def test_no_process_outlives_the_one_that_started_them(saved, tmp_path):
    with serving(saved, str(tmp_path / "history.sqlite"), "--workers", "2") as (server, port):
        children = processes_of(server)
        server.kill()
        server.wait()
    until(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
    with pytest.raises(ConnectionRefusedError):
        ask(port, "GET", "/healthz")


def test_what_cannot_be_served_is_said_and_no_process_is_tried_again(saved, tmp_path):
    command = [MODICUM, "serve", str(saved), "--workers", "2", "--port", str(free_port())]
    command += ["--store", str(tmp_path / "history.sqlite"), "--barred", str(tmp_path / "none.csv")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "no process could begin to serve" in done.stderr
    assert "none.csv cannot be read" in done.stderr and "Traceback" not in done.stderr


def test_a_port_is_taken_before_anybody_listens():
    with _Port(socket.AF_INET, ("127.0.0.1", 0)) as port:
        host, number = port.getsockname()
        with pytest.raises(SettingError, match="cannot be listened on"):
            _free(host, number)
        one, two = (ForkingPickler.loads(ForkingPickler.dumps(port)) for _ in range(2))
        with one, two:
            for own in (one, two):
                own.listen()
                assert own.getsockname() == (host, number)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_that_is_taken_is_shared_with_nobody(saved, tmp_path, workers):
    command = [MODICUM, "serve", str(saved), "--store", str(tmp_path / "history.sqlite")]
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command += ["--port", port, "--workers", workers]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and f"127.0.0.1:{port} cannot be listened on" in done.stderr


def test_only_this_machine_is_served(saved):
    command = [MODICUM, "serve", str(saved), "--host", "0.0.0.0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "--host 0.0.0.0 is reached from other machines" in done.stderr


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("port", "99999", "--port 99999 must be from 0 to 65535"),
        ("recall", "2", "--recall 2.0 must be above 0 and below 1"),
        ("threads", "0", "--threads 0 must be 1 or more"),
        ("kept", "0", "--kept 0 must be 1 or more"),
        ("workers", "0", "--workers 0 must be 1 or more"),
        ("budget-s", "0", "must be above 0"),
        ("runs", "nowhere", "is no folder"),
    ],
)
def test_settings_out_of_range_are_refused(saved, tmp_path, option, value, said):
    command = [MODICUM, "serve", str(saved), f"--{option}", value]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr
    assert not [*tmp_path.iterdir()]


def test_any_free_port_is_taken_and_told(exported, store):
    command = [MODICUM, "serve", str(exported), "--port", "0", "--store", store]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            told = server.stdout.readline()
            port = int(told.split("http://127.0.0.1:")[1].split(",")[0])
            assert port > 0
            await_ready(server, port)
            assert ask(port, "GET", "/healthz")[0] == 200
        finally:
            server.terminate()
