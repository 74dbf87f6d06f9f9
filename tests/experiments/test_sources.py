"""Events of several files, items with enough events, and splits that others have published."""

import polars as pl
import pytest
import sources
from sources import load_split

from modicum.errors import DataError

ROLES = {"user": "user", "item": "item", "time": "time"}


@pytest.fixture
def two_shops(tmp_path, monkeypatch):
    """Two files below the folder of shared data; item 0 of each is rare."""
    monkeypatch.setattr(sources, "shared_data", lambda: tmp_path)
    for name, begin in (("x", 0), ("y", 1)):
        events = {"user": [at % 5 for at in range(60)], "item": [0, *[1, 2, 3] * 19, 1, 2]}
        times = range(begin, begin + 120, 2)
        pl.DataFrame(events | {"time": list(times)}).write_csv(tmp_path / f"{name}.csv")
    return {"file": {"x": "x.csv", "y": "y.csv"}, **ROLES}


def test_a_table_of_files_has_a_domain_for_each(two_shops):
    parts = load_split(two_shops, {"target_domain": "y"}, 1.0)
    assert parts.log.has("domain") and len(parts.log) == 120
    assert parts.test.domains.tolist() == [1] * len(parts.test)


def test_items_with_few_events_are_left_out(two_shops):
    kept = load_split(two_shops | {"min_item_events": 2}, {}, 1.0).log
    assert len(kept) == 118 and 0 not in kept.frame["item"]
    assert "items with 2 events or more" in kept.source


def test_a_share_of_the_users_is_taken_once(two_shops):
    kept = load_split(two_shops | {"user_share": 0.8}, {}, 0.5).log
    assert kept.frame["user"].n_unique() == 2 and "40% of the users" in kept.source
    with pytest.raises(DataError, match=r"a share of 0\.05 leaves none of the 5 users"):
        load_split(two_shops | {"user_share": 0.05}, {}, 1.0)


def test_the_published_parts_of_food_and_kitchen():
    if not (sources.shared_data() / "crossdomain" / "food_kitchen").exists():
        pytest.skip("the real data are not here")
    whole = load_split({"parts": "food_kitchen"}, {}, 1.0)
    assert whole.train.num_users == 5_472 + 38_191 + 7_501
    assert (len(whole.validation), len(whole.test)) == (960, 937)
    assert whole.protocol["targets"] == "last"
    queries = whole.test
    first = queries.histories.user_ids.to_list().index("test-1")
    at = int(queries.targets[queries.users == first][0])
    assert queries.histories.vocabulary.names(queries.histories.item_rows[at : at + 1])[0] == 712
    domains, names = queries.histories.domains, queries.histories.vocabulary.domain_names
    assert names == ("food", "kitchen") and names[domains[at]] == "food"
    cold = load_split({"parts": "food_kitchen", "min_item_events": 10}, {"make_cold": 0.5}, 1.0)
    assert len(cold.test) == 937 and cold.train.item_counts[1:].min() >= 10
    assert cold.test.strata["cold in the target domain"].sum() == round(0.5 * 937)
