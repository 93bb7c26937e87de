"""The different ways in which a program can go wrong.

A `Failure` is the program's fault and becomes the verdict ``fail``; any other
exception that leaves a case is the harness's own and becomes ``error``.
End of stream, reset, timeout, wrong bytes and crash are never mixed up: each
has its own kind.
"""
from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Iterator

from .transcript import count

KINDS = {
    "wrong-bytes": "other bytes came than expected",
    "end-of-stream": "the stream ended too early",
    "reset": "the connection was reset",
    "refused": "no connection could be made",
    "stuck": "the program waits for something that cannot come",
    "timeout": "nothing came in the time allowed",
    "spin": "the program burns processor time instead of waiting",
    "cost": "it is dearer than it need be",
    "crash": "the program was killed by a signal",
    "exit": "the program ended in the wrong way",
    "startup": "the program did not get ready",
    "output": "the program's own output is wrong",
    "leak": "something was left behind",
    "memory": "memory was misused",
    "race": "threads use the same data at the same time",
    "call": "a system call was used wrongly",
    "build": "the program could not be built",
    "borrowed": "another program does the work",
    "harness": "the harness could not judge",
}


@dataclass
class Mismatch:
    """Where the first wrong byte is: windows of bytes around `offset`."""

    offset: int
    expected: bytes
    got: bytes
    start: int = 0

    def as_json(self) -> dict:
        return {"offset": self.offset, "start": self.start,
                "expected": self.expected.hex(), "got": self.got.hex()}


class Failure(AssertionError):
    """The program under test broke a requirement.

    `kind` is a key of `KINDS`; `message` is one line that a learner can act
    on; `detail` may add lines; `mismatch` shows the first wrong byte.
    """

    def __init__(self, kind: str, message: str, detail: str = "",
                 mismatch: Mismatch | None = None):
        if kind not in KINDS:
            raise ValueError(f"unknown kind of failure: {kind}")
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.detail = detail
        self.mismatch = mismatch


class TooLate(Failure):
    """What was due came, and was right, but after the time allowed."""


@contextmanager
def within(what: str) -> Iterator[None]:
    """A failure in here says which of several runs it was: "what: ...".

    For cases that do the same with many lengths, offsets or plans.
    """
    try:
        yield
    except Failure as failure:
        raise type(failure)(failure.kind, f"{what}: {failure.message}",
                            failure.detail, failure.mismatch) from None


class HarnessError(RuntimeError):
    """The harness could not do its work: never the program's fault."""


class Unsupported(HarnessError):
    """This machine forbids what the case needs: it can't be judged here."""


def first_difference(expected: bytes, got: bytes) -> int:
    """The offset of the first byte in which the two differ."""
    shorter = min(len(expected), len(got))
    if expected[:shorter] == got[:shorter]:
        return shorter
    low, high = 0, shorter
    while high - low > 1:                   # the difference lies in [low, high)
        middle = (low + high) // 2
        if expected[low:middle] == got[low:middle]:
            low = middle
        else:
            high = middle
    return low


def mismatch(expected: bytes, got: bytes) -> Mismatch:
    """Windows of both around their first difference."""
    offset = first_difference(expected, got)
    start = max(0, offset - 16) // 16 * 16
    return Mismatch(offset, expected[start:start + 48],
                    got[start:start + 48], start)


def arrived(came: bytes, due: bytes, verb: str = "") -> str:
    """How much of what is due has come, all of it right so far."""
    told = f"{len(came):,} of {count(len(due), 'byte')}" + (verb and " " + verb)
    if came and came + b"\n" == due:
        told += ", all but the newline at the end"
    return told


def explain(due: bytes, came: bytes) -> str:
    """What often makes such a difference, as a clause; '' if none is known.
    """
    offset = first_difference(due, came)
    wanted, found = due[offset:], came[offset:]
    if not found:
        return ""
    if wanted[:1] == b"\n" and found[:8] == wanted[1:9]:
        return ": the newline before it is missing"
    if wanted[:1] == b"\n" and found[:2] == b"\r\n":
        return ": the line ends with a carriage return and a newline"
    if found[:1] == b"\0" and found[1:9] == wanted[:len(found[1:9])]:
        return ": a NUL was sent, such as the one that ends a string of C"
    if found[:1] == b"\n" and found[1:9] == wanted[:len(found[1:9])]:
        return ": a newline came that is not due"
    return ""
