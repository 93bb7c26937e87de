/*
 * The starting point of your own client that sends a file: the options are
 * read, the rest is yours.
 *
 * Run: build/lessons/07-file-transfer/client-0-start -F FILE
 *      while a server listens on port 50000
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
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define DEFAULT_HOST "127.0.0.1"
#define DEFAULT_PORT "50000"

struct options {
    const char *host;
    const char *port;
    const char *file;
};

static const char *program = "client";

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
    return errno == 0 && *end == '\0' && port >= 1 && port <= 65535;
}

/* Wrong usage ends the program with status 2. */
static struct options parse_options(int argc, char *argv[])
{
    struct options options = {.host = DEFAULT_HOST, .port = DEFAULT_PORT};
    const char *slash = strrchr(argv[0], '/');
    program = slash != NULL ? slash + 1 : argv[0];
    bool right = true;
    int option;
    while ((option = getopt(argc, argv, "H:P:F:")) != -1) {
        if (option == 'H')
            options.host = optarg;
        else if (option == 'P' && is_port(optarg))
            options.port = optarg;
        else if (option == 'F')
            options.file = optarg;
        else
            right = false;
    }
    if (!right || options.file == NULL || optind != argc) {
        fprintf(stderr, "usage: %s [-H HOST] [-P PORT] -F FILE\n", program);
        exit(2);
    }
    return options;
}

int main(int argc, char *argv[])
{
    struct options options = parse_options(argc, argv);
    (void)options; /* Take this line out when you use them. */

    /*
     * TODO 1: open(2) the file and ask fstat(2) for its size. What if it is a
     * directory, or a FIFO that nobody writes to?
     */

    /*
     * TODO 2: connect, as in lesson 01. ss_connect.h has what you know already.
     */

    /*
     * TODO 3: send the name, without its folders, and read the answer, which is
     * "[+] server : filename query ok". What if it comes in two pieces, or if
     * another one comes? Then the same for the size, in decimal digits.
     */

    /*
     * TODO 4: send the data. How much memory does that take for 4 GiB? What if
     * the file has become shorter meanwhile, or longer?
     */

    /*
     * TODO 5: shutdown(2), and the last answer. What does status 0 promise?
     */

    /*
     * TODO 6: poll(2): what may the server say while you are still sending?
     */

    errno = ENOSYS;
    complain("nothing is written yet");
    return 1;
}
