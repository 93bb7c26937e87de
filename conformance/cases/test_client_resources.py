"""Memory, seen from a client: used within its bounds, given back, lacked."""
from sockstep.case import LINES, STREAMS, case
from sockstep.data import pattern, word
from sockstep.failure import Failure, within

GROUP = "Resources"
#: Allocations that are made to fail, one in each run.
MOST_ALLOCATIONS = 60
#: The sizes that buffers usually have, reached without and with the newline.
SIZES = (1023, 1024, 4095, 4096)


def serve(client, lines):
    """An echo server for a client that is typed all `lines`."""
    client.type(b"".join(line + b"\n" for line in lines))
    client.end_input()
    peer = client.accept()
    client.echo(peer)
    if not peer.got:
        raise Failure("end-of-stream", "the client ended its stream and had "
                      "sent nothing of what was typed")
    client.finish()


def runs(target, lines):
    """The lines of each run: all in one, where the contract allows that."""
    many = target.contract.messages == "many"
    return [lines] if many else [[line] for line in lines]


@case("memory/client-misuse", role="client", services=LINES,
      group="Byte stream",
      defects=(5,), valgrind=True, source="recv(2): it adds no NUL; "
      "C11 7.24: a string ends with a NUL",
      hints=["Which byte stands behind the reply in your buffer?",
             "recv() may fill the buffer to its last byte: leave room for a "
             "NUL of your own, or use lengths throughout."],
      transports=STREAMS,
      by_hand="""
      # with an echo server at HOST and PORT:
      python3 -c 'print("x" * 1023)' | valgrind CLIENT -H HOST -P PORT""")
def test_misuse(target, launch_client):
    """No byte outside the client's own memory is read or written.

    Lines and replies that fill a buffer to its last byte show what ordinary
    ones hide: a NUL written behind the buffer, or none where one is needed.
    """
    lines = [pattern(size, size) for size in SIZES] + [b"a NUL: \0, the end"]
    for typed in runs(target, lines if target.contract.messages == "many"
                      else lines[:2] + lines[-1:]):
        serve(launch_client(), typed)


@case("leak/client-heap", role="client", services=LINES,
      group=GROUP, defects=(68, 95),
      valgrind=True, source="malloc(3); getline(3): free the line; "
      "freeaddrinfo(3)",
      hints=["What did your client allocate, itself or through getline() "
             "and getaddrinfo()?",
             "Free each at one place that every way out comes by; run it "
             "under valgrind --leak-check=full."],
      transports=STREAMS,
      by_hand="""
      # with an echo server at HOST and PORT:
      echo hello | valgrind --leak-check=full CLIENT -H HOST -P PORT""")
def test_heap(target, launch_client):
    """All memory that was allocated is freed, after a failure as well.

    The kernel takes it back at the end of a short run; in a client that is
    part of something larger, it would be lost.
    """
    serve(launch_client(), runs(target, [word(1), b"two", b"three"])[0])
    client = launch_client()
    client.type(b"a line whose reply is lost\n")
    peer = client.accept()
    client.quiet()
    peer.reset()
    client.finish()


@case("limit/client-memory", role="client", starves=True, services=LINES,
      group=GROUP, defects=(67,),
      source="malloc(3), RETURN VALUE",
      hints=["malloc(), getline() and getaddrinfo() fail when there is no "
             "memory.",
             "Look at each result; say what failed and end with status 1."],
      transports=STREAMS,
      by_hand="""
      echo hello | LD_PRELOAD=build/src/fault_preload.so \\
          SOCKSTEP_FAULTS='malloc@1=ENOMEM' CLIENT -H HOST -P PORT; echo $?
      # with 1, then 2, then 3 ...""")
def test_memory(launch_client):
    """A client that gets no memory fails in order: it does not crash.

    Each allocation fails once, in a run of its own. The run ends with the
    right reply and status 0, or with status 1.
    """
    for number in range(1, MOST_ALLOCATIONS + 1):
        client = launch_client(plan=f"malloc@{number}=ENOMEM")
        client.program.plan_may_miss = True
        with within(f"with allocation {number} failing"):
            survive(client)
        if not any(call.injected for call in client.program.calls()):
            client.expect_exit(0, "it got all the memory that it asked for")
            return                          # it makes no more than these


def survive(client):
    """A right answer or a clean failure."""
    line = b"memory is scarce: " + word()
    try:
        serve(client, [line])
    except Failure as failure:
        ending = client.stage.wait_end(client.program)
        if failure.kind not in ("exit", "end-of-stream") or \
                ending.status == 0:
            raise                           # else: it could not go on
    ending = client.program.ending()
    if ending.signal is not None:
        raise Failure("crash", client.stage.crash_of(client.program))
    if ending.status == 0:
        client.expect_replies(line)
    elif ending.status != 1:
        raise Failure("exit", "status 1 is due where it can't go on; it "
                      f"ended with {ending}")
