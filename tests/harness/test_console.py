"""console and transcript: what a person is shown."""
from __future__ import annotations

import io
import os
import pty
import re
import subprocess
from collections import Counter

import pytest

from sockstep import console as console_module
from sockstep import run
from sockstep.case import Case
from sockstep.console import Console
from sockstep.contract import Target
from sockstep.failure import Failure, first_difference, mismatch
from sockstep.transcript import (KEPT_BYTES, KEPT_EVENTS, Transcript, count,
                                 hex_rows, printable, shorten, two_columns)

from workshop import ECHO, IN_TURN, Project

CASE = Case(
    "echo/short-send", "server", "MUST", 2, "Short writes",
    "A server sends the whole of each reply, also where send(2) takes only a "
    "part of it, as it may do at any time.", "", "send(2), RETURN VALUE",
    ("send() tells how many bytes it took.", "Send the rest."), "", (13,),
    ("echo",), ("tcp",), ("many",), ("in-turn",), False, False, False,
    False, False, False, False)
TARGET = Target("03-repeating-echo", "server", "server-2-in-turn", ["/x"],
                IN_TURN, repeat="LESSON=03 ROLE=server STEP=2")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def record(verdict: str = "fail") -> dict:
    """A failure with all that can be told of it."""
    sent = bytes(range(0x41, 0x5b)) + b"\n"
    events = [
        (0.0, "harness", "server", "start", b"", 0, "server -H 127.0.0.1"),
        (0.0021, "harness", "client 1", "connect", b"", 0, "to port 40001"),
        (0.0025, "harness", "client 1", "send", sent, 27, ""),
        (0.0031, "program", "client 1", "send", sent[:17] + b"?", 18, ""),
        (0.0123, "kernel", "server", "rest", b"", 0,
         "waits in recvfrom(fd 4) on the connection with client 1")]
    made = run.record_of(CASE, TARGET, 0.0131, [Failure(
        "wrong-bytes", 'wrong bytes came back: expected "R", got "?"',
        "a line of detail\nand another", mismatch(sent, sent[:17] + b"?"))], {
            "process": {"argv": ["/x"], "pid": 7,
                        "ended": "killed by SIGSEGV"},
            "stderr": "server: first\nserver: last words\n", "stdout": "",
            "faults": "send@1=short:18",
            "calls": [f"send {number}: send(fd=4 len=27) = 18"
                      for number in range(1, 11)],
            "transcript": [dict(zip(
                ("t", "actor", "channel", "act", "data", "size", "note"),
                (*row[:4], row[4].hex(), *row[5:]))) for row in events]})
    made["verdict"] = verdict
    return made


GOLDEN = """
FAIL  echo/short-send  03-repeating-echo server-2-in-turn  (MUST, 2 points)
  asked   A server sends the whole of each reply, also where send(2) takes only a part of it, as it
          may do at any time.
  seen    wrong bytes came back: expected "R", got "?"
          (other bytes came than expected)
    a line of detail
    and another
    first difference at byte 17
    expected:
           0  41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f 50  ABCDEFGHIJKLMNOP
          16  51 52 53 54 55 56 57 58 59 5a 0a                 QRSTUVWXYZ.
    got:
           0  41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f 50  ABCDEFGHIJKLMNOP
          16  51 3f                                            Q?
                 ^^

           ms  the harness                               the program
          0.0  server: start server -H 127.0.0.1
          2.1  client 1: connect to port 40001
          2.5  client 1: send "ABCDEFGHIJKLMNOPQRSTUVWX
                 YZ\\n"
          3.1                                            client 1: send "ABCDEFGHIJKLMNOPQ?"
         12.3                                            server: rest waits in recvfrom(fd 4) on
                                                           the connection with client 1

  process killed by SIGSEGV
  faults  send@1=short:18
    send 3: send(fd=4 len=27) = 18
    send 4: send(fd=4 len=27) = 18
    send 5: send(fd=4 len=27) = 18
    send 6: send(fd=4 len=27) = 18
    send 7: send(fd=4 len=27) = 18
    send 8: send(fd=4 len=27) = 18
    send 9: send(fd=4 len=27) = 18
    send 10: send(fd=4 len=27) = 18
  stderr  server: last words
  hint    send() tells how many bytes it took.
  source  send(2), RETURN VALUE
  repeat  make check LESSON=03 ROLE=server STEP=2 CASE=echo/short-send
  more    make explain CASE=echo/short-send
"""


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Console:
    monkeypatch.setenv("COLUMNS", "100")
    return Console(io.StringIO())


def test_a_failure_in_full(plain: Console) -> None:
    plain.failure(record(), CASE)
    assert plain.stream.getvalue() == GOLDEN


def test_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prose is folded; hex is left as it is."""
    monkeypatch.setenv("COLUMNS", "64")
    console = Console(io.StringIO())
    console.failure(record(), CASE)
    text = console.stream.getvalue()
    prose = [line for line in text.splitlines()
             if not re.search(r"[0-9a-f]{2} [0-9a-f]{2}|\^\^|^FAIL|=", line)]
    assert max(map(len, prose)) <= 64
    words = " ".join(text.split())
    assert " ".join(CASE.requirement.split()) in words


# -- colours and progress ---------------------------------------------------------
def shown(stream: io.StringIO) -> str:
    console = Console(stream)
    console.progress(3, 10, Counter({"pass": 2, "fail": 1}), "echo/x")
    console.failure(record(), CASE)
    console.brief(record())
    console.marks([record(), {**record(), "verdict": "pass"}],
                  {CASE.slug: CASE})
    return stream.getvalue()


@pytest.mark.parametrize(("stream", "environment", "colour", "live"), [
    (Terminal, {"TERM": "xterm"}, True, True),
    (Terminal, {"TERM": "xterm", "NO_COLOR": "1"}, False, True),
    (Terminal, {"TERM": "xterm", "NO_COLOR": ""}, True, True),
    (Terminal, {"TERM": "dumb"}, False, False),
    (Terminal, {}, False, False),
    (io.StringIO, {"TERM": "xterm"}, False, False)])
def test_escape_codes(monkeypatch: pytest.MonkeyPatch, stream: type,
                      environment: dict, colour: bool, live: bool) -> None:
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    text = shown(stream())
    assert ("\033[31" in text) is colour
    assert (re.search(r"\033\[[0-9;]*m", text) is not None) is colour
    assert ("\r\033[K" in text) is live
    assert ("3/10" in text) is live
    assert ("\033" in text) is live
    stripped = re.sub(r"\033\[[0-9;]*m", "", text)
    assert "FAIL  echo/short-send" in stripped


def test_progress_is_cleared_before_a_line(monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    console = Console(stream)
    console.progress(5, 10, Counter({"pass": 5}), "a name " * 20)
    first = stream.getvalue()
    assert len(first.removeprefix("\r\033[K")) < 40
    console.line("done")
    assert stream.getvalue() == first + "\r\033[Kdone\n"


def on_a_terminal(project: Project, **environment: str) -> str:
    """What `check` writes to a pseudo-terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        project.command("check", "--jobs", "0"), cwd=project.folder,
        stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
        start_new_session=True,
        env={**project.environment(), "TERM": "xterm", **environment})
    project.processes.append(process)
    os.close(theirs)
    text = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:                 # EIO: the other end is closed
            break
        text += piece
    os.close(ours)
    assert process.wait() == 1
    return text.decode()


def test_a_run_on_a_terminal(project: Project) -> None:
    """Progress, colours; and without them the words are the same."""
    project.cases("@tiny('tiny/bad')\ndef test_bad(server):\n"
                  "    'It is bad.'\n    raise Failure('output', 'seen')\n")
    project.step("echo", ECHO)
    text = on_a_terminal(project)
    assert "\r\033[K" in text and "1/1" in text and "\033[31" in text
    plain = project.run("check", "--jobs", "0")
    assert "\033" not in plain.stdout + plain.stderr
    assert "1/1" not in plain.stdout

    def words(shown: str) -> list[str]:
        shown = re.sub(r"\r\033\[K[^\r\n]*(?=\r\033)", "", shown)
        shown = re.sub(r"\033\[[0-9;]*[mK]", "", shown)
        return [re.sub(r"[\d.]+", "N", word) for word in shown.split()]

    assert words(text) == words(plain.stdout)


# -- a submission's marks -----------------------------------------------------------
def test_marks(plain: Console) -> None:
    other = {**record("pass"), "program": "client", "role": "client"}
    broken = {**record("error"), "message": "HarnessError: no"}
    plain.marks([record(), other, broken], {CASE.slug: CASE})
    assert plain.stream.getvalue() == """
03-repeating-echo server-2-in-turn
  Short writes
    FAIL  0/2  echo/short-send
             wrong bytes came back: expected "R", got "?"
    ERROR 0/2  echo/short-send
             HarnessError: no

03-repeating-echo client
  Short writes
    ok    2/2  echo/short-send
"""


def test_the_slowest_are_named(plain: Console) -> None:
    plain.slowest([{**record(), "seconds": seconds, "case": f"a/{number}"}
                   for number, seconds in enumerate((0.1, 3.0, 0.2))], 2)
    assert plain.stream.getvalue() == (
        "slowest: a/1 server-2-in-turn 3.00s, a/2 server-2-in-turn 0.20s\n")


# -- transcripts ----------------------------------------------------------------
def test_bytes_in_words() -> None:
    assert printable(b"a\r\n\t\\\x00\xff~\x7f\x1b") == \
        "a\\r\\n\\t\\\\\\x00\\xff~\\x7f\\x1b"
    assert shorten(b"abc") == '"abc"'
    assert shorten(b"a" * 40) == '"' + "a" * 40 + '"'
    assert shorten(b"a" * 41) == '"' + "a" * 40 + '..."'
    assert len(shorten(b"\x00" * 40)) == 45
    assert [count(n, "byte") for n in (0, 1, 2, 1000)] == [
        "0 bytes", "1 byte", "2 bytes", "1,000 bytes"]


def test_like_events_are_one() -> None:
    transcript = Transcript()
    for piece in (b"12", b"345"):
        transcript.add("harness", "client 1", "send", piece)
    transcript.add("program", "client 1", "send", b"12345")
    transcript.add("harness", "client 2", "send", b"6")
    transcript.add("harness", "client 2", "half-close")
    transcript.add("harness", "client 2", "half-close")
    assert [(row["channel"], row["data"], row["size"])
            for row in transcript.as_json()] == [
        ("client 1", b"12345".hex(), 5), ("client 1", b"12345".hex(), 5),
        ("client 2", b"6".hex(), 1), ("client 2", "", 0),
        ("client 2", "", 0)]


def test_long_stories_are_cut_and_say_so() -> None:
    transcript = Transcript()
    transcript.add("harness", "client 1", "send", bytes(1000))
    transcript.add("harness", "client 1", "send", bytes(1000))
    for number in range(KEPT_EVENTS + 9):
        transcript.add("kernel", f"thread {number}", "rest")
    rows = transcript.as_json()
    assert (len(rows[0]["data"]), rows[0]["size"]) == (2 * KEPT_BYTES, 2000)
    assert len(rows) == KEPT_EVENTS + 1
    assert rows[-1]["note"] == "10 more events are not shown"
    assert "(2,000 bytes)" in "\n".join(two_columns(rows[:1]))


def test_columns() -> None:
    """The harness stands left, the program and the kernel right."""
    lines = two_columns(record()["evidence"]["transcript"], 96)
    start = lines[0].index("the program")
    assert lines[0].index("the harness") == 11
    sides = [len(line[11:]) - len(line[11:].lstrip()) for line in lines[1:]
             if line[:9].strip()]
    assert sides == [0, 0, 0, start - 11, start - 11]
    assert max(map(len, lines)) <= 96


def test_hex_rows() -> None:
    window = bytes(range(0x30, 0x42))
    other = bytearray(window[:-1])
    other[3] = 0
    assert hex_rows(window, 32, bytes(other)) == [
        "      32  30 31 32 33 34 35 36 37 38 39 3a 3b 3c 3d 3e 3f  "
        "0123456789:;<=>?",
        "                   ^^",
        "      48  40 41                                            @A",
        "             ^^"]
    assert hex_rows(window[:1], 0, window) == [
        "       0  30" + " " * 45 + "  0"]
    assert hex_rows(b"", 16, b"x") == ["      16  (nothing)"]


@pytest.mark.parametrize(("expected", "got", "offset", "start"), [
    (b"", b"", 0, 0), (b"a", b"", 0, 0), (b"", b"a", 0, 0),
    (b"abc", b"abx", 2, 0), (b"abc", b"ab", 2, 0), (b"ab", b"abc", 2, 0),
    (b"x" * 100, b"x" * 63, 63, 32), (b"x" * 100, b"x" * 64 + b"y", 64, 48),
    (bytes(1 << 20), bytes((1 << 20) - 1) + b"y", (1 << 20) - 1, 1048544)],
    ids=lambda value: str(len(value) if isinstance(value, bytes) else value))
def test_first_difference(expected: bytes, got: bytes, offset: int,
                          start: int) -> None:
    wrong = mismatch(expected, got)
    assert first_difference(expected, got) == offset
    assert (wrong.offset, wrong.start) == (offset, start)
    assert wrong.expected == expected[start:start + 48]
    assert wrong.got == got[start:start + 48]


def test_every_kind_has_words() -> None:
    assert all(text for text in console_module.KINDS.values())
