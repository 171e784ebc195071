"""The journal: every accepted event of a run, on local disk, before anything else happens to it.

On disk
-------
`<run directory>/journal/000001.jsonl`, `000002.jsonl`, …: numbered segments of JSON lines, readable with `jq`. A
segment is created with O_EXCL and has exactly one writer for all time; a resumed attempt, another rank and the courier
each open the next one. Its first record, `segment_opened`, says whose it is. A line is one `write(2)` with O_APPEND:

    {"seq":12,"time":1763803512.123456,"event":{"type":"epoch_ended",…},"crc":"1f3a90c2"}

`crc` is the CRC-32 of all bytes before `,"crc"`, in hex: a torn tail or a flipped bit is found, counted and passed
over, and the records around it stand. Why not SQLite: its locks and its memory-mapped log break on network file
systems.

What holds
----------
An event is accepted when `Journal.append` returns: the kernel has it, and no death of the process can take it back. If
the disk refuses (full, gone read-only), the line waits in memory, 16 MiB of them at most, and is written with the first
append that succeeds; what memory could not hold, never a lifecycle event, is counted in a `records_dropped` event.
`Journal.at_risk` tells how many wait.

No line is longer than about 3 MiB: of a larger event the longest texts, lists and mappings are cut, and a `logged`
event behind it says so.

Beyond a declared limit (`Journal.limit_to`, the setting `journal_limit`) what `events.DROPPABLE` names is not written
any more, and counted in `records_dropped` events: before the next event that is never dropped, at the end, and once a
second while others come.
"""

from __future__ import annotations

from trainer_hooks.journal.headers import last_written, owner, read_headers
from trainer_hooks.journal.lines import FORMAT, LARGEST_EVENT, encode_event, encode_line
from trainer_hooks.journal.reader import Damage, Reader, read_keys, read_records
from trainer_hooks.journal.segments import Cursor, create_segment, segment_path, segments, sizes
from trainer_hooks.journal.writer import Journal

__all__ = [
    "FORMAT",
    "LARGEST_EVENT",
    "Cursor",
    "Damage",
    "Journal",
    "Reader",
    "create_segment",
    "encode_event",
    "encode_line",
    "last_written",
    "owner",
    "read_headers",
    "read_keys",
    "read_records",
    "segment_path",
    "segments",
    "sizes",
]
