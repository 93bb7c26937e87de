/*
 * The starting point of your own resolver: the option is read, the rest is
 * yours. Every address of the host is to be printed, one a line.
 *
 * Run: build/lessons/01-greeting/resolve-0-start -H localhost
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
#include <unistd.h>

#define DEFAULT_HOST "localhost"

struct options {
    const char *host;
};

static const char *program = "resolve";

/* Tells standard error what failed and, by errno, why. */
static void complain(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", program, what, strerror(errno));
}

/* Wrong usage ends the program with status 2. */
static struct options parse_options(int argc, char *argv[])
{
    struct options options = {.host = DEFAULT_HOST};
    const char *slash = strrchr(argv[0], '/');
    program = slash != NULL ? slash + 1 : argv[0];
    bool right = true;
    int option;
    while ((option = getopt(argc, argv, "H:")) != -1) {
        if (option == 'H')
            options.host = optarg;
        else
            right = false;
    }
    if (!right || optind != argc) {
        fprintf(stderr, "usage: %s [-H HOST]\n", program);
        exit(2);
    }
    return options;
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    (void)options; /* Take this line out when you use them. */

    /*
     * TODO 1: getaddrinfo(3): a list of addresses from options.host. Which
     * family do you ask for, and why does each address come three times if you
     * name no type of socket?
     */

    /*
     * TODO 2: if it fails, say why: its errors are not in errno.
     */

    /*
     * TODO 3: getnameinfo(3) with NI_NUMERICHOST, or inet_ntop(3), writes an
     * address as text. Print one for each element of the list.
     */

    /*
     * TODO 4: freeaddrinfo(3). And can printing fail?
     */

    errno = ENOSYS;
    complain("nothing is written yet");
    return 1;
}
