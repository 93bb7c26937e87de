/*
 * An upper-case server, call for call as the document has it: clients are
 * served one after the other. What one recv(2) brings goes back in upper
 * case, and then the connection ends.
 *
 * Run: build/lessons/04-uppercase/server-1-mirror
 *      and, in a second terminal, nc 127.0.0.1 12000
 *
 * Python's upper() knows Unicode; the nearest of C, toupper(3), knows the 26
 * letters of English. Python's decode() ends the program at bytes that are
 * not UTF-8; C has no such call, and these bytes go back as they came.
 *
 * Still wrong:
 * - What lessons 02 and 03 mended is broken again: a short send(2), EINTR,
 *   SIGPIPE, a reset, EADDRINUSE, the errors of accept(2); IPv4 only (2).
 * - One recv(2) is taken for the whole message (3).
 * - Letters beyond those of English stay small (4, 5).
 * - SIGTERM kills the program in the middle of a reply (8).
 */
#define _POSIX_C_SOURCE 200809L

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define DEFAULT_PORT "12000"
#define BACKLOG 1
#define BUFFER_SIZE 1024

struct options {
    const char *host; /* NULL: every IPv4 address of this machine */
    const char *port;
};

static const char *program = "server";

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

/* The address to bind, for freeaddrinfo(3); NULL after a complaint. */
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

/* A listening socket, or -1 after a complaint. */
static int open_listener(const struct options *options)
{
    struct addrinfo *address = resolve(options);
    if (address == NULL)
        return -1;
    const char *call = "socket";
    int listener =
        socket(address->ai_family, address->ai_socktype, address->ai_protocol);
    if (listener != -1) {
        call = "bind";
        int result = bind(listener, address->ai_addr, address->ai_addrlen);
        if (result == 0) {
            call = "listen";
            result = listen(listener, BACKLOG);
        }
        if (result == 0) {
            freeaddrinfo(address);
            return listener;
        }
    }
    fprintf(stderr, "%s: %s %s port %s: %s\n", program, call,
            options->host != NULL ? options->host : "0.0.0.0", options->port,
            strerror(errno));
    if (listener != -1)
        close(listener); /* Best effort: the program ends anyway. */
    freeaddrinfo(address);
    return -1;
}

/* Turns small letters into capitals, in place. */
static void upper_case(char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) /* toupper(3) takes no negative char. */
        text[i] = (char)toupper((unsigned char)text[i]);
}

/* Answers one client; -1 after a complaint. */
static int answer(int connection)
{
    char buffer[BUFFER_SIZE];
    ssize_t got = recv(connection, buffer, sizeof(buffer), 0);
    if (got == -1) {
        complain("recv");
        return -1;
    }
    upper_case(buffer, (size_t)got);
    if (send(connection, buffer, (size_t)got, 0) == -1) {
        complain("send");
        return -1;
    }
    return 0;
}

/* Serves one client after the other; -1 after a complaint. */
static int serve(int listener)
{
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection == -1) {
            complain("accept");
            return -1;
        }
        int result = answer(connection);
        close(connection); /* Best effort: every byte has been sent or lost. */
        if (result == -1)
            return -1;
    }
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    int listener = open_listener(&options);
    if (listener == -1)
        return 1;
    puts("The server is ready to receive");
    fflush(stdout); /* Best effort: nobody need read it. */
    int result = serve(listener);
    close(listener); /* Best effort: the program ends anyway. */
    return result == 0 ? 0 : 1;
}
