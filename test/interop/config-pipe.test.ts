/**
 * `-F` with what can be read once, or by this process alone: a pipe of the shell, standard input.
 * It counts for both transports, and for each jump host.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { closedPort } from '../support/dialtries.ts';
import { sshdMissing } from '../support/loopback-sshd.ts';
import { run } from '../support/process.ts';
import { MAIN } from '../support/tunnel.ts';

const D = mkdtempSync(join(tmpdir(), 'tunnel-pipe-'));
after(() => rmSync(D, { recursive: true }));

describe('-F', { skip: sshdMissing, timeout: 120_000 }, () => {
  for (const transport of ['ssh2', 'openssh'])
    for (const [what, line] of [
      ['a pipe of the shell', '"$@" -F <(cat "$CONFIG")'],
      ['standard input', 'cat "$CONFIG" | "$@" -F /dev/stdin'],
      ['a file as standard input', '"$@" -F /dev/stdin <"$CONFIG"'],
      ['a pipe, with two jump hosts', '"$@" -r other -F <(cat "$CONFIG")'],
    ] as const)
      it(`takes ${what} (${transport})`, async () => {
        const port = await closedPort();
        const config = join(D, 'config');
        writeFileSync(config, `Host jump.invalid other\nHostName 127.0.0.1\nPort ${port}\n`);
        const program = [process.execPath, MAIN, 'proxy', '--socks', '127.0.0.1:0'];
        const args = ['--transport', transport, '-r', 'jump.invalid'];
        const { stderr } = await run(['bash', '-c', line, 'bash', ...program, ...args], {
          env: { ...process.env, CONFIG: config },
        });
        // Without the file, the name would be asked for.
        assert.match(stderr, new RegExp(`\\[jumphost-refused\\]: 127\\.0\\.0\\.1:${port}`));
      });
});
