/**
 * The embedded client on a machine that is slow to compile ssh2's ciphers (WebAssembly): the server
 * has identified itself before ssh2 listens.
 */
import { after, before, describe, it } from 'node:test';
import { LoopbackSshd, sshdMissing } from '../support/loopback-sshd.ts';
import { startProxyProgram } from '../support/loopbackprogram.ts';

const START_MS = 20_000;
/** Compiles half a second later. */
const SLOW = `data:text/javascript,${encodeURIComponent(`
  const { instantiate } = WebAssembly;
  WebAssembly.instantiate = async (...args) => {
    await new Promise((resolve) => setTimeout(resolve, 500));
    return instantiate(...args);
  };
`)}`;

describe('a client whose ciphers are compiled late', { skip: sshdMissing }, () => {
  let sshd: LoopbackSshd;
  before(async () => {
    sshd = await LoopbackSshd.start();
  });
  after(() => sshd?.stop());

  it('misses nothing of what the server says first', async () => {
    const { user, port, userKey } = sshd;
    const program = await startProxyProgram(
      [
        ...['--transport', 'ssh2', '--socks', '127.0.0.1:0', '-i', userKey],
        ...['-o', 'StrictHostKeyChecking=accept-new', '-r', `${user}@127.0.0.1:${port}`],
      ],
      { preload: SLOW },
    );
    await program.waitForLine(/tunnel: ready\n/, START_MS);
    program.kill('SIGTERM');
    await program.exited;
  });
});
