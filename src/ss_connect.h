/* ss_connect.h - connecting by host and service. */
#ifndef SS_CONNECT_H
#define SS_CONNECT_H

#include "ss_time.h"

/* Connects to the first address of a host and a service that answers.
 * host: a name or a number; NULL: this machine.
 * type: SOCK_STREAM, or SOCK_DGRAM: only answers of that peer come then.
 * deadline: of all attempts together; NULL: as long as the kernel tries.
 * Resolving the name may take longer.
 * resolver: 0 if names were not to blame, else as of ss_addr_resolve().
 * Result: a descriptor, or -1 with the errno of the last attempt, which is
 * ETIMEDOUT where the deadline passed.
 * Ownership: the descriptor is the caller's. It is blocking, and closed on
 * exec.
 * Thread safety: any thread may call it.
 * Source: getaddrinfo(3), connect(2). A connect that a signal interrupts goes
 * on by itself; it is waited for, not called again.
 */
int ss_connect(const char *host, const char *service, int type,
               const struct ss_deadline *deadline, int *resolver);

#endif
