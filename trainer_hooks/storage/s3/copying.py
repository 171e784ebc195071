"""Copying a large object within the bucket: S3 copies at most 5 GB by one request."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from trainer_hooks.errors import StorageError
from trainer_hooks.storage.s3.calls import Calls, NothingDone, if_same
from trainer_hooks.storage.s3.parts import PART_SIZE_NAME, Part, in_parallel, own_metadata, plan


def copy_in_parts(
    calls: Calls, source: Mapping[str, Any], head: Mapping[str, Any], new_key: str, *, part_size: int, workers: int
) -> bool:
    """Copy the object that `source` names and `head` describes; False where the server has no such request.

    Raises:
        StorageError: nothing has been put under `new_key`.
    """
    parts = plan(head["ContentLength"], part_size)
    metadata = {**own_metadata(head), PART_SIZE_NAME: str(parts[0].size)}
    upload = calls("create_multipart_upload", new_key, Metadata=metadata)["UploadId"]

    def copy(part: Part) -> dict[str, Any]:
        request: dict[str, Any] = {"UploadId": upload, "PartNumber": part.number, "CopySource": source}
        request |= {"CopySourceRange": f"bytes={part.offset}-{part.last}", **if_same("CopySourceIfMatch", head)}
        answer = calls("upload_part_copy", new_key, **request)["CopyPartResult"]
        if "ETag" not in answer:  # taken for the upload of an empty part
            raise NothingDone
        return {**answer, "PartNumber": part.number}

    try:
        with ThreadPoolExecutor(workers, thread_name_prefix="s3-copy") as pool:
            copied = in_parallel(pool, copy, parts)
        listed = [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in copied]
        calls("complete_multipart_upload", new_key, UploadId=upload, MultipartUpload={"Parts": listed})
    except NothingDone:
        calls("abort_multipart_upload", new_key, UploadId=upload)
        return False
    except StorageError:
        calls("abort_multipart_upload", new_key, UploadId=upload)
        raise
    return True
