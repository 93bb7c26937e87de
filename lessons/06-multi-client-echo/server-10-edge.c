/*
 * An echo server for many clients: one thread serves them all. epoll(7) says
 * which sockets have become ready, and no call on a socket waits.
 *
 * Run: build/lessons/06-multi-client-echo/server-10-edge -P 8080
 *      and, in two more terminals, nc 127.0.0.1 8080
 *
 * Changed since step 9: with EPOLLET epoll reports a change once, and not a
 * state for as long as it lasts. The wishes need never be changed then; but
 * what an event announces must be used up, until the call says EAGAIN. A client
 * that always has more gives way after some pieces. For the listener, too, no
 * second event comes: that clients may wait there is remembered. What can be
 * seen from outside is the same as before.
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
#define EVENTS_MAX 64
#define PIECES_MAX 16 /* for one client at a turn */
#define PAUSE_MS 100

struct options {
    const char *host; /* NULL: every IPv4 address of this machine */
    const char *port;
    int clients; /* So many are served at a time. */
};

struct client {
    int connection;
    int number;   /* of the list of all clients */
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
    bool waiting; /* Clients may wait to be accepted. */
    bool lacking; /* For the last one there was no descriptor or memory. */
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
    if (client == NULL || want(server, EPOLL_CTL_ADD, connection,
                               EPOLLIN | EPOLLOUT | EPOLLET, client) == -1) {
        complain("client");
        close(connection);
        free(client);
        return;
    }
    client->connection = connection;
    client->number = server->count;
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
}

/* 0 where accept(2) may be called again; -1 after a complaint. */
static int after_failed_accept(struct server *server)
{
    switch (errno) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        if (!server->lacking)
            complain("accept"); /* once, not for every pause */
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
    server->waiting = true;
    while (server->count < server->clients) {
        int connection =
            accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (connection != -1) {
            server->lacking = false;
            add_client(server, connection);
        } else if (errno == EAGAIN) {
            server->lacking = false;
            server->waiting = false;
            return 0;
        } else if (after_failed_accept(server) == -1) {
            return -1;
        } else if (server->lacking) {
            return 0;
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
    server->waiting = false;
    server->lacking = false;
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

/* Uses up what one event of a client has announced. */
static void serve_client(struct server *server, struct client *client)
{
    enum progress progress = MORE;
    for (int i = 0; i < PIECES_MAX && progress == MORE; i++)
        progress = echo_piece(client);
    /* There may be more, which no event will tell of. This makes epoll look
     * again; the others have their turn first. */
    if (progress == MORE && want(server, EPOLL_CTL_MOD, client->connection,
                                 EPOLLIN | EPOLLOUT | EPOLLET, client) == -1) {
        complain("epoll_ctl");
        progress = DONE;
    }
    if (progress == DONE)
        drop_client(server, client);
    else if (server->listener == -1)
        take_leave(client);
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
        bool stopped = false;
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr == &stop)
                stopped = true;
            else if (events[i].data.ptr == server)
                server->waiting = true;
            else
                serve_client(server, events[i].data.ptr);
        }
        if (stopped)
            begin_end(server);
        else if (server->waiting && accept_clients(server) == -1)
            return -1;
    }
    return 0;
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    struct server server = {.clients = options.clients, .epoll = -1};
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
            want(&server, EPOLL_CTL_ADD, server.listener, EPOLLIN | EPOLLET,
                 &server) == -1)
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
