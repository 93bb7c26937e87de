"""Programs built with sanitizers: what Valgrind can't see is seen here.

Valgrind knows the blocks of the heap; an array of a function or a global one
has no bounds for it.  AddressSanitizer and UndefinedBehaviorSanitizer know
what the compiler knows, so the kit builds the program once more, with them.
"""
from sockstep.case import EVERY_SERVICE, EVERY_TRANSPORT, case
from sockstep.failure import Failure
from sockstep.services import EDGES

EVERY = {"group": "Resources", "services": EVERY_SERVICE,
         "transports": EVERY_TRANSPORT, "sanitized": True,
         "defects": (5, 6, 98, 120)}
SOURCE = "C11 6.5.6 p8: a pointer beyond an array; C11 J.2: undefined " \
         "behaviour; gcc(1), -fsanitize=address and -fsanitize=undefined"
HINTS = ["The report names the line and the array, and how far beyond its end "
         "the byte lies. Which length does that line believe in?",
         "Give recv() and read() the size of the array, less one if you store "
         "a NUL behind what came; compute with size_t, and look at a length "
         "before you use it."]
BUILD = """
      gcc -g -fsanitize=address,undefined -Isrc -o /tmp/p YOUR.c
      # and then, with {} at HOST and PORT, {}
      # for 1023, 1024, 1025 bytes and the like"""


def strain(act, program):
    """Do it, however it goes: that it goes wrong is for other cases to say.

    False where the program has ended of it.
    """
    try:
        act()
    except Failure:
        pass
    return program.alive()


@case("memory/bounds", role="server", **EVERY, source=SOURCE, hints=HINTS,
      by_hand=BUILD.format("/tmp/p", "send it messages"))
def test_bounds(launch_server):
    """No message makes the server use memory beyond an array's end, or
    compute what C leaves undefined.

    Messages of just the usual sizes of buffers, one less and one more, are
    sent to a build with AddressSanitizer and UndefinedBehaviorSanitizer.
    """
    server = launch_server()
    server.program.may_end = True
    server.service.gather(server)
    server.exchange()               # else there is nothing to find
    for size in EDGES:
        server = server.again()
        server.program.may_end = True
        server.service.gather(server)
        peer = server.connect()
        if not strain(lambda: server.service.strain(peer, server, size),
                      server.program) and \
                not server.target.contract.ends_alone:
            break                   # the log says why


@case("memory/client-bounds", role="client", **EVERY, source=SOURCE,
      hints=HINTS, by_hand=BUILD.format("a server", "let /tmp/p send lines"))
def test_client_bounds(launch_client, stage):
    """No line and no reply makes the client use memory beyond an array's
    end, or compute what C leaves undefined.

    Lines and replies of just the usual sizes of buffers, one less and one
    more, meet a build with AddressSanitizer and UndefinedBehaviorSanitizer.
    """
    service = stage.service
    client = launch_client(**service.launch_options(stage))
    service.attend(client)          # else there is nothing to find
    stage.wait_end(client.program)
    for size in EDGES:
        client = launch_client(**service.launch_options(stage, size))
        client.program.may_end = True
        if strain(lambda: service.attend(client, size), client.program) and \
                strain(lambda: stage.wait_end(client.program),
                       client.program):
            stage.end_in_order(client.program)
