/**
 * Ports of this machine that are passed on to other addresses: published by containers, or by rules
 * of DNAT. Only root may read the rules; others see the processes of Docker that serve such ports.
 */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { mergePorts, type PortRange } from '../net/ports.ts';

const TIMEOUT_MS = 5_000;
const MAX_OUTPUT_BYTES = 64 * 2 ** 20;
/** Not the user's PATH: these are run as root. */
const ADMINISTRATION_PATH = '/usr/sbin:/usr/bin:/sbin:/bin';

/** Never rejects: what can't be read is left out. */
export async function passedOnPorts(): Promise<readonly PortRange[]> {
  const rules = process.geteuid?.() === 0 ? await portsOfRules() : [];
  return mergePorts([...rules, ...processes().flatMap(portsOfDockerProxy)]);
}

async function portsOfRules(): Promise<readonly PortRange[]> {
  const [ruleset, ...saved] = await Promise.all([
    outputOf('nft', ['-j', 'list', 'ruleset']),
    // nft does not tell all of their conditions.
    outputOf('iptables-nft-save', ['-t', 'nat']),
    outputOf('ip6tables-nft-save', ['-t', 'nat']),
    // To list a table of these makes it.
    hasLegacyNat('ip_tables') ? outputOf('iptables-legacy-save', ['-t', 'nat']) : '',
    hasLegacyNat('ip6_tables') ? outputOf('ip6tables-legacy-save', ['-t', 'nat']) : '',
  ]);
  return [...portsOfRuleset(ruleset), ...saved.flatMap(portsOfIptables)];
}

/** Of libnftables-json(5): rules with a `dnat`, and the ports that they match, or map. */
export function portsOfRuleset(json: string): PortRange[] {
  let listed: unknown;
  try {
    listed = JSON.parse(json === '' ? '{}' : json);
  } catch {
    return []; // cut off, or not what nft prints
  }
  return list(record(listed)['nftables']).flatMap((item) => {
    const parts = list(record(record(item)['rule'])['expr']).map(record);
    if (!parts.some((part) => 'dnat' in part)) return [];
    return parts.flatMap(({ match, dnat }) => {
      const { left, right } = record(match);
      const { key, data } = record(record(record(dnat)['addr'])['map']);
      return [
        ...(isPort(left) ? rangesOf(right) : []),
        ...(isPort(key)
          ? list(record(data)['set']).flatMap((entry) => rangesOf(list(entry)[0]))
          : []),
      ];
    });
  });
}

function isPort(expression: unknown): boolean {
  return record(record(expression)['payload'])['field'] === 'dport';
}

/** `8080`, `{range: [90, 92]}`, or `{set: [...]}` of both. A named set is not looked up. */
function rangesOf(value: unknown): PortRange[] {
  if (typeof value === 'number') return [{ first: value, last: value }];
  const { set, range } = record(value);
  const [first, last] = list(range);
  if (typeof first === 'number' && typeof last === 'number') return [{ first, last }];
  return list(set).flatMap(rangesOf);
}

/** Of iptables-save(8): `-A DOCKER ... -p tcp -m tcp --dport 8080 -j DNAT --to-destination ...` */
export function portsOfIptables(saved: string): PortRange[] {
  return saved.split('\n').flatMap((line) => {
    if (!/ -j DNAT( |$)/.test(line)) return [];
    const [, ports = ''] = / --dports? ([\d:,]+)( |$)/.exec(line) ?? [];
    return ports.split(',').flatMap((text) => {
      const [first = '', last = first] = text.split(':');
      return first === '' ? [] : [{ first: Number(first), last: Number(last) }];
    });
  });
}

/** Docker runs one of these for each port that a container publishes. Its arguments say which. */
export function portsOfDockerProxy(words: readonly string[]): PortRange[] {
  if (!/(^|\/)docker-proxy$/.test(words[0] ?? '')) return [];
  const port = Number(words[words.indexOf('-host-port') + 1]);
  return words.includes('-host-port') && port > 0 ? [{ first: port, last: port }] : [];
}

/** The words of all processes, as far as they can be seen. */
function processes(): string[][] {
  try {
    const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    return pids.map((pid) => textOf(`/proc/${pid}/cmdline`).split('\0'));
  } catch {
    return []; // no /proc
  }
}

function hasLegacyNat(of: 'ip_tables' | 'ip6_tables'): boolean {
  return textOf(`/proc/net/${of}_names`).split('\n').includes('nat');
}

/** Empty if the program isn't there, or can't say it. */
function outputOf(program: string, args: readonly string[]): Promise<string> {
  const options = {
    timeout: TIMEOUT_MS,
    maxBuffer: MAX_OUTPUT_BYTES,
    env: { PATH: ADMINISTRATION_PATH, LANG: 'C' },
  };
  return new Promise((resolve) => {
    execFile(program, args, options, (error, stdout) => resolve(error === null ? stdout : ''));
  });
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** Empty if it can't be read: the process has gone, or there is no such table. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
