"""`trainer-hooks doctor`, with canaries in every setting and servers that say them back; it imports every framework."""

from __future__ import annotations

import pytest

from tests.servers.platform import PlatformServer
from tests.test_no_secrets_out import FAULTS, assert_nothing_printed, command, environment, refusing_store

pytestmark = pytest.mark.timeout(110)


def test_doctor_prints_no_secret() -> None:
    with PlatformServer(jobs=("7",)) as server, refusing_store() as refusing:
        server.script(FAULTS)
        storage = {"TRAINER_HOOKS_STORAGE": "s3://bucket/x", "INTERNAL_STORAGE_ENDPOINT": f"http://{refusing}"}
        environ = environment(server, **storage)
        checked = command(environ, "doctor")
        as_json = command({**environ, "TRAINER_HOOKS_TOKEN": ""}, "doctor", "--json")
    assert checked.returncode == as_json.returncode == 1
    assert "storage" in checked.stdout
    assert_nothing_printed(checked, as_json)
