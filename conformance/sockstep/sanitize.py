"""Programs that were built with a sanitizer: what it finds is a failure.

``address`` is AddressSanitizer with leaks and UndefinedBehaviorSanitizer,
``thread`` is ThreadSanitizer.  Their words go to files of their own, except
those of gcc's UndefinedBehaviorSanitizer, which knows standard error only.
"""
from __future__ import annotations

import hashlib
import re
from pathlib import Path

from . import build
from .contract import Target

FLAGS = {
    "address": ["-fsanitize=address,undefined",
                "-fno-sanitize-recover=undefined"],
    "thread": ["-fsanitize=thread"],
}
#: How much slower a program may be.
FACTOR = 4.0
#: With this a program ends at an error of memory; nothing else uses it.
_STATUS = 86
_SUMMARY = re.compile(r"^SUMMARY: (\w+): (.*)$", re.MULTILINE)
_UNDEFINED = re.compile(r"^(.*runtime error: .*)$", re.MULTILINE)


def sanitized(target: Target, kind: str, root: Path) -> Target:
    """The same step, built with the sanitizer; kept until a source changes."""
    source = root / "lessons" / target.lesson / f"{target.program}.c"
    library = sorted((root / "src").glob("ss_*.c"))
    headers = sorted((root / "src").glob("ss_*.h"))
    compiler = build.compiler()
    flags = [*FLAGS[kind]]
    if "clang" in Path(compiler[0]).name and kind == "address":
        # As gcc does it: in the program itself no preload would reach it.
        place = build.run([*compiler, "-print-runtime-dir"], root).strip()
        flags += ["-shared-libsan", f"-Wl,-rpath,{place}"]
    words = [*compiler, "-std=c11", "-g", "-O1", "-pthread",
             "-fno-omit-frame-pointer", *flags, f"-I{root / 'src'}"]
    sources = [str(path) for path in [source, *library]]
    folder = root / "build" / f"sanitize-{kind}-{Path(compiler[0]).name}"
    program = folder / target.lesson / target.program
    stamp = program.with_suffix(".stamp")
    digest = hashlib.sha256("\0".join(
        words + [path.read_text() for path in [source, *library, *headers]]
    ).encode()).hexdigest()
    if not program.exists() or not stamp.exists() or \
            stamp.read_text() != digest:
        program.parent.mkdir(parents=True, exist_ok=True)
        build.run([*words, "-o", str(program), *sources,
                   *build.libraries(source)], folder)
        stamp.write_text(digest)
    target.command = [str(program)]
    target.sanitizer = kind
    target.repeat += f" SANITIZE={kind}"
    return target


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
