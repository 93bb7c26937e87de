/*
 * An echo server for many clients: one thread serves them all. select(2) says
 * which sockets are ready, and no call on a socket waits.
 *
 * Run: build/lessons/06-multi-client-echo/server-7-select -P 8080
 *      and, in two more terminals, nc 127.0.0.1 8080
 *
 * Changed since step 6: what a process kept on its stack is now a struct for
 * each client, so that a client that says nothing costs a kilobyte and no
 * process. The sockets are non-blocking. A client whose reply the kernel cannot
 * take yet is not read from until it can: its buffer never holds more than one
 * piece. All connections are descriptors of one process; where none is left,
 * the server waits until a client leaves or a pause is over.
 *
 * Still wrong:
 * - An fd_set has room for the descriptors below FD_SETSIZE, which is 1024. A
 *   client with a larger one is refused (8).
 * - The kernel looks at every client for each message of any of them (9).
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
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define DEFAULT_PORT "8080"
#define DEFAULT_CLIENTS 1000
#define MOST_CLIENTS 100000
#define BACKLOG SOMAXCONN
#define BUFFER_SIZE 1024
#define PAUSE_MS 100

struct options {
    const char *host; /* NULL: every IPv4 address of this machine */
    const char *port;
    int clients; /* So many are served at a time. */
};

struct client {
    int connection;
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
    bool lacking; /* There was no descriptor or memory for a client. */
    bool told;    /* ... and that has been said. */
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

/* A client for whom there is no memory is refused. */
static void add_client(struct server *server, int connection)
{
    struct client *client = malloc(sizeof(*client));
    if (client == NULL) {
        complain("malloc");
        close(connection);
        return;
    }
    client->connection = connection;
    client->begin = 0;
    client->end = 0;
    client->leaving = false;
    server->client[server->count++] = client;
}

/* The last client takes its number. */
static void drop_client(struct server *server, int number)
{
    struct client *client = server->client[number];
    close(client->connection); /* Best effort: nothing is left to send. */
    free(client);
    server->client[number] = server->client[--server->count];
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
        if (connection >= FD_SETSIZE) {
            if (!server->told)
                fprintf(stderr, "%s: accept: %d is too large for select\n",
                        program, connection);
            server->told = true;
            close(connection); /* FD_SET would write beyond the set. */
        } else if (connection != -1) {
            server->told = false;
            add_client(server, connection);
        }
    }
    return 0;
}

/* Waits until a socket is ready; -1 with errno. The sets tell which. */
static int wait_for_any(const struct server *server, fd_set *readable,
                        fd_set *writable)
{
    FD_ZERO(readable); /* select(2) has changed the sets of the last turn. */
    FD_ZERO(writable);
    int highest = -1;
    if (server->listener != -1) { /* There was no stop yet. */
        FD_SET(stop.fd, readable);
        highest = stop.fd;
    }
    if (server->listener != -1 && server->count < server->clients &&
        !server->lacking) {
        FD_SET(server->listener, readable);
        highest = server->listener > highest ? server->listener : highest;
    }
    for (int i = 0; i < server->count; i++) {
        const struct client *client = server->client[i];
        bool sending = client->begin < client->end;
        FD_SET(client->connection, sending ? writable : readable);
        if (client->connection > highest)
            highest = client->connection;
    }
    struct timeval pause = {.tv_usec = PAUSE_MS * 1000};
    return select(highest + 1, readable, writable, NULL,
                  server->lacking ? &pause : NULL);
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
    for (int i = server->count - 1; i >= 0; i--)
        if (is_idle(server->client[i]))
            drop_client(server, i);
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

/* Does what can be done for a client whose socket is ready. */
static void serve_client(struct server *server, int number)
{
    struct client *client = server->client[number];
    if (echo_piece(client) == DONE)
        drop_client(server, number);
    else if (server->listener == -1)
        take_leave(client);
}

/* Serves all clients until a stop, and then until they are served; -1 after
 * a complaint. */
static int serve(struct server *server)
{
    fd_set readable;
    fd_set writable;
    while (server->listener != -1 || server->count > 0) {
        int ready = wait_for_any(server, &readable, &writable);
        if (ready == -1 && errno == EINTR)
            continue;
        if (ready == -1) {
            complain("select");
            return -1;
        }
        if (ready == 0)
            server->lacking = false; /* The pause is over. */
        /* Backwards: what takes the number of a client that is dropped has had
         * its turn. */
        for (int i = server->count - 1; i >= 0; i--) {
            int connection = server->client[i]->connection;
            if (FD_ISSET(connection, &readable) ||
                FD_ISSET(connection, &writable))
                serve_client(server, i);
        }
        if (server->listener == -1)
            continue;
        if (FD_ISSET(stop.fd, &readable))
            begin_end(server);
        else if (FD_ISSET(server->listener, &readable) &&
                 accept_clients(server) == -1)
            return -1;
    }
    return 0;
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    struct server server = {.clients = options.clients};
    server.client = calloc((size_t)server.clients, sizeof(*server.client));
    if (server.client == NULL || ss_stop_open(&stop) == -1) {
        complain("start");
        free(server.client);
        return 1;
    }
    server.listener = open_listener(&options);
    int result = -1;
    if (server.listener >= FD_SETSIZE || stop.fd >= FD_SETSIZE) {
        errno = EMFILE;
        complain("select: descriptors above 1023");
    } else if (server.listener != -1) {
        /* A client may leave between select(2) and accept4(2), which must not
         * wait for the next one then. */
        fcntl(server.listener, F_SETFL, O_NONBLOCK);
        result = serve(&server);
    }
    while (server.count > 0)
        drop_client(&server, server.count - 1);
    if (server.listener != -1)
        close(server.listener); /* Best effort: the program ends anyway. */
    ss_stop_close(&stop);
    free(server.client);
    return result == 0 ? 0 : 1;
}
