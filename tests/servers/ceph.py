"""A real Ceph object store on loopback: one monitor, one OSD in memory, one RADOS gateway; about 15 s to start.

Needs Ceph's programs: `apt-get install --no-install-recommends radosgw ceph-mon ceph-osd ceph-common`.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

from tests.servers.s3 import BUCKET, S3Server, free_port, wait_for_port

_ACCESS_KEY, _SECRET_KEY = "ceph-access", "ceph-secret"
_CONFIG = """
[global]
fsid = {fsid}
mon_host = v1:127.0.0.1:{monitor_port}
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
keyring = {root}/keyring
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_msgr2 = false
run_dir = {root}
log_file = {root}/$name.log
admin_socket = {root}/$name.asok
setuser_match_path = {root}
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
osd_objectstore = memstore
memstore_device_bytes = 4294967296
mon_allow_pool_size_one = true
mon_data_avail_crit = 1
osd_class_load_list = *
osd_class_default_list = *

[mon.a]
mon_data = {root}/mon
[osd.0]
osd_data = {root}/osd
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:{gateway_port} tcp_nodelay=1
rgw_thread_pool_size = 16
"""


@contextlib.contextmanager
def ceph_server(root: Path) -> Iterator[S3Server]:
    """The store, with its data in the folder and `BUCKET` made; it checks credentials and the sizes of parts."""
    ports = {"monitor_port": free_port(), "gateway_port": free_port()}
    fsid = str(uuid.uuid4())
    config = root / "ceph.conf"
    config.write_text(_CONFIG.format(root=root, fsid=fsid, **ports))
    for name in ("mon", "osd"):
        (root / name).mkdir()
    (root / "keyring").touch()
    with contextlib.ExitStack() as stack:
        _start_monitor(stack, config, fsid, ports["monitor_port"])
        _start_osd(stack, config)
        keys = ["--access-key", _ACCESS_KEY, "--secret-key", _SECRET_KEY]
        _run(config, "radosgw-admin", "user", "create", "--uid", "test", "--display-name", "test", *keys)
        gateway = stack.enter_context(_daemon(config, "radosgw", "-n", "client.rgw"))
        wait_for_port(ports["gateway_port"], gateway, seconds=60)
        url = f"http://127.0.0.1:{ports['gateway_port']}"
        server = S3Server(url, _ACCESS_KEY, _SECRET_KEY, checks_credentials=True)
        server.client().create_bucket(Bucket=BUCKET)
        yield server


def _start_monitor(stack: contextlib.ExitStack, config: Path, fsid: str, port: int) -> None:
    monmap = str(config.with_name("monmap"))
    _run(config, "monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v1:127.0.0.1:{port}]", monmap)
    _run(config, "ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
    wait_for_port(port, stack.enter_context(_daemon(config, "ceph-mon", "-i", "a")))


def _start_osd(stack: contextlib.ExitStack, config: Path) -> None:
    osd = str(uuid.uuid4())
    _run(config, "ceph", "osd", "new", osd, "0")
    _run(config, "ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
    # Now and then an OSD greets its monitor too early, is told "wrong fsid", and ends: then it is started again.
    for _ in range(5):
        process = stack.enter_context(_daemon(config, "ceph-osd", "-i", "0"))
        while process.poll() is None:
            if " 1 up" in _run(config, "ceph", "osd", "stat"):
                return
    message = "ceph-osd ended five times; see osd.0.log"
    raise RuntimeError(message)


def _run(config: Path, *command: str) -> str:
    environment = {**os.environ, "CEPH_CONF": str(config)}
    done = subprocess.run(command, env=environment, check=True, timeout=60, capture_output=True, text=True)
    return done.stdout


@contextlib.contextmanager
def _daemon(config: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "CEPH_CONF": str(config)}
    process = subprocess.Popen([*command, "-f"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
