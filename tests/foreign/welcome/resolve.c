/* A sound resolver: inet_ntop(3), and the name of the link by its number. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int usage(void)
{
    fputs("usage: resolve [-H HOST]\n", stderr);
    return 2;
}

static void print(const struct sockaddr *address)
{
    char text[INET6_ADDRSTRLEN], link[IF_NAMESIZE];
    const struct sockaddr_in *four = (const void *)address;
    const struct sockaddr_in6 *six = (const void *)address;

    if (address->sa_family == AF_INET) {
        puts(inet_ntop(AF_INET, &four->sin_addr, text, sizeof text));
        return;
    }
    fputs(inet_ntop(AF_INET6, &six->sin6_addr, text, sizeof text), stdout);
    if (six->sin6_scope_id == 0)
        putchar('\n');
    else if (if_indextoname(six->sin6_scope_id, link))
        printf("%%%s\n", link);
    else
        printf("%%%u\n", (unsigned)six->sin6_scope_id);
}

int main(int argc, char *argv[])
{
    const char *host = "localhost";
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list;

    for (int letter; (letter = getopt(argc, argv, "H:")) != -1; host = optarg)
        if (letter != 'H')
            return usage();
    if (optind != argc)
        return usage();
    int wrong = getaddrinfo(host, NULL, &hints, &list);
    if (wrong) {
        fprintf(stderr, "resolve: %s: %s\n", host,
                wrong == EAI_SYSTEM ? strerror(errno) : gai_strerror(wrong));
        return EXIT_FAILURE;
    }
    for (struct addrinfo *at = list; at; at = at->ai_next)
        if (at->ai_family == AF_INET || at->ai_family == AF_INET6)
            print(at->ai_addr);
    freeaddrinfo(list);
    if (fflush(stdout) || ferror(stdout)) {
        perror("resolve: standard output");
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
