"""Where the kit's own binaries are."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: The kit's own folder.
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Tools:
    launch: Path                # starts each program, with its limits set
    preload: Path               # provokes faults: LD_PRELOAD


def tools(root: Path) -> Tools:
    """Those that the build has made below `root`."""
    return Tools(root / "build/src/launch", root / "build/src/fault_preload.so")
