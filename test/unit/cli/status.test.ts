/** The words of `tunnel status`. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { reportError } from '../../../src/cli/report.ts';
import {
  describeQuestion,
  describeState,
  formatStatus,
  formatStatusJson,
  formatStatusLine,
} from '../../../src/cli/status.ts';
import { History } from '../../../src/cli/watch/history.ts';
import { firstState } from '../../../src/cli/watch/state.ts';
import { render } from '../../../src/cli/watch/view.ts';
import { type Found, tunnelNamed } from '../../../src/control/client.ts';
import { readStatus } from '../../../src/control/shape.ts';
import type { Glance, LinkStatus, Status } from '../../../src/control/status.ts';
import { flowStatus, NOW, tunnelStatus } from './watch/fixture.ts';

const IDLE: LinkStatus = {
  state: 'idle',
  since: 0,
  upSince: undefined,
  attempt: 0,
  error: undefined,
  holdSeconds: 30,
  held: 0,
  holdEndsAt: undefined,
  redialAt: undefined,
  roundTripMs: undefined,
  at: undefined,
  via: [],
  user: undefined,
  client: undefined,
  server: undefined,
  keyExchange: undefined,
  cipher: undefined,
  hostKey: undefined,
};

describe('the state of a link', () => {
  it('is idle on demand, and also after the server has closed one that nobody used', () => {
    assert.equal(describeState(IDLE, 5_000), 'idle (connects when needed) for 5 s');
  });
});

describe('the question that waits', () => {
  const glance = (more: Partial<Glance>) =>
    describeQuestion({ name: 'lab', at: 9_000, link: IDLE, ...more } as Glance);

  it('says what is asked and where, or which command asks', () => {
    assert.equal(glance({}), undefined);
    assert.equal(
      glance({ asked: { text: 'Code:', at: 'tunnel', since: 5_000 } }),
      "Code: (asked at the tunnel's own terminal, for 4 s)",
    );
    const waiting = (code: string) =>
      glance({ link: { ...IDLE, state: 'waiting', error: { code, message: 'why' } } });
    const ask = 'the login wants an answer: "tunnel reconnect lab" asks at its terminal';
    assert.equal(waiting('no-terminal'), ask);
    assert.equal(waiting('auth-cancelled'), ask);
    assert.equal(waiting('auth-failed'), undefined);
  });
});

const PID = 4242;
const PLAIN_STATUS = tunnelStatus([flowStatus(1, { names: ['api.example.com'] }), flowStatus(2)], {
  proxies: ['127.0.0.1:1080'],
  forwards: ['127.0.0.1:8080 -> db.internal:5432'],
  asked: { text: 'Code:', at: 'caller', since: NOW },
  refusals: [
    {
      at: NOW,
      id: 3,
      source: '192.0.2.1:1',
      destination: '10.9.9.9:22',
      refusal: 'prohibited',
      by: 'far side',
      why: 'open failed',
    },
  ],
  checks: [{ name: 'ipv6', state: 'warning', detail: 'it is off', hint: 'turn it on' }],
  counters: { tunnel_flows_opened_total: 3 },
});
const WAITING: LinkStatus = {
  ...PLAIN_STATUS.link,
  state: 'waiting',
  upSince: undefined,
  error: { code: 'no-terminal', message: 'nobody can be asked' },
  redialAt: NOW + 1_000,
  held: 2,
  holdEndsAt: NOW + 2_000,
  via: ['first.example'],
};

/** The same value with other texts. */
function withTexts(value: unknown, other: (text: string) => string): unknown {
  if (typeof value === 'string') return other(value);
  if (Array.isArray(value)) return value.map((one) => withTexts(one, other));
  if (typeof value !== 'object' || value === null) return value;
  const all = Object.entries(value);
  return Object.fromEntries(all.map(([name, one]) => [name, withTexts(one, other)]));
}

function textsIn(value: unknown): number {
  let texts = 0;
  withTexts(value, (text) => {
    texts++;
    return text;
  });
  return texts;
}

function foundWith(status: Status, why: string): Found {
  const tunnel = { path: '', pid: PID, user: 65_534, status };
  return { tunnels: [tunnel], silent: [{ pid: 7, why }] };
}

/** All that a person or a program sees of it. */
function shownOf(found: Found): readonly string[] {
  const [status] = found.tunnels.map((tunnel) => tunnel.status);
  assert.ok(status !== undefined);
  const model = { tunnels: [new History(status)], silent: found.silent, now: NOW };
  const pages = (['tunnels', 'flows', 'flow', 'refusals'] as const).map((page) =>
    render(model, { ...firstState(model), page, pid: PID, flow: 1 }, { columns: 200, rows: 40 })
      .map((line) => line.map(({ text }) => text).join(''))
      .join('\n'),
  );
  const twice = { ...found, tunnels: [...found.tunnels, ...found.tunnels] };
  return [
    formatStatus(found),
    formatStatusJson(found),
    formatStatusLine(found),
    ...pages,
    errorOf(() => tunnelNamed(found, '\u001b[2Jnobody')),
    errorOf(() => tunnelNamed(twice, undefined)),
    errorOf(() => tunnelNamed(twice, undefined, { env: {}, uid: 65_534 })),
  ];
}

function errorOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    return reportError(error);
  }
  return assert.fail('it has not thrown');
}

const HOSTILE = fc
  .array(
    fc.oneof(
      fc.integer({ min: 0, max: 0xa0 }).map((code) => String.fromCharCode(code)),
      fc.constantFrom(
        '\u001b[2J',
        '\u001b]0;x\u0007',
        '\u009b31m',
        '\u001bP',
        '\r\n',
        '\u202e',
        'a',
      ),
    ),
    { minLength: 1, maxLength: 8 },
  )
  .map((parts) => parts.join(''));

describe('the status of a tunnel that tells anything at all', () => {
  for (const [how, link] of Object.entries({ up: PLAIN_STATUS.link, waiting: WAITING })) {
    const told: Status = { ...PLAIN_STATUS, link };
    const texts = textsIn(told) + 1;
    const choices = fc.array(fc.option(HOSTILE), { minLength: texts, maxLength: texts });

    it(`writes nothing to the terminal but text and its own newlines: ${how}`, () => {
      fc.assert(
        fc.property(choices, (chosen) => {
          const foundAs = (hostile: (text: string) => string): Found => {
            const left = [...chosen];
            const next = (text: string) => {
              const choice = left.shift() ?? null;
              return choice === null ? text : hostile(choice);
            };
            const status = readStatus(JSON.parse(JSON.stringify(withTexts(told, next))), PID);
            assert.ok(status !== undefined);
            return foundWith(status, next('no answer'));
          };
          const found = foundAs((text) => text);
          const shown = shownOf(found);
          for (const text of shown) assert.doesNotMatch(text, /(?!\n)\p{Cc}/u);
          const lines = (all: readonly string[]) => all.map((text) => text.split('\n').length);
          assert.deepEqual(lines(shown), lines(shownOf(foundAs(() => 'x'))));
          const { tunnels } = JSON.parse(formatStatusJson(found));
          assert.deepEqual(tunnels, [JSON.parse(JSON.stringify(found.tunnels[0]?.status))]);
        }),
      );
    });
  }
});
