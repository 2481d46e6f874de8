/**
 * Dials with the embedded transport that should succeed or fail: to sshds, and to other ports.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { TunnelError } from '../../src/errors/errors.ts';
import type { RemoteAddress } from '../../src/ssh/dial/addresses.ts';
import { Authenticator } from '../../src/ssh/embedded/auth/authenticator.ts';
import type { Access } from '../../src/ssh/embedded/handshake/attempt.ts';
import { type DialOptions, dialSsh2 } from '../../src/ssh/embedded/handshake/dial.ts';
import { createHostKeyVerifier } from '../../src/ssh/hostkeys/verifier.ts';
import type { Prompter } from '../../src/ssh/prompter.ts';
import type { SshSettings } from '../../src/ssh/settings.ts';
import type { Transport } from '../../src/ssh/transport.ts';
import { LogLines } from './embedded.ts';
import type { LoopbackSshd } from './loopback-sshd.ts';
import { Answers, authenticationSettings, pinned, testSettings } from './settings.ts';

/** What a try needs to know about an sshd or its stand-in. */
export type TriedServer = Pick<LoopbackSshd, 'directory' | 'knownHostsLine' | 'port' | 'user'>;

export interface Try {
  readonly server?: TriedServer;
  readonly port?: number;
  readonly files?: string[];
  readonly agentSocket?: string;
  readonly pins?: string[];
  readonly prompter?: Prompter;
  readonly settings?: Partial<SshSettings>;
  readonly addresses?: readonly RemoteAddress[];
  readonly hostKeys?: Access['hostKeys'];
  readonly options?: Partial<DialOptions>;
}

export interface Tries {
  readonly dial: (attempt: Try) => Promise<Transport>;
  /** Dials, and returns the error. */
  readonly rejected: (attempt: Try) => Promise<TunnelError>;
  /** Dials, and closes again. */
  readonly accepted: (attempt: Try) => Promise<void>;
}

/** A try that names no server uses `usual`. */
export function triesAt(usual: () => TriedServer): Tries {
  async function dial({
    server = usual(),
    port = server.port,
    files = [],
    pins,
    settings,
    addresses = [{ host: '127.0.0.1', port }],
    hostKeys,
    options,
    ...rest
  }: Try): Promise<Transport> {
    const own = (await server.knownHostsLine()).split(' ').slice(1).join(' ');
    const observer = options?.observer ?? new LogLines();
    return dialSsh2({
      jumpHosts: [
        {
          settings: testSettings({ hostName: 'jump.test', port, user: server.user, ...settings }),
          addresses,
        },
      ],
      access: async () => ({
        hostKeys:
          hostKeys ??
          createHostKeyVerifier(pinned(...(pins ?? [own])), { prompter: undefined, observer }),
        authenticator: await Authenticator.load({
          settings: authenticationSettings(files, { agentSocket: rest.agentSocket }),
          home: server.directory,
          prompter: rest.prompter ?? new Answers(),
          observer,
        }),
      }),
      observer,
      ...options,
    });
  }

  async function rejected(attempt: Try): Promise<TunnelError> {
    try {
      await (await dial(attempt)).close();
    } catch (error) {
      if (error instanceof TunnelError) return error;
      throw error;
    }
    throw new Error('it connected');
  }

  async function accepted(attempt: Try): Promise<void> {
    const transport = await dial(attempt);
    await transport.close();
    assert.equal(await transport.ended, undefined);
  }

  return { dial, rejected, accepted };
}

/** Listens on a free port of 127.0.0.1. */
export async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not a TCP server');
  return address.port;
}

/** A port of 127.0.0.1 where nobody listens. */
export async function closedPort(): Promise<number> {
  const server = createServer();
  const port = await listen(server);
  server.close();
  await once(server, 'close');
  return port;
}
