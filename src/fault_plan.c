/* fault_plan.c - see fault_plan.h.
 *
 * This file is longer than the library's limit because of its two tables.
 */
#define _POSIX_C_SOURCE 200809L

#include "fault_plan.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>

struct named {
    const char *name;
    int number;
};

#define NAMED(symbol)                                                          \
    {                                                                          \
#symbol, symbol                                                        \
    }

/* Where two names have one number, the first is the canonical one. */
static const struct named errno_names[] = {
    NAMED(EACCES),        NAMED(EADDRINUSE),
    NAMED(EADDRNOTAVAIL), NAMED(EAFNOSUPPORT),
    NAMED(EAGAIN),        NAMED(EWOULDBLOCK),
    NAMED(EALREADY),      NAMED(EBADF),
    NAMED(EBUSY),         NAMED(ECONNABORTED),
    NAMED(ECONNREFUSED),  NAMED(ECONNRESET),
    NAMED(EDESTADDRREQ),  NAMED(EDQUOT),
    NAMED(EEXIST),        NAMED(EFAULT),
    NAMED(EFBIG),         NAMED(EHOSTUNREACH),
    NAMED(EINPROGRESS),   NAMED(EINTR),
    NAMED(EINVAL),        NAMED(EIO),
    NAMED(EISCONN),       NAMED(EISDIR),
    NAMED(EMFILE),        NAMED(EMSGSIZE),
    NAMED(ENETDOWN),      NAMED(ENETRESET),
    NAMED(ENETUNREACH),   NAMED(ENFILE),
    NAMED(ENOBUFS),       NAMED(ENODEV),
    NAMED(ENOENT),        NAMED(ENOMEM),
    NAMED(ENOPROTOOPT),   NAMED(ENOSPC),
    NAMED(ENOSYS),        NAMED(ENOTCONN),
    NAMED(ENOTSOCK),      NAMED(EOPNOTSUPP),
    NAMED(EPERM),         NAMED(EPIPE),
    NAMED(EPROTO),        NAMED(EPROTOTYPE),
    NAMED(EROFS),         NAMED(EPROTONOSUPPORT),
    NAMED(ETIMEDOUT),     NAMED(ENXIO),
};

static const struct named signal_names[] = {
    NAMED(SIGALRM), NAMED(SIGCHLD), NAMED(SIGCONT), NAMED(SIGHUP),
    NAMED(SIGINT),  NAMED(SIGIO),   NAMED(SIGKILL), NAMED(SIGPIPE),
    NAMED(SIGQUIT), NAMED(SIGSTOP), NAMED(SIGTERM), NAMED(SIGTSTP),
    NAMED(SIGURG),  NAMED(SIGUSR1), NAMED(SIGUSR2), NAMED(SIGXFSZ),
};

/* What a class may have beside a signal and a plain failure. */
enum {
    CAN_SHORT = 1,
    CAN_END = 2,
    CAN_LATE = 4,
    ONLY_ENOMEM = 8,
    ONLY_FAST = 16
};

static const struct {
    const char *name;
    unsigned can;
} classes[FAULT_CLASS_COUNT] = {
    [FAULT_SOCKET] = {"socket", 0},
    [FAULT_BIND] = {"bind", CAN_LATE},
    [FAULT_LISTEN] = {"listen", CAN_LATE},
    [FAULT_ACCEPT] = {"accept", CAN_LATE},
    [FAULT_CONNECT] = {"connect", CAN_LATE},
    [FAULT_RECV] = {"recv", CAN_SHORT | CAN_END},
    [FAULT_SEND] = {"send", CAN_SHORT | CAN_LATE},
    [FAULT_READ] = {"read", CAN_SHORT | CAN_END},
    [FAULT_WRITE] = {"write", CAN_SHORT | CAN_LATE},
    [FAULT_WAIT] = {"wait", CAN_LATE},
    [FAULT_CLOSE] = {"close", CAN_LATE},
    [FAULT_SHUTDOWN] = {"shutdown", CAN_LATE},
    [FAULT_SOCKOPT] = {"sockopt", CAN_LATE},
    [FAULT_SYNC] = {"sync", CAN_LATE},
    [FAULT_RENAME] = {"rename", CAN_LATE},
    [FAULT_CLOSEFILE] = {"closefile", CAN_LATE},
    [FAULT_MALLOC] = {"malloc", ONLY_ENOMEM},
    [FAULT_THREAD] = {"thread", 0},
    [FAULT_FORK] = {"fork", 0},
    [FAULT_CLOCK] = {"clock", ONLY_FAST},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- Reading ---- */

struct reader {
    const char *at;  /* the next character */
    const char *why; /* what was wrong there, once something was */
};

static bool refuse(struct reader *reader, const char *at, const char *why)
{
    reader->at = at;
    reader->why = why;
    return false;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
    return is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static void skip_blanks(struct reader *reader)
{
    while (*reader->at == ' ' || *reader->at == '\t' || *reader->at == '\r') {
        reader->at++;
    }
}

static size_t word_length(const char *at)
{
    size_t length = 0;

    while (is_word(at[length])) {
        length++;
    }
    return length;
}

static bool same(const char *name, const char *word, size_t length)
{
    return strlen(name) == length && memcmp(name, word, length) == 0;
}

/* Eats `text` if it comes next. */
static bool take(struct reader *reader, const char *text)
{
    size_t length = strlen(text);

    if (strncmp(reader->at, text, length) != 0) {
        return false;
    }
    reader->at += length;
    return true;
}

static bool read_number(struct reader *reader, uint64_t limit, uint64_t *value)
{
    const char *start = reader->at;

    if (!is_digit(*start)) {
        return refuse(reader, start, "a number is missing");
    }
    *value = 0;
    while (is_digit(*reader->at)) {
        unsigned digit = (unsigned)(*reader->at - '0');

        if (*value > (limit - digit) / 10) {
            return refuse(reader, start, "the number is too large");
        }
        *value = *value * 10 + digit;
        reader->at++;
    }
    if (*value == 0) {
        return refuse(reader, start, "numbers start at 1");
    }
    return true;
}

static bool read_named(struct reader *reader, const struct named *table,
                       size_t count, int *number, const char *why)
{
    size_t length = word_length(reader->at);

    for (size_t i = 0; i < count; i++) {
        if (same(table[i].name, reader->at, length)) {
            *number = table[i].number;
            reader->at += length;
            return true;
        }
    }
    return refuse(reader, reader->at, why);
}

static bool read_class(struct reader *reader, enum fault_class *class)
{
    size_t length = word_length(reader->at);

    for (int i = 0; i < FAULT_CLASS_COUNT; i++) {
        if (same(classes[i].name, reader->at, length)) {
            *class = (enum fault_class)i;
            reader->at += length;
            return true;
        }
    }
    return refuse(reader, reader->at, "no such class of calls");
}

static bool read_when(struct reader *reader, struct fault_item *item)
{
    const char *start = reader->at;

    if (take(reader, "*")) {
        item->first = 1;
        item->last = UINT64_MAX;
        return true;
    }
    /* UINT64_MAX itself means "no end", so it is no number to write. */
    if (!read_number(reader, UINT64_MAX - 1, &item->first)) {
        return false;
    }
    item->last = item->first;
    if (take(reader, "-")) {
        item->last = UINT64_MAX;
        if (is_digit(*reader->at) &&
            !read_number(reader, UINT64_MAX - 1, &item->last)) {
            return false;
        }
    }
    if (item->last < item->first) {
        return refuse(reader, start, "the range ends before it starts");
    }
    return true;
}

static bool read_errno(struct reader *reader, int *number)
{
    return read_named(reader, errno_names, COUNT(errno_names), number,
                      "no such action or errno");
}

static bool read_signal(struct reader *reader, int *number)
{
    return read_named(reader, signal_names, COUNT(signal_names), number,
                      "no such signal");
}

static bool read_action(struct reader *reader, struct fault_item *item)
{
    const unsigned signals = FAULT_SIGNAL | FAULT_KILL;
    const char *start = reader->at;
    unsigned action;
    uint64_t number;
    bool good = true;

    if (take(reader, "signal:")) {
        action = FAULT_SIGNAL;
        good = read_signal(reader, &item->signal_number);
    } else if (take(reader, "kill:")) {
        action = FAULT_KILL;
        good = read_signal(reader, &item->signal_number);
    } else if (take(reader, "short:")) {
        action = FAULT_SHORT;
        good = read_number(reader, SIZE_MAX / 2, &number);
        item->short_bytes = good ? (size_t)number : 0;
    } else if (take(reader, "fast:")) {
        action = FAULT_FAST;
        good = read_number(reader, FAULT_FAST_MAX, &number);
        item->factor = good ? (unsigned)number : 0;
    } else if (take(reader, "late:")) {
        action = FAULT_LATE;
        good = read_errno(reader, &item->error);
    } else if (*start == '0' && word_length(start) == 1) {
        action = FAULT_END;
        reader->at++;
    } else {
        action = FAULT_FAIL;
        good = read_errno(reader, &item->error);
    }
    if (!good) {
        return false;
    }
    if ((item->actions & signals) != 0 && (action & signals) != 0) {
        return refuse(reader, start, "one item sends one signal at most");
    }
    if ((item->actions & ~signals) != 0 && (action & ~signals) != 0) {
        return refuse(reader, start, "this action excludes the one before");
    }
    item->actions |= action;
    return true;
}

static bool check_item(struct reader *reader, const char *start,
                       const struct fault_item *item)
{
    unsigned can = classes[item->class].can;

    if ((item->actions & FAULT_SHORT) != 0 && (can & CAN_SHORT) == 0) {
        return refuse(reader, start, "this class has no length to cut");
    }
    if ((item->actions & FAULT_END) != 0 && (can & CAN_END) == 0) {
        return refuse(reader, start, "this class has no end of stream");
    }
    if ((item->actions & FAULT_LATE) != 0 && (can & CAN_LATE) == 0) {
        return refuse(reader, start, "this class cannot fail afterwards");
    }
    if ((can & ONLY_ENOMEM) != 0 && (item->actions & FAULT_FAIL) != 0 &&
        item->error != ENOMEM) {
        return refuse(reader, start, "malloc fails with ENOMEM only");
    }
    if (((can & ONLY_FAST) != 0) != (item->actions == FAULT_FAST)) {
        return refuse(reader, start, "the clock, and nothing else, runs fast");
    }
    if ((can & ONLY_FAST) != 0 &&
        (item->first != 1 || item->last != UINT64_MAX)) {
        return refuse(reader, start, "the clock runs fast all the time: *");
    }
    return true;
}

static bool read_item(struct reader *reader, struct fault_item *item)
{
    const char *start = reader->at;

    memset(item, 0, sizeof(*item));
    if (!read_class(reader, &item->class)) {
        return false;
    }
    if (!take(reader, "@")) {
        return refuse(reader, reader->at, "expected @ after the class");
    }
    if (!read_when(reader, item)) {
        return false;
    }
    if (!take(reader, "=")) {
        return refuse(reader, reader->at, "expected = after the number");
    }
    do {
        if (!read_action(reader, item)) {
            return false;
        }
    } while (take(reader, "+"));
    skip_blanks(reader);
    if (strchr(";\n", *reader->at) == NULL) { /* the final NUL fits too */
        return refuse(reader, reader->at, "expected the end of the item");
    }
    return check_item(reader, start, item);
}

int fault_plan_parse(struct fault_plan *plan, const char *text,
                     struct fault_plan_error *error)
{
    struct reader reader = {text, NULL};
    int number = EINVAL;

    plan->count = 0;
    for (;;) {
        skip_blanks(&reader);
        if (take(&reader, ";") || take(&reader, "\n")) {
            continue;
        }
        if (*reader.at == '\0') {
            return 0;
        }
        if (plan->count == FAULT_ITEMS_MAX) {
            reader.why = "the plan has too many items";
            number = E2BIG;
            break;
        }
        if (!read_item(&reader, &plan->items[plan->count])) {
            break;
        }
        plan->count++;
    }
    error->offset = (size_t)(reader.at - text);
    error->why = reader.why;
    errno = number;
    return -1;
}

/* ---- Writing ---- */

struct writer {
    char *text;
    size_t size;   /* of text, the final NUL included */
    size_t length; /* what the whole text needs, even where it was cut */
};

static void put(struct writer *writer, const char *text)
{
    for (; *text != '\0'; text++) {
        if (writer->length + 1 < writer->size) {
            writer->text[writer->length] = *text;
        }
        writer->length++;
    }
}

static void put_number(struct writer *writer, uint64_t value)
{
    char digits[21];

    fault_decimal(value, digits);
    put(writer, digits);
}

/* Ends the text with a NUL. Result: its length. */
static size_t put_end(struct writer *writer)
{
    size_t length = writer->length;

    if (writer->size == 0) {
        return 0;
    }
    if (length >= writer->size) {
        length = writer->size - 1;
    }
    writer->text[length] = '\0';
    return length;
}

static const char *name_of(const struct named *table, size_t count, int number)
{
    for (size_t i = 0; i < count; i++) {
        if (table[i].number == number) {
            return table[i].name;
        }
    }
    return NULL;
}

static void put_action(struct writer *writer, const char *prefix,
                       const char *name)
{
    if (writer->length > 0) {
        put(writer, "+");
    }
    put(writer, prefix);
    put(writer, name != NULL ? name : "?"); /* not of a parsed plan */
}

size_t fault_item_print(const struct fault_item *item, unsigned actions,
                        char *text, size_t size_bytes)
{
    struct writer writer = {text, size_bytes, 0};
    const char *signal_name =
        name_of(signal_names, COUNT(signal_names), item->signal_number);
    const char *error_name = fault_errno_name(item->error);

    actions &= item->actions;
    if ((actions & FAULT_SIGNAL) != 0) {
        put_action(&writer, "signal:", signal_name);
    }
    if ((actions & FAULT_KILL) != 0) {
        put_action(&writer, "kill:", signal_name);
    }
    if ((actions & FAULT_SHORT) != 0) {
        put_action(&writer, "short:", "");
        put_number(&writer, item->short_bytes);
    }
    if ((actions & FAULT_FAST) != 0) {
        put_action(&writer, "fast:", "");
        put_number(&writer, item->factor);
    }
    if ((actions & FAULT_FAIL) != 0) {
        put_action(&writer, "", error_name);
    }
    if ((actions & FAULT_LATE) != 0) {
        put_action(&writer, "late:", error_name);
    }
    if ((actions & FAULT_END) != 0) {
        put_action(&writer, "", "0");
    }
    return put_end(&writer);
}

static void put_when(struct writer *writer, const struct fault_item *item)
{
    if (item->first == 1 && item->last == UINT64_MAX) {
        put(writer, "*");
        return;
    }
    put_number(writer, item->first);
    if (item->last == item->first) {
        return;
    }
    put(writer, "-");
    if (item->last != UINT64_MAX) {
        put_number(writer, item->last);
    }
}

int fault_plan_print(const struct fault_plan *plan, char *text,
                     size_t size_bytes)
{
    struct writer writer = {text, size_bytes, 0};
    char actions[80];

    for (size_t i = 0; i < plan->count; i++) {
        const struct fault_item *item = &plan->items[i];

        fault_item_print(item, item->actions, actions, sizeof(actions));
        if (i > 0) {
            put(&writer, ";");
        }
        put(&writer, classes[item->class].name);
        put(&writer, "@");
        put_when(&writer, item);
        put(&writer, "=");
        put(&writer, actions);
    }
    put_end(&writer);
    if (writer.length >= size_bytes) {
        errno = ERANGE;
        return -1;
    }
    return 0;
}

size_t fault_decimal(uint64_t value, char *text)
{
    char reversed[20];
    size_t length = 0;

    do {
        reversed[length++] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    for (size_t i = 0; i < length; i++) {
        text[i] = reversed[length - 1 - i];
    }
    text[length] = '\0';
    return length;
}

/* ---- Use ---- */

const struct fault_item *fault_plan_find(const struct fault_plan *plan,
                                         enum fault_class class,
                                         uint64_t number)
{
    for (size_t i = 0; i < plan->count; i++) {
        const struct fault_item *item = &plan->items[i];

        if (item->class == class && item->first <= number &&
            number <= item->last) {
            return item;
        }
    }
    return NULL;
}

uint64_t fault_counters_next(struct fault_counters *counters,
                             enum fault_class class)
{
    return atomic_fetch_add(&counters->calls[class], 1) + 1;
}

const char *fault_class_name(enum fault_class class)
{
    return classes[class].name;
}

const char *fault_errno_name(int number)
{
    return name_of(errno_names, COUNT(errno_names), number);
}
