/* ss_listen.h - listening by host and service. */
#ifndef SS_LISTEN_H
#define SS_LISTEN_H

#include <stddef.h>

/* Opens listening sockets on every address that a host and a service have.
 * host: a name or a number; NULL: all interfaces, IPv4 and IPv6 apart.
 * service: a name or a port; "0": the kernel chooses a port, the same for all.
 * type: SOCK_STREAM, or SOCK_DGRAM, which is bound only. Streams get
 * SO_REUSEADDR, so that a restart need not wait for old connections; for
 * datagrams it would let a second program take the port.
 * backlog: as of listen(2).
 * sockets: room for max_sockets descriptors; 2 are enough for NULL. Of more
 * addresses, the first ones are taken.
 * Result: 0 with `*count` descriptors, 1 at least, or -1 with none. A family
 * or an address that this machine does not have is left out while another
 * works; any other failure, such as EADDRINUSE, fails it all.
 * resolver: 0 if names were not to blame, else as of ss_addr_resolve().
 * Ownership: the descriptors are the caller's. They are blocking, and closed
 * on exec.
 * Thread safety: any thread may call it.
 * Source: getaddrinfo(3), bind(2), listen(2), ipv6(7) IPV6_V6ONLY.
 */
int ss_listen(const char *host, const char *service, int type, int backlog,
              int *sockets, size_t max_sockets, size_t *count, int *resolver);

#endif
