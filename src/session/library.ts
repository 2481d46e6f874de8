/**
 * A tunnel for a program that uses the library. Nothing on the machine is changed, nothing is
 * written to the standard streams, and no signal is handled.
 *
 *   options ─► Configuration ─► openTunnel() of tunnel.ts, as for each command
 *                                 └─► Tunnel (embed/tunnel.ts), over its connector
 *
 * It ends by close(), by the signal, or when the link is lost for good. What is connected then is
 * reset, and what waits is refused.
 */
import { configurationOf } from '../embed/configure.ts';
import { follow, TunnelEvents } from '../embed/events.ts';
import type { OpenTunnelOptions } from '../embed/options.ts';
import { prompterFor } from '../embed/prompt.ts';
import { Tunnel } from '../embed/tunnel.ts';
import { TunnelError } from '../errors/errors.ts';
import { systemRefusal } from '../errors/system.ts';
import type { Observer } from '../observe/observer.ts';
import { linux, type Machine } from './machine.ts';
import { Session } from './session.ts';
import { openTunnel } from './tunnel.ts';

/**
 * Opens a tunnel. Resolves when the link stands, or with `onDemand` when it could be dialled.
 * Rejects with UsageError for a wrong option, with TunnelError for all else that goes wrong, or
 * with the signal's reason. `machine`: for tests.
 */
export async function openLibraryTunnel(
  options: OpenTunnelOptions,
  machine: Machine = linux,
): Promise<Tunnel> {
  const configuration = configurationOf(options);
  const { signal, prompt, log } = options;
  signal?.throwIfAborted();
  const observer: Observer = {
    log: (level, message, fields) => {
      if (log === undefined) return;
      try {
        log(level, message, fields);
      } catch (error) {
        // It may be called from anywhere: what it throws is its own program's fault.
        process.nextTick(() => {
          throw error;
        });
      }
    },
    shows: () => log !== undefined,
    count() {},
  };
  const stop = new AbortController();
  const session = new Session({ observer, stop: stop.signal });
  const events = new TunnelEvents();
  const close = async (): Promise<void> => {
    signal?.removeEventListener('abort', abort);
    stop.abort(new TunnelError('link-closed', 'the tunnel was closed'));
    // What can't be closed is logged.
    await session.close();
  };
  const abort = (): void => {
    stop.abort(signal?.reason);
    if (opened) void close();
  };
  let opened = false;
  signal?.addEventListener('abort', abort, { once: true });
  try {
    const { connector, link } = await openTunnel(session, configuration, {
      kind: 'library',
      observer,
      prompter: prompterFor(prompt),
      stop: stop.signal,
      learned: () => {},
      machine,
    });
    session.own('the watch', machine.watch(link, '', observer), (unwatch) => unwatch());
    opened = true;
    follow(events, link);
    void link.ended.then(close);
    return new Tunnel(events, { connector, observer, ended: stop.signal, close });
  } catch (error) {
    await close();
    throw systemRefusal(error) ?? error;
  }
}
