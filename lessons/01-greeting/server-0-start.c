/*
 * The starting point of your own greeting server: the options are read, the
 * rest is yours. Each client is to be sent "Thank you for connecting", without
 * a newline, and to be closed; then comes the next, for ever.
 *
 * Run: build/lessons/01-greeting/server-0-start -P 12345
 *      and, in a second terminal, telnet localhost 12345
 *
 * Still wrong: everything after the options (1 and up).
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define DEFAULT_PORT "12345"

struct options {
    const char *host; /* NULL: every address of this machine */
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
     * TODO 1: ip(7): a struct sockaddr_in that holds the family, the port and
     * the address to listen at. In which order do the bytes of the port stand
     * (htons(3))? Which address means every interface, and how does
     * options.host become an address (inet_pton(3))?
     */

    /*
     * TODO 2: socket(2), bind(2), listen(2). Look at the result of each: a
     * server that cannot listen says why, with complain(), and ends with
     * status 1.
     */

    /*
     * TODO 3: accept(2) gives you a second descriptor, for one client. When
     * is the first one used again?
     */

    /*
     * TODO 4: send(2) the greeting. How many bytes has it, and what does the
     * result of send(2) tell you?
     */

    /*
     * TODO 5: close(2) the connection and go back to accept(2). What would
     * a server run out of that forgets it?
     */

    /*
     * TODO 6: signal(7) and the ERRORS of accept(2) and send(2): which of
     * them may end a server that is to run for ever?
     */

    errno = ENOSYS;
    complain("nothing is written yet");
    return 1;
}
