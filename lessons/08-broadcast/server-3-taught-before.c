/*
 * A broadcast server: what the operator types goes to every client, and what
 * a client sends goes to the others.
 *
 * Run: build/lessons/08-broadcast/server-3-taught-before -P 50001
 *      and, in two other terminals, nc 127.0.0.1 50001
 *
 * Changed since step 2: what lessons 02 and 03 taught, by the library of src/:
 * short counts, EINTR, SIGPIPE, SO_REUSEADDR. The errors of accept(2) do not
 * end the server any more, and a client that cannot be sent to does not end
 * the loop of send_to_all().
 *
 * Still wrong:
 * - One recv(2) is taken for one line: pieces of lines get mixed (4).
 * - Each client costs a thread, and a stack with it (5).
 * - A client that does not read holds up all the others (6).
 * - SIGTERM kills the program in the middle of a line (8).
 */
#define _POSIX_C_SOURCE 200809L

#include "ss_io.h"
#include "ss_listen.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define DEFAULT_PORT "50001"
#define BACKLOG 128
#define MAX_CLIENTS 1000
#define BUFFER_SIZE 1024
#define PAUSE_MS 100

struct options {
    const char *host; /* NULL: every IPv4 address of this machine */
    const char *port;
};

static const char *program = "server";
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static int connections[MAX_CLIENTS]; /* shared by all threads */
static size_t connection_count;

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
    int listener;
    size_t count;
    int resolver;
    if (ss_listen(host, options->port, SOCK_STREAM, BACKLOG, &listener, 1,
                  &count, &resolver) == 0)
        return listener;
    bool name = resolver != 0 && resolver != EAI_SYSTEM;
    fprintf(stderr, "%s: listen %s port %s: %s\n", program, host, options->port,
            name ? gai_strerror(resolver) : strerror(errno));
    return -1;
}

/* Puts a connection into the list; -1 where it is full. */
static int add_connection(int connection)
{
    int result = -1;
    pthread_mutex_lock(&list_lock);
    if (connection_count < MAX_CLIENTS) {
        connections[connection_count++] = connection;
        result = 0;
    }
    pthread_mutex_unlock(&list_lock);
    return result;
}

/* Takes a connection out of the list; those behind it move up. */
static void remove_connection(int connection)
{
    pthread_mutex_lock(&list_lock);
    size_t i = 0;
    while (connections[i] != connection)
        i++;
    connection_count--;
    memmove(&connections[i], &connections[i + 1],
            (connection_count - i) * sizeof(connections[0]));
    pthread_mutex_unlock(&list_lock);
    close(connection); /* Best effort: nothing is left to lose. */
}

/* Sends to every connection but the sender's. */
static void send_to_all(int sender, const char *data, size_t length)
{
    pthread_mutex_lock(&list_lock);
    for (size_t i = 0; i < connection_count; i++) {
        size_t done;
        if (connections[i] != sender &&
            ss_send_all(connections[i], data, length, NULL, &done) == -1)
            complain("send"); /* Its own thread will take it out. */
    }
    pthread_mutex_unlock(&list_lock);
}

/* The thread of one client: hands on what it sends until it leaves. */
static void *serve_client(void *argument)
{
    int connection = *(int *)argument;
    free(argument);
    char buffer[BUFFER_SIZE];
    for (;;) {
        size_t got;
        int result =
            ss_recv_some(connection, buffer, sizeof(buffer), NULL, &got);
        if (result == -1)
            complain("recv");
        if (result == -1 || got == 0)
            break;
        send_to_all(connection, buffer, got);
    }
    remove_connection(connection);
    return NULL;
}

/* Starts the thread of a new client; -1 with errno. */
static int start_thread(int connection)
{
    int *argument = malloc(sizeof(*argument));
    if (argument == NULL)
        return -1;
    *argument = connection;
    pthread_t thread;
    int error = pthread_create(&thread, NULL, serve_client, argument);
    if (error != 0) {
        free(argument);
        errno = error; /* Calls of threads return what others put there. */
        return -1;
    }
    pthread_detach(thread); /* It cannot fail: the thread is there. */
    return 0;
}

/* Best effort: a client for whom there is no room is refused. */
static void start_client(int connection)
{
    if (add_connection(connection) == -1) {
        fprintf(stderr, "%s: a client is refused: %d are connected\n", program,
                MAX_CLIENTS);
        close(connection);
    } else if (start_thread(connection) == -1) {
        complain("thread of a client");
        remove_connection(connection);
    }
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
        poll(NULL, 0, PAUSE_MS); /* Best effort: a shorter pause will do. */
        return true;
    default:
        return true; /* A signal came, or that one connection was lost. */
    }
}

/* Accepts clients; it returns only after an error, with a complaint. */
static void accept_clients(int listener)
{
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection != -1) {
            start_client(connection);
        } else if (!accept_again()) {
            complain("accept");
            return;
        }
    }
}

/* The thread of the operator: sends what is typed, line by line, to all. */
static void *serve_operator(void *unused)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t length;
    while ((length = getline(&line, &size, stdin)) != -1)
        send_to_all(-1, line, (size_t)length);
    if (ferror(stdin))
        complain("standard input");
    free(line);
    return unused; /* The end of the operator's input ends nothing. */
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    int listener = open_listener(&options);
    if (listener == -1)
        return 1;
    pthread_t operator_thread;
    int error = pthread_create(&operator_thread, NULL, serve_operator, NULL);
    if (error == 0) {
        pthread_detach(operator_thread); /* It cannot fail. */
        accept_clients(listener);
    } else {
        errno = error;
        complain("thread of the operator");
    }
    close(listener); /* Best effort: the program ends anyway. */
    return 1;
}
