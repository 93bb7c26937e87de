/* test_fault_plan - the parser, the printer and the counters of plans. */
#define _POSIX_C_SOURCE 200809L

#include "fault_plan.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { THREADS = 4, CALLS = 10000 };

static void parse(struct fault_plan *plan, const char *text)
{
    struct fault_plan_error error = {0, "none"};

    memset(plan, 0, sizeof(*plan));
    if (fault_plan_parse(plan, text, &error) == -1) {
        fail_msg("`%s`: byte %zu: %s", text, error.offset, error.why);
    }
}

static struct fault_plan parsed(const char *text)
{
    struct fault_plan plan;

    parse(&plan, text);
    return plan;
}

static void expect_refused(const char *text, size_t offset, const char *why,
                           int number)
{
    struct fault_plan plan;
    struct fault_plan_error error = {0, "none"};

    errno = 0;
    if (fault_plan_parse(&plan, text, &error) == 0) {
        fail_msg("`%s` was taken for a plan", text);
    }
    assert_int_equal(errno, number);
    if (strstr(error.why, why) == NULL || error.offset != offset) {
        fail_msg("`%s`: byte %zu: %s, and not byte %zu: %s", text, error.offset,
                 error.why, offset, why);
    }
}

static void expect_printed(const char *text, const char *canonical)
{
    struct fault_plan plan;
    struct fault_plan again;
    char printed[256];

    parse(&plan, text);
    assert_int_equal(fault_plan_print(&plan, printed, sizeof(printed)), 0);
    assert_string_equal(printed, canonical);
    parse(&again, printed);
    assert_int_equal(again.count, plan.count);
    for (size_t i = 0; i < plan.count; i++) {
        const struct fault_item *a = &plan.items[i];
        const struct fault_item *b = &again.items[i];

        assert_int_equal(a->class, b->class);
        assert_true(a->first == b->first && a->last == b->last);
        assert_int_equal(a->actions, b->actions);
        assert_int_equal(a->signal_number, b->signal_number);
        assert_true(a->short_bytes == b->short_bytes);
        assert_int_equal(a->error, b->error);
        assert_int_equal(a->factor, b->factor);
    }
}

static void test_empty(void **state)
{
    (void)state;
    assert_int_equal(parsed("").count, 0);
    assert_int_equal(parsed(" ; \n\t;;\n").count, 0);
}

static void test_item(void **state)
{
    struct fault_plan plan = parsed("accept@2-5=EMFILE");

    (void)state;
    assert_int_equal(plan.count, 1);
    assert_int_equal(plan.items[0].class, FAULT_ACCEPT);
    assert_true(plan.items[0].first == 2 && plan.items[0].last == 5);
    assert_int_equal(plan.items[0].actions, FAULT_FAIL);
    assert_int_equal(plan.items[0].error, EMFILE);
    plan = parsed("wait@4-=signal:SIGTERM+late:EINTR");
    assert_true(plan.items[0].first == 4 && plan.items[0].last == UINT64_MAX);
    assert_int_equal(plan.items[0].actions, FAULT_SIGNAL | FAULT_LATE);
    assert_int_equal(plan.items[0].signal_number, SIGTERM);
    assert_int_equal(plan.items[0].error, EINTR);
    plan = parsed("recv@*=short:7");
    assert_true(plan.items[0].first == 1 && plan.items[0].last == UINT64_MAX);
    assert_int_equal(plan.items[0].actions, FAULT_SHORT);
    assert_int_equal(plan.items[0].short_bytes, 7);
}

static void test_every_class(void **state)
{
    char text[64];

    (void)state;
    for (int i = 0; i < FAULT_CLASS_COUNT; i++) {
        snprintf(text, sizeof(text),
                 i == FAULT_CLOCK ? "%s@*=fast:2" : "%s@1=ENOMEM",
                 fault_class_name((enum fault_class)i));
        assert_int_equal(parsed(text).items[0].class, i);
    }
}

static void test_errno_names(void **state)
{
    (void)state;
    assert_string_equal(fault_errno_name(EINTR), "EINTR");
    assert_string_equal(fault_errno_name(EAGAIN), "EAGAIN");
    assert_null(fault_errno_name(0));
    assert_null(fault_errno_name(-1));
}

static void test_round_trip(void **state)
{
    (void)state;
    expect_printed("", "");
    expect_printed("recv@3=EINTR", "recv@3=EINTR");
    expect_printed(" recv@3-3=EINTR ;\r\n", "recv@3=EINTR");
    expect_printed("recv@1-=0", "recv@*=0");
    expect_printed("read@2-=0", "read@2-=0");
    expect_printed("send@1-2=short:1+signal:SIGUSR1\nclose@1=late:EIO",
                   "send@1-2=signal:SIGUSR1+short:1;close@1=late:EIO");
    expect_printed("wait@1=kill:SIGTERM", "wait@1=kill:SIGTERM");
    expect_printed("clock@1-=fast:20", "clock@*=fast:20");
    expect_printed("recv@*=EWOULDBLOCK", "recv@*=EAGAIN");
    expect_printed("malloc@18446744073709551614=ENOMEM",
                   "malloc@18446744073709551614=ENOMEM");
    expect_printed("send@1=short:9223372036854775807",
                   "send@1=short:9223372036854775807");
}

static void test_print_does_not_fit(void **state)
{
    struct fault_plan plan = parsed("recv@3=EINTR");
    char text[16];

    (void)state;
    memset(text, 'x', sizeof(text));
    assert_int_equal(fault_plan_print(&plan, text, 13), 0);
    assert_string_equal(text, "recv@3=EINTR");
    errno = 0;
    assert_int_equal(fault_plan_print(&plan, text, 12), -1);
    assert_int_equal(errno, ERANGE);
    assert_string_equal(text, "recv@3=EINT");
    assert_int_equal(text[14], 'x');
}

static void test_item_print(void **state)
{
    struct fault_plan plan = parsed("recv@*=signal:SIGHUP+short:12");
    const struct fault_item *item = &plan.items[0];
    char text[40];

    (void)state;
    assert_int_equal(fault_item_print(item, FAULT_SHORT, text, sizeof(text)),
                     8);
    assert_string_equal(text, "short:12");
    fault_item_print(item, FAULT_SIGNAL | FAULT_SHORT, text, sizeof(text));
    assert_string_equal(text, "signal:SIGHUP+short:12");
    assert_int_equal(fault_item_print(item, FAULT_FAIL, text, sizeof(text)), 0);
    assert_string_equal(text, "");
    assert_int_equal(fault_item_print(item, FAULT_SHORT, text, 4), 3);
    assert_string_equal(text, "sho");
}

static void test_refused_form(void **state)
{
    (void)state;
    expect_refused("x", 0, "no such class", EINVAL);
    expect_refused("recvx@1=EINTR", 0, "no such class", EINVAL);
    expect_refused("rec@1=EINTR", 0, "no such class", EINVAL);
    expect_refused("@1=EINTR", 0, "no such class", EINVAL);
    expect_refused("recv", 4, "expected @", EINVAL);
    expect_refused("recv@", 5, "a number is missing", EINVAL);
    expect_refused("recv@=EINTR", 5, "a number is missing", EINVAL);
    expect_refused("recv@-3=EINTR", 5, "a number is missing", EINVAL);
    expect_refused("recv@1", 6, "expected =", EINVAL);
    expect_refused("recv@1 =EINTR", 6, "expected =", EINVAL);
    expect_refused("recv@1-x=EINTR", 7, "expected =", EINVAL);
    expect_refused("recv@1=", 7, "no such action", EINVAL);
    expect_refused("recv@1=eintr", 7, "no such action", EINVAL);
    expect_refused("recv@1=EINT", 7, "no such action", EINVAL);
    expect_refused("recv@1=EINTR+", 13, "no such action", EINVAL);
    expect_refused("recv@1=late:", 12, "no such action", EINVAL);
    expect_refused("recv@1=signal:TERM", 14, "no such signal", EINVAL);
    expect_refused("recv@1=short:", 13, "a number is missing", EINVAL);
    expect_refused("recv@1=short:x", 13, "a number is missing", EINVAL);
    expect_refused("recv@1=EINTR send@1=EINTR", 13, "end of the item", EINVAL);
    expect_refused("recv@1=00", 7, "no such action", EINVAL);
    expect_refused("send@1=EINTR; recv@1=E", 21, "no such action", EINVAL);
}

static void test_refused_numbers(void **state)
{
    (void)state;
    expect_refused("recv@0=EINTR", 5, "start at 1", EINVAL);
    expect_refused("recv@0-3=EINTR", 5, "start at 1", EINVAL);
    expect_refused("recv@1=short:0", 13, "start at 1", EINVAL);
    expect_refused("clock@*=fast:0", 13, "start at 1", EINVAL);
    expect_refused("clock@*=fast:1001", 13, "too large", EINVAL);
    expect_refused("recv@5-2=EINTR", 5, "ends before", EINVAL);
    expect_refused("recv@18446744073709551615=EINTR", 5, "too large", EINVAL);
    expect_refused("recv@18446744073709551616=EINTR", 5, "too large", EINVAL);
    expect_refused("recv@1-99999999999999999999=EINTR", 7, "too large", EINVAL);
    expect_refused("recv@1=short:9223372036854775808", 13, "too large", EINVAL);
}

static void test_refused_actions(void **state)
{
    (void)state;
    expect_refused("recv@1=EINTR+EAGAIN", 13, "excludes", EINVAL);
    expect_refused("send@1=short:1+short:2", 15, "excludes", EINVAL);
    expect_refused("send@1=short:1+late:EIO", 15, "excludes", EINVAL);
    expect_refused("recv@1=0+EINTR", 9, "excludes", EINVAL);
    expect_refused("recv@1=signal:SIGINT+kill:SIGINT", 21, "one signal",
                   EINVAL);
    expect_refused("close@1=short:1", 0, "no length", EINVAL);
    expect_refused("wait@1=short:1", 0, "no length", EINVAL);
    expect_refused("send@1=0", 0, "no end", EINVAL);
    expect_refused("recv@1=late:EINTR", 0, "afterwards", EINVAL);
    expect_refused("socket@1=late:EMFILE", 0, "afterwards", EINVAL);
    expect_refused("malloc@1=late:ENOMEM", 0, "afterwards", EINVAL);
    expect_refused("malloc@1=EINTR", 0, "ENOMEM only", EINVAL);
    expect_refused("clock@*=EINTR", 0, "runs fast", EINVAL);
    expect_refused("wait@*=fast:2", 0, "runs fast", EINVAL);
    expect_refused("clock@*=signal:SIGINT+fast:2", 0, "runs fast", EINVAL);
    expect_refused("clock@2=fast:2", 0, "all the time", EINVAL);
}

static void test_too_many_items(void **state)
{
    char text[FAULT_ITEMS_MAX * 13 + 14] = "";

    (void)state;
    for (int i = 0; i < FAULT_ITEMS_MAX; i++) {
        strcat(text, "recv@1=EINTR;");
    }
    assert_int_equal(parsed(text).count, FAULT_ITEMS_MAX);
    strcat(text, "recv@1=EINTR;");
    expect_refused(text, (size_t)FAULT_ITEMS_MAX * 13, "too many items", E2BIG);
}

static void test_find(void **state)
{
    struct fault_plan plan =
        parsed("recv@2-3=EINTR;recv@3-=EAGAIN;send@*=EIO;wait@1=EINTR");

    (void)state;
    assert_null(fault_plan_find(&plan, FAULT_RECV, 1));
    assert_ptr_equal(fault_plan_find(&plan, FAULT_RECV, 2), &plan.items[0]);
    assert_ptr_equal(fault_plan_find(&plan, FAULT_RECV, 3), &plan.items[0]);
    assert_ptr_equal(fault_plan_find(&plan, FAULT_RECV, 4), &plan.items[1]);
    assert_ptr_equal(fault_plan_find(&plan, FAULT_RECV, UINT64_MAX),
                     &plan.items[1]);
    assert_ptr_equal(fault_plan_find(&plan, FAULT_SEND, 1), &plan.items[2]);
    assert_ptr_equal(fault_plan_find(&plan, FAULT_WAIT, 1), &plan.items[3]);
    assert_null(fault_plan_find(&plan, FAULT_WAIT, 2));
    assert_null(fault_plan_find(&plan, FAULT_CLOSE, 1));
}

static struct fault_counters counters;

static void *count(void *sum)
{
    uint64_t *total = sum;

    for (int i = 0; i < CALLS; i++) {
        *total += fault_counters_next(&counters, FAULT_SEND);
    }
    return NULL;
}

/* Each number from 1 is given once: their sum is known. */
static void test_counters(void **state)
{
    const uint64_t all = (uint64_t)THREADS * CALLS;
    pthread_t threads[THREADS];
    uint64_t sums[THREADS] = {0};
    uint64_t sum = 0;

    (void)state;
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, count, &sums[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        sum += sums[i];
    }
    assert_true(sum == all * (all + 1) / 2);
    assert_int_equal(fault_counters_next(&counters, FAULT_SEND), all + 1);
    assert_int_equal(fault_counters_next(&counters, FAULT_RECV), 1);
}

static void test_decimal(void **state)
{
    char text[21];

    (void)state;
    assert_int_equal(fault_decimal(0, text), 1);
    assert_string_equal(text, "0");
    assert_int_equal(fault_decimal(1050, text), 4);
    assert_string_equal(text, "1050");
    assert_int_equal(fault_decimal(UINT64_MAX, text), 20);
    assert_string_equal(text, "18446744073709551615");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_item),
        cmocka_unit_test(test_every_class),
        cmocka_unit_test(test_errno_names),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_print_does_not_fit),
        cmocka_unit_test(test_item_print),
        cmocka_unit_test(test_refused_form),
        cmocka_unit_test(test_refused_numbers),
        cmocka_unit_test(test_refused_actions),
        cmocka_unit_test(test_too_many_items),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_counters),
        cmocka_unit_test(test_decimal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
