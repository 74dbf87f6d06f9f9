"""What a history store in Redis does when the server is down, slow, full, or keeps no promise."""

import os
import resource
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import valkey

from modicum.errors import MissingExtraError, SettingError, StoreError
from modicum.serving.redis_store import RedisStore
from modicum.serving.store import Event, open_store

PATIENCE_S = 60.0
BRIEF_S = 0.2
SECRET = "p4ss/w?rd"


def event(name: str, user: str = "ann", time: float = 0.0, item: str = "x") -> Event:
    return Event(name, user, item, time)


def names(store, user: str = "ann") -> list[str]:
    return [found.id for found in store.history(user, 1_000)]


@pytest.fixture
def direct(redis_server):
    with valkey.Valkey.from_url(redis_server.url) as client:
        yield client


def test_a_server_that_is_down_is_said_and_used_again_when_it_is_back(redis_server):
    with RedisStore(redis_server.url, timeout_s=PATIENCE_S) as store:
        store.append([event("a")])
        redis_server.kill()
        calls = [store.check, lambda: names(store), lambda: store.append([event("b")])]
        for call in [*calls, lambda: store.erase("ann"), lambda: list(store.events())]:
            with pytest.raises(StoreError, match=r"failed .*check the server"):
                call()
        redis_server.start()
        assert names(store) == ["a"] and store.append([event("b")]) == 1
        store.check()


def test_a_server_that_does_not_answer_is_not_waited_for(redis_server):
    with RedisStore(redis_server.url, timeout_s=BRIEF_S) as store:
        os.kill(redis_server.process.pid, signal.SIGSTOP)
        try:
            for call in (lambda: names(store), lambda: store.append([event("a")]), store.check):
                with pytest.raises(StoreError, match="Timeout"):
                    call()
        finally:
            os.kill(redis_server.process.pid, signal.SIGCONT)
    with RedisStore(redis_server.url, timeout_s=PATIENCE_S) as store:
        store.append([event("a")])
        assert names(store) == ["a"]


def test_kills_of_the_server_lose_and_double_nothing_that_was_acknowledged(redis_server):
    acknowledged = []
    with RedisStore(redis_server.url, timeout_s=PATIENCE_S) as store:

        def send(number: int) -> None:
            events = [event(f"{number}-{at}", user=f"u{number % 7}") for at in range(10)]
            while True:
                try:
                    store.append(events)
                except StoreError:
                    time.sleep(0.01)
                else:
                    acknowledged.append(number)
                    return

        with ThreadPoolExecutor(8) as pool:
            sent = [pool.submit(send, number) for number in range(300)]
            for enough in (75, 150):
                while len(acknowledged) < enough:
                    time.sleep(0.001)
                redis_server.kill()
                redis_server.start()
            for done in sent:
                done.result()
        kept = [found.id for found in store.events()]
    assert len(kept) == len(set(kept)) == 3_000


def test_a_full_disk_stops_the_server_and_loses_nothing_acknowledged(redis_server):
    pid = redis_server.process.pid
    acknowledged = []
    with RedisStore(redis_server.url, timeout_s=PATIENCE_S) as store:
        _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (200_000, most))
        with pytest.raises(StoreError, match="failed"):
            for number in range(100):
                store.append([event(str(number), time=number, item="x" * 10_000)])
                acknowledged.append(str(number))
        assert 0 < len(acknowledged) < 100
        redis_server.kill()
        redis_server.start()
        assert names(store)[: len(acknowledged)] == acknowledged
        assert store.append([event("more", time=1_000.0)]) == 1


def test_a_server_without_memory_keeps_all_or_none(redis_server, direct):
    with RedisStore(redis_server.url, kept=5, timeout_s=PATIENCE_S) as store:
        store.append([event("a")])
        direct.config_set("maxmemory", 1)
        for call in (store.check, lambda: store.append([event("b"), event("c", user="bob")])):
            with pytest.raises(StoreError, match="maxmemory"):
                call()
        assert names(store) == ["a"] and names(store, "bob") == []
        direct.config_set("maxmemory", 0)
        assert store.append([event("b"), event("c", user="bob")]) == 2


def test_a_key_of_somebody_else_spoils_no_part_of_an_append(redis_server, direct):
    direct.set("modicum:ids:bob", "not ours")
    with RedisStore(redis_server.url, timeout_s=PATIENCE_S) as store:
        with pytest.raises(StoreError, match="WRONGTYPE"):
            store.append([event("a"), event("b", user="bob")])
        assert names(store) == [] and list(store.events()) == []


def test_an_erased_user_goes_from_the_log_of_the_server_too(redis_server):
    def held() -> bool:
        files = [file for file in redis_server.folder.rglob("*") if file.is_file()]
        return any(b"private" in file.read_bytes() for file in files)

    with RedisStore(redis_server.url, timeout_s=PATIENCE_S) as store:
        store.append([event("a", user="private ann"), event("b", user="bob")])
        assert held()
        assert store.erase("private ann") == 1
        deadline = time.monotonic() + PATIENCE_S
        while held() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not held() and names(store, "bob") == ["b"]


def test_a_server_that_forgets_in_a_crash_is_refused(redis_server, direct):
    with RedisStore(redis_server.url, timeout_s=PATIENCE_S) as store:
        direct.config_set("appendonly", "no")
        with pytest.raises(StoreError, match=r"no append-only file.* --appendonly yes"):
            store.check()
        with pytest.raises(StoreError, match="no append-only file"):
            RedisStore(redis_server.url)


def test_a_server_that_drops_histories_when_full_is_refused(redis_server, direct):
    direct.config_set("maxmemory", 10**9)
    direct.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(StoreError, match=r"allkeys-lru.*noeviction"):
        RedisStore(redis_server.url)


def test_what_a_crash_may_lose_is_told(redis_server, direct):
    direct.config_set("appendfsync", "everysec")
    with pytest.warns(UserWarning, match="appendfsync everysec: if it crashes, the last seconds"):
        open_store(redis_server.url).close()
    direct.execute_command("ACL", "SETUSER", "default", "-config")
    with pytest.warns(UserWarning, match="does not tell its appendfsync"):
        open_store(redis_server.url).close()


def test_a_replica_is_no_store(redis_server, direct):
    with RedisStore(redis_server.url, timeout_s=PATIENCE_S) as store:
        direct.replicaof("127.0.0.1", 1)
        with pytest.raises(StoreError, match="read only"):
            store.check()


def test_secrets_are_in_no_message_and_no_representation(redis_server, direct):
    direct.config_set("requirepass", SECRET)
    coded = "p4ss%2Fw%3Frd"
    socket = redis_server.folder / "socket"
    with RedisStore(f"unix://:{coded}@{socket}", timeout_s=PATIENCE_S) as store:
        store.append([event("a")])
        redis_server.kill()
        with pytest.raises(StoreError) as down:
            store.check()
    wrong = [
        f"redis://ann:{SECRET}@127.0.0.1:1/0",
        f"redis://:{coded}@127.0.0.1:1/0",
        f"redis://:{coded}@127.0.0.1:{SECRET}",
        f"unix://{socket}?password={SECRET}",
        f"redis://127.0.0.1:1?{SECRET}=1",
        f"redis://127.0.0.1:1?db={SECRET}",
    ]
    told = [str(down.value), repr(store)]
    for url in wrong:
        with pytest.raises((StoreError, SettingError)) as error:
            RedisStore(url, timeout_s=BRIEF_S)
        assert error.value.__cause__ is None and error.value.__suppress_context__
        told.append(str(error.value))
    for text in told:
        assert not any(part in text for part in ("p4ss", "w?rd", "w%3Frd"))


def test_a_wrong_password_is_said(redis_server, direct):
    direct.config_set("requirepass", SECRET)
    with pytest.raises(StoreError, match=r"(?i)invalid username-password"):
        RedisStore(f"unix://:wrong@{redis_server.folder}/socket")


def test_what_the_server_refuses_is_not_quoted(redis_server, direct):
    with RedisStore(redis_server.url, timeout_s=PATIENCE_S) as store:
        direct.execute_command("ACL", "SETUSER", "default", "-zrange")
        with pytest.raises(StoreError, match="permission") as told:
            store.history("private ann", 1)
    assert "private" not in str(told.value)


def test_without_the_client_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "valkey", None)
    with pytest.raises(MissingExtraError, match=r"modicum\[serve\]"):
        open_store("redis://127.0.0.1:1")
