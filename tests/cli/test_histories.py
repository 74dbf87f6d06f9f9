"""Histories from a store into a file and back, over each kind of store."""

import polars as pl
import pytest

from modicum.cli.app import main
from modicum.cli.histories import PATIENCE_S
from modicum.serving import transfer
from modicum.serving.store import Event, open_store

TEXTS = ["a", "..", 'a"b,c', "line\nfeed\r\n", "nul\0", "", "🦉", " 17 ", "007", "true", "null"]
SUFFIXES = ["parquet", "csv", "jsonl"]
KINDS = {
    "text": [Event(f"e{n}", "ann", text, n / 3, text, text) for n, text in enumerate(TEXTS)],
    "numbers": [Event(str(n), f"0{n % 3}", n - 5, 1e9 + n / 7) for n in range(20)],
    "both": [Event("1", "ann", 17, 0.5), Event("2", "ann", "17", 1.5), Event("3", "b", 2**70, 0.0)],
}


@pytest.fixture(params=["sqlite", "redis"])
def store(request, tmp_path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "history.sqlite")
    return request.getfixturevalue("redis_server").url


def held(store: str) -> list[Event]:
    with open_store(store, timeout_s=PATIENCE_S) as opened:
        return list(opened.events())


def fill(store: str, events: list[Event]) -> list[Event]:
    with open_store(store, timeout_s=PATIENCE_S) as opened:
        opened.append(events)
        return list(opened.events())


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_exported_is_imported_as_it_was(tmp_path, kind, suffix, monkeypatch, capsys):
    monkeypatch.setattr(transfer, "PIECE", 4)
    store, copy = str(tmp_path / "a.sqlite"), str(tmp_path / "b.sqlite")
    events, out = fill(store, KINDS[kind]), tmp_path / f"out [1].{suffix}"
    assert main(["histories", "export", store, str(out)]) == 0
    assert f"wrote {len(events)} events" in capsys.readouterr().out
    assert out.stat().st_mode & 0o077 == 0
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == set()
    for new in (len(events), 0):
        assert main(["histories", "import", copy, str(out)]) == 0
        assert f"{new} events of" in capsys.readouterr().out
    assert held(copy) == events


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_an_empty_store_is_exported_and_imported(tmp_path, suffix):
    store, out = str(tmp_path / "history.sqlite"), str(tmp_path / f"out.{suffix}")
    assert fill(store, []) == []
    assert main(["histories", "export", store, out]) == 0
    assert main(["histories", "import", store, out]) == 0
    assert held(store) == []


def test_a_store_goes_through_a_file_into_a_store_of_another_kind(store, tmp_path):
    events, out = fill(store, KINDS["both"]), str(tmp_path / "out.parquet")
    copy = str(tmp_path / "copy.sqlite")
    assert main(["histories", "export", store, out]) == 0
    assert main(["histories", "import", copy, out]) == 0
    assert held(copy) == events
    with open_store(store, timeout_s=PATIENCE_S) as opened:
        assert opened.erase("ann") == 2
    assert main(["histories", "import", store, out]) == 0
    assert held(store) == events


def test_items_that_are_numbers_are_exported_as_numbers(tmp_path):
    store, out = str(tmp_path / "history.sqlite"), tmp_path / "out.parquet"
    fill(store, KINDS["numbers"])
    assert main(["histories", "export", store, str(out)]) == 0
    assert pl.read_parquet_schema(out)["item"] == pl.Int64


def test_an_exported_file_is_an_event_log_too(tmp_path, capsys):
    store, out = str(tmp_path / "history.sqlite"), str(tmp_path / "out.csv")
    fill(store, [Event(str(n), f"u{n % 5}", n % 7, 1.7e9 + n) for n in range(100)])
    assert main(["histories", "export", store, out]) == 0
    roles = ["--user", "user", "--item", "item", "--time", "time"]
    assert main(["audit", out, *roles]) in (0, 1)
    assert "100 events" in capsys.readouterr().out


@pytest.fixture
def log(tmp_path):
    """An event log in which a user did the same thing twice in a second."""
    frame = pl.DataFrame(
        {
            "uid": [7, 7, 8, 7, 8],
            "sku": ["b", "a", "a", "a", "c"],
            "ts": [1_700_000_060, 1_700_000_000, 1_700_000_000, 1_700_000_000, 1_700_000_001],
            "shop": ["x", "x", "y", "x", "y"],
        }
    )
    path = tmp_path / "log.csv"
    frame.write_csv(path)
    return path


ROLES = ["--user", "uid", "--item", "sku", "--time", "ts", "--domain", "shop"]


@pytest.mark.parametrize("at_once", [1, 1_000])
def test_an_event_log_is_imported_once(store, log, at_once, monkeypatch, capsys):
    monkeypatch.setattr(transfer, "LOG_PIECE", at_once)
    for new in (5, 0):
        assert main(["histories", "import", store, str(log), *ROLES]) == 0
        assert f"{new} events of" in capsys.readouterr().out
    with open_store(store, timeout_s=PATIENCE_S) as opened:
        history = opened.history("7", 10)
    assert [(found.item, found.time - 1.7e9, found.domain) for found in history] == [
        ("a", 0.0, "x"),
        ("a", 0.0, "x"),
        ("b", 60.0, "x"),
    ]


def test_a_longer_log_in_another_order_adds_what_is_new(tmp_path, log, capsys):
    store, longer = str(tmp_path / "history.sqlite"), tmp_path / "longer.csv"
    assert main(["histories", "import", store, str(log), *ROLES]) == 0
    frame = pl.read_csv(log)
    newer = frame.tail(1).with_columns(ts=pl.lit(1_700_000_099, pl.Int64))
    pl.concat([newer, frame.reverse()]).write_csv(longer)
    capsys.readouterr()
    assert main(["histories", "import", store, str(longer), *ROLES]) == 0
    assert "1 events of" in capsys.readouterr().out
    assert len(held(store)) == 6


def test_of_a_log_the_latest_events_are_kept(tmp_path, log, capsys):
    store = str(tmp_path / "history.sqlite")
    for new in (2, 0):
        assert main(["histories", "import", store, str(log), *ROLES, "--kept", "1"]) == 0
        assert f"{new} events of" in capsys.readouterr().out
    assert [(found.user, found.item) for found in held(store)] == [("7", "b"), ("8", "c")]


def test_a_user_is_erased(store, capsys):
    fill(store, KINDS["both"])
    for erased in (2, 0):
        assert main(["histories", "erase", store, "ann"]) == 0
        assert f"erased {erased} events" in capsys.readouterr().out
    assert [found.user for found in held(store)] == ["b"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["export", "nowhere.sqlite", "out.csv"], "no history store at nowhere.sqlite"),
        (["erase", "nowhere.sqlite", "ann"], "no history store at nowhere.sqlite"),
        (["import", "new.sqlite", "nowhere.csv"], "nowhere.csv"),
        (["export", "redis://:hush@127.0.0.1:1", "out.csv"], "redis://127.0.0.1:1 failed"),
        (["export", "mysql://:hush@db", "out.csv"], "no history store is kept at mysql://"),
    ],
)
def test_what_cannot_be_done_is_said(words, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["histories", *words]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert says in told and "hush" not in told
    assert list(tmp_path.iterdir()) == []


def test_a_log_without_times_and_a_damaged_export_are_refused(tmp_path, log, capsys):
    store, out = str(tmp_path / "history.sqlite"), tmp_path / "out.csv"
    roles = ["--user", "uid", "--item", "sku", "--time", "none"]
    assert main(["histories", "import", store, str(log), *roles]) == 2
    fill(store, KINDS["numbers"])
    assert main(["histories", "export", store, str(out)]) == 0
    out.write_text(out.read_text().replace("true", "", 1))
    assert main(["histories", "import", store, str(out)]) == 2
    assert main(["histories", "export", store, str(tmp_path / "out.xls")]) == 2
    told = capsys.readouterr().err
    assert "has no times" in told and "no item_is_number" in told and ".parquet, .csv" in told
