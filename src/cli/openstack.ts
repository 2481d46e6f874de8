/** `tunnel openstack`: its options and help. */
import type { Command } from 'commander';
import { type OpenStackReportOptions, REPORT_FORMATS } from '../config/openstackreport.ts';
import { addCloudOptions } from './cloud.ts';
import { once } from './connect.ts';

export type OpenStackAction = (options: OpenStackReportOptions) => Promise<void>;

const AFTER = `
Reads clouds.yaml, secure.yaml and the OS_* variables as the openstack command does, asks
Keystone through the jump host for the catalog, and tries which of its addresses the
jump host opens. Nothing goes past the jump host, and nothing is captured. Without
--os-cloud the cloud is $OS_CLOUD, else the one that OS_* variables describe, else the
only one there is.

--format targets prints what -s reads, permitopen the line for sshd_config.

A catalog is kept for 12 hours below \${XDG_CACHE_HOME:-~/.cache}/tunnel, without
credentials; --os-catalog refresh fetches it anew, --os-catalog off asks for none.

Examples:
  tunnel openstack -r user@jumphost --os-cloud mycloud
  tunnel openstack -r user@jumphost --os-cloud mycloud --format permitopen
`;

/**
 * Of `connect` these would do nothing: there are no targets, nobody's queries, nothing becomes
 * ready, no lost link is made anew, and no connection carries more than a document.
 */
const NOT_SHARED = new Set([
  '--exclude',
  '--targets-from',
  '--excludes-from',
  '--dns',
  '--dns-server',
  '--domain',
  '--ready-fd',
  '--reconnect-hold',
  '--max-window',
  '--window-budget',
  '--no-flush',
]);

/** Adds the command; how the jump host is reached is said as for `connect`. */
export function addOpenStackCommand(
  program: Command,
  connect: Command,
  action: OpenStackAction,
): Command {
  const command = program
    .command('openstack')
    .description("show what a cloud's clients connect to, and whether the jump host permits it")
    .usage('-r REMOTE [--os-cloud NAME] [options]');
  for (const option of connect.options)
    if (!NOT_SHARED.has(option.long ?? '')) command.addOption(option);
  addCloudOptions(command);
  command
    .option('--format <format>', `${REPORT_FORMATS.join(', ')} (default: table)`, once('--format'))
    .helpOption('-h, --help', 'show this help')
    .addHelpText('after', AFTER)
    .action((options: OpenStackReportOptions) => action(options));
  return command;
}
