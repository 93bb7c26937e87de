/* test_ss_io - whole transfers under short counts, interruptions and ends.
 *
 * The linker puts the functions below between the library and the kernel, so
 * that a call can be made short or fail in this very process, under Valgrind
 * and the sanitizers too.
 *
 * Links: -Wl,--wrap=send,--wrap=recv,--wrap=poll,--wrap=write
 */
#define _POSIX_C_SOURCE 200809L

#include "ss_io.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "descriptors.h"

#define TEXT "one line\nand another"

enum { TEXT_BYTES = sizeof(TEXT) - 1, LINE_BYTES = 9, LARGE_BYTES = 1 << 20 };

/* What happens to a transfer. */
static struct {
    size_t cap;        /* of bytes a call; 0: none */
    int error;         /* which every second call fails with; 0: none */
    int poll_error;    /* which each poll fails with; 0: none */
    int interruptions; /* so many polls fail with EINTR, from the next */
    int early;         /* so many polls then say 0 before their time */
    int longest_ms;    /* the longest timeout of a poll so far */
    unsigned calls;    /* of send, recv and write so far */
    unsigned polls;    /* of poll so far */
    unsigned fail_at;  /* the call that fails with `error`, all others do not */
} fault;

ssize_t __real_send(int fd, const void *buffer, size_t length, int flags);
ssize_t __real_recv(int fd, void *buffer, size_t length, int flags);
ssize_t __real_write(int fd, const void *buffer, size_t length);
int __real_poll(struct pollfd *set, nfds_t count, int timeout_ms);
ssize_t __wrap_send(int fd, const void *buffer, size_t length, int flags);
ssize_t __wrap_recv(int fd, void *buffer, size_t length, int flags);
ssize_t __wrap_write(int fd, const void *buffer, size_t length);
int __wrap_poll(struct pollfd *set, nfds_t count, int timeout_ms);

static bool fails(void)
{
    unsigned call = ++fault.calls;

    if (fault.error == 0 ||
        (fault.fail_at == 0 ? call % 2 == 0 : call != fault.fail_at)) {
        return false;
    }
    errno = fault.error;
    return true;
}

static size_t capped(size_t length)
{
    return fault.cap != 0 && fault.cap < length ? fault.cap : length;
}

ssize_t __wrap_send(int fd, const void *buffer, size_t length, int flags)
{
    assert_true((flags & MSG_NOSIGNAL) != 0);
    return fails() ? -1 : __real_send(fd, buffer, capped(length), flags);
}

ssize_t __wrap_recv(int fd, void *buffer, size_t length, int flags)
{
    return fails() ? -1 : __real_recv(fd, buffer, capped(length), flags);
}

ssize_t __wrap_write(int fd, const void *buffer, size_t length)
{
    return fails() ? -1 : __real_write(fd, buffer, capped(length));
}

int __wrap_poll(struct pollfd *set, nfds_t count, int timeout_ms)
{
    fault.polls++;
    if (timeout_ms > fault.longest_ms) {
        fault.longest_ms = timeout_ms;
    }
    if (fault.interruptions > 0) {
        fault.interruptions--;
        errno = EINTR;
        return -1;
    }
    if (fault.early > 0) {
        fault.early--;
        return 0;
    }
    if (fault.poll_error != 0) {
        errno = fault.poll_error;
        return -1;
    }
    return __real_poll(set, count, timeout_ms);
}

static int near; /* the library's end */
static int far;  /* the test's */

static void set_blocking(int fd, bool blocking)
{
    int flags = fcntl(fd, F_GETFL);

    assert_int_not_equal(flags, -1);
    flags = blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK;
    assert_int_equal(fcntl(fd, F_SETFL, flags), 0);
}

static int before(void **state)
{
    int pair[2];

    memset(&fault, 0, sizeof(fault));
    if (descriptors_before(state) == -1 ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == -1) {
        return -1;
    }
    near = pair[0];
    far = pair[1];
    return 0;
}

static int after(void **state)
{
    close(near);
    if (far != -1) {
        close(far);
    }
    return descriptors_after(state);
}

static void feed(const char *text, size_t length)
{
    assert_int_equal(__real_send(far, text, length, MSG_NOSIGNAL), length);
}

static void end_far(void)
{
    close(far);
    far = -1;
}

/* The other end, which takes as long as it wants, or breaks. */
static void restart_pair(void)
{
    int pair[2];

    close(near);
    if (far != -1) {
        close(far);
    }
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    near = pair[0];
    far = pair[1];
}

/* A connection of TCP, in place of the pair. */
static void use_tcp(void)
{
    struct sockaddr_in address;
    socklen_t length = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    close(near);
    close(far);
    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(
        getsockname(listener, (struct sockaddr *)&address, &length), 0);
    near = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(near, (struct sockaddr *)&address, length), 0);
    far = accept(listener, NULL, NULL);
    assert_int_not_equal(far, -1);
    close(listener);
}

static void reset_far(void)
{
    struct linger now = {1, 0};

    assert_int_equal(setsockopt(far, SOL_SOCKET, SO_LINGER, &now, sizeof(now)),
                     0);
    end_far();
}

static struct ss_deadline in_ms(int timeout_ms)
{
    struct ss_deadline deadline;

    ss_deadline_set(&deadline, timeout_ms);
    return deadline;
}

/* ---- Waiting ---- */

static void test_wait(void **state)
{
    struct ss_deadline now = in_ms(0);
    struct ss_deadline soon = in_ms(20);

    (void)state;
    assert_int_equal(ss_wait(-1, POLLIN, NULL), -1);
    assert_int_equal(errno, EBADF);
    assert_int_equal(ss_wait(near, POLLOUT, &now), 0);
    errno = 0;
    assert_int_equal(ss_wait(near, POLLIN, &now), -1);
    assert_int_equal(errno, ETIMEDOUT);
    errno = 0;
    assert_int_equal(ss_wait(near, POLLIN, &soon), -1);
    assert_int_equal(errno, ETIMEDOUT);
    assert_int_equal(ss_deadline_left_ms(&soon), 0); /* it has waited */
    feed("x", 1);
    assert_int_equal(ss_wait(near, POLLIN, NULL), 0);
    end_far();
    assert_int_equal(ss_wait(near, POLLIN, NULL), 0);
    assert_int_equal(ss_wait(near, 0, NULL), 0); /* a hang-up counts */
}

static void test_wait_fails(void **state)
{
    (void)state;
    fault.poll_error = ENOMEM;
    assert_int_equal(ss_wait(near, POLLIN, NULL), -1);
    assert_int_equal(errno, ENOMEM);
}

/* Interruptions may not make a deadline longer. */
static void test_wait_interrupted(void **state)
{
    struct ss_deadline soon = in_ms(20);

    (void)state;
    fault.interruptions = 3;
    fault.early = 2;
    assert_int_equal(ss_wait(near, POLLIN, &soon), -1);
    assert_int_equal(errno, ETIMEDOUT);
    assert_int_equal(ss_deadline_left_ms(&soon), 0);
    assert_true(fault.polls >= 6);
    assert_true(fault.longest_ms <= 20);
    feed("x", 1);
    fault.interruptions = 3;
    assert_int_equal(ss_wait(near, POLLIN, &soon), 0); /* it is there, look */
    fault.interruptions = 3;
    assert_int_equal(ss_wait(near, POLLIN, NULL), 0);
}

/* ---- Sending ---- */

static void expect_far(const char *text, size_t length)
{
    char got[64];
    size_t done = 0;

    assert_true(length < sizeof(got));
    while (done < length) {
        ssize_t part = __real_recv(far, got + done, length - done, 0);

        assert_true(part > 0);
        done += (size_t)part;
    }
    assert_memory_equal(got, text, length);
    assert_int_equal(__real_recv(far, got, 1, MSG_DONTWAIT), -1);
}

static void test_send_all(void **state)
{
    static const int errors[] = {0, EINTR, EAGAIN};
    size_t done;

    (void)state;
    for (size_t cap = 0; cap <= TEXT_BYTES + 1; cap++) {
        for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
            memset(&fault, 0, sizeof(fault));
            fault.cap = cap;
            fault.error = errors[i];
            done = 99;
            assert_int_equal(ss_send_all(near, TEXT, TEXT_BYTES, NULL, &done),
                             0);
            assert_int_equal(done, TEXT_BYTES);
            expect_far(TEXT, TEXT_BYTES);
        }
    }
    assert_int_equal(ss_send_all(near, NULL, 0, NULL, &done), 0);
    assert_int_equal(done, 0);
}

/* What was sent before a failure is told, and it has arrived. */
static void test_send_fails(void **state)
{
    size_t done = 99;

    (void)state;
    for (unsigned at = 1; at <= TEXT_BYTES; at++) {
        memset(&fault, 0, sizeof(fault));
        fault.cap = 1;
        fault.error = ENOBUFS;
        fault.fail_at = at;
        errno = 0;
        assert_int_equal(ss_send_all(near, TEXT, TEXT_BYTES, NULL, &done), -1);
        assert_int_equal(errno, ENOBUFS);
        assert_int_equal(done, at - 1);
        expect_far(TEXT, done);
    }
}

/* SIGPIPE has its default disposition here: it would end the test. */
static void test_send_to_nobody(void **state)
{
    size_t done = 99;

    (void)state;
    end_far();
    assert_int_equal(ss_send_all(near, "x", 1, NULL, &done), -1);
    assert_int_equal(errno, EPIPE);
    assert_int_equal(done, 0);
    assert_int_equal(ss_send_all(-1, "x", 1, NULL, &done), -1);
    assert_int_equal(errno, EBADF);
}

static unsigned char pattern(size_t at)
{
    return (unsigned char)(at % 251 + at / 251);
}

static unsigned char *large(void)
{
    unsigned char *bytes = malloc(LARGE_BYTES);

    assert_non_null(bytes);
    for (size_t i = 0; i < LARGE_BYTES; i++) {
        bytes[i] = pattern(i);
    }
    return bytes;
}

/* Reads below the library; it has no asserts, being a thread.
 * Result: how many bytes were right, from the first.
 */
static void *drain(void *result)
{
    size_t *good = result;
    unsigned char bytes[4096];
    ssize_t length;

    while ((length = __real_recv(far, bytes, sizeof(bytes), 0)) > 0) {
        for (ssize_t i = 0; i < length; i++) {
            if (bytes[i] != pattern(*good)) {
                return NULL;
            }
            ++*good;
        }
    }
    return NULL;
}

/* Far more than the kernel holds, so that the sender has to wait. */
static void test_send_waits_for_room(void **state)
{
    unsigned char *bytes = large();

    (void)state;
    for (int blocking = 0; blocking <= 1; blocking++) {
        pthread_t thread;
        size_t good = 0;
        size_t done = 0;
        int result;

        restart_pair();
        set_blocking(near, blocking == 1);
        assert_int_equal(pthread_create(&thread, NULL, drain, &good), 0);
        result = ss_send_all(near, bytes, LARGE_BYTES, NULL, &done);
        shutdown(near, SHUT_WR);
        pthread_join(thread, NULL);
        assert_int_equal(result, 0);
        assert_int_equal(done, LARGE_BYTES);
        assert_int_equal(good, LARGE_BYTES);
    }
    free(bytes);
}

/* The peer does not read: the deadline ends it, on a blocking socket too. */
static void test_send_deadline(void **state)
{
    unsigned char *bytes = large();

    (void)state;
    for (int blocking = 0; blocking <= 1; blocking++) {
        struct ss_deadline soon = in_ms(30);
        size_t good = 0;
        size_t done = 0;

        restart_pair();
        set_blocking(near, blocking == 1);
        errno = 0;
        assert_int_equal(ss_send_all(near, bytes, LARGE_BYTES, &soon, &done),
                         -1);
        assert_int_equal(errno, ETIMEDOUT);
        assert_int_equal(ss_deadline_left_ms(&soon), 0);
        assert_true(done > 0 && done < LARGE_BYTES);
        shutdown(near, SHUT_WR);
        drain(&good);
        assert_int_equal(good, done);
    }
    free(bytes);
}

/* A deadline that has passed: what is possible at once, and no waiting. */
static void test_send_at_once(void **state)
{
    struct ss_deadline now = in_ms(0);
    size_t done = 0;

    (void)state;
    assert_int_equal(ss_send_all(near, TEXT, TEXT_BYTES, &now, &done), 0);
    assert_int_equal(done, TEXT_BYTES);
    assert_int_equal(fault.polls, 0);
}

/* ---- Receiving ---- */

static void test_recv_exact(void **state)
{
    static const int errors[] = {0, EINTR, EAGAIN};
    char got[TEXT_BYTES + 1];
    size_t done;

    (void)state;
    for (size_t cap = 0; cap <= TEXT_BYTES; cap++) {
        for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
            memset(&fault, 0, sizeof(fault));
            fault.cap = cap;
            fault.error = errors[i];
            memset(got, '#', sizeof(got));
            feed(TEXT "!", TEXT_BYTES + 1);
            assert_int_equal(ss_recv_exact(near, got, TEXT_BYTES, NULL, &done),
                             0);
            assert_int_equal(done, TEXT_BYTES);
            assert_memory_equal(got, TEXT "#", TEXT_BYTES + 1);
            assert_int_equal(__real_recv(near, got, 2, MSG_DONTWAIT), 1);
            assert_int_equal(got[0], '!'); /* nothing more was taken */
        }
    }
    assert_int_equal(ss_recv_exact(near, NULL, 0, NULL, &done), 0);
    assert_int_equal(done, 0);
}

static void test_recv_exact_end_at_each_offset(void **state)
{
    char got[TEXT_BYTES];
    size_t done = 99;

    (void)state;
    for (size_t offset = 0; offset < TEXT_BYTES; offset++) {
        restart_pair();
        feed(TEXT, offset);
        end_far();
        memset(got, '#', sizeof(got));
        errno = 0;
        assert_int_equal(ss_recv_exact(near, got, TEXT_BYTES, NULL, &done), -1);
        assert_int_equal(errno, ENODATA);
        assert_int_equal(done, offset);
        assert_memory_equal(got, TEXT, offset);
        assert_int_equal(got[offset], '#');
    }
}

static void test_recv_deadline(void **state)
{
    char got[TEXT_BYTES];
    size_t done = 99;

    (void)state;
    for (int blocking = 0; blocking <= 1; blocking++) {
        struct ss_deadline soon = in_ms(20);

        restart_pair();
        set_blocking(near, blocking == 1);
        feed(TEXT, 3);
        errno = 0;
        assert_int_equal(ss_recv_exact(near, got, TEXT_BYTES, &soon, &done),
                         -1);
        assert_int_equal(errno, ETIMEDOUT);
        assert_int_equal(ss_deadline_left_ms(&soon), 0);
        assert_int_equal(done, 3);
        feed("ab", 2);
        assert_int_equal(
            ss_recv_until(near, got, TEXT_BYTES, '\n', &soon, &done), -1);
        assert_int_equal(errno, ETIMEDOUT);
        assert_int_equal(done, 2);
        assert_int_equal(ss_recv_some(near, got, TEXT_BYTES, &soon, &done), -1);
        assert_int_equal(errno, ETIMEDOUT);
        assert_int_equal(done, 0);
    }
}

/* A reset is neither an end nor a timeout. */
static void test_recv_reset(void **state)
{
    char got[TEXT_BYTES];
    size_t done = 99;

    (void)state;
    use_tcp();
    reset_far();
    errno = 0;
    assert_int_equal(ss_recv_exact(near, got, TEXT_BYTES, NULL, &done), -1);
    assert_int_equal(errno, ECONNRESET);
    assert_int_equal(done, 0);
    restart_pair();
    use_tcp();
    reset_far();
    assert_int_equal(ss_recv_until(near, got, TEXT_BYTES, '\n', NULL, &done),
                     -1);
    assert_int_equal(errno, ECONNRESET);
    assert_int_equal(done, 0);
}

static void test_recv_some(void **state)
{
    char got[TEXT_BYTES];
    size_t done = 99;

    (void)state;
    feed("abc", 3);
    fault.error = EINTR;
    assert_int_equal(ss_recv_some(near, got, sizeof(got), NULL, &done), 0);
    assert_int_equal(done, 3);
    assert_memory_equal(got, "abc", 3);
    errno = 0;
    assert_int_equal(ss_recv_some(near, got, 0, NULL, &done), -1);
    assert_int_equal(errno, EINVAL);
    end_far();
    done = 99;
    assert_int_equal(ss_recv_some(near, got, sizeof(got), NULL, &done), 0);
    assert_int_equal(done, 0);
    fault.error = 0;
    assert_int_equal(ss_recv_some(-1, got, sizeof(got), NULL, &done), -1);
    assert_int_equal(errno, EBADF);
}

/* Bytes that come late, one after the other. */
static void *trickle(void *failed)
{
    struct pollfd entry = {far, POLLIN, 0};

    for (size_t i = 0; i < TEXT_BYTES; i++) {
        char byte;

        if (__real_send(far, &TEXT[i], 1, MSG_NOSIGNAL) != 1 ||
            __real_poll(&entry, 1, 10000) != 1 ||
            __real_recv(far, &byte, 1, 0) != 1) {
            *(bool *)failed = true;
            return NULL;
        }
    }
    return NULL;
}

/* Each byte is answered before the next is sent: a split at every offset. */
static void test_recv_some_waits(void **state)
{
    struct ss_deadline deadline = in_ms(60000);
    char got[TEXT_BYTES];
    pthread_t thread;
    bool failed = false;
    size_t done = 0;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, trickle, &failed), 0);
    for (size_t i = 0; i < TEXT_BYTES; i++) {
        assert_int_equal(
            ss_recv_some(near, got + i, TEXT_BYTES - i, &deadline, &done), 0);
        assert_int_equal(done, 1);
        assert_int_equal(ss_send_all(near, "+", 1, &deadline, &done), 0);
    }
    pthread_join(thread, NULL);
    assert_false(failed);
    assert_memory_equal(got, TEXT, TEXT_BYTES);
}

static void test_recv_until(void **state)
{
    static const int errors[] = {0, EINTR, EAGAIN};
    char got[TEXT_BYTES];
    size_t done;

    (void)state;
    for (size_t cap = 0; cap <= TEXT_BYTES; cap++) {
        for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
            memset(&fault, 0, sizeof(fault));
            fault.cap = cap;
            fault.error = errors[i];
            feed(TEXT, TEXT_BYTES);
            assert_int_equal(
                ss_recv_until(near, got, TEXT_BYTES, '\n', NULL, &done), 0);
            assert_int_equal(done, LINE_BYTES);
            assert_memory_equal(got, "one line\n", LINE_BYTES);
            fault.error = 0;
            assert_int_equal(
                ss_recv_exact(near, got, TEXT_BYTES - LINE_BYTES, NULL, &done),
                0);
            assert_memory_equal(got, "and another", 11);
        }
    }
}

static void test_recv_until_full(void **state)
{
    char got[TEXT_BYTES];
    size_t done = 99;

    (void)state;
    feed(TEXT, TEXT_BYTES);
    memset(got, '#', sizeof(got));
    errno = 0;
    assert_int_equal(
        ss_recv_until(near, got, LINE_BYTES - 1, '\n', NULL, &done), -1);
    assert_int_equal(errno, EMSGSIZE);
    assert_int_equal(done, LINE_BYTES - 1);
    assert_memory_equal(got, "one line#", LINE_BYTES);
    assert_int_equal(ss_recv_until(near, got, 1, '\n', NULL, &done), 0);
    assert_int_equal(done, 1); /* it fits exactly */
    feed("a\0b\n", 4);
    assert_int_equal(ss_recv_exact(near, got, 11, NULL, &done), 0);
    assert_int_equal(ss_recv_until(near, got, 4, '\n', NULL, &done), 0);
    assert_int_equal(done, 4);
    assert_memory_equal(got, "a\0b\n", 4);
    feed("\377", 1); /* of a char that may be negative */
    assert_int_equal(ss_recv_until(near, got, 4, (char)255, NULL, &done), 0);
    assert_int_equal(done, 1);
}

static void test_recv_until_end_at_each_offset(void **state)
{
    char got[TEXT_BYTES];
    size_t done = 99;

    (void)state;
    for (size_t offset = 0; offset < LINE_BYTES; offset++) {
        restart_pair();
        feed(TEXT, offset);
        end_far();
        errno = 0;
        assert_int_equal(
            ss_recv_until(near, got, TEXT_BYTES, '\n', NULL, &done), -1);
        assert_int_equal(errno, ENODATA);
        assert_int_equal(done, offset);
        assert_memory_equal(got, TEXT, offset);
    }
}

/* ---- Writing to files ---- */

static void test_write_all(void **state)
{
    static const int errors[] = {0, EINTR, EAGAIN};
    char got[TEXT_BYTES + 1];
    int ends[2];
    size_t done;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    for (size_t cap = 0; cap <= TEXT_BYTES; cap++) {
        for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
            memset(&fault, 0, sizeof(fault));
            fault.cap = cap;
            fault.error = errors[i];
            assert_int_equal(
                ss_write_all(ends[1], TEXT, TEXT_BYTES, NULL, &done), 0);
            assert_int_equal(done, TEXT_BYTES);
            assert_int_equal(read(ends[0], got, sizeof(got)), TEXT_BYTES);
            assert_memory_equal(got, TEXT, TEXT_BYTES);
        }
    }
    close(ends[0]);
    close(ends[1]);
}

static void test_write_fails(void **state)
{
    struct ss_deadline soon = in_ms(20);
    unsigned char *bytes = large();
    size_t done = 99;
    int ends[2];
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

    (void)state;
    assert_int_not_equal(full, -1);
    assert_int_equal(ss_write_all(full, "x", 1, NULL, &done), -1);
    assert_int_equal(errno, ENOSPC);
    assert_int_equal(done, 0);
    close(full);
    assert_int_equal(pipe(ends), 0);
    set_blocking(ends[1], false);
    errno = 0;
    assert_int_equal(ss_write_all(ends[1], bytes, LARGE_BYTES, &soon, &done),
                     -1);
    assert_int_equal(errno, ETIMEDOUT);
    assert_true(done > 0 && done < LARGE_BYTES);
    close(ends[0]);
    close(ends[1]);
    free(bytes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, before, after)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_wait),
        TEST(test_wait_fails),
        TEST(test_wait_interrupted),
        TEST(test_send_all),
        TEST(test_send_fails),
        TEST(test_send_to_nobody),
        TEST(test_send_waits_for_room),
        TEST(test_send_deadline),
        TEST(test_send_at_once),
        TEST(test_recv_exact),
        TEST(test_recv_exact_end_at_each_offset),
        TEST(test_recv_deadline),
        TEST(test_recv_reset),
        TEST(test_recv_some),
        TEST(test_recv_some_waits),
        TEST(test_recv_until),
        TEST(test_recv_until_full),
        TEST(test_recv_until_end_at_each_offset),
        TEST(test_write_all),
        TEST(test_write_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
