/* What is told to a service manager, with a socket in its place. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "adapters/systemd/notify.h"

static int listen_at(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    size_t len = strlen(path);

    assert_true(fd >= 0);
    memcpy(at.sun_path, path, len);
    if (path[0] == '@') {
        at.sun_path[0] = '\0';
    }
    assert_int_equal(bind(fd, (struct sockaddr *)&at,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
                     0);
    return fd;
}

static void hears(int fd, const char *text)
{
    char got[64] = "";

    assert_true(recv(fd, got, sizeof got - 1, MSG_DONTWAIT) >= 0);
    assert_string_equal(got, text);
}

static void it_is_told_by_path_and_by_name(void **state)
{
    char path[96], name[64];
    int fd;

    (void)state;
    snprintf(path, sizeof path, "%s/vagt-notify-%d",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (int)getpid());
    snprintf(name, sizeof name, "@vagt-notify-%d", (int)getpid());
    fd = listen_at(path);
    setenv("NOTIFY_SOCKET", path, 1);
    ad_systemd_tell("READY=1");
    hears(fd, "READY=1");
    close(fd);
    unlink(path);
    ad_systemd_tell("nobody hears it, and that is well");
    fd = listen_at(name);
    setenv("NOTIFY_SOCKET", name, 1);
    ad_systemd_tell("WATCHDOG=1\nSTATUS=on watch");
    hears(fd, "WATCHDOG=1\nSTATUS=on watch");
    close(fd);
    unsetenv("NOTIFY_SOCKET");
    ad_systemd_tell("READY=1");
}

static void the_watchdog_is_fed_twice_in_its_time(void **state)
{
    char pid[32];

    (void)state;
    unsetenv("WATCHDOG_USEC");
    assert_int_equal(ad_systemd_watchdog_ms(), 0);
    setenv("WATCHDOG_USEC", "120000000", 1);
    assert_int_equal(ad_systemd_watchdog_ms(), 60000);
    setenv("WATCHDOG_PID", "1", 1);
    assert_int_equal(ad_systemd_watchdog_ms(), 0); /* Another process is meant. */
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("WATCHDOG_PID", pid, 1);
    assert_int_equal(ad_systemd_watchdog_ms(), 60000);
    setenv("WATCHDOG_USEC", "rubbish", 1);
    assert_int_equal(ad_systemd_watchdog_ms(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_told_by_path_and_by_name),
        cmocka_unit_test(the_watchdog_is_fed_twice_in_its_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
