/**
 * Authentication against real sshds without PAM: keys in their order, partial success, limits, and
 * what is kept for a reconnect.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { TunnelError } from '../../../../../src/errors/errors.ts';
import type { Observer } from '../../../../../src/observe/observer.ts';
import { Authenticator } from '../../../../../src/ssh/embedded/auth/authenticator.ts';
import { Keyring } from '../../../../../src/ssh/embedded/auth/keyring.ts';
import { dialSsh2 } from '../../../../../src/ssh/embedded/handshake/dial.ts';
import { createHostKeyVerifier } from '../../../../../src/ssh/hostkeys/verifier.ts';
import { wireString, wireUint32 } from '../../../../../src/ssh/keys/wire.ts';
import { nobody, type Prompter } from '../../../../../src/ssh/prompter.ts';
import type { AuthenticationSettings, HostKeySettings } from '../../../../../src/ssh/settings.ts';
import { LoopbackSshd, makeKey, sshdMissing } from '../../../../support/loopback-sshd.ts';
import {
  Answers,
  authenticationSettings,
  hostKeySettings,
  pinned,
  testSettings,
} from '../../../../support/settings.ts';
import { startAgent } from '../../../../support/sshagent.ts';

const PASSPHRASE = 'correct horse';
const AUTHORIZED = ['first', 'second', 'rsa', 'encrypted'];

class Log implements Observer {
  readonly lines: string[] = [];
  log(level: string, message: string, fields?: unknown): void {
    this.lines.push(`${level}: ${message} ${fields === undefined ? '' : JSON.stringify(fields)}`);
  }
  count(): void {}
}

let sshd: LoopbackSshd;
let agent: ChildProcess;
let agentSocket: string;
/** What all servers here let in. */
let authorized: string[];
const key = (name: string): string => join(sshd.directory, name);

interface Login {
  readonly server?: LoopbackSshd;
  readonly files?: readonly string[];
  readonly settings?: Partial<AuthenticationSettings>;
  readonly prompter?: Prompter;
  readonly observer?: Log;
  readonly hostKeys?: HostKeySettings;
  readonly user?: string;
  readonly keyring?: Keyring;
}

function authenticatorFor({
  files = [],
  settings,
  prompter,
  observer,
  keyring,
}: Login): Promise<Authenticator> {
  return Authenticator.load({
    settings: authenticationSettings(
      files.map((name) => key(name)),
      settings,
    ),
    prompter: prompter ?? new Answers(),
    observer: observer ?? new Log(),
    home: '/nonexistent',
    ...(keyring === undefined ? {} : { keyring }),
  });
}

async function login(options: Login, authenticator?: Authenticator): Promise<void> {
  const { server = sshd, observer = new Log(), hostKeys, prompter } = options;
  const known = hostKeys ?? pinned((await server.knownHostsLine()).split(' ').slice(1).join(' '));
  const transport = await dialSsh2({
    jumpHosts: [
      {
        settings: testSettings({
          hostName: 'jump.test',
          port: server.port,
          user: options.user ?? server.user,
        }),
        addresses: [{ host: '127.0.0.1', port: server.port }],
      },
    ],
    access: async () => ({
      hostKeys: createHostKeyVerifier(known, { prompter, observer }),
      authenticator: authenticator ?? (await authenticatorFor(options)),
    }),
    observer,
  });
  await transport.close();
}

async function refused(options: Login): Promise<TunnelError> {
  const error: unknown = await login(options).then(
    () => new Error('it was let in'),
    (reason: unknown) => reason,
  );
  if (error instanceof TunnelError) return error;
  throw error;
}

async function withSshd(
  config: readonly string[],
  body: (server: LoopbackSshd) => Promise<void>,
): Promise<void> {
  const server = await LoopbackSshd.start({
    config: [...config, 'LogLevel DEBUG2'],
    authorizedKeys: { lines: authorized, only: true },
  });
  try {
    await body(server);
  } finally {
    await server.stop();
  }
}

/** How often the server has been offered a key. */
const offers = async (server: LoopbackSshd): Promise<number> =>
  (await server.log()).match(
    /userauth-request for user \S+ service ssh-connection method publickey/g,
  )?.length ?? 0;

describe('authentication', { skip: sshdMissing }, () => {
  before(async () => {
    sshd = await LoopbackSshd.start();
    for (const name of ['first', 'second', ...['s1', 's2', 's3', 's4', 's5', 's6', 's7']])
      await makeKey(key(name), 'ed25519');
    await makeKey(key('rsa'), 'rsa');
    await makeKey(key('encrypted'), 'ed25519', ['-N', PASSPHRASE, '-a', '4']);
    authorized = AUTHORIZED.map((name) => readFileSync(key(`${name}.pub`), 'utf8').trim());
    writeFileSync(key('authorized_keys'), `${authorized.join('\n')}\n`);
    agentSocket = key('agent');
    agent = await startAgent(
      agentSocket,
      ['s1', 's2', 's3', 's4', 's5', 's6', 's7', 'rsa'].map(key),
    );
  });
  after(async () => {
    agent?.kill();
    await sshd?.stop();
  });

  it('offers no keys that PubkeyAcceptedAlgorithms or RequiredRSASize forbid, of files or the agent', () =>
    withSshd([], async (server) => {
      const files = ['first', 's1'];
      const settings = { agentSocket, acceptedAlgorithms: ['rsa-sha2-256'] };
      await login({ server, files, settings });
      const log = await server.log();
      assert.match(log, /Accepted publickey for \S+ .*: RSA /);
      assert.equal(await offers(server), 2, 'the RSA key, and its signature');
      assert.doesNotMatch(log, /userauth_pubkey: .*(ssh-ed25519|rsa-sha2-512)/);
      const error = await refused({ server, files, settings: { ...settings, leastRsaBits: 3072 } });
      assert.equal(await offers(server), 2, 'none of them');
      assert.match(error.message, /s1 \(PubkeyAcceptedAlgorithms doesn't permit ssh-ed25519\)/);
      assert.match(error.message, /it has 2048 bits, and RequiredRSASize wants 3072/);
    }));

  it('leaves out a forbidden key that only its passphrase shows', () =>
    withSshd([], async (server) => {
      const path = key('hidden');
      await makeKey(path, 'rsa', ['-m', 'PEM', '-N', PASSPHRASE]);
      rmSync(`${path}.pub`);
      const settings = { leastRsaBits: 3072 };
      const prompter = new Answers(PASSPHRASE);
      const error = await refused({ server, files: ['hidden'], settings, prompter });
      assert.equal(await offers(server), 0);
      assert.match(error.message, /hidden/);
      assert.equal(prompter.asked.length, 1);
    }));

  it('publickey,publickey: two different keys, each offered once', () =>
    withSshd(['AuthenticationMethods publickey,publickey'], async (server) => {
      await login({ server, files: ['s1', 'first', 'second'] });
      // s1, first, first signed, second, second signed
      assert.equal(await offers(server), 5);
    }));

  it('publickey,publickey with one key: reports that it was accepted, and does not offer it again', () =>
    withSshd(['AuthenticationMethods publickey,publickey'], async (server) => {
      const error = await refused({ server, files: ['first'] });
      assert.equal(error.code, 'auth-failed');
      assert.match(
        error.message,
        /accepted .*first \(ssh-ed25519 SHA256:.*\), but also wants publickey/,
      );
      assert.equal(await offers(server), 2);
    }));

  it('MaxAuthTries 2: reports what was tried, and how many keys were not offered', () =>
    withSshd(['MaxAuthTries 2'], async (server) => {
      const error = await refused({ server, files: ['s1', 's2', 's3', 'first'] });
      assert.equal(error.code, 'auth-failed');
      assert.match(
        error.message,
        /its MaxAuthTries\); 2 keys were offered; tried \S+s1 .*, \S+s2 .*; 2 more were not offered$/,
      );
      assert.match(error.hint ?? '', /-i.*IdentitiesOnly/);
      await login({ server, files: ['s1', 'first'] });
    }));

  it('an agent with more keys than the server looks at: IdentitiesOnly and a public key choose the right one', () =>
    withSshd([], async (server) => {
      const error = await refused({ server, settings: { agentSocket } });
      assert.match(error.message, /its MaxAuthTries/);
      await login({ server, files: ['rsa.pub'], settings: { agentSocket, identitiesOnly: true } });
      const before = await offers(server);
      const only = { agentSocket, identitiesOnly: true };
      assert.match(
        (await refused({ server, files: ['s1.pub'], settings: only })).message,
        /tried \S+s1.pub/,
      );
      assert.equal((await offers(server)) - before, 1);
    }));

  it('a refused login says how many keys were offered', () =>
    withSshd(['MaxAuthTries 9'], async (server) => {
      const { message } = await refused({ server, files: ['s1', 's2', 's3'] });
      assert.match(message, /permits publickey; 3 keys were offered; tried \S+s1 .*s2 .*s3 [^;]*$/);
    }));

  it('oneKey: one offer a login, the first; the message says that others were held back', () =>
    withSshd([], async (server) => {
      const settings = { agentSocket, oneKey: true };
      const error = await refused({ server, files: ['s1', 'first'], settings });
      assert.equal(error.code, 'auth-failed');
      assert.match(
        error.message,
        /; 1 key was offered; tried \S+s1 \S+ \S+; 8 more were held back/,
      );
      assert.equal(await offers(server), 1);
      await login({ server, files: ['first', 's1'], settings });
      assert.equal(await offers(server), 3, 'offered and signed');
    }));

  it('oneKey: a key that can not be used is no offer', () =>
    withSshd([], async (server) => {
      // The server is offered the public half, and the passphrase is asked for after that.
      const settings = { oneKey: true };
      await login({ server, files: ['rsa.pub', 'first'], settings });
      assert.equal(await offers(server), 2);
    }));

  it('oneKey: a stage that wants another key may be offered one more', () =>
    withSshd(['AuthenticationMethods publickey,publickey'], async (server) => {
      await login({ server, files: ['first', 'second', 's1'], settings: { oneKey: true } });
      assert.equal(await offers(server), 4);
    }));

  it('a reconnect offers the key that was accepted first, and asks for no passphrase again', () =>
    withSshd([], async (server) => {
      const prompter = new Answers(PASSPHRASE);
      const options = { server, files: ['s1', 's2', 'encrypted'], prompter };
      const authenticator = await authenticatorFor(options);
      await login(options, authenticator);
      assert.equal(await offers(server), 4);
      await login(options, authenticator);
      assert.equal(await offers(server), 6, 'one offer, one signature');
      assert.equal(prompter.asked.length, 1);
    }));

  it('an agent with a malformed key: the key is left out, and the next one is tried', async () => {
    const blob = Buffer.concat([wireString('ssh-ed25519'), wireString('short')]);
    const list = Buffer.concat([
      Buffer.of(12),
      wireUint32(1),
      wireString(blob),
      wireString('broken'),
    ]);
    const socket = key('broken-agent');
    const server = createServer((connection) => connection.end(wireString(list)));
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    const observer = new Log();
    const identityFiles = [{ path: key('first'), explicit: false }];
    try {
      await login({ settings: { agentSocket: socket, identityFiles }, observer });
    } finally {
      server.close();
    }
    assert.match(
      observer.lines.join('\n'),
      /warning: key ssh-agent \(broken\) is left out: it can't be sent/,
    );
  });

  it('one passphrase is enough for two jump hosts that share a keyring', async () => {
    const prompter = new Answers(PASSPHRASE);
    const keyring = new Keyring(new Log());
    for (let hop = 1; hop <= 2; hop++) await login({ files: ['encrypted'], prompter, keyring });
    assert.equal(prompter.asked.length, 1);
  });

  it('a stored passphrase unlocks it; another key’s is asked for', async () => {
    const passphraseFile = key('passphrase');
    writeFileSync(passphraseFile, `${PASSPHRASE}\n`, { mode: 0o600 });
    await login({ files: ['encrypted'], settings: { passphraseFile }, prompter: new Answers() });
    writeFileSync(passphraseFile, 'of another key\n');
    const prompter = new Answers(PASSPHRASE);
    const observer = new Log();
    await login({ files: ['encrypted'], settings: { passphraseFile }, prompter, observer });
    assert.equal(prompter.asked.length, 1);
    assert.match(observer.lines.join('\n'), /passphrase is not the passphrase of .*encrypted/);
  });

  it('a missing key file is reported before anything is dialled', async () => {
    await assert.rejects(
      authenticatorFor({ files: ['absent'] }),
      (error) => (error as TunnelError).code === 'auth-identity-unreadable',
    );
  });

  it('a key file that was replaced is read again, and its passphrase asked for', async () => {
    const copy = key('copy');
    const put = (name: string) => execFileSync('cp', ['-p', key(name), copy]);
    put('encrypted');
    const prompter = new Answers(PASSPHRASE);
    const options = { files: ['copy'], prompter };
    const authenticator = await authenticatorFor(options);
    await login(options, authenticator);
    put('first');
    await login(options, authenticator);
    assert.equal(prompter.asked.length, 1);
    put('s1');
    await assert.rejects(
      login(options, authenticator),
      (error) => (error as TunnelError).code === 'auth-failed',
    );
  });

  it('only the methods of PreferredAuthentications, whatever the server permits', async () => {
    const error = await refused({ files: ['first'], settings: { methods: ['password'] } });
    assert.equal(error.code, 'auth-failed');
    assert.match(error.message, /permits publickey; no key was offered$/);
    assert.match(error.hint ?? '', /your ssh configuration permits only password/);
  });

  it('BatchMode asks for neither a passphrase nor a password', () =>
    withSshd(['PasswordAuthentication yes'], async (server) => {
      const prompter = new Answers('a', 'b', 'c', 'd');
      const error = await refused({
        server,
        files: ['encrypted'],
        prompter,
        settings: { batch: true },
      });
      assert.equal(error.code, 'auth-failed');
      assert.deepEqual(prompter.asked, []);
      assert.match(error.message, /not usable: \S+encrypted/);
      await login({ server, files: ['encrypted', 'first'], prompter, settings: { batch: true } });
    }));

  it('a refused key, and nobody to ask for a password: says what to do about the key', () =>
    withSshd(['PasswordAuthentication yes'], async (server) => {
      const prompter = nobody('there is no terminal');
      const error = await refused({ server, files: ['s1'], prompter });
      assert.match(error.message, /tried \S+s1 .*; nobody could be asked for password$/);
      assert.match(error.hint ?? '', /authorized_keys .*; to log in without a key, run this at/);
      const without = await refused({ server, files: [], prompter });
      assert.match(without.hint ?? '', /^name a key with -i, or run this at a terminal/);
    }));

  it('a public key as -i, and no agent that has the private one: says so', async () => {
    const error = await refused({ files: ['first.pub'] });
    assert.match(
      error.message,
      /no key was offered; not usable: \S+first\.pub \(it is a public key, and ssh-agent doesn't have/,
    );
    assert.match(error.hint ?? '', /ssh-add/);
  });

  it('the user name arrives unchanged, whatever is in it', async () => {
    // As sshd's log writes them (vis(3)).
    for (const [user, logged] of [
      ['user@session@domain', 'user@session@domain'],
      ['dom\\user', 'dom\\\\user'],
      ['\u00fc.name+tag', '\\303\\274.name+tag'],
    ] as const) {
      assert.equal((await refused({ files: ['first'], user })).code, 'auth-failed');
      const log = await sshd.log();
      assert.ok(
        log.includes(`Invalid user ${logged} from 127.0.0.1`),
        `${user} in ${log.slice(-2000)}`,
      );
    }
  });

  it('a key of mode 0400 in a directory that can not be written', async () => {
    const directory = key('readonly');
    mkdirSync(directory, { recursive: true });
    execFileSync('cp', [key('first'), join(directory, 'id')]);
    execFileSync('chmod', ['400', join(directory, 'id')]);
    execFileSync('chmod', ['500', directory]);
    await login({ files: ['readonly/id'] });
  });

  it('an unknown host key is asked about in the middle of key exchange, and then an RSA key signs with SHA-2', () =>
    withSshd(['PubkeyAcceptedAlgorithms rsa-sha2-512'], async (server) => {
      const file = join(server.directory, 'known_hosts');
      const hostKeys = hostKeySettings({ userFiles: [file], strict: 'ask' });
      const answers = new Answers(true);
      // Longer than it takes for everything that the server sends by itself to arrive.
      const confirm: Prompter['confirm'] = async (question, options) => {
        await new Promise((resolve) => setTimeout(resolve, 300));
        return answers.confirm(question, options);
      };
      const prompter = { canAsk: () => true, secret: answers.secret, line: answers.line, confirm };
      await login({ server, files: ['rsa'], hostKeys, prompter });
      const line = (await server.knownHostsLine('ed25519', `[jump.test]:${server.port}`)).split(
        ' ',
      );
      assert.equal(readFileSync(file, 'utf8').trim(), line.slice(0, 3).join(' '));
      await login({ server, files: ['rsa'], hostKeys: { ...hostKeys, strict: 'yes' } });
    }));

  it('an unknown host key that is not agreed to: no authentication is tried', () =>
    withSshd([], async (server) => {
      const hostKeys = hostKeySettings({
        userFiles: [join(server.directory, 'known_hosts')],
        strict: 'ask',
      });
      const error = await refused({
        server,
        files: ['first'],
        hostKeys,
        prompter: new Answers(false),
      });
      assert.equal(error.code, 'host-key-unknown');
      await new Promise((resolve) => setTimeout(resolve, 200));
      assert.doesNotMatch(await server.log(), /userauth/);
    }));

  it('nothing secret is logged, even at debug level', () =>
    withSshd(['PasswordAuthentication yes'], async (server) => {
      const observer = new Log();
      const secrets = ['pass-phrase-1', PASSPHRASE, 'pass-word-1', 'pass-word-2', 'pass-word-3'];
      await login({ server, files: ['encrypted'], prompter: new Answers(...secrets), observer });
      const error = await refused({ server, prompter: new Answers(...secrets.slice(2)), observer });
      const said = [...observer.lines, error.message, error.hint ?? '', String(error.stack)].join(
        '\n',
      );
      assert.match(said, /offering/);
      for (const secret of secrets) assert.ok(!said.includes(secret), secret);
      assert.match(error.message, /tried password \(3 times\)/);
    }));
});
