"""Bytes to send: a lost, doubled or moved byte shows at once.

Letters and digits only, so that a transcript stays readable and no other
requirement (NUL, CR, per cent signs) is tested by accident.  Which they are
is said by the seed of the run, so that no program can know them before.
"""
from __future__ import annotations

import functools
import itertools
import random
import string

_ALPHABET = (string.ascii_letters + string.digits).encode()
_SIZE = len(_ALPHABET)
#: The alphabet from each of its places on, and round to there.
_FROM = [_ALPHABET[place:] + _ALPHABET[:place] for place in range(_SIZE)]
#: A word that nobody can know: so many small letters, each once.
_WORD_SIZE = 6
_LETTERS = string.ascii_lowercase
_seed = 0


def set_seed(seed: int) -> None:
    """All that follows is of this run.

    It comes before the modules of cases, which keep some of their bytes.
    """
    global _seed
    _seed = seed
    _blocks.cache_clear()


def word(number: int = 0) -> bytes:
    """Six letters of this run; another `number`, other letters.

    To be put into what a case sends always: whoever has seen an earlier run
    does not know the answer.
    """
    return _letters(random.Random(f"{_seed} word {number}"))


def _letters(chance: random.Random) -> bytes:
    return "".join(chance.sample(_LETTERS, _WORD_SIZE)).encode()


def pattern(size: int, seed: int = 0) -> bytes:
    """`size` bytes, each unlike its neighbours; another `seed`, other bytes.

    They are six letters of chance, and runs of the alphabet, each of which
    begins where chance has it.
    """
    unit = 16 if size < 16 * _SIZE else 1024
    blocks = -(-size // (unit * _SIZE)) * unit      # few sizes are kept
    return _blocks(blocks, seed)[:size]


@functools.lru_cache(maxsize=256)
def _blocks(number: int, seed: int) -> bytes:
    chance = random.Random(f"{_seed} {seed}")
    letters = _letters(chance)
    # Never one less than the last: two bytes would be equal there.
    places = itertools.accumulate(
        chance.randbytes(number),
        lambda place, step: (place + 1 + step % (_SIZE - 2)) % _SIZE,
        initial=_ALPHABET.index(letters[-1]) + 1)
    next(places)
    return letters + b"".join([_FROM[place] for place in places])


def line(size: int, seed: int = 0) -> bytes:
    """`size` bytes of `pattern`, the last of which is the newline."""
    return pattern(size - 1, seed) + b"\n"


def capitals(text: bytes) -> bytes:
    """`text` in upper case by Unicode's rules, as lesson 04 asks for it.

    Each character of UTF-8 becomes its capitals, without a look at its
    neighbours or at a language; bytes that are no UTF-8 stay as they are.
    """
    return _bytes(_characters(text).upper())


def character_at(text: bytes, offset: int) -> tuple[str, str]:
    """The character of `text` to which byte `offset` of `capitals(text)`
    belongs, and its capitals; ("", "") behind the end.
    """
    for character in _characters(text):
        upper = character.upper()
        offset -= len(_bytes(upper))
        if offset < 0:
            return character, upper
    return "", ""


# A byte that is no UTF-8 is a character of its own, a half of a surrogate
# pair, which has no capitals: PEP 383.
def _characters(text: bytes) -> str:
    return text.decode(errors="surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
