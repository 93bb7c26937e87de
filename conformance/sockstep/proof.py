"""Whether a program serves at all: without that it passes no case.

Some cases ask for what is done before a client comes, or instead of it: the
words of wrong usage, a port that is taken, an orderly end.  A program that
does nothing else would pass them, and so would one that knows what an earlier
run has asked.  So the first time that a program passes a case, one whole
exchange is asked of it, with bytes that only this run has.
"""
from __future__ import annotations

from . import names
from .data import word
from .failure import Failure
from .roles import Client, Resolver, Server
from .stage import Stage

#: A seed that no case gives to an exchange.
_SEED = 10_007


def ask(stage: Stage) -> None:
    """Let the program serve, or be served, once; a Failure says that it
    doesn't.
    """
    try:
        _ROLES[stage.role](stage)
    except Failure as failure:
        raise Failure(failure.kind, "this may be right, and it counts once "
                      f"the {stage.role} does its work: {failure.message}",
                      failure.detail, failure.mismatch) from None


def _serve(stage: Stage) -> None:
    Server.launch(stage, stage.target).exchange(_SEED)


def _be_served(stage: Stage) -> None:
    service = stage.service
    client = Client.launch(stage, stage.target,
                           **service.launch_options(stage))
    service.attend(client)
    stage.wait_end(client.program)
    service.expect_served(client)


def _resolve(stage: Stage) -> None:
    address = "127.%d.%d.%d" % tuple(word()[:3])
    Resolver.launch(stage, stage.target, word(1).decode(),
                    files=names.private(**{word(1).decode(): address})
                    ).expect_addresses(address)


_ROLES = {"server": _serve, "client": _be_served, "resolve": _resolve}
