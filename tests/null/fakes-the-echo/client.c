/* Prints what it reads from its input as if a server had sent it back. */
#include <stdio.h>

int main(void)
{
    char line[65536];
    while (fgets(line, sizeof(line), stdin) != NULL && line[0] != '\n')
        printf(">%s", line);
    return 0;
}
