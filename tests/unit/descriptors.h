/* descriptors.h - for every test: it leaves as many descriptors as it found.
 *
 * Use: cmocka_unit_test_setup_teardown(test, descriptors_before,
 *                                      descriptors_after)
 */
#ifndef DESCRIPTORS_H
#define DESCRIPTORS_H

#include <dirent.h>
#include <stdio.h>

static int descriptors_found;

/* The one that reads the folder is among them each time. */
static int descriptors_open(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;

    if (folder == NULL) {
        return -1;
    }
    while (readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count;
}

static int descriptors_before(void **state)
{
    (void)state;
    descriptors_found = descriptors_open();
    return descriptors_found == -1 ? -1 : 0;
}

static int descriptors_after(void **state)
{
    int count = descriptors_open();

    (void)state;
    if (count != descriptors_found) {
        fprintf(stderr, "descriptors: %d before and %d after\n",
                descriptors_found, count);
        return -1;
    }
    return 0;
}

#endif
