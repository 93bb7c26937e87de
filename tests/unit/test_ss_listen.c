/* test_ss_listen - listening on every address, and failing in every call.
 *
 * Links: -Wl,--wrap=getaddrinfo,--wrap=freeaddrinfo,--wrap=socket
 * Links: -Wl,--wrap=setsockopt,--wrap=bind,--wrap=listen,--wrap=getsockname
 */
#define _POSIX_C_SOURCE 200809L

#include "ss_listen.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "descriptors.h"
#include "resolved.h"

enum { MAX = 4, BACKLOG = 5, MANY_CALLS = 100 };

/* Which of the wrapped calls fails, and how. */
static struct {
    unsigned calls;   /* so far */
    unsigned fail_at; /* 0: none */
    int error;
    int no_family;        /* the family that sockets do not have, or 0 */
    unsigned ports_taken; /* so many binds to a given port still fail */
    int backlog;          /* as listen got it */
} fault;

int __real_socket(int family, int type, int protocol);
int __real_setsockopt(int fd, int level, int name, const void *value,
                      socklen_t size);
int __real_bind(int fd, const struct sockaddr *address, socklen_t length);
int __real_listen(int fd, int backlog);
int __real_getsockname(int fd, struct sockaddr *address, socklen_t *length);
int __wrap_socket(int family, int type, int protocol);
int __wrap_setsockopt(int fd, int level, int name, const void *value,
                      socklen_t size);
int __wrap_bind(int fd, const struct sockaddr *address, socklen_t length);
int __wrap_listen(int fd, int backlog);
int __wrap_getsockname(int fd, struct sockaddr *address, socklen_t *length);

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
    if (family == fault.no_family) {
        errno = EAFNOSUPPORT;
        return -1;
    }
    return fails() ? -1 : __real_socket(family, type, protocol);
}

int __wrap_setsockopt(int fd, int level, int name, const void *value,
                      socklen_t size)
{
    return fails() ? -1 : __real_setsockopt(fd, level, name, value, size);
}

static unsigned port_of(const struct sockaddr *address)
{
    struct sockaddr_in in; /* the port is at the same place in both families */

    memcpy(&in, address, sizeof(in));
    return ntohs(in.sin_port);
}

int __wrap_bind(int fd, const struct sockaddr *address, socklen_t length)
{
    if (fault.ports_taken > 0 && port_of(address) != 0) {
        fault.ports_taken--;
        errno = EADDRINUSE;
        return -1;
    }
    return fails() ? -1 : __real_bind(fd, address, length);
}

int __wrap_listen(int fd, int backlog)
{
    fault.backlog = backlog;
    return fails() ? -1 : __real_listen(fd, backlog);
}

int __wrap_getsockname(int fd, struct sockaddr *address, socklen_t *length)
{
    return fails() ? -1 : __real_getsockname(fd, address, length);
}

static int sockets[MAX];
static size_t count;
static int resolver;

static int before(void **state)
{
    memset(&fault, 0, sizeof(fault));
    memset(&resolved, 0, sizeof(resolved));
    count = 99;
    resolver = 99;
    return descriptors_before(state);
}

static int after(void **state)
{
    if (resolved.out != 0) {
        fprintf(stderr, "%d lists were not freed\n", resolved.out);
        return -1;
    }
    return descriptors_after(state);
}

static int listen_to(const char *host, const char *service)
{
    errno = 0;
    return ss_listen(host, service, SOCK_STREAM, BACKLOG, sockets, MAX, &count,
                     &resolver);
}

static void close_all(void)
{
    for (size_t i = 0; i < count; i++) {
        close(sockets[i]);
    }
}

static struct sockaddr_storage address_of(int fd)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);

    memset(&address, 0, sizeof(address));
    assert_int_equal(
        __real_getsockname(fd, (struct sockaddr *)&address, &length), 0);
    return address;
}

static unsigned bound_port(int fd)
{
    struct sockaddr_storage address = address_of(fd);

    return port_of((struct sockaddr *)&address);
}

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t size = sizeof(value);

    assert_int_equal(getsockopt(fd, level, name, &value, &size), 0);
    return value;
}

static void expect_listener(int fd, int family)
{
    assert_int_equal(address_of(fd).ss_family, family);
    assert_int_equal(option(fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
    assert_int_equal(option(fd, SOL_SOCKET, SO_REUSEADDR), 1);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    if (family == AF_INET6) {
        assert_int_equal(option(fd, IPPROTO_IPV6, IPV6_V6ONLY), 1);
    }
}

static void expect_failure(int error)
{
    assert_int_equal(errno, error);
    assert_int_equal(resolver, 0);
    assert_int_equal(count, 0);
}

static void test_one_address(void **state)
{
    (void)state;
    assert_int_equal(listen_to("127.0.0.1", "0"), 0);
    assert_int_equal(count, 1);
    assert_int_equal(resolver, 0);
    expect_listener(sockets[0], AF_INET);
    assert_int_equal(fault.backlog, BACKLOG);
    close_all();
}

/* The kernel chooses one port, which both families then have. */
static void test_both_families(void **state)
{
    (void)state;
    if (!resolved_has_ipv6()) {
        skip();
    }
    assert_int_equal(listen_to(NULL, "0"), 0);
    assert_int_equal(count, 2);
    expect_listener(sockets[0], address_of(sockets[0]).ss_family);
    expect_listener(sockets[1], address_of(sockets[1]).ss_family);
    assert_int_not_equal(address_of(sockets[0]).ss_family,
                         address_of(sockets[1]).ss_family);
    assert_int_not_equal(bound_port(sockets[0]), 0);
    assert_int_equal(bound_port(sockets[0]), bound_port(sockets[1]));
    close_all();
}

static void test_absent_family(void **state)
{
    (void)state;
    resolved_add("::1", 0);
    resolved_add("127.0.0.1", 0);
    fault.no_family = AF_INET6;
    assert_int_equal(listen_to("both", "0"), 0);
    assert_int_equal(count, 1);
    expect_listener(sockets[0], AF_INET);
    close_all();
    resolved.count = 1; /* nothing else is left */
    assert_int_equal(listen_to("both", "0"), -1);
    expect_failure(EAFNOSUPPORT);
}

static void test_absent_address(void **state)
{
    (void)state;
    resolved_add("192.0.2.1", 0); /* for documentation: no machine has it */
    resolved_add("127.0.0.1", 0);
    assert_int_equal(listen_to("both", "0"), 0);
    assert_int_equal(count, 1);
    close_all();
    resolved.count = 1;
    assert_int_equal(listen_to("both", "0"), -1);
    expect_failure(EADDRNOTAVAIL);
}

static void test_repeated_address(void **state)
{
    (void)state;
    resolved_add("127.0.0.1", 0);
    resolved_add("127.0.0.1", 0);
    resolved_add("127.0.0.2", 0);
    assert_int_equal(listen_to("twice", "0"), 0);
    assert_int_equal(count, 2);
    assert_int_equal(bound_port(sockets[0]), bound_port(sockets[1]));
    close_all();
}

/* Another program has the chosen port for the second address. */
static void test_chosen_port_is_taken(void **state)
{
    (void)state;
    resolved_add("127.0.0.1", 0);
    resolved_add("127.0.0.2", 0);
    fault.ports_taken = 3;
    assert_int_equal(listen_to("both", "0"), 0);
    assert_int_equal(count, 2);
    assert_int_equal(fault.ports_taken, 0);
    assert_int_equal(bound_port(sockets[0]), bound_port(sockets[1]));
    close_all();
    fault.ports_taken = MANY_CALLS; /* it gives up in the end */
    assert_int_equal(listen_to("both", "0"), -1);
    expect_failure(EADDRINUSE);
    assert_true(fault.ports_taken > 0);
}

/* A given port is tried once. */
static void test_port_in_use(void **state)
{
    char service[8];
    int other;

    (void)state;
    assert_int_equal(listen_to("127.0.0.1", "0"), 0);
    other = sockets[0];
    snprintf(service, sizeof(service), "%u", bound_port(other));
    assert_int_equal(listen_to("127.0.0.1", service), -1);
    expect_failure(EADDRINUSE);
    resolved_add("127.0.0.2", bound_port(other)); /* free: it goes back too */
    resolved_add("127.0.0.1", bound_port(other));
    assert_int_equal(listen_to("both", service), -1);
    expect_failure(EADDRINUSE);
    close(other);
}

/* The server's side closes first and keeps the old connection in TIME_WAIT. */
static void test_restart(void **state)
{
    struct sockaddr_storage address;
    char service[8];
    char byte;
    int client = __real_socket(AF_INET, SOCK_STREAM, 0);
    int served;

    (void)state;
    assert_int_equal(listen_to("127.0.0.1", "0"), 0);
    address = address_of(sockets[0]);
    snprintf(service, sizeof(service), "%u", bound_port(sockets[0]));
    assert_int_equal(connect(client, (struct sockaddr *)&address,
                             sizeof(struct sockaddr_in)),
                     0);
    served = accept(sockets[0], NULL, NULL);
    assert_int_not_equal(served, -1);
    close(served);
    assert_int_equal(recv(client, &byte, 1, 0), 0);
    close(client);
    close_all();
    assert_int_equal(listen_to("127.0.0.1", service), 0);
    close_all();
}

static void test_room(void **state)
{
    (void)state;
    resolved_add("127.0.0.1", 0);
    resolved_add("127.0.0.2", 0);
    assert_int_equal(ss_listen("both", "0", SOCK_STREAM, BACKLOG, sockets, 1,
                               &count, &resolver),
                     0);
    assert_int_equal(count, 1);
    close_all();
    assert_int_equal(ss_listen("both", "0", SOCK_STREAM, BACKLOG, sockets, 0,
                               &count, &resolver),
                     -1);
    expect_failure(EINVAL);
}

static void test_datagrams(void **state)
{
    char service[8];
    int first;

    (void)state;
    assert_int_equal(ss_listen("127.0.0.1", "0", SOCK_DGRAM, BACKLOG, sockets,
                               MAX, &count, &resolver),
                     0);
    assert_int_equal(count, 1);
    assert_int_equal(option(sockets[0], SOL_SOCKET, SO_TYPE), SOCK_DGRAM);
    assert_int_equal(option(sockets[0], SOL_SOCKET, SO_REUSEADDR), 0);
    assert_int_equal(fault.backlog, 0); /* never asked */
    snprintf(service, sizeof(service), "%u", bound_port(sockets[0]));
    first = sockets[0];
    assert_int_equal(ss_listen("127.0.0.1", service, SOCK_DGRAM, BACKLOG,
                               sockets, MAX, &count, &resolver),
                     -1); /* nobody else may have the port */
    expect_failure(EADDRINUSE);
    close(first);
}

static void test_resolver(void **state)
{
    (void)state;
    assert_int_equal(listen_to("127.0.0.1", "no-such-service"), -1);
    assert_int_equal(resolver, EAI_SERVICE);
    assert_int_equal(count, 0);
    resolved.result = EAI_SYSTEM;
    resolved.error = EMFILE;
    assert_int_equal(listen_to("127.0.0.1", "0"), -1);
    assert_int_equal(resolver, EAI_SYSTEM);
    assert_int_equal(errno, EMFILE);
}

/* Each call fails in turn, until there is none left to fail. */
static void test_every_call_fails(void **state)
{
    unsigned at = 1;

    (void)state;
    resolved_add("127.0.0.1", 0);
    if (resolved_has_ipv6()) {
        resolved_add("::1", 0);
    } else {
        resolved_add("127.0.0.2", 0);
    }
    for (;; at++) {
        int result;

        fault.calls = 0;
        fault.fail_at = at;
        fault.error = EACCES;
        result = listen_to("both", "0");
        if (fault.calls < at) {
            assert_int_equal(result, 0);
            break;
        }
        assert_int_equal(result, -1);
        expect_failure(EACCES);
        assert_int_equal(descriptors_open(), descriptors_found);
    }
    assert_true(at > 8); /* two sockets of four calls and a name, and more */
    close_all();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, before, after)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_address),
        TEST(test_both_families),
        TEST(test_absent_family),
        TEST(test_absent_address),
        TEST(test_repeated_address),
        TEST(test_chosen_port_is_taken),
        TEST(test_port_in_use),
        TEST(test_restart),
        TEST(test_room),
        TEST(test_datagrams),
        TEST(test_resolver),
        TEST(test_every_call_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
