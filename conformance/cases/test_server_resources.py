"""Descriptors, memory, threads and processes: given back, and lacked."""
import resource

from sockstep import procfs
from sockstep.case import EVERY_SERVICE, FOR_EVER, STREAMS, case
from sockstep.failure import Failure, mismatch
from sockstep.program import told_by
from sockstep.transcript import shorten

GROUP = "Resources"
#: Clients before the first count, so that pools can fill.
WARM_UP = 10
#: Clients between the two counts.
CLIENTS = 20
#: Allocations that are made to fail, one in each run.
MOST_ALLOCATIONS = 60
#: Descriptors that a server has from the start: poll() refuses a set with more
#: entries than the limit of descriptors, and FD_SETSIZE is 1024.
HELD = 960


def orderly(server, number):
    """A client that is served and leaves in order."""
    peer = server.exchange(number)
    peer.close()
    server.expect_alive(f"the end of {peer.label}")


def broken_off(server, number):
    """A client that resets: the server meets that in recv() or in send().

    Every other one does before the server has seen what it sent, or, where
    the server speaks first, before it is accepted.
    """
    unseen = number % 2
    partial = server.service.partial
    if unseen and not partial:
        server.freeze()
    peer = server.connect()
    if partial:
        server.quiet()
        if unseen:
            server.freeze()         # the bytes are read, their echo fails
        peer.send(partial)
    if not unseen:
        server.quiet()
    peer.reset()
    if unseen:
        server.thaw()
    server.expect_alive(f"the reset of {peer.label}")


def must_not_grow(server, client, held, nouns):
    """`held()` must have as many entries after CLIENTS more clients."""
    for number in range(WARM_UP):
        client(server, number)
    before = held()
    for number in range(CLIENTS):
        client(server, number)
    after = held()
    if len(after) > len(before):
        raise Failure("leak", f"{len(after) - len(before)} more {nouns} "
                      f"after {CLIENTS} clients have left: {len(before)}, "
                      f"then {len(after)}",
                      "\n".join(sorted(set(after) - set(before))[:5]))


def descriptors(server):
    return [f"process {pid}: descriptor {number} is {where}"
            for pid in server.program.tree()
            for number, where in procfs.descriptors(pid).items()]


@case("leak/descriptors", role="server", group=GROUP, defects=(53, 55),
      services=EVERY_SERVICE, clients=FOR_EVER, source="close(2); accept(2), EMFILE",
      hints=["Each accept() makes a descriptor that must be given back.",
             "Call close() on the connection when its client has left."],
      transports=STREAMS,
      by_hand="""ls /proc/PID/fd | wc -l, then some clients, then the same
                 again: the number must not grow.""")
def test_descriptors(server):
    """When a client has left its connection's descriptor is closed.

    A process has some thousand descriptors. A server that loses one for
    each client stops to accept after so many; and the client's side never
    sees the end of its connection.
    """
    must_not_grow(server, orderly, lambda: descriptors(server), "descriptors")


@case("leak/descriptors-on-error", role="server", group=GROUP, defects=(54,),
      services=EVERY_SERVICE, clients=FOR_EVER, source="close(2); recv(2), ECONNRESET",
      hints=["A connection that failed has a descriptor all the same.",
             "Let every way out of the function that serves a client come "
             "by close()."],
      transports=STREAMS,
      by_hand="""ls /proc/PID/fd | wc -l, then some times:
                 python3 -c 'import socket,struct as t; s=socket.socket();
                 s.connect(("HOST", PORT)); s.send(b"x"); s.recv(1);
                 s.setsockopt(1, 13, t.pack("ii", 1, 0)); s.close()'
                 and count again.""")
def test_descriptors_on_error(server):
    """A connection that breaks off is closed like any other.

    The ways out that are seldom taken are the ones that forget it.
    """
    server.exchange().close()           # else there is nothing to find
    server.quiet()
    must_not_grow(server, broken_off, lambda: descriptors(server),
                  "descriptors")


@case("leak/closed-twice", role="server", group=GROUP, defects=(24, 57),
      services=EVERY_SERVICE, transports=("tcp", "unix"), clients=FOR_EVER,
      plans=True,
      source="close(2), NOTES: after EINTR the descriptor is closed on Linux; "
             "POSIX.1-2008 close()",
      hints=["After close() the number is free, whatever close() returned. "
             "Whose is it at the second close()?",
             "Call close() once, at one place, also after EINTR, and forget "
             "the number with it: set the variable to -1."],
      by_hand="""
      strace -e trace=close -e inject=close:error=EINTR:retval=-1 \\
          SERVER -P PORT
      # and some clients: close() must not be called twice for a number""")
def test_closed_twice(launch_server):
    """Each descriptor is closed once, also where close() reports EINTR.

    The second close() of a number hits whatever has got that number
    meanwhile: in a server that has many clients that is another client.
    """
    server = launch_server(plan="close@*=late:EINTR")
    server.program.may_end = True           # of EINTR: no matter of this case
    for number in range(3):
        server.exchange(number).close()
        server.quiet()
        if not server.program.alive():
            break
    for call in server.program.double_closes():
        raise Failure("call", f"{call}: the descriptor was closed before, "
                      "and its number may be another's")


@case("leak/threads-processes", role="server", group=GROUP,
      defects=(59, 62), services=EVERY_SERVICE, clients=FOR_EVER,
      source="wait(2), NOTES: zombies; pthread_detach(3)",
      hints=["What was started for a client must be over after it.",
             "Call waitpid() for each child; join or detach each thread."],
      transports=STREAMS,
      by_hand="""ps -L --ppid PID and ps -L PID, before and after some
                 clients: the list must not grow. A zombie shows as
                 <defunct>.""")
def test_threads_processes(server):
    """When a client has left no thread and no process of it is left.

    A child that nobody waits for stays in the process table as a zombie,
    and a thread keeps its stack; both tables have an end.
    """
    must_not_grow(server, orderly, lambda: tasks(server),
                  "threads or processes")


def tasks(server):
    return [f"process {pid}, thread {tid}"
            + (", a zombie" if procfs.thread_state(pid, tid) == "Z" else "")
            for pid in server.program.tree() for tid in procfs.threads(pid)]


def all_answered(server):
    """Some clients in turn; one where the server ends with its client."""
    for number in range(1 if server.target.contract.ends_alone else 5):
        server.exchange(number).close()
        server.quiet()


@case("leak/heap", role="server", group=GROUP, defects=(68, 95),
      services=EVERY_SERVICE,
      valgrind=True, source="malloc(3); freeaddrinfo(3)",
      hints=["Who allocates for a client frees when the client has left.",
             "Run the server under valgrind --leak-check=full: it names the "
             "line that allocated."],
      transports=STREAMS,
      by_hand="""valgrind --leak-check=full SERVER -P PORT, some clients,
                 then Ctrl-C: no block is "definitely lost".""")
def test_heap(server):
    """All memory that was allocated for a client is freed.

    A server runs for months: what it loses with each client adds up until
    the kernel kills it.
    """
    all_answered(server)


@case("leak/heap-on-error", role="server", group=GROUP, defects=(68,),
      services=EVERY_SERVICE, clients=FOR_EVER, valgrind=True,
      source="malloc(3); recv(2), ECONNRESET",
      hints=["A client that breaks off is one whose memory must be freed.",
             "Free at one place, which every way out of the function comes "
             "by."],
      transports=STREAMS,
      by_hand="""valgrind --leak-check=full SERVER -P PORT, a client that
                 resets (see leak/descriptors-on-error), then Ctrl-C.""")
def test_heap_on_error(server):
    """Memory for a client that breaks off is freed like any other.

    The free() at the end of a function helps nothing where an error
    returns in its middle.
    """
    server.exchange().close()           # else there is nothing to find
    server.quiet()
    for number in range(4):
        broken_off(server, number)


@case("limit/descriptors", role="server", group=GROUP, defects=(65, 66),
      services=EVERY_SERVICE, clients=FOR_EVER, source="accept(2), EMFILE and ENFILE",
      hints=["That no descriptor is left may be over soon: it is no reason "
             "to end.",
             "The client stays in the queue, so accept() fails again at "
             "once: wait a moment, 100 ms say, before the next call."],
      transports=STREAMS,
      by_hand="""Connect with nc and type a line. prlimit --pid PID
                 --nofile=4: (4 is the number of the connection's
                 descriptor). Start a second nc, end the first. The server
                 must neither end nor burn processor time (top). prlimit
                 --pid PID --nofile=1024: and the second nc is served.""")
def test_descriptors_limit(launch_server):
    """A server that has no descriptor left waits, and then goes on.

    A connection that can't be accepted stays in the queue and is served
    when there are descriptors again. Until then the server must not end,
    and not call accept() as fast as it can.
    """
    server = launch_server(hold=HELD)
    server.quiet()
    used = procfs.descriptors(server.program.pid)
    free = min(set(range(len(used) + 1)) - set(used))
    soft, hard = allow(server, free)
    first = server.connect()        # an accept() that waits has its descriptor
    expect_patience(server)
    second = server.connect()
    first.close()
    expect_patience(server)
    allow(server, soft)
    server.exchange(peer=second)


def expect_patience(server):
    """The server rests and lives, whether accept() has failed or not."""
    try:
        server.expect_alive("accept() without a free descriptor (EMFILE)")
    except Failure as failure:
        raise Failure(failure.kind, failure.message + (
            ": accept() fails at once as long as the client waits"
            if failure.kind == "spin" else ""), failure.detail) from None


def allow(server, number):
    """Set the limit of open descriptors; the limits as they were."""
    program = server.program
    soft, hard = resource.prlimit(program.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(program.pid, resource.RLIMIT_NOFILE, (number, hard))
    server.stage.transcript.add("harness", program.label, "limit",
                                note=f"descriptors: {number}")
    return soft, hard


@case("limit/memory", role="server", starves=True, group=GROUP, defects=(67,),
      services=EVERY_SERVICE,
      source="malloc(3), RETURN VALUE",
      hints=["malloc() may return NULL.",
             "Look at each result; say what failed and end with status 1, "
             "or drop that client alone."],
      transports=STREAMS,
      by_hand="""LD_PRELOAD=build/src/fault_preload.so
                 SOCKSTEP_FAULTS='malloc@1=ENOMEM' SERVER -P PORT
                 with 1, then 2, then 3 ... and a client each time.""")
def test_memory(launch_server):
    """A server that gets no memory fails in order: it does not crash.

    Each allocation fails once, in a run of its own. The client gets its
    answer, or a part of it and the end of the stream, and never wrong bytes.
    """
    for number in range(1, MOST_ALLOCATIONS + 1):
        server = launch_server(ready=False, plan=f"malloc@{number}=ENOMEM")
        program = server.program
        program.may_end = program.plan_may_miss = True
        try:
            came = survive(server)
        except Failure as failure:
            raise Failure(failure.kind, f"with allocation {number} failing "
                          f"{failed_call(program)}: {failure.message}",
                          failure.detail, failure.mismatch) from None
        if not failed_call(program):        # it makes no more than these
            if not came and server.service.whole():
                raise Failure("end-of-stream", "with all the memory that it "
                              "asks for the server answers nothing",
                              told_by(program))
            return


def failed_call(program):
    """The allocation that failed, such as "(malloc(size=80))", or ''."""
    return next((f"({call.text.split(' = ')[0]})" for call in program.calls()
                 if call.injected), "")


def survive(server):
    """A right answer, or a part of it, or a clean failure; what came."""
    program, stage = server.program, server.stage
    due, came = server.service.whole(), b""
    try:
        server.find()
        peer = server.connect()
        server.service.ask(peer)
        peer.half_close()
        came = peer.until_end()
        if not server.service.right_beginning(came):
            raise Failure("wrong-bytes", f"wrong bytes came back: "
                          f"{shorten(came)}", mismatch=mismatch(due, came))
    except Failure as failure:
        if failure.kind == "reset":
            server.quiet()              # it may go on without that client
        elif failure.kind in ("startup", "refused"):
            stage.wait_end(program)
        else:
            raise
        if program.ending() and program.ending().status == 0:
            raise
    server.done()
    if not program.ended_by_harness and program.ending().status not in (0, 1):
        raise Failure("exit", "status 1 is due where it can't go on; it "
                      f"ended with {program.ending()}")
    return came
