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

/** With every field that this version tells. */
const LATEST: Status = {
  ...JSON.parse(EARLIER),
  forwards: ['127.0.0.1:8080 -> db.internal:5432'],
  asked: { text: 'Code:', at: 'caller', since: START },
  link: {
    ...JSON.parse(EARLIER).link,
    state: 'waiting',
    error: { code: 'auth-failed', message: 'the login was refused' },
    holdEndsAt: START + 70_000,
    redialAt: START + 80_000,
    via: ['hop'],
  },
  flows: {
    ...JSON.parse(EARLIER).flows,
    list: [{ ...JSON.parse(EARLIER).flows.list[0], names: ['api.example.com'] }],
  },
  proxies: ['127.0.0.1:1080'],
  checks: [{ name: 'firewall', state: 'warning', detail: 'it drops', hint: 'admit it' }],
};

type Path = readonly (string | number)[];

/** Every field, however deep. */
function pathsOf(value: unknown, before: Path = []): Path[] {
  if (typeof value !== 'object' || value === null) return [];
  const keys: Path = Array.isArray(value) ? [...value.keys()] : Object.keys(value);
  return keys.flatMap((key) => {
    const path = [...before, key];
    const field = (value as Readonly<Record<string | number, unknown>>)[key];
    return [...(typeof key === 'string' ? [path] : []), ...pathsOf(field, path)];
  });
}

/** A copy of LATEST in which `change` has been made to the object that has the field. */
function changed(path: Path, change: (object: Record<string, unknown>, key: string) => void) {
  const copy = structuredClone(LATEST);
  let object = copy as unknown as Record<string | number, never>;
  for (const key of path.slice(0, -1)) object = object[key] as never;
  change(object, String(path.at(-1)));
  return copy;
}

/** The only fields that every version tells: the first one did, and no later one adds to them. */
const ALWAYS = ['name', 'pid', 'flows.list.0.id'];

describe('the rule that later versions add fields, and only optional ones', () => {
  const paths = pathsOf(LATEST);

  it('holds where this version asks an earlier tunnel, field by field', () => {
    assert.ok(paths.length > 60, `${paths.length} fields`);
    for (const path of paths) {
      for (const left of ['missing', 'null']) {
        const text = `${path.join('.')}, ${left}`;
        const told = changed(path, (object, key) => {
          if (left === 'missing') delete object[key];
          else object[key] = null;
        });
        const status = readStatus(told, PID);
        if (ALWAYS.includes(path.join('.'))) {
          assert.equal(status, undefined, text);
          continue;
        }
        // A counter has a number in every version that has it.
        if (path[0] === 'counters' && path.length > 1 && left === 'null') continue;
        assert.ok(status !== undefined, text);
        assert.doesNotMatch(`${shown(status)}${watched(status)}`, /NaN|undefined|Invalid/, text);
      }
    }
  });

  it('holds where this version asks a later tunnel, at every depth', () => {
    const status = known(LATEST);
    const objects = new Set(paths.map((path) => path.slice(0, -1).join('.')));
    assert.ok(objects.size > 7, [...objects].join(' '));
    for (const path of paths.filter(
      ([first, ...rest]) => first !== 'counters' || rest.length === 0,
    ))
      for (const later of [7, 'text', null, [{}], { deep: [{}] }]) {
        const told = changed(path, (object) => {
          object['later'] = later;
        });
        assert.deepEqual(known(told), status, path.join('.'));
      }
    const counters = { ...LATEST.counters, tunnel_later_total: 7 };
    assert.deepEqual(known({ ...LATEST, counters }).counters, counters);
  });

  it('holds for words that a later version has', () => {
    for (const path of [
      ['command'],
      ['link', 'state'],
      ['asked', 'at'],
      ['flows', 'list', 0, 'state'],
    ]) {
      const told = changed(path, (object, key) => {
        object[key] = 'later-word';
      });
      const status = known(told);
      assert.doesNotMatch(`${shown(status)}${watched(status)}`, /NaN|undefined/, path.join('.'));
    }
  });

  it('is told to those who read the JSON', () => {
    const said = readFileSync(OPERATIONS, 'utf8').replaceAll('\n', ' ');
    assert.match(said, /Later versions add fields, counters and words, and take none away/);
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
