"""The border: the host can't tell that we are there, and nothing of ours gets through."""

from __future__ import annotations

import functools
import gc
import inspect
import logging
import signal
import sys
import threading
import weakref

import pytest

from tests.waiting import wait_until
from trainer_hooks import shield
from trainer_hooks.shield import Observer, Patch, ask, attempt, caught, followed, guard, harmless, observed, redirected

swallows = pytest.mark.swallows


class Watching(Observer):
    """Notes what it is told, and raises `fault` each time if there is one."""

    def __init__(self, fault: BaseException | None = None) -> None:
        self.told: list[tuple[object, ...]] = []
        self._fault = fault

    def _note(self, *what: object) -> None:
        self.told.append(what)
        if self._fault is not None:
            raise self._fault

    def before(self, *arguments, **options):
        self._note("before", arguments, options)

    def returned(self, *arguments, **options):
        self._note("returned", arguments, options)

    def raised(self, error, *arguments, **options):
        self._note("raised", error, arguments, options)


class Host:
    """A host's class."""

    calls = 0

    def train(self, epochs: int, *, lr: float = 0.1) -> object:
        """Train."""
        Host.calls += 1
        if epochs < 0:
            raise self.error
        return self.result if lr else None

    error: BaseException = ValueError("the host's own")
    result = object()


class Heir(Host):
    """Inherits `train`."""


FAULTS = [
    None,
    RuntimeError("ours"),
    RecursionError(),
    MemoryError(),
    AssertionError(),
    StopIteration(),
    OSError(28, "x"),
]
every_fault = pytest.mark.parametrize("fault", FAULTS, ids=repr)


@pytest.fixture
def patched():
    """Wraps `Host.train`, and puts it back at the end."""
    patches = []

    def patch(observer: Observer) -> None:
        patches.append(Patch(Host, "train", observed(observer)))
        Host.calls = 0

    yield patch
    while patches:
        patches.pop().undo()


# The host's call


@swallows
@every_fault
def test_the_host_gets_its_own_result_and_is_called_once(patched, fault):
    watching = Watching(fault)
    patched(watching)
    host = Host()
    assert host.train(3, lr=0.5) is Host.result
    assert Host.calls == 1
    assert watching.told == [("before", (host, 3), {"lr": 0.5}), ("returned", (Host.result, host, 3), {"lr": 0.5})]


@swallows
@every_fault
@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3), GeneratorExit()], ids=repr)
def test_the_host_gets_its_own_exception_object(patched, fault, error):
    watching = Watching(fault)
    patched(watching)
    host = Host()
    host.error = error
    error.__cause__ = cause = KeyError("the reason")
    with pytest.raises(type(error)) as seen:
        host.train(-1)
    assert seen.value is error
    assert error.__cause__ is cause
    assert error.__context__ is None
    assert Host.calls == 1
    assert watching.told == [("before", (host, -1), {}), ("raised", error, (host, -1), {})]


def test_a_call_with_wrong_arguments_fails_as_it_would_without_us(patched):
    with pytest.raises(TypeError) as without:
        Host().train()
    patched(Watching())
    with pytest.raises(TypeError) as with_us:
        Host().train()
    assert str(with_us.value) == str(without.value)


def test_the_wrapper_looks_like_the_original(patched):
    original, signature = Host.train, inspect.signature(Host.train)
    patched(Watching())
    assert inspect.signature(Host.train) == signature
    assert (Host.train.__name__, Host.train.__qualname__, Host.train.__doc__) == (
        original.__name__,
        original.__qualname__,
        original.__doc__,
    )
    assert inspect.unwrap(Host.train) is original


def test_what_passes_through_is_not_kept(patched):
    class Big:
        pass

    patched(Observer())
    big = Big()
    gone = weakref.ref(big)
    Host().train(3, lr=big)
    del big
    gc.collect()
    assert gone() is None


def test_an_interrupt_that_strikes_in_our_code_is_the_users(patched):
    for interrupt in (KeyboardInterrupt(), SystemExit(1)):
        patched(Watching(interrupt))
        with pytest.raises(type(interrupt)) as seen:
            Host().train(1)
        assert seen.value is interrupt


# Putting back


def test_undo_puts_back_the_very_object():
    original = vars(Host)["train"]
    patch = Patch(Host, "train", observed(Observer()))
    assert vars(Host)["train"] is not original
    patch.undo()
    assert vars(Host)["train"] is original


def test_undo_leaves_no_copy_of_an_inherited_one():
    patch = Patch(Heir, "train", observed(Observer()))
    assert "train" in vars(Heir)
    patch.undo()
    assert "train" not in vars(Heir)
    assert Heir.train is Host.train


def test_patches_of_one_function_are_undone_from_the_outside_in():
    original = vars(Host)["train"]
    inner, outer = Patch(Host, "train", observed(Observer())), Patch(Host, "train", observed(Observer()))
    outer.undo()
    inner.undo()
    assert vars(Host)["train"] is original


def test_what_others_have_wrapped_again_is_left_alone(caplog):
    original = vars(Host)["train"]
    patch = Patch(Host, "train", observed(Observer()))
    Host.train = theirs = functools.partialmethod(vars(Host)["train"])
    try:
        patch.undo()
        assert vars(Host)["train"] is theirs
        assert "Host.train was wrapped again by others" in caplog.text
    finally:
        Host.train = original


def test_one_that_others_have_wrapped_again_only_passes_on(announcer):
    _, heard = announcer
    original, watching, again, host = vars(Host)["train"], Watching(), Watching(), Host()
    patches = [
        Patch(Host, "train", observed(watching)),
        Patch(Announcer, "run_callbacks", followed({"on_end": heard.append})),
    ]
    functions = vars(Host)["train"], vars(Announcer)["run_callbacks"]
    try:
        Host.train, Announcer.run_callbacks = (lambda *a, f=f, **o: f(*a, **o) for f in functions)
        for patch in patches:
            patch.undo()
        assert host.train(3) is Host.result
        assert watching.told == []
        with pytest.raises(ValueError, match="the host's own"):
            host.train(-1)
        assert Announcer().run_callbacks("on_end") == "ON_END"
        assert [told[0] for told in heard] == ["on_end"], "to the fixture's alone"
        patches.append(Patch(Host, "train", observed(again)))
        assert host.train(3) is Host.result
        patches.pop().undo()
    finally:
        Host.train, Announcer.run_callbacks = original, functions[1].__wrapped__
    assert watching.told == []
    assert [what for what, *_ in again.told] == ["before", "returned"]


# Other arguments


def test_a_call_is_redirected_where_there_is_an_answer():
    patch = Patch(Host, "train", redirected(lambda host, epochs: ((host,), {"epochs": -1}) if epochs == 1 else None))
    try:
        assert Host().train(3) is Host.result
        with pytest.raises(ValueError, match="the host's own"):
            Host().train(1)
        patch.active = False
        assert Host().train(1) is Host.result
    finally:
        patch.undo()


@swallows
def test_where_the_answer_fails_the_call_is_as_it_was():
    patch = Patch(Host, "train", redirected(lambda *_: 1 / 0))
    try:
        assert Host().train(3) is Host.result
    finally:
        patch.undo()
    assert dict(caught) == {"Host.train: ZeroDivisionError": 1}


# Announcements


class Announcer:
    def __init__(self) -> None:
        self.ran = []

    def run_callbacks(self, event: str, *_: object) -> str:
        self.ran.append(event)
        if event == "on_fault":
            raise ValueError("the user's callback")
        return event.upper()


@pytest.fixture
def announcer():
    heard = []
    handlers = {
        name: functools.partial(lambda name, host: heard.append((name, host)), name) for name in ("on_end", "on_fault")
    }
    patch = Patch(Announcer, "run_callbacks", followed(handlers))
    yield Announcer(), heard
    patch.undo()


def test_an_announcement_is_followed_by_its_handler(announcer):
    host, heard = announcer
    assert host.run_callbacks("on_end") == "ON_END"
    assert host.run_callbacks(event="on_batch") == "ON_BATCH"
    assert heard == [("on_end", host)]
    assert host.ran == ["on_end", "on_batch"]


def test_its_handler_hears_what_is_announced_behind_the_name():
    heard = []
    patch = Patch(Announcer, "run_callbacks", followed({"on_end": lambda *announced: heard.append(announced)}))
    host = Announcer()
    try:
        host.run_callbacks("on_end", 1, 2)
    finally:
        patch.undo()
    assert heard == [(host, 1, 2)]


def test_it_is_followed_also_when_a_callback_of_the_users_raises(announcer):
    host, heard = announcer
    with pytest.raises(ValueError, match="the user's callback"):
        host.run_callbacks("on_fault")
    assert heard == [("on_fault", host)]


@swallows
def test_a_fault_in_a_handler_stays_inside():
    patch = Patch(
        Announcer, "run_callbacks", followed({"on_end": lambda host: host.missing, "on_fault": lambda _: 1 / 0})
    )
    host = Announcer()
    try:
        assert host.run_callbacks("on_end") == "ON_END"
        with pytest.raises(ValueError, match="the user's callback"):
            host.run_callbacks("on_fault")
    finally:
        patch.undo()
    assert dict(caught) == {"on_end: AttributeError": 1, "on_fault: ZeroDivisionError": 1}


# Our own work


@swallows
def test_what_is_caught_is_counted_and_said_once(caplog):
    for _ in range(3):
        with guard("saving"):
            raise KeyError("x")
    with guard("saving"):
        raise ValueError("y")
    assert dict(caught) == {"saving: KeyError": 3, "saving: ValueError": 1}
    assert [record.name for record in caplog.records] == ["trainer_hooks"] * 2
    assert caplog.records[0].exc_info[0] is KeyError
    assert "saving" in caplog.text
    assert "the training goes on" in caplog.text


def test_an_interrupt_passes_the_guard():
    for interrupt in (KeyboardInterrupt, SystemExit):
        with pytest.raises(interrupt), guard("saving"):
            raise interrupt
    assert not caught


@swallows
def test_the_guard_holds_where_the_hosts_logging_raises():
    class Faulty(logging.Handler):
        def handle(self, _):
            raise RuntimeError("a handler of the host's")

    handler = Faulty()
    logging.getLogger("trainer_hooks").addHandler(handler)
    try:
        with guard("saving with faulty logging"):
            raise ValueError("x")
    finally:
        logging.getLogger("trainer_hooks").removeHandler(handler)
    assert caught["saving with faulty logging: ValueError"] == 1


@swallows
def test_the_guard_holds_for_an_error_without_words():
    class Wordless(Exception):
        def __str__(self):
            raise ValueError("no words")

    with guard("saving"):
        raise Wordless
    assert sum(caught.values()) == 1


@swallows
@pytest.mark.timeout(60, method="thread")  # the timer of the other method is needed here
def test_the_guard_may_be_entered_by_a_signal_handler_while_it_reports():
    handled = []

    def handler(number, _):
        with guard("handling a signal"):
            handled.append(number)
            raise ValueError("x")

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    try:
        turns = 0
        while len(handled) < 1000:
            turns += 1
            with guard("busy"):
                raise KeyError("x")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert caught["busy: KeyError"] == turns
    # A handler that strikes while the same one is counting may go uncounted.
    assert 0 < caught["handling a signal: ValueError"] <= len(handled)


class Alarm:
    """Handlers of the host's that raise, of each kind there is."""

    def raising(self, *_):
        raise TimeoutError("the host's alarm")

    def raising_further_down(self, *_):
        self.raising()

    def __call__(self, *_):
        raise TimeoutError("the host's alarm")


ALARMS = {
    "method": Alarm().raising,
    "further down": lambda *_: Alarm().raising_further_down(),
    "object": Alarm(),
    "partial": functools.partial(functools.partial(Alarm.raising, Alarm()), "more"),
}


@pytest.fixture(params=ALARMS.values(), ids=ALARMS)
def alarm(request):
    """Sets the host's alarm, to go off very soon."""
    before = signal.signal(signal.SIGALRM, request.param)
    yield lambda: signal.setitimer(signal.ITIMER_REAL, 0.01)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def work_for_long():
    wait_until(lambda: False)


@pytest.mark.timeout(60, method="thread")  # as above
def test_what_the_hosts_signal_handler_raises_while_we_are_busy_is_the_hosts(alarm, patched):
    class Busy(Observer):
        def before(self, *_, **__):
            work_for_long()

    patched(Busy())
    for ours in (lambda: attempt("copying", work_for_long), lambda: ask(work_for_long), Host().train):
        alarm()
        with pytest.raises(TimeoutError, match="the host's alarm"):
            ours()
    assert Host.calls == 0
    assert not caught


@swallows
def test_our_own_errors_stay_inside_where_a_signal_handler_of_the_hosts_calls_us():
    def handler(*_):
        with guard("saving in a handler"):
            [].pop()
        attempt("reading in a handler", int, "x")
        with guard("calling what is no handler"):
            Alarm().raising()

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.raise_signal(signal.SIGALRM)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert sum(caught.values()) == 3


@swallows
def test_threads_are_all_counted():
    def fail() -> None:
        for _ in range(200):
            with guard("in a thread"):
                raise ValueError("x")

    threads = [threading.Thread(target=fail) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert caught["in a thread: ValueError"] == 1600


@swallows
def test_harmless_and_attempt_give_the_result_or_none():
    @harmless
    def half(number):
        """Half of it."""
        return number / 2

    assert half(3) == 1.5
    assert half("x") is None
    assert half.__doc__ == "Half of it."
    assert attempt("reading", int, "7") == 7
    assert attempt("reading", int, "x") is None
    assert set(caught) == {
        "test_harmless_and_attempt_give_the_result_or_none.<locals>.half: TypeError",
        "reading: ValueError",
    }


def test_asking_gives_the_answer_or_the_exception_and_reports_nothing():
    error = ValueError("x")

    def raises():
        raise error

    assert ask(lambda: 7) == 7
    assert ask(raises) is error
    assert not caught
    with pytest.raises(KeyboardInterrupt):
        ask(lambda: signal.raise_signal(signal.SIGINT))


def test_an_observer_of_nothing_does_nothing():
    observer = Observer()
    observer.before(1)
    observer.returned(1)
    observer.raised(ValueError(), 1)
    assert shield.caught == {}
    assert sys.exc_info() == (None, None, None)
