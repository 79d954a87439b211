/* What a device says of itself. */

#include <jansson.h>
#include <string.h>

#include "adapters/z2m/impl.h"
#include "base/hash.h"

#define YEAR_2000_MS UINT64_C(946684800000)
#define YEAR_2100_MS UINT64_C(4102444800000)

/* Days since 1970-01-01 of a date of the Gregorian calendar (Hinnant, "chrono-
 * compatible low-level date algorithms", days_from_civil). */
static int64_t days_of(int64_t y, int64_t m, int64_t d)
{
    int64_t era;
    int64_t of_era;
    int64_t of_year = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;

    y -= m <= 2;
    era = y / 400;
    of_era = y - era * 400;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* Exactly @n digits. */
static bool take_digits(const char **s, unsigned n, int64_t *to)
{
    *to = 0;
    for (; n > 0; n--, (*s)++) {
        if (**s < '0' || **s > '9') {
            return false;
        }
        *to = *to * 10 + (**s - '0');
    }
    return true;
}

static bool take_char(const char **s, char c)
{
    return *(*s)++ == c;
}

/* Milliseconds; what is finer is dropped. */
static int64_t take_fraction(const char **s)
{
    int64_t ms = 0;
    int64_t unit = 100;

    if (**s != '.') {
        return 0;
    }
    for ((*s)++; **s >= '0' && **s <= '9'; (*s)++) {
        ms += (**s - '0') * unit;
        unit /= 10;
    }
    return ms;
}

/* "Z", "+01:00" or "+0100", and the end. */
static bool take_zone(const char **s, int64_t *ret_minutes)
{
    int64_t hours;
    int64_t minutes;
    int sign = **s == '-' ? -1 : 1;

    *ret_minutes = 0;
    if (**s == 'Z') {
        return (*s)[1] == '\0';
    }
    if (**s != '+' && **s != '-') {
        return false;
    }
    (*s)++;
    if (!take_digits(s, 2, &hours)) {
        return false;
    }
    *s += **s == ':';
    if (!take_digits(s, 2, &minutes) || **s != '\0' || hours > 14 || minutes > 59) {
        return false;
    }
    *ret_minutes = sign * (hours * 60 + minutes);
    return true;
}

static int64_t parse_iso(const char *s)
{
    int64_t y, mo, d, h, mi, sec, ms, zone;

    if (!take_digits(&s, 4, &y) || !take_char(&s, '-') || !take_digits(&s, 2, &mo) ||
        !take_char(&s, '-') || !take_digits(&s, 2, &d) || (*s != 'T' && *s != ' ')) {
        return 0;
    }
    s++;
    if (!take_digits(&s, 2, &h) || !take_char(&s, ':') || !take_digits(&s, 2, &mi) ||
        !take_char(&s, ':') || !take_digits(&s, 2, &sec)) {
        return 0;
    }
    ms = take_fraction(&s);
    if (!take_zone(&s, &zone) || mo < 1 || mo > 12 || d < 1 || d > 31 || h > 23 ||
        mi > 59 || sec > 60) {
        return 0;
    }
    return (((days_of(y, mo, d) * 24 + h) * 60 + mi - zone) * 60 + sec) * 1000 + ms;
}

static uint64_t plausible(double ms)
{
    return ms >= (double)YEAR_2000_MS && ms < (double)YEAR_2100_MS ? (uint64_t)ms : 0;
}

uint64_t ad_z2m_parse_time(const char *s)
{
    size_t digits = strspn(s, "0123456789");
    double ms = 0;

    if (digits == 0 || s[digits] != '\0') {
        return plausible((double)parse_iso(s));
    }
    for (size_t i = 0; i < digits && i < 16; i++) {
        ms = ms * 10 + (s[i] - '0');
    }
    return digits <= 16 ? plausible(ms) : 0;
}

/* One value, scaled and rounded. Beyond the limits is no measurement. */
struct field
{
    const char *key;
    uint16_t has;
    double scale;
    double min;
    double max;
};

static const struct field fields[] = {
    {"power", RP_HAS_POWER, 1e3, -2e6, 2e6},     /* W; back-feed is negative */
    {"voltage", RP_HAS_VOLTAGE, 1e3, 0, 2e6},    /* V */
    {"current", RP_HAS_CURRENT, 1e3, -2e6, 2e6}, /* A */
    {"energy", RP_HAS_ENERGY, 1e6, 0, 1e9},      /* kWh; a meter counts upwards */
    {"linkquality", RP_HAS_LINKQUALITY, 1, 0, UINT16_MAX},
};

static void set_value(struct rp_values *v, const struct field *f, double value)
{
    double scaled = value * f->scale;
    int64_t x = (int64_t)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);

    v->has |= f->has;
    switch (f->has) {
    case RP_HAS_POWER:
        v->power_mw = (int32_t)x;
        break;
    case RP_HAS_VOLTAGE:
        v->voltage_mv = (int32_t)x;
        break;
    case RP_HAS_CURRENT:
        v->current_ma = (int32_t)x;
        break;
    case RP_HAS_ENERGY:
        v->energy_mwh = x;
        break;
    default:
        v->linkquality = (uint16_t)x;
        break;
    }
}

static void take_values(const json_t *json, struct rp_values *v, struct sy_errbuf *why)
{
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        const struct field *f = &fields[i];
        const json_t *j = json_object_get(json, f->key);
        double value;

        if (j == NULL || json_is_null(j)) {
            continue; /* Z2M says null for what it does not know yet. */
        }
        value = json_number_value(j);
        if (!json_is_number(j)) {
            (void)sy_fail(why, SY_EINVALID, "%s is not a number and was left out",
                          f->key);
        } else if (!(value >= f->min && value <= f->max)) {
            (void)sy_fail(why, SY_EINVALID,
                          "%s is %g, which is not between %g and %g, and was left out",
                          f->key, value, f->min, f->max);
        } else {
            set_value(v, f, value);
        }
    }
}

static uint64_t take_last_seen(const json_t *j, struct sy_errbuf *why)
{
    uint64_t ms = 0;

    if (j == NULL || json_is_null(j)) {
        return 0;
    }
    if (json_is_number(j)) {
        ms = plausible(json_number_value(j));
    } else if (json_is_string(j)) {
        ms = ad_z2m_parse_time(json_string_value(j));
    }
    if (ms == 0) {
        (void)sy_fail(
            why, SY_EINVALID,
            "last_seen is neither an ISO 8601 time with a zone nor milliseconds, "
            "and was left out");
    }
    return ms;
}

static enum rp_switch take_switch(const json_t *json)
{
    const char *s = json_string_value(json_object_get(json, "state"));

    if (s == NULL) {
        return RP_SWITCH_UNKNOWN; /* Absent, null, or of another kind of device. */
    }
    if (strcmp(s, "ON") == 0) {
        return RP_ON;
    }
    return strcmp(s, "OFF") == 0 ? RP_OFF : RP_SWITCH_UNKNOWN;
}

int ad_z2m_parse_state(const void *payload, size_t len, struct rp_report *r,
                       struct sy_errbuf *why)
{
    json_error_t error;
    json_t *json;

    why->text[0] = '\0';
    if (len > AD_Z2M_STATE_MAX) {
        return sy_fail(why, SY_EINVALID, "%zu bytes are more than a state can have", len);
    }
    /* Integers as reals: one that is too large then costs itself, not the message. */
    json = json_loadb(payload, len, JSON_DECODE_INT_AS_REAL | JSON_REJECT_DUPLICATES,
                      &error);
    if (json == NULL) {
        return sy_fail(why, SY_EINVALID, "not JSON: %s at byte %d", error.text,
                       error.position);
    }
    if (!json_is_object(json)) {
        json_decref(json);
        return sy_fail(why, SY_EINVALID, "an array where an object should be");
    }
    *r = (struct rp_report){.payload_hash = sy_hash(payload, len, 0)};
    r->state = take_switch(json);
    r->last_seen_ms = take_last_seen(json_object_get(json, "last_seen"), why);
    take_values(json, &r->values, why);
    json_decref(json);
    return 0;
}
