/*
 * The starting point of your own server that files are sent to: the options are
 * read, the rest is yours. Many clients may come at once. Each sends a name, a
 * size and as many bytes; the file is to be stored in the folder in which the
 * server was started.
 *
 * Run: build/lessons/07-file-transfer/server-0-start
 *      and, in a second terminal, client-8-robust -F FILE
 *
 * Still wrong: everything after the options (1 and up).
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define DEFAULT_PORT "50000"

struct options {
    const char *host; /* NULL: every IPv4 address of this machine */
    const char *port;
};

static const char *program = "server";

/* Tells standard error what failed and, by errno, why. */
static void complain(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", program, what, strerror(errno));
}

static bool is_port(const char *text)
{
    /* strtol(3) allows blanks and a sign before the digits; a port does not. */
    if (text[0] < '0' || text[0] > '9')
        return false;
    char *end;
    errno = 0;
    long port = strtol(text, &end, 10);
    return errno == 0 && *end == '\0' && port <= 65535;
}

/* Wrong usage ends the program with status 2. */
static struct options parse_options(int argc, char *argv[])
{
    struct options options = {.host = NULL, .port = DEFAULT_PORT};
    const char *slash = strrchr(argv[0], '/');
    program = slash != NULL ? slash + 1 : argv[0];
    bool right = true;
    int option;
    while ((option = getopt(argc, argv, "H:P:")) != -1) {
        if (option == 'H')
            options.host = optarg;
        else if (option == 'P' && is_port(optarg))
            options.port = optarg; /* "0": the kernel chooses one */
        else
            right = false;
    }
    if (!right || optind != argc) {
        fprintf(stderr, "usage: %s [-H HOST] [-P PORT]\n", program);
        exit(2);
    }
    return options;
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    (void)options; /* Take this line out when you use them. */

    /*
     * TODO 1: listen, and serve every client, as in lesson 06. ss_listen.h has
     * what you know already. A client that is slow must not hold up another.
     */

    /*
     * TODO 2: one recv(2) for the name, then the answer "[+] server : filename
     * query ok"; the same for the size, with "filesize". Which texts are no
     * number of bytes?
     */

    /*
     * TODO 3: as many bytes as were announced, to a file, then "[+] server :
     * finished transferring file". Which results of recv(2) and write(2) mean
     * that it will never be whole?
     */

    /*
     * TODO 4: the name came from somebody else. What may be in it, and what of
     * it may open(2) see?
     */

    /*
     * TODO 5: open(2) with O_EXCL under a name of your own, fsync(2), close(2),
     * rename(2). In which order, and where does the last answer belong? What is
     * left in the folder after each failure?
     */

    /*
     * TODO 6: "[-] server : " and the reason, for the client. Why may it never
     * arrive if you call close(2) at once?
     */

    /*
     * TODO 7: SIGTERM in the middle of an upload. ss_stop.h helps.
     */

    /*
     * TODO 8: a first byte of 0 begins a header: see the lesson's README.
     */

    errno = ENOSYS;
    complain("nothing is written yet");
    return 1;
}
