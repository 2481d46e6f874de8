/**
 * The options of the SSH connection, in three groups: where the jump host is and how the user logs
 * in, how the client talks to it, and the settings of a lasting link. A command that doesn't take a
 * group has its defaults.
 */
import { join } from 'node:path';
import { UsageError } from '../errors/errors.ts';
import { quoted } from '../net/notation.ts';
import { filePrefix, formatPlace, oneOf, type Place, readAt } from '../net/place.ts';
import { parsePort } from '../net/ports.ts';
import { SshOptionReader } from '../ssh/config/keywords.ts';
import { parseHostKeyPin } from '../ssh/keys/pin.ts';
import { DEFAULT_MAX_WINDOW, DEFAULT_WINDOW_BUDGET } from '../ssh/limits.ts';
import {
  DEFAULT_AUTH_TIMEOUT,
  DEFAULT_CONNECT_TIMEOUT,
  DEFAULT_KEEPALIVE,
  DEFAULT_RECONNECT_HOLD,
  LEAST_WAIT_AUTH,
  type OnDemand,
  type Remote,
  type SshOptions,
  TRANSPORTS,
  type WindowOptions,
} from '../ssh/options.ts';
import { parseJump, parseRemote } from '../ssh/remote.ts';
import { homeDirectory } from '../system/home.ts';
import { splitWords } from './argsfile.ts';
import {
  asText,
  type Given,
  type GivenOptions,
  once,
  type Reader,
  readOptions,
  repeated,
  seconds,
  toggle,
  type ValuesOf,
} from './option.ts';

/** Seconds. */
export const MAX_TIMEOUT = 3600;
/** More addresses of one jump host than this are treated as a mistake. */
export const MAX_REMOTES = 16;

const MIB = 2 ** 20;

/** Where the jump host is, and how the user logs in. */
export const JUMP_HOST_OPTIONS = {
  heading: 'Jump host:',
  options: {
    remote: repeated('-r, --remote <remote>', 'the jump host (repeatable)', parseRemote),
    port: once('-p, --port <port>', 'port of the jump host, unless REMOTE has one', (text, place) =>
      readAt(place, text, 'write a port from 1 to 65535, as in: -p 2222', parsePort),
    ),
    identity: repeated(
      '-i, --identity <file>',
      'private key (repeatable); otherwise the agent and ~/.ssh/id_*',
      path('key'),
    ),
    jump: once(
      '-J, --jump <hops>',
      'connect through these hosts, "a,user@b:2222"; "none": no hosts, not even from ssh_config',
      parseJump,
    ),
    sshConfig: once(
      '-F, --ssh-config <file>',
      'read this instead of ~/.ssh/config; "none": no file',
      path('configuration'),
    ),
    sshOption: repeated(
      '-o, --ssh-option <option>',
      'Keyword=value as in ssh_config (repeatable)',
      asText,
    ),
  },
} as const;

const CONNECTION = 'SSH connection:';

/** How the client talks to the jump host. */
export const CONNECTION_OPTIONS = {
  heading: CONNECTION,
  options: {
    transport: once(
      '--transport <name>',
      'SSH client: ssh2 (embedded), openssh (the ssh program) or auto (default: auto)',
      (text, place) => oneOf(TRANSPORTS, text, place, 'leave it out, and the program chooses'),
      TRANSPORTS,
    ),
    sshCmd: once(
      '-e, --ssh-cmd <command>',
      'the ssh program to use, with its first arguments',
      readCommand,
    ),
    hostKey: repeated(
      '--host-key <key>',
      'accept only this host key: SHA256:... or "ssh-ed25519 AAAA..." (repeatable); otherwise ~/.ssh/known_hosts decides',
      (text, place) =>
        readAt(place, text, 'write it as "ssh-keygen -l" prints it', parseHostKeyPin),
    ),
    oneKey: toggle(
      '--one-key',
      'offer the jump host only one key: the first of -i, the agent and ~/.ssh/id_*',
    ),
    connectTimeout: once(
      '--connect-timeout <seconds>',
      `limit for TCP and key exchange, per address (default: ssh_config, else ${DEFAULT_CONNECT_TIMEOUT})`,
      seconds('--connect-timeout', 'above 0', MAX_TIMEOUT),
    ),
    authTimeout: once(
      '--auth-timeout <seconds>',
      `limit for authentication, except your time to answer (default: ${DEFAULT_AUTH_TIMEOUT})`,
      seconds('--auth-timeout', 'above 0', MAX_TIMEOUT),
    ),
    keepalive: once(
      '--keepalive <seconds>',
      `ask the jump host for a sign of life after this much silence; 0: never (default: ssh_config, else ${DEFAULT_KEEPALIVE})`,
      seconds('--keepalive', 'from 0', MAX_TIMEOUT),
    ),
  },
} as const;

/** For a lasting link, which is made again when it is lost. */
export const LINK_OPTIONS = {
  heading: CONNECTION,
  options: {
    reconnectHold: once(
      '--reconnect-hold <seconds>',
      `how long new connections wait while the link is down; 0: refuse them (default: ${DEFAULT_RECONNECT_HOLD})`,
      seconds('--reconnect-hold', 'from 0', MAX_TIMEOUT),
    ),
    waitAuth: once(
      '--wait-auth <seconds>',
      'try a refused login again for this long, a few times in ten minutes: for a key that the jump host learns about later',
      readWaitAuth,
    ),
    waitOnline: once(
      '--wait-online <seconds>',
      'at the start, wait so long for a jump host that cannot be reached, as before the network is up',
      seconds('--wait-online', 'from 0', MAX_TIMEOUT),
    ),
    onDemand: toggle(
      '--on-demand',
      'connect to the jump host when a connection needs it; it need not be there at the start',
    ),
    idleDisconnect: once(
      '--idle-disconnect <seconds>',
      'with --on-demand, disconnect after so long without a connection; 0: never (default: 0)',
      seconds('--idle-disconnect', 'from 0', MAX_TIMEOUT),
    ),
    maxWindow: once(
      '--max-window <size>',
      `bytes that one connection may have in flight or waiting for its reader (default: ${DEFAULT_MAX_WINDOW / MIB}M)`,
      size('--max-window'),
    ),
    windowBudget: once(
      '--window-budget <size>',
      `the same for all connections together (default: ${DEFAULT_WINDOW_BUDGET / MIB}M)`,
      size('--window-budget'),
    ),
    noFlush: toggle(
      '--no-flush',
      "send no requests that work around the jump host's TCP delays (Nagle, OpenSSH up to 10.0)",
    ),
  },
} as const;

/** Throws UsageError. */
export function readSshOptions(given: GivenOptions): SshOptions {
  const { remote, port, identity, jump, sshConfig, sshOption } = readOptions(
    JUMP_HOST_OPTIONS,
    given,
  );
  const remotes = requireRemotes(remote);
  const connection = readOptions(CONNECTION_OPTIONS, given);
  const { hostKey, connectTimeout, authTimeout, keepalive, oneKey } = connection;
  const link = readOptions(LINK_OPTIONS, given);
  const client = chooseClient(connection);
  return {
    remotes,
    port: port?.value,
    jump: jump?.value,
    configFile: sshConfig?.value,
    sshOptions: readSshConfigOptions(sshOption),
    ...client,
    identityFiles: identity.map(theValue),
    oneKey: oneKey !== undefined,
    hostKeyPins: hostKey.map(theValue),
    connectTimeout: connectTimeout?.value,
    authTimeout: authTimeout?.value ?? DEFAULT_AUTH_TIMEOUT,
    keepalive: keepalive?.value,
    windows: windowsFor(client.transport, link),
    flush: link.noFlush === undefined,
    reconnectHold: link.reconnectHold?.value ?? DEFAULT_RECONNECT_HOLD,
    waitAuth: link.waitAuth?.value ?? 0,
    waitOnline: link.waitOnline?.value ?? 0,
    onDemand: readOnDemand(link),
  };
}

/** -o, in order. Throws UsageError. */
function readSshConfigOptions(given: readonly Given<string>[]): string[] {
  const reader = new SshOptionReader();
  return given.flatMap(
    ({ value, place }) =>
      readAt(place, value, 'write it as ssh does: -o Key=Value', (text) => reader.read(text)) ?? [],
  );
}

function theValue<T>({ value }: Given<T>): T {
  return value;
}

function requireRemotes(remotes: readonly Given<Remote>[]): readonly [Remote, ...Remote[]] {
  const [first, ...others] = remotes.map(theValue);
  if (first === undefined) {
    throw new UsageError('no jump host is given', {
      hint: 'name it with -r, as in: tunnel -r user@jumphost 10.0.0.0/8, or: tunnel exec -r user@jumphost -- COMMAND; "tunnel help" shows what else there is',
    });
  }
  if (others.length >= MAX_REMOTES) {
    throw new UsageError(
      `-r is given ${remotes.length} times, at most ${MAX_REMOTES} addresses are tried`,
      { hint: 'every -r names another address of the same jump host' },
    );
  }
  return [first, ...others];
}

/** A user's own command (-e) starts the system's ssh, so it excludes the embedded client. */
function chooseClient({
  transport,
  sshCmd,
}: ValuesOf<typeof CONNECTION_OPTIONS.options>): Pick<SshOptions, 'transport' | 'sshCommand'> {
  if (sshCmd === undefined) return { transport: transport?.value ?? 'auto', sshCommand: undefined };
  if (transport?.value === 'ssh2') {
    throw new UsageError(
      `${filePrefix(sshCmd.place)}-e and --transport ssh2 exclude each other: the embedded client runs no command`,
      { hint: 'leave one of them out' },
    );
  }
  return { transport: 'openssh', sshCommand: sshCmd.value };
}

function readOnDemand({
  onDemand,
  idleDisconnect,
}: ValuesOf<typeof LINK_OPTIONS.options>): OnDemand | undefined {
  if (onDemand !== undefined) return { idleDisconnect: idleDisconnect?.value ?? 0 };
  if (idleDisconnect === undefined) return undefined;
  throw new UsageError(`${formatPlace(idleDisconnect.place)} belongs to --on-demand`, {
    hint: 'add --on-demand: otherwise the connection stands as long as the tunnel',
  });
}

function readWaitAuth(text: string, place: Place): number {
  const value = seconds('--wait-auth', 'from 0', MAX_TIMEOUT)(text, place);
  if (value === 0 || value >= LEAST_WAIT_AUTH) return value;
  throw new UsageError(
    `${formatPlace(place)}: a refused login is not tried again within ${text} s, which servers would penalise`,
    { hint: `write at least ${LEAST_WAIT_AUTH}, as in: --wait-auth 900` },
  );
}

function windowsFor(
  transport: SshOptions['transport'],
  { maxWindow, windowBudget }: ValuesOf<typeof LINK_OPTIONS.options>,
): WindowOptions {
  const given = maxWindow ?? windowBudget;
  if (transport === 'openssh' && given !== undefined) {
    const option = (maxWindow === undefined ? LINK.windowBudget : LINK.maxWindow).name;
    throw new UsageError(
      `${formatPlace(given.place)} is for the embedded SSH client: ssh chooses its windows itself`,
      { hint: `leave ${option} out, or --transport openssh and -e` },
    );
  }
  return { maxWindow: maxWindow?.value, budget: windowBudget?.value };
}

const LINK = LINK_OPTIONS.options;

/** The name of a file. Its content is read later. */
function path(kind: string): Reader<string> {
  return (text, place) => {
    if (text === '')
      throw new UsageError(`${formatPlace(place)}: the name of the ${kind} file is empty`, {
        hint: 'write a path; an empty one is often an unset shell variable',
      });
    if (text.includes('\0'))
      throw new UsageError(
        `${formatPlace(place)}: the name of the ${kind} file has a NUL character`,
        { hint: 'check the file that the argument comes from' },
      );
    // The shell has already expanded it, unless the argument came from a file.
    return text.startsWith('~/') ? join(homeDirectory(), text.slice(2)) : text;
  };
}

function readCommand(text: string, place: Place): readonly [string, ...string[]] {
  const form = 'write it as for a shell, as in: -e "ssh -v"';
  const [program, ...args] = readAt(place, text, form, splitWords);
  if (program === undefined || program === '') {
    throw new UsageError(`${formatPlace(place)}: ${quoted(text)} names no program`, {
      hint: 'write it as in: -e "ssh -v"',
    });
  }
  return [program, ...args];
}

/** The smallest window: one packet of the largest size (RFC 4253 §6.1). Bytes. */
const LEAST_WINDOW = 32 * 1024;
/** RFC 4254 §5.2: a window is less than 2^32. */
const MOST_WINDOW = 2 ** 32 - 1;
const BYTES_IN: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

/** A size as in ssh_config (RekeyLimit): a number of bytes, or of 2^10, 2^20, 2^30 with K, M, G. */
function size(option: string): Reader<number> {
  return (text, place) => {
    const [, count = '', unit = ''] = /^([0-9]+)([KMG]?)$/i.exec(text) ?? [];
    const bytes = Number(count) * (BYTES_IN[unit.toUpperCase()] ?? 0);
    if (bytes >= LEAST_WINDOW && bytes <= MOST_WINDOW) return bytes;
    throw new UsageError(`${formatPlace(place)}: ${quoted(text)} is not a size from 32K to 4095M`, {
      hint: `write bytes, or K, M or G after the number, as in: ${option} 8M`,
    });
  };
}
