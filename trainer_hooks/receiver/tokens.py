"""Who may call: the bearer of the server's token may do all, that of a job's token may tell of that job."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import re
import stat
import time
from pathlib import Path

from trainer_hooks.errors import InvalidSetting

_log = logging.getLogger("trainer_hooks")
_SHORTEST = 16
_BEARER = re.compile(r"bearer +(?P<token>\S+) *", re.IGNORECASE)
_PURPOSE = b"trainer-hooks job token\n"
_OF_SESSIONS = b"trainer-hooks session\n"
_OFFER = "/trainer-hooks"
# What a job's training calls, below the API's base; the job is the part in the middle.
_OF_A_JOB = re.compile(
    r"/(training|validation|test_inference/inference|export)/jobs/(?P<job>.+)"
    r"/(events|heartbeat|callback/[a-z]+|results|checkpoints/upload-url|runs/[^/]+/images/[^/]+)"
)


class Tokens:
    """The server's token, and those of jobs, which follow from it. Without one, everybody may call.

    A job's token is `<its id in base64url, without padding>.<proof>`. The proof is the HMAC-SHA256, in hex, of a line
    "trainer-hooks job token" and the id behind it, keyed with the server's token: who knows that one can make it.
    """

    def __init__(self, token: str | None, file: Path | None = None) -> None:
        """Use that token; where it is from a file, whatever stands in that from now on.

        Raises:
            InvalidSetting: if it is no token to rely on.
        """
        self._token = _checked(token) if token is not None else None
        self._file = file
        self._read_as: tuple[int, ...] | None = None  # it may have changed since `token` was read from it

    @property
    def current(self) -> str | None:
        """The server's token by now. A file that can't be read, or holds none to rely on, changes nothing."""
        version = _version(self._file)
        if self._file is not None and version is not None and version != self._read_as:
            try:
                self._token = _checked(self._file.read_text().strip())
            except (OSError, UnicodeDecodeError, InvalidSetting) as error:
                _log.warning("the token stays as it was: %s: %s", self._file, error)
            self._read_as = version
        return self._token

    @property
    def are_needed(self) -> bool:
        """Whether a caller has to have one."""
        return self._token is not None

    def of_job(self, job: str) -> str:
        """The token for that job's training.

        Raises:
            InvalidSetting: if the server has none.
        """
        token = self.current
        if token is None:
            raise InvalidSetting("jobs' tokens follow from the server's: set TRAINER_HOOKS_SERVE_TOKEN")
        name = job.encode("utf-8", "surrogatepass")
        proof = hmac.new(token.encode(), _PURPOSE + name, hashlib.sha256).hexdigest()
        return f"{base64.urlsafe_b64encode(name).decode().rstrip('=')}.{proof}"

    def allow(self, authorization: str | None, path: str) -> bool:
        """Whether this `Authorization` may call that path, which is relative to the API's base, and decoded."""
        token = self.current
        if token is None:
            return True
        match = _BEARER.fullmatch(authorization or "")
        given = match["token"] if match else ""
        if _are_equal(given, token):
            return True
        job = _job_of(given)
        if job is None or not _are_equal(given, self.of_job(job)):
            return False
        called = _OF_A_JOB.fullmatch(path)
        return path == _OFFER or (called is not None and called["job"] == job)

    def session(self, given: str, until: int) -> str | None:
        """What a browser brings in place of the token, good until then (unix seconds); None if that isn't the token."""
        token = self.current
        return _session(token, until) if token is not None and _are_equal(given, token) else None

    def allow_session(self, given: str) -> bool:
        """Whether this is a session that has been given, and is still good; another token ends it."""
        until, token = given.partition(".")[0], self.current
        if token is None or not re.fullmatch(r"\d{1,12}", until, re.ASCII) or int(until) < time.time():
            return False
        return _are_equal(given, _session(token, int(until)))


def _session(token: str, until: int) -> str:
    return f"{until}.{hmac.new(token.encode(), _OF_SESSIONS + b'%d' % until, hashlib.sha256).hexdigest()}"


def _checked(token: str) -> str:
    if len(token) < _SHORTEST or not re.fullmatch(r"[\x21-\x7e]+", token):
        message = (
            f"the server's token (TRAINER_HOOKS_SERVE_TOKEN, …_FILE) has to be {_SHORTEST} or more printable ASCII "
            "characters without blanks; make one with: openssl rand -hex 32"
        )
        raise InvalidSetting(message)
    return token


def _version(file: Path | None) -> tuple[int, ...] | None:
    """What changes with a file, also with one that another has taken the place of.

    None where it isn't there, or can be read only once, as the shell's `<(…)` can.
    """
    try:
        found = file.stat() if file else None
    except OSError:
        return None
    if found is None or not stat.S_ISREG(found.st_mode):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _are_equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


def _job_of(token: str) -> str | None:
    """The job that a token says to be of; None if it is none of a job's."""
    name, dot, _ = token.partition(".")
    try:
        return base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode() if dot and name else None
    except ValueError:  # no base64, or no text
        return None
