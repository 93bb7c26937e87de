/* test_ss_connect - connecting to the first address that answers.
 *
 * Links: -Wl,--wrap=getaddrinfo,--wrap=freeaddrinfo,--wrap=socket
 * Links: -Wl,--wrap=connect,--wrap=getsockopt,--wrap=getpeername,--wrap=fcntl
 */
#define _POSIX_C_SOURCE 200809L

#include "ss_connect.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "descriptors.h"
#include "resolved.h"

/* What happens to the wrapped calls. */
static struct {
    unsigned calls;      /* so far */
    unsigned fail_at;    /* 0: none */
    int error;           /* the one it fails with */
    bool late_interrupt; /* connect goes on, but says EINTR */
    bool interrupt;      /* connect says EINTR and does nothing */
    unsigned connects;   /* so far */
} fault;

int __real_socket(int family, int type, int protocol);
int __real_connect(int fd, const struct sockaddr *address, socklen_t length);
int __real_getsockopt(int fd, int level, int name, void *value,
                      socklen_t *size);
int __real_getpeername(int fd, struct sockaddr *address, socklen_t *length);
int __real_fcntl(int fd, int command, long value);
int __wrap_socket(int family, int type, int protocol);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t length);
int __wrap_getsockopt(int fd, int level, int name, void *value,
                      socklen_t *size);
int __wrap_getpeername(int fd, struct sockaddr *address, socklen_t *length);
int __wrap_fcntl(int fd, int command, long value);

static bool fails(void)
{
    if (++fault.calls != fault.fail_at) {
        return false;
    }
    errno = fault.error;
    return true;
}

int __wrap_socket(int family, int type, int protocol)
{
    return fails() ? -1 : __real_socket(family, type, protocol);
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t length)
{
    fault.connects++;
    if (fails()) {
        return -1;
    }
    if (fault.late_interrupt || fault.interrupt) {
        if (fault.late_interrupt) {
            __real_connect(fd, address, length);
        }
        errno = EINTR;
        return -1;
    }
    return __real_connect(fd, address, length);
}

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
    return fails() ? -1 : __real_getsockopt(fd, level, name, value, size);
}

int __wrap_getpeername(int fd, struct sockaddr *address, socklen_t *length)
{
    return fails() ? -1 : __real_getpeername(fd, address, length);
}

int __wrap_fcntl(int fd, int command, long value)
{
    return fails() ? -1 : __real_fcntl(fd, command, value);
}

static int resolver;
static int listener;
static unsigned port;    /* of the listener, at 127.0.0.1 */
static char service[8];  /* the same as text */
static int silent;       /* bound, and not listening */
static unsigned refused; /* its port */

static int bound(unsigned *number)
{
    struct sockaddr_in address;
    socklen_t length = sizeof(address);
    int fd = __real_socket(AF_INET, SOCK_STREAM, 0);

    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd == -1 || bind(fd, (struct sockaddr *)&address, length) == -1 ||
        getsockname(fd, (struct sockaddr *)&address, &length) == -1) {
        return -1;
    }
    *number = ntohs(address.sin_port);
    return fd;
}

static int before(void **state)
{
    memset(&fault, 0, sizeof(fault));
    memset(&resolved, 0, sizeof(resolved));
    resolver = 99;
    if (descriptors_before(state) == -1) {
        return -1;
    }
    listener = bound(&port);
    silent = bound(&refused);
    if (listener == -1 || silent == -1 || listen(listener, 0) == -1) {
        return -1;
    }
    snprintf(service, sizeof(service), "%u", port);
    return 0;
}

static int after(void **state)
{
    close(listener);
    close(silent);
    if (resolved.out != 0) {
        fprintf(stderr, "%d lists were not freed\n", resolved.out);
        return -1;
    }
    return descriptors_after(state);
}

static int connect_to(const char *host, const char *name)
{
    errno = 0;
    return ss_connect(host, name, SOCK_STREAM, NULL, &resolver);
}

/* Bytes go through it, and it is as a fresh descriptor should be. */
static void expect_connected(int fd)
{
    char byte = 0;
    int served;

    assert_int_not_equal(fd, -1);
    assert_int_equal(resolver, 0);
    assert_int_equal(__real_fcntl(fd, F_GETFD, 0), FD_CLOEXEC);
    assert_int_equal(__real_fcntl(fd, F_GETFL, 0) & O_NONBLOCK, 0);
    served = accept(listener, NULL, NULL);
    assert_int_not_equal(served, -1);
    assert_int_equal(send(served, "x", 1, MSG_NOSIGNAL), 1);
    assert_int_equal(recv(fd, &byte, 1, 0), 1);
    assert_int_equal(byte, 'x');
    close(served);
    close(fd);
}

static void expect_failure(int fd, int error)
{
    assert_int_equal(fd, -1);
    assert_int_equal(errno, error);
    assert_int_equal(resolver, 0);
}

static void test_connects(void **state)
{
    (void)state;
    expect_connected(connect_to("127.0.0.1", service));
    assert_int_equal(fault.connects, 1);
}

static void test_refused(void **state)
{
    (void)state;
    resolved_add("127.0.0.1", refused);
    expect_failure(connect_to("silent", "1"), ECONNREFUSED);
}

/* All that fail are closed: the descriptors are counted at the end. */
static void test_next_address(void **state)
{
    (void)state;
    resolved_add("127.0.0.1", refused);
    resolved_add("::1", refused);
    resolved_add("127.0.0.1", port);
    resolved_add("127.0.0.1", refused);
    expect_connected(connect_to("many", "1"));
    assert_true(fault.connects >= 2 && fault.connects <= 3);
}

static void test_last_error(void **state)
{
    (void)state;
    resolved_add("127.0.0.1", refused);
    resolved_add("127.0.0.1", port);
    fault.fail_at = 5; /* socket, connect, getsockopt; socket, connect */
    fault.error = ENETUNREACH;
    expect_failure(connect_to("two", "1"), ENETUNREACH);
    assert_int_equal(fault.connects, 2);
}

static void test_ipv6(void **state)
{
    struct sockaddr_in6 address;
    socklen_t length = sizeof(address);

    (void)state;
    if (!resolved_has_ipv6()) {
        skip();
    }
    close(listener);
    memset(&address, 0, sizeof(address));
    address.sin6_family = AF_INET6;
    address.sin6_addr = in6addr_loopback;
    listener = __real_socket(AF_INET6, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(
        getsockname(listener, (struct sockaddr *)&address, &length), 0);
    snprintf(service, sizeof(service), "%u", ntohs(address.sin6_port));
    expect_connected(connect_to("::1", service));
    expect_connected(connect_to(NULL, service)); /* this machine */
}

/* A signal came, and the kernel goes on with the connection. */
static void test_interrupted(void **state)
{
    (void)state;
    fault.late_interrupt = true;
    expect_connected(connect_to("127.0.0.1", service));
    assert_int_equal(fault.connects, 1); /* never called again */
    resolved_add("127.0.0.1", refused);
    expect_failure(connect_to("silent", "1"), ECONNREFUSED);
}

/* An EINTR behind which nothing goes on must not look like a connection. */
static void test_interrupted_for_nothing(void **state)
{
    (void)state;
    fault.interrupt = true;
    expect_failure(connect_to("127.0.0.1", service), ENOTCONN);
}

/* A connection that fills the listener's queue, whose backlog is 0: the next
 * one gets no answer.
 */
static int fill(void)
{
    struct pollfd entry = {listener, POLLIN, 0};
    struct sockaddr_in address;
    int fd = __real_socket(AF_INET, SOCK_STREAM, 0);

    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_port = htons((in_port_t)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(
        __real_connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(poll(&entry, 1, -1), 1); /* it is in the queue now */
    return fd;
}

static void test_deadline(void **state)
{
    struct ss_deadline soon;
    int first = fill();

    (void)state;
    resolved_add("127.0.0.1", port);
    resolved_add("127.0.0.1", refused); /* not tried any more */
    ss_deadline_set(&soon, 30);
    errno = 0;
    expect_failure(ss_connect("full", "1", SOCK_STREAM, &soon, &resolver),
                   ETIMEDOUT);
    assert_int_equal(ss_deadline_left_ms(&soon), 0);
    assert_int_equal(fault.connects, 1);
    close(first);
}

static void test_datagrams(void **state)
{
    struct sockaddr_in peer;
    socklen_t length = sizeof(peer);
    int fd = ss_connect("127.0.0.1", service, SOCK_DGRAM, NULL, &resolver);

    (void)state;
    assert_int_not_equal(fd, -1);
    assert_int_equal(__real_getpeername(fd, (struct sockaddr *)&peer, &length),
                     0);
    assert_int_equal(ntohs(peer.sin_port), port);
    close(fd);
}

static void test_resolver(void **state)
{
    (void)state;
    assert_int_equal(connect_to("127.0.0.1", "no-such-service"), -1);
    assert_int_equal(resolver, EAI_SERVICE);
    resolved.result = EAI_AGAIN;
    assert_int_equal(connect_to("name", "1"), -1);
    assert_int_equal(resolver, EAI_AGAIN);
    resolved.result = EAI_SYSTEM;
    resolved.error = EMFILE;
    assert_int_equal(connect_to("name", "1"), -1);
    assert_int_equal(resolver, EAI_SYSTEM);
    assert_int_equal(errno, EMFILE);
}

/* Each call fails in turn, until there is none left to fail. */
static void test_every_call_fails(void **state)
{
    unsigned at = 1;
    int fd;

    (void)state;
    for (;; at++) {
        fault.calls = 0;
        fault.fail_at = at;
        fault.error = EACCES;
        fd = connect_to("127.0.0.1", service);
        if (fault.calls < at) {
            break;
        }
        expect_failure(fd, EACCES);
        close(listener); /* with what it has accepted already */
        listener = bound(&port);
        assert_int_equal(listen(listener, 0), 0);
        snprintf(service, sizeof(service), "%u", port);
        assert_int_equal(descriptors_open(), descriptors_found + 2);
    }
    expect_connected(fd);
    assert_int_equal(at, 7);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, before, after)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_connects),
        TEST(test_refused),
        TEST(test_next_address),
        TEST(test_last_error),
        TEST(test_ipv6),
        TEST(test_interrupted),
        TEST(test_interrupted_for_nothing),
        TEST(test_deadline),
        TEST(test_datagrams),
        TEST(test_resolver),
        TEST(test_every_call_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
