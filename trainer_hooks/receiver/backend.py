"""What the server has: the inbox, the index, the wishes about jobs, and the objects, over one directory of runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trainer_hooks.receiver.checkpoints import Checkpoints
from trainer_hooks.receiver.images import Images
from trainer_hooks.receiver.inbox import Inbox, own_directory
from trainer_hooks.receiver.index.index import Index
from trainer_hooks.receiver.jobs import Jobs
from trainer_hooks.receiver.models import Models
from trainer_hooks.receiver.objects import Objects
from trainer_hooks.receiver.recent import Recent
from trainer_hooks.receiver.records import Records
from trainer_hooks.receiver.tokens import Tokens
from trainer_hooks.storage import Storage


@dataclass(frozen=True)
class Backend:
    """All that requests are answered from. Safe to use from any thread.

    `url` is where others reach the server, without a slash at its end; None: where they have called it.
    """

    root: Path
    inbox: Inbox
    index: Index
    recent: Recent
    jobs: Jobs
    objects: Objects
    checkpoints: Checkpoints
    images: Images
    models: Models
    records: Records
    tokens: Tokens
    url: str | None = None

    def close(self) -> None:
        """Let another server have the directory."""
        self.inbox.close()


def open_backend(
    root: Path, tokens: Tokens, *, heartbeat: float = 30.0, store: Storage | None = None, url: str | None = None
) -> Backend:
    """A backend over the runs in `root`, which is made if need be; `store` is where checkpoints are, and uploads go.

    Raises:
        SetupError: if another receiver is at work there.
        OSError: if the directory can't be written.
    """
    inbox = Inbox(root)
    own = own_directory(root)
    jobs = Jobs(own)
    index = Index(root, own / "index.sqlite", jobs, heartbeat)
    objects = Objects(own, store)
    return Backend(
        root=root,
        inbox=inbox,
        index=index,
        recent=Recent(index),
        jobs=jobs,
        objects=objects,
        checkpoints=Checkpoints(objects, store),
        images=Images(root, own, store),
        models=Models(own),
        records=Records(own),
        tokens=tokens,
        url=url.rstrip("/") if url else None,
    )
