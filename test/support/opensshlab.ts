/**
 * Dialling through the system's ssh in tests: closes everything that was opened, and checks that
 * nothing is left.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { TunnelError } from '../../src/errors/errors.ts';
import type { Destination } from '../../src/net/destination.ts';
import { dialOpenssh } from '../../src/ssh/openssh/dial.ts';
import { defaultBases } from '../../src/ssh/privatedirectory.ts';
import type { Transport } from '../../src/ssh/transport.ts';
import type { LoopbackSshd } from './loopback-sshd.ts';
import { type Changes, opensshOptions } from './openssh.ts';
import { commandLineOf } from './processtable.ts';

const open: Transport[] = [];
const servers: Server[] = [];

export async function dial(to: LoopbackSshd, changes: Changes = {}): Promise<Transport> {
  const transport = await dialOpenssh(await opensshOptions(to, changes));
  open.push(transport);
  return transport;
}

/** Ends all transports and servers that this module has made. */
export async function closeAll(): Promise<void> {
  for (const transport of open.splice(0)) await transport.close();
  for (const server of servers.splice(0)) server.close();
}

/** A half-open TCP server on 127.0.0.1. */
export async function serve(handler: (socket: Socket) => void): Promise<Destination> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {
      // Some of these tests end ssh midway.
    });
    handler(socket);
  });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not a TCP server');
  return { host: '127.0.0.1', port: address.port };
}

/** A destination where nobody listens. */
export async function closedPort(): Promise<Destination> {
  const destination = await serve(() => {});
  servers.pop()?.close();
  return destination;
}

/** The private directories that the process has made. */
export function leftovers(of = process.pid): string[] {
  const own = `-${of.toString(36)}-`;
  return defaultBases(process.env).flatMap((base) =>
    readdirSync(base).filter((name) => name.startsWith('tunnel-ssh-') && name.includes(own)),
  );
}

/** Process ids of the ssh clients that this process, or `of`, has started. */
export function clients(of = process.pid): number[] {
  return readFileSync(`/proc/${of}/task/${of}/children`, 'utf8')
    .trim()
    .split(' ')
    .filter((pid) => pid !== '' && commandLineOf(Number(pid)).startsWith('ssh\0'))
    .map(Number);
}

/** Dialling fails with a TunnelError that has a hint, and leaves nothing behind. */
export async function fails(
  to: LoopbackSshd,
  code: string,
  message: RegExp,
  changes: Changes = {},
): Promise<void> {
  let failure: unknown;
  try {
    await dial(to, changes);
  } catch (error) {
    failure = error;
  } finally {
    await closeAll();
  }
  assert.ok(failure instanceof TunnelError, `it failed with ${failure}`);
  assert.equal(failure.code, code, `${failure.message} ${String(failure.cause)}`);
  assert.match(failure.message, message);
  assert.ok(failure.hint !== undefined);
  assert.deepEqual(leftovers(), []);
  assert.deepEqual(clients(), []);
}
