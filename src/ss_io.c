/* ss_io.c - see ss_io.h. */
#define _POSIX_C_SOURCE 200809L

#include "ss_io.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int ss_wait(int fd, short events, const struct ss_deadline *deadline)
{
    struct pollfd entry = {fd, events, 0};

    if (fd < 0) { /* poll(2) would pass over it and wait for ever */
        errno = EBADF;
        return -1;
    }
    for (;;) {
        int left_ms = ss_deadline_left_ms(deadline);
        int ready = poll(&entry, 1, left_ms);

        if (ready > 0) {
            return 0;
        }
        if (ready == -1 && errno != EINTR) {
            return -1;
        }
        /* An interrupted look at a passed deadline has seen nothing yet. */
        if (ready == 0 && left_ms == 0) {
            errno = ETIMEDOUT;
            return -1;
        }
    }
}

/* Whether the same call may succeed later. EINTR is among them: the deadline
 * is looked at before the next attempt.
 */
static int is_temporary(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

int ss_send_all(int fd, const void *buffer, size_t length_bytes,
                const struct ss_deadline *deadline, size_t *done)
{
    const char *bytes = buffer;

    *done = 0;
    while (*done < length_bytes) {
        /* MSG_DONTWAIT is not in POSIX, but in Linux and the BSDs. */
        ssize_t sent = send(fd, bytes + *done, length_bytes - *done,
                            MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent >= 0) {
            *done += (size_t)sent;
        } else if (!is_temporary(errno) ||
                   ss_wait(fd, POLLOUT, deadline) == -1) {
            return -1;
        }
    }
    return 0;
}

/* One recv(2) that brings bytes, the end of the stream or an error. */
static int receive(int fd, void *buffer, size_t size_bytes, int flags,
                   const struct ss_deadline *deadline, size_t *done)
{
    *done = 0;
    for (;;) {
        ssize_t got = recv(fd, buffer, size_bytes, flags | MSG_DONTWAIT);

        if (got >= 0) {
            *done = (size_t)got;
            return 0;
        }
        if (!is_temporary(errno) || ss_wait(fd, POLLIN, deadline) == -1) {
            return -1;
        }
    }
}

int ss_recv_some(int fd, void *buffer, size_t size_bytes,
                 const struct ss_deadline *deadline, size_t *done)
{
    *done = 0;
    if (size_bytes == 0) { /* recv(2) would give 0, which means the end */
        errno = EINVAL;
        return -1;
    }
    return receive(fd, buffer, size_bytes, 0, deadline, done);
}

int ss_recv_exact(int fd, void *buffer, size_t length_bytes,
                  const struct ss_deadline *deadline, size_t *done)
{
    char *bytes = buffer;
    size_t got;

    *done = 0;
    while (*done < length_bytes) {
        if (receive(fd, bytes + *done, length_bytes - *done, 0, deadline,
                    &got) == -1) {
            return -1;
        }
        if (got == 0) {
            errno = ENODATA;
            return -1;
        }
        *done += got;
    }
    return 0;
}

int ss_recv_until(int fd, void *buffer, size_t size_bytes, char delimiter,
                  const struct ss_deadline *deadline, size_t *done)
{
    char *bytes = buffer;

    *done = 0;
    while (*done < size_bytes) {
        char *piece = bytes + *done;
        const char *end;
        size_t seen;
        size_t taken;
        int result;

        if (receive(fd, piece, size_bytes - *done, MSG_PEEK, deadline, &seen) ==
            -1) {
            return -1;
        }
        if (seen == 0) {
            errno = ENODATA;
            return -1;
        }
        end = memchr(piece, delimiter, seen);
        if (end != NULL) {
            seen = (size_t)(end - piece) + 1;
        }
        result = ss_recv_exact(fd, piece, seen, deadline, &taken);
        *done += taken;
        if (result == -1 || end != NULL) {
            return result;
        }
    }
    errno = EMSGSIZE;
    return -1;
}

int ss_write_all(int fd, const void *buffer, size_t length_bytes,
                 const struct ss_deadline *deadline, size_t *done)
{
    const char *bytes = buffer;

    *done = 0;
    while (*done < length_bytes) {
        ssize_t written = write(fd, bytes + *done, length_bytes - *done);

        if (written >= 0) {
            *done += (size_t)written;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            if (ss_wait(fd, POLLOUT, deadline) == -1) {
                return -1;
            }
        } else if (errno != EINTR) {
            return -1;
        }
    }
    return 0;
}
