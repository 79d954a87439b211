/* The keeper with real children: what it answers, and what it leaves behind. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "adapters/resources/keeper.h"

static char dir[64];
static struct ad_resource list[3];
static int fd;
static pid_t keeper;

static void no_line(void *data, enum sy_level level, const char *line, size_t len)
{
    (void)data;
    (void)level;
    (void)fwrite(line, 1, len, stdout);
    (void)putchar('\n');
}

static const struct sy_log quiet = {.level = SY_WARN, .write = no_line};

/* A script that does as the file "want" says: "VERB EXITCODE SECONDS". */
static void write_script(void)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof path, "%s/script", dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f,
            "#!/bin/sh\necho $1 >> %s/said\n"
            "while read verb code seconds; do [ \"$verb\" = \"$1\" ] && "
            "{ sleep $seconds; exit $code; }; done < %s/want\nexit 0\n",
            dir, dir);
    fclose(f);
    assert_int_equal(chmod(path, 0755), 0);
}

static void want(const char *text)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof path, "%s/want", dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "%s\n", text);
    fclose(f);
}

static void arg(struct ad_resource *r, const char *text)
{
    snprintf(r->args[r->args_n++], AD_RESOURCE_ARG_SIZE, "%s", text);
}

static void prepare(void)
{
    char path[160];

    snprintf(dir, sizeof dir, "%s/vagt-keeper.XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    assert_non_null(mkdtemp(dir));
    memset(list, 0, sizeof list);
    for (unsigned i = 0; i < 3; i++) {
        list[i].start_ms = list[i].stop_ms = list[i].look_ms = 1500;
        memset(list[i].spec.after, CS_NO_RESOURCE, sizeof list[i].spec.after);
        snprintf(list[i].name, sizeof list[i].name, "r%u", i);
    }
    list[0].kind = AD_RES_EXEC;
    snprintf(path, sizeof path, "%s/script", dir);
    arg(&list[0], path);
    list[1].kind = AD_RES_COMMAND;
    list[1].spec.after[0] = 0;
    arg(&list[1], "sh");
    arg(&list[1], "-c");
    snprintf(path, sizeof path, "echo $WORD $$ > %s/pid; exec sleep 1000", dir);
    arg(&list[1], path);
    snprintf(list[1].env[0], sizeof list[1].env[0], "WORD=hello");
    list[2].kind = AD_RES_COMMAND;
    arg(&list[2], "sh");
    arg(&list[2], "-c");
    arg(&list[2], "trap '' TERM; while :; do sleep 1; done"); /* It will not heed. */
    write_script();
    want("monitor 0 0");
}

static char watchdog[160]; /* "": none */

static void begin(void)
{
    static const char *const forget[] = {"VAGT_TEST_SECRET", "VAGT_TEST_NONE", NULL};
    struct ad_keeper_config c = {
        .list = list, .n = 3, .dir = dir, .watchdog = watchdog, .forget = forget};
    struct sy_errbuf eb;

    c.end_ms = 4000;
    c.fence = watchdog[0] != '\0' ? AD_FENCE_WATCHDOG : AD_FENCE_EXIT;
    assert_int_equal(ad_keeper_start(&c, &quiet, &fd, &eb), 0);
}

static int open_keeper(void **state)
{
    (void)state;
    prepare();
    assert_int_equal(setenv("VAGT_TEST_SECRET", "marked", 1), 0);
    begin();
    return 0;
}

static int close_keeper(void **state)
{
    char command[96];

    (void)state;
    if (fd >= 0) {
        close(fd);
    }
    while (wait(NULL) > 0) {
    }
    watchdog[0] = '\0';
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command);
}

static struct ad_keeper_message hear(void)
{
    struct ad_keeper_message m = {.what = 0};
    struct pollfd p = {.fd = fd, .events = POLLIN};

    assert_int_equal(poll(&p, 1, 5000), 1);
    assert_int_equal(recv(fd, &m, sizeof m, 0), sizeof m);
    return m;
}

static struct ad_keeper_message ask(enum ad_keeper_what what, unsigned which)
{
    struct ad_keeper_message m = {.what = (uint8_t)what, .which = (uint8_t)which};

    assert_int_equal(send(fd, &m, sizeof m, 0), sizeof m);
    m = hear();
    assert_int_equal(m.what, what);
    assert_int_equal(m.which, which);
    return m;
}

/* Of the program that was started last: it may still be about to say so. */
static pid_t command_pid(void)
{
    char path[128], word[16] = "";
    int pid = 0, n = 0;
    FILE *f;

    snprintf(path, sizeof path, "%s/pid", dir);
    for (unsigned i = 0; i < 500 && n != 2; i++) {
        f = fopen(path, "r");
        if (f != NULL) {
            n = fscanf(f, "%15s %d", word, &pid);
            fclose(f);
        }
        if (n != 2) {
            usleep(10000);
        }
    }
    assert_int_equal(n, 2);
    assert_int_equal(unlink(path), 0); /* The next one says it anew. */
    assert_string_equal(word, "hello");
    return pid;
}

static bool said(const char *word)
{
    char command[160];

    snprintf(command, sizeof command, "grep -q '^%s$' %s/said 2> /dev/null", word, dir);
    return system(command) == 0;
}

static void a_script_is_called_with_what_is_wanted(void **state)
{
    struct ad_keeper_message m;

    (void)state;
    assert_true(ask(AD_KEEPER_START, 0).ok);
    assert_true(ask(AD_KEEPER_LOOK, 0).ok);
    want("monitor 7 0\nstop 0 30");
    m = ask(AD_KEEPER_LOOK, 0);
    assert_false(m.ok);
    assert_non_null(strstr(m.why, "exit code 7"));
    assert_non_null(strstr(m.why, dir)); /* The whole path of what it said. */
    m = ask(AD_KEEPER_STOP, 0);          /* Longer than it may. */
    assert_false(m.ok);
    assert_non_null(strstr(m.why, "longer than 1500 ms"));
    want("stop 0 0");
    assert_true(ask(AD_KEEPER_STOP, 0).ok);
    assert_true(said("start") && said("monitor") && said("stop"));
}

static void a_lock_that_cannot_be_opened_is_named(void **state)
{
    struct ad_keeper_config c = {.list = list, .n = 3, .dir = dir};
    struct sy_errbuf eb = {.text = ""};
    char path[128];
    int second;

    (void)state;
    close(fd);
    fd = -1;
    while (wait(NULL) > 0) {
    }
    snprintf(path, sizeof path, "%s/keeper.lock", dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_true(ad_keeper_start(&c, &quiet, &second, &eb) < 0);
    assert_non_null(strstr(eb.text, path));
    assert_non_null(strstr(eb.text, "cannot be opened: Is a directory"));
}

static void a_program_runs_until_it_is_stopped(void **state)
{
    struct ad_keeper_message m;
    pid_t pid;

    (void)state;
    assert_true(ask(AD_KEEPER_START, 1).ok);
    pid = command_pid();
    assert_int_equal(kill(pid, 0), 0);
    assert_true(ask(AD_KEEPER_LOOK, 1).ok);
    assert_true(ask(AD_KEEPER_STOP, 1).ok);
    assert_int_not_equal(kill(pid, 0), 0);
    assert_false(ask(AD_KEEPER_LOOK, 1).ok);
    assert_true(ask(AD_KEEPER_STOP, 1).ok); /* Once more does no harm. */
    assert_true(ask(AD_KEEPER_START, 1).ok);
    kill(command_pid(), SIGKILL);
    m = hear(); /* At once, not with the next look. */
    assert_int_equal(m.what, AD_KEEPER_ENDED);
    assert_int_equal(m.which, 1);
    assert_non_null(strstr(m.why, "signal 9"));
}

static void who_does_not_heed_is_killed(void **state)
{
    (void)state;
    assert_true(ask(AD_KEEPER_START, 2).ok);
    assert_true(ask(AD_KEEPER_STOP, 2).ok);
    assert_false(ask(AD_KEEPER_LOOK, 2).ok);
}

static void what_cannot_be_run_is_said(void **state)
{
    struct ad_keeper_message m;

    (void)state;
    close(fd);
    while (wait(NULL) > 0) {
    }
    snprintf(list[2].args[0], AD_RESOURCE_ARG_SIZE, "/nonexistent/program");
    begin();
    m = ask(AD_KEEPER_START, 2);
    assert_false(m.ok);
    assert_non_null(strstr(m.why, "no such program"));
}

/* A program in @dir of that name, which notes how it is called. */
static void write_program(const char *name)
{
    char path[160];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "#!/bin/sh\necho \"%s $*\" >> %s/said\n", name, dir);
    fclose(f);
    assert_int_equal(chmod(path, 0755), 0);
}

static void units_and_containers_are_left_to_their_programs(void **state)
{
    char path[4096], old[4000];

    (void)state;
    close(fd);
    while (wait(NULL) > 0) {
    }
    write_program("systemctl");
    write_program("docker");
    list[1].kind = AD_RES_SYSTEMD;
    list[2].kind = AD_RES_DOCKER;
    snprintf(list[1].args[0], AD_RESOURCE_ARG_SIZE, "foo.service");
    snprintf(list[2].args[0], AD_RESOURCE_ARG_SIZE, "foo");
    snprintf(old, sizeof old, "%s", getenv("PATH"));
    snprintf(path, sizeof path, "%s:%s", dir, old);
    setenv("PATH", path, 1);
    begin();
    setenv("PATH", old, 1);
    for (unsigned i = 1; i <= 2; i++) {
        assert_true(ask(AD_KEEPER_START, i).ok);
        assert_true(ask(AD_KEEPER_LOOK, i).ok);
        assert_true(ask(AD_KEEPER_STOP, i).ok);
    }
    assert_true(said("systemctl start foo.service"));
    assert_true(said("systemctl is-active foo.service"));
    assert_true(said("systemctl stop foo.service"));
    assert_true(said("docker start foo"));
    assert_true(said("docker top foo"));
    assert_true(said("docker stop -t 2 foo"));
}

static void it_says_what_runs(void **state)
{
    struct ad_keeper_message m = {.what = AD_KEEPER_LIST};

    (void)state;
    assert_true(ask(AD_KEEPER_START, 1).ok);
    assert_int_equal(send(fd, &m, sizeof m, 0), sizeof m);
    m = hear();
    assert_int_equal(m.what, AD_KEEPER_RUNS);
    assert_int_equal(m.which, 1);
    assert_int_equal(hear().what, AD_KEEPER_LIST);
}

/* vagtd is gone: all of it stops, in order, and the keeper ends. */
static void when_vagtd_ends_everything_is_stopped(void **state)
{
    pid_t pid;
    int status;

    (void)state;
    assert_true(ask(AD_KEEPER_START, 0).ok);
    assert_true(ask(AD_KEEPER_START, 1).ok);
    assert_true(ask(AD_KEEPER_START, 2).ok);
    pid = command_pid();
    close(fd);
    fd = -1;
    assert_true(wait(&status) > 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_not_equal(kill(pid, 0), 0);
    assert_true(said("stop"));
}

static void what_would_not_stop_then_is_fenced(void **state)
{
    int status;

    (void)state;
    want("stop 1 0");
    assert_true(ask(AD_KEEPER_START, 0).ok);
    close(fd);
    fd = -1;
    assert_true(wait(&status) > 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

/* What a script started and did not stop does not outlive the fence. */
static void a_fence_reaches_what_hides_in_a_session_of_its_own(void **state)
{
    char path[160];
    FILE *f;
    pid_t pid;
    int status;

    (void)state;
    snprintf(path, sizeof path, "%s/script", dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f,
            "#!/bin/sh\n[ $1 = start ] || exit 1\n"
            "setsid sh -c 'echo hello $$ > %s/pid; exec sleep 1000' &\n"
            "while [ ! -s %s/pid ]; do sleep 0.01; done\n",
            dir, dir);
    fclose(f);
    assert_true(ask(AD_KEEPER_START, 0).ok);
    pid = command_pid();
    assert_int_equal(kill(pid, 0), 0);
    close(fd);
    fd = -1;
    assert_true(wait(&status) > 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    assert_int_not_equal(kill(pid, 0), 0);
}

static void what_it_starts_does_not_inherit_secrets(void **state)
{
    char path[160];
    FILE *f;

    (void)state;
    snprintf(path, sizeof path, "%s/script", dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "#!/bin/sh\n! env | grep -q VAGT_TEST_SECRET\n");
    fclose(f);
    assert_string_equal(getenv("VAGT_TEST_SECRET"), "marked"); /* We keep it. */
    assert_true(ask(AD_KEEPER_START, 0).ok);
}

/* A new life of vagtd waits until the keeper of the one before is done. */
static void the_next_keeper_waits_for_this_one(void **state)
{
    int old = fd;
    pid_t pid;

    (void)state;
    assert_true(ask(AD_KEEPER_START, 1).ok);
    pid = command_pid();
    begin();
    close(old);
    assert_true(ask(AD_KEEPER_STOP, 0).ok);
    assert_int_not_equal(kill(pid, 0), 0);
}

/* kill -9 of the keeper: nothing of it is left. */
static void its_children_die_with_it(void **state)
{
    pid_t pid;
    char path[64], name[32] = "";
    FILE *f;

    (void)state;
    assert_true(ask(AD_KEEPER_START, 1).ok);
    pid = command_pid();
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    f = fopen(path, "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*d %31s %*c %d", name, &keeper), 2);
    fclose(f);
    kill(keeper, SIGKILL);
    for (unsigned i = 0; i < 200 && kill(pid, 0) == 0; i++) {
        usleep(10000);
    }
    assert_int_not_equal(kill(pid, 0), 0);
}

/* --- a watchdog: a file takes down what it is told --- */

static void begin_with_watchdog(bool there)
{
    FILE *f;

    close(fd);
    while (wait(NULL) > 0) {
    }
    snprintf(watchdog, sizeof watchdog, "%s/watchdog", dir);
    if (there) {
        f = fopen(watchdog, "w");
        assert_non_null(f);
        fclose(f);
    }
    begin();
}

/* What it was told: how much, and the last of it. */
static long heard(char *ret_last)
{
    FILE *f = fopen(watchdog, "r");
    long n = 0;

    assert_non_null(f);
    for (int c; (c = fgetc(f)) != EOF; n++) {
        *ret_last = (char)c;
    }
    fclose(f);
    return n;
}

static int end_of_keeper(void)
{
    int status;

    close(fd);
    fd = -1;
    assert_true(wait(&status) > 0);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void a_watchdog_hears_that_all_is_well_and_is_let_go_of(void **state)
{
    char last = 0;
    long n;

    (void)state;
    begin_with_watchdog(true);
    assert_true(ask(AD_KEEPER_START, 0).ok);
    for (n = heard(&last); heard(&last) < n + 2;) {
        (void)poll(NULL, 0, 10);
    }
    assert_int_equal(last, 'w');
    assert_int_equal(end_of_keeper(), 0);
    (void)heard(&last);
    assert_int_equal(last, 'V'); /* All is stopped: it need not bite. */
}

static void a_watchdog_is_left_to_bite_when_something_does_not_stop(void **state)
{
    char last = 0;

    (void)state;
    begin_with_watchdog(true);
    want("stop 1 0");
    assert_true(ask(AD_KEEPER_START, 0).ok);
    assert_int_equal(end_of_keeper(), 1);
    assert_true(heard(&last) > 0);
    assert_int_equal(last, 'w');
}

static void without_its_watchdog_nothing_is_started(void **state)
{
    struct ad_keeper_message m;

    (void)state;
    begin_with_watchdog(false);
    m = ask(AD_KEEPER_START, 1);
    assert_false(m.ok);
    assert_non_null(strstr(m.why, "cannot be opened: No such file"));
    assert_non_null(strstr(m.why, watchdog));
    assert_int_equal(end_of_keeper(), 0);
}

static void addresses_are_read(void **state)
{
    struct ad_vip v;

    (void)state;
    assert_true(ad_vip_parse(&v, "192.0.2.10/24", "eth0"));
    assert_int_equal(v.family, AF_INET);
    assert_int_equal(v.prefix, 24);
    assert_true(ad_vip_parse(&v, "2001:db8::10/64", "eth0"));
    assert_int_equal(v.family, AF_INET6);
    assert_false(ad_vip_parse(&v, "192.0.2.10", "eth0"));
    assert_false(ad_vip_parse(&v, "192.0.2.10/33", "eth0"));
    assert_false(ad_vip_parse(&v, "192.0.2.10/x", "eth0"));
    assert_false(ad_vip_parse(&v, "192.0.2/24", "eth0"));
    assert_false(ad_vip_parse(&v, "192.0.2.10/24", "an-interface-name-too-long"));
    assert_false(ad_vip_parse(&v, "192.0.2.10/24", ""));
}

int main(void)
{
#define WITH_KEEPER(F) cmocka_unit_test_setup_teardown(F, open_keeper, close_keeper)
    const struct CMUnitTest tests[] = {
        WITH_KEEPER(a_script_is_called_with_what_is_wanted),
        WITH_KEEPER(a_lock_that_cannot_be_opened_is_named),
        WITH_KEEPER(a_program_runs_until_it_is_stopped),
        WITH_KEEPER(who_does_not_heed_is_killed),
        WITH_KEEPER(what_cannot_be_run_is_said),
        WITH_KEEPER(units_and_containers_are_left_to_their_programs),
        WITH_KEEPER(it_says_what_runs),
        WITH_KEEPER(when_vagtd_ends_everything_is_stopped),
        WITH_KEEPER(what_would_not_stop_then_is_fenced),
        WITH_KEEPER(a_fence_reaches_what_hides_in_a_session_of_its_own),
        WITH_KEEPER(what_it_starts_does_not_inherit_secrets),
        WITH_KEEPER(the_next_keeper_waits_for_this_one),
        WITH_KEEPER(its_children_die_with_it),
        WITH_KEEPER(a_watchdog_hears_that_all_is_well_and_is_let_go_of),
        WITH_KEEPER(a_watchdog_is_left_to_bite_when_something_does_not_stop),
        WITH_KEEPER(without_its_watchdog_nothing_is_started),
        cmocka_unit_test(addresses_are_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
