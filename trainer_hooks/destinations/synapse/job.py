"""The job itself: its status and result, and how far it is, each as predecessor A's `PATCH jobs/{id}/` has it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from trainer_hooks.destinations import Context
from trainer_hooks.destinations.synapse.board import Board
from trainer_hooks.destinations.synapse.states import STOPPED
from trainer_hooks.errors import Rejected, RetryLater
from trainer_hooks.events import TERMINAL, Record
from trainer_hooks.history import read_history
from trainer_hooks.wire.answers import NOT_FOUND, check_taken

if TYPE_CHECKING:
    from trainer_hooks.wire.client import Client

_BETWEEN_SNAPSHOTS = 1.0
_LOOK_EVERY = 0.05


class Job:
    """One job. A PATCH sets fields whole, so that a repeat is harmless."""

    def __init__(self, context: Context, client: Client, job: str) -> None:
        self._context = context
        self._client = client
        self._path = job_path(job)
        self._shown: dict[str, Any] = {}
        self._patched_at = float("-inf")
        self._ended_before: dict[int, bool] = {}
        self._seen_unstopped: int | None = None
        self._ended_ahead: set[int] = set()

    def show(self, board: Board, record: Record, *, at_once: bool) -> None:
        """Show how it stands after the record: at most once a second, unless `at_once`.

        Raises:
            RetryLater: if it can't be shown now.
            Rejected: if it is refused.
        """
        fields = _snapshot(board)
        if fields == self._shown or record.attempt in self._ended_ahead:
            return
        if not at_once:
            self._wait_for_turn()
        self._patch(fields, board, record)
        self._shown = fields

    def set_state(self, fields: dict[str, Any], board: Board, record: Record) -> str | None:
        """Set the status, and at the end the result, with how it stands then; returns what of that is refused, and why.

        Raises:
            RetryLater: if it can't be set now.
            Rejected: if the status is refused.
        """
        if not isinstance(record.event, TERMINAL):
            if record.attempt not in self._ended_ahead:
                self._patch(fields, board, record)
            return None
        everything = {**fields, **_snapshot(board, elapsed=True)}
        try:
            self._patch(everything, board, record)
        except Rejected as refusal:
            left_out = list(self._set_one_by_one(everything, board, record))
            return f"left out of the job: {', '.join(left_out)}: {refusal}" if left_out else None
        return None

    def end_ahead(self, fields: dict[str, Any], board: Board, record: Record) -> None:
        """Tell an attempt's end before what comes in front of it, which then changes nothing any more.

        Raises:
            RetryLater, Rejected: as `set_state`.
        """
        if record.attempt not in self._ended_ahead:
            self.set_state(fields, board, record)
            self._ended_ahead.add(record.attempt)

    def _set_one_by_one(self, fields: dict[str, Any], board: Board, record: Record) -> Iterator[str]:
        """The status first: the job must not stay RUNNING for what is too large beside it. Yields what is refused."""
        self._patch({"status": fields["status"]}, board, record)
        for name in sorted(fields.keys() - {"status"}):
            if not self._takes(name, fields[name], board, record):
                yield name

    def _takes(self, name: str, value: Any, board: Board, record: Record) -> bool:
        try:
            self._patch({name: value}, board, record)
        except Rejected:
            return False
        return True

    def has_ended_before(self, attempt: int) -> bool:
        """Whether an earlier attempt has ended, and the job with it."""
        if attempt not in self._ended_before:
            attempts = read_history(self._context.run_directory).attempts
            self._ended_before[attempt] = any(each.number < attempt and each.state.ended for each in attempts)
        return self._ended_before[attempt]

    def _patch(self, fields: dict[str, Any], board: Board, record: Record) -> None:
        answer = self._client.patch(self._path, msgspec.json.encode(fields))
        self._patched_at = time.monotonic()
        check_taken(answer, json_only=NOT_FOUND)
        self._heed((answer.content or {}).get("status"), board, record.attempt)

    def _heed(self, status: object, board: Board, attempt: int) -> None:
        """A's users stop a job there. What an earlier attempt has told is no such wish, nor is what this one has."""
        if status == STOPPED:
            is_news = self._seen_unstopped == attempt or not self.has_ended_before(attempt)
            if is_news and board.ended is None:
                self._context.ask_to_stop(attempt, f"Synapse says that the job is {status!r}")
        elif status is not None:
            self._seen_unstopped = attempt

    def _wait_for_turn(self) -> None:
        """A second from one to the next: what comes meanwhile is shown with the next."""
        while (left := self._patched_at + _BETWEEN_SNAPSHOTS - time.monotonic()) > 0:
            if self._context.stopping():
                raise RetryLater("the courier is ending")
            time.sleep(min(left, _LOOK_EVERY))


def job_path(job: str) -> str:
    """Where the job is, relative to SYNAPSE_HOST."""
    quoted = quote(job, safe="")
    return f"/jobs/{quoted if job.strip('.') else quoted.replace('.', '%2E')}/"  # "." and ".." would be walked


def _snapshot(board: Board, *, elapsed: bool = False) -> dict[str, Any]:
    metrics = {"metrics_record": board.metrics_record()} if board.measured else {}
    return {"progress_record": board.progress_record(elapsed=elapsed), **metrics}
