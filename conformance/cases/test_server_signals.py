"""Signals, seen from a server: an interrupted call, an orderly end."""
import signal

from sockstep.case import (
    EVERY_SERVICE, EVERY_TRANSPORT, LINES, SHOULD, STREAMS, case)
from sockstep.data import pattern, word
from sockstep.failure import Failure, mismatch

GROUP = "Signals"
#: A greeting leaves no client that is idle.
NOT_GREETING = tuple(name for name in EVERY_SERVICE if name != "greeting")
LINE = b"What a signal broke is made again: %s\n" % word()
#: More than the kernel still takes for a client for whom it has no room: its
#: next probe of the shut window lets the buffer grow once more.
BEHIND = 40960
#: More than the buffers of both ends hold.
ENDLESS = pattern(4 << 20)


@case("signal/accept-interrupted", role="server", group=GROUP, defects=(19,),
      services=EVERY_SERVICE, plans=True,
      source="accept(2), EINTR; signal(7), interruption of system calls",
      hints=["A call that waits ends early when a signal comes: -1, EINTR.",
             "When accept() fails with EINTR, call it again."],
      transports=STREAMS,
      by_hand="""
      strace -o /dev/null -e inject=accept,accept4:error=EINTR:when=1 \\
          SERVER -P PORT
      # in a second terminal:
      echo hello | nc -N HOST PORT""")
def test_accept_interrupted(launch_server):
    """A signal that interrupts accept() does not end the server.

    EINTR says that a signal came before a connection did, and nothing more.
    A server that stops there leaves a client in its queue unserved.
    """
    server = launch_server(plan="accept@1=signal:SIGSTOP+EINTR; "
                                "accept@2=EINTR")
    peer = server.connect()
    server.wait_frozen()
    server.thaw()
    server.expect_alive("a signal that interrupted accept()")
    server.exchange(peer=peer)


@case("signal/recv-interrupted", role="server", group=GROUP, plans=True,
      services=LINES, defects=(20,),
      source="recv(2), EINTR; signal(7), interruption of system calls",
      hints=["recv() can return -1 although nothing is wrong: look at errno.",
             "When recv() fails with EINTR, call it again, as often as it "
             "takes."],
      transports=STREAMS,
      by_hand="""
      strace -o /dev/null -e inject=recvfrom:error=EINTR:when=1..2 \\
          SERVER -P PORT
      # in a second terminal:
      echo hello | nc -N HOST PORT""")
def test_recv_interrupted(launch_server):
    """A signal that interrupts recv() does not cost the client its reply.

    EINTR is no error of the connection: nothing was read, nothing is lost,
    and the same call made again gets the bytes.
    """
    server = launch_server(plan="recv@1-2=EINTR")
    server.freeze()
    peer = server.connect()
    peer.send(LINE)
    peer.half_close()
    server.thaw()
    peer.expect(server.service.reply(LINE))


@case("signal/send-interrupted", role="server", group=GROUP, plans=True,
      services=LINES, defects=(20,),
      source="send(2), EINTR; signal(7), interruption of system calls",
      hints=["send() can return -1 although nothing is wrong: look at errno.",
             "When send() fails with EINTR nothing was sent: call it again "
             "with the same bytes."],
      transports=STREAMS,
      by_hand="""
      strace -o /dev/null -e inject=sendto:error=EINTR:when=1..2 \\
          SERVER -P PORT
      # in a second terminal:
      echo hello | nc -N HOST PORT""")
def test_send_interrupted(launch_server):
    """A signal that interrupts send() does not cost the client its reply.

    send() fails with EINTR only if it has taken no byte yet, so that the
    same bytes can be sent again without doubling any.
    """
    server = launch_server(plan="send@1-2=EINTR")
    peer = server.connect()
    peer.send(LINE)
    peer.half_close()
    peer.expect(server.service.reply(LINE))


@case("signal/short-then-interrupted", role="server", group=GROUP, plans=True,
      services=LINES, defects=(22,),
      source="send(2); POSIX.1-2008 send(); signal(7): a call that has "
             "transferred data returns their count, not EINTR",
      hints=["A signal in the middle of send() shows as a short count first.",
             "Keep the number of bytes sent so far apart from the result of "
             "the last call, and send on from there."],
      transports=STREAMS,
      by_hand="""
      LD_PRELOAD=build/src/fault_preload.so \\
      SOCKSTEP_FAULTS='send@1=short:9; send@2=EINTR' SERVER -P PORT
      # in a second terminal:
      echo 'What a signal broke off' | nc -N HOST PORT""")
def test_short_then_interrupted(launch_server):
    """A short send() and an interrupted one after it lose and double nothing.

    A signal that comes while send() copies makes it return what it has taken
    so far; the next signal then meets the call for the rest.
    """
    server = launch_server(plan="send@1=short:9; send@2=EINTR; "
                                "send@3=short:5; send@4=EINTR")
    peer = server.connect()
    peer.send(LINE)
    peer.half_close()
    peer.expect(server.service.reply(LINE))


@case("signal/broken-pipe", role="server", group=GROUP, plans=True,
      services=LINES, defects=(25,),
      source="send(2), EPIPE and MSG_NOSIGNAL; signal(7), SIGPIPE; POSIX.1-"
             "2008 send()",
      hints=["Something kills the server without a word. Which signal does a "
             "send() to a lost client raise?",
             "Give send() the flag MSG_NOSIGNAL, or ignore SIGPIPE, and "
             "handle EPIPE."],
      transports=STREAMS,
      by_hand="""
      # the server waits two seconds before it sends; its client resets
      strace -o /dev/null -e inject=sendto:delay_enter=2000000:when=1 \\
          SERVER -P PORT; echo $?         # 141 is 128 + SIGPIPE
      # in a second terminal:
      python3 -c "import socket, struct, time
      s = socket.create_connection(('HOST', PORT))
      s.sendall(b'hello'); s.shutdown(1); time.sleep(1)
      s.setsockopt(1, socket.SO_LINGER, struct.pack('ii', 1, 0))"
      """)
def test_broken_pipe(launch_server):
    """A reply to a client that is gone does not kill the server by SIGPIPE.

    The kernel raises SIGPIPE when a program sends on a connection that can't
    take anything any more. Its default action ends the whole process, and
    all other clients with it.
    """
    server = launch_server(plan="send@1=signal:SIGSTOP")
    peer = server.connect()
    peer.send(LINE)
    peer.half_close()
    server.wait_frozen()
    peer.reset()
    server.thaw()
    server.quiet()
    crash = server.stage.crash_of(server.program)
    if crash:
        raise Failure("crash", f"{crash} when its client was lost")
    if not server.target.contract.ends_alone:
        server.expect_alive("the loss of a client")
        peer = server.connect()
        peer.send(LINE)
        if any(call.injected and call.pid != server.program.pid
               for call in server.program.calls()):
            server.wait_frozen()    # each of its processes has a send@1
            server.thaw()
        peer.expect(server.service.reply(LINE))


@case("signal/orderly-end", role="server", group=GROUP, defects=(29, 31),
      services=EVERY_SERVICE, transports=EVERY_TRANSPORT,
      source="the program contract; sigaction(2); signal(7)",
      hints=["Without a handler SIGTERM and SIGINT kill the process: its exit "
             "status then is not 0.",
             "Let a handler set a flag of type volatile sig_atomic_t, and "
             "leave the loop when it is set."],
      by_hand="""
      SERVER -P PORT & p=$!; sleep 1; kill -TERM $p; wait $p; echo $?
      # 0 is due; 143 is 128 + SIGTERM""")
def test_orderly_end(launch_server):
    """SIGTERM and SIGINT end a server that is idle, with status 0.

    This is how a service is stopped. Who stops it must be able to tell an
    orderly end from a crash.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        server = launch_server()
        server.quiet()
        server.expect_orderly_end(number)


@case("signal/end-with-idle-client", role="server", group=GROUP,
      defects=(29,), services=NOT_GREETING,
      source="the program contract; signal(7); sigaction(2), SA_RESTART",
      hints=["A server that waits in recv() must notice the signal there, "
             "too.",
             "Look at the flag after each EINTR, without SA_RESTART, or wait "
             "in ppoll() with a mask that lets the signal in."],
      transports=STREAMS,
      by_hand="""
      SERVER -P PORT & p=$!; sleep 1
      sleep 9 | nc HOST PORT & sleep 1
      kill -TERM $p; wait $p; echo $?         # 0 is due, at once""")
def test_end_with_idle_client(server):
    """A client that is connected and silent does not hold up the end.

    Nothing is under way for such a client, so nothing is lost when its
    connection is closed.
    """
    peer = server.connect()
    server.quiet()
    server.expect_orderly_end(when="while a silent client is connected")
    peer.until_end()


@case("signal/end-in-the-gap", role="server", group=GROUP, defects=(29,),
      services=EVERY_SERVICE, plans=True,
      source="select(2), the section on the race that pselect() mends; "
             "ppoll(2); sigsuspend(2)",
      hints=["Between the look at the flag and the call that waits there is a "
             "gap. What if the signal comes in it?",
             "Block the signals, and let ppoll() or pselect() unblock them "
             "only while it waits; or let the handler write to a pipe that "
             "poll() watches."],
      transports=STREAMS,
      by_hand="""
      LD_PRELOAD=build/src/fault_preload.so \\
      SOCKSTEP_FAULTS='accept@1=kill:SIGTERM' SERVER -P PORT; echo $?
      # 0 is due, at once; also with wait@1, and with recv@1 and a client""")
def test_end_in_the_gap(launch_server):
    """SIGTERM ends the server also if it comes just before a call that waits.

    A handler that only sets a flag has run before the call begins; a call
    that waits without a limit then never looks at it. This happens rarely,
    and then the service can't be stopped.
    """
    for call in ("accept", "wait", "recv", "send"):
        server = launch_server(plan=f"{call}@1=kill:SIGTERM", ready=False)
        server.program.ended_by_harness = True      # by the plan
        if _come_to(server):
            server.expect_ended("SIGTERM just before its first "
                                + _NAMES[call])
        else:
            server.program.plan_may_miss = _may_lack(server, call)
            server.expect_orderly_end()


@case("signal/finish-reply", role="server", group=GROUP,
      services=LINES, defects=(30,),
      source="the program contract: an orderly end finishes the replies under "
             "way within one second; close(2); RFC 9293 3.6.1",
      hints=["What has the server read of this client and not sent back yet?",
             "After the signal, take no new clients, but send what is left "
             "before close() and the end."],
      transports=STREAMS,
      by_hand="""
      # a client that reads late
      SERVER -P PORT & p=$!; sleep 1
      python3 -c "import socket, time
      s = socket.socket(); s.setsockopt(1, socket.SO_RCVBUF, 8192)
      s.connect(('HOST', PORT)); s.settimeout(1)
      try: s.sendall(b'x' * 90000000)
      except TimeoutError: s.shutdown(1)
      time.sleep(1.5); n = 0
      while d := s.recv(65536): n += len(d)
      print(n, 'bytes, then the end')" & sleep 2
      kill -TERM $p; wait                     # an end is due, not a reset""")
def test_finish_reply(server):
    """The reply under way is finished when SIGTERM comes.

    The server has taken these bytes from the client, who has no way to know
    which of them were lost with the server.
    """
    peer = _stalled(server)
    taken = peer.taken()
    server.program.ended_by_harness = True
    server.program.signal(signal.SIGTERM)
    peer.half_close()
    server.quiet()
    peer.expect(server.service.reply(ENDLESS[:taken]))
    more = peer.until_end()
    due = server.service.reply(ENDLESS[taken:taken + len(more)])
    if more != due:
        raise Failure("wrong-bytes", "wrong bytes came after the signal",
                      mismatch=mismatch(due, more))
    server.expect_ended("SIGTERM while it sent a reply")


@case("signal/end-bounded", role="server", group=GROUP,
      services=LINES, defects=(29, 75),
      source="the program contract: an orderly end finishes the replies under "
             "way within one second; poll(2), the parameter timeout",
      hints=["Who decides when the server ends, if a client never reads its "
             "reply?",
             "Note the time of the signal, and give each wait after it only "
             "what is left of one second."],
      transports=STREAMS,
      by_hand="""
      # a client that sends and does not read
      SERVER -P PORT & p=$!; sleep 1
      python3 -c "import socket, time
      s = socket.socket(); s.setsockopt(1, socket.SO_RCVBUF, 8192)
      s.connect(('HOST', PORT)); s.settimeout(1)
      try: s.sendall(b'x' * 90000000)
      except TimeoutError: time.sleep(9)" & sleep 2
      kill -TERM $p; time wait $p             # about one second""")
def test_end_bounded(server):
    """A client that never reads its reply does not stop the server's end.

    A reply under way gets about one second. Without that limit any client
    could keep the service from being stopped.
    """
    _stalled(server)
    server.expect_orderly_end(when="while a client does not read its reply")


@case("signal/listener-first", role="server", group=GROUP, level=SHOULD,
      services=LINES, defects=(29, 30),
      source="the program contract: an orderly end closes the listener, then "
             "finishes replies; listen(2)",
      hints=["Who connects after the signal is never served, but the kernel "
             "still takes the connection. When does it stop doing so?",
             "Close the listening socket as soon as the signal is noticed, "
             "before the last reply is finished."],
      transports=STREAMS,
      by_hand="""
      # a client that sends and does not read
      SERVER -P PORT & p=$!; sleep 1
      python3 -c "import socket, time
      s = socket.socket(); s.setsockopt(1, socket.SO_RCVBUF, 8192)
      s.connect(('HOST', PORT)); s.settimeout(1)
      try: s.sendall(b'x' * 90000000)
      except TimeoutError: time.sleep(9)" & sleep 2
      kill -TERM $p; sleep 0.2; nc -v HOST PORT       # it must be refused""")
def test_listener_first(server):
    """The port is closed at once at SIGTERM, before replies are finished.

    A connection that comes in the last second can't be served any more. It
    is better refused, so that the client can go elsewhere.
    """
    peer = _stalled(server)
    server.program.ended_by_harness = True
    server.program.signal(signal.SIGTERM)
    server.stage.wait(
        lambda: not server.listening(), None, "SIGTERM came and the port stays open", program=server.program)
    server.quiet()
    if not server.program.alive():
        raise Failure("exit", "the server kept its port open after SIGTERM "
                      "until it ended", f"it ended: {server.program.ending()}")
    peer.half_close()
    peer.until_end()
    server.expect_ended("SIGTERM while it sent a reply")


@case("exit/status", role="server", group=GROUP, clients=("one",),
      defects=(31,),
      source="the program contract; exit(3)",
      hints=["What does main() return?",
             "Return 0 after a message that was served to its end, whatever "
             "ended it: its newline or the client's end of stream."],
      by_hand="""
      SERVER -P PORT & p=$!; sleep 1
      echo hello | nc -N HOST PORT; wait $p; echo $?
      # 0 is due; also with printf hello in place of echo hello""")
def test_exit_status(server):
    """The server ends with status 0 when its message has been served.

    A script that starts the server learns from the status alone whether the
    message went well.
    """
    for message in (LINE, b"its end is the end of the stream"):
        peer = server.connect()
        peer.send(message)
        peer.half_close()
        peer.until_end()
        peer.close()
        server.expect_exit(0, "the message is complete")
        if message is LINE:
            server = server.again()


_NAMES = {"accept": "accept()", "wait": "poll() or the like",
          "recv": "recv()", "send": "send()"}


def _may_lack(server, call: str) -> bool:
    """Whether a sound server may have no such call at all.

    Who has threads need not wait but in accept(), recv() and send().
    """
    return call == "wait" or call == "recv" and not server.service.partial


def _come_to(server) -> bool:
    """Lead the server step by step to the call at which its plan strikes."""
    for act in ("start", "gather", "connect", "send"):
        if act == "gather":
            server.find()
            server.service.gather(server)
        elif act == "connect":
            peer = server.connect()
        elif act == "send":
            server.service.ask(peer)
        server.quiet()
        if any(call.injected and call.pid == server.program.pid
               for call in server.program.calls()):
            return True             # a child's signal is not the server's
    return False


def _stalled(server):
    """A client that does not read: all that it sent is with the server,
    which has not read the last of it, since its reply stalls.
    """
    peer = server.connect(receive_buffer=8192)
    for offset in range(0, len(ENDLESS), 16384):
        peer.send(ENDLESS[offset:offset + 16384])
        server.expect_alive("a client that sends and does not read")
        if peer.taken() + BEHIND < peer.sent:
            break
    return peer
