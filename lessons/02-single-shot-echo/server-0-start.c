/*
 * The starting point of your own single-shot echo server: the options are read,
 * the rest is yours. One client is to be served: its message, up to the newline
 * or the end of the stream, is to go back to it, and the program is to end.
 *
 * Run: build/lessons/02-single-shot-echo/server-0-start -P 8080
 *      and, in a second terminal, nc 127.0.0.1 8080
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

#define DEFAULT_PORT "8080"

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
     * TODO 1: getaddrinfo(3), as in lesson 01: the address to bind, from
     * options.host and options.port. AI_PASSIVE makes a host of NULL mean
     * every address of this machine.
     */

    /*
     * TODO 2: socket(2), bind(2), listen(2). Look at the result of each: a
     * server that cannot listen says why, with complain(), and ends with
     * status 1.
     */

    /*
     * TODO 3: accept(2) gives you a second descriptor, for the client. What
     * is the first one still good for?
     */

    /*
     * TODO 4: recv(2). It has three kinds of result: -1, 0, and a count that
     * may be smaller than the message. How do you know that the message is
     * whole?
     */

    /*
     * TODO 5: send(2) what came. What does its result tell you, and what
     * must happen when it is smaller than the count that you gave?
     */

    /*
     * TODO 6: close(2) both sockets; status 0 where all went well, 1 after
     * an error that complain() has told.
     */

    /*
     * TODO 7: signal(7): what do these calls do when a signal interrupts
     * them, and what does SIGPIPE do to a program?
     */

    errno = ENOSYS;
    complain("nothing is written yet");
    return 1;
}
