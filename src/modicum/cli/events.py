"""How an event log is named on the command line."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from cyclopts import Parameter


@Parameter(name="*", group="Columns of the events")
@dataclass(frozen=True, kw_only=True)
class Roles:
    """Names of the columns; a role that is not named is guessed, and the guess is told.

    Args:
        user: who acted.
        item: on what.
        time: when: seconds, milliseconds, ISO text or dates.
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

    def named(self) -> dict[str, str]:
        """Role -> column, for the roles that were named."""
        return {role: column for role, column in asdict(self).items() if column is not None}
