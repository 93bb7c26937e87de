"""Programs built in other ways: with a sanitizer, or against musl.

``address`` is AddressSanitizer with leaks and UndefinedBehaviorSanitizer,
``thread`` is ThreadSanitizer; what they find is a failure.  ``bounds`` is the
build of ``address`` for the cases that ask for one, and with LEAKS=no: it
looks for no leaks, which takes most of the time of a short run.  Their words go to
files of their own, except those of gcc's UndefinedBehaviorSanitizer, which
knows standard error only.  ``musl`` is the C library of that name, by
musl-gcc(1).
"""
from __future__ import annotations

import dataclasses
import hashlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import build
from .contract import SANITIZERS, Target
from .tools import Tools

if TYPE_CHECKING:
    from .case import Case
    from .run import Plan

FLAGS = {
    "address": ["-fsanitize=address,undefined",
                "-fno-sanitize-recover=undefined"],
    "thread": ["-fsanitize=thread"],
    "musl": [],
}
#: How much slower a program with a sanitizer may be.
FACTOR = 4.0
#: With this a program ends at an error of memory; nothing else uses it.
_STATUS = 86
_SUMMARY = re.compile(r"^SUMMARY: (\w+): (.*)$", re.MULTILINE)
_UNDEFINED = re.compile(r"^(.*runtime error: .*)$", re.MULTILINE)


def can_be(target: Target, kind: str) -> bool:
    """Whether it can be built so: from its sources, and musl has but libc."""
    return bool(target.sources) and (kind != "musl" or not any(
        build.libraries(source) for source in map(Path, target.sources)))


def make_library(kind: str, root: Path) -> Path:
    """The kit's C library, built so; to be made before the programs."""
    archive = _folder(kind, root) / "libsockstep.a"
    sources = sorted((root / "src").glob("ss_*.c"))
    objects = [archive.with_name(f"{source.stem}.o") for source in sources]
    for source, output in zip(sources, objects):
        _build(output, [source], ["-c"], kind, root)
    build.run(["ar", "rcs", archive.name, *(path.name for path in objects)],
              archive.parent)
    return archive


def made(target: Target, kind: str, root: Path) -> Target:
    """The same program, built so; kept until a source changes.

    `library` has made the kit's library before.
    """
    sources = [Path(source) for source in target.sources]
    program = sources[0].with_suffix(f".{kind}")
    if sources[0].is_relative_to(root / "lessons"):
        program = _folder(kind, root) / target.lesson / target.program
    _build(program, sources,
           [str(_folder(kind, root) / "libsockstep.a"),
            *(word for source in sources for word in build.libraries(source))],
           kind, root)
    return dataclasses.replace(target, command=[str(program)], variant=kind,
                               repeat=f"{target.repeat} VARIANT={kind}")


def sanitize(plan: "Plan", cases: dict[str, "Case"], root: Path,
             jobs: int) -> None:
    """Build the programs once more for the cases that are `sanitized`.

    Where this machine can't, they are not judged by these, and it is said.
    """
    wanted = [target for target in plan.targets
              if any(cases[slug].sanitized and plan.runs(cases[slug], target)
                     for slug in plan.slugs)]
    if not wanted:
        return
    try:
        make_library("address", root)
        built = build.in_parallel(
            [lambda target=target: made(target, "address", root)
             for target in wanted], jobs)
    except build.BuildError as error:
        print("sockstep: nothing is judged with sanitizers, since they can't "
              f"be built with: {error}", file=sys.stderr)
        for target in wanted:
            target.sources = []
        return
    for target, other in zip(wanted, built):
        target.sanitized = other.command


def tools(kind: str, root: Path, usual: Tools) -> Tools:
    """The launcher, and the fault preload for programs that are built so."""
    if kind != "musl":
        return usual
    found = Tools(usual.launch, _folder(kind, root) / "fault_preload.so")
    sources = [path for path in sorted((root / "src").glob("fault_*.c"))
               if not path.stem.endswith("_check")]
    _build(found.preload, sources, ["-shared", "-fPIC", "-w"], kind, root)
    return found


def _compiler(kind: str) -> list[str]:
    return ["musl-gcc"] if kind == "musl" else build.compiler()


def _folder(kind: str, root: Path) -> Path:
    return root / "build" / f"{kind}-{Path(_compiler(kind)[0]).name}"


def _build(output: Path, sources: list[Path], more: list[str], kind: str,
           root: Path) -> None:
    """Compile and link, unless the same was made of the same before."""
    compiler, flags = _compiler(kind), [*FLAGS[kind]]
    if "clang" in Path(compiler[0]).name and kind == "address":
        # As gcc does it: in the program itself no preload would reach it.
        place = build.run([*compiler, "-print-runtime-dir"], root).strip()
        flags += ["-shared-libsan", f"-Wl,-rpath,{place}"]
    words = [*compiler, "-std=c11", "-g", "-O1", "-pthread",
             "-fno-omit-frame-pointer", *flags, f"-I{root / 'src'}"]
    read = [*sources, *sorted((root / "src").glob("*.[ch]"))]
    digest = hashlib.sha256("\0".join(
        words + more + [path.read_text() for path in read]).encode()
    ).hexdigest()
    stamp = output.with_suffix(".stamp")
    if output.exists() and stamp.exists() and stamp.read_text() == digest:
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    build.run([*words, "-o", str(output), *map(str, sources), *more],
              output.parent)
    stamp.write_text(digest)


def environment(directory: Path, variant: str) -> dict[str, str]:
    """What tells the sanitizers to write into `directory`."""
    leaks = int(variant != "bounds")
    common = f"log_path={directory}/sanitizer:handle_segv=1"
    return {
        # The fault preload comes before the sanitizer's library.
        "ASAN_OPTIONS": f"{common}:exitcode={_STATUS}:"
                        "verify_asan_link_order=0:abort_on_error=0:"
                        f"detect_leaks={leaks}",
        "LSAN_OPTIONS": "exitcode=0",
        "UBSAN_OPTIONS": f"{common}:print_stacktrace=1:exitcode={_STATUS}",
        "TSAN_OPTIONS": f"{common}:exitcode=0:halt_on_error=0",
    }


def findings(directory: Path, stderr: str = "") -> list[tuple[str, str]]:
    """(one line, the whole report) of each log, and of standard error."""
    logs = [log.read_text(errors="replace")
            for log in sorted(directory.glob("sanitizer.*"))]
    if _UNDEFINED.search(stderr):
        logs.append(stderr)
    found = []
    for text in logs:
        undefined = _UNDEFINED.search(text)
        summary = _SUMMARY.search(text)
        if undefined:
            line = undefined[1]
        elif summary:
            line = f"{summary[1]}: {summary[2]}"
        else:
            line = text.strip().split("\n")[0]
        found.append((line, text[:6000]))
    return found
