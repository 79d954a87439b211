#!/usr/bin/env node
'use strict';
/*
 * znp-sim.js - simulated "network coordinator" (TI Z-Stack 3.x.0 ZNP over TCP) with N simulated
 * Tuya/Tongou metering switches.  No dependencies (only node core).  An unmodified Zigbee2MQTT
 * talks to it with   serial: { port: 'tcp://127.0.0.1:6638', adapter: zstack }
 *
 * usage: node znp-sim.js --port 6638 --ctl 7638 --devices 20 [--area 1] [--nv nv.json] [options]
 *   --host ADDR        loopback address to listen on                        (default 127.0.0.1)
 *   --devices N        number of simulated devices                          (default 5)
 *   --mix a,b,c        model mix, round robin: poll,report,towsmr1,tosys    (default poll,report,towsmr1,tosys)
 *   --area K           area number, goes into the IEEE addresses            (default 1)
 *   --report-ms T      period of spontaneous attribute/datapoint reports, 0 = none (default 10000)
 *   --latency-ms T     radio latency per frame                              (default 20)
 *   --join-gap-ms T    gap between joins when permit_join opens             (default 200)
 *   --prejoined        devices are already members of the network (use with a carried database.db)
 *   --second kick|reject|allow   what happens when a 2nd TCP client connects (default kick)
 *   --nv FILE          persist NV memory + joined flags + relay state (like flash of the dongle)
 * control (HTTP on --ctl): GET /stats  GET /devices  GET /log  POST /dev/<i>  POST /all  POST /drop  POST /second
 *   body of /second: {"mode":"kick|reject|allow"}
 *   body of /dev and /all: {"online":bool,"state":bool,"report_ms":n,"announce":true}
 */
const net = require('node:net');
const fs = require('node:fs');
const http = require('node:http');

const argv = {};
for (let i = 2; i < process.argv.length; i++) {
  const a = process.argv[i];
  if (a.startsWith('--')) {
    const n = process.argv[i + 1];
    if (n === undefined || n.startsWith('--')) argv[a.slice(2)] = true; else { argv[a.slice(2)] = n; i++; }
  }
}
const PORT = +(argv.port || 6638), CTL = +(argv.ctl || PORT + 1000), HOST = typeof argv.host === 'string' ? argv.host : '127.0.0.1';
// In a network namespace of its own any address is as private as loopback: $RIG_NAMESPACE=1.
if (!/^127\.\d+\.\d+\.\d+$/.test(HOST) && process.env.RIG_NAMESPACE !== '1') throw new Error('--host must be a numeric loopback address');
const NDEV = +(argv.devices || 5), AREA = +(argv.area || 1);
const MIX = (argv.mix || 'poll,report,towsmr1,tosys').split(',');
let REPORT_MS = argv['report-ms'] === undefined ? 10000 : +argv['report-ms'];
const LAT = argv['latency-ms'] === undefined ? 20 : +argv['latency-ms'];
const JOIN_GAP = argv['join-gap-ms'] === undefined ? 200 : +argv['join-gap-ms'];
let SECOND = argv.second || 'kick';
const DEBUG = !!argv.debug;
const log = (...a) => console.log(new Date().toISOString(), ...a);
const dbg = (...a) => { if (DEBUG) log(...a); };

// ---------------------------------------------------------------- byte helpers
class W {
  constructor() { this.b = []; }
  u8(v) { this.b.push(v & 255); return this; }
  u16(v) { return this.u8(v).u8(v >> 8); }
  u24(v) { return this.u16(v).u8(v >> 16); }
  u32(v) { return this.u16(v & 0xffff).u16(v >>> 16); }
  u48(v) { const lo = v % 0x100000000, hi = Math.floor(v / 0x100000000); return this.u32(lo >>> 0).u16(hi); }
  be16(v) { return this.u8(v >> 8).u8(v); }
  be32(v) { return this.be16(v >>> 16).be16(v & 0xffff); }
  ieee(s) { const h = s.replace('0x', ''); for (let i = 14; i >= 0; i -= 2) this.u8(parseInt(h.substr(i, 2), 16)); return this; }
  buf(x) { for (const v of x) this.b.push(v); return this; }
  str(s) { this.u8(s.length); for (const c of Buffer.from(s)) this.b.push(c); return this; }
  done() { return Buffer.from(this.b); }
}
const w = () => new W();
const rdIeee = (b, o) => '0x' + [7, 6, 5, 4, 3, 2, 1, 0].map((i) => b[o + i].toString(16).padStart(2, '0')).join('');

// ---------------------------------------------------------------- coordinator NV memory
const COORD_IEEE = '0x00124b00' + (0x25a00000 + AREA).toString(16).padStart(8, '0');
const NV = { STARTUP: 3, NIB: 0x21, EXTPAN: 0x2d, ACTIVE: 0x3a, ALTERN: 0x3b, APS_LINK: 0x4c, PRECFG: 0x62, PRECFG_EN: 0x63, NWKKEY: 0x82, PANID: 0x83, CHANLIST: 0x84, TCLK_SEED: 0x101 };
const CAP = Math.max(64, NDEV + 16);
let st = { nv: {}, ex: {}, joined: {}, relay: {}, energy: {}, fc: 1000 };
const nvFile = typeof argv.nv === 'string' ? argv.nv : null;
if (nvFile && fs.existsSync(nvFile)) st = JSON.parse(fs.readFileSync(nvFile, 'utf8'));
let dirty = false;
const save = () => { dirty = true; };
const flush = () => {
  if (!nvFile || !dirty) return;
  dirty = false;
  fs.writeFileSync(nvFile + '.tmp', JSON.stringify(st)); fs.renameSync(nvFile + '.tmp', nvFile);
};
setInterval(flush, 500).unref();
const nvGet = (id) => (st.nv[id] === undefined ? null : Buffer.from(st.nv[id], 'hex'));
const nvSet = (id, b) => { st.nv[id] = b.toString('hex'); save(); };
const exKey = (s, i, n) => `${s}.${i}.${n}`;
const exGet = (s, i, n) => (st.ex[exKey(s, i, n)] === undefined ? null : Buffer.from(st.ex[exKey(s, i, n)], 'hex'));
const exSet = (s, i, n, b) => { st.ex[exKey(s, i, n)] = b.toString('hex'); save(); };
function factory() {
  if (!nvGet(NV.NWKKEY)) nvSet(NV.NWKKEY, Buffer.alloc(21)); // 21 bytes = unaligned structs
  if (!nvGet(NV.APS_LINK)) { const b = Buffer.alloc(2 + 5 * 16); for (let i = 0; i < 16; i++) Buffer.from('feff000000', 'hex').copy(b, 2 + 5 * i); nvSet(NV.APS_LINK, b); }
  if (!nvGet(NV.TCLK_SEED)) nvSet(NV.TCLK_SEED, Buffer.from('00112233445566778899aabbccddeeff', 'hex'));
  if (!exGet(1, 1, 0)) {
    for (let i = 0; i < CAP; i++) exSet(1, 1, i, Buffer.concat([Buffer.from([0, 0xfe, 0xff]), Buffer.alloc(8, 0xff)])); // ADDRMGR
    for (let i = 0; i < CAP; i++) exSet(1, 4, i, Buffer.alloc(19)); // TCLK table
    for (let i = 0; i < 16; i++) exSet(1, 6, i, Buffer.alloc(24)); // APS key data
    for (let i = 0; i < 12; i++) exSet(1, 7, i, Buffer.alloc(12)); // NWK sec material
  }
}
factory();
function syncAddrMgr() { // put joined devices in the address manager so coordinator_backup.json lists them
  let n = 0;
  for (const d of devs) if (d.joined && n < CAP) exSet(1, 1, n++, w().u8(1).u16(d.nwk).ieee(d.ieee).done());
}
function setFc() {
  const epid = nvGet(NV.EXTPAN) || Buffer.alloc(8);
  exSet(1, 7, 0, Buffer.concat([w().u32(st.fc).done(), epid]));
}
function formNetwork() {
  const pan = nvGet(NV.PANID), epid = nvGet(NV.EXTPAN), ch = nvGet(NV.CHANLIST), key = nvGet(NV.PRECFG);
  const mask = ch.readUInt32LE(0); let chan = 11; for (let c = 11; c <= 26; c++) if (mask & (1 << c)) { chan = c; break; }
  const kd = Buffer.concat([Buffer.from([0]), key]);
  nvSet(NV.ACTIVE, kd); nvSet(NV.ALTERN, kd); nvSet(NV.NWKKEY, Buffer.concat([kd, w().u32(st.fc).done()]));
  const nib = w().buf([0x5b, 5, 2, 20, 15, 20, 0, 10, 1, 0, 0, 1, 5, 0, 0x8f]).u16(7).u8(2).u8(13).u8(0).u16(0).u8(chan).u16(0)
    .ieee(COORD_IEEE).u16(pan.readUInt16LE(0)).u8(8).u32(mask).buf([15, 15, 4, 0]).u32(0).u32(1).u8(0).buf(epid).u8(1).buf(kd).buf(kd)
    .buf([0, 0, 15, 3, 0, 1, 120, 10, 1]).u16(0).u16(0).u8(0).done();
  nvSet(NV.NIB, nib); setFc();
  log(`network formed pan=0x${pan.readUInt16LE(0).toString(16)} channel=${chan}`);
}

// ---------------------------------------------------------------- simulated devices
const T = { BOOL: 0x10, BMP8: 0x18, U8: 0x20, U16: 0x21, U24: 0x22, U48: 0x25, S16: 0x29, E8: 0x30, STR: 0x42 };
const encT = (wr, t, v) => {
  wr.u8(t);
  switch (t) {
    case T.BOOL: case T.BMP8: case T.U8: case T.E8: return wr.u8(v ? +v : 0);
    case T.U16: case T.S16: return wr.u16(v);
    case T.U24: return wr.u24(v);
    case T.U48: return wr.u48(v);
    case T.STR: return wr.str(v);
  }
  throw new Error('type ' + t);
};
const KINDS = {
  poll: { model: 'TS011F', manuf: '_TZ3000_qeuvnohg', spont: ['onoff'], in: [0, 3, 4, 5, 6, 0x0702, 0x0b04, 0xe001], out: [0x19, 0x0a] }, // Tongou TO-Q-SY1-JZT: Z2M polls it
  report: { model: 'TS011F', manuf: '_TZ3000_cayepv1a', spont: ['onoff', 'elec', 'meter'], in: [0, 3, 4, 5, 6, 0x0702, 0x0b04, 0x0402, 0xe000, 0xe001], out: [0x19, 0x0a] }, // Tongou TO-Q-SY2-163JZT
  towsmr1: { model: 'TS0601', manuf: '_TZE284_432zhuwe', tuya: true, in: [0, 4, 5, 0xef00, 0xed00], out: [0x19, 0x0a] }, // Tongou TOWSMR1-40A-AC
  tosys: { model: 'TS0601', manuf: '_TZE284_6ocnqlhn', tuya: true, in: [0, 4, 5, 0xef00, 0xed00], out: [0x19, 0x0a] }, // Tongou TO-Q-SYS-JZT
};
const devs = [];
for (let i = 0; i < NDEV; i++) {
  const kind = MIX[i % MIX.length];
  if (!KINDS[kind]) throw new Error('unknown kind ' + kind);
  const ieee = '0xa4c138' + AREA.toString(16).padStart(2, '0') + (0x10000 + i).toString(16).padStart(8, '0');
  devs.push({
    i, kind, k: KINDS[kind], ieee, nwk: 0x1000 + i * 7 + AREA, online: true, seq: 1,
    joined: !!(st.joined[i] || argv.prejoined), on: st.relay[i] !== undefined ? !!st.relay[i] : true,
    v: 2300 + (i % 40), a: 200 + ((i * 137) % 4000), e: st.energy[i] || 1000 + i * 111, attrs: {}, dp: { 102: 0, 103: 0, 104: 0, 105: 0, 107: 0, 108: 0, 112: 0, 114: 40, 115: 265, 116: 175, 117: 30, 118: 700, 119: 8800 },
    cmds: 0, cmdLog: [], frames: 0, report_ms: REPORT_MS, next: 0, reps: 0,
  });
}
const byNwk = new Map(devs.map((d) => [d.nwk, d]));
const byIeee = new Map(devs.map((d) => [d.ieee, d]));
const watts = (d) => (d.on ? Math.round((d.v / 10) * (d.a / 1000) * 0.97) : 0);
const amps = (d) => (d.on ? d.a : 0);
function wobble(d) {
  d.v = Math.min(2450, Math.max(2150, d.v + Math.round((Math.random() - 0.5) * 12)));
  d.a = Math.min(15000, Math.max(60, Math.round(d.a * (0.97 + Math.random() * 0.06))));
  if (d.on) d.e += Math.random() < 0.3 ? 1 : 0;
  st.energy[d.i] = d.e; save();
}
function setRelay(d, on, by) { if (d.on !== on) { d.on = on; st.relay[d.i] = on ? 1 : 0; d.ev = by === 'remote' ? (on ? 11 : 12) : (on ? 13 : 14); save(); } }
function attr(d, cl, id) {
  const k = cl + '.' + id; if (d.attrs[k]) return d.attrs[k];
  switch (cl) {
    case 0: return { 0: [T.U8, 3], 1: [T.U8, 77], 2: [T.U8, 0], 3: [T.U8, 1], 4: [T.STR, d.k.manuf], 5: [T.STR, d.k.model], 6: [T.STR, ''], 7: [T.E8, 1], 0xfffe: [T.E8, 0] }[id];
    case 6: return { 0: [T.BOOL, d.on], 0x4001: [T.U16, 0], 0x4002: [T.U16, 0], 0x8001: [T.E8, 1], 0x8002: [T.E8, 2], 0x8000: [T.BOOL, 0] }[id];
    case 0x0702: return { 0: [T.U48, d.e], 0x300: [T.E8, 0], 0x301: [T.U24, 1], 0x302: [T.U24, 100] }[id];
    case 0x0b04: return { 0x505: [T.U16, Math.round(d.v / 10)], 0x508: [T.U16, amps(d)], 0x50b: [T.S16, watts(d)], 0x600: [T.U16, 1], 0x601: [T.U16, 1], 0x602: [T.U16, 1], 0x603: [T.U16, 1000], 0x604: [T.U16, 1], 0x605: [T.U16, 1] }[id];
    case 0x0402: return { 0: [T.S16, 2900 + (d.i % 20) * 10] }[id];
  }
}
// ---- ZCL out
function zclSend(d, cl, ep, buf, dstEp) {
  if (!d.online) return;
  d.frames++;
  af(0x81, w().u16(0).u16(cl).u16(d.nwk).u8(ep).u8(dstEp || 1).u8(0).u8(100 + (d.i % 100)).u8(0).u32(Date.now() & 0xffffffff).u8(0).u8(buf.length).buf(buf).u16(d.nwk).u8(0x1e).done());
}
const report = (d, cl, ids) => {
  const wr = w().u8(0x18).u8(d.seq++ & 255).u8(0x0a);
  for (const id of ids) { const a = attr(d, cl, id); wr.u16(id); encT(wr, a[0], a[1]); }
  zclSend(d, cl, 1, wr.done());
};
// ---- Tuya datapoints
const dpEnc = (id, t, payload) => w().u8(id).u8(t).be16(payload.length).buf(payload).done();
const dpVal = (id, v) => dpEnc(id, 2, w().be32(v).done());
const dpEnum = (id, v) => dpEnc(id, 4, [v]);
const dpBool = (id, v) => dpEnc(id, 1, [v ? 1 : 0]);
function dpMeas(d) {
  const ph = w().be16(d.v).u8(0).be16(amps(d)).u8(0).be16(watts(d)).done().subarray(0, 8);
  const l = [dpVal(1, d.e), dpEnc(6, 0, ph), dpBool(16, d.on), dpVal(131, 291 + (d.i % 30))];
  l.push(dpVal(15, 0));
  if (d.kind === 'tosys') l.push(dpVal(32, 50), dpVal(50, 97));
  return l;
}
function dpAll(d) {
  const l = dpMeas(d);
  for (const id of [102, 103, 104, 105, 107]) l.push(dpEnum(id, d.dp[id]));
  if (d.kind === 'towsmr1') l.push(dpEnum(108, d.dp[108]), dpVal(117, d.dp[117]), dpBool(112, d.dp[112]));
  for (const id of [114, 115, 116, 118, 119]) l.push(dpVal(id, d.dp[id]));
  l.push(dpEnum(110, d.ev || 0));
  return l;
}
function dpSend(d, list, cmd) { // several frames like a real radio (<= ~70 bytes each)
  let cur = [], len = 0;
  const out = () => { if (cur.length) zclSend(d, 0xef00, 1, w().u8(0x09).u8(d.seq & 255).u8(cmd).be16(d.seq++ & 0xffff).buf(Buffer.concat(cur)).done()); cur = []; len = 0; };
  for (const x of list) { if (len + x.length > 60) out(); cur.push(x); len += x.length; }
  out();
}
function spontaneous(d) {
  if (!d.joined || !d.online) return;
  d.reps++; wobble(d);
  if (d.k.tuya) { dpSend(d, dpMeas(d), 2); return; }
  if (d.k.spont.includes('elec')) report(d, 0x0b04, [0x505, 0x508, 0x50b]);
  if (d.k.spont.includes('meter')) report(d, 0x0702, [0]);
  if (!d.k.spont.includes('elec')) report(d, 6, [0]);
}
setInterval(() => {
  const now = Date.now();
  if (!sock || !up) return;
  for (const d of devs) if (d.report_ms > 0 && d.joined) {
    if (!d.next) d.next = now + Math.random() * d.report_ms;
    else if (now >= d.next) { d.next = Math.max(now, d.next + d.report_ms); spontaneous(d); }
  }
}, 10);
// ---- ZCL in
function cmdSeen(d, what) { d.cmds++; stats.cmds++; d.cmdLog.push({ t: Date.now(), what }); if (d.cmdLog.length > 1000) d.cmdLog.shift(); log(`CMD dev=${d.i} ${d.ieee} ${what}`); }
function zclIn(d, cl, dstEp, srcEp, b) {
  const fc = b[0], ms = fc & 4 ? 2 : 0, tsn = b[1 + ms], cmd = b[2 + ms], p = b.subarray(3 + ms);
  const toServer = !(fc & 8), noDef = !!(fc & 0x10), glob = (fc & 3) === 0;
  if (!toServer) return;
  const hdr = (g, c) => { const x = w().u8((g ? 0 : 1) | 0x18 | (ms ? 4 : 0)); if (ms) x.buf(b.subarray(1, 3)); return x.u8(tsn).u8(c); };
  const reply = (wr) => zclSend(d, cl, dstEp, wr.done(), srcEp);
  const def = (s) => { if (!noDef) reply(hdr(true, 0x0b).u8(cmd).u8(s)); };
  if (glob) {
    if (cmd === 0) {
      const r = hdr(true, 1);
      if (cl === 0x0b04 || cl === 0x0702) wobble(d);
      for (let o = 0; o + 1 < p.length; o += 2) { const id = p.readUInt16LE(o), a = attr(d, cl, id); r.u16(id); if (a) { r.u8(0); encT(r, a[0], a[1]); } else r.u8(0x86); }
      stats.reads++; return reply(r);
    }
    if (cmd === 2 || cmd === 3 || cmd === 5) {
      for (let o = 0; o + 2 < p.length;) {
        const id = p.readUInt16LE(o), t = p[o + 2]; let len = { [T.BOOL]: 1, [T.BMP8]: 1, [T.U8]: 1, [T.E8]: 1, [T.U16]: 2, [T.S16]: 2, [T.U24]: 3, [T.U48]: 6 }[t];
        if (len === undefined) break; const v = len === 1 ? p[o + 3] : len === 2 ? p.readUInt16LE(o + 3) : p.readUIntLE(o + 3, len);
        d.attrs[cl + '.' + id] = [t, v]; cmdSeen(d, `write ${cl.toString(16)}/${id.toString(16)}=${v}`); o += 3 + len;
      }
      return cmd === 5 ? undefined : reply(hdr(true, 4).u8(0));
    }
    if (cmd === 6) return reply(hdr(true, 7).u8(0));
    if (cmd === 0x0c) return reply(hdr(true, 0x0d).u8(1));
    if (cmd === 0x0b || cmd === 0x0a || cmd === 1) return;
    return def(0x81);
  }
  if (cl === 6 && cmd <= 2) {
    setRelay(d, cmd === 2 ? !d.on : cmd === 1, 'remote'); cmdSeen(d, ['OFF', 'ON', 'TOGGLE'][cmd]); def(0);
    return void setTimeout(() => report(d, 6, [0]), LAT);
  }
  if (cl === 0xef00) {
    if (cmd === 3) { stats.reads++; def(0); wobble(d); return dpSend(d, dpAll(d), 1); }
    if (cmd === 0 || cmd === 4) {
      const list = [];
      for (let o = 2; o + 4 <= p.length;) {
        const id = p[o], t = p[o + 1], len = p.readUInt16BE(o + 2), v = p.subarray(o + 4, o + 4 + len);
        if (id === 16) { setRelay(d, !!v[0], 'remote'); cmdSeen(d, v[0] ? 'ON' : 'OFF'); list.push(dpBool(16, d.on), dpEnum(110, d.ev || 0)); }
        else { const n = t === 2 ? v.readUInt32BE(0) : v[0]; d.dp[id] = n; cmdSeen(d, `dp${id}=${n}`); list.push(dpEnc(id, t, v)); }
        o += 4 + len;
      }
      def(0); return dpSend(d, list, 1);
    }
    return def(0);
  }
  def(0);
}

// ---------------------------------------------------------------- ZNP
const SYS = 1, AF = 4, ZDO = 5, UTIL = 7, CNF = 15;
let sock = null, up = false, eps = [], groups = [], permitUntil = 0, tx = 0;
const stats = { since: new Date().toISOString(), conns: 0, kicked: 0, rejected: 0, frames_in: 0, frames_out: 0, cmds: 0, reads: 0, resets: 0, joins: 0 };
function send(type, sub, id, data) {
  if (!sock) return;
  const h = Buffer.from([0xfe, data.length, (type << 5) | sub, id]); let f = 0;
  const b = Buffer.concat([h, data]); for (let i = 1; i < b.length; i++) f ^= b[i];
  stats.frames_out++; sock.write(Buffer.concat([b, Buffer.from([f])]));
}
const areq = (sub, id, data) => send(2, sub, id, data);
const af = (id, data) => areq(AF, id, data);
const ok = () => w().u8(0).done();
const later = (fn) => { const s = sock; setTimeout(() => { if (s === sock && sock) fn(); }, LAT); };

function join(d) {
  d.joined = true; st.joined[d.i] = 1; stats.joins++; save(); syncAddrMgr();
  log(`join dev=${d.i} ${d.ieee} nwk=0x${d.nwk.toString(16)} ${d.k.model} ${d.k.manuf}`);
  areq(ZDO, 0xca, w().u16(d.nwk).ieee(d.ieee).u16(0).done()); // tcDeviceInd
  announce(d);
}
const announce = (d) => areq(ZDO, 0xc1, w().u16(d.nwk).u16(d.nwk).ieee(d.ieee).u8(0x8e).done());
let joinTimer = null;
function joinLoop() {
  clearTimeout(joinTimer);
  if (Date.now() > permitUntil || !sock) return;
  const d = devs.find((x) => !x.joined && x.online);
  if (d) { join(d); joinTimer = setTimeout(joinLoop, JOIN_GAP); }
}

function zdo(id, p) {
  const rsp = (rid, data) => later(() => areq(ZDO, rid, data));
  const nwk = p.length >= 2 ? p.readUInt16LE(0) : 0, d = byNwk.get(nwk), live = nwk === 0 || (d && d.joined && d.online);
  send(3, ZDO, id, ok());
  switch (id) {
    case 0x00: { const a = rdIeee(p, 0), x = byIeee.get(a); if (x && x.online) rsp(0x80, w().u8(0).ieee(a).u16(x.nwk).u8(0).u8(0).done()); else if (a === COORD_IEEE) rsp(0x80, w().u8(0).ieee(a).u16(0).u8(0).u8(0).done()); return; }
    case 0x01: if (d && live) rsp(0x81, w().u8(0).ieee(d.ieee).u16(nwk).u8(0).u8(0).done()); else if (nwk === 0) rsp(0x81, w().u8(0).ieee(COORD_IEEE).u16(0).u8(0).u8(0).done()); return;
    case 0x02: if (live) rsp(0x82, w().u16(nwk).u8(0).u16(nwk).u8(nwk === 0 ? 0 : 1).u8(0x40).u8(nwk === 0 ? 0x8f : 0x8e).u16(nwk === 0 ? 0 : 4417).u8(82).u16(82).u16(0x2c00).u16(82).u8(0).done()); return;
    case 0x03: if (live) rsp(0x83, w().u16(nwk).u8(0).u16(nwk).u16(0xc110).done()); return;
    case 0x05: if (live) { const l = nwk === 0 ? eps.map((e) => e.ep) : [1]; rsp(0x85, w().u16(nwk).u8(0).u16(nwk).u8(l.length).buf(l).done()); } return;
    case 0x04: {
      if (!live) return; const ep = p[4]; let prof = 0x0104, dev = 0x0051, i = [], o = [];
      if (nwk === 0) { const e = eps.find((x) => x.ep === ep); if (!e) return rsp(0x84, w().u16(0).u8(0x82).u16(0).u8(0).done()); prof = e.prof; dev = e.dev; i = e.in; o = e.out; } else { i = d.k.in; o = d.k.out; }
      const s = w().u8(ep).u16(prof).u16(dev).u8(1).u8(i.length); i.forEach((c) => s.u16(c)); s.u8(o.length); o.forEach((c) => s.u16(c)); const sb = s.done();
      return rsp(0x84, w().u16(nwk).u8(0).u16(nwk).u8(sb.length).buf(sb).done());
    }
    case 0x21: case 0x22: if (live) rsp(id + 0x80, w().u16(nwk).u8(0).done()); return;
    case 0x31: {
      if (!live) return; const start = p[2], all = nwk === 0 ? devs.filter((x) => x.joined && x.online) : []; const list = all.slice(start, start + 2);
      const r = w().u16(nwk).u8(0).u8(all.length).u8(start).u8(list.length); for (const x of list) r.buf(nvGet(NV.EXTPAN) || Buffer.alloc(8)).ieee(x.ieee).u16(x.nwk).u8(0x15).u8(2).u8(1).u8(150);
      return rsp(0xb1, r.done());
    }
    case 0x32: if (live) rsp(0xb2, w().u16(nwk).u8(0).u8(0).u8(p[2]).u8(0).done()); return;
    case 0x34: { // leave
      if (!live) return; rsp(0xb4, w().u16(nwk).u8(0).done());
      if (d) later(() => { d.joined = false; delete st.joined[d.i]; save(); areq(ZDO, 0xc9, w().u16(d.nwk).ieee(d.ieee).u8(0).u8(0).u8(0).done()); }); return;
    }
    case 0x36: { // permit join: addrmode, dst(2), duration, tc
      const dst = p.readUInt16LE(1), dur = p[3]; permitUntil = dur ? Date.now() + dur * 1000 : 0; log(`permit join ${dur}s`);
      if (dst !== 0xfffc || p[0] !== 0x0f) rsp(0xb6, w().u16(dst === 0xfffc ? 0 : dst).u8(0).done());
      if (dur) { clearTimeout(joinTimer); joinTimer = setTimeout(joinLoop, JOIN_GAP); } return;
    }
    case 0x37: rsp(0xb8, w().u16(nwk).u8(0).u32(0x7fff800).u16(0).u16(0).u8(0).done()); return;
  }
}

const handlers = {
  [SYS]: {
    0x01: () => w().u16(0x0659).done(),
    0x02: () => w().u8(2).u8(1).u8(2).u8(7).u8(2).u32(20240710).done(),
    0x04: () => w().ieee(COORD_IEEE).done(),
    0x13: (p) => { const b = nvGet(p.readUInt16LE(0)); return w().u16(b ? b.length : 0).done(); },
    0x08: (p) => { const b = nvGet(p.readUInt16LE(0)); if (!b) return w().u8(2).u8(0).done(); const s = b.subarray(p[2], p[2] + 240); return w().u8(0).u8(s.length).buf(s).done(); },
    0x1c: (p) => { const b = nvGet(p.readUInt16LE(0)); if (!b) return w().u8(2).u8(0).done(); const o = p.readUInt16LE(2), s = b.subarray(o, o + 240); return w().u8(0).u8(s.length).buf(s).done(); },
    0x07: (p) => { const id = p.readUInt16LE(0), len = p.readUInt16LE(2), il = p[4]; if (nvGet(id)) return ok(); const b = Buffer.alloc(len); p.copy(b, 0, 5, 5 + il); nvSet(id, b); return w().u8(9).done(); },
    0x09: (p) => nvWr(p.readUInt16LE(0), p[2], p.subarray(4)),
    0x1d: (p) => nvWr(p.readUInt16LE(0), p.readUInt16LE(2), p.subarray(6)),
    0x12: (p) => { const id = p.readUInt16LE(0); if (st.nv[id] === undefined) return w().u8(9).done(); delete st.nv[id]; save(); return ok(); },
    0x32: (p) => { const b = exGet(p[0], p.readUInt16LE(1), p.readUInt16LE(3)); return w().u8(b ? b.length : 0).done(); },
    0x33: (p) => { setFc(); const b = exGet(p[0], p.readUInt16LE(1), p.readUInt16LE(3)); if (!b) return w().u8(2).u8(0).done(); const o = p.readUInt16LE(5), s = b.subarray(o, o + p[7]); return w().u8(0).u8(s.length).buf(s).done(); },
    0x34: (p) => { const a = [p[0], p.readUInt16LE(1), p.readUInt16LE(3)]; const b = exGet(...a); if (!b) return w().u8(2).done(); p.copy(b, p.readUInt16LE(5), 8, 8 + p[7]); exSet(...a, b); if (a[1] === 7 && a[2] === 0) st.fc = b.readUInt32LE(0); return ok(); },
    0x30: (p) => { exSet(p[0], p.readUInt16LE(1), p.readUInt16LE(3), Buffer.alloc(p.readUInt32LE(5))); return ok(); },
    0x0f: (p) => w().u8(p[1]).done(),
  },
  [UTIL]: {
    0x00: () => w().u8(0).ieee(COORD_IEEE).u16(0).u8(7).u8(up ? 9 : 0).u8(0).done(),
    0x0a: ok, 0x63: ok, 0x64: ok,
    0x4a: (p) => { const d = byIeee.get(rdIeee(p, 0)); return d ? w().u16(d.nwk).u16(d.i).u8(1).done() : w().u16(0xfffe).u16(0xffff).u8(255).done(); },
  },
  [CNF]: {
    0x08: ok, 0x04: ok,
    0x05: () => { formNetwork(); setTimeout(() => { up = true; areq(ZDO, 0xc0, w().u8(9).done()); }, 50); return ok(); },
  },
  [ZDO]: {
    0x40: () => { setTimeout(() => { if (nvGet(NV.NIB)) up = true; areq(ZDO, 0xc0, w().u8(9).done()); }, 50); return ok(); },
    0x50: () => { const nib = nvGet(NV.NIB), z = Buffer.alloc(8); return w().u16(0).u8(up ? 9 : 0).u16(nib ? nib.readUInt16LE(33) : 0xffff).u16(0).buf(nib ? nib.subarray(53, 61) : z).buf(z).u8(nib ? nib[22] : 0).done(); },
    0x45: ok,
    0x4a: (p) => { const g = groups.includes(p.readUInt16LE(1)); return w().u8(g ? 0 : 1).u16(p.readUInt16LE(1)).u8(0).done(); },
    0x4b: (p) => { groups.push(p.readUInt16LE(1)); return ok(); },
  },
  [AF]: {
    0x00: (p) => {
      let o = 7; const n = p[o++], i = []; for (let k = 0; k < n; k++, o += 2) i.push(p.readUInt16LE(o)); const m = p[o++], q = []; for (let k = 0; k < m; k++, o += 2) q.push(p.readUInt16LE(o));
      eps = eps.filter((e) => e.ep !== p[0]); eps.push({ ep: p[0], prof: p.readUInt16LE(1), dev: p.readUInt16LE(3), in: i, out: q }); return ok();
    },
    0x01: (p) => {
      const dst = p.readUInt16LE(0), dep = p[2], sep = p[3], cl = p.readUInt16LE(4), tid = p[6], data = Buffer.from(p.subarray(10, 10 + p[9])), d = byNwk.get(dst);
      st.fc++; tx++; if (tx % 50 === 0) save();
      const live = d && d.joined && d.online;
      later(() => { af(0x80, w().u8(live ? 0 : 0xcd).u8(sep).u8(tid).done()); if (live) later(() => zclIn(d, cl, dep, sep, data)); });
      return ok();
    },
    0x02: (p) => { const tid = p[0x0e], sep = p[0x0b]; later(() => af(0x80, w().u8(0).u8(sep).u8(tid).done())); return ok(); },
    0x10: ok,
  },
};
function nvWr(id, off, val) {
  const b = nvGet(id); if (!b) return w().u8(2).done();
  if (off + val.length > b.length) return w().u8(0x0c).done();
  val.copy(b, off); nvSet(id, b); return ok();
}
function onFrame(type, sub, id, p) {
  stats.frames_in++; dbg('<-', type, sub, id.toString(16), p.toString('hex'));
  if (type === 2 && sub === SYS && id === 0) { // resetReq
    stats.resets++; up = false; eps = []; groups = [];
    const so = nvGet(NV.STARTUP); if (so && (so[0] & 3) === 3) { for (const k of [NV.NIB, NV.ACTIVE, NV.ALTERN, 0x60]) delete st.nv[k]; save(); }
    setTimeout(() => areq(SYS, 0x80, w().buf([0, 2, 1, 2, 7, 1]).done()), 30); return;
  }
  if (type !== 1) return;
  const h = handlers[sub] && handlers[sub][id];
  if (h) { try { send(3, sub, id, h(p)); } catch (e) { log('handler error', sub, id, e.stack); } return; }
  if (sub === ZDO) return zdo(id, p);
  log(`unknown SREQ sub=${sub} id=0x${id.toString(16)} ${p.toString('hex')}`);
}
const server = net.createServer((s) => {
  stats.conns++;
  if (sock && SECOND === 'reject') { stats.rejected++; log('2nd client rejected'); s.destroy(); return; }
  if (sock && SECOND === 'kick') { stats.kicked++; log('2nd client: old one kicked'); const o = sock; sock = null; o.destroy(); }
  sock = s; s.setNoDelay(true); log(`host connected from ${s.remoteAddress}:${s.remotePort}`);
  let rx = Buffer.alloc(0);
  s.on('data', (c) => {
    rx = Buffer.concat([rx, c]);
    for (;;) {
      const i = rx.indexOf(0xfe); if (i < 0) { rx = Buffer.alloc(0); return; } if (i) rx = rx.subarray(i);
      if (rx.length < 5) return; const len = rx[1]; if (rx.length < len + 5) return;
      let f = 0; for (let k = 1; k < len + 4; k++) f ^= rx[k];
      if (f !== rx[len + 4]) { rx = rx.subarray(1); continue; }
      const fr = rx.subarray(0, len + 5); rx = rx.subarray(len + 5);
      if (s === sock) onFrame(fr[2] >> 5, fr[2] & 31, fr[3], Buffer.from(fr.subarray(4, 4 + len)));
    }
  });
  s.on('error', () => {}); s.on('close', () => { if (sock === s) { sock = null; log('host disconnected'); } });
});
server.listen(PORT, HOST, () => log(`znp-sim area=${AREA} coordinator ${COORD_IEEE} on tcp://${HOST}:${PORT}, control http://${HOST}:${CTL}, ${NDEV} devices`));

http.createServer((req, res) => {
  let body = ''; req.on('data', (c) => { body += c; }); req.on('end', () => {
    const j = (o, c = 200) => { res.writeHead(c, { 'content-type': 'application/json' }); res.end(JSON.stringify(o) + '\n'); };
    const view = (d) => ({ i: d.i, ieee: d.ieee, nwk: d.nwk, kind: d.kind, model: d.k.model, manuf: d.k.manuf, joined: d.joined, online: d.online, state: d.on ? 'ON' : 'OFF', power: watts(d), voltage: d.v / 10, current: amps(d) / 1000, energy: d.e / 100, cmds: d.cmds, frames: d.frames, reports: d.reps });
    try {
      const u = req.url.split('/').filter(Boolean), o = body ? JSON.parse(body) : {};
      const apply = (d) => {
        if (o.online !== undefined) d.online = !!o.online; if (o.report_ms !== undefined) { d.report_ms = +o.report_ms; d.next = 0; }
        if (o.state !== undefined) { setRelay(d, !!o.state, 'manual'); if (d.k.tuya) dpSend(d, [dpBool(16, d.on), dpEnum(110, d.ev || 0)], 2); else report(d, 6, [0]); }
        if (o.announce) announce(d); if (o.clear) { d.cmds = 0; d.cmdLog = []; d.frames = 0; d.reps = 0; }
      };
      if (u[0] === 'stats') return j({ ...stats, connected: !!sock, up, fc: st.fc, devices: devs.length, joined: devs.filter((d) => d.joined).length });
      if (u[0] === 'devices') return j(devs.map(view));
      if (u[0] === 'log') return j(devs.flatMap((d) => d.cmdLog.map((c) => ({ dev: d.i, ieee: d.ieee, ...c }))).sort((a, b) => a.t - b.t));
      if (u[0] === 'second' && req.method === 'POST') { SECOND = o.mode; return j({ ok: 1 }); }
      if (u[0] === 'drop') { if (sock) sock.destroy(); return j({ ok: 1 }); }
      if (u[0] === 'dev' && devs[+u[1]]) { const d = devs[+u[1]]; if (req.method === 'POST') apply(d); return j(view(d)); }
      if (u[0] === 'all' && req.method === 'POST') { devs.forEach(apply); return j({ ok: devs.length }); }
      j({ error: 'not found' }, 404);
    } catch (e) { j({ error: String(e) }, 400); }
  });
}).listen(CTL, HOST);
for (const s of ['SIGINT', 'SIGTERM']) process.on(s, () => { flush(); process.exit(0); });
