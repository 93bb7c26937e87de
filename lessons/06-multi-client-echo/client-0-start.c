/*
 * The starting point of your own client of the echo server: the
 * options are read, the rest is yours. Each line of standard input is to be
 * sent, and its reply to be printed after ">". An empty line or the end of
 * input is to end it, once every reply has been read.
 *
 * Run: build/lessons/06-multi-client-echo/client-0-start -P 8080
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
#define DEFAULT_PORT "8080"

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
     * TODO 1: getaddrinfo(3), as in lesson 01: the addresses of
     * options.host and options.port.
     */

    /*
     * TODO 2: socket(2), connect(2). Which of the addresses do you take, and
     * what do you tell the user when none of them answers?
     */

    /*
     * TODO 3: getline(3) reads one line. How do you tell the end of the
     * input from an empty line, and both from an error?
     */

    /*
     * TODO 4: send(2) the line with its newline. What does the result tell
     * you, and what is left to do when it is smaller than the count that
     * you gave?
     */

    /*
     * TODO 5: recv(2) until the whole reply is there, and print it after
     * ">". How do you know that it is whole? What does a result of 0 mean
     * before that?
     */

    /*
     * TODO 6: close(2) the socket; status 0 where all went well, 1 after an
     * error that complain() has told.
     */

    /*
     * TODO 7: poll(2) and shutdown(2): what happens when a line is too long
     * for all the buffers between you and the server, and what when the
     * server ends while you wait for the keyboard?
     */

    errno = ENOSYS;
    complain("nothing is written yet");
    return 1;
}
