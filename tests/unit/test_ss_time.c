/* test_ss_time - deadlines, by a clock that the test sets.
 *
 * Links: -Wl,--wrap=clock_gettime
 */
#define _POSIX_C_SOURCE 200809L

#include "ss_time.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct timespec clock_now;
static clockid_t clock_asked;

int __wrap_clock_gettime(clockid_t clock, struct timespec *time);

int __wrap_clock_gettime(clockid_t clock, struct timespec *time)
{
    clock_asked = clock;
    *time = clock_now;
    return 0;
}

static void set_clock(time_t seconds, long nanoseconds)
{
    clock_now.tv_sec = seconds;
    clock_now.tv_nsec = nanoseconds;
}

static void test_no_deadline(void **state)
{
    (void)state;
    assert_int_equal(ss_deadline_left_ms(NULL), -1);
}

static void test_runs_down(void **state)
{
    struct ss_deadline deadline;

    (void)state;
    set_clock(1000, 999999999);
    ss_deadline_set(&deadline, 2500);
    assert_int_equal(clock_asked, CLOCK_MONOTONIC);
    assert_int_equal(deadline.at.tv_sec, 1003);
    assert_int_equal(deadline.at.tv_nsec, 499999999);
    assert_int_equal(ss_deadline_left_ms(&deadline), 2500);
    set_clock(1002, 499999999);
    assert_int_equal(ss_deadline_left_ms(&deadline), 1000);
    set_clock(1003, 499999999);
    assert_int_equal(ss_deadline_left_ms(&deadline), 0);
    set_clock(1003, 500000000);
    assert_int_equal(ss_deadline_left_ms(&deadline), 0);
    set_clock(9000, 0);
    assert_int_equal(ss_deadline_left_ms(&deadline), 0);
}

/* Rounded down, the last millisecond would be a loop without waiting. */
static void test_rounds_up(void **state)
{
    struct ss_deadline deadline;

    (void)state;
    set_clock(7, 0);
    ss_deadline_set(&deadline, 3);
    set_clock(7, 1);
    assert_int_equal(ss_deadline_left_ms(&deadline), 3);
    set_clock(7, 2000001);
    assert_int_equal(ss_deadline_left_ms(&deadline), 1);
    set_clock(7, 2999999);
    assert_int_equal(ss_deadline_left_ms(&deadline), 1);
}

static void test_no_time_at_all(void **state)
{
    struct ss_deadline deadline;

    (void)state;
    set_clock(7, 5);
    ss_deadline_set(&deadline, 0);
    assert_int_equal(ss_deadline_left_ms(&deadline), 0);
    ss_deadline_set(&deadline, -5000);
    assert_int_equal(deadline.at.tv_sec, 7);
    assert_int_equal(ss_deadline_left_ms(&deadline), 0);
}

static void test_far_away(void **state)
{
    struct ss_deadline deadline;

    (void)state;
    set_clock(7, 999999999);
    ss_deadline_set(&deadline, INT_MAX);
    assert_true(deadline.at.tv_nsec < 1000000000);
    assert_int_equal(ss_deadline_left_ms(&deadline), INT_MAX);
    set_clock(-9000000, 0);
    assert_int_equal(ss_deadline_left_ms(&deadline), INT_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_deadline),
        cmocka_unit_test(test_runs_down),
        cmocka_unit_test(test_rounds_up),
        cmocka_unit_test(test_no_time_at_all),
        cmocka_unit_test(test_far_away),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
