/** The privileged helper: device, addresses and routes, and that nothing of them is left. */
import assert from 'node:assert/strict';
import { constants, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { describe, it } from 'node:test';
import { inNamespace, untilGone } from '../support/helperlab.ts';
import { labUnavailable } from '../support/requirements.ts';

const skip = labUnavailable();

const V4 = ['10.0.0.0/8', '172.16.5.0/24'] as const;
const V6 = ['2001:db8::/32'] as const;

/** Linux's value; Node has no name for it. */
const O_CLOEXEC = 0o2000000;

interface Descriptor {
  readonly fd: number;
  readonly link: string;
  /** Flags of open(2). */
  readonly flags: number;
}

/** A process's descriptors, without the standard ones. */
function descriptors(pid: number): Descriptor[] {
  return readdirSync(`/proc/${pid}/fd`)
    .map(Number)
    .filter((fd) => fd > 2)
    .flatMap((fd) => {
      try {
        const info = readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8');
        const flags = Number.parseInt(/^flags:\s+([0-7]+)$/m.exec(info)?.[1] ?? '', 8);
        return [{ fd, link: readlinkSync(`/proc/${pid}/fd/${fd}`), flags }];
      } catch {
        return []; // closed meanwhile
      }
    });
}

/**
 * A device that is up but makes no addresses itself, so that the rest of the state doesn't change.
 */
function network(name: string): string[] {
  return [
    `link add ${name} type veth peer name ${name}p`,
    `link set ${name} addrgenmode none`,
    `link set ${name}p addrgenmode none`,
    `link set ${name} up`,
    `link set ${name}p up`,
  ];
}

describe('helper: device and routes', { skip }, () => {
  it('makes the device with its addresses, and the captured prefixes as its routes', () =>
    inNamespace([], async (namespace) => {
      const before = await namespace.state();
      const { client, device } = await namespace.tunnel();
      assert.equal(device.name, 'tun0');
      assert.equal(device.address4, '198.18.0.1');
      assert.equal(device.address6, '2001:2::1');

      await client.must('routes', ...V4, ...V6);
      assert.deepEqual(await namespace.routes('tun0'), [
        '10.0.0.0/8',
        '172.16.5.0/24',
        '198.18.0.0/24',
        '2001:2::/64',
        '2001:db8::/32',
      ]);
      assert.match(await namespace.ip('route show 10.0.0.0/8'), /dev tun0 proto 116 *$/m);

      const link = await namespace.ip('-d link show tun0');
      assert.match(link, /UP/);
      assert.match(link, /mtu 65520/);
      assert.match(link, /vnet_hdr on persist off/);
      assert.match(link, /addrgenmode none/);
      // The kernel's default of 500 is too few for many uploads (TUN_QUEUE_FRAMES in native/tun.h).
      assert.match(link, /qlen 8192\b/);
      const addresses = await namespace.ip('-o addr show tun0');
      assert.match(addresses, /inet 198\.18\.0\.1\/24/);
      assert.match(addresses, /inet6 2001:2::1\/64 scope global nodad/);
      assert.doesNotMatch(addresses, /fe80|tentative/);

      await client.must('close');
      assert.equal(await namespace.state(), before);
      await client.child.waitForLine(/^! \{"ended":null\}/m);
    }));

  it('keeps no descriptor of the device, and lets no child inherit one', () =>
    inNamespace([], async (namespace) => {
      const { client, helper, device } = await namespace.tunnel();
      // By the next request the helper has closed its copy.
      await client.must('routes');
      const held = descriptors(helper);
      assert.ok(held.length >= 3);
      for (const { fd, link, flags } of held) {
        assert.notEqual(link, '/dev/net/tun');
        assert.ok((flags & O_CLOEXEC) !== 0, `descriptor ${fd} of the helper`);
      }
      const { pid } = client.child;
      const ours = descriptors(pid);
      const tun = ours.filter(({ link }) => link === '/dev/net/tun');
      assert.deepEqual(
        tun.map(({ fd }) => fd),
        [device.fd],
      );
      assert.ok(tun.every(({ flags }) => (flags & constants.O_NONBLOCK) !== 0));
      for (const { fd, link, flags } of ours) {
        if (link !== '/dev/net/tun' && !link.startsWith('socket:')) continue;
        assert.ok((flags & O_CLOEXEC) !== 0, `${link} (${fd}) of the program`);
      }
    }));

  it('makes addresses only for the requested families', () =>
    inNamespace([], async (namespace) => {
      const only4 = await namespace.tunnel(true, false);
      assert.equal(only4.device.address6, undefined);
      assert.equal(await namespace.ip('-6 addr show dev tun0'), '');
      const only6 = await namespace.tunnel(false, true);
      assert.equal(only6.device.address4, undefined);
      // Only the requested families of a block must be free.
      assert.equal(only6.device.address6, '2001:2::1');
      assert.equal(await namespace.ip('-4 addr show dev tun1'), '');
    }));

  it('applies only the difference to a new set', () =>
    inNamespace([], async (namespace) => {
      const { client } = await namespace.tunnel();
      const own = ['198.18.0.0/24', '2001:2::/64'];
      const set = async (...prefixes: string[]) => {
        await client.must('routes', ...prefixes);
        return (await namespace.routes('tun0')).filter((route) => !own.includes(route));
      };
      assert.deepEqual(await set('10.0.0.0/8', '10.1.0.0/16'), ['10.0.0.0/8', '10.1.0.0/16']);
      const monitored = await namespace.ip('route show 10.0.0.0/8');
      assert.deepEqual(await set('10.0.0.0/8', '2001:db8::/32', '10.0.0.0/8'), [
        '10.0.0.0/8',
        '2001:db8::/32',
      ]);
      assert.equal(await namespace.ip('route show 10.0.0.0/8'), monitored);
      assert.deepEqual(await set(), []);
      assert.deepEqual(await set('192.0.2.1/32', '2001:db8::1/128'), ['192.0.2.1', '2001:db8::1']);
    }));

  it('captures a default route as two halves beside the existing one', () =>
    inNamespace([...network('dm0'), 'route add default dev dm0'], async (namespace) => {
      const { client } = await namespace.tunnel();
      await client.must('routes', '0.0.0.0/0', '::/0');
      assert.match(await namespace.ip('route show default'), /^default dev dm0/);
      assert.match(await namespace.ip('route get 192.0.2.1'), /dev tun0/);
      assert.match(await namespace.ip('route get 203.0.113.1'), /dev tun0/);
      assert.deepEqual(await namespace.routes('tun0'), [
        '0.0.0.0/1',
        '128.0.0.0/1',
        '198.18.0.0/24',
        '2001:2::/64',
        '8000::/1',
        '::/1',
      ]);
    }));

  it('takes exactly as many prefixes as promised', () =>
    inNamespace([], async (namespace) => {
      const { client } = await namespace.tunnel();
      const many = (count: number) =>
        Array.from({ length: count }, (_, index) => `10.${index >> 8}.${index & 255}.0/24`);
      await client.must('routes', ...many(8192));
      assert.equal((await namespace.routes('tun0')).length, 8192 + 2);
      const error = await client.fails('routes', ...many(8193));
      assert.equal(error.code, 'capture-failed');
      assert.match(error.message, /8193 routes .* at most 8192/);
      await client.must('routes', '10.0.0.0/8');
      assert.equal((await namespace.routes('tun0')).length, 1 + 2);
    }));

  it('refuses a prefix that somebody else routes, whatever the metric, and keeps the old set', () =>
    inNamespace(
      [
        ...network('dm0'),
        'addr add 192.168.1.5/24 dev dm0',
        'route add 172.16.0.0/12 dev dm0 metric 600',
        'route add blackhole 203.0.113.0/24',
        'route add 2001:db8:1::/48 dev dm0',
      ],
      async (namespace) => {
        const { client } = await namespace.tunnel();
        await client.must('routes', '10.0.0.0/8');
        const state = await namespace.state();
        for (const [taken, by] of [
          ['192.168.1.0/24', 'dm0'],
          ['172.16.0.0/12', 'dm0'],
          ['203.0.113.0/24', 'blackhole'],
          ['2001:db8:1::/48', 'dm0'],
        ] as const) {
          const error = await client.fails(
            'routes',
            '10.0.0.0/8',
            '10.9.0.0/16',
            taken,
            '2001:db8:2::/48',
          );
          assert.equal(error.code, 'capture-route-exists');
          assert.ok(error.message.startsWith(`${taken} is routed to ${by} `), error.message);
          assert.match(error.hint ?? '', new RegExp(`-x ${taken}`));
          assert.equal(await namespace.state(), state);
        }
        await client.must('routes', '10.0.0.0/8', '192.168.1.128/25');
      },
    ));

  it('rolls back when the kernel refuses a route', () =>
    inNamespace([], async (namespace) => {
      const { client } = await namespace.tunnel();
      await client.must('routes', '10.0.0.0/8', '172.16.0.0/12');
      const state = await namespace.state();
      // Our own block's route: the kernel says that it exists, not the check of the table.
      const error = await client.fails(
        'routes',
        '10.0.0.0/8',
        '192.0.2.0/24',
        '198.18.0.0/24',
        '203.0.113.0/24',
      );
      assert.equal(error.code, 'capture-route-exists');
      assert.equal(await namespace.state(), state);
    }));
});

describe('helper: beside others', { skip }, () => {
  it('gives each tunnel its own blocks, and says which other tunnel has a prefix', () =>
    inNamespace([], async (namespace) => {
      const one = await namespace.tunnel();
      const two = await namespace.tunnel();
      assert.deepEqual(
        [two.device.name, two.device.address4, two.device.address6],
        ['tun1', '198.18.1.1', '2001:2:0:1::1'],
      );
      await one.client.must('routes', ...V4, ...V6);
      for (const taken of [V4[0], V6[0]]) {
        const error = await two.client.fails('routes', '192.0.2.0/24', taken);
        assert.equal(error.code, 'already-running');
        assert.ok(
          error.message.startsWith(`another tunnel captures ${taken} on tun0`),
          error.message,
        );
      }
      assert.deepEqual(await namespace.routes('tun1'), ['198.18.1.0/24', '2001:2:0:1::/64']);

      await one.client.must('close');
      const three = await namespace.tunnel();
      assert.equal(three.device.address4, '198.18.0.1');
    }));

  it('refuses a range that overlaps another tunnel’s, and says what to exclude', () =>
    inNamespace([...network('dm0'), 'route add 10.200.0.0/16 dev dm0'], async (namespace) => {
      const one = await namespace.tunnel();
      const two = await namespace.tunnel();
      await one.client.must('routes', '10.77.0.0/16', '172.16.0.0/12', '2001:db8::/32');
      for (const [wanted, shared] of [
        ['10.0.0.0/8', '10.77.0.0/16'],
        ['0.0.0.0/0', '10.77.0.0/16'],
        ['10.77.3.0/24', '10.77.3.0/24'],
        ['172.31.255.255/32', '172.31.255.255/32'],
        ['2001:db8:7::/48', '2001:db8:7::/48'],
        ['2000::/3', '2001:db8::/32'],
      ] as const) {
        const error = await two.client.fails('routes', '192.0.2.0/24', wanted);
        assert.equal(error.code, 'already-running', wanted);
        assert.ok(
          error.message.startsWith(`another tunnel captures ${shared} on tun0`),
          error.message,
        );
        assert.match(error.hint ?? '', new RegExp(`"-x ${shared}"`));
      }
      assert.deepEqual(await namespace.routes('tun1'), ['198.18.1.0/24', '2001:2:0:1::/64']);
      // An adjacent range doesn't overlap; and another program's more specific route wins, as
      // always.
      await two.client.must(
        'routes',
        '10.76.0.0/16',
        '10.78.0.0/15',
        '10.128.0.0/9',
        '172.32.0.0/12',
      );
      // Unchanged routes stay while others change.
      await two.client.must('routes', '10.76.0.0/16', '10.78.0.0/15', '192.0.2.0/24');
      await one.client.must('routes', '10.77.0.0/16', '10.80.0.0/16');
    }));

  it('lets a second tunnel use what the first excludes, and both capture around each other’s blocks', () =>
    inNamespace([], async (namespace) => {
      const one = await namespace.tunnel();
      const two = await namespace.tunnel();
      // 10.0.0.0/8 without 10.1.0.0/16.
      await one.client.must(
        'routes',
        '10.0.0.0/16',
        ...[15, 14, 13, 12, 11, 10, 9].map((length) => `10.${1 << (16 - length)}.0.0/${length}`),
      );
      await two.client.must('routes', '10.1.0.0/16');
      assert.match(await namespace.ip('route get 10.1.2.3'), /dev tun1/);
      assert.match(await namespace.ip('route get 10.2.2.3'), /dev tun0/);
      await two.client.must('routes', '10.1.0.0/16', '198.0.0.0/8', '2001::/16');
      // But nothing in a block: there its tunnel answers for its names.
      for (const inside of [
        '198.18.1.0/24',
        '198.18.1.0/24=preferred',
        '198.18.1.54/32',
        '198.18.1.54/32=shared',
        '2001:2:0:1::36/128',
      ]) {
        const error = await one.client.fails('routes', inside);
        assert.equal(error.code, 'already-running', inside);
      }
    }));

  it('never lets two tunnels that start at once share a range', () =>
    inNamespace([], async (namespace) => {
      const one = await namespace.tunnel();
      const two = await namespace.tunnel();
      for (let round = 0; round < 20; round++) {
        await Promise.all([
          one.client.ask('routes', '10.0.0.0/8'),
          two.client.ask('routes', '10.1.0.0/16', '192.0.2.0/24'),
        ]);
        const both = (await namespace.routes('tun0')).concat(await namespace.routes('tun1'));
        assert.ok(!(both.includes('10.0.0.0/8') && both.includes('10.1.0.0/16')), both.join(' '));
        await Promise.all([one.client.must('routes'), two.client.must('routes')]);
      }
    }));

  it('gives helpers that start at the same moment different blocks', () =>
    inNamespace([], async (namespace) => {
      const clients = await Promise.all(Array.from({ length: 4 }, () => namespace.client()));
      await Promise.all(clients.map((client) => client.start()));
      const devices = await Promise.all(clients.map((client) => client.create()));
      const blocks = devices.map((device) => device.address4).sort();
      assert.deepEqual(
        blocks,
        blocks.map((_, index) => `198.18.${index}.1`),
      );
    }));

  it('moves on when a block is taken between the check and the claim', () =>
    inNamespace(
      [
        // The check doesn't see this route, but the kernel refuses the claim, as with a tunnel that
        // was faster. The second block is free for IPv4 but not for IPv6.
        'route add blackhole 198.18.0.0/24',
        'route add blackhole 2001:2:0:1::/64 metric 1024',
      ],
      async (namespace) => {
        const { device } = await namespace.tunnel();
        assert.equal(device.address4, '198.18.2.1');
        assert.equal(device.address6, '2001:2:0:2::1');
        assert.deepEqual(await namespace.routes('tun0'), ['198.18.2.0/24', '2001:2:0:2::/64']);
      },
    ));

  it('skips blocks in which there is an address or a route', () =>
    inNamespace(
      [
        ...network('dm0'),
        'addr add 198.18.0.77/32 dev dm0',
        'route add 198.18.1.128/25 dev dm0 table 77',
        'addr add 2001:2:0:2::5/128 dev dm0 nodad',
        'route add 2001:2:0:3:8000::/65 dev dm0',
        'route add 198.18.4.0/23 dev dm0',
        // These don't mean that the range is in use.
        'route add default dev dm0',
        'route add 128.0.0.0/1 dev dm0',
        'route add blackhole 198.18.0.0/15',
      ],
      async (namespace) => {
        const { device } = await namespace.tunnel();
        assert.equal(device.address4, '198.18.6.1');
        assert.equal(device.address6, '2001:2:0:6::1');
      },
    ));

  it('says so when no block is free', () =>
    inNamespace([...network('dm0'), 'route add 198.18.0.0/15 dev dm0'], async (namespace) => {
      const before = await namespace.state();
      const client = await namespace.client();
      const helper = await client.start();
      const error = await client.fails('create', 'true', 'true', '1500');
      assert.equal(error.code, 'capture-address');
      assert.match(error.message, /no block of addresses is free/);
      assert.equal(await namespace.state(), before);
      await untilGone(helper);
    }));

  it('says so when IPv6 is disabled', () =>
    inNamespace([], async (namespace) => {
      await namespace.run('sh', '-c', 'echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6');
      const before = await namespace.state();
      const client = await namespace.client();
      await client.start();
      const error = await client.fails('create', 'true', 'true', '1500');
      assert.equal(error.code, 'capture-address');
      assert.match(error.message, /^IPv6 is disabled on this machine/);
      assert.equal(await namespace.state(), before);

      const { device } = await namespace.tunnel(true, false);
      assert.equal(device.address4, '198.18.0.1');
    }));

  it('finds the device through which a destination would be reached without the tunnel', () =>
    inNamespace(
      [
        ...network('dm0'),
        ...network('dm1'),
        'route add default dev dm0 metric 20',
        'route add default dev dm1 metric 10',
        'route add 10.1.0.0/16 dev dm0',
        'route add unreachable 10.2.0.0/16',
        'route add 10.3.0.0/16 nexthop dev dm0 nexthop dev dm1',
        'route add 2001:db8:1::/48 dev dm1',
      ],
      async (namespace) => {
        const { client } = await namespace.tunnel();
        await client.must(
          'routes',
          '10.1.1.0/24',
          '10.0.0.0/8',
          '192.0.2.0/24',
          '2001:db8:1:1::/64',
        );
        const uplink = (address: string, exclude = 'tun0') =>
          client.must('uplink', address, exclude);
        assert.equal(await uplink('192.0.2.1'), 'dm1');
        assert.equal(await uplink('10.1.1.1'), 'dm0');
        assert.equal(await uplink('10.2.1.1'), null);
        assert.equal(await uplink('10.3.1.1'), 'dm0');
        assert.equal(await uplink('2001:db8:1:1::1'), 'dm1');
        assert.equal(await uplink('2001:db8:2::1'), null);
        assert.equal(await uplink('10.1.1.1', 'none'), 'tun0');
      },
    ));
});

describe('helper: nothing is left', { skip }, () => {
  const setUp = [
    ...network('dm0'),
    'addr add 192.168.1.5/24 dev dm0',
    'route add default via 192.168.1.1',
  ];

  for (const [victims, kill] of [
    ['the program', (program: number) => [program]],
    ['the helper', (_program: number, helper: number) => [helper]],
    ['both', (program: number, helper: number) => [program, helper]],
    ['both, the helper first', (program: number, helper: number) => [helper, program]],
  ] as const) {
    it(`after kill -9 of ${victims}`, () =>
      inNamespace(setUp, async (namespace) => {
        const before = await namespace.state();
        const { client, helper } = await namespace.tunnel();
        await client.must('routes', ...V4, ...V6);
        assert.notEqual(await namespace.state(), before);
        for (const pid of kill(client.child.pid, helper)) process.kill(pid, 'SIGKILL');
        await namespace.becomes(before);
        await untilGone(helper);
        if (victims === 'the helper')
          await client.child.waitForLine(/^! \{"ended":"helper-lost"\}/m);
      }));
  }

  it('when the helper is terminated while the program goes on', () =>
    inNamespace(setUp, async (namespace) => {
      const before = await namespace.state();
      const { client, helper } = await namespace.tunnel();
      await client.must('routes', ...V4);
      process.kill(helper, 'SIGHUP');
      await client.must('routes', ...V4, ...V6);
      process.kill(helper, 'SIGTERM');
      await client.child.waitForLine(/^! \{"ended":"helper-lost"\}/m);
      await namespace.becomes(before);
      const error = await client.fails('routes', ...V4);
      assert.equal(error.code, 'helper-lost');
    }));

  it('when the program stops in order after the device was renamed', () =>
    inNamespace(setUp, async (namespace) => {
      const before = await namespace.state();
      const { client, helper, device } = await namespace.tunnel();
      await namespace.ip(`link set ${device.name} name other0`);
      await client.must('close');
      await namespace.becomes(before);
      await untilGone(helper);
    }));
});
