import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { TunnelError } from '../../../../src/errors/errors.ts';
import { NotationError } from '../../../../src/net/notation.ts';
import { type Observer, silentObserver } from '../../../../src/observe/observer.ts';
import { parseKnownHosts } from '../../../../src/ssh/hostkeys/knownhosts.ts';
import { createHostKeyVerifier } from '../../../../src/ssh/hostkeys/verifier.ts';
import { parseHostKeyPin } from '../../../../src/ssh/keys/pin.ts';
import {
  fingerprint,
  fingerprintCommand,
  parsePublicKey,
  publicKeyFromBlob,
} from '../../../../src/ssh/keys/publickey.ts';
import { wireString } from '../../../../src/ssh/keys/wire.ts';
import type { HostKeySettings } from '../../../../src/ssh/settings.ts';
import { makeKey } from '../../../support/loopback-sshd.ts';
import { hostKeySettings, pinned } from '../../../support/settings.ts';

/** Nobody waits, nothing is aborted. */
const UNWATCHED = { signal: new AbortController().signal, onPrompt: () => {} };

const TYPES = ['ed25519', 'ecdsa', 'rsa'] as const;

interface TestKey {
  readonly path: string;
  /** `type base64` */
  readonly line: string;
  readonly blob: Buffer;
}

let directory: string;
const keys: Record<string, TestKey> = {};
/** A second ed25519 key. */
let other: TestKey;

function loadKey(path: string): TestKey {
  const [type, encoded = ''] = readFileSync(`${path}.pub`, 'utf8').split(' ');
  return { path, line: `${type} ${encoded}`, blob: Buffer.from(encoded, 'base64') };
}

function key(name: (typeof TYPES)[number]): TestKey {
  const found = keys[name];
  if (found === undefined) throw new Error(name);
  return found;
}

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'tunnel-hostkeys-'));
  for (const type of TYPES) {
    await makeKey(join(directory, type), type);
    keys[type] = loadKey(join(directory, type));
  }
  await makeKey(join(directory, 'other'), 'ed25519');
  other = loadKey(join(directory, 'other'));
});
after(() => rmSync(directory, { recursive: true, force: true }));

/** `accepted`, or the error's code. */
async function verdict(
  file: string,
  host: string,
  port: number,
  blob: Buffer,
  settings: Partial<HostKeySettings> = {},
): Promise<string> {
  try {
    await check(file, host, port, blob, settings);
    return 'accepted';
  } catch (error) {
    if (error instanceof TunnelError) return error.code;
    throw error;
  }
}

async function check(
  text: string,
  host: string,
  port: number,
  blob: Buffer,
  settings: Partial<HostKeySettings> = {},
): Promise<void> {
  const path = join(directory, 'known_hosts');
  writeFileSync(path, text);
  const verifier = createHostKeyVerifier(
    hostKeySettings({ userFiles: [join(directory, 'absent')], globalFiles: [path], ...settings }),
    { prompter: undefined, observer: silentObserver },
  );
  await verifier.verify(host, port, blob, UNWATCHED);
}

/** The line as `ssh-keygen -H` hashes it. */
function hashed(line: string): string {
  const path = join(directory, 'to_hash');
  writeFileSync(path, `${line}\n`);
  execFileSync('ssh-keygen', ['-q', '-H', '-f', path], { stdio: 'ignore' });
  return readFileSync(path, 'utf8');
}

describe('fingerprint', () => {
  for (const type of TYPES) {
    it(`of ${type} is what ssh-keygen -lf prints`, () => {
      const printed = execFileSync('ssh-keygen', ['-lf', `${key(type).path}.pub`], {
        encoding: 'utf8',
      });
      assert.equal(fingerprint(key(type).blob), printed.split(' ')[1]);
    });

    it(`of ${type} is printed on the host by the command that messages name`, () => {
      // As in /etc/ssh: a key of each type, under the names that "ssh-keygen -A" gives them.
      const etc = mkdtempSync(join(directory, 'etc-'));
      for (const name of TYPES)
        copyFileSync(`${key(name).path}.pub`, join(etc, `ssh_host_${name}_key.pub`));
      const named = fingerprintCommand(key(type).line.split(' ')[0]).replaceAll('/etc/ssh', etc);
      const unknown = fingerprintCommand('ssh-other').replaceAll('/etc/ssh', etc);
      for (const command of [named, unknown]) {
        const printed = execFileSync('sh', ['-c', command], { encoding: 'utf8' });
        assert.ok(printed.includes(` ${fingerprint(key(type).blob)} `), printed);
      }
    });
  }
});

describe('known_hosts', () => {
  const cases: readonly [
    title: string,
    names: string,
    host: string,
    port: number,
    result: string,
  ][] = [
    ['a plain name', 'jump.example.com', 'jump.example.com', 22, 'accepted'],
    ['names regardless of case', 'Jump.Example.com', 'jump.eXample.COM', 22, 'accepted'],
    ['another name', 'jump.example.com', 'other.example.com', 22, 'host-key-unknown'],
    ['a list', 'a,jump.example.com,192.0.2.1', '192.0.2.1', 22, 'accepted'],
    ['an IPv6 address', '2001:db8::1', '2001:db8::1', 22, 'accepted'],
    ['a port', '[jump]:2222', 'jump', 2222, 'accepted'],
    ['another port', '[jump]:2222', 'jump', 2223, 'host-key-unknown'],
    ['a port, asked without', '[jump]:2222', 'jump', 22, 'host-key-unknown'],
    ['the plain name stands for any port, as in ssh', 'jump', 'jump', 2222, 'accepted'],
    ['an asterisk', '*.example.com', 'a.b.example.com', 22, 'accepted'],
    [
      'an asterisk does not match the bare domain',
      '*.example.com',
      'example.com',
      22,
      'host-key-unknown',
    ],
    [
      'an asterisk in a name with a port',
      '[*.example.com]:2222',
      'a.example.com',
      2222,
      'accepted',
    ],
    ['a question mark', 'jump?', 'jump7', 22, 'accepted'],
    ['a question mark is one character', 'jump?', 'jump', 22, 'host-key-unknown'],
    ['a negation', '*.example.com,!bad.example.com', 'bad.example.com', 22, 'host-key-unknown'],
    ['a negation for others', '!bad.example.com,*.example.com', 'good.example.com', 22, 'accepted'],
    ['a negation alone', '!bad.example.com', 'good.example.com', 22, 'host-key-unknown'],
    [
      'brackets and dots are literal',
      'jumpXexample.com',
      'jump.example.com',
      22,
      'host-key-unknown',
    ],
  ];
  for (const [title, names, host, port, result] of cases) {
    it(`${title}: ${names} for ${host}:${port} is ${result}`, async () => {
      assert.equal(
        await verdict(
          `${names} ${key('ed25519').line} comment here\n`,
          host,
          port,
          key('ed25519').blob,
        ),
        result,
      );
    });
  }

  it('names hashed by ssh-keygen -H', async () => {
    const file =
      hashed(`jump.example.com ${key('ed25519').line}`) + hashed(`[jump]:2222 ${key('rsa').line}`);
    assert.match(file, /^\|1\|[^ ]+ ssh-ed25519 .*\n\|1\|[^ ]+ ssh-rsa/);
    assert.equal(await verdict(file, 'Jump.example.com', 22, key('ed25519').blob), 'accepted');
    assert.equal(await verdict(file, 'jump', 2222, key('rsa').blob), 'accepted');
    assert.equal(await verdict(file, 'jump', 22, key('rsa').blob), 'host-key-unknown');
    assert.equal(await verdict(file, 'jump.example.com', 22, other.blob), 'host-key-changed');
  });

  it('one of several keys is enough', async () => {
    const file = `jump ${other.line}\njump ${key('rsa').line}\njump ${key('ed25519').line}\n`;
    for (const blob of [other.blob, key('rsa').blob, key('ed25519').blob])
      assert.equal(await verdict(file, 'jump', 22, blob), 'accepted');
  });

  it('a changed key: both fingerprints, file and line', async () => {
    const file = `# comment\n\njump ${other.line}\n`;
    await assert.rejects(check(file, 'jump', 22, key('ed25519').blob), (error) => {
      assert.ok(error instanceof TunnelError);
      assert.equal(error.code, 'host-key-changed');
      for (const text of [
        fingerprint(other.blob),
        fingerprint(key('ed25519').blob),
        'known_hosts:3',
      ])
        assert.ok(error.message.includes(text), `${text} in ${error.message}`);
      assert.match(error.hint ?? '', /ssh-keygen -f .*known_hosts -R jump$/);
      return true;
    });
  });

  it('an unknown key: type, fingerprint, and how to pin it', async () => {
    await assert.rejects(check('', 'jump', 2222, key('ecdsa').blob), (error) => {
      assert.ok(error instanceof TunnelError);
      assert.equal(error.code, 'host-key-unknown');
      assert.ok(
        error.message.includes(
          `[jump]:2222 is not known: ecdsa-sha2-nistp256 ${fingerprint(key('ecdsa').blob)}`,
        ),
      );
      assert.ok(error.hint?.includes(`--host-key ${fingerprint(key('ecdsa').blob)}`));
      assert.match(error.hint ?? '', /"ssh-keygen -lf \/etc\/ssh\/ssh_host_ecdsa_key\.pub" run on/);
      return true;
    });
  });

  it('an unknown key: the command in the hint appends that very key, whatever the server calls its type', async () => {
    const evil = 'ssh-\'$(id)`x`"';
    const hostile = Buffer.concat([wireString(evil), wireString('key')]);
    for (const blob of [key('ecdsa').blob, hostile]) {
      for (const port of [22, 2222]) {
        const error: unknown = await check('', 'jump', port, blob).catch(
          (reason: unknown) => reason,
        );
        assert.ok(error instanceof TunnelError);
        const command = /, or run: (echo .*)$/s.exec(error.hint ?? '')?.[1] ?? '';
        assert.ok(command.endsWith(` >> ${join(directory, 'absent')}`), command);
        const printed = execFileSync('sh', ['-c', command.slice(0, command.lastIndexOf(' >> '))], {
          encoding: 'utf8',
        });
        const type = blob === hostile ? evil : 'ecdsa-sha2-nistp256';
        const name = port === 22 ? 'jump' : '[jump]:2222';
        assert.equal(printed, `${name} ${type} ${blob.toString('base64')}\n`);
        assert.equal(await verdict(printed, 'jump', port, blob), 'accepted');
      }
    }
  });

  it('a key of another type is unknown, not changed', async () => {
    assert.equal(
      await verdict(`jump ${key('rsa').line}\n`, 'jump', 22, key('ed25519').blob),
      'host-key-unknown',
    );
  });

  it('a different key under the plain name is no change at another port', async () => {
    assert.equal(
      await verdict(`jump ${other.line}\n`, 'jump', 2222, key('ed25519').blob),
      'host-key-unknown',
    );
  });

  it('@revoked beats a line that accepts the key, in any order, also under the plain name', async () => {
    const accept = `jump ${key('rsa').line}\n`;
    const revoke = `@revoked * ${key('rsa').line}\n`;
    assert.equal(await verdict(accept + revoke, 'jump', 22, key('rsa').blob), 'host-key-revoked');
    assert.equal(await verdict(revoke + accept, 'jump', 22, key('rsa').blob), 'host-key-revoked');
    assert.equal(
      await verdict(`${accept}@revoked jump ${key('rsa').line}\n`, 'jump', 2222, key('rsa').blob),
      'host-key-revoked',
    );
    assert.equal(
      await verdict(accept + revoke, 'jump', 22, key('ed25519').blob),
      'host-key-unknown',
    );
  });

  it('a certificate authority says nothing about a plain key, and nobody is asked to trust one instead', async () => {
    const file = `@cert-authority jump ${key('ed25519').line}\n`;
    for (const strict of ['yes', 'ask', 'accept-new'] as const) {
      await assert.rejects(check(file, 'jump', 22, key('ed25519').blob, { strict }), (error) => {
        assert.ok(error instanceof TunnelError && error.code === 'host-key-unknown');
        assert.match(error.message, /known_hosts:1 trusts a certificate authority/);
        return /^use --transport openssh/.test(error.hint ?? '');
      });
    }
  });

  it('HostKeyAlias is looked up instead, without a port', async () => {
    const file = `cluster ${key('ed25519').line}\njump ${other.line}\n`;
    const alias = 'Cluster';
    assert.equal(await verdict(file, 'jump', 2222, key('ed25519').blob, { alias }), 'accepted');
    assert.equal(await verdict(file, 'jump', 22, other.blob, { alias }), 'host-key-changed');
    assert.equal(
      await verdict(`[cluster]:2222 ${other.line}`, 'jump', 2222, other.blob, { alias }),
      'host-key-unknown',
    );
  });

  it('malformed lines are skipped and counted', async () => {
    const good = `jump ${key('ed25519').line}`;
    const bad = [
      'jump',
      'jump ssh-ed25519',
      'jump ssh-ed25519 !!!!',
      'jump ssh-ed25519 AAAA',
      `jump ssh-rsa ${key('ed25519').line.split(' ')[1]}`,
      `@unknown ${good}`,
      `|1|onlysalt ${key('ed25519').line}`,
      '1024 35 1234567890',
    ];
    const { entries, malformed } = parseKnownHosts(
      [...bad, `  ${good}\r`, '# comment', ''].join('\n'),
      'f',
    );
    assert.equal(malformed, bad.length);
    assert.deepEqual(
      entries.map((entry) => entry.line),
      [bad.length + 1],
    );
    const counted: [string, number | undefined][] = [];
    const observer: Observer = { log() {}, count: (name, n) => void counted.push([name, n]) };
    writeFileSync(join(directory, 'bad'), bad.join('\n'));
    const verifier = createHostKeyVerifier(
      hostKeySettings({ userFiles: [join(directory, 'bad')] }),
      {
        prompter: undefined,
        observer,
      },
    );
    await verifier.preferredTypes('jump', 22);
    await assert.rejects(verifier.verify('jump', 22, other.blob, UNWATCHED));
    assert.deepEqual(counted, [['tunnel_known_hosts_malformed_total', bad.length]]);
  });

  it('asks for the types that are known', async () => {
    const path = join(directory, 'types');
    writeFileSync(path, `jump ${key('rsa').line}\n@revoked jump ${other.line}\n`);
    const options = { prompter: undefined, observer: silentObserver };
    const verifier = createHostKeyVerifier(hostKeySettings({ userFiles: [path] }), options);
    assert.deepEqual(await verifier.preferredTypes('jump', 22), ['ssh-rsa']);
    assert.deepEqual(await verifier.preferredTypes('jump', 2222), ['ssh-rsa']);
    assert.deepEqual(await verifier.preferredTypes('else', 22), []);
    // The files are read anew for each connection.
    writeFileSync(path, `else ${key('ecdsa').line}\n`);
    assert.deepEqual(await verifier.preferredTypes('else', 22), ['ecdsa-sha2-nistp256']);
    assert.deepEqual(
      await createHostKeyVerifier(pinned(key('rsa').line), options).preferredTypes('else', 22),
      ['ssh-rsa'],
    );
  });

  it('any file is read without an exception', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 400 }), (text) => {
        parseKnownHosts(text, 'f');
      }),
    );
  });
});

describe('--host-key', () => {
  const against = (file: string, blob: Buffer, ...pins: string[]): Promise<string> =>
    verdict(file, 'jump', 22, blob, { pins: pins.map(parseHostKeyPin) });

  it('accepts a fingerprint, with and without padding, and a whole key', async () => {
    const print = fingerprint(key('ed25519').blob);
    for (const pin of [print, `${print}=`, ` ${key('ed25519').line} a comment`])
      assert.equal(await against('', key('ed25519').blob, other.line, pin), 'accepted');
  });

  it('does not consult known_hosts, neither for nor against; but a revoked key stays revoked', async () => {
    assert.equal(
      await against(`jump ${key('ed25519').line}\n`, key('ed25519').blob, other.line),
      'host-key-changed',
    );
    assert.equal(
      await against(`jump ${key('ed25519').line}\n`, other.blob, other.line),
      'accepted',
    );
    assert.equal(
      await against(`@revoked * ${other.line}\n`, other.blob, other.line),
      'host-key-revoked',
    );
  });

  it('names the pin and the key that was shown', async () => {
    const pins = [parseHostKeyPin(fingerprint(other.blob))];
    await assert.rejects(check('', 'jump', 22, key('rsa').blob, { pins }), (error) => {
      assert.ok(error instanceof TunnelError);
      assert.equal(error.code, 'host-key-changed');
      return (
        error.message.includes(fingerprint(other.blob)) &&
        error.message.includes(fingerprint(key('rsa').blob))
      );
    });
  });

  for (const pin of [
    '',
    'SHA256:short',
    'MD5:00:11',
    'ssh-ed25519',
    'ssh-ed25519 AAAA',
    'sha256:x',
    'ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIA==',
  ])
    it(`refuses ${JSON.stringify(pin)}`, () =>
      assert.throws(() => parseHostKeyPin(pin), NotationError));
});

describe('public keys', () => {
  it('any octets are read without an exception', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (octets) => {
        publicKeyFromBlob(Buffer.from(octets));
        parsePublicKey(`ssh-ed25519 ${Buffer.from(octets).toString('base64')}`);
      }),
    );
  });
});
