/* ss_addr.h - names and texts of addresses.
 *
 * Thread safety: any thread may call any of them.
 */
#ifndef SS_ADDR_H
#define SS_ADDR_H

#include <netdb.h>
#include <stddef.h>
#include <sys/socket.h>

/* Enough for the text of any address, the final NUL included: an IPv6 address
 * with its zone, or a path of AF_UNIX.
 */
enum { SS_ADDR_TEXT_BYTES = 128 };

/* Finds every address of a host and a service, IPv4 and IPv6.
 * host: a name or a number; NULL: this machine, or with AI_PASSIVE the
 * wildcard addresses. service: a name or a port; NULL: port 0.
 * type: SOCK_STREAM or SOCK_DGRAM. flags: as of getaddrinfo(3), 0 for none.
 * resolver: set in success and in failure, because the errors of names are no
 * errno:
 *   0           success
 *   EAI_SYSTEM  a system call failed; see errno
 *   other       see gai_strerror(3); errno has no meaning
 * It may take long, and obeys no deadline.
 * Result: a list of one entry at least, or NULL.
 * Ownership: the list is the caller's, for freeaddrinfo(3).
 * Source: getaddrinfo(3).
 */
struct addrinfo *ss_addr_resolve(const char *host, const char *service,
                                 int type, int flags, int *resolver);

/* Writes an address in numbers: `127.0.0.1:80`, `[::1]:80`, `unix:/path`,
 * `unix:@abstract` (up to a further NUL), or `unix:` for a socket without a
 * name.
 * size_bytes: SS_ADDR_TEXT_BYTES is always enough.
 * Result: 0, or -1 with EAFNOSUPPORT (another family), EINVAL (too short for
 * its family) or ENOSPC (the text does not fit).
 * Source: getnameinfo(3), unix(7).
 */
int ss_addr_text(const struct sockaddr *address, socklen_t length, char *text,
                 size_t size_bytes);

#endif
