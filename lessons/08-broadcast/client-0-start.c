/*
 * The starting point of your own client of the broadcast server: the options
 * are read, the rest is yours. Each line of standard input is to be sent, and
 * each line that comes to be printed, at any time. An empty line or the end of
 * input ends it, once the server has ended the connection.
 *
 * Run: build/lessons/08-broadcast/client-0-start -P 50001
 *      while a server listens there
 *
 * Still wrong: everything after the options (1 and up).
 */
#define _POSIX_C_SOURCE 200809L

#include "ss_connect.h"
#include "ss_io.h"

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
#define DEFAULT_PORT "50001"

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
     * TODO 1: ss_connect() gives you a connection. What do you tell the user
     * when there is none?
     */

    /*
     * TODO 2: two things can come at any time: a line that is typed, and a
     * line from the server. Which call waits for both? (Or which of them has
     * a thread of its own?)
     */

    /*
     * TODO 3: send the line with its newline. What do you do with lines that
     * come while the server takes nothing?
     */

    /*
     * TODO 4: print what comes. Is one recv(2) one line?
     */

    /*
     * TODO 5: the input ends. shutdown(2) tells the server; what may still
     * come after that, and what is lost if you close(2) at once?
     */

    /*
     * TODO 6: the server ends first. Who notices it, and when? Status 1.
     */

    errno = ENOSYS;
    complain("nothing is written yet");
    return 1;
}
