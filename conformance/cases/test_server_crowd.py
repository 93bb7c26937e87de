"""Crowds: more clients than threads, than an fd_set, than one wants to ask."""
from sockstep.case import SHOULD, case
from sockstep.crowd import gather
from sockstep.failure import Failure
from sockstep.faults import WATCH

GROUP = "Many clients"
MANY = ("many",)
#: More than the threads or processes that a program may have (500).
SILENT = 700
#: More than an fd_set has bits.
CROWD = 1100
#: The descriptors that a server gets for a crowd.
CROWD_DESCRIPTORS = 2048
#: Messages whose cost is measured together.
MESSAGES = 20
#: A thousand clients that say nothing may be so many calls a message.
DEARER = 100


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
      level=SHOULD, defects=(74, 131), plans=True,
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

    Counted is what the kernel is asked for each message: the calls, and the
    descriptors that they hand over. A server that asks about every client
    becomes slower with each one that only keeps its connection.
    """
    server = launch_server(nofile=CROWD_DESCRIPTORS, plan=WATCH)
    talker = server.exchange(1)
    gather(server, 10)
    few = asked(server, talker)
    server.exchange(2, gather(server, 990)[-1])     # all are there
    many = asked(server, talker)
    if many > few + DEARER:
        raise Failure("cost", "for each message the server asks the kernel "
                      f"about {many:.0f} descriptors when a thousand clients "
                      f"are silent, and about {few:.0f} when ten are")


def asked(server, peer):
    """Calls for one message, a wait counted once for each descriptor."""
    server.exchange(0, peer)
    server.quiet()
    before = len(server.program.calls())
    for number in range(MESSAGES):
        server.exchange(number, peer)
    server.quiet()
    return sum(int(call.argument("nfds") or 1)
               for call in server.program.calls()[before:]) / MESSAGES
