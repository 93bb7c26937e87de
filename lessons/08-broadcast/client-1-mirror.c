/*
 * The client of the broadcast server, call for call as document 000 has its
 * client: a line of standard input is sent, then one answer is received and
 * printed. An empty line or the end of input ends it.
 *
 * Run: build/lessons/08-broadcast/client-1-mirror -P 50001
 *      while a server listens there
 *
 * Still wrong:
 * - A line is sent without its newline, one recv(2) is taken for a line, and
 *   what the lessons before taught is missing: short counts, EINTR, SIGPIPE,
 *   a host with several addresses (2).
 * - send(2) and recv(2) must take turns. While nobody answers nothing more is
 *   sent, and while nothing is typed nothing is printed. The document says so
 *   itself: each needs a thread of its own (3).
 * - The server's end is noticed only after the next line (4), and it is taken
 *   for a good one. Errors of standard output are ignored (5).
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
#define DEFAULT_PORT "50001"
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

/* The addresses of the server, for freeaddrinfo(3); NULL after a complaint. */
static struct addrinfo *resolve(const struct options *options)
{
    struct addrinfo hints;
    memset(&hints, 0, sizeof(hints));
    hints.ai_family = AF_INET;
    hints.ai_socktype = SOCK_STREAM;
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

/* A connected socket, or -1 with errno; *call is the call that failed. */
static int connect_to(const struct addrinfo *address, const char **call)
{
    *call = "socket";
    int server =
        socket(address->ai_family, address->ai_socktype, address->ai_protocol);
    if (server == -1)
        return -1;
    *call = "connect";
    if (connect(server, address->ai_addr, address->ai_addrlen) == 0)
        return server;
    int error = errno;
    close(server); /* Best effort: the first error is the one to tell. */
    errno = error;
    return -1;
}

/* Connects to the first address that answers; -1 after a complaint. */
static int open_connection(const struct options *options,
                           const struct addrinfo *list)
{
    int server = -1;
    const char *call = "";
    for (; list != NULL && server == -1; list = list->ai_next)
        server = connect_to(list, &call);
    if (server == -1)
        fprintf(stderr, "%s: %s %s port %s: %s\n", program, call, options->host,
                options->port, strerror(errno));
    return server;
}

/* The length without the newline; -1 at the end of input or at an error. */
static ssize_t read_line(char **line, size_t *size)
{
    if (isatty(STDIN_FILENO)) {
        fputs("> ", stdout);
        fflush(stdout);
    }
    ssize_t length = getline(line, size, stdin);
    if (length > 0 && (*line)[length - 1] == '\n')
        length--;
    return length;
}

/* Best effort: the document does not look at it either. */
static void print(const char *data, size_t length)
{
    fwrite(data, 1, length, stdout);
    fflush(stdout);
}

/* Prints one answer; 1 at the server's end, -1 after a complaint. */
static int receive_line(int server)
{
    char buffer[BUFFER_SIZE];
    ssize_t got = recv(server, buffer, sizeof(buffer), 0);
    if (got == -1) {
        complain("recv");
        return -1;
    }
    if (got == 0)
        return 1;
    print(buffer, (size_t)got);
    print("\n", 1); /* as Python's print() does */
    return 0;
}

/* Sends line after line until an empty one; -1 after a complaint. */
static int send_lines(int server, char **line, size_t *size)
{
    for (;;) {
        ssize_t length = read_line(line, size);
        if (length == -1 && !feof(stdin)) {
            complain("standard input");
            return -1;
        }
        if (length == -1 || length == 0)
            return 0;
        if (send(server, *line, (size_t)length, 0) == -1) {
            complain("send");
            return -1;
        }
        int result = receive_line(server);
        if (result != 0)
            return result;
    }
}

/* Talks until the input or the server ends; -1 after a complaint. */
static int talk(int server)
{
    char *line = NULL;
    size_t size = 0;
    int result = send_lines(server, &line, &size);
    free(line);
    return result == -1 ? -1 : 0;
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    struct addrinfo *list = resolve(&options);
    if (list == NULL)
        return 1;
    int server = open_connection(&options, list);
    freeaddrinfo(list);
    if (server == -1)
        return 1;
    int result = talk(server);
    close(server); /* Best effort: the program ends anyway. */
    return result == 0 ? 0 : 1;
}
