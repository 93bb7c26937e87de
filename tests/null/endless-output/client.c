/* Writes the same line without end to standard output. */
#define _POSIX_C_SOURCE 200809L
#include "null_lines.h"

#include <unistd.h>

int main(void)
{
    const char *block = null_lines(">echo\n");
    while (write(STDOUT_FILENO, block, NULL_LINES_SIZE) > 0)
        ;
    return 0;
}
