/**
 * What the privileged helper lets an ordinary user capture for everybody on the machine: by
 * default, with the administrator's rules, and when the machine joins a network.
 */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { HELPER_VERSION } from '../../src/system/helper/protocol.ts';
import {
  CLIENT,
  type HelperClient,
  type HelperNamespace,
  inNamespace,
  TESTED_HELPER,
} from '../support/helperlab.ts';
import { asUser, etcOfUser, UID, USER, userClient, userLabMissing } from '../support/helperuser.ts';
import { Child, SEARCH_PATH } from '../support/process.ts';
import { closedToOthers } from '../support/requirements.ts';

const skip = userLabMissing || closedToOthers(CLIENT);

let directory = '';

before(() => {
  if (skip !== false) return;
  directory = mkdtempSync(join(tmpdir(), 'tunnel-test-'));
  chmodSync(directory, 0o755);
});

after(() => {
  if (directory !== '') rmSync(directory, { recursive: true });
});

/** A network by cable, with the gateway of the default routes. */
const NETWORK = [
  'link add eth0 type veth peer name eth0p',
  'link set eth0 addrgenmode none',
  'link set eth0p addrgenmode none',
  'link set eth0 up',
  'link set eth0p up',
  'addr add 192.168.1.10/24 dev eth0',
  'addr add 2001:db8:1::10/64 dev eth0 nodad',
  'route add default via 192.168.1.1',
  'route add default via 2001:db8:1::1',
  // A gateway that a route of its own leads to, as clouds have it.
  'route add 172.31.1.1/32 dev eth0',
  'route add default via 172.31.1.1 metric 500',
];

/**
 * A program that captures 10.20.30.0/24, then sends the same request again and again, reads no
 * answer, and keeps its end of the connection open.
 */
const INSISTENT = `
import os, socket, struct, subprocess, sys, tempfile, time
helper = sys.argv[1]
path = tempfile.mkdtemp() + "/helper"
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind(path)
listener.listen(1)
subprocess.run(["sudo", "-n", helper, path], check=True)
link, _ = listener.accept()
os.remove(path); os.rmdir(os.path.dirname(path))
def message(kind, body):
    return struct.pack("=IHHI", 0x4c4e5554, ${HELPER_VERSION}, kind, 12 + len(body)) + body
link.recv(4096)
link.send(message(2, struct.pack("=II", 3, 1500)))
_, control, _, _ = link.recvmsg(4096, 64)
routes = message(4, struct.pack("=I", 1) + bytes([4, 24, 0, 0, 10, 20, 30, 0]) + bytes(12))
link.send(routes)
link.recv(4096)
print("captured", flush=True)
try:
    while True: link.send(routes)
except OSError: pass
print("ended", flush=True)
time.sleep(60)
`;

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let left = 100; !(await holds()); left--) {
    assert.ok(left > 0, 'not within 5 s');
    await delay(50);
  }
}

/** A client as the user, with its device. `files` are of /etc. */
async function served(
  body: (client: HelperClient, ip: (line: string) => Promise<string>) => Promise<void>,
  files: Readonly<Record<string, string>> = {},
): Promise<void> {
  await inNamespace(NETWORK, async (namespace) => {
    const client = await userClient(namespace, etcOfUser(directory, files));
    await client.start();
    await client.create();
    await body(client, (line) => namespace.ip(line));
  });
}

async function refused(client: HelperClient, why: RegExp, ...prefixes: string[]): Promise<string> {
  const { code, message, hint = '' } = await client.fails('routes', ...prefixes);
  assert.equal(code, 'capture-not-permitted', `${prefixes.join(' ')}: ${message}`);
  assert.match(message, why);
  assert.match(hint, /helper\.conf/);
  return hint;
}

describe('helper: what an ordinary user may capture', { skip }, () => {
  it('networks of a site, wide ones too, and some of the Internet', () =>
    served(async (client) => {
      await client.must(
        'routes',
        ...['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/11', 'fd12::/16'],
        ...['203.0.113.0/24', '8.0.0.0/8', '9.0.0.0/8', '2001:db8::/32', '2600::/16'],
        ...['198.18.64.0/18', '2001:2:0:8000::/96'],
      );
    }));

  it('no gateway, and no connected network', () =>
    served(async (client, ip) => {
      await refused(client, /192\.168\.1\.0\/24, to which eth0 is/, '192.168.1.1/32');
      const hint = await refused(client, /192\.168\.1\.0\/24, to which eth0/, '192.168.1.0/25');
      assert.match(hint, new RegExp(`"permit ${USER} default 192\\.168\\.1\\.0/24 local"`));
      await refused(client, /to which eth0/, '192.168.1.0/24');
      await refused(client, /to which eth0/, '10.0.0.0/8', '192.168.1.77/32');
      await refused(client, /to which eth0/, '2001:db8:1::/64');
      await refused(client, /to which eth0/, '2001:db8:1::1/128');
      await refused(client, /172\.31\.1\.1\/32 is the gateway/, '172.31.1.1/32');
      // One to which no route of its own leads is captured by any prefix around it.
      await ip('route add default via 10.9.9.9 dev eth0 onlink metric 700');
      await refused(client, /10\.9\.9\.9\/32 is the gateway/, '10.0.0.0/8');
      await client.must('routes', '10.128.0.0/9');
      // What was refused has changed nothing.
      assert.match(await ip('route show dev tun0'), /^10\.128\.0\.0\/9 /m);
    }));

  it('no special range, nor what contains one', () =>
    served(async (client) => {
      for (const prefix of [
        ...['169.254.169.254/32', '169.254.0.0/16', '169.0.0.0/8', '127.0.0.1/32', '0.0.0.0/8'],
        ...['224.0.0.0/8', '239.255.255.250/32', '255.255.255.255/32', '240.0.0.0/8'],
        ...['192.0.0.192/32', '168.63.129.16/32', '100.100.100.200/32', 'fe80::/64', '::1/128'],
        ...['ff02::1/128', '::ffff:0:0/96', 'fd00:ec2::254/128', 'fd00::/16', '100::/64'],
      ])
        await refused(client, /is a special range/, prefix);
    }));

  it('not half of the Internet, in one piece or in many', () =>
    served(async (client) => {
      const hint = await refused(client, /shorter than \/8/, '0.0.0.0/0');
      assert.match(hint, new RegExp(`permit ${USER} default 0\\.0\\.0\\.0/0"`));
      await refused(client, /shorter than \/8/, '128.0.0.0/1');
      await refused(client, /shorter than \/16/, '::/0');
      await refused(client, /shorter than \/16/, '2000::/3');
      const many = (count: number, length: number) =>
        Array.from(
          { length: count },
          (_, i) =>
            `${20 + (length === 8 ? i : i >> 1)}.${length === 8 ? 0 : (i & 1) << 7}.0.0/${length}`,
        );
      await client.must('routes', ...many(4, 8));
      await client.must('routes', ...many(8, 9));
      await refused(client, /more than four \/8/, ...many(5, 8));
      await refused(client, /more than four \/8/, ...many(9, 9));
      const six = (count: number) => Array.from({ length: count }, (_, i) => `260${i}::/16`);
      await client.must('routes', ...six(4));
      await refused(client, /more than four \/16/, ...six(5));
      // What lies inside another one counts once.
      await client.must('routes', ...many(4, 8), '20.0.0.0/9', '20.1.2.3/32');
    }));

  it('no gateway of a route that has many, and nothing if there are too many to compare', () =>
    served(async (client, ip) => {
      const hops = (count: number) =>
        Array.from({ length: count }, (_, at) => ` nexthop via 10.77.0.${at + 1} dev eth0 onlink`);
      await ip(`route add default metric 700${hops(32).join('')}`);
      await refused(client, /10\.77\.0\.32\/32 is the gateway/, '10.77.0.32/32');
      await client.must('routes', '10.78.0.0/16');
      await ip(`route replace default metric 700${hops(33).join('')}`);
      await client.child.waitForLine(/^! \{"ended":"capture-not-permitted"\}/m);
      assert.match(client.child.stdout, /can't be told \(there are too many\)/);
    }));

  it('a resolver of the machine, even if it is the gateway, for as long as the session lasts', () =>
    served(
      async (client) => {
        await client.must('routes', '192.168.1.1/32', '10.0.0.0/8');
        await refused(client, /to which eth0/, '192.168.1.2/32');
        await refused(client, /to which eth0/, '192.168.1.0/31');
      },
      { 'resolv.conf': 'search example\nnameserver 192.168.1.1\n' },
    ));

  it('a resolver that is the gateway, and a default route without a device stays outside', () =>
    served(
      async (client, ip) => {
        await client.must('routes', '192.168.1.1/32', '10.0.0.0/8');
        for (const way of [
          'via 192.168.1.1',
          'nexthop via 192.168.1.1 nexthop via 192.168.1.2',
          'dev eth0',
        ]) {
          await ip(`route replace default ${way}`);
          const shown = await ip('route show default metric 0');
          assert.match(shown, /dev eth0/);
          assert.doesNotMatch(shown, /dev tun0/);
          await client.must('routes', '192.168.1.1/32', '10.0.0.0/9');
        }
        assert.match(await ip('route get 192.168.1.1'), /dev tun0/);
      },
      { 'resolv.conf': 'nameserver 192.168.1.1\n' },
    ));

  it('a resolver in every form in which the C library reads it, and in no other', () =>
    served(
      async (client) => {
        await client.must('routes', '192.168.1.1/32', '2001:db8:1::1/128', '192.168.1.9/32');
        await refused(client, /to which eth0/, '192.168.1.2/32');
        await refused(client, /to which eth0/, '192.168.1.3/32');
      },
      {
        'resolv.conf':
          'nameserver 192.168.257\r\nnameserver\t2001:db8:1::1%eth0 # x\nnameserver ::ffff:192.168.1.9\n nameserver 192.168.1.2\n#nameserver 192.168.1.3\n',
      },
    ));

  it('nor is anything left unreachable that may not be captured', () =>
    served(async (client, ip) => {
      await client.must('routes', '192.168.0.0/16', '2001:db8::/32');
      for (const prefix of ['192.168.1.0/24', '192.168.1.1/32', '192.168.1.0/25']) {
        const { code, message } = await client.fails('unreachable', prefix);
        assert.equal(code, 'capture-not-permitted', `${prefix}: ${message}`);
      }
      const { code } = await client.fails('unreachable', '2001:db8:1::1/128');
      assert.equal(code, 'capture-not-permitted');
      assert.doesNotMatch(await ip('route'), /unreachable/);
      await client.must('unreachable', '192.168.0.0/16', '2001:db8::/32');
      await client.must('unreachable');
    }));

  it('all of the Internet, if the user is one of the administrators; nothing else besides', () =>
    served(
      async (client) => {
        await client.must('routes', '0.0.0.0/0', '::/0', '128.0.0.0/1');
        // What the program makes of 0/0: loopback, link-local and others are cut out of it.
        await client.must(
          'routes',
          ...['2.0.0.0/7', '100.0.0.0/8', '168.0.0.0/8', '192.0.0.0/9', '240.0.0.0/5'],
          ...['168.63.129.16/32', 'fc00::/7', '100::/8', 'fec0::/10'],
        );
        await refused(client, /to which eth0/, '0.0.0.0/0', '192.168.1.0/25');
        await refused(client, /is a special range/, '0.0.0.0/0', '127.0.0.0/8');
        await refused(client, /is a special range/, '0.0.0.0/0', '169.0.0.0/8');
        await refused(client, /is a special range/, '0.0.0.0/0', '169.254.169.254/32');
        await refused(client, /172\.31\.1\.1\/32 is the gateway/, '172.31.1.1/32');
      },
      { group: `root:x:0:\nsudo:x:27:${USER}\n` },
    ));

  it('everything, if the caller is root itself', () =>
    inNamespace(NETWORK, async (namespace) => {
      const { client } = await namespace.tunnel();
      await client.must('routes', '0.0.0.0/0', '::/0', '192.168.1.0/25', '169.254.169.254/32');
    }));
});

describe('helper: a machine that joins a network that is captured', { skip }, () => {
  const JOIN = 'addr add 10.20.0.5/16 dev eth0';
  const LEAVE = 'addr del 10.20.0.5/16 dev eth0';
  /** PERMIT_GRACE_MS in native/helper/permit.h, and a margin. */
  const GRACE_MS = 6_000;

  async function joined(
    body: (client: HelperClient, namespace: HelperNamespace) => Promise<void>,
  ): Promise<void> {
    await inNamespace(NETWORK, async (namespace) => {
      const before = await namespace.state();
      const client = await userClient(namespace, etcOfUser(directory));
      await client.start();
      await client.create();
      await client.must('routes', '10.20.30.0/24', '10.99.0.0/16');
      await namespace.ip(JOIN);
      await until(async () => !(await namespace.routes('tun0')).includes('10.20.30.0/24'));
      await body(client, namespace);
      await namespace.becomes(before);
    });
  }

  it('loses that part at once, and the rest if the program does not ask for it', () =>
    joined(async (client, namespace) => {
      assert.ok((await namespace.routes('tun0')).includes('10.99.0.0/16'));
      await refused(client, /10\.20\.0\.0\/16, to which eth0/, '10.20.30.0/24', '10.99.0.0/16');
      await client.child.waitForLine(/^! \{"ended":"capture-not-permitted"\}/m, GRACE_MS);
      assert.match(client.child.stdout, /10\.20\.30\.0\/24 .*no longer.* 10\.20\.0\.0\/16/);
      await namespace.ip(LEAVE);
    }));

  it('goes on with the rest if the program asks for it', () =>
    joined(async (client, namespace) => {
      await client.must('routes', '10.99.0.0/16');
      await delay(GRACE_MS);
      await client.must('routes', '10.99.0.0/16', '10.98.0.0/16');
      // And again, when it has left and comes back.
      await namespace.ip(LEAVE);
      await client.must('routes', '10.99.0.0/16', '10.20.30.0/24');
      await namespace.ip(JOIN);
      await until(async () => !(await namespace.routes('tun0')).includes('10.20.30.0/24'));
      await client.must('routes', '10.99.0.0/16');
      await namespace.ip(LEAVE);
      await client.must('close');
    }));

  it('ends the capture of a gateway', () =>
    inNamespace(NETWORK, async (namespace) => {
      const before = await namespace.state();
      const client = await userClient(namespace, etcOfUser(directory));
      await client.start();
      await client.create();
      await client.must('routes', '10.50.0.0/16', '10.99.0.0/16');
      await namespace.ip('route add default via 10.50.0.1 dev eth0 onlink metric 9');
      await client.child.waitForLine(/^! \{"ended":"capture-not-permitted"\}/m);
      assert.match(client.child.stdout, /10\.50\.0\.1\/32 is the gateway/);
      await namespace.ip('route del default via 10.50.0.1 dev eth0 onlink metric 9');
      await namespace.becomes(before);
    }));

  it('ends the capture of a program that does not read the answers', () =>
    inNamespace(NETWORK, async (namespace) => {
      const before = await namespace.state();
      const program = await Child.start(
        [
          ...etcOfUser(directory)(['ip', 'netns', 'exec', namespace.name]),
          ...asUser('/usr/bin/python3', '-c', INSISTENT, TESTED_HELPER),
        ],
        { env: { PATH: SEARCH_PATH, LANG: 'C' } },
      );
      try {
        await program.waitForLine(/^captured$/m, 10_000);
        await namespace.ip('addr add 10.20.0.5/16 dev eth0');
        await program.waitForLine(/^ended$/m, 10_000);
        await namespace.ip('addr del 10.20.0.5/16 dev eth0');
        await namespace.becomes(before);
      } finally {
        await program.stop('SIGKILL');
      }
    }));

  it('goes on, if what is captured is wider', () =>
    served(async (client, ip) => {
      await client.must('routes', '10.0.0.0/8');
      await ip('addr add 10.20.0.5/16 dev eth0');
      await client.must('routes', '10.0.0.0/8', '172.16.0.0/16');
    }));
});

describe('helper: the administrator’s rules', { skip }, () => {
  const rules = (text: string) => ({ 'tunnel/helper.conf': text });

  it('permit what they name, and nothing else', () =>
    served(
      async (client) => {
        await client.must(
          'routes',
          '10.1.0.0/16',
          '10.1.2.0/24',
          '128.0.0.0/3',
          '169.254.169.254/32',
        );
        await refused(client, /helper\.conf does not permit it/, '2001:db8::/32');
        await refused(client, /169\.254\.0\.0\/16 is a special range/, '169.254.0.0/16');
        await refused(client, /is a special range/, '0.0.0.0/0');
        await client.must('routes', '100.64.0.0/10', '192.0.0.0/8', '240.0.0.0/5');
        await refused(client, /to which eth0/, '192.168.1.0/25');
      },
      rules(
        `# a comment\npermit ${USER} 0.0.0.0/0\t169.254.169.254/32 # another\n\npermit root ::/0\n`,
      ),
    ));

  it('permit connected networks and gateways with “local”', () =>
    served(
      async (client) => {
        await client.must('routes', '192.168.1.0/25', '192.168.1.1/32');
        await refused(client, /does not permit/, '10.0.0.0/8');
      },
      rules(`permit ${USER} 192.168.0.0/16 local\n`),
    ));

  it('add to the default with “default”, and add up', () =>
    served(
      async (client) => {
        await client.must('routes', '10.0.0.0/8', '203.0.113.0/24', '32.0.0.0/3');
        await refused(client, /shorter/, '128.0.0.0/3');
      },
      rules(`permit %${USER} default\npermit ${UID} 32.0.0.0/3\n`),
    ));

  for (const [what, who] of [
    ['everybody', '*'],
    ['a number', String(UID)],
    ['a group', `%${USER}`],
    ['a group’s number', `%${UID}`],
  ] as const) {
    it(`are for ${what}`, () =>
      served(
        (client) => client.must('routes', '128.0.0.0/3').then(() => {}),
        rules(`permit ${who} 128.0.0.0/1`),
      ));
  }

  it('are as docs/security.md shows them', () => {
    const manual = readFileSync(new URL('../../../docs/security.md', import.meta.url), 'utf8');
    const [, example = ''] = /```\n(# WHO: [^`]*)```/.exec(manual) ?? [];
    assert.equal(example.match(/^permit /gm)?.length, 4);
    const here = example.replaceAll(/^permit %\w+/gm, `permit %${USER}`);
    return served(
      async (client) => {
        await client.must('routes', '128.0.0.0/3', '169.254.169.254/32', '192.168.1.0/25');
      },
      rules(here.replaceAll(/^permit (alice|backup)/gm, `permit ${USER}`)),
    );
  });

  it('leave nothing to a user without a line', () =>
    served(async (client) => {
      await refused(client, /does not permit/, '10.0.0.0/8');
      await client.must('routes');
    }, rules('permit root 10.0.0.0/8\npermit %root 10.0.0.0/8\n')));

  for (const [what, text, message] of [
    ['an unknown word', 'permitt * 10.0.0.0/8', /line 1: unknown word "permitt"/],
    ['nothing permitted', '\n\npermit *', /line 3: it must be/],
    ['host bits', 'permit * 10.0.0.1/8', /line 1: "10\.0\.0\.1\/8" has bits/],
    ['no length', 'permit * 10.0.0.0', /line 1: "10\.0\.0\.0" is neither/],
    ['an impossible length', 'permit * 10.0.0.0/33', /line 1: "10\.0\.0\.0\/33" is/],
    ['a length of two forms', 'permit * 10.0.0.0/08', /line 1: "10\.0\.0\.0\/08" is/],
    ['no address', 'permit * 10.0/8', /line 1: "10\.0\/8" has no valid address/],
    ['no user', 'permit no-such-user 10.0.0.0/8', /line 1: there is no user/],
    ['no group', 'permit %no-such 10.0.0.0/8', /line 1: there is no group/],
    ['a carriage return', 'permit * 10.0.0.0/8\r\n', /line 1: a control character/],
    ['an error after the user’s line', `permit ${USER} default\nx\n`, /line 2: unknown word "x"/],
  ] as const) {
    it(`refuse all for ${what}, and name the line`, () =>
      inNamespace([], async (namespace) => {
        const client = await userClient(namespace, etcOfUser(directory, rules(text)));
        const { code, message: said } = await client.fails('start', TESTED_HELPER);
        assert.equal(code, 'helper-rules');
        assert.match(said, message);
      }));
  }

  for (const [what, change, message] of [
    ['file is another user’s', `chown ${UID} /etc/tunnel/helper.conf`, /doesn't belong to root/],
    ['file can be written by its group', 'chmod 664 /etc/tunnel/helper.conf', /others than root/],
    ['directory can be written by others', 'chmod 777 /etc/tunnel', /write to tunnel/],
    ['file is a link', 'cd /etc/tunnel; mv helper.conf x; ln -s x helper.conf', /symbolic link/],
    ['directory is a link', 'mv /etc/tunnel /etc/x; ln -s x /etc/tunnel', /symbolic link/],
    ['file is a FIFO', 'rm /etc/tunnel/helper.conf; mkfifo /etc/tunnel/helper.conf', /not a file/],
  ] as const) {
    it(`are refused if the ${what}`, () =>
      inNamespace([], async (namespace) => {
        const etc = etcOfUser(directory, rules(`permit ${USER} default\n`));
        const changed = (argv: readonly string[]) =>
          etc(['sh', '-c', `(${change}) && exec "$@"`, 'sh', ...argv]);
        const client = await userClient(namespace, changed);
        const { code, message: said } = await client.fails('start', TESTED_HELPER);
        assert.equal(code, 'helper-rules');
        assert.match(said, message);
      }));
  }
});
