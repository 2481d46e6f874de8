/**
 * Host keys that are not known yet: who is asked, what is remembered, and what is never replaced.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { TunnelError } from '../../../../../src/errors/errors.ts';
import type { Observer } from '../../../../../src/observe/observer.ts';
import { appendKnownHost } from '../../../../../src/ssh/hostkeys/append.ts';
import { ReplicaKeys } from '../../../../../src/ssh/hostkeys/replicas.ts';
import {
  createHostKeyVerifier,
  type HostKeyVerifier,
} from '../../../../../src/ssh/hostkeys/verifier.ts';
import { parseHostKeyPin } from '../../../../../src/ssh/keys/pin.ts';
import {
  fingerprint,
  type PublicKey,
  parsePublicKey,
} from '../../../../../src/ssh/keys/publickey.ts';
import type { Prompter } from '../../../../../src/ssh/prompter.ts';
import type { HostKeySettings } from '../../../../../src/ssh/settings.ts';
import { makeKey } from '../../../../support/loopback-sshd.ts';
import { Answers, hostKeySettings } from '../../../../support/settings.ts';

let root: string;
let directory: string;
let file: string;
let ed25519: PublicKey;
let another: PublicKey;
let rsa: PublicKey;

before(async () => {
  root = mkdtempSync(join(tmpdir(), 'tunnel-newkeys-'));
  const make = async (name: string, type: string): Promise<PublicKey> => {
    await makeKey(join(root, name), type);
    const key = parsePublicKey(readFileSync(join(root, `${name}.pub`), 'utf8'));
    assert.ok(key !== undefined);
    return key;
  };
  [ed25519, another, rsa] = [
    await make('a', 'ed25519'),
    await make('b', 'ed25519'),
    await make('c', 'rsa'),
  ];
});
after(() => rmSync(root, { recursive: true, force: true }));
beforeEach(() => {
  directory = mkdtempSync(join(root, 'home-'));
  file = join(directory, '.ssh', 'known_hosts');
});

class Log implements Observer {
  readonly lines: string[] = [];
  readonly counted: string[] = [];
  log(level: string, message: string): void {
    this.lines.push(`${level}: ${message}`);
  }
  count(name: string): void {
    this.counted.push(name);
  }
}

interface Setting extends Partial<HostKeySettings> {
  readonly prompter?: Prompter;
  readonly observer?: Observer;
  readonly replicas?: ReplicaKeys;
}

function verifierFor({ prompter, observer, replicas, ...settings }: Setting = {}): HostKeyVerifier {
  return createHostKeyVerifier(hostKeySettings({ userFiles: [file], strict: 'ask', ...settings }), {
    prompter,
    observer: observer ?? new Log(),
    ...(replicas === undefined ? {} : { replicas }),
  });
}

/** A connection at which this key is shown and proven. */
async function connect(
  verifier: HostKeyVerifier,
  key: PublicKey,
  host = 'jump',
  port = 22,
): Promise<void> {
  const context = { signal: new AbortController().signal, onPrompt: () => {} };
  const accepted = await verifier.verify(host, port, key.blob, context);
  await accepted.proven();
}

async function refused(
  verifier: HostKeyVerifier,
  key: PublicKey,
  host = 'jump',
): Promise<TunnelError> {
  const error: unknown = await connect(verifier, key, host).then(
    () => new Error('it was accepted'),
    (reason: unknown) => reason,
  );
  if (error instanceof TunnelError) return error;
  throw error;
}

const text = (): string => readFileSync(file, 'utf8');
const lineOf = (key: PublicKey): string => `${key.type} ${key.blob.toString('base64')}`;
/** Written beforehand, by somebody else. */
function write(content: string): void {
  mkdirSync(join(directory, '.ssh'), { recursive: true });
  writeFileSync(file, content);
}

describe('ask', () => {
  it('shows type and fingerprint, and remembers the key that was agreed to', async () => {
    const prompter = new Answers(true);
    await connect(verifierFor({ prompter }), ed25519, 'Jump', 2222);
    assert.deepEqual(prompter.asked, ['confirm: Trust this key from now on?']);
    const shown = prompter.preambles[0]?.join('\n') ?? '';
    assert.match(shown, /host key of \[jump\]:2222 is not known/);
    assert.ok(shown.includes(`ssh-ed25519 ${fingerprint(ed25519.blob)}`), shown);
    assert.match(shown, /"ssh-keygen -lf \/etc\/ssh\/ssh_host_ed25519_key\.pub" prints/);
    assert.equal(text(), `[jump]:2222 ${lineOf(ed25519)}\n`);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal(statSync(join(directory, '.ssh')).mode & 0o777, 0o700);
    await connect(verifierFor(), ed25519, 'jump', 2222);
  });

  it('ssh-keygen finds what was written, hashed too', async () => {
    await connect(verifierFor({ prompter: new Answers(true) }), ed25519);
    await connect(verifierFor({ prompter: new Answers(true), hashNames: true }), rsa, 'other');
    assert.doesNotMatch(text(), /other/);
    for (const [host, key] of [
      ['jump', ed25519],
      ['other', rsa],
    ] as const)
      assert.ok(
        execFileSync('ssh-keygen', ['-F', host, '-f', file], { encoding: 'utf8' }).includes(
          lineOf(key),
        ),
      );
  });

  it('takes the fingerprint itself for a yes', async () => {
    await connect(verifierFor({ prompter: new Answers(fingerprint(ed25519.blob)) }), ed25519);
    const error = await refused(
      verifierFor({ prompter: new Answers(fingerprint(rsa.blob)) }),
      another,
      'b',
    );
    assert.equal(error.code, 'host-key-unknown');
  });

  for (const [title, make, words] of [
    ['a no', () => new Answers(false), /it was not accepted/],
    ['no terminal', () => new Answers(), /there is nobody to ask/],
    ['BatchMode', () => undefined, /is not known: ssh-ed25519 SHA256:[^ ]+$/],
  ] as const) {
    it(`${title}: refused as with "yes", with the hint, and nothing is written`, async () => {
      const prompter = make();
      const error = await refused(verifierFor(prompter === undefined ? {} : { prompter }), ed25519);
      assert.equal(error.code, 'host-key-unknown');
      assert.match(error.message, words);
      assert.match(error.hint ?? '', /--host-key SHA256:/);
      assert.ok(!existsSync(file));
    });
  }

  it('nobody is asked about a changed or a revoked key', async () => {
    write(`jump ${lineOf(another)}\n@revoked * ${lineOf(rsa)}\n`);
    const prompter = new Answers(true, true);
    assert.equal((await refused(verifierFor({ prompter }), ed25519)).code, 'host-key-changed');
    assert.equal((await refused(verifierFor({ prompter }), rsa)).code, 'host-key-revoked');
    assert.deepEqual(prompter.asked, []);
  });

  it('nobody is asked about another type than the known ones, as in ssh', async () => {
    write(`jump ${lineOf(rsa)}\n`);
    const prompter = new Answers(true);
    const error = await refused(verifierFor({ prompter }), ed25519);
    assert.equal(error.code, 'host-key-unknown');
    assert.match(error.message, /only keys of other types are known: .*known_hosts:1\)/);
    assert.deepEqual(prompter.asked, []);
  });

  it('a key that the server does not prove is not remembered', async () => {
    const verifier = verifierFor({ prompter: new Answers(true, false) });
    const context = { signal: new AbortController().signal, onPrompt: () => {} };
    await verifier.verify('jump', 22, ed25519.blob, context);
    assert.ok(!existsSync(file));
    assert.equal((await refused(verifier, ed25519)).code, 'host-key-unknown');
  });

  it('a file that can not be written: a warning, and the key is valid for this run', async () => {
    write('');
    const observer = new Log();
    const below = join(file, 'is', 'a', 'file');
    const prompter = new Answers(true);
    const verifier = verifierFor({ prompter, observer, userFiles: [below] });
    await connect(verifier, ed25519);
    assert.match(
      observer.lines.join('\n'),
      /warning: .*trusted for this run only: .*can't be written \(ENOTDIR\)/,
    );
    assert.deepEqual(observer.counted, ['tunnel_known_hosts_unwritable_total']);
    await connect(verifier, ed25519);
    assert.equal(prompter.asked.length, 1, 'a reconnect asks nobody');
    const error = await refused(verifier, another);
    assert.equal(error.code, 'host-key-changed');
    for (const key of [ed25519, another])
      assert.ok(error.message.includes(fingerprint(key.blob)), error.message);
  });

  it('a key that is revoked during the run is refused at the next connection', async () => {
    const verifier = verifierFor({ prompter: new Answers(true) });
    await connect(verifier, ed25519);
    writeFileSync(file, `${text()}@revoked * ${lineOf(ed25519)}\n`);
    assert.equal((await refused(verifier, ed25519)).code, 'host-key-revoked');
  });
});

describe('accept-new', () => {
  const strict = 'accept-new';

  it('adds the first key and never replaces it', async () => {
    await connect(verifierFor({ strict }), ed25519);
    const before = text();
    assert.equal(before, `jump ${lineOf(ed25519)}\n`);
    assert.equal((await refused(verifierFor({ strict }), another)).code, 'host-key-changed');
    // Whoever sits between could offer another type.
    assert.equal((await refused(verifierFor({ strict }), rsa)).code, 'host-key-unknown');
    assert.equal(text(), before);
  });

  it('a key known in the global file alone is not written again', async () => {
    const global = join(directory, 'global');
    writeFileSync(global, `jump ${lineOf(ed25519)}\n`);
    await connect(verifierFor({ strict, globalFiles: [global] }), ed25519);
    assert.ok(!existsSync(file));
  });
});

describe('several addresses of one jump host', () => {
  it('must show the same key: both fingerprints are named', async () => {
    const replicas = new ReplicaKeys();
    write(`a ${lineOf(ed25519)}\nb ${lineOf(another)}\n`);
    await connect(verifierFor({ replicas }), ed25519, 'a');
    const other = verifierFor({ replicas });
    assert.deepEqual(await other.preferredTypes('b', 22), ['ssh-ed25519']);
    const error = await refused(other, another, 'b');
    assert.equal(error.code, 'host-key-differs');
    for (const part of [
      'b:22 shows',
      fingerprint(ed25519.blob),
      'a:22, the same',
      fingerprint(another.blob),
    ])
      assert.ok(error.message.includes(part), error.message);
    await connect(verifierFor({ replicas, alias: 'a' }), ed25519, 'b');
  });

  it("a key that was not proven does not count; pins don't change that", async () => {
    const replicas = new ReplicaKeys();
    const pins = [ed25519, another].map((key) => parseHostKeyPin(lineOf(key)));
    const verifier = verifierFor({ replicas, pins });
    const context = { signal: new AbortController().signal, onPrompt: () => {} };
    await verifier.verify('a', 22, another.blob, context);
    await connect(verifier, ed25519, 'a');
    assert.equal((await refused(verifier, another, 'b')).code, 'host-key-differs');
  });
});

describe('appendKnownHost', () => {
  it('loses no line when many write at the same time', async () => {
    write('# mine, without a newline at the end');
    const names = Array.from({ length: 40 }, (_, i) => `host${i}`);
    await Promise.all(names.map((name) => appendKnownHost(file, name, ed25519, false)));
    const lines = text()
      .trimEnd()
      .split('\n')
      .filter((line) => line !== '');
    assert.equal(lines[0], '# mine, without a newline at the end');
    assert.deepEqual(
      lines.slice(1).sort(),
      names.map((name) => `${name} ${lineOf(ed25519)}`).sort(),
    );
  });

  it('keeps the mode, and follows a symbolic link', async () => {
    write('');
    chmodSync(file, 0o640);
    const link = join(directory, 'link');
    symlinkSync(file, link);
    await appendKnownHost(link, 'jump', ed25519, false);
    assert.equal(text(), `jump ${lineOf(ed25519)}\n`);
    assert.equal(statSync(file).mode & 0o777, 0o640);
  });

  it('hashes a name that would be read as something else', async () => {
    for (const name of ['a,b', '*', '@revoked', 'a b', '!x', '#x', '|1|x'])
      await appendKnownHost(file, name, ed25519, false);
    assert.match(text(), /^(\|1\|[^ |]+\|[^ |]+ ssh-ed25519 [^ ]+\n){7}$/);
    await connect(verifierFor({ alias: 'a b', strict: 'yes' }), ed25519);
  });
});
