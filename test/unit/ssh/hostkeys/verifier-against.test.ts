/**
 * What is said against a host key besides known_hosts: it is refused whatever else is known of it.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { TunnelError } from '../../../../src/errors/errors.ts';
import { type Observer, silentObserver } from '../../../../src/observe/observer.ts';
import { createHostKeyVerifier } from '../../../../src/ssh/hostkeys/verifier.ts';
import { parseHostKeyPin } from '../../../../src/ssh/keys/pin.ts';
import { fingerprint } from '../../../../src/ssh/keys/publickey.ts';
import { wireMpint, wireString } from '../../../../src/ssh/keys/wire.ts';
import type { HostKeySettings } from '../../../../src/ssh/settings.ts';
import { makeKey } from '../../../support/loopback-sshd.ts';
import { hostKeySettings } from '../../../support/settings.ts';

/** Nobody waits, nothing is aborted. */
const UNWATCHED = { signal: new AbortController().signal, onPrompt: () => {} };

interface TestKey {
  /** `type base64` */
  readonly line: string;
  readonly blob: Buffer;
}

const directory = mkdtempSync(join(tmpdir(), 'tunnel-against-'));
const keys = new Map<string, TestKey>();

function key(name: 'ed25519' | 'rsa' | 'other'): TestKey {
  const found = keys.get(name);
  if (found === undefined) throw new Error(name);
  return found;
}

before(async () => {
  for (const [name, type] of [
    ['ed25519', 'ed25519'],
    ['rsa', 'rsa'],
    ['other', 'ed25519'],
  ] as const) {
    const path = join(directory, name);
    await makeKey(path, type);
    const [word, encoded = ''] = readFileSync(`${path}.pub`, 'utf8').split(' ');
    keys.set(name, { line: `${word} ${encoded}`, blob: Buffer.from(encoded, 'base64') });
  }
});
after(() => rmSync(directory, { recursive: true, force: true }));

/** `accepted`, or the error's code. `text`: of known_hosts. */
async function verdict(
  text: string,
  host: string,
  port: number,
  blob: Buffer,
  settings: Partial<HostKeySettings> = {},
): Promise<string> {
  const path = join(directory, 'known_hosts');
  writeFileSync(path, text);
  const verifier = createHostKeyVerifier(hostKeySettings({ userFiles: [path], ...settings }), {
    prompter: undefined,
    observer: silentObserver,
  });
  try {
    await verifier.verify(host, port, blob, UNWATCHED);
    return 'accepted';
  } catch (error) {
    if (error instanceof TunnelError) return error.code;
    throw error;
  }
}

describe('what is said against a host key', () => {
  it('RSA keys that are too short are refused, whatever else is known', async () => {
    const blobOf = (bits: number): Buffer =>
      Buffer.concat([
        wireString('ssh-rsa'),
        wireMpint(Buffer.of(3)),
        wireMpint(Buffer.alloc(bits / 8, 0xff)),
      ]);
    const knows = (blob: Buffer): string => `jump ssh-rsa ${blob.toString('base64')}\n`;
    for (const [bits, leastRsaBits, expected] of [
      [1024, 1024, 'accepted'],
      [1016, 1024, 'host-key-weak'],
      [2048, 2056, 'host-key-weak'],
      [2056, 2056, 'accepted'],
    ] as const) {
      const blob = blobOf(bits);
      assert.equal(await verdict(knows(blob), 'jump', 22, blob, { leastRsaBits }), expected);
      const pins = [parseHostKeyPin(fingerprint(blob))];
      assert.equal(await verdict('', 'jump', 22, blob, { leastRsaBits, pins }), expected, 'pinned');
    }
  });

  it('RevokedHostKeys and KnownHostsCommand revoke what is known, pinned or accepted before', async () => {
    const accept = `jump ${key('ed25519').line}\n`;
    const revokedFile = join(directory, 'revoked');
    writeFileSync(revokedFile, key('ed25519').line);
    const words = ['/bin/echo', `@revoked * ${key('ed25519').line}`] as const;
    const pins = [parseHostKeyPin(key('ed25519').line)];
    for (const revoking of [
      { revokedFiles: [revokedFile] },
      { command: { words, fingerprintHash: 'sha256' } },
    ])
      for (const more of [{}, { pins }])
        assert.equal(
          await verdict(accept, 'jump', 22, key('ed25519').blob, { ...revoking, ...more }),
          'host-key-revoked',
        );
    writeFileSync(revokedFile, '');
    const settings = { revokedFiles: [revokedFile], strict: 'accept-new' } as const;
    const verifier = createHostKeyVerifier(
      hostKeySettings({ ...settings, userFiles: [join(directory, 'own')] }),
      { prompter: undefined, observer: silentObserver },
    );
    const accepted = await verifier.verify('new', 22, key('ed25519').blob, UNWATCHED);
    await accepted.proven();
    writeFileSync(revokedFile, key('ed25519').line);
    await assert.rejects(verifier.verify('new', 22, key('ed25519').blob, UNWATCHED), {
      code: 'host-key-revoked',
    });
  });

  it('what can not be asked is counted, and its time is not counted against the server', async () => {
    const counted: string[] = [];
    const observer: Observer = { log() {}, count: (name) => void counted.push(name) };
    const command = { words: ['/bin/false'], fingerprintHash: 'sha256' } as const;
    const verifier = createHostKeyVerifier(hostKeySettings({ command }), {
      prompter: undefined,
      observer,
    });
    const waits: boolean[] = [];
    const context = { ...UNWATCHED, onPrompt: (waiting: boolean) => void waits.push(waiting) };
    const unchecked = { code: 'host-key-unchecked' };
    await assert.rejects(verifier.preferredTypes('jump', 22), unchecked);
    await assert.rejects(verifier.verify('jump', 22, key('rsa').blob, context), unchecked);
    assert.deepEqual(waits, [true, false]);
    assert.deepEqual(counted, Array(2).fill('tunnel_host_keys_unchecked_total'));
  });

  it('a host with a certificate is left to ssh where something is revoked for it', async () => {
    const certified = { ...UNWATCHED, certified: () => true };
    for (const [text, expected] of [
      ['', undefined],
      [`@revoked other ${key('other').line}\n`, undefined],
      [`@revoked jump ${key('other').line}\n`, { code: 'host-key-certified' }],
    ] as const) {
      const path = join(directory, 'certified');
      writeFileSync(path, `${text}jump ${key('rsa').line}\n`);
      const verifier = createHostKeyVerifier(hostKeySettings({ userFiles: [path] }), {
        prompter: undefined,
        observer: silentObserver,
      });
      const verified = verifier.verify('jump', 22, key('rsa').blob, certified);
      if (expected === undefined) await verified;
      else await assert.rejects(verified, expected);
    }
  });

  it('asks for no types where HostKeyAlgorithms gives the order', async () => {
    const path = join(directory, 'fixed');
    writeFileSync(path, `jump ${key('rsa').line}\n`);
    const settings = hostKeySettings({ userFiles: [path], fixedOrder: true });
    const options = { prompter: undefined, observer: silentObserver };
    assert.deepEqual(await createHostKeyVerifier(settings, options).preferredTypes('jump', 22), []);
  });
});
