/**
 * Fixed forwards: `-L`, as ssh(1) has it. Where a port listens when no address is given, and what
 * happens when it is in use, is said by ssh_config (GatewayPorts, ExitOnForwardFailure).
 */
import { join } from 'node:path';
import { UsageError } from '../errors/errors.ts';
import { type Forward, parseForward } from '../net/forward.ts';
import { formatPlace, readAt } from '../net/place.ts';
import { homeDirectory } from '../system/home.ts';
import { tcpServicePort } from '../system/services.ts';
import { type GivenOptions, type Reader, readOptions, repeated } from './option.ts';

/** Of -L, LocalForward and DynamicForward together. */
export const MAX_FORWARDS = 256;

const FORM = 'write [bind_address:]port:host:hostport, as in: -L 8080:db.internal:5432';

const readForward: Reader<Forward> = (text, place) =>
  readAt(place, text, FORM, () => {
    // The shell has already expanded it, unless the text came from a file.
    const full = text.startsWith('~/') ? join(homeDirectory(), text.slice(2)) : text;
    return { ...parseForward(full, tcpServicePort), text };
  });

export const FORWARD_OPTIONS = {
  heading: 'Forwards:',
  options: {
    localForward: repeated(
      '-L, --local-forward <forward>',
      'as with ssh: [bind:]port:host:hostport, or socket:host:hostport (repeatable)',
      readForward,
    ),
  },
} as const;

/** Throws UsageError. */
export function readForwards(given: GivenOptions): readonly Forward[] {
  const { localForward } = readOptions(FORWARD_OPTIONS, given);
  const beyond = localForward[MAX_FORWARDS];
  if (beyond === undefined) return localForward.map(({ value }) => value);
  throw new UsageError(
    `${formatPlace(beyond.place)} is given ${localForward.length} times, at most ${MAX_FORWARDS} are possible`,
    { hint: 'reach whole networks with a TARGET, or any destination with "tunnel proxy"' },
  );
}
