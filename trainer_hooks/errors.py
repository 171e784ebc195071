"""The exceptions of this package, and the classes of host failures.

TrainerHooksError
├── SetupError                what the user can mend: raised at once, with the mend in the message
│   ├── UnknownFramework
│   ├── MissingPackage
│   ├── InvalidSetting
│   ├── InvalidParams         an action's parameters
│   ├── InvalidAction         an action can't be found, or can't be run as it is written
│   ├── RefusedElsewhere      an action's process says so, of any of these
│   ├── AlreadyServed         another receiver has the directory of runs
│   └── CannotResume          what to go on from can't be told: beginning anew would replace it
├── StorageError              an object store or directory could not do what was asked
│   ├── ObjectMissing
│   └── StorageRefused        permission, unknown bucket, malformed key: trying again won't help
├── DatasetError              a dataset is missing, damaged, or holds what can't be used
├── ActionError               an action could not do its work
│   ├── NoDataset             its parameters name no dataset
│   ├── StepError             one of its steps failed
│   ├── ActionStopped         it was asked to stop, and has
│   ├── StepTimedOut
│   └── RemoteFailure         it was done elsewhere, and has not completed there
├── BackendError              the backend of actions can't do what is asked, or can't be reached
│   ├── BackendRefused        it said no, with a status of 4xx
│   └── NotInBackend          it has no such data collection, model, file or job
├── RetryLater                a destination can't deliver now
│   └── NotSent               it was not even sent
└── Rejected                  a destination will never take this event
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

from trainer_hooks.events import ErrorKind


class TrainerHooksError(Exception):
    """Base of all exceptions of this package."""


class SetupError(TrainerHooksError):
    """The user's set-up is wrong; the message says how to mend it."""


class UnknownFramework(SetupError, ValueError):
    """`autolog` was asked for a framework that no integration is known for."""


class MissingPackage(SetupError, ImportError):
    """The framework, or an extra of this package, is not installed."""


class InvalidSetting(SetupError, ValueError):
    """A setting has a value that can't be used; names the setting, its source and what it takes."""


class InvalidParams(SetupError, ValueError):
    """An action's parameters can't be used; names each of them, what it is and what it should be."""


class InvalidAction(SetupError, ValueError):
    """An action can't be found, or can't be run as it is written."""


class RefusedElsewhere(SetupError):
    """The process that was to do an action has found the set-up wrong; it has said so on its own stderr, too."""


class AlreadyServed(SetupError):
    """Another receiver has the directory of runs."""


class CannotResume(SetupError):
    """It was asked to go on where an earlier attempt has ended, and where that is can't be found out.

    It reaches the user's code even from within a host's function: a training that silently began anew would overwrite
    the checkpoints that it should have gone on from.
    """


class StorageError(TrainerHooksError):
    """Storage could not do what was asked; trying again may help."""


class ObjectMissing(StorageError):
    """There is no object under that key."""


class StorageRefused(StorageError):
    """Storage said no, and will say it again: permission, missing bucket, malformed key."""


class DatasetError(TrainerHooksError):
    """A dataset can't be used as it is; the message names the file, the place in it, and the mend."""


class ActionError(TrainerHooksError):
    """An action could not do its work, for a reason that its own code is not to blame for by an exception."""


class NoDataset(ActionError, ValueError):
    """An action asks for its dataset, and its parameters name none."""


class StepError(ActionError, RuntimeError):
    """A workflow step failed; raised from what the step raised, together with what its rollbacks did."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(f"step {step!r} failed: {reason}")
        self.step = step


class ActionStopped(ActionError):
    """An action has stopped between two steps, since the platform wants it to."""


class StepTimedOut(ActionError, TimeoutError):
    """A workflow step took longer than its `timeout`."""


class RemoteFailure(ActionError):
    """An action that was done in another process has not completed.

    `ending` is failed, interrupted or lost. `told`: by the action itself, which would fail the same way again; else its
    process ended without a word.
    """

    def __init__(self, message: str, ending: str, *, told: bool = True) -> None:
        super().__init__(message)
        self.ending = ending
        self.told = told


class BackendError(TrainerHooksError):
    """The backend of actions could not do what was asked; where it was not reached in time, trying again may help."""


class BackendRefused(BackendError):
    """The backend said no, with the HTTP status `status`: the request, or who asks, has to be mended."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status


class NotInBackend(BackendError):
    """The backend has no such data collection, model, file or job."""


class RetryLater(TrainerHooksError):
    """Not delivered; try again, after `after` seconds where the other side said so."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class NotSent(RetryLater):
    """Not even sent: the other side can't have acted."""


class Rejected(TrainerHooksError):
    """Not delivered and never will be: the other side refuses this very event."""


class ErrorType:
    """The eight classes of failure that the platform knows (predecessor B's names and values)."""

    DATASET_ERROR: ErrorKind = "DatasetError"
    CHECKPOINT_ERROR: ErrorKind = "CheckpointError"
    CONFIG_ERROR: ErrorKind = "ConfigError"
    RESOURCE_ERROR: ErrorKind = "ResourceError"
    NETWORK_ERROR: ErrorKind = "NetworkError"
    FRAMEWORK_ERROR: ErrorKind = "FrameworkError"
    VALIDATION_ERROR: ErrorKind = "ValidationError"
    UNKNOWN_ERROR: ErrorKind = "UnknownError"


_RESOURCE_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE})


def classify(error: BaseException) -> ErrorKind:
    """Which of the eight classes a host's exception belongs to.

    Looks at the exception's type, its errno and what it was raised from; the text decides only where torch and the
    frameworks tell different troubles apart in no other way, and then by how it begins. What tells nothing by itself,
    such as a missing file, is the dataset's trouble if a dataset was reading.
    """
    links = list(_chain(error))
    if any(isinstance(link, (OSError, EOFError)) and _was_raised_by(link, *_FROM_WORKERS) for link in links):
        return ErrorType.RESOURCE_ERROR  # a worker that was killed in the middle of handing over a batch
    kind = next((kind for kind in map(_classify_one, links) if kind is not None), None)
    if kind is None and any(isinstance(link, _OF_DATA) and _was_raised_by(link, _DATASET) for link in links):
        return ErrorType.DATASET_ERROR
    return kind or ErrorType.UNKNOWN_ERROR


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, then what it was raised from; `raise … from None` ends the chain where its author ended it.

    Of a group, the first one in it: what went wrong before anything else did.
    """
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = _first_of(link) or link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _first_of(group: BaseException) -> BaseException | None:
    """By what it holds: Python 3.10 has no type for it."""
    held = getattr(group, "exceptions", None)
    return held[0] if isinstance(held, tuple) and held and isinstance(held[0], BaseException) else None


def _classify_one(error: BaseException) -> ErrorKind | None:
    if isinstance(error, OSError) and error.errno in _RESOURCE_ERRNOS:
        return ErrorType.RESOURCE_ERROR
    for ancestor in type(error).__mro__:
        kind = _BY_TYPE.get(_name(ancestor))
        if kind is not None:
            return kind
    if isinstance(error, OSError) and str(error.filename).endswith(_CHECKPOINT_SUFFIXES):
        return ErrorType.CHECKPOINT_ERROR
    text = _COLOURS.sub("", str(error))
    return next((kind for beginning, kind in _BY_TEXT if beginning.match(text)), None)


def _was_raised_by(error: BaseException, owner: str, method: str | None = None) -> bool:
    """Whether that method, or any one, of such an object was at work when it was raised."""
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        ancestors = type(frame.f_locals.get("self")).__mro__
        if method in (None, frame.f_code.co_name) and any(_name(ancestor) == owner for ancestor in ancestors):
            return True
        trace = trace.tb_next
    return False


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


_DATASET = "torch.utils.data.dataset.Dataset"
_OF_DATA = (OSError, ValueError, LookupError, EOFError)
# Not where it raises what a worker has raised, which tells more.
_FROM_WORKERS = ("torch.utils.data.dataloader._MultiProcessingDataLoaderIter", "_try_get_data")

# By qualified name, so that no host package is imported to be asked about its exceptions.
_BY_TYPE: dict[str, ErrorKind] = {
    "builtins.MemoryError": ErrorType.RESOURCE_ERROR,
    "torch.OutOfMemoryError": ErrorType.RESOURCE_ERROR,
    "torch.cuda.OutOfMemoryError": ErrorType.RESOURCE_ERROR,
    "builtins.ConnectionError": ErrorType.NETWORK_ERROR,
    "builtins.TimeoutError": ErrorType.NETWORK_ERROR,
    "socket.gaierror": ErrorType.NETWORK_ERROR,
    "ssl.SSLError": ErrorType.NETWORK_ERROR,
    "requests.exceptions.RequestException": ErrorType.NETWORK_ERROR,
    "httpx.HTTPError": ErrorType.NETWORK_ERROR,
    "urllib.error.URLError": ErrorType.NETWORK_ERROR,
    "botocore.exceptions.NoCredentialsError": ErrorType.CONFIG_ERROR,
    "botocore.exceptions.BotoCoreError": ErrorType.NETWORK_ERROR,
    "botocore.exceptions.ClientError": ErrorType.NETWORK_ERROR,
    "torch.distributed.DistError": ErrorType.NETWORK_ERROR,
    "_pickle.UnpicklingError": ErrorType.CHECKPOINT_ERROR,
    "yaml.error.YAMLError": ErrorType.CONFIG_ERROR,
    "json.decoder.JSONDecodeError": ErrorType.CONFIG_ERROR,
    "pydantic_core._pydantic_core.ValidationError": ErrorType.CONFIG_ERROR,
    "builtins.ImportError": ErrorType.FRAMEWORK_ERROR,
    "builtins.NotImplementedError": ErrorType.FRAMEWORK_ERROR,
    "PIL.UnidentifiedImageError": ErrorType.DATASET_ERROR,
    "trainer_hooks.errors.DatasetError": ErrorType.DATASET_ERROR,
    "trainer_hooks.errors.StepTimedOut": ErrorType.UNKNOWN_ERROR,  # a TimeoutError, and not the network's
}

_CHECKPOINT_SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")

# How the messages of torch, torchvision, Ultralytics and MMEngine begin, word for word.
_BEGINNINGS: dict[ErrorKind, tuple[str, ...]] = {
    ErrorType.RESOURCE_ERROR: (
        r"(CUDA|XPU|HIP|MPS backend) out of memory",
        r"CUDA error: (?!device-side assert)",
        r"cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        r"\[enforce fail at alloc_cpu\.cpp:\d+\]",
        r"DataLoader worker \(pid",
        r"unable to (open|allocate) shared memory",
    ),
    ErrorType.DATASET_ERROR: (
        r"Dataset '.*' (error|images not found)",
        r"((train|val): )?No (valid )?(images|labels) found in ",
        r"(train|val): Error loading data from ",
        r"Image Not Found ",
        r"Couldn't find any class folder in ",
        r"Found no valid file for the classes ",
        r"class `\w*Dataset\w*` in ",
    ),
    ErrorType.CHECKPOINT_ERROR: (
        r"PytorchStreamReader failed",
        r"Invalid magic number; corrupt file\?",
        r"Ran out of input$",
        r"Error\(s\) in loading state_dict for ",
        r"No state_dict found in checkpoint file ",
        r"ERROR\W+.* (is not a loadable checkpoint|appears to be an Ultralytics YOLOv5 model)",
        r"Resume checkpoint not found\.",
        r"\S+\.pth can not be found\.",
        r"Checkpoint .* is corrupted with NaN/Inf weights",
    ),
    ErrorType.CONFIG_ERROR: (
        r"'[^']*' is not a valid YOLO argument\.",
        r"'\w+=.*' is (of invalid type|an invalid value)",
        r"Invalid [A-Z]+ 'device=",
        r"'.* is not in the \S+ registry\.",
    ),
    ErrorType.VALIDATION_ERROR: (
        r"(Loss|Fitness) NaN/Inf detected",
        r"Training failed: NaN persisted",
        r"Function '\w+' returned nan values",
    ),
    ErrorType.FRAMEWORK_ERROR: (
        r"CUDA error: device-side assert",
        r"mat1 and mat2 shapes cannot be multiplied",
        r"Expected all tensors to be on the same device",
        r"The size of tensor a \(",
    ),
}
_BY_TEXT = tuple((re.compile(text), kind) for kind, texts in _BEGINNINGS.items() for text in texts)
