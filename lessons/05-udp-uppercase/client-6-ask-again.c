/*
 * The client of the upper-case server over UDP: one line of standard input is
 * sent as a datagram, and the answer is printed.
 *
 * Run: build/lessons/05-udp-uppercase/client-6-ask-again -P 12000
 *      while a server has that port
 *
 * Changed since step 5: a request without an answer is sent again, three times
 * at most. Each wait is twice as long as the one before, so that a busy network
 * gets room (RFC 8085, 3.1.1). The socket stays the same: an answer that is
 * late answers the same request and is taken.
 *
 * Still wrong:
 * - It knows IPv4 and one address only, and errors of standard output are
 *   ignored (7).
 */
#define _GNU_SOURCE /* MSG_TRUNC as a flag of recv(2) is Linux only */

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_HOST "127.0.0.1"
#define DEFAULT_PORT "12000"
#define BUFFER_SIZE 65535 /* the largest length that RFC 768 can say */
#define LIMIT_MS 1000     /* of the first try; 15 seconds for all of them */
#define TRIES 4

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

/* A connected socket, or -1 with errno; *call is the call that failed. */
static int open_socket(const struct addrinfo *address, const char **call)
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
static ssize_t send_request(int server, const char *line, size_t length)
{
    ssize_t sent;
    do
        sent = send(server, line, length, 0);
    while (sent == -1 && errno == EINTR);
    return sent;
}

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now); /* It always works on this clock. */
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* Waits for a datagram until a point in time; -1 with errno. */
static int wait_until(int server, long long end_ms)
{
    struct pollfd wanted = {.fd = server, .events = POLLIN};
    int ready;
    do {
        long long left_ms = end_ms - now_ms();
        ready = poll(&wanted, 1, left_ms > 0 ? (int)left_ms : 0);
    } while (ready == -1 && errno == EINTR);
    if (ready == 0)
        errno = ETIMEDOUT;
    return ready == 1 ? 0 : -1;
}

/* The length of the answer; -1 with errno. */
static ssize_t receive_answer(int server, int limit_ms)
{
    long long end_ms = now_ms() + limit_ms;
    ssize_t got;
    do {
        if (wait_until(server, end_ms) == -1)
            return -1;
        /* The kernel may drop the datagram for its checksum: poll(2), BUGS. */
        got = recv(server, answer, sizeof(answer), MSG_DONTWAIT | MSG_TRUNC);
    } while (got == -1 && (errno == EINTR || errno == EAGAIN));
    if (got > (ssize_t)sizeof(answer)) {
        errno = EMSGSIZE;
        return -1;
    }
    return got;
}

/* The length of the answer; -1 with errno, and *call is what failed. */
static ssize_t ask(const struct addrinfo *address, const char *line,
                   size_t length, const char **call)
{
    int server = open_socket(address, call);
    if (server == -1)
        return -1;
    ssize_t result = -1;
    int limit_ms = LIMIT_MS;
    errno = ETIMEDOUT;
    for (int i = 0; i < TRIES && result == -1 && errno == ETIMEDOUT; i++) {
        *call = "send";
        if (send_request(server, line, length) == -1)
            break;
        *call = "recv";
        result = receive_answer(server, limit_ms);
        limit_ms *= 2;
    }
    int error = errno;
    close(server); /* Best effort: the first error is the one to tell. */
    errno = error;
    return result;
}

static void print_answer(size_t length)
{
    fwrite(answer, 1, length, stdout);
    putchar('\n');
    fflush(stdout);
}

/* Reads one line and prints its upper case; -1 after a complaint. */
static int talk(const struct options *options, const struct addrinfo *list,
                char **line, size_t *size)
{
    ssize_t length = read_line(line, size);
    if (length == -1 && !feof(stdin)) {
        complain("standard input");
        return -1;
    }
    if (length == -1)
        return 0;
    const char *call = "";
    ssize_t got = ask(list, *line, (size_t)length, &call);
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
    char *line = NULL;
    size_t size = 0;
    int result = talk(&options, list, &line, &size);
    free(line);
    freeaddrinfo(list);
    return result == 0 ? 0 : 1;
}
