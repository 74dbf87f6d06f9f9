"""The audit as a page: verdict and findings first, then pictures and figures."""

from __future__ import annotations

from typing import Any

import polars as pl

from modicum.data.audit.findings import Audit, shown
from modicum.page import Page

SUBJECTS = {
    "sizes": "How much there is to learn from",
    "split": "The split",
    "drift": "How the test differs from training",
    "order": "Order inside users",
    "times": "Times",
    "ties": "Ties",
    "floors": "What a model must beat",
    "rows": "Rows",
    "duplicates": "Duplicates and repeats",
    "domains": "Domains",
    "columns": "Other columns",
}


def draw(audit: Audit) -> Page:
    """Lay an audit out on a page."""
    page = Page(f"Audit of {audit.source}", audit.verdict)
    page.section("Findings")
    if audit.findings:
        page.table(
            pl.DataFrame(
                {
                    "severity": [f.severity for f in audit.findings],
                    "finding": [f.code for f in audit.findings],
                    "what it means": [f.message for f in audit.findings],
                }
            ),
            "Worst first",
        )
    else:
        page.text("Nothing to report.")
    if "floors" in audit.tables:
        _floors(page, audit.tables["floors"])
    if "lengths" in audit.tables:
        _pictures(page, audit.tables)
    page.section("All figures")
    for subject, measured in audit.figures.items():
        if measured:
            page.table(
                pl.DataFrame(
                    {
                        "measured": [name.replace("_", " ") for name in measured],
                        "value": [shown(value) for value in measured.values()],
                    }
                ),
                SUBJECTS.get(subject, subject),
            )
    return page


def _floors(page: Page, floors: pl.DataFrame) -> None:
    page.section("What a model must beat")
    page.text(
        "Rankings that need no training, on test queries, over the full catalogue. A model that "
        "does not clear the highest of them has learnt nothing worth serving."
    )
    labels = [f"{name}\nseen {seen}" for name, seen in floors.select("floor", "seen_items").rows()]
    mean, low = floors["NDCG@10"].to_numpy(), floors["NDCG@10_low"].to_numpy()

    def bars(axes: Any) -> None:
        axes.barh(labels[::-1], mean[::-1], xerr=(mean - low)[::-1], ecolor="#8a8f98")
        axes.set_xlabel("NDCG@10")
        axes.set_xlim(left=0)
        axes.grid(visible=False, axis="y")

    best = floors.row(int(mean.argmax()), named=True)
    page.figure(
        bars,
        f"NDCG@10 of training-free floors, with 95 % intervals over {best['users']:,} users",
        f"Bars of NDCG@10; the highest is {best['floor']} with {best['NDCG@10']:.4f}",
    )
    page.table(floors.rename(lambda name: name.replace("_", " ")), "Floors on the test queries")


def _pictures(page: Page, tables: dict[str, pl.DataFrame]) -> None:
    page.section("The log in pictures")
    if "events" in tables:
        events = tables["events"]
        begin, number = events["from"].to_numpy(), events["events"].to_numpy()

        def over_time(axes: Any) -> None:
            axes.fill_between(begin, number, step="post", alpha=0.85, linewidth=0)
            axes.set_ylabel("events")
            axes.set_ylim(bottom=0)

        page.figure(
            over_time,
            "Events over time",
            f"Events in {len(events)} equal spans of time; the fullest holds {number.max():,}",
            size=(7.0, 2.6),
        )
    if "newcomers" in tables:
        new = tables["newcomers"]
        when, rate = new["from"].to_numpy(), new["new_items"].to_numpy()

        def fresh(axes: Any) -> None:
            axes.plot(when, rate, drawstyle="steps-post")
            axes.set_ylabel("share of events on new items")
            axes.set_ylim(bottom=0)

        page.figure(
            fresh,
            "Events on an item never met before in the log, in equal parts of the events",
            f"The share of events on new items goes from {rate[0]:.2f} to {rate[-1]:.2f}",
            size=(7.0, 2.6),
        )
    lengths, popularity = tables["lengths"], tables["popularity"]
    edges = lengths["from"].to_numpy()
    width = lengths["below"].to_numpy() - edges

    def history(axes: Any) -> None:
        axes.bar(edges, lengths["users"].to_numpy(), width=width, align="edge")
        axes.set_xscale("log")
        axes.set_xlabel("events of a user")
        axes.set_ylabel("users")

    page.figure(
        history,
        "Length of histories",
        "Users by number of events, on a logarithmic axis",
        size=(7.0, 2.8),
    )

    def curve(axes: Any) -> None:
        axes.loglog(popularity["rank"].to_numpy(), popularity["events"].to_numpy(), marker=".")
        axes.set_xlabel("rank of the item")
        axes.set_ylabel("events of the item")

    page.figure(
        curve,
        "Popularity of items",
        f"Events by rank of the item, both logarithmic; the first has {popularity['events'][0]:,}",
        size=(7.0, 2.8),
    )
