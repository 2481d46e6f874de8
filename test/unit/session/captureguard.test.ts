/** What is done about ways past the tunnel, when, and how often it is said. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TunnelError } from '../../../src/errors/errors.ts';
import { formatPrefix, type Prefix, parsePrefix } from '../../../src/net/prefix.ts';
import { CaptureGuard, CHECK_MS } from '../../../src/session/captureguard.ts';
import { FakeRouting } from '../../support/fakerouting.ts';
import { ManualClock } from '../../support/manualclock.ts';
import { until } from '../../support/memorymachine.ts';

/** A check that has begun is over. */
const checked = () => new Promise((resolve) => setTimeout(resolve, 20));

interface Options {
  readonly allowDiverted?: boolean;
  readonly captureLocal?: boolean;
  readonly shared?: () => ReadonlySet<string>;
}

function lab(options: Options = {}) {
  const routing = new FakeRouting()
    .add('0.0.0.0/0 via 192.0.2.1 dev eth0')
    .address('192.0.2.0/24', 'eth0')
    .add('10.0.0.0/8 dev tun0', { protocol: 116 });
  const clock = new ManualClock();
  const said: string[] = [];
  const counted = new Map<string, number>();
  let captured: readonly Prefix[] = [parsePrefix('10.0.0.0/8').prefix];
  let fails = false;
  let reason: Error = new Error('EEXIST');
  let failing: (() => void) | undefined;
  let applied: string[] = [];
  const capture = {
    deviceName: 'tun0',
    async setPrefixes(prefixes: readonly Prefix[]) {
      if (failing !== undefined) {
        failing();
        failing = undefined;
        throw reason;
      }
      if (fails) throw reason;
      applied = prefixes.map(formatPrefix);
      for (const prefix of prefixes) {
        if (routing.all.some((route) => route.device === 4 && route.destination === prefix))
          continue;
        // In front: as with a better metric.
        const after = routing.all.splice(0);
        routing.add(`${formatPrefix(prefix)} dev tun0`, { protocol: 116 });
        routing.all.push(...after);
      }
    },
  };
  const guard = new CaptureGuard({
    capture,
    routing,
    clock,
    captured: () => captured,
    requested: () => [parsePrefix('10.0.0.0/8').prefix],
    alsoRouted: [],
    allowDiverted: false,
    captureLocal: false,
    observer: {
      log: (level, message) => said.push(`${level}: ${message}`),
      count: (name, n = 1) => counted.set(name, (counted.get(name) ?? 0) + n),
    },
    ...options,
  });
  return {
    routing,
    clock,
    said,
    counted,
    guard,
    applied: () => applied,
    refuse: (why = reason) => {
      fails = true;
      reason = why;
    },
    failOnce: (why: Error, meanwhile: () => void) => {
      failing = meanwhile;
      reason = why;
    },
    capture: async (...texts: string[]) => {
      captured = texts.map((text) => parsePrefix(text).prefix);
      await guard.setPrefixes(captured);
    },
  };
}

describe('CaptureGuard', () => {
  it('leaves what remains of a connected network to the kernel, as long as it is one', async () => {
    const { routing, guard, said, capture, applied } = lab();
    routing.address('10.1.0.0/24', 'wlan0');
    const pieces = ['10.0.0.0/16', '10.1.0.0/25', '10.1.0.128/26', '10.1.1.0/24'];
    await capture(...pieces);
    assert.deepEqual(applied(), ['10.0.0.0/16', '10.1.1.0/24']);
    await guard.start();
    assert.ok(said.includes('notice: left out: 10.1.0.0/24 is connected by wlan0'));
    routing.remove('10.1.0.0/24').addresses.pop();
    guard.check();
    await until(() => applied().length === 4, 'their routes');
    await guard.close();
  });

  it('marks what other tunnels may capture as well', () => {
    const { guard } = lab({ shared: () => new Set(['10.0.0.53', '2001:db8::53']) });
    const prefixes = ['10.0.0.0/8', '10.0.0.53', '2001:db8::53', '10.0.0.54'];
    const routes = guard.routable(prefixes.map((text) => parsePrefix(text).prefix));
    assert.deepEqual(
      routes.map((prefix) => [formatPrefix(prefix), prefix.shared === true]),
      [
        ['10.0.0.0/8', false],
        ['10.0.0.53', true],
        ['2001:db8::53', true],
        ['10.0.0.54', false],
      ],
    );
  });

  it('leaves a prefix that somebody else has a route to, and overrides that', async () => {
    const { routing, guard, said, capture, applied } = lab();
    routing.add('10.3.0.0/16 via 192.0.2.9 dev eth0', { metric: 100 });
    const alone = (text: string) => guard.routable([parsePrefix(text).prefix]).map(formatPrefix);
    assert.deepEqual(alone('10.3.0.0/16'), []);
    assert.deepEqual(alone('10.4.0.0/16'), ['10.4.0.0/16']);
    await capture('10.3.0.0/16');
    await guard.start();
    assert.deepEqual(applied(), ['10.3.0.0/17', '10.3.128.0/17']);
    assert.match(
      said[0] ?? '',
      /overridden.*: the route 10\.3\.0\.0\/16 via 192\.0\.2\.9 dev eth0/,
    );
    // A route that comes later doesn't take ours away.
    await capture('10.3.0.0/16', '10.5.0.0/16');
    routing.add('10.5.0.0/16 via 192.0.2.9 dev eth0', { metric: 100 });
    await capture('10.3.0.0/16', '10.5.0.0/16', '10.6.0.0/16');
    assert.ok(applied().includes('10.5.0.0/16'));
    await guard.close();
  });

  it('overrides what is in the way at the start, and says it once', async () => {
    const { routing, guard, said, counted } = lab();
    routing.add('10.1.0.0/16 via 192.0.2.9 dev eth0').add('10.2.2.2/32 dev wg0');
    await guard.start();
    assert.deepEqual(said, [
      'warning: overridden, because it is captured: the route 10.1.0.0/16 via 192.0.2.9 dev eth0; 10.2.2.2 dev wg0',
    ]);
    assert.equal(counted.get('tunnel_capture_overridden_total'), 2);
    guard.check();
    await checked();
    await guard.close();
    assert.equal(said.length, 1);
    assert.equal(await guard.ended, undefined);
  });

  it('says what to do when the helper does not permit an override', async () => {
    const { routing, guard, refuse } = lab({ captureLocal: true });
    routing.address('10.1.0.0/24', 'wlan0');
    const hint = 'a line in helper.conf';
    refuse(new TunnelError('capture-not-permitted', 'this user may not', { hint }));
    await assert.rejects(guard.start(), {
      code: 'capture-not-permitted',
      message: /^not captured: routes to 10\.1\.0\.0\/24 can't be overridden \(this user may not\)/,
      hint: `start it without --capture-local; or ${hint}`,
    });
    await guard.close();
    // Where something else is in the way as well, permission alone is no help.
    const both = lab({ captureLocal: true });
    both.routing.address('10.1.0.0/24', 'wlan0').add('0.0.0.0/0 dev wg0', { table: 77 });
    both.routing.rule(500, 77, { destination: parsePrefix('10.2.0.0/16').prefix });
    both.refuse(new TunnelError('capture-not-permitted', 'this user may not', { hint }));
    await assert.rejects(both.guard.start(), { code: 'capture-diverted', hint: /another VPN/ });
    await both.guard.close();
  });

  it('asks the helper again if a network was joined since it looked', async () => {
    const { routing, guard, capture, applied, failOnce } = lab();
    const refusal = new TunnelError('capture-not-permitted', 'this user may not');
    failOnce(refusal, () => routing.address('10.1.0.0/24', 'wlan0'));
    await capture('10.1.0.0/25', '10.2.0.0/16');
    assert.deepEqual(applied(), ['10.2.0.0/16']);
    // Nothing is new: it is refused for another reason.
    failOnce(refusal, () => {});
    await assert.rejects(capture('10.1.0.0/25', '10.3.0.0/16'), refusal);
    await guard.close();
  });

  it('sets routes again that the helper has withdrawn for a network that has gone', async () => {
    const { routing, guard, said, capture, applied } = lab();
    await capture('10.0.0.0/8', '10.1.0.0/25');
    await guard.start();
    await capture('10.0.0.0/8', '10.1.0.0/25');
    routing.remove('10.1.0.0/25');
    assert.ok(!routing.all.some(({ destination }) => formatPrefix(destination) === '10.1.0.0/25'));
    guard.check();
    const isBack = () =>
      routing.all.some(({ destination }) => formatPrefix(destination) === '10.1.0.0/25');
    await until(isBack, 'the route');
    assert.deepEqual(applied(), ['10.0.0.0/8', '10.1.0.0/25']);
    await guard.close();
    assert.deepEqual(said, []);
  });

  it('does not start when a rule comes first, and says which', async () => {
    const { routing, guard } = lab();
    routing.add('0.0.0.0/0 dev wg0', { table: 77 }).rule(500, 77);
    await assert.rejects(guard.start(), {
      code: 'capture-diverted',
      message: /^not captured: 10\.0\.0\.1 goes to wg0 by table 77, which the rule 500 asks first/,
    });
    await guard.close();
  });

  it('ends when a rule comes while it runs: after an event, or in time without one', async () => {
    for (const event of [true, false]) {
      const { routing, guard, clock } = lab();
      await guard.start();
      routing.add('0.0.0.0/0 dev wg0', { table: 77 }).rule(500, 77);
      if (event) guard.check();
      else await clock.advance(CHECK_MS);
      assert.equal((await guard.ended)?.code, 'capture-diverted');
      await guard.close();
    }
  });

  it('goes on with --allow-diverted, and says each way once', async () => {
    const { routing, guard, said, counted } = lab({ allowDiverted: true });
    routing.add('0.0.0.0/0 dev wg0', { table: 77 }).rule(500, 77);
    await guard.start();
    guard.check();
    await checked();
    await guard.close();
    assert.equal(said.length, 1);
    assert.match(said[0] ?? '', /^warning: not captured: 10\.0\.0\.1 goes to wg0/);
    assert.equal(counted.get('tunnel_capture_diverted_total'), 2);
  });

  it('names connected networks, those that come later, too; or takes them', async () => {
    const { routing, guard, said } = lab();
    routing.address('10.5.0.0/24', 'wlan0');
    await guard.start();
    routing.address('10.6.0.0/24', 'wlan0');
    guard.check();
    await checked();
    await guard.close();
    assert.deepEqual(said, [
      'notice: left out: 10.5.0.0/24 is connected by wlan0',
      'notice: left out: 10.6.0.0/24 is connected by wlan0',
    ]);
    const taking = lab({ captureLocal: true });
    taking.routing.address('10.5.0.0/24', 'wlan0');
    await taking.guard.start();
    assert.match(taking.said[0] ?? '', /overridden.*10\.5\.0\.0\/24 dev wlan0/);
    await taking.guard.close();
  });

  it('ends when somebody takes addresses back a fourth time', async () => {
    const { routing, guard } = lab();
    await guard.start();
    for (const length of [16, 17, 18]) {
      routing.all.unshift(...new FakeRouting().add(`10.1.0.0/${length} dev wg0`).all);
      guard.check();
      const made = `10.1.0.0/${length + 1}`;
      await until(
        () => routing.all.some(({ destination }) => formatPrefix(destination) === made),
        made,
      );
    }
    routing.all.unshift(...new FakeRouting().add('10.1.0.0/19 dev wg0').all);
    guard.check();
    assert.match((await guard.ended)?.message ?? '', /10\.1\.0\.0\/19 goes dev wg0, whatever/);
    await guard.close();
  });

  it('ends when an override fails, and when the kernel does not answer', async () => {
    const failing = lab();
    failing.routing.add('10.1.0.0/16 dev wg0');
    failing.refuse();
    await assert.rejects(failing.guard.start(), /routes to 10\.1\.0\.0\/16 can't be overridden/);
    const silent = lab();
    silent.routing.routes = () => {
      throw new Error('EMSGSIZE');
    };
    await assert.rejects(silent.guard.start(), /the kernel does not say .*EMSGSIZE/);
    for (const { guard } of [failing, silent]) await guard.close();
  });

  it('checks what is captured newly', async () => {
    const { routing, guard, capture } = lab();
    await guard.start();
    routing.add('172.16.0.0/16 dev wg0', { table: 77 }).rule(500, 77);
    await capture('10.0.0.0/8', '172.16.0.0/12');
    assert.match((await guard.ended)?.message ?? '', /172\.16\.0\.1 goes to wg0 by table 77/);
    await guard.close();
  });
});
