/**
 * Whether the resolvers of --dns and --dns-server answer, asked from the jump host over TCP as the
 * tunnel asks them. The jump host's own are asked where no other answers, as the tunnel does
 * (dns/upstream/choice.ts).
 */
import { questionFor } from '../dns/upstream/addresses.ts';
import { StreamUpstream, type StreamUpstreamOptions } from '../dns/upstream/stream.ts';
import { Rcode, Type } from '../dns/wire/message.ts';
import { TunnelError } from '../errors/errors.ts';
import { LinkGoneError } from '../flow/connector.ts';
import { type Destination, formatDestination } from '../net/destination.ts';
import { silentObserver } from '../observe/observer.ts';
import type { Finding } from '../system/doctor/diagnosis.ts';

/** For one resolver, in milliseconds. */
const ANSWER_MS = 4_000;
const ROOT = '';
/** In the findings about those that do. */
const ANSWERS = 'answers from the jump host';

export interface ResolverCheck {
  readonly servers: readonly Destination[];
  /** The jump host's own, with --dns. */
  readonly own?: readonly Destination[];
  /** --domain: the first is asked for. Empty: the root is. */
  readonly domains: readonly string[];
  readonly connect: StreamUpstreamOptions['connect'];
}

/** One finding a resolver that is tried. */
export async function tryResolvers({
  servers,
  own = [],
  domains,
  connect,
}: ResolverCheck): Promise<Finding[]> {
  const name = domains[0] ?? ROOT;
  const tryAll = (all: readonly Destination[]) =>
    Promise.all(all.map((server) => tryResolver(server, name, connect)));
  const given = await tryAll(servers);
  const others = given.some(answers) ? [] : await tryAll(own);
  // One that answers is enough.
  return others.some(answers)
    ? [...given.map(asNote), ...others.filter(answers)]
    : [...given, ...others];
}

function answers({ detail }: Finding): boolean {
  return detail.includes(ANSWERS);
}

/** Another one is asked in its place. */
function asNote({ name, subject, detail }: Finding): Finding {
  return { name, ...(subject === undefined ? {} : { subject }), state: 'note', detail };
}

async function tryResolver(
  server: Destination,
  name: string,
  connect: ResolverCheck['connect'],
): Promise<Finding> {
  const at = formatDestination(server);
  const upstream = new StreamUpstream({
    servers: [server],
    connect,
    observer: silentObserver,
    attemptTimeoutMs: ANSWER_MS,
    totalTimeoutMs: ANSWER_MS,
  });
  const finding = { name: 'dns', subject: at } as const;
  const began = performance.now();
  try {
    const { rcode } = await upstream.resolve(questionFor(name, name === ROOT ? Type.NS : Type.SOA));
    const took = `${Math.round(performance.now() - began)} ms`;
    if (rcode === Rcode.NOERROR)
      return { ...finding, state: 'ok', detail: `${at} ${ANSWERS} in ${took}` };
    const asked = name === ROOT ? 'the root' : name;
    return {
      ...finding,
      state: name === ROOT ? 'note' : 'warning',
      detail: `${at} ${ANSWERS} in ${took}, but ${RCODES[rcode] ?? `code ${rcode}`} for ${asked}`,
      hint:
        name === ROOT
          ? 'it may answer only for its own names'
          : 'check --domain, and whether this resolver knows it',
    };
  } catch (error) {
    if (!(error instanceof TunnelError)) throw error;
    if (isLoss(error))
      return {
        ...finding,
        state: 'note',
        detail: `${at}: not known, because the connection was lost`,
      };
    return {
      ...finding,
      state: 'failed',
      detail: `${at} does not answer from the jump host: ${error.message}`,
      code: error.code,
      hint: 'the tunnel asks over TCP: have TCP to this port permitted there, or name another resolver with --dns-server',
    };
  } finally {
    upstream.close();
  }
}

/** The resolver is not to blame. */
function isLoss(error: unknown): boolean {
  if (error instanceof LinkGoneError) return true;
  return error instanceof Error && isLoss(error.cause);
}

const RCODES: Readonly<Record<number, string>> = {
  [Rcode.SERVFAIL]: 'SERVFAIL',
  [Rcode.NXDOMAIN]: 'NXDOMAIN',
  [Rcode.NOTIMP]: 'NOTIMP',
  [Rcode.REFUSED]: 'REFUSED',
  [Rcode.FORMERR]: 'FORMERR',
};
