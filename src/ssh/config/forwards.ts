/** The keywords of ssh_config(5) about fixed forwards: LocalForward, and how its ports listen. */
import { UsageError } from '../../errors/errors.ts';
import { formatDestination } from '../../net/destination.ts';
import { type Forward, formatListen, parseForward, RemoteSocketError } from '../../net/forward.ts';
import { NotationError } from '../../net/notation.ts';
import { tcpServicePort } from '../../system/services.ts';
import type { ForwardSettings, SshSettings } from '../settings.ts';
import type { Keywords } from './values.ts';

/** As ssh: others can't connect to a socket. */
const DEFAULT_SOCKET_MASK = 0o177;

/** Throws UsageError. */
export function readForwards(keywords: Keywords): ForwardSettings {
  const cleared = keywords.flag('clearallforwardings', false);
  const local: Forward[] = [];
  const unfit: string[] = [];
  for (const value of cleared ? [] : keywords.all('localforward')) {
    const forward = readLocalForward(value);
    if (typeof forward === 'string') unfit.push(forward);
    else local.push(forward);
  }
  return {
    local,
    unfit,
    cleared,
    gatewayPorts: keywords.flag('gatewayports', false),
    exitOnFailure: keywords.flag('exitonforwardfailure', false),
    socketMask: readMask(keywords),
    unlinksSockets: keywords.flag('streamlocalbindunlink', false),
  };
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
    if (!(error instanceof NotationError)) throw error;
    throw new UsageError(`ssh_config: ${text}: ${error.message}`, {
      hint: error.hint ?? 'write it as in: LocalForward 8080 db.internal:5432',
    });
  }
}

/** As in a file, however it was written there. */
function written({ listen, destination }: Forward): string {
  return `${formatListen(listen)} ${formatDestination(destination)}`;
}

/**
 * The keywords of ssh_config, in lower case, that ssh must not see. We turn ClearAllForwardings
 * off, since it would clear our own -D as well; so what it clears is left out.
 */
export function forwardKeywords({ forwards }: Pick<SshSettings, 'forwards'>): readonly string[] {
  if (forwards.cleared) return ['localforward', 'remoteforward', 'dynamicforward'];
  return forwards.local.length + forwards.unfit.length > 0 ? ['localforward'] : [];
}

/** For lines of -o. */
export function isNoneOf(keywords: readonly string[]): (line: string) => boolean {
  return (line) => !keywords.includes((/^\w+/.exec(line)?.[0] ?? '').toLowerCase());
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
