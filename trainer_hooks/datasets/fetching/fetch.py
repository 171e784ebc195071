"""A dataset of the platform's, from its storage into the cache."""

from __future__ import annotations

from functools import partial

from trainer_hooks.datasets.caching.cache import Cache, key_of
from trainer_hooks.datasets.caching.workplace import Origin, Workplace
from trainer_hooks.datasets.dataset import Dataset
from trainer_hooks.datasets.fetching.annotation_files import canonical
from trainer_hooks.datasets.fetching.downloads import Progress
from trainer_hooks.datasets.fetching.order import Plan, carry_out
from trainer_hooks.datasets.fetching.stored_datasets import Request, find_source, planned
from trainer_hooks.settings import Settings


def fetch(  # noqa: PLR0913 - what there is to say of a dataset, each by its name
    dataset_id: str | None = None,
    *,
    snapshot_id: str | None = None,
    version_hash: str | None = None,
    uri: str | None = None,
    task: str | None = None,
    whole: bool = False,
    max_missing: int = 0,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """The dataset, from the cache if it is there, else from the storage into the cache.

    Of the storage's `datasets/<dataset_id>/`, or of `uri` itself (`s3://bucket/prefix`, `file:///folder`), the task's
    annotation file and the images it names; without a task, of all annotation files; with `whole`, or where there
    is no annotation file, everything. `version_hash` is the SHA-256 over all annotation files, and is compared;
    with it, a dataset that is in the cache is found without asking the storage. Up to `max_missing` images that are
    named may be missing; they are in the result's `missing`, and asked for each time: the hash doesn't tell of
    images. `progress` is called with the files and bytes that have come so far.

    Raises:
        DatasetError: if it isn't there, isn't whole, has another hash, or names what can't be a file.
        InvalidSetting, MissingPackage: if no storage is named for it, or the storage or the cache can't be used.
        StorageError: if the storage doesn't do what is asked, after several attempts.
        OSError: if the disk is full, or fails.
    """
    settings = settings or Settings.load()
    source = find_source(dataset_id, uri, settings)
    version = (version_hash or "").strip().lower() or None
    request = Request(task=task, whole=whole, max_missing=max_missing, version_hash=version)
    cache = Cache(settings)
    place = {"endpoint": settings.dataset_endpoint, "address": source.address.rstrip("/"), "id": source.dataset_id}
    place["snapshot"] = snapshot_id

    def fill(workplace: Workplace, plan: Plan) -> Origin:
        carry_out(plan, workplace, cache, progress)
        return Origin(source.dataset_id, snapshot_id, source.address, plan.format, plan.missing)

    if version is not None and not max_missing:
        key = key_of(**place, version=version, task=canonical(task), whole=whole)
        return cache.obtain(key, lambda workplace: fill(workplace, planned(source, request, workplace.scratch)))
    with cache.scratch() as scratch:
        plan = planned(source, request, scratch)
        return cache.obtain(key_of(**place, objects=plan.objects(), missing=plan.missing), partial(fill, plan=plan))
