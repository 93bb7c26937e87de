/* ss_addr.c - see ss_addr.h. */
#define _POSIX_C_SOURCE 200809L

#include "ss_addr.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

/* An IPv6 address with a zone (`fe80::1%eth0`), and a port. */
enum { HOST_BYTES = INET6_ADDRSTRLEN + 1 + IF_NAMESIZE, PORT_BYTES = 8 };

struct addrinfo *ss_addr_resolve(const char *host, const char *service,
                                 int type, int flags, int *resolver)
{
    struct addrinfo hints;
    struct addrinfo *list = NULL;

    memset(&hints, 0, sizeof(hints));
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = type;
    hints.ai_flags = flags;
    *resolver = getaddrinfo(host, service, &hints, &list);
    return *resolver == 0 ? list : NULL;
}

static int print(char *text, size_t size_bytes, const char *format,
                 const char *first, int first_length, const char *second)
{
    int length =
        snprintf(text, size_bytes, format, first_length, first, second);

    if (length < 0 || (size_t)length >= size_bytes) {
        errno = ENOSPC;
        return -1;
    }
    return 0;
}

static int internet_text(const struct sockaddr *address, socklen_t length,
                         char *text, size_t size_bytes)
{
    const char *format =
        address->sa_family == AF_INET6 ? "[%.*s]:%s" : "%.*s:%s";
    char host[HOST_BYTES];
    char port[PORT_BYTES];

    if (getnameinfo(address, length, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        errno = EINVAL; /* numbers fail only if the length is wrong */
        return -1;
    }
    return print(text, size_bytes, format, host, (int)strlen(host), port);
}

static int unix_text(const struct sockaddr *address, socklen_t length,
                     char *text, size_t size_bytes)
{
    const size_t start = offsetof(struct sockaddr_un, sun_path);
    const char *path = (const char *)address + start;
    size_t size = length > start ? length - start : 0;

    if (size > 0 && path[0] == '\0') { /* abstract */
        return print(text, size_bytes, "unix:@%.*s%s", path + 1,
                     (int)(size - 1), "");
    }
    /* A path ends at a NUL or with the address. */
    return print(text, size_bytes, "unix:%.*s%s", path, (int)size, "");
}

int ss_addr_text(const struct sockaddr *address, socklen_t length, char *text,
                 size_t size_bytes)
{
    if (length < sizeof(address->sa_family)) {
        errno = EINVAL;
        return -1;
    }
    switch (address->sa_family) {
    case AF_INET:
    case AF_INET6:
        return internet_text(address, length, text, size_bytes);
    case AF_UNIX:
        return unix_text(address, length, text, size_bytes);
    default:
        errno = EAFNOSUPPORT;
        return -1;
    }
}
