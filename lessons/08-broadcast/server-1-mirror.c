/*
 * A broadcast server with the document's classes: a thread for each client, a
 * list of connections, and sendAll(). What the operator types goes to every
 * client; what a client sends goes to the others. (In the document nothing
 * calls sendAll() yet. Here the operator and the clients do.)
 *
 * Run: build/lessons/08-broadcast/server-1-mirror -P 50001
 *      and, in two other terminals, nc 127.0.0.1 50001
 *
 * Still wrong:
 * - Each operation on the list is whole, as under Python's global lock, but
 *   the loop over the list is not: the list can change in its middle (2).
 * - Python's sendall() sends the rest after a short send(2), ignores SIGPIPE
 *   and calls again after EINTR. C does none of that. The port is refused
 *   after a restart, and every error of accept(2) ends the program (3).
 * - The first client that cannot be sent to ends the loop of sendAll(), as
 *   the document's exception does: those behind it get nothing (3).
 * - One recv(2) is taken for one line: pieces of lines get mixed (4).
 * - Each client costs a thread, and a stack with it (5).
 * - A client that does not read holds up all the others (6).
 * - SIGTERM kills the program in the middle of a line (8).
 */
#define _POSIX_C_SOURCE 200809L

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

#define DEFAULT_PORT "50001"
#define BACKLOG 1
#define MAX_CLIENTS 1000
#define BUFFER_SIZE 1024

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

/* A listening socket, or -1 with errno; *call is the call that failed. */
static int listen_at(const struct addrinfo *address, const char **call)
{
    *call = "socket";
    int listener =
        socket(address->ai_family, address->ai_socktype, address->ai_protocol);
    if (listener == -1)
        return -1;
    *call = "bind";
    int result = bind(listener, address->ai_addr, address->ai_addrlen);
    if (result == 0) {
        *call = "listen";
        result = listen(listener, BACKLOG);
    }
    if (result == 0)
        return listener;
    int error = errno;
    close(listener); /* Best effort: the first error is the one to tell. */
    errno = error;
    return -1;
}

/* Listens at the first address of the host; -1 after a complaint. */
static int open_listener(const struct options *options)
{
    const char *host = options->host != NULL ? options->host : "0.0.0.0";
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int resolver = getaddrinfo(host, options->port, &hints, &list);
    if (resolver != 0) {
        fprintf(stderr, "%s: resolve %s: %s\n", program, host,
                gai_strerror(resolver));
        return -1;
    }
    const char *call;
    int listener = listen_at(list, &call);
    if (listener == -1)
        fprintf(stderr, "%s: %s %s port %s: %s\n", program, call, host,
                options->port, strerror(errno));
    freeaddrinfo(list);
    return listener;
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

/* The connection at a place of the list; -1 behind its end. */
static int connection_at(size_t place)
{
    pthread_mutex_lock(&list_lock);
    int connection = place < connection_count ? connections[place] : -1;
    pthread_mutex_unlock(&list_lock);
    return connection;
}

/* The document's sendAll(): to every connection but the sender's. */
static void send_to_all(int sender, const char *data, size_t length)
{
    int connection;
    for (size_t i = 0; (connection = connection_at(i)) != -1; i++) {
        if (connection != sender && send(connection, data, length, 0) == -1) {
            complain("send");
            return;
        }
    }
}

/* The thread of one client: hands on what it sends until it leaves. */
static void *serve_client(void *argument)
{
    int connection = *(int *)argument;
    free(argument);
    char buffer[BUFFER_SIZE];
    for (;;) {
        ssize_t got = recv(connection, buffer, sizeof(buffer), 0);
        if (got == -1)
            complain("recv");
        if (got == -1 || got == 0)
            break;
        send_to_all(connection, buffer, (size_t)got);
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

/* Accepts clients; it returns only after an error, with a complaint. */
static void accept_clients(int listener)
{
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection == -1) {
            complain("accept");
            return;
        }
        start_client(connection);
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
