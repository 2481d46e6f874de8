import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { formatDestination } from '../../../src/net/destination.ts';
import { ExecResolvers, resolvConfOf } from '../../../src/session/execresolvers.ts';

const MODULE = new URL('../../../src/session/execresolvers.js', import.meta.url).href;
const INSIDE = 'nameserver 198.18.0.53\nnameserver 198.18.0.54\n';

function setUp({ named = false, isolated = false, inside = INSIDE } = {}) {
  let resolvers: readonly string[] = ['10.0.0.1', '10.0.0.2'];
  let changed: () => void = () => {};
  let watched = 0;
  const said: string[] = [];
  const asked: string[] = [];
  let over = 0;
  const it = new ExecResolvers({
    plan: {
      hostResolvers: resolvers,
      resolvers: new Map(
        named
          ? []
          : [
              ['198.18.0.53', '10.0.0.1'],
              ['198.18.0.54', '10.0.0.2'],
            ],
      ),
      names: named ? { local: isolated ? [] : resolvers, isolated } : undefined,
      setup: { resolvConf: INSIDE },
    },
    machine: {
      resolverConfiguration: () => ({ resolvers, lines: [] }),
      watchResolvers: (call) => {
        changed = call;
        watched += 1;
        return () => {
          watched -= 1;
        };
      },
    },
    textInside: () => inside,
    observer: {
      log: (level, text) => void said.push(`${level}: ${text}`),
      count: () => {
        over += 1;
      },
    },
  });
  const unwatch = it.follow({
    setLocal: (servers) => void asked.push(servers.map(formatDestination).join()),
  });
  const change = (...to: readonly string[]) => {
    resolvers = to;
    changed();
  };
  return { it, change, said, asked, unwatch, watched: () => watched, over: () => over };
}

describe('the resolvers of a command in its own network', () => {
  it('are those that resolv.conf names now, each in its place', () => {
    const { it: resolvers, change, asked, said, unwatch, watched } = setUp();
    change('10.0.0.1', '10.0.0.2');
    assert.deepEqual(said, []);
    change('192.168.1.1');
    assert.deepEqual(Object.fromEntries(resolvers.standIns), {
      '198.18.0.53': '192.168.1.1',
      '198.18.0.54': '192.168.1.1',
    });
    change('fe80::1%eth0', '10.9.9.9', '10.9.9.8');
    assert.deepEqual(Object.fromEntries(resolvers.standIns), {
      '198.18.0.53': 'fe80::1%eth0',
      '198.18.0.54': '10.9.9.9',
    });
    // What the command may have read itself, where the file inside is gone.
    assert.deepEqual([...resolvers.read], ['192.168.1.1', '10.9.9.9', '10.9.9.8']);
    assert.deepEqual(asked, []);
    assert.match(said.join(), /^info: this machine's resolvers are 192\.168\.1\.1 now,info: /);
    unwatch();
    assert.equal(watched(), 0);
  });

  it("are asked for other names by the tunnel's own server, unless the command is isolated", () => {
    const { it: resolvers, change, asked } = setUp({ named: true });
    change('192.168.1.1', 'fe80::1%eth0');
    assert.deepEqual(asked, ['192.168.1.1:53,[fe80::1%eth0]:53']);
    assert.equal(resolvers.standIns.size, 0);
    const isolated = setUp({ named: true, isolated: true });
    isolated.change('192.168.1.1');
    assert.deepEqual(isolated.asked, []);
    assert.deepEqual([...isolated.it.read], ['192.168.1.1']);
  });

  it('that the command can not reach are told, if it sees them', () => {
    for (const [inside, warned] of [
      [INSIDE, false],
      ['nameserver 127.0.0.1\n', true],
    ] as const) {
      const { it: resolvers, change, said } = setUp({ inside });
      change('127.0.0.1');
      assert.equal(resolvers.standIns.get('198.18.0.53'), '127.0.0.1');
      assert.deepEqual([...resolvers.read], []);
      assert.equal(
        said.some((line) => line.startsWith('warning: resolv.conf was replaced')),
        warned,
      );
    }
  });

  it('are sixteen at most of all networks; the newest stay', () => {
    const { it: resolvers, change, over } = setUp();
    for (let i = 1; i <= 20; i++) change(`192.168.${i}.1`);
    assert.equal(resolvers.read.size, 16);
    assert.ok(resolvers.read.has('192.168.20.1') && !resolvers.read.has('192.168.4.1'));
    assert.equal(over(), 4);
  });
});

describe('resolvConfOf', () => {
  it('is the text that a process sees; undefined if there is no such process', () => {
    assert.equal(resolvConfOf(process.pid)?.includes('\0'), false);
    assert.equal(resolvConfOf(2 ** 30), undefined);
  });

  it('neither waits for what the command has put there, nor reads it without end', {
    skip: process.getuid?.() !== 0 && 'mounts over /etc, which needs root',
  }, async () => {
    const RESOLV_CONF = '/etc/resolv.conf';
    for (const [make, read] of [
      [`printf 'nameserver 192.0.2.1' > ${RESOLV_CONF}`, '"nameserver 192.0.2.1"'],
      [`mkfifo ${RESOLV_CONF}`, undefined],
      [`ln -s /dev/zero ${RESOLV_CONF}`, undefined],
      [`mkdir ${RESOLV_CONF}`, undefined],
      [`head -c 8193 /dev/zero > ${RESOLV_CONF}`, undefined],
    ] as const) {
      const command = spawn(
        'unshare',
        [
          '--mount',
          'sh',
          '-c',
          `mount -t tmpfs none /etc && ${make} && echo made && exec sleep 60`,
        ],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
      try {
        await once(command.stdout, 'data');
        // In a child, which can be ended if it hangs.
        const script = `const { resolvConfOf } = await import('${MODULE}');
          console.log(JSON.stringify(resolvConfOf(${command.pid})));`;
        const { stdout, signal } = spawnSync(
          process.execPath,
          ['--max-old-space-size=64', '--input-type=module', '-e', script],
          { encoding: 'utf8', timeout: 10_000, killSignal: 'SIGKILL' },
        );
        assert.equal(signal, null, make);
        assert.equal(stdout, `${read}\n`, make);
      } finally {
        command.kill('SIGKILL');
      }
    }
  });
});
