"""Log records, by the calls that B's trainers know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast, get_args

from trainer_hooks.events import Level, Logged
from trainer_hooks.redact import Redactor
from trainer_hooks.run import Run
from trainer_hooks.shield import guard


class LogCalls:
    """What a trainer says beside its reports."""

    _run: Run
    _redactor: Redactor

    def log(self, message: str, level: str = "INFO", source: str = "trainer", **metadata: Any) -> None:
        """Tell a log record; CRITICAL and unknown levels count as ERROR."""
        with guard("log"):
            self._tell(message, level, source, metadata)

    def log_info(self, message: str, source: str = "trainer", **metadata: Any) -> None:
        """Tell a log record of level INFO."""
        self.log(message, "INFO", source, **metadata)

    def log_warning(self, message: str, source: str = "trainer", **metadata: Any) -> None:
        """Tell a log record of level WARNING."""
        self.log(message, "WARNING", source, **metadata)

    def log_error(self, message: str, source: str = "trainer", **metadata: Any) -> None:
        """Tell a log record of level ERROR."""
        self.log(message, "ERROR", source, **metadata)

    def log_debug(self, message: str, source: str = "trainer", **metadata: Any) -> None:
        """Tell a log record of level DEBUG."""
        self.log(message, "DEBUG", source, **metadata)

    def log_event(
        self, event_type: str, message: str, data: Mapping[str, Any] | None = None, level: str = "INFO"
    ) -> None:
        """Tell a log record of that event type."""
        with guard("log_event"):
            self._tell(message, level, event_type, data or {})

    def flush_logs(self) -> None:
        """Nothing is left to do: log records are on disk when `log` returns, and on their way."""

    def _tell(self, message: str, level: str, source: str, data: Mapping[str, Any]) -> None:
        known = level.upper() if level.upper() in get_args(Level) else "ERROR"
        self._run.emit(
            Logged(
                level=cast("Level", known),
                message=self._redactor.text(str(message)),
                source=str(source),
                data=self._redactor.mapping(data),
            )
        )
