/*
 * The starting point of your own upper-case client: the options are read, the
 * rest is yours. One line of standard input is to be sent, and the reply is to
 * be printed after "From Server: ".
 *
 * Run: build/lessons/04-uppercase/client-0-start
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
     * TODO 1: connect to the server, as in lesson 02 or with "ss_connect.h" of
     * the kit's library.
     */

    /*
     * TODO 2: one line from standard input, of any length. Print the prompt
     * "Input lowercase sentence:" only where a person types: isatty(3).
     */

    /*
     * TODO 3: send the line with its newline. What if the input's last line
     * has none?
     */

    /*
     * TODO 4: print the reply up to its newline. It may be longer or shorter
     * than the line was. What is it when the stream ends before the newline?
     */

    /*
     * TODO 5: a line of a million letters. The server answers while you send.
     * Who reads the answer meanwhile?
     */

    errno = ENOSYS;
    complain("nothing is written yet");
    return 1;
}
