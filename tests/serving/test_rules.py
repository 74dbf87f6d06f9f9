"""A file of items that are never recommended."""

import numpy as np
import polars as pl
import pytest

from modicum.data.vocabulary import Vocabulary
from modicum.errors import DataError
from modicum.serving.rules import read_barred

PLAIN = Vocabulary(pl.Series([10, 20, 30]))
TWO = Vocabulary(pl.Series(["a", "a", "b"]), np.array([0, 1, 1]), ("books", "games"))


def test_ids_are_found_and_strangers_are_counted(tmp_path):
    file = tmp_path / "never.csv"
    file.write_text("item,why\n30,recalled\n10,\n99,\n30,again\n")
    barred = read_barred(file, PLAIN)
    assert barred.rows.tolist() == [1, 3] and barred.unknown == 1


def test_where_items_have_domains_the_file_names_them(tmp_path):
    file = tmp_path / "never.csv"
    file.write_text("domain,item\ngames,a\ngames,z\n")
    barred = read_barred(file, TWO)
    assert barred.rows.tolist() == [2] and barred.unknown == 1
    file.write_text("item\na\n")
    with pytest.raises(DataError, match="no column domain"):
        read_barred(file, TWO)
    file.write_text("domain,item\nfilms,a\n")
    with pytest.raises(DataError, match="films"):
        read_barred(file, TWO)


@pytest.mark.parametrize("text", [None, "", "sku\n1\n"])
def test_a_file_that_names_no_items_is_refused(tmp_path, text):
    file = tmp_path / "never.csv"
    if text is not None:
        file.write_text(text)
    with pytest.raises(DataError, match=r"never\.csv"):
        read_barred(file, PLAIN)
