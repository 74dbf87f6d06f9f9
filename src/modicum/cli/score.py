"""``modicum score``: what to recommend to every user of an event log of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from modicum.cli.events import Roles, source_of
from modicum.cli.runs import FILE, Run, fingerprint, load_recommender


def score(
    model: Path,
    events: str,
    *,
    out: Path,
    k: Annotated[int, Parameter(name=("--k", "-k"))] = 10,
    roles: Roles | None = None,
    target_domain: str | None = None,
    exclude_seen: bool = True,
    engine: Literal["stream", "ray"] = "stream",
    workers: int | None = None,
    cluster: str | None = None,
    partitions: int | None = None,
    on_error: Literal["raise", "skip"] = "raise",
) -> None:
    """Recommend to every user of an event log, into a folder of parquet files.

    The events may be more than fit into memory. The same command goes on with what was stopped.

    Args:
        model: a folder that ``modicum fit`` or ``model.save`` has written.
        events: csv, tsv, jsonl or parquet, also .gz or .zst; or one for each domain, as in
            beauty=b.csv,sports=s.csv.
        out: folder of the scores: part-00000.parquet and so on, with user, item, domain where
            items have one, score, rank, and source: model, or popularity where the model knows
            none of the user's events.
        k: items for each user.
        target_domain: recommend items of this domain only.
        exclude_seen: leave out items of the history.
        engine: stream is this process; ray the processes of Ray, which write the same files.
        workers: parts at the same time; by default one for each processor.
        cluster: address of a Ray cluster whose machines see the model and the folder under the
            same paths.
        partitions: number of files; by default one for each million events.
        on_error: stop at a broken row, or leave it out.
    """
    import modicum as mo
    from modicum.errors import SettingError
    from modicum.scale.jobs import Ask
    from modicum.scale.score import score as run

    if cluster is not None and engine != "ray":
        raise SettingError(f"cluster={cluster!r} needs engine='ray'")
    loaded = load_recommender(model)
    if target_domain is None and (names := loaded.vocabulary.domain_names) and not loaded.reads_all:
        raise SettingError(
            f"{loaded.name} reads a history for the domain that is asked for; name it with "
            f"--target-domain, one of {', '.join(names)}"
        )
    named: dict[str, Any] = Run.read(model).columns if (model / FILE).exists() else {}
    named |= (roles or Roles()).named()
    log = mo.read_events(source_of(events), **named, on_error=on_error)
    try:
        done = run(
            model,
            log,
            out,
            Ask(k, target_domain, exclude_seen),
            digest=fingerprint(events),
            partitions=partitions,
            engine=engine,
            workers=workers,
            cluster=cluster,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"the parts that are done are kept in {out}; the same command goes on from there"
        ) from None
    print(f"{done.rows:,} scores of {done.users:,} users in {out}")
    if done.unknown:
        print(
            f"{done.unknown:,} of them have no event of an item that the model knows: they got "
            "what is popular, and their source says so"
        )
