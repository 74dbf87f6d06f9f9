"""Logs of several domains and behaviours: histories, splits and strata."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modicum.data.histories import Histories
from modicum.data.log import EventLog, join_logs
from modicum.data.simulate import simulate_domains
from modicum.data.split import LeakWarning, Split, split
from modicum.errors import DataError

BEHAVIOURS = ("view", "buy")


def log_of(events) -> EventLog:
    """Events of (user, domain, item, time) or (user, domain, item, time, behaviour)."""
    names = ["user", "domain", "item", "time", "behaviour"][: len(events[0])]
    frame = pl.DataFrame(events, schema=names, orient="row")
    return EventLog(frame.lazy().cast({"time": pl.Datetime("us")}), source="events")


def described(queries):
    """(user, items of the input, domain and item of the target) of each query."""
    histories = queries.histories
    vocabulary, rows = histories.vocabulary, histories.item_rows
    items = list(
        zip(
            vocabulary.domains_of(rows).to_list(),
            vocabulary.names(rows).to_list(),
            strict=True,
        )
    )
    return [
        (histories.user_ids[int(user)], items[start:target], items[target])
        for user, start, target in zip(queries.users, queries.starts, queries.targets, strict=True)
    ]


def test_items_are_numbered_by_domain_and_id():
    found = Histories.from_log(log_of([(1, "y", 7, 0), (1, "x", 7, 1), (1, "y", 7, 2)]))
    assert found.item_rows.tolist() == [1, 2, 1]
    assert found.vocabulary.ids.to_list() == [7, 7]
    assert found.vocabulary.domain_names == ("x", "y")
    assert found.domains.tolist() == [1, 0, 1]
    assert found.domains.dtype == np.uint8
    assert found.columns == {}
    assert found.where(domain="x").tolist() == [False, True, False]


def test_what_a_log_has_not():
    log = log_of([(1, "x", item, item) for item in range(20)])
    with pytest.raises(DataError, match="no domain column"):
        split(EventLog(log.scan.drop("domain"), "plain"), make_cold=0.5)
    plain = Histories.from_log(EventLog(pl.LazyFrame({"user": [1], "item": [1]}), "plain"))
    assert plain.domains is None
    with pytest.raises(DataError, match="no domain 'x': the log has no column for it"):
        plain.where(domain="x")
    with pytest.raises(DataError, match="no behaviour 'buy'"):
        plain.where(behaviour="buy")
    two = Histories.from_log(log_of([(1, "x", 1, 0, "view"), (1, "y", 1, 1, "buy")]))
    with pytest.raises(DataError, match="did you mean 'view'"):
        two.where(behaviour="views")
    with pytest.raises(DataError, match="domain 'z' is not known here"):
        two.where(domain="z")


# Ten training events, then one of each kind of user; the cuts are at 10 and 20.
TRAIN = [
    *((9, "y", item, item) for item in range(8)),
    (1, "x", 0, 8),
    (2, "y", 0, 9),
]
LATER = [
    *((9, "y", 0, 10 + second) for second in range(2)),
    (1, "y", 1, 11),  # validation target of user 1, cold: x before
    (1, "y", 2, 20),  # both: x and y before
    (2, "y", 1, 21),  # target domain only
    (3, "x", 3, 22),  # no target of y
    (3, "y", 3, 23),  # cold in y
    (4, "y", 9, 24),  # no input
    (9, "x", 1, 25),
]
SHARES = {"validation": 3 / 19, "test": 6 / 19}


def test_strata_by_hand():
    parts = split(log_of(TRAIN + LATER), target_domain="y", **SHARES)
    assert parts.train.num_events == 10
    assert [user for user, _, _ in described(parts.test)] == [1, 2, 3, 4]
    assert described(parts.test)[0] == (1, [("x", 0), ("y", 1)], ("y", 2))
    assert parts.test.domains.tolist() == [1, 1, 1, 1]
    found = {name: mask.tolist() for name, mask in parts.test.strata.items()}
    assert found == {
        "both domains": [True, False, False, False],
        "target domain only": [False, True, False, False],
        "cold in the target domain": [False, False, True, False],
        "no input": [False, False, False, True],
        "tail": [True, True, False, False],
        "warm item": [False] * 4,
        "tail item": [True, True, True, False],
        "unseen item": [False, False, False, True],
    }
    assert parts.validation.strata["cold in the target domain"].tolist() == [True, False, False]
    assert parts.protocol["target domain"] == "y"


def test_every_target_without_a_target_domain():
    queries = split(log_of(TRAIN + LATER), **SHARES).test
    assert [target[0] for _, _, target in described(queries)] == ["y", "y", "x", "y", "y", "x"]
    assert queries.domains.tolist() == [1, 1, 0, 1, 1, 0]
    assert queries.strata["no input"].tolist() == [False, False, True, False, True, False]
    assert queries.strata["cold in the target domain"].tolist() == [False] * 3 + [True, False, True]


def test_a_log_of_one_domain_has_the_plain_strata():
    parts = split(log_of([(1, "x", item, item) for item in range(20)]))
    assert "warm" in parts.test.strata and "both domains" not in parts.test.strata


def test_targets_of_one_behaviour():
    events = [(1, "x", second % 5, second, BEHAVIOURS[second % 2]) for second in range(40)]
    parts = split(log_of(events), target_behaviour="buy")
    assert parts.train.num_events == 32
    assert parts.train.names == {"behaviour": ("buy", "view")}
    for queries in (parts.validation, parts.test):
        assert len(queries) == 2
        behaviours = queries.histories.columns["behaviour"][queries.targets]
        assert (behaviours == queries.histories.names["behaviour"].index("buy")).all()
        assert (queries.targets - queries.starts == queries.targets).all()  # views stay inputs
    assert parts.protocol["target behaviour"] == "buy"
    rows = parts.test.histories.item_rows
    assert parts.test.seen_rows.tolist() == np.where(np.arange(40) % 2 == 1, rows, 0).tolist()
    assert split(log_of(events)).test.seen_rows.tolist() == rows.tolist()


def test_last_item_of_the_target_domain():
    events = [(1, "y", 1, 0), (1, "x", 2, 1), (1, "y", 3, 2), (1, "x", 4, 3), (1, "y", 5, 4)]
    events += [(1, "x", 6, 5), (2, "x", 2, 1), (2, "y", 1, 2), (2, "y", 3, 3)]
    with pytest.warns(LeakWarning):
        parts = split(log_of(events), by="last-item", target_domain="y")
    assert described(parts.validation) == [(1, [("y", 1), ("x", 2)], ("y", 3))]
    assert described(parts.test) == [(1, [("y", 1), ("x", 2), ("y", 3), ("x", 4)], ("y", 5))]
    assert parts.train.num_events == 2 + 3  # nothing of user 1 from the first target on


@pytest.fixture(scope="module")
def simulated() -> EventLog:
    return simulate_domains(300, 30, overlap=0.6, seed=1).log


def events_of(histories: Histories) -> set:
    users = histories.user_ids.gather(histories.event_users).to_list()
    domains = histories.vocabulary.domains_of(histories.item_rows).to_list()
    return set(zip(users, domains, histories.times.tolist(), strict=True))


def test_kept_links_are_nested_and_queries_stay(simulated):
    shares = (0.0, 0.25, 0.5, 0.75, 1.0)
    parts = [split(simulated, target_domain="d1", keep_overlap=share) for share in shares]
    trained = [events_of(part.train) for part in parts]
    linked = []
    for events in trained:
        of_domain = {name: {user for user, d, _ in events if d == name} for name in ("d0", "d1")}
        linked.append(of_domain["d0"] & of_domain["d1"])
    for smaller, larger in zip(range(4), range(1, 5), strict=True):
        assert trained[smaller] < trained[larger]
        assert linked[smaller] < linked[larger]
    assert [len(users) for users in linked] == [round(s * len(linked[-1])) for s in shares]
    target_side = [{event for event in events if event[1] == "d1"} for events in trained]
    assert all(side == target_side[-1] for side in target_side)
    for user in linked[-1] - linked[1]:  # all of the other side is gone
        assert not any(event[0] == user and event[1] == "d0" for event in trained[1])
    for part in parts[:-1]:
        for name in ("validation", "test"):
            queries, whole = getattr(part, name), getattr(parts[-1], name)
            assert described(queries) == described(whole)
            for stratum, mask in queries.strata.items():
                assert np.array_equal(mask, whole.strata[stratum])
    assert "25 % of the users" in parts[1].protocol["overlap"]
    assert "overlap" not in parts[-1].protocol
    other = split(simulated, target_domain="d1", keep_overlap=0.5, seed=5)
    assert events_of(other.train) != trained[2]


def test_users_made_cold_by_hand():
    """User 1 has a target of y and events of both before it; user 2 has none of x, user 9 no target."""
    parts = split(log_of(TRAIN + LATER), target_domain="y", make_cold=1.0, **SHARES)
    assert described(parts.test)[0] == (1, [("x", 0)], ("y", 2))
    assert len(described(parts.test)) == 4
    whole = split(log_of(TRAIN + LATER), target_domain="y", **SHARES)
    assert described(parts.test)[1:] == described(whole.test)[1:]
    assert [user for user, _, _ in described(whole.validation)] == [1, 9, 9]
    assert [user for user, _, _ in described(parts.validation)] == [9, 9]
    assert events_of(parts.train) == events_of(whole.train)  # user 1 came to y after training


@pytest.mark.parametrize("domain", ["d1", None])
@pytest.mark.parametrize("targets", ["all", "last"])
def test_who_is_made_cold_has_nothing_in_the_domain_of_the_first_target(simulated, domain, targets):
    shares = (0.0, 0.3, 0.6, 1.0)
    parts = [
        split(simulated, target_domain=domain, targets=targets, make_cold=share, seed=3)
        for share in shares
    ]
    whole, cold, untested = described(parts[0].test), [], []
    tested = {user for user, _, _ in whole}
    known = {  # in both domains, before their first test target
        user
        for user, items in {user: items for user, items, _ in reversed(whole)}.items()
        if {name for name, _ in items} == {"d0", "d1"}
    }
    for part in parts:
        queries, first = described(part.test), {}
        assert [(u, target) for u, _, target in queries] == [(u, target) for u, _, target in whole]
        for user, items, target in reversed(queries):
            first[user] = items, target[0]
        cold.append(
            {u for u, (items, name) in first.items() if name not in {each for each, _ in items}}
        )
        made = cold[-1] - cold[0]
        assert made <= known
        hidden = [e for e in events_of(parts[0].train) if e[0] in made and e[1] == first[e[0]][1]]
        lost = events_of(parts[0].train) - events_of(part.train)
        assert {e for e in lost if e[0] in tested} == set(hidden)
        anew = {}
        for user, items, target in reversed(described(part.validation)):
            anew[user] = target[0], {name for name, _ in items}
        for user, name, _ in lost - set(hidden):
            assert anew[user][0] == name and name not in anew[user][1]
        untested.append({user for user, _, _ in lost} - tested)
        assert not any(u in made and t[0] == first[u][1] for u, _, t in described(part.validation))
        assert part.test.strata["cold in the target domain"].sum() >= len(made)
        assert ("made cold" in part.protocol) == (part is not parts[0])
    assert cold[0] < cold[1] < cold[2] < cold[3]
    assert untested[0] <= untested[1] <= untested[2] <= untested[3] and untested[3]
    assert [len(each) - len(cold[0]) for each in cold] == [
        round(share * (len(cold[3]) - len(cold[0]))) for share in shares
    ]
    (finding,) = [f for f in parts[1].audit.findings if f.code == "made-cold"]
    assert "30 % of the test users" in finding.message and finding.severity == "note"
    assert finding.figures["cold_test_targets"] == int(
        parts[1].test.strata["cold in the target domain"].sum()
    )


def test_the_test_users_are_the_same_for_every_share_of_links(simulated):
    parts = [
        split(simulated, target_domain="d1", make_cold=0.5, keep_overlap=share)
        for share in (0.25, 1.0)
    ]
    assert described(parts[0].test) == described(parts[1].test)
    assert events_of(parts[0].train) < events_of(parts[1].train)


def test_targets_of_several_domains_have_strata_by_domain():
    found = split(log_of(TRAIN + LATER), **SHARES).test.strata
    assert found["target in x"].tolist() == [False, False, True, False, False, True]
    assert found["target in y, user cold"].tolist() == [False, False, False, True, False, False]
    assert found["target in x, user cold"].tolist() == [False] * 5 + [True]
    assert not any(
        "target in" in name
        for name in split(log_of(TRAIN + LATER), **SHARES, target_domain="y").test.strata
    )


@given(st.integers(0, 2**31), st.sampled_from([0.3, 1.0]), st.sampled_from([0.0, 0.5]))
def test_the_order_of_rows_does_not_matter(seed, share, cold):
    log = simulate_domains(40, 8, seed=2).log
    shuffled = EventLog(log.frame.sample(fraction=1, shuffle=True, seed=seed).lazy(), "shuffled")
    one, other = (
        split(each, target_domain="d0", keep_overlap=share, make_cold=cold)
        for each in (log, shuffled)
    )
    assert events_of(one.train) == events_of(other.train)
    assert described(one.test) == described(other.test)
    assert one.train.vocabulary.equals(other.train.vocabulary)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target_domain": "d3"}, "domain 'd3' is not known"),
        ({"target_behaviour": "buy"}, "no behaviour 'buy'"),
        ({"keep_overlap": 1.5, "target_domain": "d0"}, r"in \[0, 1\]"),
        ({"keep_overlap": 0.5}, "name it with target_domain"),
        ({"make_cold": -0.1}, r"make_cold=-0.1 is a share"),
        ({"make_cold": "1"}, r"make_cold='1' is a share"),
        ({"keep_overlap": None}, r"keep_overlap=None is a share"),
    ],
)
def test_targets_that_cannot_be(simulated, settings, message):
    with pytest.raises(DataError, match=message):
        split(simulated, **settings)


def test_parts_as_given():
    train = log_of([(1, "x", 1, 0), (1, "y", 1, 1), (2, "y", 2, 2)])
    validation = log_of([(3, "x", 1, 3), (3, "y", 2, 4)])
    test = log_of([(4, "y", 1, 5), (4, "x", 1, 6), (1, "x", 2, 7), (1, "y", 2, 8)])
    parts = Split.given(train, validation, test)
    assert parts.train.num_events == 3
    assert described(parts.validation) == [(3, [("x", 1)], ("y", 2))]
    assert described(parts.test) == [
        (1, [("x", 1), ("y", 1), ("x", 2)], ("y", 2)),
        (4, [("y", 1)], ("x", 1)),
    ]
    assert [
        user
        for user, _, _ in described(Split.given(train, validation, test, target_domain="y").test)
    ] == [1]
    with pytest.raises(DataError, match="only one of them has domain"):
        Split.given(train, validation, EventLog(test.scan.drop("domain"), "test"))
    with pytest.raises(DataError, match="the validation part"):
        Split.given(train, validation, test, target_domain="x")


def test_joined_logs_keep_order_and_meet_in_text():
    one = EventLog(pl.LazyFrame({"user": [1], "item": [5]}), "one", notes=("a note",))
    two = EventLog(pl.LazyFrame({"item": ["b"], "user": [1]}), "two")
    both = join_logs([one, two])
    assert both.frame.rows() == [(1, "5"), (1, "b")]
    assert both.notes == ("one: a note",) and both.source == "one, two"


def test_beauty_and_sports(shared_data):
    from modicum.data.reading.readers import read_events

    folder = shared_data / "crossdomain"
    sources = {name: folder / f"{name}_5core.csv.gz" for name in ("beauty", "sports")}
    found = Histories.from_log(read_events(sources, item="asin"))
    sides = [
        np.logical_or.reduceat(found.where(domain=name), found.offsets[:-1]) for name in sources
    ]
    assert (sides[0] & sides[1]).sum() == 1_625
    assert (sides[0] & ~sides[1]).sum() == 20_738
    assert (~sides[0] & sides[1]).sum() == 33_973
    assert np.bincount(found.vocabulary.domains).tolist() == [12_101, 18_357]


def test_food_and_kitchen_as_published(shared_data):
    folder = shared_data / "crossdomain" / "food_kitchen"
    items = pl.scan_csv(folder / "items.csv.gz").select("domain", item="item_id").collect()

    def read(*names: str) -> EventLog:
        tables = [
            pl.read_csv(
                folder / f"{name}.txt.gz",
                separator="\t",
                new_columns=["user", "item"],
                has_header=False,
            )
            .select(
                user=pl.lit(name) + pl.col("user").cast(pl.String),
                item=pl.col("item").str.split(",").cast(pl.List(pl.Int64)),
            )
            .explode("item")
            .join(items, on="item", how="left", maintain_order="left")
            for name in names
        ]
        return EventLog(pl.concat(tables).lazy(), ", ".join(names))

    parts = Split.given(read("train_A", "train_B", "train_overlap"), read("valid"), read("test"))
    assert parts.train.num_users == 5_472 + 38_191 + 7_501
    assert (len(parts.validation), len(parts.test)) == (960, 937)
    assert parts.test.histories.vocabulary.domain_names == ("food", "kitchen")
    sides = [
        Split.given(
            read("train_A", "train_B", "train_overlap"),
            read("valid"),
            read("test"),
            target_domain=name,
        )
        for name in ("food", "kitchen")
    ]
    assert sum(len(side.test) for side in sides) == 937
