/**
 * What the jump host forwards: each target that has an address or a name and a port is opened once,
 * and closed. Of a range a few addresses are tried. The answer is the server's own.
 */
import { within } from '../base/within.ts';
import { NotAllowedError } from '../connect/guarded.ts';
import { TunnelError } from '../errors/errors.ts';
import type { Conduit } from '../flow/conduit.ts';
import { BusyError, ConnectError, type Connector, LinkGoneError } from '../flow/connector.ts';
import { addressFromNumber } from '../net/address.ts';
import { type Destination, formatDestination } from '../net/destination.ts';
import { formatNamePattern } from '../net/name.ts';
import { type Prefix, prefixBounds } from '../net/prefix.ts';
import type { Refusal } from '../net/refusal.ts';
import { createPolicy, type NameRule, type Rule, type Rules } from '../policy/policy.ts';
import type { ForwardingLimits } from '../ssh/established.ts';
import { type Finding, summary } from '../system/doctor/diagnosis.ts';

/** Destinations that are opened in one run. The rest is named, and not tried. */
export const MAX_SAMPLES = 64;
/** Opened at the same time: fewer than the sessions and channels that careful servers permit. */
const AT_ONCE = 8;
/** For one destination, in milliseconds. sshd itself waits about two minutes for silent ones. */
const OPEN_PATIENCE_MS = 5_000;
/** What has not ended this long after it was opened is open, in milliseconds. */
const SETTLE_MS = 200;
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
  readonly limits: () => ForwardingLimits | undefined;
  /** The server confirms connections before it has connected, so that an opened one says little. */
  readonly confirmsEarly: boolean;
  readonly signal: AbortSignal;
  /** Default: OPEN_PATIENCE_MS. */
  readonly patienceMs?: number;
}

/** One finding a sample, in their order, and one for all that are left out. */
export async function tryForwarding(
  { samples, left }: Sampled,
  options: ForwardingOptions,
): Promise<Finding[]> {
  const outcomes: Outcome[] = new Array(samples.length);
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let at = next++; at < samples.length; at = next++) {
      const sample = samples[at];
      if (sample !== undefined) outcomes[at] = await trySample(sample, options);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  const permitsSome = outcomes.some(({ error, endedAtOnce }) =>
    error === undefined ? !endedAtOnce : permits(error),
  );
  const why: ForwardingLimits | undefined = permitsSome ? NOT_LISTED : options.limits();
  const findings = outcomes.map((outcome) => describe(outcome, options.confirmsEarly, why));
  if (left.length === 0) return findings;
  const detail = summary(left.map(({ target, why }) => `${target} was not tried: ${why}`));
  const hint = 'name an address or a name with its port to have it tried, as in 10.1.2.3:443';
  return [...findings, { name: 'forwarding', state: 'note', detail, hint }];
}

const NOT_LISTED: ForwardingLimits = {
  what: 'it permits others, so a list there lacks this one',
  hint: 'have it added there, as it is written here: with OpenSSH to PermitOpen in its sshd_config, or to permitopen before the key in authorized_keys',
};

interface Outcome {
  readonly sample: Sample;
  readonly milliseconds: number;
  /** It was opened, and ended by the far side or the server before anything came. */
  readonly endedAtOnce: boolean;
  /** undefined: it was opened. */
  readonly error: TunnelError | undefined;
}

async function trySample(
  sample: Sample,
  { connector, signal, patienceMs = OPEN_PATIENCE_MS }: ForwardingOptions,
): Promise<Outcome> {
  const { destination } = sample;
  const began = performance.now();
  const late = () => new SilentError(formatDestination(destination), patienceMs);
  const took = (): number => Math.round(performance.now() - began);
  try {
    const conduit = await within({ signal, time: { milliseconds: patienceMs, late } }, (giveUp) =>
      connector.connect(destination, { signal: giveUp }),
    );
    const milliseconds = took();
    const endedAtOnce = await endsWithin(SETTLE_MS, conduit);
    conduit.abort(undefined);
    return { sample, milliseconds, endedAtOnce, error: undefined };
  } catch (error) {
    if (!(error instanceof TunnelError)) throw error;
    return { sample, milliseconds: took(), endedAtOnce: false, error };
  }
}

/** Whether the conduit ends within `milliseconds`, without a byte and not with its link. */
function endsWithin(milliseconds: number, conduit: Conduit): Promise<boolean> {
  return new Promise((resolve) => {
    const settle = (ended: boolean): void => {
      clearTimeout(timer);
      resolve(ended);
    };
    const timer = setTimeout(() => settle(false), milliseconds);
    conduit.join({
      received: 0,
      join: () => {},
      whenOver: () => {},
      send: () => settle(false),
      finish: () => settle(true),
      taken: () => {},
      shut: () => {},
      abort: (error) => settle(!(error instanceof TunnelError && error.code === 'link-lost')),
    });
  });
}

class SilentError extends ConnectError {
  constructor(at: string, milliseconds: number) {
    super('timeout', `${at}: no answer within ${milliseconds / 1000} s`);
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
      error instanceof LinkGoneError
    )
  );
}

function describe(
  { sample, milliseconds, endedAtOnce, error }: Outcome,
  confirmsEarly: boolean,
  why: ForwardingLimits | undefined,
): Finding {
  const at = formatDestination(sample.destination);
  if (error === undefined) {
    if (confirmsEarly)
      return finding(
        sample,
        'note',
        `${at}: confirmed, which this server does before it has connected`,
      );
    return endedAtOnce
      ? finding(sample, sample.exact ? 'warning' : 'note', `${at}: opened, and ended at once`, {
          hint: ENDED_HINT,
        })
      : finding(sample, 'ok', `${at}: opened in ${milliseconds} ms`);
  }
  if (error instanceof LinkGoneError)
    return finding(sample, 'note', `${at}: not known, because the connection was lost`);
  const { message, hint, code } = error;
  const told = { code, ...(hint !== undefined && { hint }) };
  if (!isAnswer(error))
    return finding(sample, error instanceof BusyError ? 'warning' : 'failed', message, told);
  if (error.refusal === 'prohibited') return prohibited(sample, error, why);
  if (sample.exact)
    return finding(sample, 'failed', message, { code, hint: hint ?? HINTS[error.refusal] });
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

const ENDED_HINT =
  'what listens there may turn the jump host away; or the jump host confirms before it has connected, and then could not';
const HINTS: Readonly<Record<Exclude<Refusal, 'prohibited'>, string>> = {
  refused: 'nothing listens there, or a firewall refuses the jump host: check the port',
  unreachable:
    "the jump host has no way there: check the address, or the name as the jump host's resolver has it",
  'no-network':
    'no router of the jump host has a way to this network, or the jump host has none of this address family: check the address, or use one of the other family',
  timeout:
    'a firewall behind the jump host drops it, or no host has this address; a jump host that starts something on first use may only be slow',
};

function prohibited(
  sample: Sample,
  { message, code }: ConnectError,
  why: ForwardingLimits | undefined,
): Finding {
  const standsFor = `it was tried for ${sample.target}: if only some addresses or ports are permitted, name one that should be`;
  // Others are permitted, so others of this range may be.
  if (!sample.exact && why === NOT_LISTED)
    return finding(sample, 'warning', message, { code, hint: standsFor });
  const { what, hint } = why ?? { what: 'nothing that was tried is permitted', ...NOTHING_KNOWN };
  return finding(sample, 'failed', `${message}: ${what}`, {
    code,
    hint: sample.exact ? hint : `${standsFor}; ${hint}`,
  });
}

/** Where the transport can't tell what the server has said about the login. */
const NOTHING_KNOWN = {
  hint: 'the account may lack the right to forward (with OpenSSH, AllowTcpForwarding in its sshd_config, or "restrict" in authorized_keys), or a list lacks this destination (PermitOpen, permitopen)',
};

function finding(
  { target }: Sample,
  state: Finding['state'],
  detail: string,
  more: Pick<Finding, 'code' | 'hint'> = {},
): Finding {
  return { name: 'forwarding', subject: target, state, detail, ...more };
}
