"""The HTTP application of models that predict for rows: conversions of a funnel, ratings of pairs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol

import polars as pl
from anyio import to_thread
from fastapi import FastAPI
from pydantic import Field, FiniteFloat, StringConstraints

from modicum.errors import BundleError, DataError, ResourceError
from modicum.serving.keys import Keys
from modicum.serving.messages import Message, Number
from modicum.serving.observing import Metrics
from modicum.serving.shell import Limits, shell
from modicum.serving.source import require_torch, stamp

MOST_ROWS, MOST_COLUMNS, LONGEST_TEXT = 1_000, 512, 1_024

Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Cell = (
    Annotated[str, StringConstraints(max_length=LONGEST_TEXT)] | bool | Number | FiniteFloat | None
)
Row = Annotated[dict[Name, Cell], Field(min_length=1, max_length=MOST_COLUMNS)]


class Rows(Message):
    """Rows of a table, each with the columns that the model was fitted with; null is missing."""

    rows: Annotated[list[Row], Field(min_length=1, max_length=MOST_ROWS)]


class Predicted(Message):
    """For each row, in order, the columns that the model predicts."""

    predictions: list[dict[str, float]]
    model: str


class Predictor(Protocol):
    """A fitted model of a funnel."""

    @property
    def name(self) -> str: ...

    def predict(self, data: Any) -> pl.DataFrame: ...


class PairPredictor:
    """A rater as a predictor of rows with the columns ``user`` and ``item``.

    Args:
        rater: a fitted one; its prediction is the column ``value``.
    """

    def __init__(self, rater: Any) -> None:
        self.rater = rater
        self.name: str = rater.name

    def predict(self, data: pl.DataFrame) -> pl.DataFrame:
        """Return the expected value, or the probability of a positive one, for each pair.

        Raises:
            DataError: the columns are not user and item.
        """
        if sorted(data.columns) != ["item", "user"]:
            raise DataError(f"a row needs user and item, and has {', '.join(data.columns)}")
        return pl.DataFrame({"value": self.rater.predict(data["user"], data["item"])})


class LivePredictor:
    """The predictor that answers at this moment.

    Args:
        folder: of a saved model of a funnel or of ratings, or a link that is moved from one to the
            next.

    Raises:
        BundleError: there is no such model to begin with.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._stamp = stamp(self.folder)
        self.current = self._load()

    @property
    def described(self) -> dict[str, str]:
        """What answers, in words."""
        return {"method": self.current.name}

    def refresh(self) -> bool:
        """Put a new model in the place of the one that answers, if there is one; say whether.

        Raises:
            ModicumError: the new model cannot be used; the old one goes on.
        """
        found = stamp(self.folder)
        if found == self._stamp:
            return False
        self._stamp = found
        self.current = self._load()
        return True

    def _load(self) -> Predictor:
        require_torch(self.folder)
        import modicum as mo
        from modicum.methods.conversion.funnel_model import FunnelModel
        from modicum.methods.rating.fitted import FittedRater

        saved: Any = mo.load(self.folder)
        if isinstance(saved, FunnelModel):
            return saved
        if isinstance(saved, FittedRater):
            return PairPredictor(saved)
        raise BundleError(
            f"{self.folder} holds a model of {type(saved).__name__}, which predicts for no rows; "
            "start the server again to serve it"
        )


def create_predict_app(
    live: LivePredictor, limits: Limits | None = None, *, keys: Keys | None = None
) -> FastAPI:
    """Return the application for a model that predicts for rows.

    Args:
        live: what predicts.
        limits: on time and load.
        keys: of which every request needs one; None: none does.
    """
    limits, metrics = limits or Limits(), Metrics()
    one_at_a_time = asyncio.Lock()
    app = shell(
        "Predictions for rows",
        metrics=metrics,
        limits=limits,
        keys=keys,
        refresh=[metrics.following(live.refresh, lambda: live.described)],
        check=lambda: None,
    )

    @app.post("/predict")
    async def predict(asked: Rows) -> Predicted:
        predictor, frame = live.current, _frame(asked.rows)
        try:
            async with asyncio.timeout(limits.budget_s), one_at_a_time:
                found = await to_thread.run_sync(predictor.predict, frame)
        except TimeoutError:
            raise ResourceError("too much is asked at once; ask again later") from None
        metrics.answers.labels("model", "").inc()
        return Predicted(predictions=found.to_dicts(), model=predictor.name)

    return app


def _frame(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Return rows as a table; a cell that a row leaves out is missing.

    >>> _frame([{"a": 1}, {"a": 2.5, "b": "x"}]).rows()
    [(1.0, None), (2.5, 'x')]
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pl.DataFrame(
        [pl.Series(name, [row.get(name) for row in rows], strict=False) for name in names]
    )
