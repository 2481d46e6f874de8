/**
 * Stand-ins of Nova and Glance for `tunnel jumphost terraform`: servers, flavors and images. They
 * check requests as the Compute API v2.1 describes them. A new server is built until it has been
 * asked for once.
 */
import { randomUUID } from 'node:crypto';
import type { Port, StandInNeutron } from './standinneutron.ts';
import { PROJECT } from './standinneutron.ts';
import {
  type ApiAnswer,
  type ApiRequest,
  bodyOf,
  boolean,
  type Check,
  checkFields,
  filtered,
  found,
  listOf,
  Refusal,
  text,
  uuid,
} from './standinrequest.ts';

/** Of the base64 text. */
const MAX_USER_DATA_CHARACTERS = 65_535;

interface Named {
  readonly id: string;
  readonly name: string;
}

export interface Server {
  readonly id: string;
  readonly name: string;
  readonly imageRef: string;
  readonly flavorRef: string;
  readonly key_name: string | null;
  readonly config_drive: boolean;
  /** Decoded. */
  readonly userData: string;
  /** In the order of its interfaces. */
  readonly ports: readonly Port[];
  status: 'BUILD' | 'ACTIVE';
}

export class StandInNova {
  readonly servers = new Map<string, Server>();
  readonly flavors = named('small', 'large');
  readonly keyPairs: readonly string[] = ['admin'];
  readonly #images: ReadonlyMap<string, Named>;
  readonly #neutron: StandInNeutron;

  constructor(neutron: StandInNeutron, images: ReadonlyMap<string, Named>) {
    this.#neutron = neutron;
    this.#images = images;
  }

  handle(request: ApiRequest): ApiAnswer {
    const { method, path } = request;
    const [kind = '', id, part] = path;
    switch (
      `${method} ${path.map((it, i) => (i === 1 && it !== 'detail' ? 'ID' : it)).join('/')}`
    ) {
      case 'POST servers':
        return { status: 202, body: { server: this.#create(request.body) } };
      case 'GET servers/ID':
        return { status: 200, body: { server: this.#shown(found(this.servers, id, 'server')) } };
      case 'DELETE servers/ID':
        return this.#delete(found(this.servers, id, 'server'));
      case 'GET servers/ID/tags':
        found(this.servers, id, 'server');
        return { status: 200, body: { tags: [] } };
      case 'GET flavors/detail':
        return { status: 200, body: { flavors: [...this.flavors.values()].map(shownFlavor) } };
      case 'GET flavors/ID':
        return { status: 200, body: { flavor: shownFlavor(found(this.flavors, id, 'flavor')) } };
      default:
        throw new Refusal(501, `not in this stand-in: ${method} ${kind}/${id}/${part}`);
    }
  }

  #create(body: unknown): object {
    const fields = bodyOf(body, 'server');
    checkFields(
      fields,
      'server',
      { name: text(1, 255), imageRef: uuid, flavorRef: uuid, networks: listOf(networkOfServer) },
      { key_name: text(1, 255), config_drive: boolean, user_data: userData },
    );
    const { name, imageRef, flavorRef, key_name, config_drive, user_data, networks } =
      fields as unknown as ServerFields;
    if (!this.#images.has(imageRef))
      throw new Refusal(400, `can't find requested image ${imageRef}`);
    if (!this.flavors.has(flavorRef))
      throw new Refusal(400, `flavor ${flavorRef} could not be found`);
    if (key_name !== undefined && !this.keyPairs.includes(key_name))
      throw new Refusal(400, `invalid key_name provided: ${key_name}`);
    const id = randomUUID();
    const ports = networks.map((network) => this.#claim(network, id));
    const server: Server = {
      id,
      name,
      imageRef,
      flavorRef,
      key_name: key_name ?? null,
      config_drive: config_drive ?? false,
      userData: Buffer.from(user_data ?? '', 'base64').toString('utf8'),
      ports,
      status: 'BUILD',
    };
    this.servers.set(id, server);
    return { id, adminPass: 'of-the-stand-in', links: [], 'OS-DCF:diskConfig': 'MANUAL' };
  }

  #claim({ port: id, uuid: network }: ServerFields['networks'][number], server: string): Port {
    const port = this.#neutron.ports.get(id);
    if (port === undefined) throw new Refusal(400, `port ${id} could not be found`);
    if (port.device_id !== '') throw new Refusal(409, `port ${id} is still in use`);
    if (network !== undefined && network !== port.network_id)
      throw new Refusal(400, `port ${id} is not on network ${network}`);
    port.device_id = server;
    return port;
  }

  #delete(server: Server): ApiAnswer {
    // Nova gives ports back that it hasn't made.
    for (const port of server.ports) port.device_id = '';
    this.servers.delete(server.id);
    return { status: 204 };
  }

  #shown(server: Server): object {
    const shown = {
      id: server.id,
      name: server.name,
      status: server.status,
      created: '2026-01-01T00:00:00Z',
      updated: '2026-01-01T00:00:00Z',
      tenant_id: PROJECT,
      user_id: PROJECT,
      hostId: '',
      metadata: {},
      accessIPv4: '',
      accessIPv6: '',
      progress: 0,
      links: [],
      image: { id: server.imageRef, links: [] },
      flavor: { id: server.flavorRef, links: [] },
      key_name: server.key_name,
      config_drive: server.config_drive ? 'True' : '',
      'OS-EXT-AZ:availability_zone': 'nova',
      'OS-EXT-STS:power_state': 1,
      security_groups: this.#groupNames(server).map((name) => ({ name })),
      addresses: this.#addresses(server),
    };
    server.status = 'ACTIVE';
    return shown;
  }

  #groupNames({ ports }: Server): string[] {
    const ids = new Set(ports.flatMap((port) => port.security_groups));
    return [...ids].map((id) => this.#neutron.groups.get(id)?.name ?? '');
  }

  #addresses({ ports }: Server): object {
    return Object.fromEntries(
      ports.map(({ network_id, mac_address, fixed_ips }) => [
        this.#neutron.networks.get(network_id)?.name,
        fixed_ips.map(({ ip_address: addr }) => ({
          addr,
          version: addr.includes(':') ? 6 : 4,
          'OS-EXT-IPS-MAC:mac_addr': mac_address,
          'OS-EXT-IPS:type': 'fixed',
        })),
      ]),
    );
  }
}

interface ServerFields {
  readonly name: string;
  readonly imageRef: string;
  readonly flavorRef: string;
  readonly key_name?: string;
  readonly config_drive?: boolean;
  readonly user_data?: string;
  readonly networks: readonly { readonly port: string; readonly uuid?: string }[];
}

/** Only ports: the groups of a network's own port would be the project's default ones. */
const networkOfServer: Check = (value, at) => checkFields(value, at, { port: uuid }, { uuid });

const userData: Check = (value, at) => {
  text(1, MAX_USER_DATA_CHARACTERS)(value, at);
  const decoded = Buffer.from(String(value), 'base64');
  if (decoded.toString('base64') !== value) throw new Refusal(400, `${at} is not base64`);
};

export function named(...names: readonly string[]): ReadonlyMap<string, Named> {
  return new Map(
    names.map((name) => {
      const id = randomUUID();
      return [id, { id, name }];
    }),
  );
}

function shownFlavor({ id, name }: Named): object {
  return { id, name, ram: 512, vcpus: 1, disk: 10, swap: '', rxtx_factor: 1, links: [] };
}

/** Glance: images by name, and by id. */
export function handleImages(images: ReadonlyMap<string, Named>, request: ApiRequest): ApiAnswer {
  const { method, path, query } = request;
  const [kind, id] = path;
  if (method !== 'GET' || kind !== 'images' || path.length > 2)
    throw new Refusal(501, `not in this stand-in: ${method} ${path.join('/')}`);
  if (id !== undefined) return { status: 200, body: shownImage(found(images, id, 'image')) };
  return {
    status: 200,
    body: { images: filtered(images.values(), query, ['id', 'name']).map(shownImage) },
  };
}

function shownImage({ id, name }: Named): object {
  return {
    id,
    name,
    status: 'active',
    visibility: 'public',
    container_format: 'bare',
    disk_format: 'qcow2',
    min_disk: 0,
    min_ram: 0,
    protected: false,
    size: 1,
    tags: [],
    created_at: '2026-01-01T00:00:00Z',
    updated_at: '2026-01-01T00:00:00Z',
  };
}
