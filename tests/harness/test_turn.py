"""What is left to other commits: each share has its turn, none is lost."""
from __future__ import annotations

from pathlib import Path

import pytest

from sockstep import turn
from sockstep.contract import Target

from workshop import IN_TURN, Project

SLUGS = ["a/one", "a/two", "b/one", "b/two", "b/three"]


def asked(number: int, slow: list[str]) -> list[str]:
    target = Target("01-tiny", "server", "server-1-tiny", ["/x"], IN_TURN,
                    cases=list(SLUGS))
    turn.leave_out(target, number, slow)
    return target.cases


def test_each_has_its_turn() -> None:
    rounds = [asked(7 + number, SLUGS) for number in range(turn.SHARE)]
    assert sorted(sum(rounds, [])) == sorted(SLUGS)
    assert rounds[0] == asked(7 + turn.SHARE, SLUGS)


def test_the_others_are_always_asked() -> None:
    slow = ["a/two", "b/two"]
    for number in range(turn.SHARE):
        assert set(SLUGS) - set(slow) <= set(asked(number, slow))


def test_outside_of_git(tmp_path: Path) -> None:
    assert turn.of_commit(tmp_path) == 0


_SLOW = '''
@case("tiny/fast", role="server", group="Byte stream", source="S", hints="H")
def test_fast(stage):
    """It is fast."""

for number in range(8):
    @case(f"tiny/slow-{number}", role="server", group="Resources", source="S",
          hints="H", valgrind=True)
    def test_slow(stage):
        """It is slow."""
    globals()[f"test_slow_{number}"] = test_slow
del test_slow
'''


@pytest.mark.parametrize(("words", "first", "told"), [
    ((), 9, False), (("--turn", "yes"), 3, True)])
def test_steps(project: Project, words: tuple[str, ...], first: int,
               told: bool) -> None:
    """Of the last step all is asked."""
    project.cases(_SLOW)
    project.step("one", "")
    project.step("two", "")
    done = project.run("check", "--jobs", "0", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    ran = list(project.verdicts())
    assert sum(name.startswith("server-1-one ") for name in ran) == first
    assert sum(name.startswith("server-2-two ") for name in ran) == 9
    assert "server-1-one tiny/fast" in ran
    assert ("one in 4 of each step but the last" in done.stdout) is told
