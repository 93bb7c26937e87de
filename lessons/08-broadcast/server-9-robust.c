/*
 * A broadcast server: what the operator types goes to every client, and what
 * a client sends goes to the others.
 *
 * Run: build/lessons/08-broadcast/server-9-robust -P 50001
 *      and, in two other terminals, nc 127.0.0.1 50001
 *
 * Changed since step 8: the orderly end has one second, whatever the clients
 * do. Clients above the limit wait in the kernel's queue until one leaves, in
 * place of being refused, and a lack of descriptors is told once.
 *
 * Still wrong:
 * - A client whose machine vanished looks idle, and one that has ended its
 *   stream but does not read keeps its place. Never mended here, because only
 *   a time limit could tell, and the contract has none.
 * - If standard error is a full pipe, a complaint waits for its reader. Never
 *   mended, because an error must not be lost.
 */
#define _GNU_SOURCE /* accept4(2): not in POSIX before 2024 */

#include "ss_listen.h"
#include "ss_stop.h"
#include "ss_time.h"

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
#define LINE_SIZE 1024  /* the longest line, its newline included */
#define QUEUE_MAX 65536 /* bytes; the kernel's buffers come to it */
#define PAUSE_MS 100
#define FINISH_MS 1000 /* from a stop to the end */
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
    bool ended;  /* it sends no more, and leaves when its queue is empty */
    char *queue; /* lines, or the rest of one, that are not sent yet */
    size_t queued;
    size_t queue_size;
    uint32_t events; /* what epoll(7) looks for */
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
static struct ss_stop stop;
static struct ss_deadline finish_by;
static const struct ss_deadline *deadline; /* NULL before a stop */
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
    client->events = EPOLLIN;
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
            free(clients[i]->queue);
            free(clients[i]);
        } else {
            clients[kept++] = clients[i];
        }
    }
    client_count = kept;
}

/* Looks for what the client can do next; it may be done, and leave. */
static void update_client(struct client *client)
{
    if (client->ended && client->queued == 0)
        client->lost = true;
    uint32_t events = (client->ended ? 0 : EPOLLIN);
    if (client->queued > 0)
        events |= EPOLLOUT;
    if (client->lost || events == client->events)
        return;
    client->events = events;
    if (watch(client->connection, events, client) == -1) {
        complain("epoll_ctl");
        client->lost = true;
    }
}

/* Sends so much of the queue as the kernel takes at once. */
static void send_queue(struct client *client)
{
    size_t done = 0;
    while (done < client->queued) {
        ssize_t sent = send(client->connection, client->queue + done,
                            client->queued - done, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent == -1 && errno == EINTR)
            continue;
        if (sent == -1 && errno == EAGAIN)
            break;
        if (sent == -1) {
            complain("send");
            client->lost = true;
            return;
        }
        done += (size_t)sent;
    }
    client->queued -= done;
    memmove(client->queue, client->queue + done, client->queued);
    update_client(client);
}

/* Puts a line at the end of the queue; -1 with errno. */
static int add_to_queue(struct client *client, const char *line, size_t length)
{
    size_t needed = client->queued + length;
    if (needed > QUEUE_MAX) {
        errno = ENOBUFS;
        return -1;
    }
    if (needed > client->queue_size) {
        char *larger = realloc(client->queue, 2 * needed);
        if (larger == NULL)
            return -1;
        client->queue = larger;
        client->queue_size = 2 * needed;
    }
    memcpy(client->queue + client->queued, line, length);
    client->queued = needed;
    return 0;
}

/* Sends a line to one client, now or later. */
static void send_line(struct client *client, const char *line, size_t length)
{
    bool waiting = client->queued > 0;
    if (add_to_queue(client, line, length) == -1) {
        complain("a client is dropped");
        client->lost = true;
    } else if (!waiting) {
        send_queue(client);
    }
}

/* Sends a line to every client but its sender. */
static void send_to_all(const struct client *sender, const char *line,
                        size_t length)
{
    for (size_t i = 0; i < client_count; i++) {
        struct client *client = clients[i];
        if (client != sender && !client->lost && !client->ended)
            send_line(client, line, length);
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

/* Takes what has come from a client, and sends the lines that are whole.
 * Whether there may be more. */
static bool serve_client(struct client *client)
{
    ssize_t got = recv(client->connection, client->line + client->held,
                       sizeof(client->line) - client->held, MSG_DONTWAIT);
    if (got == -1 && (errno == EINTR || errno == EAGAIN))
        return errno == EINTR;
    if (got == -1) {
        complain("recv");
        client->lost = true;
    } else if (got == 0) {
        client->ended = true; /* What it did not complete is dropped. */
        update_client(client);
    } else {
        client->held =
            send_lines(client, client->line, client->held + (size_t)got);
    }
    return got > 0 && !client->lost;
}

/* Deals with the events of one client. */
static void attend_to(struct client *client, uint32_t events)
{
    if (!client->lost && (events & EPOLLOUT) != 0)
        send_queue(client);
    if (!client->lost && !client->ended &&
        (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0)
        serve_client(client);
}

/* Pauses accept(2), while the others are served; -1 with errno. */
static int pause_accept(void)
{
    accepting = false;
    return watch(listener, 0, &listener);
}

/* Whether accept(2) may be called again after its failure. */
static bool accept_again(void)
{
    static bool told;
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
        if (!told)
            complain("accept"); /* once, not for every pause */
        told = true;
        return pause_accept() == 0;
    default:
        return true; /* A signal came, or that one connection was lost. */
    }
}

/* Accepts one client; -1 after a complaint. */
static int accept_client(void)
{
    if (client_count == MAX_CLIENTS)
        return pause_accept();
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
        watch(listener, EPOLLIN, &listener) == -1 ||
        watch(stop.fd, EPOLLIN, &stop) == -1) {
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
    int limit_ms = input_ready ? 0
                   : accepting ? ss_deadline_left_ms(deadline)
                               : PAUSE_MS;
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
        else if (source != &listener && source != &stop)
            attend_to(source, events[i].events);
    }
    if (input_ready)
        serve_operator();
    remove_lost_clients();
    return 0;
}

/* Ends in order: hands on what has come, and sends what is queued. */
static int finish(void)
{
    /* Best effort: both leave the epoll set, and cannot come back. */
    close(listener);
    epoll_ctl(epoll, EPOLL_CTL_DEL, stop.fd, NULL);
    epoll_ctl(epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
    typed.ended = true;
    ss_deadline_set(&finish_by, FINISH_MS);
    deadline = &finish_by;
    for (size_t i = 0; i < client_count; i++)
        while (!clients[i]->ended && ss_deadline_left_ms(deadline) > 0 &&
               serve_client(clients[i]))
            continue;
    for (size_t i = 0; i < client_count; i++) {
        clients[i]->ended = true;
        update_client(clients[i]);
    }
    remove_lost_clients();
    while (client_count > 0 && ss_deadline_left_ms(deadline) > 0)
        if (serve() == -1)
            return -1;
    for (size_t i = 0; i < client_count; i++)
        clients[i]->lost = true;
    remove_lost_clients();
    return 0;
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    if (ss_stop_open(&stop) == -1) {
        complain("signals");
        return 1;
    }
    listener = open_listener(&options);
    if (listener == -1)
        return 1;
    int result = start();
    while (result == 0 && !ss_stop_requested(&stop))
        result = serve();
    if (result == 0)
        result = finish();
    close(epoll); /* Best effort: the program ends anyway. */
    ss_stop_close(&stop);
    return result == 0 ? 0 : 1;
}
