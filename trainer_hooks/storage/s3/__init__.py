"""Objects in an S3 bucket: AWS, Ceph, MinIO, and whatever else speaks S3.

boto3 signs and sends the requests; dividing, verifying, resuming and the moment of visibility are ours, since its own
transfer manager does not resume and shows the object when it likes. Servers differ: nothing here relies on a
checksum or a condition that some of them ignore.
"""

from trainer_hooks.storage.s3.store import S3Storage, open  # noqa: A004 - the name that `open_storage` looks for

__all__ = ["S3Storage", "open"]
