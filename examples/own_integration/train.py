"""A script of somebody who uses tinytrain."""

import trainer_hooks

trainer_hooks.autolog("tinytrain")

import tinytrain  # noqa: E402 - the line above may as well stand here

tinytrain.Trainer(epochs=3).fit(lambda epoch: 1 / (epoch + 1))
