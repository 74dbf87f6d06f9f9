"""Items that are never recommended, whatever the model says of them: a file of ids."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from modicum.data.vocabulary import Vocabulary
from modicum.errors import DataError


@dataclass(frozen=True, eq=False)
class Barred:
    """Items that are never recommended.

    Args:
        rows: of those in the catalogue.
        unknown: how many the file names that are not in it.
    """

    rows: np.ndarray
    unknown: int


def read_barred(path: str | Path, vocabulary: Vocabulary) -> Barred:
    """Read which items are barred.

    Args:
        path: a CSV file with the column ``item`` and, where items have domains, ``domain``.
        vocabulary: of the model.

    Raises:
        DataError: the file cannot be read, has no such columns, or names a domain that is unknown.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "never.csv"
    >>> _ = file.write_text("item\\nb\\nnot sold\\n")
    >>> read_barred(file, Vocabulary(pl.Series(["a", "b"])))
    Barred(rows=array([2]), unknown=1)
    """
    wanted = ["item"] if vocabulary.domains is None else ["item", "domain"]
    try:
        table = pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path} cannot be read as CSV ({error})") from None
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)} in its first line, only "
            f"{', '.join(table.columns)}; name the columns {', '.join(wanted)}"
        )
    items = table.drop_nulls("item")
    if vocabulary.domains is None:
        rows = vocabulary.rows(items["item"])
    else:
        rows = vocabulary.rows(list(zip(items["domain"], items["item"], strict=True)))
    return Barred(np.unique(rows[rows > 0]), int((rows < 1).sum()))
