/**
 * The keywords of ssh_config(5) about forwards: LocalForward and DynamicForward, how their ports
 * listen, and RemoteForward, which a tunnel has none of.
 */
import { UsageError } from '../../errors/errors.ts';
import { formatDestination } from '../../net/destination.ts';
import {
  type Forward,
  formatListen,
  parseForward,
  parseListen,
  RemoteSocketError,
} from '../../net/forward.ts';
import { NotationError } from '../../net/notation.ts';
import { tcpServicePort } from '../../system/services.ts';
import type { DynamicForward, ForwardSettings, SshSettings } from '../settings.ts';
import { FORWARD_KEYWORDS } from './keywords.ts';
import type { Keywords } from './values.ts';

/** As ssh: others can't connect to a socket. */
const DEFAULT_SOCKET_MASK = 0o177;
/** More of RemoteForward are not named. */
const MAX_NAMED = 3;

/**
 * `ssh -G` prints a LocalForward to a socket of the jump host as a DynamicForward as well. Throws
 * UsageError.
 */
export function readForwards(keywords: Keywords): ForwardSettings {
  const cleared = keywords.flag('clearallforwardings', false);
  const all = (keyword: string) => (cleared ? [] : keywords.all(keyword));
  const locals = all('localforward');
  const local = locals.map(readLocalForward);
  const dynamic = all('dynamicforward')
    .filter((value) => !locals.some((line) => leadsToSocket(line, value)))
    .map(readDynamicForward);
  return {
    local: local.filter((it) => typeof it !== 'string'),
    dynamic: dynamic.filter((it) => typeof it !== 'string'),
    unfit: [
      ...[...local, ...dynamic].filter((it) => typeof it === 'string'),
      ...noteRemoteForwards(keywords.all('remoteforward')),
    ].filter(() => !cleared),
    cleared,
    gatewayPorts: keywords.flag('gatewayports', false),
    exitOnFailure: keywords.flag('exitonforwardfailure', false),
    socketMask: readMask(keywords),
    unlinksSockets: keywords.flag('streamlocalbindunlink', false),
  };
}

/** Whether `line` is a LocalForward from `listen` to a socket of the jump host. */
function leadsToSocket(line: string, listen: string): boolean {
  return line.startsWith(`${listen} `) && line.slice(listen.length).includes('/');
}

/**
 * `8080 db:5432`, or as `ssh -G` prints it: `[127.0.0.1]:8080 [db]:5432`. A text: why it can't be
 * opened. Throws UsageError.
 */
function readLocalForward(value: string): Forward | string {
  const text = `LocalForward ${value}`;
  const [, listen = '', destination = ''] = /^(\S.*?)[ \t]+(\S+)$/.exec(value) ?? [];
  try {
    const forward = parseForward(`${listen}:${destination}`, tcpServicePort);
    return { ...forward, text: `LocalForward ${written(forward)}` };
  } catch (error) {
    if (error instanceof RemoteSocketError)
      return `${text} is not opened: a socket of the jump host can't be reached through a tunnel`;
    throw malformed(error, text, 'LocalForward 8080 db.internal:5432');
  }
}

/** `1080`, `[127.0.0.1]:1080`. A text: why it can't be opened. Throws UsageError. */
function readDynamicForward(value: string): DynamicForward | string {
  try {
    const listen = parseListen(value, tcpServicePort);
    const text = `DynamicForward ${formatListen(listen)}`;
    if (listen.kind === 'port') return { listen, text };
    return `${text} is not opened: proxies listen on ports only`;
  } catch (error) {
    throw malformed(error, `DynamicForward ${value}`, 'DynamicForward 1080');
  }
}

/** At most one sentence. */
function noteRemoteForwards(values: readonly string[]): string[] {
  const places = [...new Set(values.map(remoteListen))];
  if (places.length === 0) return [];
  const named = places.slice(0, MAX_NAMED).join(', ');
  const others = places.length > MAX_NAMED ? ` and ${places.length - MAX_NAMED} more` : '';
  return [
    `RemoteForward ${named}${others} is not set up: a tunnel opens nothing at the jump host, "ssh -N" does`,
  ];
}

/** Where the jump host would listen: the first word, without the brackets of `ssh -G`. */
function remoteListen(value: string): string {
  const [first = ''] = value.split(/[ \t]/, 1);
  try {
    return formatListen(parseListen(first, tcpServicePort));
  } catch (error) {
    if (error instanceof NotationError) return first;
    throw error;
  }
}

/** `form`: how it is written. */
function malformed(error: unknown, text: string, form: string): unknown {
  if (!(error instanceof NotationError)) return error;
  return new UsageError(`ssh_config: ${text}: ${error.message}`, {
    hint: error.hint ?? `write it as in: ${form}`,
  });
}

/** As in a file, however it was written there. */
function written({ listen, destination }: Forward): string {
  return `${formatListen(listen)} ${formatDestination(destination)}`;
}

/** Whether ssh would set up anything if it saw FORWARD_KEYWORDS. */
export function hasForwards({ forwards }: Pick<SshSettings, 'forwards'>): boolean {
  const { local, dynamic, unfit, cleared } = forwards;
  return cleared || local.length + dynamic.length + unfit.length > 0;
}

/** For lines of -o. */
export function isNoForward(line: string): boolean {
  return !FORWARD_KEYWORDS.includes((/^\w+/.exec(line)?.[0] ?? '').toLowerCase());
}

/** Octal, as ssh writes and reads it. Throws UsageError. */
function readMask(keywords: Keywords): number {
  const text = keywords.all('streamlocalbindmask')[0];
  if (text === undefined) return DEFAULT_SOCKET_MASK;
  if (/^[0-7]{1,4}$/.test(text) && Number.parseInt(text, 8) <= 0o777)
    return Number.parseInt(text, 8);
  throw new UsageError(
    `ssh_config: StreamLocalBindMask ${text} is not an octal number up to 0777`,
    {
      hint: 'write it as in: StreamLocalBindMask 0177',
    },
  );
}
