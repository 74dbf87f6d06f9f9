"""How an event log is named on the command line."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cyclopts import Parameter


@Parameter(name="*", group="Columns of the events")
@dataclass(frozen=True, kw_only=True)
class Roles:
    """Names of the columns; a role that is not named is guessed, and the guess is told.

    Args:
        user: who acted.
        item: on what; several columns, each a domain, separated by commas.
        time: when: seconds, milliseconds, ISO text or dates; 'none' if the rows are in order.
        domain: the shop or market of the item.
        behaviour: the kind of event, such as click or purchase.
        value: a rating or an amount.
    """

    user: str | None = None
    item: str | None = None
    time: str | None = None
    domain: str | None = None
    behaviour: str | None = None
    value: str | None = None

    def named(self) -> dict[str, Any]:
        """Return the arguments of ``modicum.read_events`` for the roles that were named.

        >>> Roles(user="uid", item="first,second", time="none").named()
        {'user': 'uid', 'item': ['first', 'second'], 'time': None}
        """
        named: dict[str, Any] = {role: name for role, name in asdict(self).items() if name}
        if self.item and "," in self.item:
            named["item"] = self.item.split(",")
        if self.time == "none":
            named["time"] = None
        return named
