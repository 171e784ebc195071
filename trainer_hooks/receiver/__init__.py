"""The reference backend: what arrives is written as journals again, and what journals hold is shown.

`trainer-hooks serve` starts it (`serving.py`); docs/receiver.md is what it answers. Two halves meet in the directory of
runs and nowhere else:

    inbox.py    what a courier or a client of predecessor B's tells ─▶ <directory>/<run>/journal/
    index/      the journals, whoever has written them ─▶ SQLite, for lists, curves and logs; made anew at any time

`web/` is HTTP around both.
"""
