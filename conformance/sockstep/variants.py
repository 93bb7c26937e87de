"""The steps built in other ways: with a sanitizer, or against musl.

``address`` is AddressSanitizer with leaks and UndefinedBehaviorSanitizer,
``thread`` is ThreadSanitizer; what they find is a failure.  Their words go to
files of their own, except those of gcc's UndefinedBehaviorSanitizer, which
knows standard error only.  ``musl`` is the C library of that name, by
musl-gcc(1).
"""
from __future__ import annotations

import hashlib
import re
from pathlib import Path

from . import build
from .contract import SANITIZERS, Target
from .tools import Tools

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


def can_be(target: Target, kind: str, root: Path) -> bool:
    """Whether the step can be built so: musl's world has but libc."""
    return kind != "musl" or not build.libraries(_source(target, root))


def made(target: Target, kind: str, root: Path) -> Target:
    """The same step, built so; kept until a source changes."""
    source = _source(target, root)
    library = sorted((root / "src").glob("ss_*.c"))
    program = _folder(kind, root) / target.lesson / target.program
    _build(program, [source, *library], build.libraries(source), kind, root)
    target.command = [str(program)]
    target.variant = kind
    target.repeat += f" VARIANT={kind}"
    return target


def tools(kind: str, root: Path, usual: Tools) -> Tools:
    """The launcher and the fault preload for programs that are built so.

    The launcher too is preloaded into, so both need the same C library.
    """
    if kind != "musl":
        return usual
    found = Tools(_folder(kind, root) / "launch",
                  _folder(kind, root) / "fault_preload.so")
    _build(found.launch, [root / "src/prog_launch.c"], [], kind, root)
    sources = [path for path in sorted((root / "src").glob("fault_*.c"))
               if not path.stem.endswith("_check")]
    _build(found.preload, sources, ["-shared", "-fPIC", "-w"], kind, root)
    return found


def _source(target: Target, root: Path) -> Path:
    return root / "lessons" / target.lesson / f"{target.program}.c"


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
    read = [*sources, *sorted((root / "src").glob("*.h"))]
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


def environment(directory: Path) -> dict[str, str]:
    """What tells the sanitizers to write into `directory`."""
    common = f"log_path={directory}/sanitizer:handle_segv=1"
    return {
        # The fault preload comes before the sanitizer's library.
        "ASAN_OPTIONS": f"{common}:exitcode={_STATUS}:"
                        "verify_asan_link_order=0:abort_on_error=0",
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
