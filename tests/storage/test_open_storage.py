"""Which store a URI opens, and what is said of one that can't be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trainer_hooks.errors import InvalidSetting, StorageRefused
from trainer_hooks.storage import open_storage


def test_an_unknown_scheme_is_refused_with_the_known_ones():
    for uri in ("gs://bucket", "local://x", "_keys://x", "s4://bucket"):
        with pytest.raises(InvalidSetting, match=r"no storage is known .*known: file, s3"):
            open_storage(uri)


def test_what_is_not_a_uri_is_refused_and_not_repeated():
    with pytest.raises(InvalidSetting, match=r"write s3://bucket/prefix or file:///path") as refusal:
        open_storage("wJalrXUtnFEMI-a-secret")
    assert "wJalrXUtnFEMI" not in str(refusal.value)


@pytest.mark.parametrize("uri", ["file://host/path", "file://relative", "file:///a?b", "file:///a#b"])
def test_a_malformed_file_uri_is_refused(uri: str):
    with pytest.raises(InvalidSetting, match="file:///absolute/path"):
        open_storage(uri)


@pytest.mark.parametrize("uri", ["s3://", "s3:///key", "s3://key:secret@bucket/x", "s3://bucket:9000/x"])
def test_a_malformed_s3_uri_is_refused_and_not_repeated(uri: str):
    with pytest.raises(InvalidSetting, match="s3://bucket/prefix") as refusal:
        open_storage(uri)
    assert "secret" not in str(refusal.value)


def test_a_prefix_no_key_could_have_is_refused():
    with pytest.raises(InvalidSetting, match="prefix"):
        open_storage("s3://bucket/a/../b")


@pytest.mark.parametrize("endpoint", ["minio:9000", "http://user:secret@minio:9000", "http://", "ftp://x"])
def test_a_malformed_endpoint_is_refused_and_not_repeated(endpoint: str):
    with pytest.raises(InvalidSetting, match=r"INTERNAL_STORAGE_ENDPOINT.*EXTERNAL_STORAGE_ENDPOINT") as refusal:
        open_storage("s3://bucket", endpoint=endpoint, access_key="a" * 8, secret_key="s" * 8)
    assert "secret" not in str(refusal.value)


def test_one_key_without_the_other_is_refused():
    with pytest.raises(InvalidSetting, match=r"both keys or none.*EXTERNAL_STORAGE_SECRET_KEY"):
        open_storage("s3://bucket", access_key="only-this")


def test_percent_signs_in_a_file_uri_are_decoded(tmp_path: Path):
    store = open_storage((tmp_path / "with blank").as_uri())
    store.put_bytes(b"x", "key")
    assert (tmp_path / "with blank" / "key").read_bytes() == b"x"
    assert store.uri("key") == f"{tmp_path.as_uri()}/with%20blank/key"


def test_a_prefix_makes_no_difference_to_the_keys():
    store = open_storage("s3://bucket/some/prefix/", endpoint="http://127.0.0.1:9", access_key="a", secret_key="b")
    assert store.uri("a b") == "s3://bucket/some/prefix/a b"
    with pytest.raises(StorageRefused):
        store.uri("k" * 1020)  # with the prefix, it is too long


def test_an_entry_point_adds_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "their_store.py").write_text("def open(uri, **options):\n    return (uri, options)\n")
    metadata = tmp_path / "their_store-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-store\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[trainer_hooks.storage]\ntheirs = their_store:open\n")
    monkeypatch.syspath_prepend(tmp_path)

    opened = open_storage("theirs://place", endpoint="http://there")

    assert opened == ("theirs://place", {"endpoint": "http://there", "access_key": None, "secret_key": None})
    with pytest.raises(InvalidSetting, match="known: file, s3, theirs"):
        open_storage("gs://bucket")


def in_a_new_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout


def test_boto3_is_imported_only_where_s3_is_opened():
    code = (
        "import sys, trainer_hooks.storage as storage; storage.open_storage('file:///x'); print('boto3' in sys.modules)"
    )
    assert in_a_new_process(code) == "False\n"


def test_without_boto3_the_package_to_install_is_named():
    code = (
        "import sys; sys.modules['boto3'] = None\n"
        "from trainer_hooks.errors import MissingPackage\n"
        "from trainer_hooks.storage import open_storage\n"
        "try: open_storage('s3://bucket')\n"
        "except MissingPackage as error: print(error)"
    )
    assert 'pip install "trainer-hooks[s3]"' in in_a_new_process(code)
