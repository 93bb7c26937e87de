"""Many clients at once: none waits for another, none harms another."""
import signal

from sockstep import procfs
from sockstep.case import SHOULD, case
from sockstep.crowd import fill, gather, talk
from sockstep.data import line, pattern, word
from sockstep.failure import Failure, mismatch
from sockstep.transcript import count, shorten

GROUP = "Many clients"
MANY = ("many",)
#: More than the buffers of both ends hold while the client does not read.
TOO_MUCH = pattern(4 << 20)
#: What a server's limits must let in at a time, at the least.
HUNDRED = 100
#: More clients than any limit on threads, on processes, or of select(2).
CROWD = 1100
#: The descriptors that a server gets for a crowd.
CROWD_DESCRIPTORS = 2048
_SILENT = "sleep 99 | nc HOST PORT &   # it says nothing\n"
_STALLED = """python3 -c "import socket, time
s = socket.create_connection(('HOST', PORT)); s.settimeout(1)
try: s.sendall(b'x' * 90000000)
except TimeoutError: time.sleep(99)" & sleep 2
"""


def stalled(server):
    """A client that sends and does not read: its replies wait for it.

    The client, and how many of the bytes of TOO_MUCH were taken.
    """
    peer = server.connect(receive_buffer=4096, send_buffer=1 << 16)
    return peer, peer.push(TOO_MUCH)


# -- nobody waits for another -----------------------------------------------------
@case("many/idle-client", role="server", group=GROUP, clients=MANY,
      defects=(74,), source="document 001 III; recv(2): it waits until "
      "something comes; poll(2); pthread_create(3)",
      hints=["In which call is the server while the first client says "
             "nothing? Who calls accept() meanwhile?",
             "Give each client a thread or a process of its own; or wait for "
             "all of them in one call, with poll() or epoll_wait(), and read "
             "only from those that have something."],
      by_hand=_SILENT + "echo hello | nc -N HOST PORT       # hello, at once")
def test_idle_client(server):
    """A client that is connected and silent keeps no other one waiting.

    A person at a terminal thinks for minutes between two lines. With one
    client after the other, that is how long all others wait.
    """
    silent = server.connect()
    server.quiet()                          # it is accepted
    server.exchange(1)
    server.exchange(2, silent)


@case("many/half-line", role="server", group=GROUP, clients=MANY,
      defects=(76,), source="recv(2); poll(2): ready means that one call will "
      "not wait, not that a whole line is there",
      hints=["One client has sent half a line. Does the server wait for the "
             "other half?",
             "After poll() says that there is something, call recv() once "
             "and go back to poll(); keep what came until its rest comes."],
      by_hand="(printf 'half a '; sleep 99) | nc HOST PORT &\n"
              "echo hello | nc -N HOST PORT       # hello, at once")
def test_half_line(server):
    """A client that has sent half a line keeps no other one waiting.

    A loop that reads on until the newline is there gives the whole server
    to one client, for as long as that client likes.
    """
    slow = server.connect()
    slow.send(b"half a ")
    server.quiet()
    server.exchange(1)
    slow.send(word() + b"\n")
    slow.expect(b"half a %s\n" % word())


@case("many/slow-reader", role="server", group=GROUP, clients=MANY,
      defects=(75,), source="send(2): it waits while the buffer is full, "
      "unless O_NONBLOCK is set; poll(2), POLLOUT",
      hints=["One client does not read its replies. In which call is the "
             "server then?",
             "Set O_NONBLOCK. When send() fails with EAGAIN keep what is "
             "left of this client, wait for its POLLOUT together with all "
             "the others, and read no more from it until then."],
      by_hand=_STALLED + "echo hello | nc -N HOST PORT       # hello, at once")
def test_slow_reader(server):
    """A client that does not read its replies keeps no other one waiting.

    Its receive buffer is full, then the server's send buffer; a send() that
    waits for room waits for this client alone.
    """
    slow, _taken = stalled(server)
    server.exchange(1)
    slow.drain()


@case("many/hundred", role="server", group=GROUP, clients=MANY,
      defects=(74, 79), source="the contract of the lesson: limits on clients "
      "or threads are at least 100 by default",
      hints=["How many clients are served at a time, and what sets that "
             "number?",
             "A limit is right, but not one below 100; and a client that is "
             "served by a worker counts for as long as it is connected."],
      by_hand="""for i in $(seq 99); do sleep 99 | nc HOST PORT & done
                 echo hello | nc -N HOST PORT       # hello, at once""")
def test_hundred(server):
    """A hundred clients are connected at once, and all of them are served.

    A limit protects the machine, yet it must leave room for those for whom
    the server is there.
    """
    peers = gather(server, HUNDRED)
    server.quiet()
    requests = {peer: line(40 + number % 20, number)
                for number, peer in enumerate(peers)}
    talk(server, requests)
    for peer, request in requests.items():
        peer.expect(request)
    server.exchange(0, peers[0])


# -- nobody gets what is another's ----------------------------------------------------
@case("many/streams-apart", role="server", group=GROUP, clients=MANY,
      defects=(77,), source="recv(2); send(2); document 001 III: one socket "
      "for each connection",
      hints=["Which variables does the code for one client share with the "
             "code for another?",
             "Keep buffer, lengths and descriptor in one structure a client, "
             "or on the stack of its thread: nothing static."],
      by_hand="""for i in 1 2 3 4 5; do
          yes "client $i" | head -n 9999 | nc -N HOST PORT |
          grep -vc "^client $i\\$" & done; wait     # 0 five times""")
def test_streams_apart(server):
    """Clients that talk at the same time get their own bytes, all of them.

    Eight streams that differ in every byte go through the server in turns,
    in pieces of different lengths.
    """
    peers = gather(server, 8)
    streams = [pattern(6000, seed) for seed in range(len(peers))]
    for start in range(0, 6000, 1500):
        for number, peer in enumerate(peers):
            peer.send(streams[number][start:start + 100 * number])
        for number, peer in enumerate(peers):
            peer.send(streams[number][start + 100 * number:start + 1500])
        for number, peer in enumerate(reversed(peers), start=1):
            peer.expect(streams[-number][start:start + 1500])


@case("many/unsent-apart", role="server", group=GROUP, clients=MANY,
      defects=(77, 69, 127), source="send(2), EAGAIN; pthreads(7): threads share "
      "all static data",
      hints=["Where does the reply of a client wait that does not read? Who "
             "else writes there?",
             "Each client needs a buffer of its own for what is not sent "
             "yet. A static buffer is one for all, and so is one of main()."],
      by_hand="""
      # a client that reads late, and one that talks meanwhile
      python3 -c "import socket
      s = socket.create_connection(('HOST', PORT)); s.settimeout(1); n = 0
      try:
          while True: n += s.send(b'x' * 65536)
      except TimeoutError: pass
      t = socket.create_connection(('HOST', PORT))
      t.sendall(b'y' * 65535 + b'\\\\n'); t.shutdown(1)
      while t.recv(65536): pass
      while n > 0:
          d = s.recv(65536); n -= len(d); print(set(d))" """)
def test_unsent_apart(server):
    """What waits for one client is not overwritten by another's bytes.

    The reply of a client that does not read lies in the server meanwhile. A
    buffer that all of them share then holds the next client's bytes.
    """
    slow, taken = stalled(server)
    busy = server.connect()
    text = line(1 << 16, seed=7)
    for _ in range(4):                  # its window grows until all fits in
        busy.send(text)
        busy.expect(text)
    slow.expect(TOO_MUCH[:taken])


@case("many/burst-of-clients", role="server", group=GROUP, clients=MANY,
      defects=(70, 80), source="accept(2); epoll(7), edge-triggered: an event "
      "is told once; pthread_create(3)",
      hints=["Five clients came while the server was busy elsewhere: how "
             "many events is that, and how many accept()?",
             "Where epoll is edge-triggered call accept() until EAGAIN. And "
             "give a thread its descriptor by value or in memory of its own: "
             "the variable of the loop has the next number in it by then."],
      by_hand="""
      SERVER -P PORT & p=$!; sleep 1; kill -STOP $p
      for i in 1 2 3 4 5; do echo "$i" | nc -N HOST PORT & done; sleep 1
      kill -CONT $p; wait         # 1 to 5, in any order""")
def test_burst_of_clients(server):
    """Clients that come all at once are all served, each with its own bytes.

    While a server is busy, clients gather in its queue: it then meets them
    without a pause in between.
    """
    for _ in range(4):
        server.quiet()
        server.freeze()
        peers = gather(server, 5)
        for seed, peer in enumerate(peers):
            peer.send(line(50, seed))
        server.thaw()
        for seed, peer in enumerate(peers):
            peer.expect(line(50, seed))
            peer.close()


@case("many/burst-of-bytes", role="server", group=GROUP, clients=MANY,
      defects=(80,), source="epoll(7), edge-triggered: read until EAGAIN, for "
      "the next event comes with new data only",
      hints=["The client has sent more than one recv() takes, and sends no "
             "more. Does anything make the server read the rest?",
             "Where epoll is edge-triggered call recv() until it fails with "
             "EAGAIN, or remember that there is more and come back to it."],
      by_hand="""
      SERVER -P PORT & p=$!; sleep 1
      # twice, for the first bytes may come with the connection
      python3 -c "import os, signal, socket
      s = socket.create_connection(('HOST', PORT))
      s.sendall(b'a'); print(s.recv(1)); os.kill($p, signal.SIGSTOP)
      s.sendall(b'x' * 100000); os.kill($p, signal.SIGCONT); n = 0
      while n < 100000: n += len(s.recv(65536))
      print(n)" """)
def test_burst_of_bytes(server):
    """A burst that is larger than the buffer is echoed without new bytes.

    The kernel tells of it once. A server that takes one bufferful and waits
    for the next event leaves the rest where it is.
    """
    peers = [server.exchange(seed) for seed in range(3)]
    server.quiet()
    server.freeze()
    for seed, peer in enumerate(peers):
        peer.send(pattern(100_000, seed))
    server.thaw()
    for seed, peer in enumerate(peers):
        peer.expect(pattern(100_000, seed))


# -- nobody harms another -------------------------------------------------------------
@case("many/end-of-another", role="server", group=GROUP, clients=MANY,
      defects=(57, 61, 72), source="exit(3): it ends the whole process; close(2)",
      hints=["One client has left. What else than its connection was given "
             "up?",
             "Return from the thread's function, don't call exit(). Close a "
             "descriptor once: by the second close() its number may belong "
             "to another client."],
      by_hand=_SILENT + "for i in 1 2 3; do echo $i | nc -N HOST PORT; done\n"
              "jobs            # the first nc must still run")
def test_end_of_another(server):
    """A client that leaves takes nothing from the others.

    Some leave after an exchange, some without a word, some with a half-close:
    those who stay must not notice.
    """
    early, stays = server.exchange(1), server.exchange(2)
    early.close()
    server.expect_alive("the end of a client")
    late = server.exchange(3)               # it gets the number that was free
    silent = server.connect()
    half = server.exchange(4)
    half.half_close()
    half.expect_end()
    silent.close()
    server.expect_alive("the end of another client")
    for peer in (stays, late):
        server.exchange(5, peer)


@case("many/reset-of-another", role="server", group=GROUP, clients=MANY,
      defects=(37, 75), source="recv(2) and send(2), ECONNRESET and EPIPE; "
      "signal(7): SIGPIPE ends the process with all its threads",
      hints=["The server was sending to a client that has gone. What does "
             "an error of that send() end?",
             "An error is about one connection: close that one, and go on "
             "with the others. MSG_NOSIGNAL keeps SIGPIPE away."],
      by_hand=_SILENT + """python3 -c "import socket, struct
s = socket.create_connection(('HOST', PORT)); s.settimeout(1)
s.setsockopt(1, socket.SO_LINGER, struct.pack('ii', 1, 0))
try: s.sendall(b'x' * 90000000)
except TimeoutError: pass"
jobs            # the first nc must still run""")
def test_reset_of_another(server):
    """A client that breaks off in the middle of its reply harms no other.

    The server is about to send to it, perhaps in the very call. Threads
    have one process together, and so one fate.
    """
    stays = server.exchange(1)
    slow, _taken = stalled(server)
    slow.reset()
    server.expect_alive("the reset of a client that did not read")
    server.exchange(2, stays)


@case("many/same-number", role="server", group=GROUP, clients=MANY,
      defects=(81, 78, 126), source="open(2): the lowest number that is free; "
      "close(2); epoll(7), questions 1 and 6",
      hints=["A new connection gets the number of the one that was closed "
             "last. What does the server still know under that number?",
             "Forget all of a client with its close(): what it had in its "
             "buffer, its place in the set of poll(), its flags."],
      by_hand="""
      # the first breaks off with replies unread, the second says nothing
      python3 -c "import socket, struct
      s = socket.create_connection(('HOST', PORT)); s.settimeout(1)
      s.setsockopt(1, socket.SO_LINGER, struct.pack('ii', 1, 0))
      try: s.sendall(b'x' * 90000000)
      except TimeoutError: s.close()
      s = socket.create_connection(('HOST', PORT)); s.settimeout(1)
      print(s.recv(100))"         # TimeoutError: nothing is due""")
def test_same_number(server):
    """A new client gets nothing of the one whose descriptor it inherits.

    The kernel gives a new connection the lowest free number, which the last
    to leave has had. What was kept under it must be gone by then.
    """
    slow, _taken = stalled(server)
    slow.reset()
    server.expect_alive("the reset of a client that did not read")
    fresh = server.connect()
    fresh.expect_silence()
    server.exchange(3, fresh)
    fresh.expect_silence()


# -- limits -----------------------------------------------------------------------------
@case("many/waves", role="server", group=GROUP, clients=MANY,
      defects=(78, 62), source="pthread_join(3), pthread_detach(3); waitpid(2)",
      hints=["After some hundred clients no new one is served. What do those "
             "that have left still hold?",
             "Give back with each client what it was given: its slot, its "
             "place under the limit, its thread or process."],
      by_hand="""for i in $(seq 400); do echo $i | nc -N HOST PORT > /dev/null
                 done; echo last | nc -N HOST PORT      # last""")
def test_waves(server):
    """Hundreds of clients in waves are served: places are used again.

    A table of clients that only grows, or a limit that counts who came and
    not who is there, serves well at first and then nobody any more.
    """
    for wave in range(5):
        peers = gather(server, 90)
        requests = {peer: line(60, seed) for seed, peer in enumerate(peers)}
        talk(server, requests)
        for peer, request in requests.items():
            peer.expect(request)
            peer.close()
        server.expect_alive(f"{90 * (wave + 1)} clients")


@case("many/over-the-limit", role="server", group=GROUP, clients=MANY,
      defects=(63, 71, 79), source="the remarks of document 001: threads "
      "cannot be expanded without limits; pthread_create(3), EAGAIN; "
      "fork(2), EAGAIN; select(2), FD_SETSIZE",
      hints=["1,100 clients come. How many threads, processes or places in "
             "a table does the server have then? What of those who find "
             "none?",
             "Count who is there. At the limit take no further client until "
             "one leaves (the others wait in the listening socket's queue), "
             "or close() the new connection at once."],
      by_hand="""ulimit -n 2048; SERVER -P PORT &
                 python3 -c "import socket
                 s = [socket.create_connection(('HOST', PORT))
                      for i in range(900)]
                 s[0].sendall(b'hello\\\\n'); print(s[0].recv(100))
                 input('look at the threads with ps -L PID')" """)
def test_over_the_limit(launch_server):
    """However many clients come, a server keeps within its limits.

    Who is over the limit waits or is refused in order; the others are served
    on, and when clients have left new ones are served. At most 500 threads
    and processes are allowed: each costs memory, and the machine has an end.
    """
    server = launch_server(nofile=CROWD_DESCRIPTORS)
    peers = fill(server, CROWD)
    server.expect_alive(f"{len(peers):,} clients at once")
    refused = [peer for peer in peers if peer.ended()]
    for peer in refused:
        peer.expect_end()
    server.exchange(0, peers[0])
    for peer in peers[:-50]:
        peer.close()
    server.expect_alive("the end of most clients")
    last = peers[-1]
    server.exchange(1, last if last not in refused else None)


@case("limit/descriptors-of-many", role="server", group=GROUP, clients=MANY,
      defects=(65, 66, 79), source="accept(2), EMFILE; getrlimit(2), "
      "RLIMIT_NOFILE",
      hints=["No descriptor is left. Which clients must notice that?",
             "Go on with those who are there. Call accept() again when one "
             "of them has left, or after a pause: never at once."],
      by_hand="""ulimit -n 20; SERVER -P PORT &
                 for i in $(seq 30); do sleep 99 | nc HOST PORT & done
                 # the server must not burn processor time (top), and serves
                 # on: type into one of the first""")
def test_descriptors_of_many(launch_server):
    """A server without a free descriptor serves on those whom it has.

    Clients beyond that wait or are refused, without a spin, and are served
    when others have left.
    """
    server = launch_server(nofile=128)
    peers = fill(server, 140)
    server.expect_alive(f"{len(peers)} clients and a limit of 128 descriptors")
    server.exchange(0, peers[0])
    refused = [peer for peer in peers if peer.ended()]
    for peer in peers[1:60]:
        peer.close()
    last = peers[-1]
    server.exchange(1, last if last not in refused else None)
    server.exchange(2, peers[0])


@case("limit/fd-setsize", role="server", group=GROUP, clients=MANY,
      defects=(71,), plans=True,
      source="select(2): FD_SET of a number of FD_SETSIZE (1024) or more is "
             "undefined; fcntl(2), F_DUPFD",
      hints=["A descriptor may be 1024 or more. How many bits has an fd_set?",
             "Compare each descriptor with FD_SETSIZE before FD_SET, and "
             "refuse a client that is beyond; or use poll(), which knows no "
             "such limit."],
      by_hand="""python3 -c "import os
      for n in range(3, 1100): os.dup2(0, n)
      os.execv('SERVER', ['SERVER', '-P', 'PORT'])" < /dev/null
      # needs ulimit -n 2048""")
def test_fd_setsize(launch_server):
    """A descriptor above 1023 never makes select() write past its fd_set.

    An fd_set has 1024 bits, and FD_SET does not look: bit 1100 is a bit of
    some other variable. Such a client may be refused, or the server may say
    that it can't start; it must not corrupt its own memory.
    """
    server = launch_server(ready=False, hold=CROWD, plan=" ",
                           nofile=CROWD_DESCRIPTORS)
    stage, program = server.stage, server.program
    program.may_end = True
    server.quiet()
    if program.alive():
        server.address = stage.wait_listening(program).local
        peer = server.connect()
        peer.send(b"above 1023\n")
        server.quiet()
    for call in program.calls():
        number = int(call.argument("nfds") or 0)
        if call.text.startswith(("select(", "pselect(")) and number > 1024:
            raise Failure("call", f"select() is asked about descriptor "
                          f"{number - 1}, and an fd_set ends at 1023: the "
                          "bit lies in memory that is not the set's",
                          str(call))
    crash = stage.crash_of(program)
    if crash:
        raise Failure("crash", f"{crash} with descriptors above 1023")
    if not program.alive():
        stage.expect_exit(1, program, "it can't work with such descriptors")


@case("many/thousand", role="server", group=GROUP, clients=MANY,
      defects=(74, 75, 77, 78), source="the contract of the lesson; epoll(7); "
      "getrlimit(2), RLIMIT_NOFILE",
      hints=["Which of the requirements of this group fails only where "
             "there are many clients? Try the other cases first.",
             "Wait for all clients in one call, take from each what is "
             "there, and keep for each what it has not taken."],
      by_hand="""ulimit -n 2048; SERVER -P PORT &
                 for i in $(seq 1000); do (sleep 5; echo $i) |
                 nc -N HOST PORT & done | sort -n | uniq | wc -l    # 1000""")
def test_thousand(launch_server):
    """A thousand clients at once all get their own bytes, every one.

    Each has a stream of its own. Twenty of them are silent and ten don't
    read for a while; a server with a lower limit serves the others when
    some have left.
    """
    server = launch_server(nofile=CROWD_DESCRIPTORS)
    silent = gather(server, 20)
    slow = {}
    for seed in range(10):
        server.quiet()                      # there is room in the queue
        peer = server.connect(receive_buffer=4096)
        slow[peer] = pattern(200_000, seed)
        peer.send(slow[peer][:100_000])     # and does not read
    served = 0
    while served < 970:
        peers = fill(server, 970 - served)
        requests = {peer: pattern(400 + served % 37, served + number)
                    for number, peer in enumerate(peers)}
        talk(server, requests, after=leave)
        refused = 0
        for peer, request in requests.items():
            if peer.end and not peer.got:
                refused += 1
                peer.close()
            else:
                peer.expect(request)
        if refused == len(peers):
            server.expect_within_limits()
            raise Failure("refused", f"after {count(served, 'client')} each "
                          "new one is refused although others have left")
        served += len(peers) - refused
    talk(server, {peer: stream[100_000:] for peer, stream in slow.items()})
    for peer, stream in slow.items():
        peer.expect(stream)
    for peer in silent:
        server.exchange(1, peer)


def leave(peer):
    """The client closes its connection; what it got can still be judged."""
    peer.close()


# -- threads and processes ----------------------------------------------------------------
@case("many/creation-failed", role="server", group=GROUP, clients=MANY,
      defects=(64,), source="pthread_create(3), EAGAIN; fork(2), EAGAIN",
      hints=["pthread_create() returns its error, fork() returns -1. Whose "
             "connection is open at that moment, and who closes it?",
             "Say what failed, close that one connection, and go on with "
             "accept(): the others are served, and soon there is room again."],
      by_hand="""
      LD_PRELOAD=build/src/fault_preload.so \\
      SOCKSTEP_FAULTS='thread@2=EAGAIN; fork@2=EAGAIN' SERVER -P PORT
      # three times in a second terminal: echo hello | nc -N HOST PORT""")
def test_creation_failed(launch_server):
    """A thread or a process that can't be made costs one client at the most.

    The machine has no room for one more at that moment. The server goes on,
    and the client without one learns of it by the end of its stream, or is
    served later.
    """
    server = launch_server(ready=False, plan="thread@2=EAGAIN; fork@2=EAGAIN")
    stage, program = server.stage, server.program
    program.plan_may_miss = program.may_end = True
    server.quiet()
    if not program.alive():                 # it makes all of them at first
        server.expect_exit(1, "it can't make its threads or processes")
        return
    server.address = stage.wait_listening(program).local
    first = server.exchange(1)
    second = server.connect()
    second.send(b"who is %s?\n" % word())
    server.expect_alive("a thread or process that could not be made")
    server.exchange(2, first)
    third = server.exchange(3)
    for peer in (first, third):
        peer.close()
    stage.wait(lambda: second.ended() or len(second.got) == 15, second,
               "the client for whom no thread or process could be made is "
               "neither served nor told, and its connection stays open",
               program=program)


@case("race/threads", role="server", group=GROUP, clients=MANY,
      services=("echo", "file", "broadcast"), level=SHOULD,
      defects=(69, 70), valgrind=True,
      source="C11 5.1.2.4 p25: a data race is undefined behaviour; "
             "pthread_mutex_lock(3); Valgrind manual, 7. Helgrind",
      hints=["Helgrind names two places. Which variable do both use, and "
             "which of its users writes?",
             "Give each thread its own copy, or hold one mutex at every use "
             "of what they share, also where it is only read."],
      by_hand="""valgrind --tool=helgrind SERVER -P PORT, some clients at the
                 same time, then Ctrl-C: no "Possible data race".""")
def test_race(launch_server):
    """Threads never use the same data at the same time, unless all just read.

    Such a fault shows once in a thousand runs, as a wrong byte or a crash.
    Helgrind finds it in a run where all went well. It does not know what
    atomics put in order; that is why this is no MUST.
    """
    server = launch_server(under_valgrind=False)
    server.service.gather(server)
    server.exchange()               # else there is nothing to find
    if not has_threads(server):
        return
    # A program that is built with a sanitizer is watched by that.
    server = launch_server(
        under_valgrind=not server.target.variant, watch_threads=True)
    server.service.gather(server)
    peers = [server.exchange(seed) for seed in range(4)]
    if server.target.contract.messages == "many":
        for number, peer in enumerate(peers):       # all at the same time
            peer.send(server.service.request(40, number))
        server.exchange(5)
    peers[0].close()
    peers[1].reset()
    server.quiet()
    server.exchange(6)


def has_threads(server):
    """Whether it has more than one thread with two clients half-way.

    The kernel's own, which work for io_uring(7), do not count.
    """
    peers = [server.connect(), server.connect()]
    for peer in peers:
        peer.send(server.service.partial)
    server.quiet()
    names = [procfs.thread_name(pid, tid) for pid in server.program.tree()
             for tid in procfs.threads(pid) if tid != pid]
    for peer in peers:
        peer.close()
    return any(not name.startswith("iou-") for name in names)


@case("many/all-reaped", role="server", group=GROUP, clients=MANY,
      defects=(60,), source="signal(7): standard signals do not queue; "
      "waitpid(2), WNOHANG; wait(2), NOTES: zombies",
      hints=["Eight children end while the server is busy. How many times "
             "does its handler of SIGCHLD run?",
             "Call waitpid(-1, NULL, WNOHANG) in a loop until it returns 0 "
             "or -1: one signal may stand for many children."],
      by_hand="""
      SERVER -P PORT & p=$!; sleep 1
      for i in 1 2 3 4; do (sleep 2; echo $i) | nc -N HOST PORT & done; sleep 1
      kill -STOP $p; sleep 3; kill -CONT $p
      echo last | nc -N HOST PORT; ps --ppid $p     # none is <defunct>""")
def test_all_reaped(server):
    """Children that end at the same time are all waited for.

    While a signal waits to be handled, more of its kind are one with it:
    the count of SIGCHLD is not the count of children.
    """
    peers = [server.exchange(seed) for seed in range(8)]
    server.program.freeze(alone=True)
    for peer in peers:
        peer.close()
    server.quiet()
    server.thaw()
    server.expect_alive("the end of eight clients")
    server.exchange().close()               # a chance for those that wait late
    server.quiet()
    dead = [pid for pid in server.program.tree()
            if procfs.thread_state(pid, pid) == "Z"]
    if len(dead) > 1:
        raise Failure("leak", f"{len(dead)} of the children that ended at the "
                      "same time stay zombies: nobody waited for them",
                      f"zombies: {', '.join(map(str, dead))}")


@case("many/listener-left", role="server", group=GROUP, clients=MANY,
      defects=(56, 58), source="fork(2): the child has copies of all "
      "descriptors; listen(2); socket(2), SOCK_CLOEXEC",
      hints=["The server was killed while it served a client. Who has its "
             "port now?",
             "Close the listening socket in the child, first of all; with "
             "SOCK_CLOEXEC exec() closes it as well."],
      by_hand="""
      SERVER -P PORT & p=$!; sleep 1
      sleep 99 | nc HOST PORT & sleep 1; kill -KILL $p
      ss -tln 'sport = :PORT'             # nobody may listen there""")
def test_listener_left(server):
    """A process that serves a client does not keep the port for itself.

    If the server is killed, clients must be refused, or served by those
    processes that also accept. A port that is open while nobody accepts lets
    them wait for ever, and stops the next start of the server.
    """
    peer = server.exchange(1)
    program, stage = server.program, server.stage
    program.ended_by_harness = program.may_end = True
    program.signal(signal.SIGKILL)
    stage.wait(program.ending, None, "", program=program)
    if stage.port_stays_open(server.port):
        try:
            server.exchange(2)
        except Failure as failure:
            raise Failure("leak", "the server is dead and its port is open: "
                          "what it made for its clients holds the listening "
                          "socket, too, and does not accept",
                          failure.message) from None
    stage.end_children()
    peer.close()


# -- signals ---------------------------------------------------------------------------
@case("signal/wait-interrupted", role="server", group="Signals", clients=MANY,
      defects=(21,), plans=True,
      source="poll(2), select(2) and epoll_wait(2), EINTR; signal(7): these "
             "are never restarted, whatever SA_RESTART says",
      hints=["Which call waits for all clients at once, and what does it "
             "return when a signal comes?",
             "When it fails with EINTR call it again: nothing was lost."],
      by_hand="""
      strace -f -o /dev/null \\
          -e inject=poll,ppoll,pselect6,epoll_wait:error=EINTR:when=2..3 \\
          SERVER -P PORT
      # twice in a second terminal: echo hello | nc -N HOST PORT""")
def test_wait_interrupted(launch_server):
    """A signal that interrupts the wait for many clients harms none.

    The end of a child, a timer or a stopped terminal sends one. It says
    nothing about the clients.
    """
    server = launch_server(plan="wait@2-3=EINTR")
    server.program.plan_may_miss = True     # a thread a client needs none
    first = server.connect()
    server.expect_alive("a signal that interrupted its wait")
    server.exchange(1, first)
    server.exchange(2)


@case("signal/end-of-many", role="server", group="Signals", clients=MANY,
      defects=(29, 30), source="the program contract: an orderly end finishes "
      "the replies under way within one second; kill(2); pthread_join(3)",
      hints=["The signal comes to one thread of one process. Who tells the "
             "others, and who waits for them?",
             "Pass the signal on to the children and wait for each; wake the "
             "threads (a descriptor that all of them poll) and join them. In "
             "a loop over clients: send what is left of each, within one "
             "time limit for all."],
      by_hand="""
      # two clients that read late, two that are silent
      SERVER -P PORT & p=$!; sleep 1
      for i in 1 2; do sleep 9 | nc HOST PORT & python3 -c "import socket, time
      s = socket.socket(); s.setsockopt(1, socket.SO_RCVBUF, 8192)
      s.connect(('HOST', PORT)); s.settimeout(1)
      try: s.sendall(b'x' * 90000000)
      except TimeoutError: s.shutdown(1)
      n = 0
      while d := s.recv(65536): n += len(d)
      print(n, 'bytes, then the end')" & done; sleep 0.8
      kill -TERM $p; wait $p; echo $?         # 0, and no reset""")
def test_end_of_many(server):
    """At SIGTERM the replies under way of all clients are finished.

    Each gets what the server had taken of it, the silent ones get their end
    of stream, and then the server ends with status 0.
    """
    slow = [stalled(server)[0] for _ in range(3)]
    silent = [server.connect() for _ in range(5)]
    server.quiet()
    taken = {peer: peer.taken() for peer in slow}
    server.program.ended_by_harness = True
    server.program.signal(signal.SIGTERM)
    for peer in slow:
        peer.half_close()
    talk(server, {peer: b"" for peer in slow})
    for peer in slow:
        peer.expect(TOO_MUCH[:taken[peer]])
        more = peer.until_end()
        due = TOO_MUCH[taken[peer]:taken[peer] + len(more)]
        if more != due:
            raise Failure("wrong-bytes", "wrong bytes came after the signal: "
                          f"{shorten(more)}", mismatch=mismatch(due, more))
    for peer in silent:
        peer.until_end()
    server.expect_ended("SIGTERM while it served many clients")
