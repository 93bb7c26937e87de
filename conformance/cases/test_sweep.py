"""The fault sweep: every call goes wrong once, in every way it may."""
import functools

from sockstep.case import EVERY_SERVICE, EVERY_TRANSPORT, case
from sockstep.failure import Failure
from sockstep.sweep import run_client, run_server, sweep
from sockstep.transcript import count

GROUP = "Fault sweep"
SWEEP = dict(
    group=GROUP, sweep=True, plans=True, options=True,
    source="the sections RETURN VALUE and ERRORS of each call's manual page",
    hints=["Take the plan that is named: it says which call went wrong, and "
           "how. Which line of the program makes that call?",
           "After each call ask: may it fail, may it do a part only? Then "
           "either go on rightly, or end that one connection, or say "
           "\"program: what: why\" and end with status 1."],
    by_hand="""
    # with the plan that the failure names, such as recv@2=ECONNRESET:
    make check SWEEP=PLAN CASE='sweep/*' ...
    # or
    LD_PRELOAD=build/src/fault_preload.so SOCKSTEP_FAULTS='PLAN' \\
        SOCKSTEP_CALLS=/dev/stderr PROGRAM -P PORT""")


def judge(stage, found):
    """All findings in one failure; the figures stand in the evidence."""
    stage.sweep = found
    if not found.findings:
        return
    first = found.findings[0]
    raise Failure(first.kind, f"under the plan {first.plan}: {first.message}"
                  f" ({count(len(found.findings), 'finding')} in "
                  f"{count(found.runs, 'run')}; SWEEP={first.plan} plays "
                  "this one again)",
                  "\n".join(f"{each.plan}: {each.message}"
                            for each in found.findings[1:]))


@case("sweep/server", role="server", services=EVERY_SERVICE,
      transports=EVERY_TRANSPORT, **SWEEP)
def test_server(stage):
    """Whichever call fails, the server fails in order or goes on to serve.

    Each call of two exchanges and an orderly end is made to fail once, with
    each errno and each short count that its manual page allows, and SIGTERM
    comes once just before it. Nothing of that may crash or hang the server,
    send wrong bytes, or leave something behind; and trouble with one client
    is no reason to stop serving the next.
    """
    judge(stage, sweep(stage, run_server, signals=True))


@case("sweep/client", role="client", services=EVERY_SERVICE,
      transports=EVERY_TRANSPORT, **SWEEP)
def test_client(stage):
    """Whichever call fails, the client tells of it or does its work.

    Each call of one run is made to fail once, with each errno and each short
    count that its manual page allows. Status 0 must mean that all was done,
    and status 1 must come with a message.
    """
    judge(stage, sweep(stage, functools.partial(run_client, whole=[]),
                       signals=False))
