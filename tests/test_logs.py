"""The host's log records are forwarded, each once, and its logging stays exactly as it is."""

from __future__ import annotations

import gc
import itertools
import logging
import logging.handlers
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from trainer_hooks import start_run
from trainer_hooks.events import EpochEnded, Logged
from trainer_hooks.journal import read_records
from trainer_hooks.ledger import read_ledger
from trainer_hooks.logs import LogForwarder
from trainer_hooks.run import Run


class Told(list):
    """What a run was told: (level, message, source)."""

    def __call__(self, message: str, level: str, *, source: str) -> None:
        self.append((level, message, source))


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def forwarder(told):
    made = LogForwarder(told, "INFO")
    made.listen("")
    yield made
    made.stop()


@pytest.fixture
def logger(request):
    """A logger of the test's own, at DEBUG."""
    found = logging.getLogger(f"host.{request.node.name}")
    found.setLevel(logging.DEBUG)
    return found


def state_of_logging() -> list[tuple[object, ...]]:
    loggers = [logging.getLogger(), logging.getLogger("ultralytics"), logging.getLogger("host")]
    return [
        (logging.Logger.callHandlers, logging.Logger.handle, logging.lastResort, logging.getLogRecordFactory()),
        *[(one.level, list(one.handlers), list(one.filters), one.propagate, one.disabled) for one in loggers],
    ]


@pytest.mark.usefixtures("forwarder")
def test_a_record_is_told_with_level_message_and_source(logger, told):
    logger.info("epoch %d of %s", 3, "10")
    logger.warning("low on space")
    logger.error("gone")
    assert told == [
        ("INFO", "epoch 3 of 10", logger.name),
        ("WARNING", "low on space", logger.name),
        ("ERROR", "gone", logger.name),
    ]


@pytest.mark.usefixtures("forwarder")
def test_levels_below_the_setting_are_left_out_and_others_are_given_the_next_known_one(logger, told):
    logger.debug("details")
    logger.log(15, "more than a detail")
    logger.critical("the end")
    logging.addLevelName(25, "\x1b[32mNOTICE\x1b[0m")
    logger.log(25, "of note")
    assert told == [("ERROR", "the end", logger.name), ("INFO", "of note", logger.name)]


def test_at_debug_everything_the_logger_lets_through_is_told(logger, told):
    forwarder = LogForwarder(told, "DEBUG")
    forwarder.listen("")
    logger.debug("details")
    logger.log(5, "a trace")
    logger.setLevel(logging.INFO)
    logger.debug("no more details")
    forwarder.stop()
    assert told == [("DEBUG", "details", logger.name)]


@pytest.mark.usefixtures("forwarder")
def test_a_traceback_goes_along(logger, told):
    try:
        _ = {}["the reason"]
    except KeyError:
        logger.exception("it failed")
    (level, message, _) = told[0]
    assert level == "ERROR"
    assert message.startswith("it failed\nTraceback (most recent call last):")
    assert message.endswith("KeyError: 'the reason'")


@pytest.mark.usefixtures("forwarder")
def test_colours_are_removed_and_blank_records_left_out(logger, told):
    logger.info("\x1b[34m\x1b[1mtrain: \x1b[0m32 images")
    logger.info("\x1b[0m \n")
    logger.info("")
    assert told == [("INFO", "train: 32 images", logger.name)]


@pytest.mark.usefixtures("forwarder")
def test_what_we_say_ourselves_is_never_forwarded(told):
    for name in ("trainer_hooks", "trainer_hooks.courier"):
        logging.getLogger(name).warning("ours")
    logging.getLogger("trainer_hooksy").warning("the host's")
    assert told == [("WARNING", "the host's", "trainer_hooksy")]


@pytest.mark.usefixtures("forwarder")
def test_what_a_delivering_thread_makes_libraries_say_is_never_forwarded(logger, told):
    threads = [
        threading.Thread(target=logger.warning, args=("retrying",), name="trainer_hooks platform"),
        threading.Thread(target=logger.warning, args=("the host's own",), name="loader"),
    ]
    for thread in threads:
        thread.start()
        thread.join()
    assert told == [("WARNING", "the host's own", logger.name)]


def test_forwarding_that_logs_itself_begets_no_other_record(logger):
    told = []

    def tell(message, level, *, source):  # noqa: ARG001 - as a run takes it
        told.append(message)
        logging.getLogger("trainer_hooks").warning("metrics skipped")

    forwarder = LogForwarder(tell, "INFO")
    forwarder.listen("")
    logger.warning("once")
    forwarder.stop()
    assert told == ["once"]


def test_a_record_that_reaches_several_loggers_is_told_once(forwarder, logger, told):
    forwarder.listen("host")
    forwarder.listen(logger.name)
    forwarder.listen("")
    logger.warning("once")
    assert len(told) == 1


def test_a_logger_that_does_not_propagate_is_told_where_it_is_named(forwarder, logger, told):
    logger.propagate = False
    logger.warning("unheard")
    forwarder.listen(logger.name)
    logger.warning("heard")
    logger.getChild("part").warning("heard, too")
    assert [message for _, message, _ in told] == ["heard", "heard, too"]


def test_nothing_of_ours_is_put_on_a_record(logger):
    """Handlers that pickle records, such as those of several processes, get what they would get without us."""
    queue = multiprocessing.Queue()
    sent, seen = logging.handlers.QueueHandler(queue), []
    logger.addHandler(sent)
    logger.addFilter(lambda record: seen.append(sorted(vars(record))) or True)
    forwarders = [LogForwarder(lambda *_, **__: None, "INFO"), LogForwarder(lambda *_, **__: None, "INFO")]
    for forwarder in forwarders:
        forwarder.listen("")
    try:
        logger.info("one of %d", 3)
        got = queue.get(timeout=30)
    finally:
        for forwarder in forwarders:
            forwarder.stop()
        logger.removeHandler(sent)
        queue.close()
        queue.join_thread()
    assert got.getMessage() == "one of 3"
    assert set(vars(got)) - {"message", "asctime"} == set(seen[0])


class LoggerOfAHeir(logging.Logger):
    """As a library's that adds to the method it inherits."""

    def callHandlers(self, record):  # noqa: N802 - logging's name
        super().callHandlers(record)


def test_a_record_that_two_methods_pass_on_is_told_once(forwarder, told):
    own = LoggerOfAHeir("heir")
    own.parent = logging.getLogger()
    own.addHandler(logging.NullHandler())
    forwarder.listen(own)
    own.warning("heard")
    own.warning("heard")
    assert [message for _, message, _ in told] == ["heard", "heard"]


class LoggerOfItsOwn(logging.Logger):
    """As MMEngine's: outside of the tree of loggers, and with a method of its own."""

    def callHandlers(self, record):  # noqa: N802 - logging's name
        for handler in self.handlers:
            handler.handle(record)


def test_a_logger_of_a_kind_of_its_own_can_be_listened_to(forwarder, told):
    own, found = LoggerOfItsOwn("mmengine"), LoggerOfItsOwn.callHandlers
    own.warning("unheard")
    forwarder.listen(own)
    own.warning("heard")
    LoggerOfItsOwn("another").warning("not listened to")
    assert told == [("WARNING", "heard", "mmengine")]
    forwarder.stop()
    assert vars(LoggerOfItsOwn)["callHandlers"] is found


@pytest.mark.usefixtures("forwarder")
def test_disabled_loggers_and_filters_count_as_for_the_host(logger, told):
    logger.addFilter(lambda record: "secret" not in record.msg)
    logger.info("a secret")
    logger.info("no such thing")
    logger.disabled = True
    logger.info("disabled")
    assert [message for _, message, _ in told] == ["no such thing"]


def test_two_runs_are_both_told_and_each_stops_by_itself(logger):
    first, second = Told(), Told()
    forwarders = [LogForwarder(first, "INFO"), LogForwarder(second, "ERROR")]
    for forwarder in forwarders:
        forwarder.listen("")
    logger.error("to both")
    forwarders[0].stop()
    logger.error("to one")
    forwarders[1].stop()
    logger.error("to nobody")
    assert [message for _, message, _ in first] == ["to both"]
    assert [message for _, message, _ in second] == ["to both", "to one"]


def test_stop_leaves_logging_exactly_as_it_was_found(told):
    before = state_of_logging()
    forwarder = LogForwarder(told, "INFO")
    forwarder.listen("")
    forwarder.listen("ultralytics")
    assert state_of_logging()[1:] == before[1:], "no logger is touched while it listens, either"
    forwarder.stop()
    forwarder.stop()
    assert state_of_logging() == before


def test_what_others_wrapped_meanwhile_goes_on_and_nothing_is_told_twice(told, logger):
    original = logging.Logger.callHandlers
    forwarder = LogForwarder(told, "INFO")
    forwarder.listen("")
    ours, seen = logging.Logger.callHandlers, []

    def theirs(self, record):
        if self is logger:
            seen.append(record)
        ours(self, record)

    logging.Logger.callHandlers = theirs
    try:
        forwarder.stop()
        logger.error("to them alone")
        forwarder.listen("")
        logger.error("to both")
        forwarder.stop()
        assert logging.Logger.callHandlers is theirs
    finally:
        logging.Logger.callHandlers = original
    assert [record.msg for record in seen] == ["to them alone", "to both"]
    assert [message for _, message, _ in told] == ["to both"]


@pytest.mark.usefixtures("forwarder")
def test_a_record_that_can_not_be_formatted_is_told_as_far_as_it_can_be(logger, told, caplog):
    """The host's own handlers meet the same fault, and logging prints it; nothing of ours is added."""
    raising, logging.raiseExceptions = logging.raiseExceptions, False
    level = caplog.handler.level
    caplog.handler.setLevel(logging.CRITICAL)  # pytest's own handler raises what others print
    try:
        logger.warning("%d apples", "many")
        logger.warning("pears: %s", Mute())
        logger.warning(Mute())
        logger.warning("next")
    finally:
        logging.raiseExceptions = raising
        caplog.handler.setLevel(level)
    unfit = " (its arguments can't be formatted)"
    assert [message for _, message, _ in told] == [f"%d apples{unfit}", f"pears: %s{unfit}", unfit, "next"]


class Mute:
    """Can't say anything."""

    def __str__(self):
        raise RuntimeError("no text")


PRINTS = """
import logging, sys
from trainer_hooks.logs import LogForwarder
if sys.argv[1] == "with":
    forwarder = LogForwarder(lambda message, level, source: None, "INFO")
    forwarder.listen("")
    forwarder.listen("host")
logging.getLogger("host").warning("of a host without handlers")
logging.getLogger("host").info("not printed")
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s %(funcName)s:%(lineno)d")
logging.getLogger("host").info("after basicConfig")
logging.warning("by the module's function")
"""


def test_what_the_host_prints_is_the_same_with_and_without_us():
    def printed(how: str) -> str:
        cwd = Path(__file__).parent.parent
        command = [sys.executable, "-c", PRINTS, how]
        done = subprocess.run(
            command, cwd=cwd, env={**os.environ}, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stderr

    assert printed("with") == printed("without")
    assert "of a host without handlers\nINFO host after basicConfig" in printed("with")


# Storms, and loggers at odd moments: a run's own, from end to end


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("TRAINER_HOOKS_DELIVERY", "none")

    def started(**details):
        opened.append(start_run(**details))
        return opened[-1]

    opened: list[Run] = []
    yield started
    for one in opened:
        one.complete()


def logged(run: Run) -> list[str]:
    return [record.event.message for record in read_records(run.directory) if isinstance(record.event, Logged)]


def storm(lines: int) -> None:
    """As many records from each of four threads, by way of the root logger."""

    def tell(number: int) -> None:
        for line in range(lines):
            logging.getLogger().info("%d %d", number, line)

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert not any(thread.is_alive() for thread in threads)


def assert_in_order_or_counted(run: Run, lines: int) -> None:
    run.complete()
    heard = [tuple(map(int, message.split())) for message in logged(run)]
    for number in range(4):
        of_one = [line for thread, line in heard if thread == number]
        assert of_one == sorted(set(of_one))
    dropped = read_ledger(run.directory).dropped
    assert len(heard) + dropped == 4 * lines
    assert min(len(heard), dropped) > lines / 4


@pytest.fixture
def host_handler():
    """Puts the handler on the root logger, as a host does."""

    class Handler(logging.Handler):
        def emit(self, record):
            do(record)

    do, handler, level = None, Handler(), logging.getLogger().level

    def put(function):
        nonlocal do
        do = function
        logging.getLogger().addHandler(handler)
        logging.getLogger().setLevel(logging.INFO)

    yield put
    logging.getLogger().removeHandler(handler)
    logging.getLogger().setLevel(level)


def test_a_storm_of_records_is_kept_in_order_or_counted(run, host_handler):
    host_handler(lambda _: None)
    one = run(journal_limit=300_000)
    storm(lines=1000)
    assert_in_order_or_counted(one, lines=1000)


def test_finalizers_that_log_while_our_own_code_works_are_heard(run):
    one = run()
    count = itertools.count()

    class Mortal:
        def __init__(self) -> None:
            self.itself = self  # only the collector can end it, whenever that is

        def __del__(self) -> None:
            logging.getLogger("host").warning("gone %d", next(count))

    thresholds = gc.get_threshold()
    gc.set_threshold(5)
    try:
        for epoch in range(1, 201):
            Mortal()
            one.log_metrics({f"name {epoch}": epoch, "not": None}, epoch=epoch)
            one.log("between", data={"epoch": [epoch] * 20})
    finally:
        gc.set_threshold(*thresholds)
    gc.collect()
    assert sorted(message for message in logged(one) if message.startswith("gone")) == sorted(
        f"gone {number}" for number in range(200)
    )
    assert sum(isinstance(record.event, EpochEnded) for record in read_records(one.directory)) == 200


def test_a_handler_that_logs_itself_makes_one_record_more_and_no_endless_ones(run, host_handler):
    one = run()
    echo = logging.getLogger("echo")
    host_handler(lambda record: record.name == "echo" or echo.info("heard: %s", record.getMessage()))
    logging.getLogger("host").warning("once")
    one.log_metrics({"loss": None})  # what we say of it reaches the handler, too
    assert logged(one) == ["once", "heard: once", "heard: metrics skipped: loss: NoneType is not a number"]


def test_a_handler_that_tells_the_run_itself_is_no_endless_loop(run, host_handler):
    one = run()
    host_handler(lambda record: one.log(f"told: {record.getMessage()}") if record.name == "host" else None)
    logging.getLogger("host").warning("once")
    assert logged(one) == ["once", "told: once"]
