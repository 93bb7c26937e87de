"""A program that prints the addresses of a name."""
import socket

from sockstep import names
from sockstep.case import case
from sockstep.data import word
from sockstep.failure import Failure, within

GROUP = "Names and addresses"
ROLE = dict(role="resolve", services=("greeting",))
THREE = tuple("127.%d.%d.%d" % tuple(word(number)[:3])
              for number in range(3))
#: A hosts file that one program sees in place of the system's.
HOSTS = """printf '%s' > /tmp/hosts
build/src/launch file=/etc/hosts:/tmp/hosts -- RESOLVE -H %s"""


@case("resolve/one-address", **ROLE, group=GROUP,
      source="document 002: gethostbyname; getaddrinfo(3)",
      hints=["One address, one line, and nothing else on standard output.",
             "Write the address with getnameinfo() and NI_NUMERICHOST, or "
             "with inet_ntop(), and a newline."],
      by_hand=HOSTS % ("127.0.0.2 house\\n", "house"))
def test_one_address(resolve):
    """The address of a name is printed, and of a number the number itself.

    One a line and without other words, so that another program can read it.
    """
    files = names.private(house=THREE[0])
    resolve("house", files=files).expect_addresses(THREE[0])
    with within("with an address in place of a name"):
        resolve(THREE[2], files=files).expect_addresses(THREE[2])


@case("resolve/default", **ROLE, group=GROUP, source="the contract of the "
      "lesson; RFC 6761 6.3: localhost",
      hints=["What does it print without -H?",
             "Start the option's variable with \"localhost\"."],
      by_hand="RESOLVE     # the same as RESOLVE -H localhost")
def test_default(stage, target):
    """Without -H the addresses of localhost are printed.

    It is the one name that every machine knows.
    """
    program = stage.start(target.command,
                          files=names.private(localhost="127.0.0.9"))
    stage.expect_exit(0, program, "localhost has an address")
    if b"127.0.0.9" not in program.stdout.split():
        raise Failure("output", "the address of localhost, 127.0.0.9 in the "
                      "hosts file of this run, is not printed",
                      program.stdout.decode(errors="replace")[-500:])


@case("resolve/every-address", **ROLE, group=GROUP, defects=(93,),
      source="getaddrinfo(3): a linked list, one element for each address "
             "and type of socket",
      hints=["A name may have several addresses.",
             "Follow ai_next to the end of the list. Ask for one type of "
             "socket (ai_socktype), or each address comes once for each."],
      by_hand=HOSTS % ("127.0.0.2 n\\n127.0.0.3 n\\n127.0.0.4 n\\n", "n"))
def test_every_address(resolve):
    """Every address of a name is printed, each once.

    The first is not better than the others: a service is up as long as one of
    them answers.
    """
    resolve("many", files=names.private(many=" ".join(THREE))) \
        .expect_addresses(*THREE)


@case("resolve/both-families", **ROLE, group=GROUP, defects=(98,),
      source="getaddrinfo(3), AF_UNSPEC; ipv6(7), struct sockaddr_in6",
      hints=["Which family do you ask for?",
             "Ask for AF_UNSPEC. An address of IPv6 stands in a struct "
             "sockaddr_in6, which getnameinfo() knows."],
      by_hand=HOSTS % ("127.0.0.1 both\\n2001:db8::7 both\\n", "both"))
def test_both_families(resolve):
    """Addresses of IPv4 and of IPv6 are printed.

    A name has addresses of two families, and which of them works depends on
    the network in between.
    """
    resolve("both", files=names.private(both=f"{THREE[0]} 2001:db8::7")) \
        .expect_addresses(THREE[0], "2001:db8::7")


@case("resolve/link", **ROLE, group=GROUP,
      source="RFC 4007 11: fe80::1%eth0; ipv6(7), sin6_scope_id; "
             "getnameinfo(3)",
      hints=["What does ip -6 address show for your network card?",
             "inet_ntop() does not know the link. getnameinfo() with "
             "NI_NUMERICHOST writes it after a % sign."],
      by_hand="RESOLVE -H fe80::1%lo       # must print fe80::1%lo")
def test_link(resolve):
    """An address that holds on one link is printed with the link's name.

    Each network card has an address that begins with fe80. Without the name
    of the card nobody knows on which network it is meant, and connect()
    fails.
    """
    resolve("fe80::1%lo").expect_addresses("fe80::1%lo")


@case("resolve/not-found", **ROLE, group=GROUP, defects=(96,),
      source="getaddrinfo(3), RETURN VALUE; gai_strerror(3)",
      hints=["getaddrinfo() returns its error; errno has nothing to do with "
             "it.",
             "Print gai_strerror() of what getaddrinfo() returned, and end "
             "with status 1."],
      by_hand="RESOLVE -H 'no such host'; echo $?      # must say 1")
def test_not_found(resolve):
    """A name that nobody knows is told in the resolver's words: status 1.

    The resolver's errors have numbers of their own. What strerror() says of
    them, or of the errno that was left over, leads astray.
    """
    resolve("nobody", files=names.private(house=THREE[0])) \
        .expect_failure(*names.tell(*names.UNKNOWN))


@case("resolve/try-again", **ROLE, group=GROUP, defects=(96,),
      source="getaddrinfo(3), EAI_AGAIN; gai_strerror(3)",
      hints=["A name may be unknown, or nobody may be there to ask.",
             "Print gai_strerror() of what getaddrinfo() returned."],
      by_hand="""
      # the name server is asked at an address where none is
      echo nameserver 127.0.0.253 > /tmp/resolv
      build/src/launch file=/etc/resolv.conf:/tmp/resolv -- \\
          RESOLVE -H where.example; echo $?""")
def test_try_again(resolve):
    """That no name server answers is told apart from an unknown name.

    The first will be over some time, and it is worth while to try again; the
    second will not.
    """
    resolve("where.example", files=names.no_server()) \
        .expect_failure(*names.tell(socket.EAI_AGAIN))


@case("resolve/output-full", **ROLE, group="Command line and text",
      defects=(118,), source="full(4); write(2), ENOSPC; fflush(3)",
      hints=["printf() and puts() can fail, and often only when the buffer "
             "is written out.",
             "Test fflush(stdout) and ferror(stdout) at the end; say what "
             "failed and end with status 1."],
      by_hand="RESOLVE > /dev/full; echo $?     # must say 1")
def test_output_full(stage, resolve):
    """Addresses that can't be written to standard output are a failure.

    A script that reads an empty file and a status of 0 believes that the name
    has no address.
    """
    asked = resolve(THREE[0], stdout="/dev/full")
    stage.expect_exit(1, asked.program, "standard output is full")
    stage.expect_complaint()


@case("resolve/heap", **ROLE, group="Resources", defects=(5, 95),
      valgrind=True, source="freeaddrinfo(3)",
      hints=["What did getaddrinfo() allocate for you?",
             "Call freeaddrinfo() with the beginning of the list, not with "
             "the place that your loop has come to."],
      by_hand="valgrind --leak-check=full RESOLVE -H localhost")
def test_heap(resolve):
    """The list of addresses is freed, the whole of it.

    It belongs to the program that asked for it. The kernel takes it back at
    the end of a short run; a server that asks for a name a second would grow
    for ever.
    """
    resolve("house", files=names.private(house=THREE[0])) \
        .expect_addresses(THREE[0])


@case("cli/resolve-usage", **ROLE, group="Command line and text",
      defects=(116,), options=True,
      source="getopt(3); POSIX.1-2017 XBD 12.2, Utility Syntax Guidelines",
      hints=["getopt() returns '?' for what it does not know; optind says "
             "where the operands begin.",
             'Write "usage: ..." to standard error and exit(2).'],
      by_hand="""RESOLVE -Z; RESOLVE -H; RESOLVE surplus
                 Each time echo $? must say 2.""")
def test_usage(stage, target):
    """Wrong usage ends the program with status 2 and a line on usage.

    An option that is unknown, one without its argument, and an operand too
    much are mistakes of the user, who wants to be told.
    """
    for words in (["-H", THREE[0], "-Z"], ["-H"], ["-H", THREE[0], "more"]):
        with within("with the arguments " + " ".join(words)):
            program = stage.start([*target.command, *words])
            stage.expect_exit(2, program, "wrong usage")
            if b"usage" not in program.stderr.lower():
                raise Failure("output", "a line on usage is due on standard "
                              "error", program.stderr.decode(
                                  errors="replace")[-500:])
            if program.stdout:
                raise Failure("output", "usage goes to standard error, not "
                              "to standard output", program.stdout.decode(
                                  errors="replace")[-500:])
