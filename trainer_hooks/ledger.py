"""What became of everything that a run has accepted, counted from its directory.

Two books are kept apart and compared. The journal says how many records there are, which of them a destination is for,
and with its cursor how many of these still wait. The destination's own state says how many it has taken, refused, or
given up for newer ones. For each destination, nothing may be missing:

    accepted = delivered + pending + rejected + superseded + not addressed
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trainer_hooks.delivery import DeliveryState, load_courier, load_state, load_states
from trainer_hooks.destinations import Context, known_destinations
from trainer_hooks.errors import SetupError
from trainer_hooks.events import Event, Record, RecordsDropped, TrackerLinked
from trainer_hooks.journal import Reader, read_headers, sizes
from trainer_hooks.process import is_alive
from trainer_hooks.settings import Settings

COUNTED_AT_MOST = 10_000


@dataclass(frozen=True)
class Account:
    """One destination's share. What comes from the journal is None where the destination isn't installed here."""

    destination: str
    delivered: int
    rejected: int
    superseded: int
    trouble: str | None
    pending: int | None
    not_addressed: int | None

    def is_balanced(self, accepted: int) -> bool | None:
        """Whether nothing is missing of so many records; None where it can't be told."""
        if self.pending is None or self.not_addressed is None:
            return None
        settled = self.delivered + self.rejected + self.superseded
        return settled + self.pending + self.not_addressed == accepted


@dataclass(frozen=True)
class Ledger:
    """A run's records. `damaged_…` is what the journal's readers pass over; `dropped` never reached the disk."""

    accepted: int
    damaged_lines: int
    damaged_bytes: int
    dropped: int
    accounts: list[Account]

    @property
    def pending(self) -> int:
        """Deliveries that are still to be made, of all destinations."""
        return sum(account.pending or 0 for account in self.accounts)

    @property
    def rejected(self) -> int:
        """Deliveries that were refused for good, of all destinations."""
        return sum(account.rejected for account in self.accounts)

    @property
    def is_balanced(self) -> bool:
        """Whether nothing is missing anywhere, as far as that can be told."""
        return all(account.is_balanced(self.accepted) is not False for account in self.accounts)


class _Tally:
    """Counts for one destination while the journal is read."""

    def __init__(self, destination: str, state: DeliveryState) -> None:
        self._destination = destination
        self._state = state
        self._handles = _handled_by(destination)
        self._pending = self._not_addressed = 0

    def count(self, record: Record) -> None:
        if not isinstance(record.event, self._handles or ()):
            self._not_addressed += 1
        elif record.end > self._state.cursor.get(record.segment, 0):
            self._pending += 1

    def account(self) -> Account:
        state = self._state
        return Account(
            destination=self._destination,
            delivered=state.delivered,
            rejected=state.rejected,
            superseded=state.superseded,
            trouble=state.trouble,
            pending=None if self._handles is None else self._pending,
            not_addressed=None if self._handles is None else self._not_addressed,
        )


def read_ledger(run_directory: Path, destinations: Iterable[str] = ()) -> Ledger:
    """Count, for these destinations and for all that the run was ever delivered to."""
    courier = load_courier(run_directory)
    # Before the journal: a courier at work meanwhile can only have taken what is read after this.
    states = load_states(run_directory)
    names = {*states, *destinations, *(courier.destinations if courier else ())}
    tallies = [_Tally(name, states.get(name, DeliveryState())) for name in sorted(names)]
    accepted = dropped = 0
    reader = Reader(run_directory)
    damage: Counter[str] = Counter()
    while items := reader.read():
        for item in items:
            if not isinstance(item, Record):
                damage.update(lines=1, bytes=item.size)
                continue
            accepted += 1
            dropped += item.event.count if isinstance(item.event, RecordsDropped) else 0
            for tally in tallies:
                tally.count(item)
    damage.update(_torn_tails(run_directory, reader))
    return Ledger(accepted, damage["lines"], damage["bytes"], dropped, [tally.account() for tally in tallies])


def read_pending(run_directory: Path) -> dict[str, tuple[int, str | None]]:
    """How many records each destination of the present courier still has to take, and what its trouble is.

    Reads only what lies behind each destination's cursor, and stops counting at `COUNTED_AT_MOST`: a process that is
    about to end does not wait for a million.
    """
    courier = load_courier(run_directory)
    pending: dict[str, tuple[int, str | None]] = {}
    for name in courier.destinations if courier else ():
        state = load_state(run_directory, name)
        if count := _count_behind(run_directory, name, state):
            pending[name] = (count, state.trouble)
    return pending


def read_accounts(run_directory: Path) -> list[Account]:
    """How each destination stands that the run was ever delivered to, without a look at what it has taken already.

    What is not addressed to it is not counted therefore; `pending` as in `read_pending`.
    """
    courier = load_courier(run_directory)
    states = load_states(run_directory)
    accounts = []
    for name in sorted({*states, *(courier.destinations if courier else ())}):
        state = states.get(name, DeliveryState())
        taken = (name, state.delivered, state.rejected, state.superseded, state.trouble)
        accounts.append(Account(*taken, pending=_count_behind(run_directory, name, state), not_addressed=None))
    return accounts


def configured_destinations(
    run_directory: Path, run: str, settings: Settings, linked: Mapping[str, TrackerLinked] | None = None
) -> list[str]:
    """The destinations that the settings name; also those that can't be opened here, which have to be mended first.

    `linked` are the trackers that the run is shown in, too.
    """
    context = Context(
        run_directory=run_directory,
        run=run,
        job=run,
        settings=settings,
        emit=lambda _: None,
        stored=dict,
        stopping=lambda: False,
        linked=lambda: linked or {},
    )
    names = []
    for name, module in known_destinations().items():
        try:
            destination = module.open_destination(context)
        except SetupError:
            names.append(name)
            continue
        if destination is not None:
            destination.close()
            names.append(name)
    return names


def _count_behind(run_directory: Path, name: str, state: DeliveryState) -> int | None:
    """How many records the destination still has to take, `COUNTED_AT_MOST` or little more; None as in `Account`."""
    handles = _handled_by(name)
    if handles is None:
        return None
    reader, count = Reader(run_directory, state.cursor), 0
    while count < COUNTED_AT_MOST and (found := reader.read(only=handles)):
        count += len(found)
    return count


def _handled_by(destination: str) -> tuple[type[Event], ...] | None:
    """The events that it is for; None for a destination that isn't installed here."""
    module = known_destinations().get(destination)
    return module.HANDLES if module else None


def _torn_tails(run_directory: Path, reader: Reader) -> Counter[str]:
    """Unfinished last lines: of a live writer one is being written, of a dead one it is damage."""
    found: Counter[str] = Counter()
    headers = read_headers(run_directory)
    for segment, size in sizes(run_directory).items():
        rest = size - reader.cursor.get(segment, 0)
        header = headers.get(segment)
        if rest > 0 and not (header and is_alive(header.process)):
            found.update(lines=1, bytes=rest)
    return found
