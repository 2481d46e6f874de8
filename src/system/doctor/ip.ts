/** What ip(8) of iproute2 says about routes, rules and devices, as JSON. */
import { execFile } from 'node:child_process';
import { isAddress } from '../../net/address.ts';
import { type Prefix, parsePrefix } from '../../net/prefix.ts';

const IP_TIMEOUT_MS = 5_000;

/** The fields of ip(8)'s output that are needed here. */
export interface RouteEntry {
  /** undefined: it is an ordinary one. `blackhole`, `unreachable`, `prohibit`, `throw` */
  readonly type?: string;
  readonly dst?: string;
  readonly dev?: string;
  readonly protocol?: string;
  readonly scope?: string;
  readonly metric?: number;
  /** Only in the answer of `route get`, and only if it isn't the main table. */
  readonly table?: string;
  /** Also what the kernel has learned about the path (ICMP). */
  readonly metrics?: readonly { readonly mtu?: number }[];
}
export interface RuleEntry {
  readonly priority?: number;
  readonly table?: string;
  /** What it does instead of asking a table: `blackhole`, `unreachable`, `prohibit` */
  readonly action?: string;
  /** It is for all that its conditions don't hold for. */
  readonly not?: null;
  readonly src?: string;
  readonly dst?: string;
  readonly dstlen?: number;
  readonly fwmark?: string;
  readonly iif?: string;
  readonly oif?: string;
  readonly uid_start?: number;
  readonly ipproto?: string;
  readonly sport?: number;
  readonly dport?: number;
  readonly tos?: string;
  readonly suppress_prefixlen?: number;
}
export interface LinkEntry {
  readonly ifname?: string;
  readonly mtu?: number;
}

export const DEFAULT_ROUTE: Readonly<Record<4 | 6, string>> = { 4: '0.0.0.0/0', 6: '::/0' };

/** undefined: it is for no addresses. */
export function routePrefix({ dst }: RouteEntry, family: 4 | 6): Prefix | undefined {
  if (dst === undefined) return undefined;
  const text = dst === 'default' ? DEFAULT_ROUTE[family] : dst;
  return isAddress(text.replace(/\/\d+$/, '')) ? parsePrefix(text).prefix : undefined;
}

/** Where administrators' programs are, whatever PATH a user has. */
export const ADMINISTRATION_PATH = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`;

/** A list that `ip -json` prints; undefined if it fails, or if there is no iproute2. */
export type AskIp = <T>(...args: readonly string[]) => Promise<T[] | undefined>;

export const askIp: AskIp = async <T>(...args: readonly string[]) => {
  const stdout = await outputOf('ip', ['-json', ...args], IP_TIMEOUT_MS);
  if (stdout === undefined) return undefined;
  // An empty list is printed as nothing.
  const list: unknown = stdout.trim() === '' ? [] : JSON.parse(stdout);
  return Array.isArray(list) ? (list as T[]) : undefined;
};

/** undefined: it could not be run, has failed, or took longer than `timeout` (ms). */
function outputOf(
  program: string,
  args: readonly string[],
  timeout: number,
): Promise<string | undefined> {
  const options = { timeout, env: { PATH: ADMINISTRATION_PATH, LANG: 'C' } };
  return new Promise((resolve) => {
    execFile(program, args, options, (error, stdout) => {
      resolve(error === null ? stdout : undefined);
    });
  });
}
