"""Merged: any encoder on the events of all domains and behaviours, or on some of them."""

from __future__ import annotations

from dataclasses import dataclass

from modicum.data.histories import Histories
from modicum.data.views import View, training_view, viewed
from modicum.data.windows import Prefixes
from modicum.errors import SettingError
from modicum.methods.encoders import BuiltAround
from modicum.methods.fitting import Fitting
from modicum.methods.network import Catalogue, CountedNetwork, Network
from modicum.training.batches import Windows


@dataclass(kw_only=True)
class Merged(BuiltAround):
    """The baselines of cross-domain work: one encoder, and a choice of what it reads.

    What it does not read is still seen, and left out of its recommendations. In training, ``"merged"``
    predicts the events of all domains; ``"target"`` and ``"appended"`` have a sequence for each
    user and domain, whose events are predicted.

    Args:
        history: ``"merged"``: all events, by time; ``"target"``: those of the domain that is asked
            for, and of the target behaviour, alone; ``"appended"``: the same behind all others.
        target: behaviour that is predicted; None: any.

    >>> import modicum as mo
    >>> mo.Merged(encoder="gru4rec", history="target").settings()["encoder"]["method"]
    'gru4rec'
    """

    history: View = "merged"
    target: str | None = None

    def network(self, catalogue: Catalogue) -> Network:
        network = self.built_on.network(catalogue)
        if self.history == "appended" and isinstance(network, CountedNetwork):
            raise SettingError(
                f"{self.built_on.name} only counts, and has no use for appended events; use "
                "history='merged' or 'target'"
            )
        return network

    @property
    def target_behaviour(self) -> str | None:
        return self.target

    def counted(self, histories: Histories) -> Histories:
        sequences, predicted = training_view(histories, self._auxiliary(histories), self.history)
        return sequences.keep(predicted)

    def windows_of(self, histories: Histories, fitting: Fitting) -> Windows:
        auxiliary = self._auxiliary(histories)
        sequences, predicted = training_view(histories, auxiliary, self.history)
        windows = super().windows_of(sequences, fitting)
        windows.predict_only(predicted)
        return windows

    @property
    def reads_all(self) -> bool:
        return self.history == "merged"

    def read(self, prefixes: Prefixes) -> Prefixes:
        if self.history == "merged":
            return prefixes
        self.require_domain(prefixes)
        return viewed(prefixes, self.vocabulary, self.history)
