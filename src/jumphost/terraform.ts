/**
 * `tunnel jumphost terraform`: HCL that makes a jump host on OpenStack.
 *
 *   instance           becomes a jump host at its first boot, by the user-data of cloud-init
 *   port               on a public network (--network), or on a private one with a floating
 *                      address. It and its address stay when a new instance replaces the old one
 *   second port        --private-network
 *   security groups    in: ssh, at the first port only. Out: the list (egress.ts), and what the
 *                      machine itself needs. Neutron's own rules, which let everything out, go
 *
 * What depends on the cloud is a variable. What depends on the options is rendered, so the text has
 * no conditions. All of it is one file, and the same whether it is printed or written.
 */
import { isAddress } from '../net/address.ts';
import { renderCloudInit } from './cloudinit.ts';
import { egressRules } from './egress.ts';
import { hclHeredoc, hclString } from './hcl.ts';
import { comment, type JumpHostPlan, type KeySource, type RenderedFile } from './plan.ts';
import { terraformOutputs } from './terraformoutputs.ts';
import { requiredVariables, terraformVariables } from './terraformvariables.ts';
import { formatSshdVersion } from './versions.ts';

const FILE = 'main.tf';

/** Instances read their metadata there. */
const METADATA = '169.254.169.254/32';

/** Security groups have a quota of rules; this is Neutron's default for a whole project. */
const DEFAULT_QUOTA = 100;
/** With open variables: ssh, DNS, updates, time and metadata, over IPv4 and IPv6. */
const OTHER_RULES = 13;

const STANDARD_PORTS: Readonly<Record<string, number>> = { 'http:': 80, 'https:': 443 };

/** Throws UsageError as renderCloudInit does. */
export function renderTerraform(plan: JumpHostPlan): RenderedFile[] {
  const sections = [
    comment(...head(plan)),
    REQUIREMENTS,
    ...terraformVariables(plan),
    listed(plan),
    egress(plan),
    securityGroups(plan),
    ...ports(plan),
    instance(plan),
    ...terraformOutputs(plan),
    userData(plan),
  ];
  return [{ path: FILE, mode: 0o600, text: `${sections.join('\n\n')}\n` }];
}

function head(plan: JumpHostPlan): string[] {
  const { version, permitted, keysFrom, terraform, cloudInit } = plan;
  const lines = new Set([...listedRules(permitted), ...sourceRules(keysFrom)]);
  const rules = [...lines].filter((line) => !line.startsWith('#')).length + OTHER_RULES;
  const { hostKey, address } = cloudInit;
  return [
    'A forward-only jump host on OpenStack. For Terraform 1.3 or later, or OpenTofu.',
    ...(hostKey === undefined
      ? []
      : [
          '',
          'A PRIVATE KEY IS IN THIS FILE, and will be in the metadata of the machine. Whoever runs a',
          "program there, or may ask the cloud's API, can read it.",
        ]),
    '',
    `Apply, with this file as ${FILE} in a directory of its own, and with OS_CLOUD or the OS_*`,
    'variables naming the cloud:',
    "  printf '%s\\n' \\",
    ...requiredVariables(plan).map((assignment) => `    '${assignment}' \\`),
    '    >terraform.tfvars',
    '  terraform init',
    '  terraform apply',
    'Besides the list the machine reaches DNS servers, and what two variables say: updates_from for',
    'package mirrors, time_servers for clocks. As written here these are anywhere; [] is nowhere.',
    `The image needs cloud-init, and OpenSSH ${formatSshdVersion(version)} or later. The variables say what else can be set.`,
    `So there are up to ${rules} rules of security groups. A project may have ${DEFAULT_QUOTA} unless its`,
    'quota says otherwise (openstack quota show).',
    ...(terraform.network === undefined
      ? ['The network of the instance needs a router to the floating pool.']
      : ['The network has to be one whose addresses the users reach.']),
    ...(address === undefined || isAddress(address)
      ? []
      : [`${address} has to be a name of the address that is made (the output "address").`]),
    '',
    'Verify:',
    '  terraform plan -detailed-exitcode   # status 0: everything is as described here',
    '  terraform output                    # what users run, and how they pin the host key',
    '',
    'A changed list or option makes a new instance, at the same address.',
    ...(hostKey === undefined ? ['Its host key is a new one.'] : []),
    'A newer image is used only by a new instance:',
    '  terraform apply -replace=openstack_compute_instance_v2.jumphost',
    '',
    'Undo:',
    '  terraform destroy',
  ];
}

const REQUIREMENTS = `terraform {
  required_version = ">= 1.3"

  required_providers {
    openstack = {
      source  = "terraform-provider-openstack/openstack"
      version = "~> 3.0"
    }
  }
}`;

/** The list, what is listed by name first. */
function listed({ permitted }: JumpHostPlan): string {
  return [
    comment('What is listed. sshd admits the same and nothing else, to each user.'),
    'locals {',
    '  listed = [',
    ...listedRules(permitted).map((line) => `    ${line}`),
    '  ]',
    '}',
  ].join('\n');
}

/** Elements of a list, and comments. */
function listedRules(permitted: JumpHostPlan['permitted']): string[] {
  return egressRules(permitted).flatMap(({ ports: { first, last }, to, names }) => [
    ...(names.length === 0
      ? []
      : [
          '# By name. Security groups know no names, so the port is open to every address:',
          ...names.map((name) => `#   ${name}`),
        ]),
    ...to.map(
      (prefix) =>
        `{ protocol = "tcp", first = ${first}, last = ${last}, to = ${hclString(prefix)} },`,
    ),
  ]);
}

/** Everything that goes out. Neutron refuses a rule that is there already. */
function egress({ keysFrom }: JumpHostPlan): string {
  const sources = sourceRules(keysFrom);
  return [
    comment('What the machine sends, besides answers to ssh.'),
    'locals {',
    '  egress = distinct(concat(',
    '    local.listed,',
    ...(sources.length === 0 ? [] : ['    [', ...sources.map((line) => `      ${line}`), '    ],']),
    '    [for it in setproduct(["tcp", "udp"], var.dns_servers) :',
    '      { protocol = it[0], first = 53, last = 53, to = it[1] }',
    '    ],',
    '    [for it in setproduct([80, 443], var.updates_from) :',
    '      { protocol = "tcp", first = it[0], last = it[0], to = it[1] }',
    '    ],',
    '    [for to in var.time_servers :',
    '      { protocol = "udp", first = 123, last = 123, to = to }',
    '    ],',
    '    # The metadata service, for images that ignore the configuration drive.',
    `    [{ protocol = "tcp", first = 80, last = 80, to = ${hclString(METADATA)} }],`,
    '    var.more_egress,',
    '  ))',
    '}',
  ].join('\n');
}

/** As for entries of the list. Where a command connects to isn't known. */
function sourceRules(keysFrom: readonly KeySource[]): string[] {
  const destinations = keysFrom.flatMap((source) => {
    if (source.kind === 'command') return [];
    const { hostname, port, protocol } = new URL(source.url);
    const host = hostname.replace(/^\[|\]$/g, '');
    return [{ host, port: Number(port === '' ? STANDARD_PORTS[protocol] : port) }];
  });
  return listedRules(destinations);
}

/** Two groups, so that a second port gets the rules for what goes out and no other. */
function securityGroups({ port }: JumpHostPlan): string {
  return `resource "openstack_networking_secgroup_v2" "ssh" {
  name                 = "\${var.name}-ssh"
  description          = "ssh to the jump host"
  delete_default_rules = true
}

resource "openstack_networking_secgroup_rule_v2" "ssh" {
  for_each = toset(var.ssh_from)

  security_group_id = openstack_networking_secgroup_v2.ssh.id
  direction         = "ingress"
  ethertype         = length(regexall(":", each.value)) > 0 ? "IPv6" : "IPv4"
  protocol          = "tcp"
  port_range_min    = ${port}
  port_range_max    = ${port}
  remote_ip_prefix  = each.value
}

# Without Neutron's default rules, which let everything out.
resource "openstack_networking_secgroup_v2" "egress" {
  name                 = "\${var.name}-egress"
  description          = "what the jump host may connect to"
  delete_default_rules = true
}

resource "openstack_networking_secgroup_rule_v2" "egress" {
  for_each = {
    for it in local.egress : "\${it.protocol} \${it.first}-\${it.last} \${it.to}" => it
  }

  security_group_id = openstack_networking_secgroup_v2.egress.id
  direction         = "egress"
  ethertype         = length(regexall(":", each.value.to)) > 0 ? "IPv6" : "IPv4"
  protocol          = each.value.protocol
  port_range_min    = each.value.first
  port_range_max    = each.value.last
  remote_ip_prefix  = each.value.to
}`;
}

function ports({ terraform: { network, privateNetwork } }: JumpHostPlan): string[] {
  const first = port('jumphost', 'network', undefined, [
    'openstack_networking_secgroup_v2.ssh.id',
    'openstack_networking_secgroup_v2.egress.id',
  ]);
  return [
    first,
    ...(network === undefined ? [FLOATING_ADDRESS] : [OWN_ADDRESS]),
    ...(privateNetwork === undefined
      ? []
      : [
          `${comment(
            'No ssh from this side. A gateway of its subnet would be a second default route: give it none,',
            'and routes to what is behind it (host_routes of the subnet).',
          )}\n${port('private', 'private_network', 'private', [
            'openstack_networking_secgroup_v2.egress.id',
          ])}`,
        ]),
  ];
}

function port(
  name: string,
  network: string,
  suffix: string | undefined,
  groups: readonly string[],
): string {
  return `data "openstack_networking_network_v2" "${name}" {
  name = var.${network}
}

resource "openstack_networking_port_v2" "${name}" {
  name           = ${suffix === undefined ? 'var.name' : `"\${var.name}-${suffix}"`}
  network_id     = data.openstack_networking_network_v2.${name}.id
  admin_state_up = true
  security_group_ids = [
${groups.map((group) => `    ${group},`).join('\n')}
  ]
}`;
}

const OWN_ADDRESS = `locals {
  addresses = openstack_networking_port_v2.jumphost.all_fixed_ips
  ipv4      = [for it in local.addresses : it if length(regexall(":", it)) == 0]
  address   = concat(local.ipv4, local.addresses)[0]
}`;

const FLOATING_ADDRESS = `resource "openstack_networking_floatingip_v2" "jumphost" {
  pool        = var.floating_pool
  description = var.name
  port_id     = openstack_networking_port_v2.jumphost.id
}

locals {
  address = openstack_networking_floatingip_v2.jumphost.address
}`;

function instance({ terraform: { privateNetwork } }: JumpHostPlan): string {
  const names = ['jumphost', ...(privateNetwork === undefined ? [] : ['private'])];
  return `resource "openstack_compute_instance_v2" "jumphost" {
  name        = var.name
  image_name  = var.image
  flavor_name = var.flavor
  key_pair    = var.key_pair
  user_data   = local.user_data
  # The user-data and the addresses of all ports are there before the network is.
  config_drive = true
${names
  .map(
    (name) => `
  network {
    port = openstack_networking_port_v2.${name}.id
  }`,
  )
  .join('\n')}

  lifecycle {
    # Clouds rename an image when there is a newer one, and the provider would rebuild the machine.
    ignore_changes = [image_id, image_name]
  }

  # The first boot installs packages.
  depends_on = [
    openstack_networking_secgroup_rule_v2.ssh,
    openstack_networking_secgroup_rule_v2.egress,
  ]
}`;
}

function userData(plan: JumpHostPlan): string {
  const [file] = renderCloudInit(plan);
  return [
    comment('As "tunnel jumphost cloud-init" renders it, with the same options.'),
    'locals {',
    `  user_data = ${hclHeredoc(file?.text ?? '', 'USER_DATA')}`,
    '}',
  ].join('\n');
}
