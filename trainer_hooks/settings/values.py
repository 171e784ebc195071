"""What is set in a process: read from all sources, asked by its other names, handed on to other processes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from trainer_hooks.errors import InvalidSetting
from trainer_hooks.settings.credentials import is_secret, masked, read_token
from trainer_hooks.settings.options import ENVIRONMENT, Options
from trainer_hooks.settings.places import HTTP_ADDRESSES, absolute, check_http_address, password_in, without_userinfo
from trainer_hooks.settings.sources import convert, from_arguments, from_environment, from_file

# Runs lie where the submitter looks for them; the file of settings has been read here.
_TOLD_ALWAYS = ("TRAINER_HOOKS_DIR", "TRAINER_HOOKS_CONFIG")
_ADDRESSES = (
    "job_id",
    "callback_url",
    "token_file",
    "storage",
    "storage_endpoint",
    "storage_bucket",
    "retry_delay",
    "clearml",
    "clearml_project",
    "clearml_task",
    "synapse_host",
    "synapse_job",
)


class Settings(Options, frozen=True, kw_only=True, dict=True):
    """What the user has set. Build with `load`; an instance never changes."""

    @classmethod
    def load(cls, *, environ: Mapping[str, str] | None = None, **arguments: Any) -> Settings:
        """Resolve all settings; arguments that are None count as not given.

        Raises:
            InvalidSetting: for a value that can't be used, naming it, its source and what is allowed.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        layers = (from_file(environ), from_environment(environ), from_arguments(arguments))
        for layer in layers:
            for name, (value, source) in layer.items():
                values[name] = convert(name, value, source)
                sources[name] = source
        settings = cls(**values)
        settings.__dict__["sources"] = sources
        for name in HTTP_ADDRESSES:
            check_http_address(name, getattr(settings, name), sources.get(name))
        return settings

    @cached_property
    def sources(self) -> Mapping[str, str]:
        """Where each value that isn't a default came from."""
        return {}

    @property
    def root(self) -> Path:
        """The directory of all runs, absolute."""
        return Path(absolute(self.directory))

    @property
    def storage_uri(self) -> str | None:
        """Where checkpoints go, as one URI; None for nowhere."""
        if self.storage:
            return self.storage
        return f"s3://{self.storage_bucket}" if self.storage_bucket else None

    @property
    def dataset_storage_uri(self) -> str | None:
        """Where datasets come from, as one URI; None for nowhere."""
        if self.dataset_storage:
            return self.dataset_storage
        return f"s3://{self.dataset_bucket}" if self.dataset_bucket else None

    @property
    def cache_root(self) -> Path:
        """The directory of the dataset cache, absolute."""
        return Path(absolute(self.dataset_cache))

    @property
    def model_cache(self) -> Path:
        """The directory of models that were fetched from a backend, absolute."""
        return Path(absolute(self.model_directory))

    @property
    def resumes(self) -> bool:
        """Whether a training goes on where its run's newest attempt has ended."""
        return self.resume == "auto" and self.mode != "disabled"

    @property
    def has_courier(self) -> bool:
        """Whether anything is delivered while the training runs; else it waits for `trainer-hooks sync`."""
        return self.mode == "online" and self.delivery != "none"

    def bearer_token(self) -> str | None:
        """The platform's token, read anew each time: a token file may have been rotated.

        Raises:
            InvalidSetting: if the token file can't be read.
        """
        return self.token or read_token(self.token_file, "TRAINER_HOOKS_TOKEN_FILE")

    def receiver_token(self) -> str | None:
        """The token that the receiver asks for; None for none.

        Raises:
            InvalidSetting: if the token file can't be read, or holds none: nobody is let in by mistake.
        """
        token = self.serve_token or read_token(self.serve_token_file, "TRAINER_HOOKS_SERVE_TOKEN_FILE")
        if self.serve_token_file and not token:
            message = f"TRAINER_HOOKS_SERVE_TOKEN_FILE names {self.serve_token_file!r}, which is empty"
            raise InvalidSetting(message)
        return token

    @property
    def receiver_token_file(self) -> Path | None:
        """The file that the receiver's token is read from, and read again when it changes; None where it is none."""
        return Path(absolute(self.serve_token_file)) if self.serve_token_file and not self.serve_token else None

    def secrets(self) -> list[str]:
        """The credentials among the values, those in addresses, and the one that the token file holds now."""
        values: list[str | None] = [getattr(self, name) for name, variable in ENVIRONMENT.items() if variable.secret]
        for read in (msgspec.structs.replace(self, token=None).bearer_token, self.receiver_token):
            with contextlib.suppress(InvalidSetting):
                values.append(read())
        addresses = (
            self.callback_url,
            self.synapse_host,
            self.storage,
            self.storage_endpoint,
            self.dataset_storage,
            self.dataset_endpoint,
            self.backend,
            self.serve_store,
        )
        return [value for value in (*values, *map(password_in, addresses)) if value]

    def shown(self) -> dict[str, tuple[str, str]]:
        """Each setting's value and source as text that may be printed: credentials are masked."""
        return {
            name: (masked(name, getattr(self, name)), self.sources.get(name, "default"))
            for name in self.__struct_fields__
        }

    def as_environment(self) -> dict[str, str]:
        """The variables that give another process these very settings, credentials included; unset ones are empty."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        given = {other: "" for name in values for other in ENVIRONMENT[name].names[1:]}
        given |= {ENVIRONMENT[name].names[0]: "" if value is None else str(value) for name, value in values.items()}
        # In a process with another working directory, relative paths would mean other places, and so would the file.
        given["TRAINER_HOOKS_DIR"] = str(self.root)
        given["DATASET_CACHE_DIR"] = str(self.cache_root)
        given["TRAINER_HOOKS_MODEL_CACHE"] = str(self.model_cache)
        given["TRAINER_HOOKS_BACKEND"] = self.backend if "://" in self.backend else absolute(self.backend)
        given["TRAINER_HOOKS_TOKEN_FILE"] = absolute(self.token_file) if self.token_file else ""
        given["TRAINER_HOOKS_SERVE_TOKEN_FILE"] = absolute(self.serve_token_file) if self.serve_token_file else ""
        given["TRAINER_HOOKS_CONFIG"] = os.devnull
        return given

    def as_public_environment(self) -> dict[str, str]:
        """The variables that give a process on another machine what is set here; no credential is among them."""
        given = self.as_environment()
        places = {variable: name for name in self.__struct_fields__ for variable in ENVIRONMENT[name].names}
        return {
            variable: without_userinfo(value)
            for variable, value in given.items()
            if variable in _TOLD_ALWAYS or (places[variable] in self.sources and not is_secret(places[variable]))
        }

    def credentials(self) -> list[str]:
        """The variables whose credentials are set here; they are not in `as_public_environment`."""
        return [
            ENVIRONMENT[name].names[0]
            for name in self.__struct_fields__
            if (value := getattr(self, name)) is not None and is_secret(name, value)
        ]

    def addresses(self) -> dict[str, Any]:
        """What a later `trainer-hooks sync` must know to deliver for this run; holds no credential."""
        kept = {name: getattr(self, name) for name in _ADDRESSES}
        kept["token_file"] = absolute(self.token_file) if self.token_file else None
        return {name: without_userinfo(value) for name, value in kept.items() if value is not None}
