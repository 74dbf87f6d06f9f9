"""``modicum prune``: a narrower copy of a run, trained on for a little."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from modicum.cli.runs import CHECKPOINT, MODEL, Run, load_recommender


def prune(
    run: Path,
    *,
    out: Path,
    keep: float = 0.7,
    epochs: int = 2,
    seed: int = 0,
    events: str | None = None,
) -> None:
    """Remove the least important heads and channels of a run's model, and train it on a little.

    Args:
        run: a folder that ``modicum fit`` has written.
        out: folder of the narrower run; one that was stopped there goes on.
        keep: share of the parameters to keep, the item table aside.
        epochs: of training on at most; 0 only prunes.
        seed: of the order of the batches and of dropout.
        events: where the events are now, if not where they were.
    """
    from modicum.compression import pruning

    model = load_recommender(run)
    former = Run.read(run)
    how = {"run": str(run), "keep": keep, "epochs": epochs}
    narrower = replace(former, settings=former.settings | {"pruned": how}, seed=seed)
    narrower.enter(out)
    if (out / MODEL).exists():
        print(f"{out} holds this very run, pruned; judge it with: modicum evaluate {out}")
        return
    parts = former.load_split(events)
    try:
        pruned = pruning.prune(
            model,
            parts.train,
            keep=keep,
            validation=parts.validation,
            epochs=epochs,
            seed=seed,
            folder=out / CHECKPOINT,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"what was learnt is kept in {out}; the same command goes on from there"
        ) from None
    pruned.save(out)
    shutil.rmtree(out / CHECKPOINT, ignore_errors=True)
    told = pruned.lineage["pruned"]
    print(f"kept {told['in each layer']} in each layer: {told['kept']:.1%} of the backbone")
    print(f"saved in {out}; judge it with: modicum evaluate {out}")
