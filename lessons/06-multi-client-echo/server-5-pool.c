/*
 * An echo server for many clients: a pool of threads serves them. Each thread
 * takes a client from a queue, serves it, and takes the next one.
 *
 * Run: build/lessons/06-multi-client-echo/server-5-pool -P 8080 -N 2
 *      and, in three more terminals, nc 127.0.0.1 8080
 *
 * Changed since step 4: a thread outlives its client, so that the next client
 * need not wait for the making of one. Accepted clients wait in a queue, which
 * a mutex guards. The pool grows up to -N threads, while more clients wait than
 * threads are idle. If a thread cannot be made, that client is refused, and the
 * program goes on.
 *
 * Still wrong:
 * - SIGTERM kills the program in the middle of all replies (6).
 * - Clients that say nothing keep their threads (7).
 * - No descriptor left for a client (EMFILE) ends the program (7).
 */
#define _POSIX_C_SOURCE 200809L

#include "ss_io.h"
#include "ss_listen.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define DEFAULT_PORT "8080"
#define DEFAULT_CLIENTS 128
#define MOST_CLIENTS 100000
#define BACKLOG SOMAXCONN
#define BUFFER_SIZE 1024
#define QUEUE_SIZE 64

struct options {
    const char *host; /* NULL: every IPv4 address of this machine */
    const char *port;
    int clients; /* So many are served at a time. */
};

/* The lock is held by whoever looks at any of what stands below it. */
struct pool {
    pthread_mutex_t lock;
    pthread_cond_t filled;   /* A client waits: for the workers. */
    pthread_cond_t emptied;  /* There is room again: for serve(). */
    int waiting[QUEUE_SIZE]; /* a ring of connections */
    size_t first;
    size_t count;
    int workers;
    int idle; /* of the workers */
};

static const char *program = "server";
static struct pool pool = {.lock = PTHREAD_MUTEX_INITIALIZER,
                           .filled = PTHREAD_COND_INITIALIZER,
                           .emptied = PTHREAD_COND_INITIALIZER};

/* Tells standard error what failed and, by errno, why. Any thread may. */
static void complain(const char *what)
{
    char why[128] = "";
    strerror_r(errno, why, sizeof(why)); /* strerror(3) may share its buffer. */
    fprintf(stderr, "%s: %s: %s\n", program, what, why);
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

/* Sends back what comes until the end of the stream. */
static void echo(int connection)
{
    char buffer[BUFFER_SIZE];
    for (;;) {
        size_t got = 0;
        size_t sent = 0;
        if (ss_recv_some(connection, buffer, sizeof(buffer), NULL, &got) == -1)
            complain("recv");
        if (got == 0)
            break; /* The client has sent its last byte, or is lost. */
        if (ss_send_all(connection, buffer, got, NULL, &sent) == -1) {
            complain("send");
            break;
        }
    }
    close(connection); /* Best effort: every byte has been sent or lost. */
}

/* Takes the client that has waited longest; waits for one if need be. */
static int take_client(void)
{
    while (pool.count == 0) /* It may be another worker that woke first. */
        pthread_cond_wait(&pool.filled, &pool.lock);
    int connection = pool.waiting[pool.first];
    pool.first = (pool.first + 1) % QUEUE_SIZE;
    pool.count--;
    pthread_cond_signal(&pool.emptied);
    return connection;
}

/* A worker: serves one client after the other, for ever. */
static void *work(void *argument)
{
    (void)argument;
    pthread_mutex_lock(&pool.lock);
    for (;;) {
        int connection = take_client();
        pool.idle--;
        pthread_mutex_unlock(&pool.lock); /* Others go on meanwhile. */
        echo(connection);
        pthread_mutex_lock(&pool.lock);
        pool.idle++;
    }
    return NULL;
}

/* Adds a worker; -1 after a complaint. */
static int start_worker(void)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, work, NULL);
    if (error != 0) {
        errno = error; /* It returns its error. */
        complain("pthread_create");
        return -1;
    }
    pthread_detach(thread); /* Best effort: it ends with the program. */
    pool.workers++;
    pool.idle++;
    return 0;
}

/* Gives a client to the pool of most workers; waits for room in the queue. */
static void queue_client(int connection, int most)
{
    pthread_mutex_lock(&pool.lock);
    while (pool.count == QUEUE_SIZE)
        pthread_cond_wait(&pool.emptied, &pool.lock);
    pool.waiting[(pool.first + pool.count) % QUEUE_SIZE] = connection;
    pool.count++;
    if (pool.count > (size_t)pool.idle && pool.workers < most &&
        start_worker() == -1) {
        pool.count--; /* The client is refused; the others are not hurt. */
        close(connection);
    }
    pthread_cond_signal(&pool.filled);
    pthread_mutex_unlock(&pool.lock);
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

/* Accepts one client after the other, for ever; -1 after a complaint. */
static int serve(int listener, int most)
{
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection != -1)
            queue_client(connection, most);
        else if (after_failed_accept() == -1)
            return -1;
    }
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    int listener = open_listener(&options);
    if (listener == -1)
        return 1;
    int result = serve(listener, options.clients);
    close(listener); /* Best effort: the program ends anyway. */
    return result == 0 ? 0 : 1;
}
