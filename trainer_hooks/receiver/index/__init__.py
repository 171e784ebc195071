"""What lists, curves and logs are read from: SQLite, made from the journals and made anew at any time.

`database` is the file and its tables; `telling` what is known of a run, which grows with each record; `points` what
curves are made of. `following` brings the index up to the journals, by their cursors. `lists`, `curves` and `logs` are
what is asked of it, and `index` is what others see.
"""
