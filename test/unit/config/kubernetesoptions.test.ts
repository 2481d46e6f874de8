/** Options of `tunnel jumphost kubernetes`: what is taken, and what is refused with one line. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { runCommandLine } from '../../../src/cli/program.ts';
import type { JumpHostConfiguration } from '../../../src/config/jumphostoptions.ts';
import { UsageError } from '../../../src/errors/errors.ts';
import { printKubernetes } from '../../../src/jumphost/kubernetes/render.ts';
import { permittedDestinations } from '../../../src/jumphost/permitted.ts';
import { standInCommands } from '../../support/commands.ts';
import { publicKeyLine } from '../../support/keyscript.ts';
import { MAIN } from '../../support/tunnel.ts';

const directory = mkdtempSync(join(tmpdir(), 'tunnel-kubernetesoptions-'));
after(() => rmSync(directory, { recursive: true }));
const PUB = join(directory, 'team.pub');
writeFileSync(PUB, `${publicKeyLine('alice')}\n`);

/** What the command line says. Rejects with UsageError. */
async function configurationOf(args: readonly string[]): Promise<JumpHostConfiguration> {
  const other = () => Promise.reject(new TypeError('another command'));
  const commands = {
    ...standInCommands(other),
    jumphost: async (it: JumpHostConfiguration) => {
      configuration = it;
    },
  };
  let configuration: JumpHostConfiguration | undefined;
  await runCommandLine(['jumphost', ...args], commands, { output: () => {}, columns: 100 });
  assert.ok(configuration !== undefined);
  return configuration;
}

async function rendered(args: readonly string[]): Promise<string> {
  const { plan, targets, nameTargets } = await configurationOf(args);
  return printKubernetes({ ...plan, permitted: permittedDestinations(targets, nameTargets) });
}

const IMAGE = ['--image', 'registry.example.com/jumphost:1'];
const BASE = ['kubernetes', ...IMAGE, '--key', PUB];
const KEYS_FROM = ['--keys-from', 'https://keys.example.com/a'];
const TARGET = '10.0.0.5:443';

const REFUSED: readonly (readonly [args: readonly string[], message: RegExp, hint: RegExp])[] = [
  [['kubernetes', '--key', PUB, TARGET], /no image is given/, /rendered Containerfile/],
  [['kubernetes', ...IMAGE, TARGET], /no key is given, and no source of keys/, /--keys-from/],
  [[...BASE], /nothing is listed/, /name what it may/],
  [
    [...BASE, '--mfa', TARGET],
    /--mfa changes nothing in kubernetes: .* PAM, which needs root/,
    /sshd/,
  ],
  [['sshd', ...IMAGE, TARGET], /--image changes nothing in sshd/, /render kubernetes/],
  [['sshd', '--replicas', '3', TARGET], /--replicas changes nothing in sshd/, /render kubernetes/],
  ...['sshd', 'cloud-init', 'terraform'].map(
    (format) =>
      [
        [format, '--key-source', '10.0.0.1:6443', '--keys-from', '/bin/x', TARGET],
        new RegExp(`--key-source changes nothing in ${format}`),
        /render kubernetes$/,
      ] as const,
  ),
  [[...BASE, '--network', 'public', TARGET], /--network changes nothing in/, /render terraform$/],
  [[...BASE, '--host-ca', PUB, TARGET], /--host-ca changes nothing in kubernetes/, /cloud-init/],
  ...['sshd', 'www-data'].map(
    (user) =>
      [[...BASE, '--user', user, TARGET], /that images have already/, /another name/] as const,
  ),
  ...['Registry/x', 'a b', 'x:', 'x y', 'x;id', 'x$(id)', '-x', 'x@sha256:1', 'x/', ''].map(
    (image) =>
      [
        ['kubernetes', '--image', image, '--key', PUB, TARGET],
        /--image: ".*" is not the name of an image/,
        /registry\.example\.com/,
      ] as const,
  ),
  ...['A', 'a_b', '-a', 'a-', 'a.b', 'a'.repeat(64), 'a\nb', ''].map(
    (name) =>
      [
        [...BASE, '--namespace', name, TARGET],
        /--namespace: ".*" is not a name of a namespace/,
        /63 lower-case/,
      ] as const,
  ),
  ...['default', 'kube-system', 'kube-public'].map(
    (name) =>
      [[...BASE, '--namespace', name, TARGET], /belongs to others/, /one of its own/] as const,
  ),
  ...['1', '0', '-1', '101', '2.5', '1e1', 'two', ''].map(
    (count) =>
      [
        [...BASE, '--replicas', count, TARGET],
        /is not a number from 2 to 100/,
        /replaced/,
      ] as const,
  ),
  [
    [...BASE, '--replicas', '5', '--max-replicas', '4', TARGET],
    /--max-replicas 4 is less than --replicas 5/,
    /same number/,
  ],
  [
    [...BASE, '--expose', 'ingress', TARGET],
    /is none of loadbalancer, nodeport, tcp-services/,
    /nodeport/,
  ],
  [
    [...BASE, '--expose', 'nodeport', TARGET],
    /port 22 is no port of nodes.*30000 to 32767/,
    /30022/,
  ],
  [[...BASE, '--expose', 'nodeport', '--port', '29999', TARGET], /no port of nodes/, /30022/],
  [[...BASE, '--expose', 'nodeport', '--port', '32768', TARGET], /no port of nodes/, /30022/],
  [[...BASE, '--port', '443', TARGET], /port 443 belongs to other services/, /1023/],
  [[...BASE, '--port', '1022', TARGET], /port 1022 belongs/, /1023/],
  [
    [...BASE, '--ingress-configmap', 'a/b', TARGET],
    /--ingress-configmap changes nothing with --expose loadbalancer/,
    /tcp-services/,
  ],
  ...['b', 'A/b', 'a/b/c', 'a/', '/b', 'a/b_c', 'a b/c'].map(
    (name) =>
      [
        [...BASE, '--expose', 'tcp-services', '--ingress-configmap', name, TARGET],
        /is not NAMESPACE\/NAME/,
        /--tcp-services-configmap/,
      ] as const,
  ),
  [
    [...BASE, '--expose', 'tcp-services', '--from', '192.0.2.0/24', TARGET],
    /--from is given with --expose tcp-services/,
    /ingress controller/,
  ],
  [
    [...BASE, '--key-source', '10.0.0.1:6443', TARGET],
    /changes nothing without --keys-from/,
    /both/,
  ],
  [[...BASE, ...KEYS_FROM, TARGET], /nothing says what the network must let through/, /6443/],
  ...['10.0.0.1', ':443', '10.0.0.1:', 'a:b:1', '10.0.0.1:0', '10.0.0.1:65536', '10.0.0.300:1'].map(
    (end) => [[...BASE, ...KEYS_FROM, '--key-source', end, TARGET], /--key-source/, /./] as const,
  ),
  ...[
    'a b:443',
    '[keys.example.com]:443',
    '10.0.0.0/33:443',
    '"x":1',
    'x\n y:1',
    'Keys\n.example.com:443',
  ].map(
    (end) => [[...BASE, ...KEYS_FROM, '--key-source', end, TARGET], /--key-source/, /./] as const,
  ),
  ...['a b', '192.0.2.1', '*.example.com', 'a_b.example.com', '-a', 'a"b', ''].map(
    (name) => [[...BASE, '--dns-name', name, TARGET], /--dns-name/, /jump\.example\.com/] as const,
  ),
  [[...BASE, '--openssh', '9.1', TARGET], /its sshd is not that old/, /the image has 9\.2/],
  [[...BASE, '--openssh', '10.2', TARGET], /no release of Debian has it/, /--openssh 10\.0/],
];

describe('tunnel jumphost kubernetes refuses', () => {
  for (const [args, message, hint] of REFUSED) {
    it(args.map((word) => (word === PUB ? 'team.pub' : JSON.stringify(word))).join(' '), () =>
      assert.rejects(configurationOf(args), (error) => {
        assert.ok(error instanceof UsageError, String(error));
        assert.match(error.message, message);
        assert.doesNotMatch(error.message, /\n/);
        assert.match(error.hint ?? '', hint);
        return true;
      }),
    );
  }

  it('with one line, a hint and status 2, and writes nothing', () => {
    const output = join(directory, 'refused');
    for (const args of [
      [...BASE, '--namespace', 'a\nb', TARGET],
      [...BASE, '--key-source', '10.0.0.1:6443', TARGET],
      [...BASE],
    ]) {
      const { status, stdout, stderr } = spawnSync(
        process.execPath,
        [MAIN, 'jumphost', ...args, '--output', output],
        { encoding: 'utf8', timeout: 30_000 },
      );
      assert.deepEqual([status, stdout], [2, ''], stderr);
      assert.match(stderr, /^tunnel: error .*\ntunnel: hint: .*\n$/);
      assert.ok(!existsSync(output));
    }
  });
});

describe('tunnel jumphost kubernetes takes', () => {
  for (const [args, expected] of [
    [['--port', '1023'], /^ {6}port: 1023$/m],
    [['--expose', 'nodeport', '--port', '32767'], /^ {6}nodePort: 32767$/m],
    [['--replicas', '3'], /^ {2}minReplicas: 3\n {2}maxReplicas: 12$/m],
    [['--replicas', '100'], /^ {2}replicas: 100$/m],
    [['--namespace', 'a'.repeat(63)], /^ {2}namespace: a{63}$/m],
    [['--namespace', '1'], /^ {2}namespace: "1"$/m],
    [['--namespace', 'on'], /^ {2}namespace: "on"$/m],
    [['--dns-name', 'Jump.Example.com.'], /external-dns\S+: jump\.example\.com$/m],
    [['--image', 'localhost:5000/a_b/c-d@sha256:'.padEnd(94, '0')], /image: "?localhost:5000/m],
    [
      ['--expose', 'tcp-services', '--ingress-configmap', 'edge/tcp.x'],
      /name: tcp\.x\n {2}namespace: edge/,
    ],
    [[...KEYS_FROM, '--key-source', '[2001:db8::/64]:16443'], /cidr: "2001:db8::\/64"/],
    [
      [...KEYS_FROM, '--key-source', 'keys.example.com:443'],
      /Keys, at keys\.example\.com:443: .*any address/,
    ],
    [['--keys-from', '/usr/bin/list'], /AuthorizedKeysCommand \/usr\/libexec/],
    [['--behind-proxy'], /PerSourceMaxStartups none/],
    [['--expose', 'tcp-services'], /PerSourceMaxStartups none/],
  ] as const) {
    it(args.join(' '), async () => {
      const image = args.some((word) => word === '--image') ? [] : IMAGE;
      const text = await rendered(['kubernetes', ...image, '--key', PUB, ...args, TARGET]);
      assert.match(text, expected);
    });
  }
});
