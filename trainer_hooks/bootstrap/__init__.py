"""What `sitecustomize`, beside this file, does once a framework is there. This folder lies on the child's path.

`recorded` does the same within a process, for a while.

When to attach is not written down anywhere: it is when the host has imported those of the framework's modules that the
integration's own import statements name. Earlier, attaching would import what a data-loading worker or a command like
`yolo settings` never asked for (0.6 s with Ultralytics, all of torch with MMEngine).
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io
import sys
import threading
import tokenize
from collections.abc import Iterator, Sequence

from trainer_hooks.autologging import attached, autolog
from trainer_hooks.bootstrap.sitecustomize import Watch
from trainer_hooks.errors import SetupError
from trainer_hooks.settings import autolog_frameworks
from trainer_hooks.shield import guard

_GROUP = "trainer_hooks.integrations"
_NO_WORDS = {tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT}


@contextlib.contextmanager
def recorded(frameworks: Sequence[str]) -> Iterator[None]:
    """Within this block the frameworks' trainings are recorded, also those of a framework that is imported in it.

    Below `trainer-hooks run`, its frameworks' are recorded afterwards, too. Blocks of several threads may overlap: what
    was attached for one of them stays until the last one ends.
    """
    with _blocks.one_more():
        awaited: dict[str, str] = {}
        for framework in frameworks:
            with guard(f"attaching to {framework}"):
                missing = still_missing(framework) if framework in sys.modules else {framework}
                awaited.update(dict.fromkeys(missing, framework))
                if not missing:
                    attach(framework)
        watch = Watch(awaited)
        sys.meta_path.insert(0, watch)
        try:
            yield
        finally:
            sys.meta_path.remove(watch)


class _Blocks:
    """How many blocks of `recorded` are open, and what stays attached when there is none any more."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._open = 0
        self._stay: set[str] = set()

    @contextlib.contextmanager
    def one_more(self) -> Iterator[None]:
        with self._turn:
            if not self._open:
                self._stay = {*attached().frameworks, *autolog_frameworks()}
            self._open += 1
        try:
            yield
        finally:
            with self._turn:
                self._open -= 1
                if not self._open:
                    self._detach()

    def _detach(self) -> None:
        for framework in set(attached().frameworks) - self._stay:
            with guard(f"detaching from {framework}"):
                attached().detach(framework)


_blocks = _Blocks()


def still_missing(framework: str) -> set[str]:
    """The framework's modules that its integration imports and that nobody has imported yet."""
    return {name for name in _imports(_source(framework), framework) if name not in sys.modules}


def attach(framework: str) -> None:
    """`autolog(framework)`, for a host that didn't ask for it: the user's mistakes are said, and it goes on."""
    if _is_being_imported(f"{_GROUP}.{framework}"):  # somebody else is attaching at this very moment
        return
    try:
        autolog(framework)
    except SetupError as error:
        sys.stderr.write(f"trainer_hooks: {framework} is not recorded: {error}\n")


def _is_being_imported(module: str) -> bool:
    spec = getattr(sys.modules.get(module), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))


def _source(framework: str) -> str:
    points = importlib.metadata.entry_points(group=_GROUP, name=framework)
    name = next((point.module for point in points), f"{_GROUP}.{framework}")
    spec = importlib.util.find_spec(name)
    get_source = getattr(spec.loader, "get_source", None) if spec else None
    return (get_source(name) if get_source else None) or ""


def _imports(source: str, framework: str) -> Iterator[str]:
    for kind, *words in _outermost_statements(source):
        names: list[str] = []
        if kind == "import":
            names = [clause.split(" as ")[0] for clause in " ".join(words).split(",")]
        elif kind == "from":
            names = [" ".join(words[: words.index("import")])]
        modules = (name.replace(" ", "") for name in names)
        yield from (module for module in modules if module.split(".")[0] == framework)


def _outermost_statements(source: str) -> Iterator[list[str]]:
    """The words of each statement that is not indented."""
    # No `ast`: two threads that build syntax trees at once disturb each other up to Python 3.11 (a SystemError).
    statement: list[tokenize.TokenInfo] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NEWLINE:
            if statement[0].start[1] == 0:
                yield [token.string for token in statement]
            statement = []
        elif token.type not in _NO_WORDS:
            statement.append(token)
