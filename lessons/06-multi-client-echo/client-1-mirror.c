/*
 * The client of the echo server, call for call as the document has it (part II;
 * part III has no client of its own): each line of standard input is sent, and
 * the reply is printed after ">". An empty line or the end of input ends it.
 *
 * Run: build/lessons/06-multi-client-echo/client-1-mirror -P 8080
 *      while a server listens there
 *
 * Still wrong:
 * - A line is sent without its newline.
 * - One recv(2) is taken for one reply, and the server's end for an empty one.
 * - One send(2) is taken for a whole line. Python's sendall() sends the rest
 *   after a short count; C has no such call.
 * - EINTR of connect(2), send(2) or recv(2) ends the program.
 * - A line larger than all buffers on the way makes client and server wait for
 *   each other, and a server's end goes unnoticed until the next line is typed.
 * - A lost server kills the program by SIGPIPE, errors of standard output are
 *   ignored, and it knows IPv4 only.
 * All of that is mended in (2); lesson 03 mends one fault at a time.
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
#define DEFAULT_PORT "8080"
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
        putchar(':');
        fflush(stdout);
    }
    ssize_t length = getline(line, size, stdin);
    if (length > 0 && (*line)[length - 1] == '\n')
        length--;
    return length;
}

static void print_reply(const char *reply, size_t length)
{
    putchar('>');
    fwrite(reply, 1, length, stdout);
    putchar('\n');
    fflush(stdout);
}

/* Prints the reply to one line; -1 after a complaint. */
static int receive_reply(int server)
{
    char reply[BUFFER_SIZE];
    ssize_t got = recv(server, reply, sizeof(reply), 0);
    if (got == -1) {
        complain("recv");
        return -1;
    }
    print_reply(reply, (size_t)got);
    return 0;
}

/* Sends line after line until an empty one; -1 after a complaint. */
static int talk(int server, char **line, size_t *size)
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
        if (receive_reply(server) == -1)
            return -1;
    }
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
    char *line = NULL;
    size_t size = 0;
    int result = talk(server, &line, &size);
    free(line);
    close(server); /* Best effort: the program ends anyway. */
    return result == 0 ? 0 : 1;
}
