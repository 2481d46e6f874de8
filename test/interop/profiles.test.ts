/** A profile that inherits, and one that a line has saved, at a real sshd: the whole program. */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { LoopbackSshd, sshdMissing } from '../support/loopback-sshd.ts';
import { startProxyProgram } from '../support/loopbackprogram.ts';
import { MAIN } from '../support/tunnel.ts';

const READY_MS = 20_000;

describe('a profile', { skip: sshdMissing }, () => {
  let sshd: LoopbackSshd;
  let web: Server;
  let file: string;
  before(async () => {
    sshd = await LoopbackSshd.start({});
    web = createServer((_, answer) => answer.end('behind the jump host\n')).listen(0, '127.0.0.1');
    await once(web, 'listening');
    file = join(sshd.directory, 'config.yaml');
    const hostKey = JSON.stringify((await sshd.knownHostsLine()).trim());
    const config = `
defaults:
  keepalive: 5
profiles:
  base:
    remote: ${sshd.user}@127.0.0.1
    port: ${sshd.port}
    identity: ${sshd.userKey}
    host-key: ${hostKey}
  web:
    extends: base
    command: proxy
    http: 127.0.0.1:0
    allow-rule: ['127.0.0.1:${(web.address() as AddressInfo).port}']
`;
    writeFileSync(file, config, { mode: 0o600 });
  });
  after(async () => {
    web?.close();
    await sshd?.stop();
  });

  async function fetchThrough(args: readonly string[]): Promise<void> {
    const program = await startProxyProgram(['--config', file, ...args]);
    try {
      const [, listen = ''] = await program.waitForLine(/proxy at 127\.0\.0\.1:(\d+)/, READY_MS);
      await program.waitForLine(/tunnel: ready/, READY_MS);
      const { port } = web.address() as AddressInfo;
      const through = ['-sS', '-m', '10', '--proxy', `http://127.0.0.1:${listen}`, '--noproxy', ''];
      const fetched = async (url: string, ...more: string[]): Promise<string> =>
        (await promisify(execFile)('curl', [...through, ...more, url])).stdout;
      assert.equal(await fetched(`http://127.0.0.1:${port}/`), 'behind the jump host\n');
      // No rule of the list: the proxy itself answers.
      const unlisted = `http://127.0.0.1:${sshd.port}/`;
      assert.equal(await fetched(unlisted, '-o', '/dev/null', '-w', '%{http_code}'), '403');
    } finally {
      await program.stop('SIGINT', 10_000);
    }
  }

  it('that inherits runs a proxy, with its allow-list', () => fetchThrough(['--profile', 'web']));

  it('that a line has saved runs as well', async () => {
    const save = ['--config', file, '--profile', 'web', '--save', 'saved', '-F', 'none', '-v'];
    execFileSync(process.execPath, [MAIN, ...save]);
    await fetchThrough(['--profile', 'saved']);
  });
});
