"""The one place that knows boto3: the client, its settings, and its exceptions made ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from trainer_hooks.errors import InvalidSetting, MissingPackage, ObjectMissing, StorageError, StorageRefused
from trainer_hooks.storage.s3.calls import Interrupted, NoSuchRange, NothingDone, UploadGone

try:
    import boto3.session
    from botocore.config import Config
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        HTTPClientError,
        IncompleteReadError,
        NoCredentialsError,
        ParamValidationError,
        PartialCredentialsError,
    )
    from urllib3.exceptions import HTTPError
except ImportError as error:
    _missing = 'storage on S3 needs boto3: pip install "trainer-hooks[s3]"'
    raise MissingPackage(_missing) from error

# Older servers refuse the newer checksums; what is stored is compared by MD5 instead. botocore before 1.36 has neither
# them nor the options.
_CHECKSUMS = {
    name: "when_required"
    for name in ("request_checksum_calculation", "response_checksum_validation")
    if name in Config.OPTION_DEFAULTS
}
# For the callers' own threads besides the workers; a connection beyond these is closed after use.
_CONNECTIONS = 32
# Which of the two stores this is, nobody here knows.
_ENDPOINT = "INTERNAL_STORAGE_ENDPOINT (of datasets: EXTERNAL_STORAGE_ENDPOINT)"


def connect(endpoint: str | None, access_key: str | None, secret_key: str | None) -> Any:
    """A client; nothing is sent yet."""
    if endpoint is not None and (not endpoint.startswith(("http://", "https://")) or "@" in endpoint):
        message = f"{_ENDPOINT} must be http://host:port or https://host:port, without credentials"
        raise InvalidSetting(message)
    session = boto3.session.Session()
    try:
        return session.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            # Servers of one's own have no regions, but signing needs some name.
            region_name=session.region_name or ("us-east-1" if endpoint else None),
            config=_config(endpoint),
        )
    except (BotoCoreError, ValueError) as error:
        message = f"the S3 client can't be set up: {error}; correct {_ENDPOINT} or the AWS_… variables"
        raise InvalidSetting(message) from error


def _config(endpoint: str | None) -> Config:
    return Config(
        signature_version="s3v4",
        connect_timeout=5,
        read_timeout=30,
        # Once: the courier tries again. And botocore draws its waits from the global random generator: in a thread of
        # the training, that is the training's.
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=_CONNECTIONS,
        tcp_keepalive=True,
        s3={
            "addressing_style": "path" if endpoint else "auto",
            # The content is verified by its MD5; a SHA-256 for the signature would be a second pass over it.
            "payload_signing_enabled": False,
        },
        **_CHECKSUMS,
    )


class BucketCalls:
    """`Calls` by a boto3 client, which may be used from several threads."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def __call__(self, operation: str, key: str, **arguments: Any) -> dict[str, Any]:
        """One request."""
        with self.errors(operation, key):
            answer: dict[str, Any] = getattr(self._client, operation)(Bucket=self._bucket, Key=key, **arguments)
            return answer

    def pages(self, operation: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        """All pages of a listing."""
        with self.errors(operation, arguments.get("Key", arguments.get("Prefix", ""))):
            yield from self._client.get_paginator(operation).paginate(Bucket=self._bucket, **arguments)

    def head(self, key: str) -> dict[str, Any]:
        """`head_object`, with the reason of a refusal."""
        with self.errors("head_object", key):
            try:
                answer: dict[str, Any] = self._client.head_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:  # noqa: PLR2004
                    raise
                # The answer to a GET says why: no such key or no such bucket, a wrong signature or no permission.
                self._client.get_object(Bucket=self._bucket, Key=key, Range="bytes=0-0")["Body"].close()
                raise
            return answer

    def presigned(self, operation: str, key: str, seconds: int) -> str:
        """An address for that request, good for so many seconds; nothing is sent."""
        with self.errors(operation, key):
            parameters = {"Bucket": self._bucket, "Key": key}
            address: str = self._client.generate_presigned_url(operation, Params=parameters, ExpiresIn=seconds)
            return address

    @contextlib.contextmanager
    def errors(self, operation: str, key: str) -> Iterator[None]:
        """Inside, botocore's and urllib3's exceptions become ours."""
        try:
            yield
        except ClientError as error:
            raise _answered(error, f"{operation} s3://{self._bucket}/{key}") from error
        except (BotoCoreError, HTTPError) as error:
            raise _not_answered(error, f"{operation} s3://{self._bucket}/{key}") from error


_CREDENTIALS = (
    "check INTERNAL_STORAGE_ACCESS_KEY and INTERNAL_STORAGE_SECRET_KEY (of datasets: EXTERNAL_STORAGE_…), or what "
    "boto3's own chain finds"
)
_MENDS = {
    "AccessDenied": "these credentials may not do this; docs/storage.md lists the permissions needed",
    "InvalidAccessKeyId": f"the server doesn't know this access key; {_CREDENTIALS}",
    "SignatureDoesNotMatch": f"the secret key doesn't fit the access key; {_CREDENTIALS}",
    "NoSuchBucket": (
        "create the bucket, or correct TRAINER_HOOKS_STORAGE or INTERNAL_BUCKET_CHECKPOINTS (of datasets: "
        "TRAINER_HOOKS_DATASET_STORAGE or EXTERNAL_BUCKET_DATASETS)"
    ),
    "RequestTimeTooSkewed": "this machine's clock is wrong",
    "ExpiredToken": "the credentials have expired and none newer were found yet",
}
# Refused now, but it mends without us: the chain finds newer credentials, a clock or a quota is put right.
_MENDING = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidToken",
        "TokenRefreshRequired",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "QuotaExceeded",
    }
)
_REFUSED = frozenset(
    {
        "NoSuchBucket",
        "InvalidBucketName",
        "KeyTooLongError",
        "InvalidArgument",
        "InvalidURI",
        "EntityTooLarge",
        "MetadataTooLarge",
        "MethodNotAllowed",
        "NotImplemented",
        "PermanentRedirect",
        "AuthorizationHeaderMalformed",
        "XMinioInvalidObjectName",
    }
)
_MISSING = frozenset({"NoSuchKey", "NotFound", "404"})
_BUSY = frozenset({"SlowDown", "RequestTimeout", "ServiceUnavailable", "OperationAborted"})


def _answered(error: ClientError, what: str) -> StorageError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    # The server's own words are left out for refusals: some repeat the request, and with it what was signed.
    reason = _MENDS.get(code) or ("" if status in (401, 403) else error.response.get("Error", {}).get("Message", ""))
    return _kind(code, status)(f"{what}: {code} ({status}) {reason}".rstrip())


def _kind(code: str, status: int) -> type[StorageError]:
    if code in _MISSING:
        return ObjectMissing
    if not code and status == 200:  # noqa: PLR2004 - botocore 1.34 misses something in the answer; newer leave it out
        return NothingDone
    if code == "NoSuchUpload":
        return UploadGone
    if code == "InvalidRange":
        return NoSuchRange
    if code in _REFUSED or (status in (401, 403) and code not in _MENDING):
        return StorageRefused
    return Interrupted if code in _BUSY or status in (408, 429, 502, 503, 504) else StorageError


def _not_answered(error: BotoCoreError | HTTPError, what: str) -> StorageError:
    # By name only: the texts of these hold addresses, and whatever else was in them.
    reason = f"{what}: {type(error).__name__}"
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        # Without that name: what stands behind a word such as "credentials" and a colon is masked as a secret.
        return StorageRefused(f"{what}: no credentials were found; {_CREDENTIALS}")
    if isinstance(error, ParamValidationError):
        return StorageRefused(f"{reason}: {error}")
    broken = isinstance(error, (HTTPClientError, IncompleteReadError, HTTPError))
    return Interrupted(reason) if broken else StorageError(reason)
