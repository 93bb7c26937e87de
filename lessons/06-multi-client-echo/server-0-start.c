/*
 * The starting point of your own echo server for many clients: the options are
 * read, the rest is yours. All clients are to be served at the same time, none
 * of them held up by another, and every byte goes back to the client that sent
 * it.
 *
 * Run: build/lessons/06-multi-client-echo/server-0-start -P 8080
 *      and, in two more terminals, nc 127.0.0.1 8080
 *
 * Still wrong: everything after the options (1 and up).
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_PORT "8080"
#define DEFAULT_CLIENTS 128
#define MOST_CLIENTS 100000

struct options {
    const char *host; /* NULL: every IPv4 address of this machine */
    const char *port;
    int clients; /* So many are served at a time. */
};

static const char *program = "server";

/* Tells standard error what failed and, by errno, why. Any thread may. */
static void complain(const char *what)
{
    char why[128] = "";
    strerror_r(errno, why, sizeof(why)); /* strerror(3) may share its buffer. */
    fprintf(stderr, "%s: %s: %s\n", program, what, why);
}

static bool is_number(const char *text, long least, long most)
{
    /* strtol(3) allows blanks and a sign before the digits; we do not. */
    if (text[0] < '0' || text[0] > '9')
        return false;
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    return errno == 0 && *end == '\0' && number >= least && number <= most;
}

/* Wrong usage ends the program with status 2. */
static struct options parse_options(int argc, char *argv[])
{
    struct options options = {
        .host = NULL, .port = DEFAULT_PORT, .clients = DEFAULT_CLIENTS};
    const char *slash = strrchr(argv[0], '/');
    program = slash != NULL ? slash + 1 : argv[0];
    bool right = true;
    int option;
    while ((option = getopt(argc, argv, "H:P:N:")) != -1) {
        if (option == 'H')
            options.host = optarg;
        else if (option == 'P' && is_number(optarg, 0, 65535))
            options.port = optarg; /* "0": the kernel chooses one */
        else if (option == 'N' && is_number(optarg, 1, MOST_CLIENTS))
            options.clients = (int)strtol(optarg, NULL, 10);
        else
            right = false;
    }
    if (!right || optind != argc) {
        fprintf(stderr, "usage: %s [-H HOST] [-P PORT] [-N CLIENTS]\n",
                program);
        exit(2);
    }
    return options;
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    (void)options; /* Take this line out when you use them. */

    /*
     * TODO 1: a listening socket, as in lesson 03, with SO_REUSEADDR. You may
     * call ss_listen() of the kit's library (#include "ss_listen.h").
     */

    /*
     * TODO 2: who waits for whom? Choose: a thread or a process for each
     * client (pthread_create(3), fork(2)), or one thread that asks which of
     * its clients are ready (poll(2), epoll(7)). The README compares them.
     */

    /*
     * TODO 3: accept(2), for ever. What do you have to give back when a
     * client has left: a descriptor, a thread, a process, memory?
     */

    /*
     * TODO 4: echo. What happens to the others while one client is silent,
     * sends half a line, or does not read what you send?
     */

    /*
     * TODO 5: options.clients is a limit. What does client number
     * options.clients + 1 see, and who is served when one has left?
     */

    /*
     * TODO 6: what if the thread, the process, the memory or the descriptor
     * for a new client cannot be had? The clients before it are not to know.
     */

    /*
     * TODO 7: SIGTERM and SIGINT: close the port, finish the replies under
     * way within a second, end with status 0.
     */

    errno = ENOSYS;
    complain("nothing is written yet");
    return 1;
}
