/* ss_listen.c - see ss_listen.h. */
#define _POSIX_C_SOURCE 200809L

#include "ss_listen.h"

#include "ss_addr.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

/* When the kernel has chosen a port, another program may have it already for
 * the second family: then it chooses again, so many times.
 */
enum { CHOICES_MAX = 16 };

static void close_keeping_errno(int fd)
{
    int saved = errno;

    /* Best effort: close(2) frees the descriptor even where it fails. */
    close(fd);
    errno = saved;
}

static void set_port(struct sockaddr *address, in_port_t port)
{
    if (address->sa_family == AF_INET) {
        ((struct sockaddr_in *)(void *)address)->sin_port = port;
    } else if (address->sa_family == AF_INET6) {
        ((struct sockaddr_in6 *)(void *)address)->sin6_port = port;
    }
}

static in_port_t get_port(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        return ((const struct sockaddr_in *)(const void *)address)->sin_port;
    }
    if (address->sa_family == AF_INET6) {
        return ((const struct sockaddr_in6 *)(const void *)address)->sin6_port;
    }
    return 0;
}

/* Result: the port of a bound socket in network order, or 0 with errno. */
static in_port_t bound_port(int fd)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);

    memset(&address, 0, sizeof(address));
    if (getsockname(fd, (struct sockaddr *)&address, &length) == -1) {
        return 0;
    }
    return get_port((struct sockaddr *)&address);
}

static int listen_at(const struct addrinfo *entry,
                     const struct sockaddr *address, int backlog)
{
    const int on = 1;
    int fd = socket(entry->ai_family, entry->ai_socktype | SOCK_CLOEXEC,
                    entry->ai_protocol);

    if (fd == -1) {
        return -1;
    }
    if (entry->ai_socktype == SOCK_STREAM &&
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1) {
        goto fail;
    }
    /* Without it, the wildcard of IPv6 would take the port of IPv4 as well. */
    if (entry->ai_family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == -1) {
        goto fail;
    }
    if (bind(fd, address, entry->ai_addrlen) == -1) {
        goto fail;
    }
    if (entry->ai_socktype == SOCK_STREAM && listen(fd, backlog) == -1) {
        goto fail;
    }
    return fd;

fail:
    close_keeping_errno(fd);
    return -1;
}

/* Whether this machine just does not have such an address. */
static bool is_absent(int error)
{
    return error == EAFNOSUPPORT || error == EADDRNOTAVAIL ||
           error == EPROTONOSUPPORT;
}

/* Whether an earlier entry has the same address: some resolvers name it twice,
 * as when two lines of /etc/hosts have the host. The list keeps the ports that
 * were asked for.
 */
static bool is_repeated(const struct addrinfo *list,
                        const struct addrinfo *entry)
{
    for (; list != entry; list = list->ai_next) {
        if (list->ai_addrlen == entry->ai_addrlen &&
            memcmp(list->ai_addr, entry->ai_addr, entry->ai_addrlen) == 0) {
            return true;
        }
    }
    return false;
}

/* Listens at every entry, on the port of the first one that works.
 * Result: 0, or -1 with errno and no descriptor.
 */
static int listen_at_all(const struct addrinfo *list, int backlog, int *sockets,
                         size_t max_sockets, size_t *count)
{
    in_port_t port = get_port(list->ai_addr);
    int error = EINVAL; /* of no room for a single descriptor */

    *count = 0;
    for (const struct addrinfo *entry = list;
         entry != NULL && *count < max_sockets; entry = entry->ai_next) {
        struct sockaddr_storage address;
        int fd;

        if (is_repeated(list, entry)) {
            continue;
        }
        memcpy(&address, entry->ai_addr, entry->ai_addrlen);
        set_port((struct sockaddr *)&address, port);
        fd = listen_at(entry, (struct sockaddr *)&address, backlog);
        if (fd == -1) {
            error = errno;
            if (is_absent(error)) {
                continue;
            }
            goto fail;
        }
        sockets[(*count)++] = fd;
        if (port == 0) {
            port = bound_port(fd);
            if (port == 0) {
                error = errno;
                goto fail;
            }
        }
    }
    if (*count > 0) {
        return 0;
    }

fail:
    while (*count > 0) {
        close_keeping_errno(sockets[--*count]);
    }
    errno = error;
    return -1;
}

int ss_listen(const char *host, const char *service, int type, int backlog,
              int *sockets, size_t max_sockets, size_t *count, int *resolver)
{
    struct addrinfo *list =
        ss_addr_resolve(host, service, type, AI_PASSIVE, resolver);
    int choices = 1;
    int result = -1;
    int error;

    *count = 0;
    if (list == NULL) {
        return -1;
    }
    if (get_port(list->ai_addr) == 0) {
        choices = CHOICES_MAX;
    }
    do {
        result = listen_at_all(list, backlog, sockets, max_sockets, count);
    } while (result == -1 && errno == EADDRINUSE && --choices > 0);
    error = errno;
    freeaddrinfo(list);
    errno = error;
    return result;
}
