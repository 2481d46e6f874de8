import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { TunnelError } from '../../../../src/errors/errors.ts';
import {
  type CommandOptions,
  MAX_COMMAND_OUTPUT_BYTES,
  runKnownHostsCommand,
} from '../../../../src/ssh/hostkeys/knownhostscommand.ts';
import { fingerprint } from '../../../../src/ssh/keys/publickey.ts';
import { wireString } from '../../../../src/ssh/keys/wire.ts';
import { allProcesses } from '../../../support/processtable.ts';

const BLOB = Buffer.concat([wireString('ssh-ed25519'), wireString(Buffer.alloc(32, 7))]);
const KEY = { type: 'ssh-ed25519', blob: BLOB };

function run(
  words: readonly [string, ...string[]],
  options: CommandOptions & { readonly hash?: string; readonly shown?: boolean } = {},
): Promise<string> {
  const { hash = 'sha256', shown = true } = options;
  const subject = { name: '[jump]:2222', key: shown ? KEY : undefined };
  return runKnownHostsCommand({ words, fingerprintHash: hash }, subject, options);
}

async function failure(
  words: readonly [string, ...string[]],
  options: CommandOptions = {},
): Promise<string> {
  const error: unknown = await run(words, options).catch((reason: unknown) => reason);
  assert.ok(error instanceof TunnelError, String(error));
  assert.equal(error.code, 'host-key-unchecked');
  return error.message;
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return ''; // it has ended
  }
}

describe('KnownHostsCommand', () => {
  const tokens = ['/bin/echo', '%I', '%H', '%t', '%f', '%K', '%%', '100%%I'] as const;

  it('gets what it asks for about the key, without a shell', async () => {
    const base64 = BLOB.toString('base64');
    assert.equal(
      await run([...tokens, '$HOME;']),
      `HOSTNAME [jump]:2222 ssh-ed25519 ${fingerprint(BLOB)} ${base64} % 100%I $HOME;\n`,
    );
    assert.match(await run(tokens, { hash: 'md5' }), / MD5:([0-9a-f]{2}:){15}[0-9a-f]{2} /);
    assert.match(await run(tokens, { hash: 'sha512' }), / SHA512:[\w+/]{86} /);
  });

  it('is asked for the types of keys before one is shown', async () => {
    assert.equal(await run(tokens, { shown: false }), 'ORDER [jump]:2222 NONE NONE NONE % 100%I\n');
  });

  it('its program is not expanded, and must be an absolute path', async () => {
    assert.match(await failure(['/bin/%H']), /\/bin\/%H can't be run \(ENOENT\)/);
    assert.match(await failure(['true']), /true is not an absolute path/);
  });

  it('its failure refuses every key, with what it says', async () => {
    assert.match(
      await failure(['/bin/sh', '-c', 'echo key; echo a >&2; echo "why\u0007" >&2; exit 3']),
      /it ended with status 3: why$/,
    );
    assert.match(await failure(['/bin/sh', '-c', 'kill -9 $$']), /a signal ended it/);
  });

  it('has nothing to read', async () => {
    assert.equal(await run(['/bin/cat']), '');
  });

  it('is ended with what it has started when it takes too long', async () => {
    const mark = `987${process.pid}`;
    const command = ['/bin/sh', '-c', `sleep ${mark} & sleep ${mark}`] as const;
    const began = performance.now();
    assert.match(await failure([...command], { timeoutMs: 300 }), /it took longer than 0.3 s/);
    assert.ok(performance.now() - began < 5000);
    assert.deepEqual(running(mark), []);
    const controller = new AbortController();
    const aborted = run([...command], { signal: controller.signal });
    setTimeout(() => controller.abort(new Error('over')), 100);
    await assert.rejects(aborted, /over/);
    assert.deepEqual(running(mark), []);
  });

  it('is ended when it prints without end', async () => {
    assert.match(
      await failure(['/bin/sh', '-c', 'while :; do echo 0123456789abcdef; done']),
      new RegExp(`printed more than ${MAX_COMMAND_OUTPUT_BYTES} bytes`),
    );
  });

  /** Processes that are waiting with this argument. */
  function running(mark: string): number[] {
    return allProcesses()
      .map(({ pid }) => pid)
      .filter((pid) => commandLine(pid) === `sleep\0${mark}\0`);
  }
});
