/**
 * The process that sudo or doas has started: it starts the program again as their caller, and stays
 * as the part that is root.
 *
 *   launcher (the caller's uid and groups, no capabilities, no_new_privs) ─► the program, again
 *        ▲ signals, stops, exit status (system/launcher/job.ts)               │ requests
 *        └──────────── this process ◄────────────────────────────────────────┘
 *                      (system/privileged/part.ts); it ends after the program, when resolv.conf is
 *                      as before
 *
 * It reads neither arguments nor files: of the command line it looks only for the numbers of
 * descriptors to pass on. Both are in one process group, as with `exec`: what the terminal sends
 * reaches the program from the kernel, what is sent to this process alone is passed on.
 */
import { closeSync, openSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { ownDnsAddresses } from '../dns/server/nameservice.ts';
import { TunnelError } from '../errors/errors.ts';
import { reasonOf } from '../errors/reason.ts';
import { addon, type LinkHandle } from '../native/addon.ts';
import { canonicalAddress } from '../net/address.ts';
import { hostPrefix, prefixContains } from '../net/prefix.ts';
import { OWN_RANGES } from '../net/special.ts';
import type { Observer } from '../observe/observer.ts';
import { actAs } from '../system/launcher/caller.ts';
import { inheritedDescriptors } from '../system/launcher/inherited.ts';
import { type PreparedCommand, startAsCaller } from '../system/launcher/launcher.ts';
import type { CommandUser, Variables } from '../system/launcher/protocol.ts';
import { descriptorLimitAtStart } from '../system/limits.ts';
import { LINK_VARIABLE } from '../system/privileged/client.ts';
import { rootsVariables } from '../system/privileged/identity.ts';
import { PrivilegedPart } from '../system/privileged/part.ts';
import { DAEMON_VARIABLE } from '../system/service/daemon.ts';
import { runToEnd } from './job.ts';
import { linuxRoot } from './linuxroot.ts';

/** How this process was started. */
export interface OwnStart {
  /** The program and its own options, without the arguments. */
  readonly program: readonly string[];
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** Further changes of the environment for the program. */
  readonly variables: Variables;
}

export interface AsCallerOptions {
  readonly observer: Observer;
  readonly stop: AbortSignal;
  /** With -D; undefined: the program stays at its terminal. */
  readonly daemon: DaemonParts | undefined;
}

interface DaemonParts {
  /** Of the process that waits: for the program, which tells it that it is ready. */
  readonly fd: number;
  /** Leaves the terminal. */
  readonly detach: () => void;
}

/**
 * Runs the program as the caller of sudo or doas; its exit status. Undefined: the caller is root.
 * Rejects with TunnelError `launcher-...`, or with the reason of `stop` if that comes before the
 * program runs.
 */
export async function runAsCaller(
  { program, args, env, variables: more }: OwnStart,
  { observer, stop, daemon }: AsCallerOptions,
): Promise<number | undefined> {
  const inherited = [...inheritedDescriptors(args), ...(daemon === undefined ? [] : [daemon.fd])];
  let part: PrivilegedPart | undefined;
  const pair = addon().linkPair((message) => {
    if (message !== null) part?.received(message);
    else part?.linkEnded();
  });
  let prepared: PreparedCommand;
  try {
    prepared = await startAsCaller({
      command: [...program, ...args],
      setup: {
        verbatim: isMangled([...args, ...Object.entries(env).flat()]),
        descriptors: descriptorLimitAtStart(),
      },
      descriptors: [...inherited, pair.fd],
      observer,
      signal: stop,
    });
  } catch (error) {
    addon().linkClose(pair.link);
    throw error;
  } finally {
    closeSync(pair.fd);
  }
  const { user } = prepared;
  if (user.uid === 0) {
    prepared.close();
    addon().linkClose(pair.link);
    return undefined;
  }
  try {
    stop.throwIfAborted();
    requireReadable([program[0], program.at(-1)], user);
  } catch (error) {
    prepared.close();
    addon().linkClose(pair.link);
    throw error;
  }
  // The launcher has read what it needs from this process.
  addon().hideMemory();
  for (const fd of inherited) closeSync(fd); // whoever reads it waits for its end
  part = new PrivilegedPart({
    root: linuxRoot(user, serversOf),
    detach: daemon?.detach,
    foreign: new Set(Object.keys(networkInterfaces())),
    send: (message) => send(pair.link, message),
    end(isRefused) {
      if (isRefused)
        observer.log(
          'error',
          'the program has sent what is no request: it gets no answers any more',
        );
      addon().linkClose(pair.link);
    },
  });
  try {
    const variables = {
      ...rootsVariables(env),
      ...more,
      [LINK_VARIABLE]: String(pair.fd),
      ...(daemon === undefined ? {} : { [DAEMON_VARIABLE]: String(daemon.fd) }),
    };
    return await runToEnd(prepared, stop, variables);
  } finally {
    await part.close();
  }
}

/** Throws TunnelError `launcher-privileges` if the user may not read Node or the program. */
function requireReadable(files: readonly (string | undefined)[], user: CommandUser): void {
  const actAgainAsRoot = actAs(user);
  try {
    for (const file of files) if (file !== undefined) closeSync(openSync(file, 'r'));
  } catch (cause) {
    throw new TunnelError(
      'launcher-privileges',
      `the program can't run as uid ${user.uid}: ${reasonOf(cause)}`,
      {
        hint: 'install Node and tunnel where that user can read them, or run it as root without SUDO_UID and DOAS_USER',
        cause,
      },
    );
  } finally {
    actAgainAsRoot();
  }
}

/** The program may be gone, which its end tells. */
function send(link: LinkHandle, message: Uint8Array): void {
  try {
    addon().linkSend(link, message);
  } catch {
    // EPIPE, or EAGAIN: it doesn't read its answers, and gets none
  }
}

/** The DNS server of the tunnel with this device, by the device's own addresses. */
function serversOf(device: string): readonly string[] {
  const own = (networkInterfaces()[device] ?? [])
    .map(({ address }) => canonicalAddress(address))
    .filter((address) => OWN_RANGES.some((range) => prefixContains(range, hostPrefix(address))));
  return own.flatMap((address) => [...ownDnsAddresses(bySide(address))]);
}

function bySide(address: string): { address4: string | undefined; address6: string | undefined } {
  return address.includes(':')
    ? { address4: undefined, address6: address }
    : { address4: address, address6: undefined };
}

/** Whether Node has had to replace bytes that are no UTF-8. */
function isMangled(texts: readonly (string | undefined)[]): boolean {
  return texts.some((text) => text?.includes('\ufffd'));
}
