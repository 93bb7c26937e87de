"""The report page: one self-contained HTML file made from results.json.

The page has to open at once from a file system, without a network and, as a
table, without JavaScript.  Much of what it shows was written by programs that
nobody has checked, so there are three walls: Jinja2 escapes all that goes into
the markup, the embedded data is JSON without a single `<`, which the page's
script only ever turns into text nodes, and a content security policy lets no
other script, style or address in.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pathlib
import re
import tempfile
import unicodedata
import urllib.parse
from collections.abc import Callable
from typing import Any, NamedTuple

import jinja2
import markupsafe

TEMPLATES = pathlib.Path(__file__).with_name("templates")

VERDICTS = ("pass", "fail", "gap", "n/a", "error")
LETTERS = {"pass": "P", "fail": "F", "gap": "G", "n/a": "\u2013", "error": "E"}
MEANINGS = {
    "pass": "The program meets the requirement.",
    "fail": "The program breaks the requirement.",
    "gap": "The step fails on purpose: a later one mends it.",
    "n/a": "The program's contract does not ask for it.",
    "error": "The harness's own fault: nothing is known of the program.",
}
# These two are what a reader has to act on.
WRONG = ("fail", "error")


class Limits(NamedTuple):
    """How much of one cell's evidence goes into the page."""

    rows: int
    data_bytes: int
    text: int


# Tried in order until the data fits; first for cells that did not pass, then
# for the rest, whose transcripts are read far less often.
LADDER = (
    (Limits(400, 1024, 16000), Limits(120, 256, 4000)),
    (Limits(200, 256, 8000), Limits(40, 64, 2000)),
    (Limits(100, 128, 4000), Limits(12, 32, 1000)),
    (Limits(40, 64, 2000), Limits(0, 0, 300)),
)
DATA_BYTES_WANTED = 2_200_000


def write_page(results: dict[str, Any], path: pathlib.Path) -> None:
    """Render RESULTS (the structure of results.json) as the page PATH.

    The page is written beside PATH first and then moved over it, so that a run
    which is killed half-way leaves the former page whole.
    """
    text = render(results)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".report-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def render(results: dict[str, Any]) -> str:
    """Return the page for RESULTS as text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["visible"] = visible
    environment.filters["digest"] = digest
    environment.filters["verdict_class"] = verdict_class
    cells = list(results["results"])
    sections = sections_of(results)
    return environment.get_template("report.html.j2").render(
        environment=results.get("environment", {}),
        score=results.get("score"),
        sections=sections,
        counts=count(cells),
        wrong=[
            cell
            for section in sections
            for cell in section["cells"]
            if cell["verdict"] in WRONG
        ],
        unfolded=[
            cell
            for section in sections
            for cell in section["cells"]
            if cell["verdict"] in (*WRONG, "gap")
        ],
        verdicts=VERDICTS,
        letters=LETTERS,
        meanings=MEANINGS,
        data=embed(results, DATA_BYTES_WANTED),
    )


# What the table shows


def sections_of(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Sort the results into one table for each lesson and role.

    Lessons come by name, roles and programs in the order in which `lessons`
    has them, cases in the order of `cases`.  Anything that a list leaves out
    comes after what it names: no result is ever dropped.
    """
    found: dict[tuple[str, str], dict[tuple[str, str], dict[str, Any]]] = {}
    for index, result in enumerate(results["results"]):
        table = found.setdefault((result["lesson"], result["role"]), {})
        table[result["case"], result["program"]] = {**result, "index": index}
    lessons = results.get("lessons", {})
    role_order = {
        lesson: list(about.get("programs", {})) for lesson, about in lessons.items()
    }

    def place(key: tuple[str, str]) -> tuple[str, int, str]:
        lesson, role = key
        order = role_order.get(lesson, [])
        return lesson, order.index(role) if role in order else len(order), role

    return [
        section_of(results, lesson, role, found[lesson, role])
        for lesson, role in sorted(found, key=place)
    ]


def section_of(
    results: dict[str, Any],
    lesson: str,
    role: str,
    table: dict[tuple[str, str], dict[str, Any]],
) -> dict[str, Any]:
    """Return one table: its programs, its groups of rows, its counts."""
    about = results.get("lessons", {}).get(lesson, {})
    cases = results.get("cases", {})
    listed = about.get("programs", {}).get(role, [])
    programs = in_order(listed, [program for _, program in table])
    for (case, program), cell in table.items():
        cell["address"] = address(lesson, role, program, case)
        cell["about"] = cases.get(case, {})
        cell["evidence"] = cell.get("evidence") or {}

    groups: dict[str, list[dict[str, Any]]] = {}
    for case in in_order(list(cases), [case for case, _ in table]):
        info = cases.get(case, {})
        row = {
            "case": case,
            "title": info.get("title", case),
            "level": info.get("level", ""),
            "requirement": info.get("requirement", ""),
            "cells": [table.get((case, program)) for program in programs],
        }
        groups.setdefault(info.get("group", ""), []).append(row)

    by_program = [
        count([cell for (_, name), cell in table.items() if name == program])
        for program in programs
    ]
    return {
        "lesson": lesson,
        "number": lesson.partition("-")[0],
        "role": role,
        "title": about.get("title", ""),
        "address": address(lesson, role),
        "programs": [heading(role, program) for program in programs],
        "groups": list(groups.items()),
        "cells": [
            cell for rows in groups.values() for row in rows for cell in row["cells"]
            if cell
        ],
        "counts": count(list(table.values())),
        "by_program": by_program,
    }


def in_order(listed: list[str], present: list[str]) -> list[str]:
    """Return the names in PRESENT, once each, those of LISTED first."""
    return sorted(
        dict.fromkeys(present),
        key=lambda name: listed.index(name) if name in listed else len(listed),
    )


def heading(role: str, program: str) -> dict[str, str]:
    """Split `server-2-whole-send` into its number and its words."""
    match = re.fullmatch(rf"{re.escape(role)}-(\d+)-(.+)", program)
    if match:
        return {"name": program, "number": match[1], "words": match[2]}
    return {"name": program, "number": "", "words": program}


def count(cells: list[dict[str, Any]]) -> dict[str, int]:
    """Count the verdicts."""
    counts = dict.fromkeys(VERDICTS, 0)
    for cell in cells:
        counts[cell["verdict"]] += 1
    return counts


def address(*parts: str) -> str:
    """Return the part of the page's address behind `#`."""
    return "/".join(
        urllib.parse.quote(part, safe="/", errors="surrogatepass") for part in parts
    )


def verdict_class(verdict: str) -> str:
    """Return the class name of a verdict in the style sheet."""
    return verdict.replace("/", "")


# The data behind the cells


def embed(results: dict[str, Any], wanted: int) -> markupsafe.Markup:
    """Return the cells' evidence as JSON that may stand in a script element.

    No more than WANTED bytes if the steps of LADDER can do it.  results.json
    keeps all; the page says where it leaves something out.
    """
    for limits in LADDER:
        text = json.dumps(
            packed(results, *limits), separators=(",", ":"), allow_nan=False
        )
        # Within a script element nothing but `<` can begin an end tag or a
        # comment.  The others are only kept out of the way of careless tools.
        for sign in "<>&":
            text = text.replace(sign, f"\\u{ord(sign):04x}")
        if len(text) <= wanted:
            break
    return markupsafe.Markup(text)


def packed(results: dict[str, Any], wrong: Limits, other: Limits) -> dict[str, Any]:
    """Return what the page's script needs, with each repeated string once."""
    strings: dict[str, int] = {}

    def number(text: Any) -> int:
        return strings.setdefault(str(text or ""), len(strings))

    number("")
    cells = []
    for result in results["results"]:
        limits = wrong if result["verdict"] in (*WRONG, "gap") else other
        cell = {
            key: result[key]
            for key in ("lesson", "role", "program", "case", "verdict")
        }
        for key in ("lesson", "role", "program", "case"):
            cell[key] = number(cell[key])
        for key in ("level", "points", "seconds", "message"):
            if result.get(key) not in (None, ""):
                cell[key] = result[key]
        evidence = result.get("evidence") or {}
        cell["evidence"] = packed_evidence(evidence, limits, number)
        cells.append(cell)
    return {
        "cases": results.get("cases", {}),
        "cells": cells,
        "strings": list(strings),
    }


def packed_evidence(
    evidence: dict[str, Any], limits: Limits, number: Callable[[Any], int]
) -> dict[str, Any]:
    """Return one cell's evidence, shortened to LIMITS, without empty parts.

    The end of a log tells more than its beginning, and so does the end of a
    transcript; only `detail` is written to be read from its beginning.
    """
    out = {key: value for key, value in evidence.items() if value}
    if "detail" in out:
        out["detail"] = shortened_end(out["detail"], limits.text)
    for key in ("stderr", "stdout"):
        if key in out:
            out[key] = shortened_start(out[key], limits.text)
    for key in ("calls", "valgrind"):
        if key in out:
            lines = out[key]
            kept = lines[max(0, len(lines) - limits.rows):] if limits.rows else []
            out[key] = [number(shortened_end(line, limits.text)) for line in kept]
            out[key + "_left_out"] = len(lines) - len(kept)
    if "mismatch" in out:
        # The window was cut around the byte in question by the harness.
        out["mismatch"] = dict(out["mismatch"])
        for key in ("expected", "got"):
            out["mismatch"][key] = out["mismatch"].get(key, "")[:2 * 512]
    if "transcript" in out:
        rows = out["transcript"]
        first, last = shares(len(rows), limits.rows)
        out["transcript"] = [
            packed_row(row, limits.data_bytes, number)
            for row in rows[:first] + rows[len(rows) - last:]
        ]
        out["cut"] = [first, len(rows) - first - last]
    return out


def packed_row(
    row: dict[str, Any], data_bytes: int, number: Callable[[Any], int]
) -> list[Any]:
    """Return one line of a transcript as a list; times in microseconds."""
    data = row.get("data") or ""
    size = row.get("size")
    time = row.get("t")
    return [
        None if time is None else round(time * 1e6),
        number(row.get("actor")),
        number(row.get("channel")),
        number(row.get("act")),
        number(data[:2 * data_bytes]),
        len(data) // 2 if size is None else size,
        number(row.get("note")),
    ]


def shares(total: int, limit: int) -> tuple[int, int]:
    """Return how many rows to keep at the beginning and at the end."""
    if total <= limit:
        return total, 0
    first = limit // 4
    return first, limit - first


def shortened_end(text: str, limit: int) -> str:
    """Return TEXT without what is over LIMIT characters at its end."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n[{len(text) - limit:,} more characters in results.json]"


def shortened_start(text: str, limit: int) -> str:
    """Return TEXT without what is over LIMIT characters at its beginning."""
    if len(text) <= limit:
        return text
    left_out = len(text) - limit
    return f"[{left_out:,} earlier characters in results.json]\n{text[left_out:]}"


# Text


def visible(value: Any) -> str:
    """Return VALUE as text in which each character can be seen.

    Control characters, direction marks and half surrogates are written as
    escapes; a byte that was no UTF-8 when Python read it appears as that byte.
    Line ends and tabulators stay.
    """
    return "".join(seen(sign) for sign in str(value))


def seen(sign: str) -> str:
    """Return one character, or its escape if it can't be seen."""
    code = ord(sign)
    if sign in "\n\t" or unicodedata.category(sign) not in HIDDEN:
        return sign
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{{{code:x}}}"


HIDDEN = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")


def digest(text: str) -> str:
    """Return TEXT's hash in the form that a content security policy wants."""
    raw = hashlib.sha256(text.encode("utf-8")).digest()
    return "sha256-" + base64.b64encode(raw).decode("ascii")
