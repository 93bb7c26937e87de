/*
 * The starting point of your own client of the greeting server: the options
 * are read, the rest is yours. It is to connect to a host by its name, and to
 * print what comes until the end of the stream.
 *
 * Run: build/lessons/01-greeting/client-0-start -P 12345
 *      while a server listens there
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
#define DEFAULT_PORT "12345"

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
     * TODO 1: getaddrinfo(3): a list of addresses from options.host and
     * options.port. How are its errors told, and who frees the list?
     */

    /*
     * TODO 2: socket(2) and connect(2) with an address of the list. What
     * happens to the socket if connect(2) fails, and what to the other
     * addresses?
     */

    /*
     * TODO 3: recv(2) in a loop. It has three kinds of result: -1, 0, and a
     * count that may be smaller than what the server sent. What is each?
     */

    /*
     * TODO 4: write what came to standard output, and a newline after it if it
     * ends without one. Can writing fail?
     */

    /*
     * TODO 5: signal(7): which calls can be interrupted, and which of them
     * must not simply be made again?
     */

    errno = ENOSYS;
    complain("nothing is written yet");
    return 1;
}
