#!/bin/bash
# Bridges restart under load, and believe that all their meters are gone: none goes
# offline in Postgres. A meter that cannot be reached: its command ends with the words of
# the bridge.
RIG_EXTRA='watch: {online_hold: 20s}'
. "$(dirname "$0")/lib.sh"

began=$(rig_now_ms)
e2e_up "--unreachable-ms 1500 --cache-save-ms 2000"
rig_site '/interval?ms=200' > "$RIG/log/interval"
rows() { ge "$(rig_readings)" 50; }
check "load" rig_wait 10 "rows" rows
# Nothing is held any more since the bridges came.
while [ $(($(rig_now_ms) - began)) -lt 26000 ]; do sleep 0.1; done

# Whatever is offline there, for however short a time.
rig_psql > "$RIG/log/trigger" 2>&1 << 'SQL'
CREATE TABLE went_offline (meter text, at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION note_offline() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO went_offline (meter) VALUES (NEW.meter_number);
    RETURN NEW;
END $$;
CREATE TRIGGER note_offline BEFORE INSERT OR UPDATE ON power_meters
    FOR EACH ROW WHEN (NEW.is_online IS FALSE) EXECUTE FUNCTION note_offline();
SQL
offline() { rig_psql -c 'SELECT count(*) FROM went_offline'; }
need "a trigger that notes it" eq "$(offline)" 0

mosquitto_sub -h 127.0.0.1 -p "$MQTT_PORT" -R -t 'zigbee2mqtt/+/+/availability' \
    -F '%t %p' > "$RIG/availability" &
sub=$!
told() { grep -c "/a$1/.*offline" "$RIG/availability"; }
many_told() { [ "$(told "$1")" -ge 3 ]; } # The others may be heard before it does.
area_ready() { [ "$(rig_status "site.areas.$(($1 - 1)).ready")" = True ]; }
area_away() { [ "$(rig_status "site.areas.$(($1 - 1)).bridge")" = offline ]; }

# Three meters of each say nothing for some seconds, as most do after a start.
rig_site '/offline?dev=a1-m000,a1-m001,a1-m002,a2-m000,a2-m001,a2-m002' > "$RIG/log/silent"

# One is killed: its will says so.
rig_site '/bridge-stop?area=1' > "$RIG/log/stop"
check "it is away" rig_wait 5 "offline" area_away 1
rig_site '/bridge-start?area=1&forgot=1' > "$RIG/log/start"
check "its bridge calls its meters offline" rig_wait 5 "words" many_told 1
check "it is back" rig_wait 10 "ready" area_ready 1

# Of the other one nobody hears that it was away.
rig_site '/bridge-stop?area=2&how=silent' > "$RIG/log/stop"
sleep 0.5
rig_site '/bridge-start?area=2&forgot=1' > "$RIG/log/start"
check "this bridge does so, too" rig_wait 5 "words" many_told 2
check "that it started was noticed" rig_wait 5 "a start" \
    said "n$(rig_watch)" 'ev=bridge.offline area=area2'
check "and that it is ready" rig_wait 10 "ready" area_ready 2
sleep 2
check "all online" rig_all_online
check "no meter went offline in Postgres" eq "$(offline)" 0
rig_site '/online?dev=a1-m000,a1-m001,a1-m002,a2-m000,a2-m001,a2-m002&now=1' > "$RIG/log/back"
heard() { [ "$(grep -c '/a[12]-m00[012]/.*online' "$RIG/availability")" -ge 6 ]; }
check "the silent ones are heard" rig_wait 5 "words" heard
sleep 1
check "all online" rig_all_online
check "none of them was offline meanwhile" eq "$(offline)" 0
kill "$sub"

# A switch works as before in both.
check "a switch in the first" "$VAGTCTL" send a1-m001 state=OFF
check "a switch in the second" "$VAGTCTL" send a2-m001 state=OFF

# A meter without power. The bridge says so of each attempt, and does not repeat itself.
rig_site '/offline?dev=a1-m003' > "$RIG/log/dead"
check "a command to it is accepted" \
    "$VAGTCTL" send a1-m003 state=OFF --no-wait --id dead --timeout-ms 7000
tried() { "$VAGTCTL" --json command dead | rig_json command.reason | grep -q NWK_NO_ROUTE; }
check "what the bridge says is known before the end" rig_wait 5 "a reason" tried
check "it ends" rig_wait 10 "an end" command_ended dead
check "expired" eq "$(command_status dead)" expired
check "with the words of the bridge" grep -q \
    'deadline passed; last attempt: ZCL command 0x[0-9a-f]*/1 manuSpecificTuya.dataRequest failed (Data request failed with error: .NWK_NO_ROUTE. (0xcd))' \
    <("$VAGTCTL" --json command dead)
rig_site '/online?dev=a1-m003&now=1' > "$RIG/log/alive"
check "it is there again" "$VAGTCTL" send a1-m003 state=OFF
