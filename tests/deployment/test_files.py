"""What deploy/ names is there: commands and their options, settings, extras, addresses, files, other manifests."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml
from compose_spec import PyCompose
from dockerfile_parse import DockerfileParser

from tests.pages.test_commands import read
from tests.receiver.serving import Receiver
from trainer_hooks.cli import main
from trainer_hooks.cli.serve import serve
from trainer_hooks.receiver.web import health
from trainer_hooks.settings import ENVIRONMENT, Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
DOCKERFILES = [DEPLOY / "Dockerfile", DEPLOY / "trainers" / "Dockerfile"]
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
COMPOSE: Any = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OLDEST, NEWEST = "1.29", "1.36"  # native sidecars are on by default from 1.29 on
OURS = {name for env in ENVIRONMENT.values() for name in env.names}
OF_OTHERS = {"PYTHONUNBUFFERED", "KEY", "SECRET", "POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD"}
USER = 10001


def instructions(path: Path) -> list[dict[str, str]]:
    with path.open("rb") as file:
        return [
            {"name": one["instruction"], "value": one["value"]}
            for one in DockerfileParser(fileobj=file).structure
            if one["instruction"] != "COMMENT"
        ]


def values(path: Path, name: str) -> list[str]:
    return [one["value"] for one in instructions(path) if one["name"] == name]


def documents() -> Iterator[Any]:
    for path in MANIFESTS:
        yield from yaml.safe_load_all(path.read_text())


def of_kind(kind: str) -> list[Any]:
    return [document for document in documents() if document["kind"] == kind]


def pods() -> list[Any]:
    return [document["spec"]["template"]["spec"] for document in (*of_kind("Deployment"), *of_kind("Job"))]


def containers() -> list[Any]:
    return [one for pod in pods() for one in (*pod.get("initContainers", []), *pod["containers"])]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_is_what_kubernetes_takes(path: Path, version: str) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        kubernetes_validate.validate(document, version, strict=True)


def test_the_compose_file_is_what_compose_takes() -> None:
    found = PyCompose.from_yaml((DEPLOY / "compose.yaml").read_text())
    assert set(found.service_names()) == {"receiver", "database", "s3", "bucket"}


def commands() -> Iterator[list[str]]:
    (entry,), (command,) = (values(DOCKERFILES[0], name) for name in ("ENTRYPOINT", "CMD"))
    yield [*yaml.safe_load(entry), *yaml.safe_load(command)]
    yield from (["trainer-hooks", *one["args"]] for one in containers() if one["image"] == "trainer-hooks")
    for entry, command in zip(*(values(DOCKERFILES[1], name) for name in ("ENTRYPOINT", "CMD")), strict=True):
        yield [*yaml.safe_load(entry), *yaml.safe_load(command)]
    yield [
        "trainer-hooks",
        "run",
        "--",
        *(word for one in containers() if one["name"] == "train" for word in one["args"]),
    ]


@pytest.mark.parametrize("command", list(commands()), ids=shlex.join)
def test_what_an_image_starts_is_a_command_of_ours(command: list[str]) -> None:
    assert command[0] == "trainer-hooks"
    read(main, command[1:], click.Context(main))


def test_every_variable_is_one_of_the_settings() -> None:
    named = {
        name for path in DOCKERFILES for name in re.findall(r"^(?:ENV | {4})([A-Z_]+)=", path.read_text(), re.MULTILINE)
    }
    named |= {one["name"] for container in containers() for one in container.get("env", [])}
    named |= {name for document in of_kind("ConfigMap") for name in document["data"]}
    named |= {name for name, service in COMPOSE["services"].items() if name != "s3" for name in service["environment"]}
    named |= set(re.findall(r"--from-literal=([A-Z_]+)=", "".join(path.read_text() for path in MANIFESTS)))
    assert named - OURS == OF_OTHERS & named
    assert {"TRAINER_HOOKS_DIR", "JOB_ID", "TRAINER_HOOKS_SERVE_TOKEN_FILE", "TRAINER_HOOKS_TOKEN"} <= named


def test_values_are_ones_that_the_settings_take() -> None:
    for document in of_kind("ConfigMap"):
        Settings.load(environ=document["data"])
    for container in containers():
        Settings.load(environ={one["name"]: one["value"] for one in container.get("env", []) if "value" in one})


def test_the_extras_of_an_image_are_extras_of_the_package() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = re.findall(r"whl\)\[([a-z0-9,]+)\]", DOCKERFILES[1].read_text()) + [
        value.partition("=")[2] for value in values(DOCKERFILES[0], "ARG") if value.startswith("EXTRAS=")
    ]
    assert len(named) == 3
    assert {extra for one in named for extra in one.split(",")} <= set(extras)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_what_an_image_copies_is_in_the_context(path: Path) -> None:
    defaults = dict(value.split("=", 1) for value in values(path, "ARG") if "=" in value)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for value in values(path, "COPY"):
        if "--from" in value:
            continue
        for source in value.split()[:-1]:
            place = re.sub(r"\$\{(\w+)\}", lambda name: defaults[name[1]], source).removeprefix("./")
            assert (ROOT / place).exists(), place
            assert f"!{place.split('/')[0]}" in ignored


def test_health_is_asked_for_where_it_is_answered() -> None:
    port = next(option.default for option in serve.params if option.name == "port")
    (check,) = values(DOCKERFILES[0], "HEALTHCHECK")
    assert f"127.0.0.1:{port}{health.PATH}'" in check
    assert values(DOCKERFILES[0], "EXPOSE") == [str(port)]
    (receiver,) = (one for one in containers() if one["name"] == "receiver")
    probes = [receiver[f"{what}Probe"]["httpGet"] for what in ("startup", "liveness", "readiness")]
    assert probes == [{"path": health.PATH, "port": "http"}] * 3
    assert receiver["ports"] == [{"name": "http", "containerPort": port}]
    assert [service["spec"]["ports"][0]["port"] for service in of_kind("Service")] == [port]
    assert f"receiver:{port}" in (DEPLOY / "nginx.conf").read_text()


def test_manifests_name_what_is_there() -> None:
    made = {document["metadata"]["name"] for document in documents()}
    text = "".join(path.read_text() for path in MANIFESTS)
    secrets = {*re.findall(r"create secret generic (\S+)", text), "runs-example-tls"}
    named = set(re.findall(r"(?:secretName|claimName): (\S+)", text))
    named |= set(re.findall(r"(?:configMapRef|secretRef|secretKeyRef|service):\n\s+name: (\S+)", text))
    assert named <= made | secrets
    for pod in pods():
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in (*pod.get("initContainers", []), *pod["containers"]):
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def test_the_run_directory_is_one_place_of_one_user() -> None:
    for path in DOCKERFILES:
        users = set(values(path, "USER")) | set(re.findall(r"--uid (\d+)", path.read_text()))
        assert users == {str(USER)}
        assert "TRAINER_HOOKS_DIR=/runs" in path.read_text()
    assert {pod["securityContext"]["runAsUser"] for pod in pods()} == {USER}
    assert {mount["mountPath"] for one in containers() for mount in one["volumeMounts"] if mount["name"] == "runs"} == {
        "/runs"
    }


def test_the_sidecar_has_time_for_its_last_delivery() -> None:
    (pod,) = (document["spec"]["template"]["spec"] for document in of_kind("Job"))
    (sidecar,) = pod["initContainers"]
    (flush,) = (one["value"] for one in sidecar["env"] if one["name"] == "TRAINER_HOOKS_FLUSH_TIMEOUT")
    assert pod["terminationGracePeriodSeconds"] > float(flush)
    assert sidecar["restartPolicy"] == "Always"
    assert pod["shareProcessNamespace"] is True


def test_the_healthcheck_of_the_image_tells_whether_the_receiver_answers(tmp_path: Path) -> None:
    (check,) = values(DOCKERFILES[0], "HEALTHCHECK")
    program = yaml.safe_load(check.partition("CMD ")[2])[2]
    with Receiver(tmp_path, token="0123456789abcdef-token") as receiver:
        here = program.replace("127.0.0.1:8765", "{}:{}".format(*receiver.place))
        assert run(here) == 0
        receiver.kill()
        assert run(here) == 1


def run(program: str) -> int:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=os.environ, capture_output=True, timeout=30, check=False).returncode


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_receiver_that_is_asked_to_end_has_not_failed(tmp_path: Path, number: signal.Signals) -> None:
    with Receiver(tmp_path) as receiver:
        receiver.process.send_signal(number)
        assert receiver.process.wait(20) == 0
