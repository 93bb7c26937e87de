"""make diff: one step beside the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from sockstep import difference

LESSON = """
title = "?"

[[server]]
step = 1
name = "mirror"
adds = "the document's program, call for call"
gaps = ["echo/short-send", "life/restart"]

[[server]]
step = 2
name = "whole-send"
adds = "the rest of a short send"
gaps = ["life/restart"]

[[server]]
step = 3
name = "restart"
adds = "SO_REUSEADDR"
gaps = ["echo/short-send"]
"""

MIRROR = """/*
 * An echo.
 *
 * Still wrong: sends once (2).
 */
int main(void)
{
    return once("/* no comment */"); /* a comment */
}
"""

WHOLE_SEND = """/*
 * An echo.
 *
 * Changed since step 1: sends the rest of a short send, which
 *   is the program's own business.
 * Still wrong: no second start (3).
 */
int main(void)
{
    /* As often as needed,
       and no more. */
    while (more())
        again("// no comment either");
    return 0;
}
"""


@pytest.fixture
def lesson(tmp_path: Path) -> Path:
    folder = tmp_path / "03-repeating-echo"
    folder.mkdir()
    (folder / "lesson.toml").write_text(LESSON)
    (folder / "server-0-start.c").write_text("int main(void) { return 1; }\n")
    (folder / "server-1-mirror.c").write_text(MIRROR)
    (folder / "server-2-whole-send.c").write_text(WHOLE_SEND)
    (folder / "server-3-restart.c").write_text(WHOLE_SEND.replace("0", "reuse()"))
    return folder


def test_heading(lesson: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert difference.main(lesson, "server", 1, 2, colour=False) == 0
    heading, _, _ = capsys.readouterr().out.partition("\n\n")
    assert heading.splitlines() == [
        "03-repeating-echo: server-1-mirror -> server-2-whole-send",
        "step 2 adds: the rest of a short send",
        "step 2 says: sends the rest of a short send, which is the program's own",
        "  business.",
        "lines: 8 added, 2 removed",
        "code:  3 added, 1 removed",
        "mends: echo/short-send",
        "leaves: life/restart",
    ]


def test_gap_that_comes_back_is_said(lesson: Path, capsys: pytest.CaptureFixture[str]) -> None:
    difference.main(lesson, "server", 2, 3, colour=False)
    out = capsys.readouterr().out.splitlines()
    assert "mends: life/restart" in out
    assert "brings back: echo/short-send" in out
    assert not any(line.startswith("leaves:") for line in out)


def test_steps_between_speak_too(lesson: Path, capsys: pytest.CaptureFixture[str]) -> None:
    difference.main(lesson, "server", 1, 3, colour=False)
    out = capsys.readouterr().out.splitlines()
    assert [line for line in out if "adds:" in line] == [
        "step 2 adds: the rest of a short send", "step 3 adds: SO_REUSEADDR"]


def test_diff_holds_both_files(lesson: Path, capsys: pytest.CaptureFixture[str]) -> None:
    difference.main(lesson, "server", 1, 2, colour=False)
    _, _, patch = capsys.readouterr().out.partition("\n\n")
    before, after, _hunk, *lines = patch.splitlines()
    assert (before, after) == ("--- a/server-1-mirror.c", "+++ b/server-2-whole-send.c")
    # The files are so short that one hunk covers them.
    assert [line[1:] for line in lines if line[0] != "+"] == MIRROR.splitlines()
    assert [line[1:] for line in lines if line[0] != "-"] == WHOLE_SEND.splitlines()


@pytest.mark.parametrize(("a", "b", "compared"), [
    (None, None, ["server-1-mirror -> server-2-whole-send", "server-2-whole-send -> server-3-restart"]),
    (2, None, ["server-2-whole-send -> server-3-restart"]),
    (None, 2, ["server-1-mirror -> server-2-whole-send"]),
    (0, 1, ["server-0-start -> server-1-mirror"]),
    (3, 1, ["server-3-restart -> server-1-mirror"]),
])
def test_which_steps(lesson: Path, capsys: pytest.CaptureFixture[str],
                     a: int | None, b: int | None, compared: list[str]) -> None:
    assert difference.main(lesson, "server", a, b, colour=False) == 0
    assert [line.partition(": ")[2] for line in capsys.readouterr().out.splitlines()
            if line.startswith("03-repeating-echo: ")] == compared


@pytest.mark.parametrize(("role", "a", "b", "told"), [
    ("server", 3, None, "diff: there is no step 4; there are 0, 1, 2, 3\n"),
    ("server", 7, 8, "diff: there is no step 7; there are 0, 1, 2, 3\n"),
    ("client", 1, 2, "diff: 03-repeating-echo has no steps in the role 'client'\n"),
])
def test_no_such_step(lesson: Path, capsys: pytest.CaptureFixture[str],
                      role: str, a: int, b: int | None, told: str) -> None:
    assert difference.main(lesson, role, a, b, colour=False) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", told)


def test_colour_only_when_told(lesson: Path, capsys: pytest.CaptureFixture[str]) -> None:
    difference.main(lesson, "server", 1, 2, colour=False)
    plain = capsys.readouterr().out
    assert "\x1b" not in plain
    difference.main(lesson, "server", 1, 2, colour=True)
    coloured = capsys.readouterr().out
    assert "\x1b[32m+    while (more())\x1b[m" in coloured
    for code in ("\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[36m", "\x1b[m"):
        assert code in coloured
        coloured = coloured.replace(code, "")
    assert coloured == plain
