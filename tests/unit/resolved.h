/* resolved.h - lists of addresses that a test makes up.
 *
 * With -Wl,--wrap=getaddrinfo,--wrap=freeaddrinfo the library gets them, as
 * long as `resolved.count` is not 0; after that the real resolver is asked.
 */
#ifndef RESOLVED_H
#define RESOLVED_H

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

enum { RESOLVED_MAX = 4 };

static struct {
    size_t count;
    int result; /* of getaddrinfo: an EAI_ number */
    int error;  /* errno that comes with it */
    int out;    /* lists that were given out and not freed */
    struct addrinfo list[RESOLVED_MAX];
    struct sockaddr_storage addresses[RESOLVED_MAX];
} resolved;

int __real_getaddrinfo(const char *host, const char *service,
                       const struct addrinfo *hints, struct addrinfo **list);
void __real_freeaddrinfo(struct addrinfo *list);
int __wrap_getaddrinfo(const char *host, const char *service,
                       const struct addrinfo *hints, struct addrinfo **list);
void __wrap_freeaddrinfo(struct addrinfo *list);

int __wrap_getaddrinfo(const char *host, const char *service,
                       const struct addrinfo *hints, struct addrinfo **list)
{
    int result;

    if (resolved.result != 0) {
        errno = resolved.error;
        return resolved.result;
    }
    if (resolved.count == 0) {
        result = __real_getaddrinfo(host, service, hints, list);
        resolved.out += result == 0;
        return result;
    }
    for (size_t i = 0; i < resolved.count; i++) {
        resolved.list[i].ai_socktype = hints->ai_socktype;
        resolved.list[i].ai_next =
            i + 1 < resolved.count ? &resolved.list[i + 1] : NULL;
    }
    resolved.out++;
    *list = resolved.list;
    return 0;
}

void __wrap_freeaddrinfo(struct addrinfo *list)
{
    resolved.out--;
    if (list != resolved.list) {
        __real_freeaddrinfo(list);
    }
}

/* Adds an address. port: in host order. */
static void resolved_add(const char *number, unsigned port)
{
    struct addrinfo *entry = &resolved.list[resolved.count];
    struct sockaddr_storage *storage = &resolved.addresses[resolved.count];
    struct sockaddr_in in;
    struct sockaddr_in6 in6;

    memset(storage, 0, sizeof(*storage));
    memset(entry, 0, sizeof(*entry));
    memset(&in, 0, sizeof(in));
    memset(&in6, 0, sizeof(in6));
    if (inet_pton(AF_INET, number, &in.sin_addr) == 1) {
        in.sin_family = AF_INET;
        in.sin_port = htons((in_port_t)port);
        memcpy(storage, &in, sizeof(in));
        entry->ai_addrlen = sizeof(in);
    } else {
        inet_pton(AF_INET6, number, &in6.sin6_addr);
        in6.sin6_family = AF_INET6;
        in6.sin6_port = htons((in_port_t)port);
        memcpy(storage, &in6, sizeof(in6));
        entry->ai_addrlen = sizeof(in6);
    }
    entry->ai_addr = (struct sockaddr *)storage;
    entry->ai_family = entry->ai_addr->sa_family;
    resolved.count++;
}

/* Whether this machine has IPv6 at all; containers may not. */
static int resolved_has_ipv6(void)
{
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 address;
    int result;

    if (fd == -1) {
        return 0;
    }
    memset(&address, 0, sizeof(address));
    address.sin6_family = AF_INET6;
    address.sin6_addr = in6addr_loopback;
    result = bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    close(fd);
    return result;
}

#endif
