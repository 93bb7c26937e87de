"""What happened, in order: every act of the harness, what came, what it saw.

Events are plain data, so that they can cross to another process and into
results.json.  Long data is cut for display; its true size is kept.
"""
from __future__ import annotations

import time
from dataclasses import dataclass, field

#: Bytes of one event that are kept for display.
KEPT_BYTES = 192
#: Events kept of one run; a flood is cut in the middle of the story.
KEPT_EVENTS = 200


@dataclass
class Event:
    t: float                    # seconds since the case began
    actor: str                  # harness, program or kernel
    channel: str                # "client 1", "stdin", "server" ...
    act: str                    # send, recv, connect, half-close, signal ...
    data: bytes = b""
    size: int = 0
    note: str = ""
    pieces: int = 1             # of a row for several sends

    def as_json(self) -> dict:
        return {"t": round(self.t, 6), "actor": self.actor,
                "channel": self.channel, "act": self.act,
                "data": self.data.hex(), "size": self.size,
                "note": self.note or (f"in {self.pieces} pieces"
                                      if self.pieces > 1 else "")}


@dataclass
class Transcript:
    """The recorder of one case run."""

    events: list[Event] = field(default_factory=list)
    dropped: int = 0
    _start: float = field(default_factory=time.monotonic)

    def add(self, actor: str, channel: str, act: str, data: bytes = b"",
            note: str = "", piece: bool = False) -> None:
        """Add an event.  `piece`: the data are a piece of their own, however
        many rows they make.
        """
        last = self.events[-1] if self.events else None
        if last and data and not note and (last.actor, last.channel,
                                           last.act) == (actor, channel, act):
            last.size += len(data)          # one row for a run of like events
            last.pieces += piece
            last.data = (last.data + data)[:KEPT_BYTES]
            return
        if len(self.events) >= KEPT_EVENTS:
            self.dropped += 1
            return
        self.events.append(Event(time.monotonic() - self._start, actor,
                                 channel, act, data[:KEPT_BYTES], len(data),
                                 note))

    def as_json(self) -> list[dict]:
        rows = [event.as_json() for event in self.events]
        if self.dropped:
            rows.append(Event(time.monotonic() - self._start, "harness", "",
                              "note", note=f"{self.dropped} more events are "
                              "not shown").as_json())
        return rows


def printable(data: bytes) -> str:
    """Bytes as C would write them in a string."""
    out = []
    for byte in data:
        if byte == 0x0a:
            out.append("\\n")
        elif byte == 0x0d:
            out.append("\\r")
        elif byte == 0x09:
            out.append("\\t")
        elif byte == 0x5c:
            out.append("\\\\")
        elif 0x20 <= byte < 0x7f:
            out.append(chr(byte))
        else:
            out.append(f"\\x{byte:02x}")
    return "".join(out)


def shorten(data: bytes, limit: int = 40) -> str:
    """`printable`, quoted and cut to about `limit` characters."""
    text = printable(data[:limit])
    if len(text) > limit or len(data) > limit:
        text = text[:limit] + "..."
    return f'"{text}"'


def count(number: int, noun: str) -> str:
    """``count(1, "byte")`` is "1 byte", ``count(2, "byte")`` "2 bytes"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _describe(row: dict) -> str:
    data = bytes.fromhex(row["data"])
    words = [row["act"]]
    if row["size"]:
        words.append(shorten(data) if row["size"] == len(data)
                     else shorten(data) + f" ({row['size']:,} bytes)")
    if row["note"]:
        words.append(row["note"])
    return " ".join(words)


def two_columns(rows: list[dict], width: int = 100) -> list[str]:
    """The transcript: the harness's acts left, the program's right."""
    column = max(24, (width - 12) // 2)
    lines = [f"{'ms':>9}  {'the harness'.ljust(column)}the program"]
    for row in rows:
        channel = f"{row['channel']}: " if row["channel"] else ""
        text = channel + _describe(row)
        left = row["actor"] == "harness"
        stamp = f"{row['t'] * 1000:9.1f}"
        for part in wrap(text, column - 2):
            lines.append((f"{stamp}  " + ("" if left else " " * column)
                          + part).rstrip())
            stamp = " " * 9
    return lines


def wrap(text: str, width: int) -> list[str]:
    """Like textwrap.wrap, but it keeps runs of blanks that were sent."""
    parts = []
    while len(text) > width:
        cut = text.rfind(" ", width // 2, width)
        cut = width if cut == -1 else cut + 1
        parts.append(text[:cut])
        text = "  " + text[cut:]
    return parts + [text]


def hex_rows(window: bytes, start: int, other: bytes) -> list[str]:
    """Hex and text of `window`; bytes that differ from `other` are marked."""
    rows = []
    for offset in range(0, len(window), 16):
        part = window[offset:offset + 16]
        cells, marks, text = [], [], []
        for index, byte in enumerate(part):
            there = offset + index
            wrong = there >= len(other) or other[there] != byte
            cells.append(f"{byte:02x}")
            marks.append("^^" if wrong else "  ")
            text.append(chr(byte) if 0x20 <= byte < 0x7f else ".")
        rows.append(f"{start + offset:8}  {' '.join(cells):<47}  "
                    f"{''.join(text)}")
        if any(mark.strip() for mark in marks):
            rows.append(" " * 10 + " ".join(marks).rstrip())
    return rows or [f"{start:8}  (nothing)"]


def mismatch_rows(mismatch: dict) -> list[str]:
    """The first wrong byte, expected above what came."""
    expected = bytes.fromhex(mismatch["expected"])
    got = bytes.fromhex(mismatch["got"])
    start = mismatch["start"]
    return [f"first difference at byte {mismatch['offset']:,}",
            "expected:", *hex_rows(expected, start, expected),
            "got:", *hex_rows(got, start, expected)]
