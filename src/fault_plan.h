/* fault_plan.h - a written plan of faults, and the counting of calls.
 *
 * A plan says which call shall go wrong, and how. It is a list of items,
 * separated by `;` or by the end of a line; blanks around an item are ignored:
 *
 *     CLASS@WHEN=ACTION[+ACTION...]
 *
 * CLASS   socket bind listen accept connect recv send read write wait close
 *         shutdown sockopt sync rename closefile malloc thread fork (see
 *         fault_preload.c for the functions of each class), and clock, which is
 *         no class of calls but the time that the program sees (fault_clock.h).
 * WHEN    `3`    the third call of that class in the process, counted from 1
 *         `2-5`  the second to the fifth
 *         `4-`   the fourth and all that follow
 *         `*`    every call
 * ACTION  `signal:NAME`  send that signal to the calling thread, then go on
 *         `kill:NAME`    send that signal to the whole process, then go on
 *         `short:N`      let the call transfer N bytes at most (N >= 1); for
 *                        recvmmsg and sendmmsg: N datagrams
 *         `ENAME`        fail with that errno; the call is not made
 *         `late:ENAME`   make the call, then report that failure
 *         `0`            report the end of the stream; the call is not made
 *         `fast:N`       let time run N times as fast (N is 1 to 1000). The
 *                        only action of clock, and only as `clock@*=fast:N`
 *
 * One item has at most one signal (`signal` or `kill`) and at most one of the
 * others. Not every class can have every action: `short` belongs to recv,
 * send, read and write, and `0` to recv and read; malloc fails with ENOMEM
 * only; `late` is refused where the lost result could not be given back
 * (socket, recv, read, malloc, thread, fork). Where several items fit one
 * call, the first in the plan is the one that counts.
 *
 * Nothing here allocates, and all but the parser is async-signal-safe.
 */
#ifndef FAULT_PLAN_H
#define FAULT_PLAN_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* The preload shares the name space of any program: keep these names in. */
#pragma GCC visibility push(hidden)

enum fault_class {
    FAULT_SOCKET,
    FAULT_BIND,
    FAULT_LISTEN,
    FAULT_ACCEPT,
    FAULT_CONNECT,
    FAULT_RECV,
    FAULT_SEND,
    FAULT_READ,
    FAULT_WRITE,
    FAULT_WAIT,
    FAULT_CLOSE,
    FAULT_SHUTDOWN,
    FAULT_SOCKOPT,
    FAULT_SYNC,
    FAULT_RENAME,
    FAULT_CLOSEFILE,
    FAULT_MALLOC,
    FAULT_THREAD,
    FAULT_FORK,
    FAULT_CLOCK,
    FAULT_CLASS_COUNT
};

enum fault_action {
    FAULT_SIGNAL = 1 << 0, /* signal:NAME */
    FAULT_KILL = 1 << 1,   /* kill:NAME */
    FAULT_SHORT = 1 << 2,  /* short:N */
    FAULT_FAIL = 1 << 3,   /* ENAME */
    FAULT_LATE = 1 << 4,   /* late:ENAME */
    FAULT_END = 1 << 5,    /* 0 */
    FAULT_FAST = 1 << 6    /* fast:N */
};

enum { FAULT_ITEMS_MAX = 64, FAULT_FAST_MAX = 1000 };

struct fault_item {
    enum fault_class class;
    uint64_t first;     /* the first call that is meant, from 1 */
    uint64_t last;      /* the last one; UINT64_MAX: no end */
    unsigned actions;   /* bits of enum fault_action */
    int signal_number;  /* of FAULT_SIGNAL and FAULT_KILL */
    size_t short_bytes; /* of FAULT_SHORT */
    int error;          /* of FAULT_FAIL and FAULT_LATE */
    unsigned factor;    /* of FAULT_FAST */
};

struct fault_plan {
    size_t count;
    struct fault_item items[FAULT_ITEMS_MAX];
};

/* Where and why a plan was refused. */
struct fault_plan_error {
    size_t offset;   /* bytes from the start of the text */
    const char *why; /* a fixed text, never to be freed */
};

struct fault_counters {
    _Atomic uint64_t calls[FAULT_CLASS_COUNT];
};

/* Reads a plan from its text.
 * An empty text is a plan without items.
 * Result: 0, or -1 with EINVAL (not a plan) or E2BIG (more than
 * FAULT_ITEMS_MAX items); then `error` says where and why, and the plan is
 * not to be used.
 */
int fault_plan_parse(struct fault_plan *plan, const char *text,
                     struct fault_plan_error *error);

/* Writes a plan in its canonical form: items separated by `;`, the signal
 * first in each, `*` for every call. Parsing that text gives the same plan.
 * size_bytes: of the buffer, the final NUL included.
 * Result: 0, or -1 with ERANGE if the text does not fit.
 */
int fault_plan_print(const struct fault_plan *plan, char *text,
                     size_t size_bytes);

/* Finds the first item that is meant for call `number` of a class.
 * Result: the item, which lives in the plan, or NULL.
 */
const struct fault_item *fault_plan_find(const struct fault_plan *plan,
                                         enum fault_class class,
                                         uint64_t number);

/* Writes some actions of an item, as in the plan, for a line of the log.
 * actions: bits of enum fault_action; others than the item's are ignored.
 * Result: the length of the text, which is cut to fit and ended by a NUL.
 */
size_t fault_item_print(const struct fault_item *item, unsigned actions,
                        char *text, size_t size_bytes);

/* Counts a call.
 * Result: its number, from 1.
 * Thread safety: any thread and any signal handler may count at any time.
 */
uint64_t fault_counters_next(struct fault_counters *counters,
                             enum fault_class class);

/* The name of a class as a plan writes it. */
const char *fault_class_name(enum fault_class class);

/* The name of an errno (`EINTR`), or NULL if the table does not have it. */
const char *fault_errno_name(int number);

/* Writes a decimal number without stdio, which is not async-signal-safe.
 * text: 21 bytes at least.
 * Result: the length, the final NUL not counted.
 */
size_t fault_decimal(uint64_t value, char *text);

#pragma GCC visibility pop

#endif
