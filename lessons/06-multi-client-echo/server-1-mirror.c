/*
 * An echo server for many clients, call for call as the document has it: for
 * each connection a thread is prepared that is to send back what comes, and
 * the program goes on to accept the next one.
 *
 * Run: build/lessons/06-multi-client-echo/server-1-mirror -P 8080
 *      and, in a second terminal, nc 127.0.0.1 8080
 *
 * Still wrong:
 * - No thread is ever started, so nobody is served. The document names the
 *   method (t.start) and does not call it (2). Python closes each connection
 *   when the next client comes, since nothing refers to it any more; C never
 *   closes it.
 * - What lessons 02 and 03 mended: Python's sendall() sends the rest after a
 *   short send(2) and this does not; a lost client kills the program by
 *   SIGPIPE, EINTR and most errors of accept(2) end it, a restart can fail
 *   with EADDRINUSE, and only one client can wait to be accepted (3).
 * - As many threads as clients, without a limit (4).
 * - A thread that cannot be made ends the program (5).
 * - SIGTERM kills the program in the middle of all replies (6).
 * - A client that says nothing keeps a thread, and no descriptor left for a
 *   client (EMFILE) ends the program (7).
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define DEFAULT_PORT "8080"
#define BACKLOG 1
#define BUFFER_SIZE 1024

struct options {
    const char *host; /* NULL: every IPv4 address of this machine */
    const char *port;
};

static const char *program = "server";

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
    struct options options = {.host = NULL, .port = DEFAULT_PORT};
    const char *slash = strrchr(argv[0], '/');
    program = slash != NULL ? slash + 1 : argv[0];
    bool right = true;
    int option;
    while ((option = getopt(argc, argv, "H:P:")) != -1) {
        if (option == 'H')
            options.host = optarg;
        else if (option == 'P' && is_number(optarg, 0, 65535))
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

/* The addresses to bind, for freeaddrinfo(3); NULL after a complaint. */
static struct addrinfo *resolve(const struct options *options)
{
    struct addrinfo hints;
    memset(&hints, 0, sizeof(hints));
    hints.ai_family = AF_INET;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    struct addrinfo *list = NULL;
    int error = getaddrinfo(options->host, options->port, &hints, &list);
    if (error == 0)
        return list;
    /* Errors of the resolver have numbers of their own, apart from errno. */
    fprintf(stderr, "%s: resolve %s: %s\n", program,
            options->host != NULL ? options->host : "0.0.0.0",
            error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error));
    return NULL;
}

/* A bound socket, or -1 after a complaint. */
static int open_listener(const struct options *options)
{
    struct addrinfo *list = resolve(options);
    if (list == NULL)
        return -1;
    int listener =
        socket(list->ai_family, list->ai_socktype, list->ai_protocol);
    if (listener == -1) {
        complain("socket");
    } else if (bind(listener, list->ai_addr, list->ai_addrlen) == -1) {
        fprintf(stderr, "%s: bind %s port %s: %s\n", program,
                options->host != NULL ? options->host : "0.0.0.0",
                options->port, strerror(errno));
        close(listener); /* Best effort: the first error is the one to tell. */
        listener = -1;
    }
    freeaddrinfo(list);
    return listener;
}

/* A thread's work: sends back what comes until the end of the stream. */
static void *echo(void *argument)
{
    int connection = (int)(intptr_t)argument;
    char buffer[BUFFER_SIZE];
    for (;;) {
        ssize_t got = recv(connection, buffer, sizeof(buffer), 0);
        if (got == -1)
            complain("recv");
        if (got == -1 || got == 0)
            break;
        if (send(connection, buffer, (size_t)got, 0) == -1) {
            complain("send");
            break;
        }
    }
    close(connection); /* Best effort: every byte has been sent or lost. */
    return NULL;
}

/* Lets a thread of its own serve a client; -1 after a complaint. */
static int start_thread(int connection)
{
    pthread_t thread;
    /* The number itself is handed over. A pointer to it would be to a variable
     * that the next accept(2) changes. */
    int error =
        pthread_create(&thread, NULL, echo, (void *)(intptr_t)connection);
    if (error == 0)
        error = pthread_detach(thread); /* Nobody waits for its end. */
    if (error == 0)
        return 0;
    errno = error; /* These calls return their error. */
    complain("pthread_create");
    return -1;
}

/* Accepts one client after the other, for ever; -1 after a complaint. */
static int serve(int listener)
{
    for (;;) {
        if (listen(listener, BACKLOG) == -1) {
            complain("listen");
            return -1;
        }
        int connection = accept(listener, NULL, NULL);
        if (connection == -1) {
            complain("accept");
            return -1;
        }
        (void)start_thread; /* Named, not called: t.start without its (). */
    }
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    int listener = open_listener(&options);
    if (listener == -1)
        return 1;
    int result = serve(listener);
    close(listener); /* Best effort: the program ends anyway. */
    return result == 0 ? 0 : 1;
}
