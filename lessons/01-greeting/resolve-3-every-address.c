/*
 * Prints the addresses of a host, each on a line of its own.
 *
 * Run: build/lessons/01-greeting/resolve-3-every-address -H localhost
 *
 * Changed since step 2: all addresses of the list are printed, those of IPv6 as
 * well (AF_UNSPEC). The address of IPv6 has 16 bytes and stands in another
 * structure, struct sockaddr_in6; ai_family says which of the two it is.
 *
 * Still wrong:
 * - An address of IPv6 that holds on one link alone loses the name of that
 *   link, and errors of standard output are ignored (4).
 */
#define _POSIX_C_SOURCE 200809L

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
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
    const void *bytes = &((struct sockaddr_in *)address->ai_addr)->sin_addr;
    if (address->ai_family == AF_INET6)
        bytes = &((struct sockaddr_in6 *)address->ai_addr)->sin6_addr;
    char text[INET6_ADDRSTRLEN];
    if (inet_ntop(address->ai_family, bytes, text, sizeof(text)) == NULL) {
        complain("inet_ntop");
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
    return 0;
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    struct addrinfo *list = resolve(&options);
    if (list == NULL)
        return 1;
    int result = print_all(list);
    freeaddrinfo(list);
    return result == 0 ? 0 : 1;
}
