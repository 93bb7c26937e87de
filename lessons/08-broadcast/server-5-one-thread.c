/*
 * A broadcast server: what the operator types goes to every client, and what
 * a client sends goes to the others.
 *
 * Run: build/lessons/08-broadcast/server-5-one-thread -P 50001
 *      and, in two other terminals, nc 127.0.0.1 50001
 *
 * Changed since step 4: one thread serves all, with epoll(7) as in lesson 06.
 * Nothing is shared any more, so there is no lock; and a client costs what its
 * struct takes, not a stack. A client that is lost is marked, and taken out
 * when the events of one epoll_wait(2) are done, because others may point to
 * it.
 *
 * Still wrong:
 * - A client that does not read holds up all the others (6).
 * - SIGTERM kills the program in the middle of a line (8).
 */
#define _GNU_SOURCE /* accept4(2): not in POSIX before 2024 */

#include "ss_io.h"
#include "ss_listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define DEFAULT_PORT "50001"
#define BACKLOG 128
#define MAX_CLIENTS 1000
#define LINE_SIZE 1024 /* the longest line, its newline included */
#define PAUSE_MS 100
#define MAX_EVENTS 64

struct options {
    const char *host; /* NULL: every IPv4 address of this machine */
    const char *port;
};

struct client {
    int connection;
    bool lost; /* to be taken out of the list */
    char line[LINE_SIZE];
    size_t held; /* so much of a line that is not whole yet */
};

struct input {
    bool ended;
    bool is_file; /* epoll(7) does not take files, which never block */
    char line[LINE_SIZE];
    size_t held;
};

static const char *program = "server";
static int epoll;
static int listener;
static bool accepting = true;
static struct input typed;
static struct client *clients[MAX_CLIENTS];
static size_t client_count;

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
    return errno == 0 && *end == '\0' && port <= 65535;
}

/* Wrong usage ends the program with status 2. */
static struct options parse_options(int argc, char *argv[])
{
    struct options options = {.host = NULL, .port = DEFAULT_PORT};
    const char *slash = strrchr(argv[0], '/');
    program = slash != NULL ? slash + 1 : argv[0];
    bool right = true;
    int option;
    while ((option = getopt(argc, argv, "H:P:")) != -1) {
        if (option == 'H')
            options.host = optarg;
        else if (option == 'P' && is_port(optarg))
            options.port = optarg; /* "0": the kernel chooses one */
        else
            right = false;
    }
    if (!right || optind != argc) {
        fprintf(stderr, "usage: %s [-H HOST] [-P PORT]\n", program);
        exit(2);
    }
    return options;
}

/* Listens at the first address of the host; -1 after a complaint. */
static int open_listener(const struct options *options)
{
    const char *host = options->host != NULL ? options->host : "0.0.0.0";
    int found;
    size_t count;
    int resolver;
    if (ss_listen(host, options->port, SOCK_STREAM, BACKLOG, &found, 1, &count,
                  &resolver) == 0)
        return found;
    bool name = resolver != 0 && resolver != EAI_SYSTEM;
    fprintf(stderr, "%s: listen %s port %s: %s\n", program, host, options->port,
            name ? gai_strerror(resolver) : strerror(errno));
    return -1;
}

/* Tells epoll(7) what to look for; `source` comes back with each event. */
static int watch(int descriptor, uint32_t events, void *source)
{
    struct epoll_event event = {.events = events, .data.ptr = source};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, descriptor, &event) == 0)
        return 0;
    if (errno != ENOENT)
        return -1;
    return epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
}

/* Puts a connection into the list; -1 with errno. */
static int add_client(int connection)
{
    if (client_count == MAX_CLIENTS) {
        errno = EUSERS;
        return -1;
    }
    struct client *client = calloc(1, sizeof(*client));
    if (client == NULL)
        return -1;
    client->connection = connection;
    if (watch(connection, EPOLLIN, client) == -1) {
        free(client);
        return -1;
    }
    clients[client_count++] = client;
    return 0;
}

/* Takes those who are lost out of the list; those behind them move up. */
static void remove_lost_clients(void)
{
    size_t kept = 0;
    for (size_t i = 0; i < client_count; i++) {
        if (clients[i]->lost) {
            close(clients[i]->connection); /* It leaves the epoll set, too. */
            free(clients[i]);
        } else {
            clients[kept++] = clients[i];
        }
    }
    client_count = kept;
}

/* Sends a line to every client but its sender. */
static void send_to_all(const struct client *sender, const char *line,
                        size_t length)
{
    for (size_t i = 0; i < client_count; i++) {
        struct client *client = clients[i];
        size_t done;
        if (client != sender && !client->lost &&
            ss_send_all(client->connection, line, length, NULL, &done) == -1) {
            complain("send");
            client->lost = true;
        }
    }
}

/* Sends the whole lines of a buffer; the length of what is left in it, which
 * is less than LINE_SIZE: a line that is too long is broken. */
static size_t send_lines(const struct client *sender, char *buffer,
                         size_t length)
{
    size_t begin = 0;
    for (size_t i = 0; i < length; i++) {
        if (buffer[i] == '\n') {
            send_to_all(sender, buffer + begin, i + 1 - begin);
            begin = i + 1;
        }
    }
    if (length - begin == LINE_SIZE) {
        char last = buffer[LINE_SIZE - 1];
        buffer[LINE_SIZE - 1] = '\n';
        send_to_all(sender, buffer, LINE_SIZE);
        buffer[0] = last;
        return 1;
    }
    memmove(buffer, buffer + begin, length - begin);
    return length - begin;
}

/* Takes what has come from a client, and sends the lines that are whole. */
static void serve_client(struct client *client)
{
    ssize_t got = recv(client->connection, client->line + client->held,
                       sizeof(client->line) - client->held, MSG_DONTWAIT);
    if (got == -1 && (errno == EINTR || errno == EAGAIN))
        return;
    if (got == -1)
        complain("recv");
    if (got == -1 || got == 0)
        client->lost = true; /* What it did not complete is dropped. */
    else
        client->held =
            send_lines(client, client->line, client->held + (size_t)got);
}

/* Whether accept(2) may be called again after its failure. */
static bool accept_again(void)
{
    switch (errno) {
    case EBADF:
    case EFAULT:
    case EINVAL:
    case ENOTSOCK:
        return false; /* A fault of this program. */
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        complain("accept");
        accepting = false; /* A pause, in which the others are served. */
        return watch(listener, 0, &listener) == 0;
    default:
        return true; /* A signal came, or that one connection was lost. */
    }
}

/* Accepts one client; -1 after a complaint. */
static int accept_client(void)
{
    int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (connection == -1 && !accept_again()) {
        complain("accept");
        return -1;
    }
    if (connection != -1 && add_client(connection) == -1) {
        complain("a client is refused");
        close(connection); /* Best effort: it is gone either way. */
    }
    return 0;
}

/* Takes what the operator has typed, and sends the lines that are whole. */
static void serve_operator(void)
{
    ssize_t got = read(STDIN_FILENO, typed.line + typed.held,
                       sizeof(typed.line) - typed.held);
    if (got > 0) {
        typed.held = send_lines(NULL, typed.line, typed.held + (size_t)got);
        return;
    }
    if (got == -1 && (errno == EINTR || errno == EAGAIN))
        return;
    if (got == -1)
        complain("standard input");
    typed.ended = true;
    /* Best effort: of a file, epoll(7) knows nothing. */
    epoll_ctl(epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
    if (typed.held > 0) { /* a last line without its newline */
        typed.line[typed.held++] = '\n';
        send_to_all(NULL, typed.line, typed.held);
    }
}

/* Tells epoll(7) of the listener and the operator; -1 after a complaint. */
static int start(void)
{
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll == -1 || fcntl(listener, F_SETFL, O_NONBLOCK) == -1 ||
        watch(listener, EPOLLIN, &listener) == -1) {
        complain("epoll");
        return -1;
    }
    typed.is_file = watch(STDIN_FILENO, EPOLLIN, &typed) == -1;
    return 0;
}

/* Waits for events and deals with them; -1 after a complaint. */
static int serve(void)
{
    struct epoll_event events[MAX_EVENTS];
    bool input_ready = typed.is_file && !typed.ended;
    int limit_ms = input_ready ? 0 : accepting ? -1 : PAUSE_MS;
    int count = epoll_wait(epoll, events, MAX_EVENTS, limit_ms);
    if (count == -1 && errno != EINTR) {
        complain("epoll_wait");
        return -1;
    }
    if (!accepting) {
        accepting = true; /* The pause is over. */
        watch(listener, EPOLLIN, &listener);
    }
    for (int i = 0; i < count; i++) {
        void *source = events[i].data.ptr;
        if (source == &listener && accept_client() == -1)
            return -1;
        if (source == &typed)
            input_ready = true;
        else if (source != &listener && !((struct client *)source)->lost)
            serve_client(source);
    }
    if (input_ready)
        serve_operator();
    remove_lost_clients();
    return 0;
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    listener = open_listener(&options);
    if (listener == -1)
        return 1;
    if (start() == 0) {
        while (serve() == 0)
            continue;
    }
    close(listener); /* Best effort: the program ends anyway. */
    return 1;
}
