/** `tunnel jumphost`: what it takes, and its help. */
import { JUMP_HOST_FORMATS, JUMPHOST_GROUPS } from '../config/jumphostoptions.ts';
import type { CommandDeclaration } from './command.ts';

const EXAMPLES = `\
Examples:
  tunnel jumphost sshd api.example.com:443 10.0.0.0/28:8774
      a drop-in for sshd_config: a forward-only jump host for these, and nothing else
  openstack --os-cloud mycloud catalog list -f json >catalog.json
  tunnel jumphost sshd --os-cloud mycloud --os-catalog-file catalog.json --mfa \\
      --output jumphost
      for the endpoints of a cloud, with codes by time besides the key
  tunnel jumphost authorized-key --key agent api.example.com:443
      the keys of your agent, each good for this and nothing else
  tunnel jumphost cloud-init -s jump.list --key team.pub >user-data
      a new machine of a cloud that is such a host, for the users in team.pub
  tunnel jumphost terraform -s jump.list --key team.pub --network public --output jump
      the same on OpenStack, with security groups that let out what is listed
  tunnel jumphost kubernetes --image registry.example.com/jumphost:1 --key team.pub \\
      --output jumphost api.example.com:443
      a base for kustomize, which begins with every step
`;

const AFTER = `
FORMAT is:
  sshd            a drop-in for sshd_config(5), with the PAM file of --mfa and the script of
                  --keys-from
  authorized-key  lines for authorized_keys: what a key may do, whatever sshd_config says
  keys-command    a script for AuthorizedKeysCommand: keys from behind an API, cached
  cloud-init      user-data that makes a cloud's image such a host at its first boot
  terraform       HCL for OpenStack: an instance with that user-data, and security groups
  kubernetes      manifests: unprivileged pods with one host key, and the file of their image

The list of what the jump host admits is what TARGETs, -s and --allow name together, and with
--os-cloud the endpoints of a cloud. Its catalog is fetched through -r; before there is any
jump host, give it with --os-catalog-file, or take the auth_url alone with --os-catalog
off. sshd compares hosts and ports as text: prefixes and ranges of ports are listed one by
one, up to 256 entries each, and patterns are refused.

Each file begins with how to apply, verify and undo it. docs/hardening.md explains the lines,
docs/kubernetes.md the manifests; docs/provision.md leads from the list to the first login.
`;

export const JUMPHOST: CommandDeclaration = {
  name: 'jumphost',
  description: 'render a hardened jump host that admits nothing but the listed destinations',
  summary: 'render a hardened jump host',
  purpose: 'Set up',
  usage: 'FORMAT [options] TARGET...',
  takesOperands: true,
  operands: [JUMP_HOST_FORMATS, 'target'],
  groups: JUMPHOST_GROUPS,
  answersSshuttle: false,
  examples: EXAMPLES,
  after: AFTER,
};
