"""All hosts: what is added here gets the whole suite of promises.

A training in a process of its own takes ten seconds, most of them for what the host imports. Where another host or
phase is likely to show the same, it has its turn in `make test-long`. Hosts that `make test` has no room for have an
environment of their own: `make test-hosts` names them in TEST_HOSTS.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from types import ModuleType

import pytest

_NAMES = os.environ.get("TEST_HOSTS", "ultralytics mmengine").split()
_HOSTS = tuple(importlib.import_module(f"tests.hosts.{name}") for name in _NAMES)
HOSTS = [pytest.param(host, id=host.name) for host in _HOSTS]
FIRST_HOST = [pytest.param(host, id=host.name, marks=[pytest.mark.long] * (host is not _HOSTS[0])) for host in _HOSTS]
"""The first one, and in `make test-long` the others."""
HOSTS_IN_EACH_PHASE = [pytest.param(host, phase, id=f"{host.name}-{phase}") for host in _HOSTS for phase in host.PHASES]
HOSTS_IN_PHASES_BY_TURNS = [
    pytest.param(host, phase, id=f"{host.name}-{phase}", marks=[pytest.mark.long] * (place % 2))
    for host in _HOSTS
    for place, phase in enumerate(host.PHASES)
]


def with_host(first: ModuleType) -> pytest.MarkDecorator:
    """With that host, and in `make test-long` with the others."""
    params = [pytest.param(host, id=host.name, marks=[pytest.mark.long] * (host is not first)) for host in _HOSTS]
    return pytest.mark.parametrize("host", params, indirect=True)


def with_hosts_by_turns(name: str, values: Sequence[str], long: Sequence[str] = ()) -> pytest.MarkDecorator:
    """Each of the values with one host, the next with the next; the rest, and the `long` ones, in `make test-long`."""
    params = [
        pytest.param(host, value, id=f"{host.name}-{value}", marks=[pytest.mark.long] * (place % len(_HOSTS) != turn))
        for turn, host in enumerate(_HOSTS)
        for place, value in enumerate(values)
    ]
    params += [
        pytest.param(host, value, id=f"{host.name}-{value}", marks=pytest.mark.long)
        for host in _HOSTS
        for value in long
    ]
    return pytest.mark.parametrize(("host", name), params, indirect=["host"])
