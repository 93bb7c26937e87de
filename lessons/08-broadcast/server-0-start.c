/*
 * The starting point of your own broadcast server: the options are read, the
 * rest is yours. What the operator types on standard input is to go to every
 * client, and each line that a client sends to all the others.
 *
 * Run: build/lessons/08-broadcast/server-0-start -P 50001
 *      and, in two other terminals, nc 127.0.0.1 50001
 *
 * Still wrong: everything after the options (1 and up).
 */
#define _GNU_SOURCE /* accept4(2), epoll(7) */

#include "ss_listen.h"
#include "ss_stop.h"

#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define DEFAULT_PORT "50001"
#define LINE_SIZE 1024  /* the longest line, its newline included */
#define QUEUE_MAX 65536 /* bytes that are kept for a client */

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
     * TODO 1: ss_listen() gives you a listening socket, or socket(2), bind(2)
     * and listen(2) as in lesson 03.
     */

    /*
     * TODO 2: accept(2) for ever. Where do you keep the connections, and who
     * may look at that list while another changes it?
     */

    /*
     * TODO 3: recv(2) from one client, send(2) to all the others. What if one
     * of them is gone? The others are still to get their line.
     */

    /*
     * TODO 4: read(2) what the operator types. What does its end mean for the
     * clients? (Nothing.)
     */

    /*
     * TODO 5: only whole lines may be handed on. Where is half a line kept,
     * and for how long? What if it gets longer than LINE_SIZE?
     */

    /*
     * TODO 6: a client does not read. Which of your calls waits for it, and
     * who waits with it? MSG_DONTWAIT and epoll(7), or a thread that does
     * nothing but send.
     */

    /*
     * TODO 7: what the client does not take must be kept. What happens when
     * that is more than QUEUE_MAX bytes?
     */

    /*
     * TODO 8: ss_stop.h: SIGINT and SIGTERM. What is still to be sent then,
     * and how long may that take?
     */

    errno = ENOSYS;
    complain("nothing is written yet");
    return 1;
}
