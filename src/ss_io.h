/* ss_io.h - whole transfers over stream sockets.
 *
 * Each function goes on after a short count and after EINTR, and works on
 * blocking and non-blocking sockets alike: it never blocks in the transfer
 * itself but waits in poll(2), so that a deadline holds on both. For TCP and
 * for AF_UNIX streams; not for datagrams, whose sizes have a meaning.
 *
 * Parameters that they share:
 *   deadline  of the whole transfer; NULL: no limit
 *   done      never NULL. It is set in success and in failure: the number of
 *             bytes that were transferred.
 *
 * Errors that they share, each a result of its own:
 *   ETIMEDOUT   the deadline passed
 *   ENODATA     the peer ended the stream before the transfer was complete
 *   ECONNRESET  the peer reset the connection
 *   EPIPE       sending: the stream is closed already (there is no SIGPIPE)
 *   and all others of send(2), recv(2) and poll(2), but EINTR and EAGAIN.
 *
 * Thread safety: any thread may call any of them. On one socket, one thread
 * may send while another receives; two that do the same mix their bytes.
 */
#ifndef SS_IO_H
#define SS_IO_H

#include "ss_time.h"

#include <stddef.h>

/* Waits until a descriptor is ready.
 * events: POLLIN, POLLOUT or both. An error or a hang-up counts as ready: the
 * next call on the descriptor tells which it is.
 * deadline: NULL means no limit; one that has passed means: look, do not wait.
 * Result: 0 if ready, or -1 with ETIMEDOUT, EBADF (fd is negative) or an error
 * of poll(2).
 * Source: poll(2).
 */
int ss_wait(int fd, short events, const struct ss_deadline *deadline);

/* Sends all of a buffer.
 * Result: 0 if all was handed to the kernel, or -1 with errno; `*done` bytes
 * were handed over, which is no promise that the peer has got them.
 * Source: send(2).
 */
int ss_send_all(int fd, const void *buffer, size_t length_bytes,
                const struct ss_deadline *deadline, size_t *done);

/* Receives what there is, one byte at least.
 * size_bytes: 1 or more, else EINVAL.
 * Result: 0 with `*done` bytes in the buffer, or 0 with `*done` == 0 at the
 * end of the stream, or -1 with errno.
 * Source: recv(2).
 */
int ss_recv_some(int fd, void *buffer, size_t size_bytes,
                 const struct ss_deadline *deadline, size_t *done);

/* Receives exactly so many bytes, and none of those that follow them.
 * Result: 0 if all are there, or -1 with errno; the first `*done` bytes of the
 * buffer are good in either case. ENODATA with `*done` == 0: the stream ended
 * before the first of them, which between two messages is an orderly end.
 * Source: recv(2).
 */
int ss_recv_exact(int fd, void *buffer, size_t length_bytes,
                  const struct ss_deadline *deadline, size_t *done);

/* Receives up to a delimiter, which is the last byte in the buffer then, and
 * nothing behind it is taken. No NUL is added, and what the buffer holds behind
 * `*done` bytes has no meaning.
 * Result: 0 if the delimiter is there, or -1 with errno: ENODATA if the stream
 * ended first (a last line without its newline is in the buffer), EMSGSIZE if
 * the buffer is full without a delimiter.
 * Source: recv(2), MSG_PEEK: it looks before it takes, two calls a piece.
 */
int ss_recv_until(int fd, void *buffer, size_t size_bytes, char delimiter,
                  const struct ss_deadline *deadline, size_t *done);

/* Writes all of a buffer to a file, a pipe or a terminal.
 * deadline: it holds on non-blocking descriptors only, because write(2) on a
 * blocking one waits by itself.
 * Result: 0, or -1 with errno (ENOSPC, EIO...) and `*done` bytes written. A
 * pipe without a reader raises SIGPIPE first, unless the program ignores it.
 * Source: write(2).
 */
int ss_write_all(int fd, const void *buffer, size_t length_bytes,
                 const struct ss_deadline *deadline, size_t *done);

#endif
