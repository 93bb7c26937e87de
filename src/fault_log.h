/* fault_log.h - the log of calls that the fault preload writes.
 *
 * Each line is written by one write(2) to a descriptor in append mode, so
 * that the lines of several threads and processes never mix. The descriptor
 * has the highest number that is free below the limit on descriptors (and
 * below 8192, which keeps the kernel's table small), and is closed on exec.
 *
 * Everything here is async-signal-safe and thread-safe, and leaves errno as
 * it was, unless its comment says otherwise.
 */
#ifndef FAULT_LOG_H
#define FAULT_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#pragma GCC visibility push(hidden)

enum { FAULT_LINE_BYTES = 512, FAULT_LINE_ARGUMENTS_BYTES = 384 };

/* A line that grows. It is cut where it is full, arguments before results. */
struct fault_line {
    size_t length;
    size_t limit; /* no more than this may be in it at present */
    char text[FAULT_LINE_BYTES];
};

/* Says `fault_preload: WHAT: WHY` on standard error and ends the process with
 * status 125, without atexit(3) handlers: the run is worth nothing.
 */
_Noreturn void fault_die(const char *what, const char *why);

/* Opens the log, or ends the process. Not thread-safe: for the start only. */
void fault_log_open(const char *path);

/* The log's descriptor, or -1 where there is no log. */
int fault_log_descriptor(void);

/* Gives the log another number, because the program wants this one. */
void fault_log_move(void);

/* Starts a line with the ids of the process and the thread. */
void fault_line_start(struct fault_line *line);

void fault_line_text(struct fault_line *line, const char *text);
void fault_line_number(struct fault_line *line, int64_t value);
void fault_line_unsigned(struct fault_line *line, uint64_t value);
void fault_line_hex(struct fault_line *line, uint64_t value);

/* Adds bytes; those that are not printable ASCII, blanks and backslashes
 * become \xNN, so that a line has as many words as its form says.
 */
void fault_line_bytes(struct fault_line *line, const void *bytes,
                      size_t length);

/* Adds a socket address: `0.0.0.0:8080`, `[::1]:8080`, `unix:/path`,
 * `unix:@abstract`, `family=N`, or `NULL`.
 */
void fault_line_address(struct fault_line *line, const struct sockaddr *address,
                        socklen_t length);

/* Makes room for the result after the arguments. */
void fault_line_widen(struct fault_line *line);

/* Writes the line; a log that cannot be written ends the process. */
void fault_line_write(struct fault_line *line);

#pragma GCC visibility pop

#endif
