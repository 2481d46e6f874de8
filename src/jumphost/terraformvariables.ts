/** The variables of `tunnel jumphost terraform`: what depends on the cloud, or on who runs it. */
import { EVERYWHERE } from './egress.ts';
import { hclString } from './hcl.ts';
import { comment, type JumpHostPlan } from './plan.ts';

interface Variable {
  readonly name: string;
  readonly type?: string;
  readonly description: string;
  /** As HCL. undefined: whoever applies it has to give a value. */
  readonly standard: string | undefined;
  /** Why it is as it is. */
  readonly comment?: readonly string[];
  /** As HCL, to be written for one without a standard value. */
  readonly example?: string;
  /** Its prefixes: what follows its name. Neutron would change some that have host bits. */
  readonly prefixes?: string;
}

/** In HCL, one after the other. */
export function terraformVariables(plan: JumpHostPlan): string[] {
  return variables(plan).map(variable);
}

/** Assignments of those without a value, to be filled in. */
export function requiredVariables(plan: JumpHostPlan): string[] {
  return variables(plan)
    .filter(({ standard }) => standard === undefined)
    .map(({ name, example = '"NAME"' }) => `${name} = ${example}`);
}

function variables(plan: JumpHostPlan): Variable[] {
  return [
    {
      name: 'name',
      description: 'Of the instance. Its ports and security groups begin with it.',
      standard: '"tunnel-jumphost"',
    },
    {
      name: 'image',
      description: 'Name of an image with cloud-init, as in: openstack image list',
      standard: undefined,
    },
    {
      name: 'flavor',
      description:
        'Name of a flavor with a disk, as in: openstack flavor list. A small one is enough.',
      standard: undefined,
    },
    {
      name: 'key_pair',
      description: "Name of a key pair for the image's own user, who administers the machine.",
      standard: 'null',
      comment: ['Without one nobody can log in to it except its users, who may only forward.'],
    },
    ...networks(plan),
    sshFrom(plan),
    {
      name: 'dns_servers',
      ...PREFIXES,
      description: 'Prefixes of the resolvers that the subnet or the image names.',
      comment: ['sshd resolves listed names there.'],
    },
    {
      name: 'updates_from',
      ...PREFIXES,
      standard: undefined,
      example: OPEN,
      description: 'Prefixes of package mirrors, for ports 80 and 443.',
      comment: [
        'Mirrors have names, and security groups know none. So these ports are open to every address,',
        'unless you have a mirror of your own. With [] the machine gets no security updates, and what',
        "the first boot installs must be in the image. sshd's list stays as it is in any case.",
      ],
    },
    {
      name: 'time_servers',
      ...PREFIXES,
      standard: undefined,
      example: OPEN,
      description: 'Prefixes of NTP servers.',
      comment: ['Certificates and codes by time need the right time.'],
    },
    moreEgress(plan),
  ];
}

const OPEN = `[${EVERYWHERE.map(hclString).join(', ')}]`;
const PREFIXES = {
  type: 'list(string)',
  prefixes: '',
  standard: OPEN,
} as const;

function networks({ terraform }: JumpHostPlan): Variable[] {
  const { network, floatingPool, privateNetwork } = terraform;
  const given = (name: string | undefined) => (name === undefined ? undefined : hclString(name));
  return [
    ...(network === undefined
      ? [
          {
            name: 'network',
            description:
              'Name of the private network of the instance. Its router leads to the pool.',
            standard: undefined,
          },
          {
            name: 'floating_pool',
            description: 'Name of the external network that gives the floating address.',
            standard: given(floatingPool),
          },
        ]
      : [
          {
            name: 'network',
            description: 'Name of the public network of the instance.',
            standard: given(network),
          },
        ]),
    ...(privateNetwork === undefined
      ? []
      : [
          {
            name: 'private_network',
            description: 'Name of the network of the second port.',
            standard: given(privateNetwork),
          },
        ]),
  ];
}

function sshFrom({ behindProxy }: JumpHostPlan): Variable {
  const common = { ...PREFIXES, name: 'ssh_from' };
  if (behindProxy)
    return {
      ...common,
      description: 'Prefixes of the proxy that is in front. Nobody else may connect.',
      standard: undefined,
      example: '["PREFIX"]',
    };
  return {
    ...common,
    description: 'Prefixes from which users and administrators connect.',
    comment: [
      'Users have no fixed address as a rule, so everybody may knock; keys decide. Narrow it where you',
      'can.',
    ],
  };
}

function moreEgress({ keysFrom }: JumpHostPlan): Variable {
  const commands = keysFrom.some(({ kind }) => kind === 'command');
  return {
    name: 'more_egress',
    type: `list(object({
    protocol = string
    first    = number
    last     = number
    to       = string
  }))`,
    description: 'What the machine needs to reach besides, such as a log host.',
    standard: '[]',
    prefixes: '[*].to',
    ...(commands
      ? {
          comment: [
            'What the command of --keys-from connects to is known to you alone. If it uses other ports than',
            '80 and 443, name them here.',
          ],
        }
      : {}),
  };
}

function variable({ name, type = 'string', description, standard, ...more }: Variable): string {
  const { comment: reasons = [], prefixes } = more;
  return [
    ...(reasons.length === 0 ? [] : [comment(...reasons)]),
    `variable "${name}" {`,
    ...(type.includes('\n')
      ? [`  type = ${type}`, `  description = ${hclString(description)}`]
      : [`  type        = ${type}`, `  description = ${hclString(description)}`]),
    ...(standard === undefined ? [] : [`  default     = ${standard}`]),
    ...(prefixes === undefined
      ? []
      : [
          '',
          '  validation {',
          '    condition = alltrue([',
          `      for it in var.${name}${prefixes} : try(cidrsubnet(it, 0, 0) == it, false)`,
          '    ])',
          `    error_message = "Write prefixes without host bits, as in \\"192.0.2.0/24\\" or \\"2001:db8::/32\\"."`,
          '  }',
        ]),
    '}',
  ].join('\n');
}
