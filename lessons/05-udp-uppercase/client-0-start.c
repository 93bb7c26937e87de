/*
 * The starting point of your own client of the upper-case server over UDP: the
 * options are read, the rest is yours. One line of standard input is to be sent
 * as a datagram, without its newline, and the answer is to be printed.
 *
 * Run: build/lessons/05-udp-uppercase/client-0-start -P 12000
 *      while a server has that port
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

#define DEFAULT_HOST "127.0.0.1"
#define DEFAULT_PORT "12000"

struct options {
    const char *host;
    const char *port;
};

static const char *program = "client";

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
    return errno == 0 && *end == '\0' && port >= 1 && port <= 65535;
}

/* Wrong usage ends the program with status 2. */
static struct options parse_options(int argc, char *argv[])
{
    struct options options = {.host = DEFAULT_HOST, .port = DEFAULT_PORT};
    const char *slash = strrchr(argv[0], '/');
    program = slash != NULL ? slash + 1 : argv[0];
    bool right = true;
    int option;
    while ((option = getopt(argc, argv, "H:P:")) != -1) {
        if (option == 'H')
            options.host = optarg;
        else if (option == 'P' && is_port(optarg))
            options.port = optarg;
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
     * TODO 1: getaddrinfo(3) with SOCK_DGRAM, then socket(2), and getline(3)
     * for the line.
     */

    /*
     * TODO 2: sendto(2), recvfrom(2), and print the answer on a line of its
     * own. How large can it be, and how do you notice that it was larger than
     * your buffer?
     */

    /*
     * TODO 3: EINTR. What has been sent or received when it comes?
     */

    /*
     * TODO 4: who may have sent the datagram that recvfrom(2) brings? What
     * does connect(2) do on a UDP socket? And what do you learn from it where
     * nobody has the server's port?
     */

    /*
     * TODO 5: poll(2) with a time limit: the request or the answer may be
     * lost. Status 1 and a complaint where no answer came.
     */

    /*
     * TODO 6: ask again, but not for ever, and wait longer each time. Is an
     * answer that comes late still an answer?
     */

    errno = ENOSYS;
    complain("nothing is written yet");
    return 1;
}
