/*
 * The client of the greeting server: it finds the addresses of a host, connects
 * to it, and prints what comes until the end of the stream.
 *
 * Run: build/lessons/01-greeting/client-2-whole-reply -P 12345
 *      while a server listens there
 *
 * Changed since step 1: recv(2) is called until it returns 0, the end of the
 * stream. The greeting may come in any pieces and be longer than the buffer; a
 * newline is added only where it ends without one.
 *
 * Still wrong:
 * - gethostbyname(3) is a call of the past, no longer in POSIX: it knows IPv4
 *   only, threads can't share it, and it has words of its own for errors (3).
 * - Of a host with several addresses only the first is tried (4).
 * - A failure does not tell the address that was tried (5).
 * - A signal can make connect(2) or recv(2) fail with EINTR, and that ends the
 *   client (6).
 * - Errors of standard output are ignored (7).
 */
#define _DEFAULT_SOURCE /* gethostbyname(3), hstrerror(3) */

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define DEFAULT_HOST "127.0.0.1"
#define DEFAULT_PORT "12345"
#define BUFFER_SIZE 1024

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

/* Fills in the address of the server; -1 after a complaint. */
static int resolve(const struct options *options, struct sockaddr_in *address)
{
    const struct hostent *entry = gethostbyname(options->host);
    if (entry == NULL) {
        fprintf(stderr, "%s: resolve %s: %s\n", program, options->host,
                hstrerror(h_errno)); /* It does not use errno. */
        return -1;
    }
    memset(address, 0, sizeof(*address));
    address->sin_family = AF_INET;
    /* On the network the first byte of a number is the high one: htons(3)
     * brings a number of this machine into that order. gethostbyname(3) has
     * done so with the address. */
    address->sin_port = htons((uint16_t)atoi(options->port));
    memcpy(&address->sin_addr, entry->h_addr_list[0],
           sizeof(address->sin_addr));
    return 0;
}

/* A connected socket; -1 after a complaint. */
static int connect_to(const struct sockaddr_in *address)
{
    int server = socket(AF_INET, SOCK_STREAM, 0);
    if (server == -1) {
        complain("socket");
        return -1;
    }
    const struct sockaddr *generic = (const struct sockaddr *)address;
    if (connect(server, generic, sizeof(*address)) == -1) {
        complain("connect");
        close(server); /* Best effort: the program ends anyway. */
        return -1;
    }
    return server;
}

/* Prints what comes until the end of the stream; -1 after a complaint. */
static int receive_greeting(int server)
{
    char buffer[BUFFER_SIZE];
    char last = '\n';
    for (;;) {
        ssize_t got = recv(server, buffer, sizeof(buffer), 0);
        if (got == -1) {
            complain("recv");
            return -1;
        }
        if (got == 0)
            break; /* The server has sent its last byte. */
        fwrite(buffer, 1, (size_t)got, stdout);
        last = buffer[got - 1];
    }
    if (last != '\n')
        putchar('\n');
    return 0;
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    struct sockaddr_in address;
    if (resolve(&options, &address) == -1)
        return 1;
    int server = connect_to(&address);
    if (server == -1)
        return 1;
    int result = receive_greeting(server);
    close(server); /* Best effort: the program ends anyway. */
    return result == 0 ? 0 : 1;
}
