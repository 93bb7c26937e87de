/*
 * An echo server for many clients: one thread serves them all. epoll(7) says
 * which sockets are ready, and no call on a socket waits.
 *
 * Run: build/lessons/06-multi-client-echo/server-12-robust -P 8080
 *      and, in two more terminals, nc 127.0.0.1 8080
 *
 * Changed since step 11: back to epoll, which is there on every Linux, and to
 * level triggering (step 9), which needs the fewest calls: epoll_wait, recv and
 * send for a message. New beside step 9: a stop leaves one second for the
 * replies under way, and a reply that the client's side has not taken yet
 * counts as one. All clients share one large buffer; who does not take a reply
 * at once keeps it until the reply is sent, and the others get a new one.
 * Without -H the server listens on IPv6 as well. A reader of standard error
 * that has gone does not end it by SIGPIPE.
 *
 * Still wrong:
 * - Clients over the limit wait as long as those before them stay. Never
 *   mended here, because the contract has no time limit for a silent client.
 * - One thread uses one processor. Never mended here: several threads, each
 *   with an epoll list of its own, would be the way to go on.
 * - If standard error is a full pipe, a complaint waits for its reader, and
 *   every client with it. Never mended, because an error must not be lost.
 */
#define _GNU_SOURCE /* accept4(2): not in POSIX before 2024 */

#include "ss_listen.h"
#include "ss_stop.h"
#include "ss_time.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
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
#define BUFFER_SIZE 65536
#define EVENTS_MAX 64
#define PAUSE_MS 100
#define FINISH_MS 1000 /* from a stop to the end */
#define LISTENERS_MAX 2

struct options {
    const char *host; /* NULL: every address of this machine */
    const char *port;
    int clients; /* So many are served at a time. */
};

struct client {
    int connection;
    int number;   /* of the list of all clients */
    char *rest;   /* what the kernel could not take yet, or NULL */
    size_t begin; /* From here to the end of the rest, it is not sent yet. */
    size_t end;
    bool sending; /* EPOLLOUT is wanted, not EPOLLIN. */
    bool leaving; /* After a stop: what comes has no reply any more. */
};

struct server {
    int listener[LISTENERS_MAX];
    size_t listeners; /* so many there are, none after a stop */
    bool listening;   /* They are watched. */
    bool lacking;     /* There was no descriptor or memory for a client. */
    bool told;        /* ... and that has been said. */
    int clients;      /* so many at most */
    int count;        /* so many there are */
    struct client **client;
    int epoll;
    struct ss_deadline end; /* of all replies, after a stop */
    char *buffer;           /* for the piece that is echoed right now */
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

/* Opens the listening sockets; -1 after a complaint. */
static int open_listeners(struct server *server, const struct options *options)
{
    int resolver = 0;
    if (ss_listen(options->host, options->port, SOCK_STREAM, BACKLOG,
                  server->listener, LISTENERS_MAX, &server->listeners,
                  &resolver) == 0)
        return 0;
    fprintf(stderr, "%s: listen %s port %s: %s\n", program,
            options->host != NULL ? options->host : "*", options->port,
            resolver == 0 || resolver == EAI_SYSTEM ? strerror(errno)
                                                    : gai_strerror(resolver));
    return -1;
}

/* Leaves the buffer, with a piece that the kernel could not take as a whole, to
 * the client, and gets another one for the others. Nothing is copied. */
static enum progress keep_rest(struct server *server, struct client *client,
                               size_t begin, size_t end)
{
    char *fresh = malloc(BUFFER_SIZE);
    if (fresh == NULL) {
        complain("client");
        return DONE;
    }
    client->rest = server->buffer;
    client->begin = begin;
    client->end = end;
    server->buffer = fresh;
    return MORE;
}

/* Sends the rest of a piece. MORE: that was all of it. */
static enum progress send_rest(struct client *client)
{
    ssize_t sent = send(client->connection, client->rest + client->begin,
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
    if (client->begin == client->end) {
        free(client->rest);
        client->rest = NULL;
    }
    return MORE;
}

/* Receives a piece and sends it back, or sends the rest of the last one.
 * WAITING: the socket is not ready. DONE: there will be no more. */
static enum progress echo_piece(struct server *server, struct client *client)
{
    if (client->rest != NULL)
        return send_rest(client);
    ssize_t got = recv(client->connection, server->buffer, BUFFER_SIZE, 0);
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
    size_t length = (size_t)got;
    ssize_t sent =
        send(client->connection, server->buffer, length, MSG_NOSIGNAL);
    if (sent == -1 && errno != EINTR && errno != EAGAIN) {
        complain("send");
        return DONE;
    }
    size_t done = sent == -1 ? 0 : (size_t)sent;
    if (done < length)
        return keep_rest(server, client, done, length);
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
    client->leaving = false;
    client->rest = NULL;
    server->client[server->count++] = client;
}

/* The last client takes its number. */
static void drop_client(struct server *server, struct client *client)
{
    close(client->connection); /* It leaves epoll's list with that. */
    struct client *last = server->client[--server->count];
    last->number = client->number;
    server->client[last->number] = last;
    free(client->rest);
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
static int accept_clients(struct server *server, int listener)
{
    while (server->count < server->clients && !server->lacking) {
        int connection =
            accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
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

/* While a client cannot be accepted, the listeners are not watched: they would
 * be ready all the time. -1 after a complaint. */
static int watch_listeners(struct server *server)
{
    bool listening = server->count < server->clients && !server->lacking;
    if (listening == server->listening)
        return 0;
    server->listening = listening;
    for (size_t i = 0; i < server->listeners; i++)
        if (want(server, EPOLL_CTL_MOD, server->listener[i],
                 listening ? EPOLLIN : 0, &server->listener[i]) == -1) {
            complain("epoll_ctl");
            return -1;
        }
    return 0;
}

static void close_listeners(struct server *server)
{
    while (server->listeners > 0)
        close(server->listener[--server->listeners]); /* Best effort. */
}

/* Whether nothing of this client waits in the server or in its kernel; with
 * `sent`, not even bytes that the client's side has not taken yet. */
static bool is_idle(const struct client *client, bool sent)
{
    int unread = 0;
    int unsent = 0;
    return client->rest == NULL &&
           ioctl(client->connection, FIONREAD, &unread) == 0 && unread == 0 &&
           (!sent ||
            (ioctl(client->connection, TIOCOUTQ, &unsent) == 0 && unsent == 0));
}

/* After a stop: tells a client whose reply is complete the end of the stream.
 * A close(2) with unread bytes would send a reset, which can overtake the
 * reply: what the client still sends is read, until it ends as well. */
static void take_leave(struct client *client)
{
    if (client->leaving || !is_idle(client, false))
        return;
    shutdown(client->connection, SHUT_WR); /* Best effort: it may be lost. */
    client->leaving = true;
}

/* Closes the port, and drops the clients for whom nothing is under way. */
static void begin_end(struct server *server)
{
    close_listeners(server);
    ss_deadline_set(&server->end, FINISH_MS);
    /* Best effort: it would be ready for ever. */
    epoll_ctl(server->epoll, EPOLL_CTL_DEL, stop.fd, NULL);
    for (int i = server->count - 1; i >= 0; i--)
        if (is_idle(server->client[i], true))
            drop_client(server, server->client[i]);
        else
            take_leave(server->client[i]);
}

/* Does what one event of a client asks for. */
static void serve_client(struct server *server, struct client *client)
{
    if (echo_piece(server, client) == DONE) {
        drop_client(server, client);
        return;
    }
    if (server->listeners == 0)
        take_leave(client);
    bool sending = client->rest != NULL;
    if (sending == client->sending)
        return;
    client->sending = sending;
    if (want(server, EPOLL_CTL_MOD, client->connection,
             sending ? EPOLLOUT : EPOLLIN, client) == -1) {
        complain("epoll_ctl");
        drop_client(server, client);
    }
}

/* How long epoll_wait(2) may wait, in milliseconds; -1: for ever. */
static int patience_ms(const struct server *server)
{
    if (server->listeners == 0)
        return ss_deadline_left_ms(&server->end);
    return server->lacking ? PAUSE_MS : -1;
}

/* Takes the events of one turn; -1 after a complaint. */
static int take_events(struct server *server, const struct epoll_event *events,
                       int count)
{
    bool stopped = false;
    const int *called = NULL;
    for (int i = 0; i < count; i++) {
        void *source = events[i].data.ptr;
        if (source == &stop)
            stopped = true;
        else if (source == &server->listener[0] ||
                 source == &server->listener[1])
            called = source;
        else
            serve_client(server, source);
    }
    if (stopped)
        begin_end(server);
    else if (called != NULL)
        return accept_clients(server, *called);
    return 0;
}

/* Serves all clients until a stop, and then until they are served or the last
 * second is over; -1 after a complaint. */
static int serve(struct server *server)
{
    struct epoll_event events[EVENTS_MAX];
    while (server->listeners > 0 || server->count > 0) {
        int limit_ms = patience_ms(server);
        if (server->listeners == 0 && limit_ms == 0)
            return 0; /* Who has not read the reply by now loses it. */
        int ready = epoll_wait(server->epoll, events, EVENTS_MAX, limit_ms);
        if (ready == -1 && errno != EINTR) {
            complain("epoll_wait");
            return -1;
        }
        if (ready == 0)
            server->lacking = false; /* The pause is over. */
        if (take_events(server, events, ready) == -1 ||
            watch_listeners(server) == -1)
            return -1;
    }
    return 0;
}

/* Makes epoll's list, with the stop and the listeners; -1 after a complaint. */
static int open_epoll(struct server *server)
{
    server->epoll = epoll_create1(EPOLL_CLOEXEC);
    int result = server->epoll == -1
                     ? -1
                     : want(server, EPOLL_CTL_ADD, stop.fd, EPOLLIN, &stop);
    for (size_t i = 0; i < server->listeners && result == 0; i++) {
        /* A client may leave between epoll_wait(2) and accept4(2), which must
         * not wait for the next one then. */
        fcntl(server->listener[i], F_SETFL, O_NONBLOCK);
        result = want(server, EPOLL_CTL_ADD, server->listener[i], EPOLLIN,
                      &server->listener[i]);
    }
    server->listening = true;
    if (result == -1)
        complain("epoll");
    return result;
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    struct server server = {.clients = options.clients, .epoll = -1};
    server.buffer = malloc(BUFFER_SIZE);
    server.client = calloc((size_t)server.clients, sizeof(*server.client));
    if (server.buffer == NULL || server.client == NULL ||
        ss_stop_open(&stop) == -1) {
        complain("start");
        free(server.client);
        free(server.buffer);
        return 1;
    }
    signal(SIGPIPE, SIG_IGN); /* for standard error; it cannot fail */
    int result = -1;
    if (open_listeners(&server, &options) == 0 && open_epoll(&server) == 0)
        result = serve(&server);
    while (server.count > 0)
        drop_client(&server, server.client[0]);
    if (server.epoll != -1)
        close(server.epoll);
    close_listeners(&server);
    ss_stop_close(&stop);
    free(server.client);
    free(server.buffer);
    return result == 0 ? 0 : 1;
}
