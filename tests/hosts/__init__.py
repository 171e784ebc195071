"""Hosts: real, tiny, deterministic trainings, a module per framework; one more gets the whole suite by adding its own.

A host is a module with

    name                    the framework's
    PHASES, EVERYWHERE      where a training can be made to fail or be killed, and all places where a callback can be:
                            the host's own names
    CTRL_C                  what its training raises when the user interrupts it
    EXIT_STATUS             of its script after "interrupt" or "terminate", where it isn't Python's own
    AFTER_EPOCH             the one of them that an epoch ends with
    EPOCH_METRICS           metrics that every epoch has
    SUFFIX                  of its checkpoints where they are stored
    WRITES                  a pattern of what it writes itself
    FINAL_BEST              whether it writes the best checkpoint once more at its end
    train(folder, epochs, at=…, epoch=…, do=…) -> Trained
    fingerprint()           the identities of the host's objects that an integration could have replaced
    load_checkpoint(path)   raises if it isn't whole
    best_checkpoint(folder) what a training in `folder` has left as its best, as the file that is stored
    steady(line)            the line of output without what differs each time; None for one that can't be compared

and as a script, `python -m tests.hosts.<name> FOLDER EPOCHS …` (`hosting.main`), it trains in a process of its own.
"""
