/*
 * The starting point of your own client of the echo server over AF_UNIX: the
 * options are read, the rest is yours. Each line of standard input is to be
 * sent, and its reply to be printed after ">". An empty line or the end of
 * input is to end it, once every reply has been read.
 *
 * Run: build/lessons/09-unix-domain-echo/client-0-start -U echo.sock
 *      while a server listens there
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

#define DEFAULT_PATH "echo.sock"

struct options {
    const char *path; /* of the socket file, or "@" and an abstract name */
};

static const char *program = "client";

/* Tells standard error what failed and, by errno, why. */
static void complain(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", program, what, strerror(errno));
}

static bool is_path(const char *text)
{
    /* At neither of these can a server be found. */
    return strcmp(text, "") != 0 && strcmp(text, "@") != 0;
}

/* Wrong usage ends the program with status 2. */
static struct options parse_options(int argc, char *argv[])
{
    struct options options = {.path = DEFAULT_PATH};
    const char *slash = strrchr(argv[0], '/');
    program = slash != NULL ? slash + 1 : argv[0];
    bool right = true;
    int option;
    while ((option = getopt(argc, argv, "U:")) != -1) {
        if (option == 'U' && is_path(optarg))
            options.path = optarg;
        else
            right = false;
    }
    if (!right || optind != argc) {
        fprintf(stderr, "usage: %s [-U PATH]\n", program);
        exit(2);
    }
    return options;
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    (void)options; /* Take this line out when you use them. */

    /*
     * TODO 1: unix(7), struct sockaddr_un: family and path. How many bytes of
     * a path fit into sun_path, and what do you do with one that is longer?
     */

    /*
     * TODO 2: socket(2), connect(2). Which errors are there, and what does
     * each tell your user: ENOENT, ECONNREFUSED, EACCES?
     */

    /*
     * TODO 3: the conversation that you know from lesson 03. The library of
     * src/ (ss_io.h) may do what that lesson taught.
     */

    /*
     * TODO 4: an abstract name, `-U @name`. What is the length of its address?
     */

    /*
     * TODO 5: -H and -P as in lesson 03, in place of -U. Which of your
     * functions must know the family of the socket?
     */

    errno = ENOSYS;
    complain("nothing is written yet");
    return 1;
}
