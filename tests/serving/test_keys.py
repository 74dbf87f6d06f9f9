"""Keys: kept as hashes, asked of every request, taken back while the server runs."""

import stat

import pytest
from starlette.testclient import TestClient

from modicum.errors import SettingError
from modicum.serving import keys
from modicum.serving.app import create_app
from modicum.serving.keys import Keys
from modicum.serving.shell import Limits


@pytest.fixture
def file(tmp_path):
    return tmp_path / "keys.txt"


def bearer(key: str) -> dict:
    return {"authorization": f"Bearer {key}"}


def test_a_file_of_keys_holds_no_key_and_is_its_owners_alone(file):
    key = keys.add(file, "shop")
    assert key not in file.read_text() and len(key) > 40
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert keys.names(file) == ["shop"]
    assert Keys(file).holder(key) == "shop"
    for wrong in ("", key[:-1], key + "a", "ü", key.swapcase()):
        assert Keys(file).holder(wrong) is None


def test_a_key_taken_back_is_refused_and_a_broken_file_changes_nothing(file):
    first, second = keys.add(file, "shop"), keys.add(file, "app")
    held = Keys(file)
    keys.remove(file, "shop")
    held.refresh()
    assert held.holder(first) is None and held.holder(second) == "app"
    file.write_text("what is this")
    with pytest.raises(SettingError, match="line 1 is not NAME:HASH"):
        held.refresh()
    assert held.holder(second) == "app"


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\nb", "x" * 65])
def test_a_name_is_a_name(file, name):
    with pytest.raises(SettingError, match="no name for a key"):
        keys.add(file, name)


def test_names_are_unique_and_only_known_ones_can_be_removed(file):
    keys.add(file, "shop")
    with pytest.raises(SettingError, match="already"):
        keys.add(file, "shop")
    with pytest.raises(SettingError, match="no key named"):
        keys.remove(file, "other")
    with pytest.raises(SettingError, match="modicum keys add"):
        Keys(file.with_name("nowhere"))


def test_without_a_key_there_is_health_and_nothing_else(live, store, file):
    key = keys.add(file, "shop")
    app = create_app(live, keys=Keys(file))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
        for refused in (
            client.post("/recommend", json={"history": ["i1"]}),
            client.post("/recommend", json={"history": ["i1"]}, headers=bearer("guess")),
            client.post("/recommend", headers={"authorization": f"Basic {key}"}),
            client.delete("/users/ann/history"),
            client.get("/metrics"),
            client.get("/openapi.json"),
            client.get("/healthz/../metrics"),
            client.get("/nowhere"),
        ):
            assert refused.status_code == 401 and "key" in refused.json()["error"]
            assert refused.headers["www-authenticate"] == "Bearer"
        allowed = client.post("/recommend", json={"history": ["i1"]}, headers=bearer(key))
        assert allowed.status_code == 200
        assert client.get("/metrics", headers=bearer(key)).status_code == 200


def test_who_asks_too_often_waits_and_others_do_not(live, store, file):
    one, two = keys.add(file, "one"), keys.add(file, "two")
    app = create_app(live, Limits(rate=3), keys=Keys(file))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        codes = [client.get("/metrics", headers=bearer(one)) for _ in range(30)]
        assert [x.status_code for x in codes[:3]] == [200, 200, 200]
        refused = [x for x in codes if x.status_code == 429]
        assert len(refused) > 20 and int(refused[-1].headers["retry-after"]) >= 1
        assert "3 requests a second" in refused[-1].json()["error"]
        assert client.get("/metrics", headers=bearer(two)).status_code == 200
