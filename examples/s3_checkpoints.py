"""Checkpoints in S3, or in any store that speaks it, and their way back.

    pip install "trainer-hooks[s3]"
    export INTERNAL_STORAGE_ENDPOINT=http://localhost:9000 INTERNAL_STORAGE_ACCESS_KEY=… INTERNAL_STORAGE_SECRET_KEY=…
    python examples/s3_checkpoints.py s3://bucket/prefix

Without an endpoint it is Amazon's S3, and without keys boto3 looks for them where it always does.
"""

import sys
from pathlib import Path

import trainer_hooks

storage = sys.argv[1]
checkpoint = Path("last.bin")

with trainer_hooks.start_run(run_id="to-s3", storage=storage) as run:
    for epoch in run.epochs(3):
        checkpoint.write_bytes(bytes([epoch]) * 1_000_000)  # rewritten in place: what is uploaded is a private copy
        run.log_checkpoint(checkpoint, epoch=epoch)
    if not run.flush(60):
        sys.exit("not stored within a minute; `trainer-hooks sync` sends it later")

# Anywhere else, by the run's name alone: fetched, and compared with its manifest.
checkpoint.unlink()
found = trainer_hooks.get_checkpoint(run_id="to-s3", storage=storage)
if found is None:
    sys.exit(f"nothing of this run is in {storage}")
print(found.epoch, found.path.stat().st_size)
