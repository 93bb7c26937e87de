/*
 * Prints the addresses of a host, each on a line of its own.
 *
 * Run: build/lessons/01-greeting/resolve-4-robust -H localhost
 *
 * Changed since step 3: getnameinfo(3) writes the address, whatever its family,
 * with the link that it holds on (fe80::1%eth0). An error of standard output,
 * such as a full disk or a reader that has gone, is told and ends the program
 * with status 1.
 *
 * Still wrong:
 * - It waits as long as the system's resolver does, which may be half a minute
 *   where no name server answers. Never mended here: getaddrinfo(3) takes no
 *   time limit.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEFAULT_HOST "localhost"
#define HOST_SIZE 64 /* an address of IPv6, "%", the name of a link */

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

/* The host's addresses, for freeaddrinfo(3); NULL after a complaint. */
static struct addrinfo *resolve(const struct options *options)
{
    struct addrinfo hints;
    memset(&hints, 0, sizeof(hints));
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM; /* else each comes once for each type */
    struct addrinfo *list = NULL;
    int error = getaddrinfo(options->host, NULL, &hints, &list);
    if (error == 0)
        return list;
    /* Errors of the resolver have numbers of their own, apart from errno. */
    fprintf(stderr, "%s: resolve %s: %s\n", program, options->host,
            error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error));
    return NULL;
}

/* -1 after a complaint. */
static int print_address(const struct addrinfo *address)
{
    char text[HOST_SIZE];
    int error = getnameinfo(address->ai_addr, address->ai_addrlen, text,
                            sizeof(text), NULL, 0, NI_NUMERICHOST);
    if (error != 0) {
        fprintf(stderr, "%s: getnameinfo: %s\n", program,
                error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error));
        return -1;
    }
    puts(text);
    return 0;
}

/* Prints every address of the list; -1 after a complaint. */
static int print_all(const struct addrinfo *list)
{
    for (; list != NULL; list = list->ai_next)
        if (print_address(list) == -1)
            return -1;
    if (fflush(stdout) == EOF || ferror(stdout)) {
        complain("standard output");
        return -1;
    }
    return 0;
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    struct addrinfo *list = resolve(&options);
    if (list == NULL)
        return 1;
    signal(SIGPIPE, SIG_IGN); /* for standard output; it cannot fail */
    int result = print_all(list);
    freeaddrinfo(list);
    return result == 0 ? 0 : 1;
}
