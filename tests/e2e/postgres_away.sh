#!/bin/bash
# Postgres is away for ten seconds: nothing is lost and nothing comes twice.
. "$(dirname "$0")/lib.sh"

e2e_up
rows() { ge "$(rig_readings)" 20; }
check "rows before" rig_wait 10 "rows" rows
before=$(rig_readings)
rig_pg_stop
began=$(rig_now_ms)
check "a command does not need it" "$VAGTCTL" send a1-m001 state=OFF
grows() { [ "$(rig_status site.outbox.readings)" -gt 20 ]; }
check "the outbox keeps the readings" rig_wait 8 "readings" grows
# In the middle of it the watch changes hands.
e2e_roles
kill -KILL "$(rig_pid "n$leader")"
check "relief without it" rig_wait 5 "relief" relieved "$leader"
while [ $(($(rig_now_ms) - began)) -lt 10000 ]; do sleep 0.1; done
rig_pg_start
rig_node_start "$leader"
shipped() { [ "$(rig_status site.postgres.link)" = up ] && [ "$(rig_status site.outbox.readings)" -lt 20 ]; }
check "the outbox drains" rig_wait 15 "an empty outbox" shipped
# Stop the meters, let everything settle: what the state counts is what is there.
rig_site '/interval?ms=0' > "$RIG/log/interval"
settled() { [ "$(rig_status site.outbox.readings)" = 0 ]; }
check "all is shipped" rig_wait 10 "an empty outbox" settled
check "rows of the time without it have come" ge "$(rig_readings)" $((before + 60))
# What says something else of a time that is there replaces it: there are fewer rows than
# readings. Whether each is there is counted in outage.sh, with messages that are numbered.
# (A last reading may be on its way: in Postgres first, in the log a moment later.)
level() { [ "$(rig_psql -c 'SELECT shipped FROM vagt_fence')" = "$(rig_status site.outbox.shipped)" ]; }
check "it has got as far as the log" rig_wait 5 "equal numbers" level
check "none dropped" eq "$(rig_status site.outbox.dropped)" 0
check "none twice" eq "$(rig_readings)" \
    "$(rig_psql -c 'SELECT count(DISTINCT vagt_seq) FROM meter_readings')"
check "... nor its time" eq "$(rig_readings)" \
    "$(rig_psql -c 'SELECT count(DISTINCT (meter_id, time)) FROM meter_readings')"
