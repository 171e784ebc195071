"""The tests' ClearML server as a process of its own: prints its address and serves until it is terminated."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.servers.clearml import ClearMLServer

if __name__ == "__main__":
    with ClearMLServer().serving() as server:
        print(server.port, flush=True)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
