/* null_socket.h - the socket calls that every null program makes.
 *
 * Null programs take -H and -P, or -U, so that they get as far as a case lets
 * them.
 * What follows from that on the wire is all that each of them differs in.
 */
#ifndef NULL_SOCKET_H
#define NULL_SOCKET_H

#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The first address that -H and -P name; the port is 9090 without -P. */
static inline struct addrinfo *null_address(int argc, char *argv[],
                                            const char *default_host)
{
    const char *host = default_host;
    const char *port = "9090";
    int option;
    opterr = 0;
    while ((option = getopt(argc, argv, "H:P:")) != -1) {
        if (option == 'H')
            host = optarg;
        else if (option == 'P')
            port = optarg;
    }
    struct addrinfo hints;
    memset(&hints, 0, sizeof(hints));
    hints.ai_family = AF_INET;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE;
    struct addrinfo *address = NULL;
    if (getaddrinfo(host, port, &hints, &address) != 0)
        exit(0);
    return address;
}

/* Whatever fails ends a null program with status 0, as if all were well. */
static inline int null_socket(const struct addrinfo *address)
{
    int descriptor = socket(address->ai_family, address->ai_socktype, 0);
    if (descriptor == -1)
        exit(0);
    return descriptor;
}

/* The path behind -U, which comes first, or NULL. */
static inline const char *null_path(int argc, char *argv[])
{
    return argc == 3 && strcmp(argv[1], "-U") == 0 ? argv[2] : NULL;
}

/* An AF_UNIX socket to which `act`, bind(2) or connect(2), gives the path. */
static inline int null_unix(const char *path,
                            int (*act)(int, const struct sockaddr *, socklen_t))
{
    struct sockaddr_un address;
    memset(&address, 0, sizeof(address));
    address.sun_family = AF_UNIX;
    if (strlen(path) >= sizeof(address.sun_path))
        exit(0);
    strcpy(address.sun_path, path);
    int descriptor = socket(AF_UNIX, SOCK_STREAM, 0);
    if (descriptor == -1 || act(descriptor, (const struct sockaddr *)&address,
                                sizeof(address)) == -1)
        exit(0);
    return descriptor;
}

static inline int null_listener(int argc, char *argv[])
{
    if (null_path(argc, argv) != NULL) {
        int at = null_unix(null_path(argc, argv), bind);
        if (listen(at, 5) == -1)
            exit(0);
        return at;
    }
    struct addrinfo *address = null_address(argc, argv, NULL);
    int listener = null_socket(address);
    if (bind(listener, address->ai_addr, address->ai_addrlen) == -1 ||
        listen(listener, 5) == -1)
        exit(0);
    freeaddrinfo(address);
    return listener;
}

/* A bound UDP socket. */
static inline int null_datagrams(int argc, char *argv[])
{
    struct addrinfo *address = null_address(argc, argv, NULL);
    int server = socket(address->ai_family, SOCK_DGRAM, 0);
    if (server == -1 ||
        bind(server, address->ai_addr, address->ai_addrlen) == -1)
        exit(0);
    freeaddrinfo(address);
    return server;
}

static inline int null_connection(int argc, char *argv[])
{
    if (null_path(argc, argv) != NULL)
        return null_unix(null_path(argc, argv), connect);
    struct addrinfo *address = null_address(argc, argv, "127.0.0.1");
    int server = null_socket(address);
    if (connect(server, address->ai_addr, address->ai_addrlen) == -1)
        exit(0);
    freeaddrinfo(address);
    return server;
}

#endif
