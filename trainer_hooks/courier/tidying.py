"""What a killed training leaves behind: private copies that it made, and died before it could tell of them."""

from __future__ import annotations

from pathlib import Path

from trainer_hooks.events import CheckpointSaved, ImageSaved, Record
from trainer_hooks.journal import Reader, read_headers
from trainer_hooks.staging import CHECKPOINTS, IMAGES


def remove_untold_copies(run_directory: Path, attempt: int) -> None:
    """Remove the copies that no record tells of. That attempt is over; where it isn't the newest, nothing is done.

    Raises:
        OSError: if the run can't be read, or a copy can't be removed.
    """
    # Listed first: those of an attempt that begins meanwhile are not among them.
    copies = [path for folder in (CHECKPOINTS, IMAGES) for path in (run_directory / folder).glob("*")]
    if not copies or any(header.attempt > attempt for header in read_headers(run_directory).values()):
        return
    told = _told(run_directory)
    for copy in copies:
        if str(copy.relative_to(run_directory)) not in told:
            copy.unlink(missing_ok=True)


def _told(run_directory: Path) -> set[str | None]:
    reader = Reader(run_directory)
    told: set[str | None] = set()
    while found := reader.read(only=(CheckpointSaved, ImageSaved)):
        events = (item.event for item in found if isinstance(item, Record))
        told.update(event.staged for event in events if isinstance(event, (CheckpointSaved, ImageSaved)))
    return told
