/*
 * An echo server for many clients: each is served by a process of its own, as
 * long as there are no more than -N of them; the others wait.
 *
 * Run: build/lessons/06-multi-client-echo/server-6-fork -P 8080 -N 2
 *      and, in three more terminals, nc 127.0.0.1 8080
 *
 * Changed since step 5: fork(2) takes the place of the threads. The child
 * closes the listening socket, the parent the connection. SIGCHLD tells the
 * parent that children have ended; it waits for all of them. SIGTERM and SIGINT
 * now end the server in order: it closes the port, and passes the signal on to
 * its children, which finish their replies.
 *
 * Still wrong:
 * - Clients that say nothing keep their processes (7).
 * - No descriptor left for a client (EMFILE) ends the server (7).
 * - A client that does not read its reply holds up the end (12).
 */
#define _GNU_SOURCE /* ppoll(2): not in POSIX before 2024 */

#include "ss_io.h"
#include "ss_listen.h"
#include "ss_stop.h"

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
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEFAULT_PORT "8080"
#define DEFAULT_CLIENTS 128
#define MOST_CLIENTS 100000
#define BACKLOG SOMAXCONN
#define BUFFER_SIZE 1024

struct options {
    const char *host; /* NULL: every IPv4 address of this machine */
    const char *port;
    int clients; /* So many are served at a time. */
};

struct server {
    int listener;
    int clients;     /* so many children at most */
    int count;       /* so many there are */
    pid_t *children; /* The first ones are in use. */
};

static const char *program = "server";
static struct ss_stop stop;   /* SIGTERM and SIGINT, as a descriptor */
static sigset_t waiting_mask; /* the signals blocked while we wait */

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

static void note_child(int signal_number)
{
    (void)signal_number; /* It only ends the wait in ppoll(2). */
}

/* SIGCHLD comes in while we wait, and never else. Best effort: these calls
 * fail only for wrong arguments. */
static void catch_ends_of_children(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_handler = note_child;
    action.sa_flags = SA_NOCLDSTOP;
    sigemptyset(&action.sa_mask);
    sigaction(SIGCHLD, &action, NULL);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, &waiting_mask);
    sigdelset(&waiting_mask, SIGCHLD);
}

/* Ends a connection whose reply was under way. A close(2) with unread bytes
 * would send a reset, which can overtake the reply: they are read first. */
static void take_leave(int connection)
{
    char buffer[BUFFER_SIZE];
    size_t got = 0;
    shutdown(connection, SHUT_WR); /* Best effort: it may be lost already. */
    while (ss_recv_some(connection, buffer, sizeof(buffer), NULL, &got) == 0 &&
           got > 0)
        continue;
}

/* Sends back what comes until the end of the stream or of the server. */
static void echo(int connection)
{
    char buffer[BUFFER_SIZE];
    struct ss_deadline now;
    ss_deadline_set(&now, 0);
    bool busy = false; /* The stop came while a reply was under way. */
    for (;;) {
        size_t got = 0;
        size_t sent = 0;
        /* Best effort: if it fails, recv(2) fails too. After a stop, what has
         * come already is sent back all the same. */
        ss_stop_wait(&stop, connection, POLLIN, NULL);
        if (ss_recv_some(connection, buffer, sizeof(buffer), &now, &got) ==
            -1) {
            if (errno == ETIMEDOUT && !ss_stop_requested(&stop))
                continue;
            if (errno != ETIMEDOUT)
                complain("recv");
        }
        if (got == 0)
            break; /* The client has sent its last byte, or is lost. */
        if (ss_send_all(connection, buffer, got, NULL, &sent) == -1) {
            complain("send");
            return;
        }
        busy = ss_stop_requested(&stop);
    }
    if (busy)
        take_leave(connection);
}

/* Lets a process of its own serve a client. */
static void start_child(struct server *server, int connection)
{
    pid_t child = fork();
    if (child == 0) {
        close(server->listener); /* The port is the parent's alone. */
        echo(connection);
        _exit(0);
    }
    if (child == -1)
        complain("fork"); /* The client is refused; the others are not hurt. */
    else
        server->children[server->count++] = child;
    close(connection); /* The child has its own; ours would keep it open. */
}

/* Waits for the children that have ended; one signal may stand for many.
 * options: WNOHANG, or 0 to wait for the end of every child. */
static void reap(struct server *server, int options)
{
    pid_t child;
    while ((child = waitpid(-1, NULL, options)) > 0 ||
           (child == -1 && errno == EINTR))
        for (int i = 0; i < server->count; i++)
            if (server->children[i] == child) {
                server->children[i] = server->children[--server->count];
                break;
            }
}

/* 0 where accept(2) may be called again; -1 after a complaint. */
static int after_failed_accept(void)
{
    switch (errno) {
    case EAGAIN:
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

/* Accepts clients until a stop; -1 after a complaint. */
static int serve(struct server *server)
{
    for (;;) {
        reap(server, WNOHANG);
        bool full = server->count == server->clients;
        struct pollfd wanted[2] = {
            {.fd = stop.fd, .events = POLLIN},
            {.fd = full ? -1 : server->listener, .events = POLLIN},
        };
        int ready = ppoll(wanted, 2, NULL, &waiting_mask);
        if (ready == -1 && errno == EINTR)
            continue; /* A child has ended. */
        if (ready == -1) {
            complain("ppoll");
            return -1;
        }
        if (wanted[0].revents != 0)
            return 0;
        int connection = accept(server->listener, NULL, NULL);
        if (connection != -1)
            start_child(server, connection);
        else if (after_failed_accept() == -1)
            return -1;
    }
}

/* Closes the port at once, and then waits for the replies under way. */
static void end_children(struct server *server)
{
    close(server->listener); /* Best effort: nothing is left to lose. */
    reap(server, WNOHANG);
    for (int i = 0; i < server->count; i++)
        kill(server->children[i], SIGTERM); /* It is not reaped, so it is. */
    reap(server, 0);
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    struct server server = {.clients = options.clients};
    server.children = calloc((size_t)server.clients, sizeof(pid_t));
    if (server.children == NULL || ss_stop_open(&stop) == -1) {
        complain("start");
        free(server.children);
        return 1;
    }
    catch_ends_of_children();
    server.listener = open_listener(&options);
    int result = -1;
    if (server.listener != -1) {
        /* A client may leave between ppoll(2) and accept(2), which must not
         * wait for the next one then. */
        fcntl(server.listener, F_SETFL, O_NONBLOCK);
        result = serve(&server);
        end_children(&server);
    }
    ss_stop_close(&stop);
    free(server.children);
    return result == 0 ? 0 : 1;
}
