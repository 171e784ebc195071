"""All hosts: what is added here gets the whole suite of promises."""

from __future__ import annotations

import pytest

from tests.hosts import mmengine, ultralytics

HOSTS = [pytest.param(host, id=host.name) for host in (ultralytics, mmengine)]
HOSTS_IN_EACH_PHASE = [
    pytest.param(host, phase, id=f"{host.name}-{phase}") for host in (ultralytics, mmengine) for phase in host.PHASES
]
