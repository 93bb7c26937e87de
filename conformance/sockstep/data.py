"""Bytes to send: a lost, doubled or moved byte shows at once.

Letters and digits only, so that a transcript stays readable and no other
requirement (NUL, CR, per cent signs) is tested by accident.
"""
from __future__ import annotations

import functools
import random
import string

_ALPHABET = (string.ascii_letters + string.digits).encode()
_SIZE = len(_ALPHABET)
_TWICE = _ALPHABET * 2


def pattern(size: int, seed: int = 0) -> bytes:
    """`size` bytes, each unlike its neighbours; another `seed`, other bytes.

    They are runs of the alphabet, each of which begins where chance,
    the same in every run, has it.
    """
    unit = 16 if size < 16 * _SIZE else 1024
    blocks = -(-size // (unit * _SIZE)) * unit      # few sizes are kept
    return _blocks(blocks, seed)[:size]


@functools.lru_cache(maxsize=256)
def _blocks(number: int, seed: int) -> bytes:
    chosen = []
    begin = 0
    for step in random.Random(seed).randbytes(number):
        # Never one less than the last: two bytes would be equal there.
        begin = (begin + 1 + step % (_SIZE - 2)) % _SIZE
        chosen.append(_TWICE[begin:begin + _SIZE])
    return b"".join(chosen)


def line(size: int, seed: int = 0) -> bytes:
    """`size` bytes of `pattern`, the last of which is the newline."""
    return pattern(size - 1, seed) + b"\n"


def capitals(text: bytes) -> bytes:
    """`text` in upper case by Unicode's rules, as lesson 04 asks for it.

    Each character of UTF-8 becomes its capitals, without a look at its
    neighbours or at a language; bytes that are no UTF-8 stay as they are.
    """
    found = b""
    while text:
        try:
            return found + text.decode().upper().encode()
        except UnicodeDecodeError as error:
            found += text[:error.start].decode().upper().encode()
            found += text[error.start:error.start + 1]
            text = text[error.start + 1:]
    return found
