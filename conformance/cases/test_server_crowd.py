"""Crowds: more clients than threads, than an fd_set, than one wants to ask."""
import select

from sockstep import procfs
from sockstep.case import SHOULD, case
from sockstep.crowd import gather
from sockstep.failure import Failure

GROUP = "Many clients"
MANY = ("many",)
#: More than the threads or processes that a program may have (500).
SILENT = 700
#: More than an fd_set has bits.
CROWD = 1100
#: The descriptors that a server gets for a crowd.
CROWD_DESCRIPTORS = 2048
#: Messages whose cost is measured together, and how often.
MESSAGES, ROUNDS = 20, 5
#: Clients that say nothing may make a message so much dearer.
DEARER = 6.0


@case("many/silent-crowd", role="server", group=GROUP, clients=MANY,
      level=SHOULD, defects=(63, 74),
      source="poll(2), select(2), epoll(7); document 001 III: its remark that "
      "threads cannot be expanded without limits",
      hints=["What does a client cost that is connected and says nothing?",
             "A thread or a process for each is too dear. Set O_NONBLOCK, "
             "keep what is known of a client in a struct, and let one thread "
             "wait for all of them with poll() or epoll_wait()."],
      by_hand="""ulimit -n 2048; SERVER -P PORT &
                 for i in $(seq 700); do sleep 99 | nc HOST PORT & done
                 echo hello | nc -N HOST PORT       # hello, at once""")
def test_silent_crowd(launch_server):
    """Seven hundred clients that say nothing keep no other one waiting.

    Most clients of most servers are silent most of the time. A server that
    has a worker for each of them is full of workers that do nothing.
    """
    server = launch_server(nofile=CROWD_DESCRIPTORS)
    silent = gather(server, SILENT)
    server.quiet()
    server.exchange(1)
    server.exchange(2, silent[-1])
    server.exchange(3, silent[0])


@case("limit/large-crowd", role="server", group=GROUP, clients=MANY,
      level=SHOULD, defects=(71, 79),
      source="select(2): FD_SETSIZE is 1024; poll(2); epoll(7)",
      hints=["How many clients can wait in one call, and what sets that "
             "number?",
             "An fd_set ends at descriptor 1023. poll() takes an array as "
             "long as you like, and epoll a list that the kernel keeps."],
      by_hand="""ulimit -n 2048; SERVER -P PORT &
                 for i in $(seq 1100); do sleep 99 | nc HOST PORT & done
                 echo hello | nc -N HOST PORT       # hello, at once""")
def test_large_crowd(launch_server):
    """Eleven hundred clients at once are all served while all of them stay.

    What limits a server should be its memory and the limits that it was
    given, and not the size of a type in a header of the C library.
    """
    server = launch_server(nofile=CROWD_DESCRIPTORS)
    peers = gather(server, CROWD)
    server.quiet()
    for number in (0, 500, 1023, 1050, CROWD - 1):
        server.exchange(number, peers[number])


@case("many/cheap-silence", role="server", group=GROUP, clients=MANY,
      level=SHOULD, defects=(74,),
      source="epoll(7); poll(2): it looks at each entry of its array",
      hints=["A thousand clients are silent and one talks. How many of them "
             "does the kernel look at for each message?",
             "poll() and select() are given all descriptors each time. With "
             "epoll_ctl() the kernel is told of each once, and epoll_wait() "
             "brings only those that are ready."],
      by_hand="""
      # the server's processor time for 5000 messages, without and with others
      SERVER -P PORT & p=$!; sleep 1
      talk() { python3 -c "import socket
      s = socket.create_connection(('HOST', PORT))
      for i in range(5000): s.send(b'x'); s.recv(9)"; ps -o cputimes= $p; }
      talk; for i in $(seq 1000); do sleep 99 | nc HOST PORT & done; talk""")
def test_cheap_silence(launch_server):
    """A message costs the same whether ten clients are silent or a thousand.

    Measured is the processor time of the server. It may become six times
    as much; where the kernel looks at every client it is some ten times.
    """
    server = launch_server(nofile=CROWD_DESCRIPTORS)
    talker = server.exchange(1)
    gather(server, 10)
    few = cost(server, talker)
    server.exchange(2, gather(server, 990)[-1])     # all are there
    many = cost(server, talker)
    if many > few * DEARER:
        raise Failure("cost", f"a message costs {many / few:.0f} times as "
                      "much processor time when a thousand clients are "
                      "silent as when ten are",
                      f"{few:.0f} and {many:.0f} microseconds a message")


def cost(server, peer):
    """Microseconds of the server's processor time for one message."""
    server.quiet()
    server.exchange(0, peer)
    best = float("inf")
    for _ in range(ROUNDS):
        before = spent(server)
        for number in range(MESSAGES):
            peer.send(b"%d\n" % number)
            select.select([peer.sock], [], [], 1)   # cheaper than to ask
            peer.expect(b"%d\n" % number)
        best = min(best, spent(server) - before)
    return best / MESSAGES / 1000


def spent(server):
    """Nanoseconds of processor time, as the scheduler counts them."""
    return sum(int(procfs.turns(pid, tid).split()[0])
               for pid in server.program.tree()
               for tid in procfs.threads(pid))
