import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync } from 'node:child_process';
import {
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  verify,
} from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { TunnelError } from '../../../../src/errors/errors.ts';
import { type Observer, silentObserver } from '../../../../src/observe/observer.ts';
import { unlockKeyFile } from '../../../../src/ssh/embedded/auth/privatekey.ts';
import { SshAgent } from '../../../../src/ssh/identities/agent.ts';
import {
  defaultIdentityFiles,
  type Identity,
  loadIdentities,
} from '../../../../src/ssh/identities/identities.ts';
import { inspectKeyFile } from '../../../../src/ssh/keys/keyfile.ts';
import { fingerprint } from '../../../../src/ssh/keys/publickey.ts';
import type { AuthenticationSettings } from '../../../../src/ssh/settings.ts';
import { makeKey } from '../../../support/loopback-sshd.ts';
import { authenticationSettings } from '../../../support/settings.ts';
import { startAgent } from '../../../support/sshagent.ts';

let directory: string;
let agent: ChildProcess;
let agentSocket: string;

const PASSPHRASE = 'correct horse';
const MADE: readonly [name: string, type: string, options: string[]][] = [
  ['ed25519', 'ed25519', []],
  ['ecdsa', 'ecdsa', []],
  ['ecdsa384', 'ecdsa', ['-b', '384']],
  ['ecdsa521', 'ecdsa', ['-b', '521']],
  ['rsa', 'rsa', []],
  ['ed25519-encrypted', 'ed25519', ['-N', PASSPHRASE, '-a', '4']],
  ['rsa-encrypted', 'rsa', ['-N', PASSPHRASE, '-a', '4']],
  ['rsa-pem', 'rsa', ['-m', 'PEM']],
  ['rsa-pem-encrypted', 'rsa', ['-m', 'PEM', '-N', PASSPHRASE]],
  ['ecdsa-pem', 'ecdsa', ['-m', 'PEM']],
  ['ecdsa-pkcs8', 'ecdsa', ['-m', 'PKCS8']],
  ['rsa-pkcs8-encrypted', 'rsa', ['-m', 'PKCS8', '-N', PASSPHRASE]],
];

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'tunnel-identities-'));
  for (const [name, type, options] of MADE) await makeKey(join(directory, name), type, options);
  agentSocket = join(directory, 'agent');
  agent = await startAgent(
    agentSocket,
    ['ecdsa', 'rsa'].map((name) => join(directory, name)),
  );
});
after(() => {
  agent.kill();
  rmSync(directory, { recursive: true, force: true });
});

const path = (name: string): string => join(directory, name);
const read = (name: string): string => readFileSync(path(name), 'utf8');

/** The key's fingerprint by ssh-keygen. */
function printed(name: string): string {
  return (
    execFileSync('ssh-keygen', ['-lf', path(`${name}.pub`)], { encoding: 'utf8' }).split(' ')[1] ??
    ''
  );
}

function print(identity: Identity | undefined): string {
  return identity?.publicKey === undefined ? '' : fingerprint(identity.publicKey.blob);
}

/** The public half for OpenSSL, by ssh-keygen where it can. */
function opensslKey(name: string, blob: Buffer): KeyObject {
  if (name.startsWith('ed25519')) {
    const x = blob.subarray(-32).toString('base64url');
    return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  }
  return createPublicKey(
    execFileSync('ssh-keygen', ['-e', '-m', 'PKCS8', '-f', path(`${name}.pub`)], {
      encoding: 'utf8',
    }),
  );
}

interface LoadOptions extends Partial<AuthenticationSettings> {
  readonly files?: string[];
  readonly home?: string;
  readonly observer?: Observer;
}

function load({ files, home, observer, ...settings }: LoadOptions): Promise<Identity[]> {
  return loadIdentities({
    settings: authenticationSettings(files, settings),
    home: home ?? directory,
    observer: observer ?? silentObserver,
  });
}

describe('key files', () => {
  for (const [name, , options] of MADE) {
    const encrypted = options.includes('-N');
    it(`${name}: the public key is known${encrypted ? ' without the passphrase' : ''}, and signatures verify`, () => {
      const file = inspectKeyFile(read(name), read(`${name}.pub`));
      assert.ok(file?.publicKey !== undefined);
      assert.equal(file.encrypted, encrypted);
      assert.equal(fingerprint(file.publicKey.blob), printed(name));
      const key = unlockKeyFile(file, name, encrypted ? PASSPHRASE : undefined);
      assert.equal(fingerprint(key.publicKey.blob), printed(name));
      const data = randomBytes(100);
      const hash = name.includes('384') ? 'sha384' : name.includes('521') ? 'sha512' : 'sha256';
      const ed25519 = file.publicKey.type === 'ssh-ed25519';
      assert.ok(
        verify(
          ed25519 ? null : hash,
          data,
          opensslKey(name, file.publicKey.blob),
          key.sign(data, 'sha256'),
        ),
      );
    });
    if (encrypted) {
      it(`${name}: a wrong passphrase is told from a broken file`, () => {
        const file = inspectKeyFile(read(name), undefined);
        assert.ok(file !== undefined);
        for (const passphrase of ['wrong', '', undefined]) {
          assert.throws(
            () => unlockKeyFile(file, name, passphrase),
            (error) => error instanceof TunnelError && error.code === 'auth-passphrase',
          );
        }
      });
    }
  }

  it('an encrypted PEM file hides its public key when no .pub is beside it', () => {
    const file = inspectKeyFile(read('rsa-pem-encrypted'), undefined);
    assert.equal(file?.publicKey, undefined);
    assert.equal(file?.encrypted, true);
  });

  it('an ed25519 key of OpenSSL', () => {
    const text = generateKeyPairSync('ed25519')
      .privateKey.export({ type: 'pkcs8', format: 'pem' })
      .toString();
    const file = inspectKeyFile(text, undefined);
    assert.equal(file?.publicKey?.type, 'ssh-ed25519');
    if (file !== undefined)
      assert.equal(unlockKeyFile(file, 'key').sign(Buffer.from('x'), undefined).length, 64);
  });

  it('what is no key is none', () => {
    for (const text of [
      '',
      'hello',
      '-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n',
    ])
      assert.equal(inspectKeyFile(text, undefined), undefined);
  });
});

describe('identities', () => {
  it('are -i files, then the agent; a file that the agent has too is signed for by the agent', async () => {
    const found = await load({ files: [path('ed25519'), path('rsa')], agentSocket });
    assert.deepEqual(found.map(print), [printed('ed25519'), printed('rsa'), printed('ecdsa')]);
    assert.deepEqual(
      found.map((identity) => [identity.agent !== undefined, identity.file !== undefined]),
      [
        [false, true],
        [true, true],
        [true, false],
      ],
    );
    assert.equal(found[2]?.source, 'ssh-agent (test ecdsa)');
  });

  it('without -i: the agent, then the default files', async () => {
    const home = join(directory, 'home');
    mkdirSync(join(home, '.ssh'), { recursive: true });
    copyFileSync(path('ed25519'), join(home, '.ssh', 'id_ed25519'));
    copyFileSync(path('rsa-pem'), join(home, '.ssh', 'id_rsa'));
    assert.deepEqual((await load({ home, agentSocket })).map(print), [
      printed('ecdsa'),
      printed('rsa'),
      printed('ed25519'),
      printed('rsa-pem'),
    ]);
    chmodSync(join(home, '.ssh', 'id_rsa'), 0o644);
    const warnings: string[] = [];
    const observer: Observer = {
      log: (level, text) => void (level === 'warning' && warnings.push(text)),
      count() {},
    };
    assert.deepEqual((await load({ home, observer })).map(print), [printed('ed25519')]);
    assert.match(warnings.join(), /id_rsa may be read by others \(mode 0644\)/);
  });

  it('a public key as -i names a key of the agent', async () => {
    assert.deepEqual((await load({ files: [path('ecdsa.pub')], agentSocket })).map(print), [
      printed('ecdsa'),
      printed('rsa'),
    ]);
    assert.deepEqual(await load({ files: [path('ecdsa.pub')] }), []);
  });

  it('files of ssh_config: first those that the agent holds, then its other keys, then the rest', async () => {
    const identityFiles = ['ed25519', 'rsa', 'absent'].map((name) => ({
      path: path(name),
      explicit: false,
    }));
    assert.deepEqual((await load({ identityFiles, agentSocket })).map(print), [
      printed('rsa'),
      printed('ecdsa'),
      printed('ed25519'),
    ]);
  });

  it('-i comes before everything', async () => {
    const identityFiles = [
      { path: path('rsa'), explicit: false },
      { path: path('ed25519'), explicit: true },
    ];
    assert.deepEqual((await load({ identityFiles, agentSocket })).map(print), [
      printed('ed25519'),
      printed('rsa'),
      printed('ecdsa'),
    ]);
  });

  it('IdentitiesOnly: of the agent only what a file names, if only by its public half', async () => {
    const own = join(directory, 'only');
    mkdirSync(own, { recursive: true });
    copyFileSync(path('rsa.pub'), join(own, 'token.pub'));
    const found = await load({ files: [join(own, 'token')], identitiesOnly: true, agentSocket });
    assert.deepEqual(found.map(print), [printed('rsa')]);
    assert.ok(found[0]?.agent !== undefined);
    assert.deepEqual(await load({ identitiesOnly: true, agentSocket, home: own }), []);
  });

  it('a file of ssh_config that is not there is left out without a word, one that can not be used with a warning', async () => {
    const lines: string[] = [];
    const observer: Observer = {
      log: (level, text) => void lines.push(`${level}: ${text}`),
      count() {},
    };
    writeFileSync(path('garbage'), 'no key at all', { mode: 0o600 });
    const at = (name: string) => ({ path: path(name), explicit: false });
    assert.deepEqual(
      await load({ identityFiles: [at('absent'), at('ed25519/below')], observer }),
      [],
    );
    assert.deepEqual(lines, []);
    assert.deepEqual(await load({ identityFiles: [at('garbage')], observer }), []);
    assert.match(lines.join(), /^warning: .*garbage is not a key file/);
  });

  it('IdentityFile none: the default files are not used, the agent is', async () => {
    const home = mkdtempSync(join(directory, 'home-'));
    mkdirSync(join(home, '.ssh'));
    copyFileSync(path('ed25519'), join(home, '.ssh', 'id_ed25519'));
    assert.deepEqual(defaultIdentityFiles(home), [join(home, '.ssh', 'id_ed25519')]);
    assert.equal((await load({ home })).length, 1);
    assert.deepEqual(await load({ home, noIdentityFiles: true }), []);
    assert.equal((await load({ home, noIdentityFiles: true, agentSocket })).length, 2);
  });

  it('without the method publickey there are none', async () => {
    assert.deepEqual(
      await load({ files: [path('absent')], methods: ['password'], agentSocket }),
      [],
    );
  });

  const rejected: readonly [title: string, name: string, code: string][] = [
    ['a file that is not there', 'absent', 'auth-identity-unreadable'],
    ['a directory', '.', 'auth-identity-unreadable'],
    ['no key', 'garbage', 'auth-identity-unreadable'],
    ['a key that others may read', 'loose', 'auth-identity-permissions'],
  ];
  for (const [title, name, code] of rejected) {
    it(`-i with ${title} is ${code}`, async () => {
      writeFileSync(path('garbage'), 'no key at all', { mode: 0o600 });
      copyFileSync(path('ed25519'), path('loose'));
      chmodSync(path('loose'), 0o640);
      await assert.rejects(load({ files: [path(name)] }), (error) => {
        assert.ok(error instanceof TunnelError);
        assert.equal(error.code, code);
        assert.ok(error.hint !== undefined && error.message.includes(path(name)));
        return true;
      });
    });
  }

  it('the command that mends the permissions takes any path as one word', async () => {
    const odd = "it's $(mine); a key";
    copyFileSync(path('ed25519'), path(odd));
    chmodSync(path(odd), 0o644);
    const error = await load({ files: [path(odd)] }).catch((cause: unknown) => cause);
    assert.ok(error instanceof TunnelError);
    const command = /^run: (.*)$/.exec(error.hint ?? '')?.[1] ?? assert.fail(error.hint);
    execFileSync('sh', ['-c', command]);
    assert.equal(statSync(path(odd)).mode & 0o777, 0o600);
  });

  it('an agent that is not there is no error', async () => {
    assert.deepEqual(await load({ agentSocket: path('absent') }), []);
  });
});

describe('ssh-agent', () => {
  it('lists and signs, RSA with SHA-2', async () => {
    const client = new SshAgent(agentSocket);
    const rsa = (await client.list()).find((key) => key.type === 'ssh-rsa');
    assert.ok(rsa !== undefined);
    const data = Buffer.from('to be signed');
    for (const hash of ['sha256', 'sha512'] as const)
      assert.ok(
        verify(hash, data, opensslKey('rsa', rsa.blob), await client.sign(rsa, data, hash)),
        hash,
      );
  });

  it('a key that it does not hold is refused', async () => {
    const file = inspectKeyFile(read('ed25519'), undefined);
    assert.ok(file?.publicKey !== undefined);
    await assert.rejects(
      new SshAgent(agentSocket).sign(file.publicKey, Buffer.from('x'), undefined),
      /it refused/,
    );
  });

  it('an answer that is no answer is an error, not a crash', async () => {
    for (const answer of ['ffffffff00', '0000000100', '0000000b0c00000001ffffffff0000', '']) {
      const socket = path(`fake-${answer.length}`);
      const server = createServer((connection) => connection.end(Buffer.from(answer, 'hex')));
      await new Promise<void>((resolve) => server.listen(socket, resolve));
      await assert.rejects(
        new SshAgent(socket).list(),
        (error) => error instanceof TunnelError && error.code === 'agent-failed',
      );
      server.close();
    }
  });
});
