/*
 * The starting point of your own upper-case server over UDP: the options are
 * read, the rest is yours. Each datagram is to be answered in upper case to the
 * address that it came from, for ever.
 *
 * Run: build/lessons/05-udp-uppercase/server-0-start -P 12000
 *      and, in a second terminal, echo hello | nc -u -W 1 127.0.0.1 12000
 *
 * Still wrong: everything after the options (1 and up).
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define DEFAULT_PORT "12000"

struct options {
    const char *host; /* NULL: every IPv4 address of this machine */
    const char *port;
};

static const char *program = "server";

/* Tells standard error what failed and, by errno, why. */
static void complain(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", program, what, strerror(errno));
}

static bool is_port(const char *text)
{
    /* strtol(3) allows blanks and a sign before the digits; a port does not. */
    if (text[0] < '0' || text[0] > '9')
        return false;
    char *end;
    errno = 0;
    long port = strtol(text, &end, 10);
    return errno == 0 && *end == '\0' && port <= 65535;
}

/* Wrong usage ends the program with status 2. */
static struct options parse_options(int argc, char *argv[])
{
    struct options options = {.host = NULL, .port = DEFAULT_PORT};
    const char *slash = strrchr(argv[0], '/');
    program = slash != NULL ? slash + 1 : argv[0];
    bool right = true;
    int option;
    while ((option = getopt(argc, argv, "H:P:")) != -1) {
        if (option == 'H')
            options.host = optarg;
        else if (option == 'P' && is_port(optarg))
            options.port = optarg; /* "0": the kernel chooses one */
        else
            right = false;
    }
    if (!right || optind != argc) {
        fprintf(stderr, "usage: %s [-H HOST] [-P PORT]\n", program);
        exit(2);
    }
    return options;
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    (void)options; /* Take this line out when you use them. */

    /*
     * TODO 1: getaddrinfo(3) with SOCK_DGRAM, then socket(2) and bind(2).
     * There is no listen(2) and no accept(2): why not?
     */

    /*
     * TODO 2: recvfrom(2) in a loop. Whose address does it give you? What is
     * a result of 0 here, and what was it in a stream?
     */

    /*
     * TODO 3: sendto(2) the answer in upper case. How large can a datagram
     * be, and what happens to the rest of one that does not fit into your
     * buffer?
     */

    /*
     * TODO 4: which errors may end a server that is to run for ever? What
     * does EINTR mean, and whose fault is a sendto(2) that fails?
     */

    /*
     * TODO 5: u8_toupper() of libunistring (a line " * Links: -lunistring"
     * in the head comment links it), for the letters outside of ASCII. Can an
     * answer be longer than its request?
     */

    /*
     * TODO 6: IP_PKTINFO in ip(7), recvmsg(2) and sendmsg(2): from which
     * address does the answer go when the client asked 127.0.0.2?
     */

    /*
     * TODO 7: SIGTERM ends the server with status 0, once what waits in its
     * queue is answered.
     */

    errno = ENOSYS;
    complain("nothing is written yet");
    return 1;
}
