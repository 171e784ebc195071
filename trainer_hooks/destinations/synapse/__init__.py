"""Synapse, predecessor A's backend: the run as one of its jobs, with status, progress, metrics and log.

The courier speaks; docs/synapse.md says what of a run becomes what.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainer_hooks.destinations import Context, Receipt, remove_shown
from trainer_hooks.destinations.synapse.address import synapse_server
from trainer_hooks.destinations.synapse.board import SHOWN, Board
from trainer_hooks.destinations.synapse.entries import TOLD, entries, picture, remark
from trainer_hooks.destinations.synapse.images import data_uri
from trainer_hooks.destinations.synapse.job import Job
from trainer_hooks.destinations.synapse.logbook import Logbook, Page
from trainer_hooks.destinations.synapse.states import state
from trainer_hooks.errors import Rejected, RetryLater
from trainer_hooks.events import TERMINAL, ImageSaved, ProgressMade, Record, RunStarted
from trainer_hooks.replay import Attempts

if TYPE_CHECKING:  # httpx stays unloaded where no Synapse is configured
    from trainer_hooks.wire.client import Client

HANDLES = tuple(dict.fromkeys((*TOLD, *SHOWN, ImageSaved)))


def open_destination(context: Context) -> SynapseDestination | None:
    """The job that SYNAPSE_HOST and SYNAPSE_JOB_ID name; None where one of them is not set."""
    settings = context.settings
    if not (settings.synapse_host and settings.synapse_job):
        return None
    from trainer_hooks.wire.client import Client

    return SynapseDestination(context, Client(synapse_server(settings)), settings.synapse_job)


@dataclass(frozen=True)
class _Section:
    """Records of one attempt that are told together: many, or one that changes the job's status, or one image.

    `board` is their attempt as it is after them, `state` the fields of the job that the one sets.
    """

    pages: Sequence[Page]
    board: Board
    state: dict[str, Any] | None = None

    @property
    def last(self) -> Record:
        return self.pages[-1].record


class SynapseDestination:
    """Tells a job's records, in order."""

    waits_for_checkpoints = True

    def __init__(self, context: Context, client: Client, job: str) -> None:
        self._context = context
        self._client = client
        self._job_id = job
        self._job = Job(context, client, job)
        self._logbook = Logbook(client, job)
        self._forget_boards()
        self._written: tuple[str, str | None] | None = None

    def deliver(self, records: Sequence[Record]) -> Iterator[Sequence[Receipt]]:
        """Deliver in order; see `Destination.deliver`.

        Raises:
            RetryLater: if the rest can't be delivered now.
        """
        done = False
        try:
            yield from self._in_order(records)
            done = True
        except RetryLater:
            if self._logbook.is_stuck:
                self._end_ahead(records)
            raise
        finally:
            if not done:  # it has run ahead of what has been delivered
                self._forget_boards()

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def _in_order(self, records: Sequence[Record]) -> Iterator[Sequence[Receipt]]:
        ends = any(isinstance(record.event, TERMINAL) for record in records)
        for section in self._sections(records):
            if self._context.stopping():
                raise RetryLater("the courier is ending")
            if section.state is not None:
                yield [self._set_state(section, section.state)]
            elif isinstance(section.last.event, ImageSaved):
                receipt = self._show_image(section, section.last.event)
                yield [receipt]
                if receipt.refused is None:
                    remove_shown(self._context, section.last)
            else:
                yield from self._tell(section, at_once=ends)

    def _end_ahead(self, records: Sequence[Record]) -> None:
        """A log that takes nothing must not keep the job RUNNING. The end has its turn all the same."""
        self._forget_boards()
        for section in self._sections(records):
            if section.state is not None and isinstance(section.last.event, TERMINAL):
                with contextlib.suppress(Rejected):
                    self._job.end_ahead(section.state, section.board, section.last)

    def _forget_boards(self) -> None:
        self._boards = Attempts(self._context.run_directory, Board)

    def _sections(self, records: Sequence[Record]) -> Iterator[_Section]:
        """Each when it is its turn: a board goes on with the next."""
        pages: list[Page] = []
        for record in records:
            board = self._boards.before(record)
            fields = state(record.event, board, has_ended=self._has_ended(record))
            alone = fields is not None or isinstance(record.event, ImageSaved)
            if pages and (alone or pages[-1].record.attempt != record.attempt):
                yield _Section(pages, self._boards.before(pages[-1].record))
                pages = []
            pages.append(Page(record, entries(record, board, self._job_id)))
            self._boards.passed(record)
            if alone:
                yield _Section(pages, board, fields)
                pages = []
        if pages:
            yield _Section(pages, self._boards.before(pages[-1].record))

    def _has_ended(self, record: Record) -> bool:
        return isinstance(record.event, RunStarted) and self._job.has_ended_before(record.attempt)

    def _tell(self, section: _Section, *, at_once: bool) -> Iterator[Sequence[Receipt]]:
        """Show how it stands after all of them, and then write what each has to say: the former can be repeated."""
        refused: dict[str, str] = {}
        shown = [page for page in section.pages if isinstance(page.record.event, SHOWN)]
        try:
            if shown:
                self._job.show(section.board, section.last, at_once=at_once)
        except Rejected as refusal:
            for page in shown:  # as a whole: it may be offered again
                refused[page.record.id] = str(refusal)
                page.entries.clear()
        newest = {event.category: page.record for page in shown if isinstance(event := page.record.event, ProgressMade)}
        for pages, reason in self._logbook.write(section.pages):
            yield [_receipt(page.record, refused.get(page.record.id, reason), newest) for page in pages]

    def _set_state(self, section: _Section, fields: dict[str, Any]) -> Receipt:
        """First what the log has to say of it, since a job that has ended may take no more; and that only once."""
        record = section.last
        if self._written is None or self._written[0] != record.id:
            self._written = record.id, self._write(section.pages)
        try:
            left_out = self._job.set_state(fields, section.board, record)
        except Rejected as refusal:
            return Receipt(record, refused=str(refusal))
        if left_out is not None:
            self._write([Page(record, [remark(left_out, record, section.board, self._job_id)])])
        return Receipt(record, refused=left_out or self._written[1])

    def _show_image(self, section: _Section, event: ImageSaved) -> Receipt:
        if event.staged is None:
            return Receipt(section.last)
        try:
            content = data_uri(self._context.run_directory / event.staged)
        except Rejected as refusal:
            return Receipt(section.last, refused=str(refusal))
        entry = picture(section.last, event, section.board, self._job_id, content)
        return Receipt(section.last, refused=self._write([Page(section.last, [entry])]))

    def _write(self, pages: Sequence[Page]) -> str | None:
        """Write them; returns why one was refused, if one was."""
        reasons = [reason for _, reason in self._logbook.write(pages) if reason is not None]
        return reasons[0] if reasons else None


def _receipt(record: Record, refused: str | None, newest: dict[str, Record]) -> Receipt:
    """Of progress in one category, only the newest is shown."""
    event = record.event
    overtaken = refused is None and isinstance(event, ProgressMade) and newest[event.category] is not record
    return Receipt(record, refused=refused, superseded=overtaken)
