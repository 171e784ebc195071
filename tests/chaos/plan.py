"""What goes wrong and when: drawn from one seed, so that it can be drawn again.

The plan is the same each time. What it meets is not: a kill after 0.31 s hits what the training does just then.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from tests.servers.platform import Reply

Host: TypeAlias = Literal["loop", "ultralytics", "mmengine"]
Victim: TypeAlias = Literal["training", "courier", "both"]
Pause: TypeAlias = Literal["none", "short", "until the courier is gone"]

_STORMS = 60
_REPLIES = 250
_KILLS = {"loop": (6, 10), "ultralytics": (1, 2), "mmengine": (1, 3)}
# How long a training is at work after its first word; a kill is drawn within it.
_WORKS_FOR = {"loop": 2.2, "ultralytics": 3.0, "mmengine": 2.0}


@dataclass(frozen=True)
class Kill:
    """SIGKILL: `after` so many seconds from the training's first word, or from its process's start."""

    victim: Victim
    after: float
    from_start: bool
    gap: float
    """Where both are killed, the seconds between them."""
    courier_first: bool
    pause: Pause
    """Before the next attempt begins."""


@dataclass(frozen=True)
class Storm:
    """After `pause` seconds of calm, the fault `kind` of a proxy for `lasts` seconds."""

    target: Literal["platform", "storage"]
    kind: str
    pause: float
    lasts: float
    amount: int = 0


@dataclass(frozen=True)
class Plan:
    """One seed's fate. `flip`: behind which attempt a bit of its undelivered journal is flipped on the disk."""

    seed: int
    host: Host
    batch: bool
    max_events: int
    """The most that the platform takes in one batch."""
    delivery: Literal["process", "thread"]
    store: Literal["moto", "rclone"]
    kills: list[Kill]
    storms: list[Storm]
    replies: list[Reply] = field(repr=False)
    probes: list[Reply] = field(repr=False)
    """Replies to the question which protocol the platform speaks."""
    flip: int | None = None

    def __str__(self) -> str:
        kills = ", ".join(f"{kill.victim} {kill.after:.2f} s" for kill in self.kills)
        flip = "" if self.flip is None else f"; a bit flips behind attempt {self.flip}"
        wire = f"batches of {self.max_events}" if self.batch else "B"
        return (
            f"seed {self.seed}: {self.host}, {wire}, courier as {self.delivery}, {self.store}; "
            f"{len(self.kills)} kills ({kills}){flip}"
        )


def draw(seed: int, *, host: Host | None = None) -> Plan:
    """The plan of that seed. Of twenty seeds, three each are a framework's."""
    source = random.Random(seed)
    chosen = host or _host(seed)
    store = source.choice(("moto", "rclone"))
    kills = [_kill(source, chosen) for _ in range(source.randint(*_KILLS[chosen]))]
    return Plan(
        seed=seed,
        host=chosen,
        batch=seed % 2 == 0,
        max_events=source.choice((2, 5, 20)),
        delivery="thread" if source.random() < 0.25 else "process",
        store=store,
        kills=kills,
        storms=[_storm(source, checks=store == "rclone") for _ in range(_STORMS)],
        replies=[_reply(source) for _ in range(_REPLIES)],
        probes=[_probe(source) for _ in range(_REPLIES)],
        flip=source.randrange(len(kills)) if chosen == "loop" and source.random() < 0.4 else None,
    )


def _host(seed: int) -> Host:
    return {3: "ultralytics", 7: "mmengine", 10: "ultralytics", 14: "mmengine", 16: "ultralytics", 18: "mmengine"}.get(
        seed % 20, "loop"
    )


def _kill(source: random.Random, host: Host) -> Kill:
    from_start = source.random() < 0.15
    return Kill(
        victim=source.choices(("training", "courier", "both"), (6, 2, 4))[0],
        after=source.uniform(0, _WORKS_FOR[host]),
        from_start=from_start,
        gap=source.choice((0.0, source.uniform(0, 0.02), source.uniform(0, 0.3))),
        courier_first=source.random() < 0.5,
        pause=source.choices(("none", "short", "until the courier is gone"), (5, 3, 2))[0],
    )


def _storm(source: random.Random, *, checks: bool) -> Storm:
    target = source.choice(("platform", "storage"))
    kinds = ["refuse", "cut", "stall", "rate", "cut upstream", "cut downstream"]
    # A flipped bit may hit what a request is about, and not its content; only a server that checks signatures notices.
    if target == "storage" and checks:
        kinds += ["flip upstream", "flip downstream"] * 2
    kind = source.choice(kinds)
    amounts = {"rate": (2_000, 20_000) if target == "platform" else (100_000, 1_000_000)}
    return Storm(
        target=target,
        kind=kind,
        pause=source.uniform(0, 0.8),
        lasts=source.uniform(0.05, 1.2),
        amount=source.randint(*amounts.get(kind, (0, 4_000) if target == "platform" else (0, 300_000))),
    )


def _reply(source: random.Random) -> Reply:
    if source.random() < 0.6:
        return Reply()
    return source.choice((*_FAULTS, *_FAULTS, Reply(422)))


def _probe(source: random.Random) -> Reply:
    return Reply() if source.random() < 0.6 else source.choice(_LOST_OR_LATE)


_LOST_OR_LATE = (
    Reply(500),
    Reply(503),
    Reply(commit_then_drop=True),
    Reply(reset=True),
    Reply(truncate=True),
    Reply(delay=0.3),
)
_FAULTS = (
    *_LOST_OR_LATE,
    Reply(502),
    Reply(429),
    Reply(429, headers={"Retry-After": "1"}),
    Reply(503, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    Reply(200, body=b"<html>please log in</html>", content_type="text/html"),
    Reply(drip=400.0),
    Reply(commit_then_drop=True),
    Reply(reset=True),
)
