/** A cipher that only JavaScript and node:crypto compute: the program says so, once, and works. */
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { packageRoot } from '../../src/native/files.ts';
import { LoopbackSshd, sshdMissing } from '../support/loopback-sshd.ts';
import { Child } from '../support/process.ts';

const START_MS = 30_000;
const END_MS = 20_000;

describe('a slow cipher', { skip: sshdMissing }, () => {
  /** An installation without packages, so without ssh2's own native ciphers. */
  const place = mkdtempSync(join(tmpdir(), 'tunnel-slow-'));
  const withoutNative = mkdtempSync(join(tmpdir(), 'tunnel-slow-'));
  let sshd: LoopbackSshd;

  before(async () => {
    sshd = await LoopbackSshd.start();
    for (const root of [place, withoutNative]) {
      mkdirSync(join(root, 'dist'));
      cpSync(join(packageRoot(), 'dist/program'), join(root, 'dist/program'), { recursive: true });
      symlinkSync(join(packageRoot(), 'package.json'), join(root, 'package.json'));
    }
    symlinkSync(join(packageRoot(), 'dist/native'), join(place, 'dist/native'));
  });
  after(async () => {
    await sshd.stop();
    for (const root of [place, withoutNative]) rmSync(root, { recursive: true });
  });

  /** What it says until it is ready. */
  async function said(root: string, ...options: readonly string[]): Promise<string> {
    const { user, port, userKey } = sshd;
    const child = await Child.start(
      [
        ...[process.execPath, join(root, 'dist/program/main.cjs'), 'proxy', '-F', 'none'],
        ...['-r', `${user}@127.0.0.1:${port}`, '-i', userKey, '--listen', '127.0.0.1:0'],
        ...['--host-key', (await sshd.knownHostsLine()).trim(), '--transport', 'ssh2', ...options],
      ],
      { env: { PATH: process.env['PATH'] ?? '', HOME: root, XDG_RUNTIME_DIR: root } },
    );
    try {
      await child.waitForLine(/tunnel: ready\n/, START_MS);
      return child.stderr;
    } finally {
      await child.stop('SIGTERM', END_MS);
    }
  }

  for (const [cipher, times] of [
    ['aes256-ctr', 5],
    ['chacha20-poly1305@openssh.com', 9],
  ] as const)
    it(`is told with what it costs: ${cipher}`, async () => {
      const text = await said(place, '-o', `Ciphers=${cipher}`);
      const warning = `warning: large transfers are slow: ${cipher} is computed ${times} times as slowly as AES-GCM\n`;
      assert.equal(text.split(warning).length, 2, text);
      assert.match(text, /hint: use --transport openssh/);
    });

  it('is AES-GCM where there is no native part', async () => {
    const text = await said(withoutNative);
    assert.match(
      text,
      /slow: aes128-gcm@openssh.com is computed 3 times as slowly as with the native/,
    );
    assert.match(text, /hint: use --transport openssh; or see "Without the native part/);
  });

  it('is not AES-GCM', async () => {
    assert.doesNotMatch(await said(place), /are slow/);
  });
});
