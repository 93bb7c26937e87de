/* Prints the upper case of its input and asks nobody. */
#include "null_socket.h"

#include <ctype.h>

int main(void)
{
    for (int c = getchar(); c != EOF && c != '\n'; c = getchar())
        putchar(toupper(c));
    putchar('\n');
    return 0;
}
