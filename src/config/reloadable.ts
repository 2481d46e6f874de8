/**
 * What a reload makes of a command line that is read again: which options it applies to a running
 * tunnel, and which need a restart.
 */
import { isDeepStrictEqual } from 'node:util';
import { UsageError } from '../errors/errors.ts';
import type { Configuration } from './configuration.ts';
import type { GivenOptions, Option } from './option.ts';

const APPLIED = [
  ...['--exclude', '--targets-from', '--excludes-from', '--domain'],
  ...['--os-cloud', '--os-region', '--os-catalog', '--os-catalog-file', '--os-follow-links'],
  ...[
    '--local-forward',
    '--allow',
    '--allow-rule',
    '--capture-local',
    '--allow-diverted',
    '--verbose',
    '--quiet',
  ],
  // It has been told: there is nothing to change.
  ...['--ready-fd', '--daemon', '--wait-online'],
  // What they say counts, option by option.
  ...['--profile', '--config', '--without'],
] as const;

const NEEDS_RESTART = [
  ...['--remote', '--port', '--identity', '--jump', '--ssh-config', '--ssh-option', '--ssh-cmd'],
  ...['--transport', '--host-key', '--one-key', '--connect-timeout', '--auth-timeout'],
  ...['--keepalive', '--reconnect-hold', '--wait-auth', '--on-demand', '--idle-disconnect'],
  ...['--max-window', '--window-budget', '--no-flush'],
  ...['--dns', '--dns-server', '--rebind-domain-ok', '--virtual-range'],
  ...['--dry-run', '--dry-run-to', '--fail-closed'],
  ...['--pidfile', '--syslog'],
  ...['--flow-log', '--flow-log-size', '--flow-log-keep', '--metrics'],
  ...['--pcap', '--pcap-size', '--pcap-payload'],
  ...['--listen', '--socks', '--http', '--only-targets', '--proxy-auth', '--proxy-shared'],
  ...[
    '--allow-remote-clients',
    '--isolate',
    '--name',
    '--no-progress',
    '--save',
    '--force',
    '--print-config',
  ],
] as const;

/** By the long form. An option that isn't here needs a restart. */
export const RELOAD: ReadonlyMap<string, 'applied' | 'restart'> = new Map([
  ...APPLIED.map((name) => [name, 'applied'] as const),
  ...NEEDS_RESTART.map((name) => [name, 'restart'] as const),
]);

/** `--remote` of `-r, --remote <remote>`. */
export function longName({ flags }: Option): string {
  return /--[a-z0-9-]+/.exec(flags)?.[0] ?? flags;
}

export interface Reloaded {
  readonly configuration: Configuration;
  /** Options whose change needs a restart, by their long form, in the order of the alphabet. */
  readonly restart: readonly string[];
}

/**
 * `first`: what the tunnel was started with; `read`: the same line now. `givesList`: an allow-list
 * may be given to a tunnel that had none. Throws UsageError for what --fail-closed can't keep.
 */
export function reloaded(first: Configuration, read: Configuration, givesList: boolean): Reloaded {
  const restart = new Set(changedForRestart(first.given, read.given));
  if (first.command !== read.command) restart.add(`the command "${read.command}"`);
  if (!isDeepStrictEqual(first.proxies, read.proxies) && restart.size === 0)
    restart.add('--proxy-auth');
  const { failClosed } = first.capture;
  const { exclusions: excluded, nameExclusions: namesExcluded, logLevel, notices, forwards } = read;
  const [forPorts] = [...excluded, ...namesExcluded].filter(({ ports }) => ports.length > 0);
  if (failClosed && forPorts !== undefined)
    throw new UsageError(
      `the tunnel runs with --fail-closed, so ${forPorts.text} can't be excluded for some ports only`,
      { hint: 'exclude it for all ports' },
    );
  const mayHaveList = givesList || first.allow.rules !== undefined;
  if (!mayHaveList && read.allow.rules !== undefined) restart.add('--allow');
  // Whether there is a device is decided at the start.
  const others = first.forwardsOnly === read.forwardsOnly ? read : first;
  if (others === first) restart.add('TARGET');
  const { domains } = first.dns.throughTunnel ? read.dns : first.dns;
  const { captureLocal, allowDiverted } = read.capture;
  const { targets, exclusions, nameTargets, nameExclusions, cloud } = others;
  return {
    configuration: {
      ...first,
      ...{ targets, exclusions, nameTargets, nameExclusions, cloud, logLevel, notices, forwards },
      dns: { ...first.dns, domains },
      allow: mayHaveList ? { ...first.allow, rules: read.allow.rules } : first.allow,
      capture: { captureLocal, allowDiverted, failClosed },
    },
    restart: [...restart].sort(),
  };
}

function changedForRestart(before: GivenOptions, after: GivenOptions): string[] {
  const textsIn = (given: GivenOptions, option: Option) =>
    (given.get(option) ?? []).map(({ text }) => text);
  return [...new Set([...before.keys(), ...after.keys()])]
    .filter((option) => RELOAD.get(longName(option)) !== 'applied')
    .filter((option) => !isDeepStrictEqual(textsIn(before, option), textsIn(after, option)))
    .map(longName);
}

/**
 * What has changed, as a line for people: "3 targets added, 1 removed; the allow-list has 12 rules
 * (was 10)". Undefined: nothing.
 */
export function changesBetween(before: Configuration, after: Configuration): string | undefined {
  const targets = ({ targets: ranges, nameTargets }: Configuration) => [...ranges, ...nameTargets];
  const exclusions = (of: Configuration) => [...of.exclusions, ...of.nameExclusions];
  const parts = [
    counted('target', targets(before), targets(after)),
    counted('exclusion', exclusions(before), exclusions(after)),
    counted('domain', before.dns.domains.map(asText), after.dns.domains.map(asText)),
    counted('forward', before.forwards, after.forwards),
    listChange(before, after),
    isDeepStrictEqual(before.capture, after.capture) ? undefined : 'other rules of the capture',
    before.logLevel === after.logLevel ? undefined : `messages from the level ${after.logLevel} on`,
  ].filter((part) => part !== undefined);
  return parts.length === 0 ? undefined : parts.join('; ');
}

interface Written {
  readonly text: string;
}

const asText = (text: string): Written => ({ text });

function counted(
  what: string,
  before: readonly Written[],
  after: readonly Written[],
): string | undefined {
  const had = new Set(before.map(({ text }) => text));
  const has = new Set(after.map(({ text }) => text));
  const added = [...has].filter((text) => !had.has(text)).length;
  const removed = [...had].filter((text) => !has.has(text)).length;
  const named = (count: number) => `${count} ${what}${count === 1 ? '' : 's'}`;
  if (added > 0) return `${named(added)} added${removed > 0 ? `, ${removed} removed` : ''}`;
  return removed > 0 ? `${named(removed)} removed` : undefined;
}

function listChange({ allow: before }: Configuration, { allow: after }: Configuration) {
  const textsOf = ({ rules }: Configuration['allow']) =>
    rules && [...rules.prefixes, ...rules.names].map(({ text }) => text);
  const [had, has] = [textsOf(before), textsOf(after)];
  if (isDeepStrictEqual(had, has)) return undefined;
  if (has === undefined) return 'there is no allow-list any more';
  const rules = has.length === 1 ? '1 rule' : `${has.length} rules`;
  if (had === undefined) return `there is an allow-list of ${rules} now`;
  return had.length === has.length
    ? `the allow-list has ${rules}, others than before`
    : `the allow-list has ${rules} (was ${had.length})`;
}
