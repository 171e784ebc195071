"""The tests' platform as a process of its own: prints its address and serves until it is terminated."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.servers.platform import PlatformServer

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", action="store_true", help="offer the protocol trainer-hooks/1")
    server = PlatformServer(batch=parser.parse_args().batch, integer_jobs=False)
    with server:
        print(server.url, flush=True)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
