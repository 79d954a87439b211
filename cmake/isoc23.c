/* What Debian 13's libraft.a asks of its C library and Debian 12's does not have.
 *
 * Since glibc 2.38 its headers send sscanf() to __isoc23_sscanf(), which differs in one
 * thing only: %i also reads binary numbers (0b101). libraft uses no %i. Built only where
 * glibc is older, see LibRaft.cmake. */

#include <stdarg.h>
#include <stdio.h>

int __isoc23_sscanf(const char *s, const char *format, ...);

int __isoc23_sscanf(const char *s, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsscanf(s, format, args);
    va_end(args);
    return n;
}
