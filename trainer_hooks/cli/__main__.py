"""`python -m trainer_hooks.cli`: the command trainer-hooks."""

from trainer_hooks.cli import main

main(prog_name="trainer-hooks")
