/**
 * Which keys are offered when a server wants one more step, by a server made of the ssh2 library:
 * sshd never takes the same key twice, and others want that.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { AuthContext, AuthenticationType, Server } from 'ssh2';
import { TunnelError } from '../../../../../src/errors/errors.ts';
import { silentObserver } from '../../../../../src/observe/observer.ts';
import { Authenticator } from '../../../../../src/ssh/embedded/auth/authenticator.ts';
import { dialSsh2 } from '../../../../../src/ssh/embedded/handshake/dial.ts';
import { createHostKeyVerifier } from '../../../../../src/ssh/hostkeys/verifier.ts';
import { makeKey } from '../../../../support/loopback-sshd.ts';
import {
  Answers,
  authenticationSettings,
  pinned,
  testSettings,
} from '../../../../support/settings.ts';
import ssh2 from '../../../../support/ssh2.ts';

let directory: string;
const file = (name: string): string => join(directory, name);
before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'tunnel-publickey-'));
  for (const name of ['host', 'first', 'second']) await makeKey(file(name), 'ed25519');
});
after(() => rmSync(directory, { recursive: true, force: true }));

const nameOf = (key: Buffer): string =>
  ['first', 'second'].find(
    (name) => readFileSync(`${file(name)}.pub`, 'utf8').split(' ')[1] === key.toString('base64'),
  ) ?? '?';

/**
 * A login with two keys at a server that wants `steps`, one after the other; `takes` says which
 * keys count in which step. Returns what the server was offered.
 */
async function login(
  steps: readonly AuthenticationType[],
  takes: (step: number, key: string) => boolean,
): Promise<{ readonly offers: readonly string[]; readonly error: unknown }> {
  const offers: string[] = [];
  const server: Server = new ssh2.Server({ hostKeys: [readFileSync(file('host'))] }, (client) => {
    client.on('error', () => {
      // The client hangs up when it is done.
    });
    let step = 0;
    const want = (partial: boolean, context: AuthContext): void =>
      context.reject([steps[step] ?? 'none'], partial);
    client.on('authentication', (context) => {
      if (context.method !== steps[step]) return want(false, context);
      if (context.method === 'publickey') {
        const key = nameOf(context.key.data);
        if (context.signature === undefined) offers.push(`${step} ${key}`);
        if (!takes(step, key)) return want(false, context);
        if (context.signature === undefined) return context.accept();
      }
      step++;
      return step === steps.length ? context.accept() : want(true, context);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  try {
    const transport = await dialSsh2({
      jumpHosts: [
        {
          settings: testSettings({ hostName: 'jump', port, user: 'u' }),
          addresses: [{ host: '127.0.0.1', port }],
        },
      ],
      access: async () => ({
        hostKeys: createHostKeyVerifier(pinned(readFileSync(file('host.pub'), 'utf8')), {
          prompter: undefined,
          observer: silentObserver,
        }),
        authenticator: await Authenticator.load({
          settings: authenticationSettings([file('first'), file('second')]),
          prompter: new Answers('secret', 'secret', 'secret'),
          observer: silentObserver,
          home: '/nonexistent',
        }),
      }),
      observer: silentObserver,
    });
    await transport.close();
    return { offers, error: undefined };
  } catch (error) {
    return { offers, error };
  } finally {
    server.close();
  }
}

describe('keys in further steps', () => {
  it('the accepted key comes first after a step of another kind', async () => {
    const { offers, error } = await login(
      ['publickey', 'password', 'publickey'],
      (_, key) => key === 'first',
    );
    assert.equal(error, undefined);
    assert.deepEqual(offers, ['0 first', '2 first']);
  });

  it('another one follows, where the server wants another', async () => {
    const { offers, error } = await login(
      ['publickey', 'password', 'publickey'],
      (step, key) => key === (step === 0 ? 'first' : 'second'),
    );
    assert.equal(error, undefined);
    assert.deepEqual(offers, ['0 first', '2 first', '2 second']);
  });

  it('the second of two keys is another one', async () => {
    const { offers, error } = await login(['publickey', 'publickey'], () => true);
    assert.equal(error, undefined);
    assert.deepEqual(offers, ['0 first', '1 second']);
  });

  it('no key is offered a third time, and refused ones only once', async () => {
    const forever = Array.from({ length: 8 }, (_, n) => (n % 2 === 0 ? 'publickey' : 'password'));
    const { offers, error } = await login(
      forever as AuthenticationType[],
      (_, key) => key === 'second',
    );
    assert.ok(error instanceof TunnelError && error.code === 'auth-failed', String(error));
    assert.deepEqual(offers, ['0 first', '0 second', '2 second']);
  });
});
