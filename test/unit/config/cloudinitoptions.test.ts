/** Options of `tunnel jumphost cloud-init`: what a machine's host key may be, and its address. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { readCloudInitPlan } from '../../../src/config/cloudinitoptions.ts';
import { UsageError } from '../../../src/errors/errors.ts';
import { givenOptions } from '../../support/options.ts';
import { run } from '../../support/process.ts';
import { sign } from '../../support/sshcertificates.ts';
import { MAIN } from '../../support/tunnel.ts';

const directory = mkdtempSync(join(tmpdir(), 'tunnel-cloudinitoptions-'));
after(() => rmSync(directory, { recursive: true }));
const path = (name: string) => join(directory, name);
const text = (name: string) => readFileSync(path(name), 'utf8');

async function makeKey(name: string, ...options: readonly string[]): Promise<void> {
  const { status, stderr } = await run([
    ...['ssh-keygen', '-q', '-N', '', '-C', `${name}'s`, '-f', path(name), '-t'],
    ...(options.length === 0 ? ['ed25519'] : options),
  ]);
  assert.equal(status, 0, stderr);
}

/** Of the key `host`. */
async function certify(name: string, authority: string, ...options: readonly string[]) {
  copyFileSync(path('host.pub'), path(`${name}.pub`));
  await sign(path(authority), path(name), options);
}

before(async () => {
  for (const name of ['host', 'other', 'authority', 'stranger']) await makeKey(name);
  await makeKey('rsa', 'rsa', '-b', '2048');
  await makeKey('pem', 'rsa', '-b', '2048', '-m', 'PEM');
  await makeKey('short', 'rsa', '-b', '1024');
  await makeKey('ecdsa', 'ecdsa');
  await makeKey('locked', 'ed25519');
  await run(['ssh-keygen', '-q', '-p', '-P', '', '-N', 'secret', '-f', path('locked')]);
  await certify('good', 'authority', '-h', '-n', 'jump.example.com,192.0.2.1', '-V', '+52w');
  await certify('unlimited', 'authority', '-h');
  await certify('user', 'authority', '-n', 'jump.example.com');
  await certify('old', 'authority', '-h', '-V', '20200101:20200201');
  await certify('early', 'authority', '-h', '-V', '20900101:20900201');
  writeFileSync(path('empty'), '');
  writeFileSync(path('two.pub'), text('authority.pub') + text('stranger.pub'));
  writeFileSync(path('crlf'), `\r\nwritten elsewhere\r\n${text('host').replaceAll('\n', '\r\n')}`);
});

interface Given {
  readonly address?: string;
  readonly hostPrivateKey?: string;
  readonly hostCertificate?: string;
  readonly hostCa?: string;
}

function read({ address, ...files }: Given) {
  const paths = Object.entries(files).map(([name, file]) => [name, path(file)] as const);
  const texts = address === undefined ? {} : { address };
  return readCloudInitPlan(givenOptions({ ...texts, ...Object.fromEntries(paths) }));
}

/** Without its comment. */
const publicKey = (name: string) => text(`${name}.pub`).split(' ').slice(0, 2).join(' ');

describe("a new machine's address and host key", () => {
  it('are unknown where nothing is given', () => {
    assert.deepEqual(read({}), { address: undefined, hostKey: undefined, hostCa: undefined });
  });

  it('have the canonical form in which ssh looks them up', () => {
    assert.equal(read({ address: 'Jump.Example.COM.' }).address, 'jump.example.com');
    assert.equal(read({ address: '2001:DB8:0::22' }).address, '2001:db8::22');
  });

  for (const address of [
    'a b',
    '*',
    '*.example.com',
    'a,b',
    '$(id)',
    '`id`',
    'a";id;"',
    "a'b",
    'a\nb',
    'a#b',
    '{{a}}',
    '[::1]:22',
    'fe80::1%$(id)',
    '!a',
    '@a',
    '|1|a',
    '',
  ]) {
    it(`are refused as ${JSON.stringify(address)}`, () => {
      assert.throws(() => read({ address }), UsageError);
    });
  }

  for (const [name, kind] of [
    ['host', 'ed25519'],
    ['rsa', 'rsa'],
    ['pem', 'rsa'],
  ] as const) {
    it(`may be given: ${name}`, () => {
      const { hostKey, hostCa } = read({ hostPrivateKey: name });
      assert.equal(hostCa, undefined);
      assert.deepEqual(
        { ...hostKey, fingerprint: '' },
        {
          kind,
          privateKey: text(name),
          publicKey: publicKey(name),
          fingerprint: '',
          certificate: undefined,
        },
      );
      const { stdout } = spawnSync('ssh-keygen', ['-lf', path(name)], { encoding: 'utf8' });
      assert.equal(stdout.split(' ')[1], hostKey?.fingerprint);
    });
  }

  it('are taken without what surrounds the key in its file', () => {
    assert.equal(read({ hostPrivateKey: 'crlf' }).hostKey?.privateKey, text('host'));
  });

  it('may be certified, by an authority that need not be named', () => {
    const given = { hostPrivateKey: 'host', hostCertificate: 'good-cert.pub' };
    for (const more of [{}, { hostCa: 'authority.pub' }, { address: 'jump.example.com' }]) {
      const { hostKey, hostCa } = read({ ...given, ...more });
      assert.equal(hostCa, publicKey('authority'));
      assert.equal(hostKey?.certificate?.line, publicKey('good-cert'));
      assert.deepEqual(hostKey?.certificate?.principals, ['jump.example.com', '192.0.2.1']);
      assert.ok((hostKey?.certificate?.until?.getTime() ?? 0) > Date.now());
    }
    const unlimited = read({ ...given, hostCertificate: 'unlimited-cert.pub', address: 'any' });
    assert.deepEqual(unlimited.hostKey?.certificate, {
      line: publicKey('unlimited-cert'),
      principals: [],
      until: undefined,
    });
  });

  it('may have an authority alone: the key is signed later', () => {
    const { hostKey, hostCa } = read({ hostCa: 'authority.pub' });
    assert.deepEqual([hostKey, hostCa], [undefined, publicKey('authority')]);
  });

  const certified = (name: string) => ({
    hostPrivateKey: 'host',
    hostCertificate: `${name}-cert.pub`,
  });
  const wrong: readonly (readonly [string, Given, RegExp])[] = [
    ['a key with a passphrase', { hostPrivateKey: 'locked' }, /protected by a passphrase/],
    ['a public key', { hostPrivateKey: 'host.pub' }, /is no private key that sshd could read/],
    ['a file with no key', { hostPrivateKey: 'empty' }, /is no private key/],
    ['no file', { hostPrivateKey: 'none' }, /can't be read: there is no such file/],
    ['a key on a curve of NIST', { hostPrivateKey: 'ecdsa' }, /neither an Ed25519 key nor an RSA/],
    ['a short RSA key', { hostPrivateKey: 'short' }, /neither an Ed25519 key nor an RSA/],
    ['a certificate alone', { hostCertificate: 'good-cert.pub' }, /without --host-private-key/],
    [
      'an authority of a key without a certificate',
      { hostPrivateKey: 'host', hostCa: 'authority.pub' },
      /--host-ca changes nothing for a given key without its certificate/,
    ],
    [
      'the certificate of another key',
      { ...certified('good'), hostPrivateKey: 'other' },
      /it is for another key \(.*\) than --host-private-key/,
    ],
    [
      'another authority',
      { ...certified('good'), hostCa: 'stranger.pub' },
      /it is signed by another authority/,
    ],
    ["a user's certificate", certified('user'), /it is a user's certificate, no host's/],
    ['one that has expired', certified('old'), /it has expired on 2020-0/],
    ['one that is not valid yet', certified('early'), /it is not valid before 2(089|090)-/],
    [
      'one for another address',
      { ...certified('good'), address: 'gate.example.com' },
      /it is for "jump\.example\.com", "192\.0\.2\.1", not for --address "gate\.example\.com"/,
    ],
    [
      'a public key as a certificate',
      { hostPrivateKey: 'host', hostCertificate: 'host.pub' },
      /is no certificate/,
    ],
    ['a private key as an authority', { hostCa: 'authority' }, /is a private key/],
    ['two authorities', { hostCa: 'two.pub' }, /is no public key/],
    ['a certificate as an authority', { hostCa: 'good-cert.pub' }, /is no public key/],
  ];
  for (const [what, options, message] of wrong) {
    it(`are refused with ${what}`, () => {
      assert.throws(
        () => read(options),
        (error) =>
          error instanceof UsageError && message.test(error.message) && error.hint !== undefined,
      );
    });
  }
});

describe('tunnel jumphost cloud-init', () => {
  const jumphost = (...args: readonly string[]) =>
    spawnSync(process.execPath, [MAIN, 'jumphost', ...args, 'api.example.com:443'], {
      encoding: 'utf8',
      timeout: 30_000,
    });
  const own = () => ['--key', path('other.pub')];

  it('warns that a given key lies in the metadata', () => {
    const { stdout, stderr, status } = jumphost(
      ...['cloud-init', ...own(), '--host-private-key', path('host')],
    );
    assert.equal(status, 0, stderr);
    assert.match(stderr, /^tunnel: warning: --host-private-key: .*metadata/m);
    assert.match(stdout, /^#cloud-config\n/);
  });

  for (const [what, args, message] of [
    ['neither keys nor a source of them', ['cloud-init'], /no key is given, and no source/],
    ['an account of images', ['--user', 'ubuntu'], /is an account that images have already/],
    ['an sshd that is too old', ['--openssh', '8.2'], /for OpenSSH 8\.4 and later/],
    [
      'its options in another format',
      ['sshd', '--address', 'a.example'],
      /changes nothing in sshd/,
    ],
  ] as const) {
    it(`refuses ${what}, in one line with a hint`, () => {
      const format = args.some((arg) => /^(cloud-init|sshd)$/.test(arg));
      const { status, stdout, stderr } = jumphost(
        ...(format ? args : ['cloud-init', ...own(), ...args]),
      );
      assert.equal(status, 2, stderr);
      assert.equal(stdout, '');
      const [error = '', hint = '', ...rest] = stderr.split('\n');
      assert.match(error, message);
      assert.match(hint, /^tunnel: hint: /);
      assert.deepEqual(rest, ['']);
    });
  }
});
