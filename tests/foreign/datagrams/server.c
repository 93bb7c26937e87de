/* A sound upper-case server for datagrams: recvmsg(2) and sendmsg(2) with the
 * address that was asked, tables of its own for the capitals.
 */
#define _GNU_SOURCE
#include "foreign_capitals.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define ROOM 65536  /* more than any datagram has */

static unsigned char request[ROOM], answer[3 * ROOM];

/* One datagram with all that belongs to it. */
typedef struct {
    struct msghdr head;
    struct iovec body;
    struct sockaddr_storage far;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
    } control;
} packet_t;

static void say(const char *what)
{
    fprintf(stderr, "server: %s: %s\n", what, strerror(errno));
}

static void give_up(const char *what)
{
    say(what);
    exit(1);
}

static int is_own_fault(int error)
{
    return error == EBADF || error == ENOTSOCK || error == EFAULT ||
           error == EINVAL;
}

/* Leaves of the control messages the address that was asked, to answer from
 * it; the interface is for the kernel to find. */
static void turn_round(packet_t *packet)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&packet->head); c != NULL;
         c = CMSG_NXTHDR(&packet->head, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo *asked = (struct in_pktinfo *)CMSG_DATA(c);
            asked->ipi_ifindex = 0;
            return;
        }
        if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
            return;
    }
    packet->head.msg_control = NULL;
    packet->head.msg_controllen = 0;
}

/* One datagram and its answer. -1 if there is none, and the reason. */
static int serve_one(int sock)
{
    packet_t packet = {.body = {request, sizeof(request)}};
    packet.head = (struct msghdr){
        .msg_name = &packet.far, .msg_namelen = sizeof(packet.far),
        .msg_iov = &packet.body, .msg_iovlen = 1,
        .msg_control = &packet.control,
        .msg_controllen = sizeof(packet.control)};
    ssize_t length = recvmsg(sock, &packet.head, MSG_DONTWAIT);
    if (length == -1)
        return -1;
    if (packet.head.msg_flags & MSG_TRUNC)
        return 0;           /* it can't be: no datagram is so large */
    packet.body.iov_base = answer;
    make_capitals(request, (size_t)length, false, answer,
                  &packet.body.iov_len);
    turn_round(&packet);
    while (sendmsg(sock, &packet.head, 0) == -1) {
        if (errno == EINTR)
            continue;
        say("sendmsg");     /* it is lost, as datagrams may be */
        break;
    }
    return 0;
}

/* Some of what is there; errors that others have caused are theirs. False
 * where nothing is left. */
static bool serve_some(int sock)
{
    for (int i = 0; i < 64; i++) {
        if (serve_one(sock) == 0)
            continue;
        if (errno == EAGAIN)
            return false;
        if (is_own_fault(errno))
            give_up("recvmsg");
    }
    return true;
}

/* What came before a stop is answered, for a second at most. */
static void finish(int sock)
{
    time_t last = time(NULL) + 1;
    while (serve_some(sock) && time(NULL) <= last)
        continue;
}

static int open_socket(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_PASSIVE,
                             .ai_family = host ? AF_UNSPEC : AF_INET};
    struct addrinfo *found;
    int result = getaddrinfo(host, port, &hints, &found);
    if (result != 0) {
        fprintf(stderr, "server: %s: %s\n", host, gai_strerror(result));
        exit(1);
    }
    int sock = socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (sock == -1)
        give_up("socket");
    int on = 1;
    if (found->ai_family == AF_INET)
        result = setsockopt(sock, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on));
    else
        result = setsockopt(sock, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on,
                            sizeof(on));
    if (result == -1)
        give_up("setsockopt");
    if (bind(sock, found->ai_addr, found->ai_addrlen) == -1)
        give_up("bind");
    freeaddrinfo(found);
    return sock;
}

static bool is_port(const char *text)
{
    char *end;
    return *text >= '0' && *text <= '9' && strtoul(text, &end, 10) <= 65535 &&
           *end == '\0';
}

int main(int argc, char **argv)
{
    const char *host = NULL, *port = "12000";
    bool good = true;
    for (int option; (option = getopt(argc, argv, "H:P:")) != -1;) {
        if (option == 'H')
            host = optarg;
        else if (option == 'P')
            port = optarg;
        else
            good = false;
    }
    if (!good || optind != argc || !is_port(port)) {
        fputs("usage: server [-H HOST] [-P PORT]\n", stderr);
        return 2;
    }

    sigset_t stops;
    sigemptyset(&stops);
    sigaddset(&stops, SIGINT);
    sigaddset(&stops, SIGTERM);
    sigprocmask(SIG_BLOCK, &stops, NULL);
    int stop = signalfd(-1, &stops, SFD_CLOEXEC);
    if (stop == -1)
        give_up("signalfd");
    int sock = open_socket(host, port);
    struct pollfd wanted[2] = {{.fd = sock, .events = POLLIN},
                               {.fd = stop, .events = POLLIN}};
    while (wanted[1].revents == 0) {
        if (poll(wanted, 2, -1) == -1 && errno != EINTR)
            give_up("poll");
        serve_some(sock);
    }
    finish(sock);
    close(sock);
    close(stop);
    return 0;
}
