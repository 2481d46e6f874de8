/**
 * The report of `tunnel openstack`: which addresses a cloud needs, whether the jump host opens
 * each, and what to ask its administrator and the cloud's administrator for.
 *
 * To find out whether the jump host permits an address, the report opens it. Only the answer
 * "prohibited" comes from sshd itself; for any other answer its PermitOpen has let the open pass.
 */
import { within } from '../../base/within.ts';
import type { ReportFormat } from '../../config/openstackreport.ts';
import { ConnectError, type Connector } from '../../flow/connector.ts';
import { isAddress } from '../../net/address.ts';
import { type Destination, formatDestination } from '../../net/destination.ts';
import type { Refusal } from '../../net/refusal.ts';
import { printableJson } from '../../observe/printable.ts';
import type { Cloud } from '../settings/cloud.ts';
import type { CloudTarget } from '../targets/rules.ts';
import { type CloudTargets, formatAge } from '../targets/targets.ts';

/** Opens at a time: sshd resolves names one after the other. */
const CONCURRENCY = 4;
/**
 * Limit for one open, in milliseconds: sshd itself would wait two minutes for an address that drops
 * packets.
 */
export const PROBE_TIMEOUT_MS = 10_000;

/** The result of opening a target. */
export type Probe =
  | { readonly outcome: 'open' }
  | { readonly outcome: Refusal; readonly why: string };

export interface ProbedTarget extends CloudTarget {
  readonly probe: Probe;
}

export interface CloudReport {
  readonly cloud: Cloud;
  readonly found: CloudTargets;
  readonly targets: readonly ProbedTarget[];
  /**
   * Hosts that only version documents name, if they are not wanted as targets (--os-follow-links).
   */
  readonly linkedOnly: readonly CloudTarget[];
  /** The addresses at which the jump host was reached: it probably connects from these. */
  readonly sources: readonly string[];
}

/**
 * Opens each target and closes it again. Rejects with the signal's reason, or when the link is
 * lost.
 */
export async function probeTargets(
  targets: readonly CloudTarget[],
  connect: Connector['connect'],
  signal: AbortSignal,
  timeout = PROBE_TIMEOUT_MS,
): Promise<ProbedTarget[]> {
  const probed: ProbedTarget[] = [];
  // The workers take from one list.
  const work = targets.entries();
  const worker = async (): Promise<void> => {
    for (const [index, target] of work) {
      probed[index] = { ...target, probe: await probe(target, connect, signal, timeout) };
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, worker));
  return probed;
}

async function probe(
  { host, port }: Destination,
  connect: Connector['connect'],
  stop: AbortSignal,
  timeout: number,
): Promise<Probe> {
  const late = (): ConnectError =>
    new ConnectError('timeout', `no answer within ${timeout / 1000} s`);
  try {
    const conduit = await within(
      { signal: stop, time: { milliseconds: timeout, late } },
      (signal) => connect({ host, port }, { signal }),
    );
    conduit.abort(undefined);
    return { outcome: 'open' };
  } catch (error) {
    if (stop.aborted) throw stop.reason;
    if (error instanceof ConnectError) return { outcome: error.refusal, why: error.message };
    throw error;
  }
}

/** Ends in a newline, unless there is nothing to print. */
export function formatReport(report: CloudReport, format: ReportFormat): string {
  switch (format) {
    case 'json':
      return `${printableJson(jsonOf(report), 2)}\n`;
    case 'targets':
      return report.targets.map((target) => `${formatDestination(target)}\n`).join('');
    case 'permitopen':
      return `${permitOpenLine(report.targets)}\n`;
    case 'table':
      return tableOf(report);
  }
}

/**
 * For sshd_config(5). It is one line, because sshd uses only the first PermitOpen that it reads.
 * Without targets: `none`.
 */
export function permitOpenLine(targets: readonly Destination[]): string {
  return `PermitOpen ${targets.map(formatDestination).join(' ') || 'none'}`;
}

/** For the key's options in authorized_keys (sshd(8)), where each address is a separate option. */
function permitOpenOptions(targets: readonly Destination[]): string {
  return targets.map((target) => `permitopen="${formatDestination(target)}"`).join(',');
}

/**
 * What to ask the cloud's administrator for, if the API admits only listed sources: one line for
 * each kind of list.
 */
export function admissionLines({ sources, targets }: CloudReport): string[] {
  const ports = [...new Set(targets.map(({ port }) => port))].sort((a, b) => a - b);
  return sources.flatMap((source) => {
    const cidr = `${source}/${source.includes(':') ? 128 : 32}`;
    const family = source.includes(':') ? ' --ethertype IPv6' : '';
    return [
      ...ports.map(
        (port) =>
          `openstack security group rule create --ingress${family} --protocol tcp --dst-port ${port} --remote-ip ${cidr} GROUP`,
      ),
      `openstack loadbalancer listener set --allowed-cidr ${cidr} LISTENER`,
    ];
  });
}

function jsonOf(report: CloudReport): object {
  const { cloud, found, targets } = report;
  return {
    cloud: cloud.name,
    source: cloud.source,
    region: cloud.region ?? null,
    interfaces: cloud.interfaces,
    catalogAge: found.age ?? null,
    catalogFile: found.file ?? null,
    endpoints: found.endpoints.map(({ type, name, interface: which, region, url, origin }) => ({
      type,
      name,
      interface: which ?? null,
      region,
      url: url.href,
      origin,
    })),
    targets: targets.map(({ host, port, services, linked, probe: { outcome, ...rest } }) => ({
      target: formatDestination({ host, port }),
      services,
      linked,
      permitted: outcome !== 'prohibited',
      outcome,
      ...rest,
    })),
    linkedOnly: report.linkedOnly.map((target) => ({
      target: formatDestination(target),
      services: target.services,
    })),
    permitOpen: permitOpenLine(targets),
    admission: admissionLines(report),
    warnings: [...cloud.warnings, ...found.warnings],
  };
}

const PROBE_TEXTS: Readonly<Record<Probe['outcome'], string>> = {
  open: 'permitted, reachable',
  prohibited: 'NOT PERMITTED by the jump host',
  refused: 'permitted, but the connection is refused',
  unreachable: 'permitted, but not reachable from there',
  'no-network': 'permitted, but not reachable from there',
  timeout: 'permitted, but nothing answers: does the API admit the jump host?',
};

function tableOf(report: CloudReport): string {
  const { cloud, found, targets } = report;
  const age =
    found.file !== undefined
      ? `of ${found.file}`
      : found.age === undefined
        ? 'not asked'
        : found.age === 0
          ? 'fresh'
          : `${formatAge(found.age)} old`;
  const sections = [
    [
      `Cloud ${cloud.name} (${cloud.source})`,
      `  region ${cloud.region ?? 'any'}, interface ${cloud.interfaces.join(', ')}, catalog ${age}`,
    ],
    [
      'Endpoints',
      ...columns(
        found.endpoints.map(({ type, region, url, origin }) => [type, region, url.href, origin]),
      ),
    ],
    [
      'Targets',
      ...columns(
        targets.map((target) => [
          formatDestination(target),
          PROBE_TEXTS[target.probe.outcome],
          `${target.services.join(', ')}${target.linked ? ' (named only by version documents)' : ''}`,
        ]),
      ),
    ],
    [
      'Named only by version documents, and no targets without --os-follow-links',
      ...columns(
        report.linkedOnly.map((target) => [formatDestination(target), target.services.join(', ')]),
      ),
    ],
    ['For the jump host, in sshd_config', `  ${permitOpenLine(targets)}`],
    ['or in authorized_keys, before the key', `  ${permitOpenOptions(targets)}`],
    admissionSection(report),
    notesOf(report),
  ];
  return sections
    .filter((section) => section.length > 1)
    .map((section) => `${section.join('\n')}\n`)
    .join('\n');
}

function admissionSection(report: CloudReport): string[] {
  const lines = admissionLines(report);
  if (lines.length === 0) return [];
  return [
    'For the API, where it admits only listed sources',
    ...lines.map((line) => `  ${line}`),
    '  (the address at which the jump host was reached; behind NAT it connects from another one)',
  ];
}

function notesOf({ cloud, found, targets }: CloudReport): string[] {
  const byName = targets.some(
    ({ host, probe }) => !isAddress(host) && probe.outcome === 'prohibited',
  );
  const notes = [...cloud.warnings, ...found.warnings];
  if (byName) {
    notes.push(
      "sshd compares PermitOpen as text: where it lists addresses, these names are prohibited although their addresses aren't",
    );
  }
  return ['Notes', ...notes.map((note) => `  - ${note}`)];
}

function columns(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  return rows.map((row) =>
    `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd(),
  );
}
