/*
 * launch - set limits that only a process can set for itself, then exec.
 *
 * Usage: launch [KEY=VALUE]... -- PROGRAM [ARGUMENT]...
 *
 *   nofile=N      descriptors                     RLIMIT_NOFILE
 *   fsize=BYTES   size of a written file          RLIMIT_FSIZE
 *   cpu=SECONDS   processor time                  RLIMIT_CPU
 *   as=BYTES      address space                   RLIMIT_AS
 *   nproc=N       tasks of the user, all told     RLIMIT_NPROC
 *   nice=N        added to the nice value
 *   hold=N        leave descriptors 3 to N-1 open on /dev/null
 *   file=OLD:NEW  show the program the file NEW in the place of OLD, which
 *                 must exist: a bind mount in a mount name space of its own
 *   told=FD       tell failures of launch to this descriptor as well; it comes
 *                 first, and the program does not get it
 *
 * The program gets a session of its own, default signal dispositions, an
 * empty signal mask, and SIGKILL when the process that started it ends
 * (prctl(2), PR_SET_PDEATHSIG): an interrupted run leaves nothing behind. It
 * loses the right to look into processes that forbid that, such as the runner,
 * which even root has by capabilities only.
 * The conformance runner starts every program through this one, because
 * setting limits from outside would come too late for a program's first
 * calls.
 *
 * Exit status: 125 with a message when the program can't be started,
 * otherwise the program's own.
 *
 * It is linked statically: it starts in half of the time, thousands of times,
 * and LD_PRELOAD, which is meant for the program, does not reach it.
 * Links: -static
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { EXIT_LAUNCH = 125, HIGH_DESCRIPTOR = 3000 };

static int told = -1; /* What comes from it is launch's own word. */

static void die(const char *what, const char *which)
{
    const char *why = strerror(errno);
    fprintf(stderr, "launch: %s %s: %s\n", what, which, why);
    if (told != -1)
        dprintf(told, "%s %s: %s", what, which, why);
    exit(EXIT_LAUNCH);
}

static unsigned long long number(const char *text)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    /* strtoull would take "-1" for the largest number. */
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0) {
        errno = EINVAL;
        die("not a number:", text);
    }
    return value;
}

static void limit(unsigned resource, const char *value)
{
    rlim_t amount = (rlim_t)number(value);
    /* The hard limit of RLIMIT_CPU lies a little higher: SIGXCPU comes first
     * and can be told apart from SIGKILL. */
    struct rlimit limits = {amount, amount + (resource == RLIMIT_CPU ? 2 : 0)};
    if (setrlimit(resource, &limits) == -1)
        die("setrlimit", value);
}

/* Where it can be, out of the way of the descriptors that `hold` is to fill. */
static void tell_to(const char *value)
{
    int given = (int)number(value);
    told = fcntl(given, F_DUPFD_CLOEXEC, HIGH_DESCRIPTOR);
    if (told != -1) {
        close(given);
        return;
    }
    told = given;
    if (fcntl(told, F_SETFD, FD_CLOEXEC) == -1)
        die("told", value);
}

static void hold(const char *value)
{
    int last = (int)number(value) - 1;
    for (int fd = open("/dev/null", O_RDONLY); fd < last; fd = dup(fd))
        if (fd == -1)
            die("hold", value);
}

static void be_nice(const char *value)
{
    errno = 0; /* -1 is a nice value, too. */
    if (nice((int)number(value)) == -1 && errno != 0)
        die("nice", value);
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    if (fd == -1 || write(fd, text, strlen(text)) == -1 || close(fd) == -1)
        die("write", path);
}

/* A mount name space of this process's own, so that nobody else sees what it
 * mounts. Who may not make one by itself gets it within a user name space, in
 * which user and group keep their numbers: user_namespaces(7).
 */
static void leave_mounts(void)
{
    unsigned user = getuid(), group = getgid();
    if (unshare(CLONE_NEWNS) == -1) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) == -1)
            die("this machine forbids", "private mounts (unshare)");
        char map[64];
        write_file("/proc/self/setgroups", "deny");
        snprintf(map, sizeof(map), "%u %u 1", user, user);
        write_file("/proc/self/uid_map", map);
        snprintf(map, sizeof(map), "%u %u 1", group, group);
        write_file("/proc/self/gid_map", map);
    }
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == -1)
        die("this machine forbids", "private mounts (mount)");
}

static void replace_file(char *value)
{
    static bool left;
    char *fresh = strchr(value, ':');
    if (fresh == NULL) {
        errno = EINVAL;
        die("not OLD:NEW:", value);
    }
    *fresh++ = '\0';
    if (!left)
        leave_mounts();
    left = true;
    if (mount(fresh, value, NULL, MS_BIND, NULL) == -1)
        die("replace", value);
}

/* What lets a process look into another one that is not dumpable: prctl(2),
 * ptrace(2), capabilities(7).
 */
static void respect_others(void)
{
    /* Numbers of the kernel's, as in its linux/capability.h, which not every C
     * library's compiler finds.
     */
    enum { SYS_PTRACE = 19, SYS_ADMIN = 21, PERFMON = 38 };
    static const int rights[] = {SYS_PTRACE, SYS_ADMIN, PERFMON};
    for (size_t i = 0; i < sizeof(rights) / sizeof(*rights); i++)
        /* Best effort: only root has them to lose. */
        prctl(PR_CAPBSET_DROP, rights[i], 0, 0, 0);
}

static void apply(char *option)
{
    char *value = strchr(option, '=');
    if (value == NULL) {
        errno = EINVAL;
        die("not KEY=VALUE:", option);
    }
    *value++ = '\0';
    if (strcmp(option, "nofile") == 0)
        limit(RLIMIT_NOFILE, value);
    else if (strcmp(option, "fsize") == 0)
        limit(RLIMIT_FSIZE, value);
    else if (strcmp(option, "cpu") == 0)
        limit(RLIMIT_CPU, value);
    else if (strcmp(option, "as") == 0)
        limit(RLIMIT_AS, value);
    else if (strcmp(option, "nproc") == 0)
        limit(RLIMIT_NPROC, value);
    else if (strcmp(option, "nice") == 0)
        be_nice(value);
    else if (strcmp(option, "hold") == 0)
        hold(value);
    else if (strcmp(option, "file") == 0)
        replace_file(value);
    else if (strcmp(option, "told") == 0)
        tell_to(value);
    else {
        errno = EINVAL;
        die("unknown key:", option);
    }
}

/* signal(3) refuses the two signals that the C library keeps to itself, which
 * posix_spawn(3), and so make, leaves ignored: the kernel is asked directly.
 */
static void default_dispositions(void)
{
    unsigned long zeros[32] = {0}; /* more than the kernel's own structure */
    for (int which = 1; which < NSIG; which++) /* fails for KILL and STOP */
        syscall(SYS_rt_sigaction, which, zeros, NULL, (size_t)NSIG / 8);
}

int main(int argc, char **argv)
{
    pid_t starter = getppid();
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) == -1)
        die("prctl", "PR_SET_PDEATHSIG");
    if (getppid() != starter) /* It ended before the line above. */
        return EXIT_LAUNCH;

    setsid(); /* Best effort: fails only for one that leads a group already. */
    default_dispositions();
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);

    int next = 1;
    while (next < argc && strcmp(argv[next], "--") != 0)
        apply(argv[next++]);
    respect_others();
    if (next + 1 >= argc) {
        fprintf(stderr, "usage: launch [KEY=VALUE]... -- PROGRAM "
                        "[ARGUMENT]...\n");
        return EXIT_LAUNCH;
    }
    execvp(argv[next + 1], argv + next + 1);
    die("exec", argv[next + 1]);
}
