/**
 * `tunnel nc`: standard input and output as one connection through the jump host, for ProxyCommand.
 *
 *   link (tunnel.ts) -> the far side connects -> joined with the descriptors
 *     -> both directions have ended -> the server has given the channel back -> the link is closed
 *
 * The server gives a channel back when it has passed on all that was sent on it. A link that is
 * closed before would lose what the server or ssh still has of an upload.
 */
import { closeSync, fstatSync, openSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { NcConfiguration } from '../config/ncoptions.ts';
import { TunnelError } from '../errors/errors.ts';
import { reasonOf, systemCodeOf } from '../errors/reason.ts';
import { type AtOnce, DescriptorConduit } from '../flow/descriptorconduit.ts';
import { join } from '../flow/join.ts';
import { addonIfAny } from '../native/addon.ts';
import { formatDestination } from '../net/destination.ts';
import { systemErrorName } from '../system/helper/errors.ts';
import { linux } from './machine.ts';
import { inSession } from './session.ts';
import { openTunnel, type RunOptions } from './tunnel.ts';

const STDIN = 0;
const STDOUT = 1;
/** How often it is looked whether the server still has the channel. */
const LOOK_MS = 5;

/**
 * Resolves when both directions have ended in order. Rejects with TunnelError, or with the reason
 * of `stop`.
 */
export function runNc(
  { tunnel: wanted, destination }: NcConfiguration,
  options: RunOptions,
): Promise<void> {
  const { observer, machine = linux } = options;
  return inSession(options, async (session) => {
    machine.hideMemory();
    // Nobody reads advice of a ProxyCommand.
    const tunnel = await openTunnel(session, wanted, {
      ...options,
      kind: 'library',
      sharesError: true,
    });
    const { link, connector } = tunnel;
    session.own('the watch', machine.watch(link, '', observer), (unwatch) => unwatch());
    const far = await session.within(connector.connect(destination, { signal: session.signal }));
    observer.log('info', `connected to ${formatDestination(destination)}`);
    const atOnce = callsAtOnce();
    const near = new DescriptorConduit({ input: STDIN, output: STDOUT, endOutput, atOnce });
    const ended = new Promise<Error | undefined>((resolve) =>
      join(near, far, ({ error }) => resolve(error)),
    );
    const error = await session.within(ended);
    if (error !== undefined) throw failure(error, formatDestination(destination));
    while (link.channels > 0) await session.within(delay(LOOK_MS));
  });
}

/**
 * undefined: without the native part each read and each write passes a thread. Pipes keep their
 * size: larger ones would hardly be faster, and all pipes of a user share one limit, above which
 * other programs get pipes of 8 KiB (pipe-user-pages-soft, pipe(7)).
 */
function callsAtOnce(): AtOnce | undefined {
  const native = addonIfAny();
  if (native === undefined) return undefined;
  return {
    read: (fd, into) => asSystemCall('read', () => native.readWaiting(fd, into)),
    write: (fd, parts) => asSystemCall('write', () => native.writeFitting(fd, ...parts)),
  };
}

/** The native part's errors get `code` and `syscall`, as those of node:fs have them. */
function asSystemCall<Result>(syscall: 'read' | 'write', call: () => Result): Result {
  try {
    return call();
  } catch (cause) {
    const errno = cause instanceof Error && 'errno' in cause ? Number(cause.errno) : 0;
    const code = systemErrorName(errno);
    throw Object.assign(new Error(`${syscall}: ${code}`, { cause }), { code, syscall });
  }
}

/**
 * Whoever reads standard output sees its end, also where standard input is the same socket. Without
 * the native part that one's reader sees it only when the program ends.
 */
function endOutput(): void {
  const native = addonIfAny();
  if (native !== undefined && fstatSync(STDOUT).isSocket()) {
    native.shutdownOutput(STDOUT);
    return;
  }
  closeSync(STDOUT);
  // Or the next file that is opened would be standard output.
  openSync('/dev/null', 'w');
}

function failure(error: Error, to: string): TunnelError {
  if (error instanceof TunnelError) return error;
  const call = 'syscall' in error ? error.syscall : undefined;
  const code = systemCodeOf(error);
  if (call === 'read')
    return new TunnelError('input-failed', `standard input can't be read: ${code}`, {
      hint: 'what was read before has been sent',
      cause: error,
    });
  if (call === 'write' || call === 'writev')
    return new TunnelError('output-failed', `standard output can't be written: ${code}`, {
      hint: 'send it elsewhere: what is there now may be a part of it',
      cause: error,
    });
  return new TunnelError('connection-reset', `${to}: ${reasonOf(error)}`, {
    hint: 'it ended before all was carried; the log of the destination may say why',
    cause: error,
  });
}
