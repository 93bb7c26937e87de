/*
 * The client of the upper-case server over UDP: one line of standard input is
 * sent as a datagram, and the answer is printed.
 *
 * Run: build/lessons/05-udp-uppercase/client-2-whole-range -P 12000
 *      while a server has that port
 *
 * Changed since step 1: the buffer has room for every datagram that UDP can
 * carry, whose length field has 16 bits (RFC 768). With MSG_TRUNC recvfrom(2)
 * tells the whole length of a datagram, so that a part is never taken for it.
 *
 * Still wrong:
 * - A signal can make sendto(2) or recvfrom(2) fail with EINTR, which ends the
 *   program (3).
 * - Whoever sends a datagram to the client's port is believed; and where nobody
 *   has the server's port, the client waits for ever (4).
 * - It waits for ever too where the request or the answer is lost (5, 6).
 * - It knows IPv4 and one address only, and errors of standard output are
 *   ignored (7).
 */
#define _GNU_SOURCE /* MSG_TRUNC as a flag of recvfrom(2) is Linux only */

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
#define BUFFER_SIZE 65535 /* the largest length that RFC 768 can say */

struct options {
    const char *host;
    const char *port;
};

static const char *program = "client";
static char answer[BUFFER_SIZE]; /* too large for the stack */

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

/* The addresses of the server, for freeaddrinfo(3); NULL after a complaint. */
static struct addrinfo *resolve(const struct options *options)
{
    struct addrinfo hints;
    memset(&hints, 0, sizeof(hints));
    hints.ai_family = AF_INET;
    hints.ai_socktype = SOCK_DGRAM;
    hints.ai_flags = AI_NUMERICSERV;
    struct addrinfo *list = NULL;
    int error = getaddrinfo(options->host, options->port, &hints, &list);
    if (error == 0)
        return list;
    /* Errors of the resolver have numbers of their own, apart from errno. */
    fprintf(stderr, "%s: resolve %s: %s\n", program, options->host,
            error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error));
    return NULL;
}

/* A socket, or -1 with errno. */
static int open_socket(const struct addrinfo *address)
{
    return socket(address->ai_family, address->ai_socktype,
                  address->ai_protocol);
}

/* The length without the newline; -1 at the end of input or at an error. */
static ssize_t read_line(char **line, size_t *size)
{
    if (isatty(STDIN_FILENO)) {
        fputs("Input lowercase sentence:", stdout);
        fflush(stdout);
    }
    ssize_t length = getline(line, size, stdin);
    if (length > 0 && (*line)[length - 1] == '\n')
        length--;
    return length;
}

/* UDP sends a datagram whole or not at all; -1 with errno. */
static ssize_t send_request(int server, const struct addrinfo *address,
                            const char *line, size_t length)
{
    return sendto(server, line, length, 0, address->ai_addr,
                  address->ai_addrlen);
}

/* The length of the answer; -1 with errno. */
static ssize_t receive_answer(int server)
{
    ssize_t got =
        recvfrom(server, answer, sizeof(answer), MSG_TRUNC, NULL, NULL);
    if (got > (ssize_t)sizeof(answer)) {
        errno = EMSGSIZE;
        return -1;
    }
    return got;
}

/* The length of the answer; -1 with errno, and *call is what failed. */
static ssize_t ask(int server, const struct addrinfo *address, const char *line,
                   size_t length, const char **call)
{
    *call = "sendto";
    if (send_request(server, address, line, length) == -1)
        return -1;
    *call = "recvfrom";
    return receive_answer(server);
}

static void print_answer(size_t length)
{
    fwrite(answer, 1, length, stdout);
    putchar('\n');
    fflush(stdout);
}

/* Reads one line and prints its upper case; -1 after a complaint. */
static int talk(int server, const struct options *options,
                const struct addrinfo *list, char **line, size_t *size)
{
    ssize_t length = read_line(line, size);
    if (length == -1 && !feof(stdin)) {
        complain("standard input");
        return -1;
    }
    if (length == -1)
        return 0;
    const char *call = "";
    ssize_t got = ask(server, list, *line, (size_t)length, &call);
    if (got == -1) {
        fprintf(stderr, "%s: %s %s port %s: %s\n", program, call, options->host,
                options->port, strerror(errno));
        return -1;
    }
    print_answer((size_t)got);
    return 0;
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    struct addrinfo *list = resolve(&options);
    if (list == NULL)
        return 1;
    int server = open_socket(list);
    if (server == -1) {
        complain("socket");
        freeaddrinfo(list);
        return 1;
    }
    char *line = NULL;
    size_t size = 0;
    int result = talk(server, &options, list, &line, &size);
    free(line);
    freeaddrinfo(list);
    close(server); /* Best effort: the program ends anyway. */
    return result == 0 ? 0 : 1;
}
