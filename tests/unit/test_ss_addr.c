/* test_ss_addr - names and texts of addresses. */
#define _POSIX_C_SOURCE 200809L

#include "ss_addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "descriptors.h"

static void expect_text(const void *address, size_t length,
                        const char *expected)
{
    char text[SS_ADDR_TEXT_BYTES];

    assert_int_equal(
        ss_addr_text(address, (socklen_t)length, text, sizeof(text)), 0);
    assert_string_equal(text, expected);
}

static void expect_error(const void *address, size_t length, size_t size,
                         int number)
{
    char text[SS_ADDR_TEXT_BYTES];

    errno = 0;
    assert_int_equal(ss_addr_text(address, (socklen_t)length, text, size), -1);
    assert_int_equal(errno, number);
}

static void test_ipv4(void **state)
{
    struct sockaddr_in address;

    (void)state;
    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_port = htons(8080);
    assert_int_equal(inet_pton(AF_INET, "192.0.2.255", &address.sin_addr), 1);
    expect_text(&address, sizeof(address), "192.0.2.255:8080");
    address.sin_port = htons(65535);
    expect_text(&address, sizeof(address), "192.0.2.255:65535");
    expect_error(&address, sizeof(address) - 1, SS_ADDR_TEXT_BYTES, EINVAL);
    expect_error(&address, sizeof(address), 17, ENOSPC);
}

static void test_ipv6(void **state)
{
    struct sockaddr_in6 address;

    (void)state;
    memset(&address, 0, sizeof(address));
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(443);
    address.sin6_addr = in6addr_loopback;
    expect_text(&address, sizeof(address), "[::1]:443");
    assert_int_equal(inet_pton(AF_INET6,
                               "2001:db8:1111:2222:3333:4444:5555:6666",
                               &address.sin6_addr),
                     1);
    expect_text(&address, sizeof(address),
                "[2001:db8:1111:2222:3333:4444:5555:6666]:443");
    assert_int_equal(inet_pton(AF_INET6, "fe80::1", &address.sin6_addr), 1);
    address.sin6_scope_id = 999999; /* no interface has that number */
    expect_text(&address, sizeof(address), "[fe80::1%999999]:443");
    expect_error(&address, sizeof(address) - 8, SS_ADDR_TEXT_BYTES, EINVAL);
}

static void test_unix(void **state)
{
    const size_t start = offsetof(struct sockaddr_un, sun_path);
    struct sockaddr_un address;
    char expected[SS_ADDR_TEXT_BYTES] = "unix:";

    (void)state;
    memset(&address, 0, sizeof(address));
    address.sun_family = AF_UNIX;
    expect_text(&address, start, "unix:");
    memcpy(address.sun_path, "/run/x", 6);
    expect_text(&address, sizeof(address), "unix:/run/x");
    expect_text(&address, start + 6, "unix:/run/x"); /* no NUL needed */
    memcpy(address.sun_path, "\0name", 5);
    expect_text(&address, start + 5, "unix:@name");
    memset(address.sun_path, 'p', sizeof(address.sun_path)); /* all of it */
    memset(expected + 5, 'p', sizeof(address.sun_path));
    expect_text(&address, sizeof(address), expected);
    expect_error(&address, sizeof(address), 5 + sizeof(address.sun_path),
                 ENOSPC);
}

static void test_other(void **state)
{
    struct sockaddr address;

    (void)state;
    memset(&address, 0, sizeof(address));
    address.sa_family = AF_UNSPEC;
    expect_error(&address, sizeof(address), SS_ADDR_TEXT_BYTES, EAFNOSUPPORT);
    expect_error(&address, 1, SS_ADDR_TEXT_BYTES, EINVAL);
    expect_error(&address, 0, SS_ADDR_TEXT_BYTES, EINVAL);
}

static void test_resolve(void **state)
{
    struct addrinfo *list;
    int resolver = 99;

    (void)state;
    list = ss_addr_resolve("127.0.0.1", "80", SOCK_STREAM, 0, &resolver);
    assert_non_null(list);
    assert_int_equal(resolver, 0);
    expect_text(list->ai_addr, list->ai_addrlen, "127.0.0.1:80");
    assert_int_equal(list->ai_socktype, SOCK_STREAM);
    assert_null(list->ai_next);
    freeaddrinfo(list);
    list = ss_addr_resolve("::1", NULL, SOCK_DGRAM, 0, &resolver);
    assert_non_null(list);
    expect_text(list->ai_addr, list->ai_addrlen, "[::1]:0");
    assert_int_equal(list->ai_socktype, SOCK_DGRAM);
    freeaddrinfo(list);
}

static void test_resolve_fails(void **state)
{
    int resolver = 99;

    (void)state;
    assert_null(ss_addr_resolve("127.0.0.1", "no-such-service", SOCK_STREAM, 0,
                                &resolver));
    assert_int_equal(resolver, EAI_SERVICE);
    assert_null(ss_addr_resolve("host name", "80", SOCK_STREAM, AI_NUMERICHOST,
                                &resolver));
    assert_int_equal(resolver, EAI_NONAME);
    assert_null(ss_addr_resolve(NULL, NULL, SOCK_STREAM, 0, &resolver));
    assert_int_equal(resolver, EAI_NONAME);
}

#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, descriptors_before, descriptors_after)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_ipv4),  TEST(test_ipv6),    TEST(test_unix),
        TEST(test_other), TEST(test_resolve), TEST(test_resolve_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
