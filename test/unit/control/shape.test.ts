/** Statuses of tunnels of other versions, and of other users. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { formatStatus, formatStatusJson, isWell } from '../../../src/cli/status.ts';
import { History } from '../../../src/cli/watch/history.ts';
import { firstState } from '../../../src/cli/watch/state.ts';
import { render } from '../../../src/cli/watch/view.ts';
import { readStatus } from '../../../src/control/shape.ts';
import type { Status } from '../../../src/control/status.ts';

const PID = 4242;
const OPERATIONS = new URL('../../../../docs/operations.md', import.meta.url);
const START = 1_795_930_000_000;

/** As the first version with `tunnel status` told it: without forwards, and two times of link. */
const EARLIER = `{
  "name": "me@jump.example", "command": "connect", "pid": ${PID}, "version": "0.1.0",
  "startedAt": ${START}, "at": ${START + 61_000}, "ready": true, "remote": "me@jump.example",
  "targets": ["10.0.0.0/8"], "device": "tunnel0", "proxies": [],
  "link": {"state": "up", "since": ${START + 500}, "upSince": ${START + 500}, "attempt": 0,
    "holdSeconds": 30, "held": 0, "roundTripMs": 12.25, "at": "jump.example:22", "via": [],
    "user": "me", "client": "embedded", "server": "OpenSSH_9.9", "keyExchange": "curve25519-sha256",
    "cipher": "aes256-gcm@openssh.com", "hostKey": "ssh-ed25519"},
  "flows": {"live": 1, "opening": 0, "opened": 3, "refused": 1, "sentBytes": 2500,
    "receivedBytes": 1200000, "list": [{"id": 3, "state": "open", "way": "tunnel",
    "source": "192.0.2.1:40000", "destination": "10.1.2.3:443", "names": [],
    "askedAt": ${START + 30_000}, "openedAt": ${START + 30_020}, "sentBytes": 500,
    "receivedBytes": 1000000}]},
  "refusals": [{"at": ${START + 40_000}, "id": 2, "source": "192.0.2.1:40001",
    "destination": "10.9.9.9:22", "refusal": "prohibited", "by": "far side", "why": "open failed"}],
  "counters": {"tunnel_flows_opened_total": 3}, "checks": []
}`;

function known(told: unknown): Status {
  const status = readStatus(told, PID);
  assert.ok(status !== undefined, 'it is a status');
  return status;
}

function shown(status: Status): string {
  const tunnel = { path: '', pid: PID, user: process.geteuid?.() ?? 0, status };
  return formatStatus({ tunnels: [tunnel], silent: [] });
}

/** Every page of `tunnel status --watch`. */
function watched(status: Status): string {
  const model = { tunnels: [new History(status)], silent: [], now: START + 62_000 };
  const size = { columns: 120, rows: 30 };
  const flow = status.flows.list[0]?.id ?? 0;
  const pages = (['tunnels', 'flows', 'flow', 'refusals'] as const).map((page) =>
    render(model, { ...firstState(model), page, flow }, size),
  );
  return pages
    .flat()
    .map((line) => line.map(({ text }) => text).join(''))
    .join('\n');
}

describe('the status of a tunnel of another version', () => {
  it('is shown where it is an earlier one', () => {
    const status = known(JSON.parse(EARLIER));
    assert.deepEqual(status.forwards, []);
    const text = shown(status);
    assert.match(text, /^me@jump\.example \(connect, pid 4242, for 1 min 1 s\)$/m);
    assert.match(text, /^ {2}link +up for 1 min 1 s, me@jump\.example:22, round trip 12\.3 ms$/m);
    assert.match(text, /1 live \(0 being opened\), 3 opened, 1 refused; 2\.5 kB sent/);
    assert.doesNotMatch(text, /\?|unknown/);
  });

  it('has what it does not tell as unknown, whichever field that is', () => {
    const whole: object = JSON.parse(EARLIER);
    for (const name of Object.keys(whole)) {
      for (const left of [undefined, null]) {
        const part = readStatus({ ...whole, [name]: left }, PID);
        if (name === 'pid' || name === 'name') {
          assert.equal(part, undefined, name);
          continue;
        }
        assert.ok(part !== undefined, name);
        assert.doesNotMatch(`${shown(part)}${watched(part)}`, /NaN|undefined|null/, name);
      }
    }
  });

  it('is shown by its name and its process alone', () => {
    const status = known({ name: 'lab', pid: PID });
    const text = shown(status);
    assert.match(text, /^lab \(unknown, pid 4242, for \?\)$/m);
    assert.match(text, /^ {2}link +unknown for \?$/m);
    assert.match(text, /^ {2}targets +unknown$/m);
    assert.match(
      text,
      /\? live \(\? being opened\), \? opened, \? refused; \? bytes sent, \? bytes/,
    );
    assert.ok(!isWell({ path: '', pid: PID, user: 0, status }), 'nothing can rely on it');
    assert.doesNotMatch(watched(status), /NaN|undefined/);
    const all = { tunnels: [{ path: '', pid: PID, user: 0, status }], silent: [] };
    assert.equal(JSON.parse(formatStatusJson(all)).tunnels[0].flows.live, null);
  });

  it('has as unknown what docs/operations.md says', () => {
    const { name: _, pid: __, ...rest } = known({ name: 'lab', pid: PID });
    const { ready, targets, link, flows, ...others } = rest;
    assert.deepEqual([ready, targets], [true, ['unknown']]);
    for (const [name, value] of Object.entries({ ...others, ...link, ...flows })) {
      const isUnknown = value === 'unknown' || value === undefined || Number.isNaN(value);
      assert.ok(isUnknown || Object.keys(value).length === 0, name);
    }
    const said = readFileSync(OPERATIONS, 'utf8').replaceAll('\n', ' ');
    assert.match(said, /a number [^.]* is `null`, a text `unknown`, a list empty\./);
    assert.match(said, /`targets` is then `\["unknown"\]`[^.]* and `ready` is `true`\./);
  });

  it('has flows of which only the number is known', () => {
    const status = known({ name: 'lab', pid: PID, flows: { list: [{ id: 7 }] }, refusals: [{}] });
    assert.doesNotMatch(`${shown(status)}${watched(status)}`, /NaN|undefined|Invalid/);
    const later = new History(status);
    later.add({ ...status, at: START });
    assert.deepEqual(later.rates, [], 'no rate without the time of both');
  });

  it('leaves out what this version does not know, however deep it is', () => {
    let deep: unknown = 0;
    for (let depth = 0; depth < 100_000; depth++) deep = [deep];
    const status = known({ ...JSON.parse(EARLIER), later: deep });
    assert.ok(!('later' in status));
    const all = { tunnels: [{ path: '', pid: PID, user: 0, status }], silent: [] };
    assert.doesNotMatch(formatStatusJson(all), /later/);
  });
});

describe('what another user’s tunnel tells', () => {
  it('is no status where a field has another type', () => {
    const whole = JSON.parse(EARLIER);
    for (const wrong of [7, 'text', true, [7], [null], { 7: 7 }, { list: [{}] }, { via: [7] }]) {
      for (const name of Object.keys(whole)) {
        const status = readStatus({ ...whole, [name]: wrong }, PID);
        if (status !== undefined) assert.equal(typeof wrong, typeof whole[name], name);
      }
    }
    assert.equal(readStatus({ ...whole, pid: 1 }, PID), undefined);
  });

  it('may name a time that no calendar has', () => {
    const status = known({
      ...JSON.parse(EARLIER),
      flows: { list: [{ id: 3, askedAt: 1e300, openedAt: -1e300 }] },
    });
    assert.doesNotMatch(watched(status), /Invalid/);
  });
});
