/** The command line of `tunnel nc`: a jump host, and what is to be connected to. */
import { UsageError } from '../errors/errors.ts';
import type { Destination } from '../net/destination.ts';
import { canonicalHost } from '../net/name.ts';
import { NotationError, quoted, shellWord } from '../net/notation.ts';
import { readAt } from '../net/place.ts';
import { MAX_PORT } from '../net/ports.ts';
import { tcpServicePort } from '../system/services.ts';
import { ALLOW_OPTIONS } from './allowfile.ts';
import type { Entry } from './argsfile.ts';
import type { Configuration } from './configuration.ts';
import type { GivenArguments } from './option.ts';
import { buildConfiguration } from './options.ts';
import { PROFILE_OPTIONS } from './profileoptions.ts';
import { VERBOSITY_OPTIONS } from './runoptions.ts';
import { CONNECTION_OPTIONS, JUMP_HOST_OPTIONS } from './sshoptions.ts';

/** In the order of help. */
export const NC_GROUPS = [
  JUMP_HOST_OPTIONS,
  CONNECTION_OPTIONS,
  ALLOW_OPTIONS,
  PROFILE_OPTIONS,
  VERBOSITY_OPTIONS,
] as const;

export interface NcConfiguration {
  readonly tunnel: Configuration;
  /** A name is resolved at the jump host. */
  readonly destination: Destination;
}

const FORM = 'write a host and a port, as in: tunnel nc -r user@jumphost db.internal 5432';

/** `operands`: of the line, which a profile has none of. Throws UsageError. */
export function buildNcConfiguration(
  { options }: GivenArguments,
  operands: readonly Entry[],
): NcConfiguration {
  const [host, port, other] = operands;
  if (host === undefined || port === undefined || other !== undefined) {
    if (other !== undefined)
      throw new UsageError(`${quoted(other.text)} is one word too many`, { hint: FORM });
    throw host === undefined
      ? new UsageError('nothing to connect to is given', { hint: FORM })
      : portMissing(host.text);
  }
  return {
    tunnel: buildConfiguration({ operands: [], options }, 'library'),
    destination: {
      host: readAt(host.place, host.text, FORM, (text) =>
        canonicalHost(text.replace(/^\[(.*)\]$/, '$1')),
      ),
      port: readAt(port.place, port.text, FORM, portOf),
    },
  };
}

/** `host:port` is what -W of ssh takes. */
function portMissing(text: string): UsageError {
  const [, host, port] = /^(\[[^\]]*\]|[^:]+):([^:]+)$/.exec(text) ?? [];
  if (host === undefined || port === undefined)
    return new UsageError(`${quoted(text)} has no port`, { hint: FORM });
  return new UsageError(`${quoted(text)} has host and port in one word`, {
    hint: `write two words: ${shellWord(host.replace(/^\[(.*)\]$/, '$1'))} ${shellWord(port)}`,
  });
}

/** A number, or a TCP service of /etc/services, as ssh takes them. Throws NotationError. */
function portOf(text: string): number {
  const port = /^[0-9]+$/.test(text) ? Number(text) : tcpServicePort(text);
  if (port !== undefined && port >= 1 && port <= MAX_PORT) return port;
  throw new NotationError(`${quoted(text)} is not a port`, `ports are 1 to ${MAX_PORT}`);
}
