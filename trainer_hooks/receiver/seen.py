"""Which sequence numbers have been seen: as few intervals as they make, since senders count upward."""

from __future__ import annotations

from bisect import bisect_right


class Seen:
    """A set of whole numbers that takes room for its gaps only."""

    def __init__(self) -> None:
        self._first: list[int] = []
        self._last: list[int] = []

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self._first, number) - 1
        return place >= 0 and number <= self._last[place]

    def add(self, number: int) -> None:
        """Put the number in."""
        if number in self:
            return
        place = bisect_right(self._first, number)
        follows = place > 0 and self._last[place - 1] == number - 1
        precedes = place < len(self._first) and self._first[place] == number + 1
        if follows and precedes:
            self._last[place - 1] = self._last.pop(place)
            del self._first[place]
        elif follows:
            self._last[place - 1] = number
        elif precedes:
            self._first[place] = number
        else:
            self._first.insert(place, number)
            self._last.insert(place, number)
