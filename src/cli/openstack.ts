/** `tunnel openstack`: what it takes, and its help. */
import { OPENSTACK_GROUPS } from '../config/openstackreport.ts';
import type { CommandDeclaration } from './command.ts';

const EXAMPLES = `\
Examples:
  tunnel openstack -r user@jumphost --os-cloud mycloud
  tunnel openstack -r user@jumphost --os-cloud mycloud --format permitopen
`;

const AFTER = `
Reads clouds.yaml, secure.yaml and the OS_* variables as the openstack command does, asks
Keystone through the jump host for the catalog, and tries which of its addresses the
jump host opens. Nothing goes past the jump host, and nothing is captured. Without
--os-cloud the cloud is $OS_CLOUD, else the one that OS_* variables describe, else the
only one there is.

--format targets prints what -s reads, permitopen the line for sshd_config.

A catalog is kept for 12 hours below \${XDG_CACHE_HOME:-~/.cache}/tunnel, without
credentials; --os-catalog refresh fetches a new one, --os-catalog off asks for none.
`;

export const OPENSTACK: CommandDeclaration = {
  name: 'openstack',
  description: "show what a cloud's clients connect to, and whether the jump host permits it",
  usage: '-r REMOTE [--os-cloud NAME] [options]',
  takesOperands: false,
  groups: OPENSTACK_GROUPS,
  answersSshuttle: true,
  examples: EXAMPLES,
  after: AFTER,
};
