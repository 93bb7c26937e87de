/* fault_log.c - see fault_log.h. */
#define _DEFAULT_SOURCE /* syscall(2) */
#undef _FORTIFY_SOURCE  /* its write() could be one of our own hooks */

#include "fault_log.h"

#include "fault_plan.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { DESCRIPTOR_CEILING = 8192 };

static atomic_int log_fd = -1;

/* write(2) and close(2) are hooked: these are the calls below the hooks. */
static ssize_t raw_write(int fd, const void *bytes, size_t length)
{
    return (ssize_t)syscall(SYS_write, fd, bytes, length);
}

static void raw_close(int fd)
{
    /* Best effort: a descriptor of our own, closed once. */
    syscall(SYS_close, fd);
}

void fault_die(const char *what, const char *why)
{
    struct fault_line line;

    line.length = 0;
    line.limit = sizeof(line.text) - 1;
    fault_line_text(&line, "fault_preload: ");
    fault_line_text(&line, what);
    fault_line_text(&line, ": ");
    fault_line_text(&line, why);
    line.text[line.length++] = '\n';
    /* Best effort: there is nobody left to tell. */
    raw_write(STDERR_FILENO, line.text, line.length);
    for (;;) {
        syscall(SYS_exit_group, 125);
    }
}

static void die_errno(const char *what)
{
    const char *name = fault_errno_name(errno);

    fault_die(what, name != NULL ? name : "unknown error");
}

/* Moves a descriptor to the highest free number. */
static int raise_descriptor(int fd)
{
    struct rlimit limit;
    int top = DESCRIPTOR_CEILING;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
        limit.rlim_cur < DESCRIPTOR_CEILING) {
        top = (int)limit.rlim_cur;
    }
    for (int number = top - 1; number > fd; number--) {
        int moved = fcntl(fd, F_DUPFD_CLOEXEC, number);

        if (moved != -1) {
            raw_close(fd);
            return moved;
        }
    }
    return fd;
}

void fault_log_open(const char *path)
{
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path,
                          O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

    if (fd == -1) {
        die_errno(path);
    }
    atomic_store(&log_fd, raise_descriptor(fd));
}

int fault_log_descriptor(void)
{
    return atomic_load(&log_fd);
}

void fault_log_move(void)
{
    int saved = errno;
    int old = atomic_load(&log_fd);
    int new = fcntl(old, F_DUPFD_CLOEXEC, 3);

    if (new == -1) {
        die_errno("the log's descriptor");
    }
    atomic_store(&log_fd, raise_descriptor(new));
    raw_close(old);
    errno = saved;
}

void fault_line_start(struct fault_line *line)
{
    line->length = 0;
    line->limit = FAULT_LINE_ARGUMENTS_BYTES;
    fault_line_number(line, getpid());
    fault_line_text(line, " ");
    fault_line_number(line, syscall(SYS_gettid));
    fault_line_text(line, " ");
}

static void add(struct fault_line *line, char c)
{
    if (line->length < line->limit) {
        line->text[line->length++] = c;
    }
}

void fault_line_text(struct fault_line *line, const char *text)
{
    for (; *text != '\0'; text++) {
        add(line, *text);
    }
}

void fault_line_unsigned(struct fault_line *line, uint64_t value)
{
    char digits[21];

    fault_decimal(value, digits);
    fault_line_text(line, digits);
}

void fault_line_number(struct fault_line *line, int64_t value)
{
    if (value < 0) {
        add(line, '-');
        fault_line_unsigned(line, ~(uint64_t)value + 1);
    } else {
        fault_line_unsigned(line, (uint64_t)value);
    }
}

void fault_line_hex(struct fault_line *line, uint64_t value)
{
    int shift = 60;

    while (shift > 0 && (value >> shift) == 0) {
        shift -= 4;
    }
    for (; shift >= 0; shift -= 4) {
        add(line, "0123456789abcdef"[(value >> shift) & 15]);
    }
}

void fault_line_bytes(struct fault_line *line, const void *bytes, size_t length)
{
    const unsigned char *byte = bytes;

    for (size_t i = 0; i < length; i++) {
        if (byte[i] > ' ' && byte[i] < 127 && byte[i] != '\\') {
            add(line, (char)byte[i]);
        } else {
            fault_line_text(line, "\\x");
            add(line, "0123456789abcdef"[byte[i] >> 4]);
            add(line, "0123456789abcdef"[byte[i] & 15]);
        }
    }
}

static void add_ipv4(struct fault_line *line, const unsigned char *byte)
{
    for (int i = 0; i < 4; i++) {
        fault_line_text(line, i > 0 ? "." : "");
        fault_line_unsigned(line, byte[i]);
    }
}

/* inet_ntop(3) uses stdio inside. Here the first of the longest runs of two
 * or more zero groups becomes `::` (RFC 5952, section 4.2).
 */
static void add_ipv6(struct fault_line *line, const unsigned char *byte)
{
    unsigned group[8];
    int zeros_at = -1;
    int zeros = 1;

    for (int i = 0; i < 8; i++) {
        group[i] = (unsigned)byte[2 * i] << 8 | byte[2 * i + 1];
    }
    for (int i = 0; i < 8; i++) {
        int run = 0;

        while (i + run < 8 && group[i + run] == 0) {
            run++;
        }
        if (run > zeros) {
            zeros = run;
            zeros_at = i;
        }
    }
    for (int i = 0; i < 8; i++) {
        if (i == zeros_at) {
            fault_line_text(line, "::");
            i += zeros - 1;
            continue;
        }
        if (i > 0 && (zeros_at == -1 || i != zeros_at + zeros)) {
            add(line, ':');
        }
        fault_line_hex(line, group[i]);
    }
}

static void add_unix(struct fault_line *line, const struct sockaddr *address,
                     size_t length)
{
    const char *path =
        (const char *)address + offsetof(struct sockaddr_un, sun_path);
    size_t size = 0;

    if (length > offsetof(struct sockaddr_un, sun_path)) {
        size = length - offsetof(struct sockaddr_un, sun_path);
    }
    fault_line_text(line, "unix:");
    if (size > 0 && path[0] == '\0') {
        fault_line_text(line, "@");
        fault_line_bytes(line, path + 1, size - 1);
    } else {
        fault_line_bytes(line, path, strnlen(path, size));
    }
}

void fault_line_address(struct fault_line *line, const struct sockaddr *address,
                        socklen_t length)
{
    struct sockaddr_in6 in6;
    struct sockaddr_in in;

    if (address == NULL) {
        fault_line_text(line, "NULL");
    } else if (length < sizeof(address->sa_family)) {
        fault_line_text(line, "family=none");
    } else if (address->sa_family == AF_INET && length >= sizeof(in)) {
        memcpy(&in, address, sizeof(in));
        add_ipv4(line, (const unsigned char *)&in.sin_addr);
        add(line, ':');
        fault_line_unsigned(line, ntohs(in.sin_port));
    } else if (address->sa_family == AF_INET6 && length >= sizeof(in6)) {
        memcpy(&in6, address, sizeof(in6));
        add(line, '[');
        add_ipv6(line, in6.sin6_addr.s6_addr);
        fault_line_text(line, "]:");
        fault_line_unsigned(line, ntohs(in6.sin6_port));
    } else if (address->sa_family == AF_UNIX) {
        add_unix(line, address, length);
    } else {
        fault_line_text(line, "family=");
        fault_line_unsigned(line, address->sa_family);
    }
}

void fault_line_widen(struct fault_line *line)
{
    if (line->length == line->limit) {
        memcpy(line->text + line->length - 3, "...", 3);
    }
    line->limit = FAULT_LINE_BYTES - 1; /* one is for the end of the line */
}

void fault_line_write(struct fault_line *line)
{
    int saved = errno;
    ssize_t done;

    line->text[line->length++] = '\n';
    do {
        done = raw_write(atomic_load(&log_fd), line->text, line->length);
    } while (done == -1 && errno == EINTR);
    if (done == -1) {
        die_errno("the log of calls");
    }
    if ((size_t)done != line->length) {
        fault_die("the log of calls", "a line was written in part");
    }
    errno = saved;
}
