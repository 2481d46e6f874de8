/**
 * The privileged helper: what it does when somebody else removes the device or a route, and what
 * happens when it is stuck itself.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import {
  type HelperClient,
  type HelperNamespace,
  inNamespace,
  untilGone,
} from '../support/helperlab.ts';
import { labUnavailable } from '../support/requirements.ts';
import { AT_ONCE_MS, until } from '../support/until.ts';

const skip = labUnavailable();

const CAPTURED = ['10.0.0.0/8', '172.16.0.0/12', '2001:db8::/32'] as const;
const LINK = [
  'link add dm0 type veth peer name dm0p',
  'link set dm0 addrgenmode none',
  'link set dm0p addrgenmode none',
  'link set dm0 up',
  'link set dm0p up',
];
/** How long the helper waits for a program that clears routes (WATCH_SWEEP_MS). */
const SWEEP_MS = 1_000;
/**
 * How long the program waits for a helper that doesn't answer, at its end (CLOSE_TIMEOUT_MS) and at
 * a request (REQUEST_TIMEOUT_MS).
 */
const CLOSE_LIMIT_MS = 2_000;
const REQUEST_LIMIT_MS = 10_000;

/** Checks that the helper has reported the loss, and that the device and the helper are gone. */
async function lost(
  namespace: HelperNamespace,
  client: HelperClient,
  helper: number,
  before: string,
  reason: RegExp,
): Promise<void> {
  const [, text = ''] = await client.child.waitForLine(/^! \{"reason":"(.*)"\}\n/m, AT_ONCE_MS);
  assert.match(text, reason);
  await client.child.waitForLine(/^! \{"ended":"capture-device-lost"\}/m);
  await namespace.becomes(before);
  await untilGone(helper);
}

const hasRoute = async (namespace: HelperNamespace, prefix: string) =>
  (await namespace.ip(`route show ${prefix}`)).includes('dev tun0 proto 116');

/** CPU time of a process in clock ticks (proc_pid_stat(5)). */
function ticks(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/.*\) /, '').split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

describe('helper: removed devices and routes', { skip }, () => {
  for (const [what, lines, reason] of [
    ['the device is set down', ['link set tun0 down'], /tun0 was set down/],
    ['the device is deleted', ['link del tun0'], /tun0 was deleted/],
    [
      'the IPv4 address is removed',
      ['addr del 198.18.0.1/24 dev tun0'],
      /address 198\.18\.0\.1\/24 was removed/,
    ],
    [
      'the IPv6 address is removed',
      ['addr del 2001:2::1/64 dev tun0'],
      /address 2001:2::1\/64 was removed/,
    ],
    // The kernel doesn't report that the replaced route has ended.
    [
      'a route is replaced',
      ['route replace 10.0.0.0/8 dev dm0'],
      /route 10\.0\.0\.0\/8 was removed/,
    ],
    [
      'a shared route is replaced',
      ['route replace 192.0.2.53/32 dev dm0 metric 16'],
      /route 192\.0\.2\.53\/32 was removed/,
    ],
    [
      'the block’s route is replaced',
      ['route replace 198.18.0.0/24 dev dm0'],
      /route 198\.18\.0\.0\/24 was/,
    ],
  ] as const) {
    it(`ends when ${what}`, () =>
      inNamespace(LINK, async (namespace) => {
        const before = await namespace.state();
        const { client, helper } = await namespace.tunnel();
        await client.must('routes', ...CAPTURED, '192.0.2.53/32=shared');
        await namespace.batch(lines);
        await client.child.waitForLine(/^! \{"ended":"capture-device-lost"\}/m, AT_ONCE_MS);
        if (what.includes('replaced')) await namespace.batch([lines[0].replace('replace', 'del')]);
        await lost(namespace, client, helper, before, reason);
        const error = await client.fails('routes', ...CAPTURED);
        assert.equal(error.code, 'capture-device-lost');
      }));
  }

  it('puts routes back after one sweep, but not after a second one', () =>
    inNamespace([], async (namespace) => {
      const before = await namespace.state();
      const { client, helper } = await namespace.tunnel();
      await client.must('routes', ...CAPTURED);
      const whole = await namespace.state();
      await namespace.batch([
        'route del 10.0.0.0/8',
        'route del 2001:db8::/32',
        'route del 198.18.0.0/24',
      ]);
      await until(async () => (await namespace.state()) === whole, 'the routes are not put back');
      // It goes on as if nothing had happened.
      await client.must('routes', ...CAPTURED, '192.0.2.0/24');
      await delay(SWEEP_MS);
      await namespace.ip('route del 192.0.2.0/24');
      await lost(namespace, client, helper, before, /route 192\.0\.2\.0\/24 was removed/);
    }));

  it('notices that the device was down for a moment', () =>
    inNamespace([], async (namespace) => {
      const { client, helper } = await namespace.tunnel(true, false);
      await client.must('routes', '10.0.0.0/8');
      process.kill(helper, 'SIGSTOP');
      await namespace.batch(['link set tun0 down', 'link set tun0 up']);
      assert.equal(await hasRoute(namespace, '10.0.0.0/8'), false);
      process.kill(helper, 'SIGCONT');
      await until(() => hasRoute(namespace, '10.0.0.0/8'), 'the route is not put back');
    }));

  it('ignores changes of others’ routes and devices, however many', () =>
    inNamespace(LINK, async (namespace) => {
      const { client, helper } = await namespace.tunnel();
      await client.must('routes', ...CAPTURED);
      const before = ticks(helper);
      const foreign = Array.from(
        { length: 4000 },
        (_, i) => `10.${i >> 8}.${i & 255}.0/24 dev dm0`,
      );
      await namespace.batch([
        ...foreign.map((route) => `route add ${route}`),
        'route add 10.0.0.0/8 dev dm0 table 77',
        'route del 10.0.0.0/8 dev dm0 table 77',
        ...foreign.map((route) => `route del ${route}`),
        'link set dm0 down',
        'link del dm0',
      ]);
      await client.must('routes', ...CAPTURED, '192.0.2.0/24');
      await client.must('routes', ...CAPTURED);
      assert.deepEqual(await namespace.routes('tun0'), [
        '10.0.0.0/8',
        '172.16.0.0/12',
        '198.18.0.0/24',
        '2001:2::/64',
        '2001:db8::/32',
      ]);
      assert.ok(ticks(helper) - before < 50, `${ticks(helper) - before} ticks`);
      assert.doesNotMatch(client.child.stdout, /"ended"/);
    }));

  it('checks the state itself when notifications were lost', () =>
    inNamespace(LINK, async (namespace) => {
      const { client, helper } = await namespace.tunnel();
      await client.must('routes', ...CAPTURED);
      process.kill(helper, 'SIGSTOP');
      const foreign = Array.from(
        { length: 8000 },
        (_, i) => `203.${i >> 8}.${i & 255}.0/24 dev dm0`,
      );
      await namespace.batch(foreign.map((route) => `route add ${route}`));
      assert.ok(await overrun(namespace), 'no notification was lost');
      await namespace.ip('route del 10.0.0.0/8');
      process.kill(helper, 'SIGCONT');
      await until(() => hasRoute(namespace, '10.0.0.0/8'), 'the route is not put back');
      assert.doesNotMatch(client.child.stdout, /"ended"/);
    }));
});

/**
 * Whether some netlink socket in the namespace has lost messages (the Drops of /proc/net/netlink).
 */
async function overrun(namespace: HelperNamespace): Promise<boolean> {
  const [, ...lines] = (await namespace.run('cat', '/proc/net/netlink')).trim().split('\n');
  return lines.some((line) => Number(line.trim().split(/\s+/)[8]) > 0);
}

// Each in a separate namespace; two wait for ten seconds.
describe('helper: stuck', { skip, concurrency: true }, () => {
  for (const [what, request] of [
    ['idle', ['close']],
    ['at a request', ['close-during', '10.0.0.0/8']],
  ] as const) {
    it(`does not keep the program from stopping, ${what}`, () =>
      inNamespace([], async (namespace) => {
        const before = await namespace.state();
        const { client, helper } = await namespace.tunnel();
        await client.must('routes', ...CAPTURED);
        process.kill(helper, 'SIGSTOP');
        const began = performance.now();
        const result = await client.must(request[0], ...request.slice(1));
        assert.ok(performance.now() - began < CLOSE_LIMIT_MS + AT_ONCE_MS);
        if (what === 'at a request') assert.equal(result, 'helper-lost');
        // The descriptor is closed, so the device is gone, whatever happens to the helper.
        await namespace.becomes(before);
        process.kill(helper, 'SIGCONT');
        await untilGone(helper);
      }));
  }

  for (const [what, request] of [
    ['CREATE', ['create', 'true', 'true', '1500']],
    ['ROUTES', ['routes', '10.0.0.0/8']],
  ] as const) {
    it(`is given up when it does not answer ${what}`, () =>
      inNamespace([], async (namespace) => {
        const before = await namespace.state();
        const client = await namespace.client();
        const helper = await client.start();
        if (what === 'ROUTES') await client.create();
        process.kill(helper, 'SIGSTOP');
        const began = performance.now();
        const error = await client.fails(request[0], ...request.slice(1));
        const took = performance.now() - began;
        assert.equal(error.code, 'helper-lost');
        assert.match(error.message, /not answered for 10 s/);
        assert.ok(
          took > REQUEST_LIMIT_MS - 100 && took < REQUEST_LIMIT_MS + AT_ONCE_MS,
          `${took} ms`,
        );
        await client.child.waitForLine(/^! \{"ended":"helper-lost"\}/m);
        await client.must('close');
        process.kill(helper, 'SIGCONT');
        await untilGone(helper);
        await namespace.becomes(before);
      }));
  }
});
