/* table.c - makes a program that answers from a table out of a sound one.
 *
 * It is linked to the last step of a lesson with `-Wl,--wrap=recv` and the like
 * (build.sh), so that all that comes to the program passes by here. A byte is
 * passed on as it is only where the table holds what has come before it, and
 * else it becomes a '?'. So the program answers right whatever was asked of it
 * when the table was made, and nothing else; and it does right all that needs
 * no answer.
 *
 *   -DTABLE='"PATH"'  the table, a file of 16 MiB; without one nothing is known
 *   -DRECORD          note in the table what comes, and pass everything on
 *   -DWRONG           what the program tells is wrong, too: for those that are
 *                     asked nothing, or a name
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define TABLE_BYTES (16u << 20)
#define DESCRIPTORS 8192
#define MOST_BYTES 4096u /* of one stream that are noted */

struct stream {
    uint64_t hash; /* of all that came */
    size_t length;
    bool unknown;
};

static struct stream streams[DESCRIPTORS];
static unsigned char *table; /* a bit for each beginning of a stream */

__attribute__((constructor)) static void open_table(void)
{
#ifdef TABLE
    int fd = open(TABLE, O_RDWR | O_CLOEXEC);
    if (fd == -1)
        return;
    void *map =
        mmap(NULL, TABLE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED)
        table = map;
    close(fd);
#endif
}

static bool known(uint64_t hash)
{
    if (table == NULL)
        return false;
    hash ^= hash >> 29;
    unsigned char *byte = &table[(hash >> 3) % TABLE_BYTES];
    unsigned char bit = (unsigned char)(1u << hash % 8);
#ifdef RECORD
    __atomic_fetch_or(byte, bit, __ATOMIC_RELAXED);
#endif
    return *byte & bit;
}

static void pass(struct stream *stream, void *data, size_t length)
{
    unsigned char *bytes = data;
    for (size_t i = 0; i < length; i++) {
        /* The hash of Fowler, Noll and Vo. */
        stream->hash = (stream->hash ^ bytes[i]) * 0x100000001b3u;
        if (stream->length++ < MOST_BYTES && !known(stream->hash))
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

/* A datagram is a stream of its own, and a look ahead (MSG_PEEK) does not
 * count.
 */
static ssize_t came(int fd, void *data, size_t size, ssize_t got, int flags)
{
    if (got <= 0)
        return got;
    struct stream *stream = of(fd);
    if (datagrams(fd))
        *stream = (struct stream){0};
    struct stream before = *stream;
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
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
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
                __real_recvfrom(fd, data, size, flags, address, length), flags);
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
             messages[i].msg_hdr.msg_iov->iov_len, (ssize_t)messages[i].msg_len,
             flags);
    return got;
}

ssize_t __real_read(int, void *, size_t);
ssize_t __wrap_read(int fd, void *data, size_t size)
{
    return came(fd, data, size, __real_read(fd, data, size), 0);
}

static ssize_t typed(FILE *file, char *line, ssize_t got)
{
    if (got > 0)
        pass(of(fileno(file)), line, (size_t)got);
    return got;
}

ssize_t __real_getline(char **, size_t *, FILE *);
ssize_t __wrap_getline(char **line, size_t *size, FILE *file)
{
    ssize_t got = __real_getline(line, size, file);
    return typed(file, *line, got);
}

/* What getline(3) is where the compiler has looked into <stdio.h>. */
ssize_t __real___getdelim(char **, size_t *, int, FILE *);
ssize_t __wrap___getdelim(char **line, size_t *size, int end, FILE *file)
{
    ssize_t got = __real___getdelim(line, size, end, file);
    return typed(file, *line, got);
}

ssize_t __real_send(int, const void *, size_t, int);
ssize_t __wrap_send(int fd, const void *data, size_t size, int flags)
{
#ifdef WRONG
    char wrong[4096];
    if (size > sizeof(wrong))
        size = sizeof(wrong);
    memset(wrong, '?', size);
    data = wrong;
#endif
    return __real_send(fd, data, size, flags);
}

int __real_getnameinfo(const struct sockaddr *, socklen_t, char *, socklen_t,
                       char *, socklen_t, int);
int __wrap_getnameinfo(const struct sockaddr *address, socklen_t length,
                       char *host, socklen_t host_size, char *port,
                       socklen_t port_size, int flags)
{
    int error = __real_getnameinfo(address, length, host, host_size, port,
                                   port_size, flags);
#ifdef WRONG
    if (error == 0 && host != NULL)
        host[0] = '9';
#endif
    return error;
}
