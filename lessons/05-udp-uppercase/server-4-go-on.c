/*
 * An upper-case server over UDP: each datagram is answered in upper case to the
 * address that it came from.
 *
 * Run: build/lessons/05-udp-uppercase/server-4-go-on
 *      and, in a second terminal, echo hello | nc -u -W 1 127.0.0.1 12000
 *
 * Changed since step 3: only an error of the socket itself ends the program.
 * What the network says of one client is told, and the loop goes on; EINTR says
 * only that a signal came; a lack of memory gets a pause, so that the loop does
 * not spin. A failed sendto(2) costs one answer. Its client will ask again.
 *
 * Still wrong:
 * - Only the 26 letters of ASCII have an upper case (5).
 * - The answer can come from another address than the one that was asked (6).
 * - SIGTERM kills the program; what waits in its queue is lost (7).
 * - Each datagram costs two system calls (8).
 * - It knows IPv4 only, and stops with a standard output that is stuck (9).
 */
#define _GNU_SOURCE /* MSG_TRUNC as a flag of recvfrom(2) is Linux only */

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define DEFAULT_PORT "12000"
#define BUFFER_SIZE 65535 /* the largest length that RFC 768 can say */
#define PAUSE_MS 100

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

/* The addresses to bind, for freeaddrinfo(3); NULL after a complaint. */
static struct addrinfo *resolve(const struct options *options)
{
    struct addrinfo hints;
    memset(&hints, 0, sizeof(hints));
    hints.ai_family = AF_INET;
    hints.ai_socktype = SOCK_DGRAM;
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

/* A bound socket, or -1 with errno; *call is the call that failed. */
static int bind_to(const struct addrinfo *address, const char **call)
{
    *call = "socket";
    int server =
        socket(address->ai_family, address->ai_socktype, address->ai_protocol);
    if (server == -1)
        return -1;
    *call = "bind";
    if (bind(server, address->ai_addr, address->ai_addrlen) == 0)
        return server;
    int error = errno;
    close(server); /* Best effort: the first error is the one to tell. */
    errno = error;
    return -1;
}

/* Binds the first address that can be had; -1 after a complaint. */
static int open_server(const struct options *options,
                       const struct addrinfo *list)
{
    int server = -1;
    const char *call = "";
    for (; list != NULL && server == -1; list = list->ai_next)
        server = bind_to(list, &call);
    if (server == -1)
        fprintf(stderr, "%s: %s %s port %s: %s\n", program, call,
                options->host != NULL ? options->host : "0.0.0.0",
                options->port, strerror(errno));
    return server;
}

/* In the C locale toupper(3) changes the letters a to z and nothing else. */
static void upper_case(char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        text[i] = (char)toupper((unsigned char)text[i]);
}

/* 0 where recvfrom(2) may be called again; -1 after a complaint. */
static int after_failed_receive(void)
{
    switch (errno) {
    case EINTR:
        return 0;
    case ECONNREFUSED: /* From here on: what ICMP told of an earlier answer. */
    case EHOSTUNREACH: /* Linux hands it to an unconnected socket only where */
    case ENETUNREACH:  /* IP_RECVERR is set; other systems may do so always. */
    case EPROTO:
        complain("recvfrom");
        return 0;
    case ENOBUFS:
    case ENOMEM:
        complain("recvfrom");
        poll(NULL, 0, PAUSE_MS); /* Best effort: a shorter pause will do. */
        return 0;
    default:
        complain("recvfrom");
        return -1;
    }
}

/* Sends the answer, or complains and goes on: the client will ask again. */
static void send_answer(int server, const char *text, size_t length,
                        const struct sockaddr_storage *client, socklen_t size)
{
    while (sendto(server, text, length, 0, (const struct sockaddr *)client,
                  size) == -1) {
        if (errno != EINTR) {
            complain("sendto");
            return;
        }
    }
}

/* Answers one datagram; -1 after a complaint. */
static int answer(int server)
{
    char text[BUFFER_SIZE];
    struct sockaddr_storage client;
    socklen_t size = sizeof(client);
    ssize_t got = recvfrom(server, text, sizeof(text), MSG_TRUNC,
                           (struct sockaddr *)&client, &size);
    if (got == -1)
        return after_failed_receive();
    if ((size_t)got > sizeof(text)) {
        fprintf(stderr, "%s: recvfrom: %zd bytes are too many\n", program, got);
        return 0;
    }
    upper_case(text, (size_t)got); /* 0 bytes are a datagram like any other. */
    send_answer(server, text, (size_t)got, &client, size);
    return 0;
}

/* Answers for ever; -1 after a complaint. */
static int serve(int server)
{
    while (answer(server) == 0)
        ;
    return -1;
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    struct addrinfo *list = resolve(&options);
    if (list == NULL)
        return 1;
    int server = open_server(&options, list);
    freeaddrinfo(list);
    if (server == -1)
        return 1;
    puts("The server is ready to receive");
    fflush(stdout); /* Best effort: nobody depends on this line. */
    int result = serve(server);
    close(server); /* Best effort: the program ends anyway. */
    return result == 0 ? 0 : 1;
}
