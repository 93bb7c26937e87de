/* test_fault_preload - runs prog_calls under the preload, with plans.
 *
 * Each test starts build/tests/unit/prog_calls with fault_preload.so and
 * compares what the program saw, and the log, with what they must be. The
 * child is ended by SIGALRM if it hangs.
 */
#define _XOPEN_SOURCE 700 /* realpath */

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PRELOAD "build/src/fault_preload.so"
#define PROGRAM "build/tests/unit/prog_calls"

enum {
    CHILD_SECONDS = 60,
    ARGUMENTS_MAX = 8,
    INHERITED_MAX = 1024,
    TEXT_BYTES = 1 << 20
};

/* What a run has left. */
static struct {
    char out[TEXT_BYTES];
    char err[TEXT_BYTES];
    char log[TEXT_BYTES];
    int status; /* as of waitpid(2) */
} run;

/* What the next run gets beside its plan. */
static struct {
    const char *log;     /* NULL: a file of its own */
    const char *program; /* SOCKSTEP_PROGRAM, or NULL */
    rlim_t descriptors;  /* soft RLIMIT_NOFILE, or 0: as it is */
} with;

static int temporary(char *path)
{
    int fd;

    strcpy(path, "/tmp/test_fault_preload.XXXXXX");
    fd = mkstemp(path);
    assert_int_not_equal(fd, -1);
    return fd;
}

static void slurp(int fd, char *text)
{
    ssize_t length = pread(fd, text, TEXT_BYTES - 1, 0);

    assert_true(length >= 0 && length < TEXT_BYTES - 1);
    text[length] = '\0';
    close(fd);
}

/* In the child. It is ended without the clean-up of cmocka. */
static _Noreturn void start(const char *plan, const char *log, char **argv)
{
    struct rlimit limit;
    char preload[] = "LD_PRELOAD=" PRELOAD;
    char faults[2048];
    char calls[256];
    char program[256];
    char *environment[5] = {preload};
    int count = 1;

    if (plan != NULL) {
        snprintf(faults, sizeof(faults), "SOCKSTEP_FAULTS=%s", plan);
        environment[count++] = faults;
    }
    snprintf(calls, sizeof(calls), "SOCKSTEP_CALLS=%s", log);
    environment[count++] = calls;
    if (with.program != NULL) {
        snprintf(program, sizeof(program), "SOCKSTEP_PROGRAM=%s", with.program);
        environment[count++] = program;
    }
    environment[count] = NULL;
    signal(SIGPIPE, SIG_DFL);
    alarm(CHILD_SECONDS);
    if (getrlimit(RLIMIT_NOFILE, &limit) == -1) {
        _exit(126);
    }
    if (with.descriptors != 0) {
        limit.rlim_cur = with.descriptors;
    }
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0) {
        execve(argv[0], argv, environment);
    }
    _exit(126);
}

/* Runs prog_calls with the words of `names`, which are separated by blanks. */
static void run_calls(const char *plan, const char *names)
{
    char words[256];
    char program[] = PROGRAM;
    char *argv[ARGUMENTS_MAX + 2] = {program};
    char paths[3][40];
    int files[3] = {-1, -1, -1};
    int count = 1;
    pid_t child;

    assert_true(strlen(names) < sizeof(words));
    strcpy(words, names);
    for (char *word = strtok(words, " "); word != NULL;
         word = strtok(NULL, " ")) {
        assert_true(count <= ARGUMENTS_MAX);
        argv[count++] = word;
    }
    argv[count] = NULL;
    for (int i = 0; i < 3; i++) {
        files[i] = temporary(paths[i]);
    }
    child = fork();
    if (child == 0) {
        dup2(files[0], STDOUT_FILENO);
        dup2(files[1], STDERR_FILENO);
        /* Others come from make or a shell, say, with numbers of any size. */
        for (int fd = 3; fd < INHERITED_MAX; fd++) {
            close(fd);
        }
        start(plan, with.log != NULL ? with.log : paths[2], argv);
    }
    assert_int_not_equal(child, -1);
    assert_int_equal(waitpid(child, &run.status, 0), child);
    slurp(files[0], run.out);
    slurp(files[1], run.err);
    slurp(files[2], run.log);
    for (int i = 0; i < 3; i++) {
        unlink(paths[i]);
    }
    memset(&with, 0, sizeof(with));
}

static void expect_out(const char *expected)
{
    if (strcmp(run.out, expected) != 0) {
        fail_msg("the program saw\n%sand not\n%s%s%s", run.out, expected,
                 run.err, run.log);
    }
}

static void expect_exit(int status)
{
    if (!WIFEXITED(run.status) || WEXITSTATUS(run.status) != status) {
        fail_msg("wait status %#x and not exit status %d\n%s%s", run.status,
                 status, run.err, run.log);
    }
}

/* Counts the lines of the log whose part behind both ids fits a pattern. */
static int count_log(const char *pattern)
{
    char line[1024];
    int count = 0;

    for (const char *at = run.log; *at != '\0';) {
        size_t length = strcspn(at, "\n");
        char *text = line;

        assert_true(length < sizeof(line) && at[length] == '\n');
        memcpy(line, at, length);
        line[length] = '\0';
        for (int i = 0; i < 2; i++) { /* PID and TID */
            assert_true(strtol(text, &text, 10) > 0);
            assert_int_equal(*text, ' ');
            text++;
        }
        count += fnmatch(pattern, text, FNM_NOESCAPE) == 0;
        at += length + 1;
    }
    return count;
}

static void expect_log(const char *pattern, int count)
{
    int found = count_log(pattern);

    if (found != count) {
        fail_msg("%d lines and not %d fit `%s` in\n%s", found, count, pattern,
                 run.log);
    }
}

/* ---- Each function ---- */

struct row {
    const char *name;
    const char *class;
    long natural;        /* the result when nothing goes wrong */
    const char *log;     /* function and arguments, as a pattern */
    const char *error;   /* what is injected */
    int number;          /* the same */
    const char *got;     /* what is received or has arrived */
    long failed;         /* the result of a failure */
    bool returns_errors; /* and does not set errno */
};

#define USUAL(name, class, natural, log, error, got)                           \
    {                                                                          \
        name, class, natural, log, #error, error, got, -1, false               \
    }

static const struct row rows[] = {
    USUAL("socket", "socket", 1, "socket(AF_INET SOCK_STREAM *protocol=0)",
          EMFILE, ""),
    USUAL("bind", "bind", 0, "bind(fd=* 127.0.0.1:0)", EADDRINUSE, ""),
    USUAL("listen", "listen", 0, "listen(fd=* backlog=5)", EADDRINUSE, ""),
    USUAL("accept", "accept", 1, "accept(fd=*)", ECONNABORTED, ""),
    USUAL("accept4", "accept", 1, "accept4(fd=* flags=524288)", EMFILE, ""),
    USUAL("connect", "connect", 0, "connect(fd=* 127.0.0.1:*)", ECONNREFUSED,
          ""),
    USUAL("shutdown", "shutdown", 0, "shutdown(fd=* SHUT_WR)", ENOTCONN, ""),
    USUAL("setsockopt", "sockopt", 0,
          "setsockopt(fd=* SOL_SOCKET SO_REUSEADDR value=1)", ENOPROTOOPT, ""),
    USUAL("getsockopt", "sockopt", 0, "getsockopt(fd=* SOL_SOCKET SO_ERROR)",
          ENOBUFS, ""),
    USUAL("recv", "recv", 5, "recv(fd=* len=5 flags=0)", ECONNRESET, "hello"),
    USUAL("recvfrom", "recv", 5, "recvfrom(fd=* len=5 flags=0)", EINTR,
          "hello"),
    USUAL("recvmsg", "recv", 5, "recvmsg(fd=* len=6 flags=0)", EAGAIN, "hello"),
    USUAL("read-socket", "recv", 5, "read(fd=* len=5)", ECONNRESET, "hello"),
    USUAL("readv-socket", "recv", 5, "readv(fd=* len=6)", ETIMEDOUT, "hello"),
    USUAL("recv_chk", "recv", 5, "recv(fd=* len=5 flags=0)", EINTR, "hello"),
    USUAL("recvfrom_chk", "recv", 5, "recvfrom(fd=* len=5 flags=0)", EINTR,
          "hello"),
    USUAL("read_chk-socket", "recv", 5, "read(fd=* len=5)", EINTR, "hello"),
    USUAL("read", "read", 5, "read(fd=* len=5)", EIO, "hello"),
    USUAL("readv", "read", 5, "readv(fd=* len=6)", EINTR, "hello"),
    USUAL("read_chk", "read", 5, "read(fd=* len=5)", EINTR, "hello"),
    USUAL("send", "send", 5, "send(fd=* len=5 flags=16384)", EPIPE, "hello"),
    USUAL("sendto", "send", 5, "sendto(fd=* len=5 flags=16384 NULL)", EINTR,
          "hello"),
    USUAL("sendmsg", "send", 6, "sendmsg(fd=* len=6 flags=16384)", ENOBUFS,
          "abcdef"),
    USUAL("write-socket", "send", 5, "write(fd=* len=5)", ECONNRESET, "hello"),
    USUAL("writev-socket", "send", 6, "writev(fd=* len=6)", EAGAIN, "abcdef"),
    USUAL("write", "write", 5, "write(fd=* len=5)", ENOSPC, ""),
    USUAL("writev", "write", 6, "writev(fd=* len=6)", EIO, ""),
    USUAL("sendfile", "send", 5, "sendfile(to=* len=5)", ECONNRESET, "hello"),
    USUAL("splice-in", "recv", 5, "splice(from=* to=* len=5)", ECONNRESET, ""),
    USUAL("splice-out", "write", 5, "splice(from=* to=* len=5)", ENOSPC, ""),
    USUAL("fsync", "sync", 0, "fsync(fd=*)", EIO, ""),
    USUAL("fdatasync", "sync", 0, "fdatasync(fd=*)", EIO, ""),
    USUAL("rename", "rename", 0, "rename()", EACCES, ""),
    USUAL("renameat", "rename", 0, "renameat()", EROFS, ""),
    USUAL("close-file", "closefile", 0, "close(fd=*)", EIO, ""),
    USUAL("poll", "wait", 1, "poll(nfds=1 timeout_ms=1000)", EINTR, ""),
    USUAL("ppoll", "wait", 1, "ppoll(nfds=1)", EINTR, ""),
    USUAL("poll_chk", "wait", 1, "poll(nfds=1 timeout_ms=1000)", ENOMEM, ""),
    USUAL("ppoll_chk", "wait", 1, "ppoll(nfds=1)", EINTR, ""),
    USUAL("select", "wait", 1, "select(nfds=*)", EINTR, ""),
    USUAL("pselect", "wait", 1, "pselect(nfds=*)", EINTR, ""),
    USUAL("epoll_wait", "wait", 1, "epoll_wait(fd=* maxevents=1 *=1000)", EINTR,
          ""),
    USUAL("epoll_pwait", "wait", 1, "epoll_pwait(fd=* maxevents=1 *=1000)",
          EINTR, ""),
    USUAL("epoll_pwait2", "wait", 1, "epoll_pwait2(fd=* maxevents=1)", EINTR,
          ""),
    USUAL("close", "close", 0, "close(fd=*)", EIO, ""),
    {"malloc", "malloc", 1, "malloc(size=100)", "ENOMEM", ENOMEM, "", 0, false},
    {"calloc", "malloc", 1, "calloc(count=10 size=10)", "ENOMEM", ENOMEM, "", 0,
     false},
    {"aligned_alloc", "malloc", 1, "aligned_alloc(alignment=64 size=128)",
     "ENOMEM", ENOMEM, "", 0, false},
    {"posix_memalign", "malloc", 0, "posix_memalign(alignment=64 size=128)",
     "ENOMEM", ENOMEM, "", ENOMEM, true},
    {"pthread_create", "thread", 0, "pthread_create()", "EAGAIN", EAGAIN, "",
     EAGAIN, true},
    USUAL("fork", "fork", 1, "fork()", EAGAIN, ""),
    USUAL("vfork", "fork", 1, "vfork()", EAGAIN, ""),
};

enum { ROWS = sizeof(rows) / sizeof(rows[0]), ERRNO_BEFORE = 77 };

/* Nothing is injected: the program sees its own results and its own errno,
 * and the log has the call. The plan is there because of malloc's log.
 */
static void test_each_natural(void **state)
{
    char expected[256];

    (void)state;
    for (size_t i = 0; i < ROWS; i++) {
        const struct row *row = &rows[i];

        run_calls("malloc@1000000=ENOMEM", row->name);
        snprintf(expected, sizeof(expected), "%s %ld %d %s\n", row->name,
                 row->natural, ERRNO_BEFORE, row->got);
        expect_out(expected);
        expect_exit(0);
        snprintf(expected, sizeof(expected), "%s 1 %s = *", row->class,
                 row->log);
        expect_log(expected, 1);
        expect_log("*injected*", 0);
        if (strcmp(row->class, "malloc") != 0) { /* dprintf(3) allocates */
            snprintf(expected, sizeof(expected), "%s *", row->class);
            expect_log(expected, 1);
        }
    }
}

static void test_each_fails(void **state)
{
    char plan[64];
    char expected[256];

    (void)state;
    for (size_t i = 0; i < ROWS; i++) {
        const struct row *row = &rows[i];
        const char *sign = row->failed == -1 ? "-1" : "*";

        snprintf(plan, sizeof(plan), "%s@1=%s", row->class, row->error);
        run_calls(plan, row->name);
        snprintf(expected, sizeof(expected), "%s %ld %d \n", row->name,
                 row->failed, row->returns_errors ? ERRNO_BEFORE : row->number);
        expect_out(expected);
        expect_exit(0);
        snprintf(expected, sizeof(expected), "%s 1 %s = %s %s [[]injected: %s]",
                 row->class, row->log, sign, row->error, row->error);
        expect_log(expected, 1);
    }
}

/* Only the call that is meant fails. */
static void test_when(void **state)
{
    (void)state;
    run_calls("send@2=EINTR", "send send send");
    expect_out("send 5 77 hello\nsend -1 4 \nsend 5 77 hello\n");
    run_calls("send@2-3=EINTR", "send send send send");
    expect_out("send 5 77 hello\nsend -1 4 \nsend -1 4 \nsend 5 77 hello\n");
    run_calls("send@2-=EINTR", "send send send");
    expect_out("send 5 77 hello\nsend -1 4 \nsend -1 4 \n");
    run_calls("send@*=EINTR", "send recv send");
    expect_out("send -1 4 \nrecv 5 77 hello\nsend -1 4 \n");
    run_calls("send@2=EAGAIN;send@*=EINTR", "send send"); /* the first counts */
    expect_out("send -1 4 \nsend -1 11 \n");
    run_calls(NULL, "send");
    expect_out("send 5 77 hello\n");
    expect_log("send 1 send(*) = 5", 1);
}

static void test_realloc_keeps_the_old_memory(void **state)
{
    (void)state;
    run_calls("malloc@2=ENOMEM", "realloc");
    expect_out("realloc 1 12 old\n");
    expect_log("malloc 2 realloc(size=1000) = NULL ENOMEM *", 1);
    run_calls("malloc@3=ENOMEM", "realloc");
    expect_out("realloc 2 77 old\n");
    expect_log("malloc 2 realloc(size=1000) = 0x*", 1);
    run_calls(NULL, "realloc malloc");
    expect_log("malloc *", 0); /* not logged without an item of malloc */
}

/* ---- Short transfers ---- */

static void test_short(void **state)
{
    static const struct {
        const char *name;
        const char *class;
        const char *got;
    } shorts[] = {
        {"recv", "recv", "hel"},         {"recvfrom", "recv", "hel"},
        {"recvmsg", "recv", "hel"},      {"read-socket", "recv", "hel"},
        {"readv-socket", "recv", "hel"}, {"recv_chk", "recv", "hel"},
        {"recvfrom_chk", "recv", "hel"}, {"read_chk-socket", "recv", "hel"},
        {"read", "read", "hel"},         {"readv", "read", "hel"},
        {"read_chk", "read", "hel"},     {"send", "send", "hel"},
        {"sendto", "send", "hel"},       {"sendmsg", "send", "abc"},
        {"write-socket", "send", "hel"}, {"writev-socket", "send", "abc"},
        {"write", "write", ""},          {"writev", "write", ""},
    };
    char plan[64];
    char expected[128];

    (void)state;
    for (size_t i = 0; i < sizeof(shorts) / sizeof(shorts[0]); i++) {
        snprintf(plan, sizeof(plan), "%s@*=short:3", shorts[i].class);
        run_calls(plan, shorts[i].name);
        snprintf(expected, sizeof(expected), "%s 3 77 %s\n", shorts[i].name,
                 shorts[i].got);
        expect_out(expected);
        snprintf(expected, sizeof(expected),
                 "%s 1 *(* len=[56]*) = 3 [[]injected: short:3]",
                 shorts[i].class);
        expect_log(expected, 1);
    }
}

static void test_short_leaves_the_rest(void **state)
{
    (void)state;
    run_calls("recv@*=short:3", "recv recv");
    expect_out("recv 3 77 hel\nrecv 2 77 lo\n");
    run_calls("recv@*=short:5", "recv"); /* as long as the program asks for */
    expect_out("recv 5 77 hello\n");
    expect_log("*injected*", 0);
    run_calls("recv@*=short:3", "recv-datagram");
    expect_out("recv-datagram 8 77 datagram\n");
    expect_log("*injected*", 0);
    run_calls("send@*=short:18", "writev-many");
    expect_out("writev-many 16 77 abcdefghijklmnop\n");
    run_calls("send@*=short:1", "writev-many");
    expect_out("writev-many 1 77 a\n");
    run_calls(NULL, "writev-many");
    expect_out("writev-many 20 77 abcdefghijklmnopqrst\n");
}

/* Of many datagrams the plan counts each as one. */
static void test_short_many(void **state)
{
    (void)state;
    run_calls(NULL, "recvmmsg sendmmsg");
    expect_out("recvmmsg 3 77 onetwosix\nsendmmsg 3 77 \n");
    run_calls("recv@*=short:2; send@*=short:1", "recvmmsg sendmmsg");
    expect_out("recvmmsg 2 77 onetwo\nsendmmsg 1 77 \n");
    expect_log("*recvmmsg(fd=* count=3 *) = 2 [[]injected: short:2]*", 1);
    run_calls("recv@1=EINTR; send@1=ENOBUFS", "recvmmsg");
    expect_out("recvmmsg -1 4 \n");
}

static void test_fast_clock(void **state)
{
    (void)state;
    run_calls("clock@*=fast:20", "waits");
    expect_out("waits 13 77 \n");
    expect_log("*injected*", 0);
}

static void test_end_of_stream(void **state)
{
    (void)state;
    run_calls("recv@1=0", "recv recv");
    expect_out("recv 0 77 \nrecv 5 77 hello\n");
    expect_log("recv 1 recv(*) = 0 [[]injected: 0]", 1);
    run_calls("recv@1-2=0", "recvfrom recvmsg");
    expect_out("recvfrom 0 77 \nrecvmsg 0 77 \n");
    run_calls("read@1=0", "read");
    expect_out("read 0 77 \n");
}

/* ---- Late failures: the call is made ---- */

static void test_late(void **state)
{
    (void)state;
    run_calls("close@1=EINTR", "close-open");
    expect_out("close-open 0 4 \n"); /* it is still open */
    run_calls("close@1=late:EINTR", "close-open");
    expect_out("close-open -1 9 \n"); /* it is not */
    expect_log("close 1 close(*) = -1 EINTR [[]injected: late:EINTR]", 1);
    run_calls("connect@1=late:EINTR", "connect-peer");
    expect_out("connect-peer 0 77 \n");
    run_calls("connect@1=EINTR", "connect-peer");
    expect_out("connect-peer -1 107 \n"); /* ENOTCONN */
    run_calls("bind@1=late:EINTR", "bind-port");
    expect_out("bind-port 1 4 \n");
    run_calls("bind@1=EINTR", "bind-port");
    expect_out("bind-port 0 4 \n");
    run_calls("accept@1=late:ECONNABORTED", "accept-end");
    expect_out("accept-end 0 103 \n"); /* the peer sees the end */
    run_calls("wait@1=late:EINTR", "poll");
    expect_out("poll -1 4 \n");
    run_calls("send@1=late:EIO", "send recv");
    expect_out("send -1 5 \nrecv 5 77 hello\n");
}

/* ---- Signals ---- */

/* The handler sends what the call then receives: without the signal before
 * the call it would wait until SIGALRM.
 */
static void test_signal_before_the_call(void **state)
{
    (void)state;
    run_calls("recv@1=signal:SIGUSR1", "handle recv signals");
    expect_out("handle 0 77 \nrecv 5 77 late!\nsignals 1 77 \n");
    expect_log("inject - recv 1 signal:SIGUSR1", 1);
    expect_log("recv 1 recv(*) = 5 [[]injected: signal:SIGUSR1]", 1);
    run_calls("recv@1=kill:SIGUSR1", "handle recv signals");
    expect_out("handle 0 77 \nrecv 5 77 late!\nsignals 1 77 \n");
    run_calls("wait@1=signal:SIGUSR1", "handle poll recv");
    expect_out("handle 0 77 \npoll 1 77 \nrecv 5 77 late!\n");
    run_calls("recv@1=signal:SIGUSR1+EINTR", "handle recv signals recv");
    expect_out("handle 0 77 \nrecv -1 4 \nsignals 1 77 \nrecv 5 77 late!\n");
    run_calls("recv@1=short:2+signal:SIGUSR1", "handle recv");
    expect_out("handle 0 77 \nrecv 2 77 la\n");
    expect_log("recv 1 * [[]injected: signal:SIGUSR1+short:2]", 1);
}

/* A signal for the thread is pending there; one for the process, everywhere. */
static void test_signal_for_thread_or_process(void **state)
{
    (void)state;
    run_calls("recv@1=signal:SIGUSR1", "pending");
    expect_out("pending 0 77 hello\n");
    run_calls("recv@1=kill:SIGUSR1", "pending");
    expect_out("pending 1 77 hello\n");
}

static void expect_killed(int number)
{
    assert_true(WIFSIGNALED(run.status));
    assert_int_equal(WTERMSIG(run.status), number);
}

static void test_signal_that_kills(void **state)
{
    (void)state;
    run_calls("send@2=kill:SIGTERM", "send send");
    expect_killed(SIGTERM);
    expect_out("send 5 77 hello\n");
    expect_log("inject - send 2 kill:SIGTERM", 1);
    expect_log("send *", 1);
    run_calls("send@1=signal:SIGKILL", "send");
    expect_killed(SIGKILL);
}

static void test_pipe_signal(void **state)
{
    (void)state;
    run_calls("send@1=EPIPE", "send-signal");
    expect_killed(SIGPIPE);
    expect_log("inject - send 1 signal:SIGPIPE", 1);
    run_calls("send@1=EPIPE", "write-socket");
    expect_killed(SIGPIPE);
    run_calls("write@1=EPIPE", "write");
    expect_killed(SIGPIPE);
    run_calls("send@1=EPIPE", "send"); /* MSG_NOSIGNAL */
    expect_out("send -1 32 \n");
    expect_exit(0);
    expect_log("inject*", 0);
    run_calls("send@1=ECONNRESET", "send-signal");
    expect_out("send-signal -1 104 \n");
}

/* ---- Processes and threads ---- */

static void test_reached_is_first(void **state)
{
    char *end;

    (void)state;
    run_calls(NULL, "send");
    assert_true(strtol(run.log, &end, 10) > 0);
    assert_true(strtol(end, &end, 10) > 0);
    assert_int_equal(strncmp(end, " reached - /", 12), 0);
    expect_log("reached - */" PROGRAM, 1);
}

static void test_children_count_apart(void **state)
{
    (void)state;
    run_calls("send@2=EAGAIN", "fork-send");
    expect_log("forked - parent=*", 1);
    expect_log("send 1 *", 1);
    expect_log("send 2 send(*) = -1 EAGAIN *", 2); /* parent and child */
    expect_log("reached *", 1);
}

static void test_exec_starts_anew(void **state)
{
    (void)state;
    run_calls("send@2=EAGAIN", "send exec");
    expect_out("send 5 77 hello\nsend 5 77 hello\n");
    expect_log("reached - *", 2);
    expect_log("send 1 *", 2);
}

static void test_threads_count_together(void **state)
{
    char pattern[32];

    (void)state;
    run_calls(NULL, "workers");
    expect_exit(0);
    expect_log("send *", 200);
    for (int i = 1; i <= 200; i++) {
        snprintf(pattern, sizeof(pattern), "send %d *", i);
        expect_log(pattern, 1);
    }
}

/* ---- The log's descriptor ---- */

static void test_log_survives(void **state)
{
    static const char *const names[] = {"close-each", "close_range",
                                        "closefrom", "dup2-each", "dup3-each"};
    char words[64];

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        with.descriptors = 1024;
        snprintf(words, sizeof(words), "%s recv", names[i]);
        run_calls(NULL, words);
        snprintf(words, sizeof(words), "%s 0 ", names[i]);
        assert_int_equal(strncmp(run.out, words, strlen(words)), 0);
        assert_non_null(strstr(run.out, "\nrecv 5 77 hello\n"));
        expect_exit(0);
        expect_log("recv 1 recv(*) = 5", 1);
    }
}

static void test_log_has_the_highest_number(void **state)
{
    static const rlim_t limits[] = {0, 10, 64, 1024};

    (void)state;
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        with.descriptors = limits[i];
        run_calls(NULL, "log-is-highest recv");
        expect_out("log-is-highest 1 77 \nrecv 5 77 hello\n");
        expect_log("recv 1 *", 1);
    }
}

static void test_close_of_what_is_closed(void **state)
{
    (void)state;
    run_calls("close@2=EIO", "close-twice close-pipe");
    expect_out("close-twice -1 9 \nclose-pipe 0 77 \n");
    expect_log("close 1 close(fd=*) = 0", 1);
    expect_log("close - close(fd=*) = -1 EBADF", 1);
    expect_log("close *", 2); /* the pipe is no socket */
}

/* ---- Texts of addresses ---- */

static void test_addresses(void **state)
{
    static const char *const texts[] = {"::",
                                        "::1",
                                        "2001:db8::1",
                                        "1:0:0:2:0:0:0:3",
                                        "1:2:3:4:5:6:7:8",
                                        "fe80::",
                                        "1:0:2:3:4:5:6:7",
                                        "1::2:0:0:3:4"};
    char expected[128];

    (void)state;
    run_calls(NULL, "bind-unix bind-abstract");
    expect_log("bind 1 bind(fd=* unix:/no-such\\x20folder/x) = -1 ENOENT", 1);
    expect_log("bind 2 bind(fd=* unix:@sockstep\\x00x) = 0", 1);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const char *text = texts[i];

        /* RFC 5952 shortens the first of two equal runs. */
        snprintf(expected, sizeof(expected), "connect6=%s", text);
        run_calls(NULL, expected);
        if (strcmp(text, "1:0:0:2:0:0:0:3") == 0) {
            text = "1:0:0:2::3";
        }
        snprintf(expected, sizeof(expected),
                 "connect 1 connect(fd=* [[]%s]:4660) = *", text);
        expect_log(expected, 1);
    }
}

/* ---- Refusals ---- */

static void test_bad_plan(void **state)
{
    (void)state;
    run_calls("send@1=short:1;recv@x=EINTR", "send");
    expect_exit(125);
    expect_out("");
    assert_non_null(strstr(run.err, "SOCKSTEP_FAULTS: byte 21: "));
    assert_non_null(strstr(run.err, "x=EINTR"));
    run_calls("nonsense", "send");
    expect_exit(125);
}

static void test_bad_log(void **state)
{
    (void)state;
    with.log = "/no/such/folder/log";
    run_calls(NULL, "send");
    expect_exit(125);
    assert_non_null(strstr(run.err, "/no/such/folder/log: ENOENT"));
    with.log = "/dev/full";
    run_calls(NULL, "send");
    expect_exit(125);
    assert_non_null(strstr(run.err, "ENOSPC"));
}

static void test_other_program_is_left_alone(void **state)
{
    char *path = realpath(PROGRAM, NULL);

    (void)state;
    assert_non_null(path);
    with.program = "/usr/bin/env";
    run_calls("send@1=EINTR", "send");
    expect_out("send 5 77 hello\n");
    assert_string_equal(run.log, "");
    path[strlen(path) - 1] ^= 1; /* another one of the same length */
    with.program = path;
    run_calls("send@1=EINTR", "send");
    expect_out("send 5 77 hello\n");
    path[strlen(path) - 1] ^= 1;
    with.program = path;
    run_calls("send@1=EINTR", "send");
    expect_out("send -1 4 \n");
    expect_log("reached - *", 1);
    free(path);
}

static void test_overflow_is_still_found(void **state)
{
    (void)state;
    run_calls("read@*=short:1", "read-overflow");
    expect_killed(SIGABRT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_natural),
        cmocka_unit_test(test_each_fails),
        cmocka_unit_test(test_when),
        cmocka_unit_test(test_realloc_keeps_the_old_memory),
        cmocka_unit_test(test_short),
        cmocka_unit_test(test_short_leaves_the_rest),
        cmocka_unit_test(test_short_many),
        cmocka_unit_test(test_fast_clock),
        cmocka_unit_test(test_end_of_stream),
        cmocka_unit_test(test_late),
        cmocka_unit_test(test_signal_before_the_call),
        cmocka_unit_test(test_signal_for_thread_or_process),
        cmocka_unit_test(test_signal_that_kills),
        cmocka_unit_test(test_pipe_signal),
        cmocka_unit_test(test_reached_is_first),
        cmocka_unit_test(test_children_count_apart),
        cmocka_unit_test(test_exec_starts_anew),
        cmocka_unit_test(test_threads_count_together),
        cmocka_unit_test(test_log_survives),
        cmocka_unit_test(test_log_has_the_highest_number),
        cmocka_unit_test(test_close_of_what_is_closed),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_bad_plan),
        cmocka_unit_test(test_bad_log),
        cmocka_unit_test(test_other_program_is_left_alone),
        cmocka_unit_test(test_overflow_is_still_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
