/* ss_connect.c - see ss_connect.h. */
#define _POSIX_C_SOURCE 200809L

#include "ss_connect.h"

#include "ss_addr.h"
#include "ss_io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

static void close_keeping_errno(int fd)
{
    int saved = errno;

    /* Best effort: close(2) frees the descriptor even where it fails. */
    close(fd);
    errno = saved;
}

/* Waits for the end of a connect that is under way. */
static int finish_connect(int fd, const struct ss_deadline *deadline)
{
    struct sockaddr_storage peer;
    socklen_t length = sizeof(peer);
    int error = 0;
    socklen_t size = sizeof(error);

    if (ss_wait(fd, POLLOUT, deadline) == -1) {
        return -1;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == -1) {
        return -1;
    }
    if (error != 0) {
        errno = error;
        return -1;
    }
    /* A socket that nothing was started on looks ready and without error. */
    return getpeername(fd, (struct sockaddr *)&peer, &length);
}

static int connect_to(const struct addrinfo *entry,
                      const struct ss_deadline *deadline)
{
    int fd = socket(entry->ai_family,
                    entry->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
                    entry->ai_protocol);
    int flags;

    if (fd == -1) {
        return -1;
    }
    if (connect(fd, entry->ai_addr, entry->ai_addrlen) == -1 &&
        ((errno != EINPROGRESS && errno != EINTR) ||
         finish_connect(fd, deadline) == -1)) {
        goto fail;
    }
    flags = fcntl(fd, F_GETFL);
    if (flags == -1 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) == -1) {
        goto fail;
    }
    return fd;

fail:
    close_keeping_errno(fd);
    return -1;
}

int ss_connect(const char *host, const char *service, int type,
               const struct ss_deadline *deadline, int *resolver)
{
    struct addrinfo *list = ss_addr_resolve(host, service, type, 0, resolver);
    int fd = -1;
    int error;

    if (list == NULL) {
        return -1;
    }
    for (const struct addrinfo *entry = list; entry != NULL && fd == -1;
         entry = entry->ai_next) {
        fd = connect_to(entry, deadline);
        if (fd == -1 && errno == ETIMEDOUT &&
            ss_deadline_left_ms(deadline) == 0) {
            break; /* the deadline is over, and not just this address */
        }
    }
    error = errno;
    freeaddrinfo(list);
    errno = error;
    return fd;
}
