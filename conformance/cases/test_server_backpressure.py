"""A server whose client takes less than it is sent, or takes it late."""
from sockstep.case import STREAMS, case
from sockstep.data import line, pattern, word

GROUP = "Short writes and back-pressure"

#: More than the buffers of both ends hold while the client does not read.
TOO_MUCH = 8 << 20


@case("echo/short-send", role="server", group=GROUP, plans=True, defects=(13, 14, 15),
      source="send(2), RETURN VALUE: the number of bytes sent; POSIX.1-2017, "
             "send()",
      hints=["send() may take fewer bytes than it was given. Which of its "
             "results do you look at?",
             "Call send() in a loop: each time from the first byte that is "
             "not sent yet, with the length that is left, until it is 0."],
      transports=STREAMS,
      by_hand="""
      LD_PRELOAD=build/src/fault_preload.so SOCKSTEP_FAULTS='send@*=short:1' \\
          PROGRAM -P PORT
      and then nc HOST PORT: a line that is typed must come back whole.
      """)
def test_short_send(launch_server):
    """When send() takes a part of the data only, the rest follows.

    A short count is no error and says nothing bad about the connection; it
    comes when the kernel's buffer is nearly full, or with a signal.
    """
    server = launch_server(plan="send@*=short:1")
    peer = server.connect()
    text = line(40)
    peer.send(text)
    peer.expect(text)


@case("echo/back-pressure", role="server", group=GROUP, defects=(16, 17),
      source="send(2): EAGAIN, and blocking when the message does not fit "
             "into the send buffer; tcp(7), Linux's buffers; RFC 9293 3.8.6",
      hints=["The client does not read for a while: send() blocks then or, "
             "on a socket with O_NONBLOCK, fails with EAGAIN.",
             "EAGAIN is no error of the connection: wait with poll() for "
             "POLLOUT, then send the same bytes. Calling send() again and "
             "again instead burns the processor."],
      transports=STREAMS,
      by_hand="""
      In python3:
      import socket; s = socket.create_connection(("HOST", PORT))
      s.settimeout(1); n = 0
      while True: n += s.send(b"x" * 65536)    # ends with a timeout
      The server must now use no processor time (top), and
      while n and (came := len(s.recv(65536))): n -= came
      print(n)
      must end without a timeout and print 0.
      """)
def test_back_pressure(server):
    """A client that reads late gets every byte, and waiting costs nothing.

    When the buffers of both kernels are full the server has to wait until
    the client reads, without a spin and without losing what it holds.
    """
    peer = server.connect(receive_buffer=4096, send_buffer=1 << 16)
    data = pattern(TOO_MUCH)
    taken = peer.push(data)
    peer.expect(data[:taken])


@case("echo/bounded-memory", role="server", group=GROUP, defects=(18,),
      source="RFC 9293 3.8.6: the window tells the sender how much the "
             "receiver can take; tcp(7); CWE-770",
      hints=["The client sends and never reads. Where do its bytes go?",
             "Don't read on while you can't send: then the kernel tells the "
             "client to wait, and nothing has to be stored."],
      transports=STREAMS,
      by_hand="""
      In python3:
      import socket; s = socket.create_connection(("HOST", PORT))
      s.settimeout(1)
      for n in range(400): s.send(b"x" * 65536)
      must end with a timeout before n is 400.
      """)
def test_bounded_memory(server):
    """What a client sends without reading is not stored without a bound.

    A server that keeps everything until it can be sent gives one client all
    of its memory.
    """
    peer = server.connect()
    peer.send(word() + b"\n")
    peer.expect(word() + b"\n")     # who reads nothing stores nothing either
    server = server.again()
    peer = server.connect(receive_buffer=4096, send_buffer=1 << 16)
    peer.send_until_blocked(pattern(TOO_MUCH))
    peer.drain()                    # how it takes a reset is another matter
