/* test_ss_stop - an orderly end, whenever the signal comes.
 *
 * Links: -Wl,--wrap=poll,--wrap=signalfd,--wrap=sigaction
 * Links: -Wl,--wrap=pthread_sigmask,--wrap=clock_gettime
 */
#define _POSIX_C_SOURCE 200809L

#include "ss_stop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "descriptors.h"

/* Calls in serve(): 4 to open, 3 for each of two looks in each of 3 turns, and
 * the last wait. The first 3 come before the signals are blocked.
 */
enum { THREADS = 4, CHILD_SECONDS = 60, GAPS_UNBLOCKED = 3, GAPS = 23 };

/* What happens before a wrapped call, and to it. */
static struct {
    atomic_uint calls;  /* so far, of all of them */
    unsigned signal_at; /* the call before which SIGTERM comes; 0: none */
    int interruptions;  /* so many polls fail with EINTR, from the next */
    int poll_error;     /* which each poll fails with; 0: none */
    int signalfd_error; /* which signalfd fails with; 0: none */
} fault;

int __real_poll(struct pollfd *set, nfds_t count, int timeout_ms);
int __real_signalfd(int fd, const sigset_t *mask, int flags);
int __real_sigaction(int number, const struct sigaction *action,
                     struct sigaction *old);
int __real_pthread_sigmask(int how, const sigset_t *set, sigset_t *old);
int __real_clock_gettime(clockid_t clock, struct timespec *time);
int __wrap_poll(struct pollfd *set, nfds_t count, int timeout_ms);
int __wrap_signalfd(int fd, const sigset_t *mask, int flags);
int __wrap_sigaction(int number, const struct sigaction *action,
                     struct sigaction *old);
int __wrap_pthread_sigmask(int how, const sigset_t *set, sigset_t *old);
int __wrap_clock_gettime(clockid_t clock, struct timespec *time);

static void gap(void)
{
    if (atomic_fetch_add(&fault.calls, 1) + 1 == fault.signal_at) {
        kill(getpid(), SIGTERM);
    }
}

int __wrap_poll(struct pollfd *set, nfds_t count, int timeout_ms)
{
    gap();
    if (fault.interruptions > 0) {
        fault.interruptions--;
        errno = EINTR;
        return -1;
    }
    if (fault.poll_error != 0) {
        errno = fault.poll_error;
        return -1;
    }
    return __real_poll(set, count, timeout_ms);
}

int __wrap_signalfd(int fd, const sigset_t *mask, int flags)
{
    gap();
    if (fault.signalfd_error != 0) {
        errno = fault.signalfd_error;
        return -1;
    }
    return __real_signalfd(fd, mask, flags);
}

int __wrap_sigaction(int number, const struct sigaction *action,
                     struct sigaction *old)
{
    gap();
    return __real_sigaction(number, action, old);
}

int __wrap_pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    gap();
    return __real_pthread_sigmask(how, set, old);
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *time)
{
    gap();
    return __real_clock_gettime(clock, time);
}

static struct ss_stop stop;
static sigset_t mask_before;

static int before(void **state)
{
    memset(&fault, 0, sizeof(fault));
    __real_pthread_sigmask(SIG_BLOCK, NULL, &mask_before);
    return descriptors_before(state);
}

static int is_blocked(int number)
{
    sigset_t set;

    __real_pthread_sigmask(SIG_BLOCK, NULL, &set);
    return sigismember(&set, number);
}

static int is_pending(int number)
{
    sigset_t set;

    return sigpending(&set) == 0 && sigismember(&set, number) == 1;
}

static int after(void **state)
{
    if (is_blocked(SIGTERM) || is_blocked(SIGINT)) {
        return -1;
    }
    return descriptors_after(state);
}

/* Takes a pending signal, so that unblocking it does not end this program. */
static void take(int number)
{
    sigset_t set;
    int taken = 0;

    if (!is_pending(number)) {
        return;
    }
    sigemptyset(&set);
    sigaddset(&set, number);
    assert_int_equal(sigwait(&set, &taken), 0);
    assert_int_equal(taken, number);
}

static void finish(void)
{
    ss_stop_close(&stop);
    assert_int_equal(stop.fd, -1);
    take(SIGINT);
    take(SIGTERM);
    assert_int_equal(ss_stop_unblock(&stop), 0);
}

static void test_request(void **state)
{
    static const int numbers[] = {SIGINT, SIGTERM};

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ss_stop_open(&stop), 0);
        assert_int_equal(fcntl(stop.fd, F_GETFD), FD_CLOEXEC);
        assert_true(is_blocked(SIGINT) && is_blocked(SIGTERM));
        assert_false(is_blocked(SIGHUP));
        errno = 77;
        assert_false(ss_stop_requested(&stop));
        kill(getpid(), numbers[i]);
        assert_true(ss_stop_requested(&stop));
        assert_true(ss_stop_requested(&stop)); /* it stays */
        assert_int_equal(errno, 77);
        finish();
    }
}

static void test_wait(void **state)
{
    struct ss_deadline soon;
    int pair[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(ss_stop_open(&stop), 0);
    assert_int_equal(ss_stop_wait(&stop, pair[0], POLLOUT, NULL), 0);
    ss_deadline_set(&soon, 20);
    errno = 0;
    assert_int_equal(ss_stop_wait(&stop, pair[0], POLLIN, &soon), -1);
    assert_int_equal(errno, ETIMEDOUT);
    assert_int_equal(ss_deadline_left_ms(&soon), 0);
    assert_int_equal(send(pair[1], "x", 1, 0), 1);
    fault.interruptions = 2;
    assert_int_equal(ss_stop_wait(&stop, pair[0], POLLIN, &soon), 0);
    kill(getpid(), SIGTERM);
    errno = 0;
    assert_int_equal(ss_stop_wait(&stop, pair[0], POLLIN, NULL), -1);
    assert_int_equal(errno, ECANCELED); /* it comes before what is ready */
    fault.interruptions = 2;
    assert_int_equal(ss_stop_wait(&stop, -1, 0, NULL), -1);
    assert_int_equal(errno, ECANCELED);
    finish();
    close(pair[0]);
    close(pair[1]);
}

static void test_wait_fails(void **state)
{
    (void)state;
    assert_int_equal(ss_stop_open(&stop), 0);
    fault.poll_error = ENOMEM;
    assert_int_equal(ss_stop_wait(&stop, -1, 0, NULL), -1);
    assert_int_equal(errno, ENOMEM);
    fault.poll_error = 0;
    finish();
}

/* A hang-up of the peer is no request. */
static void test_wait_hang_up(void **state)
{
    int pair[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    close(pair[1]);
    assert_int_equal(ss_stop_open(&stop), 0);
    assert_int_equal(ss_stop_wait(&stop, pair[0], POLLIN, NULL), 0);
    finish();
    close(pair[0]);
}

static void test_open_fails(void **state)
{
    (void)state;
    fault.signalfd_error = EMFILE;
    errno = 0;
    assert_int_equal(ss_stop_open(&stop), -1);
    assert_int_equal(errno, EMFILE);
    assert_int_equal(stop.fd, -1);
    assert_false(is_blocked(SIGTERM) || is_blocked(SIGINT));
}

static void test_ignored_stays_ignored(void **state)
{
    struct sigaction ignore;
    struct sigaction old;

    (void)state;
    memset(&ignore, 0, sizeof(ignore));
    ignore.sa_handler = SIG_IGN;
    assert_int_equal(sigaction(SIGINT, &ignore, &old), 0);
    assert_int_equal(ss_stop_open(&stop), 0);
    kill(getpid(), SIGINT);
    assert_false(ss_stop_requested(&stop));
    kill(getpid(), SIGTERM);
    assert_true(ss_stop_requested(&stop));
    finish();
    assert_int_equal(sigaction(SIGINT, &old, NULL), 0);
}

/* The mask of before comes back, whatever was in it. */
static void test_mask_comes_back(void **state)
{
    sigset_t set;

    (void)state;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
    assert_int_equal(ss_stop_open(&stop), 0);
    finish();
    assert_true(is_blocked(SIGTERM) && is_blocked(SIGUSR1));
    assert_false(is_blocked(SIGINT));
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &mask_before, NULL), 0);
}

/* ---- Threads ---- */

static void *wait_for_stop(void *result)
{
    *(int *)result = ss_stop_wait(&stop, -1, 0, NULL) == -1 ? errno : 0;
    return NULL;
}

/* One signal wakes them all, those that wait and those that come later. */
static void test_threads(void **state)
{
    pthread_t threads[THREADS];
    int results[THREADS] = {0};

    (void)state;
    assert_int_equal(ss_stop_open(&stop), 0);
    for (int i = 0; i < THREADS; i++) {
        if (i == THREADS - 1) {
            kill(getpid(), SIGTERM);
        }
        assert_int_equal(
            pthread_create(&threads[i], NULL, wait_for_stop, &results[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(results[i], ECANCELED);
    }
    finish();
}

/* ---- Every gap ---- */

/* A small server: it looks, waits, and looks again, until the end. Each of
 * its steps has a gap before it. With deadlines of 0 their number is fixed.
 */
static int serve(void)
{
    struct ss_deadline now;
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == -1 ||
        ss_stop_open(&stop) == -1) {
        return 2;
    }
    for (int turn = 0; turn < 3; turn++) {
        if (ss_stop_requested(&stop)) {
            return 0;
        }
        ss_deadline_set(&now, 0); /* nothing comes */
        if (ss_stop_wait(&stop, pair[0], POLLIN, &now) == 0) {
            return 3;
        }
        if (errno == ECANCELED) {
            return 0;
        }
    }
    /* For ever, if the signal came earlier and was lost. */
    if (ss_stop_wait(&stop, pair[0], POLLIN, NULL) == -1 &&
        errno == ECANCELED) {
        return fault.calls == GAPS ? 0 : 4;
    }
    return 3;
}

/* SIGTERM comes before call 1, 2, 3... of a server. Until the signals are
 * blocked, it ends the server as it ends any program; from then on the end is
 * orderly, and never a hang, which SIGALRM would end.
 */
static void test_signal_in_every_gap(void **state)
{
    (void)state;
    for (unsigned at = 1; at <= GAPS; at++) {
        int status = 0;
        pid_t child = fork();

        if (child == 0) {
            alarm(CHILD_SECONDS);
            fault.signal_at = at;
            _exit(serve());
        }
        assert_int_not_equal(child, -1);
        assert_int_equal(waitpid(child, &status, 0), child);
        if (at <= GAPS_UNBLOCKED) {
            assert_true(WIFSIGNALED(status));
            assert_int_equal(WTERMSIG(status), SIGTERM);
        } else {
            assert_true(WIFEXITED(status));
            assert_int_equal(WEXITSTATUS(status), 0);
        }
    }
}

/* ---- Processes ---- */

/* The exit status of a shell that sends itself SIGTERM, in a child. */
static int end_of_shell(int unblocked)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        if (unblocked && ss_stop_unblock(&stop) == -1) {
            _exit(2);
        }
        execl("/bin/sh", "sh", "-c", "kill -TERM $$; exit 3", (char *)NULL);
        _exit(2);
    }
    assert_int_not_equal(child, -1);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void test_programs_can_be_ended(void **state)
{
    int status;

    (void)state;
    assert_int_equal(ss_stop_open(&stop), 0);
    status = end_of_shell(0); /* why it must be called */
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    status = end_of_shell(1);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    finish();
}

/* A child sees its own signals in the descriptor, not those of its parent. */
static void test_children(void **state)
{
    int status = 0;
    pid_t child;

    (void)state;
    assert_int_equal(ss_stop_open(&stop), 0);
    kill(getpid(), SIGTERM);
    child = fork();
    if (child == 0) {
        if (ss_stop_requested(&stop)) {
            _exit(2);
        }
        kill(getpid(), SIGTERM);
        _exit(ss_stop_requested(&stop) ? 0 : 3);
    }
    assert_int_not_equal(child, -1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    finish();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, before, after)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_request),
        TEST(test_wait),
        TEST(test_wait_fails),
        TEST(test_wait_hang_up),
        TEST(test_open_fails),
        TEST(test_ignored_stays_ignored),
        TEST(test_mask_comes_back),
        TEST(test_signal_in_every_gap),
        TEST(test_programs_can_be_ended),
        TEST(test_children),
        TEST(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
