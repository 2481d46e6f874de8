/** `tunnel openstack`: its options and its help. */
import { OPENSTACK_GROUPS } from '../config/openstackreport.ts';
import type { CommandDeclaration } from './command.ts';

const EXAMPLES = `\
Examples:
  tunnel openstack -r user@jumphost --os-cloud mycloud
  tunnel openstack -r user@jumphost --os-cloud mycloud --format permitopen
`;

const AFTER = `
Reads clouds.yaml, secure.yaml and the OS_* variables as the openstack command does, asks
Keystone through the jump host for the catalog, and tries to open each of its addresses
there. Everything goes through the jump host, and nothing is captured. Without
--os-cloud the cloud is $OS_CLOUD, or else the one that OS_* variables describe, or else
the only one in clouds.yaml.

--format targets prints a file for -s, permitopen the line for sshd_config.

The catalog is cached for 12 hours below \${XDG_CACHE_HOME:-~/.cache}/tunnel, without
credentials. --os-catalog refresh fetches a new one, --os-catalog off uses none, and
--os-catalog-file takes the output of "openstack catalog list -f json".
`;

export const OPENSTACK: CommandDeclaration = {
  name: 'openstack',
  description: "show what a cloud's clients connect to, and whether the jump host permits it",
  summary: "show what a cloud's clients connect to",
  purpose: 'Look',
  usage: '-r REMOTE [--os-cloud NAME] [options]',
  takesOperands: false,
  groups: OPENSTACK_GROUPS,
  answersSshuttle: true,
  examples: EXAMPLES,
  after: AFTER,
};
