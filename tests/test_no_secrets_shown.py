"""No secrets out of a run that is shown or exported later, by somebody who does not know them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.parts import invoke
from tests.receiver.serving import Receiver
from tests.test_no_secrets_out import BY_VALUE, IN_ADDRESSES, ROOT, found_in, trained

WHY = "exports have an environment of their own: make test-export"
PAGES = ("/", "/run/r", "/compare?run=r&run=r")
CALLS = [
    *("/runs", "/runs/r", "/runs/r/logs", "/runs/r/ledger", "/runs/r/metrics", "/runs/r/series?metric=loss"),
    "/diff?run=r&run=r",
]
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def shown(tmp_path: Path, own_environment: Path) -> Path:
    """The directory of runs, with one whose every place had a canary."""
    addresses = {name: form.format(secret) for name, (form, secret) in IN_ADDRESSES.items()}
    done = trained(tmp_path, {**os.environ, **BY_VALUE, **addresses, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    return own_environment


def told(*arguments: str) -> str:
    result = invoke("runs", *arguments)
    assert result.exit_code in (0, 1), result.output  # 1: the run that is watched has failed
    return result.output


def test_on_a_screen_and_in_plain_exports(shown: Path) -> None:
    assert shown
    for arguments, word in [
        (("ls",), "failed"),
        (("show", "r"), "ConnectionError"),
        (("watch", "r"), "ConnectionError"),
        (("export", "r"), '"use_cls_token":true'),
        (("export", "r", "--format", "csv"), "****/ap"),
    ]:
        output = told(*arguments)
        assert word in output
        assert found_in(output) == [], arguments


def test_on_the_page_and_in_its_api(shown: Path) -> None:
    pytest.importorskip("jinja2", reason="of the extra receiver")
    with Receiver(shown) as receiver:
        site = receiver.url.removesuffix("/api/v1")
        answers = [receiver.http.get(address) for address in [*(site + page for page in PAGES), *CALLS]]
    assert [(answer.url.path, answer.status_code) for answer in answers if answer.status_code != 200] == []
    assert [(answer.url.path, found_in(answer.text)) for answer in answers if found_in(answer.text)] == []
    assert "use_cls_token" in answers[1].text
    assert found_in("".join(receiver.said)) == []


def test_in_parquet(shown: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason=WHY)
    assert shown
    told("export", "r", "--format", "parquet", "-o", str(tmp_path / "a.parquet"))
    table = parquet.read_table(tmp_path / "a.parquet")
    assert "****/ap" in table["metric"].to_pylist()
    assert found_in(f"{table.to_pylist()} {table.schema.metadata}") == []


def test_in_tensorboard(shown: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason=WHY)
    assert shown
    told("export", "r", "--format", "tensorboard", "-o", str(tmp_path / "logs"))
    (file,) = (tmp_path / "logs/r").iterdir()
    assert b"use_cls_token" in file.read_bytes()
    assert found_in(file.read_bytes()) == []


@pytest.mark.filterwarnings("default")  # of MLflow, SQLAlchemy and their like
def test_in_mlflow(shown: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason=WHY)
    pytest.importorskip("alembic", reason=WHY)
    assert shown
    told("export", "r", "--format", "mlflow", "-o", f"sqlite:///{tmp_path}/mlflow.db")
    content = (tmp_path / "mlflow.db").read_bytes()
    assert b"use_cls_token" in content
    assert found_in(content) == []
