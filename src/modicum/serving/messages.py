"""What comes and goes over HTTP: every field bounded, nothing beside the fields."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

LONGEST_ID = 256
MOST_ITEMS = 1_000
MOST_EVENTS = 1_000
MOST_RECOMMENDED = 1_000

Text = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_ID)]
User = Annotated[Text, StringConstraints(pattern=r"[^.]|\.{3}")]
"""Not ``.`` nor ``..``, which no path can name."""
Number = Annotated[int, Field(ge=-(2**63), lt=2**63, strict=True)]
Item = Text | Number
Seconds = Annotated[float, Field(ge=-62_135_596_800, lt=253_402_300_800, allow_inf_nan=False)]
"""From the year 1 to the year 9999."""


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ItemOf(Message):
    """An item of a domain, where several domains have its id."""

    domain: Text
    item: Item


class Ask(Message):
    """Whom or what to recommend for: a user of the history store, or a history.

    With ``explain``, each item comes with the events that speak for it.
    """

    user: User | None = None
    history: Annotated[list[Item | ItemOf], Field(max_length=MOST_ITEMS)] | None = None
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
    ``"no known items"``), takes longer than its budget (``"over budget"``), or where the history
    cannot be read (``"no history store"``).
    """

    items: list[Recommended]
    source: Literal["model", "popularity"]
    reason: str | None = None
    unknown_items: int
    model: str
    version: str


class NewEvent(Message):
    id: Text
    user: User
    item: Item
    time: Seconds | None = None
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
