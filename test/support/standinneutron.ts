/**
 * A stand-in of Neutron for `tunnel jumphost terraform`: networks, security groups and their rules,
 * ports, floating addresses. It checks requests as the Networking API v2.0 describes them, keeps
 * them, and says what a port may send and receive.
 *
 *   new group      has Neutron's own rules, which let everything out
 *   rule           of one family, with canonical prefixes; the same one twice is a conflict
 *   port           an address of each subnet of its network; without groups the project's own one
 *   floating       only from an external network to which the port's subnet is routed
 */
import { randomUUID } from 'node:crypto';
import { ADDRESS_BITS, addressFromNumber, family, isAddress } from '../../src/net/address.ts';
import {
  hostPrefix,
  type Prefix,
  parsePrefix,
  prefixBounds,
  prefixContains,
  prefixNotation,
} from '../../src/net/prefix.ts';
import {
  type ApiAnswer,
  type ApiRequest,
  bodyOf,
  boolean,
  checkFields,
  filtered,
  found,
  integer,
  listOf,
  oneOf,
  orNull,
  Refusal,
  text,
  uuid,
} from './standinrequest.ts';

export const PROJECT = '5f2f9c5d0f6b4f0e9d0a7c1b2e3d4f50';

/** The project's own group, which lets everything out. A port without groups has it. */
const DEFAULT_GROUP = randomUUID();

export interface Network {
  readonly id: string;
  readonly name: string;
  readonly status: 'ACTIVE';
  readonly external: boolean;
  readonly subnets: readonly { readonly id: string; readonly prefix: Prefix }[];
  /** The external network to which its router leads. */
  readonly routedTo: string | undefined;
}

export interface SecurityGroup {
  readonly id: string;
  readonly name: string;
  readonly description: string;
}

export interface SecurityGroupRule {
  readonly id: string;
  readonly security_group_id: string;
  readonly direction: 'ingress' | 'egress';
  readonly ethertype: 'IPv4' | 'IPv6';
  readonly protocol: string | null;
  readonly port_range_min: number | null;
  readonly port_range_max: number | null;
  readonly remote_ip_prefix: string | null;
  readonly remote_group_id: string | null;
  readonly description: string;
}

export interface Port {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly network_id: string;
  readonly admin_state_up: boolean;
  readonly mac_address: string;
  readonly security_groups: readonly string[];
  readonly fixed_ips: readonly { readonly subnet_id: string; readonly ip_address: string }[];
  /** The server that has it. Empty: none. */
  device_id: string;
}

export interface FloatingAddress {
  readonly id: string;
  readonly description: string;
  readonly floating_network_id: string;
  readonly floating_ip_address: string;
  readonly port_id: string | null;
}

/** What a port may do, as `permits` is asked. */
export interface Attempt {
  readonly direction: 'ingress' | 'egress';
  readonly protocol: 'tcp' | 'udp' | 'icmp';
  readonly address: string;
  readonly port: number;
}

export class StandInNeutron {
  /** Neutron's default. */
  ruleQuota = 100;
  readonly networks = new Map<string, Network>();
  readonly groups = new Map<string, SecurityGroup>();
  readonly rules = new Map<string, SecurityGroupRule>();
  readonly ports = new Map<string, Port>();
  readonly floating = new Map<string, FloatingAddress>();
  readonly #leased = new Map<string, bigint>();

  addNetwork(
    name: string,
    subnets: readonly string[],
    more: Partial<Pick<Network, 'external' | 'routedTo'>> = {},
  ): Network {
    const network: Network = {
      id: randomUUID(),
      name,
      status: 'ACTIVE',
      external: false,
      routedTo: undefined,
      ...more,
      subnets: subnets.map((cidr) => ({ id: randomUUID(), prefix: parsePrefix(cidr).prefix })),
    };
    this.networks.set(network.id, network);
    return network;
  }

  /** Everything that somebody has made. */
  get made(): readonly object[] {
    return [this.groups, this.rules, this.ports, this.floating].flatMap((of) => [...of.values()]);
  }

  /** Whether a rule of any group of the port lets it. Answers are always let through. */
  permits(port: Port, { direction, protocol, address, port: number }: Attempt): boolean {
    if (port.security_groups.includes(DEFAULT_GROUP) && direction === 'egress') return true;
    return [...this.rules.values()].some(
      (rule) =>
        port.security_groups.includes(rule.security_group_id) &&
        rule.direction === direction &&
        rule.ethertype === `IPv${family(address)}` &&
        (rule.protocol === null || rule.protocol === protocol) &&
        (rule.port_range_min === null || rule.port_range_min <= number) &&
        (rule.port_range_max === null || rule.port_range_max >= number) &&
        (rule.remote_ip_prefix === null ||
          prefixContains(parsePrefix(rule.remote_ip_prefix).prefix, hostPrefix(address))) &&
        rule.remote_group_id === null,
    );
  }

  handle(request: ApiRequest): ApiAnswer {
    const { method, path } = request;
    const [kind = '', id] = path;
    switch (`${method} ${kind}${id === undefined ? '' : '/ID'}`) {
      case 'GET networks':
        return this.#listNetworks(request);
      case 'GET ports':
        return {
          status: 200,
          body: {
            ports: filtered(this.ports.values(), request.query, [
              'id',
              'name',
              'device_id',
              'network_id',
            ]).map(shownPort),
          },
        };
      case 'POST security-groups':
        return { status: 201, body: { security_group: this.#makeGroup(request.body) } };
      case 'GET security-groups/ID':
        return {
          status: 200,
          body: { security_group: this.#shownGroup(found(this.groups, id, 'group')) },
        };
      case 'DELETE security-groups/ID':
        return this.#deleteGroup(found(this.groups, id, 'group'));
      case 'POST security-group-rules':
        return {
          status: 201,
          body: { security_group_rule: shownRule(this.#makeRule(request.body)) },
        };
      case 'GET security-group-rules/ID':
        return {
          status: 200,
          body: { security_group_rule: shownRule(found(this.rules, id, 'rule')) },
        };
      case 'DELETE security-group-rules/ID':
        return this.#delete(this.rules, id, 'rule');
      case 'POST ports':
        return { status: 201, body: { port: shownPort(this.#makePort(request.body)) } };
      case 'GET ports/ID':
        return { status: 200, body: { port: shownPort(found(this.ports, id, 'port')) } };
      case 'DELETE ports/ID':
        return this.#deletePort(id);
      case 'POST floatingips':
        return {
          status: 201,
          body: { floatingip: this.#shownFloating(this.#makeFloating(request.body)) },
        };
      case 'GET floatingips/ID':
        return {
          status: 200,
          body: { floatingip: this.#shownFloating(found(this.floating, id, 'floating address')) },
        };
      case 'DELETE floatingips/ID':
        return this.#delete(this.floating, id, 'floating address');
      default:
        throw new Refusal(501, `not in this stand-in: ${method} ${path.join('/')}`);
    }
  }

  #listNetworks({ query }: ApiRequest): ApiAnswer {
    const networks = filtered(this.networks.values(), query, ['id', 'name', 'status']);
    const shown = networks.map(({ id, name, status, external, subnets }) => ({
      id,
      name,
      status,
      'router:external': external,
      shared: true,
      admin_state_up: true,
      description: '',
      tenant_id: PROJECT,
      tags: [],
      subnets: subnets.map((subnet) => subnet.id),
    }));
    return { status: 200, body: { networks: shown } };
  }

  #makeGroup(body: unknown): object {
    const fields = bodyOf(body, 'security_group');
    checkFields(
      fields,
      'security_group',
      { name: text(1, 255) },
      { description: text(0, 255), stateful: boolean },
    );
    const group: SecurityGroup = {
      id: randomUUID(),
      name: String(fields['name']),
      description: String(fields['description'] ?? ''),
    };
    this.groups.set(group.id, group);
    for (const ethertype of ['IPv4', 'IPv6'] as const) {
      const rule: SecurityGroupRule = {
        id: randomUUID(),
        security_group_id: group.id,
        direction: 'egress',
        ethertype,
        protocol: null,
        port_range_min: null,
        port_range_max: null,
        remote_ip_prefix: null,
        remote_group_id: null,
        description: '',
      };
      this.rules.set(rule.id, rule);
    }
    return this.#shownGroup(group);
  }

  #shownGroup(group: SecurityGroup): object {
    const rules = [...this.rules.values()].filter((rule) => rule.security_group_id === group.id);
    return {
      ...group,
      tenant_id: PROJECT,
      project_id: PROJECT,
      stateful: true,
      tags: [],
      security_group_rules: rules.map(shownRule),
    };
  }

  #deleteGroup({ id }: SecurityGroup): ApiAnswer {
    if ([...this.ports.values()].some((port) => port.security_groups.includes(id)))
      throw new Refusal(409, `security group ${id} is in use`);
    this.groups.delete(id);
    for (const rule of this.rules.values())
      if (rule.security_group_id === id) this.rules.delete(rule.id);
    return { status: 204 };
  }

  #makeRule(body: unknown): SecurityGroupRule {
    const fields = bodyOf(body, 'security_group_rule');
    checkFields(
      fields,
      'security_group_rule',
      { direction: oneOf('ingress', 'egress'), security_group_id: uuid },
      {
        ethertype: oneOf('IPv4', 'IPv6'),
        protocol: orNull(oneOf('tcp', 'udp', 'icmp', 'ipv6-icmp')),
        port_range_min: orNull(integer(1, 65535)),
        port_range_max: orNull(integer(1, 65535)),
        remote_ip_prefix: orNull(text(1, 255)),
        remote_group_id: orNull(uuid),
        description: text(0, 255),
      },
    );
    const rule = ruleOf(fields as unknown as Partial<SecurityGroupRule>);
    found(this.groups, rule.security_group_id, 'group');
    const { id: _, description: __, ...what } = rule;
    const same = [...this.rules.values()].some((other) =>
      Object.entries(what).every(([name, value]) =>
        Object.entries(other).some(([n, v]) => n === name && v === value),
      ),
    );
    if (same) throw new Refusal(409, `security group rule exists: ${JSON.stringify(what)}`);
    if (this.rules.size >= this.ruleQuota)
      throw new Refusal(409, "quota exceeded for resources: ['security_group_rule']");
    this.rules.set(rule.id, rule);
    return rule;
  }

  #makePort(body: unknown): Port {
    const fields = bodyOf(body, 'port');
    checkFields(
      fields,
      'port',
      { network_id: uuid },
      {
        name: text(0, 255),
        description: text(0, 255),
        admin_state_up: boolean,
        security_groups: listOf(uuid),
      },
    );
    const { network_id, security_groups, name, description, admin_state_up } =
      fields as unknown as Partial<Port>;
    const network = found(this.networks, network_id, 'network');
    for (const group of security_groups ?? []) found(this.groups, group, 'security group');
    const id = randomUUID();
    const port: Port = {
      id,
      name: name ?? '',
      description: description ?? '',
      network_id: network.id,
      admin_state_up: admin_state_up ?? true,
      mac_address: `fa:16:3e:${id.slice(0, 2)}:${id.slice(2, 4)}:${id.slice(4, 6)}`,
      security_groups: security_groups ?? [DEFAULT_GROUP],
      fixed_ips: this.#lease(network),
      device_id: '',
    };
    this.ports.set(id, port);
    return port;
  }

  #lease({ subnets }: Network): Port['fixed_ips'] {
    return subnets.map(({ id, prefix }) => {
      const number = (this.#leased.get(id) ?? prefixBounds(prefix).first + 9n) + 1n;
      this.#leased.set(id, number);
      return { subnet_id: id, ip_address: addressFromNumber(number, prefix.family) };
    });
  }

  /** Nova's ports go with the server, or are given back before. */
  #deletePort(id: string | undefined): ApiAnswer {
    const port = found(this.ports, id, 'port');
    if (port.device_id !== '') throw new Refusal(409, `port ${id} is in use`);
    for (const [key, floating] of this.floating)
      if (floating.port_id === port.id) this.floating.set(key, { ...floating, port_id: null });
    return this.#delete(this.ports, id, 'port');
  }

  #makeFloating(body: unknown): FloatingAddress {
    const fields = bodyOf(body, 'floatingip');
    checkFields(
      fields,
      'floatingip',
      { floating_network_id: uuid },
      { port_id: orNull(uuid), description: text(0, 255) },
    );
    const {
      floating_network_id,
      port_id = null,
      description = '',
    } = fields as unknown as Partial<FloatingAddress>;
    const external = found(this.networks, floating_network_id, 'network');
    if (!external.external) throw new Refusal(400, `network ${external.name} is not external`);
    if (port_id !== null) {
      const { network_id } = found(this.ports, port_id, 'port');
      if (found(this.networks, network_id, 'network').routedTo !== external.id)
        throw new Refusal(
          404,
          `External network ${external.id} is not reachable from subnet of port ${port_id}`,
        );
    }
    const [{ ip_address } = { ip_address: '' }] = this.#lease(external);
    const floating: FloatingAddress = {
      id: randomUUID(),
      description,
      floating_network_id: external.id,
      floating_ip_address: ip_address,
      port_id,
    };
    this.floating.set(floating.id, floating);
    return floating;
  }

  #shownFloating(floating: FloatingAddress): object {
    const port = this.ports.get(floating.port_id ?? '');
    return {
      ...floating,
      fixed_ip_address: port?.fixed_ips[0]?.ip_address ?? null,
      status: port === undefined ? 'DOWN' : 'ACTIVE',
      tenant_id: PROJECT,
      router_id: null,
      tags: [],
    };
  }

  #delete(from: Map<string, unknown>, id: string | undefined, what: string): ApiAnswer {
    found(from, id, what);
    from.delete(id ?? '');
    return { status: 204 };
  }
}

/** Throws Refusal where fields contradict each other. */
function ruleOf(fields: Partial<SecurityGroupRule>): SecurityGroupRule {
  const { direction = 'ingress', ethertype = 'IPv4', protocol = null } = fields;
  const { port_range_min: first = null, port_range_max: last = null } = fields;
  const { remote_group_id = null, remote_ip_prefix = null } = fields;
  if ((first !== null || last !== null) && protocol === null)
    throw new Refusal(400, 'port ranges need a protocol');
  if (first === null ? last !== null : last === null || last < first)
    throw new Refusal(400, `invalid port range ${first} to ${last}`);
  if (remote_group_id !== null && remote_ip_prefix !== null)
    throw new Refusal(400, 'remote_group_id and remote_ip_prefix exclude each other');
  return {
    id: randomUUID(),
    security_group_id: fields.security_group_id ?? '',
    direction,
    ethertype,
    protocol,
    port_range_min: first,
    port_range_max: last,
    remote_ip_prefix: remote_ip_prefix === null ? null : canonical(remote_ip_prefix, ethertype),
    remote_group_id,
    description: fields.description ?? '',
  };
}

function canonical(cidr: string, ethertype: string): string {
  const [address = '', length = ''] = cidr.split('/');
  const bits = isAddress(address) ? ADDRESS_BITS[family(address)] : 0;
  if (bits === 0 || !/^[0-9]{0,3}$/.test(length) || Number(length) > bits)
    throw new Refusal(400, `${cidr} is not a valid remote_ip_prefix`);
  if (`IPv${family(address)}` !== ethertype)
    throw new Refusal(400, `conflicting value ethertype ${ethertype} for CIDR ${cidr}`);
  return prefixNotation(parsePrefix(cidr).prefix);
}

function shownRule(rule: SecurityGroupRule): object {
  return { ...rule, tenant_id: PROJECT, project_id: PROJECT };
}

function shownPort(port: Port): object {
  return {
    ...port,
    status: port.device_id === '' ? 'DOWN' : 'ACTIVE',
    device_owner: port.device_id === '' ? '' : 'compute:nova',
    tenant_id: PROJECT,
    project_id: PROJECT,
    allowed_address_pairs: [],
    extra_dhcp_opts: [],
    port_security_enabled: true,
    tags: [],
  };
}
