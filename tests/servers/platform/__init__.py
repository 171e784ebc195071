"""A backend of our own for tests: predecessor B's callbacks (v2), and the batch protocol of our own receiver.

It is a real HTTP/1.1 server on a free loopback port. It records everything that arrives and can be told to misbehave:

    with PlatformServer(jobs=("7",)) as server:
        server.script([Reply(503), Reply(429, headers={"Retry-After": "1"})], path="/progress")
        ...                                             # CALLBACK_URL=server.url, JOB_ID=7
        server.wait_for(lambda server: len(server.posts("/training/jobs/7/callback/progress")) == 3)

The protocol "trainer-hooks/1" (a server made with `batch=True` has it; a server of B's answers 404 to both calls)
-----------------------------------------------------------------------------------------------------------------
Paths are relative to `CALLBACK_URL`. JSON in and out, strict (no NaN, no Infinity). Errors carry `{"detail": …}`.

`GET trainer-hooks`
    200 `{"protocol": "trainer-hooks/1", "max_events": 1000, "max_bytes": 4000000}`: what one request may hold.

    With `"heartbeats": true` the server wants to hear, every few seconds, that the training lives:
    `POST training/jobs/{job}/heartbeat` `{"time", "run", "attempt", "state", "idle", "usual", "epoch", "total_epochs",
    "iteration"}`, answered by 200 with a JSON object.

    Any answer may hold `"job_status"`; "cancelled" (or "stopped", …) asks the training to stop at its next epoch.

`POST training/jobs/{job}/events`
    `{"events": [{"id": str, "run": str, "attempt": int, "segment": int, "seq": int, "time": float,
    "event": {"type": str, …}}, …]}`: events in the journal's order. `id` is the idempotency key and opaque to the
    server, `time` is seconds since 1970, `event` is stored as it is, types that the server doesn't know included.

    200 `{"stored": [id, …], "rejected": {id: reason}}`. Every event stands in exactly one of the two.
    `stored`: it is kept, durably, now or since an earlier request; the first content stored under an id stays.
    `rejected`: it never will be. An id that the answer doesn't name is not acknowledged: send the event again.

    404 the job is unknown · 413 more events or more bytes than allowed, nothing was stored: split the batch ·
    422 the body is not of that form, or an event has no readable id to be rejected by; nothing was stored.
    401 (both calls) where a token is required and `Authorization: Bearer` doesn't carry it.
"""

from tests.servers.platform.database import Job
from tests.servers.platform.faults import Reply
from tests.servers.platform.server import PlatformServer, Received

__all__ = ["Job", "PlatformServer", "Received", "Reply"]
