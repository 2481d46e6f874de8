/**
 * The outputs of `tunnel jumphost terraform`: where the jump host is, what its users run, and how
 * they come to believe its host key.
 *
 *   key made on the machine   host_key: a command that reads its fingerprint from the console
 *   ... and signed later      host_key, and known_hosts: the line with the authority
 *   given key                 known_hosts, and the fingerprint is part of the users' command
 *   given certificate         known_hosts: the line with the authority
 */
import { isAddress } from '../net/address.ts';
import { shellWord } from '../net/notation.ts';
import { formatPorts } from '../net/ports.ts';
import { formatPrefix, hostPrefix } from '../net/prefix.ts';
import { mergePrefixes } from '../net/prefixset.ts';
import { CONSOLE_NAME } from './cloudinitscript.ts';
import { permittedHosts } from './egress.ts';
import { hclString } from './hcl.ts';
import type { JumpHostPlan } from './plan.ts';

/** In HCL, one after the other. They use `local.address`, and the instance. */
export function terraformOutputs(plan: JumpHostPlan): string[] {
  const { hostKey, hostCa } = plan.cloudInit;
  return [
    locals(plan),
    output('address', 'Where the jump host is.', 'local.address'),
    output(
      'tunnel',
      hostKey === undefined || hostCa !== undefined
        ? 'What users run. Tell them how to believe the host key, too.'
        : 'What users run. The host key is pinned in it.',
      `"${command(plan)}"`,
    ),
    ...(hostKey === undefined
      ? [
          output(
            'host_key',
            'A command that prints the option to pin the host key, once the jump host is ready.',
            `"${HOST_KEY}"`,
          ),
        ]
      : []),
    ...knownHosts(plan),
  ];
}

/** `host` as -r takes it, `known_host` as known_hosts has it (sshd(8), SSH_KNOWN_HOSTS). */
function locals({ port, cloudInit: { address } }: JumpHostPlan): string {
  const known = port === 22 ? 'local.reached' : `"[\${local.reached}]:${port}"`;
  return `locals {
  reached    = ${address === undefined ? 'local.address' : hclString(address)}
  host       = length(regexall(":", local.reached)) > 0 ? "[\${local.reached}]" : local.reached
  known_host = ${known}
}`;
}

function output(name: string, description: string, value: string): string {
  return `output "${name}" {
  description = ${hclString(description)}
  value       = ${value}
}`;
}

/**
 * Inside of quotes. The first such line counts: later ones may be of a log that repeats what
 * clients have sent. What follows the fingerprint is left out, since lines of a console end with
 * "\r\n".
 */
const HOST_KEY = [
  `openstack console log show \${openstack_compute_instance_v2.jumphost.id}`,
  `grep -a -m 1 -e '${CONSOLE_NAME}: --host-key SHA256:'`,
  "grep -a -o -e '--host-key SHA256:[A-Za-z0-9+/]*'",
].join(' | ');

function knownHosts({ cloudInit: { hostKey, hostCa } }: JumpHostPlan): string[] {
  const line = (description: string, before: string, key: string) => [
    output('known_hosts', description, `"${before}\${local.known_host} ${key}"`),
  ];
  if (hostCa !== undefined)
    return line(
      hostKey === undefined
        ? "A line for users' ~/.ssh/known_hosts, once the host key is signed."
        : "A line for users' ~/.ssh/known_hosts. With it they are asked nothing.",
      '@cert-authority ',
      hostCa,
    );
  if (hostKey !== undefined)
    return line(
      "A line for users' ~/.ssh/known_hosts, instead of the option.",
      '',
      hostKey.publicKey,
    );
  return [];
}

/** Inside of quotes. */
function command({ user, port, permitted, cloudInit }: JumpHostPlan): string {
  const { hostKey, hostCa } = cloudInit;
  return [
    `tunnel -r ${user}@\${local.host}${port === 22 ? '' : `:${port}`}`,
    ...(hostKey === undefined || hostCa !== undefined ? [] : ['--host-key', hostKey.fingerprint]),
    hclString(targetsOf(permitted).map(shellWord).join(' ')).slice(1, -1),
  ].join(' ');
}

/** As a client takes them: addresses with the same ports as prefixes. */
function targetsOf(permitted: JumpHostPlan['permitted']): string[] {
  const names: string[] = [];
  const byPorts = new Map<string, string[]>();
  for (const { host, ports } of permittedHosts(permitted)) {
    const suffix = ports.length === 0 ? '' : `:${formatPorts(ports)}`;
    if (isAddress(host)) byPorts.set(suffix, [...(byPorts.get(suffix) ?? []), host]);
    else names.push(host + suffix);
  }
  const addresses = [...byPorts].flatMap(([suffix, hosts]) =>
    mergePrefixes(hosts.map(hostPrefix)).map((prefix) => {
      const text = formatPrefix(prefix);
      if (suffix === '' || prefix.family === 4) return text + suffix;
      return `${text.replace(/^[^/]+/, '[$&]')}${suffix}`;
    }),
  );
  return [...names, ...addresses];
}
