"""Models with random weights, for what does not depend on them: bytes and seconds."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import torch

from modicum.data.vocabulary import Vocabulary
from modicum.methods.network import Catalogue
from modicum.methods.recommender import Recommender


def started(model: Any, num_items: int) -> Recommender:
    """Give a model random weights for a catalogue of ``num_items``, in place of fitting it."""
    torch.manual_seed(0)
    ids = pl.Series(np.arange(num_items))
    model._begin(Catalogue(Vocabulary(ids), np.ones(num_items + 1, dtype=np.int64)))
    model.fitted_network.eval()
    model.lineage, model.training_log = {}, []
    return model
