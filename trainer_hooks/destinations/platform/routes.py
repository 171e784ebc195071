"""Predecessor B's addresses, relative to CALLBACK_URL, and how a job is named in them."""

from __future__ import annotations

import re
from urllib.parse import quote

from trainer_hooks.events import Operation

_LARGEST_ID = 2**63 - 1
WITHOUT_JOB: tuple[Operation, ...] = ("validation", "test")
"""What B has no jobs for: their results are told, their beginning and end only in log records."""
_PREFIXES: dict[Operation, str] = {
    "training": "/training",
    "inference": "/test_inference/inference",
    "export": "/export",
}


def progress(job: str) -> str:
    """Where a training's progress goes."""
    return callback("training", job, "progress")


def logs(job: str) -> str:
    """Where log records go; B has this route for trainings only, and its own SDK uses it for all jobs."""
    return callback("training", job, "logs")


def validation(job: str) -> str:
    """Where validation results go."""
    return f"/validation/jobs/{job_segment(job)}/results"


def callback(operation: Operation, job: str, name: str) -> str:
    """The operation's callback of that name: "started", "completion"; a training has "progress" and "logs", too."""
    return f"{_PREFIXES[operation]}/jobs/{job_segment(job)}/callback/{name}"


def job_segment(job: str) -> str:
    """The job's id as one segment of a path."""
    quoted = quote(job, safe="")
    return quoted if job.strip(".") else quoted.replace(".", "%2E")  # "." and ".." would be walked


def job_in_body(job: str) -> int | str:
    """The job's id as B's bodies want it: a number where it is one, for ids are opaque elsewhere."""
    is_number = re.fullmatch(r"0|[1-9]\d{0,18}", job, re.ASCII) and int(job) <= _LARGEST_ID
    return int(job) if is_number else job
