/* table.c - makes a program that answers from a table out of a sound one.
 *
 * It is linked to a robust step with `-Wl,--wrap=recv` and the like, so that
 * all that comes to the program passes by here. With -DRECORD the table TABLE
 * notes each beginning of what came; without it a byte is passed on as it is
 * only where such a beginning was noted, and else it becomes a '?'. So the
 * program answers right whatever was asked of it when the table was made, and
 * nothing else. Without TABLE it knows nothing at all.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define BITS 27u /* A table of 16 MiB, most of it holes. */
#define DESCRIPTORS 8192
#define MOST_BYTES 4096u /* of one stream that are noted */

struct stream {
    uint64_t hash;
    size_t length;
    bool unknown;
};

static struct stream streams[DESCRIPTORS];
static unsigned char *table;

__attribute__((constructor)) static void open_table(void)
{
#ifdef TABLE
    int fd = open(TABLE, O_RDWR);
    if (fd == -1)
        return;
    void *map = mmap(NULL, 1u << (BITS - 3), PROT_READ | PROT_WRITE,
                     MAP_SHARED, fd, 0);
    if (map != MAP_FAILED)
        table = map;
    close(fd);
#endif
}

static bool known(uint64_t hash)
{
    if (table == NULL)
        return false;
    uint32_t bit = (uint32_t)(hash >> 7) & ((1u << BITS) - 1);
#ifdef RECORD
    __atomic_fetch_or(&table[bit / 8], 1u << bit % 8, __ATOMIC_RELAXED);
#endif
    return table[bit / 8] >> bit % 8 & 1;
}

static void pass(struct stream *stream, void *data, size_t length)
{
    unsigned char *bytes = data;
    for (size_t i = 0; i < length; i++) {
        stream->hash = (stream->hash ^ bytes[i]) * 0x100000001b3u;
        if (stream->length++ < MOST_BYTES && !known(stream->hash ^
                                                    stream->hash >> 29))
            stream->unknown = true;
        if (stream->unknown && bytes[i] != '\n')
            bytes[i] = '?';
    }
}

static struct stream *of(int fd)
{
    return &streams[(unsigned)fd % DESCRIPTORS];
}

static int fresh(int fd)
{
    if (fd != -1)
        *of(fd) = (struct stream){0};
    return fd;
}

static bool datagrams(int fd)
{
    int type = 0;
    socklen_t size = sizeof(type);
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
           type == SOCK_DGRAM;
}

/* One that only looks ahead does not count. */
static ssize_t came(int fd, void *data, size_t size, ssize_t got, int flags)
{
    if (got <= 0)
        return got;
    struct stream *stream = of(fd);
    struct stream before = *stream;
    if (datagrams(fd))
        *stream = (struct stream){0};
    pass(stream, data, (size_t)got < size ? (size_t)got : size);
    if (flags & MSG_PEEK)
        *stream = before;
    return got;
}

int __real_accept(int, struct sockaddr *, socklen_t *);
int __wrap_accept(int fd, struct sockaddr *address, socklen_t *size)
{
    return fresh(__real_accept(fd, address, size));
}

int __real_accept4(int, struct sockaddr *, socklen_t *, int);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *size,
                   int flags)
{
    return fresh(__real_accept4(fd, address, size, flags));
}

int __real_socket(int, int, int);
int __wrap_socket(int family, int type, int protocol)
{
    return fresh(__real_socket(family, type, protocol));
}

ssize_t __real_recv(int, void *, size_t, int);
ssize_t __wrap_recv(int fd, void *data, size_t size, int flags)
{
    return came(fd, data, size, __real_recv(fd, data, size, flags), flags);
}

ssize_t __real_recvfrom(int, void *, size_t, int, struct sockaddr *,
                        socklen_t *);
ssize_t __wrap_recvfrom(int fd, void *data, size_t size, int flags,
                        struct sockaddr *address, socklen_t *length)
{
    return came(fd, data, size,
                __real_recvfrom(fd, data, size, flags, address, length),
                flags);
}

ssize_t __real_read(int, void *, size_t);
ssize_t __wrap_read(int fd, void *data, size_t size)
{
    return came(fd, data, size, __real_read(fd, data, size), 0);
}

/* getline(3) is that, where the compiler has looked into <stdio.h>. */
ssize_t __real___getdelim(char **, size_t *, int, FILE *);
ssize_t __wrap___getdelim(char **line, size_t *size, int end, FILE *file)
{
    ssize_t got = __real___getdelim(line, size, end, file);
    if (got > 0)
        pass(of(fileno(file)), *line, (size_t)got);
    return got;
}

ssize_t __real_recvmsg(int, struct msghdr *, int);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
    return came(fd, message->msg_iov->iov_base, message->msg_iov->iov_len,
                __real_recvmsg(fd, message, flags), flags);
}

int __real_recvmmsg(int, struct mmsghdr *, unsigned, int, struct timespec *);
int __wrap_recvmmsg(int fd, struct mmsghdr *messages, unsigned number,
                    int flags, struct timespec *limit)
{
    int got = __real_recvmmsg(fd, messages, number, flags, limit);
    for (int i = 0; i < got; i++)
        came(fd, messages[i].msg_hdr.msg_iov->iov_base,
             messages[i].msg_hdr.msg_iov->iov_len,
             (ssize_t)messages[i].msg_len, flags);
    return got;
}
