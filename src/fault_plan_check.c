/* fault_plan_check.c - reads a plan of faults and prints its canonical form.
 *
 * Run: build/src/fault_plan_check 'recv@1-1=EINTR; send@1-=short:1'
 *
 * Exit status: 0 if the plan is good, 1 if it is not, 2 for wrong usage.
 */
#define _POSIX_C_SOURCE 200809L

#include "fault_plan.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    struct fault_plan_error error;
    struct fault_plan plan;
    char text[FAULT_ITEMS_MAX * 160];

    if (argc != 2) {
        fprintf(stderr, "usage: fault_plan_check PLAN\n");
        return 2;
    }
    if (fault_plan_parse(&plan, argv[1], &error) == -1) {
        fprintf(stderr, "fault_plan_check: byte %zu: %s: %s\n",
                error.offset + 1, error.why, argv[1] + error.offset);
        return 1;
    }
    if (fault_plan_print(&plan, text, sizeof(text)) == -1 ||
        printf("%s\n", text) < 0 || fflush(stdout) == EOF) {
        fprintf(stderr, "fault_plan_check: cannot print: %s\n",
                strerror(errno));
        return 1;
    }
    return 0;
}
