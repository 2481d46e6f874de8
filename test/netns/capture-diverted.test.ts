/** A rule before the main table takes captured traffic: the tunnel ends, at the start and later. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { API1, PRIVATE4, PRIVATE6 } from '../support/addresses.ts';
import { CaptureLab, NOTICED_MS } from '../support/capturelab.ts';
import { labUnavailable } from '../support/lab.ts';
import { MAIN, REMOTE, runTunnel } from '../support/tunnel.ts';

describe('a capture that rules divert', { skip: labUnavailable() }, () => {
  const lab = new CaptureLab();

  for (const [what, target, lines] of [
    [
      'a rule',
      PRIVATE4,
      ['route add default via 192.0.2.1 table 77', 'rule add pref 500 lookup 77'],
    ],
    [
      'a rule for a part',
      PRIVATE4,
      ['route add default via 192.0.2.1 table 77', 'rule add pref 500 to 10.77.0.128/25 lookup 77'],
    ],
    [
      'a rule for a user',
      PRIVATE4,
      [
        'route add default via 192.0.2.1 table 77',
        'rule add pref 500 uidrange 4711-4711 lookup 77',
      ],
    ],
    [
      'a rule for a port',
      PRIVATE4,
      [
        'route add default via 192.0.2.1 table 77',
        'rule add pref 500 ipproto tcp dport 443 lookup 77',
      ],
    ],
    [
      'a table of parts',
      PRIVATE4,
      ['route add 10.77.0.11/32 via 192.0.2.1 table 77', 'rule add pref 500 lookup 77'],
    ],
    ['a rule that refuses', PRIVATE4, ['rule add pref 500 to 10.77.0.0/24 prohibit']],
    [
      'a rule of IPv6',
      PRIVATE6,
      [
        '-6 route add default via 2001:db8:1::1 table 77',
        '-6 rule add pref 500 to 2001:db8:77::/64 lookup 77',
      ],
    ],
  ] as const) {
    it(`${what} before the main table ends it, at the start`, async () => {
      for (const line of lines) await lab.ip(line);
      const { status, stderr } = await runTunnel(lab.client, ['-r', REMOTE, target]);
      assert.equal(status, 6, stderr);
      assert.match(stderr, /not captured: /);
      assert.match(stderr, /the rule 500/);
      assert.doesNotMatch(stderr, /: ready/);
    });

    it(`${what} before the main table ends it while it runs`, async () => {
      const child = await lab.start(target);
      for (const line of lines) await lab.ip(line);
      await child.waitForLine(/not captured: .*the rule 500/, NOTICED_MS);
      assert.equal((await child.exited).status, 6);
    });
  }

  it('goes on with --allow-diverted, and says once what is not captured', async () => {
    const child = await lab.start('--allow-diverted', PRIVATE4);
    await lab.ip('route add default via 192.0.2.1 table 77');
    await lab.ip('rule add pref 500 to 10.77.0.128/25 lookup 77');
    await child.waitForLine(/not captured: .*table 77/, NOTICED_MS);
    assert.equal(await lab.fetch(API1), 'carried');
    await lab.ip('route add 203.0.113.0/24 via 192.0.2.1');
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    assert.equal(child.stderr.match(/not captured/g)?.length, 1);
  });

  it('puts up with rules that ask the main table first, as wg-quick makes them', async () => {
    await lab.ip('route add default via 192.0.2.1 table 51820');
    await lab.ip('rule add pref 32765 not fwmark 51820 table 51820');
    await lab.ip('rule add pref 32764 table main suppress_prefixlength 0');
    const child = await lab.start(PRIVATE4);
    assert.doesNotMatch(child.stderr, /captured:|overridden|left out/);
    assert.equal(await lab.fetch(API1), 'carried');
  });

  it('needs no ip program', async () => {
    await lab.ip('route add default via 192.0.2.1 table 77');
    await lab.ip('rule add pref 500 lookup 77');
    const program = [process.execPath, MAIN, '-r', REMOTE, PRIVATE4].join(' ');
    const { status, stderr } = await lab.client.exec(['sh', '-c', `PATH=/nowhere ${program}`]);
    assert.equal(status, 6, stderr);
    assert.match(stderr, /the rule 500/);
  });
});
