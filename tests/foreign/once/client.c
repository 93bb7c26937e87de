/* A sound echo client: two flows of bytes, one to the server and one from it,
 * each with a buffer between its two ends. It sends one line (LINES 1), or as
 * many as there are, up to an empty one.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef LINES
#define LINES 1
#endif

struct flow {
    const char *from_name, *to_name;
    int from, to;
    bool over;                  /* nothing more is taken */
    bool in_line;               /* the last byte was no newline */
    long lines;                 /* that were given on whole */
    size_t held, given;
    char bytes[2048];
};

static int complain(const char *what, const char *why)
{
    fprintf(stderr, "client: %s: %s\n", what, why);
    return -1;
}

static bool is_full(const struct flow *flow)
{
    return flow->given < flow->held;
}

/* Takes what there is; -1 after a complaint. */
static int fill(struct flow *flow)
{
    ssize_t count = read(flow->from, flow->bytes, sizeof(flow->bytes));
    if (count == -1 && errno != EINTR && errno != EAGAIN)
        return complain(flow->from_name, strerror(errno));
    flow->given = 0;
    flow->held = count > 0 ? (size_t)count : 0;
    flow->over = count == 0;
    return 0;
}

/* Gives on what is held; -1 after a complaint. */
static int empty(struct flow *flow)
{
    ssize_t count = write(flow->to, flow->bytes + flow->given,
                          flow->held - flow->given);
    if (count == -1 && errno != EINTR && errno != EAGAIN)
        return complain(flow->to_name, strerror(errno));
    for (; count > 0; count--)
        flow->lines += flow->bytes[flow->given++] == '\n';
    return 0;
}

/* Cuts what was typed behind its last line, and adds a newline to it. */
static void look_at_typed(struct flow *typed, long *lines)
{
    if (typed->over && typed->in_line)
        typed->bytes[typed->held++] = '\n';
    for (size_t i = 0; i < typed->held; i++) {
        bool newline = typed->bytes[i] == '\n';
        bool empty_line = newline && !typed->in_line;
        *lines += newline && !empty_line;
        if (empty_line || *lines == LINES) {
            typed->over = true;
            typed->held = empty_line ? i : i + 1;
        }
        typed->in_line = !newline;
    }
}

/* Lets both flow until the last reply is there; -1 after a complaint. */
static int converse(int server)
{
    struct flow typed = {"standard input", "write", STDIN_FILENO, server};
    struct flow heard = {"read", "standard output", server, STDOUT_FILENO};
    long lines = 0;
    while (!typed.over || is_full(&typed) || heard.lines < lines) {
        struct pollfd set[3] = {
            {.fd = typed.over || is_full(&typed) ? -1 : STDIN_FILENO,
             .events = POLLIN},
            {.fd = server, .events = POLLIN},
            {.fd = is_full(&typed) ? server : -1, .events = POLLOUT}};
        if (poll(set, 3, -1) == -1) {
            if (errno == EINTR)
                continue;
            return complain("poll", strerror(errno));
        }
        if (set[0].revents != 0) {
            if (fill(&typed) == -1)
                return -1;
            look_at_typed(&typed, &lines);
        }
        if (set[1].revents != 0) {
            if (fill(&heard) == -1)
                return -1;
            if (heard.over)
                return heard.lines == lines ? 0
                       : complain("read", "the reply is cut off");
            while (is_full(&heard))
                if (empty(&heard) == -1)
                    return -1;
        } else if (set[2].revents != 0 && empty(&typed) == -1) {
            return -1;
        }
    }
    return 0;
}

static int finish_connect(int server)
{
    struct pollfd one = {.fd = server, .events = POLLOUT};
    int why = 0;
    socklen_t size = sizeof(why);
    while (poll(&one, 1, -1) == -1 && errno == EINTR)
        continue;
    getsockopt(server, SOL_SOCKET, SO_ERROR, &why, &size);
    errno = why;
    return why == 0 ? 0 : -1;
}

/* -1 after a complaint. */
static int open_connection(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found, *next;
    int result = getaddrinfo(host, port, &hints, &found), server = -1;
    if (result != 0)
        return complain(host, gai_strerror(result));
    for (next = found; next != NULL; next = next->ai_next) {
        server = socket(next->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (server == -1)
            break;
        result = connect(server, next->ai_addr, next->ai_addrlen);
        if (result == -1 && errno == EINTR)
            result = finish_connect(server);
        if (result == 0)
            break;
        int why = errno;
        close(server);
        server = -1;
        errno = why;
    }
    if (server == -1)
        complain("connect", strerror(errno));
    freeaddrinfo(found);
    return server;
}

int main(int argc, char **argv)
{
    const char *host = "127.0.0.1", *port = "8080";
    char *end = "";
    long number = 8080;
    int letter;
    while ((letter = getopt(argc, argv, "H:P:")) != -1) {
        if (letter == 'H')
            host = optarg;
        else if (letter == 'P' && *optarg >= '0' && *optarg <= '9')
            number = strtol(port = optarg, &end, 10);
        else
            number = -1;
        if (*end != '\0' || number < 1 || number > 65535)
            break;
    }
    if (letter != -1 || optind != argc) {
        fputs("usage: client [-H HOST] [-P PORT]\n", stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    int server = open_connection(host, port);
    if (server == -1)
        return 1;
    /* Neither flow is to wait for the other. */
    fcntl(server, F_SETFL, fcntl(server, F_GETFL) | O_NONBLOCK);
    int result = converse(server);
    close(server);
    return result == 0 ? 0 : 1;
}
