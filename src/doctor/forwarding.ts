/**
 * What the jump host forwards: each target that has an address or a name and a port is opened once,
 * and closed. Of a range a few addresses are tried. The answer is the server's own.
 *
 * A server that connects to one destination after the other is asked for one at a time, and for no
 * more once one is silent: the rest would only wait behind it.
 */
import { within } from '../base/within.ts';
import { NotAllowedError } from '../connect/guarded.ts';
import { TunnelError } from '../errors/errors.ts';
import type { Conduit } from '../flow/conduit.ts';
import { streamOf } from '../flow/conduitstream.ts';
import { BusyError, ConnectError, type Connector, LinkGoneError } from '../flow/connector.ts';
import { addressFromNumber, isAddress } from '../net/address.ts';
import { type Destination, formatDestination } from '../net/destination.ts';
import { formatNamePattern } from '../net/name.ts';
import { type Prefix, prefixBounds } from '../net/prefix.ts';
import type { Refusal } from '../net/refusal.ts';
import { createPolicy, type NameRule, type Rule, type Rules } from '../policy/policy.ts';
import type { ForwardingLimits } from '../ssh/established.ts';
import type { LimitCode, ServerKind } from '../ssh/servers.ts';
import { type Finding, summary } from '../system/doctor/diagnosis.ts';

/** Destinations that are opened in one run. The rest is named, and not tried. */
export const MAX_SAMPLES = 64;
/** Opened at the same time: fewer than the sessions and channels that careful servers permit. */
const AT_ONCE = 8;
/** For one destination, in milliseconds. sshd itself waits about two minutes for silent ones. */
export const OPEN_PATIENCE_MS = 5_000;
/** What has not ended this long after it was opened is open, in milliseconds. */
const SETTLE_MS = 200;
/**
 * How long a connection is watched that was confirmed too early, in milliseconds: a closed port
 * ends it after a round trip or two. One to a host that is not there may last longer.
 */
const CONFIRMED_MS = 1_500;
/** Where no port is given. Most targets are APIs. */
const USUAL_PORT = 443;
/** A range wider than this (a half of 0/0) says nothing about what is behind the jump host. */
const WIDEST = { 4: 2, 6: 4 } as const;

export interface Sample {
  readonly destination: Destination;
  /** The target as the user wrote it. */
  readonly target: string;
  /** The user has named this destination; otherwise it stands for others. */
  readonly exact: boolean;
}

export interface Sampled {
  readonly samples: readonly Sample[];
  /** Targets of which nothing can be tried, or nothing was because of MAX_SAMPLES. */
  readonly left: readonly { readonly target: string; readonly why: string }[];
}

type SampledRules = Required<Rules> & {
  readonly targets: readonly (Rule & { readonly text: string })[];
  readonly nameTargets: readonly (NameRule & { readonly text: string })[];
};

/** `perRange`: addresses to try of each range. Pure. */
export function samplesOf(rules: SampledRules, perRange: number): Sampled {
  const policy = createPolicy(rules, { proxied: true });
  const samples: Sample[] = [];
  const left: { target: string; why: string }[] = [];
  const add = (target: string, found: readonly Omit<Sample, 'target'>[], why: string): void => {
    const carried = found.filter(({ destination }) => isCarried(policy.decide(destination).kind));
    if (carried.length === 0) left.push({ target, why });
    else if (samples.length + carried.length > MAX_SAMPLES)
      left.push({ target, why: `only ${MAX_SAMPLES} destinations are tried` });
    else samples.push(...carried.map((sample) => ({ ...sample, target })));
  };
  for (const { pattern, ports, text } of rules.nameTargets) {
    if (pattern.below) left.push({ target: text, why: 'it stands for any name' });
    else add(text, portSamples([formatNamePattern(pattern)], ports, true), 'it is excluded');
  }
  for (const { prefix, ports, text } of rules.targets) {
    if (prefix.length < WIDEST[prefix.family]) {
      left.push({ target: text, why: 'it stands for everything' });
      continue;
    }
    const hosts = addressSamples(prefix, perRange);
    add(text, portSamples(hosts, ports, hosts.length === 1 && isHost(prefix)), 'it is excluded');
  }
  return { samples, left };
}

/** `resolve`: a name that is not excluded, and that rules by address would decide about. */
function isCarried(kind: string): boolean {
  return kind === 'tunnel' || kind === 'resolve';
}

function portSamples(
  hosts: readonly string[],
  ports: Rule['ports'],
  exactHost: boolean,
): Omit<Sample, 'target'>[] {
  const tried = ports.length === 0 ? [{ first: USUAL_PORT, last: undefined }] : ports;
  return hosts.flatMap((host) =>
    tried.map(({ first, last }) => ({
      destination: { host, port: first },
      exact: exactHost && first === last,
    })),
  );
}

function isHost({ family, length }: Prefix): boolean {
  return length === (family === 4 ? 32 : 128);
}

/** The first address that a host can have, the last, and others at equal distances. */
function addressSamples(prefix: Prefix, count: number): string[] {
  const { first, last } = prefixBounds(prefix);
  const wide = last - first > 1n;
  const from = wide ? first + 1n : first;
  const to = wide && prefix.family === 4 ? last - 1n : last;
  const steps = BigInt(Math.max(1, count - 1));
  const values = Array.from({ length: count }, (_, n) => from + ((to - from) * BigInt(n)) / steps);
  return [...new Set(values)].map((value) => addressFromNumber(value, prefix.family));
}

export interface ForwardingOptions {
  readonly connector: Connector;
  /** What may be the reason when the jump host prohibits a connection. */
  readonly limits: () => ForwardingLimits;
  /** What the jump host runs. undefined: not known. */
  readonly server: ServerKind | undefined;
  readonly signal: AbortSignal;
  /** Default: OPEN_PATIENCE_MS. */
  readonly patienceMs?: number;
}

export interface ForwardingReport {
  /** One finding a sample, in their order, and one for all that are left out. */
  readonly findings: readonly Finding[];
  /** A silent destination that keeps the server from everything else, as it is written. */
  readonly heldUpBy: string | undefined;
}

export async function tryForwarding(
  { samples, left }: Sampled,
  options: ForwardingOptions,
): Promise<ForwardingReport> {
  const outcomes: Outcome[] = new Array(samples.length);
  const oneAtATime = hasLimit(options.server, 'one-connect-at-a-time');
  let heldUpBy: string | undefined;
  // What the user has named comes first: an address that stands for a range may well be silent.
  const queue = samples
    .map((sample, at) => ({ sample, at }))
    .sort((a, b) => Number(b.sample.exact) - Number(a.sample.exact));
  const worker = async (): Promise<void> => {
    for (let job = queue.shift(); job !== undefined; job = queue.shift()) {
      const { sample, at } = job;
      if (heldUpBy !== undefined) {
        outcomes[at] = { sample, milliseconds: 0, error: new HeldUpError(sample, heldUpBy) };
        continue;
      }
      const outcome = await trySample(sample, options);
      outcomes[at] = outcome;
      if (oneAtATime && outcome.error instanceof SilentError)
        heldUpBy = formatDestination(sample.destination);
    }
  };
  await Promise.all(Array.from({ length: oneAtATime ? 1 : AT_ONCE }, worker));
  const permitsSome = outcomes.some(({ error, after }) =>
    error === undefined ? after !== 'end' : permits(error),
  );
  const findings = outcomes.map((outcome) => describe(outcome, options, permitsSome));
  if (left.length === 0) return { findings, heldUpBy };
  const detail = summary(left.map(({ target, why }) => `${target} was not tried: ${why}`));
  const hint = 'name an address or a name with its port to have it tried, as in 10.1.2.3:443';
  return { findings: [...findings, { name: 'forwarding', state: 'note', detail, hint }], heldUpBy };
}

function hasLimit(server: ServerKind | undefined, wanted: LimitCode): boolean {
  return server?.limits.some(({ code }) => code === wanted) ?? false;
}

const OPENSSH_LIST_HINT =
  'have it added there as written here: with OpenSSH to PermitOpen, or permitopen before the key';

function notListed(server: ServerKind | undefined): ForwardingLimits {
  return {
    what: 'it permits others, so a list there lacks this one',
    hint: server?.permits ?? OPENSSH_LIST_HINT,
  };
}

interface Outcome {
  readonly sample: Sample;
  readonly milliseconds: number;
  /** undefined: it was opened. */
  readonly error: TunnelError | undefined;
  /** What came first after it was opened. undefined: it was not. */
  readonly after?: 'data' | 'end' | 'nothing';
}

async function trySample(
  sample: Sample,
  { connector, server, signal, patienceMs = OPEN_PATIENCE_MS }: ForwardingOptions,
): Promise<Outcome> {
  const { destination } = sample;
  const began = performance.now();
  const late = () => new SilentError(formatDestination(destination), patienceMs);
  const took = () => Math.round(performance.now() - began);
  try {
    const conduit = await within({ signal, time: { milliseconds: patienceMs, late } }, (giveUp) =>
      connector.connect(destination, { signal: giveUp }),
    );
    const opened = took();
    const early = hasLimit(server, 'confirms-before-connecting');
    const watched = Math.min(patienceMs, early ? CONFIRMED_MS : SETTLE_MS);
    const after = await firstOf(conduit, watched, signal);
    return { sample, milliseconds: early ? took() : opened, error: undefined, after };
  } catch (error) {
    if (!(error instanceof TunnelError)) throw error;
    return { sample, milliseconds: took(), error };
  }
}

/** What comes first within `milliseconds`. Ends the conduit. Rejects with the signal's reason. */
async function firstOf(
  conduit: Conduit,
  milliseconds: number,
  signal: AbortSignal,
): Promise<'data' | 'end' | 'nothing'> {
  const stream = streamOf(conduit);
  try {
    return await new Promise((resolve, reject) => {
      const stop = (): void => reject(signal.reason);
      const timer = setTimeout(() => settle('nothing'), milliseconds);
      signal.addEventListener('abort', stop, { once: true });
      const settle = (what: 'data' | 'end' | 'nothing'): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', stop);
        resolve(what);
      };
      stream.once('data', () => settle('data'));
      for (const event of ['end', 'close']) stream.once(event, () => settle('end'));
      stream.once('error', (error) =>
        settle(error instanceof TunnelError && error.code === 'link-lost' ? 'nothing' : 'end'),
      );
    });
  } finally {
    stream.destroy();
  }
}

class SilentError extends ConnectError {
  constructor(at: string, milliseconds: number) {
    super('timeout', `${at}: no answer within ${milliseconds / 1000} s`);
  }
}

/** It was not tried: the server waits for another destination. */
class HeldUpError extends ConnectError {
  constructor({ destination }: Sample, heldUpBy: string) {
    super(
      'timeout',
      `${formatDestination(destination)}: not tried, because this server connects to one destination after the other, and ${heldUpBy} does not answer`,
      { hint: `leave ${heldUpBy} out, and try again` },
    );
  }
}

/** The server has tried to connect. */
function permits(error: TunnelError): boolean {
  return isAnswer(error) && !(error instanceof SilentError) && error.refusal !== 'prohibited';
}

/** It says something about the destination: it is no limit of our own. */
function isAnswer(error: TunnelError): error is ConnectError {
  return (
    error instanceof ConnectError &&
    !(
      error instanceof NotAllowedError ||
      error instanceof BusyError ||
      error instanceof HeldUpError ||
      error instanceof LinkGoneError
    )
  );
}

function describe(
  { sample, milliseconds, error, after }: Outcome,
  { server, limits }: ForwardingOptions,
  permitsSome: boolean,
): Finding {
  const at = formatDestination(sample.destination);
  if (error === undefined) {
    if (after !== undefined && after !== 'data' && hasLimit(server, 'confirms-before-connecting'))
      return describeConfirmed(sample, after, milliseconds);
    return after === 'end'
      ? finding(sample, sample.exact ? 'warning' : 'note', `${at}: opened, and ended at once`, {
          hint: ENDED_HINT,
        })
      : finding(sample, 'ok', `${at}: opened in ${milliseconds} ms`);
  }
  if (error instanceof LinkGoneError)
    return finding(sample, 'note', `${at}: not known, because the connection was lost`);
  const { message, hint, code } = error;
  const told = { code, ...(hint !== undefined && { hint }) };
  if (error instanceof HeldUpError)
    return finding(sample, sample.exact ? 'warning' : 'note', message, told);
  if (!isAnswer(error))
    return finding(sample, error instanceof BusyError ? 'warning' : 'failed', message, told);
  if (error.refusal === 'prohibited')
    return prohibited(sample, error, permitsSome ? notListed(server) : limits(), permitsSome);
  if (sample.exact) {
    const { refusal } = error;
    return finding(sample, 'failed', message, {
      code,
      hint: hint ?? hintFor(refusal, sample, server),
    });
  }
  const permitted =
    error.refusal === 'refused'
      ? 'forwarding is permitted'
      : permits(error)
        ? 'not prohibited'
        : 'whether it is permitted is not known';
  return finding(sample, error.refusal === 'refused' ? 'ok' : 'note', `${message}; ${permitted}`, {
    code,
    hint: `it was tried for ${sample.target}, where another address or port may answer`,
  });
}

/** A server that confirms before it has connected; `after`: what followed. */
function describeConfirmed(
  sample: Sample,
  after: 'end' | 'nothing',
  milliseconds: number,
): Finding {
  const at = formatDestination(sample.destination);
  const early = 'which this server does before it has connected';
  if (after === 'nothing')
    return finding(
      sample,
      'note',
      `${at}: confirmed, ${early}; still open after ${milliseconds} ms`,
    );
  return finding(
    sample,
    sample.exact ? 'failed' : 'note',
    `${at}: confirmed, ${early}, and ended without a byte after ${milliseconds} ms`,
    {
      hint: sample.exact
        ? 'the port is most likely closed, the jump host has no way there, or it does not permit that: check the address and the port'
        : `it was tried for ${sample.target}, where another address or port may answer`,
    },
  );
}

function hintFor(
  refusal: Exclude<Refusal, 'prohibited'>,
  { destination }: Sample,
  server: ServerKind | undefined,
): string {
  if (refusal === 'unreachable' && !isAddress(destination.host)) return NAME_HINT;
  const denied = server?.limits.find(({ code }) => code === 'forwarding-off-by-default');
  if (refusal === 'refused' && denied !== undefined) return `${HINTS.refused}; ${denied.hint}`;
  return HINTS[refusal];
}

const ENDED_HINT =
  'what listens there may turn the jump host away; or the jump host confirms before it has connected, and then could not';
const NAME_HINT =
  'check the name as the jump host resolves it, and that its resolver answers; or it has no way to the address that it finds';

const HINTS: Readonly<Record<Exclude<Refusal, 'prohibited'>, string>> = {
  refused: 'nothing listens there, or a firewall refuses the jump host: check the port',
  unreachable: 'the jump host has no way there: check the address',
  'no-network':
    'no router of the jump host has a way to this network, or the jump host has none of this address family: check the address, or use one of the other family',
  timeout:
    'a firewall behind the jump host drops it, or no host has this address; a jump host that starts something on first use may only be slow',
};

/** `permitsSome`: it has permitted others, so that `why` says only that this one isn't listed. */
function prohibited(
  sample: Sample,
  { message, code }: ConnectError,
  why: ForwardingLimits,
  permitsSome: boolean,
): Finding {
  const because = `${message}: ${why.what}`;
  const { hint } = why;
  if (sample.exact || why.certain) return finding(sample, 'failed', because, { code, hint });
  const example = `it was tried for ${sample.target}: if only some addresses or ports are permitted, name one that should be`;
  // Where others are permitted, others of this range may be.
  return permitsSome
    ? finding(sample, 'warning', message, { code, hint: example })
    : finding(sample, 'failed', because, { code, hint: `${example}; otherwise, ${hint}` });
}

function finding(
  { target }: Sample,
  state: Finding['state'],
  detail: string,
  more: Pick<Finding, 'code' | 'hint'> = {},
): Finding {
  return { name: 'forwarding', subject: target, state, detail, ...more };
}
