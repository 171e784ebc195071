"""A search over an action's hyper-parameters: each trial a run of its own, under the run that is the search."""
