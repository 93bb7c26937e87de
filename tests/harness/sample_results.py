"""A run's results as the runner would write them, built in code.

The figures are invented; the structure is that of docs/results.schema.json.
`small()` is one lesson with each verdict and each kind of evidence, the worst
that a hostile program can print included; `large()` is as big as a full run.
"""

from __future__ import annotations

import copy
from typing import Any

SERVER_STEPS = [
    "server-1-mirror", "server-2-in-turn", "server-3-whole-send",
    "server-4-lost-peer", "server-5-restart", "server-6-interrupted",
    "server-7-accept-errors", "server-8-robust",
]
CLIENT_STEPS = [
    "client-1-mirror", "client-2-whole-line", "client-3-whole-reply",
    "client-4-whole-send", "client-5-interrupted", "client-6-both-ways",
    "client-7-robust",
]

# What a program may print to break a page that trusts it.
HOSTILE = (
    "</script><script>document.title = 'broken in'</script>"
    "<img src=x onerror=\"document.title = 'broken in'\"> <!-- & ' \" ]]>"
    "\x1b[31mred\x1b[0m \x00 \x07 \u202egnp.exe\u2028 {{ 7 * 7 }} {% raw %}"
)
# What Python makes of bytes that are no UTF-8.
NO_UTF8 = b"\xff\xfe caf\xe9".decode("utf-8", "surrogateescape")


def case(title: str, role: str, group: str, source: str, *, level: str = "MUST",
         requirement: str = "", hint: str = "", why: str = "") -> dict[str, Any]:
    return {
        "title": title, "role": role, "group": group, "level": level, "points": 2,
        "source": source, "requirement": requirement or f"{title}.",
        "hint": hint or "Look at what the call returned before you go on.",
        "why": why or "The peer decides how its bytes are cut, and so does the kernel.",
    }


CASES = {
    "echo/one-line": case("One line comes back unchanged", "server", "The echo", "document 001 II"),
    "echo/many-lines": case("Many lines on one connection all come back", "server", "The echo", "document 001 II"),
    "echo/embedded-nul": case("Bytes of value zero are data like any other", "server", "The echo", "recv(2): the return value is the length"),
    "echo/utf-8": case("Text that is no ASCII comes back byte for byte", "server", "The echo", "document 000"),
    "echo/short-send": case(
        "A send that takes fewer bytes than asked is carried on", "server", "Short writes",
        "send(2), RETURN VALUE: the number of bytes sent",
        requirement="A server sends the whole of each reply, also where send(2) takes only a part of it.",
        hint="send(2) tells how many bytes it took. What is left has to be sent again, from where it stopped.",
        why="A full socket buffer, a signal or a small window makes send(2) take a part. The rest of the reply is then lost, without an error."),
    "echo/stalled-reader": case("A reader that stalls gets every byte in the end", "server", "Short writes", "tcp(7)"),
    "life/next-client": case("The next client is served", "server", "Clients in turn", "document 000"),
    "life/reset-before-accept": case("A connection reset before accept ends nothing", "server", "Clients in turn", "accept(2), Error handling"),
    "life/restart": case("It starts again at once on the same port", "server", "Clients in turn", "socket(7), SO_REUSEADDR"),
    "signal/interrupted-recv": case("A signal in the middle of recv loses nothing", "server", "Signals", "signal(7), EINTR"),
    "signal/orderly-end": case("SIGTERM ends it in order, with status 0", "server", "Signals", "the program contract", level="SHOULD"),
    "leak/descriptors": case("No descriptor is left behind by a client", "server", "Leaks", "close(2)"),
    "client/one-reply": case("The reply is printed on a line of its own", "client", "The echo", "document 001 II"),
    "client/split-reply": case("A reply in pieces is one reply", "client", "The echo", "recv(2)"),
    "client/cut-reply": case("A reply that is cut off is reported with status 1", "client", "Ends", "the program contract"),
    "client/full-output": case("A full standard output is reported with status 1", "client", "Ends", "write(2), ENOSPC", level="SHOULD"),
}

# The first step that meets each case; what comes before it is a gap.
MENDED = {
    "echo/short-send": 3, "echo/stalled-reader": 3, "life/next-client": 2,
    "life/reset-before-accept": 4, "life/restart": 5, "signal/interrupted-recv": 6,
    "signal/orderly-end": 8, "client/split-reply": 3, "client/cut-reply": 3, "client/full-output": 7,
}


def row(t: float, actor: str, channel: str, act: str, data: bytes = b"",
        size: int | None = None, note: str = "") -> dict[str, Any]:
    return {"t": t, "actor": actor, "channel": channel, "act": act, "data": data.hex(),
            "size": len(data) if size is None else size, "note": note}


def talk(lines: int, payload: bytes) -> list[dict[str, Any]]:
    """A plain echo: so many lines there and back."""
    rows = [row(0.0, "harness", "server", "start", note="server -P 0"),
            row(0.0002, "harness", "client 1", "connect", note="127.0.0.1 port 41877")]
    for number in range(lines):
        at = 0.001 + number * 0.0007
        line = payload + b" %d\n" % number
        rows += [row(at, "harness", "client 1", "send", line),
                 row(at + 0.0003, "program", "client 1", "send", line)]
    rows.append(row(lines * 0.0007 + 0.002, "harness", "client 1", "half-close"))
    rows.append(row(lines * 0.0007 + 0.003, "program", "client 1", "end-of-stream"))
    return rows


def process(program: str, ended: str = "exit status 0", state: str = "") -> dict[str, Any]:
    return {"argv": [f"build/lessons/03-repeating-echo/{program}", "-P", "0"], "pid": 48211,
            "ended": ended, "state": state, "descriptors": 4, "threads": 1}


def repeat(lesson: str, role: str, program: str, case_name: str) -> str:
    return f"make check LESSON={lesson[:2]} ROLE={role} STEP={program.split('-')[1]} CASE={case_name}"


def result(lesson: str, role: str, program: str, case_name: str, verdict: str,
           message: str = "", **evidence: Any) -> dict[str, Any]:
    return {
        "lesson": lesson, "role": role, "program": program, "case": case_name,
        "level": CASES[case_name]["level"], "verdict": verdict, "points": 2,
        "seconds": 0.0132, "message": message,
        "evidence": {"kind": None, "transcript": talk(3, b"hello"), "process": process(program),
                     "repeat": repeat(lesson, role, program, case_name), **evidence},
    }


def short_send(lesson: str, program: str, verdict: str) -> dict[str, Any]:
    """The reply that stops after one byte, with all that can be told of it."""
    line = bytes(range(0x41, 0x5b)) * 40 + b"\n"
    return result(
        lesson, "server", program, "echo/short-send", verdict,
        "only 1 of 1,041 bytes came back: send took one byte and the rest was dropped",
        kind="wrong-bytes",
        detail="expected 1,041 bytes\ngot      1 byte, then nothing while the program waited in recv",
        transcript=[
            row(0.0, "harness", "client 1", "connect", note="127.0.0.1 port 41877"),
            row(0.0011, "harness", "client 1", "send", line[:192], len(line)),
            row(0.0016, "program", "client 1", "send", b"A"),
            row(0.0024, "kernel", "server", "rest", note="waits in recvfrom(fd 4)"),
        ],
        mismatch={"offset": 1, "expected": line[:40].hex(), "got": b"A".hex(), "start": 0},
        process=process(program, "killed by SIGKILL (by the harness, after the case)", "blocked in recvfrom(fd 4)"),
        stderr="", stdout="Connected from 127.0.0.1\n", faults="send@*=short:1",
        calls=["socket() = 3", "bind(3) = 0", "listen(3, 10) = 0", "accept(3) = 4",
               "recv(4, 1024) = 1024", "send(4, 1024) = 1 [short by plan]", "recv(4, 1024) = 17"],
    )


def small() -> dict[str, Any]:
    """One lesson, two roles, each verdict at least once."""
    lesson = "03-repeating-echo"
    results = []
    for role, steps in (("server", SERVER_STEPS), ("client", CLIENT_STEPS)):
        for name, about in CASES.items():
            if about["role"] != role:
                continue
            for number, program in enumerate(steps, 1):
                gap = number < MENDED.get(name, 1)
                if gap and name == "echo/short-send":
                    results.append(short_send(lesson, program, "gap"))
                elif gap:
                    results.append(result(lesson, role, program, name, "gap",
                                          "the reply ended too early", kind="end-of-stream"))
                else:
                    results.append(result(lesson, role, program, name, "pass"))

    def change(program: str, name: str, changed: dict[str, Any]) -> None:
        place = [(one["program"], one["case"]) for one in results].index((program, name))
        results[place] = changed

    change("server-4-lost-peer", "echo/short-send", short_send(lesson, "server-4-lost-peer", "fail"))
    change("server-3-whole-send", "echo/utf-8", result(
        lesson, "server", "server-3-whole-send", "echo/utf-8", "fail",
        "byte 17 is wrong: expected 0xec, got 0x3f", kind="wrong-bytes",
        transcript=[row(0.001, "harness", "client 1", "send", "안녕하세요, 세계\r\n".encode()),
                    row(0.002, "program", "client 1", "send", "안녕하세요, ".encode() + b"?\xb8\xea\xb3\x84\r\n\x1b[2J")],
        mismatch={"offset": 17, "start": 8,
                  "expected": "안녕하세요, 세계\r\n".encode()[8:].hex(),
                  "got": ("안녕하세요, ".encode() + b"?\xb8\xea\xb3\x84\r\n\x1b[2J")[8:].hex()}))
    change("server-6-interrupted", "leak/descriptors", result(
        lesson, "server", "server-6-interrupted", "leak/descriptors", "fail",
        "3 descriptors are left of 3 clients, and 1,024 bytes of heap", kind="leak",
        stderr=HOSTILE + "\n" + NO_UTF8 + "\n", stdout="client says " + HOSTILE,
        valgrind=["==48211== 1,024 bytes in 1 blocks are definitely lost in loss record 2 of 2",
                  "==48211==    at 0x48407B4: malloc (vg_replace_malloc.c:381)",
                  "==48211==    by 0x1093E1: serve (server-6-interrupted.c:88)"],
        process=process("server-6-interrupted", "killed by SIGSEGV", "")))
    change("server-7-accept-errors", "life/restart", result(
        lesson, "server", "server-7-accept-errors", "life/restart", "error",
        "the harness could not read /proc/48211/net/tcp", kind="harness",
        detail="Traceback of the harness:\n  line 12, in wait_until_listening\nPermissionError: [Errno 13]"))
    change("server-1-mirror", "leak/descriptors", result(
        lesson, "server", "server-1-mirror", "leak/descriptors", "n/a", ""))
    return {
        "schema": "sockstep/results/1",
        "environment": {
            "kernel": "Linux 6.1.0-28-amd64", "cores": 2, "python": "3.11.2",
            "compiler": "gcc (Debian 12.2.0-14) 12.2.0", "valgrind": "valgrind-3.19.0",
            "started": "2026-11-20T21:30:00Z", "seconds": 11.2, "jobs": 2, "complete": True,
            "command": "make check LESSON=03"},
        "lessons": {lesson: {"title": "Where did half of my message go?",
                             "programs": {"server": list(SERVER_STEPS), "client": list(CLIENT_STEPS)}}},
        "cases": copy.deepcopy(CASES),
        "results": results,
    }


def large(copies: int = 9, lines: int = 12) -> dict[str, Any]:
    """About a thousand cells, in COPIES lessons, with longer transcripts."""
    made = small()
    lesson = made["lessons"].pop("03-repeating-echo")
    results = made.pop("results")
    made["results"] = []
    for number in range(1, copies + 1):
        name = f"{number:02}-repeating-echo"
        made["lessons"][name] = copy.deepcopy(lesson)
        for one in results:
            changed = {**one, "lesson": name, "evidence": dict(one["evidence"])}
            changed["evidence"]["transcript"] = talk(lines, f"{name} {one['case']}".encode() * 6)
            made["results"].append(changed)
    return made


def submission() -> dict[str, Any]:
    """What the run of somebody's own two programs leaves behind.

    They are as good as step 4; a submission has no gaps, so those are fails.
    """
    made = small()
    made["results"] = [one for one in made["results"] if "-4-" in one["program"]]
    for one in made["results"]:
        one["program"] = one["role"]
        one["verdict"] = "fail" if one["verdict"] == "gap" else one["verdict"]
    made["lessons"]["03-repeating-echo"]["programs"] = {"server": ["server"], "client": ["client"]}
    made["score"] = {
        "points": sum(one["points"] for one in made["results"] if one["verdict"] == "pass"),
        "of": sum(one["points"] for one in made["results"])}
    return made
