/**
 * The faults that test/fault makes, and what comes of each: the table of docs/measurements.md.
 *
 *   measured(t, 'black-hole', 'noticed after 2.1 s')    what a test has seen, for ./scripts/faults
 */
import type { TestContext } from 'node:test';

export interface Fault {
  readonly fault: string;
  /** What a user of the tunnel sees. */
  readonly seen: string;
  /** The limit that answers it, by its name in the code or its option; `-`: none is needed. */
  readonly limit: string;
  /** `-`: the log says it. */
  readonly counter: string;
}

const LINK = 'tunnel_links_lost_total';

export const FAULTS = {
  'kill-program': {
    fault: '`kill -9` of the program, the helper, both, ssh (system), the launcher of exec',
    seen: 'open connections end or hang until their own timeout; nothing is left; the next start works',
    limit: '-',
    counter: '-',
  },
  'sshd-killed': {
    fault: 'sshd killed every 5 s, under load',
    seen: 'open connections are reset; new ones wait, and connect or are refused after the hold',
    limit: '`--reconnect-hold`',
    counter: LINK,
  },
  'sshd-frozen': {
    fault: 'sshd stopped (SIGSTOP)',
    seen: 'the link is lost after the keepalive, and dialled again',
    limit: '`--keepalive`',
    counter: LINK,
  },
  'sshd-replaced': {
    fault: 'another host key after a restart',
    seen: 'the program ends with 4; no byte that authenticates is sent',
    limit: '-',
    counter: '-',
  },
  'black-hole': {
    fault: 'half-open link: the path drops everything',
    seen: 'open connections are reset; new ones wait, and go on within 5 s of the end',
    limit: '`--keepalive`, `--reconnect-hold`',
    counter: LINK,
  },
  flaps: {
    fault: 'the uplink goes down and up at random, for 0.1 to 2 s',
    seen: 'short ones cost nothing; after the last one everything works within 5 s',
    limit: '`--reconnect-hold`',
    counter: LINK,
  },
  'address-change': {
    fault: 'the machine gets another address',
    seen: 'the link is probed at once, and is back within seconds',
    limit: '`PROBE_MS`',
    counter: LINK,
  },
  suspend: {
    fault: 'suspend: all processes stop, the server forgets the connection',
    seen: 'after the wake-up the link is probed, and is back within 5 s',
    limit: '`--keepalive`',
    counter: LINK,
  },
  'resolver-dead': {
    fault: 'the resolver behind the jump host is dead',
    seen: 'names get SERVFAIL within its timeout; other connections go on',
    limit: '`ATTEMPT_TIMEOUT_MS`, `TOTAL_TIMEOUT_MS`',
    counter: 'tunnel_dns_upstream_failures_total',
  },
  'disk-full': {
    fault: 'the disk is full: known_hosts, resolv.conf, standard error',
    seen: 'a warning; the tunnel runs',
    limit: '-',
    counter: '-',
  },
  'descriptors-here': {
    fault: 'no descriptor is left in the program',
    seen: 'new clients of the proxy are refused; the open ones go on',
    limit: '`MAX_PROXY_CONNECTIONS`',
    counter: 'tunnel_proxy_over_limit_total',
  },
  'descriptors-there': {
    fault: 'no descriptor is left in sshd',
    seen: 'new connections are refused; the open ones go on',
    limit: '-',
    counter: '-',
  },
  'opens-16k': {
    fault: '20,000 connections at once through a server that ends at 16,000 channels',
    seen: 'connections beyond the limit are refused or wait; the link lives',
    limit: '`MAX_CHANNELS`',
    counter: 'tunnel_channel_limit_total',
  },
  'permitopen-revoked': {
    fault: 'the jump host no longer permits a target',
    seen: 'after the next login "no route to host" at once, and one line that says why',
    limit: '-',
    counter: '-',
  },
  'slow-ends': {
    fault: 'slow readers and slow writers, beside fast ones',
    seen: 'they hold up nobody else; memory stays flat',
    limit: '`MAX_WINDOW`, receive windows',
    counter: '-',
  },
  firewall: {
    fault: 'a firewall is switched on while the tunnel runs',
    seen: 'one for incoming packets changes nothing; one for outgoing ones counts as a black hole',
    limit: '`--keepalive`',
    counter: LINK,
  },
  soak: {
    fault: 'mixed load, and a fault every few seconds',
    seen: 'memory, descriptors and flows are flat',
    limit: '-',
    counter: '-',
  },
} as const satisfies Readonly<Record<string, Fault>>;

export type FaultId = keyof typeof FAULTS;

/** How ./scripts/faults finds a measurement among the diagnostics. */
export const MEASURED = /^measured (\S+): (.*)$/;

export function measured(t: TestContext, fault: FaultId, text: string): void {
  t.diagnostic(`measured ${fault}: ${text}`);
}

/** The table, a line for each fault; with `measurements`, a column more. */
export function faultTable(measurements?: ReadonlyMap<string, readonly string[]>): string {
  const more = measurements !== undefined;
  const head = ['fault', 'what users see', 'limit', 'counter', ...(more ? ['measured'] : [])];
  const rows = Object.entries(FAULTS).map(([id, { fault, seen, limit, counter }]) => [
    fault,
    seen,
    limit,
    counter === '-' ? counter : `\`${counter}\``,
    ...(more ? [measurements.get(id)?.join('; ') ?? 'NOT RUN'] : []),
  ]);
  return [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}
