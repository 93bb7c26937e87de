/*
 * An echo server for many clients: one thread serves them all. epoll(7) says
 * which sockets are ready, and no call on a socket waits.
 *
 * Run: build/lessons/06-multi-client-echo/server-9-epoll -P 8080
 *      and, in two more terminals, nc 127.0.0.1 8080
 *
 * Changed since step 8: the kernel keeps the list of what is wanted, and each
 * socket puts itself on a second list when it gets ready. epoll_wait(2) hands
 * out that second list, so that clients that say nothing cost nothing. The list
 * is changed only when a client comes, when its reply stalls, and when it can
 * go on.
 *
 * Still wrong:
 * - A client that does not read its reply holds up the end (12).
 */
#define _GNU_SOURCE /* accept4(2): not in POSIX before 2024 */

#include "ss_listen.h"
#include "ss_stop.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define DEFAULT_PORT "8080"
#define DEFAULT_CLIENTS 10000
#define MOST_CLIENTS 100000
#define BACKLOG SOMAXCONN
#define BUFFER_SIZE 1024
#define PAUSE_MS 100
#define EVENTS_MAX 64

struct options {
    const char *host; /* NULL: every IPv4 address of this machine */
    const char *port;
    int clients; /* So many are served at a time. */
};

struct client {
    int connection;
    int number;   /* of the list of all clients */
    bool sending; /* EPOLLOUT is wanted, not EPOLLIN. */
    size_t begin; /* From here to the end of what came, it is not sent yet. */
    size_t end;
    bool leaving; /* After a stop: what comes has no reply any more. */
    char buffer[BUFFER_SIZE];
};

struct server {
    int listener;
    int clients; /* so many at most */
    int count;   /* so many there are */
    struct client **client;
    bool lacking;   /* There was no descriptor or memory for a client. */
    bool told;      /* ... and that has been said. */
    bool listening; /* The listener is watched. */
    int epoll;
};

enum progress { MORE, WAITING, DONE };

static const char *program = "server";
static struct ss_stop stop; /* SIGTERM and SIGINT, as a descriptor */

/* Tells standard error what failed and, by errno, why. */
static void complain(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", program, what, strerror(errno));
}

static bool is_number(const char *text, long least, long most)
{
    /* strtol(3) allows blanks and a sign before the digits; we do not. */
    if (text[0] < '0' || text[0] > '9')
        return false;
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    return errno == 0 && *end == '\0' && number >= least && number <= most;
}

/* Wrong usage ends the program with status 2. */
static struct options parse_options(int argc, char *argv[])
{
    struct options options = {
        .host = NULL, .port = DEFAULT_PORT, .clients = DEFAULT_CLIENTS};
    const char *slash = strrchr(argv[0], '/');
    program = slash != NULL ? slash + 1 : argv[0];
    bool right = true;
    int option;
    while ((option = getopt(argc, argv, "H:P:N:")) != -1) {
        if (option == 'H')
            options.host = optarg;
        else if (option == 'P' && is_number(optarg, 0, 65535))
            options.port = optarg; /* "0": the kernel chooses one */
        else if (option == 'N' && is_number(optarg, 1, MOST_CLIENTS))
            options.clients = (int)strtol(optarg, NULL, 10);
        else
            right = false;
    }
    if (!right || optind != argc) {
        fprintf(stderr, "usage: %s [-H HOST] [-P PORT] [-N CLIENTS]\n",
                program);
        exit(2);
    }
    return options;
}

/* A listening socket, or -1 after a complaint. */
static int open_listener(const struct options *options)
{
    const char *host = options->host != NULL ? options->host : "0.0.0.0";
    int listener = -1;
    size_t count = 0;
    int resolver = 0;
    if (ss_listen(host, options->port, SOCK_STREAM, BACKLOG, &listener, 1,
                  &count, &resolver) == 0)
        return listener;
    fprintf(stderr, "%s: listen %s port %s: %s\n", program, host, options->port,
            resolver == 0 || resolver == EAI_SYSTEM ? strerror(errno)
                                                    : gai_strerror(resolver));
    return -1;
}

/* Sends the rest of the last piece, or receives the next one and sends it.
 * WAITING: the socket is not ready. DONE: there will be no more. */
static enum progress echo_piece(struct client *client)
{
    if (client->begin == client->end) {
        ssize_t got = recv(client->connection, client->buffer, BUFFER_SIZE, 0);
        if (got == -1 && errno == EINTR)
            return MORE;
        if (got == -1 && errno == EAGAIN)
            return WAITING;
        if (got == -1)
            complain("recv");
        if (got == -1 || got == 0)
            return DONE; /* The client has sent its last byte, or is lost. */
        if (client->leaving)
            return MORE;
        client->begin = 0;
        client->end = (size_t)got;
    }
    ssize_t sent = send(client->connection, client->buffer + client->begin,
                        client->end - client->begin, MSG_NOSIGNAL);
    if (sent == -1 && errno == EINTR)
        return MORE;
    if (sent == -1 && errno == EAGAIN)
        return WAITING;
    if (sent == -1) {
        complain("send");
        return DONE;
    }
    client->begin += (size_t)sent;
    return MORE;
}

/* Adds a descriptor to epoll's list, or changes what is wanted of it.
 * source: what epoll_wait(2) gives back with each event; -1 with errno. */
static int want(const struct server *server, int operation, int descriptor,
                uint32_t events, void *source)
{
    struct epoll_event wanted = {.events = events, .data.ptr = source};
    return epoll_ctl(server->epoll, operation, descriptor, &wanted);
}

/* A client for whom there is no memory is refused. */
static void add_client(struct server *server, int connection)
{
    struct client *client = malloc(sizeof(*client));
    if (client == NULL ||
        want(server, EPOLL_CTL_ADD, connection, EPOLLIN, client) == -1) {
        complain("client");
        close(connection);
        free(client);
        return;
    }
    client->connection = connection;
    client->number = server->count;
    client->sending = false;
    client->begin = 0;
    client->end = 0;
    client->leaving = false;
    server->client[server->count++] = client;
}

/* The last client takes its number. */
static void drop_client(struct server *server, struct client *client)
{
    close(client->connection); /* It leaves epoll's list with that. */
    struct client *last = server->client[--server->count];
    last->number = client->number;
    server->client[last->number] = last;
    free(client);
    server->lacking = false; /* There is a descriptor again. */
}

/* 0 where accept(2) may be called again; -1 after a complaint. */
static int after_failed_accept(struct server *server)
{
    switch (errno) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        if (!server->told)
            complain("accept"); /* once, not for every pause */
        server->told = true;
        server->lacking = true;
        return 0;
    case EINTR:
    case ECONNABORTED: /* The client left before it was accepted. */
    case EPROTO:       /* From here on: errors of the network, which Linux */
    case ENETDOWN:     /* hands to accept(2) for the new connection. */
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case ETIMEDOUT:
    case EPERM: /* A rule of the firewall. */
        return 0;
    default:
        complain("accept");
        return -1;
    }
}

/* Accepts the clients that wait, as far as there are places; -1 after a
 * complaint. */
static int accept_clients(struct server *server)
{
    while (server->count < server->clients && !server->lacking) {
        int connection =
            accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (connection == -1 && errno == EAGAIN)
            return 0;
        if (connection == -1 && after_failed_accept(server) == -1)
            return -1;
        if (connection != -1) {
            server->told = false;
            add_client(server, connection);
        }
    }
    return 0;
}

/* Whether nothing of this client is under way. */
static bool is_idle(const struct client *client)
{
    int unread = 0;
    return client->begin == client->end &&
           ioctl(client->connection, FIONREAD, &unread) == 0 && unread == 0;
}

/* Closes the port, and drops the clients for whom nothing is under way. */
static void begin_end(struct server *server)
{
    close(server->listener); /* Best effort: nothing is left to lose. */
    server->listener = -1;
    /* Best effort: it would be ready for ever. */
    epoll_ctl(server->epoll, EPOLL_CTL_DEL, stop.fd, NULL);
    for (int i = server->count - 1; i >= 0; i--)
        if (is_idle(server->client[i]))
            drop_client(server, server->client[i]);
}

/* After a stop: tells a client whose reply is complete the end of the stream.
 * A close(2) with unread bytes would send a reset, which can overtake the
 * reply: what the client still sends is read, until it ends as well. */
static void take_leave(struct client *client)
{
    if (client->leaving || !is_idle(client))
        return;
    shutdown(client->connection, SHUT_WR); /* Best effort: it may be lost. */
    client->leaving = true;
}

/* Does what one event of a client asks for. */
static void serve_client(struct server *server, struct client *client)
{
    if (echo_piece(client) == DONE) {
        drop_client(server, client);
        return;
    }
    if (server->listener == -1)
        take_leave(client);
    bool sending = client->begin < client->end;
    if (sending == client->sending)
        return;
    client->sending = sending;
    if (want(server, EPOLL_CTL_MOD, client->connection,
             sending ? EPOLLOUT : EPOLLIN, client) == -1) {
        complain("epoll_ctl");
        drop_client(server, client);
    }
}

/* While no client can be accepted, the listener is left out: it would be ready
 * all the time. -1 after a complaint. */
static int watch_listener(struct server *server)
{
    bool listening = server->count < server->clients && !server->lacking;
    if (listening == server->listening || server->listener == -1)
        return 0;
    server->listening = listening;
    if (want(server, EPOLL_CTL_MOD, server->listener, listening ? EPOLLIN : 0,
             server) == 0)
        return 0;
    complain("epoll_ctl");
    return -1;
}

/* Serves all clients until a stop, and then until they are served; -1 after
 * a complaint. */
static int serve(struct server *server)
{
    struct epoll_event events[EVENTS_MAX];
    while (server->listener != -1 || server->count > 0) {
        int ready = epoll_wait(server->epoll, events, EVENTS_MAX,
                               server->lacking ? PAUSE_MS : -1);
        if (ready == -1 && errno == EINTR)
            continue;
        if (ready == -1) {
            complain("epoll_wait");
            return -1;
        }
        if (ready == 0)
            server->lacking = false; /* The pause is over. */
        bool called = false;
        bool stopped = false;
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr == &stop)
                stopped = true;
            else if (events[i].data.ptr == server)
                called = true;
            else
                serve_client(server, events[i].data.ptr);
        }
        if (stopped)
            begin_end(server);
        else if (called && accept_clients(server) == -1)
            return -1;
        if (watch_listener(server) == -1)
            return -1;
    }
    return 0;
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    struct server server = {
        .clients = options.clients, .listening = true, .epoll = -1};
    server.client = calloc((size_t)server.clients, sizeof(*server.client));
    if (server.client == NULL || ss_stop_open(&stop) == -1) {
        complain("start");
        free(server.client);
        return 1;
    }
    server.listener = open_listener(&options);
    int result = -1;
    if (server.listener != -1) {
        /* A client may leave between epoll_wait(2) and accept4(2), which must
         * not wait for the next one then. */
        fcntl(server.listener, F_SETFL, O_NONBLOCK);
        server.epoll = epoll_create1(EPOLL_CLOEXEC);
        if (server.epoll == -1 ||
            want(&server, EPOLL_CTL_ADD, stop.fd, EPOLLIN, &stop) == -1 ||
            want(&server, EPOLL_CTL_ADD, server.listener, EPOLLIN, &server) ==
                -1)
            complain("epoll");
        else
            result = serve(&server);
    }
    while (server.count > 0)
        drop_client(&server, server.client[0]);
    if (server.epoll != -1)
        close(server.epoll);
    if (server.listener != -1)
        close(server.listener); /* Best effort: the program ends anyway. */
    ss_stop_close(&stop);
    free(server.client);
    return result == 0 ? 0 : 1;
}
