/*
 * The starting point of your own echo server over AF_UNIX: the options are
 * read, the rest is yours. Clients are to be served one after the other, for
 * ever, and every byte that a client sends is to go back to it unchanged.
 *
 * Run: build/lessons/09-unix-domain-echo/server-0-start -U echo.sock
 *      and, in a second terminal, nc -NU echo.sock
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

static const char *program = "server";

/* Tells standard error what failed and, by errno, why. */
static void complain(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", program, what, strerror(errno));
}

static bool is_path(const char *text)
{
    /* For both of these the kernel would choose a name of its own. */
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
     * TODO 2: socket(2), bind(2), listen(2), then the loops that you know from
     * lesson 03. The library of src/ (ss_io.h, ss_stop.h) may do what that
     * lesson taught.
     */

    /*
     * TODO 3: start it, end it with Ctrl-C, and start it again. What does
     * bind(2) say, and why? Who is to remove what, and when? How can you know
     * that the file at the path is a rest, and not a living server's?
     */

    /*
     * TODO 4: ls -l shows who may connect. Which call decides that, and at
     * which moment?
     */

    /*
     * TODO 5: an abstract name, `-U @name`. What is the length of its address?
     */

    /*
     * TODO 6: getsockopt(2) with SO_PEERCRED: print "pid N, uid N, gid N" of
     * each client.
     */

    /*
     * TODO 7: -H and -P as in lesson 03, beside -U. Which of your functions
     * must know the family of a socket?
     */

    errno = ENOSYS;
    complain("nothing is written yet");
    return 1;
}
