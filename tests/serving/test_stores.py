"""What every history store promises, over each kind of store."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modicum.errors import SettingError, StoreError
from modicum.serving.store import Event, open_store

PATIENCE_S = 60.0
ODD = [
    *("..", ".", "a/../b", "/", "a%2F..%2Fb", "%00", " ", "\t"),
    *("nul\0within", "line\nfeed", "\r\n"),
    *("🦉 ünï ‮ codé", "\U0010ffff", '"; DROP TABLE events; --', "\\n", "x" * 256, "🦉" * 256),
    *("17", "[", "-", "+", "(", "*", "ann:bob", "{ann}"),
]
ADD_FROM_ELSEWHERE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from modicum.serving.store import Event, open_store

with open_store(sys.argv[1], timeout_s=60) as store, ThreadPoolExecutor(4) as pool:
    def add(number):
        return store.append([Event(f"{n}", f"u{n % 3}", n, 1.0 * n) for n in (number, number + 1)])
    print(sum(pool.map(add, range(200))))
"""


@pytest.fixture
def store(empty):
    with open_store(empty(), kept=5, timeout_s=PATIENCE_S) as opened:
        yield opened


def event(name: str, user: str = "ann", time: float = 0.0, **fields) -> Event:
    return Event(name, user, fields.pop("item", f"item of {name}"), time, **fields)


def names(store, user: str = "ann", latest: int = 100) -> list[str]:
    return [found.id for found in store.history(user, latest)]


def test_a_history_is_in_the_order_of_time_then_of_arrival(store):
    store.append([event("c", time=3.0), event("a", time=1.0), event("later", time=3.0)])
    store.append([event("b", time=2.0)])
    assert names(store) == ["a", "b", "c", "later"]
    assert names(store, latest=2) == ["c", "later"]


def test_an_event_comes_back_as_it_went_in(store):
    sent = [
        Event("1", "ann", 17, 1.5, "books", "buy"),
        Event("2", "ann", "17", 2.5),
        Event("3", "ann", "naïve ‮ \n ' \" ;--", 3.5),
    ]
    store.append(sent)
    assert store.history("ann", 10) == sent


def test_an_event_sent_again_is_the_same_one(store):
    assert store.append([event("a"), event("b")]) == 2
    assert store.append([event("b"), event("c")]) == 1
    assert store.append([event("c"), event("c")]) == 0
    assert sorted(names(store)) == ["a", "b", "c"]


def test_the_same_id_of_another_user_is_another_event(store):
    assert store.append([event("a"), event("a", user="bob")]) == 2


def test_only_the_latest_events_are_kept(store):
    for time in range(9):
        store.append([event(str(time), time=float(time))])
    assert names(store) == ["4", "5", "6", "7", "8"]
    store.append([event("old", time=0.0)])
    assert "old" not in names(store)


def test_nobody_has_no_history(store):
    assert store.history("nobody", 10) == [] and store.erase("nobody") == 0
    assert store.append([]) == 0


def test_an_erased_user_is_forgotten(store):
    store.append([event("a"), event("b"), event("a", user="bob")])
    assert store.erase("ann") == 2
    assert names(store) == [] and names(store, "bob") == ["a"]
    assert [found.user for found in store.events()] == ["bob"]
    assert store.append([event("a")]) == 1


def test_all_events_come_user_by_user_in_the_order_of_ids(store):
    sent = [event(str(n), user=user, time=n) for n, user in enumerate(ODD)]
    assert store.append(sent[::-1]) == len(sent)
    assert list(store.events()) == sorted(sent, key=lambda sent: sent.user.encode())


def test_more_events_than_are_read_at_once(empty):
    sent = [event(str(n), user=f"u{n:05}", time=n) for n in range(5_100)]
    with open_store(empty(), timeout_s=PATIENCE_S) as store:
        assert store.take_over(sent) == len(sent)
        assert list(store.events()) == sent


def test_one_store_takes_over_from_another(store, tmp_path):
    store.append([event("a", time=2.0), event("b", user="bob", time=1.0)])
    with open_store(tmp_path / "other.sqlite", timeout_s=PATIENCE_S) as other:
        assert other.take_over(store.events()) == 2
        assert other.take_over(store.events()) == 0
        assert list(other.events()) == list(store.events())
        store.erase("ann")
        assert store.take_over(other.events()) == 1


@pytest.mark.parametrize("odd", ODD)
def test_odd_ids_come_back_as_they_went_in(store, odd):
    sent = Event(odd, odd, odd, 1.5, odd, odd)
    assert store.append([event("other", user="other"), sent, sent]) == 2
    assert store.history(odd, 10) == [sent]
    assert names(store, "other") == ["other"]
    assert store.erase(odd) == 1
    assert [found.user for found in store.events()] == ["other"]


@pytest.mark.parametrize("time", [0.0, -62_135_596_800.0, 0.1, 1_700_000_000.123456, 1e300])
def test_times_are_kept_to_the_last_bit(store, time):
    store.append([event("a", time=time)])
    assert store.history("ann", 1)[0].time == time


def test_a_clock_that_goes_back_changes_the_order_and_loses_nothing(store):
    for name, time in [("a", 100.0), ("b", 90.0), ("c", 90.0), ("d", 101.0)]:
        assert store.append([event(name, time=time)]) == 1
    assert names(store) == ["b", "c", "a", "d"]


def test_many_threads_append_and_read_at_once(store):
    def work(number: int) -> int:
        count = store.append([event(f"{number}", user=f"u{number % 7}", time=float(number))])
        assert store.history(f"u{number % 7}", 1)
        return count

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(200))) == 200


def test_processes_append_at_once_and_none_is_lost_or_doubled(empty):
    target = empty()
    with open_store(target, timeout_s=PATIENCE_S) as store:
        command = [sys.executable, "-c", ADD_FROM_ELSEWHERE, target]
        both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        told = [int(one.communicate()[0]) for one in both]
        kept = [found.id for found in store.events()]
    assert len(kept) == len(set(kept)) == sum(told) == 201


EVENTS = st.lists(
    st.builds(
        Event,
        id=st.sampled_from("abcdef"),
        user=st.sampled_from(["ann", "bob"]),
        item=st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
        time=st.sampled_from([-1.0, 0.0, 1.0]) | st.floats(-1e9, 4e9),
    ),
    max_size=5,
)
CALLS = st.lists(
    st.tuples(st.just("append"), EVENTS)
    | st.tuples(st.just("erase"), st.sampled_from(["ann", "bob", "nobody"])),
    max_size=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(CALLS)
def test_any_calls_do_what_they_do_to_a_list(empty, calls):
    model: dict[str, list[Event]] = {"ann": [], "bob": [], "nobody": []}
    with open_store(empty(), kept=3, timeout_s=PATIENCE_S) as store:
        for call, given_ in calls:
            if call == "erase":
                assert store.erase(given_) == len(model[given_])
                model[given_] = []
                continue
            new = 0
            for sent in given_:
                if all(sent.id != known.id for known in model[sent.user]):
                    model[sent.user].append(sent)
                    new += 1
            model = {
                user: sorted(events, key=lambda event: event.time)[-3:]
                for user, events in model.items()
            }
            assert store.append(given_) == new
            for user, expected in model.items():
                assert store.history(user, 100) == expected
                assert store.history(user, 2) == expected[-2:]
                assert store.history(user, 0) == []
        assert list(store.events()) == [*model["ann"], *model["bob"]]


def test_what_was_acknowledged_is_there_after_opening_again(empty):
    target = empty()
    with open_store(target, timeout_s=PATIENCE_S) as store:
        store.append([event("a")])
    with open_store(target, timeout_s=PATIENCE_S) as again:
        assert names(again) == ["a"]


def test_a_closed_store_says_so(empty):
    store = open_store(empty())
    store.close()
    store.close()
    calls: list = [lambda: store.append([event("a")]), lambda: store.history("ann", 1)]
    for call in [*calls, lambda: store.erase("ann"), lambda: next(store.events()), store.check]:
        with pytest.raises(StoreError, match="closed"):
            call()


def test_one_bad_append_does_not_take_others_with_it(store):
    bad = replace(event("bad"), time=None)  # type: ignore[arg-type]
    with ThreadPoolExecutor(4) as pool:
        good = [pool.submit(store.append, [event(str(n), user=str(n))]) for n in range(20)]
        failed = pool.submit(store.append, [bad, event("with bad", user="with bad")])
        assert sum(done.result() for done in good) == 20
        with pytest.raises(StoreError, match="'bad' cannot be kept"):
            failed.result()
    assert names(store, "with bad") == []
    store.check()


@pytest.mark.parametrize(
    "wrong",
    [
        {"time": float("nan")},
        {"item": object()},
        {"item": 1.5},
        {"item": True},
        {"user": "\ud800"},
        {"id": None},
    ],
)
def test_what_cannot_be_kept_is_named_and_the_store_goes_on(store, wrong):
    with pytest.raises(StoreError, match="cannot be kept"):
        store.append([replace(event("a"), **wrong)])
    assert store.append([event("b")]) == 1


def test_an_id_that_is_no_text_has_no_history(store):
    with pytest.raises(StoreError, match="surrogates not allowed"):
        store.history("\ud800", 1)
    store.check()


def test_a_store_that_would_keep_nothing_is_refused(empty):
    with pytest.raises(SettingError, match="kept=0"):
        open_store(empty(), kept=0)


def test_a_target_that_names_no_store_is_refused_without_its_secrets():
    with pytest.raises(SettingError, match="no history store is kept at postgres://") as told:
        open_store("postgres://ann:hush@db/histories")
    assert "hush" not in str(told.value)
