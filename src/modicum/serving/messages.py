"""What comes and goes over HTTP: every field bounded, nothing beside the fields."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

LONGEST_ID = 256
MOST_ITEMS = 1_000
MOST_EVENTS = 1_000
MOST_RECOMMENDED = 1_000

Text = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_ID)]


def _nameable(user: str) -> str:
    """Refuse what the path of a request cannot name safely: proxies shorten ``a/../b`` to ``b``."""
    if any(ord(character) < 32 or ord(character) == 127 for character in user):
        raise ValueError("a user id holds no control characters")
    if any(part in (".", "..") for part in user.split("/")):
        raise ValueError("a user id is not, and has not between slashes, . or ..")
    return user


def _as_text(user: Any) -> Any:
    """Return a number as text: the histories of user 7 and of user "7" are the same."""
    return str(user) if isinstance(user, int) and not isinstance(user, bool) else user


def _in_seconds(time: Any) -> Any:
    """Return a time such as 2026-01-31T12:00:00Z in seconds; without a zone it is in UTC."""
    if not isinstance(time, str) or "-" not in time:
        return time
    try:
        read = datetime.fromisoformat(time)
    except ValueError:
        raise ValueError("a time is a number of seconds, or as 2026-01-31T12:00:00Z") from None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


Number = Annotated[int, Field(ge=-(2**63), lt=2**63, strict=True)]
Item = Text | Number
User = Annotated[
    Text,
    AfterValidator(_nameable),
    BeforeValidator(_as_text, json_schema_input_type=Item),
]
Seconds = Annotated[float, Field(ge=-62_135_596_800, lt=253_402_300_800, allow_inf_nan=False)]
"""From the year 1 to the year 9999."""
Time = Annotated[Seconds, BeforeValidator(_in_seconds, json_schema_input_type=Seconds | Text)]


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ItemOf(Message):
    """An item of a domain, where several domains have its id."""

    domain: Text
    item: Item


class Past(Message):
    """An item of a history, with its domain where several have its id, and what was done."""

    domain: Text | None = None
    item: Item
    behaviour: Text | None = None


class Ask(Message):
    """Whom or what to recommend for: a user of the history store, or a history.

    With ``explain``, each item comes with the events that speak for it.
    """

    user: User | None = None
    history: Annotated[list[Item | Past], Field(max_length=MOST_ITEMS)] | None = None
    k: Annotated[int, Field(ge=1, le=MOST_RECOMMENDED)] = 10
    domain: Text | None = None
    exclude: Annotated[list[Item | ItemOf], Field(max_length=MOST_ITEMS)] = []
    exclude_seen: bool = True
    explain: bool = False

    @model_validator(mode="after")
    def one_of_two(self) -> Ask:
        if (self.user is None) == (self.history is None):
            raise ValueError("give either user or history")
        return self


class Because(Message):
    """An event that a recommendation goes back to, and its share among all of the history."""

    item: str | int
    domain: str | None = None
    share: float


class Recommended(Message):
    item: str | int
    score: float
    rank: int
    domain: str | None = None
    because: list[Because] = []


class Recommendations(Message):
    """The best items, and what ranked them.

    ``popularity`` answers where the model knows nothing of the history (``reason`` is
    ``"no known items"``) or reads nothing of it for what is asked (``"nothing to read"``), takes
    longer than its budget (``"over budget"``), or where there is no history to be had
    (``"no history store"``).
    """

    items: list[Recommended]
    source: Literal["model", "popularity"]
    reason: str | None = None
    unknown_items: int
    model: str
    version: str


class Domains(Message):
    """The domains of the items, none where they have none, and whether one must be asked for."""

    domains: list[str]
    required: bool


class NewEvent(Message):
    """What a user did; ``time`` in seconds since 1970 or as ISO 8601, of the server if not given."""

    id: Text
    user: User
    item: Item
    time: Time | None = None
    domain: Text | None = None
    behaviour: Text | None = None


class NewEvents(Message):
    events: Annotated[list[NewEvent], Field(min_length=1, max_length=MOST_EVENTS)]


class Kept(Message):
    """How many events were sent, and how many of them were not there yet."""

    sent: int
    new: int


class PastEvent(Message):
    id: str
    item: str | int
    time: float
    domain: str | None = None
    behaviour: str | None = None


class History(Message):
    user: str
    events: list[PastEvent]


class Erased(Message):
    user: str
    erased: int


class State(Message):
    status: Literal["ok", "not ready"]
    detail: str | None = None


class Problem(Message):
    """What was wrong, and what to do."""

    error: str
