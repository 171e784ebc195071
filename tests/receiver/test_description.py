"""The OpenAPI description: valid, and no call that it allows, or forbids, is answered by a 500."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.receiver.serving import Receiver

TOOLS = Path(__file__).parent.parent.parent / "tools"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def description(receiver: Receiver) -> Any:
    answer = receiver.http.get(receiver.url.removesuffix("/api/v1") + "/openapi.json")
    assert answer.status_code == 200
    return answer.json()


def test_the_description_is_valid_and_tells_of_every_route(shared: Receiver) -> None:
    validator = pytest.importorskip("openapi_spec_validator", reason="of the group test")
    found = description(shared)
    validator.validate(found)
    assert "/api/v1/training/jobs/{job}/events" in found["paths"]
    for path, methods in found["paths"].items():
        for method, told in methods.items():
            assert told["description"], (method, path)
            assert "401" in told["responses"], (method, path)


def test_every_body_has_an_example(shared: Receiver) -> None:
    found = description(shared)
    for path, methods in found["paths"].items():
        for method, told in methods.items():
            for content in told.get("requestBody", {}).get("content", {}).values():
                assert "example" in content or _examples(content["schema"], found), (method, path)


def test_the_page_of_calls_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    http_page = importlib.import_module("http_page")
    assert http_page.PAGE.read_text() == http_page.page()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_no_call_that_can_be_invented_is_answered_by_a_500(start: Any, tmp_path: Path) -> None:
    tool = Path(sys.executable).with_name("st")
    if not tool.exists():
        pytest.skip("schemathesis is in an environment of its own: make test-receiver")
    receiver = start()
    address = receiver.url.removesuffix("/api/v1")
    command = [tool, "run", f"{address}/openapi.json", "--url", address, "--checks", CHECKS]
    options = [
        "--max-examples",
        "30",
        "--phases",
        "examples,fuzzing",
        "--exclude-tag",
        "streams",  # which do not end
        "--seed",
        "1",
        "--request-timeout",
        "60",
        "--suppress-health-check",
        "all",
    ]
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, timeout=380, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
    assert receiver.http.get("/runs").status_code == 200


def _examples(schema: Any, found: Any) -> bool:
    """Whether the schema, or a part of it, gives one."""
    name = schema.get("$ref", "").rpartition("/")[2]
    schema = found["components"]["schemas"][name] if name else schema
    parts = [*schema.get("properties", {}).values(), *schema.get("anyOf", [])]
    return "examples" in schema or any(
        "examples" in part or ("$ref" in part and _examples(part, found)) for part in parts
    )
