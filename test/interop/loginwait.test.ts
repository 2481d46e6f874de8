/**
 * --wait-auth at a real sshd that learns about a key later: the whole program, with both transports
 * at once, since it takes its time.
 */
import assert from 'node:assert/strict';
import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fingerprint } from '../../src/ssh/keys/publickey.ts';
import { LoopbackSshd, makeKey, sshdMissing } from '../support/loopback-sshd.ts';
import { startProxyProgram } from '../support/loopbackprogram.ts';
import type { Child } from '../support/process.ts';
import { startAgent } from '../support/sshagent.ts';

const WAIT_SECONDS = 15;
const WAITING =
  /waiting up to 15 s for the login to be accepted \(--wait-auth\); trying again in 15 s\n/;
const TRANSPORTS = ['ssh2', 'openssh'] as const;

describe('--wait-auth', { skip: sshdMissing }, () => {
  let sshd: LoopbackSshd;
  let agent: Awaited<ReturnType<typeof startAgent>>;
  const key = (name: string): string => join(sshd.directory, name);
  before(async () => {
    sshd = await LoopbackSshd.start({ config: ['LogLevel DEBUG2', 'MaxAuthTries 10'] });
    for (const transport of TRANSPORTS)
      for (const name of ['late', 'never']) await makeKey(key(`${name}-${transport}`), 'ed25519');
    for (const name of ['other', 'another']) await makeKey(key(name), 'ed25519');
    agent = await startAgent(key('agent'), [key('other'), key('another')]);
  });
  after(async () => {
    agent?.kill();
    await sshd?.stop();
  });

  async function start(name: string, transport: string, seconds = WAIT_SECONDS): Promise<Child> {
    const hostKey = (await sshd.knownHostsLine()).trim();
    return startProxyProgram(
      [
        ...['--socks', '127.0.0.1:0', '-r', `${sshd.user}@127.0.0.1:${sshd.port}`],
        ...['-i', key(`${name}-${transport}`), '--transport', transport],
        ...['--host-key', hostKey, '--wait-auth', `${seconds}`],
      ],
      { agentSocket: key('agent') },
    );
  }

  /** How often sshd was offered this key. */
  const offersOf = async (name: string): Promise<number> => {
    const [, blob = ''] = readFileSync(key(`${name}.pub`), 'utf8').split(' ');
    const shown = fingerprint(Buffer.from(blob, 'base64'));
    return (await sshd.log())
      .split('\n')
      .filter((line) => line.includes('test pkalg') && line.includes(shown)).length;
  };

  it('logs in once the key is valid, ends with the refusal if it never is, and at once with INT', async () => {
    const began = performance.now();
    const late = await Promise.all(TRANSPORTS.map((transport) => start('late', transport)));
    const never = await Promise.all(TRANSPORTS.map((transport) => start('never', transport)));
    const stopped = await Promise.all(
      TRANSPORTS.map((transport) => start('never', transport, 900)),
    );
    for (const program of [...late, ...never]) await program.waitForLine(WAITING, 10_000);
    for (const program of stopped) {
      await program.waitForLine(/trying again in 75 s\n/, 10_000);
      const asked = performance.now();
      const { status } = await program.stop('SIGINT', 5_000);
      assert.ok(performance.now() - asked < 3_000);
      assert.equal(status, 130, program.stderr);
      assert.doesNotMatch(program.stderr, /error|ready/);
    }
    await delay(3_000);
    for (const transport of TRANSPORTS)
      appendFileSync(key('authorized_keys'), readFileSync(key(`late-${transport}.pub`)));
    for (const program of late) {
      await program.waitForLine(
        /the login is accepted, after 1[5-9] s\n(.*\n)*tunnel: ready\n/,
        30_000,
      );
      assert.ok(performance.now() - began > WAIT_SECONDS * 1_000);
      await program.stop('SIGINT');
    }
    for (const program of never) {
      const { status } = await program.wait(30_000);
      assert.equal(status, 3, program.stderr);
      assert.match(program.stderr, /error \[auth-failed\]: .*1 key was offered/);
    }
    for (const transport of TRANSPORTS) {
      assert.equal(await offersOf(`never-${transport}`), 3, 'one each login');
    }
    for (const name of ['other', 'another'])
      assert.equal(await offersOf(name), 0, 'only the key that was named');
  });
});
