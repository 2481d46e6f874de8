/**
 * Service types and their aliases. Each service has one official type, and older names that
 * catalogs and configurations still use (the "service types authority" of OpenStack).
 */

/**
 * Official types, each with its aliases from the preferred to the oldest. A type without aliases
 * needs no entry.
 */
const ALIASES: readonly (readonly [type: string, ...aliases: string[]])[] = [
  ['block-storage', 'volumev3', 'volumev2', 'volume', 'block-store'],
  ['shared-file-system', 'sharev2', 'share'],
  ['clustering', 'resource-cluster', 'cluster'],
  ['container-infrastructure-management', 'container-infrastructure', 'container-infra'],
  ['application-container', 'container'],
  ['application-deployment', 'application_deployment'],
  ['workflow', 'workflowv2'],
  ['baremetal', 'bare-metal'],
  ['message', 'messaging'],
  ['alarm', 'alarming'],
  ['meter', 'metering', 'telemetry'],
  ['event', 'events'],
  ['resource-optimization', 'infra-optim'],
  ['operator-policy', 'policy'],
  ['root-cause-analysis', 'rca'],
  ['monitoring-logging', 'monitoring-log-api'],
  ['instance-ha', 'ha'],
  ['admin-logic', 'registration'],
  ['multi-region-network-automation', 'tricircle'],
];

const OFFICIAL = new Map(
  ALIASES.flatMap(([type, ...aliases]) => aliases.map((alias) => [alias, type] as const)),
);

/** The official type; for an unknown type, the type itself. */
export function officialType(type: string): string {
  const lower = type.toLowerCase().replaceAll('_', '-');
  return OFFICIAL.get(lower) ?? OFFICIAL.get(type) ?? lower;
}
