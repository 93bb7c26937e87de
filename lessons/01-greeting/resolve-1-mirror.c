/*
 * Prints the address of a host, call for call as the document has it.
 *
 * Run: build/lessons/01-greeting/resolve-1-mirror -H localhost
 *
 * Still wrong:
 * - gethostbyname(3) is a call of the past, no longer in POSIX: it knows IPv4
 *   only, threads can't share it, and it has words of its own for errors (2).
 * - Of a host with several addresses only the first is printed (3).
 * - An address of IPv6 that holds on one link alone loses the name of that
 *   link, and errors of standard output are ignored (4).
 */
#define _DEFAULT_SOURCE /* gethostbyname(3), hstrerror(3) */

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

/* The host's entry, which the next call overwrites; NULL after a complaint. */
static const struct hostent *resolve(const struct options *options)
{
    const struct hostent *entry = gethostbyname(options->host);
    if (entry == NULL)
        fprintf(stderr, "%s: resolve %s: %s\n", program, options->host,
                hstrerror(h_errno)); /* It does not use errno. */
    return entry;
}

/* -1 after a complaint. */
static int print_address(const struct hostent *entry)
{
    struct in_addr address;
    memcpy(&address, entry->h_addr_list[0], sizeof(address));
    char text[INET_ADDRSTRLEN];
    if (inet_ntop(AF_INET, &address, text, sizeof(text)) == NULL) {
        complain("inet_ntop");
        return -1;
    }
    puts(text);
    return 0;
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    const struct hostent *entry = resolve(&options);
    if (entry == NULL)
        return 1;
    return print_address(entry) == 0 ? 0 : 1;
}
